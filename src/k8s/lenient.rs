//! Objects that can't be read: stored under an older or a newer schema, or with a status that somebody wrote.
//!
//! A watch of typed objects fails as a whole where one of them can't be read, and the operator would be deaf to all others.
//! Here such an object is taken as far as it can be read; what is wrong stands in its spec, where the check of the spec
//! finds it. Nothing is made for it, and its deletion ends.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, core::object::HasStatus};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error};
use serde_json::{Value, json};

use crate::{api::OrganizationAccessToken, text};

/// An object, as far as it can be read.
#[derive(Clone, Debug)]
pub struct Lenient<K>(pub K);

/// A kind of object that says itself that it can't be read.
pub trait Salvage: Resource<DynamicType = ()> + DeserializeOwned + HasStatus<Status: DeserializeOwned> {
    /// Specs that stand for one that can't be read, those first that keep more of it.
    fn instead(spec: &Value) -> Vec<Value>;
    /// Says what is wrong with the object.
    fn mark(&mut self, problem: String);
}

/// The problem is named as the field that can't be read; its text may quote what stands there.
fn problem(error: &serde_json::Error) -> String {
    format!("the object can't be read: {}", text::clean(&error.to_string(), 200))
}

impl<'de, K: Salvage> Deserialize<'de> for Lenient<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let error = match K::deserialize(&value) {
            Ok(object) => return Ok(Self(object)),
            Err(error) => error,
        };
        let part = |name: &str| value.get(name).unwrap_or(&Value::Null);
        let metadata = ObjectMeta::deserialize(part("metadata")).map_err(D::Error::custom)?;
        let spec = part("spec");
        let mut specs = std::iter::once(spec.clone()).chain(K::instead(spec));
        let mut object = specs.find_map(object::<K>).ok_or_else(|| D::Error::custom(&error))?;
        object.mark(problem(&error));
        *object.meta_mut() = metadata;
        *object.status_mut() = serde_json::from_value(part("status").clone()).ok();
        Ok(Self(object))
    }
}

impl<K: Resource> Resource for Lenient<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

/// An object with this spec and nothing else.
fn object<K: Salvage>(spec: Value) -> Option<K> {
    serde_json::from_value(
        json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {}, "spec": spec}),
    )
    .ok()
}

impl Salvage for OrganizationAccessToken {
    fn instead(spec: &Value) -> Vec<Value> {
        let referring = json!({"organizationRef": spec.get("organizationRef")});
        vec![referring, json!({"organizationRef": {"name": ""}})]
    }

    fn mark(&mut self, problem: String) {
        self.spec.token.unreadable = Some(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(spec: Value, status: Value) -> OrganizationAccessToken {
        let metadata = json!({"name": "pull", "namespace": "payments", "uid": "u1", "resourceVersion": "7"});
        let object = json!({"apiVersion": "oat-operator.dev/v1alpha1", "kind": "OrganizationAccessToken",
            "metadata": metadata, "spec": spec, "status": status});
        serde_json::from_value::<Lenient<OrganizationAccessToken>>(object).unwrap().0
    }

    fn good() -> Value {
        json!({"organizationRef": {"name": "acme"}})
    }

    #[test]
    fn what_can_be_read_is_as_ever() {
        let object = token(good(), json!({"observedGeneration": 3}));
        assert_eq!(object.spec.token.unreadable, None);
        assert_eq!(object.status.unwrap().observed_generation, Some(3));
    }

    #[test]
    fn a_bad_spec_keeps_its_name_its_organization_and_its_status() {
        let mut spec = good();
        spec["active"] = json!("yes");
        let object = token(spec, json!({"token": {"id": "t1", "sequence": 4}}));
        assert_eq!(object.metadata.uid.as_deref(), Some("u1"));
        assert_eq!(object.spec.organization_ref.name, "acme");
        assert_eq!(object.status.unwrap().token.unwrap().sequence, 4);
        let problem = object.spec.token.unreadable.unwrap();
        assert!(problem.contains("invalid type: string \"yes\", expected a boolean"), "{problem}");
    }

    #[test]
    fn a_bad_status_keeps_the_spec() {
        let object = token(good(), json!({"token": {"id": "t1", "sequence": 1e30}}));
        assert_eq!((object.spec.organization_ref.name.as_str(), &object.status), ("acme", &None));
        assert!(object.spec.token.unreadable.is_some());
    }

    #[test]
    fn nothing_at_all_is_an_object_too() {
        for spec in [Value::Null, json!([]), json!({}), json!({"organizationRef": 3})] {
            let object = token(spec.clone(), json!("x"));
            assert!(object.spec.token.unreadable.is_some(), "{spec}");
        }
    }
}
