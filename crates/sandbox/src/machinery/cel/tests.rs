use serde_json::{Value, json};

use super::super::schema::Structural;
use super::{CelRules, check_object};

/// An object with one field `f`, whose schema has the rules.
fn compiled(field: Value) -> (Structural, CelRules) {
    let schema = Structural::parse(&json!({"type": "object", "properties": {"f": field}})).unwrap();
    let rules = CelRules::compile(&schema).unwrap_or_else(|e| panic!("{e:?}"));
    (schema, rules)
}

#[track_caller]
fn verdict(field: &Value, old: Option<Value>, new: Value, expected: &[&str]) {
    let (schema, rules) = compiled(field.clone());
    let old = old.map(|o| json!({"f": o}));
    let errors: Vec<String> =
        rules.validate(&schema, &json!({"f": new}), old.as_ref()).iter().map(ToString::to_string).collect();
    assert_eq!(errors, expected, "{new}");
}

/// A rule on an integer, a string, a list and a map, with the value for which it holds and one for which it does not.
#[test]
fn rules_hold_or_fail() {
    let strings = json!({"type": "array", "items": {"type": "string"}});
    let map = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    let object = json!({"type": "object", "properties": {
        "a": {"type": "integer"}, "b": {"type": "string"}, "namespace": {"type": "string"}, "x-y": {"type": "boolean"},
        "t": {"type": "string", "format": "date-time"}, "d": {"type": "string", "format": "duration"},
        "n": {"type": "number"}, "bytes": {"type": "string", "format": "byte"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
    }});
    for (schema, rule, good, bad) in [
        (json!({"type": "integer"}), "self > 1", json!(2), json!(1)),
        (json!({"type": "integer"}), "self in [1, 3]", json!(3), json!(2)),
        (json!({"type": "string"}), "self.startsWith('a')", json!("ab"), json!("ba")),
        (json!({"type": "string"}), "size(self) <= 2", json!("ab"), json!("abc")),
        (json!({"type": "string"}), "self.matches('^[a-z]+$')", json!("ab"), json!("A")),
        (json!({"type": "string"}), "!self.contains('[')", json!("ab"), json!("a[b")),
        (json!({"type": "string"}), "self.lowerAscii() == self", json!("ab"), json!("Ab")),
        (json!({"type": "string"}), "isURL(self)", json!("https://a.b"), json!("::")),
        (json!({"type": "string"}), "self.split('/').size() == 2", json!("a/b"), json!("a")),
        (strings.clone(), "self.all(x, x != '')", json!(["a"]), json!(["a", ""])),
        (strings.clone(), "self.exists(x, x == 'a')", json!(["b", "a"]), json!([])),
        (strings.clone(), "self.exists_one(x, x == 'a')", json!(["a"]), json!(["a", "a"])),
        (strings.clone(), "size(self.filter(x, x == 'a')) == 1", json!(["a"]), json!([])),
        (strings.clone(), "'a' in self", json!(["a"]), json!(["b"])),
        (strings, "self[0] == 'a'", json!(["a"]), json!(["b"])),
        (map.clone(), "self.all(k, self[k] > 0)", json!({"x": 1}), json!({"x": 0})),
        (map, "'x-y' in self && self['x-y'] == 1", json!({"x-y": 1}), json!({"xy": 1})),
        (object.clone(), "has(self.a) != has(self.b)", json!({"a": 1}), json!({"a": 1, "b": "x"})),
        (object.clone(), "[has(self.a), has(self.b)].filter(x, x).size() == 1", json!({"b": "x"}), json!({})),
        (object.clone(), "!has(self.a) || self.a == 1", json!({}), json!({"a": 2})),
        (object.clone(), "self.__namespace__ == 'x'", json!({"namespace": "x"}), json!({"namespace": "y"})),
        (object.clone(), "self.x__dash__y", json!({"x-y": true}), json!({"x-y": false})),
        (
            object.clone(),
            "self.t > timestamp('2026-01-01T00:00:00Z')",
            json!({"t": "2026-02-01T00:00:00Z"}),
            json!({"t": "2025-02-01T00:00:00Z"}),
        ),
        (object.clone(), "self.d >= duration('1m')", json!({"d": "1h"}), json!({"d": "30s"})),
        (object.clone(), "self.n > 1.5", json!({"n": 2}), json!({"n": 1})),
        (object.clone(), "self.bytes.size() == 2", json!({"bytes": "YWI="}), json!({"bytes": "YWJj"})),
        (
            object.clone(),
            "self.list.all(i, self.list.exists_one(j, j.k == i.k))",
            json!({"list": [{"k": "a"}]}),
            json!({"list": [{"k": "a"}, {"k": "a"}]}),
        ),
        (object, "self.b == 'x' ? self.a == 1 : true", json!({"b": "x", "a": 1}), json!({"b": "x", "a": 2})),
        (
            json!({"x-kubernetes-int-or-string": true}),
            "type(self) == int ? self > 0 : self.endsWith('%')",
            json!("5%"),
            json!("5"),
        ),
    ] {
        let mut field = schema;
        field["x-kubernetes-validations"] = json!([{"rule": rule, "message": "no"}]);
        let (schema, rules) = compiled(field);
        let errors = |value: &Value| rules.validate(&schema, &json!({"f": value}), None);
        assert_eq!(errors(&good), [], "{rule} holds for {good}");
        let found = errors(&bad);
        assert_eq!(found.len(), 1, "{rule} fails for {bad}");
        assert_eq!(found[0].detail, "no", "{rule} for {bad}");
    }
}

#[test]
fn absent_and_null_values_are_not_judged() {
    let field = json!({"type": "string", "nullable": true, "x-kubernetes-validations": [{"rule": "false"}]});
    let (schema, rules) = compiled(field);
    assert_eq!(rules.validate(&schema, &json!({}), None), []);
    assert_eq!(rules.validate(&schema, &json!({"f": null}), None), []);
    assert_eq!(rules.validate(&schema, &json!({"f": ""}), None).len(), 1);
}

#[test]
fn errors_say_what_the_rule_says() {
    let scalar = |rule: Value| json!({"type": "string", "x-kubernetes-validations": [rule]});
    let object = |rule: Value| json!({"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-validations": [rule]});
    let fails = "self == 'never'";
    verdict(
        &scalar(json!({"rule": fails})),
        None,
        json!("x"),
        &["f: Invalid value: \"x\": failed rule: self == 'never'"],
    );
    verdict(&scalar(json!({"rule": fails, "message": " why "})), None, json!("x"), &["f: Invalid value: \"x\": why"]);
    verdict(
        &scalar(json!({"rule": fails, "message": "m", "messageExpression": "'not ' + self"})),
        None,
        json!("x"),
        &["f: Invalid value: \"x\": not x"],
    );
    verdict(
        &scalar(json!({"rule": fails, "message": "m", "messageExpression": "self + '\\n'"})),
        None,
        json!(""),
        &["f: Invalid value: \"\": m"],
    );
    verdict(
        &object(json!({"rule": "self.a == 'never'", "message": "m"})),
        None,
        json!({"a": "x"}),
        &["f: Invalid value: m"],
    );
    verdict(
        &object(json!({"rule": "self.a == 'never'", "message": "m", "fieldPath": ".a"})),
        None,
        json!({"a": "x"}),
        &["f.a: Invalid value: m"],
    );
    for (reason, text) in [
        ("FieldValueForbidden", "f: Forbidden: m"),
        ("FieldValueRequired", "f: Required value: m"),
        ("FieldValueDuplicate", "f: Duplicate value: \"x\""),
        ("FieldValueInvalid", "f: Invalid value: \"x\": m"),
    ] {
        verdict(&scalar(json!({"rule": fails, "message": "m", "reason": reason})), None, json!("x"), &[text]);
    }
}

#[test]
fn a_rule_that_fails_to_run_is_an_error() {
    let field = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": "self[3] == 'a'", "message": "m"}]});
    let (schema, rules) = compiled(field);
    let errors = rules.validate(&schema, &json!({"f": []}), None);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].detail.ends_with("evaluating rule: m"), "{}", errors[0]);
}

#[test]
fn transition_rules_need_an_old_value() {
    let field =
        json!({"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]});
    verdict(&field, None, json!("a"), &[]);
    verdict(&field, Some(json!("a")), json!("a"), &[]);
    verdict(&field, Some(json!("a")), json!("b"), &["f: Invalid value: \"b\": immutable"]);

    let field = json!({"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-validations": [
        {"rule": "!has(oldSelf.a) || has(self.a)", "message": "a can't be removed"}]});
    verdict(&field, Some(json!({})), json!({}), &[]);
    verdict(&field, Some(json!({"a": "x"})), json!({}), &["f: Invalid value: a can't be removed"]);
}

#[test]
fn an_optional_old_self_is_there_or_not() {
    let field = json!({"type": "string", "x-kubernetes-validations": [
        {"rule": "oldSelf.hasValue() ? self == oldSelf.value() : self == 'first'", "message": "m", "optionalOldSelf": true}]});
    verdict(&field, None, json!("first"), &[]);
    verdict(&field, None, json!("second"), &["f: Invalid value: \"second\": m"]);
    verdict(&field, Some(json!("x")), json!("x"), &[]);
    verdict(&field, Some(json!("x")), json!("y"), &["f: Invalid value: \"y\": m"]);
}

#[test]
fn old_values_are_found_by_the_keys_of_lists_and_maps() {
    let item = json!({"type": "object", "required": ["k"], "properties": {
        "k": {"type": "string"},
        "v": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed"}]},
    }});
    let list =
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": item});
    let old = json!([{"k": "a", "v": "1"}, {"k": "b", "v": "2"}]);
    verdict(&list, Some(old.clone()), json!([{"k": "b", "v": "2"}, {"k": "c", "v": "9"}]), &[]);
    verdict(&list, Some(old), json!([{"k": "b", "v": "3"}]), &["f[0].v: Invalid value: \"3\": fixed"]);
    let map = json!({"type": "object", "additionalProperties": item});
    verdict(
        &map,
        Some(json!({"x": {"k": "a", "v": "1"}})),
        json!({"x": {"k": "a", "v": "2"}, "y": {"k": "a", "v": "2"}}),
        &["f[x].v: Invalid value: \"2\": fixed"],
    );
}

#[test]
fn the_order_of_sets_and_map_lists_does_not_count() {
    let rule = json!([{"rule": "self == oldSelf", "message": "immutable"}]);
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}, "x-kubernetes-validations": rule});
    verdict(&set, Some(json!(["a", "b"])), json!(["b", "a"]), &[]);
    verdict(&set, Some(json!(["a", "b"])), json!(["b"]), &["f: Invalid value: immutable"]);
    let list = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": rule});
    verdict(&list, Some(json!(["a", "b"])), json!(["b", "a"]), &["f: Invalid value: immutable"]);
    let map = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "string"}}},
        "x-kubernetes-validations": rule});
    verdict(&map, Some(json!([{"k": "a"}, {"k": "b"}])), json!([{"k": "b"}, {"k": "a"}]), &[]);
    verdict(
        &map,
        Some(json!([{"k": "a"}, {"k": "b"}])),
        json!([{"k": "b", "v": "x"}, {"k": "a"}]),
        &["f: Invalid value: immutable"],
    );
}

#[test]
fn unchanged_values_keep_failing_in_peace() {
    let field = json!({"type": "object", "properties": {
        "a": {"type": "string", "x-kubernetes-validations": [{"rule": "self == 'ok'", "message": "a"}]},
        "b": {"type": "string"},
    }, "x-kubernetes-validations": [{"rule": "self.a == 'ok'", "message": "whole"}]});
    let bad = json!({"a": "bad", "b": "1"});
    verdict(&field, Some(bad.clone()), bad.clone(), &[]);
    // The field is as it was, the object around it is not.
    verdict(&field, Some(bad.clone()), json!({"a": "bad", "b": "2"}), &["f: Invalid value: whole"]);
    verdict(
        &field,
        Some(bad),
        json!({"a": "worse", "b": "1"}),
        &["f: Invalid value: whole", "f.a: Invalid value: \"worse\": a"],
    );
    let list = json!({"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self == 'ok'", "message": "m"}]}});
    verdict(&list, Some(json!(["bad"])), json!(["bad"]), &[]);
    verdict(&list, Some(json!(["bad"])), json!(["bad", "ok"]), &["f[0]: Invalid value: \"bad\": m"]);
    // A transition rule is never forgiven.
    let never = json!({"type": "string", "x-kubernetes-validations": [{"rule": "self != oldSelf", "message": "m"}]});
    verdict(&never, Some(json!("x")), json!("x"), &["f: Invalid value: \"x\": m"]);
}

#[test]
fn the_root_sees_its_name_and_no_more_of_its_metadata() {
    let schema = Structural::parse(&json!({"type": "object", "properties": {"spec": {"type": "object"}},
        "x-kubernetes-validations": [{"rule": "self.metadata.name.size() <= 3 && !('labels' in self.metadata) && self.kind == 'K'", "message": "m"}]}))
    .unwrap();
    let rules = CelRules::compile(&schema).unwrap();
    let object =
        |name: &str| json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": name, "labels": {"a": "b"}}});
    assert_eq!(rules.validate(&schema, &object("abc"), None), []);
    let errors = rules.validate(&schema, &object("abcd"), None);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].to_string(), "<nil>: Invalid value: m");
}

#[test]
fn rules_wait_until_the_values_are_sound() {
    let (schema, rules) = compiled(json!({"type": "object", "required": ["a"],
        "properties": {"a": {"type": "string", "maxLength": 3}, "b": {"type": "string", "enum": ["x"]}},
        "x-kubernetes-validations": [{"rule": "self.a == 'ok'", "message": "m"}]}));
    let check = |f: Value| -> Vec<String> {
        check_object(&schema, &rules, &json!({"f": f}), None).iter().map(ToString::to_string).collect()
    };
    let skipped = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
    assert_eq!(check(json!({"a": "ok"})), Vec::<String>::new());
    assert_eq!(check(json!({"a": "no"})), ["f: Invalid value: m"]);
    assert_eq!(check(json!({})), ["f.a: Required value", skipped]);
    assert_eq!(check(json!({"a": "long"})), ["f.a: Too long: may not be more than 3 bytes", skipped]);
    assert_eq!(
        check(json!({"a": "no", "b": "y"})),
        ["f.b: Unsupported value: \"y\": supported values: \"x\"", skipped]
    );
}

#[test]
fn rules_that_do_not_compile_are_named() {
    let object = json!({"type": "object", "properties": {"a": {"type": "string"}, "namespace": {"type": "string"},
        "l": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
        "m": {"type": "object", "additionalProperties": {"type": "string"}}}});
    for (rule, cause) in [
        ("self.a ==", ""),
        ("self.a == 'x'", "-"),
        ("self.b == 'x'", "compilation failed: undefined field 'b'"),
        ("has(self.b)", "compilation failed: undefined field 'b'"),
        ("self.namespace == 'x'", "compilation failed: undefined field 'namespace'"),
        ("self.a.b == 'x'", "compilation failed: type 'string' does not support field selection"),
        ("self.l.all(i, i.k == 'x')", "-"),
        ("self.l.all(i, i.z == 'x')", "compilation failed: undefined field 'z'"),
        ("self.l[0].z == 'x'", "compilation failed: undefined field 'z'"),
        ("self.m.anything == 'x'", "-"),
        ("self.m.all(k, k == 'x' && self.m[k] == 'y')", "-"),
        ("foo == 1", "compilation failed: undeclared reference to 'foo' (in container '')"),
        ("oldSelf.b == 'x'", "compilation failed: undefined field 'b'"),
        ("{'a': self.q}.size() == 1", "compilation failed: undefined field 'q'"),
        ("[self.q].size() == 1", "compilation failed: undefined field 'q'"),
        ("type(self.a) == string", "-"),
        ("self.metadata.name == 'x'", "compilation failed: undefined field 'metadata'"),
    ] {
        let mut field = object.clone();
        field["x-kubernetes-validations"] = json!([{"rule": rule}]);
        let schema = Structural::parse_at(&json!({"type": "object", "properties": {"f": field}}), "s").unwrap();
        let result = CelRules::compile_at(&schema, "s");
        match (cause, result) {
            ("-", result) => assert!(result.is_ok(), "{rule}: {result:?}"),
            (cause, Err(errors)) => {
                assert_eq!(errors.len(), 1, "{rule}");
                assert_eq!(errors[0].path, "s.properties[f].x-kubernetes-validations[0].rule");
                assert!(errors[0].detail.starts_with("compilation failed: "), "{rule}: {}", errors[0]);
                assert!(cause.is_empty() || errors[0].detail == cause, "{rule}: {}", errors[0]);
            }
            (_, Ok(_)) => panic!("{rule} compiles"),
        }
    }
}

#[test]
fn other_parts_of_a_rule_are_checked_too() {
    let compile = |field: Value| {
        let schema = Structural::parse_at(&json!({"type": "object", "properties": {"f": field}}), "s").unwrap();
        match CelRules::compile_at(&schema, "s") {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }
    };
    let object = |rule: Value| json!({"type": "object", "properties": {"a": {"type": "string"}, "m": {"type": "object", "additionalProperties": {"type": "string"}}}, "x-kubernetes-validations": [rule]});
    let at = "s.properties[f].x-kubernetes-validations[0]";
    for (rule, error) in [
        (json!({"rule": "true", "fieldPath": ".a"}), String::new()),
        (json!({"rule": "true", "fieldPath": ".m['x']"}), String::new()),
        (
            json!({"rule": "true", "fieldPath": ".b"}),
            format!(
                "{at}.fieldPath: Invalid value: \".b\": fieldPath must be a valid path: does not refer to a valid field"
            ),
        ),
        (
            json!({"rule": "true", "fieldPath": "a"}),
            format!("{at}.fieldPath: Invalid value: \"a\": fieldPath must be a valid path: expected [ or . but got: a"),
        ),
        (
            json!({"rule": "true", "messageExpression": "self.z"}),
            format!(
                "{at}.messageExpression: Invalid value: \"self.z\": messageExpression compilation failed: undefined field 'z'"
            ),
        ),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            format!("{at}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"),
        ),
        (json!({"rule": "oldSelf.orValue(self) == self", "optionalOldSelf": true}), String::new()),
    ] {
        let expected: Vec<String> = if error.is_empty() { Vec::new() } else { vec![error] };
        assert_eq!(compile(object(rule)), expected);
    }
    assert_eq!(
        compile(
            json!({"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}})
        ),
        [
            "s.properties[f].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[f]"
        ]
    );
}

#[test]
fn compiled_rules_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<CelRules>();
    shared::<Structural>();
}
