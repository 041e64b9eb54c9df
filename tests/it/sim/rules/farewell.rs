//! S9: on deletion Secrets go first, then tokens, then the finalizer.

use jiff::{SignedDuration, Timestamp};
use oat_operator::api::{
    OrganizationAccessToken,
    names::{Identity, Marker},
    token::{DeletionPolicy, SecretDeletionPolicy},
};
use oat_sandbox::{hub::TokenView, journal::Entry};

use super::{Servers, State, entry_of, user};

/// How long a deletion waits for an organization that can't be reached; a bit less, for clocks that differ.
const ABANDON_AFTER: SignedDuration = SignedDuration::from_secs(590);

/// What is remembered of a token object for the time when it is gone.
pub struct Finalized {
    identity: Identity,
    policy: DeletionPolicy,
    retain: bool,
    deleting: Option<Timestamp>,
}

impl Finalized {
    pub fn of(object: &OrganizationAccessToken) -> Self {
        let spec = &object.spec.token;
        Self {
            identity: super::identity(object),
            policy: spec.deletion_policy,
            retain: spec.secret.deletion_policy == SecretDeletionPolicy::Retain,
            deleting: object.metadata.deletion_timestamp.as_ref().map(|time| time.0),
        }
    }
}

impl State {
    /// The object is gone by our write, so its Secrets and tokens must be, but for what is to be left.
    pub fn released(&mut self, servers: &Servers, entry: &Entry, namespace: &str, name: &str) {
        let identity = Identity::of("OrganizationAccessToken", namespace, name);
        let marked = |label: &str| Marker::parse(label).is_some_and(|(_, marker)| marker.identity == identity);
        let of = |uid: &str| self.finalized.get(uid).filter(|found| found.identity == identity);
        let secrets = servers.kube.stored("secrets");
        let left = secrets.iter().filter(|secret| user::value(secret).is_some());
        let left = left.filter_map(|secret| of(entry_of(secret).unwrap_or_default()));
        let left = left.filter(|found| !(found.retain && found.policy == DeletionPolicy::Retain)).count();
        let last = self.finalized.values().filter(|found| found.identity == identity && found.deleting.is_some());
        let last = last.max_by_key(|found| found.deleting);
        let now = self.clocks.latest(entry.time);
        let waited = last.and_then(|found| found.deleting).map(|since| now.duration_since(since));
        let abandoned = waited.is_some_and(|waited| waited >= ABANDON_AFTER);
        let tokens = servers.hub.organization("acme").tokens();
        let tokens: Vec<_> = tokens.into_iter().filter(|token| marked(&token.label)).collect();
        // Docker Hub changes nothing about an expired token, and who is told that one is not there can't delete it.
        let kept = last.is_some_and(|found| found.policy != DeletionPolicy::Delete);
        let out_of_reach =
            |token: &&TokenView| (kept && token.expired) || self.overlaps.was_said_gone(&token.id, entry.time);
        let left_over: Vec<_> = tokens.iter().filter(|token| !out_of_reach(token)).map(|token| &token.label).collect();
        if left > 0 {
            self.broke("S9", entry, "the finalizer goes before the Secret");
        }
        if !left_over.is_empty() && !abandoned && !self.disturbed.contains(&identity) {
            self.broke("S9", entry, &format!("the finalizer goes before {left_over:?}"));
        }
        // What is left is another object's some day.
        self.faults += u32::try_from(tokens.len()).unwrap();
        if !tokens.is_empty() {
            self.disturbed.insert(identity.clone());
        }
        self.creates.retain(|(marker, _), _| marker.identity != identity);
        self.highest.remove(&super::labels_of(&identity));
    }
}
