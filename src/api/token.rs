//! `OrganizationAccessToken`: one token at Docker Hub, its life, and the pull secret in this namespace.
//!
//! Types only. What the fields mean is enforced by the CRD's schema and, for objects that are older than the schema,
//! by [`super::valid`].

#![allow(dead_code, reason = "what the schema is derived from has each field, and reads none that is in no object")]
#![allow(
    clippy::duplicated_attributes,
    reason = "each printcolumn has a name, a type and a path; the lint takes them for one list"
)]

mod status;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use status::{CurrentToken, FailingTarget, LastHandled, PreviousToken, SecretStatus, TokenStatus};

use super::schema;

/// One organization access token: what it may do, how long it lives, and the Secret that holds it.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "oat-operator.dev",
    version = "v1alpha1",
    kind = "OrganizationAccessToken",
    plural = "organizationaccesstokens",
    shortname = "oat",
    category = "oat-operator",
    namespaced,
    cel,
    status = "TokenStatus",
    derive = "PartialEq",
    doc = "A Docker Hub organization access token, rotated before it expires and delivered as a pull secret in this namespace.",
    selectable = ".spec.organizationRef.name",
    printcolumn(name = "Organization", type_ = "string", json_path = ".spec.organizationRef.name"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.token.expirationTime"),
    printcolumn(name = "Renews", type_ = "string", json_path = ".status.renewalTime"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secret.name"),
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
    validation = Rule::new("self.organizationRef == oldSelf.organizationRef").message("organizationRef is immutable").field_path(".organizationRef"),
    validation = Rule::new("!has(self.adopt) || (has(oldSelf.adopt) && self.adopt == oldSelf.adopt)").message("adopt can only be given when the object is made; it may be taken out").field_path(".adopt"),
    validation = Rule::new("self.publicRepositories || (has(self.repositories) && size(self.repositories) > 0) || (has(self.organizationScopes) && size(self.organizationScopes) > 0)").message("a token needs repositories, publicRepositories or organizationScopes: Docker Hub makes none that may do nothing"),
    validation = Rule::new("!has(self.rotation.renewBefore) || duration(self.rotation.renewBefore) < (has(self.expiration) ? (has(self.expiration.lifetime) ? duration(self.expiration.lifetime) : duration('87600h')) : duration('2160h'))").message("rotation.renewBefore must be shorter than expiration.lifetime").field_path(".rotation.renewBefore")
)]
pub struct OrganizationAccessTokenSpec {
    /// The organization that the token belongs to. Immutable.
    pub organization_ref: OrganizationRef,
    /// What both kinds of token share.
    #[serde(flatten)]
    pub token: TokenSpec,
}

/// What a token may do, how long it lives, and where its value goes.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenSpec {
    /// What is wrong where the object can't be read. Stands in no object.
    #[serde(skip)]
    pub unreadable: Option<String>,

    /// The token's label at Docker Hub, without [ and ]. The operator appends its marker. Default: <namespace>/<name>, cut to 60 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60), regex(pattern = r"^[^\[\]\s]([^\[\]]*[^\[\]\s])?$"))]
    pub label: Option<String>,

    /// The token's description at Docker Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub description: Option<String>,

    /// The repositories that the token may use, each with its scopes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub repositories: Vec<RepositoryAccess>,

    /// Whether the token may pull any public repository. The kubelet uses a pull secret for public images too, and without this their pulls fail.
    #[serde(default = "yes")]
    pub public_repositories: bool,

    /// Scopes of the whole organization, such as scope-member-read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), schema_with = "schema::scopes")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub organization_scopes: Vec<String>,

    /// false deactivates the token at Docker Hub; true activates it again.
    #[serde(default = "yes")]
    pub active: bool,

    /// How long the token lives: exactly one of lifetime, time and never. Default: lifetime 2160h.
    // No default in the schema: it would be stored, and another choice that is applied later would stand beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Expiration>,

    /// When and how the token is replaced by a new one.
    #[serde(default)]
    pub rotation: Rotation,

    /// What becomes of the token at Docker Hub when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Take over a token that exists at Docker Hub. It gets the operator's marker and is rotated once, since its value can't be read; it lives on for the overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,

    /// The Secret that holds the token's value.
    #[serde(default)]
    pub secret: SecretSpec,
}

/// Names a token at Docker Hub: exactly one of id and label.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.id) != has(self.label)").message("exactly one of id and label is needed")
)]
pub struct Adopt {
    /// The token's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub id: Option<String>,
    /// The token's whole label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub label: Option<String>,
}

/// Names an organization object.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationRef {
    /// Organization (of this namespace) or ClusterOrganization.
    #[serde(default)]
    pub kind: OrganizationKind,
    /// The object's name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

/// The kinds of organization objects.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrganizationKind {
    /// In the token's own namespace.
    #[default]
    Organization,
    /// For the whole cluster.
    ClusterOrganization,
}

/// One repository, or all of an organization, and what may be done with it.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryAccess {
    /// <organization>/<repository>, or <organization>/* for all of them.
    #[schemars(
        length(max = 336),
        regex(pattern = r"^[a-z0-9][a-z0-9_-]*[a-z0-9]/(\*|[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)$")
    )]
    pub name: String,
    /// What may be done, e.g. scope-image-pull or scope-image-push.
    #[schemars(schema_with = "schema::scopes_required")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Vec<String>,
}

/// How long a token lives.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.lifetime) ? 1 : 0) + (has(self.time) ? 1 : 0) + (has(self.never) ? 1 : 0) == 1").message("exactly one of lifetime, time and never is needed")
)]
pub struct Expiration {
    /// The token expires so long after it was made, e.g. 2160h. At least 10s, at most ten years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10s') && duration(self) <= duration('87600h')").message("lifetime must be between 10s and 87600h"))]
    pub lifetime: Option<String>,
    /// The token expires at this time (RFC 3339) and is not renewed past it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub time: Option<String>,
    /// true: the token does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self").message("never can only be true; leave it out otherwise"))]
    pub never: Option<bool>,
}

impl Default for Expiration {
    fn default() -> Self {
        Self { lifetime: Some("2160h".into()), time: None, never: None }
    }
}

/// When and how a token is replaced by a new one.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.renewBefore) && has(self.renewBeforePercentage))").message("renewBefore and renewBeforePercentage exclude each other")
)]
pub struct Rotation {
    /// Automatic: before expiry and at the interval. Manual: only when the trigger or the annotation asks for it.
    #[serde(default)]
    pub policy: RotationPolicy,
    /// Rotate so long before expiry. Default: a third of the lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub renew_before: Option<String>,
    /// Rotate when this much of the lifetime is left, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub renew_before_percentage: Option<u8>,
    /// Rotate so long after the token was made in any case; the way to rotate a token that never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10s')").message("interval must be at least 10s"))]
    pub interval: Option<String>,
    /// How long the previous token lives on after the new one is everywhere.
    #[serde(default = "one_hour")]
    #[schemars(schema_with = "schema::duration")]
    pub overlap: String,
    /// The schedule rotates only inside one of these windows. Whoever asks for a rotation is not kept waiting, and no window lets a token expire.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub windows: Vec<Window>,
    /// Any change of this text rotates the token now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub trigger: Option<String>,
    /// Registry: a new token is proved at the registry's token service before it is published. None: it is not.
    #[serde(default)]
    pub verification: Verification,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            policy: RotationPolicy::default(),
            renew_before: None,
            renew_before_percentage: None,
            interval: None,
            overlap: one_hour(),
            windows: Vec::new(),
            trigger: None,
            verification: Verification::default(),
        }
    }
}

/// When a token may be rotated by the schedule.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When it begins: five fields of cron, such as "0 2 * * 6" for Saturdays at 02:00.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^(@(hourly|daily|weekly|monthly|yearly)|\S+( \S+){4})$"))]
    pub schedule: String,
    /// How long it lasts, 1m to 168h.
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('168h')").message("duration must be between 1m and 168h"))]
    pub duration: String,
    /// The time zone of the schedule, such as Europe/Berlin.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_+/-]+$"))]
    pub time_zone: String,
}

/// Who decides that a token is rotated.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum RotationPolicy {
    /// The schedule, and whoever asks.
    #[default]
    Automatic,
    /// Only whoever asks.
    Manual,
}

/// How a new token is proved.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum Verification {
    /// By the registry's token service.
    #[default]
    Registry,
    /// Not at all.
    None,
}

/// What becomes of a token at Docker Hub.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, Hash)]
pub enum DeletionPolicy {
    /// It is deleted.
    #[default]
    Delete,
    /// It is deactivated and loses the operator's marker.
    Deactivate,
    /// It stays as it is, and loses the operator's marker.
    Retain,
}

/// The Secret that holds the token's value.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type == oldSelf.type || (has(self.name) && (!has(oldSelf.name) || self.name != oldSelf.name))").message("a Secret's type can't change: choose another secret.name with it")
)]
pub struct SecretSpec {
    /// The Secret's name. Default: the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: Option<String>,
    /// The Secret's type, which decides its keys.
    #[serde(default, rename = "type")]
    pub kind: SecretType,
    /// The keys under auths in a docker config. The default is the one that every client accepts for Docker Hub.
    #[serde(default = "docker_hub")]
    #[schemars(schema_with = "schema::registries")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub registries: Vec<String>,
    /// Labels and annotations of the Secret.
    #[serde(default, skip_serializing_if = "SecretTemplate::is_empty")]
    pub template: SecretTemplate,
    /// What becomes of the Secret when this object is deleted. Retain keeps the Secret; where the token itself is not retained, its value is taken out.
    #[serde(default)]
    pub deletion_policy: SecretDeletionPolicy,
}

impl Default for SecretSpec {
    fn default() -> Self {
        Self {
            name: None,
            kind: SecretType::default(),
            registries: docker_hub(),
            template: SecretTemplate::default(),
            deletion_policy: SecretDeletionPolicy::default(),
        }
    }
}

/// The types of Secret that hold a token.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretType {
    /// Key `.dockerconfigjson`: what pods name in imagePullSecrets.
    #[default]
    #[serde(rename = "kubernetes.io/dockerconfigjson")]
    DockerConfigJson,
    /// Keys `username` and `password`.
    #[serde(rename = "kubernetes.io/basic-auth")]
    BasicAuth,
    /// Keys `username`, `password` and `.dockerconfigjson`.
    Opaque,
}

/// Labels and annotations that users want on the Secret.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,
}

impl SecretTemplate {
    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

/// What becomes of a Secret.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum SecretDeletionPolicy {
    /// It is deleted.
    #[default]
    Delete,
    /// It stays.
    Retain,
}

fn yes() -> bool {
    true
}

fn one_hour() -> String {
    "1h".into()
}

fn utc() -> String {
    "UTC".into()
}

fn docker_hub() -> Vec<String> {
    vec!["https://index.docker.io/v1/".into()]
}
