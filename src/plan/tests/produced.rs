//! The tables together: every step, every why and every reason that the planner can give is in some row.

use std::collections::BTreeSet;

use super::{Row, adoption, build::*, farewell, life, places, waiting, windows};
use crate::{
    api::conditions::{Progress, Reason},
    plan::*,
};

pub fn all_rows() -> Vec<Row> {
    [
        life::first_token_rows(),
        life::hand_rows(),
        life::succession_rows(),
        life::replacement_rows(),
        life::room_rows(),
        life::quota_rows(),
        life::heal_rows(),
        life::edit_rows(),
        life::clean_rows(),
        life::revoke_rows(),
        places::leftover_rows(),
        places::patience_rows(),
        places::exchange_rows(),
        adoption::rows(),
        adoption::twin_rows(),
        windows::rows(),
        windows::distance_rows(),
        windows::inspection_rows(),
        waiting::finding_rows(),
        waiting::organization_rows(),
        waiting::failure_rows(),
        farewell::secret_rows(),
        farewell::token_rows(),
        farewell::end_rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn decisions() -> Vec<Decision> {
    all_rows().iter().map(|Row(_, case, _)| decide(&case.view, case.now)).collect()
}

#[test]
fn the_tables_are_large_and_no_sentence_stands_in_them_twice() {
    let rows = all_rows();
    assert!(rows.len() >= 200, "{}", rows.len());
    for (number, Row(sentence, case, _)) in rows.iter().enumerate() {
        let same = |Row(other, view, _): &Row| other == sentence && view.view == case.view && view.now == case.now;
        assert!(!rows[..number].iter().any(same), "{sentence}");
    }
}

#[test]
fn every_step_is_in_some_row() {
    let first_word = |decision: &Decision| match decision {
        Decision::Step(step) => super::say::step(step, now()).split(' ').next().map(str::to_owned),
        Decision::Rest(_) => Some("rest".into()),
    };
    let found: BTreeSet<_> = decisions().iter().filter_map(first_word).collect();
    let expected = [
        "abandon",
        "blank",
        "confirm",
        "create",
        "delete",
        "fetch",
        "finalizer",
        "prove",
        "publish",
        "refresh",
        "release",
        "remember",
        "remove",
        "rest",
        "touch",
        "update",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}

#[test]
fn every_why_is_in_some_row() {
    let why = |decision: Decision| match decision {
        Decision::Step(Step::Delete(_, why)) => Some(format!("{why:?}")),
        _ => None,
    };
    let found: BTreeSet<_> = decisions().into_iter().filter_map(why).collect();
    // A match, so that a new one doesn't compile without a name here.
    let name = |why: Why| match why {
        Why::Replaced | Why::Revoked | Why::Orphan | Why::Unproved | Why::Exchanged | Why::Farewell => {
            format!("{why:?}")
        }
    };
    let all = [Why::Replaced, Why::Revoked, Why::Orphan, Why::Unproved, Why::Exchanged, Why::Farewell].map(name);
    assert_eq!(found, all.into());
}

#[test]
fn every_reason_is_in_some_row() {
    let reason = |decision: Decision| match decision {
        Decision::Rest(Rest { facts, .. }) => match facts.progress {
            Progress::Waiting(reason, _) => Some(reason),
            Progress::Settled => None,
        },
        Decision::Step(_) => None,
    };
    let found: BTreeSet<_> = decisions().into_iter().filter_map(reason).collect();
    // These are said by others: by the conditions, or of an organization.
    let elsewhere = [Reason::Succeeded, Reason::Deactivated, Reason::LimitReached];
    // This one comes where somebody writes against us: the first time it is tried again at once.
    let passing = [Reason::ProgressingWithRetry];
    let expected: BTreeSet<_> =
        Reason::ALL.into_iter().filter(|r| !elsewhere.contains(r) && !passing.contains(r)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_decision_depends_on_nothing_but_the_view_and_the_time() {
    for Row(sentence, case, _) in all_rows() {
        let other = case.clone();
        assert_eq!(decide(&case.view, case.now), decide(&other.view, other.now), "{sentence}");
        assert_eq!(case.view, other.view, "{sentence}");
    }
}
