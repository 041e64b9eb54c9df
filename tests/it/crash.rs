//! SIGKILL after every single request of a create, a rotation, a revocation and a deletion, then a restart: one live
//! token, a Secret that works, no orphan, and nobody had to help.
//!
//! On the sandbox only: its servers can carry a request out, answer nothing, and take nothing from then on.

use oat_sandbox::{journal::Server, serve::RequestInfo};
use serde_json::json;

use crate::support::{
    cluster, eventually,
    world::{World, is_ready, sequence},
};

/// What a scenario does to a token that is there, or to none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Create,
    Rotate,
    Revoke,
    Delete,
}

/// Requests that a crash may follow: the operator's, without watches and the Lease.
fn counts(request: &RequestInfo) -> bool {
    let ours = request.user_agent.starts_with("oat-operator");
    let watch = request.query.contains("watch=true");
    let lease = request.path.contains("/leases");
    let event = request.server == Server::Kubernetes && request.path.contains("/events");
    ours && !watch && !lease && !event
}

async fn begin(scenario: Scenario) -> World {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&["--leader-elect=false"]);
    world.until_organization_ready().await;
    if scenario != Scenario::Create {
        world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
        world.until_ready("pull").await;
    }
    world.quiet().await;
    world
}

async fn act(world: &World, scenario: Scenario) {
    match scenario {
        Scenario::Create => {
            world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
        }
        Scenario::Rotate => world.annotate("pull", "oat-operator.dev/rotate", "now").await,
        Scenario::Revoke => world.annotate("pull", "oat-operator.dev/revoke", "now").await,
        Scenario::Delete => world.delete("pull").await,
    }
}

/// The end that is asked for, whatever happened on the way.
async fn settled(world: &World, scenario: Scenario, at: u64) {
    let acme = world.hub.organization("acme");
    if scenario == Scenario::Delete {
        world.until_gone("pull").await;
        eventually("no token is left", async || acme.tokens().is_empty().then_some(())).await;
        assert!(world.secrets().get_opt("pull").await.unwrap().is_none(), "{scenario:?} {at}: the Secret is left");
        return;
    }
    let least = if scenario == Scenario::Create { 1 } else { 2 };
    let done = |object: &oat_operator::api::OrganizationAccessToken| {
        is_ready(object) && sequence(object) >= least && object.status.as_ref().unwrap().previous.is_empty()
    };
    let object = world.until("pull", &format!("is settled after {scenario:?} {at}"), done).await;
    eventually("one token is left", async || (acme.tokens().len() == 1).then_some(())).await;
    let token = acme.tokens().remove(0);
    assert_eq!(Some(token.id), object.status.and_then(|status| status.token).map(|token| token.id));
    assert!(world.works(&world.value("pull").await.unwrap()).await, "{scenario:?} {at}: the Secret doesn't work");
}

/// Crashes after request `at`; false where the scenario has fewer.
async fn crash(scenario: Scenario, at: u64) -> bool {
    let mut world = begin(scenario).await;
    world.faults.freeze_at(at, counts);
    act(&world, scenario).await;
    let reached = async {
        tokio::select! {
            () = world.faults.frozen() => true,
            () = settled(&world, scenario, at) => world.faults.is_frozen(),
        }
    };
    let reached = reached.await;
    world.kill();
    world.faults.thaw();
    if reached {
        world.start(&["--leader-elect=false"]);
        settled(&world, scenario, at).await;
        world.quiet().await;
        settled(&world, scenario, at).await;
    }
    world.finish().await;
    reached
}

async fn sweep(scenario: Scenario, at_least: u64) {
    if cluster::is_real() {
        eprintln!("not run: a real API server can't be frozen");
        return;
    }
    let mut at = 1;
    while crash(scenario, at).await {
        at += 1;
    }
    assert!(at > at_least, "{scenario:?} has only {} requests", at - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn create() {
    sweep(Scenario::Create, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotate() {
    sweep(Scenario::Rotate, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoke() {
    sweep(Scenario::Revoke, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete() {
    sweep(Scenario::Delete, 3).await;
}
