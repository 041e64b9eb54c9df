//! Two API servers on the same manifests: what one refuses the other refuses, for the same fields.
//!
//! Each manifest is a create with `dryRun=All`, so that nothing is kept. The sandbox answers in any case; a real control
//! plane beside it where `OAT_TEST_CLUSTER=real` asks for one, and then a difference is a bug of the sandbox.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::PostParams,
    client::Body,
    runtime::wait::{await_condition, conditions},
};
use oat_operator::api::{ClusterOrganization, Organization, OrganizationAccessToken};
use oat_sandbox::{
    clock::Clock,
    fault::Faults,
    journal::Journal,
    kube::{KubeOptions, KubeServer},
};
use serde_json::{Value, json};

use super::{bad, generated};
use crate::support::{controlplane::ControlPlane, world::NAMESPACE};

/// An API server's answer to a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub code: u64,
    pub reason: String,
    pub message: String,
    /// The fields that are named, each with what is wrong with it.
    pub causes: BTreeSet<(String, String)>,
    /// What would be stored.
    pub spec: Value,
}

impl Answer {
    pub fn refuses(&self) -> bool {
        self.code >= 400
    }
}

/// Asks for a dry run of a create.
pub async fn ask(client: &Client, kind: &str, body: &str) -> Answer {
    let resource = match kind {
        "OrganizationAccessToken" => format!("namespaces/{NAMESPACE}/organizationaccesstokens"),
        "Organization" => format!("namespaces/{NAMESPACE}/organizations"),
        _ => "clusterorganizations".to_owned(),
    };
    let path =
        format!("/apis/oat-operator.dev/v1alpha1/{resource}?dryRun=All&fieldValidation=Strict&fieldManager=test");
    let request = http::Request::post(path).header("content-type", "application/json");
    let answer = client.send(request.body(Body::from(body.as_bytes().to_vec())).unwrap()).await.unwrap();
    let code = u64::from(answer.status().as_u16());
    let bytes = answer.into_body().collect_bytes().await.unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = value["details"]["causes"].as_array().into_iter().flatten();
    let causes = causes.map(|cause| (text(&cause["field"]), text(&cause["reason"]))).collect();
    Answer {
        code,
        reason: text(&value["reason"]),
        message: text(&value["message"]),
        causes,
        spec: value["spec"].clone(),
    }
}

/// The sandbox's API server with our definitions.
async fn sandbox() -> (KubeServer, Client) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = KubeOptions::new(Clock::system(), Journal::new(), Faults::new());
    let server = KubeServer::start(options).await.unwrap();
    let client = connect(&server.kubeconfig()).await;
    prepare(&client).await;
    (server, client)
}

async fn connect(kubeconfig: &str) -> Client {
    let kubeconfig = kube::config::Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Our definitions and a namespace.
async fn prepare(client: &Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in oat_operator::api::crds() {
        crds.create(&PostParams::default(), &crd).await.unwrap();
        await_condition(crds.clone(), &crd.name_any(), conditions::is_crd_established()).await.unwrap();
    }
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
}

fn manifests(seed: u64) -> Vec<(&'static str, String)> {
    let by_hand = bad::all().into_iter().map(|bad| (bad.kind, bad.object.to_string()));
    let good = ["OrganizationAccessToken", "Organization", "ClusterOrganization"];
    let good = good.into_iter().map(|kind| (kind, bad::good(kind).to_string()));
    good.chain(by_hand).chain(generated::all(seed).into_iter().map(|made| (made.kind, made.body))).collect()
}

async fn answers(client: &Client, manifests: &[(&'static str, String)]) -> Vec<Answer> {
    stream::iter(manifests).map(|(kind, body)| ask(client, kind, body)).buffered(8).collect().await
}

/// What kube-cel, a third reader of the same rules, says of a manifest that fits the types: whether it refuses.
fn kube_cel(kind: &str, body: &str) -> Option<bool> {
    let value: Value = serde_json::from_str(body).ok()?;
    Some(match kind {
        "OrganizationAccessToken" => {
            serde_json::from_value::<OrganizationAccessToken>(value).ok()?.validate_cel().is_err()
        }
        "Organization" => serde_json::from_value::<Organization>(value).ok()?.validate_cel().is_err(),
        _ => serde_json::from_value::<ClusterOrganization>(value).ok()?.validate_cel().is_err(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_manifest_gets_a_clear_answer() {
    let seed = generated::seed();
    let manifests = manifests(seed);
    let (_server, client) = sandbox().await;
    let answers = answers(&client, &manifests).await;
    let again = |at: usize| format!("{}\nagain: OAT_SEED={seed} cargo test --test it manifests", manifests[at].1);
    for (at, answer) in answers.iter().enumerate() {
        assert!([201, 400, 422].contains(&answer.code), "{answer:?}: {}", again(at));
        let speaks = answer.causes.iter().any(|(field, _)| !field.is_empty())
            || answer.message.contains("spec")
            || answer.code == 400;
        assert!(!answer.refuses() || speaks, "no field is named in {answer:?}: {}", again(at));
        let (kind, body) = &manifests[at];
        if !answer.refuses() {
            assert_ne!(kube_cel(kind, body), Some(true), "kube-cel refuses what the sandbox takes: {}", again(at));
        } else if answer.code == 422
            && answer.causes.iter().all(|(_, reason)| reason == "FieldValueInvalid")
            && only_rules(&answer.message)
        {
            assert_ne!(
                kube_cel(kind, body),
                Some(false),
                "kube-cel takes what the rules refuse: {answer:?}: {}",
                again(at)
            );
        }
    }
    let refused = answers.iter().filter(|answer| answer.refuses()).count();
    eprintln!("{} manifests: {refused} refused, {} taken", answers.len(), answers.len() - refused);
    assert!(answers.len() - refused > 200 && refused > 1000, "both answers are met often");
}

/// Whether all that is wrong is a rule's finding: their texts are ours.
fn only_rules(message: &str) -> bool {
    let rules = [
        "exactly one of",
        "exclude each other",
        "must be between",
        "must be at least",
        "can only be true",
        "must be shorter",
        "must leave room",
        "a token needs repositories",
    ];
    let findings = message.split_once("is invalid: ").map_or("", |(_, rest)| rest);
    !findings.is_empty()
        && !findings.contains("evaluating rule")
        && findings
            .trim_matches(['[', ']'])
            .split("spec")
            .filter(|part| !part.is_empty())
            .all(|part| rules.iter().any(|rule| part.contains(rule)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_agrees_with_a_real_api_server() {
    let Some(plane) = ControlPlane::if_wanted(&[]).await else { return };
    let real = connect(&plane.kubeconfig()).await;
    prepare(&real).await;
    let seed = generated::seed();
    let manifests = manifests(seed);
    let (_server, client) = sandbox().await;
    let (ours, theirs) = (answers(&client, &manifests).await, answers(&real, &manifests).await);
    let mut differences = Vec::new();
    for ((ours, theirs), (_, body)) in ours.iter().zip(&theirs).zip(&manifests) {
        let verdict =
            |answer: &Answer| (answer.code, answer.reason.clone(), answer.causes.clone(), answer.spec.clone());
        if verdict(ours) != verdict(theirs) {
            differences.push(format!(
                "{body}\n  sandbox: {} {} {}\n  real:    {} {} {}",
                ours.code, ours.message, ours.spec, theirs.code, theirs.message, theirs.spec
            ));
        }
    }
    let worded = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours.message == theirs.message).count();
    let refused = theirs.iter().filter(|answer| answer.refuses()).count();
    eprintln!(
        "{} manifests: {refused} refused, {} differences, {worded} with the same words",
        manifests.len(),
        differences.len()
    );
    assert!(
        differences.is_empty(),
        "{} of {}; again: OAT_TEST_CLUSTER=real OAT_SEED={seed} cargo test --test it agrees\n{}",
        differences.len(),
        manifests.len(),
        differences.join("\n")
    );
}
