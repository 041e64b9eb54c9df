//! What others do to the cluster, for tests: past RBAC, journal and faults, at once, and through no request.
//!
//! Every deed is a change like any other: watches tell of it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::object::set_meta;
use super::world::{Api, time};

/// Others who may do everything. `resource` is as in `secrets` or `leases.coordination.k8s.io`; `namespace` is empty for
/// cluster-wide objects. Each deed answers whether there was such an object.
#[derive(Clone, Debug)]
pub struct Hands {
    pub(super) api: Arc<Api>,
}

impl Hands {
    /// Changes an object; its resource version is a new one.
    pub fn change(&self, resource: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> bool {
        self.api.write(|world| {
            let Some(found) = world.store.get(resource, namespace, name) else { return false };
            let mut object = (**found).clone();
            change(&mut object);
            world.store.put(resource, (namespace.to_owned(), name.to_owned()), object);
            true
        })
    }

    /// Writes an object as it is: only its resource version is a new one.
    pub fn touch(&self, resource: &str, namespace: &str, name: &str) -> bool {
        self.change(resource, namespace, name, |_| {})
    }

    /// Takes an object away, whatever its finalizers say.
    pub fn remove(&self, resource: &str, namespace: &str, name: &str) -> bool {
        self.api.write(|world| world.store.delete(resource, &(namespace.to_owned(), name.to_owned())).is_some())
    }

    /// Takes an object away and makes it anew: the same name and content, another uid; without status, finalizers and a
    /// deletion's marks.
    pub fn replace(&self, resource: &str, namespace: &str, name: &str) -> bool {
        let now = time(self.api.clock.now());
        self.api.write(|world| {
            let key = (namespace.to_owned(), name.to_owned());
            let Some(found) = world.store.delete(resource, &key) else { return false };
            let mut object = (*found).clone();
            set_meta(&mut object, "uid", json!(world.ids.uid()));
            set_meta(&mut object, "creationTimestamp", json!(now));
            if let Some(object) = object.as_object_mut() {
                object.remove("status");
                if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                    for field in ["finalizers", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"] {
                        metadata.remove(field);
                    }
                }
            }
            world.store.put(resource, key, object);
            true
        })
    }
}
