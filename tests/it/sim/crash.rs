//! A crash at every single request of more than twenty scenarios: just before it is sent, and after it was carried out
//! and before its answer came. What is left is found anew from the servers alone; the end is that of the undisturbed
//! run, and so is the cost, but for what a lost answer costs.
//!
//! `OAT_SWEEP=pairs cargo test --test it sim::crash` crashes a second time at every request of every recovery.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use oat_operator::api::{FINALIZER, token::CurrentToken};
use oat_sandbox::{hub::NewToken, journal::Server, serve::RequestInfo};
use serde_json::json;

use super::{
    MINUTE, OperatorHandle, Options, SECOND, Sim,
    oracle::{Counts, Outcome},
};
use crate::support::world::{self, NAMESPACE, PASSWORD};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Create,
    Edit,
    Rotate,
    RevokeOld,
    Emergency,
    Deactivate,
    Activate,
    Delete,
    DeleteDeactivate,
    DeleteRetain,
    SecretDeleted,
    SecretTampered,
    CredentialChanged,
    Restart,
    EmergencyInOverlap,
    DeleteInOverlap,
    RotateAtLimit,
    SecretRenamed,
    Adopt,
    RenamedByHand,
    DeactivatedByHand,
    DeletedByHand,
    /// Found by the comparison of each day only.
    DescribedByHand,
    TemplateChanged,
    FinalizerRemoved,
}

use Scenario::*;

/// The longest that a recovery may take: the former token's overlap, and polls, which come once an hour.
pub const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// Where an operator ends.
#[derive(Clone, Copy, Debug)]
struct Crash {
    /// At which of its requests, counted from the action or from the former crash.
    at: u64,
    /// Whether that one is still carried out.
    sent: bool,
}

/// Requests that a crash may come at: the operator's, without watches and the Lease.
fn counts(request: &RequestInfo) -> bool {
    let ours = request.user_agent.starts_with("oat-operator");
    let standing_by = request.query.contains("watch=") || request.path.contains("/leases");
    let event = request.server == Server::Kubernetes && request.path.contains("/events");
    ours && !standing_by && !event
}

fn counted(sim: &Sim, since: u64) -> u64 {
    let entries = sim.journal.since(since);
    let work = entries.iter().filter(|entry| super::is_work(entry));
    work.filter(|entry| entry.server != Server::Kubernetes || !entry.path.contains("/events")).count() as u64
}

async fn begin(sim: &Sim, scenario: Scenario) -> OperatorHandle {
    begin_with(sim, scenario, &[]).await
}

/// The state before the action, with an operator under these flags at rest.
pub async fn begin_with(sim: &Sim, scenario: Scenario, flags: &[&str]) -> OperatorHandle {
    let acme = sim.servers.hub.organization("acme");
    if scenario == RotateAtLimit {
        // One place is left, so that a lost answer leaves none.
        acme.set_limit(2);
        sim.apply(&world::organization_yaml(NAMESPACE).replace("tokenLimit: 200", "tokenLimit: 2")).await;
    } else {
        sim.organization().await;
    }
    if scenario == Adopt {
        assert!(acme.create(NewToken::new("acme", "ci [old]")).is_some());
    }
    let operator = sim.start_operator(flags).await;
    sim.until("the organization is ready", MINUTE, Sim::organization_is_ready).await;
    let policy = match scenario {
        DeleteDeactivate => "Deactivate",
        DeleteRetain => "Retain",
        _ => "Delete",
    };
    if !matches!(scenario, Create | Adopt) {
        let overlap = match scenario {
            RotateAtLimit => "0s",
            // Long enough to begin in, and to wait for.
            RevokeOld => "5m",
            _ => "1h",
        };
        let more = json!({"active": scenario != Activate, "deletionPolicy": policy, "rotation": {"overlap": overlap}});
        sim.token("pull", more).await;
        sim.until("there is a token", MINUTE, |sim| sim.is_ready("pull") || scenario == Activate).await;
    }
    if matches!(scenario, RevokeOld | EmergencyInOverlap | DeleteInOverlap) {
        sim.annotate("pull", "oat-operator.dev/rotate", "before").await;
        let rotated = |token: CurrentToken| token.sequence == 2;
        sim.until("it is rotated", MINUTE, |sim| current(sim).is_some_and(rotated) && sim.is_ready("pull")).await;
    }
    sim.settle(10 * SECOND, MINUTE).await;
    operator
}

fn current(sim: &Sim) -> Option<CurrentToken> {
    sim.object("pull")?.status?.token
}

/// What somebody does, or what happens.
pub async fn act(sim: &Sim, scenario: Scenario, operator: OperatorHandle) -> OperatorHandle {
    if scenario == Restart {
        operator.kill().await;
        return sim.start_operator(&[]).await;
    }
    deed(sim, scenario).await;
    operator
}

/// What somebody does.
pub async fn deed(sim: &Sim, scenario: Scenario) {
    let acme = sim.servers.hub.organization("acme");
    let CurrentToken { id, label, .. } = current(sim).unwrap_or_default();
    match scenario {
        Create => sim.token("pull", json!({})).await,
        Edit => sim.patch("pull", json!({"spec": {"description": "edited"}})).await,
        Rotate | RotateAtLimit => sim.annotate("pull", "oat-operator.dev/rotate", "now").await,
        // Its time comes; or it is nobody's deed.
        RevokeOld | Restart => {}
        Emergency | EmergencyInOverlap => sim.annotate("pull", "oat-operator.dev/revoke", "now").await,
        Deactivate => sim.patch("pull", json!({"spec": {"active": false}})).await,
        Activate => sim.patch("pull", json!({"spec": {"active": true}})).await,
        Delete | DeleteInOverlap | DeleteDeactivate | DeleteRetain => sim.delete("pull").await,
        SecretDeleted => sim.delete_secret("pull").await,
        SecretTampered => sim.tamper("pull").await,
        SecretRenamed => sim.patch("pull", json!({"spec": {"secret": {"name": "other"}}})).await,
        Adopt => sim.token("pull", json!({"adopt": {"label": "ci [old]"}})).await,
        RenamedByHand => assert!(acme.relabel(&id, &label.replace("payments/pull", "odd"))),
        DeactivatedByHand => assert!(acme.deactivate(&id)),
        DeletedByHand => assert!(acme.delete(&id)),
        DescribedByHand => assert!(acme.describe(&id, Some("odd"))),
        TemplateChanged => {
            let template = json!({"labels": {"team": "payments"}});
            sim.patch("pull", json!({"spec": {"secret": {"template": template}}})).await;
        }
        FinalizerRemoved => sim.patch("pull", json!({"metadata": {"finalizers": null}})).await,
        CredentialChanged => {
            let other = format!("{PASSWORD}, changed");
            sim.servers.hub.set_password("acme-owner", &other);
            sim.credentials(&other).await;
        }
    }
}

/// Whether it is as asked for.
pub fn done(sim: &Sim, scenario: Scenario, mark: u64) -> bool {
    let Some(object) = sim.object("pull") else {
        return matches!(scenario, Delete | DeleteInOverlap | DeleteDeactivate | DeleteRetain);
    };
    let Some(status) = object.status.as_ref().filter(|_| world::is_ready(&object) || scenario == Deactivate) else {
        return false;
    };
    let acme = sim.servers.hub.organization("acme");
    let alone = status.previous.is_empty() && acme.tokens().len() == 1;
    let handled = &status.last_handled;
    let Some(token) = status.token.as_ref() else { return false };
    let found = acme.token(&token.id);
    let found = |holds: &dyn Fn(&oat_sandbox::hub::TokenView) -> bool| found.as_ref().is_some_and(holds);
    match scenario {
        Create => true,
        Edit => found(&|found| found.description.as_deref() == Some("edited")),
        Rotate => handled.rotate.as_deref() == Some("now"),
        RotateAtLimit => handled.rotate.as_deref() == Some("now") && alone,
        RevokeOld => alone,
        Emergency | EmergencyInOverlap => handled.revoke.as_deref() == Some("now") && alone,
        Deactivate => !token.active,
        Activate => token.active,
        Delete | DeleteInOverlap | DeleteDeactivate | DeleteRetain => false,
        SecretDeleted | SecretTampered | DeletedByHand => sim.works("pull") && token.sequence > 1,
        SecretRenamed => sim.works("other") && sim.value("pull").is_none(),
        Adopt => sim.works("pull") && alone,
        RenamedByHand => found(&|found| found.label.starts_with("payments/pull [")),
        DeactivatedByHand => found(&|found| found.live()),
        DescribedByHand => found(&|found| found.description.as_deref() != Some("odd")),
        TemplateChanged => {
            let secret = sim.servers.kube.object("secrets", NAMESPACE, "pull").unwrap_or_default();
            secret["metadata"]["labels"]["team"] == "payments"
        }
        FinalizerRemoved => object.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER),
        CredentialChanged | Restart => sim.organization_is_ready() && sim.counts(mark).lists > 0,
    }
}

/// What was changed, and how often; reads are nothing, and a poll may count the organization's tokens anew.
fn changes(sim: &Sim, since: u64) -> Counts {
    let mut counts = Counts { lists: 0, gets: 0, logins: 0, ..sim.counts(since) };
    counts.writes.retain(|path, _| !path.contains("/organizations/"));
    counts
}

/// A run with crashes: how it ended, and how many requests came after the last crash. None where one was never reached.
fn run(scenario: Scenario, crashes: &[Crash]) -> Option<(Outcome, u64)> {
    let mut options = Options::new(1);
    options.calm = true;
    Sim::run_with(options, async |sim| {
        let operator = begin(sim, scenario).await;
        let mark = sim.journal.len();
        let mut next = crashes.iter();
        let arm = |crash: Option<&Crash>| match crash {
            Some(Crash { at, sent: true }) => sim.faults.freeze_at(*at, counts),
            Some(Crash { at, sent: false }) => sim.faults.freeze_before(*at, counts),
            None => sim.faults.thaw(),
        };
        arm(next.next());
        let mut operator = act(sim, scenario, operator).await;
        let mut last = mark;
        for _ in crashes {
            let settled = async {
                sim.until("it is as asked for", LIMIT, |sim| sim.faults.is_frozen() || done(sim, scenario, mark)).await;
                sim.settle(10 * SECOND, LIMIT).await;
            };
            tokio::select! {
                biased;
                () = sim.faults.frozen() => {}
                () = settled => return None,
            }
            operator.kill().await;
            // What it had sent arrives at closed doors.
            sim.advance(SECOND / 1000).await;
            sim.rules.fault();
            arm(next.next());
            last = sim.journal.len();
            operator = sim.start_operator(&[]).await;
        }
        sim.until("it is as asked for", LIMIT, |sim| done(sim, scenario, mark)).await;
        sim.settle(10 * SECOND, LIMIT).await;
        let requests = counted(sim, last);
        let outcome = sim.outcome(mark);
        // And so it stays: polls change nothing.
        let still = changes(sim, mark);
        sim.advance(10 * MINUTE).await;
        assert_eq!(sim.end(), outcome.end);
        assert_eq!(changes(sim, mark), still, "it goes on working\n{}", sim.story());
        operator.kill().await;
        Some((outcome, requests))
    })
}

/// The end must be the same. For each crash one token may be made in vain and go again, the request whose answer was lost
/// may be repeated, and the new operator logs in.
fn compare(scenario: Scenario, crashes: &[Crash], quiet: &Outcome, found: &Outcome) {
    assert_eq!(found.end, quiet.end, "{scenario:?} {crashes:?}");
    let (was, is) = (&quiet.counts, &found.counts);
    let check = |what: &str, was: usize, is: usize, more: usize| {
        let most = was + more * crashes.len();
        assert!(is <= most, "{scenario:?} {crashes:?}: {is} {what}, {was} in the quiet run\n{:#?}", found.counts);
    };
    check("creates", was.creates, is.creates, 1);
    check("proofs", was.proofs, is.proofs, 1);
    check("updates", was.updates, is.updates, 1);
    // The former tokens, two in an overlap, are deleted again where a crash came before that was remembered.
    check("deletes", was.deletes, is.deletes, 3);
    check("logins", was.logins, is.logins, 1);
    for (path, count) in &is.writes {
        check(path, was.writes.get(path).copied().unwrap_or_default(), *count, 2);
    }
}

fn points(requests: u64) -> impl Iterator<Item = Crash> {
    (1..=requests).flat_map(|at| [Crash { at, sent: false }, Crash { at, sent: true }])
}

fn sweep(scenario: Scenario, at_least: u64) {
    static POINTS: AtomicUsize = AtomicUsize::new(0);
    let pairs = std::env::var("OAT_SWEEP").as_deref() == Ok("pairs");
    let (quiet, requests) = run(scenario, &[]).unwrap();
    assert!(requests >= at_least, "{scenario:?} has only {requests} requests: {:#?}", quiet.counts);
    let (mut reached, mut second) = (0, 0);
    for first in points(requests) {
        let Some((found, more)) = run(scenario, &[first]) else { continue };
        reached += 1;
        compare(scenario, &[first], &quiet, &found);
        for crash in points(more).filter(|_| pairs) {
            let Some((found, _)) = run(scenario, &[first, crash]) else { continue };
            second += 1;
            compare(scenario, &[first, crash], &quiet, &found);
        }
    }
    assert!(reached >= 2 * requests - 1, "{scenario:?}: {reached} points of {requests} requests");
    let sum = POINTS.fetch_add(usize::try_from(reached).unwrap(), Ordering::SeqCst) + usize::try_from(reached).unwrap();
    println!("{scenario:?}: {reached} points, {second} pairs; {sum} points so far");
}

macro_rules! sweeps {
    ($($name:ident: $scenario:ident, $at_least:literal;)*) => {$(
        #[test]
        fn $name() {
            sweep($scenario, $at_least);
        }
    )*};
}

sweeps! {
    create: Create, 5;
    edit: Edit, 2;
    rotate: Rotate, 4;
    revoke_old: RevokeOld, 2;
    emergency: Emergency, 6;
    deactivate: Deactivate, 2;
    activate: Activate, 2;
    delete: Delete, 3;
    delete_and_deactivate: DeleteDeactivate, 3;
    delete_and_retain: DeleteRetain, 3;
    secret_deleted: SecretDeleted, 4;
    secret_tampered: SecretTampered, 4;
    credential_changed: CredentialChanged, 3;
    restart: Restart, 3;
    emergency_in_the_overlap: EmergencyInOverlap, 7;
    delete_in_the_overlap: DeleteInOverlap, 4;
    rotate_at_the_limit: RotateAtLimit, 5;
    secret_renamed: SecretRenamed, 3;
    adopt: Adopt, 6;
    renamed_by_hand: RenamedByHand, 2;
    deactivated_by_hand: DeactivatedByHand, 2;
    deleted_by_hand: DeletedByHand, 5;
}
