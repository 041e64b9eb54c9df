//! The rules of a token's life, in order. Each returns the next step, or leaves it to the next rule.

use jiff::Timestamp;

use super::{
    Account, Change, Failure, Hand, List, Memory, NewToken, Organization, Previous, Secret, SecretKey, SecretState,
    Step, Token, View, Why, adopt, checks, farewell,
    quota::{self, Place},
    schedule,
    secrets::{AHEAD, carries, clean, copy, everywhere, held, in_place, is_nowhere, lacks, layout, overtakes, says},
};
use crate::api::{conditions::Reason, names::TokenId, valid::Wanted};

/// What a rule says.
#[allow(clippy::large_enum_variant, reason = "one at a time, handed on at once")]
pub(super) enum Next {
    /// Do this.
    Do(Step),
    /// Wait: why, and until when at the latest.
    Wait(Reason, String, Option<Timestamp>),
    /// Nothing is left to do.
    Settled,
}

/// How often a new token's proof may be refused before the token is given up.
const REFUSALS: u32 = 3;

pub(super) fn next(view: &View, now: Timestamp) -> Next {
    if view.object.deleting.is_some() {
        return farewell::next(view, now);
    }
    // An emergency waits for no correct spec.
    if let Some(step) = deactivate_revoked(view, now) {
        return Next::Do(step);
    }
    if let Some(finding) = checks::first(view, now) {
        return Next::Wait(finding.reason, finding.message, None);
    }
    let (Ok(wanted), Organization::Known(account)) = (&view.object.wanted, &view.organization) else {
        // The checks have just looked at both.
        return Next::Settled;
    };
    if !view.object.finalizer {
        return Next::Do(Step::AddFinalizer);
    }
    if let Some(step) = finish(view, wanted, now) {
        return Next::Do(step);
    }
    if let Some(failure) = view.failure().filter(|_| undelivered(view, wanted)) {
        return Next::Wait(failure.trouble.reason, failure.trouble.message.clone(), Some(failure.not_before));
    }
    let Some(list) = &account.list else {
        return first_list(account);
    };
    if let Some(next) = adopt::take_over(view, wanted, list, highest(view, list), now) {
        return next;
    }
    let later = match replacement(view, wanted, list, now) {
        Some(Replacement::Confirm(id)) => return Next::Do(Step::Confirm(id)),
        Some(Replacement::Needed) => return mint(view, wanted, account, list, now),
        Some(Replacement::Forbidden(message)) => return Next::Wait(Reason::Expired, message, None),
        Some(Replacement::Later(reason, message, time)) => Some(Next::Wait(reason, message, Some(time))),
        None => None,
    };
    let step = heal(view, now).or_else(|| tidy(view, wanted, list, now)).or_else(|| inspect(view, now));
    match (step, publishing_rests(view, now)) {
        (Some(step), _) => Next::Do(step),
        (None, Some(failure)) if !placed(view) => {
            Next::Wait(failure.trouble.reason, failure.trouble.message.clone(), Some(failure.not_before))
        }
        (None, _) => later.unwrap_or(Next::Settled),
    }
}

/// Whether every wanted Secret holds the current token just as it is wanted.
fn placed(view: &View) -> bool {
    view.memory.token.as_ref().is_some_and(|token| in_place(view, token))
}

/// Once a day: a list doesn't tell a token's scopes and description.
fn inspect(view: &View, now: Timestamp) -> Option<Step> {
    let token = view.memory.token.as_ref()?;
    let there = view.session.gone.as_ref() != Some(&token.id);
    (there && schedule::inspection(view) <= now).then(|| Step::Confirm(token.id.clone()))
}

/// All that is left to do when the current token is where it should be.
fn tidy(view: &View, wanted: &Wanted, list: &List, now: Timestamp) -> Option<Step> {
    let edit = || edit(view, wanted, list, now).or_else(|| silence(view, wanted, list, now));
    let late = || quota::late_leftover(view, wanted, list, now).filter(|_| clean(view));
    let clean = || {
        let due = surplus(view, wanted).or_else(|| retire(view, wanted, list, now));
        due.or_else(|| sweep(view, list)).or_else(late)
    };
    // If one of them fails again and again, the other gets its turn.
    match view.failure() {
        Some(failure) if failure.count % 2 == 1 => clean().or_else(edit),
        _ => edit().or_else(clean),
    }
}

/// The organization's client lists on its own at its start and wakes us.
fn first_list(account: &Account) -> Next {
    match &account.trouble {
        _ if account.suspended => {
            Next::Wait(Reason::OrganizationNotReady, "the organization is suspended".into(), None)
        }
        Some(trouble) => Next::Wait(trouble.reason, trouble.message.clone(), trouble.retry),
        None => {
            Next::Wait(Reason::OrganizationNotReady, "the organization's tokens have not been listed yet".into(), None)
        }
    }
}

/// Whether the annotation `revoke` asks for something that has not been done.
pub(super) fn revoke_pending(view: &View) -> bool {
    view.object.requests.revoke.is_some() && view.object.requests.revoke != view.memory.handled.revoke
}

/// Emergency: all tokens of the object stop working at once, before a replacement is made.
///
/// All, since the leaked one may be a former one, or one that a leader before us published and could not remember.
fn deactivate_revoked(view: &View, now: Timestamp) -> Option<Step> {
    let Organization::Known(account) = &view.organization else { return None };
    let token = view.memory.token.as_ref().filter(|_| revoke_pending(view))?;
    let Some(list) = &account.list else {
        let works = token.active && token.expires.is_none_or(|expires| expires > now);
        return works.then(|| deactivate(&token.id));
    };
    // What the list lacks is asked for by its id first.
    let current = list.tokens.get(&token.id).filter(|found| works(found, now));
    match current {
        Some(_) => Some(deactivate(&token.id)),
        // What is in hand goes its way first.
        None => deactivate_any(view, list, now, view.hand.as_ref().map(|hand| &hand.token.id)),
    }
}

fn deactivate(id: &TokenId) -> Step {
    Step::Update(id.clone(), Change { active: Some(false), ..Change::default() })
}

/// Docker Hub changes nothing about an expired token, and it works no more.
pub(super) fn works(found: &Token, now: Timestamp) -> bool {
    found.active && found.expires.is_none_or(|expires| expires > now)
}

/// Any token of the object that works, besides one.
fn deactivate_any(view: &View, list: &List, now: Timestamp, besides: Option<&TokenId>) -> Option<Step> {
    let former = |id: &TokenId| view.memory.previous.iter().any(|previous| previous.id == *id);
    let found = list.tokens.iter().find(|(id, found)| {
        let ours = found.sequence.is_some() || former(id);
        ours && works(found, now) && besides != Some(*id)
    });
    found.map(|(id, _)| deactivate(id))
}

/// A value in hand goes its way: proved, published, remembered.
fn finish(view: &View, wanted: &Wanted, now: Timestamp) -> Option<Step> {
    let hand = view.hand.as_ref()?;
    let newer = unremembered(view);
    if newer && (hand.refusals >= REFUSALS || hand.token.expires.is_some_and(|expires| expires <= now)) {
        // It will never work, or not any more.
        return Some(Step::Delete(hand.token.id.clone(), Why::Unproved));
    }
    if !hand.proved {
        return Some(Step::Prove);
    }
    // Remembered as soon as one Secret holds it: Secrets that can't be written must not hold that up.
    if newer && view.wanted_secrets().any(|secret| carries(secret, &hand.token)) {
        return Some(Step::Remember(succession(view, wanted, hand, now)));
    }
    if publishing_rests(view, now).is_some() {
        return None;
    }
    let layout = layout(view, wanted)?;
    let missing = view.wanted_secrets().filter(|secret| lacks(secret, &hand.token, &layout));
    let missing: Vec<SecretKey> = missing.map(|secret| secret.key.clone()).collect();
    (!missing.is_empty()).then_some(Step::Publish(missing))
}

/// Whether the token in hand is newer than the remembered one.
fn unremembered(view: &View) -> bool {
    let remembered = view.memory.token.as_ref().map(|token| token.sequence);
    view.hand.as_ref().is_some_and(|hand| remembered.is_none_or(|sequence| sequence < hand.token.sequence))
}

/// Whether a new token waits for a Secret that can be written. Meanwhile no other is made, unless the Secrets hold a newer
/// one by now.
fn undelivered(view: &View, wanted: &Wanted) -> bool {
    let (Some(hand), Some(layout)) = (&view.hand, layout(view, wanted)) else { return false };
    let held = view.wanted_secrets().any(|secret| carries(secret, &hand.token));
    unremembered(view) && !held && view.wanted_secrets().any(|secret| lacks(secret, &hand.token, &layout))
}

/// The failure after which Secrets are not written for a while. Other work goes on.
fn publishing_rests(view: &View, now: Timestamp) -> Option<&Failure> {
    view.failure().filter(|failure| failure.publishing && now < failure.not_before)
}

/// The memory once the token in hand is the current one.
fn succession(view: &View, wanted: &Wanted, hand: &Hand, now: Timestamp) -> Memory {
    let revoked = hand.handled.revoke.is_some() && hand.handled.revoke != view.memory.handled.revoke;
    // One token lives on at most. Those before it were replaced twice.
    let doomed = view.memory.previous.iter().cloned();
    let mut previous: Vec<_> = doomed
        .map(|previous| Previous { revocation: previous.revocation.min(schedule::whole(now)), ..previous })
        .collect();
    if let Some(former) = &view.memory.token {
        let dead = view.session.gone.as_ref() == Some(&former.id)
            || former.expires.is_some_and(|expires| expires <= now)
            || revoked;
        let revocation = if dead { now } else { schedule::plus(now, wanted.rotation.overlap) };
        previous.push(Previous {
            id: former.id.clone(),
            sequence: former.sequence,
            revocation: schedule::whole(revocation),
        });
    }
    // What was taken over is in use somewhere: it lives on as long as any other.
    let adopted = view.list().and_then(|list| Some((list, adopt::adopted(view, wanted, list)?)));
    if let Some((list, id)) = adopted.filter(|(_, id)| *id != hand.token.id) {
        let sequence = list.tokens.get(&id).and_then(|token| token.sequence).unwrap_or_default();
        let revocation = schedule::whole(schedule::plus(now, wanted.rotation.overlap));
        previous.push(Previous { id, sequence, revocation });
    }
    let handled = view.memory.handled.or_instead(&hand.handled, &view.object.requests);
    Memory { token: Some(hand.token.clone()), previous, handled, ..view.memory.clone() }
}

/// Whether a new token is needed.
enum Replacement {
    Needed,
    /// The list lacks the current token: ask by id before anything is concluded.
    Confirm(TokenId),
    /// The token is dead and the rules forbid a new one.
    Forbidden(String),
    /// It is needed, but not yet.
    Later(Reason, String, Timestamp),
}

fn replacement(view: &View, wanted: &Wanted, list: &List, now: Timestamp) -> Option<Replacement> {
    let Some(token) = &view.memory.token else {
        return Some(Replacement::Needed);
    };
    let gone = view.session.gone.as_ref() == Some(&token.id);
    if !gone && !list.tokens.contains_key(&token.id) {
        return Some(Replacement::Confirm(token.id.clone()));
    }
    if !wanted.active {
        // Nothing is made that must not work. Activating it again comes back here, before the old one is activated.
        return None;
    }
    if revoke_pending(view) {
        return Some(Replacement::Needed);
    }
    let asked = rotation_pending(view);
    let expired = token.expires.is_some_and(|expires| expires <= now);
    if expired && !wanted.rotation.automatic && !asked {
        let message = "the token has expired and rotation.policy is Manual: change rotation.trigger, or set the policy to Automatic";
        return Some(Replacement::Forbidden(message.into()));
    }
    let renewal = schedule::renewal(wanted, token, &view.object.uid, now).map(|(time, _)| time);
    let due = renewal.is_some_and(|time| time <= now);
    let otherwise = token.expiry != wanted.expiry.to_string();
    let lost = !everywhere(view) && is_nowhere(view, token);
    let overtaken = view.secrets.iter().any(|secret| overtakes(secret, token));
    if expired || due || gone || otherwise || lost || overtaken {
        return Some(Replacement::Needed);
    }
    if asked {
        return Some(match schedule::distance(token).filter(|time| now < *time) {
            Some(time) => {
                let message = "the token was rotated a moment ago: it is rotated again in a few seconds";
                Replacement::Later(Reason::Progressing, message.into(), time)
            }
            None => Replacement::Needed,
        });
    }
    let open = renewal.filter(|_| schedule::waits_for_window(wanted, token, &view.object.uid, now))?;
    let message = format!("the token is due and is rotated when the next window opens, at {open}");
    Some(Replacement::Later(Reason::WaitingForWindow, message, open))
}

/// Whether the spec or an annotation asks for a rotation that has not been done.
pub(super) fn rotation_pending(view: &View) -> bool {
    let (requests, handled) = (&view.object.requests, &view.memory.handled);
    asked(&requests.trigger, &handled.trigger) || asked(&requests.rotate, &handled.rotate)
}

/// A request is new when it differs from the last one handled. Taking it away asks for nothing.
fn asked(request: &Option<String>, handled: &Option<String>) -> bool {
    request.is_some() && request != handled
}

fn mint(view: &View, wanted: &Wanted, account: &Account, list: &List, now: Timestamp) -> Next {
    if list.started <= view.session.fresh_after {
        return Next::Do(Step::Refresh);
    }
    if let Some(step) = make_room(view, wanted, list, now) {
        return Next::Do(step);
    }
    let rotation = view.memory.token.is_some() || adopt::adopted(view, wanted, list).is_some();
    // Docker Hub knows better than the list and the limit that we were told.
    let refused =
        view.failure().filter(|failure| failure.trouble.reason == Reason::QuotaExceeded && now < failure.not_before);
    let full = match (quota::place(view, account, list, rotation, now), refused) {
        (Place::Ask, _) => return Next::Do(Step::Refresh),
        (Place::Full(message, again), _) => Some((message, again)),
        (Place::Free, Some(failure)) => Some((failure.trouble.message.clone(), failure.not_before)),
        (Place::Free, None) => None,
    };
    if let Some(full) = full {
        return quota::full(view, wanted, list, now, full);
    }
    let sequence = highest(view, list).saturating_add(1);
    let label = view.marker(sequence).label(&wanted.label);
    Next::Do(Step::Create(NewToken {
        sequence,
        label,
        description: wanted.description.clone(),
        resources: wanted.resources.clone(),
        expires: schedule::expiration(&wanted.expiry, now),
        expiry: wanted.expiry.to_string(),
        shape_hash: wanted.shape_hash(),
        handled: view.object.requests.clone(),
        verify: wanted.rotation.verify,
        urgent: rotation,
    }))
}

/// What is not needed any more goes before another token is made, so that an object has two tokens at most.
///
/// That cuts an overlap short if tokens are rotated faster than that. Not after a failure: a token that can't be
/// deleted must not stop a rotation. Nor where the current one is gone: what it replaced and the next one are two.
fn make_room(view: &View, wanted: &Wanted, list: &List, now: Timestamp) -> Option<Step> {
    let failed = view.failure().is_some_and(|failure| failure.trouble.reason != Reason::QuotaExceeded);
    let there = view.memory.token.as_ref().is_some_and(|token| list.tokens.contains_key(&token.id));
    if failed || !there {
        return None;
    }
    room(view, wanted, list, now).or_else(|| complete(view, wanted, list, now))
}

/// A replaced token stays while a wanted Secret lacks the current one, such as one with a new name, or another Secret is
/// still there. That is settled first; with a current one that doesn't work, only what needs to be deleted for it.
pub(super) fn complete(view: &View, wanted: &Wanted, list: &List, now: Timestamp) -> Option<Step> {
    let token = view.memory.token.as_ref().filter(|_| !view.memory.previous.is_empty())?;
    let working = list.tokens.get(&token.id).is_some_and(|found| works(found, now));
    let healed = if working { heal(view, now) } else { None };
    healed.or_else(|| surplus(view, wanted))
}

/// A token of the object that nothing uses, or that was replaced.
pub(super) fn room(view: &View, wanted: &Wanted, list: &List, now: Timestamp) -> Option<Step> {
    if !clean(view) {
        return unused_former(view, list, now);
    }
    let former = || view.memory.previous.first().map(|previous| discard(view, &previous.id, list));
    retire(view, wanted, list, now).or_else(|| sweep(view, list)).or_else(former)
}

/// With the current token dead, no Secret helps anybody but one that says it holds a former token. Others of these are cut
/// short: their place is worth more to the next.
fn unused_former(view: &View, list: &List, now: Timestamp) -> Option<Step> {
    let token = view.memory.token.as_ref()?;
    let dead = list.tokens.get(&token.id).is_none_or(|found| !works(found, now));
    let unused = |sequence| !view.secrets.iter().any(|secret| says(secret, Some(sequence)));
    let former = view.memory.previous.iter().find(|former| dead && unused(former.sequence))?;
    Some(discard(view, &former.id, list))
}

/// The highest sequence seen anywhere: at Docker Hub, in a Secret, in the status, or sent in this term.
fn highest(view: &View, list: &List) -> u64 {
    let at_hub = list.tokens.values().filter_map(|token| token.sequence);
    let remembered = view.memory.token.iter().map(|token| token.sequence);
    let previous = view.memory.previous.iter().map(|previous| previous.sequence);
    let given_up = view.memory.passed.max(view.session.tried);
    let known = at_hub.chain(remembered).chain(previous).max().unwrap_or(0).max(given_up);
    let in_secrets = view.secrets.iter().filter_map(held).map(|held| held.sequence);
    in_secrets.filter(|sequence| *sequence <= known.saturating_add(AHEAD)).max().unwrap_or(0).max(known)
}

/// A Secret was changed or is missing: written again from an intact copy. Without one, [`replacement`] mints.
fn heal(view: &View, now: Timestamp) -> Option<Step> {
    let wanted = view.object.wanted.as_ref().ok()?;
    let token = view.memory.token.as_ref()?;
    let layout = layout(view, wanted)?;
    let broken = view.wanted_secrets().any(|secret| lacks(secret, token, &layout));
    // A value in hand is written by `finish`; if that failed, it waits its time there.
    if !broken || view.hand.is_some() || publishing_rests(view, now).is_some() {
        return None;
    }
    copy(view, token).map(|secret| Step::Fetch(secret.key.clone()))
}

/// What Docker Hub holds differs from what is wanted: changed in place.
fn edit(view: &View, wanted: &Wanted, list: &List, now: Timestamp) -> Option<Step> {
    let token = view.memory.token.as_ref()?;
    let found = list.tokens.get(&token.id)?;
    if found.expires.is_some_and(|expires| expires <= now) {
        // Docker Hub changes nothing about an expired token.
        return None;
    }
    let label = view.marker(token.sequence).label(&wanted.label);
    let shape = wanted.shape_hash();
    let mut change = Change::default();
    if token.shape_hash != shape {
        change.description = Some(wanted.description.clone());
        change.resources = Some(wanted.resources.clone());
    }
    if token.shape_hash != shape || found.label != label {
        change.label = Some(label);
        change.shape_hash = Some(shape);
    }
    if found.active != wanted.active {
        change.active = Some(wanted.active);
    }
    (change != Change::default()).then(|| Step::Update(token.id.clone(), change))
}

/// Where the current token is not to work, no other one of the object is either. Those that can go at once do that.
fn silence(view: &View, wanted: &Wanted, list: &List, now: Timestamp) -> Option<Step> {
    let leave = wanted.active || (clean(view) && !view.memory.previous.is_empty());
    if leave { None } else { deactivate_any(view, list, now, None) }
}

/// Secrets of ours that the spec doesn't ask for any more.
fn surplus(view: &View, wanted: &Wanted) -> Option<Step> {
    let ours = |secret: &&Secret| !secret.wanted && matches!(secret.state, SecretState::Ours(_));
    let keys: Vec<_> = view.secrets.iter().filter(ours).map(|secret| secret.key.clone()).collect();
    if keys.is_empty() || !everywhere(view) {
        return None;
    }
    Some(if wanted.secret.retain { Step::Blank(keys) } else { Step::Remove(keys) })
}

/// Replaced tokens whose time is over, or that must not work as the current one must not. Not while a Secret of ours may
/// still hold one.
fn retire(view: &View, wanted: &Wanted, list: &List, now: Timestamp) -> Option<Step> {
    let due = view.memory.previous.iter().find(|previous| previous.revocation <= now || !wanted.active)?;
    clean(view).then(|| discard(view, &due.id, list))
}

/// The end of a replaced token. One that carries another object's marker by now is that object's, and is let go.
fn discard(view: &View, id: &TokenId, list: &List) -> Step {
    let found = list.tokens.get(id);
    if found.is_some_and(Token::is_anothers) {
        let previous = view.memory.previous.iter().filter(|previous| previous.id != *id).cloned().collect();
        return Step::Remember(Memory { previous, ..view.memory.clone() });
    }
    let revoked = found.is_some_and(|found| !found.active);
    Step::Delete(id.clone(), if revoked { Why::Revoked } else { Why::Replaced })
}

/// Tokens of this object that nobody remembers: left over from a create whose answer was lost.
///
/// Only up to the remembered sequence: with that written, no one can publish them any more.
fn sweep(view: &View, list: &List) -> Option<Step> {
    let token = view.memory.token.as_ref()?;
    let passed = view.memory.passed.max(token.sequence);
    let left =
        |(id, found): &(&TokenId, &Token)| found.sequence.is_some_and(|sequence| sequence <= passed) && !view.knows(id);
    let (id, _) = list.tokens.iter().find(left)?;
    clean(view).then(|| Step::Delete(id.clone(), Why::Orphan))
}
