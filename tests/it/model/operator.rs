//! The model: a configuration, a planner, and what each action does to the world.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use oat_operator::{
    api::{
        names::{ClusterId, Identity, OrgName, TokenId},
        token::{LastHandled, TokenSpec},
        valid::{self, Wanted},
    },
    plan::{self, Account, Decision, List, Memory, Organization, Remembered, Secret, Session, View},
};
use serde_json::json;
use stateright::{Model, Property};

use super::{
    apply, rules,
    world::{
        Action, Budget, HOUR, Object, Process, Shared, Start, State, Stored, Token, before, created, id, key, time,
        value,
    },
};

/// What happened in any state, besides the states themselves.
#[derive(Default)]
pub struct Seen {
    pub steps: BTreeSet<&'static str>,
    /// Whether a state comes to rest by itself, and as wanted.
    pub settles: HashMap<u64, Result<(), &'static str>>,
    /// The last state whose decision was asked for: its steps and its end ask for the same.
    pub next: Option<(u64, Option<apply::Next>)>,
}

/// The model: a configuration and a planner.
pub struct Operator {
    pub start: Start,
    pub budget: Budget,
    pub decide: fn(&View, Timestamp) -> Decision,
    pub seen: Arc<Mutex<Seen>>,
    /// The specs that users switch between, by (active, shape, named).
    specs: Vec<Wanted>,
    cluster: ClusterId,
    identity: Identity,
    organization: OrgName,
}

impl Operator {
    pub fn new(start: Start, budget: Budget) -> Self {
        let organization = OrgName::parse("acme").unwrap();
        let mut specs = Vec::new();
        for active in [false, true] {
            for shape in 0..3 {
                for named in 0..2 {
                    let policy = if start == Start::Retained { "Retain" } else { "Delete" };
                    let spec: TokenSpec = serde_json::from_value(json!({
                        "active": active, "description": format!("shape {shape}"), "deletionPolicy": policy,
                        "expiration": {"lifetime": "3h"}, "rotation": {"renewBefore": "1h", "overlap": "30m"},
                        "secret": {"name": key(named).name, "deletionPolicy": policy.replace("Deactivate", "Delete")},
                    }))
                    .unwrap();
                    specs.push(valid::wanted(&spec, Some(&organization), "payments", "pull", &[]).unwrap());
                }
            }
        }
        Self {
            start,
            budget,
            decide: plan::decide,
            seen: Arc::default(),
            specs,
            cluster: ClusterId::parse("c1").unwrap(),
            identity: Identity::of("OrganizationAccessToken", "payments", "pull"),
            organization,
        }
    }

    pub fn wanted(&self, object: &Object) -> &Wanted {
        &self.specs[usize::from(object.active) * 6 + usize::from(object.shape) * 2 + usize::from(object.named)]
    }

    fn shape_hash(&self, shape: u8) -> String {
        self.specs[usize::from(shape) * 2].shape_hash()
    }

    /// The number of the description whose hash this is.
    pub fn shape(&self, hash: &str) -> u8 {
        (0..3).find(|shape| self.shape_hash(*shape) == hash).unwrap()
    }

    pub fn label(&self, sequence: u8, marked: bool) -> String {
        let user = &self.specs[0].label;
        let marker = oat_operator::api::names::Marker {
            cluster: self.cluster.clone(),
            identity: self.identity.clone(),
            sequence: sequence.into(),
        };
        if marked { marker.label(user) } else { user.to_string() }
    }

    pub fn remembered(&self, token: &Token) -> Remembered {
        Remembered {
            id: id(token.number),
            label: self.label(token.sequence, true),
            sequence: token.sequence.into(),
            created: Some(created(token.made)),
            expires: Some(time(token.made + 3)),
            active: token.active,
            last_used: None,
            value_hash: value(token.number),
            shape_hash: self.shape_hash(token.shape),
            expiry: "10800s".into(),
        }
    }

    pub fn layout(&self, named: u8) -> String {
        self.specs[usize::from(named)].secret.layout_hash(&self.organization)
    }

    pub fn listed(&self, token: &Token) -> plan::Token {
        plan::Token {
            label: self.label(token.sequence, token.marked),
            sequence: token.marked.then_some(token.sequence.into()),
            active: token.active,
            expires: Some(time(token.made + 3)),
            last_used: None,
            shape: None,
        }
    }

    /// What a list that begins now shows of the object: what carries its marker, and what it remembers.
    pub fn list(&self, state: &State, memory: Option<&Memory>) -> BTreeMap<TokenId, plan::Token> {
        let remembered = |number: u8| {
            memory.is_some_and(|memory| {
                let previous = memory.previous.iter().map(|previous| &previous.id);
                memory.token.iter().map(|token| &token.id).chain(previous).any(|found| *found == id(number))
            })
        };
        let ours = state.tokens.iter().filter(|token| token.marked || remembered(token.number));
        ours.map(|token| (id(token.number), self.listed(token))).collect()
    }

    fn stored(&self, number: usize, stored: Stored) -> plan::SecretState {
        match stored {
            Stored::Absent => plan::SecretState::Absent,
            Stored::Foreign => plan::SecretState::Foreign,
            Stored::Ours(sequence, of, named) => plan::SecretState::Ours(plan::Held {
                sequence: sequence.into(),
                value_hash: Some(value(of)),
                layout_hash: if number < 2 { self.layout(named) } else { String::new() },
            }),
        }
    }

    /// What a new pass sees.
    pub fn observe(&self, state: &State) -> Option<View> {
        let object = state.object.as_ref()?;
        let now = time(state.tick);
        let process = &state.process;
        let (mut session, hand) = process.memo.get().clone();
        session.fresh_after = before(now, 2);
        let started = before(now, if process.fresh { 1 } else { 3 });
        let request = |number: u8| (number > 0).then(|| number.to_string());
        let requests = LastHandled { trigger: None, rotate: request(object.rotate), revoke: request(object.revoke) };
        let secret = |number: usize| Secret {
            key: key(number),
            wanted: self.wants(object, number),
            state: self.stored(number, process.seen[number]),
            failure: None,
        };
        let concerns = |secret: &Secret| secret.wanted || matches!(secret.state, plan::SecretState::Ours(_));
        let mut view = View {
            object: plan::Object {
                uid: "uid".into(),
                cluster: self.cluster.clone(),
                identity: self.identity.clone(),
                generation: i64::from(object.active) + 2 * i64::from(object.shape) + 8 * i64::from(object.named),
                deleting: object.deleting.then(|| time(0)),
                finalizer: object.finalizer,
                wanted: Ok(self.wanted(object).clone()),
                requests,
                observed: true,
                rival: None,
            },
            memory: object.memory.get().clone(),
            organization: Organization::Known(Account {
                name: self.organization.clone(),
                limit: 100,
                reserved: 0,
                adoptable: true,
                suspended: false,
                list: Some(List { started, total: 0, tokens: process.list.get().clone() }),
                trouble: None,
            }),
            secrets: [0, 1].map(secret).into_iter().filter(concerns).collect(),
            hand,
            session,
        };
        view.see_current();
        Some(view)
    }

    /// Whether the object asks for this Secret.
    pub fn wants(&self, object: &Object, number: usize) -> bool {
        self.start == Start::Two || usize::from(object.named) == number
    }

    /// What the process remembers from a view.
    pub fn keep(&self, state: &mut State, view: &View) {
        let mut session = view.session.clone();
        let Organization::Known(account) = &view.organization else { return };
        let Some(list) = &account.list else { return };
        state.process.fresh = list.started > session.fresh_after;
        if *state.process.list.get() != list.tokens {
            state.process.list = Shared::new(list.tokens.clone());
        }
        // Times of the same tick are the same; the next pass begins when the wait is over.
        session.fresh_after = Timestamp::MIN;
        if let Some(failure) = &mut session.failure {
            failure.not_before = time(state.tick);
            while failure.count > 2 {
                failure.count -= 2;
            }
        }
        state.process.memo = Shared::new((session, view.hand.clone()));
    }

    /// A new process in a new term.
    pub fn restart(&self, state: &mut State, warm: bool) {
        let memory = state.object.as_ref().map(|object| object.memory.get().clone());
        let list = if warm { self.list(state, memory.as_ref()) } else { BTreeMap::new() };
        state.tokens.iter_mut().for_each(|token| token.old = true);
        state.process = Process {
            memo: Shared::new((new_session(), None)),
            list: Shared::new(list),
            fresh: false,
            seen: state.secrets,
            pass: None,
            sent: 0,
        };
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
        });
        let settled = token.as_ref().filter(|_| self.start != Start::Restored);
        let memory = Memory { token: settled.map(|token| self.remembered(token)), ..Memory::default() };
        let stored = settled.map_or(Stored::Absent, |_| Stored::Ours(1, 1, 0));
        let both = self.start == Start::Two;
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
            tokens: token.into_iter().collect(),
            flying: Vec::new(),
            process: Process {
                memo: Shared::new((new_session(), None)),
                list: Shared::new(BTreeMap::new()),
                fresh: false,
                seen: [Stored::Absent; 2],
                pass: None,
                sent: 0,
            },
            left: self.budget,
            made: 1,
            deleted: 0,
            broken: None,
        };
        self.restart(&mut state, true);
        state
    }
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
        }
        for (place, token) in state.tokens.iter().enumerate() {
            may(left.hub, Action::DropToken(place));
            may(left.hub.min(token.active.into()), Action::Deactivate(place));
        }
        let memory = state.object.as_ref().map(|object| object.memory.get());
        let differs = self.list(state, memory) != *state.process.list.get();
        may(u8::from(state.object.is_some() && state.process.pass.is_none() && differs), Action::Poll);
        (0..state.flying.len()).for_each(|place| may(1, Action::Commit(place)));
        may(left.tick, Action::Tick);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Step(how) => apply::step(self, &mut state, how)?,
            other => self.happens(&mut state, other),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        rules::all()
    }
}

impl Operator {
    /// What is none of the operator's doing.
    pub fn happens(&self, state: &mut State, action: Action) {
        match action {
            Action::Step(_) => {}
            Action::Restart { warm } => {
                state.left.crash -= 1;
                self.restart(state, warm);
            }
            Action::Poll => {
                let memory = state.object.as_ref().map(|object| object.memory.get());
                state.process.list = Shared::new(self.list(state, memory));
                state.process.fresh = true;
            }
            Action::Commit(place) => {
                let flying = state.flying.remove(place);
                apply::commit(state, flying.sequence, flying.shape, true);
            }
            Action::Tick => {
                state.left.tick -= 1;
                state.tick += 1;
            }
            Action::DropSecret(place) => {
                state.left.secret -= 1;
                state.secrets[place] = Stored::Absent;
            }
            Action::ChangeSecret(place) => {
                state.left.secret -= 1;
                if let Stored::Ours(_, of, _) = &mut state.secrets[place] {
                    *of = 0;
                }
            }
            Action::DropToken(place) => {
                state.left.hub -= 1;
                state.tokens.remove(place);
            }
            Action::Deactivate(place) => {
                state.left.hub -= 1;
                state.tokens[place].active = false;
            }
            edit => self.edit(state, edit),
        }
        if state.process.pass.is_none() {
            state.process.seen = state.secrets;
        }
    }

    /// What users do to the object.
    fn edit(&self, state: &mut State, action: Action) {
        let (Some(object), left) = (&mut state.object, &mut state.left) else { return };
        match action {
            Action::Rotate => (object.rotate, left.rotate) = (object.rotate + 1, left.rotate - 1),
            Action::Revoke => (object.revoke, left.revoke) = (object.revoke + 1, left.revoke - 1),
            Action::Toggle => (object.active, left.toggle) = (!object.active, left.toggle - 1),
            Action::Edit => (object.shape, left.edit) = (object.shape + 1, left.edit - 1),
            Action::Rename => (object.named, left.rename) = (1 - object.named, left.rename - 1),
            _ => (object.deleting, left.delete) = (true, left.delete - 1),
        }
        if !object.finalizer && object.deleting {
            state.object = None;
        }
        if let Some((_, stale)) = &mut state.process.pass {
            *stale = true;
        }
    }
}
