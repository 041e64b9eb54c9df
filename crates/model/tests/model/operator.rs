//! The model: a configuration, a planner, and what each action does to the world.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use oat_operator::plan::{self, Decision, Memory, Session, View};
use stateright::{Model, Property};

use super::{
    apply, flying, rules,
    tables::{Shared, Table, hash_of},
    views::Names,
    world::{Action, Budget, HOUR, Known, Listed, Object, Process, Start, State, Store, Stored, Token},
};

/// What was worked out, and what happened in any state.
#[derive(Default)]
pub struct Seen {
    pub steps: Mutex<BTreeSet<&'static str>>,
    /// Steps with what they were taken on and what came of them, in the planner's words.
    pub edges: Mutex<BTreeSet<String>>,
    /// Whether a state comes to rest by itself, and as wanted.
    pub settles: Table<Result<(), &'static str>>,
    pub views: Table<Shared<View>>,
    pub decisions: Table<Arc<Decision>>,
    pub absorbed: Table<apply::After>,
    pub lists: Table<Shared<Listed>>,
}

/// What the code around the planner could do wrong: each must be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// None of these.
    No,
    /// A Secret is written however it is now.
    WritesAnyway,
    /// A Secret that isn't there is applied, not created.
    AppliesFirst,
    /// A status is written however the object is now.
    RemembersAnyway,
    /// A lost create is sent again by some layer.
    RepeatsCreate,
}

/// The model: a configuration and a planner.
pub struct Operator {
    pub start: Start,
    pub budget: Budget,
    /// How many tokens the organization may have. `None`: more than ever matter.
    pub limit: Option<u8>,
    pub decide: fn(&View, Timestamp) -> Decision,
    pub flaw: Flaw,
    pub seen: Arc<Seen>,
    pub names: Names,
}

impl Operator {
    pub fn new(start: Start, budget: Budget) -> Self {
        let names = Names::new(start == Start::Retained);
        Self { start, budget, limit: None, decide: plan::decide, flaw: Flaw::No, seen: Arc::default(), names }
    }

    /// What a list that begins now shows of the object: what carries its marker, and what it remembers.
    pub fn list(&self, state: &State, memory: Option<&Shared<Memory>>) -> Shared<Listed> {
        let total = if self.limit.is_some() { state.tokens.len() as u32 + u32::from(state.foreign) } else { 0 };
        let shown = |token: &Token| (token.number, token.sequence, token.marked, token.active, token.made);
        let shown: Vec<_> = state.tokens.iter().map(shown).collect();
        let mark = hash_of(&(total, shown, memory));
        self.seen.lists.ask(mark, || {
            let remembered: Vec<_> = memory.iter().flat_map(|memory| remembered(memory.get())).collect();
            let ours = state.tokens.iter().filter(|token| token.marked || remembered.contains(&token.number));
            let tokens = ours.map(|token| (super::world::id(token.number), self.names.listed(token)));
            Shared::new((total, tokens.collect::<BTreeMap<_, _>>()))
        })
    }

    /// Whether the organization has no place left.
    pub fn full(&self, state: &State) -> bool {
        self.limit.is_some_and(|limit| state.tokens.len() + usize::from(state.foreign) >= usize::from(limit))
    }

    /// Whether the object asks for this Secret.
    pub fn wants(&self, object: &Object, number: usize) -> bool {
        self.start == Start::Two || usize::from(object.named) == number
    }

    /// A new process in a new term.
    pub fn restart(&self, state: &mut State, warm: bool) {
        let memory = state.object.as_ref().map(|object| &object.memory);
        let list = if warm { self.list(state, memory) } else { Shared::new((0, BTreeMap::new())) };
        state.tokens.iter_mut().for_each(|token| token.old = true);
        let store = state.standby.take().unwrap_or_else(|| state.now());
        let memo = Shared::new((new_session(), None));
        state.process = Process { memo, list, fresh: false, store, pass: None, sent: 0 };
    }

    fn initial(&self) -> State {
        let sequence = match self.start {
            Start::New => None,
            Start::Restored => Some(3),
            Start::Settled | Start::Two | Start::Retained => Some(1),
        };
        let token = sequence.map(|sequence| Token {
            number: 1,
            sequence,
            marked: true,
            active: true,
            shape: 0,
            made: 0,
            proved: true,
            published: true,
            replaced: None,
            old: true,
            late: false,
            doomed: false,
        });
        let settled = token.as_ref().filter(|_| self.start != Start::Restored);
        let memory = Memory { token: settled.map(|token| self.names.remembered(token)), ..Memory::default() };
        let stored = settled.map_or(Stored::Absent, |_| Stored::Ours(1, 1, 0));
        let both = self.start == Start::Two;
        let nothing = Store { behind: None, current: true, secrets: [(Stored::Absent, Known::Nothing); 2] };
        let mut state = State {
            tick: 0,
            object: Some(Object {
                active: true,
                shape: 0,
                named: 0,
                rotate: 0,
                revoke: 0,
                deleting: false,
                finalizer: settled.is_some(),
                memory: Shared::new(memory),
            }),
            secrets: [stored, if both { stored } else { Stored::Absent }],
            posted: [false; 2],
            tokens: token.into_iter().collect(),
            foreign: u8::from(self.limit.is_some()),
            flying: Vec::new(),
            process: Process {
                memo: Shared::new((new_session(), None)),
                list: Shared::new((0, BTreeMap::new())),
                fresh: false,
                store: nothing,
                pass: None,
                sent: 0,
            },
            standby: None,
            left: self.budget,
            made: 1,
            deleted: 0,
            broken: None,
        };
        self.restart(&mut state, true);
        state
    }

    /// Whether the organization's client would learn something by listing.
    pub fn can_poll(&self, state: &State) -> bool {
        let memory = state.object.as_ref().map(|object| &object.memory);
        state.object.is_some() && state.process.pass.is_none() && self.list(state, memory) != state.process.list
    }
}

/// The tokens that a status names.
fn remembered(memory: &Memory) -> impl Iterator<Item = u8> {
    let previous = memory.previous.iter().map(|previous| &previous.id);
    memory.token.iter().map(|token| &token.id).chain(previous).map(super::world::number)
}

fn new_session() -> Session {
    Session {
        // Twins and the daily inspection are for the tables of cases.
        since: Timestamp::MAX,
        fresh_after: Timestamp::MIN,
        tried: 0,
        failure: None,
        gone: None,
        lost: BTreeSet::new(),
        seen: None,
        touched: BTreeSet::new(),
        inspected: Timestamp::MAX,
        tolerated: None,
        abandon_after: Duration::from_secs(600 * HOUR),
    }
}

impl Model for Operator {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.initial()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        actions.extend(apply::ways(self, state).into_iter().map(Action::Step));
        let left = &state.left;
        let mut may = |budget: u8, action: Action| {
            if budget > 0 {
                actions.push(action);
            }
        };
        may(left.crash, Action::Restart { warm: true });
        may(left.crash, Action::Restart { warm: false });
        let lags = state.process.store.behind.is_some();
        may(left.lag * u8::from(!lags && state.object.is_some()), Action::Fall);
        may(left.lag.min(left.crash) * u8::from(state.standby.is_none()), Action::StandbyFalls);
        may(u8::from(lags), Action::Watch);
        if let Some(object) = state.object.as_ref().filter(|object| !object.deleting) {
            may(left.rotate, Action::Rotate);
            may(left.revoke, Action::Revoke);
            may(left.toggle, Action::Toggle);
            may(left.edit.min(2 - object.shape), Action::Edit);
            may(left.rename, Action::Rename);
            may(left.delete, Action::Delete);
        }
        for (number, stored) in state.secrets.iter().enumerate() {
            if matches!(stored, Stored::Ours(..)) {
                may(left.secret, Action::DropSecret(number));
                may(left.secret, Action::ChangeSecret(number));
            }
            may(u8::from(flying::collectable(self, state, number)), Action::Collect(number));
        }
        for (place, token) in state.tokens.iter().enumerate() {
            may(left.hub, Action::DropToken(place));
            may(left.hub.min(token.active.into()), Action::Deactivate(place));
        }
        may(left.places * u8::from(!self.full(state)), Action::Take);
        may(left.places.min(state.foreign), Action::Free);
        may(u8::from(self.can_poll(state)), Action::Poll);
        (0..state.flying.len()).for_each(|place| may(1, Action::Land(place)));
        may(left.tick, Action::Tick);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Step(how) => apply::step(self, &mut state, how)?,
            other => self.happens(&mut state, other),
        }
        state.sync();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        rules::all()
    }
}

impl Operator {
    /// What is none of the operator's doing.
    pub fn happens(&self, state: &mut State, action: Action) {
        let left = &mut state.left;
        match action {
            Action::Step(_) => {}
            Action::Restart { warm } => {
                left.crash -= 1;
                self.restart(state, warm);
            }
            Action::Fall => {
                left.lag -= 1;
                state.process.store.behind = Some(state.object.clone());
            }
            Action::StandbyFalls => {
                left.lag -= 1;
                state.standby = Some(Store { behind: Some(state.object.clone()), ..state.now() });
            }
            Action::Watch => state.process.store.behind = None,
            Action::Poll => {
                let memory = state.object.as_ref().map(|object| &object.memory);
                state.process.list = self.list(state, memory);
                state.process.fresh = true;
            }
            Action::Land(place) => flying::land(self, state, place),
            Action::Collect(place) => state.wrote_secret(place, Stored::Absent),
            Action::Tick => (left.tick, state.tick) = (left.tick - 1, state.tick + 1),
            Action::DropSecret(place) => {
                left.secret -= 1;
                state.wrote_secret(place, Stored::Absent);
            }
            Action::ChangeSecret(place) => {
                left.secret -= 1;
                if let Stored::Ours(sequence, _, named) = state.secrets[place] {
                    state.wrote_secret(place, Stored::Ours(sequence, 0, named));
                }
            }
            Action::DropToken(place) => {
                left.hub -= 1;
                state.tokens.remove(place);
            }
            Action::Deactivate(place) => {
                left.hub -= 1;
                state.tokens[place].active = false;
            }
            Action::Take => (left.places, state.foreign) = (left.places - 1, state.foreign + 1),
            Action::Free => (left.places, state.foreign) = (left.places - 1, state.foreign - 1),
            edit => edited(state, edit),
        }
    }
}

/// What users do to the object.
fn edited(state: &mut State, action: Action) {
    let (Some(object), left) = (&mut state.object, &mut state.left) else { return };
    match action {
        Action::Rotate => (object.rotate, left.rotate) = (object.rotate + 1, left.rotate - 1),
        Action::Revoke => {
            (object.revoke, left.revoke) = (object.revoke + 1, left.revoke - 1);
            state.tokens.iter_mut().for_each(|token| token.doomed = true);
        }
        Action::Toggle => (object.active, left.toggle) = (!object.active, left.toggle - 1),
        Action::Edit => (object.shape, left.edit) = (object.shape + 1, left.edit - 1),
        Action::Rename => (object.named, left.rename) = (1 - object.named, left.rename - 1),
        _ => (object.deleting, left.delete) = (true, left.delete - 1),
    }
    if !object.finalizer && object.deleting {
        state.object = None;
    }
    state.wrote_object();
}
