//! Whole lives in a world without faults: the steps in one line.

use super::{build::*, hope, say};
use crate::{
    api::{token::DeletionPolicy, valid::Expiry},
    plan::*,
};

impl Case {
    /// All steps until it rests, and what it says then.
    fn live(&mut self) -> String {
        let mut steps = Vec::new();
        for _ in 0..24 {
            let decision = decide(&self.view, self.now);
            steps.push(say::decision(&decision, self.now));
            match decision {
                Decision::Step(step) => {
                    let outcome = hope::hope(&self.view, &step, self.now);
                    let released = outcome == Outcome::Released;
                    self.view.absorb(&step, outcome, self.now);
                    if released {
                        break;
                    }
                }
                Decision::Rest(_) => break,
            }
        }
        steps.join(" > ")
    }

    fn later(&mut self, by: std::time::Duration) -> &mut Self {
        self.now = schedule::plus(self.now, by);
        self
    }
}

#[test]
fn made_rotated_and_deleted() {
    let mut case = unseen();
    assert_eq!(
        case.live(),
        "finalizer > create 1 > prove > publish payments/dockerhub > remember 1 > rest Settled, ready, wake 1439h 55m 18s"
    );
    assert_eq!(
        case.later(days(60)).live(),
        "create 2 > prove > publish payments/dockerhub > remember 2, 1 until 1h > rest Settled, ready, wake 1h"
    );
    assert_eq!(case.later(hours(1)).live(), "delete t1 Replaced > rest Settled, ready, wake 1438h 55m 18s");
    case.view.object.deleting = Some(case.now);
    assert_eq!(
        case.live(),
        "remove payments/dockerhub > refresh > delete t2 Farewell > release".replace(" > refresh", "")
    );
}

#[test]
fn revoked_in_an_emergency() {
    let mut case = settled().revoke("leaked");
    assert_eq!(
        case.live(),
        "update t1 active=false > create 2 > prove > publish payments/dockerhub > remember 2, 1 until now > \
         delete t1 Revoked > rest Settled, ready, wake 1439h 55m 18s"
    );
    case.view.object.requests.revoke = Some("leaked again".into());
    assert!(case.live().starts_with("update t2 active=false > create 3 > "));
    case.view.object.requests.revoke = None;
    assert!(case.live().starts_with("rest Settled"));
}

#[test]
fn deactivated_and_activated() {
    let mut case = settled().inactive();
    assert_eq!(case.live(), "update t1 active=false > rest Settled, ready, wake 1199h 55m 18s");
    let mut case = case.spec(|wanted| wanted.active = true);
    assert_eq!(case.live(), "update t1 active=true > rest Settled, ready, wake 1199h 55m 18s");
    // Activated after it was due: the new one is what works, and the old one is not activated for it.
    let mut case = settled().inactive();
    case.live();
    let mut case = case.after(days(60)).spec(|wanted| wanted.active = true);
    assert!(case.live().starts_with("create 2 > prove > publish payments/dockerhub > remember 2, 1 until 1h > rest"));
    // Made to be inactive.
    assert_eq!(
        fresh().inactive().live(),
        "create 1 > prove > publish payments/dockerhub > remember 1 > update t1 active=false > \
         rest Settled, ready, wake 1439h 55m 18s"
    );
}

#[test]
fn a_token_whose_expiration_changes() {
    let mut case = settled().spec(|wanted| wanted.expiry = Expiry::After(days(30)));
    assert!(case.live().starts_with("create 2 > "));
    let mut case = settled().spec(|wanted| wanted.expiry = Expiry::Never);
    case.live();
    assert_eq!(case.later(hours(1)).live(), "delete t1 Replaced > rest Settled, ready, wake never");
    let mut case = settled().spec(|wanted| wanted.expiry = Expiry::At(ahead(days(5))));
    case.live();
    assert_eq!(case.later(days(4)).live(), "delete t1 Replaced > rest Settled, ready, wake 24h");
    assert_eq!(case.later(days(1)).live(), "rest Expired, not ready, wake never");
}

#[test]
fn a_secret_that_is_renamed_deleted_or_changed() {
    let renamed = |case: Case| {
        case.with(|view| {
            view.secrets[0].wanted = false;
            view.secrets.push(Secret { key: key("new"), wanted: true, state: SecretState::Absent, failure: None });
        })
    };
    assert_eq!(
        renamed(settled()).live(),
        "fetch payments/dockerhub > publish payments/new > remove payments/dockerhub > rest Settled, ready, wake 1199h 55m 18s"
    );
    let rotating =
        "create 2 > prove > publish payments/dockerhub > remember 2, 1 until 1h > rest Settled, ready, wake 1h";
    assert_eq!(settled().secret_absent().live(), rotating);
    assert_eq!(settled().secret_tampered().live(), rotating);
    assert_eq!(
        settled().secret_misshapen().live(),
        "fetch payments/dockerhub > publish payments/dockerhub > rest Settled, ready, wake 1199h 55m 18s"
    );
}

#[test]
fn ends() {
    let end = |case: Case| case.deleting(seconds(0)).live();
    let two = || settled_at(2).previous(1, ahead(hours(1)));
    assert_eq!(end(two()), "remove payments/dockerhub > delete t2 Farewell > delete t1 Farewell > release");
    assert_eq!(
        end(two().deletion(DeletionPolicy::Retain)),
        "remove payments/dockerhub > delete t1 Farewell > update t2 label=\"pull\"-marker > release"
    );
    assert_eq!(
        end(two().deletion(DeletionPolicy::Deactivate)),
        "remove payments/dockerhub > delete t1 Farewell > update t2 active=false label=\"pull\"-marker > release"
    );
    assert_eq!(
        end(two().deletion(DeletionPolicy::Retain).retain_secret()),
        "delete t1 Farewell > update t2 label=\"pull\"-marker > release"
    );
    assert_eq!(end(settled().retain_secret()), "blank payments/dockerhub > delete t1 Farewell > release");
    assert_eq!(end(fresh()), "release");
    assert_eq!(end(fresh().hand(1)), "delete t1 Farewell > release");
    assert_eq!(end(settled().secret_absent().hub_lacks("t1").deletion(DeletionPolicy::Retain)), "confirm t1 > release");
}

#[test]
fn restored_from_a_backup() {
    // Without its status: the old token is found by its marker, and swept once a new one is in place.
    let mut case = fresh().hub(7);
    assert_eq!(
        case.live(),
        "create 8 > prove > publish payments/dockerhub > remember 8 > delete t7 Orphan > \
         rest Settled, ready, wake 1439h 55m 18s"
    );
    // With its status and the token, but without the Secret.
    assert!(settled().secret_absent().live().starts_with("create 2 > "));
    // With its status, but without the token.
    assert!(settled().hub_lacks("t1").live().starts_with("confirm t1 > create 2 > "));
    // Without its finalizer.
    let case = settled().with(|view| view.object.finalizer = false);
    assert_eq!(case.clone().live(), "finalizer > rest Settled, ready, wake 1199h 55m 18s");
}

#[test]
fn everything_settles() {
    // Whatever the views of all tables begin with, a world without faults brings them to rest, or to the object's end.
    for super::Row(sentence, mut case, _) in super::produced::all_rows() {
        if matches!(case.view.organization, Organization::Missing(_)) {
            continue;
        }
        let mut story = Vec::new();
        for _ in 0..12 {
            story.push(case.live());
            let Decision::Rest(rest) = decide(&case.view, case.now) else { break };
            match rest.wake {
                Some(wake) => case.now = wake,
                None => break,
            }
        }
        let steps = story.last().unwrap().matches(" > ").count();
        assert!(steps < 20, "{sentence}: {story:#?}");
    }
}
