//! What must never be, and what must come about once faults stop.

use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::Property;

use super::{
    apply,
    operator::Operator,
    world::{Action, How, State, Stored, number, time},
};

pub fn all() -> Vec<Property<Operator>> {
    vec![
        Property::always("no step breaks a rule", |_, state: &State| state.broken.is_none()),
        Property::always("S1: no Secret holds what we deleted", |_, state: &State| {
            !state
                .secrets
                .iter()
                .any(|stored| matches!(stored, Stored::Ours(_, of, _) if state.deleted & (1 << of) != 0))
        }),
        Property::always("S5: two tokens, and one more per fault", |model, state: &State| {
            let ours = state.tokens.iter().filter(|token| token.marked).count();
            ours <= 2 + faults(model, state)
        }),
        Property::always("L: it comes to rest, as wanted", |model, state: &State| settles(model, state).is_ok()),
    ]
}

fn faults(model: &Operator, state: &State) -> usize {
    let (all, left) = (&model.budget, &state.left);
    let kinds = [
        (all.crash, left.crash),
        (all.lost, left.lost),
        (all.late, left.late),
        (all.refuse, left.refuse),
        (all.secret, left.secret),
        (all.hub, left.hub),
    ];
    kinds.iter().map(|(all, left)| usize::from(all - left)).sum()
}

pub fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Longer than any way to rest.
const LIVELOCK: usize = 120;

/// From here on nothing fails and nobody interferes: what flies lands, lists are read, passes run. Each state has one
/// next one then, so that following it to its end says all about it; ends are remembered.
pub fn settles(model: &Operator, state: &State) -> Result<(), &'static str> {
    if state.broken.is_some() {
        return Ok(());
    }
    let (mut state, mut way) = (state.clone(), Vec::new());
    let end = loop {
        let mark = fingerprint(&state);
        let known = model.seen.lock().unwrap().settles.get(&mark).copied();
        if let Some(known) = known {
            break known;
        }
        way.push(mark);
        if way.len() > LIVELOCK {
            break Err("livelock");
        }
        if !advance(model, &mut state) {
            break as_wanted(model, &state);
        }
        if let Some(broken) = state.broken {
            break Err(broken);
        }
    };
    model.seen.lock().unwrap().settles.extend(way.into_iter().map(|mark| (mark, end)));
    end
}

/// What happens from a state on, for people to read.
pub fn way(model: &Operator, state: &State) -> Vec<String> {
    let (mut state, mut way) = (state.clone(), Vec::new());
    while way.len() < 30 && state.broken.is_none() {
        way.push(apply::describe(model, &state));
        if !advance(model, &mut state) {
            break;
        }
    }
    way
}

/// The next thing that happens by itself, if any.
fn advance(model: &Operator, state: &mut State) -> bool {
    if !state.flying.is_empty() {
        model.happens(state, Action::Commit(0));
        return true;
    }
    if apply::step(model, state, How::Well).is_some() {
        return true;
    }
    let memory = state.object.as_ref().map(|object| object.memory.get());
    if state.object.is_some() && model.list(state, memory) != *state.process.list.get() {
        model.happens(state, Action::Poll);
        return true;
    }
    false
}

/// Whether a state in which nothing is left to do is what the object asks for.
fn as_wanted(model: &Operator, state: &State) -> Result<(), &'static str> {
    let ensure = |holds: bool, otherwise: &'static str| if holds { Ok(()) } else { Err(otherwise) };
    let Some(object) = &state.object else {
        let left =
            |stored: &Stored| matches!(stored, Stored::Ours(_, of, _) if *of != 0 && state.deleted & (1 << of) != 0);
        ensure(!state.secrets.iter().any(left), "a dead value outlives the object")?;
        return ensure(!state.tokens.iter().any(|token| token.marked && !token.late), "a token outlives the object");
    };
    ensure(!object.deleting, "the object is not let go")?;
    let foreign = (0..2).any(|place| model.wants(object, place) && state.secrets[place] == Stored::Foreign);
    if foreign {
        return Ok(());
    }
    let memory = object.memory.get();
    let current = memory.token.as_ref().ok_or("there is no token")?;
    let found = state.tokens.iter().find(|token| token.number == number(&current.id));
    let Some(token) = found else {
        return ensure(!object.active, "the token is gone");
    };
    ensure(token.active == object.active, "the token is not active as asked")?;
    let works = state.tokens.iter().any(|other| other.marked && other.active);
    ensure(object.active || !works, "a token works that should not")?;
    ensure(token.marked && token.shape == object.shape, "the token is not as asked")?;
    for place in 0..2 {
        let holds = state.secrets[place] == Stored::Ours(token.sequence, token.number, object.named);
        let ours = matches!(state.secrets[place], Stored::Ours(..));
        let wanted = model.wants(object, place);
        // A Secret whose value is lost is made anew when the token may work again.
        ensure(!wanted || holds || !object.active, "a Secret doesn't hold the token")?;
        ensure(wanted || !ours || !object.active, "a Secret too many")?;
    }
    let live = |other: &super::world::Token| {
        let overlap = memory.previous.iter().any(|p| number(&p.id) == other.number && p.revocation > time(state.tick));
        other.number == token.number || overlap || other.sequence > token.sequence
    };
    let surplus = state.tokens.iter().any(|other| other.marked && !live(other));
    ensure(!surplus || !object.active, "a token too many")?;
    let hand = model.observe(state).and_then(|view| view.hand);
    ensure(hand.is_none() || !object.active, "a value is kept in memory")?;
    if object.active {
        let asked =
            |number: u8, handled: &Option<String>| number == 0 || handled.as_deref() == Some(&number.to_string());
        ensure(asked(object.rotate, &memory.handled.rotate), "a rotation is not done")?;
        ensure(asked(object.revoke, &memory.handled.revoke), "an emergency is not over")?;
        ensure(state.tick < token.made + 2, "a renewal is late")?;
    }
    Ok(())
}
