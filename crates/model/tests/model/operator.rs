//! The model: a configuration, a planner, and what each action does to the world.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use oat_operator::plan::{self, Decision, Drift, Memory, Session, View};
use stateright::{Model, Property};

use super::{
    apply, flying, rules,
    tables::{Shared, Table, hash_of},
    views::Names,
    world::{
        Action, Budget, EMPTY, Flying, HOUR, Known, Listed, Object, Posted, Process, Start, State, Store, Stored,
        Token, number,
    },
};

/// What was worked out, and what happened in any state.
pub struct Seen {
    pub steps: Mutex<BTreeSet<&'static str>>,
    /// Steps with what they were taken on and what came of them, in the planner's words.
    pub edges: Mutex<BTreeSet<String>>,
    /// The states that come to rest by themselves, and as wanted.
    pub settles: Table<()>,
    pub views: Table<Shared<View>>,
    pub decisions: Table<Arc<Decision>>,
    pub absorbed: Table<apply::After>,
    pub lists: Table<Shared<Listed>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            steps: Mutex::default(),
            edges: Mutex::default(),
            settles: Table::small(),
            views: Table::large(),
            decisions: Table::large(),
            absorbed: Table::large(),
            lists: Table::large(),
        }
    }
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
    /// Who begins to lead relies on what its watches have shown, however far they are behind.
    LeadsBehind,
}

/// What a list depends on.
struct Asked<'a> {
    total: u32,
    tokens: &'a [Token],
    memory: Option<&'a Shared<Memory>>,
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.total, self.memory).hash(state);
        for token in self.tokens {
            (token.number, token.sequence, token.marked, token.active, token.made).hash(state);
        }
    }
}

/// The model: a configuration and a planner.
#[derive(Clone)]
pub struct Operator {
    pub start: Start,
    pub budget: Budget,
    /// How many tokens the organization may have. `None`: more than ever matter.
    pub limit: Option<u8>,
    /// How many more the operator was told.
    pub exaggerated: u8,
    pub decide: fn(&View, Timestamp) -> Decision,
    pub flaw: Flaw,
    /// After how many states it is cut off, if it may be.
    pub most: Option<usize>,
    pub seen: Arc<Seen>,
    pub names: Names,
}

impl Operator {
    pub fn new(start: Start, budget: Budget) -> Self {
        let names = Names::new(start);
        Self {
            start,
            budget,
            limit: None,
            exaggerated: 0,
            decide: plan::decide,
            flaw: Flaw::No,
            most: None,
            seen: Arc::default(),
            names,
        }
    }

    /// What a list that begins now shows of the object: what carries its marker, and what it remembers.
    pub fn list(&self, state: &State, memory: Option<&Shared<Memory>>) -> Shared<Listed> {
        let total = if self.limit.is_some() { state.tokens.len() as u32 + u32::from(state.foreign) } else { 0 };
        let mark = hash_of(&Asked { total, tokens: &state.tokens, memory });
        self.seen.lists.ask(mark, || {
            let remembered: Vec<_> = memory.iter().flat_map(|memory| remembered(memory.get())).collect();
            let meant = |token: &&Token| {
                token.marked || token.number == self.names.adopts || remembered.contains(&token.number)
            };
            let ours = state.tokens.iter().filter(meant);
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
        // Whoever begins to lead lists anew, whatever its watches have shown.
        let store = state.standby.take().unwrap_or_else(|| state.now());
        let memo = Shared::new((new_session(), None));
        state.flying.iter_mut().for_each(|write| {
            if let Flying::Create { former, .. } | Flying::Update { former, .. } = write {
                *former = true;
            }
        });
        state.process = Process { memo, list, fresh: warm, stale: false, settled: false, store, pass: None, sent: 0 };
    }

    fn initial(&self) -> State {
        let sequence = match self.start {
            Start::New | Start::Trusting => None,
            Start::Adopting | Start::AdoptingById => Some(0),
            Start::Restored | Start::Kept => Some(3),
            Start::Settled | Start::Two | Start::Retained | Start::Deactivating => Some(1),
        };
        let token = sequence.map(|sequence| Token {
            number: 1,
            sequence,
            marked: sequence > 0,
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
        let forgotten = matches!(self.start, Start::Restored | Start::Kept) || self.start.adopts();
        let settled = token.as_ref().filter(|_| !forgotten);
        let memory = Memory { token: settled.map(|token| self.names.remembered(token)), ..Memory::default() };
        let stored = match self.start {
            // A Secret of an object that is gone is written anew.
            Start::Kept => Stored::Ours(3, 1, 2),
            _ => settled.map_or(Stored::Absent, |_| Stored::Ours(1, 1, 0)),
        };
        let both = self.start == Start::Two;
        let nothing = Store { behind: None, current: true, secrets: [(Stored::Absent, Known::Nothing); 2] };
        let mut state = State {
            mark: 0,
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
            posted: [Posted::No; 2],
            tokens: token.into_iter().collect(),
            foreign: u8::from(self.limit.is_some()),
            flying: Vec::new(),
            process: Process {
                memo: Shared::new((new_session(), None)),
                list: Shared::new((0, BTreeMap::new())),
                fresh: false,
                stale: false,
                settled: false,
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
        state.sync();
        state
    }

    /// Whether the organization's client would learn something by listing.
    pub fn can_poll(&self, state: &State) -> bool {
        let memory = state.object.as_ref().map(|object| &object.memory);
        state.object.is_some() && state.process.pass.is_none() && self.list(state, memory) != state.process.list
    }
}

impl Operator {
    /// Whether ten minutes of the term may be over: what former leaders asked Docker Hub for has come to its end.
    pub fn can_settle(&self, state: &State) -> bool {
        let former =
            |write: &Flying| matches!(write, Flying::Create { former: true, .. } | Flying::Update { former: true, .. });
        let idle = state.object.is_some() && state.process.pass.is_none() && !state.process.settled;
        idle && !state.flying.iter().any(former)
    }

    /// A new list, and what the next pass makes of the tokens in it.
    fn poll(&self, state: &mut State) {
        let memory = state.object.as_ref().map(|object| &object.memory);
        state.process.list = self.list(state, memory);
        (state.process.fresh, state.process.stale) = (true, false);
        if let Some(view) = self.observe(state).filter(|_| state.process.settled) {
            let (mut session, hand) = state.process.memo.get().clone();
            session.seen.clone_from(&view.get().session.seen);
            state.process.memo = Shared::new((session, hand));
        }
    }

    /// Whether the current token's description is another one than is remembered: nobody knows until it is looked at.
    pub fn can_inspect(&self, state: &State) -> bool {
        let Some(object) = state.object.as_ref().filter(|_| state.process.pass.is_none()) else { return false };
        let token = object.memory.get().token.as_ref();
        let found = |of: &plan::Remembered| state.tokens.iter().find(|token| token.number == number(&of.id));
        let differs = token.and_then(|of| Some((of, found(of)?)));
        let differs = differs.is_some_and(|(of, found)| self.names.shape(&of.shape_hash) != found.shape);
        let session = &state.process.memo.get().0;
        differs && session.inspected == Timestamp::MAX && !matches!(session.drift, Drift::Tolerated(_))
    }
}

/// Whether the status names a token as the current one.
fn is_current(state: &State, token: &Token) -> bool {
    let memory = state.object.as_ref().map(|object| object.memory.get());
    memory.and_then(|memory| memory.token.as_ref()).is_some_and(|current| number(&current.id) == token.number)
}

/// The tokens that a status names.
fn remembered(memory: &Memory) -> impl Iterator<Item = u8> {
    let previous = memory.previous.iter().map(|previous| &previous.id);
    memory.token.iter().map(|token| &token.id).chain(previous).map(super::world::number)
}

fn new_session() -> Session {
    Session {
        // It begins when the view is made, or at the end of time: see `gather`.
        since: Timestamp::MAX,
        fresh_after: Timestamp::MIN,
        tried: 0,
        failure: None,
        gone: None,
        lost: BTreeSet::new(),
        seen: None,
        touched: BTreeSet::new(),
        inspected: Timestamp::MAX,
        drift: Default::default(),
        hoped: Timestamp::MIN,
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
        let relies = self.flaw == Flaw::LeadsBehind && state.standby.is_none();
        may(left.lag.min(left.crash) * u8::from(relies), Action::StandbyFalls);
        may(u8::from(lags), Action::Watch);
        if let Some(object) = state.object.as_ref().filter(|object| !object.deleting) {
            may(left.rotate, Action::Rotate);
            may(left.revoke, Action::Revoke);
            may(left.toggle, Action::Toggle);
            may(left.edit.min(2 - object.shape), Action::Edit);
            may(left.unbind.min(object.finalizer.into()), Action::Unbind);
            may(left.rename, Action::Rename);
            may(left.delete, Action::Delete);
        }
        for (number, stored) in state.secrets.iter().enumerate() {
            if matches!(stored, Stored::Ours(..)) {
                may(left.secret, Action::DropSecret(number));
                may(left.secret, Action::ChangeSecret(number));
                may(left.secret, Action::SpoilSecret(number));
            }
            may(left.squat * u8::from(*stored == Stored::Absent), Action::Squat(number));
            may(u8::from(flying::collectable(self, state, number)), Action::Collect(number));
        }
        for (place, token) in state.tokens.iter().enumerate() {
            may(left.hub, Action::DropToken(place));
            may(left.hub.min(token.active.into()), Action::Deactivate(place));
            may(left.hub * u8::from(token.marked && is_current(state, token)), Action::Unmark(place));
            may(left.reshape * u8::from(token.shape == 0), Action::Reshape(place));
        }
        may(left.places * u8::from(!self.full(state)), Action::Take);
        may(left.places.min(state.foreign), Action::Free);
        may(u8::from(self.can_poll(state)), Action::Poll);
        may(left.settle * u8::from(self.can_settle(state)), Action::Settle);
        may(u8::from(self.budget.reshape > 0 && self.can_inspect(state)), Action::Day);
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
            Action::Poll => self.poll(state),
            Action::Settle => {
                left.settle = left.settle.saturating_sub(1);
                state.process.settled = true;
                self.poll(state);
            }
            Action::Reshape(place) => {
                left.reshape -= 1;
                state.tokens[place].shape = 2;
            }
            Action::Day => {
                let (mut session, hand) = state.process.memo.get().clone();
                session.inspected = Timestamp::MIN;
                state.process.memo = Shared::new((session, hand));
            }
            Action::Land(place) => flying::land(self, state, place),
            Action::Collect(place) => state.wrote_secret(place, Stored::Absent),
            Action::Tick => {
                (left.tick, state.tick) = (left.tick - 1, state.tick + 1);
                state.process.stale = true;
            }
            Action::SpoilSecret(place) => {
                left.secret -= 1;
                if let Stored::Ours(sequence, _, named) = state.secrets[place] {
                    state.wrote_secret(place, Stored::Ours(sequence, EMPTY, named));
                }
            }
            Action::Squat(place) => {
                left.squat -= 1;
                state.wrote_secret(place, Stored::Foreign);
            }
            Action::Unmark(place) => {
                left.hub -= 1;
                state.tokens[place].marked = false;
            }
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
            // Before the first token there is nothing to revoke.
            let any = object.memory.get().token.is_some();
            state.tokens.iter_mut().for_each(|token| token.doomed |= any);
        }
        Action::Toggle => (object.active, left.toggle) = (!object.active, left.toggle - 1),
        Action::Unbind => (object.finalizer, left.unbind) = (false, left.unbind - 1),
        Action::Edit => (object.shape, left.edit) = (object.shape + 1, left.edit - 1),
        Action::Rename => (object.named, left.rename) = (1 - object.named, left.rename - 1),
        _ => (object.deleting, left.delete) = (true, left.delete - 1),
    }
    if !object.finalizer && object.deleting {
        // Nobody holds it up. What it leaves is the organization's to look after.
        state.tokens.iter_mut().for_each(|token| token.late = true);
        state.object = None;
    }
    state.wrote_object();
}
