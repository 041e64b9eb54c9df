//! What names, labels and annotations may look like, with the real server's words for those that don't.
//!
//! Never looks at whole objects (see `admit`).

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::machinery::field::{FieldError, child, index};

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";

/// Whole annotations of one object may not be larger.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

type Pattern = LazyLock<Option<Regex>>;

static LABEL_PATTERN: Pattern = LazyLock::new(|| whole(LABEL));
static SUBDOMAIN_PATTERN: Pattern = LazyLock::new(|| whole(SUBDOMAIN));
static QUALIFIED_PATTERN: Pattern = LazyLock::new(|| whole(QUALIFIED));
static VALUE_PATTERN: Pattern = LazyLock::new(|| whole(VALUE));
static CONFIG_KEY_PATTERN: Pattern = LazyLock::new(|| whole(CONFIG_KEY));

fn whole(pattern: &str) -> Option<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).ok()
}

fn fits(pattern: &Pattern, text: &str) -> bool {
    pattern.as_ref().is_some_and(|p| p.is_match(text))
}

fn explain(what: &str, pattern: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}'")).collect();
    format!("{what} (e.g. {}, regex used for validation is '{pattern}')", examples.join(",  or "))
}

fn too_long(text: &str, most: usize) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} characters"))
}

/// What is wrong with a name of dot-separated parts.
#[must_use]
pub fn subdomain(text: &str) -> Vec<String> {
    let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
                start and end with an alphanumeric character";
    let shape = (!fits(&SUBDOMAIN_PATTERN, text)).then(|| explain(what, SUBDOMAIN, &["example.com"]));
    too_long(text, 253).into_iter().chain(shape).collect()
}

/// What is wrong with a name of one part.
#[must_use]
pub fn label(text: &str) -> Vec<String> {
    let what = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
                end with an alphanumeric character";
    let shape = (!fits(&LABEL_PATTERN, text)).then(|| explain(what, LABEL, &["my-name", "123-abc"]));
    too_long(text, 63).into_iter().chain(shape).collect()
}

/// What is wrong with a name that need only fit into a path.
#[must_use]
pub fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    let found = ["/", "%"].into_iter().filter(|c| text.contains(c));
    found.map(|c| format!("may not contain '{c}'")).collect()
}

/// What is wrong with the key of a label.
#[must_use]
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let name = match text.split_once('/') {
        Some((_, name)) if name.contains('/') => {
            let what = "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                        with an alphanumeric character";
            let mut message = explain(what, QUALIFIED, &["MyName", "my.name", "123-abc"]);
            message.push_str(" with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')");
            return vec![message];
        }
        Some(("", name)) => {
            errors.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            errors.extend(subdomain(prefix).into_iter().map(|m| format!("prefix part {m}")));
            name
        }
        None => text,
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    }
    errors.extend(too_long(name, 63).map(|m| format!("name part {m}")));
    if !fits(&QUALIFIED_PATTERN, name) {
        let what = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                    alphanumeric character";
        errors.push(explain(what, QUALIFIED, &["MyName", "my.name", "123-abc"]));
    }
    errors
}

/// What is wrong with the value of a label.
#[must_use]
pub fn label_value(text: &str) -> Vec<String> {
    let what = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
                start and end with an alphanumeric character";
    let shape = (!fits(&VALUE_PATTERN, text)).then(|| explain(what, VALUE, &["MyValue", "my_value", "12345"]));
    too_long(text, 63).into_iter().chain(shape).collect()
}

/// What is wrong with a key in a Secret or ConfigMap.
#[must_use]
pub fn config_key(text: &str) -> Vec<String> {
    let mut errors: Vec<String> = too_long(text, 253).into_iter().collect();
    if !fits(&CONFIG_KEY_PATTERN, text) {
        let what = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        errors.push(explain(what, CONFIG_KEY, &["key.name", "KEY_NAME", "key-name"]));
    } else if text == "." || text == ".." {
        errors.push(format!("must not be '{text}'"));
    } else if text.starts_with("..") {
        errors.push("must not start with '..'".to_owned());
    }
    errors
}

/// What is wrong with `labels`.
#[must_use]
pub fn labels(labels: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        errors.extend(qualified_name(key).into_iter().map(|m| FieldError::invalid(path, key.as_str(), m)));
        errors.extend(label_value(value).into_iter().map(|m| FieldError::invalid(path, value, m)));
    }
    errors
}

/// What is wrong with `annotations`.
#[must_use]
pub fn annotations(annotations: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        let problems = qualified_name(&key.to_lowercase());
        errors.extend(problems.into_iter().map(|m| FieldError::invalid(path, key.as_str(), m)));
    }
    if size > ANNOTATIONS_LIMIT {
        errors.push(FieldError::too_long(path, ANNOTATIONS_LIMIT as u64));
    }
    errors
}

/// What is wrong with `ownerReferences`.
#[must_use]
pub fn owner_references(owners: &[Value], path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    for (i, owner) in owners.iter().enumerate() {
        let at = index(path, i);
        let text = |name: &str| owner[name].as_str().unwrap_or_default();
        for name in ["apiVersion", "kind", "name", "uid"] {
            if text(name).is_empty() {
                errors.push(FieldError::required(child(&at, name), "must not be empty"));
            }
        }
        if text("apiVersion") == "v1" && text("kind") == "Event" {
            let message = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(at, owner.clone(), message));
        }
        if owner["controller"] == true {
            let this = format!("{}/{}", text("kind"), text("name"));
            match &controller {
                Some(first) => errors.push(FieldError::invalid(
                    path,
                    Value::from(owners),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                         and {this}"
                    ),
                )),
                None => controller = Some(this),
            }
        }
    }
    errors
}

/// What is wrong with `finalizers`.
#[must_use]
pub fn finalizers(finalizers: &[&str], path: &str) -> Vec<FieldError> {
    const STANDARD: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
    let mut errors = Vec::new();
    for (i, name) in finalizers.iter().enumerate() {
        let at = index(path, i);
        let problems = qualified_name(name);
        let shapeless = problems.is_empty() && !name.contains('/') && !STANDARD.contains(name);
        errors.extend(problems.into_iter().map(|m| FieldError::invalid(at.as_str(), *name, m)));
        if shapeless {
            let message = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(at, *name, message));
        }
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let message = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(path, Value::from(finalizers.to_vec()), message));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(errors: &[String], fragments: &[&str]) {
        assert_eq!(errors.len(), fragments.len(), "{errors:?}");
        for (error, fragment) in errors.iter().zip(fragments) {
            assert!(error.contains(fragment), "{error} lacks {fragment}");
        }
    }

    #[test]
    fn names() {
        check(&subdomain("a.b-c.9"), &[]);
        check(&subdomain("A"), &["a lowercase RFC 1123 subdomain"]);
        check(&subdomain("a..b"), &["a lowercase RFC 1123 subdomain"]);
        check(&subdomain(&"a".repeat(254)), &["must be no more than 253"]);
        check(&label("abc"), &[]);
        check(&label("a.b"), &["a lowercase RFC 1123 label"]);
        check(&label(&"a".repeat(64)), &["must be no more than 63"]);
        check(&path_segment("system:x"), &[]);
        check(&path_segment(".."), &["may not be '..'"]);
        check(&path_segment("a/b%"), &["'/'", "'%'"]);
    }

    #[test]
    fn keys_and_values() {
        check(&qualified_name("a.b/c_D"), &[]);
        check(&qualified_name("/c"), &["prefix part must be non-empty"]);
        check(&qualified_name("a/"), &["name part must be non-empty", "name part must consist"]);
        check(&qualified_name("a/b/c"), &["a qualified name"]);
        check(&qualified_name("A_/c"), &["prefix part a lowercase"]);
        check(&label_value(""), &[]);
        check(&label_value("-a"), &["a valid label"]);
        check(&config_key(".dockerconfigjson"), &[]);
        check(&config_key("a b"), &["a valid config key"]);
        check(&config_key("."), &["must not be '.'"]);
        check(&config_key("..a"), &["must not start with '..'"]);
    }

    #[test]
    fn finalizers_are_qualified_or_standard() {
        let paths = |list: &[&str]| -> Vec<String> { finalizers(list, "f").into_iter().map(|e| e.path).collect() };
        assert!(paths(&["a.dev/b", "kubernetes", "orphan"]).is_empty());
        assert_eq!(paths(&["a.dev/b", "plain"]), ["f[1]"]);
        assert_eq!(paths(&["orphan", "foregroundDeletion"]), ["f"]);
    }

    #[test]
    fn owners_need_all_that_tells_them_apart() {
        let whole = serde_json::json!({"apiVersion": "v1", "kind": "A", "name": "a", "uid": "u", "controller": true});
        assert!(owner_references(std::slice::from_ref(&whole), "o").is_empty());
        assert_eq!(owner_references(&[whole.clone(), whole], "o").len(), 1);
        assert_eq!(owner_references(&[serde_json::json!({"kind": "A"})], "o").len(), 3);
    }
}
