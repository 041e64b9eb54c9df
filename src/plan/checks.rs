//! Ordered checks: the first finding gives the reason and the message. They come before anything is done.

use jiff::Timestamp;

use super::{Organization, SecretState, View, adopt};
use crate::api::{conditions::Reason, valid::Expiry};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The reason that users see.
    pub reason: Reason,
    /// What is wrong, where, and what to do.
    pub message: String,
}

type Check = fn(&View, Timestamp) -> Option<Finding>;

/// In this order.
const CHECKS: &[Check] = &[
    spec_is_valid,
    organization_exists,
    adoption_is_granted,
    no_older_object_wants_it,
    secret_is_ours,
    expiration_lies_ahead,
    no_twin,
];

/// The first finding.
pub fn first(view: &View, now: Timestamp) -> Option<Finding> {
    CHECKS.iter().find_map(|check| check(view, now))
}

fn spec_is_valid(view: &View, _: Timestamp) -> Option<Finding> {
    let problems = view.object.wanted.as_ref().err()?;
    let texts: Vec<_> = problems.iter().take(5).map(ToString::to_string).collect();
    Some(Finding { reason: Reason::InvalidSpec, message: texts.join("; ") })
}

fn organization_exists(view: &View, _: Timestamp) -> Option<Finding> {
    match &view.organization {
        Organization::Missing(message) => {
            Some(Finding { reason: Reason::OrganizationNotFound, message: message.clone() })
        }
        Organization::Known(_) => None,
    }
}

/// Whoever may adopt can have any token of the organization replaced and deleted.
fn adoption_is_granted(view: &View, _: Timestamp) -> Option<Finding> {
    let wanted = view.object.wanted.as_ref().ok()?;
    let Organization::Known(account) = &view.organization else { return None };
    let refused = wanted.adopt.is_some() && !account.adoptable && view.memory.token.is_none();
    refused.then(|| Finding {
        reason: Reason::NotGranted,
        message: "spec.adopt: a ClusterOrganization does not permit to take over tokens: refer to an Organization of this namespace"
            .into(),
    })
}

/// Two objects that want one Secret or one token: the older wins, and the other makes nothing.
fn no_older_object_wants_it(view: &View, _: Timestamp) -> Option<Finding> {
    let message = view.object.rival.clone()?;
    Some(Finding { reason: Reason::SecretConflict, message })
}

/// Nothing of another operator's is touched, and nothing is made beside it: two would replace each other for ever.
fn no_twin(view: &View, _: Timestamp) -> Option<Finding> {
    let id = adopt::twin(view)?;
    let message = format!(
        "token {id} at Docker Hub carries this object's marker, but another operator made it: a copy of this cluster has the same \
         cluster id. Give one of the two another --cluster-id, then delete that token"
    );
    Some(Finding { reason: Reason::TwinDetected, message })
}

/// Before a token is made: a token that can't be delivered only takes a place.
fn secret_is_ours(view: &View, _: Timestamp) -> Option<Finding> {
    let foreign = view.wanted_secrets().find(|secret| secret.state == SecretState::Foreign)?;
    let message = format!(
        "Secret {} exists and was not made for this object: delete it or choose another spec.secret.name",
        foreign.key
    );
    Some(Finding { reason: Reason::SecretConflict, message })
}

/// A fixed time that has come is not renewed past.
fn expiration_lies_ahead(view: &View, now: Timestamp) -> Option<Finding> {
    let wanted = view.object.wanted.as_ref().ok()?;
    let Expiry::At(time) = wanted.expiry else { return None };
    let message = format!("spec.expiration.time {time} has passed: set a later one");
    (time <= now).then_some(Finding { reason: Reason::Expired, message })
}
