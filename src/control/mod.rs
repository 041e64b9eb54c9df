//! The controller: joins Kubernetes and Docker Hub.
//!
//! Reading order: [`token`] (a pass over one token object: observe, decide, apply, absorb, until it rests), [`apply`]
//! (one step against the world; the only caller of Docker Hub's writes), [`organization`] (a pass over an organization
//! object), [`census`] (the numbers of its status), [`orphans`] (tokens without an object), [`hubs`] (the clients of
//! Docker Hub, one per organization), [`memo`] (what this process remembers of an object), [`queue`], [`watches`] (how
//! they are followed), [`runtime`] (what runs).
//!
//! Invariant: no write anywhere without leadership for longer than the write may take.

pub mod account;
pub mod apply;
pub mod census;
pub mod hubs;
pub mod memo;
pub mod organization;
pub mod organizations;
pub mod orphans;
pub mod publish;
pub mod queue;
pub mod report;
pub mod runtime;
pub mod token;
pub mod watches;

use std::{sync::Arc, time::Duration};

use crate::{
    api::{OrganizationAccessToken, names::ClusterId, token::OrganizationKind},
    clock::Clock,
    k8s::{
        Key, events::Events, foreign::Foreign, leader::Leader, observe, secrets::Entry, store::Store, write::Writer,
    },
    serve::metrics::Metrics,
};

/// Names an organization object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganizationKey {
    /// Which of the kinds.
    pub kind: OrganizationKind,
    /// Its namespace, empty for the cluster's, and its name.
    pub key: Key,
}

/// What a worker looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// An organization object.
    Organization(OrganizationKey),
    /// A token object.
    Token(Key),
}

/// How the operator is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where credentials of cluster-wide organizations are.
    pub operator_namespace: String,
    /// The first part of the marker.
    pub cluster: ClusterId,
    /// Where Docker Hub is, unless an organization says otherwise.
    pub endpoints: crate::hub::Endpoints,
    /// How long a deletion waits for an organization that is gone.
    pub abandon_after: Duration,
    /// Prefixes of template keys that are permitted beyond the default.
    pub allowed_template_keys: Vec<String>,
    /// How many seconds a watch is asked for.
    pub watch_timeout: u32,
}

/// What all passes share.
pub struct Context {
    /// The time.
    pub clock: Clock,
    /// How the operator is set up.
    pub settings: Settings,
    /// Writes to Kubernetes.
    pub writer: Writer,
    /// Who leads.
    pub leader: Leader,
    /// The token objects.
    pub tokens: Store<OrganizationAccessToken>,
    /// The organization objects.
    pub organizations: organizations::Organizations,
    /// Our Secrets, without their values.
    pub secrets: Store<Entry>,
    /// The names of all other Secrets.
    pub foreign: Foreign,
    /// The clients of Docker Hub.
    pub hubs: hubs::Hubs,
    /// What this process remembers of token objects.
    pub memos: memo::Memos,
    /// What is to be looked at.
    pub queue: Arc<queue::Queue<Task>>,
    /// How the watches are.
    pub watches: watches::Watches,
    /// Set when the stores are no older than the leadership.
    pub caught_up: tokio::sync::OnceCell<()>,
    /// The namespaces that are watched; empty for all.
    pub namespaces: Vec<String>,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
}

impl Context {
    /// What the Kubernetes side of a view is gathered from.
    pub fn sources(&self) -> observe::Sources<'_> {
        observe::Sources {
            tokens: &self.tokens,
            ours: &self.secrets,
            foreign: &self.foreign,
            cluster: &self.settings.cluster,
            allowed: &self.settings.allowed_template_keys,
        }
    }

    /// Whether a write that takes as long as writes may take can begin now. Each is asked again when it is sent.
    pub fn may_write(&self) -> bool {
        self.writer.permit.begins()
    }
}
