//! Every write to Kubernetes, bounded in time and sent once.
//!
//! Guarantees: no write begins without the right to it for as long as it may take, and none goes on without the right.
//!
//! Assumptions: the client has no retry layer (kube's own repeats a write for minutes, long past a lease).
//!
//! Errors: [`Error`] says whether the write may have been carried out.

use std::{fmt::Debug, future::Future, time::Duration};

use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::{NamespaceResourceScope, response::StatusCause},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Key, secrets::Entry};
use crate::{
    api::{FINALIZER, MANAGER},
    permit::{Denied, Permit},
    text,
};

/// Writes to Kubernetes, each sent once and given up after `limit`.
#[derive(Clone)]
pub struct Writer {
    /// The API server, without a retry layer.
    pub client: Client,
    /// The longest that one write may take: shorter than what a lease has left after a renewal.
    pub limit: Duration,
    /// The right to write, for at least `limit`.
    pub permit: Permit,
}

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This replica doesn't lead, or not for as long as a write may take: nothing was sent.
    #[error("this replica does not lead for as long as a write may take")]
    NotLeading,
    /// The API server said no.
    #[error("the API server answered {code} {reason}: {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The Status's reason.
        reason: String,
        /// The Status's message.
        message: String,
        /// Whether the Status names an object.
        named: bool,
        /// Whether it names content of a Secret that can't be changed.
        sealed: bool,
    },
    /// No answer, or none that could be read: it may have been carried out.
    #[error("no answer from the API server that could be read")]
    Unknown,
    /// No answer in time: it may be carried out yet.
    #[error("no answer from the API server within {}s", .0.as_secs())]
    Late(Duration),
}

impl Error {
    /// The object was changed, replaced or made by somebody since.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }

    /// The object or its namespace is gone. A 404 that names neither is a proxy's, or that of an API server which does
    /// not serve the resource at the moment.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { code: 404, named: true, .. })
    }

    /// What is there can't be changed into what is wanted: a Secret of another type, or one that somebody made immutable.
    /// Not what a policy says in its own words: it would not take another Secret either.
    pub fn is_immutable(&self) -> bool {
        matches!(self, Self::Refused { code: 422, sealed: true, .. })
    }

    /// Waiting does not help.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { code: 403, .. })
    }
}

/// Whether a cause is the API server's own word for content of a Secret that stays as it is.
fn seals(cause: &StatusCause) -> bool {
    let content = matches!(cause.field.as_str(), "type" | "data" | "immutable");
    content && cause.message.contains("field is immutable")
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            // The API server names fields and rules here, never data of a Secret.
            kube::Error::Api(status) => {
                let message = text::clean(&status.message, 256);
                let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
                let sealed = status.details.iter().flat_map(|details| &details.causes).any(seals);
                Self::Refused { code: status.code, reason: status.reason.clone(), message, named, sealed }
            }
            _ => Self::Unknown,
        }
    }
}

/// The object's own API.
fn namespaced<K>(client: &Client, key: &Key) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), &key.namespace)
}

impl Writer {
    async fn bounded<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        match tokio::time::timeout(self.limit, call).await {
            Ok(answer) => answer.map_err(Error::from),
            Err(_) => Err(Error::Late(self.limit)),
        }
    }

    /// A call that changes something: bounded, and only with the right to it.
    pub(super) async fn guarded<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        match self.permit.guard(self.bounded(call)).await {
            Ok(answer) => answer,
            Err(Denied::Before) => Err(Error::NotLeading),
            Err(Denied::During) => Err(Error::Unknown),
        }
    }

    /// Sets the object's finalizer, if nobody wrote it since.
    pub async fn finalizer<K>(&self, object: &K, wanted: bool) -> Result<K, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let others = object.finalizers().iter().filter(|name| *name != FINALIZER).cloned();
        let finalizers: Vec<String> = others.chain(wanted.then(|| FINALIZER.into())).collect();
        let metadata =
            json!({"resourceVersion": object.resource_version(), "uid": object.uid(), "finalizers": finalizers});
        let api = namespaced::<K>(&self.client, &super::key(object));
        let patch = Patch::Merge(json!({"metadata": metadata}));
        self.guarded(api.patch(&object.name_any(), &managed(), &patch)).await
    }

    /// Writes a status, if nobody wrote the object since.
    pub async fn status<K>(&self, api: &Api<K>, object: &K, mut patch: Value) -> Result<K, Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        patch["metadata"] = json!({"resourceVersion": object.resource_version(), "uid": object.uid()});
        self.guarded(api.patch_status(&object.name_any(), &managed(), &Patch::Merge(patch))).await
    }

    /// Creates a Secret that must not be there, or applies over the one that was seen. Where an apply would leave what
    /// is to go, it is a patch with the same content that also takes that away: one request either way.
    pub async fn secret(&self, key: &Key, mut secret: Secret, seen: Option<&Entry>) -> Result<Secret, Error> {
        let api = namespaced::<Secret>(&self.client, key);
        let Some(seen) = seen else {
            let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
            return self.guarded(api.create(&params, &secret)).await;
        };
        secret.metadata.uid = Some(seen.uid.clone());
        secret.metadata.resource_version = Some(seen.version.clone());
        if let Some(mut patch) = seen.loose.removal(&secret) {
            merge(&mut patch, serde_json::to_value(&secret).unwrap_or_default());
            return self.guarded(api.patch(&key.name, &managed(), &Patch::Strategic(patch))).await;
        }
        self.guarded(api.patch(&key.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&secret))).await
    }

    /// Reads a Secret.
    pub async fn read_secret(&self, key: &Key) -> Result<Option<Secret>, Error> {
        self.bounded(namespaced::<Secret>(&self.client, key).get_opt(&key.name)).await
    }

    /// Changes a Secret that was seen.
    pub async fn patch_secret(&self, key: &Key, patch: Value) -> Result<Secret, Error> {
        self.guarded(namespaced::<Secret>(&self.client, key).patch(&key.name, &managed(), &Patch::Merge(patch))).await
    }

    /// Makes an event.
    pub async fn event(&self, event: &Event) -> Result<(), Error> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        self.guarded(api.create(&params, event)).await.map(drop)
    }

    /// Puts a Secret in the place of one that can't be changed into it, if nobody wrote that since it was seen.
    pub async fn replace_secret(&self, key: &Key, secret: Secret, seen: &Entry) -> Result<Secret, Error> {
        self.remove_secret(key, seen, Some(seen.version.clone())).await?;
        self.secret(key, secret, None).await
    }

    /// Empties a Secret that was seen; one that is gone is as good.
    pub async fn blank_secret(&self, key: &Key, patch: Value, seen: &Entry) -> Result<(), Error> {
        let emptied = self.patch_secret(key, patch).await.map(drop);
        self.unless_gone(key, emptied, seen).await
    }

    /// Deletes a Secret that was seen; one that is gone is as good.
    pub async fn delete_secret(&self, key: &Key, seen: &Entry) -> Result<(), Error> {
        self.remove_secret(key, seen, None).await
    }

    async fn remove_secret(&self, key: &Key, seen: &Entry, version: Option<String>) -> Result<(), Error> {
        let preconditions = Preconditions { uid: Some(seen.uid.clone()), resource_version: version };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let deleted = self.guarded(namespaced::<Secret>(&self.client, key).delete(&key.name, &params)).await.map(drop);
        self.unless_gone(key, deleted, seen).await
    }

    /// That a Secret is not there is believed where a look at it says so too: what is forgotten by mistake is left with
    /// its value.
    async fn unless_gone(&self, key: &Key, written: Result<(), Error>, seen: &Entry) -> Result<(), Error> {
        match written {
            Err(error) if error.is_gone() => {
                let found = self.read_secret(key).await?;
                if found.is_some_and(|found| found.metadata.uid.as_ref() == Some(&seen.uid)) {
                    Err(error)
                } else {
                    Ok(())
                }
            }
            written => written,
        }
    }
}

/// Puts everything of one object of JSON into another; lists are put together.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from),
        (into, from) => *into = from,
    }
}

fn managed() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() }
}
