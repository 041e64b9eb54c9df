//! kubectl does with our kinds what users do with it.

use oat_sandbox::{
    clock::Clock,
    fault::Faults,
    journal::Journal,
    kube::{KubeOptions, KubeServer},
};
use serde_json::{Value, json};

use super::wanted;
use crate::support::{controlplane::ControlPlane, eventually, kubectl::Kubectl};

#[tokio::test]
async fn kubectl_works_with_our_kinds_on_a_real_control_plane() {
    if !wanted() {
        return;
    }
    let Some(plane) = ControlPlane::if_wanted(&[]).await else { return };
    tour(&Kubectl::new(&plane.kubeconfig())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_with_our_kinds_in_the_sandbox() {
    if !wanted() {
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = KubeServer::start(KubeOptions::new(Clock::system(), Journal::new(), Faults::new())).await.unwrap();
    tour(&Kubectl::new(&server.kubeconfig())).await;
}

/// What users do with kubectl, where no operator runs.
async fn tour(kubectl: &Kubectl) {
    install(kubectl).await;
    explain(kubectl).await;
    examples(kubectl).await;
    show(kubectl).await;
    refuse(kubectl).await;
    delete(kubectl).await;
}

async fn install(kubectl: &Kubectl) {
    let applied = kubectl.does(&["apply", "--server-side", "-f", "crds"]).await;
    assert!(
        applied.lines().count() >= 3 && applied.lines().all(|line| line.ends_with(" serverside-applied")),
        "{applied}"
    );
    kubectl.does(&["wait", "--for=condition=Established", "-f", "crds", "--timeout=30s"]).await;
    let resources = kubectl.does(&["api-resources", "--api-group=oat-operator.dev", "--no-headers"]).await;
    let rows: Vec<Vec<&str>> = resources.lines().map(|line| line.split_whitespace().collect()).collect();
    let version = "oat-operator.dev/v1alpha1";
    for row in [
        ["organizations", "horg", version, "true", "Organization"],
        ["clusterorganizations", "chorg", version, "false", "ClusterOrganization"],
        ["organizationaccesstokens", "oat", version, "true", "OrganizationAccessToken"],
    ] {
        assert!(rows.contains(&row.to_vec()), "no {row:?} in\n{resources}");
    }
}

/// The server publishes the schemas of new kinds a moment after it has established them.
async fn explain(kubectl: &Kubectl) {
    let look = async || kubectl.run(&["explain", "oat.spec.rotation.overlap"]).await.ok();
    let text = eventually("schemas are published", look).await;
    assert!(text.contains("FIELD: overlap <string>"), "{text}");
    assert!(text.contains("DESCRIPTION:") && !text.contains("<empty>"), "{text}");
}

/// Every example is taken, and the second time there is nothing to change.
async fn examples(kubectl: &Kubectl) {
    // The operator's namespace and the one of the quickstart are there before the rest.
    let mut folders = vec!["examples/quickstart".to_owned(), "examples/one-organization".to_owned()];
    for entry in std::fs::read_dir("examples").unwrap() {
        let folder = format!("examples/{}", entry.unwrap().file_name().to_str().unwrap());
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    for folder in &folders {
        for (what, did) in [(["apply", "-f", folder], " created"), (["apply", "-f", folder], " unchanged")] {
            let applied = kubectl.does(&what).await;
            let mut ours = applied.lines().filter(|line| line.contains("oat-operator.dev/"));
            assert!(ours.all(|line| line.ends_with(did)), "{applied}");
        }
        assert_eq!(kubectl.does(&["diff", "-f", folder]).await, "");
        kubectl.does(&["apply", "--dry-run=server", "--server-side", "--force-conflicts", "-f", folder]).await;
    }
}

/// What is printed before and after an operator has written a status, as one would.
async fn show(kubectl: &Kubectl) {
    let payments = ["-n", "payments"];
    let get = async |more: &[&str]| {
        let text = kubectl.does(&[&["get", "oat", "payments-pull"], &payments[..], more].concat()).await;
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let rows = get(&[]).await;
    assert_eq!(rows[0], ["NAME", "ORGANIZATION", "READY", "EXPIRES", "RENEWS", "SECRET", "AGE"]);
    assert_eq!(rows[1][..2], ["payments-pull", "acme"]);
    // Not "Current" before the operator has seen it.
    assert_eq!(get(&["-o", "jsonpath={.status.observedGeneration}"]).await, [["-1"]]);
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "Ready", "message": "the token is in every Secret",
        "observedGeneration": 1, "lastTransitionTime": "2026-11-25T00:00:00Z",
    });
    let status = json!({"status": {
        "observedGeneration": 1, "conditions": [condition], "renewalTime": "2027-01-24T00:00:00Z",
        "secret": {"name": "dockerhub", "targets": 1, "published": 1},
    }});
    let patch = format!("--patch={status}");
    kubectl
        .does(&["patch", "oat", "payments-pull", "-n", "payments", "--subresource=status", "--type=merge", &patch])
        .await;
    kubectl.does(&["wait", "--for=condition=Ready", "oat/payments-pull", "-n", "payments", "--timeout=30s"]).await;
    let rows = get(&["-o", "wide"]).await;
    assert_eq!(rows[0], ["NAME", "ORGANIZATION", "READY", "EXPIRES", "RENEWS", "SECRET", "REASON", "AGE"]);
    assert_eq!(rows[1][..3], ["payments-pull", "acme", "True"]);
    assert_eq!(rows[1][rows[1].len() - 4..][..3], ["2027-01-24T00:00:00Z", "dockerhub", "Ready"]);
    let all = kubectl.does(&["get", "oat-operator", "-A", "-o", "name"]).await;
    assert!(all.contains("organization.oat-operator.dev/acme"), "{all}");
    assert!(all.contains("organizationaccesstoken.oat-operator.dev/payments-pull"), "{all}");
    let described = kubectl.does(&["describe", "oat", "payments-pull", "-n", "payments"]).await;
    assert!(described.contains("the token is in every Secret"), "{described}");
    kubectl.does(&["annotate", "oat", "payments-pull", "-n", "payments", "oat-operator.dev/rotate=now"]).await;
    assert_eq!(get(&["-o", r"jsonpath={.metadata.annotations.oat-operator\.dev/rotate}"]).await, [["now"]]);
}

/// What is wrong is refused, and the field is named.
async fn refuse(kubectl: &Kubectl) {
    let token = |change: Value| {
        let mut object = json!({
            "apiVersion": "oat-operator.dev/v1alpha1", "kind": "OrganizationAccessToken",
            "metadata": {"name": "payments-pull", "namespace": "payments"},
            "spec": {"organizationRef": {"name": "acme"}},
        });
        object["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        object
    };
    let repositories = |count: usize| {
        (0..count).map(|n| json!({"name": format!("acme/r{n}"), "scopes": ["scope-image-pull"]})).collect::<Vec<_>>()
    };
    let apply = async |change: &Value| {
        kubectl.feed_object(&["apply", "--dry-run=server", "-f", "-"], &token(change.clone())).await
    };
    for change in [
        json!({"repositories": repositories(50)}),
        json!({"secret": {"name": "dockerhub", "registries": ["https://index.docker.io/v1/", "127.0.0.1:5001"]}}),
        json!({"secret": {"name": "other", "type": "Opaque"}}),
    ] {
        let took = apply(&change).await;
        assert!(took.is_ok(), "{change}: {took:?}");
    }
    for (change, problem) in [
        (json!({"repositorys": []}), r#"unknown field "spec.repositorys""#),
        (json!({"organizationRef": {"name": "globex"}}), "spec.organizationRef: Invalid value"),
        (json!({"expiration": {"lifetime": "2160h", "never": true}}), "spec.expiration: Invalid value"),
        (json!({"expiration": {"lifetime": "soon"}}), "spec.expiration.lifetime"),
        (json!({"rotation": {"renewBefore": "2160h"}}), "spec.rotation.renewBefore"),
        (json!({"deletionPolicy": "Keep"}), r#"spec.deletionPolicy: Unsupported value: "Keep""#),
        (json!({"repositories": repositories(51)}), "spec.repositories: Too many: 51: must have at most 50 items"),
        (json!({"secret": {"registries": ["user@registry.example.com"]}}), "spec.secret.registries[0]: Invalid value"),
    ] {
        let why = apply(&change).await.expect_err(problem);
        assert!(why.contains(problem), "{change}: {why}");
    }
}

async fn delete(kubectl: &Kubectl) {
    kubectl.does(&["delete", "oat", "--all", "-n", "payments", "--timeout=30s"]).await;
    assert_eq!(kubectl.does(&["get", "oat", "-n", "payments", "-o", "name"]).await, "");
    kubectl.does(&["delete", "-f", "crds", "--timeout=60s"]).await;
    let why = kubectl.run(&["get", "oat", "-A"]).await.unwrap_err();
    // It may have looked the kind up before.
    let gone = ["the server doesn't have a resource type", "the server could not find the requested resource"];
    assert!(gone.iter().any(|text| why.contains(text)), "{why}");
}
