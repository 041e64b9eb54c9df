//! The protocol, checked in every interleaving: the operator's own `decide` and `absorb` against a world that loses
//! answers, commits late, crashes the operator, moves its Lease, shows it the past, and is edited by hand.
//!
//! Reading order: [`world`] (the state and what may happen), [`operator`] (the model, and what is none of the operator's
//! doing), [`views`] (what the planner is shown), [`apply`] and [`effects`] (a step as the controller carries it out),
//! [`flying`] (writes that land when nobody waits for them any more), [`rules`] (what must never be, and what must come
//! about), [`configurations`], [`large`] and [`swarm`] (the bounds), [`mutants`] (planners that are broken in ways that
//! the rules must notice), [`tables`] (the planner is pure: what it said once is kept), [`edges`] (what the integration
//! suite may see), [`memory`].
//!
//! ```text
//! cargo test --test model                                                 the usual configurations, and the mutants
//! OAT_MODEL=large cargo test --test model configurations -- --nocapture   a hundred million states
//! OAT_MODEL=swarm OAT_SEEDS=200 cargo test --test model configurations -- --nocapture   as many by chance
//! OAT_MODEL="two replicas" cargo test --test model configurations         one configuration
//! OAT_MODEL="Two crash=1 late=1 tick=2" cargo test --test model configurations    one that is made up
//! ```
//!
//! Two replicas: whoever leads looks before each write whether it still does, and its process ends when it doesn't. So
//! all that is left of a former leader is what it had begun to write, with the preconditions that it had. Those writes
//! land at any later time, or never; the next leader begins with a list of what is there.
//!
//! Bounds: one object, two Secrets, a clock of a few ticks, and so many faults of each kind as a configuration allows.
//! A pass works on what it saw when it began, however long ago that was.
//!
//! The one exception to S1: a Secret that a late write makes where there was none, and that the leader had not seen when
//! it deleted the token. The leader repairs it in its next pass.
//!
//! The one exception to S9: a token whose create, or whose change of the label, Docker Hub carries out when nobody waits
//! for it any more may outlive the object. It is for the sweep of orphans, which is not in the model.
//!
//! Never: a rule about tokens. What is told again here is only what the world does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod apply;
mod configurations;
mod edges;
mod effects;
mod flying;
mod large;
mod memory;
mod mutants;
mod operator;
mod rules;
mod swarm;
mod tables;
mod views;
mod world;

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use mutants::MUTANTS;
use operator::{Flaw, Operator};

/// Explores all of it and shows how large it was: depth first, which needs little memory for what is still to be done; or
/// breadth first, where it may be cut off.
fn explore(name: &str, model: Operator) -> Result<usize, String> {
    let builder = model.clone().checker().threads(2);
    memory::begin();
    match model.most {
        Some(most) => report(name, model, builder.target_state_count(most).spawn_bfs().join()),
        None => report(name, model, builder.spawn_dfs().join()),
    }
}

/// What breaks a rule is looked for again breadth first, for the shortest way.
fn report(name: &str, model: Operator, checker: impl Checker<Operator>) -> Result<usize, String> {
    let cut = model.most.is_some_and(|most| checker.state_count() >= most);
    let (states, whole) = (checker.unique_state_count(), checker.is_done() && !cut);
    println!(
        "{name}: {states} distinct states{}, {} generated, depth {}, {} edges, {} MiB",
        if whole { "" } else { " and then cut off" },
        checker.state_count(),
        checker.max_depth(),
        model.seen.edges.lock().unwrap().len(),
        memory::peak().map_or("?".into(), |peak| peak.to_string()),
    );
    if !checker.discoveries().is_empty() {
        let checker = model.checker().threads(2).finish_when(HasDiscoveries::Any).spawn_bfs().join();
        let (rule, path) = checker.discoveries().into_iter().next().unwrap();
        let last = path.last_state().clone();
        let why = (last.broken, rules::settles(checker.model(), &last));
        let way = rules::way(checker.model(), &last);
        let actions = path.into_actions();
        return Err(format!("{name}: {rule} does not hold: {why:?} after {actions:#?}\nthen {way:#?}\n{last:?}"));
    }
    if whole || checker.model().most.is_some() { Ok(states) } else { Err(format!("{name} was cut off")) }
}

#[test]
fn all_configurations_hold() {
    let (mut total, mut failures, mut steps, mut edges) = (0, Vec::new(), BTreeSet::new(), BTreeSet::new());
    let chosen = configurations::all();
    let asked = std::env::var("OAT_MODEL").ok();
    let (all, usual) = (chosen.len() > 1 && asked.as_deref() != Some("swarm"), asked.is_none());
    for (name, model) in chosen {
        let seen = model.seen.clone();
        match explore(&name, model) {
            Ok(states) => total += states,
            Err(failure) => {
                println!("{failure}");
                failures.push(name);
            }
        }
        steps.append(&mut seen.steps.lock().unwrap());
        edges.append(&mut seen.edges.lock().unwrap());
    }
    println!("{total} distinct states in all");
    assert!(failures.is_empty(), "{failures:?} do not hold");
    if !all {
        return;
    }
    if usual {
        edges::compare(&edges);
    }
    let promised = if usual { 5_000_000 } else { 100_000_000 };
    assert!(total >= promised, "{total} states are not what docs/reliability.md speaks of");
    // Nothing holds by never happening.
    let expected = [
        "AddFinalizer",
        "Blank",
        "Confirm",
        "Create",
        "Delete Farewell",
        "Delete Orphan",
        "Delete Replaced",
        "Delete Revoked",
        "Delete Unproved",
        "Fetch",
        "Prove",
        "Publish",
        "Refresh",
        "Release",
        "Remember",
        "Remove",
        "Touch",
        "Update",
    ];
    let never: Vec<_> = expected.into_iter().filter(|step| !steps.contains(step)).collect();
    assert!(never.is_empty(), "{never:?} never happens");
}

#[test]
fn every_mutant_is_killed() {
    let mut survivors = Vec::new();
    for mutant in MUTANTS {
        let model = Operator { decide: mutant.decide, ..configurations::named(mutant.under) };
        let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let rules: Vec<_> = checker.discoveries().into_keys().collect();
        println!("{}: {rules:?} after {} states", mutant.name, checker.unique_state_count());
        if rules.is_empty() {
            survivors.push(mutant.name);
        }
    }
    assert!(survivors.is_empty(), "not noticed: {survivors:?}");
}

/// What the code around the planner must do: each rule is needed.
#[test]
fn every_flaw_around_the_planner_is_noticed() {
    let flaws = [
        (Flaw::WritesAnyway, "two replicas"),
        (Flaw::AppliesFirst, "two replicas, a Secret dropped"),
        (Flaw::RemembersAnyway, "two replicas"),
        (Flaw::RepeatsCreate, "create"),
        (Flaw::LeadsBehind, "new names for one that is behind"),
    ];
    for (flaw, under) in flaws {
        let model = Operator { flaw, ..configurations::named(under) };
        let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let rules: Vec<_> = checker.discoveries().into_keys().collect();
        println!("{flaw:?}: {rules:?} after {} states", checker.unique_state_count());
        assert!(!rules.is_empty(), "{flaw:?} is not noticed");
    }
}
