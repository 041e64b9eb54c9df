//! Every odd answer is an outcome with a reason, and says whether the call may have been executed.

use super::*;
use Effect::{None as Not, Unknown};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Retry,
    After(i64),
    Stalled,
}
use Then::{After, Retry, Stalled};

fn then(error: &Error) -> Then {
    match error.disposition() {
        Disposition::Retry => Retry,
        Disposition::Stalled => Stalled,
        Disposition::RetryAt(time) => After(time.as_second() - NOW.as_second()),
    }
}

/// Makes a token, sees this answer, and gives back what the client makes of it.
#[track_caller]
fn check(row: &str, error: &Error, expected: (&str, Effect, Then)) {
    assert_eq!((error.reason(), error.effect(), then(error)), expected, "{row}: {error}");
    assert!(Error::REASONS.contains(&error.reason()));
    let shown = error.to_string();
    assert!(shown.contains("acme") && shown.len() < 600, "{shown}");
}

fn raw(text: &str) -> Say {
    Say::Raw(text.as_bytes().to_vec())
}

fn message(status: u16, text: &str) -> Say {
    Say::json(status, json!({"message": text, "errinfo": {}}))
}

#[tokio::test]
async fn answers_to_a_create() {
    type Row = (&'static str, fn() -> Say, (&'static str, Effect, Then));
    let rows: &[Row] = &[
        (
            "refused value",
            || Say::json(400, json!({"fields": {"label": ["maximum length"]}, "text": "bad"})),
            ("InvalidSpec", Not, Stalled),
        ),
        (
            "limit 400",
            || Say::json(400, json!({"fields": {}, "text": "Token limit reached"})),
            ("QuotaExceeded", Not, Stalled),
        ),
        (
            "limit hung on a field",
            || Say::json(400, json!({"fields": {"label": ["Access token limit reached."]}, "text": "bad"})),
            ("QuotaExceeded", Not, Stalled),
        ),
        ("limit 403", || message(403, "maximum number of access tokens reached"), ("QuotaExceeded", Not, Stalled)),
        ("limit 409", || message(409, "quota exhausted"), ("QuotaExceeded", Not, Stalled)),
        ("login over", || message(401, "unauthorized"), ("HubUnavailable", Not, Retry)),
        ("not an owner", || message(403, "forbidden"), ("Forbidden", Not, Stalled)),
        (
            "personal token",
            || message(403, "token issued from personal access token is not allowed"),
            ("CredentialsInvalid", Not, Stalled),
        ),
        (
            "older personal token",
            || message(403, "access to the resource is forbidden with personal access token"),
            ("CredentialsInvalid", Not, Stalled),
        ),
        (
            "organization token",
            || message(403, "token issued from organization access token is not allowed"),
            ("CredentialsInvalid", Not, Stalled),
        ),
        ("challenge", || Say::html(403), ("HubUnavailable", Unknown, Retry)),
        (
            "no organization",
            || Say::json(404, json!({"detail": "Object not found"})),
            ("OrganizationNotFound", Not, Stalled),
        ),
        ("no repository", || message(404, "repository acme/x not found"), ("InvalidSpec", Not, Stalled)),
        ("page not found", || Say::html(404), ("HubUnavailable", Unknown, Retry)),
        ("conflict", || message(409, "label"), ("UnexpectedAnswer", Not, Retry)),
        ("unprocessable", || message(422, "unknown scope"), ("InvalidSpec", Not, Stalled)),
        ("teapot", || message(418, ""), ("UnexpectedAnswer", Not, Retry)),
        ("slow down", || message(429, "Rate limit exceeded").header("retry-after", 7), ("RateLimited", Not, After(7))),
        ("slow down page", || Say::html(429).header("retry-after", "soon"), ("RateLimited", Not, After(60))),
        ("slow down as 403", || message(403, "Rate limit exceeded"), ("RateLimited", Not, After(60))),
        ("bad gateway", || Say::html(502), ("HubUnavailable", Unknown, Retry)),
        ("failed", || Say::json(500, json!({"code": 13, "message": "internal"})), ("HubUnavailable", Unknown, Retry)),
        ("unavailable", || message(503, ""), ("HubUnavailable", Unknown, Retry)),
        ("proxy gave up", || Say::html(408), ("HubUnavailable", Unknown, Retry)),
        ("redirect", || Say::html(307).header("location", "http://127.0.0.1:1/"), ("UnexpectedAnswer", Unknown, Retry)),
        ("page with 201", || Say::html(201), ("UnexpectedAnswer", Unknown, Retry)),
        ("empty 201", || Say::Answer(201, vec![], String::new()), ("UnexpectedAnswer", Unknown, Retry)),
        ("204", || Say::Answer(204, vec![], String::new()), ("UnexpectedAnswer", Unknown, Retry)),
        ("other shape", || Say::json(201, json!([1, 2])), ("UnexpectedAnswer", Unknown, Retry)),
        ("no value", || Say::json(201, token("t1")), ("UnexpectedAnswer", Unknown, Retry)),
        (
            "empty value",
            || {
                Say::json(201, {
                    let mut t = created("t1");
                    t["token"] = json!("");
                    t
                })
            },
            ("UnexpectedAnswer", Unknown, Retry),
        ),
        (
            "null value",
            || {
                Say::json(201, {
                    let mut t = created("t1");
                    t["token"] = json!(null);
                    t
                })
            },
            ("UnexpectedAnswer", Unknown, Retry),
        ),
        (
            "value with a newline",
            || {
                Say::json(201, {
                    let mut t = created("t1");
                    t["token"] = json!("dckr_oat_a\nb");
                    t
                })
            },
            ("UnexpectedAnswer", Unknown, Retry),
        ),
        ("odd id", || Say::json(201, created("../x")), ("UnexpectedAnswer", Unknown, Retry)),
        (
            "unreadable expiry",
            || {
                Say::json(201, {
                    let mut t = created("t1");
                    t["expires_at"] = json!("later");
                    t
                })
            },
            ("UnexpectedAnswer", Unknown, Retry),
        ),
        (
            "truncated",
            || raw("HTTP/1.1 201 X\r\ncontent-length: 500\r\n\r\n{\"id\": \"t1\", "),
            ("HubUnavailable", Unknown, Retry),
        ),
        (
            "truncated JSON",
            || Say::Answer(201, vec![], created("t1").to_string()[..90].into()),
            ("UnexpectedAnswer", Unknown, Retry),
        ),
        ("closed", || raw(""), ("HubUnavailable", Unknown, Retry)),
        ("no HTTP", || raw("SSH-2.0-OpenSSH_9.9\r\n\r\n"), ("HubUnavailable", Unknown, Retry)),
        ("64 MB", || Say::Flood, ("UnexpectedAnswer", Unknown, Retry)),
        ("nested", || Say::Answer(201, vec![], "[".repeat(100_000)), ("UnexpectedAnswer", Unknown, Retry)),
        (
            "gzip",
            || {
                Say::Raw(
                    b"HTTP/1.1 201 X\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00".to_vec(),
                )
            },
            ("UnexpectedAnswer", Unknown, Retry),
        ),
    ];
    for &(row, say, ref expected) in rows {
        let rig = ready(move |seen| seen.is_create().then(say)).await;
        let error = rig.handle.create(new_token(), Urgency::Normal).await.unwrap_err();
        check(row, &error, *expected);
        assert_eq!(rig.server.count(Seen::is_create), 1, "{row}: a create is sent once");
        assert_eq!(rig.state().snapshot.unwrap().tokens.len(), 0, "{row}");
    }
}

#[tokio::test]
async fn answers_to_a_deletion() {
    type Row = (&'static str, fn() -> Say, Option<(&'static str, Effect, Then)>);
    let rows: &[Row] = &[
        ("gone", || Say::Answer(204, vec![], String::new()), None),
        ("gone, in words", || Say::json(200, json!({})), None),
        ("gone already", || message(404, "not found"), None),
        ("gone already, without words", || Say::Answer(404, vec![], String::new()), None),
        ("no organization", || message(404, "organization not found"), Some(("OrganizationNotFound", Not, Stalled))),
        ("page not found", || Say::html(404), Some(("HubUnavailable", Unknown, Retry))),
        ("page", || Say::html(200), Some(("UnexpectedAnswer", Unknown, Retry))),
        ("forbidden", || message(403, "forbidden"), Some(("Forbidden", Not, Stalled))),
        ("failed", || message(500, ""), Some(("HubUnavailable", Unknown, Retry))),
        ("limit", || message(400, "limit"), Some(("InvalidSpec", Not, Stalled))),
    ];
    for &(row, say, ref expected) in rows {
        let rig = ready(move |seen| {
            let listed = seen.is_list().then(|| Say::json(200, list(&["t1", "t2"])));
            listed.or_else(|| seen.is("DELETE", "/v2/orgs/acme/access-tokens/t1").then(say))
        })
        .await;
        let result = rig.handle.delete("t1", Urgency::Normal).await;
        let left: Vec<_> = rig.state().snapshot.unwrap().tokens.iter().map(|token| token.id.clone()).collect();
        match (result, expected) {
            (Ok(()), None) => assert_eq!(left, ["t2"], "{row}"),
            (Err(error), Some(expected)) => {
                check(row, &error, *expected);
                assert_eq!(left, ["t1", "t2"], "{row}");
            }
            (result, _) => panic!("{row}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn answers_to_a_look() {
    type Row = (&'static str, fn() -> Say, Result<bool, (&'static str, Effect, Then)>);
    let rows: &[Row] = &[
        ("there", || Say::json(200, token("t1")), Ok(true)),
        ("not there", || message(404, "not found"), Ok(false)),
        ("no organization", || message(404, "organization not found"), Err(("OrganizationNotFound", Not, Stalled))),
        // What a proxy doesn't find may well be there.
        ("page not found", || Say::html(404), Err(("HubUnavailable", Not, Retry))),
        ("another", || Say::json(200, token("t2")), Err(("UnexpectedAnswer", Not, Retry))),
        ("closed", || raw(""), Err(("HubUnavailable", Not, Retry))),
        ("failed", || message(500, ""), Err(("HubUnavailable", Not, Retry))),
    ];
    for &(row, say, ref expected) in rows {
        let rig = ready(move |seen| seen.is("GET", "/v2/orgs/acme/access-tokens/t1").then(say)).await;
        match (rig.handle.get("t1").await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.is_some(), *expected, "{row}"),
            (Err(error), Err(expected)) => check(row, &error, *expected),
            (result, _) => panic!("{row}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn answers_to_a_list() {
    type Row = (&'static str, fn() -> Say, (&'static str, Effect, Then));
    let rows: &[Row] = &[
        ("no results", || Say::json(200, json!({"total": 0, "next": null})), ("UnexpectedAnswer", Not, Retry)),
        ("null results", || Say::json(200, json!({"results": null})), ("UnexpectedAnswer", Not, Retry)),
        (
            "one bad token",
            || Say::json(200, json!({"results": [token("t1"), {"id": "t2"}]})),
            ("UnexpectedAnswer", Not, Retry),
        ),
        ("page", || Say::html(200), ("UnexpectedAnswer", Not, Retry)),
        ("not found", || message(404, "not found"), ("OrganizationNotFound", Not, Stalled)),
        ("forbidden", || message(403, "forbidden"), ("Forbidden", Not, Stalled)),
        ("challenge", || Say::html(403), ("HubUnavailable", Not, Retry)),
        ("slow down", || message(429, "").header("retry-after", 99_999_999), ("RateLimited", Not, After(3600))),
        ("redirect", || Say::html(302).header("location", "/elsewhere"), ("UnexpectedAnswer", Not, Retry)),
    ];
    for &(row, say, ref expected) in rows {
        let rig = rig(move |seen| seen.is_list().then(say)).await;
        rig.handle.set_credentials(Some(owner()), "1");
        let error = rig.handle.refresh(Urgency::Urgent).await.unwrap_err();
        check(row, &error, *expected);
        let state = rig.state();
        let trouble = state.trouble.unwrap();
        assert_eq!((trouble.reason, &trouble.message), (expected.0, &error.to_string()), "{row}");
        assert_eq!(state.snapshot, None);
        assert!(trouble.retry.is_some());
    }
}

#[tokio::test]
async fn answers_to_a_login() {
    type Row = (&'static str, fn() -> Say, (&'static str, Then), bool);
    let rows: &[Row] = &[
        (
            "wrong",
            || Say::json(401, json!({"detail": "Incorrect authentication credentials"})),
            ("CredentialsInvalid", After(900)),
            true,
        ),
        (
            "wrong, without words",
            || Say::Answer(401, vec![], "Unauthorized".into()),
            ("CredentialsInvalid", After(900)),
            true,
        ),
        (
            "organization",
            || Say::json(401, json!({"detail": "Cannot log into an organization account"})),
            ("CredentialsInvalid", After(900)),
            true,
        ),
        (
            "second factor",
            || Say::json(401, json!({"detail": "MFA", "login_2fa_token": "x"})),
            ("TwoFactorRequired", After(900)),
            true,
        ),
        ("bad", || message(400, "identifier"), ("CredentialsInvalid", After(900)), true),
        ("locked", || message(429, "").header("retry-after", 600), ("RateLimited", After(600)), false),
        ("challenge", || Say::html(403), ("HubUnavailable", Retry), false),
        ("failed", || message(503, ""), ("HubUnavailable", Retry), false),
        ("page", || Say::html(200), ("UnexpectedAnswer", Retry), false),
        ("no login", || Say::json(200, json!({})), ("UnexpectedAnswer", Retry), false),
        ("empty login", || Say::json(200, json!({"access_token": ""})), ("UnexpectedAnswer", Retry), false),
        (
            "login that breaks headers",
            || Say::json(200, json!({"access_token": "a\r\nX-Evil: 1"})),
            ("UnexpectedAnswer", Retry),
            false,
        ),
        ("not found", || message(404, "not found"), ("UnexpectedAnswer", Retry), false),
        ("redirect", || Say::html(308).header("location", "http://127.0.0.1:1/"), ("UnexpectedAnswer", Retry), false),
        ("closed", || raw(""), ("HubUnavailable", Retry), false),
    ];
    for &(row, say, expected, ref refused) in rows {
        let rig = rig(move |seen| seen.is_login().then(say)).await;
        rig.handle.set_credentials(Some(owner()), "v1");
        let error = rig.handle.create(new_token(), Urgency::Urgent).await.unwrap_err();
        check(row, &error, (expected.0, Not, expected.1));
        assert_eq!(error.operation, Operation::Login);
        let state = rig.until(|state| state.trouble.is_some()).await;
        let refusal = Refusal { version: "v1".into(), time: NOW };
        assert_eq!(state.refused, refused.then_some(refusal), "{row}");
        assert_eq!(state.login == Login::Refused, *refused, "{row}");
        assert_eq!(rig.server.count(|seen| seen.path.contains("access-tokens")), 0, "{row}");
    }
}

#[tokio::test]
async fn answers_to_a_proof() {
    type Row = (&'static str, fn() -> Say, Result<Proof, (&'static str, Effect, Then)>);
    let refused = |text: &str| Ok(Proof::Refused(text.into()));
    let rows: &[Row] = &[
        ("token", || Say::json(200, json!({"token": "x"})), Ok(Proof::Accepted)),
        ("access token", || Say::json(200, json!({"access_token": "x"})), Ok(Proof::Accepted)),
        ("neither", || Say::json(200, json!({"token": ""})), Err(("UnexpectedAnswer", Not, Retry))),
        ("page", || Say::html(200), Err(("UnexpectedAnswer", Not, Retry))),
        (
            "refused",
            || Say::json(401, json!({"details": "incorrect username or password"})),
            refused("incorrect username or password"),
        ),
        (
            "expired",
            || Say::json(401, json!({"errors": [{"message": "org access token is expired"}]})),
            refused("org access token is expired"),
        ),
        ("refused without words", || Say::Answer(401, vec![], String::new()), refused("")),
        ("challenge", || Say::html(403), Err(("HubUnavailable", Not, Retry))),
        ("slow down", || Say::html(429), Err(("RateLimited", Not, After(60)))),
        ("failed", || Say::html(502), Err(("HubUnavailable", Not, Retry))),
        ("closed", || raw(""), Err(("HubUnavailable", Not, Retry))),
        ("flood", || Say::Flood, Err(("UnexpectedAnswer", Not, Retry))),
    ];
    for &(row, say, ref expected) in rows {
        let rig = rig(move |seen| seen.is("GET", "/token").then(say)).await;
        let scopes = ["repository:acme/api:pull".to_owned()];
        match (rig.handle.prove(&secret(VALUE), &scopes, Urgency::Normal).await, expected) {
            (Ok(proof), Ok(expected)) => assert_eq!(proof, *expected, "{row}"),
            (Err(error), Err(expected)) => check(row, &error, *expected),
            (result, _) => panic!("{row}: {result:?}"),
        }
        let seen = rig.server.seen();
        assert_eq!(seen.len(), 1, "{row}: asked once, and without a login");
        assert_eq!(seen[0].path, "/token?service=registry.docker.io&scope=repository%3Aacme%2Fapi%3Apull");
        let basic = data_encoding::BASE64.encode(format!("acme:{VALUE}").as_bytes());
        assert!(seen[0].headers.contains(&format!("authorization: Basic {basic}\r\n")), "{:?}", seen[0]);
    }
}
