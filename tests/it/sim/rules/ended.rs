//! Whose value must be in no Secret from now on (S1): that of a token which we deleted or deactivated, but where it is not
//! to work, or where it goes for its successor: the organization has no place left, and it is the last safe moment.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use oat_operator::api::{
    OrganizationAccessToken,
    names::{Identity, Marker},
};
use oat_sandbox::journal::Entry;

use super::{Known, LATE, Servers, State, identity, is_silenced, object_naming, object_of, token_path, user};

/// How long a refused create counts as no place: until the longest retry is over.
const REFUSED: SignedDuration = SignedDuration::from_mins(15);
/// What the last safe moment is before the expiry, or a tenth of a shorter life.
const MARGIN: SignedDuration = SignedDuration::from_hours(1);
/// Docker Hub's times are whole seconds.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// When a create was refused last, by object.
#[derive(Default)]
pub struct Refusals(BTreeMap<Identity, Timestamp>);

impl Refusals {
    pub fn refused(&mut self, identity: Identity, now: Timestamp) {
        self.0.insert(identity, now);
    }
}

impl State {
    /// A change of ours at Docker Hub was carried out.
    pub fn changed_hub(&mut self, servers: &Servers, entry: &Entry) {
        let Some((_, Some(id))) = token_path(&entry.path) else { return };
        let Some(known) = self.known.get(id).cloned() else { return };
        let (hash, label) = (&known.hash, &known.label);
        let active = entry.json().and_then(|body| body["is_active"].as_bool());
        let how = match (entry.method.as_str(), active) {
            ("DELETE", _) => "deleted",
            ("PATCH", Some(false)) => "deactivated",
            ("PATCH", Some(true)) => {
                self.ended.remove(hash);
                return;
            }
            _ => return,
        };
        let marked = Marker::parse(label).map(|(_, marker)| marker.identity);
        let object = match &marked {
            Some(identity) => object_of(servers, identity),
            None => object_naming(servers, id),
        };
        let identity = marked.or(object.as_ref().map(identity));
        let silent = object.is_some_and(|object| self.is_silent(&object, entry.time));
        let late = identity.as_ref().is_some_and(|identity| self.was_silenced(identity, entry.time));
        let exchange = entry.method == "DELETE"
            && identity.is_some_and(|identity| self.is_exchange(servers, entry, &known, &identity));
        if known.live && !silent && !late && !exchange {
            self.ended.insert(known.hash, format!("{how} as {:?}", known.label));
        }
    }

    /// Whether somebody wants an object's tokens not to work, or did so a moment ago.
    pub fn is_silent(&self, object: &OrganizationAccessToken, now: Timestamp) -> bool {
        is_silenced(object) || self.was_silenced(&identity(object), now)
    }

    fn was_silenced(&self, identity: &Identity, now: Timestamp) -> bool {
        self.silenced.get(identity).is_some_and(|since| now.duration_since(*since) <= LATE)
    }

    /// Whether a token that was deleted just now had to make room for its successor.
    fn is_exchange(&self, servers: &Servers, entry: &Entry, known: &Known, identity: &Identity) -> bool {
        let Some(expires) = known.expires else { return false };
        let margin = MARGIN.min(expires.duration_since(known.created) / 10);
        let last = expires.saturating_sub(margin + SLACK).unwrap();
        let refused = self.refusals.0.get(identity).is_some_and(|at| entry.time.duration_since(*at) <= REFUSED);
        last <= self.clocks.latest(entry.time) && (refused || is_full(servers))
    }
}

/// Whether there was no place before the deletion that was just carried out, by what the organization object says. What
/// Docker Hub itself says is in its refusals.
fn is_full(servers: &Servers) -> bool {
    let organizations = servers.kube.stored(user::ORGANIZATIONS);
    let limits = organizations.iter().filter_map(|object| object["spec"]["tokenLimit"].as_u64());
    let there = servers.hub.organization("acme").count() + 1;
    limits.min().is_some_and(|limit| u64::try_from(there).unwrap() >= limit)
}
