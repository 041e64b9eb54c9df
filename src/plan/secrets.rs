//! What the object's Secrets hold, as questions that the rules ask.

use super::{Held, Organization, Remembered, Secret, SecretKey, SecretState, Step, View};
use crate::api::valid::Wanted;

/// How far ahead of the status a Secret's sequence is believed: anybody who may edit the Secret may edit it.
pub(super) const AHEAD: u64 = 1000;

/// The layout that a wanted Secret must have.
pub(super) fn layout(view: &View, wanted: &Wanted) -> Option<String> {
    match &view.organization {
        Organization::Known(account) => Some(wanted.secret.layout_hash(&account.name)),
        Organization::Missing(_) => None,
    }
}

/// Whether a Secret holds the value of a token.
pub(super) fn carries(secret: &Secret, token: &Remembered) -> bool {
    held(secret).is_some_and(|held| held.value_hash.as_ref() == Some(&token.value_hash))
}

/// Whether a Secret holds a token just as it is wanted.
pub(super) fn holds(secret: &Secret, token: &Remembered, layout: &str) -> bool {
    let fits = |held: &Held| held.sequence == token.sequence && held.layout_hash == layout;
    carries(secret, token) && held(secret).is_some_and(fits)
}

/// Whether a Secret holds the current token's value.
pub(super) fn is_current(view: &View, secret: &Secret) -> bool {
    view.memory.token.as_ref().is_some_and(|token| carries(secret, token))
}

/// Whether a Secret holds some value and says that it is this sequence's.
pub(super) fn says(secret: &Secret, sequence: Option<u64>) -> bool {
    held(secret).is_some_and(|held| held.value_hash.is_some() && Some(held.sequence) == sequence)
}

/// Whether no Secret of ours holds a token's value, and neither do we: nobody can pull with it.
pub(super) fn is_nowhere(view: &View, token: &Remembered) -> bool {
    copy(view, token).is_none() && view.hand.as_ref().is_none_or(|hand| hand.token.id != token.id)
}

/// Whether every wanted Secret holds a token just as it is wanted.
pub(super) fn in_place(view: &View, token: &Remembered) -> bool {
    let layout = view.object.wanted.as_ref().ok().and_then(|wanted| layout(view, wanted));
    view.wanted_secrets().all(|secret| match &layout {
        Some(layout) => holds(secret, token, layout),
        None => carries(secret, token),
    })
}

/// Whether a token is to be written to a Secret.
pub(super) fn lacks(secret: &Secret, token: &Remembered, layout: &str) -> bool {
    !holds(secret, token, layout) && !overtakes(secret, token)
}

/// Whether a Secret holds another value with a higher sequence: published by a leader that could not remember it. It is
/// not written over with an older one; a newer token is made.
pub(super) fn overtakes(secret: &Secret, token: &Remembered) -> bool {
    let ahead = |held: &Held| held.sequence > token.sequence && held.sequence - token.sequence <= AHEAD;
    held(secret).is_some_and(ahead) && !carries(secret, token)
}

pub(super) fn held(secret: &Secret) -> Option<&Held> {
    match &secret.state {
        SecretState::Ours(held) => Some(held),
        SecretState::Absent | SecretState::Foreign => None,
    }
}

/// A Secret of ours, wanted or not, that holds the remembered value.
pub(super) fn copy<'a>(view: &'a View, token: &Remembered) -> Option<&'a Secret> {
    view.secrets.iter().find(|secret| carries(secret, token))
}

/// Whether every wanted Secret holds the current token.
pub(super) fn everywhere(view: &View) -> bool {
    let Some(token) = &view.memory.token else { return false };
    view.wanted_secrets().all(|secret| carries(secret, token))
}

/// Whether, besides, no other Secret of ours holds anything else: then older tokens are in none.
pub(super) fn clean(view: &View) -> bool {
    let Some(token) = &view.memory.token else { return false };
    let ours = view.secrets.iter().filter(|secret| held(secret).is_some());
    everywhere(view) && ours.into_iter().all(|secret| carries(secret, token))
}

/// Writes such of these Secrets as were not written in this term: an older write in flight fails its precondition then.
pub(super) fn touch(view: &View, which: impl Fn(&Secret) -> bool) -> Option<Step> {
    let keys = view.secrets.iter().filter(|secret| which(secret)).map(|secret| &secret.key);
    let untouched: Vec<SecretKey> = keys.filter(|key| !view.session.touched.contains(key)).cloned().collect();
    (!untouched.is_empty()).then_some(Step::Touch(untouched))
}
