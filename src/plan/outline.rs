//! Views, steps and outcomes in a few words: for the log, and for the model, which must know every one that the log has.
//!
//! Invariant: no names, no times, no values: two objects in the same situation have the same words.

use std::collections::BTreeSet;

use super::{
    Account, List, Organization, Outcome, Remembered, Secret, SecretState, Step, View, Why, adopt, life, secrets,
};

/// A step, what it was taken on, what came of it, and what is known then.
pub fn edge(before: &View, step: &Step, outcome: &Outcome, after: &View) -> String {
    format!("{} | {}: {} | {}", before.outline(), step.name(), outcome.name(), after.outline())
}

impl View {
    /// What decides most about what comes next.
    pub fn outline(&self) -> String {
        let mut words = vec![self.token_outline().to_owned()];
        words.extend(self.hand_outline().map(str::to_owned));
        let secrets: BTreeSet<_> = self.wanted_secrets().map(|secret| self.secret_outline(secret)).collect();
        words.push(format!("in {}", secrets.into_iter().collect::<Vec<_>>().join("+")));
        words.extend(self.own_words().chain(self.list_words()).map(str::to_owned));
        words.join(", ")
    }

    /// What is asked for, and what else is known of the object.
    fn own_words(&self) -> impl Iterator<Item = &'static str> {
        let wanted = self.object.wanted.as_ref().ok();
        let token = self.memory.token.as_ref();
        let edited = token.zip(wanted).is_some_and(|(token, wanted)| token.shape_hash != wanted.shape_hash());
        let words = [
            (self.secrets.iter().any(|secret| !secret.wanted && secrets::held(secret).is_some()), "another Secret"),
            (!self.memory.previous.is_empty(), "previous"),
            (life::rotation_pending(self), "asked"),
            (life::revoke_pending(self), "revoked"),
            (wanted.is_none(), "unreadable"),
            (wanted.is_some_and(|wanted| !wanted.active), "off"),
            (edited, "edited"),
            (wanted.is_some_and(|wanted| wanted.adopt.is_some()) && token.is_none(), "to adopt"),
            (self.object.deleting.is_some(), "deleting"),
            (!self.object.finalizer, "unbound"),
            (self.failure().is_some(), "failed"),
        ];
        words.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word)
    }

    /// What the list shows.
    fn list_words(&self) -> impl Iterator<Item = &'static str> {
        let token = self.memory.token.as_ref();
        let passed = self.memory.passed.max(token.map_or(0, |token| token.sequence));
        let left = |newer: bool| {
            let unknown = self.list().into_iter().flat_map(|list| &list.tokens).filter(|(id, _)| !self.knows(id));
            let mut sequences = unknown.filter_map(|(_, found)| found.sequence);
            sequences.any(|sequence| (sequence > passed) == newer)
        };
        let lacks = |list: &List| token.is_some_and(|token| !list.tokens.contains_key(&token.id));
        let words = [
            (self.list().is_none(), "no list"),
            (self.list().is_some_and(|list| list.started <= self.session.fresh_after), "old list"),
            (self.list().is_some_and(lacks), "unlisted"),
            (left(false), "leftover"),
            (left(true), "newer leftover"),
            (self.is_full(), "full"),
            (adopt::twin(self).is_some(), "twin"),
        ];
        words.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word)
    }

    fn is_full(&self) -> bool {
        match &self.organization {
            Organization::Known(Account { limit, list: Some(list), .. }) => list.total >= *limit,
            _ => false,
        }
    }

    fn token_outline(&self) -> &'static str {
        match &self.memory.token {
            None => "no token",
            Some(token) if self.session.gone.as_ref() == Some(&token.id) => "gone",
            Some(token) if token.active => "active",
            Some(_) => "inactive",
        }
    }

    fn hand_outline(&self) -> Option<&'static str> {
        let hand = self.hand.as_ref()?;
        let known = self.memory.token.as_ref().is_some_and(|token| token.id == hand.token.id);
        Some(match (known, hand.proved) {
            (true, _) => "in hand",
            (false, true) => "new in hand",
            (false, false) => "unproved in hand",
        })
    }

    fn secret_outline(&self, secret: &Secret) -> &'static str {
        let is = |token: Option<&Remembered>| token.is_some_and(|token| secrets::carries(secret, token));
        match &secret.state {
            SecretState::Absent => "none",
            SecretState::Foreign => "foreign",
            SecretState::Ours(_) if is(self.memory.token.as_ref()) => match self.is_askew(secret) {
                false => "place",
                true => "askew",
            },
            SecretState::Ours(_) if is(self.hand.as_ref().map(|hand| &hand.token)) => "hand's place",
            SecretState::Ours(held) if held.value_hash.is_none() => "nothing",
            SecretState::Ours(_) => "other",
        }
    }

    /// Whether a Secret that holds the current value says something else of it than it should.
    fn is_askew(&self, secret: &Secret) -> bool {
        let wanted = self.object.wanted.as_ref().ok();
        let layout = wanted.and_then(|wanted| secrets::layout(self, wanted));
        let token = self.memory.token.as_ref().zip(layout);
        token.is_some_and(|(token, layout)| !secrets::holds(secret, token, &layout))
    }
}

impl Step {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddFinalizer => "AddFinalizer",
            Self::Refresh => "Refresh",
            Self::Confirm(_) => "Confirm",
            Self::Create(_) => "Create",
            Self::Prove => "Prove",
            Self::Fetch(_) => "Fetch",
            Self::Publish(_) => "Publish",
            Self::Touch(_) => "Touch",
            Self::Remember(_) => "Remember",
            Self::Update(..) => "Update",
            Self::Delete(_, Why::Replaced) => "Delete Replaced",
            Self::Delete(_, Why::Revoked) => "Delete Revoked",
            Self::Delete(_, Why::Orphan) => "Delete Orphan",
            Self::Delete(_, Why::Unproved) => "Delete Unproved",
            Self::Delete(_, Why::Exchanged) => "Delete Exchanged",
            Self::Delete(_, Why::Farewell) => "Delete Farewell",
            Self::Remove(_) => "Remove",
            Self::Blank(_) => "Blank",
            Self::Release { .. } => "Release",
        }
    }
}

impl Outcome {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Finalized => "Finalized",
            Self::Listed(_) => "Listed",
            Self::Confirmed(_, Some(_)) => "Confirmed",
            Self::Confirmed(_, None) => "Gone",
            Self::Created(_) => "Created",
            Self::Proved => "Proved",
            Self::Unproved(_) => "Unproved",
            Self::Fetched(_) => "Fetched",
            Self::NotFetched(_) => "NotFetched",
            Self::Published(results) if results.iter().all(|(_, result)| result.is_ok()) => "Published",
            Self::Published(results) if results.iter().all(|(_, result)| result.is_err()) => "NotPublished",
            Self::Published(_) => "PartlyPublished",
            Self::Touched(results) if results.iter().all(|(_, result)| result.is_ok()) => "Touched",
            Self::Touched(_) => "NotTouched",
            Self::Remembered(_) => "Remembered",
            Self::Updated(..) => "Updated",
            Self::Deleted(_) => "Deleted",
            Self::Removed(_) => "Removed",
            Self::Blanked(_) => "Blanked",
            Self::Released => "Released",
            Self::Failed(trouble) if trouble.uncertain => "Unanswered",
            Self::Failed(_) => "Failed",
        }
    }
}
