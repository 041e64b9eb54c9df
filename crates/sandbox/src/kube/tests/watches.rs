//! Watches: where they begin, what they show, how they end.

use reqwest::Method;
use serde_json::{Value, json};

use super::{DEFAULT, Kube, ok, refused, secret, start, widget, widgets};

/// The events of one watch as they come.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(kube: &Kube, path: &str, accept: &str) -> Self {
        let response = kube.request(Method::GET, path).header("accept", accept).send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let event = serde_json::from_str(line).unwrap();
                self.text = rest.to_owned();
                return Some(event);
            }
            let chunk = self.response.chunk();
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(20), chunk).await.expect("no event");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    #[track_caller]
    fn expect(event: Option<Value>, kind: &str, name: &str) -> Value {
        let event = event.expect("the watch ended");
        assert_eq!(event["type"], kind, "{event}");
        assert_eq!(event["object"]["metadata"]["name"].as_str().unwrap_or_default(), name, "{event}");
        event
    }
}

fn watch(query: &str) -> String {
    format!("{DEFAULT}/secrets?watch=true&{query}")
}

const JSON: &str = "application/json";

#[tokio::test]
async fn a_watch_shows_what_is_there_and_then_every_change() {
    let kube = start().await;
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("a")).await, 201);
    let mut events = Events::open(&kube, &watch(""), JSON).await;
    Events::expect(events.next().await, "ADDED", "a");
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("b")).await, 201);
    Events::expect(events.next().await, "ADDED", "b");
    let changed = ok(kube.merge(&format!("{DEFAULT}/secrets/a"), json!({"data": {"a": "Yw=="}})).await, 200);
    assert_eq!(Events::expect(events.next().await, "MODIFIED", "a")["object"], changed);
    ok(kube.delete(&format!("{DEFAULT}/secrets/a"), json!({})).await, 200);
    let gone = Events::expect(events.next().await, "DELETED", "a");
    assert_eq!(gone["object"]["metadata"]["resourceVersion"], kube.server.resource_version().to_string());
    assert_eq!(gone["object"]["data"], changed["data"]);
}

#[tokio::test]
async fn a_watch_begins_where_it_is_told() {
    let kube = start().await;
    let first = ok(kube.post(&format!("{DEFAULT}/secrets"), secret("a")).await, 201);
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("b")).await, 201);
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let mut events = Events::open(&kube, &watch(&format!("resourceVersion={version}&timeoutSeconds=1")), JSON).await;
    Events::expect(events.next().await, "ADDED", "b");
    assert_eq!(events.next().await, None, "and ends in time");
    let future = kube.server.resource_version() + 1;
    let mut events = Events::open(&kube, &watch(&format!("resourceVersion={future}")), JSON).await;
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("c")).await, 201);
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("d")).await, 201);
    Events::expect(events.next().await, "ADDED", "d");
}

#[tokio::test]
async fn a_watch_from_a_forgotten_version_says_so() {
    let kube = start().await;
    let first = ok(kube.post(&format!("{DEFAULT}/secrets"), secret("a")).await, 201);
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("b")).await, 201);
    kube.server.compact();
    let mut events = Events::open(&kube, &watch(&format!("resourceVersion={version}")), JSON).await;
    let error = events.next().await.unwrap();
    assert_eq!((error["type"].as_str(), &error["object"]["code"]), (Some("ERROR"), &json!(410)));
    assert_eq!(error["object"]["reason"], "Expired");
    let text = error["object"]["message"].as_str().unwrap();
    assert!(text.starts_with(&format!("too old resource version: {version} (")), "{text}");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn the_history_is_bounded() {
    let kube = super::start_with(|options| options.history = 5).await;
    for name in ["a", "b", "c", "d", "e", "f"] {
        ok(kube.post(&format!("{DEFAULT}/secrets"), secret(name)).await, 201);
    }
    let mut events = Events::open(&kube, &watch("resourceVersion=2"), JSON).await;
    assert_eq!(events.next().await.unwrap()["type"], "ERROR");
    let recent = kube.server.resource_version() - 2;
    let mut events = Events::open(&kube, &watch(&format!("resourceVersion={recent}")), JSON).await;
    Events::expect(events.next().await, "ADDED", "e");
}

#[tokio::test]
async fn what_leaves_a_selection_is_deleted_and_what_enters_is_added() {
    let kube = start().await;
    let mut events = Events::open(&kube, &watch("labelSelector=l%3Dx"), JSON).await;
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("a")).await, 201);
    let label = |value: &str| json!({"metadata": {"labels": {"l": value}}});
    let path = format!("{DEFAULT}/secrets/a");
    ok(kube.merge(&path, label("x")).await, 200);
    Events::expect(events.next().await, "ADDED", "a");
    ok(kube.merge(&path, json!({"data": {"z": "eg=="}})).await, 200);
    Events::expect(events.next().await, "MODIFIED", "a");
    ok(kube.merge(&path, label("y")).await, 200);
    Events::expect(events.next().await, "DELETED", "a");
    ok(kube.delete(&path, json!({})).await, 200);
    ok(
        kube.post("/api/v1/namespaces/kube-system/secrets", {
            let mut elsewhere = secret("b");
            elsewhere["metadata"]["labels"] = json!({"l": "x"});
            elsewhere
        })
        .await,
        201,
    );
    let mut here = secret("c");
    here["metadata"]["labels"] = json!({"l": "x"});
    ok(kube.post(&format!("{DEFAULT}/secrets"), here).await, 201);
    Events::expect(events.next().await, "ADDED", "c");
}

#[tokio::test]
async fn a_name_can_be_watched() {
    let kube = start().await;
    let mut events = Events::open(&kube, &watch("fieldSelector=metadata.name%3Db"), JSON).await;
    for name in ["a", "b"] {
        ok(kube.post(&format!("{DEFAULT}/secrets"), secret(name)).await, 201);
    }
    Events::expect(events.next().await, "ADDED", "b");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let kube = start().await;
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("a")).await, 201);
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = Events::open(&kube, &watch(query), JSON).await;
    Events::expect(events.next().await, "ADDED", "a");
    let bookmark = Events::expect(events.next().await, "BOOKMARK", "");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], kube.server.resource_version().to_string());
    assert_eq!(bookmark["object"]["kind"], "Secret");
    refused(
        &kube.get(&watch("sendInitialEvents=true")).await,
        422,
        "Invalid",
        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    );
    refused(
        &kube.get(&watch("resourceVersionMatch=Exact")).await,
        422,
        "Invalid",
        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
    );
}

#[tokio::test]
async fn a_watch_that_ends_leaves_a_bookmark() {
    let kube = start().await;
    let version = kube.server.resource_version();
    ok(kube.post("/api/v1/namespaces/kube-system/secrets", secret("other")).await, 201);
    let query = format!("allowWatchBookmarks=true&timeoutSeconds=3&resourceVersion={version}");
    let mut events = Events::open(&kube, &watch(&query), JSON).await;
    let bookmark = Events::expect(events.next().await, "BOOKMARK", "");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], kube.server.resource_version().to_string());
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn metadata_and_tables_can_be_watched() {
    let kube = start().await;
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("a")).await, 201);
    let mut events =
        Events::open(&kube, &watch(""), "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").await;
    let event = Events::expect(events.next().await, "ADDED", "a");
    assert_eq!(event["object"]["kind"], "PartialObjectMetadata");
    assert!(event["object"].get("data").is_none());
    let mut events = Events::open(&kube, &watch(""), "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let first = events.next().await.unwrap();
    assert_eq!(first["object"]["kind"], "Table");
    assert!(first["object"]["columnDefinitions"].is_array());
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("b")).await, 201);
    let second = events.next().await.unwrap();
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
    assert!(second["object"].get("columnDefinitions").is_none_or(Value::is_null), "described once");
}

#[tokio::test]
async fn a_watch_ends_when_its_definition_changes() {
    let kube = start().await;
    kube.define(widgets()).await;
    let path = "/apis/example.dev/v1/namespaces/default/widgets";
    let mut events = Events::open(&kube, &format!("{path}?watch=1"), JSON).await;
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.dev";
    ok(kube.merge(definition, json!({"metadata": {"labels": {"a": "b"}}})).await, 200);
    ok(kube.post(path, widget("a")).await, 201);
    Events::expect(events.next().await, "ADDED", "a");
    ok(kube.merge(definition, json!({"spec": {"names": {"shortNames": ["w"]}}})).await, 200);
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_watch_ends_with_its_resource() {
    let kube = start().await;
    kube.define(widgets()).await;
    let path = "/apis/example.dev/v1/namespaces/default/widgets";
    ok(kube.post(path, widget("a")).await, 201);
    let mut events = Events::open(&kube, &format!("{path}?watch=1"), JSON).await;
    Events::expect(events.next().await, "ADDED", "a");
    ok(
        kube.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.dev", json!({})).await,
        200,
    );
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await {
        kinds.push(event["type"].clone());
    }
    assert_eq!(kinds, ["DELETED"]);
    assert_eq!(kube.get(path).await.0, 404);
}
