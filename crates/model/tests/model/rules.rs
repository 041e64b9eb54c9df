//! What must never be, and what must come about once faults stop.

use oat_operator::plan::Drift;
use stateright::Property;

use super::{
    apply, flying,
    operator::Operator,
    world::{Action, How, Object, State, Stored, Token, number, time},
};

pub fn all() -> Vec<Property<Operator>> {
    vec![
        Property::always("no step breaks a rule", |_, state: &State| state.broken.is_none()),
        Property::always("S1: no Secret holds what we deleted", |_, state: &State| {
            !(0..2).any(|place| state.breaks_s1(place))
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
        (all.alter, left.alter),
        (all.lag, left.lag),
        (all.secret, left.secret),
        (all.hub, left.hub),
    ];
    kinds.iter().map(|(all, left)| usize::from(all - left)).sum()
}

/// Longer than any way to rest.
const LIVELOCK: usize = 150;

/// From here on nothing fails and nobody interferes: what flies lands, lists are read, passes run. Each state has one
/// next one then, so that following it to its end says all about it. What ends well is remembered.
pub fn settles(model: &Operator, state: &State) -> Result<(), &'static str> {
    if state.broken.is_some() {
        return Ok(());
    }
    let (mut state, mut way) = (state.clone(), Vec::new());
    while model.seen.settles.get(state.mark).is_none() {
        way.push(state.mark);
        ensure(way.len() <= LIVELOCK, "livelock")?;
        if !advance(model, &mut state) {
            as_wanted(model, &state)?;
            break;
        }
        if let Some(broken) = state.broken {
            return Err(broken);
        }
        let dead = (0..2).any(|place| state.breaks_s1(place));
        ensure(!dead, "S1 on the way to rest")?;
    }
    way.into_iter().for_each(|mark| model.seen.settles.put(mark, ()));
    Ok(())
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
    let collectable = (0..2).find(|place| flying::collectable(model, state, *place));
    let next = if !state.flying.is_empty() {
        Some(Action::Land(0))
    } else if state.process.store.behind.is_some() {
        Some(Action::Watch)
    } else if apply::step(model, state, How::Well).is_some() {
        None
    } else if model.can_poll(state) {
        Some(Action::Poll)
    } else if let Some(place) = collectable {
        Some(Action::Collect(place))
    } else if model.can_settle(state) {
        Some(Action::Settle)
    } else if model.can_inspect(state) {
        Some(Action::Day)
    } else {
        return false;
    };
    next.into_iter().for_each(|next| model.happens(state, next));
    state.sync();
    true
}

/// Whether a rotation finds no place, since others have it, or a token that a Secret holds and nobody remembers: that one
/// is let go an hour before it expires.
fn crowded(model: &Operator, state: &State, object: &Object) -> bool {
    let known = object.memory.get().token.as_ref().map_or(0, |token| token.sequence);
    let held = |token: &Token| {
        state.secrets.iter().any(|stored| matches!(stored, Stored::Ours(_, of, _) if *of == token.number))
    };
    let kept = state.tokens.iter().filter(|token| u64::from(token.sequence) > known && held(token)).count();
    model.limit.is_some_and(|limit| usize::from(state.foreign) + 2 + kept > usize::from(limit))
}

type Verdict = Result<(), &'static str>;

fn ensure(holds: bool, otherwise: &'static str) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// Whether a state in which nothing is left to do is what the object asks for.
fn as_wanted(model: &Operator, state: &State) -> Verdict {
    let Some(object) = &state.object else {
        let dead = (0..2).any(|place| state.breaks_s1(place));
        ensure(!dead, "a dead value outlives the object")?;
        let left = |token: &Token| token.marked && !token.late && token.works(state.tick);
        return ensure(!state.tokens.iter().any(left), "a token outlives the object");
    };
    ensure(!object.deleting, "the object is not let go")?;
    ensure(!(0..2).any(|place| state.is_dead(place)), "a dead value stays")?;
    let foreign = (0..2).any(|place| model.wants(object, place) && state.secrets[place] == Stored::Foreign);
    if foreign {
        return Ok(());
    }
    let crowded = crowded(model, state, object);
    let memory = object.memory.get();
    // What was to be taken over may be gone by somebody's hand.
    let pointless = model.names.adopts > 0 && !state.tokens.iter().any(|token| token.number == model.names.adopts);
    let Some(current) = memory.token.as_ref() else { return ensure(crowded || pointless, "there is no token") };
    let found = state.tokens.iter().find(|token| token.number == number(&current.id));
    let Some(token) = found else {
        return ensure(!object.active || crowded, "the token is gone");
    };
    as_asked(model, state, object, token)?;
    if object.active && !crowded {
        up_to_date(state, object, token)?;
    }
    Ok(())
}

/// Whether the current token and the Secrets are as the object says.
fn as_asked(model: &Operator, state: &State, object: &Object, token: &Token) -> Verdict {
    let memory = object.memory.get();
    let crowded = crowded(model, state, object);
    // What has expired can't be changed; another one is made when one is to work.
    // What somebody changed again just after it was set back is held to be Docker Hub's words.
    let tolerated = matches!(state.process.memo.get().0.drift, Drift::Tolerated(_));
    let excused = crowded || tolerated || !object.active && token.has_expired(state.tick);
    ensure(token.active == object.active || excused, "the token is not active as asked")?;
    let works = state.tokens.iter().any(|other| other.marked && other.works(state.tick));
    ensure(object.active || !works, "a token works that should not")?;
    ensure(token.marked && token.shape == object.shape || excused, "the token is not as asked")?;
    for place in 0..2 {
        let holds = state.secrets[place] == Stored::Ours(token.sequence, token.number, object.named);
        let ours = matches!(state.secrets[place], Stored::Ours(..));
        let wanted = model.wants(object, place);
        // A Secret whose value is lost is made anew when the token may work again.
        ensure(!wanted || holds || !object.active || crowded, "a Secret doesn't hold the token")?;
        ensure(wanted || !ours || !object.active || crowded, "a Secret too many")?;
    }
    let live = |other: &Token| {
        let overlap = memory.previous.iter().any(|p| number(&p.id) == other.number && p.revocation > time(state.tick));
        other.number == token.number || overlap
    };
    let surplus = state.tokens.iter().any(|other| other.marked && !live(other));
    ensure(!surplus || !object.active || crowded, "a token too many")?;
    let hand = model.observe(state).and_then(|view| view.get().hand.clone());
    ensure(hand.is_none() || !object.active, "a value is kept in memory")
}

/// Whether all requests are handled and no renewal is due.
fn up_to_date(state: &State, object: &Object, token: &Token) -> Verdict {
    let handled = &object.memory.get().handled;
    let done = |number: u8, handled: &Option<String>| number == 0 || handled.as_deref() == Some(&number.to_string());
    ensure(done(object.rotate, &handled.rotate), "a rotation is not done")?;
    ensure(done(object.revoke, &handled.revoke), "an emergency is not over")?;
    let spared = state.tokens.iter().any(|token| token.doomed && token.works(state.tick));
    ensure(!spared, "an emergency spares a token")?;
    ensure(state.tick < token.made + 2, "a renewal is late")
}
