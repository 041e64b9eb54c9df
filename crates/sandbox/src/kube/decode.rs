//! From the bytes of a request to an object of a kind: syntax, kind and version, unknown fields, types, defaults.
//!
//! Never checks what values mean (see `admit`), never looks at other objects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::duplicates;
use super::failure::Failure;
use super::kinds::{Kind, group_version};
use super::object::{drop_empty_meta, drop_field, edit_meta};
use super::request::{BodyType, FieldValidation};
use crate::machinery::field::FieldErrorKind;

/// Reads a body as JSON or YAML.
///
/// # Errors
/// 400 if it is neither.
pub fn parse(body: &[u8], body_type: BodyType, kind: &Kind) -> Result<Value, Failure> {
    if body_type == BodyType::Protobuf {
        return super::protobuf::parse(body).ok_or_else(Failure::unsupported_media_type);
    }
    let text = String::from_utf8_lossy(body);
    let value = match body_type {
        BodyType::Yaml | BodyType::Apply => serde_yaml::from_str(&text).map_err(|e| e.to_string()),
        _ => serde_json::from_slice(body).map_err(|e| e.to_string()),
    };
    value.map_err(|error| {
        let kind = &kind.kind;
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: \
             {error} ({})",
            excerpt(&text)
        ))
    })
}

fn excerpt(text: &str) -> String {
    text.chars().take(100).collect()
}

/// An object that was read, and what the client should be told of it.
#[derive(Debug)]
pub struct Decoded {
    /// The object, complete.
    pub object: Value,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// Reads an object that a client sent as a whole.
///
/// # Errors
/// 400 if it is of another kind, has fields of wrong types, or unknown ones where these are refused.
pub fn object(mut object: Value, kind: &Kind, validation: FieldValidation, raw: &[u8]) -> Result<Decoded, Failure> {
    identify(&mut object, kind, raw)?;
    let twice = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn | FieldValidation::Strict => duplicates::of(raw),
    };
    checked(object, kind, validation, twice.iter().map(|path| format!("duplicate field \"{path}\"")).collect())
}

/// Checks or fills in `apiVersion` and `kind`.
fn identify(object: &mut Value, kind: &Kind, raw: &[u8]) -> Result<(), Failure> {
    let Value::Object(map) = object else {
        let found = json_type(object);
        return Err(Failure::bad_request(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type struct {{ \
             APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        )));
    };
    let text = |name: &str| map.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, name) = (text("apiVersion"), text("kind"));
    let expected = kind.api_version();
    if kind.custom.is_some() {
        if name.is_empty() {
            let raw = excerpt(&String::from_utf8_lossy(raw));
            return Err(Failure::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{raw}' ({raw})",
                kind.kind
            )));
        }
        if version != expected {
            return Err(Failure::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({expected})"
            )));
        }
        return Ok(());
    }
    let (version, name) = (
        if version.is_empty() { expected.clone() } else { version },
        if name.is_empty() { kind.kind.clone() } else { name },
    );
    if version != expected || name != kind.kind {
        let short = version.rsplit('/').next().unwrap_or_default();
        let why = if version == expected {
            let internal = match kind.group.split('.').next().unwrap_or_default() {
                "" => "core",
                first => first,
            };
            format!("converting ({short}.{name}) to ({internal}.{}): unknown conversion", kind.kind)
        } else {
            format!("no kind \"{name}\" is registered for version \"{version}\"")
        };
        return Err(Failure::bad_request(format!(
            "{name} in version \"{short}\" cannot be handled as a {}: {why}",
            kind.kind
        )));
    }
    map.insert("apiVersion".to_owned(), json!(version));
    map.insert("kind".to_owned(), json!(name));
    Ok(())
}

/// Takes out unknown fields, checks types, fills in defaults.
///
/// # Errors
/// As `object`.
pub fn typed(object: Value, kind: &Kind, validation: FieldValidation) -> Result<Decoded, Failure> {
    checked(object, kind, validation, Vec::new())
}

/// `warnings`: what is odd about the object's text already.
fn checked(
    mut object: Value,
    kind: &Kind,
    validation: FieldValidation,
    mut warnings: Vec<String>,
) -> Result<Decoded, Failure> {
    let refuse = |why: String| {
        Err(Failure::bad_request(format!(
            "{0} in version \"{1}\" cannot be handled as a {0}: {why}",
            kind.kind, kind.version
        )))
    };
    if let Some(why) = wrong_metadata(&object) {
        return refuse(why);
    }
    let unknown = match (&kind.custom, &kind.fields) {
        (Some(custom), _) => custom.schema.prune(&mut object),
        (None, Some(fields)) => {
            drop_nulls(&mut object);
            let unknown = fields.prune(&mut object);
            if let Some(why) = wrong_type(&object, kind) {
                return refuse(why);
            }
            unknown
        }
        (None, None) => Vec::new(),
    };
    warnings.extend(unknown.iter().map(|path| format!("unknown field \"{path}\"")));
    match validation {
        FieldValidation::Strict if !warnings.is_empty() => {
            return refuse(format!("strict decoding error: {}", warnings.join(", ")));
        }
        FieldValidation::Ignore => warnings.clear(),
        _ => {}
    }
    if let Some(custom) = &kind.custom {
        warnings.extend(custom.deprecation.clone());
    }
    default(&mut object, kind);
    Ok(Decoded { object, warnings })
}

/// Fills in defaults and the shape that stored objects have.
pub fn default(object: &mut Value, kind: &Kind) {
    drop_empty_meta(object);
    match &kind.custom {
        Some(custom) => {
            custom.schema.default(object);
            custom.schema.drop_nulls(object);
        }
        None => built_in_defaults(object, kind),
    }
}

fn built_in_defaults(object: &mut Value, kind: &Kind) {
    let missing = |v: &Value| v.is_null() || v.as_str() == Some("");
    match kind.kind.as_str() {
        "Secret" => {
            fold_string_data(object);
            if missing(&object["type"]) {
                object["type"] = json!("Opaque");
            }
            drop_empty(object, &["data", "type"]);
        }
        "ConfigMap" => drop_empty(object, &["data", "binaryData"]),
        "Namespace" => {
            let name = super::object::meta(object, "name").to_owned();
            if !name.is_empty() {
                edit_meta(object, |meta| {
                    let labels = meta.entry("labels").or_insert_with(|| json!({}));
                    labels["kubernetes.io/metadata.name"] = json!(name);
                });
            }
        }
        "ClusterRoleBinding" | "RoleBinding" => {
            if missing(&object["roleRef"]["apiGroup"]) {
                object["roleRef"]["apiGroup"] = json!("rbac.authorization.k8s.io");
            }
            for subject in object["subjects"].as_array_mut().into_iter().flatten() {
                if missing(&subject["apiGroup"]) && subject["kind"] != "ServiceAccount" {
                    subject["apiGroup"] = json!("rbac.authorization.k8s.io");
                }
            }
        }
        "Deployment" | "StatefulSet" if object["spec"].is_object() && object["spec"]["replicas"].is_null() => {
            object["spec"]["replicas"] = json!(1);
        }
        "CustomResourceDefinition" => super::definition::default(object),
        _ => {}
    }
}

/// `stringData` is a way to write `data`.
pub fn fold_string_data(object: &mut Value) {
    let strings = object["stringData"].as_object().cloned().unwrap_or_default();
    drop_field(object, "stringData");
    for (key, value) in strings {
        object["data"][key] = json!(STANDARD.encode(value.as_str().unwrap_or_default()));
    }
}

fn drop_empty(object: &mut Value, names: &[&str]) {
    for name in names {
        let empty = match object.get(*name) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        };
        if empty {
            drop_field(object, name);
        }
    }
}

/// A typed object has no nulls.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The first field of `metadata` that has the wrong type, in Go's words.
fn wrong_metadata(object: &Value) -> Option<String> {
    let unmarshal = |value: &Value, field: &str, go: &str| {
        Some(format!(
            "json: cannot unmarshal {} into Go struct field ObjectMeta.{field} of type {go}",
            json_type(value)
        ))
    };
    let metadata = match &object["metadata"] {
        Value::Null => return None,
        Value::Object(metadata) => metadata,
        other => return unmarshal(other, "metadata", "v1.ObjectMeta"),
    };
    for (name, value) in metadata.iter().filter(|(_, v)| !v.is_null()) {
        let found = match name.as_str() {
            "labels" | "annotations" => match value {
                Value::Object(map) => {
                    let wrong = map.values().find(|v| !v.is_string() && !v.is_null());
                    wrong.and_then(|v| unmarshal(v, name, "string"))
                }
                other => unmarshal(other, name, "map[string]string"),
            },
            "finalizers" => match value {
                Value::Array(list) => {
                    let wrong = list.iter().find(|v| !v.is_string());
                    wrong.and_then(|v| unmarshal(v, name, "string"))
                }
                other => unmarshal(other, name, "[]string"),
            },
            "ownerReferences" | "managedFields" if !value.is_array() => unmarshal(value, name, "[]v1.OwnerReference"),
            "name" | "namespace" | "generateName" | "uid" | "resourceVersion" if !value.is_string() => {
                unmarshal(value, name, "string")
            }
            "generation" | "deletionGracePeriodSeconds" if !value.is_i64() => unmarshal(value, name, "int64"),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// The first field of a built-in object that has the wrong type, in Go's words.
fn wrong_type(object: &Value, kind: &Kind) -> Option<String> {
    let fields = kind.fields.as_ref()?;
    if kind.kind == "Secret" {
        for value in object["data"].as_object().into_iter().flat_map(|d| d.values()) {
            if let Value::String(text) = value
                && let Some(at) = wrong_base64(text)
            {
                return Some(format!("illegal base64 data at input byte {at}"));
            }
        }
    }
    let errors = fields.validate(object, None);
    let error = errors.iter().find(|e| e.kind == FieldErrorKind::TypeInvalid)?;
    let value = lookup(object, &error.path);
    let path: String = error.path.split('[').next().unwrap_or_default().to_owned();
    let wanted = error.detail.split("must be of type ").nth(1).unwrap_or_default();
    let wanted = wanted.split(':').next().unwrap_or_default();
    let go = match (kind.kind.as_str(), path.split('.').next().unwrap_or_default()) {
        ("Secret", "data") => "[]uint8",
        _ => match wanted {
            "boolean" => "bool",
            "integer" => "int64",
            other => other,
        },
    };
    let (parent, path) = match (kind.kind.as_str(), path.split_once('.')) {
        ("Secret" | "ConfigMap", Some((field, _))) => (kind.kind.clone(), field.to_owned()),
        _ => (kind.kind.clone(), path),
    };
    Some(format!(
        "json: cannot unmarshal {} into Go struct field {parent}.{path} of type {go}",
        value.map_or("value", json_type)
    ))
}

/// Where a text stops being base64, as Go counts.
fn wrong_base64(text: &str) -> Option<usize> {
    match STANDARD.decode(text) {
        Ok(_) => None,
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => Some(at),
        Err(_) => Some(text.len() / 4 * 4),
    }
}

/// The value at a path such as `spec.list[0].name`.
fn lookup<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split(['.', '[']).try_fold(object, |at, part| {
        let part = part.trim_end_matches(']');
        match at {
            Value::Array(list) => list.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        }
    })
}

/// An event as the other group's version shows it. Stored events are those of the core.
pub fn event_to_new(object: &mut Value) {
    rename(object, &EVENT_FIELDS, false);
    object["apiVersion"] = json!(group_version("events.k8s.io", "v1"));
}

/// The reverse of `event_to_new`.
pub fn event_to_core(object: &mut Value) {
    rename(object, &EVENT_FIELDS, true);
    object["apiVersion"] = json!("v1");
}

/// Names of fields in the core group and in `events.k8s.io`.
const EVENT_FIELDS: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(object: &mut Value, names: &[(&str, &str)], reverse: bool) {
    let Value::Object(map) = object else { return };
    let controller = ("reportingComponent", "reportingController");
    for (core, new) in names.iter().chain([&controller]) {
        let (from, to) = if reverse { (new, core) } else { (core, new) };
        if let Some(value) = map.shift_remove(*from) {
            map.insert((*to).to_owned(), value);
        }
    }
}
