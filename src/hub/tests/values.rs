//! Values from outside: endpoints, credentials, times.

use super::*;

#[test]
fn endpoints_go_to_https_or_to_this_machine() {
    let check = |hub: &str| {
        let endpoints = Endpoints {
            hub: hub.parse().unwrap(),
            registry_token: "https://auth.docker.io/token".parse().unwrap(),
            registry_service: "registry.docker.io".into(),
            roots: Vec::new(),
        };
        endpoints.check().map_err(|invalid| invalid.to_string())
    };
    for good in [
        "https://hub.docker.com",
        "https://proxy.example.com:8443/hub/",
        "http://127.0.0.1:8080",
        "http://127.9.9.9",
        "http://[::1]:1/",
        "http://localhost:5000",
    ] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in [
        "http://hub.docker.com",
        "http://localhost.example.com",
        "http://10.0.0.1",
        "http://[::2]",
        "http://0.0.0.0",
        "ftp://hub.docker.com",
        "file:///etc/passwd",
        "https://user@hub.docker.com",
        "https://:secret@hub.docker.com",
        "https://hub.docker.com?x=1",
        "https://hub.docker.com#x",
        "mailto:owner@example.com",
    ] {
        let error = check(bad).unwrap_err();
        assert!(error.starts_with("endpoint hub must"), "{bad}: {error}");
        assert!(!error.contains("secret"));
    }
}

#[test]
fn credentials_are_read_as_people_save_them_and_refused_by_key() {
    let parse = |username: &[u8], password: &[u8], totp: Option<&[u8]>| {
        let parsed = Credentials::parse(username, password, totp);
        parsed.map_err(|invalid| invalid.key).map(|good| {
            let password = secrecy::ExposeSecret::expose_secret(&good.password).to_owned();
            (good.username, password)
        })
    };
    let good = |password: &str| Ok(("owner".to_owned(), password.to_owned()));
    assert_eq!(parse(b"owner\n", b"pass word\n", None), good("pass word"));
    assert_eq!(parse(b"owner\r\n", b" p\xc3\xa4ss ", Some(b"jbsw y3dp-ehpk 3pxp=\n")), good(" p\u{e4}ss "));
    assert_eq!(parse(b"owner", b"a\n\n", None), Err("password"));
    assert_eq!(parse(b"owner", b"a\0b", None), Err("password"));
    assert_eq!(parse(b"owner", b"a\x1bb", None), Err("password"));
    assert_eq!(parse(b"owner", b"\n", None), Err("password"));
    assert_eq!(parse(b"owner", b"\xff\xfe", None), Err("password"));
    assert_eq!(parse(b"owner", &[b'x'; 5000], None), Err("password"));
    assert_eq!(parse(b"\xef\xbb\xbfowner", b"x", None), Err("username"));
    assert_eq!(parse(b" owner", b"x", None), Err("username"));
    assert_eq!(parse(b"owner", b"x", Some(b"not base32!")), Err("totpSecret"));
    assert_eq!(parse(b"owner", b"x", Some(b"JBSW")), Err("totpSecret"));
    let error = Credentials::parse(b"owner", b"planted\0value", None).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("planted"));
}

#[test]
fn a_login_lasts_as_long_as_it_says_or_ten_minutes() {
    let jwt = |claims: &str| format!("h.{}.s", data_encoding::BASE64URL_NOPAD.encode(claims.as_bytes()));
    let lasts = |jwt: &str| wire::lifetime(jwt, NOW).as_secs();
    assert_eq!(lasts(&jwt(r#"{"exp": 1800002592, "scope": ""}"#)), 2592);
    assert_eq!(lasts(&jwt(r#"{"exp": 1800000300.5}"#)), 300);
    for odd in [
        r#"{"exp": 1799999999}"#,
        r#"{"exp": -1}"#,
        r#"{"exp": 1e300}"#,
        r#"{"exp": "soon"}"#,
        r#"{"exp": null}"#,
        "{}",
        "[]",
        "\u{0}",
    ] {
        assert_eq!(lasts(&jwt(odd)), 600, "{odd}");
    }
    for odd in ["", ".", "..", "no dots", "a.!!!.c", "a.e30=.c"] {
        assert_eq!(lasts(odd), 600, "{odd}");
    }
}

#[test]
fn fields_that_are_new_or_null_do_no_harm() {
    let answer = json!({
        "id": "t1", "label": "x", "is_active": false, "created_at": null, "expires_at": "", "created_by": {"name": "o"},
        "resources": [{"type": "TYPE_PLANET", "path": "mars", "scopes": ["scope-new"], "extra": 1}], "extra": {"a": 1},
    });
    let token: wire::TokenAnswer = wire::read(answer.to_string().as_bytes()).unwrap();
    let token = token.token().unwrap();
    assert_eq!((token.active, token.expiration_time, token.created_by), (false, None, None));
    let kind = ResourceKind::Other("TYPE_PLANET".into());
    let resource = Resource { kind, path: "mars".into(), scopes: vec!["scope-new".into()] };
    assert_eq!(token.resources, Some(vec![resource]));
}

proptest::proptest! {
    #[test]
    fn no_answer_makes_the_parsers_fall(body: Vec<u8>, text: String, pieces in proptest::collection::vec("[{}\\[\\]\":,a-z0-9]|\"token\"|\"id\"|null", 0..60)) {
        let joined = pieces.concat();
        for bytes in [body.as_slice(), text.as_bytes(), joined.as_bytes()] {
            let _ = wire::read::<wire::Page>(bytes);
            let _ = wire::read::<wire::ValueAnswer>(bytes);
            let _ = wire::read::<wire::LoginAnswer>(bytes);
        }
        let lasts = wire::lifetime(&text, NOW);
        assert!(lasts.is_positive());
        let _ = login::totp(&secret(&text));
        let _ = Credentials::parse(&body, text.as_bytes(), Some(&body));
    }
}
