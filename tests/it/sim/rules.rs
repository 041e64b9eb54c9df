//! What must never happen, looked for at every request: at its arrival and right after it was carried out.
//!
//! The names are those of docs/reliability.md: S1 no Secret holds a value that the operator has ended; S2 a create is sent
//! once per sequence and term; S3 the status names a token whose value a Secret held; S4 nobody else's token is touched;
//! S5 live tokens are few; S6 an orphan goes only when the remembered sequence has passed it; S7 sequences never go back;
//! S8 the former token lives until its overlap is over; S9 on deletion Secrets, then tokens, then the finalizer; and every status passes the linter.
//!
//! Never: a decision of the operator told again. It looks at what the servers hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use oat_operator::api::{
    FINALIZER, OWNER, Organization, OrganizationAccessToken, REVOKE, SEQUENCE,
    names::{Identity, Marker},
    token::{DeletionPolicy, SecretDeletionPolicy},
};
use oat_sandbox::journal::{Entry, Journal, Moment, Server};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Servers, user};
use crate::support::lint;

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
    /// Rules that a scenario breaks on purpose.
    excused: BTreeSet<&'static str>,
    /// Tokens as they were last seen, by id.
    known: BTreeMap<String, Known>,
    /// Values that the operator has deleted or deactivated, by hash: how.
    ended: BTreeMap<String, String>,
    /// Values that some Secret has held, by hash.
    held: BTreeSet<String>,
    /// Secrets that somebody else wrote last.
    tampered: BTreeSet<(String, String)>,
    /// How often a create was sent, by marker and term.
    creates: BTreeMap<(Marker, String), u32>,
    /// The highest sequence by what shows it.
    highest: BTreeMap<String, u64>,
    /// Token objects with our finalizer, by uid.
    finalized: BTreeMap<String, Finalized>,
    /// When somebody last wanted an object's tokens not to work.
    silenced: BTreeMap<Identity, Timestamp>,
    /// Tokens that carried a marker once.
    marked: BTreeSet<String>,
    /// Objects with a create that was disturbed: its token may appear at any time.
    disturbed: BTreeSet<Identity>,
    /// Places are scarce: so long before its expiry a token may be given up for its successor.
    scarce: Option<SignedDuration>,
    /// Whether the token service refused a value of ours since the last create: that token goes at once.
    refused: bool,
    /// Whether others may say so in its place: then a token goes whose value no Secret ever held.
    disowned: bool,
    /// What went wrong so far that may leave a token behind: crashes, and faults that were done.
    faults: u32,
}

struct Known {
    hash: String,
    label: String,
    live: bool,
    expires: Option<Timestamp>,
}

/// What is remembered of a token object for the time when it is gone.
struct Finalized {
    identity: Identity,
    policy: DeletionPolicy,
    retain: bool,
    deleting: Option<Timestamp>,
}

/// How late a decision may be carried out that was right when it was made: faults hold requests and watches back.
const LATE: SignedDuration = SignedDuration::from_hours(3);
/// How long a deletion waits for an organization that can't be reached; a bit less, for clocks that differ.
const ABANDON_AFTER: SignedDuration = SignedDuration::from_secs(590);

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

    /// This rule is broken on purpose from now on.
    pub fn excuse(&self, rule: &'static str) {
        self.state.lock().unwrap().excused.insert(rule);
    }

    /// Something happened that may leave a token behind.
    pub fn fault(&self) {
        self.state.lock().unwrap().faults += 1;
    }

    /// From now on values may be refused by others than the token service.
    pub fn disown(&self) {
        self.state.lock().unwrap().disowned = true;
    }

    /// From now on places may be scarce, and clocks differ: so long before its expiry a token may be given up.
    pub fn scarce(&self, before: SignedDuration) {
        self.state.lock().unwrap().scarce = Some(before);
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
                    state.disturb(entry);
                }
                state.refresh(&servers, entry);
                state.look_at_secrets(&servers, entry);
            }
            (Moment::Executed(status), Server::Registry) if status >= 400 && is_ours(entry) => state.refused = true,
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
        if !self.excused.contains(rule) && self.broken.len() < 20 {
            self.broken.push(format!("{rule}: {what}, at {} {entry}", entry.time));
        }
    }

    /// Takes note of what tokens there are.
    fn refresh(&mut self, servers: &Servers, entry: &Entry) {
        let Some((organization, _)) = token_path(&entry.path) else { return };
        for token in servers.hub.organization(organization).tokens() {
            if Marker::parse(&token.label).is_some() {
                self.marked.insert(token.id.clone());
            }
            let (live, expires) = (token.live(), token.expires_at);
            self.known.insert(token.id, Known { hash: token.value_sha256, label: token.label, live, expires });
        }
    }

    /// A create that was carried out and not answered as it should be leaves a token behind.
    fn disturb(&mut self, entry: &Entry) {
        if entry.fault.is_none() || !matches!(token_path(&entry.path), Some((_, None))) {
            return;
        }
        let body = entry.json().unwrap_or_default();
        if let Some((_, marker)) = Marker::parse(text(&body, "/label")) {
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
            let there = self.known.contains_key(id) && !self.marked.contains(id);
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
        let former = status.previous.iter().find(|former| former.id == id).filter(|_| !is_revoking(&object));
        let until = former.and_then(|former| former.revocation_time.parse::<jiff::Timestamp>().ok());
        if until.is_some_and(|until| entry.time < until) {
            self.broke("S8", entry, &format!("sequence {} was to live until {until:?}", marker.sequence));
        }
    }

    fn create(&mut self, servers: &Servers, entry: &Entry, organization: &str, label: &str, term: &str) {
        let Some((_, marker)) = Marker::parse(label) else {
            return self.broke("S4", entry, "a token is made without a marker");
        };
        let sent = self.creates.entry((marker.clone(), term.to_owned())).or_default();
        *sent += 1;
        let again = *sent > 1;
        self.refused = false;
        if again {
            self.broke("S2", entry, &format!("sequence {} is sent twice in a term", marker.sequence));
        }
        self.rises(entry, format!("labels of {:?}", marker.identity), marker.sequence);
        let same = |label: &str| Marker::parse(label).is_some_and(|(_, other)| other.identity == marker.identity);
        let tokens = servers.hub.organization(organization).tokens();
        let live = tokens.iter().filter(|token| token.live() && same(&token.label)).count();
        let allowed = 1 + usize::try_from(self.faults).unwrap();
        if live > allowed {
            self.broke("S5", entry, &format!("{live} live tokens and another, after {} faults", self.faults));
        }
    }

    fn rises(&mut self, entry: &Entry, what: String, sequence: u64) {
        let highest = self.highest.entry(what.clone()).or_default();
        let before = std::mem::replace(highest, sequence.max(*highest));
        if sequence < before {
            self.broke("S7", entry, &format!("{what}: {sequence} after {before}"));
        }
    }

    /// A change of ours at Docker Hub was carried out.
    fn changed_hub(&mut self, servers: &Servers, entry: &Entry) {
        let Some((_, Some(id))) = token_path(&entry.path) else { return };
        let Some(known) = self.known.get(id) else { return };
        let (hash, label) = (known.hash.clone(), known.label.clone());
        let near = |(expires, before): (Timestamp, SignedDuration)| expires.duration_since(entry.time) <= before;
        let given_up = known.expires.zip(self.scarce).is_some_and(near);
        let active = entry.json().and_then(|body| body["is_active"].as_bool());
        let how = match (entry.method.as_str(), active) {
            ("DELETE", _) => "deleted",
            ("PATCH", Some(false)) => "deactivated",
            ("PATCH", Some(true)) => {
                self.ended.remove(&hash);
                return;
            }
            _ => return,
        };
        let identity = Marker::parse(&label).map(|(_, marker)| marker.identity);
        let object = identity.as_ref().and_then(|identity| object_of(servers, identity));
        let silenced = identity.and_then(|identity| self.silenced.get(&identity));
        let late = silenced.is_some_and(|since| entry.time.duration_since(*since) <= LATE);
        let on_purpose = object.as_ref().is_some_and(is_silenced) || late || !known.live || given_up;
        if !on_purpose {
            self.ended.insert(hash, format!("{how} as {label:?}"));
        }
    }

    /// S1: no Secret holds a value that the operator has ended.
    fn look_at_secrets(&mut self, servers: &Servers, entry: &Entry) {
        for secret in servers.kube.objects("secrets") {
            let Some(value) = user::value(&secret).filter(|_| entry_of(&secret).is_some()) else { continue };
            let hash = hash(&value);
            self.held.insert(hash.clone());
            let key = (text(&secret, "/metadata/namespace").to_owned(), text(&secret, "/metadata/name").to_owned());
            if let Some(how) = self.ended.get(&hash).filter(|_| !self.tampered.contains(&key)) {
                let what = format!("Secret {}/{} holds what was {how}", key.0, key.1);
                self.broke("S1", entry, &what);
            }
        }
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
                self.lint::<Organization>(entry, object, lint::organization);
            }
            _ => {}
        }
    }

    fn changed_secret(&mut self, servers: &Servers, entry: &Entry, namespace: &str, name: &str, ours: bool) {
        let key = (namespace.to_owned(), name.to_owned());
        if !ours {
            self.tampered.insert(key);
            return;
        }
        self.tampered.remove(&key);
        let Some(secret) = servers.kube.object("secrets", namespace, name) else { return };
        if let (Some(owner), Some(sequence)) = (entry_of(&secret), self::entry(&secret, "annotations", SEQUENCE)) {
            self.rises(entry, format!("Secrets of {owner}"), sequence.parse().unwrap_or_default());
        }
    }

    fn changed_token(&mut self, entry: &Entry, object: Value, ours: bool, status: bool) {
        let object: OrganizationAccessToken = match serde_json::from_value(object) {
            Ok(object) => object,
            Err(error) => return self.broke("lint", entry, &error.to_string()),
        };
        let uid = object.metadata.uid.clone().unwrap_or_default();
        if object.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER) {
            let spec = &object.spec.token;
            let finalized = Finalized {
                identity: identity(&object),
                policy: spec.deletion_policy,
                retain: spec.secret.deletion_policy == SecretDeletionPolicy::Retain,
                deleting: object.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            };
            self.finalized.insert(uid.clone(), finalized);
        }
        if is_silenced(&object) {
            self.silenced.insert(identity(&object), entry.time);
        }
        if !ours || !status {
            return;
        }
        if let Some(token) = object.status.as_ref().and_then(|status| status.token.as_ref()) {
            self.rises(entry, format!("status of {uid}"), token.sequence);
            let hash = token.value_hash.trim_start_matches("sha256:");
            if !self.held.contains(hash) {
                self.broke("S3", entry, &format!("no Secret ever held the value of sequence {}", token.sequence));
            }
        }
        let object = serde_json::to_value(&object).unwrap();
        self.lint::<OrganizationAccessToken>(entry, object, lint::token);
    }

    fn lint<K: serde::de::DeserializeOwned>(&mut self, entry: &Entry, object: Value, lint: fn(&K)) {
        let linted = serde_json::from_value(object).map_err(|error| error.to_string()).and_then(|object: K| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lint(&object))).map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
            })
        });
        if let Err(complaint) = linted {
            self.broke("lint", entry, &complaint);
        }
    }

    /// S9: the object is gone by our write, so its Secrets and tokens must be, but for what is to be left.
    fn released(&mut self, servers: &Servers, entry: &Entry, namespace: &str, name: &str) {
        let identity = Identity::of("OrganizationAccessToken", namespace, name);
        let marked = |label: &str| Marker::parse(label).is_some_and(|(_, marker)| marker.identity == identity);
        let of = |uid: &str| self.finalized.get(uid).filter(|found| found.identity == identity);
        let secrets = servers.kube.objects("secrets");
        let left = secrets.iter().filter(|secret| user::value(secret).is_some());
        let left = left.filter_map(|secret| of(entry_of(secret).unwrap_or_default()));
        let left = left.filter(|found| !(found.retain && found.policy == DeletionPolicy::Retain)).count();
        let last = self.finalized.values().filter(|found| found.identity == identity && found.deleting.is_some());
        let last = last.max_by_key(|found| found.deleting);
        let waited = last.and_then(|found| found.deleting).map(|since| entry.time.duration_since(since));
        let abandoned = self.scarce.is_some() || waited.is_some_and(|waited| waited >= ABANDON_AFTER);
        let kept = last.is_some_and(|found| found.policy != DeletionPolicy::Delete);
        let tokens = servers.hub.organization("acme").tokens();
        // Docker Hub changes nothing about an expired token.
        let tokens = tokens.into_iter().filter(|token| marked(&token.label) && !(kept && token.expired));
        let labels: Vec<String> = tokens.map(|token| token.label).collect();
        if left > 0 {
            self.broke("S9", entry, "the finalizer goes before the Secret");
        }
        if !labels.is_empty() && !abandoned && !self.disturbed.contains(&identity) {
            self.broke("S9", entry, &format!("the finalizer goes before {labels:?}"));
        }
        // What is left is another object's some day.
        self.faults += u32::try_from(labels.len()).unwrap();
        if !labels.is_empty() {
            self.disturbed.insert(identity.clone());
        }
        self.creates.retain(|(marker, _), _| marker.identity != identity);
        self.highest.remove(&format!("labels of {identity:?}"));
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
    servers.kube.objects(user::TOKENS).iter().any(|object| {
        let adopt = &object["spec"]["adopt"];
        adopt["id"] == id || adopt["label"] == label
    })
}

fn identity(object: &OrganizationAccessToken) -> Identity {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    Identity::of("OrganizationAccessToken", namespace, object.metadata.name.as_deref().unwrap_or_default())
}

/// The object whose tokens carry this identity.
fn object_of(servers: &Servers, wanted: &Identity) -> Option<OrganizationAccessToken> {
    let objects = servers.kube.objects(user::TOKENS);
    let mut objects = objects.into_iter().filter_map(|object| serde_json::from_value(object).ok());
    objects.find(|object| identity(object) == *wanted)
}
