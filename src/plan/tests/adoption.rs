//! Tokens that exist: one to take over, one that a twin made, one that an older object wants.

use super::{Row, build::*, check_all};
use crate::{
    api::{token::DeletionPolicy, valid::Adoption},
    plan::*,
};

fn by_id(name: &str) -> Adoption {
    Adoption::Id(id(name))
}

fn by_label(label: &str) -> Adoption {
    Adoption::Label(label.into())
}

/// The token got our marker.
fn marked(case: Case, name: &str, label: &str) -> Case {
    let label = format!("{label} [c1/{}.1]", identity());
    case.hub_as(name, 1).at_hub(name, |token| token.label = label)
}

#[test]
fn taking_over() {
    check_all(rows());
}

pub fn rows() -> Vec<Row> {
    let jenkins = || fresh().hub_by_hand("j1", "jenkins [old]");
    let invalid = "rest InvalidSpec, not ready, wake never";
    vec![
        Row("by its id: it gets our marker", jenkins().adopts(by_id("j1")), "update j1 label=\"jenkins (old)\"+marker"),
        Row("by its label", jenkins().adopts(by_label("jenkins [old]")), "update j1 label=\"jenkins (old)\"+marker"),
        Row("then a successor is made", marked(fresh().adopts(by_id("j1")), "j1", "jenkins (old)"), "create 2"),
        Row(
            "found again by the label that it had",
            marked(fresh().adopts(by_label("jenkins [old]")), "j1", "jenkins (old)"),
            "create 2",
        ),
        Row(
            "it lives on for the overlap",
            marked(fresh().adopts(by_id("j1")), "j1", "x").proved(2).secret_holds(2),
            "remember 2, 1 until 1h",
        ),
        Row(
            "what else carries our marker doesn't",
            marked(fresh().adopts(by_id("j2")), "j1", "x").proved(2).secret_holds(2),
            "remember 2",
        ),
        Row("its successor may use the reserve", marked(fresh().adopts(by_id("j1")), "j1", "x").total(9), "create 2"),
        Row(
            "without a place it stays",
            marked(fresh().adopts(by_id("j1")), "j1", "x").full(),
            "rest QuotaExceeded, not ready, wake 59s",
        ),
        Row("one that the list lacks is asked for by its id", fresh().adopts(by_id("j1")), "confirm j1"),
        Row("one that is not there", fresh().adopts(by_id("j1")).gone("j1"), invalid),
        Row("no token has the label", fresh().adopts(by_label("x")).listed_ago(seconds(1)), invalid),
        Row("or none had it a while ago", fresh().adopts(by_label("x")).listed_ago(minutes(1)), "refresh"),
        Row(
            "two tokens have it",
            jenkins().hub_by_hand("j2", "jenkins [old]").adopts(by_label("jenkins [old]")),
            invalid,
        ),
        Row("not by a list from before this term", fresh().adopts(by_id("j1")).listed_ago(hours(2)), "refresh"),
        Row(
            "not one that another object has",
            fresh().hub_by_hand("j1", "x [c1/aaaaaaaaaaaaaaaa.1]").adopts(by_id("j1")),
            "rest SecretConflict, not ready, wake never",
        ),
        Row(
            "not one that has expired",
            jenkins().at_hub("j1", |token| token.expires = Some(now())).adopts(by_id("j1")),
            invalid,
        ),
        Row("an object that has a token doesn't look for it", settled().adopts(by_id("j1")), super::life::SETTLED),
        Row("nor does one that was restored", fresh().secret_holds(3).adopts(by_id("j1")), "create 4"),
        Row(
            "not without a grant",
            jenkins().adopts(by_id("j1")).with(|view| {
                if let Organization::Known(account) = &mut view.organization {
                    account.adoptable = false;
                }
            }),
            "rest NotGranted, not ready, wake never",
        ),
        Row(
            "an older object wants the same",
            jenkins().adopts(by_id("j1")).with(|view| view.object.rival = Some("payments/older wants it".into())),
            "rest SecretConflict, not ready, wake never",
        ),
        Row(
            "deleted before its successor is made: it goes",
            marked(fresh().adopts(by_id("j1")), "j1", "jenkins").deleting(seconds(0)),
            "delete j1 Farewell",
        ),
        Row(
            "or gets its label back, by the policy",
            marked(fresh().adopts(by_id("j1")), "j1", "jenkins").deletion(DeletionPolicy::Retain).deleting(seconds(0)),
            "update j1 label=\"jenkins\"-marker",
        ),
        Row(
            "what another object took over since is let go",
            settled_at(2)
                .previous(1, now())
                .at_hub("t1", |token| (token.sequence, token.label) = (None, "x [c1/aaaaaaaaaaaaaaaa.1]".into())),
            "remember 2",
        ),
    ]
}

/// After a list of eleven minutes into the term, and what appears in the next one.
fn later(case: Case, appears: impl FnOnce(Case) -> Case) -> Case {
    let at = |case: Case, minutes_later: u64| {
        let mut case = case;
        case.now = ahead(minutes(minutes_later));
        case.list(|list| list.started = ahead(minutes(minutes_later)))
    };
    let first = at(case.with(|view| view.session.since = now()), 11);
    let second = |mut case: Case| {
        case.view.see_current();
        case
    };
    second(at(appears(second(first)), 71))
}

#[test]
fn twins() {
    check_all(twin_rows());
}

pub fn twin_rows() -> Vec<Row> {
    let stalled = "rest TwinDetected, not ready, wake 1198h 44m 18s";
    let well = "rest Settled, ready, wake 1198h 44m 18s";
    vec![
        Row("a newer token that nobody here made", later(settled(), |case| case.hub(2)), stalled),
        Row("one with the same sequence", later(settled(), |case| case.hub_as("other", 1)), stalled),
        Row(
            "one that was there before is a leftover",
            later(settled().hub(2), |case| case),
            "touch payments/dockerhub",
        ),
        Row(
            "so is one whose answer was lost",
            later(settled(), |case| case.hub(2).with(|view| _ = view.session.lost.insert(2))),
            "touch payments/dockerhub",
        ),
        Row("not our own", later(settled(), |case| case.proved(2)), "publish payments/dockerhub"),
        Row(
            "nor the one to adopt, which we gave our marker",
            later(fresh().hub_by_hand("j1", "x").adopts(by_id("j1")), |case| marked(case, "j1", "x")),
            "create 2",
        ),
        Row(
            "by its label",
            later(fresh().hub_by_hand("j1", "x").adopts(by_label("x")), |case| marked(case, "j1", "x")),
            "create 2",
        ),
        Row("an older one is a leftover", later(settled_at(3), |case| case.hub(2)), "delete t2 Orphan"),
        Row(
            "when it goes, work goes on",
            later(settled().with(|view| view.memory.twin = Some(id("t2"))), |case| case),
            well,
        ),
        Row(
            "after a restart it is remembered",
            settled().hub(2).with(|view| view.memory.twin = Some(id("t2"))),
            "rest TwinDetected, not ready, wake 1199h 55m 18s",
        ),
        Row(
            "an object that is deleted leaves it",
            settled()
                .secret_absent()
                .hub(2)
                .with(|view| view.memory.twin = Some(id("t2")))
                .gone("t1")
                .deleting(seconds(0)),
            "release",
        ),
    ]
}
