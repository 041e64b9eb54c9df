//! Values against structural schemas: types, limits, formats, `allOf` and its like, and lists that are sets or maps.
//!
//! On an update, what is the same as before is not looked at again (ratcheting), as far as old and new can be told to be
//! the same thing: fields, map entries, elements of map lists; other lists only as a whole.
//!
//! Never changes a value, never evaluates CEL (see `cel`).

use serde_json::{Map, Value};

use super::field::{FieldError, child, index, same, sorted_json};
use super::formats;
use super::schema::{Additional, Limits, ListType, Structural};

impl Structural {
    /// Everything that is wrong with `new`, without the rules in CEL. With `old`, an update.
    #[must_use]
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = self.validate_at(new, old, "");
        let had_duplicates = old.is_some_and(|old| !self.duplicates(old).is_empty());
        if !had_duplicates {
            errors.extend(self.duplicates(new));
        }
        errors
    }

    /// Types and limits only, for a value that stands at `path`.
    #[must_use]
    pub(crate) fn validate_at(&self, new: &Value, old: Option<&Value>, path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        node(self, new, old, path, &mut errors);
        errors
    }

    /// Elements that occur twice in lists that are sets or maps.
    #[must_use]
    pub fn duplicates(&self, value: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        duplicates(self, value, "", &mut errors);
        errors
    }
}

/// The element of a map list with the same keys as `item`.
pub(crate) fn same_element<'a>(keys: &[String], item: &Value, among: &'a [Value]) -> Option<&'a Value> {
    let absent = Value::Null;
    let key = |v: &Value, k: &String| v.get(k).unwrap_or(&absent).clone();
    among.iter().find(|other| keys.iter().all(|k| same(&key(other, k), &key(item, k))))
}

fn node(schema: &Structural, value: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    if old.is_some_and(|old| same(old, value)) || value.is_null() && schema.nullable {
        return;
    }
    if let Some(wanted) = wrong_type(schema, value) {
        let found = type_name(value);
        errors.push(FieldError::type_invalid(
            path,
            found,
            format!("{path} in body must be of type {wanted}: \"{found}\""),
        ));
        // What is permitted is asked of a value of any type.
        allowed(&schema.limits, value, path, errors);
        return;
    }
    allowed(&schema.limits, value, path, errors);
    match value {
        Value::String(text) => string(&schema.limits, text, path, errors),
        Value::Number(_) => number(schema, value, path, errors),
        Value::Array(items) => array(schema, items, old, path, errors),
        Value::Object(map) => object(schema, map, old, path, errors),
        _ => {}
    }
    nested(&schema.limits, value, old, path, errors);
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The type that was wanted, where the value has another.
fn wrong_type<'a>(schema: &'a Structural, value: &Value) -> Option<&'a str> {
    let found = type_name(value);
    let whole = value.as_f64().is_some_and(|n| n.fract() == 0.0);
    if schema.int_or_string {
        let fits = found == "string" || found == "integer" || found == "number" && whole;
        return (!fits).then_some("integer,string");
    }
    let wanted = schema.kind.as_deref()?;
    let fits = found == wanted
        || wanted == "number" && found == "integer"
        || wanted == "integer" && found == "number" && whole;
    (!fits).then_some(wanted)
}

fn allowed(limits: &Limits, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if limits.allowed.is_empty() || limits.allowed.iter().any(|a| same(a, value)) {
        return;
    }
    let supported: Vec<String> =
        limits.allowed.iter().map(|a| a.as_str().map_or_else(|| sorted_json(a), str::to_owned)).collect();
    errors.push(FieldError::not_supported(path, value.clone(), &supported));
}

fn string(limits: &Limits, text: &str, path: &str, errors: &mut Vec<FieldError>) {
    errors.extend(misshapen(limits, text, path));
    if let Some(format) = &limits.format
        && !formats::holds(format, text)
    {
        errors.push(FieldError::type_invalid(
            path,
            text,
            format!("{path} in body must be of type {format}: {}", super::field::quote(text)),
        ));
    }
}

/// The first of a text's limits that it breaks: the real server looks no further either.
fn misshapen(limits: &Limits, text: &str, path: &str) -> Option<FieldError> {
    let length = text.chars().count() as u64;
    if let Some(max) = limits.max_length.filter(|max| length > *max) {
        return Some(FieldError::too_long(path, max));
    }
    if let Some(min) = limits.min_length.filter(|min| length < *min) {
        return Some(FieldError::invalid(path, text, format!("{path} in body should be at least {min} chars long")));
    }
    let (pattern, _) = limits.pattern.as_ref().filter(|(_, regex)| !regex.is_match(text))?;
    Some(FieldError::invalid(path, text, format!("{path} in body should match '{pattern}'")))
}

fn number(schema: &Structural, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let limits = &schema.limits;
    let Some(n) = value.as_f64() else { return };
    let mut fail =
        |text: String| errors.push(FieldError::invalid(path, value.clone(), format!("{path} in body {text}")));
    if let Some(step) = limits.multiple_of
        && step != 0.0
        && ((n / step).round() * step - n).abs() > f64::EPSILON * n.abs().max(1.0)
    {
        fail(format!("should be a multiple of {step}"));
    }
    if let Some(max) = limits.maximum {
        if limits.exclusive_maximum && n >= max {
            fail(format!("should be less than {max}"));
        } else if n > max {
            fail(format!("should be less than or equal to {max}"));
        }
    }
    if let Some(min) = limits.minimum {
        if limits.exclusive_minimum && n <= min {
            fail(format!("should be greater than {min}"));
        } else if n < min {
            fail(format!("should be greater than or equal to {min}"));
        }
    }
    let fits = match limits.format.as_deref() {
        Some("int32") => (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&n),
        Some("int64") => value.as_i64().is_some() || value.is_f64() && n.abs() < 9.3e18,
        Some("float") => n.abs() <= f64::from(f32::MAX),
        _ => true,
    };
    if let (false, Some(format)) = (fits, &limits.format) {
        let kind = schema.kind.as_deref().unwrap_or("number");
        let detail = format!("Checked value must be of type {kind} with format {format} in {path}");
        errors.push(FieldError::invalid(path, value.clone(), detail));
    }
}

fn array(schema: &Structural, items: &[Value], old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(max) = schema.limits.max_items
        && items.len() as u64 > max
    {
        errors.push(FieldError::too_many(path, items.len(), max));
    }
    if let Some(min) = schema.limits.min_items
        && (items.len() as u64) < min
    {
        let value = Value::Array(items.to_vec());
        errors.push(FieldError::invalid(path, value, format!("{path} in body should have at least {min} items")));
    }
    let Some(item_schema) = &schema.items else { return };
    let old_items = match (schema.list_type, old) {
        (ListType::Map, Some(Value::Array(old))) => old.as_slice(),
        _ => &[],
    };
    for (i, item) in items.iter().enumerate() {
        let before = same_element(&schema.list_keys, item, old_items);
        node(item_schema, item, before, &index(path, i), errors);
    }
}

fn object(
    schema: &Structural,
    map: &Map<String, Value>,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    for name in schema.limits.required.iter().filter(|name| !map.contains_key(*name)) {
        errors.push(FieldError::required(child(path, name), ""));
    }
    if let Some(max) = schema.limits.max_properties
        && map.len() as u64 > max
    {
        errors.push(FieldError::too_many(path, map.len(), max));
    }
    if let Some(min) = schema.limits.min_properties
        && (map.len() as u64) < min
    {
        let value = Value::Object(map.clone());
        errors.push(FieldError::invalid(path, value, format!("{path} in body should have at least {min} properties")));
    }
    for (name, value) in map {
        let below = match (schema.properties.get(name), &schema.additional) {
            (Some(field), _) => field,
            (None, Additional::Schema(values)) => values,
            _ => continue,
        };
        node(below, value, old.and_then(|o| o.get(name)), &child(path, name), errors);
    }
}

fn nested(limits: &Limits, value: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let run = |branch: &Structural| {
        let mut found = Vec::new();
        node(branch, value, old, path, &mut found);
        found
    };
    // The real server names no field for these, only in the text.
    let mut fail = |text: String, causes: Vec<FieldError>| {
        errors.push(FieldError::invalid("", "", format!("\"{path}\" {text}")));
        errors.extend(causes);
    };
    let nearest = |results: Vec<Vec<FieldError>>| results.into_iter().min_by_key(Vec::len).unwrap_or_default();

    if !limits.any_of.is_empty() {
        let results: Vec<_> = limits.any_of.iter().map(run).collect();
        if results.iter().all(|r| !r.is_empty()) {
            fail("must validate at least one schema (anyOf)".to_owned(), nearest(results));
        }
    }
    if !limits.one_of.is_empty() {
        let results: Vec<_> = limits.one_of.iter().map(run).collect();
        match results.iter().filter(|r| r.is_empty()).count() {
            1 => {}
            0 => fail("must validate one and only one schema (oneOf). Found none valid".to_owned(), nearest(results)),
            n => {
                fail(format!("must validate one and only one schema (oneOf). Found {n} valid alternatives"), Vec::new())
            }
        }
    }
    if !limits.all_of.is_empty() {
        let results: Vec<_> = limits.all_of.iter().map(run).collect();
        let held = results.iter().filter(|r| r.is_empty()).count();
        if held < results.len() {
            let none = if held == 0 { ". None validated" } else { "" };
            fail(format!("must validate all the schemas (allOf){none}"), results.into_iter().flatten().collect());
        }
    }
    if let Some(not) = &limits.not
        && run(not).is_empty()
    {
        fail("must not validate the schema (not)".to_owned(), Vec::new());
    }
}

/// What tells the items of a list apart: nothing where they may repeat. Errors with the place of the first one that can't
/// have keys; null stands for an object without any.
fn keys(schema: &Structural, items: &[Value]) -> Result<Vec<Value>, usize> {
    let keys_of = |map: &serde_json::Map<String, Value>| {
        let keys = schema.list_keys.iter();
        Value::Object(keys.filter_map(|k| Some((k.clone(), map.get(k)?.clone()))).collect())
    };
    match schema.list_type {
        ListType::Atomic => Ok(Vec::new()),
        ListType::Set => Ok(items.to_vec()),
        ListType::Map => {
            let key = |(i, item): (usize, &Value)| match item {
                Value::Object(map) => Ok(keys_of(map)),
                Value::Null => Ok(keys_of(&serde_json::Map::new())),
                _ => Err(i),
            };
            items.iter().enumerate().map(key).collect()
        }
    }
}

/// A value is named where it comes for the second time, and not again.
fn repeated(keys: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<(&Value, bool)> = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        match seen.iter_mut().find(|(s, _)| same(s, key)) {
            Some((_, true)) => {}
            Some((_, named)) => {
                *named = true;
                errors.push(FieldError::duplicate(index(path, i), key.clone()));
            }
            None => seen.push((key, false)),
        }
    }
}

fn duplicates(schema: &Structural, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Array(items) => {
            match keys(schema, items) {
                Ok(keys) => repeated(&keys, path, errors),
                Err(i) => {
                    let detail = "must be an object for an array of list-type map";
                    let item = items.get(i).cloned().unwrap_or_default();
                    errors.push(FieldError::invalid(index(path, i), item, detail));
                }
            }
            if let Some(inner) = &schema.items {
                items.iter().enumerate().for_each(|(i, item)| duplicates(inner, item, &index(path, i), errors));
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                if let Some(inner) = schema.field(name) {
                    duplicates(inner, value, &child(path, name), errors);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Checks a value that stands at `f` of an object against the schema of `f`.
    #[track_caller]
    fn check(field: Value, value: Value, expected: &[&str]) {
        update(field, None, value, expected);
    }

    #[track_caller]
    fn update(field: Value, old: Option<Value>, value: Value, expected: &[&str]) {
        let schema = Structural::parse(&json!({"type": "object", "properties": {"f": field}})).unwrap();
        let old = old.map(|o| json!({"f": o}));
        let errors: Vec<String> =
            schema.validate(&json!({"f": value}), old.as_ref()).iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected, "{value} against {field}");
    }

    #[test]
    fn types() {
        let values = [
            ("null", json!(null)),
            ("boolean", json!(true)),
            ("integer", json!(1)),
            ("number", json!(1.5)),
            ("string", json!("x")),
            ("array", json!([])),
            ("object", json!({})),
        ];
        for wanted in ["boolean", "integer", "number", "string", "object"] {
            for (found, value) in &values {
                let error = format!("f: Invalid value: \"{found}\": f in body must be of type {wanted}: \"{found}\"");
                let fits = *found == wanted || wanted == "number" && *found == "integer";
                let expected: &[&str] = if fits { &[] } else { &[&error] };
                check(json!({"type": wanted}), value.clone(), expected);
            }
        }
        check(json!({"type": "integer"}), json!(2.0), &[]);
        check(json!({"type": "string", "nullable": true}), json!(null), &[]);
        check(json!({"x-kubernetes-preserve-unknown-fields": true}), json!([1, {"a": 2}]), &[]);
        let either = json!({"x-kubernetes-int-or-string": true});
        check(either.clone(), json!(1), &[]);
        check(either.clone(), json!("50%"), &[]);
        check(
            either,
            json!(true),
            &["f: Invalid value: \"boolean\": f in body must be of type integer,string: \"boolean\""],
        );
    }

    #[test]
    fn strings() {
        for (limits, value, error) in [
            (json!({"maxLength": 3}), "abc", ""),
            (json!({"maxLength": 3}), "äöü", ""),
            (json!({"maxLength": 3}), "abcd", "f: Too long: may not be more than 3 bytes"),
            (json!({"minLength": 1}), "a", ""),
            (json!({"minLength": 1}), "", "f: Invalid value: \"\": f in body should be at least 1 chars long"),
            (json!({"pattern": "^[a-z]+$"}), "a", ""),
            (json!({"pattern": "^[a-z]+$"}), "A", "f: Invalid value: \"A\": f in body should match '^[a-z]+$'"),
            (json!({"enum": ["a", "b"]}), "a", ""),
            (json!({"enum": ["a", "b"]}), "x", "f: Unsupported value: \"x\": supported values: \"a\", \"b\""),
            (json!({"format": "date-time"}), "2026-11-25T06:00:00Z", ""),
            (
                json!({"format": "date-time"}),
                "yesterday",
                "f: Invalid value: \"yesterday\": f in body must be of type date-time: \"yesterday\"",
            ),
            (json!({"format": "unheard-of"}), "anything", ""),
        ] {
            let mut field = limits;
            field["type"] = json!("string");
            let expected: &[&str] = if error.is_empty() { &[] } else { &[error] };
            check(field, json!(value), expected);
        }
    }

    #[test]
    fn numbers() {
        for (limits, value, error) in [
            (json!({"minimum": 1}), json!(1), ""),
            (json!({"minimum": 1}), json!(0), "f: Invalid value: 0: f in body should be greater than or equal to 1"),
            (
                json!({"minimum": 1, "exclusiveMinimum": true}),
                json!(1),
                "f: Invalid value: 1: f in body should be greater than 1",
            ),
            (json!({"minimum": 1, "exclusiveMinimum": true}), json!(1.1), ""),
            (json!({"maximum": 5}), json!(5), ""),
            (json!({"maximum": 5}), json!(6), "f: Invalid value: 6: f in body should be less than or equal to 5"),
            (
                json!({"maximum": 5, "exclusiveMaximum": true}),
                json!(5),
                "f: Invalid value: 5: f in body should be less than 5",
            ),
            (json!({"multipleOf": 5}), json!(10), ""),
            (json!({"multipleOf": 5}), json!(11), "f: Invalid value: 11: f in body should be a multiple of 5"),
            (json!({"multipleOf": 0.1}), json!(0.3), ""),
            (json!({"format": "int32"}), json!(2147483647), ""),
            (
                json!({"format": "int32"}),
                json!(2147483648u32),
                "f: Invalid value: 2147483648: Checked value must be of type number with format int32 in f",
            ),
            (json!({"format": "int64"}), json!(9007199254740993i64), ""),
            (
                json!({"format": "int64"}),
                json!(9223372036854775808u64),
                "f: Invalid value: 9223372036854775808: Checked value must be of type number with format int64 in f",
            ),
            (json!({"enum": [1, 2]}), json!(2), ""),
            (json!({"enum": [1, 2]}), json!(3), "f: Unsupported value: 3: supported values: \"1\", \"2\""),
        ] {
            let mut field = limits;
            field["type"] = json!("number");
            let expected: &[&str] = if error.is_empty() { &[] } else { &[error] };
            check(field, value, expected);
        }
    }

    #[test]
    fn objects() {
        let field = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "string"}, "b": {"type": "object", "required": ["c"], "properties": {"c": {"type": "integer"}}},
        }});
        check(field.clone(), json!({"a": "x", "b": {"c": 1}}), &[]);
        check(field.clone(), json!({}), &["f.a: Required value", "f.b: Required value"]);
        check(field.clone(), json!({"a": "x", "b": {}}), &["f.b.c: Required value"]);
        check(
            field,
            json!({"a": 1, "b": {"c": "x"}}),
            &[
                "f.a: Invalid value: \"integer\": f.a in body must be of type string: \"integer\"",
                "f.b.c: Invalid value: \"string\": f.b.c in body must be of type integer: \"string\"",
            ],
        );
        let map = json!({"type": "object", "maxProperties": 2, "minProperties": 1, "additionalProperties": {"type": "integer"}});
        check(map.clone(), json!({"x": 1, "y": 2}), &[]);
        check(map.clone(), json!({"x": 1, "y": 2, "z": 3}), &["f: Too many: 3: must have at most 2 items"]);
        check(map.clone(), json!({}), &["f: Invalid value: {}: f in body should have at least 1 properties"]);
        check(
            map,
            json!({"x": "1"}),
            &["f.x: Invalid value: \"string\": f.x in body must be of type integer: \"string\""],
        );
    }

    #[test]
    fn arrays() {
        let field = json!({"type": "array", "maxItems": 2, "minItems": 1, "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string", "maxLength": 1}}}});
        check(field.clone(), json!([{"n": "a"}]), &[]);
        check(field.clone(), json!([]), &["f: Invalid value: []: f in body should have at least 1 items"]);
        check(
            field.clone(),
            json!([{"n": "a"}, {"n": "b"}, {"n": "c"}]),
            &["f: Too many: 3: must have at most 2 items"],
        );
        check(
            field,
            json!([{}, {"n": "ab"}]),
            &["f[0].n: Required value", "f[1].n: Too long: may not be more than 1 byte"],
        );
    }

    #[test]
    fn sets_and_maps_hold_nothing_twice() {
        let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
        check(set.clone(), json!(["a", "b"]), &[]);
        check(set.clone(), json!(["a", "b", "a"]), &["f[2]: Duplicate value: \"a\""]);
        let map = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n", "p"], "items": {
            "type": "object", "required": ["n"], "properties": {"n": {"type": "string"}, "p": {"type": "integer", "default": 1}, "v": {"type": "string"}}}});
        check(map.clone(), json!([{"n": "a", "p": 1}, {"n": "a", "p": 2}]), &[]);
        check(
            map.clone(),
            json!([{"n": "a", "p": 1, "v": "x"}, {"p": 1, "n": "a", "v": "y"}]),
            &["f[1]: Duplicate value: {\"n\":\"a\",\"p\":1}"],
        );
        let null = "f[1]: Invalid value: \"null\": f[1] in body must be of type object: \"null\"";
        check(map.clone(), json!([{"n": "a"}, null]), &[null]);
        let text = "f[1]: Invalid value: \"string\": f[1] in body must be of type object: \"string\"";
        let text2 = "f[2]: Invalid value: \"string\": f[2] in body must be of type object: \"string\"";
        let keyless = "f[1]: Invalid value: \"b\": must be an object for an array of list-type map";
        check(map.clone(), json!([{"n": "a"}, "b", "c", {"n": "a"}]), &[text, text2, keyless]);
        check(json!({"type": "array", "items": {"type": "string"}}), json!(["a", "a"]), &[]);
        update(set.clone(), Some(json!(["a"])), json!(["a", "a"]), &["f[1]: Duplicate value: \"a\""]);
        update(set, Some(json!(["b", "b"])), json!(["a", "a"]), &[]);
    }

    #[test]
    fn nested_validations() {
        let base = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "boolean"}}});
        let with = |name: &str, value: Value| {
            let mut schema = base.clone();
            schema[name] = value;
            schema
        };
        let one = with("oneOf", json!([{"required": ["a"]}, {"required": ["b"]}]));
        check(one.clone(), json!({"a": "x"}), &[]);
        check(one.clone(), json!({"b": "x", "c": true}), &[]);
        check(
            one.clone(),
            json!({}),
            &[
                "<nil>: Invalid value: \"\": \"f\" must validate one and only one schema (oneOf). Found none valid",
                "f.a: Required value",
            ],
        );
        check(
            one,
            json!({"a": "x", "b": "y"}),
            &[
                "<nil>: Invalid value: \"\": \"f\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ],
        );
        let any =
            with("anyOf", json!([{"required": ["a"]}, {"properties": {"c": {"enum": [true]}}, "required": ["c"]}]));
        check(any.clone(), json!({"a": "x", "c": false}), &[]);
        check(any.clone(), json!({"c": true}), &[]);
        check(
            any,
            json!({"c": false}),
            &["<nil>: Invalid value: \"\": \"f\" must validate at least one schema (anyOf)", "f.a: Required value"],
        );
        let all = with("allOf", json!([{"required": ["a"]}, {"properties": {"b": {"maxLength": 1}}}]));
        check(all.clone(), json!({"a": "x", "b": "y"}), &[]);
        check(
            all.clone(),
            json!({"a": "x", "b": "yy"}),
            &[
                "<nil>: Invalid value: \"\": \"f\" must validate all the schemas (allOf)",
                "f.b: Too long: may not be more than 1 byte",
            ],
        );
        check(
            all,
            json!({"b": "yy"}),
            &[
                "<nil>: Invalid value: \"\": \"f\" must validate all the schemas (allOf). None validated",
                "f.a: Required value",
                "f.b: Too long: may not be more than 1 byte",
            ],
        );
        let not = with("not", json!({"required": ["a", "b"]}));
        check(not.clone(), json!({"a": "x"}), &[]);
        check(
            not,
            json!({"a": "x", "b": "y"}),
            &["<nil>: Invalid value: \"\": \"f\" must not validate the schema (not)"],
        );
    }

    #[test]
    fn what_did_not_change_is_not_looked_at_again() {
        let short = json!({"type": "string", "maxLength": 1});
        let too_long = "f: Too long: may not be more than 1 byte";
        update(short.clone(), Some(json!("abc")), json!("abc"), &[]);
        update(short.clone(), Some(json!("abc")), json!("abcd"), &[too_long]);
        update(short.clone(), Some(json!("a")), json!("abc"), &[too_long]);

        let object = json!({"type": "object", "required": ["r"], "properties": {"a": short, "b": short, "r": short}});
        update(object.clone(), Some(json!({"a": "long"})), json!({"a": "long"}), &[]);
        update(object.clone(), Some(json!({"a": "long", "r": "r"})), json!({"a": "long", "b": "x", "r": "r"}), &[]);
        update(object.clone(), Some(json!({"a": "long"})), json!({"a": "long", "b": "x"}), &["f.r: Required value"]);
        update(
            object,
            Some(json!({"a": "long", "r": "r"})),
            json!({"a": "long", "b": "longer", "r": "r"}),
            &["f.b: Too long: may not be more than 1 byte"],
        );
    }

    #[test]
    fn lists_ratchet_by_their_keys_or_not_at_all() {
        let item = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}});
        let map = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": item});
        let old = json!([{"n": "a", "v": "long"}]);
        update(map.clone(), Some(old.clone()), json!([{"n": "b", "v": "x"}, {"n": "a", "v": "long"}]), &[]);
        update(
            map,
            Some(old.clone()),
            json!([{"n": "b", "v": "long"}, {"n": "a", "v": "long"}]),
            &["f[0].v: Too long: may not be more than 1 byte"],
        );
        let plain = json!({"type": "array", "items": item});
        update(plain.clone(), Some(old.clone()), old.clone(), &[]);
        update(
            plain,
            Some(old),
            json!([{"n": "a", "v": "long"}, {"n": "b"}]),
            &["f[0].v: Too long: may not be more than 1 byte"],
        );
    }
}
