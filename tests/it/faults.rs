//! What users see of Docker Hub's bad days: the reason is shown, nobody asks before `Retry-After`, what comes late is
//! swept, a freed place is taken. Every fault at every request is the matter of `sim::matrix`.

use std::time::Duration;

use oat_sandbox::{
    fault::{Canned, Fault, Rule},
    journal::Server,
};
use serde_json::json;

use crate::support::{
    eventually,
    world::{World, condition},
};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_before_retry_after_and_the_reason_is_shown() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&[]);
    world.until_organization_ready().await;
    let limit = Canned::json(429, &json!({"detail": "Rate limit exceeded", "error": false})).header("Retry-After", "4");
    let limit = Rule::new(Fault::Answer(limit)).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens").once();
    let limit = world.faults.install(limit);
    world.token("pull", json!({})).await;
    world.faults.hit(limit, 1).await;
    let refused = eventually("the answer is in the journal", async || {
        world.journal.entries().into_iter().rev().find(|entry| entry.status == Some(429))
    })
    .await;
    world
        .until("pull", "says so", |object| {
            condition(object, "Reconciling").is_some_and(|(_, reason)| reason == "RateLimited")
        })
        .await;
    world.until_ready("pull").await;
    let after = world.journal.since(refused.index + 1);
    let next =
        after.iter().find(|entry| entry.server == Server::Hub && entry.user_agent.starts_with("oat-operator")).unwrap();
    let waited = Duration::try_from(next.time.duration_since(refused.time)).unwrap();
    assert!(waited >= Duration::from_secs(4), "{waited:?}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_committed_after_everybody_gave_up_is_swept() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&[]);
    world.until_organization_ready().await;
    let late = Rule::new(Fault::CommitLater).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens").once();
    let late = world.faults.install(late);
    world.token("pull", json!({})).await;
    world.faults.hit(late, 1).await;
    // The client would wait for thirty seconds; its connection breaks instead.
    world.hub.close_connections();
    world.until_ready("pull").await;
    let acme = world.hub.organization("acme");
    assert_eq!(acme.tokens().len(), 1);
    world.faults.release(late);
    eventually("the late token appears", async || (acme.tokens().len() == 2).then_some(())).await;
    // The next list shows it; a restart makes one.
    world.kill();
    world.start(&[]);
    eventually("the late token is swept", async || (acme.tokens().len() == 1).then_some(())).await;
    assert!(world.works(&world.value("pull").await.unwrap()).await);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_said_and_a_freed_place_is_taken() {
    let mut world = World::new().await;
    world.hub.organization("acme").set_limit(1);
    world
        .apply(&crate::support::world::organization_yaml("payments").replace("tokenLimit: 200", "tokenLimit: 2"))
        .await;
    world.start(&[]);
    world.token("one", json!({})).await;
    world.until_ready("one").await;
    world.token("two", json!({})).await;
    let object = world.until("two", "is stalled", |object| condition(object, "Stalled").is_some()).await;
    assert_eq!(condition(&object, "Stalled").unwrap().1, "QuotaExceeded");
    world.delete("one").await;
    world.until_gone("one").await;
    world.until_ready("two").await;
    world.finish().await;
}
