//! Field errors: what is wrong at which path, in the very words of a Kubernetes API server, and the causes of a `Status`.
//!
//! Never decides what is wrong; it only words it.

use std::fmt;

use serde_json::{Value, json};

/// What is wrong with a field; each kind has its own reason in a `Status` cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldErrorKind {
    /// A value is needed and there is none.
    Required,
    /// The value does not hold to a rule.
    Invalid,
    /// The value has the wrong JSON type or format.
    TypeInvalid,
    /// The value occurs twice where it may occur once.
    Duplicate,
    /// The string is too long.
    TooLong,
    /// The list or map has too many entries.
    TooMany,
    /// The value is none of those allowed.
    NotSupported,
    /// The field may not be set here.
    Forbidden,
    /// The server itself failed.
    Internal,
}

impl FieldErrorKind {
    /// The machine-readable reason, as in `Status.details.causes[].reason`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Duplicate => "FieldValueDuplicate",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::Internal => "InternalError",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::Duplicate => "Duplicate value",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::Internal => "Internal error",
        }
    }

    /// Whether the value is named in the message; secrets aside, the real server leaves it out of these.
    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::Internal)
    }

    /// Whether CEL rules are skipped while an error of this kind stands, as they could fail for the same cause.
    #[must_use]
    pub fn blocks_rules(self) -> bool {
        matches!(self, Self::Required | Self::TooLong | Self::TooMany | Self::TypeInvalid | Self::NotSupported)
    }
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Where, e.g. `spec.repositories[0].name`; empty for the object as a whole.
    pub path: String,
    /// What.
    pub kind: FieldErrorKind,
    /// The value found; `None` where the real server leaves it out.
    pub bad_value: Option<Value>,
    /// The rest of the sentence; may be empty.
    pub detail: String,
}

impl FieldError {
    fn new(path: impl Into<String>, kind: FieldErrorKind, bad_value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), kind, bad_value, detail: detail.into() }
    }

    /// A value is needed.
    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Required, None, detail)
    }

    /// The value breaks a rule.
    pub fn invalid(path: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Invalid, Some(value.into()), detail)
    }

    /// The value breaks a rule and is not repeated in the message.
    pub fn invalid_without_value(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Invalid, None, detail)
    }

    /// The value has the wrong type or format.
    pub fn type_invalid(path: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::TypeInvalid, Some(value.into()), detail)
    }

    /// The value occurs twice.
    pub fn duplicate(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(path, FieldErrorKind::Duplicate, Some(value.into()), "")
    }

    /// The string has more than `max` characters.
    pub fn too_long(path: impl Into<String>, max: u64) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(path, FieldErrorKind::TooLong, None, format!("may not be more than {max} {unit}"))
    }

    /// There are more than `max` entries.
    pub fn too_many(path: impl Into<String>, actual: usize, max: u64) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(path, FieldErrorKind::TooMany, Some(json!(actual)), format!("must have at most {max} {unit}"))
    }

    /// The value is none of `supported`.
    pub fn not_supported(path: impl Into<String>, value: impl Into<Value>, supported: &[String]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| quote(s)).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        Self::new(path, FieldErrorKind::NotSupported, Some(value.into()), detail)
    }

    /// The field may not be set.
    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Forbidden, None, detail)
    }

    /// The server failed.
    pub fn internal(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Internal, None, detail)
    }

    /// The message without the path, as in `Status.details.causes[].message`.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if self.kind.shows_value()
            && let Some(value) = &self.bad_value
        {
            text.push_str(": ");
            text.push_str(&sorted_json(value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    /// The entry for `Status.details.causes`.
    #[must_use]
    pub fn to_cause(&self) -> Value {
        json!({"reason": self.kind.reason(), "message": self.body(), "field": self.shown_path()})
    }

    fn shown_path(&self) -> &str {
        if self.path.is_empty() { "<nil>" } else { &self.path }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.shown_path(), self.body())
    }
}

impl std::error::Error for FieldError {}

/// Several errors as the one text of a `Status.message`: alone as it is, else in brackets; none twice.
#[must_use]
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// A path one field deeper.
#[must_use]
pub fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A path to an element of a list.
#[must_use]
pub fn index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// A path to an entry of a map.
#[must_use]
pub fn key(path: &str, key: &str) -> String {
    format!("{path}[{key}]")
}

/// A string in double quotes.
#[must_use]
pub fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

/// JSON on one line with keys in order, as the real server prints maps.
#[must_use]
pub fn sorted_json(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let parts: Vec<String> =
                keys.into_iter().map(|k| format!("{}:{}", quote(k), sorted_json(&map[k.as_str()]))).collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().map(sorted_json).collect();
            format!("[{}]", parts.join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// Whether two values are the same to a server: the order of keys does not count, nor does `1` differ from `1.0`.
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64() && x.as_f64().is_some(),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(v, w)| same(v, w)),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_the_real_ones() {
        let supported = ["a".to_owned(), "b".to_owned()];
        for (error, text) in [
            (FieldError::required("spec.x", ""), "spec.x: Required value"),
            (FieldError::required("spec.x", "must be specified"), "spec.x: Required value: must be specified"),
            (
                FieldError::invalid("spec.name", "A", "spec.name in body should match '^[a-z]+$'"),
                "spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'",
            ),
            (FieldError::invalid("spec.n", 3, "odd"), "spec.n: Invalid value: 3: odd"),
            (FieldError::invalid("spec.n", 1.5, "odd"), "spec.n: Invalid value: 1.5: odd"),
            (FieldError::invalid("spec.n", true, "odd"), "spec.n: Invalid value: true: odd"),
            (FieldError::invalid("", Value::Null, "odd"), "<nil>: Invalid value: null: odd"),
            (FieldError::invalid("s", json!({"b": 1, "a": [2]}), "no"), "s: Invalid value: {\"a\":[2],\"b\":1}: no"),
            (FieldError::invalid_without_value("spec", "no"), "spec: Invalid value: no"),
            (
                FieldError::not_supported("s", "x", &supported),
                "s: Unsupported value: \"x\": supported values: \"a\", \"b\"",
            ),
            (FieldError::not_supported("s", "x", &[]), "s: Unsupported value: \"x\""),
            (FieldError::too_long("s", 60), "s: Too long: may not be more than 60 bytes"),
            (FieldError::too_long("s", 1), "s: Too long: may not be more than 1 byte"),
            (FieldError::too_many("s", 51, 50), "s: Too many: 51: must have at most 50 items"),
            (FieldError::too_many("s", 2, 1), "s: Too many: 2: must have at most 1 item"),
            (FieldError::duplicate("s[1]", "a"), "s[1]: Duplicate value: \"a\""),
            (FieldError::duplicate("s[1]", json!({"name": "a"})), "s[1]: Duplicate value: {\"name\":\"a\"}"),
            (FieldError::forbidden("s", "not here"), "s: Forbidden: not here"),
            (FieldError::internal("s", "oh"), "s: Internal error: oh"),
            (FieldError::type_invalid("s", "string", "bad"), "s: Invalid value: \"string\": bad"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_cause_names_reason_message_and_field() {
        assert_eq!(
            FieldError::required("spec.x", "").to_cause(),
            json!({"reason": "FieldValueRequired", "message": "Required value", "field": "spec.x"})
        );
        assert_eq!(
            FieldError::type_invalid("", "string", "bad").to_cause(),
            json!({"reason": "FieldValueTypeInvalid", "message": "Invalid value: \"string\": bad", "field": "<nil>"})
        );
    }

    #[test]
    fn several_errors_become_one_text_without_repetition() {
        let a = FieldError::required("a", "");
        let b = FieldError::required("b", "");
        assert_eq!(aggregate(std::slice::from_ref(&a)), "a: Required value");
        assert_eq!(aggregate(&[a.clone(), b.clone(), a.clone()]), "[a: Required value, b: Required value]");
    }

    #[test]
    fn paths_grow_as_they_are_written() {
        assert_eq!(child("", "spec"), "spec");
        assert_eq!(child("spec", "x"), "spec.x");
        assert_eq!(index("spec.x", 2), "spec.x[2]");
        assert_eq!(key("properties", "a.b"), "properties[a.b]");
    }

    #[test]
    fn sameness_is_that_of_json() {
        for (a, b, expected) in [
            (json!(1), json!(1.0), true),
            (json!(1), json!(2), false),
            (json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}), true),
            (json!({"a": 1}), json!({"a": 1, "b": null}), false),
            (json!([1, 2]), json!([2, 1]), false),
            (json!([{"a": 1}]), json!([{"a": 1.0}]), true),
            (json!("1"), json!(1), false),
            (json!(null), json!(null), true),
        ] {
            assert_eq!(same(&a, &b), expected, "{a} and {b}");
        }
    }

    #[test]
    fn only_errors_that_may_trip_rules_block_them() {
        use FieldErrorKind::*;
        for (kind, blocks) in [
            (Required, true),
            (TooLong, true),
            (TooMany, true),
            (TypeInvalid, true),
            (Invalid, false),
            (Duplicate, false),
            (NotSupported, true),
            (Forbidden, false),
        ] {
            assert_eq!(kind.blocks_rules(), blocks, "{kind:?}");
        }
    }
}
