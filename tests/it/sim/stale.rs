//! Decisions on what is not true any more. Each event that a watch brings is held back until after each of the writes that
//! follow, and until nothing more follows; or it is never seen, since the watch ends and the next list shows later things.
//!
//! The end and what is asked of Docker Hub are those of the undisturbed run.

use std::time::Instant;

use oat_sandbox::kube::{Hold, HoldId};

use super::{
    DAY, MINUTE, OperatorHandle, SECOND, Sim,
    crash::{
        LIMIT,
        Scenario::{self, *},
        act, begin_with, done,
    },
    is_work,
    oracle::Outcome,
    user::{ORGANIZATIONS, TOKENS},
};

/// What operators watch that changes in these scenarios.
const WATCHED: [&str; 3] = [TOKENS, ORGANIZATIONS, "secrets"];
const OPERATOR: &str = "oat-operator";

/// What becomes of an event that was held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Shown,
    NeverShown,
}

/// An event that is held back: of which resource, the how manieth change of it, and until so many writes have followed.
#[derive(Clone, Copy, Debug)]
struct Late {
    resource: &'static str,
    nth: u32,
    writes: usize,
    then: Then,
}

fn writes(sim: &Sim, mark: u64) -> usize {
    sim.journal.count(|entry| entry.index >= mark && is_work(entry) && entry.is_write())
}

async fn settled(sim: &Sim, scenario: Scenario, mark: u64) {
    sim.until("it is as asked for", LIMIT, |sim| done(sim, scenario, mark)).await;
    sim.settle(10 * SECOND, 10 * MINUTE).await;
}

/// The end, which stays.
async fn end(sim: &Sim, scenario: Scenario, mark: u64, operator: OperatorHandle) -> Outcome {
    settled(sim, scenario, mark).await;
    let outcome = sim.outcome(mark);
    sim.advance(2 * MINUTE).await;
    assert_eq!(sim.end(), outcome.end, "{scenario:?} goes on");
    operator.kill().await;
    outcome
}

fn quiet(scenario: Scenario) -> Outcome {
    Sim::run(1, async |sim| {
        let operator = begin_with(sim, scenario, &[]).await;
        let mark = sim.journal.len();
        let operator = act(sim, scenario, operator).await;
        end(sim, scenario, mark, operator).await
    })
}

/// Waits until a watch stands before the event, then for the writes. None where there is no such event; false where
/// fewer writes came before nothing more did.
async fn hold_back(sim: &Sim, scenario: Scenario, mark: u64, (id, late): (HoldId, Late)) -> Option<bool> {
    let lags = sim.servers.kube.lags();
    let there = tokio::select! {
        biased;
        () = lags.held(id) => true,
        () = settled(sim, scenario, mark) => false,
    };
    if !there {
        return None;
    }
    let enough = writes(sim, mark) + late.writes;
    let reached = tokio::select! {
        biased;
        () = sim.until("so many writes have followed", 30 * MINUTE, |sim| writes(sim, mark) >= enough) => true,
        () = sim.settle(10 * SECOND, 20 * MINUTE) => false,
    };
    match late.then {
        Then::Shown => lags.release(id),
        Then::NeverShown => lags.expire(id),
    }
    Some(reached)
}

fn run(scenario: Scenario, late: Late) -> Option<(Outcome, bool)> {
    Sim::run(1, async |sim| {
        let operator = begin_with(sim, scenario, &[]).await;
        let mark = sim.journal.len();
        let id = sim.servers.kube.lags().hold(Hold::new(late.resource).agent(OPERATOR).skip(late.nth));
        let (operator, reached) =
            tokio::join!(act(sim, scenario, operator), hold_back(sim, scenario, mark, (id, late)));
        let Some(reached) = reached else {
            operator.kill().await;
            return None;
        };
        Some((end(sim, scenario, mark, operator).await, reached))
    })
}

#[track_caller]
fn compare(what: &str, quiet: &Outcome, found: &Outcome) {
    assert_eq!(found.end, quiet.end, "{what}");
    let cost = |outcome: &Outcome| (outcome.counts.creates, outcome.counts.deletes, outcome.counts.updates);
    assert_eq!(cost(found), cost(quiet), "{what}: creates, deletes, updates\n{:#?}", found.counts);
}

/// Every pair of an event and a later write.
fn sweep(scenario: Scenario, at_least: usize) {
    let began = Instant::now();
    let quiet = quiet(scenario);
    let mut pairs = 0;
    for (resource, then) in
        WATCHED.into_iter().flat_map(|resource| [(resource, Then::Shown), (resource, Then::NeverShown)])
    {
        'events: for nth in 0.. {
            for writes in 1.. {
                let late = Late { resource, nth, writes, then };
                let Some((found, reached)) = run(scenario, late) else { break 'events };
                compare(&format!("{scenario:?} {late:?}"), &quiet, &found);
                pairs += 1;
                if !reached {
                    break;
                }
            }
        }
    }
    println!("{scenario:?}: {pairs} pairs of an event and a later write in {:?}", began.elapsed());
    assert!(pairs >= at_least, "{scenario:?} has only {pairs} pairs");
}

macro_rules! sweeps {
    ($($name:ident: $scenario:ident, $pairs:literal;)*) => {$(
        #[test]
        fn $name() {
            sweep($scenario, $pairs);
        }
    )*};
}

sweeps! {
    create: Create, 8;
    edit: Edit, 4;
    rotate: Rotate, 6;
    revoke_old: RevokeOld, 2;
    emergency: Emergency, 8;
    deactivate: Deactivate, 4;
    activate: Activate, 4;
    delete: Delete, 4;
    secret_deleted: SecretDeleted, 6;
    secret_tampered: SecretTampered, 6;
    credential_changed: CredentialChanged, 2;
}

/// For so long watches say nothing of what followed an old list: longer than one watch lasts.
const SILENT: std::time::Duration = std::time::Duration::from_secs(20 * 60);
/// What an operator asks and writes in that time at most: attempts that fail wait longer each time.
const PATIENT: usize = 30;

/// The newest version of what operators watch.
fn version(sim: &Sim) -> u64 {
    let objects = WATCHED.into_iter().flat_map(|resource| sim.servers.kube.objects(resource));
    let versions = objects.filter_map(|object| object["metadata"]["resourceVersion"].as_str()?.parse().ok());
    versions.max().unwrap()
}

/// An operator starts where all is done, is shown lists from before the action, and no watch tells what came after.
/// Where a Secret seems to be missing it rotates: a second token is made, and goes after its overlap.
fn starts_in_the_past(scenario: Scenario, resources: &[&str], quiet: &Outcome) {
    Sim::run(1, async |sim| {
        let operator = begin_with(sim, scenario, &[]).await;
        let (mark, before) = (sim.journal.len(), version(sim));
        let operator = act(sim, scenario, operator).await;
        settled(sim, scenario, mark).await;
        operator.kill().await;
        let lags = sim.servers.kube.lags();
        for resource in resources {
            lags.list_from(resource, OPERATOR, before);
            lags.hold(Hold::new(resource).agent(OPERATOR));
        }
        // A Secret that the list lacks is given a new token.
        sim.rules.fault();
        let started = sim.journal.len();
        let operator = sim.start_operator(&[]).await;
        sim.advance(SILENT).await;
        let what = format!("{scenario:?}, old lists of {resources:?}");
        assert_eq!(lags.lists_to_come(), 0, "{what} were not asked for");
        let requests = sim.journal.count(|entry| entry.index >= started && is_work(entry));
        let creates = sim.counts(started).creates;
        println!("{what}: {requests} requests, {creates} creates");
        assert!(requests <= PATIENT, "{what}: {requests} requests\n{}", sim.story());
        assert!(creates <= 1, "{what}: {creates} creates\n{}", sim.story());
        lags.clear();
        sim.until("it ends as it had ended", 2 * DAY, |sim| sim.end() == quiet.end).await;
        sim.settle(10 * SECOND, 10 * MINUTE).await;
        assert_eq!(sim.end(), quiet.end, "{what}");
        operator.kill().await;
    });
}

/// With each resource's list from the past, and with all of them.
#[test]
fn a_start_in_the_past_ends_well_and_patiently() {
    for scenario in [Create, Edit, Rotate, Emergency, Deactivate, Activate, Delete, SecretDeleted, SecretTampered] {
        let quiet = quiet(scenario);
        let alone = WATCHED.iter().map(std::slice::from_ref);
        for resources in alone.chain([WATCHED.as_slice()]) {
            starts_in_the_past(scenario, resources, &quiet);
        }
    }
}

/// A standby's watch has said nothing since before a rotation: what the leader wrote is known to a list only.
#[test]
fn whoever_takes_over_knows_what_its_watches_did_not_tell() {
    Sim::run(1, async |sim| {
        let leader = begin_with(sim, Rotate, &["--leader-elect"]).await;
        let other = sim.start_operator(&["--leader-elect"]).await;
        sim.settle(10 * SECOND, MINUTE).await;
        let lags = sim.servers.kube.lags();
        lags.hold(Hold::new("secrets").agent(OPERATOR));
        let mark = sim.journal.len();
        let leader = act(sim, Rotate, leader).await;
        settled(sim, Rotate, mark).await;
        let (mark, end) = (sim.journal.len(), sim.end());
        leader.kill().await;
        sim.advance(MINUTE).await;
        sim.settle(10 * SECOND, 10 * MINUTE).await;
        let counts = sim.counts(mark);
        assert_eq!((counts.creates, counts.deletes, counts.updates), (0, 0, 0), "{}", sim.story());
        assert_eq!(sim.end(), end);
        lags.clear();
        other.kill().await;
    });
}
