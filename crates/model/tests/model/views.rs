//! What the planner is shown of a state.

use std::sync::Arc;

use oat_operator::{
    api::{
        names::{ClusterId, Identity, Marker, OrgName},
        token::{LastHandled, TokenSpec},
        valid::{self, Wanted},
    },
    plan::{self, Account, Decision, List, Organization, Remembered, Secret, View},
};
use serde_json::json;

use super::{
    operator::Operator,
    tables::{Shared, hash_of},
    world::{EMPTY, Object, Start, State, Stored, Token, before, created, id, key, time, value},
};

/// The names of things, and the specs that users switch between.
#[derive(Clone)]
pub struct Names {
    /// By (active, shape, named).
    specs: Vec<Wanted>,
    shapes: [String; 3],
    /// By the name that the spec had; last, that of a placeholder.
    layouts: [String; 3],
    cluster: ClusterId,
    identity: Identity,
    organization: OrgName,
    /// The token that is to be taken over; 0 for none.
    pub adopts: u8,
}

/// The label of a token that is to be taken over: the same that the object's own tokens have.
const ADOPTED: &str = "payments/pull";

impl Names {
    pub fn new(start: Start) -> Self {
        let verification = if start == Start::Trusting { "None" } else { "Registry" };
        let adopt = match start {
            Start::Adopting => json!({"label": ADOPTED}),
            Start::AdoptingById => json!({"id": id(1).as_str()}),
            _ => json!(null),
        };
        let organization = OrgName::parse("acme").unwrap();
        let (policy, tokens) = match start {
            Start::Retained => ("Retain", "Retain"),
            Start::Deactivating => ("Retain", "Deactivate"),
            _ => ("Delete", "Delete"),
        };
        let mut specs = Vec::new();
        for active in [false, true] {
            for shape in 0..3 {
                for named in 0..2 {
                    let spec: TokenSpec = serde_json::from_value(json!({
                        "active": active, "description": format!("shape {shape}"), "deletionPolicy": tokens,
                        "expiration": {"lifetime": "3h"}, "rotation": {"renewBefore": "1h", "overlap": "30m", "verification": verification},
                        "secret": {"name": key(named).name, "deletionPolicy": policy}, "adopt": adopt,
                    }))
                    .unwrap();
                    specs.push(valid::wanted(&spec, Some(&organization), "payments", "pull", &[]).unwrap());
                }
            }
        }
        Self {
            shapes: [0, 1, 2].map(|shape: usize| specs[shape * 2].shape_hash()),
            layouts: [0, 1, 2].map(|named: usize| {
                specs
                    .get(named)
                    .filter(|_| named < 2)
                    .map_or(String::new(), |spec| spec.secret.layout_hash(&organization))
            }),
            adopts: u8::from(start.adopts()),
            specs,
            cluster: ClusterId::parse("c1").unwrap(),
            identity: Identity::of("OrganizationAccessToken", "payments", "pull"),
            organization,
        }
    }

    fn wanted(&self, object: &Object) -> &Wanted {
        &self.specs[usize::from(object.active) * 6 + usize::from(object.shape) * 2 + usize::from(object.named)]
    }

    /// The number of the description whose hash this is.
    pub fn shape(&self, hash: &str) -> u8 {
        self.shapes.iter().position(|known| known == hash).unwrap() as u8
    }

    fn label(&self, sequence: u8, marked: bool) -> String {
        let user = &self.specs[0].label;
        let (cluster, identity) = (self.cluster.clone(), self.identity.clone());
        let marker = Marker { cluster, identity, sequence: sequence.into() };
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
            shape_hash: self.shapes[usize::from(token.shape)].clone(),
            expiry: "10800s".into(),
        }
    }

    pub fn layout(&self, named: u8) -> String {
        self.layouts[usize::from(named)].clone()
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

    /// What Docker Hub says of a token that it is asked for by its id.
    pub fn found(&self, token: &Token) -> plan::Token {
        plan::Token { shape: Some(self.shapes[usize::from(token.shape)].clone()), ..self.listed(token) }
    }

    pub fn stored(&self, stored: Stored) -> plan::SecretState {
        match stored {
            Stored::Absent => plan::SecretState::Absent,
            Stored::Foreign => plan::SecretState::Foreign,
            Stored::Ours(sequence, of, named) => plan::SecretState::Ours(self.held(sequence, of, named)),
        }
    }

    pub fn held(&self, sequence: u8, of: u8, named: u8) -> plan::Held {
        plan::Held {
            sequence: sequence.into(),
            value_hash: (of != EMPTY).then(|| value(of)),
            layout_hash: self.layout(named),
        }
    }
}

impl Operator {
    /// The view that the next step works on.
    pub fn view(&self, state: &State) -> Option<Shared<View>> {
        match &state.process.pass {
            Some(view) => Some(view.clone()),
            None => self.observe(state),
        }
    }

    /// What is decided on a view.
    pub fn decision(&self, view: &Shared<View>, tick: u8) -> Arc<Decision> {
        self.seen.decisions.ask(view.mark() ^ u64::from(tick) << 56, || {
            let decision = (self.decide)(view.get(), time(tick));
            if let Decision::Step(step) = &decision {
                self.seen.steps.lock().unwrap().insert(step.name());
            }
            Arc::new(decision)
        })
    }

    /// What a new pass sees.
    pub fn observe(&self, state: &State) -> Option<Shared<View>> {
        let process = &state.process;
        let object = match &process.store.behind {
            Some(behind) => behind.as_ref()?,
            None => state.object.as_ref()?,
        };
        let secrets = process.store.secrets.map(|(stored, _)| stored);
        let mark = hash_of(&(
            object,
            secrets,
            &process.memo,
            &process.list,
            process.fresh,
            process.stale,
            process.settled,
            state.tick,
        ));
        Some(self.seen.views.ask(mark, || Shared::new(self.gather(state, object))))
    }

    fn gather(&self, state: &State, object: &Object) -> View {
        let (now, process, names) = (time(state.tick), &state.process, &self.names);
        let (mut session, hand) = process.memo.get().clone();
        if process.settled {
            session.since = before(now, 700_000_000_000);
        }
        // A minute is nothing to the rules, but where there is no place.
        let age = if process.stale { 61_000_000_000 } else { 0 };
        session.fresh_after = before(now, age + 2);
        let started = before(now, age + if process.fresh { 1 } else { 3 });
        let request = |number: u8| (number > 0).then(|| number.to_string());
        let requests = LastHandled { trigger: None, rotate: request(object.rotate), revoke: request(object.revoke) };
        let secret = |number: usize| Secret {
            key: key(number),
            wanted: self.wants(object, number),
            state: names.stored(process.store.secrets[number].0),
            failure: None,
        };
        let concerns = |secret: &Secret| secret.wanted || matches!(secret.state, plan::SecretState::Ours(_));
        let (total, tokens) = process.list.get().clone();
        let mut view = View {
            object: plan::Object {
                uid: "uid".into(),
                cluster: names.cluster.clone(),
                identity: names.identity.clone(),
                generation: i64::from(object.active) + 2 * i64::from(object.shape) + 8 * i64::from(object.named),
                deleting: object.deleting.then(|| time(0)),
                finalizer: object.finalizer,
                wanted: Ok(names.wanted(object).clone()),
                requests,
                observed: true,
                rival: None,
            },
            memory: object.memory.get().clone(),
            organization: Organization::Known(Account {
                name: names.organization.clone(),
                limit: u32::from(self.limit.unwrap_or(100)) + u32::from(self.exaggerated),
                reserved: u32::from(self.start == Start::New && self.limit.is_some_and(|limit| limit > 2)),
                adoptable: true,
                suspended: false,
                list: Some(List { started, total, steady: started, tokens }),
                trouble: None,
            }),
            secrets: [0, 1].map(secret).into_iter().filter(concerns).collect(),
            hand,
            session,
        };
        view.see_current();
        view
    }
}
