use super::*;

#[track_caller]
fn refused(schema: Value, expected: &[&str]) {
    let errors: Vec<String> = match Structural::parse_at(&schema, "s") {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(errors, expected, "{schema}");
}

fn root(field: Value) -> Value {
    json!({"type": "object", "properties": {"f": field}})
}

#[test]
fn types_are_needed_everywhere() {
    refused(json!(null), &["s: Required value: schemas are required"]);
    refused(json!({}), &["s.type: Required value: must not be empty at the root"]);
    refused(json!({"type": "string"}), &["s.type: Invalid value: \"string\": must be object at the root"]);
    refused(root(json!({})), &["s.properties[f].type: Required value: must not be empty for specified object fields"]);
    refused(
        root(json!({"type": "array", "items": {}})),
        &["s.properties[f].items.type: Required value: must not be empty for specified array items"],
    );
    refused(root(json!({"type": "array"})), &["s.properties[f].items: Required value: must be specified"]);
    refused(
        root(json!({"type": "object", "additionalProperties": {}})),
        &["s.properties[f].additionalProperties.type: Required value: must not be empty for specified object fields"],
    );
    refused(
        root(json!({"type": "float"})),
        &[
            "s.properties[f].type: Unsupported value: \"float\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ],
    );
    refused(
        root(json!({"type": "null"})),
        &["s.properties[f].type: Forbidden: type cannot be set to null, use nullable as an alternative"],
    );
    for fine in [
        json!({"x-kubernetes-int-or-string": true}),
        json!({"x-kubernetes-preserve-unknown-fields": true}),
        json!({"type": "object", "additionalProperties": true}),
        json!({"type": "array", "items": {"type": "string"}}),
    ] {
        refused(root(fine), &[]);
    }
}

#[test]
fn keywords_that_are_not_structural_are_forbidden() {
    for (keyword, value, text) in [
        ("$ref", json!("#/x"), "$ref is not supported"),
        ("definitions", json!({"a": {}}), "definitions is not supported"),
        ("dependencies", json!({"a": ["b"]}), "dependencies is not supported"),
        ("id", json!("x"), "id is not supported"),
        ("patternProperties", json!({"a": {}}), "patternProperties is not supported"),
        ("additionalItems", json!(true), "additionalItems is not supported"),
        (
            "uniqueItems",
            json!(true),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        ("additionalProperties", json!(false), "additionalProperties cannot be set to false"),
    ] {
        let mut field = json!({"type": "object"});
        field[keyword] = value;
        refused(root(field), &[&format!("s.properties[f].{keyword}: Forbidden: {text}")]);
    }
    refused(
        root(json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true})),
        &["s.properties[f].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"],
    );
    refused(
        json!({"type": "object", "additionalProperties": true}),
        &["s.additionalProperties: Forbidden: must not be used at the root"],
    );
    refused(
        root(json!({"type": "array", "items": [{"type": "string"}]})),
        &["s.properties[f].items: Forbidden: items must be a schema object and not an array"],
    );
}

#[test]
fn extensions_exclude_each_other() {
    refused(
        root(json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true})),
        &[
            "s.properties[f].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
        ],
    );
    refused(
        root(json!({"x-kubernetes-int-or-string": true, "type": "string"})),
        &["s.properties[f].type: Invalid value: \"string\": must be empty if x-kubernetes-int-or-string is true"],
    );
    refused(
        root(
            json!({"type": "string", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
        ),
        &["s.properties[f].type: Invalid value: \"string\": must be object if x-kubernetes-embedded-resource is true"],
    );
    refused(
        root(json!({"type": "object", "x-kubernetes-embedded-resource": true})),
        &[
            "s.properties[f].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ],
    );
    refused(
        root(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false})),
        &["s.properties[f].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"],
    );
    refused(
        root(json!({"type": "object", "x-kubernetes-map-type": "set"})),
        &[
            "s.properties[f].x-kubernetes-map-type: Unsupported value: \"set\": supported values: \"atomic\", \"granular\"",
        ],
    );
}

#[test]
fn list_types_hold_together() {
    let item = json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "o": {"type": "object"}, "v": {"type": "string"}}});
    let list = |list_type: &str, keys: Value| {
        root(
            json!({"type": "array", "items": item, "x-kubernetes-list-type": list_type, "x-kubernetes-list-map-keys": keys}),
        )
    };
    refused(list("map", json!(["k"])), &[]);
    refused(
        list("map", json!([])),
        &[
            "s.properties[f].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ],
    );
    refused(
        list("map", json!(["x"])),
        &[
            "s.properties[f].x-kubernetes-list-map-keys[0]: Invalid value: \"x\": entries must all be names of item properties",
        ],
    );
    refused(
        list("map", json!(["v"])),
        &[
            "s.properties[f].items.properties[v].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ],
    );
    refused(
        list("atomic", json!(["k"])),
        &[
            "s.properties[f].x-kubernetes-list-map-keys: Forbidden: must not be specified unless x-kubernetes-list-type is map",
        ],
    );
    refused(
        list("set", json!([])),
        &[
            "s.properties[f].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
        ],
    );
    refused(
        list("bag", json!([])),
        &[
            "s.properties[f].x-kubernetes-list-type: Unsupported value: \"bag\": supported values: \"atomic\", \"set\", \"map\"",
        ],
    );
    refused(
        root(json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-map-keys": ["a"]})),
        &[
            "s.properties[f].x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty",
        ],
    );
    refused(
        root(json!({"type": "string", "x-kubernetes-list-type": "set"})),
        &["s.properties[f].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified"],
    );
    refused(root(json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"})), &[]);
}

#[test]
fn metadata_is_implicit() {
    let meta = |m: Value| json!({"type": "object", "properties": {"metadata": m}});
    refused(meta(json!({"type": "object"})), &[]);
    refused(meta(json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}})), &[]);
    refused(
        meta(json!({"type": "object", "properties": {"labels": {"type": "object"}}})),
        &[
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ],
    );
    refused(
        meta(json!({"type": "string"})),
        &["s.properties[metadata].type: Invalid value: \"string\": must be object"],
    );
    refused(
        json!({"type": "object", "properties": {"kind": {"type": "integer"}}}),
        &["s.properties[kind].type: Invalid value: \"integer\": must be string"],
    );
}

#[test]
fn nested_validations_shape_nothing() {
    refused(
        root(
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"required": ["a"]}, {"properties": {"a": {"enum": ["x"]}}}]}),
        ),
        &[],
    );
    refused(
        root(json!({"type": "string", "oneOf": [{"type": "string"}]})),
        &["s.properties[f].oneOf[0].type: Forbidden: must be empty to be structural"],
    );
    refused(
        root(
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "allOf": [{"properties": {"a": {"default": "x", "nullable": true}}}]}),
        ),
        &[
            "s.properties[f].allOf[0].properties[a].default: Forbidden: must be undefined to be structural",
            "s.properties[f].allOf[0].properties[a].nullable: Forbidden: must be false to be structural",
        ],
    );
    refused(
        root(json!({"type": "object", "not": {"x-kubernetes-validations": [{"rule": "true"}]}})),
        &["s.properties[f].not.x-kubernetes-validations: Forbidden: must be empty to be structural"],
    );
    refused(
        root(
            json!({"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "a"}]}),
        ),
        &[],
    );
    refused(
        root(json!({"type": "object", "anyOf": [{"properties": {"a": {"enum": ["x"]}}}]})),
        &[
            "s.properties[f].properties[a]: Required value: because it is defined in s.properties[f].anyOf[0].properties[a]",
        ],
    );
    refused(
        root(
            json!({"type": "object", "properties": {"a": {"type": "object"}}, "not": {"allOf": [{"properties": {"a": {"items": {"enum": [1]}}}}]}}),
        ),
        &[
            "s.properties[f].properties[a].items: Required value: because it is defined in s.properties[f].not.allOf[0].properties[a].items",
        ],
    );
}

#[test]
fn patterns_compile() {
    let errors = Structural::parse_at(&root(json!({"type": "string", "pattern": "("})), "s").unwrap_err();
    assert_eq!(errors.len(), 1);
    let text = errors[0].to_string();
    assert!(
        text.starts_with(
            "s.properties[f].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: "
        ),
        "{text}"
    );
}

#[test]
fn defaults_are_values_of_their_schema() {
    refused(
        root(json!({"type": "integer", "default": "x"})),
        &[
            "s.properties[f].default: Invalid value: \"string\": s.properties[f].default in body must be of type integer: \"string\"",
        ],
    );
    refused(
        root(json!({"type": "object", "default": {"a": 1}, "properties": {"b": {"type": "string"}}})),
        &["s.properties[f].default: Invalid value: {\"a\":1}: must be pruned"],
    );
    refused(
        root(json!({"type": "string", "default": "abc", "maxLength": 2})),
        &["s.properties[f].default: Too long: may not be more than 2 bytes"],
    );
    refused(root(json!({"type": "object", "default": {}, "properties": {"b": {"type": "string"}}})), &[]);
    refused(
        root(json!({"type": "object", "default": {}, "required": ["b"], "properties": {"b": {"type": "string"}}})),
        &["s.properties[f].default.b: Required value"],
    );
}

#[test]
fn rules_are_complete() {
    let rule = |r: Value| root(json!({"type": "string", "x-kubernetes-validations": [r]}));
    refused(rule(json!({"rule": "true"})), &[]);
    refused(
        rule(json!({"rule": " "})),
        &["s.properties[f].x-kubernetes-validations[0].rule: Required value: rule is not specified"],
    );
    refused(
        rule(json!({"rule": "true", "reason": "Because"})),
        &[
            "s.properties[f].x-kubernetes-validations[0].reason: Unsupported value: \"Because\": supported values: \"FieldValueRequired\", \"FieldValueInvalid\", \"FieldValueForbidden\", \"FieldValueDuplicate\"",
        ],
    );
    refused(
        rule(json!({"rule": "true &&\ntrue"})),
        &[
            "s.properties[f].x-kubernetes-validations[0].message: Required value: message must be specified if rule contains line breaks",
        ],
    );
    refused(
        rule(json!({"rule": "true", "message": "a\nb"})),
        &[
            "s.properties[f].x-kubernetes-validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks",
        ],
    );
}
