//! An outcome folded back into the view, so that the next decision knows of it.

use jiff::Timestamp;

use super::{
    Account, Change, Drift, Failure, Held, List, Organization, Outcome, Secret, SecretKey, SecretState, Step, Token,
    Trouble, View, schedule, secrets,
};
use crate::api::{
    conditions::Reason,
    names::{Marker, TokenId},
    valid::{Adoption, Wanted},
};

impl View {
    /// Takes in what became of a step. Pure, like [`super::decide`].
    pub fn absorb(&mut self, step: &Step, outcome: Outcome, now: Timestamp) {
        if let Step::Create(new) = step {
            self.session.tried = self.session.tried.max(new.sequence);
        }
        let mut progress = self.is_progress(&outcome);
        match outcome {
            Outcome::Finalized => self.object.finalizer = true,
            Outcome::Listed(mut list) => {
                // It began after it was asked for, even if the clock was set back meanwhile.
                let tick = std::time::Duration::from_nanos(1);
                list.started = list.started.max(schedule::plus(self.session.fresh_after, tick));
                self.listed(list);
            }
            Outcome::Confirmed(id, token) => self.confirmed(id, token, now),
            Outcome::Created(hand) => {
                let token = Token {
                    label: hand.token.label.clone(),
                    sequence: Some(hand.token.sequence),
                    active: true,
                    expires: hand.token.expires,
                    last_used: None,
                    shape: None,
                };
                self.with_list(|list| {
                    list.tokens.insert(hand.token.id.clone(), token);
                    (list.total, list.steady) = (list.total + 1, list.started);
                });
                self.hand = Some(hand);
            }
            Outcome::Proved => self.hand.iter_mut().for_each(|hand| hand.proved = true),
            Outcome::Unproved(message) => self.unproved(step, message, now),
            Outcome::Fetched(hand) => self.hand = Some(hand),
            Outcome::NotFetched(key) => self.secret(&key, |secret| {
                if let SecretState::Ours(held) = &mut secret.state {
                    held.value_hash = None;
                }
            }),
            Outcome::Published(results) | Outcome::Touched(results) => progress &= self.published(step, results, now),
            Outcome::Remembered(memory) => {
                self.memory = memory;
                self.session.gone = None;
            }
            Outcome::Updated(id, change) => self.updated(&id, change),
            Outcome::Deleted(id) => self.deleted(&id),
            Outcome::Removed(keys) => {
                keys.iter().for_each(|key| self.secret(key, |secret| secret.state = SecretState::Absent))
            }
            Outcome::Blanked(keys) => {
                keys.iter().for_each(|key| self.secret(key, |secret| secret.state = SecretState::Absent))
            }
            Outcome::Released => self.object.finalizer = false,
            Outcome::Failed(trouble) => {
                if trouble.uncertain {
                    if let Step::Create(new) = step {
                        self.session.lost.insert(new.sequence);
                    }
                    // Whatever was sent may have been carried out: look before anything is made. The list at hand is
                    // too old for that, even if the clock was set back since.
                    let listed = self.list().map_or(now, |list| list.started);
                    self.session.fresh_after = self.session.fresh_after.max(now).max(listed);
                }
                self.failed(step, trouble, now);
            }
        }
        if progress {
            self.session.failure = None;
        }
        self.drop_spent_hand();
    }

    /// Whether an outcome ends a row of failures. Looking and making don't: what is made may be refused, and between
    /// two lost creates there is always a list.
    fn is_progress(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Listed(_)
            | Outcome::Confirmed(..)
            | Outcome::Created(_)
            | Outcome::Fetched(_)
            | Outcome::NotFetched(_)
            | Outcome::Unproved(_)
            | Outcome::Failed(_) => false,
            Outcome::Deleted(id) => self.hand.as_ref().is_none_or(|hand| hand.token.id != *id),
            Outcome::Published(results) | Outcome::Touched(results) => results.iter().all(|(_, result)| result.is_ok()),
            Outcome::Finalized
            | Outcome::Proved
            | Outcome::Remembered(_)
            | Outcome::Updated(..)
            | Outcome::Removed(_)
            | Outcome::Blanked(_)
            | Outcome::Released => true,
        }
    }

    fn listed(&mut self, list: List) {
        // What the list shows is not gone, and a token that came back under its id is none.
        if self.session.gone.as_ref().is_some_and(|id| list.tokens.contains_key(id)) {
            self.session.gone = None;
        }
        if let Organization::Known(account) = &mut self.organization {
            account.list = Some(list);
            account.trouble = None;
        }
        self.follow_list();
        self.note_full();
        self.look_for_twin();
    }

    /// How many tokens there are when Docker Hub says that there is no place: from fewer on it is worth another try.
    ///
    /// If there are fewer than we were told there may be, one may have gone since: then one more try is made at once.
    fn note_full(&mut self) {
        let Organization::Known(Account { limit, list: Some(list), .. }) = &self.organization else { return };
        let most = if list.total >= *limit { list.total } else { list.total + 1 };
        let fresh = (list.started > self.session.fresh_after).then_some(most);
        if let Some(failure) = &mut self.session.failure
            && failure.trouble.reason == Reason::QuotaExceeded
            && failure.full.is_none()
        {
            failure.full = fresh;
        }
    }

    fn confirmed(&mut self, id: TokenId, token: Option<Token>, now: Timestamp) {
        let current = self.memory.token.as_ref().is_some_and(|token| token.id == id);
        if current && token.as_ref().is_none_or(|token| token.shape.is_some()) {
            // Looked at, whatever came of it: where it is replaced, its successor needs no look before another day.
            self.session.inspected = now;
        }
        match token {
            Some(token) => {
                if let Some(shape) = token.shape.as_ref().filter(|_| current) {
                    self.inspected(shape);
                }
                self.with_list(|list| {
                    list.tokens.insert(id, token);
                });
                self.follow_list();
            }
            None => {
                self.with_list(|list| {
                    list.tokens.remove(&id);
                });
                let meant = |wanted: &Wanted| wanted.adopt == Some(Adoption::Id(id.clone()));
                let meant = self.memory.token.is_none() && self.object.wanted.as_ref().is_ok_and(meant);
                self.session.gone = (current || meant).then_some(id);
            }
        }
    }

    /// The current token in all its parts: what differs is corrected, unless it is as before the last correction still.
    fn inspected(&mut self, shape: &str) {
        let Some(token) = &mut self.memory.token else { return };
        let same = token.shape_hash == shape;
        self.session.drift = match std::mem::take(&mut self.session.drift) {
            Drift::Found(known) if same => Drift::Found(known),
            _ if same => Drift::None,
            Drift::Corrected(known) | Drift::Tolerated(known) if known == shape => Drift::Tolerated(known),
            _ => {
                token.shape_hash = shape.to_owned();
                Drift::Found(shape.to_owned())
            }
        };
    }

    /// What was gathered agrees with itself: the remembered facts that Docker Hub may change follow the list, and a
    /// value that is remembered and everywhere is not in hand any more.
    pub fn see_current(&mut self) {
        self.drop_spent_hand();
        self.follow_list();
        self.note_full();
        self.look_for_twin();
    }

    fn follow_list(&mut self) {
        let Organization::Known(account) = &self.organization else {
            return;
        };
        let (Some(token), Some(list)) = (&mut self.memory.token, &account.list) else {
            return;
        };
        let Some(found) = list.tokens.get(&token.id) else {
            return;
        };
        token.active = found.active;
        let day = std::time::Duration::from_secs(24 * 3600);
        let seen = token.last_used.or(token.created).unwrap_or(Timestamp::MIN);
        // By itself it is written once a day at most; see the status's field.
        if found.last_used.is_some_and(|used| used >= schedule::plus(seen, day)) {
            token.last_used = found.last_used;
        }
    }

    fn unproved(&mut self, step: &Step, message: String, now: Timestamp) {
        self.hand.iter_mut().for_each(|hand| hand.refusals += 1);
        self.failed(step, Trouble { reason: Reason::VerificationFailed, message, retry: None, uncertain: false }, now);
    }

    /// Whether all of them are as they were to be.
    fn published(&mut self, step: &Step, results: Vec<(SecretKey, Result<Held, Trouble>)>, now: Timestamp) -> bool {
        let mut worst = None;
        for (key, result) in results {
            match result {
                Ok(held) => {
                    self.secret(&key, |secret| {
                        secret.state = SecretState::Ours(held);
                        secret.failure = None;
                    });
                    worst = self.altered(step, &key).or(worst);
                    self.session.touched.insert(key);
                }
                Err(trouble) => {
                    if trouble.reason == Reason::SecretConflict {
                        self.secret(&key, |secret| secret.state = SecretState::Foreign);
                    }
                    self.secret(&key, |secret| secret.failure = Some((trouble.reason, trouble.message.clone())));
                    // It may still be under way.
                    self.session.touched.remove(&key);
                    worst = Some(trouble);
                }
            }
        }
        let all = worst.is_none();
        if let Some(trouble) = worst {
            self.failed(step, trouble, now);
        }
        all
    }

    /// What was written is not what is there: admission changes it each time, so that to write again and again is no use.
    fn altered(&self, step: &Step, key: &SecretKey) -> Option<Trouble> {
        let (Step::Publish(_), Some(hand), Ok(wanted)) = (step, &self.hand, &self.object.wanted) else { return None };
        let layout = secrets::layout(self, wanted)?;
        let secret = self.secrets.iter().find(|secret| secret.key == *key)?;
        let message = format!("Secret {key} does not hold what was written: something changes it on its way in");
        let trouble = Trouble { reason: Reason::ProgressingWithRetry, message, retry: None, uncertain: false };
        secrets::lacks(secret, &hand.token, &layout).then_some(trouble)
    }

    /// A value is held no longer than until it is remembered and everywhere.
    fn drop_spent_hand(&mut self) {
        let Some(hand) = &self.hand else { return };
        let remembered = self.memory.token.as_ref().is_some_and(|token| token.id == hand.token.id);
        // Taken from a Secret on the word of an old status, or overtaken by another leader: it goes nowhere any more.
        let overtaken = self.memory.token.as_ref().is_some_and(|token| token.sequence > hand.token.sequence);
        if overtaken || remembered && secrets::in_place(self, &hand.token) {
            self.hand = None;
        }
    }

    fn updated(&mut self, id: &TokenId, change: Change) {
        let ours = (self.object.cluster.clone(), self.object.identity.clone());
        self.with_list(|list| {
            let Some(token) = list.tokens.get_mut(id) else { return };
            if let Some(label) = &change.label {
                let marker = Marker::parse(label).map(|(_, marker)| marker);
                let own = |marker: &Marker| (&marker.cluster, &marker.identity) == (&ours.0, &ours.1);
                token.sequence = marker.filter(own).map(|marker| marker.sequence);
                token.label = label.clone();
            }
            token.active = change.active.unwrap_or(token.active);
        });
        if let Some(token) = self.memory.token.as_mut().filter(|token| token.id == *id) {
            token.active = change.active.unwrap_or(token.active);
            if let Some(label) = change.label {
                token.label = label;
            }
            if let Some(hash) = change.shape_hash {
                token.shape_hash = hash;
                self.session.drift = match std::mem::take(&mut self.session.drift) {
                    Drift::Found(shape) => Drift::Corrected(shape),
                    drift => drift,
                };
            }
        }
    }

    fn deleted(&mut self, id: &TokenId) {
        let mut sequence = None;
        self.with_list(|list| {
            if let Some(token) = list.tokens.remove(id) {
                sequence = token.sequence;
                (list.total, list.steady) = (list.total.saturating_sub(1), list.started);
            }
        });
        let remembered = self.memory.token.as_ref().map_or(0, |token| token.sequence);
        // An older list may show it once more.
        self.session.lost.extend(sequence.filter(|sequence| *sequence > remembered));
        self.memory.previous.retain(|previous| previous.id != *id);
        if self.object.deleting.is_some() {
            self.memory.token.take_if(|token| token.id == *id);
        } else if self.memory.token.as_ref().is_some_and(|token| token.id == *id) {
            // It stays remembered until its successor is: a rotation may use places that a new token may not.
            self.session.gone = Some(id.clone());
        }
        if self.hand.as_ref().is_some_and(|hand| hand.token.id == *id) {
            self.hand = None;
        }
    }

    /// Remembers a failure and when to try again: as told, else by the count, sooner as expiry comes near.
    fn failed(&mut self, step: &Step, trouble: Trouble, now: Timestamp) {
        // A failure of long ago is not of the same row.
        let recent = |failure: &&Failure| now <= schedule::plus(failure.not_before, 2 * schedule::LONGEST);
        let count = self.failure().filter(recent).map_or(0, |failure| failure.count).saturating_add(1);
        let expires = self.memory.token.as_ref().and_then(|token| token.expires);
        // After expiry there is nothing left to hurry for.
        let left = expires.filter(|expires| self.object.deleting.is_none() && now < *expires);
        let left = left.map(|expires| schedule::between(now, expires));
        // An API server that has just started forbids everything until it knows its roles: that passes within seconds.
        let passes = trouble.reason == Reason::Forbidden && !step.needs_hub();
        let stalls = trouble.reason.stalls() && !passes;
        let wait = if stalls { schedule::backoff(u32::MAX, left) } else { schedule::backoff(count, left) };
        let again = schedule::plus(now, wait);
        // At once is for the first time in a row: whoever writes against us, or says so, must not keep us at it.
        let not_before = trouble.retry.filter(|retry| *retry > now || count == 1).unwrap_or(again);
        if let Organization::Known(account) = &mut self.organization
            && trouble.reason == Reason::CredentialsInvalid
        {
            // The organization's client says so too from now on, and says when it is over.
            account.trouble = Some(trouble.clone());
        }
        let publishing = matches!(step, Step::Publish(_) | Step::Fetch(_) | Step::Touch(_));
        let mut full = None;
        if let (Step::Create(_), Reason::QuotaExceeded, Some(list)) = (step, trouble.reason, self.list()) {
            // A second time it is no chance.
            let former = self.session.failure.as_ref().filter(|former| former.basis == self.basis());
            full = former.filter(|former| former.trouble.reason == Reason::QuotaExceeded).map(|_| list.total);
            // That list is too old to say how many there are.
            self.session.fresh_after = self.session.fresh_after.max(list.started);
        }
        self.session.failure = Some(Failure { trouble, count, not_before, full, publishing, basis: self.basis() });
    }

    fn with_list(&mut self, change: impl FnOnce(&mut List)) {
        if let Organization::Known(account) = &mut self.organization
            && let Some(list) = &mut account.list
        {
            change(list);
        }
    }

    fn secret(&mut self, key: &SecretKey, change: impl FnOnce(&mut Secret)) {
        if let Some(secret) = self.secrets.iter_mut().find(|secret| secret.key == *key) {
            change(secret);
        }
    }
}
