//! What the operator promises, looked at right after every request while the sandbox's time passes, and counted.
//!
//! It sees what the two servers hold: which values work, which windows are open. Never what the operator thinks of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use oat_sandbox::{
    hub::TokenView,
    journal::{Entry, Journal, Moment, Server},
};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use super::{Servers, open};
use crate::{
    api::{
        OWNER, OrganizationAccessToken, SEQUENCE,
        names::{Identity, Marker},
        token::RotationPolicy,
    },
    k8s::secrets,
};

/// Watches over the promises.
pub struct Promises {
    servers: Weak<Servers>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: Counts,
    /// The sequence that a Secret was last seen with, by its namespace and name.
    sequences: BTreeMap<String, u64>,
    /// Secrets that held a value which did not work, each once per value.
    dead: BTreeSet<String>,
    /// Rotations that no window was open for, and nothing else made needed.
    outside: Vec<String>,
    /// Whether rotations are told as they happen.
    tells: bool,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens made at Docker Hub.
    made: u64,
    /// Tokens deleted there.
    deleted: u64,
    /// How often a Secret got a newer token.
    rotations: u64,
    /// Rotations of objects with windows that lay in one of them.
    kept: u64,
    /// Rotations of objects with windows that could not wait: somebody asked, no token worked, or expiry was near.
    pressing: u64,
    /// How often an organization's tokens were listed.
    polls: u64,
    logins: u64,
}

/// What happened in a time, in lines for people; and what must not and did.
pub struct Summary {
    counts: Counts,
    dead: usize,
    outside: usize,
    /// Tokens with our marker that no object's status names.
    pub left: usize,
    pub broken: Vec<String>,
}

impl Promises {
    /// Looks at every request from now on.
    pub fn watch(servers: &Arc<Servers>, journal: &Journal) -> Arc<Self> {
        let promises = Arc::new(Self { servers: Arc::downgrade(servers), state: Mutex::default() });
        let watching = promises.clone();
        journal.witness(move |moment, entry| watching.see(moment, entry));
        promises
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on each rotation is told as it happens.
    pub fn tell(&self) {
        self.lock().tells = true;
    }

    fn see(&self, moment: Moment, entry: &Entry) {
        let Some(servers) = self.servers.upgrade() else { return };
        let Moment::Executed(..300) = moment else { return };
        let mut state = self.lock();
        if entry.user_agent.starts_with("oat-operator") {
            state.count(&servers, entry);
        }
        // An expiry is no request: polls come often enough to notice it.
        if entry.is_write() || entry.server == Server::Hub {
            state.look_at_secrets(&servers, entry.time);
        }
    }

    /// What happened so far.
    pub fn summary(&self) -> Summary {
        let state = self.lock();
        let left = self.servers.upgrade().map(|servers| left_over(&servers)).unwrap_or_default();
        let broken = state.dead.iter().chain(&state.outside).cloned();
        let left_over = left.iter().map(|label| format!("{label:?} was left over at Docker Hub"));
        Summary {
            counts: state.counts,
            dead: state.dead.len(),
            outside: state.outside.len(),
            left: left.len(),
            broken: broken.chain(left_over).collect(),
        }
    }
}

impl State {
    fn count(&mut self, servers: &Servers, entry: &Entry) {
        let tokens = entry.path.ends_with("/access-tokens");
        let counts = &mut self.counts;
        match (entry.server, entry.method.as_str()) {
            (Server::Hub, "POST") if tokens => {
                counts.made += 1;
                self.made(servers, entry);
            }
            (Server::Hub, "POST") => counts.logins += 1,
            (Server::Hub, "GET") if tokens && entry.query.split('&').any(|part| part == "page=1") => counts.polls += 1,
            (Server::Hub, "DELETE") => counts.deleted += 1,
            _ => {}
        }
    }

    /// A token was made: where that is a rotation of an object with windows, one of them is open, or it had to be.
    fn made(&mut self, servers: &Servers, entry: &Entry) {
        let body = entry.json().unwrap_or_default();
        let label = body.get("label").and_then(serde_json::Value::as_str).unwrap_or_default();
        let Some((_, marker)) = Marker::parse(label) else { return };
        let objects = objects::<OrganizationAccessToken>(servers, super::TOKENS);
        let Some(object) = objects.into_iter().find(|object| identity(object) == marker.identity) else { return };
        let current = object.status.as_ref().and_then(|status| status.token.as_ref());
        if current.is_none() || object.spec.token.rotation.windows.is_empty() {
            return;
        }
        if open::window(&object, entry.time) {
            self.counts.kept += 1;
        } else if open::is_pressing(&object, entry.time) || !holds_its_token(servers, &object) {
            self.counts.pressing += 1;
        } else {
            self.outside.push(format!("{} was rotated at {} in no window", name(&object), entry.time));
        }
    }

    fn look_at_secrets(&mut self, servers: &Servers, now: Timestamp) {
        for secret in objects::<Secret>(servers, "secrets") {
            let Some(owner) = secret.labels().get(OWNER) else { continue };
            let sequence = secret.annotations().get(SEQUENCE).and_then(|text| text.parse().ok()).unwrap_or(0);
            let known = self.sequences.insert(name(&secret), sequence);
            if known.is_some_and(|known| known > 0 && known < sequence) {
                self.counts.rotations += 1;
                if self.tells {
                    println!("{}  Secret {} holds token {sequence}", whole(now), name(&secret));
                }
            }
            let Some(why) = is_dead(servers, &secret) else { continue };
            let objects = objects::<OrganizationAccessToken>(servers, super::TOKENS);
            let object = objects.into_iter().find(|object| object.uid().as_ref() == Some(owner));
            if object.is_some_and(|object| !is_meant(&object, why)) {
                self.dead.insert(format!("Secret {} held token {sequence}, which was {why}", name(&secret)));
            }
        }
    }
}

/// Why the value in a Secret does not work, if it is one that Docker Hub gave out.
fn is_dead(servers: &Servers, secret: &Secret) -> Option<&'static str> {
    let (organization, value) = secrets::credentials(secret)?;
    match servers.hub.organization(&organization).by_value(value.expose_secret()) {
        Some(TokenView { expired: true, .. }) => Some("expired"),
        Some(TokenView { active: false, .. }) => Some("deactivated"),
        Some(_) => None,
        // Whoever writes something else into a Secret has it back at the next look; that is no broken promise.
        None => servers.hub.values().iter().any(|known| known == value.expose_secret()).then_some("deleted"),
    }
}

/// Whether its user wants it so: the token is off or replaced at once, or nothing is to renew it.
fn is_meant(object: &OrganizationAccessToken, why: &str) -> bool {
    let token = &object.spec.token;
    let fixed = token.expiration.as_ref().is_some_and(|expiration| expiration.time.is_some());
    let expires = fixed || token.rotation.policy == RotationPolicy::Manual;
    !token.active || open::asked(object).revoke || (why == "expired" && expires)
}

/// Whether an object's Secret holds the token that its status names, and that works.
fn holds_its_token(servers: &Servers, object: &OrganizationAccessToken) -> bool {
    let current = object.status.as_ref().and_then(|status| status.token.as_ref());
    objects::<Secret>(servers, "secrets").iter().any(|secret| {
        let owned = secret.labels().get(OWNER) == object.uid().as_ref();
        let held = secrets::credentials(secret)
            .filter(|_| owned)
            .and_then(|(organization, value)| servers.hub.organization(&organization).by_value(value.expose_secret()));
        held.is_some_and(|held| held.live() && current.is_some_and(|current| current.id == held.id))
    })
}

/// Labels of tokens with our marker that no object's status names.
fn left_over(servers: &Servers) -> Vec<String> {
    let objects = objects::<OrganizationAccessToken>(servers, super::TOKENS);
    let statuses = objects.iter().filter_map(|object| object.status.as_ref());
    let named: BTreeSet<&str> = statuses
        .flat_map(|status| {
            let current = status.token.iter().map(|token| token.id.as_str());
            current.chain(status.previous.iter().map(|token| token.id.as_str()))
        })
        .collect();
    let tokens = servers.hub.organization(super::ORGANIZATION).tokens().into_iter();
    let left = tokens.filter(|token| Marker::parse(&token.label).is_some() && !named.contains(token.id.as_str()));
    left.map(|token| token.label).collect()
}

fn objects<K: DeserializeOwned>(servers: &Servers, resource: &str) -> Vec<K> {
    let objects = servers.kubernetes.objects(resource).into_iter();
    objects.filter_map(|object| serde_json::from_value(object).ok()).collect()
}

fn identity(object: &OrganizationAccessToken) -> Identity {
    Identity::of("OrganizationAccessToken", &object.namespace().unwrap_or_default(), &object.name_any())
}

fn name(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// Without fractions of a second.
pub fn whole(time: Timestamp) -> Timestamp {
    crate::plan::schedule::whole(time)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { made, deleted, rotations, kept, pressing, polls, logins } = self.counts;
        let mut line = |what: &str, count: &dyn fmt::Display| writeln!(f, "  {what:<42}{count:>8}");
        line("tokens made", &made)?;
        line("tokens deleted", &deleted)?;
        line("tokens left over", &self.left)?;
        line("rotations", &rotations)?;
        if kept + pressing > 0 || self.outside > 0 {
            line("  of those with windows: in one", &kept)?;
            line("  of those with windows: could not wait", &pressing)?;
            line("  of those with windows: outside", &self.outside)?;
        }
        line("polls of Docker Hub", &polls)?;
        line("logins at Docker Hub", &logins)?;
        line("dead values in Secrets", &self.dead)
    }
}

#[cfg(test)]
mod tests;
