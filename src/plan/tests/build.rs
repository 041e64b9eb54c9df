//! Views that read as sentences: `settled().rotate("now")`, `settled().secret_tampered().after(days(3))`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::say;
use crate::{
    api::{
        conditions::Reason,
        names::{ClusterId, Identity, Label, OrgName, ResourcePath, Scope, SecretName, TokenId},
        token::{DeletionPolicy, LastHandled, SecretType},
        valid::{Adoption, Expiry, FieldProblem, RenewBefore, Resource, RotationRules, SecretShape, Wanted},
        windows::Window,
    },
    plan::*,
};

/// When all cases happen, unless they say otherwise.
pub const NOW: &str = "2026-12-01T00:00:00Z";

pub fn now() -> Timestamp {
    at(NOW)
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn days(number: u64) -> Duration {
    hours(24 * number)
}

pub fn hours(number: u64) -> Duration {
    seconds(3600 * number)
}

pub fn minutes(number: u64) -> Duration {
    seconds(60 * number)
}

pub fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

pub fn ago(duration: Duration) -> Timestamp {
    schedule::minus(now(), duration)
}

pub fn ahead(duration: Duration) -> Timestamp {
    schedule::plus(now(), duration)
}

pub fn id(text: &str) -> TokenId {
    TokenId::parse(text).unwrap()
}

pub fn org() -> OrgName {
    OrgName::parse("acme").unwrap()
}

pub fn key(name: &str) -> SecretKey {
    SecretKey { namespace: "payments".into(), name: name.into() }
}

/// The spec of every case: all repositories, 90 days, a third before expiry, an hour of overlap.
pub fn wanted() -> Wanted {
    let scope = Scope::parse("scope-image-pull").unwrap();
    Wanted {
        label: Label::parse("pull").unwrap(),
        description: "pulls".into(),
        resources: vec![Resource::Repository(ResourcePath::parse("acme/*").unwrap(), vec![scope])],
        active: true,
        expiry: Expiry::After(days(90)),
        rotation: RotationRules {
            automatic: true,
            before: RenewBefore::Third,
            interval: None,
            overlap: hours(1),
            windows: Vec::new(),
            trigger: None,
            verify: true,
        },
        deletion: DeletionPolicy::Delete,
        adopt: None,
        secret: SecretShape {
            name: SecretName::parse("dockerhub").unwrap(),
            kind: SecretType::DockerConfigJson,
            registries: vec!["https://index.docker.io/v1/".into()],
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            retain: false,
        },
    }
}

/// Token `t<sequence>` of the object, made ten days ago.
pub fn remembered(sequence: u64) -> Remembered {
    Remembered {
        id: id(&format!("t{sequence}")),
        label: format!("pull [c1/{}.{sequence}]", identity()),
        sequence,
        created: Some(ago(days(10))),
        expires: Some(ahead(days(80))),
        active: true,
        last_used: None,
        value_hash: format!("value {sequence}"),
        shape_hash: wanted().shape_hash(),
        expiry: wanted().expiry.to_string(),
    }
}

/// The same token as the list shows it.
pub fn listed(sequence: u64) -> Token {
    let token = remembered(sequence);
    Token {
        label: token.label,
        sequence: Some(sequence),
        active: true,
        expires: token.expires,
        last_used: None,
        shape: None,
    }
}

pub fn held(sequence: u64) -> Held {
    Held { sequence, value_hash: Some(format!("value {sequence}")), layout_hash: wanted().secret.layout_hash(&org()) }
}

pub fn identity() -> Identity {
    Identity::of("OrganizationAccessToken", "payments", "pull")
}

pub fn trouble(reason: Reason) -> Trouble {
    Trouble { reason, message: "as told".into(), retry: None, uncertain: false }
}

/// A view and the time at which it is looked at.
#[derive(Clone, Debug)]
pub struct Case {
    pub view: View,
    pub now: Timestamp,
}

/// An object that the operator has never seen.
pub fn unseen() -> Case {
    let view = View {
        object: Object {
            uid: "uid-1".into(),
            cluster: ClusterId::parse("c1").unwrap(),
            identity: identity(),
            generation: 1,
            deleting: None,
            finalizer: false,
            wanted: Ok(wanted()),
            requests: LastHandled::default(),
            observed: true,
            rival: None,
        },
        memory: Memory::default(),
        organization: Organization::Known(Account {
            name: org(),
            limit: 10,
            reserved: 1,
            adoptable: true,
            suspended: false,
            list: Some(List { started: ago(minutes(1)), total: 3, steady: ago(minutes(1)), tokens: BTreeMap::new() }),
            trouble: None,
        }),
        secrets: vec![Secret { key: key("dockerhub"), wanted: true, state: SecretState::Absent, failure: None }],
        hand: None,
        session: Session {
            since: now(),
            fresh_after: ago(hours(1)),
            tried: 0,
            failure: None,
            gone: None,
            lost: BTreeSet::new(),
            seen: None,
            touched: BTreeSet::new(),
            // Not what most cases are about.
            inspected: Timestamp::MAX,
            drift: Default::default(),
            hoped: ago(hours(24 * 365)),
            abandon_after: minutes(10),
        },
    };
    Case { view, now: now() }
}

/// An object with our finalizer and nothing else.
pub fn fresh() -> Case {
    let mut case = unseen();
    case.view.object.finalizer = true;
    case
}

/// Token 1 was made ten days ago and is where it should be.
pub fn settled() -> Case {
    settled_at(1)
}

/// The same with a later token.
pub fn settled_at(sequence: u64) -> Case {
    fresh().memory(sequence).hub(sequence).secret_holds(sequence)
}

impl Case {
    pub fn answer(&self) -> String {
        say::decision(&decide(&self.view, self.now), self.now)
    }

    pub fn with(mut self, change: impl FnOnce(&mut View)) -> Self {
        change(&mut self.view);
        self
    }

    fn account(mut self, change: impl FnOnce(&mut Account)) -> Self {
        if let Organization::Known(account) = &mut self.view.organization {
            change(account);
        }
        self
    }

    pub fn list(self, change: impl FnOnce(&mut List)) -> Self {
        self.account(|account| account.list.iter_mut().for_each(change_once(change)))
    }

    pub fn spec(mut self, change: impl FnOnce(&mut Wanted)) -> Self {
        self.view.object.wanted.iter_mut().for_each(change_once(change));
        self
    }

    pub fn after(mut self, duration: Duration) -> Self {
        self.now = schedule::plus(self.now, duration);
        self
    }

    // The object.

    pub fn rotate(self, text: &str) -> Self {
        self.with(|view| view.object.requests.rotate = Some(text.into()))
    }

    pub fn revoke(self, text: &str) -> Self {
        self.with(|view| view.object.requests.revoke = Some(text.into()))
    }

    pub fn trigger(self, text: &str) -> Self {
        self.with(|view| view.object.requests.trigger = Some(text.into()))
    }

    pub fn handled(self, change: impl FnOnce(&mut LastHandled)) -> Self {
        self.with(|view| change(&mut view.memory.handled))
    }

    pub fn edited(self) -> Self {
        self.with(|view| view.object.generation += 1)
    }

    pub fn invalid(self) -> Self {
        let problem = FieldProblem { field: "spec.label".into(), message: "too long".into() };
        self.with(|view| view.object.wanted = Err(vec![problem]))
    }

    pub fn deleting(self, since: Duration) -> Self {
        self.with(|view| view.object.deleting = Some(ago(since)))
    }

    pub fn inactive(self) -> Self {
        self.spec(|wanted| wanted.active = false)
    }

    pub fn manual(self) -> Self {
        self.spec(|wanted| wanted.rotation.automatic = false)
    }

    pub fn deletion(self, policy: DeletionPolicy) -> Self {
        self.spec(|wanted| wanted.deletion = policy)
    }

    pub fn retain_secret(self) -> Self {
        self.spec(|wanted| wanted.secret.retain = true)
    }

    // The status.

    pub fn memory(self, sequence: u64) -> Self {
        self.with(|view| view.memory.token = Some(remembered(sequence)))
    }

    pub fn token(self, change: impl FnOnce(&mut Remembered)) -> Self {
        self.with(|view| view.memory.token.iter_mut().for_each(change_once(change)))
    }

    /// Token `sequence` was replaced and is due at this time; it is in the list.
    pub fn previous(self, sequence: u64, revocation: Timestamp) -> Self {
        let previous = Previous { id: remembered(sequence).id, sequence, revocation };
        self.hub(sequence).with(|view| view.memory.previous.push(previous))
    }

    // Docker Hub.

    pub fn hub(self, sequence: u64) -> Self {
        self.hub_as(&format!("t{sequence}"), sequence)
    }

    pub fn hub_as(self, name: &str, sequence: u64) -> Self {
        let name = id(name);
        self.list(|list| {
            list.tokens.insert(name, listed(sequence));
        })
    }

    pub fn hub_lacks(self, name: &str) -> Self {
        let name = id(name);
        self.list(|list| {
            list.tokens.remove(&name);
        })
    }

    pub fn at_hub(self, name: &str, change: impl FnOnce(&mut Token)) -> Self {
        let name = id(name);
        self.list(|list| change(list.tokens.get_mut(&name).unwrap()))
    }

    pub fn gone(self, name: &str) -> Self {
        let name = id(name);
        self.with(|view| view.session.gone = Some(name))
    }

    pub fn total(self, number: u32) -> Self {
        self.list(|list| list.total = number)
    }

    pub fn listed_ago(self, duration: Duration) -> Self {
        self.list(|list| list.started = ago(duration))
    }

    pub fn no_list(self) -> Self {
        self.account(|account| account.list = None)
    }

    pub fn suspended(self) -> Self {
        self.account(|account| account.suspended = true)
    }

    pub fn trouble(self, reason: Reason) -> Self {
        self.account(|account| account.trouble = Some(trouble(reason)))
    }

    pub fn trouble_until(self, reason: Reason, retry: Timestamp) -> Self {
        self.account(|account| account.trouble = Some(Trouble { retry: Some(retry), ..trouble(reason) }))
    }

    pub fn no_organization(self) -> Self {
        self.with(|view| view.organization = Organization::Missing("Organization acme does not exist".into()))
    }

    /// A token that somebody made by hand.
    pub fn hub_by_hand(self, name: &str, label: &str) -> Self {
        let name = id(name);
        let token = Token { label: label.into(), sequence: None, ..listed(1) };
        self.list(|list| {
            list.tokens.insert(name, token);
        })
    }

    pub fn adopts(self, adopt: Adoption) -> Self {
        self.spec(|wanted| wanted.adopt = Some(adopt))
    }

    /// The organization has no place left, by a list of just now.
    pub fn full(self) -> Self {
        self.full_for(seconds(0))
    }

    /// The same, and it has been so for this long when the list was read.
    pub fn full_for(self, duration: Duration) -> Self {
        self.list(|list| (list.total, list.started, list.steady) = (10, ago(seconds(1)), ago(seconds(1) + duration)))
    }

    pub fn windows(self, schedule: &str, duration: Duration) -> Self {
        let window = Window::parse(schedule, duration, "UTC").unwrap();
        self.spec(|wanted| wanted.rotation.windows.push(window))
    }

    // The Secrets.

    fn secret(self, change: impl FnOnce(&mut Secret)) -> Self {
        self.with(|view| change(&mut view.secrets[0]))
    }

    pub fn secret_holds(self, sequence: u64) -> Self {
        self.secret(|secret| secret.state = SecretState::Ours(held(sequence)))
    }

    pub fn secret_absent(self) -> Self {
        self.secret(|secret| secret.state = SecretState::Absent)
    }

    pub fn secret_foreign(self) -> Self {
        self.secret(|secret| secret.state = SecretState::Foreign)
    }

    /// Somebody changed the value in it.
    pub fn secret_tampered(self) -> Self {
        self.secret(|secret| {
            if let SecretState::Ours(held) = &mut secret.state {
                held.value_hash = Some("another value".into());
            }
        })
    }

    /// Its value is right, all else is not.
    pub fn secret_misshapen(self) -> Self {
        self.secret(|secret| secret.state = SecretState::Ours(Held { layout_hash: "another".into(), ..held(1) }))
    }

    /// All Secrets of ours are written as the spec wants them now.
    pub fn laid_out(self) -> Self {
        self.with(|view| {
            let Ok(wanted) = &view.object.wanted else { return };
            for secret in &mut view.secrets {
                if let SecretState::Ours(held) = &mut secret.state {
                    held.layout_hash = wanted.secret.layout_hash(&org());
                }
            }
        })
    }

    /// A Secret of ours that the spec doesn't ask for.
    pub fn also(self, name: &str, sequence: u64) -> Self {
        let secret = Secret { key: key(name), wanted: false, state: SecretState::Ours(held(sequence)), failure: None };
        self.with(|view| view.secrets.push(secret))
    }

    /// A second Secret that is wanted.
    pub fn second(self, state: SecretState) -> Self {
        let secret = Secret { key: key("second"), wanted: true, state, failure: None };
        self.with(|view| view.secrets.push(secret))
    }

    // The process.

    /// A token that was made just now, not proved.
    pub fn hand(self, sequence: u64) -> Self {
        let handled = self.view.object.requests.clone();
        let hand = Hand { token: remembered(sequence), handled, proved: false, refusals: 0 };
        self.hub(sequence).with(|view| view.hand = Some(hand))
    }

    pub fn hand_is(self, change: impl FnOnce(&mut Hand)) -> Self {
        self.with(|view| view.hand.iter_mut().for_each(change_once(change)))
    }

    pub fn proved(self, sequence: u64) -> Self {
        self.hand(sequence).hand_is(|hand| hand.proved = true)
    }

    pub fn tried(self, sequence: u64) -> Self {
        self.with(|view| view.session.tried = sequence)
    }

    /// The `count`th attempt in a row failed, and the next is not due for `wait`.
    pub fn failed(self, step: &str, reason: Reason, count: u32, wait: Duration) -> Self {
        let basis =
            (self.view.object.generation, self.view.object.requests.clone(), self.view.object.deleting.is_some());
        let not_before = schedule::plus(self.now, wait);
        let publishing = step == "publish";
        let failure = Failure { trouble: trouble(reason), count, not_before, full: None, publishing, basis };
        self.with(|view| view.session.failure = Some(failure))
    }
}

/// For one-element iterators: a change that runs once.
fn change_once<T>(change: impl FnOnce(&mut T)) -> impl FnMut(&mut T) {
    let mut change = Some(change);
    move |thing| {
        if let Some(change) = change.take() {
            change(thing);
        }
    }
}
