//! The policies that bind the operator's own hands (`config/admission`), on a real control plane: whatever its account could
//! do with its roles and must not is refused, and what it is there for is not.
//!
//! The whole suite runs under them (`World::install`).

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use oat_operator::api::OrganizationAccessToken;
use serde_json::{Value, json};

use crate::support::{
    cluster::is_real,
    eventually,
    world::{NAMESPACE, World, is_ready, sequence},
};

const OURS: &str = "app.kubernetes.io/managed-by";
const OWNER: &str = "oat-operator.dev/owner";

fn secret(name: &str, labels: Value, kind: &str, data: Value) -> Secret {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "type": kind, "data": data})).unwrap()
}

fn ours() -> Value {
    json!({OURS: "oat-operator", OWNER: "uid-1"})
}

fn basic(value: &str) -> Value {
    let encode = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    json!({"username": encode("acme"), "password": encode(value)})
}

#[track_caller]
fn refused<T: std::fmt::Debug>(what: &str, words: &str, result: kube::Result<T>) {
    let Err(kube::Error::Api(status)) = result else { panic!("{what}: {result:?}") };
    assert_eq!(status.code, 403, "{what}: {}", status.message);
    assert!(
        status.message.contains("ValidatingAdmissionPolicy") && status.message.contains(words),
        "{what}: {}",
        status.message
    );
}

/// A world without an operator, and a client that is one by its account. None where there is no real control plane.
async fn bound() -> Option<(World, Client)> {
    if !is_real() {
        eprintln!("not run: OAT_TEST_CLUSTER=real is not set");
        return None;
    }
    let mut world = World::new().await;
    world.forbids = true;
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&world.cluster.operator_kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    // The API server takes policies up a little later than it stores them.
    let probe: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    eventually("the policies hold", async || {
        let name = format!("probe-{}", uuid::Uuid::new_v4());
        let made = probe.create(&PostParams::default(), &secret(&name, json!({}), "Opaque", json!({}))).await;
        (made.is_err()).then_some(())
    })
    .await;
    Some((world, client))
}

fn merge(patch: Value) -> Patch<Value> {
    Patch::Merge(patch)
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_the_operator_may_not_make() {
    let Some((world, client)) = bound().await else { return };
    let at = |namespace: &str| Api::<Secret>::namespaced(client.clone(), namespace);
    let create = async |namespace: &str, secret: Secret| at(namespace).create(&PostParams::default(), &secret).await;
    let (auth, labels) = ("kubernetes.io/basic-auth", "its own labels");
    for (what, made) in [
        ("no labels", json!({})),
        ("another manager", json!({OURS: "helm", OWNER: "uid-1"})),
        ("no owner", json!({OURS: "oat-operator"})),
        ("an empty owner", json!({OURS: "oat-operator", OWNER: ""})),
        ("an owner only", json!({OWNER: "uid-1"})),
    ] {
        refused(what, labels, create(NAMESPACE, secret("x", made.clone(), auth, basic("v"))).await);
        refused(what, labels, create("oat-operator", secret("x", made, auth, basic("v"))).await);
    }
    // Emptied is not made.
    refused("empty", labels, create(NAMESPACE, secret("x", json!({}), auth, basic(""))).await);
    for kind in ["kubernetes.io/tls", "bootstrap.kubernetes.io/token", "helm.sh/release.v1", "kubernetes.io/ssh-auth"] {
        let data = json!({"tls.crt": "", "tls.key": "", "ssh-privatekey": "eA=="});
        refused(kind, "of this type", create(NAMESPACE, secret("x", ours(), kind, data)).await);
    }
    // The way to any service account's token.
    let mut account = secret("x", ours(), "kubernetes.io/service-account-token", json!({}));
    account.metadata.annotations = Some([("kubernetes.io/service-account.name".into(), "default".into())].into());
    refused("a service account's", "of this type", create(NAMESPACE, account).await);
    for namespace in ["kube-system", "kube-public", "kube-node-lease"] {
        let made = secret("x", ours(), auth, basic("v"));
        refused(namespace, "namespaces of Kubernetes", create(namespace, made).await);
    }
    // Server-side apply makes what is not there.
    let applied =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "type": auth, "data": basic("v")});
    let params = PatchParams::apply("oat-operator").force();
    refused("applied", labels, at(NAMESPACE).patch("x", &params, &Patch::Apply(&applied)).await);
    for kind in [auth, "Opaque", "kubernetes.io/dockerconfigjson"] {
        let data =
            if kind == "kubernetes.io/dockerconfigjson" { json!({".dockerconfigjson": "e30="}) } else { basic("v") };
        create(NAMESPACE, secret("mine", ours(), kind, data)).await.unwrap();
        at(NAMESPACE).delete("mine", &DeleteParams::default()).await.unwrap();
    }
    assert!(at(NAMESPACE).get_opt("x").await.unwrap().is_none());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_the_operator_may_not_touch() {
    let Some((world, client)) = bound().await else { return };
    let own: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let credentials: Api<Secret> = Api::namespaced(client.clone(), "oat-operator");
    world.credentials("oat-operator", crate::support::world::PASSWORD).await;
    let taken = json!({"metadata": {"labels": ours()}, "data": basic("v")});
    for (what, api) in [("an owner's credentials", &own), ("its own namespace's", &credentials)] {
        let theirs = "only Secrets that it made";
        refused(
            what,
            theirs,
            api.patch("acme-owner", &PatchParams::default(), &merge(json!({"data": basic("v")}))).await,
        );
        refused(what, theirs, api.patch("acme-owner", &PatchParams::default(), &merge(taken.clone())).await);
        let mut applied = taken.clone();
        applied["apiVersion"] = "v1".into();
        applied["kind"] = "Secret".into();
        let params = PatchParams::apply("oat-operator").force();
        refused(what, theirs, api.patch("acme-owner", &params, &Patch::Apply(&applied)).await);
        refused(what, theirs, api.delete("acme-owner", &DeleteParams::default()).await);
    }

    // What it made it may write, delete, and let go without what is in it.
    own.create(&PostParams::default(), &secret("mine", ours(), "kubernetes.io/basic-auth", basic("one")))
        .await
        .unwrap();
    let patch = async |patch: Value| own.patch("mine", &PatchParams::default(), &merge(patch)).await;
    let none = json!({"metadata": {"labels": {OURS: null, OWNER: null}}});
    refused("let go with its value", "empties them", patch(none.clone()).await);
    refused(
        "half let go",
        "empties them",
        patch(json!({"metadata": {"labels": {OWNER: null}}, "data": basic("")})).await,
    );
    patch(json!({"data": basic("two")})).await.unwrap();
    let mut gone = none;
    gone["data"] = json!({"username": "", "password": ""});
    patch(gone).await.unwrap();
    refused("let go before", "only Secrets that it made", patch(json!({"metadata": {"labels": ours()}})).await);

    // Everybody else may do as before.
    let admin = world.secrets();
    admin.patch("mine", &PatchParams::default(), &merge(json!({"metadata": {"labels": {"team": "a"}}}))).await.unwrap();
    admin.delete("mine", &DeleteParams::default()).await.unwrap();
    let tls = json!({"tls.crt": "", "tls.key": ""});
    let theirs = secret("theirs", ours(), "kubernetes.io/tls", tls);
    admin.create(&PostParams::default(), &theirs).await.unwrap();
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_changes_nothing_that_people_wrote() {
    let Some((world, client)) = bound().await else { return };
    world.organization().await;
    world.token("pull", json!({})).await;
    let api: Api<OrganizationAccessToken> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = async |patch: Value| api.patch("pull", &PatchParams::default(), &merge(patch)).await;
    eventually("the policy holds", async || {
        let probe = json!({"metadata": {"annotations": {"probe": uuid::Uuid::new_v4().to_string()}}});
        patch(probe).await.is_err().then_some(())
    })
    .await;
    let others = json!({"metadata": {"finalizers": ["example.com/theirs"]}});
    world.patch("pull", others).await;
    refused("spec", "no spec", patch(json!({"spec": {"active": false}})).await);
    refused("labels", "no labels", patch(json!({"metadata": {"labels": {"a": "b"}}})).await);
    refused("annotations", "no labels", patch(json!({"metadata": {"annotations": {"a": "b"}}})).await);
    refused("another's finalizer", "but its own", patch(json!({"metadata": {"finalizers": []}})).await);
    let more = json!(["example.com/theirs", "example.com/mine"]);
    refused("one more", "but its own", patch(json!({"metadata": {"finalizers": more}})).await);
    let both = json!(["example.com/theirs", "oat-operator.dev/token"]);
    patch(json!({"metadata": {"finalizers": both}})).await.unwrap();
    patch(json!({"metadata": {"finalizers": ["example.com/theirs"]}})).await.unwrap();
    let status = json!({"status": {"observedGeneration": -1}});
    api.patch_status("pull", &PatchParams::default(), &merge(status)).await.unwrap();
    world.patch("pull", json!({"metadata": {"finalizers": []}})).await;
    world.finish().await;
}

/// The policies hold, and the whole life of a token passes under them.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_under_the_policies() {
    let Some((mut world, _)) = bound().await else { return };
    world.forbids = true;
    let before = world.cluster.requests().iter().filter(|request| request.code == 403).count();
    world.organization().await;
    world.start(&[]);
    for (name, kind) in [("a", "kubernetes.io/dockerconfigjson"), ("b", "kubernetes.io/basic-auth"), ("c", "Opaque")] {
        world
            .token(name, json!({"secret": {"type": kind, "deletionPolicy": "Retain"}, "rotation": {"overlap": "0s"}}))
            .await;
        world.until_ready(name).await;
        world.annotate(name, "oat-operator.dev/rotate", "now").await;
        world.until(name, "is rotated", |object| sequence(object) == 2 && is_ready(object)).await;
        world.secrets().patch(name, &PatchParams::default(), &merge(json!({"data": {"extra": "eA=="}}))).await.unwrap();
        world.annotate(name, "oat-operator.dev/rotate", "again").await;
        world.until(name, "is rotated again", |object| sequence(object) == 3 && is_ready(object)).await;
        world.delete(name).await;
        world.until_gone(name).await;
        let kept = world.secrets().get(name).await.unwrap();
        assert_eq!(kept.metadata.labels.unwrap_or_default().get(OURS), None, "{name}");
    }
    let after = world.cluster.requests().iter().filter(|request| request.code == 403).count();
    assert_eq!(before, after);
    world.finish().await;
}
