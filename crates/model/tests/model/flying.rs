//! Writes that land after their caller gave up, or lost its Lease: by their preconditions, and whenever they like.

use oat_operator::plan::{Step, View, Why};

use super::{
    effects::{self, commit, place_of, put},
    operator::{Flaw, Operator},
    world::{Flying, Known, Posted, Shared, Start, State, Stored, bit, number},
};

/// A step is sent, and nobody waits for it.
pub fn launch(model: &Operator, state: &mut State, view: &View, step: &Step) {
    let seen = |place: usize| state.process.store.secrets[place];
    let current = state.process.store.current;
    let writes: Vec<Flying> = match step {
        Step::Create(new) => {
            let (sequence, shape) = (u8::try_from(new.sequence).unwrap(), model.names.shape(&new.shape_hash));
            vec![Flying::Create { sequence, shape, former: false }]
        }
        Step::Update(id, change) => vec![Flying::Update {
            former: false,
            number: number(id),
            active: change.active,
            marker: change.label.as_ref().map(|label| effects::marker(label)),
            shape: change.shape_hash.as_ref().map(|hash| model.names.shape(hash)),
        }],
        Step::Delete(id, why) => {
            effects::check_deletion(model, state, view, number(id), *why);
            vec![Flying::Delete { number: number(id), exchanged: *why == Why::Exchanged }]
        }
        Step::Publish(keys) => {
            let Some(to) = effects::published(view) else { return };
            let write = |place| match seen(place) {
                (Stored::Ours(..), known) => Flying::Apply { place, to, known },
                _ => Flying::Post { place, to },
            };
            keys.iter().map(place_of).map(write).collect()
        }
        Step::Touch(keys) => {
            let write = |place| match seen(place) {
                (stored @ Stored::Ours(..), known) => {
                    Flying::Apply { place, to: effects::touched(view, stored), known }
                }
                (stored, _) => Flying::Post { place, to: effects::touched(view, stored) },
            };
            keys.iter().map(place_of).map(write).collect()
        }
        Step::Remove(keys) => {
            ours(keys.iter().map(place_of), seen).map(|(place, known)| Flying::Remove { place, known }).collect()
        }
        Step::Blank(keys) => ours(keys.iter().map(place_of), seen)
            .map(|(place, known)| Flying::Apply { place, to: Stored::Foreign, known })
            .collect(),
        Step::Remember(memory) => {
            let memory = Shared::new(memory.clone());
            vec![Flying::Status { memory, valid: current, sent: state.tick }]
        }
        Step::AddFinalizer => vec![Flying::Finalizer { on: true, valid: current }],
        Step::Release { .. } => {
            effects::check_release(model, state, State::unforeseen);
            vec![Flying::Finalizer { on: false, valid: current }]
        }
        Step::Refresh | Step::Confirm(_) | Step::Prove | Step::Fetch(_) => Vec::new(),
    };
    writes.into_iter().for_each(|write| send(model, state, write));
}

fn ours(
    places: impl Iterator<Item = usize>,
    seen: impl Fn(usize) -> (Stored, Known),
) -> impl Iterator<Item = (usize, Known)> {
    places
        .map(move |place| (place, seen(place)))
        .filter(|(_, (stored, _))| matches!(stored, Stored::Ours(..)))
        .map(|(place, (_, known))| (place, known))
}

/// A write is under way, if it can land at all.
pub fn send(model: &Operator, state: &mut State, write: Flying) {
    let hopeless = match &write {
        Flying::Apply { known, .. } => *known != Known::Version && model.flaw != Flaw::WritesAnyway,
        Flying::Remove { known, .. } => *known == Known::Nothing,
        Flying::Status { valid, .. } => !valid && model.flaw != Flaw::RemembersAnyway,
        Flying::Finalizer { valid, .. } => !valid,
        _ => false,
    };
    if !hopeless {
        state.flying.push(write);
    }
}

/// A write lands, or fails by its preconditions.
pub fn land(model: &Operator, state: &mut State, place: usize) {
    match state.flying.remove(place) {
        Flying::Create { sequence, shape, .. } => {
            if !model.full(state) {
                commit(state, sequence, shape, true);
            }
        }
        Flying::Update { number, active, marker, shape, .. } => {
            if let Some(token) = state.tokens.iter_mut().find(|token| token.number == number) {
                token.active = active.unwrap_or(token.active);
                marker.into_iter().for_each(|marker| token.relabel(marker));
                token.late |= marker.is_some_and(|marker| marker > 0);
                token.shape = shape.unwrap_or(token.shape);
            }
        }
        Flying::Delete { number, exchanged } => {
            // Both were under way before anybody could know of the other.
            effects::excuse(state, number, |state, place| state.posted[place] == Posted::Late);
            effects::delete(state, number, exchanged);
        }
        Flying::Post { place, to } => {
            let free = state.secrets[place] == Stored::Absent || model.flaw == Flaw::AppliesFirst;
            if free {
                let dead = matches!(to, Stored::Ours(_, of, _) if state.deleted & bit(of) != 0);
                put(state, place, to);
                if model.flaw != Flaw::AppliesFirst {
                    state.posted[place] = if dead { Posted::Excused } else { Posted::Late };
                }
            }
        }
        Flying::Apply { place, to, known } => {
            let fits = known == Known::Version
                || model.flaw == Flaw::WritesAnyway && matches!(state.secrets[place], Stored::Ours(..));
            if fits {
                put(state, place, to);
            }
        }
        Flying::Remove { place, known } => {
            if known != Known::Nothing && state.secrets[place] != Stored::Absent {
                state.wrote_secret(place, Stored::Absent);
            }
        }
        Flying::Status { memory, valid, sent } => {
            if valid || model.flaw == Flaw::RemembersAnyway {
                effects::remember(state, memory.get(), sent);
            }
        }
        Flying::Finalizer { on, valid } => {
            let Some(object) = state.object.as_mut().filter(|_| valid) else { return };
            object.finalizer = on;
            if !on {
                effects::check_release(model, state, |state, place| state.posted[place] != Posted::No);
                state.object = None;
            }
            state.wrote_object();
        }
    }
    // Nothing that has become impossible is worth a state of its own.
    let flying = std::mem::take(&mut state.flying);
    flying.into_iter().for_each(|write| send(model, state, write));
}

/// Whether Kubernetes removes a Secret, its owner being gone.
pub fn collectable(model: &Operator, state: &State, place: usize) -> bool {
    let owned = model.start != Start::Retained && matches!(state.secrets[place], Stored::Ours(..));
    owned && state.object.is_none()
}
