//! A crash at every single request of fourteen scenarios: just before it is sent, and after it was carried out and before
//! its answer came. What is left is found anew from the servers alone; the end and the cost are those of the undisturbed
//! run, but for one create more.
//!
//! `OAT_SWEEP=pairs cargo test --test it sim::crash` crashes a second time at every request of every recovery.

use std::sync::atomic::{AtomicUsize, Ordering};

use oat_sandbox::{journal::Server, serve::RequestInfo};
use serde_json::json;

use super::{HOUR, MINUTE, OperatorHandle, SECOND, Sim, oracle::Outcome};
use crate::support::world::{self, PASSWORD};

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
}

use Scenario::*;

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
    sim.organization().await;
    let operator = sim.start_operator(flags).await;
    sim.until("the organization is ready", MINUTE, Sim::organization_is_ready).await;
    let policy = match scenario {
        DeleteDeactivate => "Deactivate",
        DeleteRetain => "Retain",
        _ => "Delete",
    };
    if scenario != Create {
        sim.token("pull", json!({"active": scenario != Activate, "deletionPolicy": policy})).await;
        sim.until("there is a token", MINUTE, |sim| sim.is_ready("pull") || scenario == Activate).await;
    }
    if scenario == RevokeOld {
        sim.annotate("pull", "oat-operator.dev/rotate", "before").await;
        sim.until("it is rotated", MINUTE, |sim| sequence(sim) == 2 && sim.is_ready("pull")).await;
    }
    sim.settle(10 * SECOND, MINUTE).await;
    operator
}

fn sequence(sim: &Sim) -> u64 {
    sim.object("pull").map_or(0, |object| world::sequence(&object))
}

/// What somebody does.
pub async fn act(sim: &Sim, scenario: Scenario, operator: OperatorHandle) -> OperatorHandle {
    match scenario {
        Create => sim.token("pull", json!({})).await,
        Edit => sim.patch("pull", json!({"spec": {"description": "edited"}})).await,
        Rotate => sim.annotate("pull", "oat-operator.dev/rotate", "now").await,
        RevokeOld => sim.advance(HOUR).await,
        Emergency => sim.annotate("pull", "oat-operator.dev/revoke", "now").await,
        Deactivate => sim.patch("pull", json!({"spec": {"active": false}})).await,
        Activate => sim.patch("pull", json!({"spec": {"active": true}})).await,
        Delete | DeleteDeactivate | DeleteRetain => sim.delete("pull").await,
        SecretDeleted => sim.delete_secret("pull").await,
        SecretTampered => sim.tamper("pull").await,
        CredentialChanged => {
            let other = format!("{PASSWORD}, changed");
            sim.servers.hub.set_password("acme-owner", &other);
            sim.credentials(&other).await;
        }
        Restart => {
            operator.kill().await;
            return sim.start_operator(&[]).await;
        }
    }
    operator
}

/// Whether it is as asked for.
pub fn done(sim: &Sim, scenario: Scenario, mark: u64) -> bool {
    let Some(object) = sim.object("pull") else {
        return matches!(scenario, Delete | DeleteDeactivate | DeleteRetain);
    };
    let Some(status) = object.status.as_ref().filter(|_| world::is_ready(&object) || scenario == Deactivate) else {
        return false;
    };
    let token =
        |holds: &dyn Fn(&oat_operator::api::token::CurrentToken) -> bool| status.token.as_ref().is_some_and(holds);
    let acme = sim.servers.hub.organization("acme");
    match scenario {
        Create => true,
        Edit => {
            token(&|token| acme.token(&token.id).is_some_and(|found| found.description.as_deref() == Some("edited")))
        }
        Rotate => status.last_handled.rotate.as_deref() == Some("now"),
        RevokeOld => status.previous.is_empty() && acme.tokens().len() == 1,
        Emergency => status.last_handled.revoke.as_deref() == Some("now") && status.previous.is_empty(),
        Deactivate => token(&|token| !token.active),
        Activate => token(&|token| token.active),
        Delete | DeleteDeactivate | DeleteRetain => false,
        SecretDeleted | SecretTampered => sim.works("pull") && token(&|token| token.sequence > 1),
        CredentialChanged | Restart => sim.organization_is_ready() && sim.counts(mark).lists > 0,
    }
}

/// A run with crashes: how it ended, and how many requests came after the last crash. None where one was never reached.
fn run(scenario: Scenario, crashes: &[Crash]) -> Option<(Outcome, u64)> {
    Sim::run(1, async |sim| {
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
                sim.until("it is as asked for", 10 * MINUTE, |sim| sim.faults.is_frozen() || done(sim, scenario, mark))
                    .await;
                sim.settle(10 * SECOND, 10 * MINUTE).await;
            };
            tokio::select! {
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
        sim.until("it is as asked for", 10 * MINUTE, |sim| done(sim, scenario, mark)).await;
        sim.settle(10 * SECOND, 10 * MINUTE).await;
        let requests = counted(sim, last);
        let outcome = sim.outcome(mark);
        // And so it stays.
        sim.advance(2 * MINUTE).await;
        assert_eq!(sim.end(), outcome.end);
        assert_eq!(counted(sim, last), requests, "it goes on working\n{}", sim.story());
        operator.kill().await;
        Some((outcome, requests))
    })
}

/// The end must be the same; the cost may differ by one create for each crash.
fn compare(scenario: Scenario, crashes: &[Crash], quiet: &Outcome, found: &Outcome) {
    assert_eq!(found.end, quiet.end, "{scenario:?} {crashes:?}");
    let more = found.counts.creates.saturating_sub(quiet.counts.creates);
    assert!(more <= crashes.len(), "{scenario:?} {crashes:?}: {more} creates more\n{:#?}", found.counts);
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
}
