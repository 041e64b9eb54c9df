//! What the status of a token object says: facts that outlive a restart, and conditions for people.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::schema;

/// What the operator knows of a token.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    /// The generation that the conditions speak of; -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Rotating, Active, Published; Reconciling and Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The token whose value is in the Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<CurrentToken>,
    /// When the next rotation is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub renewal_time: Option<String>,
    /// Tokens that were replaced and live on for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<PreviousToken>,
    /// Tokens with this object's marker up to this sequence are left over, unless they are named above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_sequence: Option<u64>,
    /// A token with this object's marker that another operator made. Nothing is done while it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<String>,
    /// The Secrets and how many of them hold the current token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretStatus>,
    /// The requests to rotate or revoke that have been carried out.
    #[serde(default, skip_serializing_if = "LastHandled::is_empty")]
    pub last_handled: LastHandled,
    /// What comes next, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
}

/// The token whose value is in the Secrets.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CurrentToken {
    /// Docker Hub's id.
    pub id: String,
    /// The whole label at Docker Hub.
    #[serde(default)]
    pub label: String,
    /// Which token of this object it is.
    pub sequence: u64,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub creation_time: Option<String>,
    /// When it expires; absent if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub expiration_time: Option<String>,
    /// Whether it is active at Docker Hub.
    #[serde(default)]
    pub active: bool,
    /// When it was last used, as Docker Hub tells it; looked at once a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_used_time: Option<String>,
    /// The SHA-256 of its value: only a value with this hash is ever taken from a Secret.
    #[serde(default)]
    pub value_hash: String,
    /// The hash of the label, description and resources that it was last given.
    #[serde(default)]
    pub shape_hash: String,
    /// The expiration that was asked for when it was made.
    #[serde(default)]
    pub expiration: String,
}

/// A token that was replaced.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PreviousToken {
    /// Docker Hub's id.
    pub id: String,
    /// Which token of this object it was.
    pub sequence: u64,
    /// When it is deleted at Docker Hub.
    #[schemars(schema_with = "schema::time")]
    pub revocation_time: String,
}

/// The Secrets and how many of them hold the current token.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretStatus {
    /// The Secret's name.
    pub name: String,
    /// How many Secrets there should be.
    pub targets: u32,
    /// How many of them hold the current token.
    pub published: u32,
    /// Where it failed, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<FailingTarget>,
}

/// A Secret that could not be written.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FailingTarget {
    /// The Secret's namespace.
    pub namespace: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in words.
    #[serde(default)]
    pub message: String,
}

/// The requests to rotate or revoke that have been carried out.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase")]
pub struct LastHandled {
    /// The last `spec.rotation.trigger`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The last annotation `oat-operator.dev/rotate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate: Option<String>,
    /// The last annotation `oat-operator.dev/revoke`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke: Option<String>,
}

impl LastHandled {
    /// What is handled once a token is remembered that was made for these requests. What asks now and was handled before
    /// stays so: the token may have been made by an older view of the object.
    pub fn or_instead(&self, made_for: &Self, asked: &Self) -> Self {
        let pick = |field: fn(&Self) -> &Option<String>| {
            let known = field(self) == field(asked);
            if known { field(self).clone() } else { field(made_for).clone() }
        };
        Self { trigger: pick(|all| &all.trigger), rotate: pick(|all| &all.rotate), revoke: pick(|all| &all.revoke) }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
