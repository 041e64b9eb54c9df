//! Stores into a view: the one gatherer. A decision has no other input.

use std::collections::BTreeSet;

use kube::ResourceExt;

use super::{Key, foreign::Foreign, secrets::Entry, status, store::Store};
use crate::{
    api::{
        self, OrganizationAccessToken,
        names::{ClusterId, Identity, OrgName},
        valid::{self, FieldProblem, Wanted},
    },
    plan::{Hand, Held, Object, Organization, Secret, SecretState, Session, View},
};

/// What the Kubernetes side of a view is gathered from.
pub struct Sources<'a> {
    /// All token objects.
    pub tokens: &'a Store<OrganizationAccessToken>,
    /// The Secrets with our label.
    pub ours: &'a Store<Entry>,
    /// The names of all other Secrets.
    pub foreign: &'a Foreign,
    /// The first part of the marker.
    pub cluster: &'a ClusterId,
    /// Prefixes of template keys that are permitted beyond the default.
    pub allowed: &'a [String],
}

/// The object, its organization, and the Secrets concerned, as they are in memory.
pub fn view(
    object: &OrganizationAccessToken,
    organization: Organization,
    hand: Option<Hand>,
    session: Session,
    sources: &Sources<'_>,
) -> View {
    let uid = object.uid().unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    let name = match &organization {
        Organization::Known(account) => Some(&account.name),
        Organization::Missing(_) => None,
    };
    let wanted = valid::wanted(&object.spec.token, name, &namespace, &object.name_any(), sources.allowed);
    let secrets = secrets(&uid, &namespace, name, &wanted, sources);
    let mut view = View {
        object: Object {
            identity: Identity::of("OrganizationAccessToken", &namespace, &object.name_any()),
            uid,
            cluster: sources.cluster.clone(),
            generation: object.metadata.generation.unwrap_or_default(),
            deleting: object.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            finalizer: object.finalizers().iter().any(|name| name == api::FINALIZER),
            requests: status::requests(object, object.spec.token.rotation.trigger.as_ref()),
            observed: object.status.as_ref().and_then(|status| status.observed_generation)
                == object.metadata.generation,
            rival: rival(object, &secrets, sources.tokens),
            wanted,
        },
        memory: status::memory(object.status.as_ref()),
        organization,
        secrets,
        hand,
        session,
    };
    view.see_current();
    view
}

/// The Secret that the spec asks for, and those of the object that it doesn't ask for.
fn secrets(
    uid: &str,
    namespace: &str,
    organization: Option<&OrgName>,
    wanted: &Result<Wanted, Vec<FieldProblem>>,
    sources: &Sources<'_>,
) -> Vec<Secret> {
    let target = wanted.as_ref().ok().map(|wanted| wanted.secret.name.to_string());
    let target = target.map(|name| Key { namespace: namespace.into(), name });
    let owned = sources.ours.all().into_iter().filter(|(_, entry)| entry.owner == uid).map(|(key, _)| key);
    let keys: BTreeSet<Key> = target.iter().cloned().chain(owned).collect();
    keys.into_iter()
        .map(|key| {
            let state = secret(&key, uid, organization, sources);
            Secret { wanted: Some(&key) == target.as_ref(), key, state, failure: None }
        })
        .collect()
}

/// What is there under a Secret's name, as an object with this uid sees it.
pub fn secret(key: &Key, uid: &str, organization: Option<&OrgName>, sources: &Sources<'_>) -> SecretState {
    match sources.ours.get(key) {
        Some(entry) if entry.owner == uid => SecretState::Ours(held(&entry, organization)),
        // Made for an object that is gone, as after a restore: written anew for this one.
        Some(entry) if is_left(&entry, sources.tokens) => {
            SecretState::Ours(Held { layout_hash: String::new(), ..held(&entry, organization) })
        }
        Some(_) => SecretState::Foreign,
        None if sources.foreign.contains(key) => SecretState::Foreign,
        None => SecretState::Absent,
    }
}

/// Whether the object that a Secret of ours was made for is gone.
pub fn is_left(entry: &Entry, tokens: &Store<OrganizationAccessToken>) -> bool {
    !tokens.all().iter().any(|(_, token)| token.metadata.uid.as_ref() == Some(&entry.owner))
}

/// The Secret's name that an object asks for.
fn secret_name(object: &OrganizationAccessToken) -> String {
    object.spec.token.secret.name.clone().unwrap_or_else(|| object.name_any())
}

/// An older object that wants the same Secret, while that isn't there, or the same token; in words.
///
/// Where the Secret is there, whoever it was made for has it.
fn rival(object: &OrganizationAccessToken, secrets: &[Secret], all: &Store<OrganizationAccessToken>) -> Option<String> {
    let absent = secrets.iter().any(|secret| secret.wanted && secret.state == SecretState::Absent);
    let adopt =
        object.spec.token.adopt.as_ref().filter(|_| object.status.as_ref().is_none_or(|status| status.token.is_none()));
    if !absent && adopt.is_none() {
        return None;
    }
    let age = |object: &OrganizationAccessToken| {
        (object.metadata.creation_timestamp.as_ref().map(|time| time.0), object.metadata.uid.clone())
    };
    let older = |other: &OrganizationAccessToken| {
        other.metadata.deletion_timestamp.is_none()
            && other.metadata.uid != object.metadata.uid
            && age(other) < age(object)
    };
    let name = secret_name(object);
    let here = object.namespace();
    all.all().into_iter().filter(|(key, other)| Some(&key.namespace) == here.as_ref() && older(other)).find_map(
        |(key, other)| {
            if absent && secret_name(&other) == name {
                return Some(format!(
                    "OrganizationAccessToken {key} is older and wants the same Secret {name}: choose another spec.secret.name"
                ));
            }
            let same = adopt.is_some()
                && other.spec.token.adopt.as_ref() == adopt
                && other.spec.organization_ref == object.spec.organization_ref;
            same.then(|| format!("OrganizationAccessToken {key} is older and adopts the same token"))
        },
    )
}

/// What a view says of a Secret of ours. A value beside another user name is as good as none.
pub fn held(entry: &Entry, organization: Option<&OrgName>) -> Held {
    let whole = organization.is_none_or(|name| entry.username.as_deref() == Some(name.as_str()));
    let value_hash = entry.value_hash.clone().filter(|_| whole);
    Held { sequence: entry.sequence, value_hash, layout_hash: entry.layout.clone() }
}
