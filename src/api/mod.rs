//! The API's types: what users write, what the operator answers, and the rules for names and values.
//!
//! Reading order: [`token`], [`organization`], [`names`], [`valid`] (a spec, checked once at the border), [`windows`],
//! [`conditions`] (facts into conditions).
//!
//! Never: I/O, async, the time, or a decision about a token.

#![deny(missing_docs)]

pub mod conditions;
pub mod durations;
pub mod names;
pub mod organization;
mod schema;
pub mod token;
pub mod valid;
pub mod windows;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

pub use organization::{ClusterOrganization, Organization};
pub use token::OrganizationAccessToken;

/// The group of all kinds.
pub const GROUP: &str = "oat-operator.dev";
/// The finalizer on token objects.
pub const FINALIZER: &str = "oat-operator.dev/token";
/// Annotation: any new value rotates the token now.
pub const ROTATE: &str = "oat-operator.dev/rotate";
/// Annotation: any new value deactivates the token at once and replaces it.
pub const REVOKE: &str = "oat-operator.dev/revoke";
/// Annotation of Flux: any new value makes the operator look at the object again.
pub const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// The field manager of every write, and the value of [`MANAGED_BY`].
pub const MANAGER: &str = "oat-operator";
/// Label on our Secrets.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label on our Secrets: the uid of the token object.
pub const OWNER: &str = "oat-operator.dev/owner";
/// Annotation on our Secrets: the id of the token whose value they hold.
pub const TOKEN_ID: &str = "oat-operator.dev/token-id";
/// Annotation on our Secrets: the sequence of that token.
pub const SEQUENCE: &str = "oat-operator.dev/sequence";
/// Annotation on our Secrets: when they were last touched, so that an older write in flight fails its precondition.
pub const TOUCHED: &str = "oat-operator.dev/touched";
/// Annotation on our Secrets: when that token expires.
pub const EXPIRATION_TIME: &str = "oat-operator.dev/expiration-time";

/// The definitions of all kinds, as `crds/` holds them.
///
/// `status` defaults to `observedGeneration: -1`: without it kstatus, and so Flux, Argo CD and Helm, hold an object
/// that the operator has not seen yet to be finished.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut all = vec![ClusterOrganization::crd(), Organization::crd(), OrganizationAccessToken::crd()];
    for root in all.iter_mut().flat_map(|crd| crd.spec.versions.iter_mut()).filter_map(|v| v.schema.as_mut()) {
        root.open_api_v3_schema.iter_mut().for_each(drop_rust_formats);
    }
    for version in all.iter_mut().flat_map(|crd| crd.spec.versions.iter_mut()) {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|root| root.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            let default = serde_json::json!({"observedGeneration": -1});
            status.default = Some(JSON(default));
        }
    }
    all
}

/// Kubernetes knows no unsigned formats and warns about each.
fn drop_rust_formats(schema: &mut JSONSchemaProps) {
    schema.format.take_if(|format| format.starts_with("uint"));
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(drop_rust_formats);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        drop_rust_formats(items);
    }
}
