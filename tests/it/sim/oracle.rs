//! How a run ended and what it cost: to be compared with the same run undisturbed.
//!
//! Left out is what differs between two right runs: times, ids, values, and which sequence is the current one.

use std::collections::{BTreeMap, BTreeSet};

use oat_operator::api::{OrganizationAccessToken, SEQUENCE, names::Marker};
use oat_sandbox::journal::Server;
use serde_json::Value;

use super::{Sim, is_work, user};

/// What there is at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Token objects by namespace and name.
    pub objects: BTreeMap<String, ObjectEnd>,
    /// Secrets of ours by namespace and name.
    pub secrets: BTreeMap<String, SecretEnd>,
    /// Tokens at Docker Hub.
    pub tokens: BTreeSet<TokenEnd>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEnd {
    /// Type, status and reason of each condition.
    pub conditions: BTreeSet<(String, String, String)>,
    pub observed: bool,
    pub finalizers: Vec<String>,
    /// Whether there is a token, and whether it is active.
    pub token: Option<bool>,
    pub previous: usize,
    pub handled: [Option<String>; 3],
    /// Wanted and published.
    pub targets: Option<(u32, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretEnd {
    /// What it holds, by what its owner's status says.
    pub holds: Role,
    /// Whether that lives at Docker Hub.
    pub live: bool,
    /// Whether its annotation says the sequence of the status.
    pub sequence: bool,
}

/// What a token is to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Current,
    Previous,
    /// With a marker of ours, and unknown to every status.
    Orphan,
    /// Without a marker of ours.
    Foreign,
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenEnd {
    pub role: Role,
    /// Without the marker.
    pub label: String,
    pub description: Option<String>,
    pub resources: String,
    pub live: bool,
}

/// What operators asked and wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub creates: usize,
    pub deletes: usize,
    pub updates: usize,
    pub lists: usize,
    pub gets: usize,
    pub logins: usize,
    pub proofs: usize,
    /// Writes to Kubernetes that were carried out, by method and path.
    pub writes: BTreeMap<String, usize>,
}

/// How it ended and what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub end: End,
    pub counts: Counts,
}

impl Sim {
    /// How it ended so far, and the cost since this place in the journal.
    pub fn outcome(&self, since: u64) -> Outcome {
        Outcome { end: self.end(), counts: self.counts(since) }
    }

    pub fn end(&self) -> End {
        let objects: Vec<OrganizationAccessToken> =
            self.servers.kube.objects(user::TOKENS).into_iter().map(parse).collect();
        let tokens = self.servers.hub.organization("acme").tokens();
        let role = |id: &str, label: &str| {
            let statuses = || objects.iter().filter_map(|object| object.status.as_ref());
            if statuses().any(|status| status.token.as_ref().is_some_and(|token| token.id == id)) {
                Role::Current
            } else if statuses().any(|status| status.previous.iter().any(|token| token.id == id)) {
                Role::Previous
            } else if Marker::parse(label).is_some() {
                Role::Orphan
            } else {
                Role::Foreign
            }
        };
        let token = |token: &oat_sandbox::hub::TokenView| TokenEnd {
            role: role(&token.id, &token.label),
            label: Marker::parse(&token.label).map_or(token.label.as_str(), |(label, _)| label).to_owned(),
            description: token.description.clone(),
            resources: format!("{:?}", token.resources),
            live: token.live(),
        };
        let mut secrets = BTreeMap::new();
        for secret in self.servers.kube.objects("secrets") {
            let Some(sequence) = secret["metadata"]["annotations"][SEQUENCE].as_str() else { continue };
            let found = user::value(&secret).and_then(|value| self.servers.hub.organization("acme").by_value(&value));
            let role = found.as_ref().map_or(Role::Nothing, |token| role(&token.id, &token.label));
            let current = objects.iter().filter_map(|object| object.status.as_ref()?.token.as_ref());
            let end = SecretEnd {
                holds: role,
                live: found.is_some_and(|token| token.live()),
                sequence: current.into_iter().any(|token| token.sequence.to_string() == sequence),
            };
            secrets.insert(name(&secret), end);
        }
        let objects = self.servers.kube.objects(user::TOKENS);
        let objects = objects.into_iter().map(|object| (name(&object), object_end(parse(object)))).collect();
        End { objects, secrets, tokens: tokens.iter().map(token).collect() }
    }

    pub fn counts(&self, since: u64) -> Counts {
        let mut counts = Counts::default();
        for entry in self.journal.since(since).iter().filter(|entry| is_work(entry)) {
            let one = entry.path.split('/').count() > 5;
            let count = match (entry.server, entry.method.as_str()) {
                (Server::Registry, _) => &mut counts.proofs,
                (Server::Hub, "POST") if entry.path.ends_with("/access-tokens") => &mut counts.creates,
                (Server::Hub, "POST") => &mut counts.logins,
                (Server::Hub, "DELETE") => &mut counts.deletes,
                (Server::Hub, "PATCH") => &mut counts.updates,
                (Server::Hub, _) if one => &mut counts.gets,
                (Server::Hub, _) => &mut counts.lists,
                (Server::Kubernetes, _) if entry.is_write() && entry.executed && !entry.path.contains("/events") => {
                    counts.writes.entry(format!("{} {}", entry.method, entry.path)).or_default()
                }
                (Server::Kubernetes, _) => continue,
            };
            *count += 1;
        }
        counts
    }
}

fn parse(object: Value) -> OrganizationAccessToken {
    serde_json::from_value(object).unwrap()
}

fn name(object: &Value) -> String {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text("namespace"), text("name"))
}

fn object_end(object: OrganizationAccessToken) -> ObjectEnd {
    let status = object.status.unwrap_or_default();
    let handled = status.last_handled;
    ObjectEnd {
        conditions: status.conditions.into_iter().map(|c| (c.type_, c.status, c.reason)).collect(),
        observed: status.observed_generation == object.metadata.generation,
        finalizers: object.metadata.finalizers.unwrap_or_default(),
        token: status.token.map(|token| token.active),
        previous: status.previous.len(),
        handled: [handled.trigger, handled.rotate, handled.revoke],
        targets: status.secret.map(|secret| (secret.targets, secret.published)),
    }
}
