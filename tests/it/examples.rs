//! Every example is applied as it stands, and does what it says.

use oat_operator::api::OrganizationAccessToken;

use crate::support::{
    eventually,
    world::{PASSWORD, World, is_ready, read},
};

async fn example(files: &[&str], tokens: &[(&str, &str)]) {
    let mut world = World::new().await;
    world.start(&[]);
    for file in files {
        world.apply(&read(&format!("examples/{file}")).replace("sandbox-password", PASSWORD)).await;
    }
    for (namespace, name) in tokens {
        let api: kube::Api<OrganizationAccessToken> = kube::Api::namespaced(world.client.clone(), namespace);
        eventually(&format!("{namespace}/{name} is ready"), async || {
            api.get(name).await.ok().filter(is_ready).map(|_| ())
        })
        .await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quickstart() {
    example(&["quickstart/quickstart.yaml"], &[("payments", "payments-pull")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_organization() {
    let files = ["one-organization/organization.yaml", "one-organization/tokens.yaml"];
    example(&files, &[("checkout", "pull"), ("search", "pull")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn push_token() {
    example(&["push-token/push.yaml"], &[("ci", "push")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deactivated() {
    example(&["deactivated/deactivated.yaml"], &[("paused", "paused-pull")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_secret() {
    example(&["opaque-secret/opaque.yaml"], &[("tools", "mirror")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows() {
    example(&["windows/windows.yaml"], &[("nightly", "weekends"), ("nightly", "nights")]).await;
}
