//! The columns of built-in kinds, as a real server prints them.
//!
//! Never reaches for other objects; a cell comes from its own.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, age, age_column, code, name_column, text};

type Cell = fn(&Value, Timestamp) -> Value;

pub(super) fn columns(kind: &str) -> Vec<Column> {
    let mut out = vec![name_column()];
    match kind {
        "Event" => return event(),
        "Namespace" => out.push(string("Status", |o, _| json!(text(o, "/status/phase")))),
        "Secret" => {
            out.push(string("Type", |o, _| json!(text(o, "/type"))));
            out.push(code("Data", "integer", "", |o, _| json!(count(o, "/data"))));
        }
        "ConfigMap" => {
            out.push(code("Data", "integer", "", |o, _| json!(count(o, "/data") + count(o, "/binaryData"))));
        }
        "ServiceAccount" => out.push(code("Secrets", "integer", "", |o, _| json!(count(o, "/secrets")))),
        "Lease" => out.push(string("Holder", |o, _| json!(text(o, "/spec/holderIdentity")))),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => workload(kind, &mut out),
        "Pod" => pod(&mut out),
        "Service" => service(&mut out),
        "RoleBinding" | "ClusterRoleBinding" => {
            out.push(string("Role", |o, _| {
                json!(format!("{}/{}", text(o, "/roleRef/kind"), text(o, "/roleRef/name")))
            }));
        }
        // These show when they were made, not how long ago.
        "Role" | "ClusterRole" | "CustomResourceDefinition" => {
            let kind = if kind == "CustomResourceDefinition" { "date" } else { "string" };
            out.push(code("Created At", kind, "", |o, _| json!(text(o, "/metadata/creationTimestamp"))));
            return out;
        }
        _ => {}
    }
    out.push(age_column("string"));
    match kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => out.extend(wide_workload(kind)),
        "RoleBinding" | "ClusterRoleBinding" => {
            out.push(wide(string("Users", |o, _| json!(subjects(o, "User")))));
            out.push(wide(string("Groups", |o, _| json!(subjects(o, "Group")))));
            out.push(wide(string("ServiceAccounts", |o, _| json!(subjects(o, "ServiceAccount")))));
        }
        "Pod" => {
            out.push(wide(string("IP", |o, _| or_none(text(o, "/status/podIP")))));
            out.push(wide(string("Node", |o, _| or_none(text(o, "/spec/nodeName")))));
        }
        "Service" => out.push(wide(string("Selector", |o, _| or_none(&pairs(o.pointer("/spec/selector")))))),
        _ => {}
    }
    out
}

fn string(name: &str, cell: Cell) -> Column {
    code(name, "string", "", cell)
}

fn wide(column: Column) -> Column {
    Column { priority: 1, ..column }
}

fn count(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    }
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

fn pairs(map: Option<&Value>) -> String {
    let mut pairs: Vec<String> = map
        .and_then(Value::as_object)
        .map(|m| m.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect())
        .unwrap_or_default();
    pairs.sort();
    pairs.join(",")
}

fn join(items: Option<&Value>, field: &str) -> String {
    let items = items.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|i| i.get(field)?.as_str()).collect::<Vec<_>>().join(",")
}

fn subjects(object: &Value, kind: &str) -> String {
    let subjects = object.get("subjects").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let names = subjects.iter().filter(|s| text(s, "/kind") == kind).map(|s| match text(s, "/namespace") {
        "" => text(s, "/name").to_owned(),
        namespace => format!("{namespace}/{}", text(s, "/name")),
    });
    names.collect::<Vec<_>>().join(", ")
}

fn workload(kind: &str, out: &mut Vec<Column>) {
    let whole = |name: &str, cell: Cell| code(name, "integer", "", cell);
    match kind {
        "Deployment" => {
            out.push(string("Ready", ready));
            out.push(whole("Up-to-date", |o, _| json!(number(o, "/status/updatedReplicas"))));
            out.push(whole("Available", |o, _| json!(number(o, "/status/availableReplicas"))));
        }
        "StatefulSet" => out.push(string("Ready", ready)),
        "ReplicaSet" => {
            out.push(whole("Desired", |o, _| json!(number(o, "/spec/replicas"))));
            out.push(whole("Current", |o, _| json!(number(o, "/status/replicas"))));
            out.push(whole("Ready", |o, _| json!(number(o, "/status/readyReplicas"))));
        }
        _ => {
            out.push(whole("Desired", |o, _| json!(number(o, "/status/desiredNumberScheduled"))));
            out.push(whole("Current", |o, _| json!(number(o, "/status/currentNumberScheduled"))));
            out.push(whole("Ready", |o, _| json!(number(o, "/status/numberReady"))));
            out.push(whole("Up-to-date", |o, _| json!(number(o, "/status/updatedNumberScheduled"))));
            out.push(whole("Available", |o, _| json!(number(o, "/status/numberAvailable"))));
            out.push(string("Node Selector", |o, _| or_none(&pairs(o.pointer("/spec/template/spec/nodeSelector")))));
        }
    }
}

fn ready(object: &Value, _: Timestamp) -> Value {
    json!(format!("{}/{}", number(object, "/status/readyReplicas"), number(object, "/spec/replicas")))
}

fn wide_workload(kind: &str) -> Vec<Column> {
    let mut out = vec![
        wide(string("Containers", |o, _| json!(join(o.pointer("/spec/template/spec/containers"), "name")))),
        wide(string("Images", |o, _| json!(join(o.pointer("/spec/template/spec/containers"), "image")))),
    ];
    if kind != "StatefulSet" {
        out.push(wide(string("Selector", |o, _| json!(pairs(o.pointer("/spec/selector/matchLabels"))))));
    }
    out
}

fn pod(out: &mut Vec<Column>) {
    out.push(string("Ready", |o, _| {
        let statuses = o.pointer("/status/containerStatuses").and_then(Value::as_array);
        let ready = statuses.map_or(0, |s| s.iter().filter(|c| c.get("ready") == Some(&json!(true))).count());
        json!(format!("{ready}/{}", count(o, "/spec/containers")))
    }));
    out.push(string("Status", |o, _| match (o.pointer("/metadata/deletionTimestamp"), text(o, "/status/reason")) {
        (Some(_), _) => json!("Terminating"),
        (None, "") => json!(text(o, "/status/phase")),
        (None, reason) => json!(reason),
    }));
    out.push(string("Restarts", |o, _| {
        let statuses = o.pointer("/status/containerStatuses").and_then(Value::as_array);
        json!(statuses.map_or(0, |s| s.iter().map(|c| number(c, "/restartCount")).sum::<i64>()).to_string())
    }));
}

fn service(out: &mut Vec<Column>) {
    out.push(string("Type", |o, _| json!(text(o, "/spec/type"))));
    out.push(string("Cluster-IP", |o, _| or_none(text(o, "/spec/clusterIP"))));
    out.push(string("External-IP", |_, _| json!("<none>")));
    out.push(string("Port(s)", |o, _| {
        let ports = o.pointer("/spec/ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let words = ports.iter().map(|p| {
            let protocol = text(p, "/protocol");
            format!("{}/{}", number(p, "/port"), if protocol.is_empty() { "TCP" } else { protocol })
        });
        or_none(&words.collect::<Vec<_>>().join(","))
    }));
}

fn event() -> Vec<Column> {
    vec![
        string("Last Seen", |o, now| json!(age(last_seen(o), now))),
        string("Type", |o, _| json!(text(o, "/type"))),
        string("Reason", |o, _| json!(text(o, "/reason"))),
        string("Object", |o, _| {
            let about = o.get("involvedObject").or_else(|| o.get("regarding")).cloned().unwrap_or_default();
            json!(format!("{}/{}", text(&about, "/kind").to_lowercase(), text(&about, "/name")))
        }),
        wide(string("Subobject", |o, _| {
            json!(first(&[text(o, "/involvedObject/fieldPath"), text(o, "/regarding/fieldPath")]))
        })),
        wide(string("Source", |o, _| {
            let component = first(&[
                text(o, "/source/component"),
                text(o, "/deprecatedSource/component"),
                text(o, "/reportingComponent"),
                text(o, "/reportingController"),
            ]);
            let host = first(&[text(o, "/source/host"), text(o, "/reportingInstance")]);
            json!(if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") })
        })),
        string("Message", |o, _| json!(first(&[text(o, "/message"), text(o, "/note")]).trim())),
        wide(string("First Seen", |o, now| json!(age(first_seen(o), now)))),
        wide(code("Count", "integer", "", |o, _| json!(how_often(o)))),
        Column { priority: 1, ..name_column() },
    ]
}

fn first<'a>(texts: &[&'a str]) -> &'a str {
    texts.iter().find(|t| !t.is_empty()).copied().unwrap_or_default()
}

fn first_seen(event: &Value) -> &str {
    first(&[text(event, "/firstTimestamp"), text(event, "/deprecatedFirstTimestamp"), text(event, "/eventTime")])
}

fn last_seen(event: &Value) -> &str {
    let last = [
        text(event, "/series/lastObservedTime"),
        text(event, "/lastTimestamp"),
        text(event, "/deprecatedLastTimestamp"),
    ];
    first(&[first(&last), first_seen(event)])
}

fn how_often(event: &Value) -> i64 {
    let counts = ["/series/count", "/count", "/deprecatedCount"].map(|at| number(event, at));
    counts.into_iter().find(|n| *n > 0).unwrap_or(1)
}
