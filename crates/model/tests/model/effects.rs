//! A step against the world, as the controller carries it out; and the rules about steps.

use oat_operator::{
    api::{conditions::Reason, names::Marker},
    plan::{Hand, List, Memory, NewToken, Organization, Outcome, Remembered, SecretKey, Step, Trouble, View, Why},
};

use super::{
    flying,
    operator::{Flaw, Operator},
    world::{
        EMPTY, How, Known, Object, Posted, Start, State, Stored, Token, bit, created, id, key, number, time, value,
    },
};

fn failed(uncertain: bool) -> Outcome {
    Outcome::Failed(trouble(uncertain))
}

fn trouble(uncertain: bool) -> Trouble {
    Trouble { reason: Reason::HubUnavailable, message: String::new(), retry: None, uncertain }
}

/// What becomes of a step. `None`: the object was written by somebody else.
pub fn carry_out(model: &Operator, state: &mut State, view: &View, step: &Step, how: How) -> Option<Outcome> {
    if writes_object(step) && !state.process.store.current && model.flaw != Flaw::RemembersAnyway {
        return None;
    }
    check_create(state, view, step);
    check_emergency(state, view, step);
    match how {
        How::Refused if *step == Step::Prove => return Some(Outcome::Unproved(String::new())),
        How::Refused if !matches!(step, Step::Publish(_)) => return Some(failed(false)),
        How::LostBefore => return Some(failed(writes_hub(step))),
        How::Late | How::CrashLate => {
            flying::launch(model, state, view, step);
            return Some(unanswered(step));
        }
        _ => {}
    }
    if how == How::LostAfter && model.flaw == Flaw::RepeatsCreate && matches!(step, Step::Create(_)) {
        effect(model, state, view, step, how);
        check_create(state, view, step);
    }
    // Whoever gets no answer doesn't learn the new version either.
    let outcome = effect(model, state, view, step, how);
    Some(if how == How::LostAfter { unanswered(step) } else { outcome })
}

/// What the operator makes of no answer.
fn unanswered(step: &Step) -> Outcome {
    match step {
        Step::Publish(keys) => Outcome::Published(keys.iter().map(|key| (key.clone(), Err(trouble(false)))).collect()),
        _ => failed(writes_hub(step)),
    }
}

/// Whether it matters if Docker Hub carried it out.
fn writes_hub(step: &Step) -> bool {
    matches!(step, Step::Create(_) | Step::Update(..) | Step::Delete(..))
}

pub fn writes_object(step: &Step) -> bool {
    matches!(step, Step::AddFinalizer | Step::Remember(_) | Step::Release { .. })
}

/// S2: a sequence is sent once in a term. R3: what a create rests on.
fn check_create(state: &mut State, view: &View, step: &Step) {
    let (Step::Create(new), Organization::Known(account)) = (step, &view.organization) else { return };
    let bit = 1u64 << new.sequence.min(63);
    if state.process.sent & bit != 0 {
        state.broken = Some("S2: a sequence is sent once in a term");
    }
    state.process.sent |= bit;
    let shown = |token: &Token| account.list.as_ref().is_some_and(|list| list.tokens.contains_key(&id(token.number)));
    if state.tokens.iter().any(|token| token.old && token.marked && !shown(token)) {
        state.broken = Some("R3: a create rests on a list from after the start and the last lost answer");
    }
}

/// An emergency is over when the list shows no token that works and that was there when it began. An object that has lost
/// its status, or never had one, makes a new token first: the request may be one of long ago. What Docker Hub activates
/// late is not in the list; that it doesn't stay so, see `rules`.
fn check_emergency(state: &mut State, view: &View, step: &Step) {
    let (Step::Remember(memory), Organization::Known(account)) = (step, &view.organization) else { return };
    let found = |token: &Token| account.list.as_ref()?.tokens.get(&id(token.number));
    let works = |token: &Token| token.works(state.tick) && found(token).is_some_and(|found| found.active);
    let over = view.memory.token.is_some()
        && memory.handled.revoke.is_some()
        && memory.handled.revoke != view.memory.handled.revoke
        && memory.handled.revoke == state.object.as_ref().map(|object| object.revoke.to_string());
    if over && state.tokens.iter().any(|token| token.doomed && works(token)) {
        state.broken = Some("an emergency spares a token");
    }
}

fn effect(model: &Operator, state: &mut State, view: &View, step: &Step, how: How) -> Outcome {
    let answered = how != How::LostAfter;
    match step {
        Step::AddFinalizer => {
            state.object.iter_mut().for_each(|object| object.finalizer = true);
            wrote_object(state, answered);
            Outcome::Finalized
        }
        Step::Refresh => {
            let memory = super::world::Shared::new(view.memory.clone());
            let (total, tokens) = model.list(state, Some(&memory)).get().clone();
            let started = time(state.tick);
            Outcome::Listed(List { started, total, steady: started, tokens })
        }
        Step::Confirm(id) => {
            Outcome::Confirmed(id.clone(), find(state, number(id)).map(|token| model.names.found(token)))
        }
        Step::Create(new) => create(model, state, new),
        Step::Prove => prove(state, view),
        Step::Fetch(key) => fetch(state, view, key),
        Step::Publish(keys) => publish(model, state, view, keys, how),
        Step::Touch(keys) => touch(model, state, view, keys, how),
        Step::Remember(memory) => {
            let outcome = remember(state, memory, state.tick);
            if answered {
                state.saw_object();
            }
            outcome
        }
        Step::Update(id, change) => {
            let place = state.tokens.iter().position(|token| token.number == number(id));
            let Some(token) = place.map(|place| &mut state.tokens[place]) else {
                // Docker Hub knows no such token: that is an answer.
                return Outcome::Confirmed(id.clone(), None);
            };
            token.active = change.active.unwrap_or(token.active);
            change.label.iter().for_each(|label| token.relabel(marker(label)));
            if let Some(hash) = &change.shape_hash {
                token.shape = model.names.shape(hash);
            }
            Outcome::Updated(id.clone(), change.clone())
        }
        Step::Delete(id, why) => {
            check_deletion(model, state, view, number(id), *why);
            excuse(state, number(id), State::unforeseen);
            delete(state, number(id), *why == Why::Exchanged);
            Outcome::Deleted(id.clone())
        }
        Step::Remove(keys) => remove(state, keys, answered),
        Step::Blank(keys) => blank(state, keys, answered),
        Step::Release { .. } => {
            check_release(model, state, State::unforeseen);
            state.object = None;
            wrote_object(state, answered);
            Outcome::Released
        }
    }
}

fn wrote_object(state: &mut State, answered: bool) {
    state.wrote_object();
    if answered {
        state.saw_object();
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
        doomed: false,
    };
    state.tokens.push(token.clone());
    token
}

/// A token is about to be deleted while a Secret holds it that the leader could not know of.
pub fn excuse(state: &mut State, of: u8, unforeseen: impl Fn(&State, usize) -> bool) {
    for place in 0..2 {
        if matches!(state.secrets[place], Stored::Ours(_, held, _) if held == of) && unforeseen(state, place) {
            state.posted[place] = Posted::Excused;
        }
    }
}

pub fn delete(state: &mut State, number: u8, exchanged: bool) {
    // What an emergency ended was dead.
    let lives = |token: &Token| !token.has_expired(state.tick) && (token.active || !token.doomed);
    let lived = find(state, number).is_some_and(lives);
    state.tokens.retain(|token| token.number != number);
    // At the limit a token makes place for its successor: the Secrets hold it until then.
    if lived && !exchanged {
        state.deleted |= bit(number);
    }
}

fn create(model: &Operator, state: &mut State, new: &NewToken) -> Outcome {
    let listed = state.process.list.get().0;
    if model.limit.is_some_and(|limit| listed >= u32::from(limit) + u32::from(model.exaggerated)) {
        state.broken = Some("no create is sent where the list shows no place");
    }
    if model.full(state) {
        return Outcome::Failed(Trouble { reason: Reason::QuotaExceeded, ..trouble(false) });
    }
    let (sequence, shape) = (u8::try_from(new.sequence).unwrap(), model.names.shape(&new.shape_hash));
    let token = commit(state, sequence, shape, false);
    // Who wants no proofs takes the answer's word.
    state.tokens.last_mut().into_iter().for_each(|token| token.proved = !new.verify);
    let token = model.names.remembered(&token);
    Outcome::Created(Hand { token, handled: new.handled.clone(), proved: !new.verify, refusals: 0 })
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

fn fetch(state: &mut State, view: &View, of: &SecretKey) -> Outcome {
    let place = place_of(of);
    state.saw_secret(place);
    match (&view.memory.token, state.secrets[place]) {
        (Some(token), Stored::Ours(_, held, _)) if token.value_hash == value(held) => Outcome::Fetched(Hand {
            token: token.clone(),
            handled: view.memory.handled.clone(),
            proved: true,
            refusals: 0,
        }),
        _ => Outcome::NotFetched(of.clone()),
    }
}

pub fn place_of(of: &SecretKey) -> usize {
    usize::from(*of != key(0))
}

/// What a Secret holds after a publication.
pub fn published(view: &View) -> Option<Stored> {
    let (hand, wanted) = (view.hand.as_ref()?, view.object.wanted.as_ref().ok()?);
    let named = u8::from(wanted.secret.name.as_str() == key(1).name);
    Some(Stored::Ours(u8::try_from(hand.token.sequence).unwrap(), number(&hand.token.id), named))
}

/// Each Secret is written if it is as it was last seen; else it is looked at, and written next time.
fn publish(model: &Operator, state: &mut State, view: &View, keys: &[SecretKey], how: How) -> Outcome {
    let Some(to) = published(view) else { return failed(false) };
    let to = match to {
        Stored::Ours(sequence, of, _) if how == How::Altered => Stored::Ours(sequence, of, 2),
        to => to,
    };
    let mut results = Vec::new();
    for (turn, name) in keys.iter().enumerate() {
        let place = place_of(name);
        let (seen, known) = state.process.store.secrets[place];
        let free = match seen {
            Stored::Ours(..) => known == Known::Version || model.flaw == Flaw::WritesAnyway,
            Stored::Absent | Stored::Foreign => {
                state.secrets[place] == Stored::Absent || model.flaw == Flaw::AppliesFirst
            }
        };
        let result = if how == How::Refused || (how == How::Partly && turn > 0) {
            Err(trouble(false))
        } else if free {
            put(state, place, to);
            let Stored::Ours(sequence, of, named) = to else { continue };
            Ok(model.names.held(sequence, of, named))
        } else if state.secrets[place] == Stored::Foreign {
            Err(Trouble { reason: Reason::SecretConflict, ..trouble(false) })
        } else {
            Err(Trouble { retry: Some(time(state.tick)), ..trouble(false) })
        };
        if how != How::LostAfter && how != How::Refused {
            state.saw_secret(place);
        }
        results.push((name.clone(), result));
    }
    Outcome::Published(results)
}

/// What a touch makes of a Secret.
pub fn touched(view: &View, seen: Stored) -> Stored {
    let whole = view.memory.token.as_ref().map(|token| number(&token.id));
    match seen {
        Stored::Ours(sequence, of, named) if Some(of) != whole => Stored::Ours(sequence, EMPTY, named),
        Stored::Ours(..) => seen,
        Stored::Absent | Stored::Foreign => Stored::Ours(0, EMPTY, 2),
    }
}

/// Each Secret is written as it was seen, so that older writes in flight fail.
fn touch(model: &Operator, state: &mut State, view: &View, keys: &[SecretKey], how: How) -> Outcome {
    let mut results = Vec::new();
    for name in keys {
        let place = place_of(name);
        let (seen, known) = state.process.store.secrets[place];
        let free = match seen {
            Stored::Ours(..) => known == Known::Version,
            Stored::Absent | Stored::Foreign => state.secrets[place] == Stored::Absent,
        };
        let to = touched(view, seen);
        let result = match to {
            Stored::Ours(sequence, of, named) if free => {
                state.wrote_secret(place, to);
                Ok(model.names.held(sequence, of, named))
            }
            _ if state.secrets[place] == Stored::Foreign => {
                Err(Trouble { reason: Reason::SecretConflict, ..trouble(false) })
            }
            _ => Err(Trouble { retry: Some(time(state.tick)), ..trouble(false) }),
        };
        if how != How::LostAfter {
            state.saw_secret(place);
        }
        results.push((name.clone(), result));
    }
    Outcome::Touched(results)
}

/// A Secret is written with a token's value, or blanked.
pub fn put(state: &mut State, place: usize, to: Stored) {
    if let (Stored::Ours(before, ..), Stored::Ours(after, ..)) = (state.secrets[place], to)
        && before > after
    {
        state.broken = Some("S7: sequences in Secrets never decrease");
    }
    if state.secrets[place] == Stored::Foreign {
        state.broken = Some("S14: no Secret that we did not make is changed");
    }
    state.wrote_secret(place, to);
    let Stored::Ours(_, of, _) = to else { return };
    match state.tokens.iter_mut().find(|token| token.number == of) {
        Some(token) if !token.proved => {
            state.broken = Some("a Secret is only written with a value that was proved");
        }
        Some(token) => token.published = true,
        None => {}
    }
}

/// The sequence in a label's marker; 0 without one.
pub fn marker(label: &str) -> u8 {
    Marker::parse(label).map_or(0, |(_, marker)| u8::try_from(marker.sequence).unwrap())
}

/// A status lands that was sent at this tick: from then on an overlap counts, as every Secret held the new value.
pub fn remember(state: &mut State, memory: &Memory, sent: u8) -> Outcome {
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
            token.replaced = Some(sent);
        }
    }
    object.memory = super::world::Shared::new(memory.clone());
    state.wrote_object();
    Outcome::Remembered(memory.clone())
}

/// The rules for the end of a token.
pub fn check_deletion(model: &Operator, state: &mut State, view: &View, of: u8, why: Why) {
    let Some(token) = find(state, of) else { return };
    let Some(object) = &state.object else { return };
    let memory = object.memory.get();
    let current = memory.token.as_ref();
    let known = |found: &oat_operator::api::names::TokenId| number(found) == of;
    let remembered = current.is_some_and(|token| known(&token.id)) || memory.previous.iter().any(|p| known(&p.id));
    let holds = |place: usize| matches!(state.secrets[place], Stored::Ours(_, held, _) if held == of);
    let broken = match why {
        _ if !token.marked && !remembered => Some("S4: only what is ours is touched"),
        Why::Orphan
            if remembered || current.map_or(0, |now| now.sequence).max(memory.passed) < token.sequence.into() =>
        {
            Some("S6: a leftover is deleted on the evidence of a status with its sequence or a higher one")
        }
        Why::Unproved if remembered && !token.has_expired(state.tick) => Some("S4: what works is not given up"),
        Why::Orphan | Why::Replaced if cut_short(model, state, object, view, token) => {
            Some("S8: a replaced token lives on for the overlap")
        }
        Why::Farewell if (0..2).any(|place| holds(place) && !state.unforeseen(place)) => {
            Some("S9: at the end Secrets go before tokens")
        }
        _ => None,
    };
    state.broken = broken.or(state.broken);
}

/// Whether a replaced token ends before its overlap for no reason, such as a third token that is to be made.
fn cut_short(model: &Operator, state: &State, object: &Object, view: &View, token: &Token) -> bool {
    let Some(current) = &object.memory.get().token else { return false };
    let over = token.replaced.is_none_or(|tick| tick < state.tick) || token.has_expired(state.tick);
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

fn current_made(token: &Remembered) -> u8 {
    (0..=9).find(|tick| Some(created(*tick)) == token.created).unwrap()
}

fn remove(state: &mut State, keys: &[SecretKey], answered: bool) -> Outcome {
    for place in keys.iter().map(place_of) {
        let (seen, known) = state.process.store.secrets[place];
        match (seen, state.secrets[place]) {
            (Stored::Absent | Stored::Foreign, _) | (_, Stored::Absent) => {}
            _ if known == Known::Nothing => return failed(false),
            _ => state.wrote_secret(place, Stored::Absent),
        }
        if answered {
            state.saw_secret(place);
        }
    }
    Outcome::Removed(keys.to_vec())
}

fn blank(state: &mut State, keys: &[SecretKey], answered: bool) -> Outcome {
    for place in keys.iter().map(place_of) {
        let (seen, known) = state.process.store.secrets[place];
        match (seen, state.secrets[place]) {
            (Stored::Absent | Stored::Foreign, _) | (_, Stored::Absent) => {}
            _ if known != Known::Version => return failed(false),
            _ => state.wrote_secret(place, Stored::Foreign),
        }
        if answered {
            state.saw_secret(place);
        }
    }
    Outcome::Blanked(keys.to_vec())
}

pub fn check_release(model: &Operator, state: &mut State, unforeseen: impl Fn(&State, usize) -> bool) {
    let kept = |place: usize| match (model.start, state.secrets[place]) {
        _ if unforeseen(state, place) => false,
        // What somebody deleted since the last list, nobody knows of.
        (Start::Retained, Stored::Ours(_, held, _)) => {
            let listed = state.process.list.get().1.contains_key(&id(held));
            find(state, held).is_none() && !listed && held != 0 && held != EMPTY
        }
        (_, Stored::Ours(..)) => true,
        _ => false,
    };
    if (0..2).any(kept) {
        state.broken = Some("S9: the finalizer goes after the Secrets");
    }
    // What has expired can't be deactivated or let go.
    let stays = matches!(model.start, Start::Retained | Start::Deactivating);
    let left = |token: &Token| token.marked && !token.late && !(stays && token.has_expired(state.tick));
    if state.tokens.iter().any(left) {
        state.broken = Some("S9: the finalizer goes after the tokens");
    }
}
