//! The real control plane that the suite runs on does what a control plane does.

use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    runtime::wait::{await_condition, conditions},
};

use crate::support::controlplane::ControlPlane;

#[tokio::test]
async fn it_starts_takes_our_crds_and_runs_controllers() {
    let Some(plane) = ControlPlane::if_wanted(&[]).await else { return };
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&plane.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in oat_operator::api::crds() {
        let name = crd.metadata.name.clone().unwrap();
        crds.create(&PostParams::default(), &crd).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        await_condition(crds.clone(), &name, conditions::is_crd_established()).await.unwrap();
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(serde_json::json!({"metadata": {"name": "payments"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "payments");
    await_condition(accounts, "default", |account: Option<&ServiceAccount>| account.is_some()).await.unwrap();
    let uid = namespaces.get("payments").await.unwrap().metadata.uid.unwrap();
    namespaces.delete("payments", &DeleteParams::default()).await.unwrap();
    await_condition(namespaces, "payments", conditions::is_deleted(&uid)).await.unwrap();
    let deleted =
        plane.audit().into_iter().filter(|event| event.verb == "delete" && event.resource == "namespaces").count();
    assert_eq!(deleted, 1);
}

#[tokio::test]
async fn it_checks_rights_keeps_its_data_over_a_restart_and_counts_requests_once() {
    let Some(mut plane) = ControlPlane::if_wanted(&[("operator", "operator-token", "operators,tests")]).await else {
        return;
    };
    let (http, url) = (plane.http(), format!("{}/api/v1/namespaces", plane.url()));
    let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments"}});
    let create = |token: &str| http.post(&url).bearer_auth(token).json(&namespace).send();
    assert_eq!(create(plane.user_token("operator")).await.unwrap().status(), 403);
    assert_eq!(create("somebody-else").await.unwrap().status(), 401);
    assert_eq!(create(plane.admin_token()).await.unwrap().status(), 201);

    plane.stop_apiserver();
    assert!(create(plane.admin_token()).await.is_err());
    plane.restart_apiserver().await;
    assert_eq!(create(plane.admin_token()).await.unwrap().status(), 409);

    let codes: Vec<(String, u64)> = plane
        .audit()
        .into_iter()
        .filter(|event| event.user_agent == "controlplane-test" && event.verb == "create")
        .map(|event| (event.user, event.code))
        .collect();
    let expected = [("operator", 403), ("", 401), ("admin", 201), ("admin", 409)];
    assert_eq!(codes, expected.map(|(user, code)| (user.to_owned(), code)));
}
