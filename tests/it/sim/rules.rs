//! What must never happen, looked for at every request: at its arrival and right after it was carried out.
//!
//! The names are those of docs/reliability.md: S1 no Secret holds a value that the operator has ended; S2 a create is sent
//! once per sequence and term; S3 the status names a token whose value a Secret held; S4 nobody else's token is touched;
//! S5 live tokens are few; S6 an orphan goes only when the remembered sequence has passed it; S7 sequences never go back;
//! S8 a former token lives until its overlap is over ([`overlap`]); S9 on deletion Secrets, then tokens, then the
//! finalizer; and every status passes the linter. Where a rule depends on the time, it is the operator's ([`clocks`]).
//!
//! Never: a decision of the operator told again. It looks at what the servers hold.

mod clocks;
mod ended;
mod farewell;
mod overlap;
mod secrets;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use oat_operator::api::{
    FINALIZER, OWNER, Organization, OrganizationAccessToken, REVOKE,
    names::{Identity, Marker},
};
use oat_sandbox::journal::{Entry, Journal, Moment, Server};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Servers, user};
use crate::support::lint;
use clocks::{Clocks, LATE};

/// The rules, and what is remembered for them.
pub struct Rules {
    servers: Weak<Servers>,
    starts: Arc<AtomicU32>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What must not happen and did.
    broken: Vec<String>,
    /// Tokens as they were last seen, by id.
    known: BTreeMap<String, Known>,
    /// Values that the operator has deleted or deactivated, by hash: how.
    ended: BTreeMap<String, String>,
    /// What Secrets held when they were last looked at, by uid: their version and the hash.
    values: BTreeMap<String, (String, Option<String>)>,
    /// Values that some Secret has held, by hash.
    held: BTreeSet<String>,
    /// Secrets that somebody else wrote last.
    tampered: BTreeSet<(String, String)>,
    /// How often a create was sent, by marker and term.
    creates: BTreeMap<(Marker, String), u32>,
    /// The highest sequence by what shows it.
    highest: BTreeMap<String, u64>,
    /// Token objects with our finalizer, by uid.
    finalized: BTreeMap<String, farewell::Finalized>,
    /// Objects whose tokens are not to work.
    silent: BTreeSet<Identity>,
    /// When somebody last wanted an object's tokens not to work.
    silenced: BTreeMap<Identity, Timestamp>,
    /// When a status last named a token, or its create was carried out, by id.
    remembered: BTreeMap<String, Timestamp>,
    /// Objects with a create that was disturbed: its token may appear at any time.
    disturbed: BTreeSet<Identity>,
    clocks: Clocks,
    overlaps: overlap::Overlaps,
    refusals: ended::Refusals,
    /// Whether the token service refused a value of ours since the last create: that token goes at once.
    refused: bool,
    /// Whether others may say so in its place: then a token goes whose value no Secret ever held.
    disowned: bool,
    /// What went wrong so far that may leave a token behind: crashes, and faults that were done.
    faults: u32,
}

#[derive(Clone)]
struct Known {
    organization: String,
    hash: String,
    label: String,
    live: bool,
    created: Timestamp,
    expires: Option<Timestamp>,
}

/// The hash of a value, as the status has it.
fn hash(value: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(value.as_bytes()))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// An annotation or a label, whose keys have slashes.
fn entry<'a>(object: &'a Value, map: &str, key: &str) -> Option<&'a str> {
    object["metadata"][map][key].as_str()
}

/// What [`State::highest`] calls the labels of an object's tokens.
fn labels_of(identity: &Identity) -> String {
    format!("labels of {identity:?}")
}

fn is_ours(entry: &Entry) -> bool {
    entry.user_agent.starts_with("oat-operator")
}

/// The organization and the id in a path of Docker Hub's.
fn token_path(path: &str) -> Option<(&str, Option<&str>)> {
    let mut parts = path.strip_prefix("/v2/orgs/")?.split('/');
    let organization = parts.next()?;
    (parts.next() == Some("access-tokens")).then(|| (organization, parts.next()))
}

impl Rules {
    /// Looks at every request from now on.
    pub fn watch(servers: &Arc<Servers>, journal: &Journal, starts: Arc<AtomicU32>) -> Arc<Self> {
        let rules = Arc::new(Self { servers: Arc::downgrade(servers), starts, state: Mutex::default() });
        let watching = rules.clone();
        journal.witness(move |moment, entry| watching.see(moment, entry));
        rules
    }

    /// Something happened that may leave a token behind.
    pub fn fault(&self) {
        let mut state = self.state.lock().unwrap();
        state.faults += 1;
        state.overlaps.settle_all();
    }

    /// From now on values may be refused by others than the token service.
    pub fn disown(&self) {
        self.state.lock().unwrap().disowned = true;
    }

    /// From now on the operators' clocks are ahead of the servers' by so much.
    pub fn clocks(&self, now: Timestamp, ahead: SignedDuration) {
        let mut state = self.state.lock().unwrap();
        state.clocks.set(now, ahead);
        state.overlaps.settle_all();
    }

    /// Somebody took tokens away at Docker Hub: nobody can know any more how far their sequences had come.
    pub fn forget_labels(&self) {
        let mut state = self.state.lock().unwrap();
        state.highest.retain(|what, _| !what.starts_with("labels"));
    }

    /// Whether a token of this object may be left though the object is gone: its create was disturbed, or its deletion
    /// was given up.
    pub fn may_be_left(&self, identity: &Identity) -> bool {
        self.state.lock().unwrap().disturbed.contains(identity)
    }

    /// Fails where a rule was broken.
    #[track_caller]
    pub fn verdict(&self, story: &str) {
        let broken = self.take_broken();
        assert!(broken.is_empty(), "{}\n{story}", broken.join("\n"));
    }

    /// What must not happen and did; it is forgotten.
    pub fn take_broken(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().broken)
    }

    fn see(&self, moment: Moment, entry: &Entry) {
        let Some(servers) = self.servers.upgrade() else { return };
        let writes = entry.is_write();
        let mut state = self.state.lock().unwrap();
        match (moment, entry.server) {
            (Moment::Arrived, Server::Hub) if writes && is_ours(entry) => {
                state.refresh(&servers, entry);
                let term = self.term(&servers);
                state.sent(&servers, entry, &term);
            }
            (Moment::Executed(status), Server::Hub) if writes && status < 300 => {
                if is_ours(entry) {
                    state.changed_hub(&servers, entry);
                    if matches!(token_path(&entry.path), Some((_, None))) {
                        state.made(entry);
                    }
                }
                state.refresh(&servers, entry);
                state.look_at_secrets(&servers, entry);
            }
            (Moment::Answered(status), Server::Registry) if status >= 400 && is_ours(entry) => state.refused = true,
            (Moment::Answered(status), Server::Hub) if status >= 400 && is_ours(entry) => {
                state.refused_by_hub(status, entry)
            }
            (Moment::Executed(status), Server::Kubernetes) if writes && status < 300 => {
                state.changed_kube(&servers, entry);
                state.look_at_secrets(&servers, entry);
            }
            _ => {}
        }
    }

    /// Who leads: the Lease as it was taken, or the operator that was started last.
    fn term(&self, servers: &Servers) -> String {
        let lease = servers.kube.object("leases.coordination.k8s.io", "oat-operator", "oat-operator");
        match lease {
            Some(lease) => format!("{} {}", text(&lease, "/spec/holderIdentity"), lease["spec"]["leaseTransitions"]),
            None => self.starts.load(Ordering::SeqCst).to_string(),
        }
    }
}

impl State {
    fn broke(&mut self, rule: &'static str, entry: &Entry, what: &str) {
        if self.broken.len() < 20 {
            self.broken.push(format!("{rule}: {what}, at {} {entry}", entry.time));
        }
    }

    /// Takes note of what tokens there are.
    fn refresh(&mut self, servers: &Servers, entry: &Entry) {
        let Some((organization, _)) = token_path(&entry.path) else { return };
        // What is gone stays known: requests about it may be under way.
        let theirs = self.known.values_mut().filter(|known| known.organization == organization);
        theirs.for_each(|known| known.live = false);
        for token in servers.hub.organization(organization).tokens() {
            let marked = Marker::parse(&token.label).is_some();
            let (live, created, expires) = (token.live(), token.created_at, token.expires_at);
            let (organization, hash, label) = (organization.to_owned(), token.value_sha256, token.label);
            let known = Known { organization, hash, label, live, created, expires };
            let new = self.known.insert(token.id.clone(), known).is_none();
            if new && is_ours(entry) && marked {
                self.remembered.insert(token.id, entry.time);
            }
        }
    }

    /// Docker Hub said no, or a fault did so in its name.
    fn refused_by_hub(&mut self, status: u16, entry: &Entry) {
        match (token_path(&entry.path), entry.method.as_str(), status) {
            (Some((_, None)), "POST", _) => {
                let body = entry.json().unwrap_or_default();
                if let Some((_, marker)) = Marker::parse(text(&body, "/label")) {
                    self.refusals.refused(marker.identity, entry.time);
                }
            }
            (Some((_, Some(id))), _, 404) => self.overlaps.said_gone(id, entry.time),
            _ => {}
        }
    }

    /// A create was carried out. Where it is not answered as it should be, it leaves a token behind.
    fn made(&mut self, entry: &Entry) {
        let body = entry.json().unwrap_or_default();
        let Some((_, marker)) = Marker::parse(text(&body, "/label")) else { return };
        self.raise(labels_of(&marker.identity), marker.sequence);
        if entry.fault.is_some() {
            self.disturbed.insert(marker.identity);
            self.faults += 1;
        }
    }

    /// A request to Docker Hub has arrived.
    fn sent(&mut self, servers: &Servers, entry: &Entry, term: &str) {
        let Some((organization, id)) = token_path(&entry.path) else { return };
        let Some(id) = id else {
            let body = entry.json().unwrap_or_default();
            return self.create(servers, entry, organization, text(&body, "/label"), term);
        };
        let label = self.known.get(id).map(|known| known.label.clone()).unwrap_or_default();
        let Some((_, marker)) = Marker::parse(&label) else {
            // One that somebody relabelled is still remembered by its id.
            let remembered = self.remembered.get(id).is_some_and(|last| entry.time.duration_since(*last) <= LATE);
            let there = self.known.contains_key(id) && !remembered && object_naming(servers, id).is_none();
            if there && !(entry.method == "PATCH" && is_adopted(servers, id, &label)) {
                self.broke("S4", entry, &format!("a token without our marker, {label:?}"));
            }
            return;
        };
        let object = object_of(servers, &marker.identity);
        let Some(object) = object.filter(|_| entry.method == "DELETE") else { return };
        let Some(status) = object.status.as_ref().filter(|_| object.metadata.deletion_timestamp.is_none()) else {
            return;
        };
        let remembered = status.token.as_ref().map_or(0, |token| token.sequence);
        let remembered = remembered.max(status.passed_sequence.unwrap_or_default());
        let useless = |known: &Known| !known.live || self.disowned && !self.held.contains(&known.hash);
        if marker.sequence > remembered && !self.refused && !self.known.get(id).is_some_and(useless) {
            self.broke("S6", entry, &format!("sequence {} goes, {remembered} is remembered", marker.sequence));
        }
        self.former_goes(entry, &object, &marker.identity, id);
    }

    fn create(&mut self, servers: &Servers, entry: &Entry, organization: &str, label: &str, term: &str) {
        let Some((_, marker)) = Marker::parse(label) else {
            return self.broke("S4", entry, "a token is made without a marker");
        };
        let sent = self.creates.entry((marker.clone(), term.to_owned())).or_default();
        *sent += 1;
        let again = *sent > 1;
        self.refused = false;
        self.overlaps.settle(&marker.identity);
        if again {
            self.broke("S2", entry, &format!("sequence {} is sent twice in a term", marker.sequence));
        }
        // Of those that were never carried out nobody can know after a crash.
        self.is_not_below(entry, &labels_of(&marker.identity), marker.sequence);
        let same = |label: &str| Marker::parse(label).is_some_and(|(_, other)| other.identity == marker.identity);
        let tokens = servers.hub.organization(organization).tokens();
        let live = tokens.iter().filter(|token| token.live() && same(&token.label)).count();
        let allowed = 1 + usize::try_from(self.faults).unwrap();
        if live > allowed {
            self.broke("S5", entry, &format!("{live} live tokens and another, after {} faults", self.faults));
        }
    }

    fn rises(&mut self, entry: &Entry, what: String, sequence: u64) {
        self.is_not_below(entry, &what, sequence);
        self.raise(what, sequence);
    }

    fn is_not_below(&mut self, entry: &Entry, what: &str, sequence: u64) {
        let before = self.highest.get(what).copied().unwrap_or_default();
        if sequence < before {
            self.broke("S7", entry, &format!("{what}: {sequence} after {before}"));
        }
    }

    fn raise(&mut self, what: String, sequence: u64) {
        let highest = self.highest.entry(what).or_default();
        *highest = sequence.max(*highest);
    }

    /// Kubernetes was changed by anybody.
    fn changed_kube(&mut self, servers: &Servers, entry: &Entry) {
        let ours = is_ours(entry);
        let parts: Vec<&str> = entry.path.trim_matches('/').split('/').collect();
        match *parts.as_slice() {
            ["api", "v1", "namespaces", namespace, "secrets", ref rest @ ..] => {
                let body = entry.json().unwrap_or_default();
                let name = rest.first().copied().unwrap_or_else(|| text(&body, "/metadata/name"));
                self.changed_secret(servers, entry, namespace, name, ours);
            }
            [
                "apis",
                "oat-operator.dev",
                _,
                "namespaces",
                namespace,
                "organizationaccesstokens",
                name,
                ref rest @ ..,
            ] => match servers.kube.object(user::TOKENS, namespace, name) {
                Some(object) => self.changed_token(entry, object, ours, rest == ["status"]),
                None if ours => self.released(servers, entry, namespace, name),
                None => {}
            },
            ["apis", "oat-operator.dev", _, "namespaces", namespace, "organizations", name, "status"] if ours => {
                let Some(object) = servers.kube.object(user::ORGANIZATIONS, namespace, name) else { return };
                match serde_json::from_value::<Organization>(object) {
                    Ok(object) => self.lint(entry, &object, lint::organization),
                    Err(error) => self.broke("lint", entry, &error.to_string()),
                }
            }
            _ => {}
        }
    }

    fn changed_token(&mut self, entry: &Entry, object: Value, ours: bool, status: bool) {
        let object: OrganizationAccessToken = match serde_json::from_value(object) {
            Ok(object) => object,
            Err(error) => return self.broke("lint", entry, &error.to_string()),
        };
        let uid = object.metadata.uid.clone().unwrap_or_default();
        if object.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER) {
            let finalized = farewell::Finalized::of(&object);
            self.finalized.insert(uid.clone(), finalized);
        }
        let identity = identity(&object);
        let silent = is_silenced(&object);
        let was = if silent { !self.silent.insert(identity.clone()) } else { self.silent.remove(&identity) };
        if was || silent {
            self.silenced.insert(identity.clone(), entry.time);
        }
        if !ours {
            self.overlaps.settle(&identity);
        }
        if !ours || !status {
            return;
        }
        let named = object.status.iter().flat_map(|status| {
            let current = status.token.iter().map(|token| &token.id);
            current.chain(status.previous.iter().map(|former| &former.id))
        });
        self.remembered.extend(named.map(|id| (id.clone(), entry.time)));
        self.promised(entry, &object, &identity);
        if let Some(token) = object.status.as_ref().and_then(|status| status.token.as_ref()) {
            self.rises(entry, format!("status of {uid}"), token.sequence);
            let hash = token.value_hash.trim_start_matches("sha256:");
            if !self.held.contains(hash) {
                self.broke("S3", entry, &format!("no Secret ever held the value of sequence {}", token.sequence));
            }
        }
        self.lint(entry, &object, lint::token);
    }

    fn lint<K: std::panic::RefUnwindSafe>(&mut self, entry: &Entry, object: &K, lint: fn(&K)) {
        if let Err(panic) = std::panic::catch_unwind(|| lint(object)) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            self.broke("lint", entry, &text.unwrap_or_default());
        }
    }
}

/// Whether somebody wants its tokens not to work.
fn is_silenced(object: &OrganizationAccessToken) -> bool {
    let off = !object.spec.token.active && object.metadata.deletion_timestamp.is_none();
    off || is_revoking(object)
}

/// The owner that a Secret of ours names.
fn entry_of(secret: &Value) -> Option<&str> {
    entry(secret, "labels", OWNER)
}

/// Whether its tokens are to be worthless at once.
fn is_revoking(object: &OrganizationAccessToken) -> bool {
    let asked = object.metadata.annotations.as_ref().and_then(|all| all.get(REVOKE));
    asked.is_some() && asked != object.status.as_ref().and_then(|status| status.last_handled.revoke.as_ref())
}

/// Whether some object takes this token over.
fn is_adopted(servers: &Servers, id: &str, label: &str) -> bool {
    servers.kube.stored(user::TOKENS).iter().any(|object| {
        let adopt = &object["spec"]["adopt"];
        adopt["id"] == id || adopt["label"] == label
    })
}

/// The object whose status names this token.
fn object_naming(servers: &Servers, id: &str) -> Option<OrganizationAccessToken> {
    let objects = servers.kube.stored(user::TOKENS);
    let names = |object: &&Arc<Value>| {
        let status = &object["status"];
        status["token"]["id"] == id || status["previous"].as_array().into_iter().flatten().any(|one| one["id"] == id)
    };
    OrganizationAccessToken::deserialize(&**objects.iter().find(names)?).ok()
}

fn identity(object: &OrganizationAccessToken) -> Identity {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    Identity::of("OrganizationAccessToken", namespace, object.metadata.name.as_deref().unwrap_or_default())
}

/// The object whose tokens carry this identity.
fn object_of(servers: &Servers, wanted: &Identity) -> Option<OrganizationAccessToken> {
    let objects = servers.kube.stored(user::TOKENS);
    let is_it = |object: &&Arc<Value>| {
        let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
        Identity::of("OrganizationAccessToken", namespace, name) == *wanted
    };
    let found = objects.iter().find(is_it)?;
    OrganizationAccessToken::deserialize(&**found).ok()
}
