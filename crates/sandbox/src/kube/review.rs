//! Questions about rights and about oneself: access reviews, rules reviews, `whoami`.
//!
//! Never stores anything.

use serde_json::{Value, json};

use super::call::Call;
use super::decode;
use super::failure::Failure;
use super::rbac::{Question, User, allowed, rules};
use super::request::FieldValidation;
use super::world::World;
use crate::machinery::field::FieldError;

/// Answers a review.
///
/// # Errors
/// 400 and 422 for reviews that ask nothing.
pub fn review(world: &World, call: &Call) -> Result<Value, Failure> {
    let value = decode::parse(&call.body, call.body_type, &call.kind)?;
    let mut object = decode::object(value, &call.kind, FieldValidation::Ignore, &call.body)?.object;
    let spec = object["spec"].clone();
    object["status"] = match call.kind.kind.as_str() {
        "SelfSubjectReview" => {
            json!({"userInfo": {"username": call.user.name, "groups": call.user.groups}})
        }
        "SelfSubjectRulesReview" => {
            let namespace = spec["namespace"].as_str().unwrap_or_default();
            let (resources, paths) = rules(&world.store, &call.user, namespace);
            json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
        }
        "SelfSubjectAccessReview" => answer(world, call, &call.user, &spec)?,
        _ => answer(world, call, &subject(&spec), &spec)?,
    };
    Ok(object)
}

fn subject(spec: &Value) -> User {
    let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let groups: Vec<String> = groups.map(str::to_owned).collect();
    let mut user = User::new(spec["user"].as_str().unwrap_or_default(), &groups);
    // A review asks about exactly the groups that it names.
    user.groups = groups;
    user
}

fn answer(world: &World, call: &Call, user: &User, spec: &Value) -> Result<Value, Failure> {
    let question = question(spec).ok_or_else(|| {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        let errors = [FieldError::invalid("spec.resourceAttributes", Value::Null, why)];
        Failure::invalid(&call.kind.group, &call.kind.kind, "", &errors)
    })?;
    Ok(match allowed(&world.store, user, &question) {
        Some(because) if because.is_empty() => json!({"allowed": true}),
        Some(because) => json!({"allowed": true, "reason": because}),
        None => json!({"allowed": false}),
    })
}

fn question(spec: &Value) -> Option<Question> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |from: &Value, name: &str| from[name].as_str().unwrap_or_default().to_owned();
    match (resource.is_object(), path.is_object()) {
        (true, false) => Some(Question {
            verb: text(resource, "verb"),
            group: text(resource, "group"),
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            namespace: text(resource, "namespace"),
            name: text(resource, "name"),
            path: String::new(),
        }),
        (false, true) => Some(Question { verb: text(path, "verb"), path: text(path, "path"), ..Question::default() }),
        _ => None,
    }
}
