//! The faults that have names, against the servers that they are for.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Fault, Faults, Rule, hub, kubernetes};
use crate::clock::Clock;
use crate::hub::{Hub, HubOptions, NewToken, Organization, User};
use crate::journal::{Journal, Server};
use crate::kube::{KubeOptions, KubeServer};
use crate::testing::{client, crypto};

const TOKENS: &str = "/v2/orgs/acme/access-tokens";

struct Docker {
    hub: Hub,
    faults: Faults,
    login: String,
}

async fn docker() -> Docker {
    let mut options = HubOptions::new(Clock::system());
    let faults = Faults::new();
    options.faults = faults.clone();
    options.organizations.push(Organization::new("acme").owner("olga"));
    options.users.push(User::new("olga", "a password"));
    let hub = Hub::start(options).await.unwrap();
    let login =
        client().post(format!("{}/v2/auth/token", hub.url())).body(r#"{"identifier":"olga","secret":"a password"}"#);
    let login: Value = login.send().await.unwrap().json().await.unwrap();
    let login = login["access_token"].as_str().unwrap().to_owned();
    Docker { hub, faults, login }
}

impl Docker {
    async fn send(&self, method: Method, path: &str, body: Value) -> reqwest::Result<reqwest::Response> {
        let request = client().request(method, format!("{}{path}", self.hub.url())).bearer_auth(&self.login);
        request.body(body.to_string()).send().await
    }

    /// One create under a fault: its status and its answer, and how many tokens there are then.
    async fn create(&self, fault: Fault) -> (u16, String, usize) {
        self.faults.install(Rule::new(fault).once());
        let body = json!({"label": "x", "resources": [{"type": "TYPE_REPO", "path": "acme/*", "scopes": ["scope-image-pull"]}]});
        let answer = self.send(Method::POST, TOKENS, body).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap(), self.hub.organization("acme").tokens().len())
    }
}

#[tokio::test]
async fn docker_hub_says_no_without_doing_it() {
    let docker = docker().await;
    let answers = [
        (hub::unavailable(503), 503, "<html>"),
        (hub::too_many(Some("7")), 429, "Rate limit exceeded"),
        (hub::too_many(None), 429, "Rate limit exceeded"),
        (hub::login_expired(), 401, "Unauthorized"),
        (hub::forbidden(), 403, "access denied"),
        (hub::challenge(), 403, "Just a moment"),
        (hub::page(), 200, "<!DOCTYPE html>"),
        (hub::token_not_found(), 404, "access token not found"),
        (hub::limit_reached(400), 400, "Access token limit reached."),
        (hub::limit_reached(403), 403, "Access token limit reached."),
        (hub::limit_reached(409), 409, "Access token limit reached."),
    ];
    for (fault, status, words) in answers {
        let (found, body, tokens) = docker.create(fault).await;
        assert!(found == status && body.contains(words) && tokens == 0, "{found} {body} {tokens}");
    }
    docker.faults.install(Rule::new(hub::too_many(Some("soon"))).once());
    let answer = docker.send(Method::GET, TOKENS, json!({})).await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "soon");
}

#[tokio::test]
async fn docker_hub_does_it_and_says_something_else() {
    let docker = docker().await;
    assert_eq!(docker.create(hub::unavailable_after(502)).await.0, 502);
    let (status, cut, tokens) = docker.create(hub::cut_json()).await;
    assert!(status == 201 && tokens == 2 && cut.starts_with("{\"id\"") && serde_json::from_str::<Value>(&cut).is_err());
    assert_eq!(docker.create(hub::wrong_shape()).await, (201, r#"{"unexpected":[1,2,3]}"#.to_owned(), 3));
    let (_, body, _) = docker.create(hub::without("token")).await;
    assert!(!body.contains("dckr_oat_") && body.contains("\"id\""), "{body}");
    let (_, body, tokens) = docker.create(hub::with("token", json!(""))).await;
    assert!(body.contains("\"token\":\"\"") && tokens == 5, "{body}");
    docker.faults.install(Rule::new(hub::without("id")).once());
    let list = docker.send(Method::GET, TOKENS, json!({})).await.unwrap().text().await.unwrap();
    assert!(list.contains("\"label\"") && !list.contains("\"id\""), "{list}");
}

#[tokio::test]
async fn a_gzip_bomb_says_what_it_is() {
    let docker = docker().await;
    docker.faults.install(Rule::new(hub::gzip_bomb()).once());
    let answer = docker.send(Method::GET, TOKENS, json!({})).await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let body = answer.bytes().await.unwrap();
    assert!(body.starts_with(&[0x1f, 0x8b]) && (1_000_000..2_000_000).contains(&body.len()), "{}", body.len());
}

struct Cluster {
    server: KubeServer,
    faults: Faults,
    http: reqwest::Client,
}

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

async fn cluster() -> Cluster {
    crypto();
    let faults = Faults::new();
    let server = KubeServer::start(KubeOptions::new(Clock::system(), Journal::new(), faults.clone())).await.unwrap();
    let ca = reqwest::Certificate::from_pem(server.ca_pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
    Cluster { server, faults, http }
}

impl Cluster {
    async fn send(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.server.url()));
        let request = request.bearer_auth(self.server.admin_token()).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn secret(&self, name: &str) -> (u16, Value) {
        self.send(Method::POST, SECRETS, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}))
            .await
    }
}

#[tokio::test]
async fn kubernetes_says_no_without_doing_it() {
    let cluster = cluster().await;
    let answers = [
        (kubernetes::conflict("secrets", "one"), 409, "Conflict", "the object has been modified"),
        (kubernetes::not_found("secrets", "one"), 404, "NotFound", "secrets \"one\" not found"),
        (kubernetes::not_served(), 404, "NotFound", "could not find the requested resource"),
        (kubernetes::expired(), 410, "Expired", "too old"),
        (kubernetes::forbidden("secrets", "one"), 403, "Forbidden", "RBAC"),
        (kubernetes::quota("secrets", "one"), 403, "Forbidden", "exceeded quota"),
        (kubernetes::terminating("secrets", "one", "default"), 403, "Forbidden", "being terminated"),
        (kubernetes::denied(), 422, "Invalid", "denied the request"),
        (kubernetes::immutable("Secret", "one"), 422, "Invalid", "field is immutable"),
        (kubernetes::too_many(3), 429, "TooManyRequests", "Too many requests"),
        (kubernetes::too_large(), 413, "RequestEntityTooLarge", "Request entity too large"),
        (kubernetes::internal(), 500, "InternalError", "leader changed"),
        (kubernetes::unavailable(), 503, "ServiceUnavailable", "shutting down"),
        (kubernetes::version_too_large(9, 7), 504, "Timeout", "Too large resource version: 9, current: 7"),
    ];
    for (fault, code, reason, words) in answers {
        cluster.faults.install(Rule::new(fault).once());
        let (found, status) = cluster.secret("one").await;
        let message = status["message"].as_str().unwrap_or_default();
        assert!(found == code && status["code"] == code && status["reason"] == reason, "{found} {status}");
        assert!(message.contains(words), "{message}");
    }
    cluster.faults.install(Rule::new(kubernetes::too_large_for_etcd()).once());
    let (code, status) = cluster.secret("one").await;
    assert_eq!((code, &status["message"]), (500, &json!("etcdserver: request is too large")));
    assert!(cluster.server.objects("secrets").is_empty());
    cluster.faults.install(Rule::new(kubernetes::timeout_after()).once());
    assert_eq!(cluster.secret("one").await.0, 504);
    assert_eq!(cluster.server.objects("secrets").len(), 1);
}

#[tokio::test]
async fn a_watch_may_begin_well_and_bring_an_error() {
    let cluster = cluster().await;
    for code in [410, 500] {
        cluster.faults.install(Rule::new(kubernetes::error_event(code)).on(Server::Kubernetes).once());
        let (found, event) = cluster.send(Method::GET, &format!("{SECRETS}?watch=true"), Value::Null).await;
        assert_eq!((found, &event["type"], &event["object"]["code"]), (200, &json!("ERROR"), &json!(code)));
    }
}

#[tokio::test]
async fn a_list_may_be_older_than_what_was_seen() {
    let cluster = cluster().await;
    cluster.secret("one").await;
    let before = cluster.server.resource_version();
    cluster.secret("two").await;
    cluster.faults.install(Rule::new(kubernetes::older(before)).once());
    let names = |list: &Value| list["items"].as_array().unwrap().len();
    let old = cluster.send(Method::GET, &format!("{SECRETS}?limit=500&resourceVersion=0"), Value::Null).await.1;
    assert_eq!((names(&old), &old["metadata"]["resourceVersion"]), (1, &json!(before.to_string())));
    assert_eq!(names(&cluster.send(Method::GET, SECRETS, Value::Null).await.1), 2);
}

#[tokio::test]
async fn admission_may_change_what_is_written() {
    let cluster = cluster().await;
    let label = kubernetes::mutated(|object| object["metadata"]["labels"] = json!({"injected": "yes"}));
    cluster.faults.install(Rule::new(label).once());
    let (code, made) = cluster.secret("one").await;
    assert_eq!((code, &made["metadata"]["labels"]), (201, &json!({"injected": "yes"})));
    assert_eq!(cluster.secret("two").await.1["metadata"]["labels"], Value::Null);
}

#[tokio::test]
async fn hands_change_remove_and_replace_objects() {
    let cluster = cluster().await;
    let made = cluster.secret("one").await.1;
    let hands = cluster.server.hands();
    let now = || cluster.server.object("secrets", "default", "one");
    assert!(hands.touch("secrets", "default", "one"));
    let touched = now().unwrap();
    assert_eq!(touched["metadata"]["uid"], made["metadata"]["uid"]);
    assert_ne!(touched["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert!(hands.change("secrets", "default", "one", |object| object["data"] = json!({"a": "Yg=="})));
    // As a deed: the object is another one by the time that the request is looked at.
    let deed = hands.clone();
    let replace = Fault::first(move |_| assert!(deed.replace("secrets", "default", "one")));
    cluster.faults.install(Rule::new(replace).once());
    let path = format!("{SECRETS}/one");
    let delete = json!({"preconditions": {"uid": made["metadata"]["uid"]}});
    assert_eq!(cluster.send(Method::DELETE, &path, delete.clone()).await.0, 409);
    let replaced = now().unwrap();
    assert_eq!(replaced["data"], json!({"a": "Yg=="}));
    assert_ne!(replaced["metadata"]["uid"], made["metadata"]["uid"]);
    assert!(hands.remove("secrets", "default", "one"));
    assert_eq!(now(), None);
    assert!(![hands.touch("secrets", "default", "one"), hands.replace("secrets", "default", "one")].contains(&true));
    assert!(!hands.remove("secrets", "default", "one"));
}

#[tokio::test]
async fn an_object_that_is_replaced_begins_anew() {
    let cluster = cluster().await;
    let hands = cluster.server.hands();
    let path = "/api/v1/namespaces/default/configmaps";
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "finalizers": ["example.dev/x"]}});
    cluster.send(Method::POST, path, object).await;
    cluster.send(Method::DELETE, &format!("{path}/one"), Value::Null).await;
    assert!(hands.replace("configmaps", "default", "one"));
    let metadata = cluster.server.object("configmaps", "default", "one").unwrap()["metadata"].clone();
    assert!(metadata.get("finalizers").is_none() && metadata.get("deletionTimestamp").is_none(), "{metadata}");
}

#[tokio::test]
async fn tokens_may_be_made_at_the_moment_of_a_request() {
    let docker = docker().await;
    let acme = docker.hub.organization("acme");
    acme.set_limit(1);
    let deed = acme.clone();
    // Somebody else takes the last place.
    let taken = Fault::first(move |_| assert!(deed.create(NewToken::new("acme", "theirs")).is_some()));
    let (status, body, tokens) = docker.create(taken).await;
    assert!(status == 400 && body.contains("limit reached") && tokens == 1, "{status} {body}");
}
