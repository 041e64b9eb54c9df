//! The rules of the end: an object that is being deleted leaves no dead credential and no token that nobody knows.

use jiff::Timestamp;

use super::{
    Change, List, Organization, Secret, SecretState, Step, Token, View, Why, adopt, life::Next, schedule, secrets,
};
use crate::api::{
    conditions::Reason,
    names::{Marker, TokenId},
    token::DeletionPolicy,
    valid::Wanted,
};

/// The object is being deleted: first the Secrets, then the tokens, then the finalizer.
pub(super) fn next(view: &View, now: Timestamp) -> Next {
    if !view.object.finalizer {
        return Next::Settled;
    }
    // An object whose spec can't be read gets the defaults: nothing is left behind.
    let wanted = view.object.wanted.as_ref().ok();
    let retain_secret = wanted.is_some_and(|wanted| wanted.secret.retain);
    let policy = wanted.map_or(DeletionPolicy::Delete, |wanted| wanted.deletion);
    if let Some(step) = clear_secrets(view, retain_secret, policy, now) {
        return Next::Do(step);
    }
    let account = match &view.organization {
        Organization::Known(account) => account,
        Organization::Missing(message) => {
            return abandon(view, now, Reason::OrganizationNotFound, message.clone());
        }
    };
    let step = match &account.list {
        Some(list) if list.started > view.session.fresh_after => {
            let step = tokens_at_the_end(view, list, policy, wanted, now);
            let step = step.map(|step| shield(view, &step).unwrap_or(step));
            step.unwrap_or(Step::Release { abandoned: false })
        }
        _ => Step::Refresh,
    };
    let refused = account.trouble.as_ref().is_some_and(|trouble| trouble.reason == Reason::CredentialsInvalid);
    let hopeless = refused || view.failure().is_some_and(|failure| failure.count >= ATTEMPTS);
    if step.needs_hub() && hopeless && overdue(view, now) {
        return Next::Do(Step::Release { abandoned: true });
    }
    Next::Do(step)
}

/// How often in a row Docker Hub must have failed before a deletion goes on without it: one failure after a long
/// standstill of ours says nothing.
const ATTEMPTS: u32 = 5;

/// Whether the deletion has waited long enough for an organization that can't be reached.
fn overdue(view: &View, now: Timestamp) -> bool {
    view.object.deleting.is_some_and(|since| schedule::plus(since, view.session.abandon_after) <= now)
}

/// A deletion ends, even when the organization or its credentials are gone for good.
fn abandon(view: &View, now: Timestamp, reason: Reason, message: String) -> Next {
    if overdue(view, now) {
        return Next::Do(Step::Release { abandoned: true });
    }
    let until = view.object.deleting.map(|since| schedule::plus(since, view.session.abandon_after));
    Next::Wait(reason, message, until)
}

/// Deletes the Secrets, or takes out a value that is dead or about to die. A value that lives on may stay.
fn clear_secrets(view: &View, retain: bool, policy: DeletionPolicy, now: Timestamp) -> Option<Step> {
    let ours = |secret: &&Secret| matches!(secret.state, SecretState::Ours(_));
    let current = view.memory.token.as_ref().filter(|_| retain && policy == DeletionPolicy::Retain);
    let current = current.filter(|token| view.session.gone.as_ref() != Some(&token.id));
    let current = current.filter(|token| token.expires.is_none_or(|expires| expires > now));
    let lives_on = |secret: &&Secret| current.is_some_and(|token| secrets::carries(secret, token));
    let doomed = view.secrets.iter().filter(ours).filter(|secret| !lives_on(secret));
    let keys: Vec<_> = doomed.map(|secret| secret.key.clone()).collect();
    if keys.is_empty() {
        return None;
    }
    Some(if retain { Step::Blank(keys) } else { Step::Remove(keys) })
}

/// A token that nobody remembers may be on its way into a Secret that stays, sent by a leader before us. The Secret is
/// written before that token goes, so that the write in flight fails its precondition.
fn shield(view: &View, step: &Step) -> Option<Step> {
    let Step::Delete(id, _) = step else { return None };
    let mut previous = view.memory.previous.iter();
    if view.memory.token.as_ref().is_some_and(|token| token.id == *id) || previous.any(|previous| previous.id == *id) {
        return None;
    }
    secrets::touch(view, |secret| matches!(secret.state, SecretState::Ours(_)))
}

/// What is left to do at Docker Hub: the current token by policy, all others of the object deleted.
///
/// That the list lacks a token doesn't say that it is gone: what is remembered is deleted all the same, or asked for.
fn tokens_at_the_end(
    view: &View,
    list: &List,
    policy: DeletionPolicy,
    wanted: Option<&Wanted>,
    now: Timestamp,
) -> Option<Step> {
    // What was taken over and not replaced yet is what the policy speaks of.
    let adopted = wanted.and_then(|wanted| adopt::adopted(view, wanted, list));
    let current = view.memory.token.as_ref().map(|token| &token.id).or(adopted.as_ref());
    let current = current.filter(|_| policy != DeletionPolicy::Delete);
    let previous = view.memory.previous.iter().map(|previous| &previous.id);
    let remembered = view.memory.token.iter().map(|token| &token.id).chain(previous);
    // Beside a twin's tokens we can't tell which are ours.
    let alone = adopt::twin(view).is_none();
    let marked = list.tokens.iter().filter(|(_, token)| alone && token.sequence.is_some()).map(|(id, _)| id);
    let in_hand = view.hand.iter().map(|hand| &hand.token.id);
    let there = |id: &&TokenId| {
        let anothers = list.tokens.get(*id).is_some_and(Token::is_anothers);
        view.session.gone.as_ref() != Some(*id) && !anothers
    };
    let doomed = remembered.chain(marked).chain(in_hand).filter(there).find(|id| Some(*id) != current);
    if let Some(id) = doomed {
        return Some(Step::Delete(id.clone(), Why::Farewell));
    }
    let id = current.filter(there)?;
    let Some(found) = list.tokens.get(id) else { return Some(Step::Confirm(id.clone())) };
    if found.expires.is_some_and(|expires| expires <= now) {
        // Docker Hub changes nothing about an expired token.
        return None;
    }
    let mut change = Change::default();
    if found.sequence.is_some() {
        // What is let go loses its marker, so that nothing of ours ever touches it again.
        let kept = Marker::parse(&found.label).map_or(found.label.as_str(), |(user, _)| user);
        let user = wanted.filter(|_| adopted.is_none()).map(|wanted| wanted.label.as_str());
        change.label = Some(user.unwrap_or(kept).to_owned());
    }
    if policy == DeletionPolicy::Deactivate && found.active {
        change.active = Some(false);
    }
    (change != Change::default()).then(|| Step::Update(id.clone(), change))
}
