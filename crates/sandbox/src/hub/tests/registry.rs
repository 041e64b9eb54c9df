//! The token service: who is let in, and how much of what was asked is granted.

use super::*;

impl World {
    async fn exchange(&self, user: &str, password: &str, scopes: &[&str]) -> Answer {
        let mut url = url::Url::parse(&self.hub.token_url()).unwrap();
        url.query_pairs_mut().append_pair("service", "registry.docker.io");
        for scope in scopes {
            url.query_pairs_mut().append_pair("scope", scope);
        }
        let mut request = self.client.get(url);
        if !user.is_empty() {
            request = request.basic_auth(user, Some(password));
        }
        answer(request.send().await.unwrap()).await
    }

    /// What the credentials may do of what is asked, as `name:actions`.
    async fn granted(&self, user: &str, password: &str, scopes: &[&str]) -> Vec<String> {
        let (status, body) = self.exchange(user, password, scopes).await;
        assert_eq!(status, 200, "{body}");
        let claims = claims(body["token"].as_str().unwrap());
        let words = |entry: &Value| {
            let actions: Vec<_> = entry["actions"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
            format!("{}:{}", entry["name"].as_str().unwrap(), actions.join(","))
        };
        claims["access"].as_array().unwrap().iter().map(words).collect()
    }

    async fn form(&self, fields: &[(&str, &str)]) -> Answer {
        answer(self.client.post(self.hub.token_url()).form(fields).send().await.unwrap()).await
    }
}

fn refused(text: &str) -> Answer {
    (401, json!({"details": text}))
}

#[tokio::test]
async fn an_exchange_answers_with_a_signed_token_of_five_minutes() {
    let world = world().await;
    let (_, value) = world.token("pull", all_repositories()).await;
    let (status, body) = world.exchange("acme", &value, &["repository:acme/api:pull"]).await;
    assert_eq!((status, keys_of(&body)), (200, vec!["token", "access_token", "expires_in", "issued_at"]));
    assert_eq!((&body["expires_in"], &body["issued_at"]), (&json!(300), &json!("2026-11-25T12:00:00.50411Z")));
    let jwt = body["token"].as_str().unwrap();
    let claims = claims(jwt);
    let now = world.clock.now().as_second();
    assert_eq!(claims["access"], json!([{"type": "repository", "name": "acme/api", "actions": ["pull"]}]));
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("auth.docker.io"), &json!("registry.docker.io")));
    assert_eq!((&claims["iat"], &claims["nbf"], &claims["exp"]), (&json!(now), &json!(now - 300), &json!(now + 300)));
    assert!(claims["jti"].as_str().unwrap().starts_with("dckr_jti_"));
    assert_eq!(claims["sub"], "acme");
}

/// Checks an RS256 signature by the key in the certificate, which is found by the fixed beginning of its
/// `SubjectPublicKeyInfo` for RSA of 2048 bits.
fn verify(certificate: &[u8], signed: &str, signature: &[u8]) -> bool {
    const BEGINNING: &[u8] = &[
        0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05,
        0x00, 0x03, 0x82, 0x01, 0x0f, 0x00,
    ];
    let start = certificate.windows(BEGINNING.len()).position(|window| window == BEGINNING).unwrap() + BEGINNING.len();
    let key = &certificate[start..start + 0x10e];
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    let sha256 = rustls::pki_types::alg_id::RSA_PKCS1_SHA256;
    let algorithm = algorithms.iter().find(|algorithm| algorithm.signature_alg_id() == sha256).unwrap();
    algorithm.verify_signature(key, signed.as_bytes(), signature).is_ok()
}

#[tokio::test]
async fn the_signature_is_of_the_certificate_that_a_registry_is_given() {
    use base64::Engine;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use rustls::pki_types::pem::PemObject;
    let world = world().await;
    let (_, body) = world.exchange("", "", &[]).await;
    let jwt = body["token"].as_str().unwrap();
    let parts: Vec<&str> = jwt.split('.').collect();
    let header: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
    assert_eq!((&header["typ"], &header["alg"]), (&json!("JWT"), &json!("RS256")));
    let pem = world.hub.certificate_pem();
    let certificate = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    assert_eq!(header["x5c"], json!([BASE64_STANDARD.encode(&certificate)]));
    let signature = BASE64_URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    let signed = format!("{}.{}", parts[0], parts[1]);
    assert!(verify(&certificate, &signed, &signature));
    assert!(!verify(&certificate, &format!("{signed}x"), &signature));
}

#[tokio::test]
async fn what_is_granted_is_what_is_asked_and_allowed() {
    let world = world().await;
    let resources = json!([
        {"type": "TYPE_REPO", "path": "acme/api", "scopes": ["scope-image-push"]},
        {"type": "TYPE_ORG", "path": "acme", "scopes": ["scope-member-read"]},
    ]);
    let (_, one) = world.token("one", resources).await;
    for (asked, expected) in [
        ("repository:acme/api:pull", "acme/api:pull"),
        ("repository:acme/api:push,pull", "acme/api:push,pull"),
        ("repository:acme/api:pull,push,delete", "acme/api:pull,push"),
        ("repository(plugin):acme/api:pull", "acme/api:pull"),
        ("repository:acme/site:pull", ""),
        ("repository:other/open:pull", ""),
        ("repository:library/alpine:pull", ""),
        ("repository:acme/api:", ""),
        ("registry:catalog:*", ""),
        ("nonsense", ""),
    ] {
        assert_eq!(world.granted("acme", &one, &[asked]).await.join(" "), expected, "{asked}");
    }
    let asked = ["repository:acme/site:pull repository:acme/api:pull", "repository:acme/api:push"];
    assert_eq!(world.granted("acme", &one, &asked).await, ["acme/api:pull", "acme/api:push"]);
}

#[tokio::test]
async fn a_whole_organization_and_public_repositories() {
    let world = world().await;
    let (_, all) =
        world.token("all", json!([{"type": "TYPE_REPO", "path": "acme/*", "scopes": ["scope-image-delete"]}])).await;
    let public = json!([{"type": "TYPE_REPO", "path": "*/*/public", "scopes": ["scope-image-push"]}]);
    let (_, public) = world.token("public", public).await;
    for (asked, of_all, of_public) in [
        ("acme/api", "acme/api:pull,push,delete", ""),
        ("acme/site", "acme/site:pull,push,delete", "acme/site:pull"),
        ("acme/new", "acme/new:pull,push,delete", ""),
        ("other/open", "", "other/open:pull"),
        ("other/closed", "", ""),
        ("library/alpine", "", "library/alpine:pull"),
        ("acme2/api", "", "acme2/api:pull"),
    ] {
        let scope = format!("repository:{asked}:pull,push,delete");
        assert_eq!(world.granted("acme", &all, &[&scope]).await.join(" "), of_all, "{asked}");
        assert_eq!(world.granted("acme", &public, &[&scope]).await.join(" "), of_public, "{asked}");
    }
    world.hub.organization("other").set_repository("closed", true);
    assert_eq!(world.granted("acme", &public, &["repository:other/closed:pull"]).await, ["other/closed:pull"]);
}

#[tokio::test]
async fn wrong_expired_inactive_and_deleted_tokens_are_refused() {
    let world = world().await;
    let (id, value) = world.token("x", all_repositories()).await;
    let wrong = refused("incorrect username or password");
    assert_eq!(world.exchange("acme", "dckr_oat_x", &[]).await, wrong);
    assert_eq!(world.exchange("olga", &value, &[]).await, wrong);
    assert_eq!(world.exchange("other", &value, &[]).await, wrong);
    assert_eq!(world.exchange("nobody", "x", &[]).await, wrong);
    assert_eq!(world.exchange("acme", &value, &[]).await.0, 200);
    world.acme().deactivate(&id);
    assert_eq!(world.exchange("acme", &value, &[]).await, wrong);
    world.hub.with_quirks(|quirks| quirks.inactive_text = "inactive".to_owned());
    assert_eq!(world.exchange("acme", &value, &[]).await, refused("inactive"));
    world.acme().activate(&id);
    assert_eq!(world.exchange("acme", &value, &[]).await.0, 200);
    world.acme().set_expiry(&id, Some(world.clock.now() + SignedDuration::from_mins(1)));
    assert_eq!(world.exchange("acme", &value, &[]).await.0, 200);
    world.minutes(1);
    assert_eq!(world.exchange("acme", &value, &[]).await, refused("org access token is expired"));
    world.acme().delete(&id);
    assert_eq!(world.exchange("acme", &value, &[]).await, wrong);
}

#[tokio::test]
async fn an_exchange_is_a_use_if_the_quirk_says_so() {
    let world = world().await;
    let (id, value) = world.token("x", all_repositories()).await;
    world.hub.with_quirks(|quirks| quirks.registry_counts_as_use = false);
    world.exchange("acme", &value, &[]).await;
    assert_eq!(world.acme().token(&id).unwrap().last_used_at, None);
    world.hub.with_quirks(|quirks| quirks.registry_counts_as_use = true);
    world.exchange("acme", &value, &[]).await;
    assert_eq!(world.acme().token(&id).unwrap().last_used_at, Some(world.clock.now()));
    let body = world.owner(Method::GET, &format!("{TOKENS}/{id}"), None).await.1;
    assert_eq!(body["last_used_at"], "2026-11-25T12:00:00.504110Z");
}

#[tokio::test]
async fn the_registry_may_learn_late() {
    let world = world_with(|options| {
        options.quirks.registry_create_lag = SignedDuration::from_mins(2);
        options.quirks.registry_change_lag = SignedDuration::from_mins(3);
    })
    .await;
    let (id, value) = world.token("x", all_repositories()).await;
    assert_eq!(world.exchange("acme", &value, &[]).await.0, 401);
    world.minutes(2);
    assert_eq!(world.exchange("acme", &value, &[]).await.0, 200);
    world.owner(Method::PATCH, &format!("{TOKENS}/{id}"), Some(json!({"is_active": false}))).await;
    world.minutes(2);
    assert_eq!(world.exchange("acme", &value, &[]).await.0, 200);
    world.minutes(1);
    assert_eq!(world.exchange("acme", &value, &[]).await.0, 401);
}

#[tokio::test]
async fn people_and_strangers() {
    let world = world().await;
    let asked = ["repository:acme/api:pull,push", "repository:acme/site:pull,push", "repository:other/closed:pull"];
    assert_eq!(world.granted("", "", &asked).await, ["acme/site:pull"]);
    assert_eq!(world.granted("olga", "right", &asked).await, ["acme/api:pull,push", "acme/site:pull,push"]);
    assert_eq!(world.granted("mia", "right", &asked).await, ["acme/api:pull", "acme/site:pull"]);
    assert_eq!(world.granted("ute", "right", &asked).await, ["acme/site:pull", "other/closed:pull"]);
    assert_eq!(world.granted("sso", "dckr_pat_sso", &asked[..1]).await, ["acme/api:pull,push"]);
    assert_eq!(world.granted("olga", "right", &["repository:olga/own:push"]).await, ["olga/own:push"]);
    for user in ["sso", "otto"] {
        let (status, body) = world.exchange(user, "right", &[]).await;
        let text = body["details"].as_str().unwrap();
        assert!(status == 401 && text.contains("must log in with a Personal Access Token"), "{body}");
    }
    let (_, body) = world.exchange("", "", &["repository:library/alpine:pull"]).await;
    let claims = claims(body["token"].as_str().unwrap());
    assert_eq!((&claims["sub"], &claims["access"][0]["parameters"]["pull_limit"]), (&json!(""), &json!("100")));
}

#[tokio::test]
async fn the_form_is_the_same_exchange() {
    let world = world().await;
    let (_, value) = world.token("x", all_repositories()).await;
    let base = [("service", "registry.docker.io"), ("client_id", "containerd-client"), ("username", "acme")];
    let with = |more: &[(&'static str, String)]| -> Vec<(String, String)> {
        let own = base.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        own.chain(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone()))).collect()
    };
    let send = async |fields: Vec<(String, String)>| {
        let fields: Vec<_> = fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        world.form(&fields).await
    };
    let scope = || ("scope", "repository:acme/api:pull,push repository:other/closed:pull".to_owned());
    let grant = |kind: &str| ("grant_type", kind.to_owned());
    let (status, body) = send(with(&[grant("password"), ("password", value.clone()), scope()])).await;
    assert_eq!((status, keys_of(&body)), (200, vec!["access_token", "scope", "expires_in", "issued_at"]));
    assert_eq!(body["scope"], "repository:acme/api:pull");
    assert_eq!(claims(body["access_token"].as_str().unwrap())["access"][0]["name"], "acme/api");
    let wrong = send(with(&[grant("password"), ("password", "x".to_owned())])).await;
    assert_eq!(wrong, refused("incorrect username or password"));
    assert_eq!(send(with(&[grant("refresh_token"), ("refresh_token", value.clone())])).await.0, 400);
    assert_eq!(send(with(&[grant("password")])).await.0, 400);
    assert_eq!(world.form(&[("grant_type", "password"), ("username", "acme"), ("password", &value)]).await.0, 400);
}

#[tokio::test]
async fn garbage_is_refused() {
    let world = world().await;
    let get = async |query: &str, authorization: &str| {
        let request = world.client.get(format!("{}{query}", world.hub.token_url()));
        request.header("authorization", authorization).send().await.unwrap().status().as_u16()
    };
    assert_eq!(get("", "Basic !!!").await, 401);
    assert_eq!(get("", "Bearer x").await, 401);
    assert_eq!(get("", "Basic bm9jb2xvbg==").await, 401);
    let unknown = world.client.get(format!("{}?service=elsewhere", world.hub.token_url())).send().await.unwrap();
    assert_eq!(unknown.status(), 400);
}

#[tokio::test]
async fn its_calls_are_the_registrys_and_have_no_rate_limit() {
    let world = world_with(|options| {
        options.quirks.rate_limit = 0;
        options.quirks.enforce_rate_limit = true;
    })
    .await;
    let answer = world.client.get(world.hub.token_url()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().get("x-ratelimit-limit").is_none());
    assert_eq!(world.auth_token("olga", "right").await.0, 429);
    let servers: Vec<Server> = world.journal.entries().iter().map(|entry| entry.server).collect();
    assert_eq!(servers, [Server::Registry, Server::Hub]);
    assert_eq!(world.hub.count(Route::RegistryToken), 1);
}

#[tokio::test]
async fn the_hub_can_stand_behind_tls() {
    crate::testing::crypto();
    let authority = Authority::new().unwrap();
    let clock = Clock::system();
    let mut options = HubOptions::new(clock.clone());
    options.tls = Some(authority.clone());
    let hub = Hub::start(options).await.unwrap();
    let root = reqwest::Certificate::from_pem(authority.ca_pem().as_bytes()).unwrap();
    let client = || reqwest::Client::builder().no_proxy().tls_certs_only([root.clone()]).build().unwrap();
    assert_eq!(client().get(hub.token_url()).send().await.unwrap().status(), 200);
    let wrong = Certificate { names: vec!["elsewhere.example".to_owned()], ..Certificate::loopback(clock.now()) };
    hub.come_back_as(&authority, &wrong).await.unwrap();
    assert!(client().get(hub.token_url()).send().await.is_err());
    hub.come_back().await.unwrap();
    assert_eq!(client().get(hub.token_url()).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_pull_goes_by_challenge_exchange_and_manifest() {
    let world = world().await;
    let resources = json!([{"type": "TYPE_REPO", "path": "acme/api", "scopes": [PULL]}]);
    let (_, value) = world.token("x", resources).await;
    let get = async |path: &str, jwt: &str| {
        let request = world.client.get(format!("{}{path}", world.hub.url()));
        if jwt.is_empty() { request } else { request.bearer_auth(jwt) }.send().await.unwrap()
    };
    let challenge = |answer: &Response| answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let base = format!("Bearer realm=\"{}\",service=\"registry.docker.io\"", world.hub.token_url());
    let first = get("/v2/", "").await;
    assert_eq!((first.status().as_u16(), challenge(&first)), (401, base.clone()));
    let manifest = "/v2/acme/api/manifests/latest";
    let refused = get(manifest, "").await;
    assert_eq!(challenge(&refused), format!("{base},scope=\"repository:acme/api:pull\""));
    assert_eq!(answer(refused).await.1["errors"][0]["code"], "UNAUTHORIZED");
    let jwt =
        async |scope: &str| world.exchange("acme", &value, &[scope]).await.1["token"].as_str().unwrap().to_owned();
    let api = jwt("repository:acme/api:pull").await;
    assert_eq!(get("/v2/", &api).await.status(), 200);
    let found = get(manifest, &api).await;
    let digest = found.headers()["docker-content-digest"].to_str().unwrap().to_owned();
    let (status, image) = answer(found).await;
    assert_eq!((status, &image["layers"]), (200, &json!([])));
    assert_eq!(get(&format!("/v2/acme/api/manifests/{digest}"), &api).await.status(), 200);
    let config = image["config"]["digest"].as_str().unwrap();
    let blob = get(&format!("/v2/acme/api/blobs/{config}"), &api).await;
    assert_eq!(blob.content_length(), image["config"]["size"].as_u64());
    assert_eq!(get("/v2/acme/api/blobs/sha256:0", &api).await.status(), 404);
    // Not granted: the exchange says yes to nothing, the registry says no.
    let site = jwt("repository:acme/site:pull").await;
    let refused = get("/v2/acme/site/manifests/latest", &site).await;
    let expected = format!("{base},scope=\"repository:acme/site:pull\",error=\"insufficient_scope\"");
    assert_eq!((refused.status().as_u16(), challenge(&refused)), (401, expected));
    world.minutes(5);
    assert_eq!(get(manifest, &api).await.status(), 401);
    let last = world.journal.entries().pop().unwrap();
    assert_eq!(last.server, Server::Registry);
}

#[tokio::test]
async fn a_repository_that_is_gone_has_no_manifest() {
    let world = world().await;
    let (_, value) = world.token("x", all_repositories()).await;
    let pull = async || {
        let jwt = world.exchange("acme", &value, &["repository:acme/api:pull"]).await.1["token"].clone();
        world.call(jwt.as_str().unwrap(), Method::GET, "/v2/acme/api/manifests/1", None).await.0
    };
    assert_eq!(pull().await, 200);
    world.acme().remove_repository("api");
    assert_eq!(pull().await, 404);
}
