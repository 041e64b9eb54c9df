//! A token's life, end to end: made, proved, published, rotated, edited, deactivated, revoked, deleted; and what it costs.

use serde_json::json;

use crate::support::{
    eventually,
    world::{NAMESPACE, World, condition, is_ready, sequence},
};

/// What a pass over one token may write: as `docs/decisions/0006` counts.
fn writes(world: &World, mark: crate::support::world::Mark) -> Vec<String> {
    let requests = world.kubernetes_since(mark);
    requests.iter().filter(|request| request.is_write()).map(|r| format!("{} {}", r.verb, r.resource)).collect()
}

fn reads(world: &World, mark: crate::support::world::Mark) -> Vec<String> {
    let requests = world.kubernetes_since(mark);
    requests.iter().filter(|request| request.is_read()).map(|r| format!("{} {}", r.verb, r.resource)).collect()
}

async fn settled() -> World {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&[]);
    world.until_organization_ready().await;
    world.quiet().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_costs_three_writes_no_read_and_one_create_call() {
    let world = settled().await;
    let mark = world.mark();
    world.token("pull", json!({})).await;
    let object = world.until_ready("pull").await;
    world.quiet().await;
    let status = object.status.unwrap();
    let token = status.token.unwrap();
    assert_eq!((token.sequence, token.active), (1, true));
    assert!(token.label.starts_with("payments/pull [test/") && token.label.ends_with(".1]"), "{}", token.label);
    assert!(world.works(&world.value("pull").await.unwrap()).await);
    assert_eq!(
        writes(&world, mark),
        ["patch organizationaccesstokens", "create secrets", "patch organizationaccesstokens/status"]
    );
    assert_eq!(reads(&world, mark), [""; 0]);
    let id = token.id;
    assert_eq!(world.hub_since(mark), ["POST /v2/orgs/acme/access-tokens", "GET /token"], "{id}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_publishes_first_and_deletes_after_the_overlap() {
    let world = settled().await;
    world.token("pull", json!({"rotation": {"overlap": "2s"}})).await;
    world.until_ready("pull").await;
    let first = world.value("pull").await.unwrap();
    world.quiet().await;
    let mark = world.mark();
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    let object = world.until("pull", "has its second token", |object| sequence(object) == 2).await;
    assert!(is_ready(&object), "Ready stays True");
    assert_eq!(condition(&object, "Rotating").unwrap().0, "True");
    let second = world.value("pull").await.unwrap();
    assert_ne!(first, second);
    assert!(world.works(&first).await && world.works(&second).await, "both work in the overlap");
    world
        .until("pull", "has let the first token go", |object| object.status.as_ref().unwrap().previous.is_empty())
        .await;
    world.quiet().await;
    assert!(!world.works(&first).await && world.works(&second).await);
    assert_eq!(
        writes(&world, mark),
        ["patch secrets", "patch organizationaccesstokens/status", "patch organizationaccesstokens/status"]
    );
    assert_eq!(reads(&world, mark), [""; 0]);
    let calls: Vec<_> = world.hub_since(mark).iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(calls, ["POST", "GET", "DELETE"], "create, proof, delete");
    assert_eq!(world.hub.organization("acme").tokens().len(), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trigger_rotates_and_the_same_trigger_does_not() {
    let world = settled().await;
    world.token("pull", json!({"rotation": {"trigger": "one"}})).await;
    world.until_ready("pull").await;
    world.patch("pull", json!({"spec": {"rotation": {"trigger": "two"}}})).await;
    let object = world.until("pull", "has its second token", |object| sequence(object) == 2 && is_ready(object)).await;
    assert_eq!(object.status.unwrap().last_handled.trigger.as_deref(), Some("two"));
    world.quiet().await;
    let mark = world.mark();
    world.annotate("pull", "reconcile.fluxcd.io/requestedAt", "now").await;
    world.patch("pull", json!({"metadata": {"labels": {"team": "payments"}}})).await;
    world.quiet().await;
    assert_eq!((writes(&world, mark), world.hub_since(mark)), (vec![], vec![]), "labels and looks cost nothing");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_switched_off_and_on_and_edited_in_place() {
    let world = settled().await;
    world.token("pull", json!({})).await;
    world.until_ready("pull").await;
    let value = world.value("pull").await.unwrap();
    world.quiet().await;
    let mark = world.mark();
    world.patch("pull", json!({"spec": {"active": false}})).await;
    let object = world
        .until("pull", "is off", |object| condition(object, "Active").is_some_and(|(status, _)| status == "False"))
        .await;
    assert_eq!(condition(&object, "Ready").unwrap(), ("True".to_owned(), "Deactivated".to_owned()));
    world.quiet().await;
    assert!(!world.works(&value).await);
    assert_eq!(writes(&world, mark), ["patch organizationaccesstokens/status"]);
    assert_eq!(world.hub_since(mark).len(), 1);
    world.patch("pull", json!({"spec": {"active": true, "description": "for the tests", "repositories": [{"name": "acme/base", "scopes": ["scope-image-push"]}]}})).await;
    world
        .until("pull", "is on", |object| {
            condition(object, "Active").is_some_and(|(status, _)| status == "True") && is_ready(object)
        })
        .await;
    world.quiet().await;
    assert!(world.works(&value).await, "the value is the same");
    let token = world.hub.organization("acme").tokens().remove(0);
    assert_eq!(token.description.as_deref(), Some("for the tests"));
    assert!(
        token.resources.iter().any(|resource| resource.path == "acme/base" && resource.scopes == ["scope-image-push"])
    );
    assert_eq!(sequence(&world.until_ready("pull").await), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_stops_the_old_value_at_once_and_replaces_it() {
    let world = settled().await;
    world.token("pull", json!({})).await;
    world.until_ready("pull").await;
    let leaked = world.value("pull").await.unwrap();
    world.quiet().await;
    let mark = world.mark();
    world.annotate("pull", "oat-operator.dev/revoke", "it leaked").await;
    world
        .until("pull", "is replaced", |object| {
            sequence(object) == 2 && object.status.as_ref().unwrap().previous.is_empty()
        })
        .await;
    world.quiet().await;
    assert!(!world.works(&leaked).await);
    assert!(world.works(&world.value("pull").await.unwrap()).await);
    let calls: Vec<_> = world.hub_since(mark).iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(calls, ["PATCH", "POST", "GET", "DELETE"], "deactivate first");
    assert_eq!(world.hub.organization("acme").tokens().len(), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_the_secret_then_the_token_then_the_finalizer() {
    let world = settled().await;
    world.token("pull", json!({})).await;
    world.until_ready("pull").await;
    world.quiet().await;
    let mark = world.mark();
    world.delete("pull").await;
    world.until_gone("pull").await;
    world.quiet().await;
    assert_eq!(writes(&world, mark), ["delete secrets", "patch organizationaccesstokens"]);
    let calls: Vec<_> = world.hub_since(mark).iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(calls, ["DELETE"]);
    assert!(world.hub.organization("acme").tokens().is_empty());
    assert!(world.secrets().get_opt("pull").await.unwrap().is_none());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retain_lets_the_token_and_the_secret_go_unmarked() {
    let world = settled().await;
    world.token("kept", json!({"deletionPolicy": "Retain", "secret": {"deletionPolicy": "Retain"}})).await;
    world.until_ready("kept").await;
    let value = world.value("kept").await.unwrap();
    world.delete("kept").await;
    world.until_gone("kept").await;
    let token = world.hub.organization("acme").tokens().remove(0);
    assert_eq!((token.label.as_str(), token.active), ("payments/kept", true));
    assert_eq!(world.value("kept").await, Some(value.clone()));
    assert!(world.works(&value).await);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_secret_never_holds_a_dead_value() {
    let world = settled().await;
    world.token("off", json!({"deletionPolicy": "Deactivate", "secret": {"deletionPolicy": "Retain"}})).await;
    world.until_ready("off").await;
    world.delete("off").await;
    world.until_gone("off").await;
    let token = world.hub.organization("acme").tokens().remove(0);
    assert_eq!((token.label.as_str(), token.active), ("payments/off", false));
    let secret = world.secrets().get("off").await.unwrap();
    assert_eq!(secret.data.unwrap()[".dockerconfigjson"].0, br#"{"auths":{}}"#);
    assert!(!secret.metadata.labels.unwrap_or_default().contains_key("oat-operator.dev/owner"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_restart_writes_nothing_and_costs_one_login_and_one_list() {
    let mut world = settled().await;
    for name in ["one", "two", "three"] {
        world.token(name, json!({})).await;
        world.until_ready(name).await;
    }
    world.quiet().await;
    let ended = world.operators[0].terminate().await;
    assert!(ended.success(), "{}", world.operators[0].logged());
    world.operators.clear();
    let mark = world.mark();
    world.start(&[]);
    eventually("the new operator lists the tokens", async || (world.hub_since(mark).len() >= 2).then_some(())).await;
    world.quiet().await;
    assert_eq!(writes(&world, mark), [""; 0]);
    assert_eq!(world.hub_since(mark), ["POST /v2/auth/token", "GET /v2/orgs/acme/access-tokens"]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_somebody_else_is_found_before_a_token_is_made() {
    let world = settled().await;
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull", "namespace": NAMESPACE}, "stringData": {"mine": "yes"}});
    crate::support::world::apply_value(&world.client, foreign).await.unwrap();
    world.quiet().await;
    let mark = world.mark();
    world.token("pull", json!({})).await;
    let object = world.until("pull", "is stalled", |object| condition(object, "Stalled").is_some()).await;
    assert_eq!(condition(&object, "Stalled").unwrap().1, "SecretConflict");
    assert_eq!(world.creates_since(mark), 0);
    assert!(world.secrets().get("pull").await.unwrap().data.unwrap().contains_key("mine"));
    world.secrets().delete("pull", &Default::default()).await.unwrap();
    world.until_ready("pull").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_and_a_deleted_secret_are_healed() {
    let world = settled().await;
    world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    world.until_ready("pull").await;
    let tampered = json!({"stringData": {".dockerconfigjson": "{\"auths\":{}}"}});
    world.secrets().patch("pull", &Default::default(), &kube::api::Patch::Merge(tampered)).await.unwrap();
    world.until("pull", "has a new token after the change", |object| sequence(object) == 2 && is_ready(object)).await;
    assert!(world.works(&world.value("pull").await.unwrap()).await);
    world.secrets().delete("pull", &Default::default()).await.unwrap();
    world.until("pull", "has a new token after the deletion", |object| sequence(object) == 3 && is_ready(object)).await;
    assert!(world.works(&world.value("pull").await.unwrap()).await);
    eventually("one token is left", async || (world.hub.organization("acme").tokens().len() == 1).then_some(())).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_secret_and_a_new_name_hold_the_value() {
    let world = settled().await;
    world.token("basic", json!({"secret": {"type": "kubernetes.io/basic-auth"}})).await;
    world.token("opaque", json!({"secret": {"type": "Opaque", "name": "tools"}})).await;
    world.token("moved", json!({"secret": {"name": "before"}})).await;
    for name in ["basic", "opaque", "moved"] {
        world.until_ready(name).await;
    }
    assert!(world.works(&world.value("basic").await.unwrap()).await);
    assert!(world.works(&world.value("tools").await.unwrap()).await);
    let value = world.value("before").await.unwrap();
    world
        .patch(
            "moved",
            json!({"spec": {"secret": {"name": "after", "registries": ["https://index.docker.io/v1/", "dhi.io"]}}}),
        )
        .await;
    eventually("the value has moved", async || (world.value("after").await == Some(value.clone())).then_some(())).await;
    eventually("the former Secret is gone", async || world.value("before").await.is_none().then_some(())).await;
    assert_eq!(sequence(&world.until_ready("moved").await), 1, "moved without a new token");
    world.finish().await;
}

/// A Secret's labels and annotations of these names.
async fn decoration(world: &World, names: &[&str]) -> Vec<String> {
    let metadata = world.secrets().get("pull").await.unwrap().metadata;
    let all = metadata.labels.into_iter().chain(metadata.annotations).flatten();
    all.filter(|(name, _)| names.contains(&name.as_str())).map(|(name, value)| format!("{name}={value}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_template_no_longer_names_goes_from_the_secret_and_what_others_set_stays() {
    let world = settled().await;
    let template = json!({"labels": {"team": "a", "tier": "b"}, "annotations": {"note": "c"}});
    world.token("pull", json!({"secret": {"template": template}})).await;
    world.until_ready("pull").await;
    let names = ["team", "tier", "note", "theirs"];
    assert_eq!(decoration(&world, &names).await, ["team=a", "tier=b", "note=c"]);
    let theirs = json!({"metadata": {"labels": {"theirs": "d"}}});
    world.secrets().patch("pull", &Default::default(), &kube::api::Patch::Merge(theirs)).await.unwrap();
    world.quiet().await;
    // After the first write, which is a POST, and after an apply.
    for (step, template, expected) in [
        ("gone", json!({"labels": {"team": "e", "tier": null}, "annotations": null}), vec!["team=e", "theirs=d"]),
        (
            "back",
            json!({"labels": {"tier": "f"}, "annotations": {"note": "g"}}),
            vec!["team=e", "theirs=d", "tier=f", "note=g"],
        ),
        ("gone again", json!(null), vec!["theirs=d"]),
    ] {
        let mark = world.mark();
        world.patch("pull", json!({"spec": {"secret": {"template": template}}})).await;
        let what = format!("the template is {step}");
        eventually(&what, async || (decoration(&world, &names).await == expected).then_some(())).await;
        world.until_ready("pull").await;
        world.quiet().await;
        let secrets: Vec<_> = writes(&world, mark).into_iter().filter(|write| write.ends_with(" secrets")).collect();
        assert_eq!(secrets, ["patch secrets"], "{step}");
    }
    assert_eq!(sequence(&world.until_ready("pull").await), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_somebody_adds_to_our_secret_costs_nothing_and_stops_no_rotation() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&[]);
    world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    world.until_ready("pull").await;
    world.quiet().await;
    let mark = world.mark();
    let added = json!({"data": {"extra": "eA=="}});
    world.secrets().patch("pull", &Default::default(), &kube::api::Patch::Merge(added)).await.unwrap();
    world.quiet().await;
    let written: Vec<_> = world.kubernetes_since(mark).into_iter().filter(|request| request.is_write()).collect();
    assert_eq!((written, world.creates_since(mark)), (vec![], 0));
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    world.until("pull", "is rotated", |object| sequence(object) == 2 && is_ready(object)).await;
    assert!(world.works(&world.value("pull").await.unwrap()).await);
    assert!(world.secrets().get("pull").await.unwrap().data.unwrap().contains_key("extra"));
    world.finish().await;
}
