//! Tokens with our marker and no object, and tokens that nobody uses: what the organization says of them, and which are
//! deleted.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use oat_operator::api::{
    MANAGED_BY, MANAGER, OWNER, Organization, TOKEN_ID,
    names::{ClusterId, Identity, Label, Marker},
    organization::OrganizationStatus,
};
use oat_sandbox::{
    fault::{Fault, Rule},
    hub::NewToken,
    journal::Server,
};
use serde_json::{Value, json};

use crate::support::{
    eventually,
    world::{NAMESPACE, World, organization_yaml},
};

/// The organization with these fields besides the usual ones.
async fn organization(world: &World, more: &str) {
    world.apply(&organization_yaml(NAMESPACE).replace("spec: {", &format!("spec: {{{more}, "))).await;
}

/// A label as the operator gives it to a token of an object.
fn label(cluster: &str, namespace: &str, name: &str, user: &str) -> String {
    let identity = Identity::of("OrganizationAccessToken", namespace, name);
    let marker = Marker { cluster: ClusterId::parse(cluster).unwrap(), identity, sequence: 7 };
    marker.label(&Label::parse(user).unwrap())
}

/// A token made by hand; its id.
fn make(world: &World, label: &str) -> String {
    world.hub.organization("acme").create(NewToken::new("acme", label)).unwrap().0
}

/// Has the operator list the tokens: it does when the answer to a create is lost.
async fn list_anew(world: &World, name: &str) {
    let lost = Rule::new(Fault::LoseAnswer).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens").once();
    world.faults.install(lost);
    world.token(name, json!({})).await;
    world.until_ready(name).await;
}

/// The notes of the events with this reason in the namespace.
async fn notes(world: &World, reason: &str) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(world.client.clone(), NAMESPACE);
    let events = events.list(&Default::default()).await.unwrap();
    events.into_iter().filter(|event| event.reason.as_deref() == Some(reason)).filter_map(|event| event.note).collect()
}

/// Rewrites the status: these tokens were first seen without an object two days ago, and were made before.
async fn backdate(world: &World, ids: &[&str]) {
    let long_ago = Timestamp::now() - SignedDuration::from_hours(48);
    let orphaned: Vec<Value> =
        ids.iter().map(|id| json!({"id": id, "label": "as it was", "firstSeenTime": long_ago.to_string()})).collect();
    for id in ids {
        world.hub.organization("acme").set_created(id, long_ago);
    }
    let api: Api<Organization> = Api::namespaced(world.client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"status": {"orphaned": orphaned}}));
    api.patch_status("acme", &PatchParams::default(), &patch).await.unwrap();
}

fn orphaned(status: &OrganizationStatus) -> u32 {
    status.tokens.as_ref().map_or(0, |counts| counts.orphaned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_commit_of_an_object_that_is_gone_is_reported_and_deleted_a_day_later_if_asked() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&["--leader-elect=false"]);
    world.until_organization_ready().await;
    let late = Rule::new(Fault::CommitLater).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens").once();
    let late = world.faults.install(late);
    world.token("gone", json!({})).await;
    world.faults.hit(late, 1).await;
    world.delete("gone").await;
    world.hub.close_connections();
    world.until_gone("gone").await;
    world.faults.release(late);
    let acme = world.hub.organization("acme");
    eventually("the late token appears", async || (acme.tokens().len() == 1).then_some(())).await;
    let id = acme.tokens().remove(0).id;
    list_anew(&world, "other").await;
    let reported = world.until_organization("reports it", |status| orphaned(status) == 1).await.status.unwrap();
    assert_eq!(reported.orphaned.len(), 1);
    assert_eq!(reported.orphaned[0].id, id);
    assert!(reported.orphaned[0].label.starts_with("payments/gone [test/"), "{reported:?}");

    // Reporting is all that is done by default, however long it has been.
    backdate(&world, &[&id]).await;
    list_anew(&world, "third").await;
    world.quiet().await;
    assert!(acme.token(&id).is_some());

    organization(&world, "orphanPolicy: Delete").await;
    eventually("it is deleted", async || acme.token(&id).is_none().then_some(())).await;
    let status = world.until_organization("counts anew", |status| orphaned(status) == 0).await.status.unwrap();
    assert!(status.orphaned.is_empty());
    let told =
        eventually("an event tells", async || Some(notes(&world, "OrphanRemoved").await).filter(|n| !n.is_empty()));
    assert!(told.await.iter().any(|note| note.contains(&id) && note.contains("its object is gone")));
    let metrics = reqwest::get(format!("http://{}/metrics", world.operators[0].metrics)).await.unwrap();
    assert!(metrics.text().await.unwrap().contains(r#"orphans_removed_total{organization="acme"}"#));
    assert_eq!(acme.tokens().len(), 2, "those of the living objects are left");
    for name in ["other", "third"] {
        assert!(world.works(&world.value(name).await.unwrap()).await);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_surely_an_orphan_for_a_day_is_deleted() {
    let mut world = World::new().await;
    organization(&world, "orphanPolicy: Delete").await;
    world.start(&["--leader-elect=false"]);
    world.token("pull", json!({})).await;
    let pull = world.until_ready("pull").await.status.unwrap().token.unwrap().id;
    world.quiet().await;
    world.kill();
    let acme = world.hub.organization("acme");
    let sure = make(&world, &label("test", NAMESPACE, "gone", "any text"));
    let held = make(&world, &label("test", NAMESPACE, "kept", "payments/kept"));
    let other = make(&world, &label("other", NAMESPACE, "gone", "payments/gone"));
    let plain = make(&world, "payments/gone");
    let fresh = make(&world, &label("test", NAMESPACE, "fresh", "payments/fresh"));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "b"}, "metadata": {
        "name": "kept", "namespace": NAMESPACE,
        "labels": {MANAGED_BY: MANAGER, OWNER: "0000"}, "annotations": {TOKEN_ID: held}}});
    world.apply(&secret.to_string()).await;
    backdate(&world, &[&sure, &held, &other, &plain, &pull]).await;
    let mark = world.mark();
    world.start(&["--leader-elect=false"]);
    eventually("the sure one is deleted", async || acme.token(&sure).is_none().then_some(())).await;
    let status = world.until_organization("says so", |status| orphaned(status) == 2).await.status.unwrap();
    world.quiet().await;
    let mut left: Vec<_> = acme.tokens().into_iter().map(|token| token.id).collect();
    let mut expected = vec![held.clone(), other, plain, fresh.clone(), pull];
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
    // The oldest first.
    assert_eq!(status.orphaned.iter().map(|orphan| &orphan.id).collect::<Vec<_>>(), [&held, &fresh]);
    let deletes: Vec<_> = world.hub_since(mark).into_iter().filter(|call| call.starts_with("DELETE")).collect();
    assert_eq!(deletes, [format!("DELETE /v2/orgs/acme/access-tokens/{sure}")]);
    assert!(world.works(&world.value("pull").await.unwrap()).await);
    world.finish().await;
}

const NAMESPACED: [&str; 3] = [
    "config/rbac-namespaced/cluster_role.yaml",
    "config/rbac-namespaced/namespace_role.yaml",
    "config/rbac-namespaced/operator_role.yaml",
];

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_at_one_namespace_knows_no_orphans_of_others() {
    let mut world = World::under(&NAMESPACED, |_| {}).await;
    make(&world, &label("test", "elsewhere", "alive", "elsewhere/alive"));
    make(&world, &label("test", "elsewhere", "alive", "payments/alive"));
    let own = make(&world, &label("test", NAMESPACE, "gone", "payments/gone"));
    world.organization().await;
    world.start(&["--leader-elect=false", "--namespace", NAMESPACE]);
    let status = world.until_organization("counts", |status| status.tokens.is_some()).await.status.unwrap();
    let counts = status.tokens.unwrap();
    assert_eq!((counts.managed, counts.orphaned, counts.unmanaged), (3, 1, 0));
    assert_eq!(status.orphaned[0].id, own);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_tokens_are_counted_and_told_once() {
    let mut world = World::new().await;
    let acme = world.hub.organization("acme");
    let (now, hours) = (Timestamp::now(), SignedDuration::from_hours);
    let jenkins = make(&world, "jenkins");
    acme.set_created(&jenkins, now - hours(900));
    acme.set_last_used(&jenkins, Some(now - hours(2)));
    organization(&world, "unusedAfter: 720h").await;
    world.start(&["--leader-elect=false"]);
    world.until_organization_ready().await;
    world.until_organization("counts", |status| status.tokens.as_ref().is_some_and(|counts| counts.unused == 0)).await;
    acme.set_last_used(&jenkins, Some(now - hours(721)));
    list_anew(&world, "one").await;
    let unused = |count| move |status: &OrganizationStatus| status.tokens.as_ref().is_some_and(|c| c.unused == count);
    world.until_organization("has one unused token", unused(1)).await;
    let told =
        eventually("an event tells", async || Some(notes(&world, "UnusedTokens").await).filter(|n| !n.is_empty()));
    assert_eq!(told.await, ["1 token was not used for 720h: jenkins"]);
    // Another one is no transition.
    let backup = make(&world, "backup");
    acme.set_created(&backup, now - hours(900));
    list_anew(&world, "two").await;
    world.until_organization("has two unused tokens", unused(2)).await;
    world.until_organization_ready().await;
    world.quiet().await;
    assert_eq!(notes(&world, "UnusedTokens").await.len(), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_two_events_of_one_reason_is_seen() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&["--leader-elect=false"]);
    world.token("pull", json!({})).await;
    let first = world.until_ready("pull").await.status.unwrap().token.unwrap().id;
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    let object = world.until("pull", "is rotated", |object| crate::support::world::sequence(object) == 2).await;
    let second = object.status.unwrap().token.unwrap().id;
    world.delete("pull").await;
    world.until_gone("pull").await;
    world.quiet().await;
    let told = notes(&world, "TokenDeleted").await;
    assert_eq!(told.len(), 2, "{told:?}");
    for id in [first, second] {
        assert!(told.iter().any(|note| note.contains(&id)), "{id}: {told:?}");
    }
    world.finish().await;
}
