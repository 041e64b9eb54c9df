//! Many at once, slow answers, hanging answers: creates are counted, and nobody waits for somebody else's trouble.

use std::time::{Duration, Instant};

use futures::future::join_all;
use oat_sandbox::{
    fault::{Fault, Rule},
    journal::Server,
};
use serde_json::json;

use crate::support::world::{World, is_ready, organization_yaml, sequence};

/// Makes and rotates thirty tokens, so many at a time, with Docker Hub taking so long for each answer.
async fn thirty(width: usize, latency: Duration) {
    let mut world = World::new().await;
    if !latency.is_zero() {
        world.faults.install(Rule::new(Fault::Delay(latency)).on(Server::Hub));
    }
    world.organization().await;
    world.start(&[]);
    world.until_organization_ready().await;
    let mark = world.mark();
    let names: Vec<String> = (0..30).map(|i| format!("pull-{i}")).collect();
    for names in names.chunks(width) {
        join_all(names.iter().map(|name| world.token(name, json!({"rotation": {"overlap": "0s"}})))).await;
        join_all(names.iter().map(|name| world.until_ready(name))).await;
    }
    for names in names.chunks(width) {
        join_all(names.iter().map(|name| world.annotate(name, "oat-operator.dev/rotate", "now"))).await;
        let done = |object: &oat_operator::api::OrganizationAccessToken| {
            sequence(object) == 2 && is_ready(object) && object.status.as_ref().unwrap().previous.is_empty()
        };
        join_all(names.iter().map(|name| world.until(name, "is rotated", done))).await;
    }
    world.quiet().await;
    assert_eq!(world.creates_since(mark), 60);
    assert_eq!(world.hub.organization("acme").tokens().len(), 30);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_one_after_the_other_at_rest() {
    thirty(1, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_one_after_the_other_at_200_ms() {
    thirty(1, Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_sixteen_at_once_at_rest() {
    thirty(16, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_sixteen_at_once_at_200_ms() {
    thirty(16, Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_hangs_delays_neither_another_organization_nor_a_revocation() {
    let mut world = World::with(|options| {
        let other = oat_sandbox::hub::Organization::new("umbrella").owner("acme-owner").private("lab");
        options.organizations.push(other);
    })
    .await;
    world.organization().await;
    world.namespace("lab").await;
    world.credentials("lab", crate::support::world::PASSWORD).await;
    world.apply(&organization_yaml("lab").replace("spec: {", "spec: {organization: umbrella, ")).await;
    world.start(&[]);
    world.token("steady", json!({})).await;
    world.until_ready("steady").await;
    let hang = Rule::new(Fault::HangBefore).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens").once();
    let hang = world.faults.install(hang);
    world.token("hanging", json!({})).await;
    world.faults.hit(hang, 1).await;
    let since = Instant::now();
    let lab = json!({"apiVersion": "oat-operator.dev/v1alpha1", "kind": "OrganizationAccessToken", "metadata": {"name": "lab", "namespace": "lab"},
        "spec": {"organizationRef": {"name": "acme"}, "repositories": [{"name": "umbrella/lab", "scopes": ["scope-image-pull"]}]}});
    crate::support::world::apply_value(&world.client, lab).await.unwrap();
    world.annotate("steady", "oat-operator.dev/revoke", "now").await;
    world.until("steady", "is replaced", |object| sequence(object) == 2).await;
    let labs: kube::Api<oat_operator::api::OrganizationAccessToken> =
        kube::Api::namespaced(world.client.clone(), "lab");
    crate::support::eventually("the other organization's token is ready", async || {
        labs.get("lab").await.ok().filter(is_ready).map(|_| ())
    })
    .await;
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    world.faults.release(hang);
    world.until_ready("hanging").await;
    world.finish().await;
}
