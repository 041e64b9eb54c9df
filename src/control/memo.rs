//! What this process remembers of a token object between passes: its session, and a value in hand.
//!
//! Invariant: a value is here only between a create and the moment it is remembered and everywhere, and not after the
//! leadership is lost: the process ends with it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use secrecy::SecretString;

use crate::{
    api::names::TokenId,
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
}

impl Memo {
    /// Nothing but when the session began.
    pub fn new(session: Session) -> Self {
        Self { session, hand: None, value: None, warned: None }
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
