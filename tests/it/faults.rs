//! Docker Hub's odd answers on every route: it converges, one token is left, the reason is shown, and nobody asks
//! before `Retry-After`.

use std::time::Duration;

use oat_sandbox::{
    fault::{Canned, Fault, Rule},
    journal::Server,
};
use serde_json::json;

use crate::support::{
    eventually,
    world::{World, condition, is_ready},
};

/// The routes, by method and the beginning of the path.
const ROUTES: [(&str, &str); 6] = [
    ("POST", "/v2/auth/token"),
    ("GET", "/v2/orgs/acme/access-tokens"),
    ("POST", "/v2/orgs/acme/access-tokens"),
    ("PATCH", "/v2/orgs/acme/access-tokens/"),
    ("DELETE", "/v2/orgs/acme/access-tokens/"),
    ("GET", "/token"),
];

fn faults() -> Vec<(&'static str, Fault)> {
    let status = |status: u16| Canned::json(status, &json!({"message": "try again"}));
    vec![
        ("lost before", Fault::Refuse),
        ("lost after", Fault::LoseAnswer),
        ("429", Fault::Answer(status(429).header("Retry-After", "2"))),
        ("500", Fault::Answer(status(500))),
        ("502 after", Fault::AnswerAfter(Canned::html(502, "bad gateway"))),
        ("503", Fault::Answer(status(503))),
        ("truncated", Fault::Truncate),
        ("garbage", Fault::AnswerAfter(Canned { status: 200, headers: Vec::new(), body: b"\x00\xff{{{".to_vec() })),
        ("HTML", Fault::Answer(Canned::html(403, "Just a moment..."))),
        ("wrong shape", Fault::AnswerAfter(Canned::json(200, &json!({"unexpected": [1, 2, 3]})))),
    ]
}

/// A whole life with one fault on one route: the operator starts, a token is made, edited, rotated, deleted.
async fn life(world: &mut World, (method, path): (&'static str, &'static str), name: &str, fault: Fault) {
    let server = if path == "/token" { Server::Registry } else { Server::Hub };
    let what = |what: &str| format!("{what} after {name} on {method} {path}");
    let acme = world.hub.organization("acme");
    let rule = world.faults.install(Rule::new(fault).on(server).request(method, path).once());
    world.start(&["--leader-elect=false"]);
    world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    world.until("pull", &what("is ready"), is_ready).await;
    world.patch("pull", json!({"spec": {"description": "edited"}})).await;
    world.until_ready("pull").await;
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    let rotated = |object: &oat_operator::api::OrganizationAccessToken| {
        let Some(status) = object.status.as_ref().filter(|_| is_ready(object)) else { return false };
        status.last_handled.rotate.as_deref() == Some("now") && status.previous.is_empty()
    };
    world.until("pull", &what("is rotated"), rotated).await;
    eventually(&what("one token is left"), async || (acme.tokens().len() == 1).then_some(())).await;
    assert!(world.works(&world.value("pull").await.unwrap()).await, "{}", what("the Secret works"));
    assert_eq!(acme.tokens().remove(0).description.as_deref(), Some("edited"), "{}", what("edited"));
    world.delete("pull").await;
    world.until_gone("pull").await;
    eventually(&what("no token is left"), async || acme.tokens().is_empty().then_some(())).await;
    assert_eq!(world.faults.hits(rule), 1, "{}", what("the fault did not happen"));
    world.kill();
}

async fn route(at: usize) {
    let mut world = World::new().await;
    world.organization().await;
    for (name, fault) in faults() {
        life(&mut world, ROUTES[at], name, fault).await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_login() {
    route(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_list() {
    route(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_create() {
    route(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_patch() {
    route(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_delete() {
    route(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_proof() {
    route(5).await;
}

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
