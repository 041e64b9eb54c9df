//! An object that the operator can't read: stored under another schema. It says so, costs nobody else anything, and goes.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::support::{
    eventually,
    world::{NAMESPACE, World, is_ready, sequence},
};

const OBJECTS: &str = "/apis/oat-operator.dev/v1alpha1/namespaces/payments/organizationaccesstokens";

async fn send(world: &World, method: &str, path: &str, body: &Value) -> Result<Value, kube::Error> {
    let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    world.client.request(request.body(serde_json::to_vec(body).unwrap()).unwrap()).await
}

/// Lets a field hold anything, as a definition of another version may.
async fn loosen(world: &World) {
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let anything = json!({"x-kubernetes-preserve-unknown-fields": true});
    let patch = json!([{
        "op": "replace",
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/active",
        "value": anything,
    }]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(patch).unwrap());
    definitions.patch("organizationaccesstokens.oat-operator.dev", &PatchParams::default(), &patch).await.unwrap();
}

async fn until_it_says_so(world: &World) {
    let path = format!("{OBJECTS}/odd");
    eventually("the object says that it can't be read", async || {
        let object = send(world, "GET", &path, &Value::Null).await.ok()?;
        let conditions = object["status"]["conditions"].as_array()?;
        let stalled = conditions.iter().find(|condition| condition["type"] == "Stalled")?;
        let message = stalled["message"].as_str()?;
        (stalled["reason"] == "InvalidSpec" && message.contains("expected a boolean")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_can_not_be_read_stands_in_nobodys_way() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&["--leader-elect=false"]);
    world.token("pull", json!({})).await;
    world.until_ready("pull").await;
    loosen(&world).await;
    let odd = json!({
        "apiVersion": "oat-operator.dev/v1alpha1",
        "kind": "OrganizationAccessToken",
        "metadata": {"name": "odd", "namespace": NAMESPACE},
        "spec": {"organizationRef": {"name": "acme"}, "repositories": [{"name": "acme/base", "scopes": ["scope-image-pull"]}], "active": "yes"},
    });
    eventually("the new schema is served", async || send(&world, "POST", OBJECTS, &odd).await.ok()).await;
    until_it_says_so(&world).await;
    // Others are seen as before, also by one that starts with it.
    world.token("more", json!({})).await;
    world.until_ready("more").await;
    world.kill();
    world.start(&["--leader-elect=false"]);
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    world.until("pull", "is rotated", |object| sequence(object) == 2 && is_ready(object)).await;
    let acme = world.hub.organization("acme");
    assert!(acme.tokens().iter().all(|token| !token.label.contains("odd")), "nothing is made for it");
    send(&world, "DELETE", &format!("{OBJECTS}/odd"), &json!({})).await.unwrap();
    eventually("it goes", async || send(&world, "GET", &format!("{OBJECTS}/odd"), &Value::Null).await.err().map(drop))
        .await;
    world.finish().await;
}
