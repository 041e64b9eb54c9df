//! S8: what the status promises a replaced token, and what becomes of the promise.
//!
//! * When a token is replaced, the status says that it lives on for the overlap that the spec asks for.
//! * That time is shortened only when its successor is replaced as well.
//! * It is deleted earlier only where another takes its successor's place at once: a create follows, before the object
//!   says that it rests.
//!
//! None of that holds for a token that works no more, and where it is not to work: revoked, switched off, expired, gone.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use oat_operator::api::{OrganizationAccessToken, names::Identity, token::TokenStatus};
use oat_sandbox::journal::Entry;

use super::State;

/// Between a decision and the write that says it.
const SLACK: SignedDuration = SignedDuration::from_mins(2);

#[derive(Default)]
pub struct Overlaps {
    /// The last status of each object, by uid.
    statuses: BTreeMap<String, TokenStatus>,
    /// Former tokens that were deleted before their time, by the object whose create must follow.
    cut: BTreeMap<Identity, String>,
    /// When Docker Hub last said of a token, asked for by its id, that it is not there, true or not.
    gone: BTreeMap<String, Timestamp>,
}

impl Overlaps {
    /// A create follows, or somebody changed what the decision was made upon.
    pub fn settle(&mut self, identity: &Identity) {
        self.cut.remove(identity);
    }

    /// Clocks were set, an operator ended, or somebody's hands were at Docker Hub: what was necessary may not be any more.
    pub fn settle_all(&mut self) {
        self.cut.clear();
    }

    pub fn was_said_gone(&self, id: &str, now: Timestamp) -> bool {
        self.gone.get(id).is_some_and(|since| now.duration_since(*since) <= super::LATE)
    }

    pub fn said_gone(&mut self, id: &str, now: Timestamp) {
        self.gone.insert(id.to_owned(), now);
    }
}

impl State {
    /// A former token is about to be deleted.
    pub fn former_goes(&mut self, entry: &Entry, object: &OrganizationAccessToken, identity: &Identity, id: &str) {
        let former = object.status.iter().flat_map(|status| &status.previous).find(|former| former.id == id);
        let until = former.and_then(|former| former.revocation_time.parse::<Timestamp>().ok());
        let Some(until) = until.filter(|until| self.clocks.latest(entry.time) < *until) else { return };
        if !self.is_worthless(entry, object, id) {
            let what = format!("{id} of {identity:?} was to live until {until}, and nothing took its place: {entry}");
            self.overlaps.cut.insert(identity.clone(), what);
        }
    }

    /// A status was written by us.
    pub fn promised(&mut self, entry: &Entry, object: &OrganizationAccessToken, identity: &Identity) {
        let (Some(uid), Some(status)) = (&object.metadata.uid, &object.status) else { return };
        let before = self.overlaps.statuses.insert(uid.clone(), status.clone()).unwrap_or_default();
        let id = |status: &TokenStatus| status.token.as_ref().map(|token| token.id.clone());
        let replaced = id(&before).filter(|before| id(status).as_ref() != Some(before));
        for former in &status.previous {
            let Ok(until) = former.revocation_time.parse::<Timestamp>() else { continue };
            let earlier = before.previous.iter().find(|earlier| earlier.id == former.id);
            let earlier = earlier.and_then(|earlier| earlier.revocation_time.parse::<Timestamp>().ok());
            let promised = match earlier {
                // It is replaced twice.
                Some(_) if replaced.is_some() => continue,
                Some(earlier) => earlier,
                None if replaced.as_ref() == Some(&former.id) => {
                    let overlap: SignedDuration = object.spec.token.rotation.overlap.parse().unwrap_or_default();
                    self.clocks.earliest(entry.time).saturating_add(overlap).unwrap().saturating_sub(SLACK).unwrap()
                }
                None => continue,
            };
            if until < promised && !self.is_worthless(entry, object, &former.id) {
                let what = format!("sequence {} lives until {until}, not {promised}", former.sequence);
                self.broke("S8", entry, &what);
            }
        }
        if rests(status)
            && let Some(what) = self.overlaps.cut.remove(identity)
        {
            self.broke("S8", entry, &what);
        }
    }

    /// Whether nobody could use this token of an object, or nobody is to.
    fn is_worthless(&self, entry: &Entry, object: &OrganizationAccessToken, id: &str) -> bool {
        let gone = self.overlaps.was_said_gone(id, entry.time);
        // By the operator's clock it may have expired already.
        let expired = |known: &super::Known| known.expires.is_some_and(|at| at <= self.clocks.latest(entry.time));
        let dead = self.known.get(id).is_none_or(|known| !known.live || expired(known));
        gone || dead || self.is_silent(object, entry.time)
    }
}

/// Whether an object has nothing more to do.
fn rests(status: &TokenStatus) -> bool {
    let says = |kind: &str, state: &str| status.conditions.iter().any(|one| one.type_ == kind && one.status == state);
    let waits = says("Reconciling", "True") || says("Stalled", "True");
    says("Ready", "True") && says("Rotating", "False") && !waits
}
