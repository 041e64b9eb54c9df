//! A step against the world, as the controller carries it out; and the rules about steps.

use std::sync::Arc;

use oat_operator::{
    api::conditions::Reason,
    plan::{Decision, Hand, Held, List, Memory, NewToken, Organization, Outcome, SecretKey, Step, Trouble, View, Why},
};

use super::{
    operator::Operator,
    rules,
    world::{Flying, How, Object, Shared, Start, State, Stored, Token, created, id, key, number, time, value},
};

/// A view, whether the object was written since it was made, and what is decided.
pub type Next = (Arc<View>, bool, Arc<Decision>);

/// The view that the next step works on, and what is decided.
fn next(model: &Operator, state: &State) -> Option<Next> {
    let mark = rules::fingerprint(state);
    if let Some((last, found)) = &model.seen.lock().unwrap().next
        && *last == mark
    {
        return found.clone();
    }
    let found = look(model, state);
    model.seen.lock().unwrap().next = Some((mark, found.clone()));
    found
}

fn look(model: &Operator, state: &State) -> Option<Next> {
    let (view, stale) = match &state.process.pass {
        Some((view, stale)) => (view.share(), *stale),
        None => (Arc::new(model.observe(state)?), false),
    };
    let decision = (model.decide)(&view, time(state.tick));
    Some((view, stale, Arc::new(decision)))
}

/// The next step, for people to read.
pub fn describe(model: &Operator, state: &State) -> String {
    match next(model, state).map(|(_, stale, decision)| (stale, decision)) {
        Some((stale, decision)) => match &*decision {
            Decision::Step(step) => format!("{step:?} stale={stale}"),
            Decision::Rest(rest) => format!("rest {:?}", rest.facts.progress),
        },
        None => "gone".into(),
    }
}

/// How the next step may go.
pub fn ways(model: &Operator, state: &State) -> Vec<How> {
    let Some((view, _, decision)) = next(model, state) else { return Vec::new() };
    let left = &state.left;
    let Decision::Step(step) = &*decision else {
        // A pass that comes to rest writes what it learnt and ends; without either there is nothing to do.
        let (writes, ends) = (learnt(state, &view), state.process.pass.is_some());
        let possible = [
            (How::Well, u8::from(writes || ends)),
            (How::Refused, left.refuse * u8::from(writes)),
            (How::Crash, left.crash * u8::from(writes)),
        ];
        return possible.into_iter().filter(|(_, budget)| *budget > 0).map(|(how, _)| how).collect();
    };
    model.seen.lock().unwrap().steps.insert(name(step));
    let (creates, looks) =
        (matches!(step, Step::Create(_)), matches!(step, Step::Refresh | Step::Confirm(_) | Step::Fetch(_)));
    let several = matches!(&step, Step::Publish(keys) if keys.len() > 1);
    let possible = [
        (How::Well, 1),
        (How::Refused, left.refuse * u8::from(!looks)),
        (How::Partly, left.refuse * u8::from(several)),
        (How::LostBefore, left.lost * u8::from(step.needs_hub())),
        (How::LostAfter, left.lost * u8::from(!looks && *step != Step::Prove)),
        (How::Late, left.late * u8::from(creates)),
        (How::Crash, left.crash * u8::from(!looks && *step != Step::Prove)),
        (How::CrashLate, left.late.min(left.crash) * u8::from(creates)),
    ];
    possible.into_iter().filter(|(_, budget)| *budget > 0).map(|(how, _)| how).collect()
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::AddFinalizer => "AddFinalizer",
        Step::Refresh => "Refresh",
        Step::Confirm(_) => "Confirm",
        Step::Create(_) => "Create",
        Step::Prove => "Prove",
        Step::Fetch(_) => "Fetch",
        Step::Publish(_) => "Publish",
        Step::Touch(_) => "Touch",
        Step::Remember(_) => "Remember",
        Step::Update(..) => "Update",
        Step::Delete(_, Why::Replaced) => "Delete Replaced",
        Step::Delete(_, Why::Revoked) => "Delete Revoked",
        Step::Delete(_, Why::Orphan) => "Delete Orphan",
        Step::Delete(_, Why::Unproved) => "Delete Unproved",
        Step::Delete(_, Why::Exchanged) => "Delete Exchanged",
        Step::Delete(_, Why::Farewell) => "Delete Farewell",
        Step::Remove(_) => "Remove",
        Step::Blank(_) => "Blank",
        Step::Release { .. } => "Release",
    }
}

/// The operator takes one step, or ends its pass. `None` where nothing changes.
pub fn step(model: &Operator, state: &mut State, how: How) -> Option<()> {
    let (view, mut stale, decision) = next(model, state)?;
    let Decision::Step(step) = &*decision else {
        return rest(model, state, &view, stale, how);
    };
    let left = &mut state.left;
    match how {
        How::Well => {}
        How::Refused | How::Partly => left.refuse -= 1,
        How::LostBefore | How::LostAfter => left.lost -= 1,
        How::Late => left.late -= 1,
        How::Crash => left.crash -= 1,
        How::CrashLate => (left.crash, left.late) = (left.crash - 1, left.late - 1),
    }
    let outcome = carry_out(model, state, &view, step, stale, how);
    if matches!(how, How::Crash | How::CrashLate) {
        model.restart(state, true);
        return Some(());
    }
    let Some(outcome) = outcome else {
        // Somebody wrote the object since: the pass begins again.
        state.process.pass = None;
        state.process.seen = state.secrets;
        return Some(());
    };
    if matches!(&outcome, Outcome::Failed(trouble) if trouble.uncertain) {
        state.tokens.iter_mut().for_each(|token| token.old = true);
    }
    // A write of ours whose answer was lost makes what we know of the object as old as anybody else's.
    stale |= how == How::LostAfter && writes_object(step);
    let mut view = View::clone(&view);
    view.absorb(step, outcome, time(state.tick));
    model.keep(state, &view);
    state.process.pass = state.object.is_some().then(|| (Shared::new(view), stale));
    Some(())
}

/// Whether a view knows more than the status.
fn learnt(state: &State, view: &View) -> bool {
    state.object.as_ref().is_some_and(|object| *object.memory.get() != view.memory)
}

/// The end of a pass: what it learnt is written, unless somebody wrote the object since.
fn rest(model: &Operator, state: &mut State, view: &View, stale: bool, how: How) -> Option<()> {
    let writes = learnt(state, view);
    if !writes && state.process.pass.is_none() {
        return None;
    }
    match how {
        How::Refused => state.left.refuse -= 1,
        How::Crash => state.left.crash -= 1,
        _ => {}
    }
    if writes && !stale && how != How::Refused {
        remember(state, &view.memory);
    }
    state.process.pass = None;
    state.process.seen = state.secrets;
    if how == How::Crash {
        model.restart(state, true);
    }
    Some(())
}

fn failed(uncertain: bool) -> Outcome {
    Outcome::Failed(trouble(uncertain))
}

fn trouble(uncertain: bool) -> Trouble {
    Trouble { reason: Reason::HubUnavailable, message: String::new(), retry: None, uncertain }
}

/// What becomes of a step. `None`: the object was written by somebody else.
fn carry_out(model: &Operator, state: &mut State, view: &View, step: &Step, stale: bool, how: How) -> Option<Outcome> {
    if writes_object(step) && stale {
        return None;
    }
    let hub = step.needs_hub();
    match how {
        How::Refused if *step == Step::Prove => return Some(Outcome::Unproved(String::new())),
        How::Refused if !matches!(step, Step::Publish(_)) => return Some(failed(false)),
        How::LostBefore => {
            mark_sent(state, step);
            return Some(failed(hub));
        }
        _ => {}
    }
    let outcome = effect(model, state, view, step, how);
    match (how, &outcome) {
        (How::LostAfter, Outcome::Published(results)) => {
            Some(Outcome::Published(results.iter().map(|(key, _)| (key.clone(), Err(trouble(false)))).collect()))
        }
        (How::LostAfter, _) => Some(failed(hub)),
        (How::Late, _) => Some(failed(true)),
        _ => Some(outcome),
    }
}

fn writes_object(step: &Step) -> bool {
    matches!(step, Step::AddFinalizer | Step::Remember(_) | Step::Release { .. })
}

/// S2: a sequence is sent once in a term.
fn mark_sent(state: &mut State, step: &Step) {
    if let Step::Create(new) = step {
        let bit = 1 << new.sequence;
        if state.process.sent & bit != 0 {
            state.broken = Some("S2: a sequence is sent once in a term");
        }
        state.process.sent |= bit;
    }
}

fn effect(model: &Operator, state: &mut State, view: &View, step: &Step, how: How) -> Outcome {
    mark_sent(state, step);
    match step {
        Step::AddFinalizer => {
            state.object.iter_mut().for_each(|object| object.finalizer = true);
            Outcome::Finalized
        }
        Step::Refresh => {
            Outcome::Listed(List { started: time(state.tick), total: 0, tokens: model.list(state, Some(&view.memory)) })
        }
        Step::Confirm(id) => Outcome::Confirmed(id.clone(), find(state, number(id)).map(|token| model.listed(token))),
        Step::Create(new) => create(model, state, view, new, how),
        Step::Prove => prove(state, view),
        Step::Fetch(key) => fetch(state, view, key),
        Step::Publish(keys) => publish(model, state, view, keys, how),
        // There is always a place.
        Step::Touch(_) => failed(false),
        Step::Remember(memory) => remember(state, memory),
        Step::Update(id, change) => {
            let place = state.tokens.iter().position(|token| token.number == number(id));
            let Some(token) = place.map(|place| &mut state.tokens[place]) else {
                // Docker Hub knows no such token: that is an answer.
                return Outcome::Confirmed(id.clone(), None);
            };
            token.active = change.active.unwrap_or(token.active);
            token.marked = change.label.as_ref().map_or(token.marked, |label| label.ends_with(']'));
            if let Some(hash) = &change.shape_hash {
                token.shape = model.shape(hash);
            }
            Outcome::Updated(id.clone(), change.clone())
        }
        Step::Delete(id, why) => {
            check_deletion(model, state, view, number(id), *why);
            state.tokens.retain(|token| token.number != number(id));
            state.deleted |= 1 << number(id);
            Outcome::Deleted(id.clone())
        }
        Step::Remove(keys) => remove(state, keys, Stored::Absent, Outcome::Removed(keys.clone())),
        Step::Blank(keys) => remove(state, keys, Stored::Foreign, Outcome::Blanked(keys.clone())),
        Step::Release { .. } => {
            check_release(model, state);
            state.object = None;
            Outcome::Released
        }
    }
}

fn find(state: &State, number: u8) -> Option<&Token> {
    state.tokens.iter().find(|token| token.number == number)
}

/// Docker Hub makes a token.
pub fn commit(state: &mut State, sequence: u8, shape: u8, late: bool) -> Token {
    state.made += 1;
    let token = Token {
        number: state.made,
        sequence,
        marked: true,
        active: true,
        shape,
        made: state.tick,
        proved: false,
        published: false,
        replaced: None,
        old: false,
        late,
    };
    state.tokens.push(token.clone());
    token
}

fn create(model: &Operator, state: &mut State, view: &View, new: &NewToken, how: How) -> Outcome {
    let Organization::Known(account) = &view.organization else { return failed(false) };
    let shown = |token: &Token| account.list.as_ref().is_some_and(|list| list.tokens.contains_key(&id(token.number)));
    if state.tokens.iter().any(|token| token.old && token.marked && !shown(token)) {
        state.broken = Some("R3: a create rests on a list from after the start and the last lost answer");
    }
    let (sequence, shape) = (u8::try_from(new.sequence).unwrap(), model.shape(&new.shape_hash));
    if matches!(how, How::Late | How::CrashLate) {
        state.flying.push(Flying { sequence, shape });
        return failed(true);
    }
    let token = commit(state, sequence, shape, false);
    let hand = Hand { token: model.remembered(&token), handled: new.handled.clone(), proved: !new.verify, refusals: 0 };
    Outcome::Created(hand)
}

fn prove(state: &mut State, view: &View) -> Outcome {
    let of = view.hand.as_ref().map(|hand| number(&hand.token.id));
    let token = state.tokens.iter_mut().find(|token| Some(token.number) == of && token.active);
    match token {
        Some(token) => {
            token.proved = true;
            Outcome::Proved
        }
        None => Outcome::Unproved(String::new()),
    }
}

fn fetch(state: &State, view: &View, of: &SecretKey) -> Outcome {
    let stored = state.secrets[place(of)];
    match (&view.memory.token, stored) {
        (Some(token), Stored::Ours(_, held, _)) if token.value_hash == value(held) => Outcome::Fetched(Hand {
            token: token.clone(),
            handled: view.memory.handled.clone(),
            proved: true,
            refusals: 0,
        }),
        _ => Outcome::NotFetched(of.clone()),
    }
}

fn place(of: &SecretKey) -> usize {
    usize::from(*of != key(0))
}

/// Each Secret is written if it is as it was last seen; else it is looked at, and written next time.
fn publish(model: &Operator, state: &mut State, view: &View, keys: &[SecretKey], how: How) -> Outcome {
    let (Some(hand), Ok(wanted)) = (&view.hand, &view.object.wanted) else { return failed(false) };
    let (of, sequence) = (number(&hand.token.id), u8::try_from(hand.token.sequence).unwrap());
    let named = u8::from(wanted.secret.name.as_str() == key(1).name);
    let mut results = Vec::new();
    for (turn, name) in keys.iter().enumerate() {
        let place = place(name);
        if how == How::Refused || (how == How::Partly && turn > 0) {
            results.push((name.clone(), Err(trouble(false))));
            continue;
        }
        if state.secrets[place] != state.process.seen[place] {
            state.process.seen[place] = state.secrets[place];
            let again = Trouble { retry: Some(time(state.tick)), ..trouble(false) };
            results.push((name.clone(), Err(again)));
            continue;
        }
        match state.secrets[place] {
            Stored::Foreign => {
                let conflict = Trouble { reason: Reason::SecretConflict, ..trouble(false) };
                results.push((name.clone(), Err(conflict)));
                continue;
            }
            Stored::Ours(before, _, _) if before > sequence => {
                state.broken = Some("S7: sequences in Secrets never decrease");
            }
            Stored::Ours(..) | Stored::Absent => {}
        }
        state.secrets[place] = Stored::Ours(sequence, of, named);
        state.process.seen[place] = state.secrets[place];
        let held =
            Held { sequence: hand.token.sequence, value_hash: Some(value(of)), layout_hash: model.layout(named) };
        results.push((name.clone(), Ok(held)));
        match state.tokens.iter_mut().find(|token| token.number == of) {
            Some(token) if !token.proved => {
                state.broken = Some("a Secret is only written with a value that was proved")
            }
            Some(token) => token.published = true,
            None => {}
        }
    }
    Outcome::Published(results)
}

fn remember(state: &mut State, memory: &Memory) -> Outcome {
    let tick = state.tick;
    let Some(object) = &mut state.object else { return failed(false) };
    let former = object.memory.get().token.as_ref();
    let (former, latest) = (former.map(|token| (number(&token.id), token.sequence)), memory.token.as_ref());
    // At the end, with the Secrets gone, the token is forgotten when it is deleted.
    let ended = object.deleting && latest.is_none();
    if !ended && latest.map(|token| token.sequence) < former.map(|(_, sequence)| sequence) {
        state.broken = Some("S7: the remembered sequence never decreases");
    }
    for token in &mut state.tokens {
        if latest.is_some_and(|latest| id(token.number) == latest.id) && !token.published {
            state.broken = Some("S3: what is remembered was in a Secret");
        }
        let replaced = former.filter(|_| latest.is_some_and(|latest| Some(number(&latest.id)) != former.map(|f| f.0)));
        if replaced.is_some_and(|(former, _)| former == token.number) {
            token.replaced = Some(tick);
        }
    }
    object.memory = Shared::new(memory.clone());
    Outcome::Remembered(memory.clone())
}

/// The rules for the end of a token.
fn check_deletion(model: &Operator, state: &mut State, view: &View, of: u8, why: Why) {
    let Some(token) = find(state, of) else { return };
    let Some(object) = &state.object else { return };
    let memory = object.memory.get();
    let current = memory.token.as_ref();
    let known = |found: &oat_operator::api::names::TokenId| number(found) == of;
    let remembered = current.is_some_and(|token| known(&token.id)) || memory.previous.iter().any(|p| known(&p.id));
    let broken = match why {
        _ if !token.marked && !remembered => Some("S4: only what is ours is touched"),
        Why::Orphan if remembered || current.is_none_or(|now| now.sequence < token.sequence.into()) => {
            Some("S6: a leftover is deleted on the evidence of a status with its sequence or a higher one")
        }
        Why::Unproved if remembered => Some("S4: what works is not given up"),
        Why::Orphan | Why::Replaced if cut_short(model, state, object, view, token) => {
            Some("S8: a replaced token lives on for the overlap")
        }
        Why::Farewell
            if state.secrets.iter().any(|stored| matches!(stored, Stored::Ours(_, held, _) if *held == of)) =>
        {
            Some("S9: at the end Secrets go before tokens")
        }
        _ => None,
    };
    state.broken = broken.or(state.broken);
}

/// Whether a replaced token ends before its overlap for no reason, such as a third token that is to be made.
fn cut_short(model: &Operator, state: &State, object: &Object, view: &View, token: &Token) -> bool {
    let Some(current) = &object.memory.get().token else { return false };
    let over = token.replaced.is_none_or(|tick| tick < state.tick) || token.made + 3 <= state.tick;
    let third = view.object.requests != view.memory.handled || state.tick >= current_made(current) + 2;
    // A changed or deleted Secret, or a hand at Docker Hub, asks for a third one too.
    let by_hand = state.left.secret < model.budget.secret || state.left.hub < model.budget.hub;
    // What was replaced twice is over: one token lives on.
    let twice = object.memory.get().previous.iter().any(|previous| previous.sequence > token.sequence.into());
    // An emergency ends all that were replaced, and so does a deactivation.
    let emergency = state.left.revoke < model.budget.revoke || !token.active;
    let active = view.object.wanted.as_ref().is_ok_and(|wanted| wanted.active);
    token.replaced.is_some() && !over && !third && !twice && !by_hand && !emergency && active
}

fn current_made(token: &oat_operator::plan::Remembered) -> u8 {
    (0..=9).find(|tick| Some(created(*tick)) == token.created).unwrap()
}

fn remove(state: &mut State, keys: &[SecretKey], after: Stored, done: Outcome) -> Outcome {
    for name in keys {
        let place = place(name);
        match (state.secrets[place], state.process.seen[place]) {
            (Stored::Absent, _) => {}
            (now, seen) if now != seen => {
                state.process.seen[place] = now;
                return failed(false);
            }
            _ => state.secrets[place] = after,
        }
        state.process.seen[place] = state.secrets[place];
    }
    done
}

fn check_release(model: &Operator, state: &mut State) {
    let kept = |stored: &Stored| match (model.start, stored) {
        (Start::Retained, Stored::Ours(_, held, _)) => find(state, *held).is_none() && *held != 0,
        (_, Stored::Ours(..)) => true,
        _ => false,
    };
    if state.secrets.iter().any(kept) {
        state.broken = Some("S9: the finalizer goes after the Secrets");
    }
    if state.tokens.iter().any(|token| token.marked && !token.late) {
        state.broken = Some("S9: the finalizer goes after the tokens");
    }
}
