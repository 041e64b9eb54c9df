//! What this process remembers of a token object between passes: its session, and a value in hand.
//!
//! Invariant: a value is here only between a create and the moment it is remembered and everywhere, and not after the
//! leadership is lost: the process ends with it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use secrecy::SecretString;

use crate::{
    api::{conditions::Reason, names::TokenId},
    plan::{Hand, Session, View},
};

/// What is remembered of one object.
#[derive(Clone)]
pub struct Memo {
    /// What decisions may know.
    pub session: Session,
    /// A token whose value is in `value`.
    pub hand: Option<Hand>,
    /// The value itself.
    pub value: Option<SecretString>,
    /// The token whose coming end users have been told of.
    pub warned: Option<TokenId>,
    /// How often a watch had come back when the last pass began.
    returns: u64,
    /// What was asked for when it began.
    asked: Option<Asked>,
}

/// What people say of an object and of its organization: where it differs from before, they may have made a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The object's generation.
    pub generation: Option<i64>,
    /// Its annotations that ask for something.
    pub requests: [Option<String>; 3],
    /// The organization object, and its generation.
    pub organization: Option<(Option<String>, i64)>,
}

impl Memo {
    /// Nothing but when the session began.
    pub fn new(session: Session) -> Self {
        Self { session, hand: None, value: None, warned: None, returns: 0, asked: None }
    }

    /// Whether the last attempt failed for want of the API server.
    pub fn lacks_kubernetes(&self) -> bool {
        self.session.failure.as_ref().is_some_and(|failure| failure.trouble.reason == Reason::KubernetesUnavailable)
    }

    /// A pass begins when watches have come back so often: if one has since the last pass began, the API server is
    /// there again, and what failed for want of it need not wait any longer.
    pub fn begin(&mut self, returns: u64, now: Timestamp) {
        let news = std::mem::replace(&mut self.returns, returns) != returns;
        if news && self.lacks_kubernetes() {
            self.session.failure.iter_mut().for_each(|failure| failure.not_before = failure.not_before.min(now));
        }
    }

    /// A pass begins with this being asked for. What differs from the last pass may have made a place.
    pub fn hear(&mut self, asked: Asked, now: Timestamp) {
        let former = self.asked.replace(asked);
        if former.is_some() && former != self.asked {
            self.session.hoped = now;
        }
    }

    /// Follows a view after an outcome: a hand that is gone takes its value along.
    pub fn follow(&mut self, view: &View) {
        self.session = view.session.clone();
        self.hand = view.hand.clone();
        if self.hand.is_none() {
            self.value = None;
        }
    }
}

/// The memos of all objects, by uid.
#[derive(Default)]
pub struct Memos(Mutex<HashMap<String, Memo>>);

impl Memos {
    /// The memo of an object.
    pub fn get(&self, uid: &str) -> Option<Memo> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    /// Keeps a memo.
    pub fn put(&self, uid: &str, memo: Memo) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.into(), memo);
    }

    /// Forgets all objects but these.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| keep(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Failure, Trouble};

    fn failed(reason: Reason, not_before: Timestamp) -> Memo {
        let trouble = Trouble { reason, message: "lost".into(), retry: None, uncertain: false };
        let basis = (1, crate::api::token::LastHandled::default(), false);
        let failure = Failure { trouble, count: 9, not_before, full: None, publishing: true, basis };
        Memo::new(Session {
            since: Timestamp::UNIX_EPOCH,
            fresh_after: Timestamp::UNIX_EPOCH,
            tried: 0,
            failure: Some(failure),
            gone: None,
            lost: Default::default(),
            seen: None,
            touched: Default::default(),
            inspected: Timestamp::UNIX_EPOCH,
            drift: Default::default(),
            hoped: Timestamp::UNIX_EPOCH,
            abandon_after: std::time::Duration::ZERO,
        })
    }

    #[test]
    fn what_failed_for_want_of_the_api_server_goes_on_once_when_a_watch_is_back() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let due = |memo: &Memo| memo.session.failure.as_ref().unwrap().not_before;
        let mut memo = failed(Reason::KubernetesUnavailable, at(300));
        memo.begin(0, at(10));
        assert_eq!(due(&memo), at(300), "none is back");
        memo.begin(1, at(20));
        assert_eq!(due(&memo), at(20));
        // It failed again in that pass.
        memo.session.failure.as_mut().unwrap().not_before = at(320);
        memo.begin(1, at(30));
        assert_eq!(due(&memo), at(320), "that one has been taken account of");
        let mut other = failed(Reason::RateLimited, at(300));
        other.begin(1, at(20));
        assert_eq!(due(&other), at(300));
    }

    #[test]
    fn what_is_asked_for_anew_gives_hope_and_what_was_asked_for_does_not() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let asked = |generation, organization| Asked {
            generation: Some(generation),
            requests: [None, None, Some("now".into())],
            organization: Some((None, organization)),
        };
        let mut memo = failed(Reason::QuotaExceeded, at(300));
        let mut hoped = |asked: Asked, second| {
            memo.hear(asked, at(second));
            memo.session.hoped
        };
        assert_eq!(hoped(asked(1, 1), 10), at(0), "what a term begins with is not new");
        assert_eq!(hoped(asked(2, 1), 20), at(20), "the object was edited");
        assert_eq!(hoped(asked(2, 1), 30), at(20));
        assert_eq!(hoped(asked(2, 2), 40), at(40), "its organization was");
        assert_eq!(
            hoped(Asked { requests: [None, None, Some("again".into())], ..asked(2, 2) }, 50),
            at(50),
            "a request"
        );
    }
}
