//! CustomResourceDefinitions: defaults, what is refused, and the resources that an accepted one brings.
//!
//! Never touches custom resources themselves. When a definition becomes effective is `controllers`' business.

use serde_json::{Value, json};

use super::kinds::{Custom, Kind, VERBS};
use super::names;
use super::object::meta;
use crate::machinery::cel::CelRules;
use crate::machinery::field::{FieldError, child, index, same};
use crate::machinery::jsonpath::JsonPath;
use crate::machinery::schema::Structural;

/// While instances are being deleted.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Fills in what the real server fills in.
pub fn default(object: &mut Value) {
    let spec = &mut object["spec"];
    if !spec.is_object() {
        return;
    }
    if spec["conversion"].is_null() {
        spec["conversion"] = json!({"strategy": "None"});
    }
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    if spec["names"]["singular"].as_str().is_none_or(str::is_empty) {
        spec["names"]["singular"] = json!(kind.to_lowercase());
    }
    if spec["names"]["listKind"].as_str().is_none_or(str::is_empty) {
        spec["names"]["listKind"] = json!(format!("{kind}List"));
    }
}

/// The status of a definition that was just created.
#[must_use]
pub fn first_status(object: &Value) -> Value {
    let versions = versions(object).iter().filter(|v| v["storage"] == true);
    let stored: Vec<&Value> = versions.map(|v| &v["name"]).collect();
    json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored})
}

fn versions(object: &Value) -> &[Value] {
    object["spec"]["versions"].as_array().map_or(&[], Vec::as_slice)
}

/// What is wrong with a definition.
#[must_use]
pub fn check(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let spec = &new["spec"];
    let text = |name: &str| spec[name].as_str().unwrap_or_default();
    let names = |name: &str| spec["names"][name].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    if meta(new, "name") != format!("{}.{}", names("plural"), text("group")) {
        let found = meta(new, "name");
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", found, why));
    }
    if text("group").is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else {
        let texts = names::subdomain(text("group"));
        errors.extend(texts.into_iter().map(|t| FieldError::invalid("spec.group", text("group"), t)));
        if !text("group").contains('.') {
            let why = "should be a domain with at least one dot";
            errors.push(FieldError::invalid("spec.group", text("group"), why));
        }
    }
    let scopes = ["Cluster".to_owned(), "Namespaced".to_owned()];
    if !scopes.iter().any(|s| s == text("scope")) {
        errors.push(match text("scope") {
            "" => FieldError::required("spec.scope", ""),
            other => FieldError::not_supported("spec.scope", other, &scopes),
        });
    }
    for name in ["plural", "singular", "kind", "listKind"] {
        let (path, value) = (child("spec.names", name), names(name));
        if value.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        // Kinds are labels but for their case.
        let texts = names::label(&if name.ends_with("ind") { value.to_lowercase() } else { value.to_owned() });
        errors.extend(texts.into_iter().map(|t| FieldError::invalid(path.as_str(), value, t)));
    }
    errors.extend(check_versions(new));
    errors.extend(conversion(spec));
    if let Some(old) = old {
        for name in ["group", "scope"] {
            if !same(&spec[name], &old["spec"][name]) {
                let path = child("spec", name);
                errors.push(FieldError::invalid(path, spec[name].clone(), "field is immutable"));
            }
        }
    }
    errors
}

fn conversion(spec: &Value) -> Option<FieldError> {
    match spec["conversion"]["strategy"].as_str() {
        None | Some("None") => None,
        Some(other) => {
            let why = "the sandbox calls no webhooks";
            Some(FieldError::invalid("spec.conversion.strategy", other, why))
        }
    }
}

fn check_versions(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let all = versions(object);
    let storage = all.iter().filter(|v| v["storage"] == true).count();
    if storage != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", json!(all), why));
    }
    let mut seen = Vec::new();
    for (i, version) in all.iter().enumerate() {
        let at = index("spec.versions", i);
        let name = version["name"].as_str().unwrap_or_default();
        let texts = names::label(name);
        errors.extend(texts.into_iter().map(|t| FieldError::invalid(child(&at, "name"), name, t)));
        if seen.contains(&name) {
            let why = "must contain unique version names";
            errors.push(FieldError::invalid("spec.versions", json!(all), why));
        }
        seen.push(name);
        // With one version only, the real server names the place of the older, single schema.
        let path = match all.len() {
            1 => "spec.validation.openAPIV3Schema".to_owned(),
            _ => child(&child(&at, "schema"), "openAPIV3Schema"),
        };
        errors.extend(check_schema(&version["schema"]["openAPIV3Schema"], &path));
        let at_fields = if all.len() == 1 { "spec".to_owned() } else { at.clone() };
        errors.extend(check_selectable(version, &child(&at_fields, "selectableFields")));
        let columns = version["additionalPrinterColumns"].as_array();
        for (j, column) in columns.into_iter().flatten().enumerate() {
            let at = index(&child(&at, "additionalPrinterColumns"), j);
            errors.extend(check_column(column, &at));
        }
    }
    errors
}

fn check_schema(schema: &Value, path: &str) -> Vec<FieldError> {
    if schema.is_null() {
        return vec![FieldError::required(path, "schemas are required")];
    }
    match Structural::parse_at(schema, path) {
        Ok(structural) => CelRules::compile_at(&structural, path).err().unwrap_or_default(),
        Err(errors) => errors,
    }
}

/// Each selectable field is there and holds a text, a number or a truth. With one version its place is the definition's.
fn check_selectable(version: &Value, path: &str) -> Vec<FieldError> {
    let Ok(schema) = Structural::parse_at(&version["schema"]["openAPIV3Schema"], path) else { return Vec::new() };
    let fields = version["selectableFields"].as_array().into_iter().flatten().enumerate();
    let check = |(i, field): (usize, &Value)| {
        let (at, text) = (child(&index(path, i), "jsonPath"), field["jsonPath"].as_str().unwrap_or_default());
        if text.is_empty() {
            return Some(FieldError::required(at, ""));
        }
        let mut names = text.trim_start_matches('.').split('.');
        let found = names.try_fold(&schema, |schema, name| schema.properties.get(name));
        let why = match found.map(|found| found.kind.as_deref()) {
            None => "is an invalid path: does not refer to a valid field",
            Some(Some("string" | "boolean" | "integer")) => return None,
            Some(_) => {
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            }
        };
        Some(FieldError::invalid(at, text, why))
    };
    fields.filter_map(check).collect()
}

fn check_column(column: &Value, at: &str) -> Vec<FieldError> {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    let text = |name: &str| column[name].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    if text("name").is_empty() {
        errors.push(FieldError::required(child(at, "name"), ""));
    }
    if text("type").is_empty() {
        let supported = TYPES.join(",");
        errors.push(FieldError::required(child(at, "type"), format!("must be one of {supported}")));
    } else if !TYPES.contains(&text("type")) {
        let why = format!("must be one of {}", TYPES.join(","));
        errors.push(FieldError::invalid(child(at, "type"), text("type"), why));
    }
    match text("jsonPath") {
        "" => errors.push(FieldError::required(child(at, "jsonPath"), "")),
        path => {
            errors.extend(JsonPath::parse(path).err().map(|why| FieldError::invalid(child(at, "jsonPath"), path, why)))
        }
    }
    errors
}

/// The resources of a definition, one per served version.
#[must_use]
pub fn kinds(object: &Value) -> Vec<Kind> {
    versions(object).iter().filter(|v| v["served"] == true).filter_map(|version| kind(object, version)).collect()
}

/// A definition that was admitted has a schema that parses; one that has not brings nothing.
fn kind(object: &Value, version: &Value) -> Option<Kind> {
    let spec = &object["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| -> Vec<String> { value.as_array().into_iter().flatten().map(text).collect() };
    let schema = Structural::parse(&version["schema"]["openAPIV3Schema"]).ok()?;
    let rules = CelRules::compile(&schema).ok()?;
    let status = version["subresources"]["status"].is_object();
    let (group, names) = (text(&spec["group"]), &spec["names"]);
    let selectable = version["selectableFields"].as_array().into_iter().flatten();
    let selectable = selectable.map(|f| text(&f["jsonPath"]).trim_start_matches('.').to_owned());
    let kind = text(&names["kind"]);
    let deprecated = (version["deprecated"] == true).then(|| {
        let name = text(&version["name"]);
        let default = format!("{group}/{name} {kind} is deprecated");
        version["deprecationWarning"].as_str().map_or(default, str::to_owned)
    });
    Some(Kind {
        version: text(&version["name"]),
        plural: text(&names["plural"]),
        singular: text(&names["singular"]),
        list_kind: text(&names["listKind"]),
        short_names: list(&names["shortNames"]),
        categories: list(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        subresources: if status { vec!["status".to_owned()] } else { Vec::new() },
        verbs: VERBS.to_vec(),
        store: meta(object, "name").to_owned(),
        create_on_update: false,
        unconditional_update: false,
        generation: true,
        custom: Some(Custom {
            definition: meta(object, "name").to_owned(),
            schema,
            rules,
            columns: version["additionalPrinterColumns"].as_array().cloned().unwrap_or_default(),
            selectable: selectable.collect(),
            status,
            deprecation: deprecated,
        }),
        fields: None,
        group,
        kind,
    })
}
