//! Two replicas. Each request of the leader, of every kind, is held at the server; the leader can't renew its lease and
//! ends; the other one takes over and brings everything to its end; then the request is let go, and is carried out where
//! its preconditions still hold. The end is that of the undisturbed run.
//!
//! Meanwhile nothing is written between the first leader's deadline and the next one's term.
//! `OAT_SWEEP=pairs cargo test --test it sim::held` also lets the request go at every request of the next leader.

use std::{collections::BTreeSet, time::Instant};

use jiff::Timestamp;
use oat_sandbox::{
    fault::{Fault, Rule, RuleId},
    journal::Server,
    serve::RequestInfo,
};
use serde_json::json;

use super::{
    MINUTE, SECOND, Sim,
    crash::{
        LIMIT,
        Scenario::{self, *},
        act, begin_with, done,
    },
    is_work,
    oracle::Outcome,
};
use crate::support::world::{NAMESPACE, organization_yaml};

/// The bearer token of the other replica, which is the same user.
const OTHER: &str = "other-replica";
const ELECT: [&str; 1] = ["--leader-elect"];
/// What a leader may go on for after its last renewal, and how long the other one waits.
const DEADLINE: i64 = 10;

/// Requests that are held: all that an operator sends but for watches and what is about the Lease.
fn counts(request: &RequestInfo) -> bool {
    let standing_by = request.query.contains("watch=") || request.path.contains("/leases");
    request.user_agent.starts_with("oat-operator") && !standing_by
}

/// A request without what is different in each run.
fn kind(server: Server, method: &str, path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    let path = match *parts.as_slice() {
        ["", "v2", "orgs", _, "access-tokens", _] => "access-tokens/ID".to_owned(),
        ["", "v2", "orgs", _, "access-tokens"] => "access-tokens".to_owned(),
        [.., "secrets", "acme-owner"] => "credentials".to_owned(),
        [.., "events"] => "events".to_owned(),
        [.., "secrets", _] => "secrets/NAME".to_owned(),
        [.., "organizationaccesstokens", _] => "organizationaccesstokens/NAME".to_owned(),
        [.., last, _, "status"] => format!("{last}/NAME/status"),
        _ => parts.last().copied().unwrap_or_default().to_owned(),
    };
    format!("{server} {method} {path}")
}

/// The Lease's holder and how often it has changed hands.
fn lease(sim: &Sim) -> (String, u64) {
    let lease = sim.servers.kube.object("leases.coordination.k8s.io", "oat-operator", "oat-operator").unwrap();
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    (holder, lease["spec"]["leaseTransitions"].as_u64().unwrap_or_default())
}

/// The leader's requests about the Lease are refused from now on.
fn cut(sim: &Sim, token: &'static str) -> RuleId {
    let bearer = format!("Bearer {token}");
    let lease = Rule::new(Fault::Refuse).on(Server::Kubernetes).when(move |request| {
        let header = request.headers.get("authorization").and_then(|value| value.to_str().ok());
        request.path.contains("/leases") && header == Some(bearer.as_str())
    });
    sim.faults.install(lease)
}

/// Which request is held, and when it is let go: at this request of the next leader, or after all of them.
#[derive(Clone, Copy, Debug)]
struct Held {
    at: u32,
    until: Option<usize>,
}

/// What a run showed: the outcome, how many requests the next leader sent before the held one was let go, and its kind.
type Run = (Outcome, usize, String);

/// Time for a list that shows what was carried out late, and for what follows from it.
async fn polls(sim: &Sim) {
    sim.advance(3 * MINUTE).await;
    sim.settle(10 * SECOND, 10 * MINUTE).await;
}

fn run(scenario: Scenario, held: Option<Held>) -> Option<Run> {
    Sim::run(1, async |sim| {
        let first = sim.user;
        let leader = begin_with(sim, scenario, &ELECT).await;
        sim.apply(&organization_yaml(NAMESPACE).replace("spec: {", "spec: {pollInterval: 1m, ")).await;
        sim.servers.kube.add_user("operator", OTHER, &["system:authenticated"]);
        sim.user = OTHER;
        let other = sim.start_operator(&ELECT).await;
        sim.settle(10 * SECOND, MINUTE).await;
        let mark = sim.journal.len();
        let Some(held) = held else {
            let leader = act(sim, scenario, leader).await;
            settled(sim, scenario, mark).await;
            polls(sim).await;
            let outcome = sim.outcome(mark);
            leader.kill().await;
            other.kill().await;
            return Some((outcome, 0, String::new()));
        };
        let rule = Rule::new(Fault::CommitLater).when(counts).skip(held.at - 1).once();
        let rule = sim.faults.install(rule);
        let takes_over = async {
            let reached = tokio::select! {
                biased;
                () = sim.faults.hit(rule, 1) => true,
                () = settled(sim, scenario, mark) => false,
            };
            if !reached {
                return None;
            }
            sim.rules.fault();
            cut(sim, first);
            Some(take_over(sim, scenario, mark, (rule, held)).await)
        };
        let (leader, requests) = tokio::join!(act(sim, scenario, leader), takes_over);
        let Some(requests) = requests else {
            leader.kill().await;
            other.kill().await;
            return None;
        };
        assert!(leader.has_ended(), "the first leader goes on without its Lease");
        polls(sim).await;
        settled(sim, scenario, mark).await;
        let outcome = sim.outcome(mark);
        other.kill().await;
        let held = sim.journal.filter(|entry| entry.fault.as_deref() == Some("CommitLater"));
        let kind = held.first().map(|entry| kind(entry.server, &entry.method, &entry.path));
        Some((outcome, requests, kind.unwrap()))
    })
}

async fn settled(sim: &Sim, scenario: Scenario, mark: u64) {
    sim.until("it is as asked for", LIMIT, |sim| done(sim, scenario, mark)).await;
    sim.settle(10 * SECOND, 10 * MINUTE).await;
}

/// The first leader was cut off at this moment; the next one leads, works, and the held request is let go.
async fn take_over(sim: &Sim, scenario: Scenario, mark: u64, (rule, held): (RuleId, Held)) -> usize {
    let (cut, (holder, _)) = (sim.now(), lease(sim));
    sim.until("the other one leads", MINUTE, |sim| lease(sim).0 != holder).await;
    let (taken, from) = (sim.now(), sim.journal.len());
    quiet_between(sim, (cut, taken), mark);
    let sent = |sim: &Sim| sim.journal.count(|entry| entry.index >= from && is_work(entry));
    if let Some(until) = held.until {
        sim.until("so many requests have followed", 10 * MINUTE, |sim| sent(sim) >= until).await;
        sim.faults.release(rule);
        return until;
    }
    settled(sim, scenario, mark).await;
    let requests = sent(sim);
    sim.faults.release(rule);
    // It is carried out now, by nobody's request.
    sim.advance(SECOND).await;
    requests
}

/// S15: no write begins after the first leader's deadline and before the next term.
fn quiet_between(sim: &Sim, (cut, taken): (Timestamp, Timestamp), mark: u64) {
    let deadline = cut + jiff::SignedDuration::from_secs(DEADLINE);
    let late = sim.journal.filter(|entry| {
        entry.index >= mark && is_work(entry) && entry.is_write() && entry.time > deadline && entry.time < taken
    });
    assert!(late.is_empty(), "S15: after the deadline {deadline}: {late:?}");
    assert!(taken > deadline, "the next term began at {taken}, before the deadline {deadline}");
}

#[track_caller]
fn compare(scenario: Scenario, held: Held, (quiet, found): (&Outcome, &Outcome), what: &str) {
    assert_eq!(found.end, quiet.end, "{scenario:?} {held:?}: {what}");
    let more = found.counts.creates.saturating_sub(quiet.counts.creates);
    assert!(more <= 1, "{scenario:?} {held:?}: {what}: {more} creates more\n{:#?}", found.counts);
}

fn sweep(scenario: Scenario, expected: &[&str]) {
    let began = Instant::now();
    let pairs = std::env::var("OAT_SWEEP").as_deref() == Ok("pairs");
    let (quiet, ..) = run(scenario, None).unwrap();
    let (mut at, mut more, mut kinds) = (1, 0, BTreeSet::new());
    while let Some((found, requests, kind)) = run(scenario, Some(Held { at, until: None })) {
        compare(scenario, Held { at, until: None }, (&quiet, &found), &kind);
        for until in (1..=requests).filter(|_| pairs) {
            let held = Held { at, until: Some(until) };
            let Some((found, ..)) = run(scenario, Some(held)) else { continue };
            more += 1;
            compare(scenario, held, (&quiet, &found), &kind);
        }
        kinds.insert(kind);
        at += 1;
    }
    println!("{scenario:?}: {} requests held, {more} let go in between, in {:?}: {kinds:?}", at - 1, began.elapsed());
    for kind in expected {
        assert!(kinds.contains(*kind), "{scenario:?} holds no {kind}: {kinds:?}");
    }
}

macro_rules! sweeps {
    ($($name:ident: $scenario:ident, $kinds:expr;)*) => {$(
        #[test]
        fn $name() {
            sweep($scenario, &$kinds);
        }
    )*};
}

const STATUS: &str = "kubernetes PATCH organizationaccesstokens/NAME/status";
const MADE: &str = "hub POST access-tokens";
const CHANGED: &str = "hub PATCH access-tokens/ID";
const DELETED: &str = "hub DELETE access-tokens/ID";
const FINALIZER: &str = "kubernetes PATCH organizationaccesstokens/NAME";
const EVENT: &str = "kubernetes POST events";
const PROVED: &str = "registry GET token";

sweeps! {
    create: Create, [FINALIZER, MADE, PROVED, "kubernetes POST secrets", STATUS, EVENT];
    edit: Edit, [CHANGED, STATUS];
    rotate: Rotate, [MADE, PROVED, "kubernetes PATCH secrets/NAME", STATUS, EVENT];
    revoke_old: RevokeOld, [DELETED, STATUS];
    emergency: Emergency, [CHANGED, MADE, "kubernetes PATCH secrets/NAME", STATUS, DELETED];
    deactivate: Deactivate, [CHANGED, STATUS];
    activate: Activate, [CHANGED, STATUS];
    delete: Delete, ["kubernetes DELETE secrets/NAME", DELETED, FINALIZER];
    delete_and_deactivate: DeleteDeactivate, ["kubernetes DELETE secrets/NAME", CHANGED, FINALIZER];
    delete_and_retain: DeleteRetain, ["kubernetes DELETE secrets/NAME", CHANGED, FINALIZER];
    secret_deleted: SecretDeleted, [MADE, "kubernetes POST secrets", STATUS];
    secret_tampered: SecretTampered, [MADE, "kubernetes PATCH secrets/NAME", STATUS];
    credential_changed: CredentialChanged, ["kubernetes GET credentials", "hub POST token"];
}

/// The writes of the Lease itself, held until another one leads, change nothing when they are let go.
fn lease_write(method: &'static str, stopped: bool) {
    Sim::run(2, async |sim| {
        sim.organization().await;
        let begun = stopped || method == "PUT";
        let hold = |sim: &Sim| {
            let rule = Rule::new(Fault::CommitLater).on(Server::Kubernetes);
            sim.faults.install(rule.when(move |r| r.path.contains("/leases") && r.method == method).once())
        };
        let early = (!begun).then(|| hold(sim));
        let first = sim.start_operator(&ELECT).await;
        if begun {
            sim.until("the first one leads", MINUTE, Sim::organization_is_ready).await;
        }
        let rule = early.unwrap_or_else(|| hold(sim));
        if stopped {
            let second = sim.start_operator(&ELECT).await;
            // It does not renew before it is told to stop: the release is what is held.
            first.stop().await.unwrap();
            goes_on(sim, rule, second).await;
        } else {
            sim.faults.hit(rule, 1).await;
            first.kill().await;
            let second = sim.start_operator(&ELECT).await;
            goes_on(sim, rule, second).await;
        }
    });
}

async fn goes_on(sim: &Sim, rule: RuleId, second: super::OperatorHandle) {
    sim.token("pull", json!({})).await;
    sim.until("the second one works", 2 * MINUTE, |sim| sim.is_ready("pull")).await;
    assert_eq!(sim.faults.hits(rule), 1);
    let before = lease(sim);
    sim.faults.release(rule);
    sim.advance(MINUTE).await;
    assert_eq!(lease(sim), before, "the second one still leads, in the same term");
    assert!(!second.has_ended());
    second.kill().await;
}

#[test]
fn a_lease_that_is_made_late() {
    lease_write("POST", false);
}

#[test]
fn a_lease_that_is_renewed_late() {
    lease_write("PUT", false);
}

#[test]
fn a_lease_that_is_released_late() {
    lease_write("PUT", true);
}
