//! What is put into the sandbox's cluster: our definitions, and the manifests that somebody names.

use std::path::{Path, PathBuf};

use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, GroupVersionKind, Patch, PatchParams},
    discovery,
};
use serde::Deserialize;

use super::Error;
use crate::api;

/// The definitions, and the namespace that the operator's Lease lives in.
pub async fn install(client: &Client) -> Result<(), Error> {
    for crd in api::crds() {
        let name = crd.name_any();
        apply(client, &serde_json::to_value(&crd).unwrap_or_default(), &name).await?;
    }
    let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "oat-operator"}});
    apply(client, &namespace, "oat-operator").await
}

/// Every object of a file, or of a folder's files in the order of their names.
pub fn read(path: &Path) -> Result<Vec<(String, serde_json::Value)>, Error> {
    let failed = |error| Error::File(path.to_owned(), error);
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml"));
        files.sort();
        let objects = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        return Ok(objects.into_iter().flatten().collect());
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let object = serde_json::Value::deserialize(document).map_err(|error| Error::Yaml(path.to_owned(), error))?;
        if object.is_null() {
            continue;
        }
        let text =
            |pointer: &str| object.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let (kind, namespace, name) = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        let name = if namespace.is_empty() { name } else { format!("{namespace}/{name}") };
        objects.push((format!("{kind} {name}"), object));
    }
    Ok(objects)
}

/// Server-side applies an object of any kind.
pub async fn apply(client: &Client, object: &serde_json::Value, what: &str) -> Result<(), Error> {
    let refused = |error| Error::Refused(what.to_owned(), error);
    let object: DynamicObject =
        serde_json::from_value(object.clone()).map_err(|error| refused(kube::Error::SerdeError(error)))?;
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    let kind = GroupVersionKind::gvk(group, version, &types.kind);
    let (resource, capabilities) = discovery::pinned_kind(client, &kind).await.map_err(refused)?;
    let api: Api<DynamicObject> = match capabilities.scope {
        discovery::Scope::Namespaced => {
            Api::namespaced_with(client.clone(), object.metadata.namespace.as_deref().unwrap_or("default"), &resource)
        }
        discovery::Scope::Cluster => Api::all_with(client.clone(), &resource),
    };
    let params = PatchParams::apply("kubectl").force();
    api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await.map_err(refused)?;
    Ok(())
}
