//! The organization objects, of both kinds: the one place that tells them apart.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Api, Client, Resource, core::NamespaceResourceScope};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::OrganizationKey;
use crate::{
    api::{
        ClusterOrganization, Organization,
        organization::{EndpointsSpec, OrganizationSpec, OrganizationStatus},
        token::OrganizationKind,
    },
    k8s::{
        Key,
        lenient::Salvage,
        store::Store,
        write::{self, Writer},
    },
};

/// What is asked of an organization object, whichever kind it is.
pub struct Found {
    /// Which.
    pub key: OrganizationKey,
    /// Its generation.
    pub generation: i64,
    /// Its spec, as far as both kinds share it.
    pub spec: OrganizationSpec,
    /// Where Docker Hub is, if it says so.
    pub endpoints: Option<EndpointsSpec>,
    /// Its status.
    pub status: OrganizationStatus,
    /// For events.
    pub reference: ObjectReference,
}

impl Found {
    /// Its name at Docker Hub, as written.
    pub fn name(&self) -> &str {
        self.spec.organization.as_deref().unwrap_or(&self.key.key.name)
    }
}

/// The organization objects.
pub struct Organizations {
    /// Those of namespaces.
    pub namespaced: Store<Organization>,
    /// Those of the cluster.
    pub cluster: Store<ClusterOrganization>,
}

impl Organizations {
    /// No objects yet; the namespaced ones come from so many watches.
    pub fn new(watches: usize) -> Self {
        Self { namespaced: Store::new(watches), cluster: Store::new(1) }
    }

    /// An object.
    pub fn get(&self, key: &OrganizationKey) -> Option<Found> {
        match key.kind {
            OrganizationKind::Organization => self.namespaced.get(&key.key).map(|object| {
                let spec = object.spec.shared.clone();
                found(key, object.as_ref(), spec, None, object.status.clone())
            }),
            OrganizationKind::ClusterOrganization => self.cluster.get(&key.key).map(|object| {
                let (spec, endpoints) = (object.spec.shared.clone(), object.spec.endpoints.clone());
                found(key, object.as_ref(), spec, endpoints, object.status.clone())
            }),
        }
    }

    /// Every object.
    pub fn all(&self) -> Vec<Found> {
        let keys =
            |kind: OrganizationKind, keys: Vec<Key>| keys.into_iter().map(move |key| OrganizationKey { kind, key });
        let namespaced = self.namespaced.all().into_iter().map(|(key, _)| key).collect();
        let cluster = self.cluster.all().into_iter().map(|(key, _)| key).collect();
        let namespaced = keys(OrganizationKind::Organization, namespaced);
        namespaced
            .chain(keys(OrganizationKind::ClusterOrganization, cluster))
            .filter_map(|key| self.get(&key))
            .collect()
    }

    /// Writes an object's status, if nobody wrote it since.
    pub async fn write_status(&self, writer: &Writer, key: &OrganizationKey, patch: Value) -> Result<(), write::Error> {
        match key.kind {
            OrganizationKind::Organization => {
                let Some(object) = self.namespaced.get(&key.key) else { return Ok(()) };
                let api = api::<Organization>(&writer.client, &key.key.namespace);
                let written = writer.status(&api, object.as_ref(), patch).await?;
                self.namespaced.wrote(key.key.clone(), written);
            }
            OrganizationKind::ClusterOrganization => {
                let Some(object) = self.cluster.get(&key.key) else { return Ok(()) };
                let written = writer.status(&Api::all(writer.client.clone()), object.as_ref(), patch).await?;
                self.cluster.wrote(key.key.clone(), written);
            }
        }
        Ok(())
    }

    /// Tells when each kind has been listed.
    pub fn complete(&self) -> [watch::Receiver<bool>; 2] {
        [self.namespaced.complete(), self.cluster.complete()]
    }
}

impl Salvage for Organization {
    fn instead(spec: &Value) -> Vec<Value> {
        vec![least(spec)]
    }

    fn mark(&mut self, problem: String) {
        self.spec.shared.unreadable = Some(problem);
    }
}

impl Salvage for ClusterOrganization {
    fn instead(spec: &Value) -> Vec<Value> {
        vec![least(spec)]
    }

    fn mark(&mut self, problem: String) {
        self.spec.shared.unreadable = Some(problem);
    }
}

/// The least that an organization says, where more can't be read.
fn least(spec: &Value) -> Value {
    let name = spec.get("organization").and_then(Value::as_str);
    json!({"organization": name, "credentials": {"secretRef": {"name": ""}}})
}

fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(client: &Client, namespace: &str) -> Api<K> {
    Api::namespaced(client.clone(), namespace)
}

fn found<K: Resource<DynamicType = ()>>(
    key: &OrganizationKey,
    object: &K,
    spec: OrganizationSpec,
    endpoints: Option<EndpointsSpec>,
    status: Option<OrganizationStatus>,
) -> Found {
    Found {
        key: key.clone(),
        generation: object.meta().generation.unwrap_or_default(),
        spec,
        endpoints,
        status: status.unwrap_or_default(),
        reference: object.object_ref(&()),
    }
}

/// Where an organization's Secrets are: its own namespace, or the operator's.
pub fn namespace<'a>(key: &'a OrganizationKey, operator: &'a str) -> &'a str {
    match key.kind {
        OrganizationKind::Organization => &key.key.namespace,
        OrganizationKind::ClusterOrganization => operator,
    }
}

/// The kind of an organization object, as users write it.
pub fn kind(key: &OrganizationKey) -> &'static str {
    match key.kind {
        OrganizationKind::Organization => "Organization",
        OrganizationKind::ClusterOrganization => "ClusterOrganization",
    }
}

/// The key of the organization that a reference names.
pub fn key_of(kind: OrganizationKind, name: &str, namespace: &str) -> OrganizationKey {
    let namespace = match kind {
        OrganizationKind::Organization => namespace.to_owned(),
        OrganizationKind::ClusterOrganization => String::new(),
    };
    OrganizationKey { kind, key: Key { namespace, name: name.to_owned() } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::lenient::Lenient;

    #[test]
    fn an_organization_that_can_not_be_read_keeps_its_names() {
        let object = json!({"metadata": {"name": "acme"}, "spec": {"organization": "acme-inc", "pollInterval": 5}});
        let found = serde_json::from_value::<Lenient<Organization>>(object.clone()).unwrap().0;
        assert_eq!(found.metadata.name.as_deref(), Some("acme"));
        assert_eq!(found.spec.shared.organization.as_deref(), Some("acme-inc"));
        assert!(found.spec.shared.unreadable.is_some());
        let found = serde_json::from_value::<Lenient<ClusterOrganization>>(object).unwrap().0;
        assert!(found.spec.shared.unreadable.is_some());
        assert!(serde_json::from_value::<Lenient<Organization>>(json!({"metadata": 3})).is_err());
    }
}
