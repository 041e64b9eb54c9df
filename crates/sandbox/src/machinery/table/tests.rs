use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-11-25T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

#[test]
fn ages_are_short() {
    for (milliseconds, text) in [
        (-5_000, "<invalid>"),
        (-1_500, "0s"),
        (0, "0s"),
        (1_999, "1s"),
        (119_000, "119s"),
        (120_000, "2m"),
        (125_000, "2m5s"),
        (599_000, "9m59s"),
        (600_000, "10m"),
        (179 * 60_000, "179m"),
        (180 * 60_000, "3h"),
        (185 * 60_000, "3h5m"),
        (8 * 3_600_000, "8h"),
        (47 * 3_600_000, "47h"),
        (48 * 3_600_000, "2d"),
        (50 * 3_600_000, "2d2h"),
        (8 * 86_400_000, "8d"),
        (729 * 86_400_000, "729d"),
        (730 * 86_400_000, "2y"),
        (731 * 86_400_000, "2y1d"),
        (8 * 365 * 86_400_000, "8y"),
        (9 * 365 * 86_400_000 + 86_400_000, "9y"),
    ] {
        assert_eq!(duration(milliseconds), text, "{milliseconds}");
    }
    for (time, text) in [
        ("2026-11-25T11:55:00Z", "5m"),
        ("2026-11-25T13:55:00+02:00", "5m"),
        ("2026-11-25T12:00:30Z", "<invalid>"),
        ("", "<unknown>"),
        ("soon", "<invalid>"),
    ] {
        assert_eq!(age(time, now()), text, "{time}");
    }
}

fn cells(columns: &Columns, object: Value) -> Value {
    table(columns, &[object], IncludeObject::None, &json!({}), now())["rows"][0]["cells"].clone()
}

#[test]
fn custom_columns_show_what_their_paths_find() {
    let object = json!({
        "metadata": {"name": "n", "creationTimestamp": "2026-11-25T11:00:00Z"},
        "spec": {"s": "text", "i": 3, "f": 2.5, "b": true, "o": {"b": 1, "a": 2}, "l": ["x", "y"], "t": "2026-11-25T11:59:00Z", "future": "2027-01-01T00:00:00Z", "null": null},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    for (kind, path, shown) in [
        ("string", ".spec.s", json!("text")),
        ("string", ".spec.i", json!("3")),
        ("string", ".spec.b", json!("true")),
        ("string", ".spec.o", json!("{\"a\":2,\"b\":1}")),
        ("string", ".spec.l[*]", json!("x y")),
        ("string", ".spec.missing", json!(null)),
        ("string", ".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
        ("string", ".status.conditions[?(@.type==\"Stalled\")].status", json!(null)),
        ("integer", ".spec.i", json!(3)),
        ("integer", ".spec.f", json!(2)),
        ("integer", ".spec.s", json!(null)),
        ("number", ".spec.i", json!(3.0)),
        ("number", ".spec.f", json!(2.5)),
        ("boolean", ".spec.b", json!(true)),
        ("boolean", ".spec.s", json!(null)),
        ("date", ".spec.t", json!("60s")),
        ("date", ".metadata.creationTimestamp", json!("60m")),
        ("date", ".spec.future", json!("<invalid>")),
        ("date", ".spec.s", json!("<invalid>")),
        ("date", ".spec.missing", json!(null)),
        ("date", ".spec.null", json!(null)),
    ] {
        let columns = Columns::custom(&[json!({"name": "C", "type": kind, "jsonPath": path})]);
        assert_eq!(cells(&columns, object.clone()), json!(["n", shown]), "{kind} {path}");
    }
}

#[test]
fn a_custom_resource_without_columns_shows_its_age() {
    let columns = Columns::custom(&[]);
    let object = json!({"metadata": {"name": "n", "creationTimestamp": "2026-11-25T11:57:00Z"}});
    assert_eq!(cells(&columns, object), json!(["n", "3m"]));
    assert_eq!(cells(&columns, json!({"metadata": {"name": "n"}})), json!(["n", "<unknown>"]));
}

#[test]
fn a_table_has_columns_rows_and_objects() {
    let columns = Columns::custom(&[
        json!({"name": "Ready", "type": "string", "format": "x", "priority": 1, "jsonPath": ".status.r", "description": "d"}),
    ]);
    let object = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n", "resourceVersion": "7"}, "status": {"r": "y"}});
    let made = table(
        &columns,
        std::slice::from_ref(&object),
        IncludeObject::Metadata,
        &json!({"resourceVersion": "9"}),
        now(),
    );
    assert_eq!(made["kind"], "Table");
    assert_eq!(made["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(made["metadata"], json!({"resourceVersion": "9"}));
    assert_eq!(made["columnDefinitions"][0]["format"], "name");
    assert_eq!(
        made["columnDefinitions"][1],
        json!({"name": "Ready", "type": "string", "format": "x", "description": "d", "priority": 1})
    );
    assert_eq!(
        made["rows"],
        json!([{"cells": ["n", "y"], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "n", "resourceVersion": "7"}}}])
    );
    let whole = table(&columns, std::slice::from_ref(&object), IncludeObject::Object, &json!({}), now());
    assert_eq!(whole["rows"][0]["object"], object);
    let none = table(&columns, std::slice::from_ref(&object), IncludeObject::None, &json!({}), now());
    assert_eq!(none["rows"][0]["object"], json!(null));
    assert_eq!(table(&columns, &[], IncludeObject::Metadata, &json!({}), now())["rows"], json!([]));

    let event = table_event(&columns, &object, IncludeObject::Metadata, false, now());
    assert_eq!(event["columnDefinitions"], json!(null));
    assert_eq!(event["metadata"], json!({"resourceVersion": "7"}));
    assert_eq!(event["rows"].as_array().map(Vec::len), Some(1));
    let first = table_event(&columns, &object, IncludeObject::Metadata, true, now());
    assert_eq!(first["columnDefinitions"].as_array().map(Vec::len), Some(2));
}

#[test]
fn clients_say_what_they_want_beside_the_cells() {
    for (text, want) in [
        ("", Some(IncludeObject::Metadata)),
        ("Metadata", Some(IncludeObject::Metadata)),
        ("None", Some(IncludeObject::None)),
        ("Object", Some(IncludeObject::Object)),
        ("Everything", None),
    ] {
        assert_eq!(IncludeObject::parse(text), want);
    }
}

#[test]
fn built_in_kinds_show_their_own_columns() {
    let meta = json!({"name": "n", "creationTimestamp": "2026-11-25T11:55:00Z"});
    let template = json!({"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}], "nodeSelector": {"z": "1", "a": "2"}}});
    for (kind, names, object, shown) in [
        ("Namespace", "Name Status Age", json!({"status": {"phase": "Active"}}), json!(["n", "Active", "5m"])),
        (
            "Secret",
            "Name Type Data Age",
            json!({"type": "Opaque", "data": {"a": "", "b": ""}}),
            json!(["n", "Opaque", 2, "5m"]),
        ),
        ("ConfigMap", "Name Data Age", json!({"data": {"a": ""}, "binaryData": {"b": ""}}), json!(["n", 2, "5m"])),
        ("ServiceAccount", "Name Secrets Age", json!({"secrets": [{"name": "x"}]}), json!(["n", 1, "5m"])),
        ("ServiceAccount", "Name Secrets Age", json!({}), json!(["n", 0, "5m"])),
        ("Lease", "Name Holder Age", json!({"spec": {"holderIdentity": "h"}}), json!(["n", "h", "5m"])),
        ("Role", "Name Created At", json!({}), json!(["n", "2026-11-25T11:55:00Z"])),
        ("CustomResourceDefinition", "Name Created At", json!({}), json!(["n", "2026-11-25T11:55:00Z"])),
        (
            "RoleBinding",
            "Name Role Age Users Groups ServiceAccounts",
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "ServiceAccount", "namespace": "x", "name": "s"}]}),
            json!(["n", "Role/r", "5m", "u, v", "", "x/s"]),
        ),
        (
            "Deployment",
            "Name Ready Up-to-date Available Age Containers Images Selector",
            json!({"spec": {"replicas": 2, "template": template, "selector": {"matchLabels": {"b": "1", "a": "2"}}}, "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}}),
            json!(["n", "1/2", 2, 1, "5m", "c,d", "i,j", "a=2,b=1"]),
        ),
        (
            "StatefulSet",
            "Name Ready Age Containers Images",
            json!({"spec": {"replicas": 1, "template": template}}),
            json!(["n", "0/1", "5m", "c,d", "i,j"]),
        ),
        (
            "DaemonSet",
            "Name Desired Current Ready Up-to-date Available Node Selector Age Containers Images Selector",
            json!({"spec": {"template": template}, "status": {"desiredNumberScheduled": 3, "currentNumberScheduled": 2}}),
            json!(["n", 3, 2, 0, 0, 0, "a=2,z=1", "5m", "c,d", "i,j", ""]),
        ),
        (
            "Pod",
            "Name Ready Status Restarts Age IP Node",
            json!({"spec": {"containers": [{}, {}]}, "status": {"phase": "Running", "podIP": "1.2.3.4", "containerStatuses": [{"ready": true, "restartCount": 2}]}}),
            json!(["n", "1/2", "Running", "2", "5m", "1.2.3.4", "<none>"]),
        ),
        (
            "Service",
            "Name Type Cluster-IP External-IP Port(s) Age Selector",
            json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]}}),
            json!(["n", "ClusterIP", "10.0.0.1", "<none>", "80/TCP,53/UDP", "5m", "<none>"]),
        ),
        ("Unheard", "Name Age", json!({}), json!(["n", "5m"])),
    ] {
        let mut object = object;
        object["metadata"] = meta.clone();
        let columns = Columns::builtin(kind);
        let found: Vec<&str> = columns.0.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(found.join(" "), names, "{kind}");
        assert_eq!(cells(&columns, object), shown, "{kind}");
    }
}

#[test]
fn events_of_both_apis_read_the_same() {
    let core = json!({
        "metadata": {"name": "e"}, "type": "Normal", "reason": "TokenCreated", "message": " made ",
        "involvedObject": {"kind": "OrganizationAccessToken", "name": "pull"}, "source": {"component": "oat-operator"},
        "firstTimestamp": "2026-11-25T11:00:00Z", "lastTimestamp": "2026-11-25T11:58:00Z", "count": 4,
    });
    let new = json!({
        "metadata": {"name": "e"}, "type": "Normal", "reason": "TokenCreated", "note": "made",
        "regarding": {"kind": "OrganizationAccessToken", "name": "pull"}, "reportingController": "oat-operator",
        "eventTime": "2026-11-25T11:00:00.000000Z", "series": {"count": 4, "lastObservedTime": "2026-11-25T11:58:00.000000Z"},
    });
    let expected = json!([
        "2m",
        "Normal",
        "TokenCreated",
        "organizationaccesstoken/pull",
        "",
        "oat-operator",
        "made",
        "60m",
        4,
        "e"
    ]);
    let columns = Columns::builtin("Event");
    assert_eq!(cells(&columns, core), expected);
    assert_eq!(cells(&columns, new), expected);
    let once = json!({"metadata": {"name": "e"}, "eventTime": "2026-11-25T11:55:00Z"});
    assert_eq!(cells(&columns, once), json!(["5m", "", "", "/", "", "", "", "5m", 1, "e"]));
}
