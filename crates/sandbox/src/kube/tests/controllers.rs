//! What happens by itself.

use serde_json::{Value, json};

use super::{DEFAULT, Kube, has_condition, ok, refused, secret, start, widget, widgets};

const WIDGETS: &str = "/apis/example.dev/v1/namespaces/default/widgets";

fn owned(name: &str, owner: &Value, block: bool) -> Value {
    let mut body = secret(name);
    body["metadata"]["ownerReferences"] = json!([{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": block,
    }]);
    body
}

async fn create(kube: &Kube, body: Value) -> Value {
    ok(kube.post(&format!("{DEFAULT}/secrets"), body).await, 201)
}

fn has(kube: &Kube, name: &str) -> bool {
    kube.server.object("secrets", "default", name).is_some()
}

#[tokio::test]
async fn a_namespace_goes_with_all_that_is_in_it() {
    let kube = start().await;
    kube.define(widgets()).await;
    ok(kube.post("/api/v1/namespaces", json!({"metadata": {"name": "team"}})).await, 201);
    kube.until(|k| k.server.object("serviceaccounts", "team", "default").is_some()).await;
    ok(kube.post("/api/v1/namespaces/team/secrets", secret("s")).await, 201);
    let mut held = widget("w");
    held["metadata"]["finalizers"] = json!(["a.dev/b"]);
    ok(kube.post("/apis/example.dev/v1/namespaces/team/widgets", held).await, 201);
    let answer = ok(kube.delete("/api/v1/namespaces/team", json!({})).await, 200);
    assert_eq!(answer["status"]["phase"], "Terminating");
    kube.until(|k| k.server.object("secrets", "team", "s").is_none()).await;
    let namespace = |k: &Kube| k.server.object("namespaces", "", "team");
    kube.until(|k| has_condition(&namespace(k).unwrap(), "NamespaceFinalizersRemaining", "True")).await;
    let text = namespace(&kube).unwrap().to_string();
    assert!(
        text.contains("Some content in the namespace has finalizers remaining: a.dev/b in 1 resource instances"),
        "{text}"
    );
    ok(
        kube.merge("/apis/example.dev/v1/namespaces/team/widgets/w", json!({"metadata": {"finalizers": null}})).await,
        200,
    );
    kube.until(|k| namespace(k).is_none()).await;
}

#[tokio::test]
async fn the_default_service_account_comes_back() {
    let kube = start().await;
    let path = format!("{DEFAULT}/serviceaccounts/default");
    let first = ok(kube.get(&path).await, 200);
    ok(kube.delete(&path, json!({})).await, 200);
    kube.until(|k| k.server.object("serviceaccounts", "default", "default").is_some()).await;
    assert_ne!(ok(kube.get(&path).await, 200)["metadata"]["uid"], first["metadata"]["uid"]);
}

#[tokio::test]
async fn dependents_follow_their_last_owner() {
    let kube = start().await;
    let (first, second) = (create(&kube, secret("first")).await, create(&kube, secret("second")).await);
    let mut both = owned("both", &first, false);
    let other = owned("x", &second, false)["metadata"]["ownerReferences"][0].clone();
    both["metadata"]["ownerReferences"].as_array_mut().unwrap().push(other);
    create(&kube, both).await;
    create(&kube, owned("one", &first, false)).await;
    ok(kube.delete(&format!("{DEFAULT}/secrets/first"), json!({})).await, 200);
    kube.until(|k| !has(k, "one")).await;
    kube.until(|k| {
        let both = k.server.object("secrets", "default", "both").unwrap();
        both["metadata"]["ownerReferences"].as_array().unwrap().len() == 1
    })
    .await;
    ok(kube.delete(&format!("{DEFAULT}/secrets/second"), json!({})).await, 200);
    kube.until(|k| !has(k, "both")).await;
}

#[tokio::test]
async fn a_dependent_of_nobody_goes_at_once() {
    let kube = start().await;
    let mut owner = create(&kube, secret("owner")).await;
    owner["metadata"]["uid"] = json!("another");
    create(&kube, owned("child", &owner, false)).await;
    kube.until(|k| !has(k, "child")).await;
    owner["kind"] = json!("Unheard");
    create(&kube, owned("stays", &owner, false)).await;
    create(&kube, secret("later")).await;
    kube.until(|k| has(k, "later")).await;
    assert!(has(&kube, "stays"), "of a kind that is not known, nothing is concluded");
}

#[tokio::test]
async fn foreground_waits_for_dependents_that_block() {
    let kube = start().await;
    let owner = create(&kube, secret("owner")).await;
    let mut child = owned("child", &owner, true);
    child["metadata"]["finalizers"] = json!(["a.dev/b"]);
    create(&kube, child).await;
    let path = format!("{DEFAULT}/secrets/owner");
    let dying = ok(kube.delete(&path, json!({"propagationPolicy": "Foreground"})).await, 200);
    assert_eq!(dying["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let child = |k: &Kube| k.server.object("secrets", "default", "child");
    kube.until(|k| child(k).unwrap()["metadata"]["deletionTimestamp"].is_string()).await;
    assert!(has(&kube, "owner"));
    ok(kube.merge(&format!("{DEFAULT}/secrets/child"), json!({"metadata": {"finalizers": null}})).await, 200);
    kube.until(|k| !has(k, "owner")).await;
}

#[tokio::test]
async fn orphans_stay() {
    let kube = start().await;
    let owner = create(&kube, secret("owner")).await;
    create(&kube, owned("child", &owner, true)).await;
    ok(kube.delete(&format!("{DEFAULT}/secrets/owner?propagationPolicy=Orphan"), json!({})).await, 200);
    kube.until(|k| !has(k, "owner")).await;
    let child = ok(kube.get(&format!("{DEFAULT}/secrets/child")).await, 200);
    assert!(child["metadata"].get("ownerReferences").is_none());
}

#[tokio::test]
async fn a_definition_goes_after_its_instances() {
    let kube = start().await;
    kube.define(widgets()).await;
    let mut held = widget("w");
    held["metadata"]["finalizers"] = json!(["a.dev/b"]);
    ok(kube.post(WIDGETS, held).await, 201);
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.dev";
    let dying = ok(kube.delete(path, json!({})).await, 200);
    assert!(has_condition(&dying, "Terminating", "True"), "{dying}");
    kube.until(|k| {
        let instance = k.server.object("widgets.example.dev", "default", "w").unwrap();
        instance["metadata"]["deletionTimestamp"].is_string()
    })
    .await;
    refused(
        &kube.post(WIDGETS, widget("x")).await,
        405,
        "MethodNotAllowed",
        "create not allowed while custom resource definition is terminating",
    );
    ok(kube.merge(&format!("{WIDGETS}/w"), json!({"metadata": {"finalizers": null}})).await, 200);
    kube.until(|k| k.server.objects("customresourcedefinitions.apiextensions.k8s.io").is_empty()).await;
    assert_eq!(kube.get(WIDGETS).await.0, 404);
    kube.define(widgets()).await;
    ok(kube.post(WIDGETS, widget("x")).await, 201);
}

#[tokio::test]
async fn paused_controllers_catch_up() {
    let kube = start().await;
    let owner = create(&kube, secret("owner")).await;
    create(&kube, owned("child", &owner, false)).await;
    kube.server.pause_controllers(true);
    ok(kube.delete(&format!("{DEFAULT}/secrets/owner"), json!({})).await, 200);
    create(&kube, secret("later")).await;
    assert!(has(&kube, "child"));
    kube.server.pause_controllers(false);
    kube.until(|k| !has(k, "child")).await;
}
