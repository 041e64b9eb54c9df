//! Places: how many tokens an organization may have, who may take the last ones, and who goes first where none is left.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Account, List, Memory, SecretState, Step, Token, View, Why, adopt,
    life::{self, Next},
    schedule, secrets,
};
use crate::api::{conditions::Reason, names::TokenId, valid::Wanted};

/// How old a list may be before it is asked for again to learn whether a place has become free, where that may be soon.
pub(super) const STALE: Duration = Duration::from_secs(60);

/// The same where nothing has changed for long.
const STALEST: Duration = Duration::from_secs(600);

/// Whether a token finds a place.
pub(super) enum Place {
    /// It does.
    Free,
    /// It doesn't, by a list that is too old to say so.
    Ask,
    /// It doesn't; look again at this time.
    Full(String, Timestamp),
}

/// New tokens stop at the limit less the reserve; rotations may use the rest.
pub(super) fn place(view: &View, account: &Account, list: &List, rotation: bool, now: Timestamp) -> Place {
    let most = if rotation { account.limit } else { account.limit.saturating_sub(account.reserved) };
    if list.total < most {
        return Place::Free;
    }
    let again = schedule::plus(list.started, stale(view, list));
    if again <= now {
        return Place::Ask;
    }
    let (total, limit, name) = (list.total, account.limit, &account.name);
    let reserve = if rotation { String::new() } else { format!(" and {} kept for rotations", account.reserved) };
    let message = format!(
        "organization {name} has {total} tokens, with {limit} allowed{reserve}: delete tokens that nobody uses at Docker Hub, \
         or raise tokenLimit if the subscription allows more"
    );
    Place::Full(message, again)
}

/// How old a list may be that shows no place: an eighth of the time that this has been so, as whoever left it at that for
/// a day won't change it within this minute. Near the last safe moment, and after it, a place is worth more: a tenth of
/// what is left until then.
fn stale(view: &View, list: &List) -> Duration {
    let unchanged = schedule::between(list.steady.max(view.session.hoped), list.started) / 8;
    let last = view.memory.token.as_ref().and_then(schedule::last_safe_moment);
    let left = last.map_or(STALEST, |last| schedule::between(list.started, last) / 10);
    unchanged.min(left).clamp(STALE, STALEST)
}

/// There is no place: what the object itself can give up, or wait.
///
/// In this order: a leftover of a create whose answer was lost; a former token, which after a failure is still there, with
/// what Secrets need before that; the current token where it is dead or in no Secret; the current token at the last safe
/// moment, since seconds without are better than an end without a successor.
pub(super) fn full(
    view: &View,
    wanted: &Wanted,
    list: &List,
    now: Timestamp,
    (message, again): (String, Timestamp),
) -> Next {
    if let Some(step) = burn(view, wanted, list, now) {
        return Next::Do(step);
    }
    let Some(token) = &view.memory.token else {
        return Next::Wait(Reason::QuotaExceeded, message, Some(again));
    };
    let room = life::room(view, wanted, list, now).or_else(|| life::complete(view, wanted, list, now));
    let found = list.tokens.get(&token.id).filter(|found| !found.is_anothers());
    let spent = found.is_some_and(|found| !life::works(found, now)) || secrets::is_nowhere(view, token);
    let last = schedule::last_safe_moment(token);
    let exchange = found.is_some() && (spent || last.is_some_and(|last| last <= now));
    // If one of them fails again and again, the other gets its turn.
    let turn = view.failure().is_none_or(|failure| failure.count % 2 == 1);
    if let Some(step) = room.filter(|_| turn || !exchange) {
        return Next::Do(step);
    }
    if exchange {
        return Next::Do(Step::Delete(token.id.clone(), Why::Exchanged));
    }
    let wake = last.filter(|last| *last > now).map_or(again, |last| last.min(again));
    Next::Wait(Reason::QuotaExceeded, message, Some(wake))
}

/// A leftover is deleted, though it may be newer than the remembered token, after no one can publish it any more: every
/// Secret is touched, so that an older write in flight fails its precondition, and the status has passed its sequence.
fn burn(view: &View, wanted: &Wanted, list: &List, now: Timestamp) -> Option<Step> {
    let adopted = adopt::adopted(view, wanted, list);
    let left = |(id, token): &(&TokenId, &Token)| {
        token.sequence.is_some() && !view.knows(id) && adopted.as_ref() != Some(*id) && !in_use(view, token, now)
    };
    let (id, token) = list.tokens.iter().find(left)?;
    let touch = secrets::touch(view, |secret| secret.wanted || matches!(secret.state, SecretState::Ours(_)));
    if touch.is_some() {
        return touch;
    }
    let passed = token.sequence.unwrap_or_default();
    let remembered = view.memory.token.as_ref().map_or(0, |token| token.sequence);
    if passed > view.memory.passed.max(remembered) {
        return Some(Step::Remember(Memory { passed, ..view.memory.clone() }));
    }
    Some(Step::Delete(id.clone(), Why::Orphan))
}

/// A leftover that is newer than the current token: no rotation passes it for a long time. It goes once nothing of former
/// leaders can be under way any more.
pub(super) fn late_leftover(view: &View, wanted: &Wanted, list: &List, now: Timestamp) -> Option<Step> {
    let settled = list.started >= schedule::plus(view.session.since, adopt::SETTLED);
    if settled { burn(view, wanted, list, now) } else { None }
}

/// Whether a leftover may be what pods pull with: a leader before us published it and could not remember it.
fn in_use(view: &View, token: &Token, now: Timestamp) -> bool {
    let works = life::works(token, now);
    let soon = token.expires.is_some_and(|expires| schedule::minus(expires, schedule::MARGIN) <= now);
    works
        && !soon
        && view.secrets.iter().any(|secret| secrets::says(secret, token.sequence) && !secrets::is_current(view, secret))
}
