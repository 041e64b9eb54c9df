//! The whole story with real clients: kubectl applies, the operator delivers, skopeo pulls with nothing but the Secret.

use serde_json::json;

use super::{UNKNOWN, wanted};
use crate::support::{
    eventually,
    kubectl::Kubectl,
    registry::Registry,
    skopeo::{self, Image},
    world::{NAMESPACE, SERVICE, World, sequence, token_value},
};

/// The pull secret's docker config, as a file that skopeo reads.
async fn authfile(world: &World, folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let secret = world.secrets().get("dockerhub").await.unwrap();
    skopeo::authfile(folder, name, &secret.data.unwrap()[".dockerconfigjson"].0)
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_manifest_to_a_pull() {
    if !wanted() {
        return;
    }
    let mut world = World::new().await;
    let registry =
        Registry::start(&world.hub.token_url(), SERVICE, "auth.docker.io", &world.hub.certificate_pem()).await;
    let folder = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&world.cluster.kubeconfig());
    world.organization().await;
    world.start(&[]);
    let spec = |repository: &str, scope: &str| {
        json!({"repositories": [{"name": repository, "scopes": [scope]}], "publicRepositories": false, "rotation": {"overlap": "3s"},
            "secret": {"name": "dockerhub", "registries": [registry.address()]}})
    };
    let repository = |name: &str| format!("{}/{name}", registry.address());

    kubectl
        .feed_object(&["apply", "-f", "-"], &token_value("push", spec("acme/payments-api", "scope-image-push")))
        .await
        .unwrap();
    kubectl.does(&["wait", "-n", NAMESPACE, "--for=condition=Ready", "oat/push", "--timeout=30s"]).await;
    let pushing = authfile(&world, folder.path(), "push.json").await;
    let image = Image::new("the payments service");
    skopeo::push(&pushing, &repository("acme/payments-api"), &image).await.unwrap();
    let refused = skopeo::push(&pushing, &repository("acme/base"), &image).await.unwrap_err();
    assert!(refused.contains("denied"), "another repository: {refused}");
    kubectl.does(&["delete", "-n", NAMESPACE, "oat/push", "--timeout=30s"]).await;
    assert!(skopeo::pull(&pushing, &repository("acme/payments-api")).await.unwrap_err().contains(UNKNOWN), "deleted");

    kubectl
        .feed_object(
            &["apply", "--server-side", "-f", "-"],
            &token_value("pull", spec("acme/payments-api", "scope-image-pull")),
        )
        .await
        .unwrap();
    kubectl.does(&["wait", "-n", NAMESPACE, "--for=condition=Ready", "oat/pull", "--timeout=30s"]).await;
    let first = authfile(&world, folder.path(), "first.json").await;
    assert_eq!(skopeo::pull(&first, &repository("acme/payments-api")).await.unwrap(), image.config());
    assert!(skopeo::pull(&first, &repository("acme/base")).await.is_err(), "another repository");
    assert!(skopeo::push(&first, &repository("acme/payments-api"), &image).await.is_err(), "it may only pull");

    kubectl.does(&["annotate", "-n", NAMESPACE, "oat/pull", "oat-operator.dev/rotate=now"]).await;
    world.until("pull", "has its second token", |object| sequence(object) == 2).await;
    let second = authfile(&world, folder.path(), "second.json").await;
    assert_eq!(skopeo::pull(&second, &repository("acme/payments-api")).await.unwrap(), image.config());
    world.until("pull", "is past the overlap", |object| object.status.as_ref().unwrap().previous.is_empty()).await;
    let refused = skopeo::pull(&first, &repository("acme/payments-api")).await.unwrap_err();
    assert!(refused.contains(UNKNOWN), "the old value after the overlap: {refused}");

    let columns = kubectl.does(&["get", "-n", NAMESPACE, "oat"]).await;
    assert!(columns.starts_with("NAME") && columns.contains("dockerhub") && columns.contains("True"), "{columns}");
    kubectl.does(&["patch", "-n", NAMESPACE, "oat/pull", "--type=merge", "-p", r#"{"spec":{"active":false}}"#]).await;
    let off = async || {
        skopeo::pull(&second, &repository("acme/payments-api")).await.err().filter(|error| error.contains(UNKNOWN))
    };
    eventually("a deactivated token is refused", off).await;
    kubectl.does(&["delete", "-n", NAMESPACE, "oat/pull", "--timeout=30s"]).await;
    assert!(world.hub.organization("acme").tokens().is_empty());
    world.finish().await;
}
