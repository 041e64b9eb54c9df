//! What a server-side apply leaves on a Secret of ours although we want it gone.
//!
//! An apply takes away only what an earlier apply of the same manager set. The first write of a Secret is a POST, which
//! the API server keeps apart from applies under the same name: labels and annotations that it set, and the owner
//! reference, would stay for ever.
//!
//! Never: what another manager set beside our keys, or owns together with us.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use crate::api::{self, MANAGER};

/// Names of things on a Secret that an apply may leave there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loose {
    labels: Vec<String>,
    annotations: Vec<String>,
    owned: bool,
}

/// Labels and annotations that every write sets: never in the way.
const ALWAYS: [&str; 5] = [api::MANAGED_BY, api::OWNER, api::TOKEN_ID, api::SEQUENCE, super::secrets::LAYOUT];

impl Loose {
    /// What is on a Secret.
    pub fn of(secret: &Secret) -> Self {
        let uid = secret.labels().get(api::OWNER);
        Self {
            labels: only_ours(secret, "f:labels"),
            annotations: only_ours(secret, "f:annotations"),
            owned: secret.owner_references().iter().any(|owner| Some(&owner.uid) == uid),
        }
    }

    /// The strategic merge patch that takes away what `wanted` lacks; `None` where an apply is enough.
    pub fn removal(&self, wanted: &Secret) -> Option<Value> {
        let gone = |names: &[String], kept: &dyn Fn(&String) -> bool| -> Map<String, Value> {
            names.iter().filter(|name| !kept(name)).map(|name| (name.clone(), Value::Null)).collect()
        };
        let labels = gone(&self.labels, &|name| wanted.labels().contains_key(name));
        let annotations = gone(&self.annotations, &|name| wanted.annotations().contains_key(name));
        let disowned = self.owned && wanted.owner_references().is_empty();
        let nothing = labels.is_empty() && annotations.is_empty() && !disowned;
        if nothing {
            return None;
        }
        let mut patch = json!({"metadata": {"labels": labels, "annotations": annotations}});
        if let Some(uid) = wanted.labels().get(api::OWNER).filter(|_| disowned) {
            patch["metadata"]["ownerReferences"] = json!([{"$patch": "delete", "uid": uid}]);
        }
        Some(patch)
    }
}

/// The labels or annotations that we set and nobody else did, without those that every write sets.
fn only_ours(secret: &Secret, part: &str) -> Vec<String> {
    let (mut ours, mut others) = (BTreeSet::new(), BTreeSet::new());
    for entry in secret.managed_fields() {
        let mine = entry.manager.as_deref() == Some(MANAGER);
        let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:metadata")?.get(part)?.as_object());
        let names = fields.into_iter().flatten().filter_map(|(name, _)| name.strip_prefix("f:"));
        if mine { &mut ours } else { &mut others }.extend(names.filter(|name| !ALWAYS.contains(name)));
    }
    ours.difference(&others).map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: Value) -> Secret {
        serde_json::from_value(value).unwrap()
    }

    fn seen() -> Secret {
        let fields = |labels: Value, annotations: Value| json!({"f:metadata": {"f:labels": labels, "f:annotations": annotations}, "f:data": {}});
        let field = |names: &[&str]| -> Value {
            let names = names.iter().map(|name| (format!("f:{name}"), json!({})));
            names.chain([(".".to_owned(), json!({}))]).collect::<Map<_, _>>().into()
        };
        let ours = fields(field(&["team", "tier", api::OWNER]), field(&["note", api::EXPIRATION_TIME, api::SEQUENCE]));
        let other = fields(field(&["tier", "theirs"]), field(&[]));
        let entry = |manager: &str, operation: &str, fields: Value| json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields});
        secret(json!({
            "metadata": {
                "name": "pull",
                "labels": {api::OWNER: "uid-1"},
                "ownerReferences": [{"uid": "uid-1", "name": "pull", "kind": "X", "apiVersion": "v1"}],
                "managedFields": [entry(MANAGER, "Update", ours), entry("kubectl", "Update", other)],
            },
            "data": {"password": ""},
        }))
    }

    /// What is taken away so that a Secret with these labels, annotations and owners is left.
    fn removal(labels: Value, annotations: Value, owners: Value) -> Option<Value> {
        let mut wanted = secret(json!({
            "metadata": {"labels": labels, "annotations": annotations, "ownerReferences": owners},
            "data": {"password": "", "username": ""},
        }));
        wanted.metadata.labels.get_or_insert_default().insert(api::OWNER.into(), "uid-1".into());
        Loose::of(&seen()).removal(&wanted)
    }

    #[test]
    fn what_only_we_set_and_want_no_more_goes() {
        let owners = json!([{"uid": "uid-1", "name": "pull", "kind": "X", "apiVersion": "v1"}]);
        let expires = json!({"note": "x", api::EXPIRATION_TIME: "2027"});
        assert_eq!(
            removal(json!({}), expires.clone(), owners.clone()),
            Some(json!({"metadata": {"labels": {"team": null}, "annotations": {}}}))
        );
        assert_eq!(
            removal(json!({"team": "a"}), json!({}), owners),
            Some(json!({"metadata": {"labels": {}, "annotations": {"note": null, api::EXPIRATION_TIME: null}}}))
        );
        let disowned = removal(json!({"team": "a"}), expires, json!([])).unwrap();
        assert_eq!(disowned["metadata"]["ownerReferences"], json!([{"$patch": "delete", "uid": "uid-1"}]));
    }

    #[test]
    fn an_apply_is_enough_where_nothing_is_to_go() {
        let seen = seen();
        let mut wanted = seen.clone();
        let labels = [("team", "b"), (api::OWNER, "uid-1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        wanted.metadata.labels = Some(labels.into());
        let annotations = [("note", ""), (api::EXPIRATION_TIME, "")];
        wanted.metadata.annotations = Some(annotations.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(Loose::of(&seen).removal(&wanted), None);
        assert_eq!(Loose::default().removal(&wanted), None);
    }
}
