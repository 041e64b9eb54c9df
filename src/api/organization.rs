//! `Organization` and `ClusterOrganization`: a Docker Hub organization and the credentials of one of its owners.
//!
//! Types only. The twins share [`OrganizationSpec`] and [`OrganizationStatus`]; a cluster's one can also say which
//! endpoints hold, since whoever sets those decides where the owner's password is sent.

#![allow(dead_code, reason = "what the schema is derived from has each field, and reads none that is in no object")]
#![allow(
    clippy::duplicated_attributes,
    reason = "each printcolumn has a name, a type and a path; the lint takes them for one list"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// A Docker Hub organization for the tokens of this namespace.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "oat-operator.dev",
    version = "v1alpha1",
    kind = "Organization",
    plural = "organizations",
    shortname = "horg",
    category = "oat-operator",
    namespaced,
    cel,
    status = "OrganizationStatus",
    derive = "PartialEq",
    doc = "A Docker Hub organization and its owner's credentials, usable by the tokens of this namespace.",
    printcolumn(name = "Organization", type_ = "string", json_path = ".status.organization"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.tokens.total"),
    printcolumn(name = "Limit", type_ = "integer", json_path = ".status.tokens.limit"),
    printcolumn(name = "Managed", type_ = "integer", json_path = ".status.tokens.managed"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.organization) == has(oldSelf.organization) && (!has(self.organization) || self.organization == oldSelf.organization)").message("organization is immutable").field_path(".organization"),
    validation = Rule::new("!has(self.tokenLimit) || self.reservedTokens < self.tokenLimit").message("reservedTokens must leave room below tokenLimit").field_path(".reservedTokens")
)]
pub struct OrganizationResourceSpec {
    /// What both kinds of organization share.
    #[serde(flatten)]
    pub shared: OrganizationSpec,
}

/// A Docker Hub organization for the whole cluster.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "oat-operator.dev",
    version = "v1alpha1",
    kind = "ClusterOrganization",
    plural = "clusterorganizations",
    shortname = "chorg",
    category = "oat-operator",
    cel,
    status = "OrganizationStatus",
    derive = "PartialEq",
    doc = "A Docker Hub organization and its owner's credentials, usable from every namespace. The credentials are in the operator's namespace.",
    printcolumn(name = "Organization", type_ = "string", json_path = ".status.organization"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.tokens.total"),
    printcolumn(name = "Limit", type_ = "integer", json_path = ".status.tokens.limit"),
    printcolumn(name = "Managed", type_ = "integer", json_path = ".status.tokens.managed"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.organization) == has(oldSelf.organization) && (!has(self.organization) || self.organization == oldSelf.organization)").message("organization is immutable").field_path(".organization"),
    validation = Rule::new("!has(self.tokenLimit) || self.reservedTokens < self.tokenLimit").message("reservedTokens must leave room below tokenLimit").field_path(".reservedTokens")
)]
pub struct ClusterOrganizationSpec {
    /// What both kinds of organization share.
    #[serde(flatten)]
    pub shared: OrganizationSpec,
    /// Where Docker Hub and its registry's token service are. Default: the operator's flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<EndpointsSpec>,
}

/// An organization, who owns it, and how many tokens it may have.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationSpec {
    /// What is wrong where the object can't be read. Stands in no object.
    #[serde(skip)]
    pub unreadable: Option<String>,

    /// The name at Docker Hub. Default: the name of this object. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 80), regex(pattern = r"^[a-z0-9][a-z0-9_-]*[a-z0-9]$"))]
    pub organization: Option<String>,
    /// The credentials of an owner of the organization.
    pub credentials: CredentialsSpec,
    /// The Docker subscription, which decides how many tokens there may be: Team 10, Business 100.
    #[serde(default)]
    pub subscription: Subscription,
    /// How many tokens the organization may have, if not what the subscription implies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub token_limit: Option<u32>,
    /// Places kept free for rotations; new tokens may not use them.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 99))]
    pub reserved_tokens: u32,
    /// How often the tokens are compared with Docker Hub. At least 1m.
    #[serde(default = "one_hour")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("pollInterval must be at least 1m"))]
    pub poll_interval: String,
    /// A token that was not used for so long, or never since it was made so long ago, is reported as unused, e.g. 720h. At
    /// least 1h. Default: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h')").message("unusedAfter must be at least 1h"))]
    pub unused_after: Option<String>,
    /// What becomes of tokens with this cluster's marker and no object: Report says so in the status, Delete also deletes
    /// them, 24 hours after they were first seen so.
    #[serde(default)]
    pub orphan_policy: OrphanPolicy,
    /// true: ask Docker Hub for nothing and change nothing there. Deletion still works.
    #[serde(default)]
    pub suspend: bool,
}

/// Where an owner's credentials are.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsSpec {
    /// A Secret with the keys username, password and, for an owner with two-factor authentication, totpSecret (base32).
    pub secret_ref: SecretRef,
}

/// Names a Secret.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

/// Names a key of a Secret.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret's name, in the operator's namespace.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// The key that holds the certificates in PEM.
    #[serde(default = "ca_crt")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Docker's subscriptions that have organization access tokens.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum Subscription {
    /// 10 tokens.
    #[default]
    Team,
    /// 100 tokens.
    Business,
}

impl Subscription {
    /// How many tokens Docker grants.
    pub fn limit(self) -> u32 {
        match self {
            Self::Team => 10,
            Self::Business => 100,
        }
    }
}

/// What becomes of tokens with this cluster's marker and no object.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum OrphanPolicy {
    /// The status names them.
    #[default]
    Report,
    /// They are deleted at Docker Hub 24 hours after they were first seen without an object.
    Delete,
}

/// Where Docker Hub and its registry's token service are.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EndpointsSpec {
    /// Docker Hub, e.g. https://hub.docker.com.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^https?://[^@?#\s]+$"))]
    pub hub: Option<String>,
    /// The registry's token service, e.g. https://auth.docker.io/token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^https?://[^@?#\s]+$"))]
    pub registry_token: Option<String>,
    /// The service that tokens are asked for, e.g. registry.docker.io.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub registry_service: Option<String>,
    /// Certificates to trust besides the system's, in the operator's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_secret_ref: Option<SecretKeyRef>,
}

/// What the operator knows of an organization.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationStatus {
    /// The generation that the conditions speak of; -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The name at Docker Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Ready, CredentialsValid, QuotaAvailable; Reconciling and Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How many tokens there are, as of the last poll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenCounts>,
    /// The first 20 tokens that the operator doesn't manage, so that an owner can tidy up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmanaged: Vec<UnmanagedToken>,
    /// The first 50 tokens with this cluster's marker whose object is gone, those first that have been so the longest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphaned: Vec<OrphanedToken>,
    /// Credentials that Docker Hub refused. They are not tried again until their Secret changes or 15 minutes have passed: Docker locks an owner out after a few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_credentials: Option<RefusedCredentials>,
    /// The last three logins that were refused, of the last ten minutes: there are no more than
    /// three, whatever the Secret holds, over restarts too. Older ones go with the next change of the status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_logins: Vec<RefusedCredentials>,
}

/// How many tokens an organization has.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TokenCounts {
    /// All of them; expired and inactive ones count until they are deleted.
    pub total: u32,
    /// How many there may be.
    pub limit: u32,
    /// Those that carry this cluster's marker.
    pub managed: u32,
    /// Those that don't.
    pub unmanaged: u32,
    /// Those that have expired.
    pub expired: u32,
    /// Those that are deactivated.
    pub inactive: u32,
    /// Those with this cluster's marker whose object is gone.
    pub orphaned: u32,
    /// Those that work and were not used for as long as unusedAfter says.
    #[serde(default)]
    pub unused: u32,
}

/// A token that the operator doesn't manage.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UnmanagedToken {
    /// Docker Hub's id.
    pub id: String,
    /// Its label.
    pub label: String,
    /// When it expires; absent if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub expiration_time: Option<String>,
    /// When it was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_used_time: Option<String>,
    /// Active, Inactive or Expired.
    pub state: UnmanagedState,
}

/// The state of a token that the operator doesn't manage.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum UnmanagedState {
    /// It works.
    #[default]
    Active,
    /// It is deactivated.
    Inactive,
    /// It has expired, and only deleting it is left.
    Expired,
}

/// A token with this cluster's marker whose object is gone.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OrphanedToken {
    /// Docker Hub's id.
    pub id: String,
    /// Its label.
    pub label: String,
    /// When it was first seen without an object.
    #[schemars(schema_with = "schema::time")]
    pub first_seen_time: String,
}

/// Credentials that Docker Hub refused.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RefusedCredentials {
    /// Which version of the Secret: its uid and resourceVersion.
    pub version: String,
    /// When they were refused.
    #[schemars(schema_with = "schema::time")]
    pub time: String,
}

fn one() -> u32 {
    1
}

fn one_hour() -> String {
    "1h".into()
}

fn ca_crt() -> String {
    "ca.crt".into()
}
