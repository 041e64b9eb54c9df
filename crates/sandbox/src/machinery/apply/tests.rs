use serde_json::{Value, json};

use super::super::schema::Structural;
use super::super::shapes::{BuiltinShapes, Shapes};
use super::*;

const T1: &str = "2026-11-25T06:00:00Z";
const T2: &str = "2026-11-25T07:00:00Z";

/// A config map under test, changed step by step.
struct Object {
    shapes: Box<dyn Shapes>,
    live: Option<Value>,
    api_version: &'static str,
}

impl Object {
    fn new(kind: &str) -> Self {
        Self { shapes: Box::new(BuiltinShapes::new(kind)), live: None, api_version: "v1" }
    }

    fn custom(schema: Value) -> Self {
        Self { shapes: Box::new(Structural::parse(&schema).unwrap()), live: None, api_version: "g/v1" }
    }

    fn try_apply(&mut self, manager: &str, config: Value, force: bool, time: &str) -> Result<&Value, Vec<Conflict>> {
        let result =
            apply(self.live.as_ref(), &config, manager, force, None, self.api_version, self.shapes.as_ref(), time)?;
        Ok(self.live.insert(result))
    }

    #[track_caller]
    fn apply(&mut self, manager: &str, config: Value) -> &Value {
        self.try_apply(manager, config, false, T1).unwrap_or_else(|c| panic!("{}", conflict_message(&c)))
    }

    fn update(&mut self, manager: &str, subresource: Option<&str>, mut new: Value, time: &str) -> &Value {
        if let Some(fields) = self.live.as_ref().and_then(|l| l.pointer("/metadata/managedFields")) {
            new["metadata"]["managedFields"] = fields.clone();
        }
        track(self.live.as_ref(), &mut new, manager, subresource, self.api_version, self.shapes.as_ref(), time);
        self.live.insert(new)
    }

    fn plain(&self) -> Value {
        without_managers(self.live.as_ref().unwrap())
    }

    /// Manager, operation and fields of each entry.
    fn entries(&self) -> Vec<(String, String, Value)> {
        let fields = self.live.as_ref().unwrap().pointer("/metadata/managedFields").cloned().unwrap_or(json!([]));
        fields
            .as_array()
            .unwrap()
            .iter()
            .map(|e| {
                (e["manager"].as_str().unwrap().into(), e["operation"].as_str().unwrap().into(), e["fieldsV1"].clone())
            })
            .collect()
    }

    fn time_of(&self, manager: &str) -> String {
        let fields = self.live.as_ref().unwrap()["metadata"]["managedFields"].as_array().unwrap();
        fields.iter().find(|e| e["manager"] == manager).unwrap()["time"].as_str().unwrap().to_owned()
    }
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

fn entry(manager: &str, operation: &str, fields: Value) -> (String, String, Value) {
    (manager.to_owned(), operation.to_owned(), fields)
}

#[test]
fn a_first_apply_creates_and_owns() {
    let mut o = Object::new("ConfigMap");
    let made = o.apply("a", config_map(json!({"x": "1"})));
    assert_eq!(
        made["metadata"]["managedFields"],
        json!([{"apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:x": {}}}, "manager": "a", "operation": "Apply", "time": T1}])
    );
    assert_eq!(o.plain(), config_map(json!({"x": "1"})));
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut o = Object::new("ConfigMap");
    o.apply("a", config_map(json!({"x": "1"})));
    let before = o.live.clone();
    o.try_apply("a", config_map(json!({"x": "1"})), false, T2).unwrap();
    assert_eq!(o.live, before);
    o.try_apply("a", config_map(json!({"x": "2"})), false, T2).unwrap();
    assert_eq!(o.time_of("a"), T2);
}

#[test]
fn fields_no_longer_applied_go() {
    let mut o = Object::new("ConfigMap");
    o.apply("a", config_map(json!({"x": "1", "y": "2"})));
    o.apply("a", config_map(json!({"y": "2"})));
    assert_eq!(o.plain(), config_map(json!({"y": "2"})));
    assert_eq!(o.entries(), [entry("a", "Apply", json!({"f:data": {"f:y": {}}}))]);
}

#[test]
fn a_whole_map_goes_with_its_last_field() {
    let mut o = Object::new("ConfigMap");
    o.apply("a", config_map(json!({"x": "1"})));
    o.apply("a", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}));
    assert_eq!(o.plain(), json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}));
    assert_eq!(o.entries(), []);
}

#[test]
fn fields_that_others_own_stay() {
    let mut o = Object::new("ConfigMap");
    o.apply("a", config_map(json!({"x": "1", "y": "2"})));
    o.apply("b", config_map(json!({"x": "1"})));
    assert_eq!(o.entries().len(), 2, "equal values are shared");
    o.apply("a", config_map(json!({})));
    assert_eq!(o.plain()["data"], json!({"x": "1"}));
    assert_eq!(
        o.entries().iter().map(|e| e.2.clone()).collect::<Vec<_>>(),
        [json!({"f:data": {}}), json!({"f:data": {"f:x": {}}})]
    );
}

#[test]
fn other_values_conflict_until_forced() {
    let mut o = Object::new("ConfigMap");
    o.apply("a", config_map(json!({"x": "1"})));
    let conflicts = o.try_apply("b", config_map(json!({"x": "2"})), false, T2).unwrap_err();
    assert_eq!(conflict_message(&conflicts), "Apply failed with 1 conflict: conflict with \"a\": .data.x");
    assert_eq!(
        conflicts[0].to_cause(),
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"a\"", "field": ".data.x"})
    );
    assert_eq!(o.plain()["data"]["x"], "1", "a conflict changes nothing");
    o.try_apply("b", config_map(json!({"x": "2"})), true, T2).unwrap();
    assert_eq!(o.plain()["data"]["x"], "2");
    assert_eq!(o.entries(), [entry("b", "Apply", json!({"f:data": {"f:x": {}}}))]);
    // Who lost a field may apply again without it.
    o.try_apply("a", config_map(json!({})), false, T2).unwrap();
    assert_eq!(o.plain()["data"], json!({"x": "2"}));
}

#[test]
fn conflicts_name_managers_operations_and_fields() {
    let mut o = Object::new("ConfigMap");
    o.update("kubectl-client-side-apply", None, config_map(json!({"x": "1"})), T1);
    let one = o.try_apply("me", config_map(json!({"x": "2"})), false, T2).unwrap_err();
    assert_eq!(
        conflict_message(&one),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.x"
    );
    o.apply("other", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "labels": {"l": "1"}}, "data": {"y": "1", "z": "1"}}));
    let many = o
        .try_apply("me", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "labels": {"l": "2"}}, "data": {"x": "2", "y": "2"}}), false, T2)
        .unwrap_err();
    assert_eq!(
        conflict_message(&many),
        "Apply failed with 3 conflicts: conflicts with \"kubectl-client-side-apply\" using v1:\n- .data.x\nconflicts with \"other\":\n- .data.y\n- .metadata.labels.l"
    );
    o.update("status-writer", Some("status"), config_map(json!({"x": "1", "y": "1", "z": "1", "s": "1"})), T2);
    let sub = o.try_apply("me", config_map(json!({"s": "2"})), false, T2).unwrap_err();
    assert_eq!(
        conflict_message(&sub),
        "Apply failed with 1 conflict: conflict with \"status-writer\" with subresource \"status\" using v1: .data.s"
    );
}

#[test]
fn a_manager_conflicts_with_its_own_updates() {
    let mut o = Object::new("ConfigMap");
    o.update("kubectl", None, config_map(json!({"x": "1"})), T1);
    let conflicts = o.try_apply("kubectl", config_map(json!({"x": "2"})), false, T2).unwrap_err();
    assert_eq!(
        conflict_message(&conflicts),
        "Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .data.x"
    );
}

#[test]
fn updates_take_fields_without_asking() {
    let mut o = Object::new("ConfigMap");
    o.apply("a", config_map(json!({"x": "1", "y": "1"})));
    o.update("u", None, config_map(json!({"x": "2", "y": "1"})), T2);
    assert_eq!(
        o.entries(),
        [entry("a", "Apply", json!({"f:data": {"f:y": {}}})), entry("u", "Update", json!({"f:data": {"f:x": {}}}))]
    );
    o.update("u", None, config_map(json!({"x": "2"})), T2);
    assert_eq!(o.entries(), [entry("u", "Update", json!({"f:data": {"f:x": {}}}))]);
}

#[test]
fn a_create_owns_all_that_it_sets() {
    let mut o = Object::new("ConfigMap");
    o.update("c", None, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n", "uid": "u", "labels": {"l": "1"}, "finalizers": ["f/g"], "ownerReferences": [{"uid": "o", "name": "x"}]}, "data": {"x": "1"}, "immutable": true}), T1);
    assert_eq!(
        o.entries(),
        [entry(
            "c",
            "Update",
            json!({
                "f:data": {".": {}, "f:x": {}},
                "f:immutable": {},
                "f:metadata": {
                    "f:finalizers": {".": {}, "v:\"f/g\"": {}},
                    "f:labels": {".": {}, "f:l": {}},
                    "f:ownerReferences": {".": {}, "k:{\"uid\":\"o\"}": {".": {}, "f:name": {}, "f:uid": {}}},
                },
            })
        )]
    );
}

#[test]
fn a_quiet_update_keeps_its_time() {
    let mut o = Object::new("ConfigMap");
    o.update("c", None, config_map(json!({"x": "1"})), T1);
    let before = o.live.clone();
    o.update("c", None, config_map(json!({"x": "1"})), T2);
    assert_eq!(o.live, before);
    o.update("c", None, config_map(json!({"x": "2"})), T2);
    assert_eq!(o.time_of("c"), T2);
}

#[test]
fn system_fields_have_no_owner() {
    let mut o = Object::new("ConfigMap");
    o.apply("a", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}}));
    assert_eq!(o.entries(), []);
    let mut new = o.live.clone().unwrap();
    new["metadata"]["resourceVersion"] = json!("5");
    new["metadata"]["generation"] = json!(2);
    o.update("u", None, new, T2);
    assert_eq!(o.entries(), []);
}

#[test]
fn lists_by_key_are_shared_by_their_elements() {
    let account = |secrets: &[&str], pull: Value| {
        let secrets: Vec<Value> = secrets.iter().map(|n| json!({"name": n})).collect();
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}, "secrets": secrets, "imagePullSecrets": pull})
    };
    let mut o = Object::new("ServiceAccount");
    o.apply("a", account(&["x"], json!([{"name": "p"}])));
    let conflicts = o.try_apply("b", account(&["y"], json!([{"name": "q"}])), false, T2).unwrap_err();
    assert_eq!(conflict_message(&conflicts), "Apply failed with 1 conflict: conflict with \"a\": .imagePullSecrets");
    o.try_apply("b", account(&["y"], json!([{"name": "q"}])), true, T2).unwrap();
    assert_eq!(o.plain()["imagePullSecrets"], json!([{"name": "q"}]), "atomic: replaced as a whole");
    assert_eq!(o.plain()["secrets"], json!([{"name": "y"}, {"name": "x"}]));
    o.apply("a", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}}));
    assert_eq!(o.plain()["secrets"], json!([{"name": "y"}]));
}

#[test]
fn fields_of_elements_conflict_and_go() {
    let pod = |image: Option<&str>, env: Value| {
        let mut c = json!({"name": "c", "env": env});
        if let Some(image) = image {
            c["image"] = json!(image);
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [c]}})
    };
    let mut o = Object::new("Pod");
    o.apply("a", pod(Some("i:1"), json!([{"name": "A", "value": "1"}])));
    o.apply("b", pod(None, json!([{"name": "B", "value": "2"}])));
    assert_eq!(
        o.plain()["spec"]["containers"][0]["env"],
        json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}])
    );
    let conflicts = o.try_apply("b", pod(Some("i:2"), json!([{"name": "A", "value": "9"}])), false, T2).unwrap_err();
    let fields: Vec<&str> = conflicts.iter().map(|c| c.field.as_str()).collect();
    assert_eq!(fields, [".spec.containers[name=\"c\"].env[name=\"A\"].value", ".spec.containers[name=\"c\"].image"]);
    o.apply("a", json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}));
    assert_eq!(
        o.plain()["spec"],
        json!({"containers": [{"name": "c", "env": [{"name": "B", "value": "2"}]}]}),
        "what b owns stays"
    );
}

#[test]
fn finalizers_are_a_set() {
    let with = |finalizers: &[&str]| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": finalizers}});
    let mut o = Object::new("ConfigMap");
    o.apply("a", with(&["x/a"]));
    o.apply("b", with(&["x/b"]));
    assert_eq!(o.plain()["metadata"]["finalizers"], json!(["x/b", "x/a"]));
    o.apply("a", with(&[]));
    assert_eq!(o.plain()["metadata"]["finalizers"], json!(["x/b"]));
}

fn custom_schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "a": {"type": "string"}, "b": {"type": "string"},
            "list": {"type": "array", "items": {"type": "string"}},
            "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "string"}}}},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"x": {"type": "string"}, "y": {"type": "string"}}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
        }},
        "status": {"type": "object", "properties": {"s": {"type": "string"}}},
    }})
}

fn custom(spec: Value) -> Value {
    json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x"}, "spec": spec})
}

#[test]
fn custom_resources_follow_their_schema() {
    let mut o = Object::custom(custom_schema());
    o.apply(
        "a",
        custom(
            json!({"a": "1", "list": ["x"], "items": [{"k": "1", "v": "a"}], "whole": {"x": "1"}, "map": {"m": "1"}}),
        ),
    );
    assert_eq!(
        o.entries()[0].2,
        json!({"f:spec": {"f:a": {}, "f:items": {"k:{\"k\":\"1\"}": {".": {}, "f:k": {}, "f:v": {}}}, "f:list": {}, "f:map": {"f:m": {}}, "f:whole": {}}})
    );
    o.apply("b", custom(json!({"b": "1", "items": [{"k": "2"}], "map": {"n": "1"}})));
    assert_eq!(o.plain()["spec"]["items"], json!([{"k": "2"}, {"k": "1", "v": "a"}]));
    assert_eq!(o.plain()["spec"]["map"], json!({"m": "1", "n": "1"}));
    for (spec, field) in [
        (json!({"list": ["y"]}), ".spec.list"),
        (json!({"whole": {"y": "2"}}), ".spec.whole"),
        (json!({"items": [{"k": "1", "v": "b"}]}), ".spec.items[k=\"1\"].v"),
        (json!({"map": {"m": "2"}}), ".spec.map.m"),
        (json!({"a": "2"}), ".spec.a"),
    ] {
        let conflicts = o.try_apply("b", custom(spec), false, T2).unwrap_err();
        assert_eq!(conflicts.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), [field]);
    }
}

#[test]
fn a_created_custom_resource_owns_its_spec_as_such() {
    let mut o = Object::custom(custom_schema());
    o.update("c", None, custom(json!({"a": "1"})), T1);
    assert_eq!(o.entries(), [entry("c", "Update", json!({"f:spec": {".": {}, "f:a": {}}}))]);
}

#[test]
fn status_belongs_to_its_subresource() {
    let mut o = Object::custom(custom_schema());
    let mut config = custom(json!({"a": "1"}));
    config["status"] = json!({"s": "ignored"});
    o.apply("a", config);
    assert_eq!(o.plain().get("status"), None);
    assert_eq!(o.entries(), [entry("a", "Apply", json!({"f:spec": {"f:a": {}}}))]);

    let mut new = custom(json!({"a": "1"}));
    new["status"] = json!({"s": "1"});
    o.update("ctl", Some("status"), new, T2);
    let live = o.live.clone().unwrap();
    assert_eq!(live["metadata"]["managedFields"][1]["subresource"], "status");
    assert_eq!(o.entries()[1], entry("ctl", "Update", json!({"f:status": {".": {}, "f:s": {}}})));
    // Applying the main resource again does not take the status away.
    o.try_apply("a", custom(json!({"a": "1"})), false, T2).unwrap();
    assert_eq!(o.plain()["status"], json!({"s": "1"}));

    let status = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x"}, "spec": {"a": "no"}, "status": {"s": "1"}});
    let applied = apply(o.live.as_ref(), &status, "st", false, Some("status"), "g/v1", o.shapes.as_ref(), T2).unwrap();
    assert_eq!(applied["spec"]["a"], "1", "a status request does not reach the spec");
    let mine = applied["metadata"]["managedFields"].as_array().unwrap().iter().find(|e| e["manager"] == "st").unwrap();
    assert_eq!(mine["fieldsV1"], json!({"f:status": {"f:s": {}}}));
}

#[test]
fn what_was_there_before_the_first_apply_has_an_owner() {
    let mut o = Object::new("ConfigMap");
    o.live = Some(config_map(json!({"x": "1"})));
    let conflicts = o.try_apply("a", config_map(json!({"x": "2"})), false, T2).unwrap_err();
    assert_eq!(
        conflict_message(&conflicts),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.x"
    );
    o.try_apply("a", config_map(json!({"y": "2"})), false, T2).unwrap();
    assert_eq!(o.plain()["data"], json!({"x": "1", "y": "2"}));
}

#[test]
fn tracking_can_be_given_up() {
    let mut o = Object::new("ConfigMap");
    o.apply("a", config_map(json!({"x": "1"})));
    let mut new = o.plain();
    new["metadata"]["managedFields"] = json!([{}]);
    track(o.live.as_ref(), &mut new, "u", None, "v1", o.shapes.as_ref(), T2);
    assert_eq!(new, config_map(json!({"x": "1"})));
    let mut again = config_map(json!({"x": "2"}));
    track(Some(&new), &mut again, "u", None, "v1", o.shapes.as_ref(), T2);
    assert_eq!(again, config_map(json!({"x": "2"})), "an untracked object stays so until it is applied");
}

#[test]
fn a_request_without_managed_fields_keeps_them() {
    let mut o = Object::new("ConfigMap");
    o.apply("a", config_map(json!({"x": "1"})));
    let mut new = config_map(json!({"x": "1", "y": "2"}));
    track(o.live.as_ref(), &mut new, "u", None, "v1", o.shapes.as_ref(), T2);
    assert_eq!(new["metadata"]["managedFields"].as_array().unwrap().len(), 2);
}

#[test]
fn the_oldest_of_many_updaters_become_one() {
    let mut o = Object::new("ConfigMap");
    let mut data = serde_json::Map::new();
    for i in 0..13 {
        data.insert(format!("k{i:02}"), json!("v"));
        o.update(
            &format!("m{i:02}"),
            None,
            config_map(Value::Object(data.clone())),
            &format!("2026-11-25T06:{i:02}:00Z"),
        );
    }
    let entries = o.entries();
    assert_eq!(entries.len(), 10);
    let all: Vec<String> = o.live.as_ref().map(ownership).unwrap().into_values().flatten().collect();
    assert_eq!(all.iter().filter(|p| p.starts_with(".data.k")).count(), 13, "no field lost its owner");
    assert!(entries.iter().any(|e| e.0 == "ancient-changes"));
    assert!(entries.iter().any(|e| e.0 == "m12"));
}

#[test]
fn appliers_come_first_then_by_time() {
    let mut o = Object::new("ConfigMap");
    o.update("z", None, config_map(json!({"x": "1"})), "2026-01-01T00:00:00Z");
    o.try_apply("b", config_map(json!({"y": "1"})), false, "2026-01-03T00:00:00Z").unwrap();
    o.try_apply("a", config_map(json!({"z": "1"})), false, "2026-01-04T00:00:00Z").unwrap();
    let managers: Vec<String> = o.entries().into_iter().map(|e| e.0).collect();
    assert_eq!(managers, ["b", "a", "z"]);
}

/// A small generator of numbers, the same in every run.
fn next(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

fn random_config(seed: &mut u64) -> Value {
    let mut spec = serde_json::Map::new();
    for name in ["a", "b"] {
        if next(seed, 2) == 0 {
            spec.insert(name.to_owned(), json!(next(seed, 2).to_string()));
        }
    }
    let mut items = Vec::new();
    for k in ["1", "2", "3"] {
        if next(seed, 3) == 0 {
            items.push(json!({"k": k, "v": next(seed, 2).to_string()}));
        }
    }
    // An emptied list is there and nobody's, also in a real cluster.
    if !items.is_empty() {
        spec.insert("items".to_owned(), json!(items));
    }
    if next(seed, 2) == 0 {
        spec.insert("map".to_owned(), json!({format!("m{}", next(seed, 3)): "1"}));
    }
    custom(Value::Object(spec))
}

/// Whatever managers do, in whatever order: what is applied is there, what is owned exists, and nothing but the owned is left.
#[test]
fn random_managers_never_lose_or_leak_a_field() {
    for start in 0..60 {
        let mut seed = start;
        let mut o = Object::custom(custom_schema());
        for _ in 0..25 {
            let manager = ["x", "y", "z"][next(&mut seed, 3) as usize];
            let config = random_config(&mut seed);
            if next(&mut seed, 4) == 0 && o.live.is_some() {
                o.update(manager, None, config.clone(), T2);
                assert_eq!(o.plain()["spec"], config["spec"], "an update is taken as it is");
            } else {
                let force = next(&mut seed, 2) == 0;
                let before = o.live.clone();
                match o.try_apply(manager, config.clone(), force, T2) {
                    Ok(_) => {}
                    Err(_) => {
                        assert!(!force, "force never conflicts");
                        assert_eq!(o.live, before);
                        continue;
                    }
                }
                let again = o.live.clone();
                o.try_apply(manager, config.clone(), false, "2027-01-01T00:00:00Z").unwrap();
                assert_eq!(o.live, again, "applying the same again is quiet");
            }
            let there = paths_of(&o.plain(), o.shapes.as_ref()).paths();
            let owned: Vec<String> = o.live.as_ref().map(ownership).unwrap().into_values().flatten().collect();
            // Without any owner left, an object is tracked again from its next apply only.
            let tracked = !owned.is_empty();
            for path in there.iter().filter(|p| tracked && p.starts_with(".spec.")) {
                assert!(
                    owned.contains(path),
                    "start {start}: {path} is there and nobody's, {}",
                    o.live.as_ref().unwrap()
                );
            }
        }
    }
}
