//! What the server says of itself.

use serde_json::{Value, json};

use super::{Kube, ok, start, widgets};

fn names<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|e| e[field].as_str().unwrap()).collect()
}

async fn aggregated(kube: &Kube, path: &str) -> Value {
    ok(
        kube.accept(path, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")
            .await,
        200,
    )
}

#[tokio::test]
async fn groups_versions_and_resources_are_listed() {
    let kube = start().await;
    kube.define(widgets()).await;
    assert_eq!(ok(kube.get("/api").await, 200)["versions"], json!(["v1"]));
    let core = ok(kube.get("/api/v1").await, 200);
    let resources = names(&core["resources"], "name");
    for name in ["secrets", "configmaps", "namespaces", "namespaces/status", "events", "serviceaccounts/token"] {
        assert!(resources.contains(&name), "{name}");
    }
    let groups = ok(kube.get("/apis").await, 200);
    let listed = names(&groups["groups"], "name");
    for name in ["apps", "coordination.k8s.io", "events.k8s.io", "example.dev", "rbac.authorization.k8s.io"] {
        assert!(listed.contains(&name), "{name}");
    }
    let group = ok(kube.get("/apis/example.dev").await, 200);
    assert_eq!(group["preferredVersion"], json!({"groupVersion": "example.dev/v1", "version": "v1"}));
    let version = ok(kube.get("/apis/example.dev/v1").await, 200);
    assert_eq!(names(&version["resources"], "name"), ["widgets", "widgets/status"]);
    assert_eq!(version["resources"][0]["shortNames"], json!(["wg"]));
    assert_eq!(kube.get("/apis/none").await.0, 404);
    assert_eq!(kube.get("/apis/example.dev/v2").await.0, 404);
}

#[tokio::test]
async fn the_aggregated_document_says_the_same() {
    let kube = start().await;
    kube.define(widgets()).await;
    let core = aggregated(&kube, "/api").await;
    assert_eq!(core["kind"], "APIGroupDiscoveryList");
    assert!(names(&core["items"][0]["versions"][0]["resources"], "resource").contains(&"secrets"));
    let groups = aggregated(&kube, "/apis").await;
    let items = groups["items"].as_array().unwrap();
    let ours = items.iter().find(|i| i["metadata"]["name"] == "example.dev").unwrap();
    let resource = &ours["versions"][0]["resources"][0];
    assert_eq!((resource["resource"].as_str(), resource["scope"].as_str()), (Some("widgets"), Some("Namespaced")));
    assert_eq!(resource["subresources"][0]["subresource"], "status");
}

#[tokio::test]
async fn every_resource_that_is_listed_answers() {
    let kube = start().await;
    kube.define(widgets()).await;
    let mut roots = vec!["/api/v1".to_owned()];
    for group in ok(kube.get("/apis").await, 200)["groups"].as_array().unwrap() {
        roots.extend(names(&group["versions"], "groupVersion").iter().map(|v| format!("/apis/{v}")));
    }
    let mut lists = 0;
    for root in roots {
        let found = ok(kube.get(&root).await, 200);
        for resource in found["resources"].as_array().unwrap() {
            let verbs = resource["verbs"].as_array().unwrap();
            if verbs.iter().any(|v| v == "list") {
                let list = ok(kube.get(&format!("{root}/{}", resource["name"].as_str().unwrap())).await, 200);
                assert_eq!(list["kind"].as_str().unwrap(), format!("{}List", resource["kind"].as_str().unwrap()));
                lists += 1;
            }
        }
    }
    assert!(lists >= 16, "{lists}");
}

#[tokio::test]
async fn open_api_has_a_document_per_version() {
    let kube = start().await;
    kube.define(widgets()).await;
    let index = ok(kube.get("/openapi/v3").await, 200);
    let url = index["paths"]["apis/example.dev/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with("/openapi/v3/apis/example.dev/v1?hash="), "{url}");
    let document = ok(kube.get(url).await, 200);
    let schema = &document["components"]["schemas"]["dev.example.v1.Widget"];
    assert_eq!(schema["properties"]["spec"]["properties"]["size"]["enum"], json!(["small", "big"]));
    let patch = &document["paths"]["/apis/example.dev/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert!(names(&patch["parameters"], "name").contains(&"fieldValidation"), "{patch}");
    let core = ok(kube.get(index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap()).await, 200);
    assert!(core["components"]["schemas"]["io.k8s.api.core.v1.Secret"].is_object());
    assert_eq!(kube.get("/openapi/v3/apis/none/v1").await.0, 404);
}

#[tokio::test]
async fn a_kubeconfig_has_all_that_a_client_needs() {
    let kube = start().await;
    let config: Value = serde_json::from_str(&kube.server.kubeconfig()).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    assert_eq!(cluster["server"], kube.server.url());
    assert!(cluster["certificate-authority-data"].as_str().unwrap().len() > 100);
    assert_eq!(config["users"][0]["user"]["token"], kube.server.admin_token());
}
