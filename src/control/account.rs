//! An organization as decisions see it: from its object and its client's snapshot.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Context, OrganizationKey, hubs::Hub, organizations};
use crate::{
    api::{
        OrganizationAccessToken,
        conditions::Reason,
        names::{ClusterId, Identity, Marker, OrgName, TokenId},
        token::{Adopt, OrganizationKind, TokenStatus},
        valid,
    },
    hub,
    plan::{Account, List, Organization, Token, Trouble},
};

/// The organization that a token object refers to.
pub fn key_of(object: &OrganizationAccessToken) -> OrganizationKey {
    let reference = &object.spec.organization_ref;
    organizations::key_of(reference.kind, &reference.name, object.metadata.namespace.as_deref().unwrap_or_default())
}

/// What a token object sees of its organization; `None` while that has not been looked at yet.
///
/// An organization object that is gone is still used by objects that are being deleted, as long as its client is here.
pub fn organization(context: &Context, object: &OrganizationAccessToken) -> Option<Organization> {
    let key = key_of(object);
    let hub = context.hubs.get(&key);
    let deleting = object.metadata.deletion_timestamp.is_some();
    let spec = context
        .organizations
        .get(&key)
        .map(|found| found.spec)
        .or_else(|| hub.as_ref().filter(|_| deleting).map(|hub| hub.spec()));
    let Some(spec) = spec else {
        let kind = organizations::kind(&key);
        return Some(Organization::Missing(format!("{kind} {} does not exist", key.key.name)));
    };
    let name = match OrgName::parse(spec.organization.as_deref().unwrap_or(&key.key.name)) {
        Ok(name) => name,
        Err(invalid) => return Some(Organization::Missing(invalid.to_string())),
    };
    let state = hub.as_ref().map(|hub| hub.handle.state().borrow().clone());
    // Credentials that can't be read any more are still known to the client. With them an object that is being deleted
    // cleans up: that is how a namespace goes that is deleted with all that is in it, in whatever order.
    let equipped = state.as_ref().is_some_and(|state| state.login == hub::Login::Accepted);
    let unreadable = context.hubs.trouble(&key).filter(|_| !(deleting && equipped));
    let trouble = unreadable.or_else(|| state.as_ref().and_then(trouble));
    let identity = Identity::of(
        "OrganizationAccessToken",
        object.metadata.namespace.as_deref()?,
        object.metadata.name.as_deref()?,
    );
    let remembered = remembered(object.status.as_ref());
    let adopt = object.spec.token.adopt.as_ref();
    let list = state.as_ref().and_then(|state| state.snapshot.as_ref());
    let list = list.map(|snapshot| list_of(snapshot, &context.settings.cluster, &identity, &remembered, adopt));
    let known = list.is_some() || trouble.is_some() || spec.suspend;
    known.then(|| {
        Organization::Known(Account {
            name,
            limit: spec.token_limit.unwrap_or(spec.subscription.limit()),
            reserved: spec.reserved_tokens,
            // Until grants exist nobody can say who of a cluster may take over which token.
            adoptable: key.kind == OrganizationKind::Organization,
            suspended: spec.suspend,
            list,
            trouble,
        })
    })
}

fn trouble(state: &hub::State) -> Option<Trouble> {
    let trouble = state.trouble.as_ref()?;
    let reason = reason(trouble.reason);
    Some(Trouble { reason, message: trouble.message.clone(), retry: trouble.retry, uncertain: false })
}

/// A client's reason in the words of the API.
pub fn reason(text: &str) -> Reason {
    match text {
        "TwoFactorRequired" => Reason::CredentialsInvalid,
        // What is left has no word of its own for users: an odd answer, a token that is gone, a client that was stopped.
        other => Reason::ALL.into_iter().find(|reason| reason.as_str() == other).unwrap_or(Reason::HubUnavailable),
    }
}

fn remembered(status: Option<&TokenStatus>) -> Vec<String> {
    let Some(status) = status else { return Vec::new() };
    let current = status.token.iter().map(|token| token.id.clone());
    current.chain(status.previous.iter().map(|token| token.id.clone())).collect()
}

/// A snapshot cut down to what concerns one object.
pub fn list_of(
    snapshot: &hub::Snapshot,
    cluster: &ClusterId,
    identity: &Identity,
    remembered: &[String],
    adopt: Option<&Adopt>,
) -> List {
    let ours = |token: &hub::Token| {
        let own = |marker: &Marker| marker.cluster == *cluster && marker.identity == *identity;
        Marker::parse(&token.label).map(|(_, marker)| marker).filter(own).map(|marker| marker.sequence)
    };
    let meant = |token: &hub::Token| {
        let by = |adopt: &Adopt| adopt.id.as_ref() == Some(&token.id) || adopt.label.as_ref() == Some(&token.label);
        adopt.is_some_and(by)
    };
    let concerns = |token: &&hub::Token| ours(token).is_some() || remembered.contains(&token.id) || meant(token);
    let tokens = snapshot.tokens.iter().filter(concerns);
    let tokens = tokens.filter_map(|token| Some((TokenId::parse(&token.id).ok()?, token_of(token, ours(token)))));
    List {
        started: snapshot.started,
        total: u32::try_from(snapshot.tokens.len()).unwrap_or(u32::MAX),
        steady: snapshot.steady,
        tokens: tokens.collect(),
    }
}

/// A token at Docker Hub as decisions see it.
pub fn token_of(token: &hub::Token, sequence: Option<u64>) -> Token {
    Token {
        label: token.label.clone(),
        sequence,
        active: token.active,
        expires: token.expiration_time,
        last_used: token.last_used_time,
        shape: token.resources.as_ref().map(|resources| shape_of(token, resources)),
    }
}

/// The hash of a token's shape as Docker Hub tells it.
fn shape_of(token: &hub::Token, resources: &[hub::Resource]) -> String {
    let label = Marker::parse(&token.label).map_or(token.label.as_str(), |(user, _)| user);
    let resources = resources.iter().map(|resource| {
        let kind = match &resource.kind {
            hub::ResourceKind::Repository => "TYPE_REPO",
            hub::ResourceKind::Organization => "TYPE_ORG",
            hub::ResourceKind::Other(kind) => kind,
        };
        (kind.to_owned(), resource.path.clone(), resource.scopes.clone())
    });
    valid::shape_hash(label, token.description.as_deref().unwrap_or_default(), resources.collect())
}

/// When the first list of a leadership term must have begun at the earliest.
pub fn term_start(context: &Context) -> Timestamp {
    context.leader.claim().borrow().as_ref().map_or(Timestamp::MIN, |claim| claim.acquired)
}

/// The client of a token object's organization.
pub fn hub(context: &Context, object: &OrganizationAccessToken) -> Option<Arc<Hub>> {
    context.hubs.get(&key_of(object))
}
