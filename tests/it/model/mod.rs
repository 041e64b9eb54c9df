//! The protocol, checked in every interleaving: the operator's own `decide` and `absorb` against a world that loses
//! answers, commits late, crashes the operator, and is edited by hand.
//!
//! `world` is the state, `operator` the model and what each action does, `apply` carries steps out as the controller does, `rules` says
//! what must never be, `mutants` breaks the planner in ways that the rules must notice.
//!
//! `OAT_MODEL=large cargo test --release --test it model::all` explores more, and `OAT_MODEL="edits and crashes"` only that.
//!
//! Bounds: one object, one leader at a time, two Secrets, a clock of a few ticks, and so many faults of each kind as a
//! configuration allows. A pass works on what it saw when it began, however long ago that was.
//!
//! Not in here: two leaders at once, limits of Docker Hub. A token of a lost create that is newer than the remembered one
//! stays until the next rotation: that is the late sweep, and the rules permit it.

mod apply;
mod mutants;
mod operator;
mod rules;
mod world;

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use mutants::MUTANTS;
use operator::Operator;
use world::{Budget, Start};

/// Explores all of it and shows how large it was.
#[track_caller]
fn explore(name: &str, model: Operator) -> (usize, BTreeSet<&'static str>) {
    let seen = model.seen.clone();
    let begun = std::time::Instant::now();
    let checker = model.checker().spawn_bfs().join();
    let states = checker.unique_state_count();
    println!(
        "{name}: {states} distinct states, {} generated, depth {}, {:?}",
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed()
    );
    if let Some((rule, path)) = checker.discoveries().into_iter().next() {
        let last = path.last_state().clone();
        let why = (last.broken, rules::settles(checker.model(), &last));
        let way = rules::way(checker.model(), &last);
        panic!("{name}: {rule} does not hold: {why:?} after {:#?}\nthen {way:#?}\n{last:?}", path.into_actions());
    }
    assert!(checker.is_done(), "{name} was cut off");
    let seen = seen.lock().unwrap().steps.clone();
    (states, seen)
}

/// The configurations: what is allowed to happen, and how often at most.
fn configurations() -> Vec<(&'static str, Operator)> {
    let none = Budget::default();
    let mut all = vec![
        ("create", Start::New, Budget { crash: 1, lost: 1, late: 1, ..none }),
        ("refusals", Start::New, Budget { refuse: 3, lost: 1, crash: 1, ..none }),
        ("rotation", Start::Settled, Budget { crash: 1, lost: 1, late: 1, rotate: 1, ..none }),
        ("schedule", Start::Settled, Budget { crash: 1, lost: 1, tick: 3, ..none }),
        ("emergency", Start::Settled, Budget { crash: 1, lost: 1, rotate: 1, revoke: 1, ..none }),
        ("edits", Start::Settled, Budget { toggle: 2, edit: 1, rename: 1, rotate: 1, tick: 1, ..none }),
        ("a new name and crashes", Start::Settled, Budget { toggle: 1, rename: 1, rotate: 1, crash: 1, ..none }),
        ("changed Secrets", Start::Settled, Budget { secret: 2, rotate: 1, crash: 1, tick: 1, ..none }),
        ("two Secrets", Start::Two, Budget { refuse: 1, secret: 1, rotate: 1, tick: 2, ..none }),
        ("hands at Docker Hub", Start::Settled, Budget { hub: 2, rotate: 1, tick: 1, ..none }),
        ("deletion", Start::Settled, Budget { delete: 1, crash: 1, lost: 1, late: 1, rotate: 1, ..none }),
        ("a token that stays", Start::Retained, Budget { delete: 1, crash: 1, lost: 1, rotate: 1, secret: 1, ..none }),
        ("restored without its status", Start::Restored, Budget { crash: 1, lost: 1, late: 1, ..none }),
    ];
    let large = std::env::var("OAT_MODEL").ok();
    if large.is_some() {
        all.extend([
            (
                "emergency, over time",
                Start::Settled,
                Budget { crash: 1, lost: 1, rotate: 1, revoke: 1, tick: 1, ..none },
            ),
            ("hands at Docker Hub, crashes", Start::Settled, Budget { hub: 2, rotate: 1, crash: 1, tick: 1, ..none }),
            (
                "two Secrets, lost answers",
                Start::Two,
                Budget { refuse: 1, lost: 1, secret: 1, rotate: 1, tick: 2, ..none },
            ),
            ("rotation, over time", Start::Settled, Budget { crash: 1, lost: 1, late: 1, rotate: 1, tick: 1, ..none }),
            (
                "edits and crashes",
                Start::Settled,
                Budget { toggle: 2, edit: 1, rename: 1, rotate: 1, crash: 1, tick: 1, ..none },
            ),
            ("create, crashed twice", Start::New, Budget { crash: 2, lost: 1, late: 1, tick: 1, ..none }),
        ]);
    }
    all.retain(|(name, ..)| large.as_deref().is_none_or(|large| large == "large" || large == *name));
    all.into_iter().map(|(name, start, budget)| (name, Operator::new(start, budget))).collect()
}

#[test]
fn all_configurations_hold() {
    let (mut total, mut steps) = (0, BTreeSet::new());
    for (name, model) in configurations() {
        let (states, seen) = explore(name, model);
        total += states;
        steps.extend(seen);
    }
    println!("{total} distinct states in all");
    if configurations().len() == 1 {
        return;
    }
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
        "Update",
    ];
    assert_eq!(steps, expected.into());
}

#[test]
fn every_mutant_is_killed() {
    let mut survivors = Vec::new();
    for mutant in MUTANTS {
        let found = configurations().into_iter().find(|(name, _)| *name == mutant.under);
        let (_, mut model) = found.unwrap();
        model.decide = mutant.decide;
        let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let rules: Vec<_> = checker.discoveries().into_keys().collect();
        println!("{}: {rules:?} after {} states", mutant.name, checker.unique_state_count());
        if rules.is_empty() {
            survivors.push(mutant.name);
        }
    }
    assert!(survivors.is_empty(), "not noticed: {survivors:?}");
}
