//! The planner with one rule broken, each in a way that somebody might break it.

use jiff::Timestamp;
use oat_operator::plan::{
    Decision, Memory, Organization, Previous, Rest, SecretState, Step, View, Why, decide, outlook,
};

/// A broken planner.
pub struct Mutant {
    pub name: &'static str,
    /// The configuration that notices it.
    pub under: &'static str,
    pub decide: fn(&View, Timestamp) -> Decision,
}

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "the old token goes before the new one is published",
        under: "rotation",
        decide: revoke_before_publish,
    },
    Mutant { name: "leftovers go whatever their sequence", under: "create", decide: sweep_without_sequence },
    Mutant { name: "leftovers are left", under: "create", decide: no_sweep },
    Mutant { name: "a create rests on any list", under: "create", decide: create_without_list },
    Mutant { name: "a sequence is sent again after a lost answer", under: "create", decide: same_sequence },
    Mutant { name: "at the end tokens go before Secrets", under: "deletion", decide: tokens_first },
    Mutant { name: "the finalizer goes before the tokens", under: "deletion", decide: finalizer_first },
    Mutant { name: "a token is remembered before it is published", under: "create", decide: remember_first },
    Mutant { name: "a token is published before it is proved", under: "create", decide: publish_unproved },
    Mutant { name: "there is no overlap", under: "rotation", decide: no_overlap },
    Mutant { name: "what is replaced is forgotten", under: "rotation", decide: forget_previous },
    Mutant { name: "replaced tokens go whatever Secrets hold", under: "edits", decide: retire_anyway },
    Mutant { name: "a token without a Secret is enough", under: "changed Secrets", decide: no_heal },
    Mutant {
        name: "an emergency waits for the replacement and then for the overlap",
        under: "emergency",
        decide: slow_emergency,
    },
    Mutant {
        name: "a token that the list lacks is believed to be there",
        under: "hands at Docker Hub",
        decide: no_confirm,
    },
    Mutant { name: "room is not made", under: "emergency", decide: no_room },
    Mutant { name: "an older value is written over a newer one", under: "a new name and crashes", decide: backwards },
    Mutant { name: "a token that is refused is kept", under: "refusals", decide: keep_refused },
    Mutant { name: "there is no finalizer", under: "a short life", decide: unbound },
    Mutant { name: "an emergency means the current token only", under: "emergency", decide: spare_former },
    Mutant { name: "Secrets that are not asked for any more stay", under: "edits", decide: keep_surplus },
    Mutant { name: "edits are not taken to Docker Hub", under: "edits", decide: no_edit },
    Mutant { name: "a former token works on while the object is inactive", under: "edits", decide: no_silence },
    Mutant { name: "what is handled is not remembered", under: "rotation", decide: forget_handled },
    Mutant { name: "nothing is ever due", under: "schedule", decide: never_due },
    Mutant { name: "the end forgets former tokens", under: "deletion", decide: forget_at_end },
    Mutant { name: "what is let go keeps its marker", under: "a token that stays", decide: keep_marker },
    Mutant { name: "a Secret that stays keeps a value that dies", under: "a token that stays", decide: no_blank },
    Mutant { name: "leftovers go up to what was sent", under: "create", decide: sweep_sent },
    Mutant { name: "a newer value is left alone for ever", under: "two replicas", decide: ignore_newer },
    Mutant { name: "the limit is not looked at", under: "places", decide: no_limit },
    Mutant { name: "rotations leave the last place free", under: "places", decide: timid },
    Mutant {
        name: "a token goes at the end that may be on its way into a Secret that stays",
        under: "a token that stays, past a Lease",
        decide: unshielded,
    },
    Mutant {
        name: "a rotation waits for no Secret with a new name",
        under: "a new name and a wish when it is due",
        decide: hasty,
    },
    Mutant {
        name: "without a place, a former token stays though the current one is gone",
        under: "the last place and a changed Secret",
        decide: hold_on,
    },
    Mutant {
        name: "an emergency makes a third token",
        under: "no proofs and an emergency",
        decide: third_in_emergency,
    },
    Mutant {
        name: "a Secret that stays keeps a value that is dead",
        under: "a Secret that stays after a hand",
        decide: keep_dead,
    },
];

/// The real decision for a view that was changed first.
fn changed(view: &View, now: Timestamp, change: impl FnOnce(&mut View)) -> Decision {
    let mut view = view.clone();
    change(&mut view);
    decide(&view, now)
}

fn rest(view: &View, now: Timestamp) -> Decision {
    Decision::Rest(Rest { facts: outlook(view, now), wake: None })
}

fn revoke_before_publish(view: &View, now: Timestamp) -> Decision {
    let decision = decide(view, now);
    match (&decision, &view.memory.token, &view.hand) {
        (Decision::Step(Step::Publish(_)), Some(token), Some(hand))
            if hand.token.id != token.id && listed(view).any(|id| *id == token.id) =>
        {
            Decision::Step(Step::Delete(token.id.clone(), Why::Revoked))
        }
        _ => decision,
    }
}

fn listed(view: &View) -> impl Iterator<Item = &oat_operator::api::names::TokenId> {
    let list = match &view.organization {
        Organization::Known(account) => account.list.as_ref(),
        Organization::Missing(_) => None,
    };
    list.into_iter().flat_map(|list| list.tokens.keys())
}

fn sweep_without_sequence(view: &View, now: Timestamp) -> Decision {
    let known = |id: &oat_operator::api::names::TokenId| {
        let hand = view.hand.as_ref().is_some_and(|hand| hand.token.id == *id);
        let current = view.memory.token.as_ref().is_some_and(|token| token.id == *id);
        hand || current || view.memory.previous.iter().any(|previous| previous.id == *id)
    };
    let left = listed(view).find(|id| !known(id)).cloned();
    match left {
        Some(id) if view.object.deleting.is_none() => Decision::Step(Step::Delete(id, Why::Orphan)),
        _ => decide(view, now),
    }
}

fn no_sweep(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Delete(_, Why::Orphan)) => rest(view, now),
        decision => decision,
    }
}

fn create_without_list(view: &View, now: Timestamp) -> Decision {
    changed(view, now, |view| view.session.fresh_after = Timestamp::MIN)
}

fn same_sequence(view: &View, now: Timestamp) -> Decision {
    changed(view, now, |view| view.session.tried = 0)
}

fn tokens_first(view: &View, now: Timestamp) -> Decision {
    let decision = decide(view, now);
    match (&decision, &view.memory.token) {
        (Decision::Step(Step::Remove(_)), Some(token)) if view.object.deleting.is_some() => {
            Decision::Step(Step::Delete(token.id.clone(), Why::Farewell))
        }
        _ => decision,
    }
}

fn finalizer_first(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Delete(_, Why::Farewell)) => Decision::Step(Step::Release { abandoned: false }),
        decision => decision,
    }
}

fn remember_first(view: &View, now: Timestamp) -> Decision {
    let decision = decide(view, now);
    match (&decision, &view.hand) {
        (Decision::Step(Step::Publish(_)), Some(hand))
            if view.memory.token.as_ref().is_none_or(|token| token.sequence < hand.token.sequence) =>
        {
            let former = view.memory.token.iter();
            let former =
                former.map(|token| Previous { id: token.id.clone(), sequence: token.sequence, revocation: now });
            Decision::Step(Step::Remember(Memory {
                token: Some(hand.token.clone()),
                previous: view.memory.previous.iter().cloned().chain(former).collect(),
                handled: hand.handled.clone(),
                ..view.memory.clone()
            }))
        }
        _ => decision,
    }
}

fn publish_unproved(view: &View, now: Timestamp) -> Decision {
    changed(view, now, |view| view.hand.iter_mut().for_each(|hand| hand.proved = true))
}

fn no_overlap(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Remember(mut memory)) => {
            memory.previous.iter_mut().for_each(|previous| previous.revocation = now);
            Decision::Step(Step::Remember(memory))
        }
        decision => decision,
    }
}

fn forget_previous(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Remember(mut memory)) => {
            memory.previous.clear();
            Decision::Step(Step::Remember(memory))
        }
        decision => decision,
    }
}

fn retire_anyway(view: &View, now: Timestamp) -> Decision {
    let due = view.memory.previous.iter().find(|previous| previous.revocation <= now);
    match due {
        Some(due) if view.object.deleting.is_none() => Decision::Step(Step::Delete(due.id.clone(), Why::Replaced)),
        _ => decide(view, now),
    }
}

fn no_heal(view: &View, now: Timestamp) -> Decision {
    let whole = view.memory.token.as_ref().map(|token| token.value_hash.clone());
    changed(view, now, |view| {
        for secret in &mut view.secrets {
            if let (SecretState::Ours(held), None) = (&mut secret.state, &view.hand) {
                held.value_hash.clone_from(&whole);
            }
        }
    })
}

fn slow_emergency(view: &View, now: Timestamp) -> Decision {
    changed(view, now, |view| view.object.requests.revoke = None)
}

fn no_confirm(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Confirm(_)) => rest(view, now),
        decision => decision,
    }
}

fn no_room(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Delete(_, Why::Replaced | Why::Revoked)) if asked(view) => {
            changed(view, now, |view| view.memory.previous.clear())
        }
        decision => decision,
    }
}

fn backwards(view: &View, now: Timestamp) -> Decision {
    changed(view, now, |view| {
        let known = view.memory.token.as_ref().map_or(0, |token| token.sequence);
        for secret in &mut view.secrets {
            if let SecretState::Ours(held) = &mut secret.state {
                held.sequence = held.sequence.min(known);
            }
        }
    })
}

fn asked(view: &View) -> bool {
    view.object.requests.rotate != view.memory.handled.rotate
}

fn keep_refused(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Delete(_, Why::Unproved)) => rest(view, now),
        decision => decision,
    }
}

fn unbound(view: &View, now: Timestamp) -> Decision {
    changed(view, now, |view| view.object.finalizer |= view.object.deleting.is_none())
}

/// Changes what the list shows.
fn relist(view: &mut View, change: impl FnOnce(&mut oat_operator::plan::List)) {
    if let Organization::Known(account) = &mut view.organization
        && let Some(list) = &mut account.list
    {
        change(list);
    }
}

fn pending(view: &View) -> bool {
    view.object.requests.revoke != view.memory.handled.revoke
}

fn spare_former(view: &View, now: Timestamp) -> Decision {
    let current = view.memory.token.as_ref().map(|token| token.id.clone());
    changed(view, now, |view| {
        if pending(view) {
            relist(view, |list| list.tokens.retain(|id, _| Some(id) == current.as_ref()));
        }
    })
}

fn keep_surplus(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Remove(_)) if view.object.deleting.is_none() => rest(view, now),
        decision => decision,
    }
}

fn no_edit(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Update(_, change)) if change.description.is_some() => rest(view, now),
        decision => decision,
    }
}

fn no_silence(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Update(id, _)) if view.memory.token.as_ref().is_some_and(|token| token.id != id) => {
            rest(view, now)
        }
        Decision::Step(Step::Delete(_, Why::Replaced)) if !active(view) => rest(view, now),
        decision => decision,
    }
}

fn active(view: &View) -> bool {
    view.object.wanted.as_ref().is_ok_and(|wanted| wanted.active)
}

fn forget_handled(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Remember(mut memory)) => {
            memory.handled.clone_from(&view.memory.handled);
            Decision::Step(Step::Remember(memory))
        }
        decision => decision,
    }
}

fn never_due(view: &View, now: Timestamp) -> Decision {
    changed(view, now, |view| {
        view.memory.token.iter_mut().for_each(|token| (token.created, token.expires) = (None, None))
    })
}

fn forget_at_end(view: &View, now: Timestamp) -> Decision {
    changed(view, now, |view| {
        if view.object.deleting.is_some() {
            view.memory.previous.clear();
            let current = view.memory.token.as_ref().map(|token| token.id.clone());
            relist(view, |list| list.tokens.retain(|id, _| Some(id) == current.as_ref()));
        }
    })
}

fn keep_marker(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Update(..)) if view.object.deleting.is_some() => {
            Decision::Step(Step::Release { abandoned: false })
        }
        decision => decision,
    }
}

fn no_blank(view: &View, now: Timestamp) -> Decision {
    changed(view, now, |view| {
        if view.object.deleting.is_some() {
            view.secrets.clear();
        }
    })
}

fn sweep_sent(view: &View, now: Timestamp) -> Decision {
    let known = |id: &oat_operator::api::names::TokenId| {
        let hand = view.hand.as_ref().is_some_and(|hand| hand.token.id == *id);
        let current = view.memory.token.as_ref().is_some_and(|token| token.id == *id);
        hand || current || view.memory.previous.iter().any(|previous| previous.id == *id)
    };
    let left = listed(view).find(|id| !known(id)).cloned();
    match left {
        Some(id) if view.object.deleting.is_none() && view.session.tried > 0 => {
            Decision::Step(Step::Delete(id, Why::Orphan))
        }
        _ => decide(view, now),
    }
}

fn ignore_newer(view: &View, now: Timestamp) -> Decision {
    let Some(token) = view.memory.token.clone() else { return decide(view, now) };
    changed(view, now, |view| {
        for secret in &mut view.secrets {
            if let SecretState::Ours(held) = &mut secret.state
                && held.sequence > token.sequence
            {
                (held.sequence, held.value_hash) = (token.sequence, Some(token.value_hash.clone()));
            }
        }
    })
}

fn limited(view: &View, now: Timestamp, limit: impl FnOnce(u32) -> u32) -> Decision {
    changed(view, now, |view| {
        if let Organization::Known(account) = &mut view.organization {
            account.limit = limit(account.limit);
        }
    })
}

fn no_limit(view: &View, now: Timestamp) -> Decision {
    limited(view, now, |_| u32::MAX)
}

fn timid(view: &View, now: Timestamp) -> Decision {
    limited(view, now, |limit| limit - 1)
}

fn unshielded(view: &View, now: Timestamp) -> Decision {
    let touched: Vec<_> = view.secrets.iter().map(|secret| secret.key.clone()).collect();
    match view.object.deleting {
        Some(_) => changed(view, now, |view| view.session.touched.extend(touched)),
        None => decide(view, now),
    }
}

fn hold_on(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Delete(id, Why::Replaced)) if view.session.gone.is_some() => {
            changed(view, now, |view| view.memory.previous.retain(|previous| previous.id != id))
        }
        decision => decision,
    }
}

fn third_in_emergency(view: &View, now: Timestamp) -> Decision {
    let decision = decide(view, now);
    let alone = changed(view, now, |view| view.memory.previous.clear());
    match (&decision, &alone) {
        (Decision::Step(Step::Delete(..) | Step::Remove(_)), Decision::Step(Step::Create(_))) => alone,
        _ => decision,
    }
}

fn keep_dead(view: &View, now: Timestamp) -> Decision {
    match decide(view, now) {
        Decision::Step(Step::Blank(_)) if view.session.gone.is_some() => {
            Decision::Step(Step::Release { abandoned: false })
        }
        decision => decision,
    }
}

fn hasty(view: &View, now: Timestamp) -> Decision {
    let decision = decide(view, now);
    let alone = changed(view, now, |view| view.memory.previous.clear());
    match (&decision, &alone) {
        (Decision::Step(Step::Fetch(_) | Step::Remove(_)), Decision::Step(Step::Create(_))) => alone,
        _ => decision,
    }
}
