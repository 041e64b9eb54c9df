//! The clients of Docker Hub: one per organization object, kept as long as a token object refers to it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::{OrganizationKey, organizations::Found};
use crate::{
    api::organization::{EndpointsSpec, OrganizationSpec},
    hub,
    plan::Trouble,
};

/// One organization's client, and what it was started with.
pub struct Hub {
    /// How it is asked.
    pub handle: hub::Handle,
    /// What it was started with; anything else needs another client.
    pub identity: Identity,
    /// The spec that it was last given; it outlives the object while tokens are being deleted.
    spec: Mutex<Given>,
    tasks: [JoinHandle<()>; 2],
}

/// What both kinds of organization say, and what only the cluster's says.
type Given = (OrganizationSpec, Option<EndpointsSpec>);

/// What a client can't change once it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The organization at Docker Hub.
    pub name: String,
    /// Where Docker Hub is.
    pub endpoints: hub::Endpoints,
}

impl Hub {
    /// A client that runs, with the task that watches it.
    pub fn new(handle: hub::Handle, tasks: [JoinHandle<()>; 2], object: &Found, identity: Identity) -> Self {
        Self { handle, identity, spec: Mutex::new(given(object)), tasks }
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.spec.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spec that it was last given.
    pub fn spec(&self) -> OrganizationSpec {
        self.given().0.clone()
    }

    /// Whether the object says what it said when its spec was last given.
    pub fn follows(&self, object: &Found) -> bool {
        *self.given() == given(object)
    }

    /// Gives it the object's spec.
    pub fn give(&self, object: &Found) {
        *self.given() = given(object);
    }
}

fn given(object: &Found) -> Given {
    (object.spec.clone(), object.endpoints.clone())
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// All clients.
#[derive(Default)]
pub struct Hubs {
    map: Mutex<HashMap<OrganizationKey, Arc<Hub>>>,
    /// Organizations whose credentials must be read again.
    unread: Mutex<HashSet<OrganizationKey>>,
    /// Why an organization can't be used, beyond what its client says itself: credentials that can't be read, say.
    troubles: Mutex<HashMap<OrganizationKey, Trouble>>,
    /// The list whose numbers an organization's status shows, or would show: when it began.
    counted: Mutex<HashMap<OrganizationKey, Timestamp>>,
}

impl Hubs {
    fn lock(&self) -> MutexGuard<'_, HashMap<OrganizationKey, Arc<Hub>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client of an organization.
    pub fn get(&self, key: &OrganizationKey) -> Option<Arc<Hub>> {
        self.lock().get(key).cloned()
    }

    /// Keeps a client, in place of a former one.
    pub fn put(&self, key: OrganizationKey, hub: Arc<Hub>) {
        self.lock().insert(key, hub);
    }

    /// Stops a client, and forgets all about its organization.
    pub fn remove(&self, key: &OrganizationKey) {
        self.lock().remove(key);
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Why an organization can't be used.
    pub fn trouble(&self, key: &OrganizationKey) -> Option<Trouble> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Says why an organization can't be used, or that it can; whether that is news.
    pub fn set_trouble(&self, key: &OrganizationKey, trouble: Option<Trouble>) -> bool {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let former = match trouble.clone() {
            Some(trouble) => troubles.insert(key.clone(), trouble),
            None => troubles.remove(key),
        };
        former != trouble
    }

    /// Whether a list is a later one than the one whose numbers the status shows. The first list after a start is not:
    /// it may differ by what we did ourselves, and a restart must not write for that.
    pub fn is_later_list(&self, key: &OrganizationKey, started: Timestamp) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.entry(key.clone()).or_insert(started) != started
    }

    /// The status shows the numbers of this list.
    pub fn counted(&self, key: &OrganizationKey, started: Timestamp) {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), started);
    }

    /// Every client.
    pub fn all(&self) -> Vec<(OrganizationKey, Arc<Hub>)> {
        self.lock().iter().map(|(key, hub)| (key.clone(), hub.clone())).collect()
    }

    /// The organization's credentials have changed, or its object has.
    pub fn mark_unread(&self, key: OrganizationKey) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    /// Whether the credentials must be read again; asking takes the mark away.
    pub fn take_unread(&self, key: &OrganizationKey) -> bool {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }
}
