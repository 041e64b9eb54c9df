//! A token's life beyond making and rotating: places, windows, adoption, drift, rivals, twins, a lost status.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use oat_sandbox::{
    fault::{Canned, Fault, Rule},
    hub::{NewToken, OrganizationHandle, Resource},
    journal::Server,
};
use serde_json::{Value, json};

use super::{DAY, HOUR, MINUTE, Options, SECOND, Sim};
use crate::support::world::{self, NAMESPACE};

/// An organization with so many places, none of them kept.
async fn organization(sim: &Sim, places: usize) -> OrganizationHandle {
    let text = world::organization_yaml(NAMESPACE);
    let text = text.replace("tokenLimit: 200", &format!("tokenLimit: {places}, reservedTokens: 0"));
    sim.apply(&text).await;
    acme(sim)
}

fn acme(sim: &Sim) -> OrganizationHandle {
    sim.servers.hub.organization("acme")
}

fn with_places(seed: u64, places: usize) -> Options {
    let mut options = Options::new(seed);
    options.calm = true;
    options.hub = Box::new(move |hub| hub.organizations[0].limit = places);
    options
}

fn calm(seed: u64) -> Options {
    with_places(seed, 200)
}

fn sequence(sim: &Sim, name: &str) -> u64 {
    sim.object(name).as_ref().map_or(0, world::sequence)
}

fn reason(sim: &Sim, name: &str, kind: &str) -> Option<String> {
    world::condition(&sim.object(name)?, kind).map(|(_, reason)| reason)
}

fn reached(sim: &Sim, name: &str, least: u64) -> bool {
    sequence(sim, name) >= least && sim.is_ready(name) && sim.works(name)
}

/// The reasons of all events, each once.
fn events(sim: &Sim) -> std::collections::BTreeSet<String> {
    let events = sim.servers.kube.objects("events");
    let reason = |event: &Value| event["reason"].as_str().map(str::to_owned);
    events.iter().filter_map(reason).collect()
}

fn by_hand(label: &str) -> NewToken {
    let mut token = NewToken::new("acme", label);
    token.resources = vec![Resource {
        kind: "TYPE_REPO".into(),
        path: "acme/payments-api".into(),
        scopes: vec!["scope-image-pull".into()],
    }];
    token
}

/// The answer to the next create is lost after it was carried out.
fn lose_a_create(sim: &Sim) {
    let create = Rule::new(Fault::LoseAnswer).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens").once();
    sim.faults.install(create);
}

#[test]
fn a_lost_answer_that_took_the_last_place_blocks_nobody() {
    Sim::run_with(with_places(1, 1), async |sim| {
        let acme = organization(sim, 1).await;
        let operator = sim.start_operator(&[]).await;
        sim.until("it is listed", MINUTE, Sim::organization_is_ready).await;
        lose_a_create(sim);
        sim.token("pull", json!({})).await;
        sim.until("its token works", 5 * MINUTE, |sim| reached(sim, "pull", 2)).await;
        assert_eq!(acme.tokens().len(), 1);
        assert!(events(sim).contains("OrphanRemoved"), "{:?}", events(sim));
        operator.stop().await.unwrap();
    });
}

#[test]
fn a_crash_after_a_create_that_took_the_last_place_blocks_nobody() {
    Sim::run_with(with_places(2, 1), async |sim| {
        let acme = organization(sim, 1).await;
        let operator = sim.start_operator(&[]).await;
        sim.until("it is listed", MINUTE, Sim::organization_is_ready).await;
        sim.faults.freeze_at(1, |request| request.method == "POST" && request.path.ends_with("/access-tokens"));
        sim.token("pull", json!({})).await;
        sim.until("the token is made", MINUTE, |_| acme.tokens().len() == 1).await;
        operator.kill().await;
        sim.faults.thaw();
        let operator = sim.start_operator(&[]).await;
        sim.until("its successor works", 5 * MINUTE, |sim| reached(sim, "pull", 2)).await;
        assert_eq!(acme.tokens().len(), 1);
        operator.stop().await.unwrap();
    });
}

#[test]
fn a_lost_answer_of_a_rotation_that_took_the_last_place_blocks_nobody() {
    Sim::run_with(with_places(3, 2), async |sim| {
        let acme = organization(sim, 2).await;
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({"rotation": {"overlap": "1m"}})).await;
        sim.until("it works", MINUTE, |sim| reached(sim, "pull", 1)).await;
        lose_a_create(sim);
        sim.annotate("pull", "oat-operator.dev/rotate", "now").await;
        sim.until("it is rotated", 5 * MINUTE, |sim| {
            // Not for a moment is there no token in the Secret.
            assert!(sim.works("pull"));
            reached(sim, "pull", 3)
        })
        .await;
        sim.advance(2 * MINUTE).await;
        assert_eq!(acme.tokens().len(), 1);
        operator.stop().await.unwrap();
    });
}

#[test]
fn a_token_is_exchanged_at_the_last_safe_moment() {
    Sim::run_with(with_places(4, 3), async |sim| {
        let acme = organization(sim, 3).await;
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({"expiration": {"lifetime": "72h"}})).await;
        sim.until("it works", MINUTE, |sim| reached(sim, "pull", 1)).await;
        let expires: Timestamp = acme.tokens()[0].expires_at.unwrap();
        for label in ["jenkins", "gitlab"] {
            acme.create(by_hand(label)).unwrap();
        }
        sim.until("it has no place", 3 * DAY, |sim| reason(sim, "pull", "Stalled").is_some()).await;
        assert_eq!(reason(sim, "pull", "Stalled").unwrap(), "QuotaExceeded");
        assert!(sim.is_ready("pull"), "the old one works meanwhile");
        sim.until("it is exchanged", 3 * DAY, |sim| reached(sim, "pull", 2)).await;
        let left = expires.duration_since(sim.now());
        assert!(left > SignedDuration::from_mins(55) && left < SignedDuration::from_mins(61), "{left:?}");
        assert_eq!((acme.tokens().len(), acme.labelled("jenkins").len()), (3, 1));
        operator.stop().await.unwrap();
    });
}

/// After so long without a place somebody frees one, and it is found within the limit: by itself, or when asked to look.
fn is_found_after(waited: std::time::Duration, asked: bool, limit: std::time::Duration, most: usize) {
    Sim::run_with(with_places(5, 1), async |sim| {
        let acme = organization(sim, 1).await;
        let (id, _) = acme.create(by_hand("jenkins")).unwrap();
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({})).await;
        sim.until("it has no place", MINUTE, |sim| reason(sim, "pull", "Stalled").is_some()).await;
        sim.advance(waited).await;
        let lists = sim.journal.count(|entry| entry.path.ends_with("/access-tokens") && entry.method == "GET");
        assert!((most / 2..=most).contains(&lists), "{lists} lists, {most} expected at most");
        acme.delete(&id);
        if asked {
            sim.annotate("pull", oat_operator::api::REQUESTED_AT, "now").await;
        }
        sim.until("it has one", limit, |sim| reached(sim, "pull", 1)).await;
        operator.stop().await.unwrap();
    });
}

#[test]
fn a_place_that_somebody_frees_is_found_after_an_eighth_of_the_time_without() {
    is_found_after(4 * MINUTE, false, 61 * SECOND, 8);
    is_found_after(HOUR, false, 8 * MINUTE, 30);
}

#[test]
fn a_place_that_somebody_frees_is_found_at_once_by_whoever_is_asked_to_look() {
    is_found_after(2 * DAY, true, 61 * SECOND, 320);
}

#[test]
fn docker_hub_knows_the_limit_better_than_we_do() {
    Sim::run_with(with_places(6, 1), async |sim| {
        let acme = organization(sim, 10).await;
        let (id, _) = acme.create(by_hand("jenkins")).unwrap();
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({})).await;
        sim.until("it has no place", MINUTE, |sim| reason(sim, "pull", "Stalled").is_some()).await;
        assert_eq!(reason(sim, "pull", "Stalled").unwrap(), "QuotaExceeded");
        acme.delete(&id);
        sim.until("it has one", 6 * MINUTE, |sim| reached(sim, "pull", 1)).await;
        operator.stop().await.unwrap();
    });
}

#[test]
fn the_schedule_keeps_to_windows() {
    Sim::run_with(calm(7), async |sim| {
        sim.organization().await;
        let operator = sim.start_operator(&[]).await;
        let window = json!([{"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"}]);
        let rotation = json!({"interval": "48h", "windows": window, "overlap": "0s"});
        sim.token("pull", json!({"expiration": {"lifetime": "720h"}, "rotation": rotation})).await;
        sim.until("it works", MINUTE, |sim| reached(sim, "pull", 1)).await;
        for least in 2..=4 {
            sim.until("it is rotated", 8 * DAY, |sim| reached(sim, "pull", least)).await;
            let there = sim.now().to_zoned(jiff::tz::TimeZone::get("Europe/Berlin").unwrap());
            assert_eq!(there.weekday(), jiff::civil::Weekday::Saturday, "{there}");
            assert!((2..6).contains(&there.hour()), "{there}");
        }
        // It waits, and says so, while the old one works.
        let waits = |sim: &Sim| reason(sim, "pull", "Reconciling").is_some_and(|reason| reason == "WaitingForWindow");
        sim.until("it is due", 3 * DAY, waits).await;
        assert!(sim.is_ready("pull"));
        // Whoever asks doesn't.
        sim.annotate("pull", "oat-operator.dev/rotate", "now").await;
        sim.until("it is rotated at once", MINUTE, |sim| reached(sim, "pull", 5)).await;
        operator.stop().await.unwrap();
    });
}

#[test]
fn no_window_lets_a_token_expire() {
    Sim::run_with(calm(8), async |sim| {
        sim.organization().await;
        let operator = sim.start_operator(&[]).await;
        let window = json!([{"schedule": "0 0 1 7 *", "duration": "1h"}]);
        sim.token("pull", json!({"expiration": {"lifetime": "240h"}, "rotation": {"windows": window}})).await;
        sim.until("it works", MINUTE, |sim| reached(sim, "pull", 1)).await;
        for _ in 0..20 * 24 {
            sim.advance(HOUR).await;
            assert!(sim.works("pull"), "at {}", sim.now());
        }
        assert!(sequence(sim, "pull") >= 3);
        operator.stop().await.unwrap();
    });
}

#[test]
fn tokens_are_taken_over() {
    for (seed, by) in [(9, "id"), (10, "label")] {
        Sim::run_with(calm(seed), async |sim| {
            let acme = acme(sim);
            let (id, value) = acme.create(by_hand("jenkins [old]")).unwrap();
            sim.organization().await;
            let operator = sim.start_operator(&[]).await;
            let adopt = if by == "id" { json!({"id": id}) } else { json!({"label": "jenkins [old]"}) };
            sim.token("pull", json!({"adopt": adopt, "rotation": {"overlap": "2h"}})).await;
            sim.until("its successor works", MINUTE, |sim| sim.is_ready("pull") && sim.works("pull")).await;
            assert!(
                acme.by_value(&value).is_some_and(|token| token.live()),
                "who uses the old one may go on for a while"
            );
            assert!(events(sim).contains("TokenAdopted"), "{:?}", events(sim));
            sim.advance(3 * HOUR).await;
            assert_eq!(acme.tokens().len(), 1);
            assert!(acme.token(&id).is_none());
            operator.stop().await.unwrap();
        });
    }
}

#[test]
fn a_token_that_is_not_there_is_not_taken_over() {
    Sim::run_with(calm(11), async |sim| {
        sim.organization().await;
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({"adopt": {"id": "nobodys"}})).await;
        sim.until("it says so", MINUTE, |sim| reason(sim, "pull", "Stalled").is_some()).await;
        assert_eq!(reason(sim, "pull", "Stalled").unwrap(), "InvalidSpec");
        assert!(acme(sim).tokens().is_empty());
        sim.patch("pull", json!({"spec": {"adopt": null}})).await;
        sim.until("without it, it works", MINUTE, |sim| reached(sim, "pull", 1)).await;
        operator.stop().await.unwrap();
    });
}

#[test]
fn what_somebody_changes_at_docker_hub_is_set_back() {
    Sim::run_with(calm(12), async |sim| {
        sim.organization().await;
        let acme = acme(sim);
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({"description": "pulls"})).await;
        sim.until("it works", MINUTE, |sim| reached(sim, "pull", 1)).await;
        let made = acme.tokens().remove(0);
        acme.deactivate(&made.id);
        sim.until("it is activated", 2 * HOUR, |sim| sim.works("pull")).await;
        acme.relabel(&made.id, "mine");
        sim.until("it has its label", 2 * HOUR, |_| acme.token(&made.id).unwrap().label == made.label).await;
        acme.set_resources(&made.id, Vec::new());
        acme.describe(&made.id, Some("mine"));
        sim.until("it has its scopes", 26 * HOUR, |_| {
            let token = acme.token(&made.id).unwrap();
            token.description == made.description && token.resources == made.resources
        })
        .await;
        assert!(events(sim).contains("DriftCorrected"), "{:?}", events(sim));
        acme.delete(&made.id);
        sim.until("it is replaced", 2 * HOUR, |sim| reached(sim, "pull", 2)).await;
        operator.stop().await.unwrap();
    });
}

#[test]
fn the_older_of_two_objects_has_the_secret() {
    Sim::run_with(calm(13), async |sim| {
        sim.organization().await;
        let acme = acme(sim);
        sim.token("older", json!({"secret": {"name": "dockerhub"}})).await;
        sim.advance(2 * SECOND).await;
        sim.token("younger", json!({"secret": {"name": "dockerhub"}})).await;
        let operator = sim.start_operator(&[]).await;
        sim.until("one has it", MINUTE, |sim| sim.is_ready("older")).await;
        sim.until("the other says so", MINUTE, |sim| reason(sim, "younger", "Stalled").is_some()).await;
        assert_eq!(reason(sim, "younger", "Stalled").unwrap(), "SecretConflict");
        assert_eq!(acme.tokens().len(), 1, "the loser makes nothing");
        sim.delete("older").await;
        sim.until("the other has it", MINUTE, |sim| sim.is_ready("younger") && sim.works("dockerhub")).await;
        assert_eq!(acme.tokens().len(), 1);
        operator.stop().await.unwrap();
    });
}

#[test]
fn a_twin_is_left_alone() {
    Sim::run_with(calm(14), async |sim| {
        sim.organization().await;
        let acme = acme(sim);
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({})).await;
        sim.until("it works", MINUTE, |sim| reached(sim, "pull", 1)).await;
        sim.advance(2 * HOUR).await;
        let label = acme.tokens().remove(0).label.replace(".1]", ".2]");
        let (id, _) = acme.create(by_hand(&label)).unwrap();
        sim.until("it is noticed", 2 * HOUR, |sim| reason(sim, "pull", "Stalled").is_some()).await;
        assert_eq!(reason(sim, "pull", "Stalled").unwrap(), "TwinDetected");
        // A restart knows it too, and whoever asks gets nothing.
        operator.kill().await;
        let operator = sim.start_operator(&[]).await;
        sim.annotate("pull", "oat-operator.dev/rotate", "now").await;
        sim.advance(DAY).await;
        assert_eq!((acme.tokens().len(), sequence(sim, "pull")), (2, 1));
        acme.delete(&id);
        sim.until("then work goes on", 2 * HOUR, |sim| reached(sim, "pull", 2)).await;
        operator.stop().await.unwrap();
    });
}

#[test]
fn who_asks_again_and_again_is_slowed_down() {
    Sim::run_with(calm(15), async |sim| {
        sim.organization().await;
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
        sim.until("it works", MINUTE, |sim| reached(sim, "pull", 1)).await;
        for number in 0..120 {
            sim.annotate("pull", "oat-operator.dev/rotate", &number.to_string()).await;
            sim.advance(SECOND / 2).await;
        }
        let made = sequence(sim, "pull");
        assert!((5..=8).contains(&made), "{made} tokens in a minute");
        sim.until("the last wish is fulfilled", MINUTE, |sim| {
            let status = sim.object("pull").unwrap().status.unwrap();
            status.last_handled.rotate.as_deref() == Some("119")
        })
        .await;
        operator.stop().await.unwrap();
    });
}

#[test]
fn an_object_that_was_restored_without_its_status_leaks_nothing() {
    Sim::run_with(calm(16), async |sim| {
        sim.organization().await;
        let acme = acme(sim);
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
        sim.until("it works", MINUTE, |sim| reached(sim, "pull", 1)).await;
        operator.kill().await;
        // The object comes back under another uid, without status and finalizer; its Secret and its token are there.
        sim.patch("pull", json!({"metadata": {"finalizers": null}})).await;
        let mut secret = sim.servers.kube.object("secrets", NAMESPACE, "pull").unwrap();
        sim.delete("pull").await;
        sim.until("it is gone", MINUTE, |sim| sim.object("pull").is_none()).await;
        sim.until("with its Secret", MINUTE, |sim| sim.value("pull").is_none()).await;
        for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "ownerReferences"] {
            secret["metadata"].as_object_mut().unwrap().remove(field);
        }
        let (api, kind) = ("v1", "Secret");
        (secret["apiVersion"], secret["kind"]) = (api.into(), kind.into());
        world::apply_value(&sim.client, secret).await.unwrap();
        sim.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
        let operator = sim.start_operator(&[]).await;
        sim.until("it works", MINUTE, |sim| reached(sim, "pull", 2)).await;
        sim.advance(MINUTE).await;
        assert_eq!(acme.tokens().len(), 1);
        operator.stop().await.unwrap();
    });
}

/// An operator, and an object that has its token.
async fn with_pull(sim: &Sim) -> super::OperatorHandle {
    sim.organization().await;
    let operator = sim.start_operator(&[]).await;
    sim.token("pull", json!({})).await;
    sim.until("it is ready", MINUTE, |sim| sim.is_ready("pull")).await;
    operator
}

/// Somebody asks for a rotation, and it is done.
async fn rotated(sim: &Sim) {
    sim.annotate("pull", "oat-operator.dev/rotate", "now").await;
    sim.until("it is rotated", MINUTE, |sim| sequence(sim, "pull") == 2 && sim.is_ready("pull")).await;
    assert!(sim.works("pull"));
}

fn removed_secrets(sim: &Sim) -> usize {
    sim.journal.count(|entry| entry.method == "DELETE" && entry.path.ends_with("/secrets/pull"))
}

/// Nobody can change the data of a Secret that is immutable, nor the type of any: another one takes its place.
#[test]
fn a_secret_that_can_not_be_changed_is_replaced() {
    Sim::run(16, async |sim| {
        let operator = with_pull(sim).await;
        let secrets: Api<Secret> = Api::namespaced(sim.client.clone(), NAMESPACE);
        let seal = Patch::Merge(json!({"immutable": true}));
        secrets.patch("pull", &PatchParams::default(), &seal).await.unwrap();
        rotated(sim).await;
        assert_eq!(removed_secrets(sim), 1);
        operator.kill().await;
    });
}

/// A policy that takes no change would take no other Secret either: the one that works stays.
#[test]
fn a_policy_that_speaks_of_what_is_immutable_costs_no_secret() {
    Sim::run(17, async |sim| {
        let operator = with_pull(sim).await;
        let message = "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: this field is immutable";
        let denied = Canned::json(
            422,
            &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "reason": "Invalid", "code": 422, "message": message,
            "details": {"name": "pull", "kind": "secrets", "causes": [{"message": message}]}}),
        );
        let rule = Rule::new(Fault::Answer(denied)).on(Server::Kubernetes);
        let rule = sim.faults.install(rule.when(|r| r.method == "PATCH" && r.path.ends_with("/secrets/pull")).times(3));
        rotated(sim).await;
        assert_eq!((sim.faults.hits(rule), removed_secrets(sim)), (3, 0));
        operator.kill().await;
    });
}

/// The API server answers 403 until it has loaded its roles; no watch tells when that is.
#[test]
fn credentials_that_could_not_be_read_are_soon_asked_for_again() {
    Sim::run(18, async |sim| {
        let refused = oat_sandbox::fault::kubernetes::forbidden("secrets", "acme-owner");
        let rule = Rule::new(refused).on(Server::Kubernetes).times(2);
        let rule = sim.faults.install(rule.when(|r| r.method == "GET" && r.path.ends_with("/secrets/acme-owner")));
        sim.organization().await;
        let operator = sim.start_operator(&[]).await;
        sim.until("it is ready all the same", 10 * SECOND, Sim::organization_is_ready).await;
        assert_eq!(sim.faults.hits(rule), 2);
        operator.kill().await;
    });
}

#[test]
fn a_secret_that_is_said_to_be_gone_and_is_not_is_deleted_all_the_same() {
    Sim::run_with(calm(17), async |sim| {
        let operator = with_pull(sim).await;
        let gone = oat_sandbox::fault::kubernetes::not_found("secrets", "pull");
        let rule = Rule::new(gone).on(Server::Kubernetes).request("DELETE", "/api/v1/namespaces/payments/secrets/pull");
        let rule = sim.faults.install(rule.times(2));
        sim.patch("pull", json!({"spec": {"secret": {"name": "another"}}})).await;
        let left = |sim: &Sim, name| sim.servers.kube.object("secrets", NAMESPACE, name).is_some();
        sim.until("it goes", 5 * MINUTE, |sim| left(sim, "another") && !left(sim, "pull")).await;
        assert_eq!(sim.faults.hits(rule), 2);
        operator.stop().await.unwrap();
    });
}
