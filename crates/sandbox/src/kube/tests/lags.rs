//! Watches that lag behind, and lists from the past.

use serde_json::{Value, json};

use super::{DEFAULT, Kube, ok, secret, start};
use crate::kube::Hold;

/// A watch of the Secrets that ends after a while, all of it.
async fn watched(kube: &Kube, from: &str) -> Vec<String> {
    let path = format!("{DEFAULT}/secrets?watch=true&timeoutSeconds=1&resourceVersion={from}");
    let (_, text) = kube.get(&path).await;
    let text = match text {
        Value::String(text) => text,
        one => one.to_string(),
    };
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let name = |event: &Value| event["object"]["metadata"]["name"].as_str().unwrap_or("-").to_owned();
    events.map(|event| format!("{} {}", event["type"].as_str().unwrap(), name(&event))).collect()
}

async fn listed(kube: &Kube) -> (String, Vec<String>) {
    let list = ok(kube.get(&format!("{DEFAULT}/secrets")).await, 200);
    let names = list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().into());
    (list["metadata"]["resourceVersion"].as_str().unwrap().into(), names.collect())
}

async fn create(kube: &Kube, name: &str) -> Value {
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret(name)).await, 201)
}

#[tokio::test]
async fn a_watch_stalls_before_a_held_event_and_goes_on_with_it() {
    let kube = start().await;
    let (lags, (from, _)) = (kube.server.lags(), listed(&kube).await);
    let held = lags.hold(Hold::new("secrets").object("default", "b").event("ADDED").agent("test/"));
    let other = lags.hold(Hold::new("secrets").agent("somebody else"));
    let wrong = lags.hold(Hold::new("secrets").object("default", "b").event("DELETED"));
    for name in ["a", "b", "c"] {
        create(&kube, name).await;
    }
    assert!(!lags.holds(held));
    assert_eq!(watched(&kube, &from).await, ["ADDED a"], "nothing overtakes");
    lags.held(held).await;
    assert!(lags.holds(held) && !lags.holds(other) && !lags.holds(wrong));
    // One that is opened meanwhile stalls as well; a list does not.
    assert_eq!(watched(&kube, &from).await, ["ADDED a"]);
    assert_eq!(listed(&kube).await.1, ["a", "b", "c"]);
    let release = async {
        lags.held(held).await;
        lags.release(held);
    };
    let (events, ()) = tokio::join!(watched(&kube, &from), release);
    assert_eq!(events, ["ADDED a", "ADDED b", "ADDED c"]);
    assert_eq!(watched(&kube, &from).await, ["ADDED a", "ADDED b", "ADDED c"], "and for good");
}

#[tokio::test]
async fn a_held_event_that_expires_ends_the_watch_and_is_never_shown() {
    let kube = start().await;
    let (lags, (from, _)) = (kube.server.lags(), listed(&kube).await);
    create(&kube, "a").await;
    let held = lags.hold(Hold::new("secrets").skip(1));
    ok(kube.merge(&format!("{DEFAULT}/secrets/a"), json!({"data": {"a": "Yw=="}})).await, 200);
    let expire = async {
        lags.held(held).await;
        lags.expire(held);
    };
    let (events, ()) = tokio::join!(watched(&kube, &from), expire);
    assert_eq!(events, ["ADDED a", "ERROR -"], "the second change is held; the first passes, for every watch");
    let end = tokio::time::timeout(std::time::Duration::from_secs(5), lags.held(held));
    end.await.expect("who waits for an event that expired waits no more");
}

#[tokio::test]
async fn a_list_shows_the_past_once() {
    let kube = start().await;
    let lags = kube.server.lags();
    create(&kube, "a").await;
    let (before, _) = listed(&kube).await;
    create(&kube, "b").await;
    ok(kube.delete(&format!("{DEFAULT}/secrets/a"), json!({})).await, 200);
    lags.list_from("secrets", "test/", before.parse().unwrap());
    lags.list_from("secrets", "somebody else", 1);
    lags.list_from("configmaps", "", 1);
    assert_eq!(listed(&kube).await, (before.clone(), vec!["a".to_owned()]));
    assert_eq!(lags.lists_to_come(), 2);
    let (now, names) = listed(&kube).await;
    assert_eq!(names, ["b"]);
    assert_ne!(now, before);
    lags.clear();
    assert_eq!(lags.lists_to_come(), 0);
}
