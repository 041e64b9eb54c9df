//! Structural schemas: the OpenAPI v3 schema of a custom resource as the tree that everything else walks.
//!
//! Reading order: `Structural`, `parse`; the rules a schema must hold to are in `structural`, defaults and pruning in
//! `prune`, validation in `validate`, CEL in `cel`.
//!
//! Invariant: a `Structural` only exists for a schema that the rules allow; the walkers need not check again.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::field::FieldError;
use super::structural;

/// Where a real server says that a custom resource's schema stands.
pub const SCHEMA_PATH: &str = "spec.validation.openAPIV3Schema";

/// A node of a structural schema. Nested value validations (`allOf` and its like) are nodes without a type.
#[derive(Clone, Debug, Default)]
pub struct Structural {
    /// The JSON type; `None` for int-or-string, for any value, and in nested validations.
    pub kind: Option<String>,
    /// Whether `null` is a value.
    pub nullable: bool,
    /// Declared fields.
    pub properties: BTreeMap<String, Structural>,
    /// The elements of an array.
    pub items: Option<Box<Structural>>,
    /// The values of a map.
    pub additional: Additional,
    /// What an absent field becomes.
    pub default: Option<Value>,
    /// Unknown fields are kept here.
    pub preserve_unknown: bool,
    /// Both an integer and a string will do.
    pub int_or_string: bool,
    /// A whole Kubernetes object stands here.
    pub embedded: bool,
    /// How a list merges.
    pub list_type: ListType,
    /// A map or object that is owned as a whole.
    pub atomic_map: bool,
    /// The keys of a map list.
    pub list_keys: Vec<String>,
    /// Constraints on values.
    pub limits: Limits,
    /// `x-kubernetes-validations`.
    pub rules: Vec<Rule>,
}

/// `additionalProperties`.
#[derive(Clone, Debug, Default)]
pub enum Additional {
    /// Not a map.
    #[default]
    None,
    /// A map of anything.
    Any,
    /// A map of such values.
    Schema(Box<Structural>),
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    #[default]
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects told apart by keys.
    Map,
}

/// Constraints on values; nothing set, nothing checked.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Fields that must be there.
    pub required: Vec<String>,
    /// The only values allowed.
    pub allowed: Vec<Value>,
    /// Greatest number.
    pub maximum: Option<f64>,
    /// The greatest number is itself too great.
    pub exclusive_maximum: bool,
    /// Least number.
    pub minimum: Option<f64>,
    /// The least number is itself too small.
    pub exclusive_minimum: bool,
    /// The number is a multiple of this.
    pub multiple_of: Option<f64>,
    /// Most characters.
    pub max_length: Option<u64>,
    /// Fewest characters.
    pub min_length: Option<u64>,
    /// What the string looks like: as written, and compiled.
    pub pattern: Option<(String, Regex)>,
    /// Most elements.
    pub max_items: Option<u64>,
    /// Fewest elements.
    pub min_items: Option<u64>,
    /// Most entries.
    pub max_properties: Option<u64>,
    /// Fewest entries.
    pub min_properties: Option<u64>,
    /// A named format, e.g. `date-time`.
    pub format: Option<String>,
    /// All of these hold.
    pub all_of: Vec<Structural>,
    /// At least one of these holds.
    pub any_of: Vec<Structural>,
    /// Exactly one of these holds.
    pub one_of: Vec<Structural>,
    /// This does not hold.
    pub not: Option<Box<Structural>>,
}

/// One rule of `x-kubernetes-validations`, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The CEL expression.
    pub rule: String,
    /// What to say when it is false.
    pub message: Option<String>,
    /// A CEL expression for what to say.
    pub message_expression: Option<String>,
    /// Which reason the error has.
    pub reason: Option<String>,
    /// Which field the error names, relative to the rule's place.
    pub field_path: Option<String>,
    /// `oldSelf` is an optional that may be empty.
    pub optional_old_self: bool,
}

impl Structural {
    /// Reads `openAPIV3Schema`; the errors are those with which a CustomResourceDefinition is refused.
    ///
    /// # Errors
    /// One per broken rule of structural schemas.
    pub fn parse(openapi_v3_schema: &Value) -> Result<Self, Vec<FieldError>> {
        Self::parse_at(openapi_v3_schema, SCHEMA_PATH)
    }

    /// As [`parse`](Self::parse), for a schema that stands at `path`.
    ///
    /// # Errors
    /// One per broken rule of structural schemas.
    pub fn parse_at(openapi_v3_schema: &Value, path: &str) -> Result<Self, Vec<FieldError>> {
        let mut errors = structural::check(openapi_v3_schema, path);
        if !errors.is_empty() {
            return Err(errors);
        }
        let node = Self::build(openapi_v3_schema);
        structural::check_defaults(&node, path, &mut errors);
        if errors.is_empty() { Ok(node) } else { Err(errors) }
    }

    /// Builds a node without checking the rules: for nested validations, and for schemas that are checked already.
    pub(crate) fn build(schema: &Value) -> Self {
        let Some(map) = schema.as_object() else {
            return <Self as Default>::default();
        };
        let flag = |name: &str| map.get(name).and_then(Value::as_bool) == Some(true);
        let int_or_string = flag("x-kubernetes-int-or-string");
        Self {
            kind: text(map, "type").filter(|_| !int_or_string),
            nullable: flag("nullable"),
            properties: properties(map),
            items: map.get("items").map(|s| Box::new(Self::build(s))),
            additional: match map.get("additionalProperties") {
                Some(Value::Bool(true)) => Additional::Any,
                Some(schema @ Value::Object(_)) => Additional::Schema(Box::new(Self::build(schema))),
                _ => Additional::None,
            },
            default: map.get("default").cloned(),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            int_or_string,
            embedded: flag("x-kubernetes-embedded-resource"),
            list_type: match map.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("map") => ListType::Map,
                Some("set") => ListType::Set,
                _ => ListType::Atomic,
            },
            atomic_map: map.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
            list_keys: strings(map, "x-kubernetes-list-map-keys"),
            limits: Limits::build(map, int_or_string),
            rules: list(map, "x-kubernetes-validations").iter().map(Rule::build).collect(),
        }
    }

    /// Whether any node here or below has rules in CEL.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
            || self.properties.values().any(Self::has_rules)
            || self.items.as_deref().is_some_and(Self::has_rules)
            || matches!(&self.additional, Additional::Schema(s) if s.has_rules())
    }

    /// The schema of a field or map entry.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(match &self.additional {
            Additional::Schema(schema) => Some(schema.as_ref()),
            _ => None,
        })
    }
}

impl Limits {
    fn build(map: &Map<String, Value>, int_or_string: bool) -> Self {
        let number = |name: &str| map.get(name).and_then(Value::as_f64);
        let count = |name: &str| map.get(name).and_then(Value::as_u64);
        let flag = |name: &str| map.get(name).and_then(Value::as_bool) == Some(true);
        let nested = |name: &str| list(map, name).iter().map(Structural::build).collect::<Vec<_>>();
        Self {
            required: strings(map, "required"),
            allowed: list(map, "enum").to_vec(),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            pattern: text(map, "pattern").and_then(|p| Some((p.clone(), go_regex(&p).ok()?))),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            format: text(map, "format"),
            all_of: nested("allOf"),
            // `anyOf: [{type: integer}, {type: string}]` beside int-or-string says nothing more.
            any_of: if int_or_string { Vec::new() } else { nested("anyOf") },
            one_of: nested("oneOf"),
            not: map.get("not").map(|s| Box::new(Structural::build(s))),
        }
    }
}

impl Rule {
    fn build(value: &Value) -> Self {
        let get = |name: &str| value.get(name).and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned);
        Self {
            rule: get("rule").unwrap_or_default(),
            message: get("message"),
            message_expression: get("messageExpression"),
            reason: get("reason"),
            field_path: get("fieldPath"),
            optional_old_self: value.get("optionalOldSelf").and_then(Value::as_bool) == Some(true),
        }
    }
}

fn properties(map: &Map<String, Value>) -> BTreeMap<String, Structural> {
    let Some(fields) = map.get("properties").and_then(Value::as_object) else {
        return BTreeMap::new();
    };
    fields.iter().map(|(name, schema)| (name.clone(), Structural::build(schema))).collect()
}

fn text(map: &Map<String, Value>, name: &str) -> Option<String> {
    map.get(name).and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned)
}

fn list<'a>(map: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    map.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn strings(map: &Map<String, Value>, name: &str) -> Vec<String> {
    list(map, name).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Compiles a pattern as Go's RE2 reads it: the same syntax as this crate's, but classes such as `\d` are ASCII only.
///
/// # Errors
/// Where the pattern is no regular expression.
pub fn go_regex(pattern: &str) -> Result<Regex, regex::Error> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(class @ ('d' | 'w' | 's')) => {
                    let set = match class {
                        'd' => "0-9",
                        'w' => "0-9A-Za-z_",
                        _ => r"\t\n\f\r ",
                    };
                    if in_class { out.push_str(set) } else { out.push_str(&format!("[{set}]")) }
                }
                Some('D') => out.push_str("[^0-9]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('S') => out.push_str(r"[^\t\n\f\r ]"),
                Some('b') => out.push_str(r"(?-u:\b)"),
                // Go reads an escaped slash as a slash; this crate does too, but not every letter.
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                out.push(c);
                if chars.peek() == Some(&'^') {
                    out.extend(chars.next());
                }
                if chars.peek() == Some(&']') {
                    chars.next();
                    out.push_str(r"\]");
                }
            }
            // A bracket inside a class is itself in Go and a nested class here.
            '[' if chars.peek() != Some(&':') => out.push_str(r"\["),
            '[' => {
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            ']' => {
                in_class = false;
                out.push(c);
            }
            '&' | '~' | '-' if in_class && chars.peek() == Some(&c) => out.push_str(&format!(r"\{c}")),
            _ => out.push(c),
        }
    }
    Regex::new(&out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_read_with_all_it_says() {
        let schema = Structural::parse(&json!({
            "type": "object",
            "properties": {"spec": {
                "type": "object",
                "required": ["name"],
                "x-kubernetes-map-type": "atomic",
                "x-kubernetes-validations": [
                    {"rule": "self.a == 1", "message": "m", "reason": "FieldValueForbidden", "fieldPath": ".a"},
                    {"rule": "true", "messageExpression": "'x'", "optionalOldSelf": true},
                ],
                "properties": {
                    "a": {"type": "integer", "minimum": 1, "maximum": 5, "exclusiveMaximum": true, "default": 2},
                    "any": {"x-kubernetes-preserve-unknown-fields": true},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                        "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}},
                    "name": {"type": "string", "pattern": "^a+$", "enum": ["a", "aa"], "maxLength": 2, "nullable": true},
                    "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                },
            }},
        }))
        .unwrap();
        let spec = &schema.properties["spec"];
        assert!(schema.has_rules());
        assert!(spec.atomic_map);
        assert_eq!(spec.limits.required, ["name"]);
        assert_eq!(spec.rules.len(), 2);
        assert_eq!(spec.rules[0].reason.as_deref(), Some("FieldValueForbidden"));
        assert_eq!(spec.rules[0].field_path.as_deref(), Some(".a"));
        assert!(spec.rules[1].optional_old_self);
        let a = &spec.properties["a"];
        assert_eq!((a.limits.minimum, a.limits.maximum), (Some(1.0), Some(5.0)));
        assert!(a.limits.exclusive_maximum && !a.limits.exclusive_minimum);
        assert_eq!(a.default, Some(json!(2)));
        assert!(spec.properties["any"].preserve_unknown);
        assert_eq!(spec.field("labels").and_then(|l| l.field("x")).and_then(|v| v.kind.as_deref()), Some("string"));
        let list = &spec.properties["list"];
        assert_eq!((list.list_type, list.list_keys.as_slice()), (ListType::Map, &["k".to_owned()][..]));
        let name = &spec.properties["name"];
        assert!(name.nullable);
        assert_eq!(name.limits.allowed, [json!("a"), json!("aa")]);
        assert_eq!(name.limits.max_length, Some(2));
        let port = &spec.properties["port"];
        assert!(port.int_or_string && port.kind.is_none() && port.limits.any_of.is_empty());
    }

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, matches) in [
            ("^[a-z]+$", "abc", true),
            ("^[a-z]+$", "aBc", false),
            ("b", "abc", true),
            (r"^\d+$", "123", true),
            (r"^\d+$", "١٢٣", false),
            (r"^\w+$", "ä", false),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"^[\w.-]+$", "a b", false),
            (r"^\D+$", "١", true),
            (r"^\S+$", "a b", false),
            (r"^\s$", "\t", true),
            (r"^[[]$", "[", true),
            (r"^[]]$", "]", true),
            (r"^[^]]$", "]", false),
            (r"^[^]]$", "x", true),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"^[[:alpha:]]+$", "a1", false),
            (r"^a\/b$", "a/b", true),
            (r"^a\.b$", "axb", false),
            (r"^(foo|bar)(-\d{2,3})?$", "bar-123", true),
            (r"^(foo|bar)(-\d{2,3})?$", "bar-1", false),
            (r"\bfoo\b", "a foo b", true),
            (r"\bfoo\b", "afoo", false),
            (r"^[a&&b]+$", "a&b", true),
            (r"(?i)^abc$", "ABC", true),
            (r"^.$", "ä", true),
            (r"^$", "", true),
            (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", "my-app.example.com", true),
        ] {
            assert_eq!(go_regex(pattern).unwrap().is_match(text), matches, "{pattern} on {text}");
        }
        for broken in ["(", "[a", "*", r"a{2,1}", r"(?<!a)b"] {
            assert!(go_regex(broken).is_err(), "{broken}");
        }
    }
}
