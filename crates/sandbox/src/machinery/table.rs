//! `Table` objects (meta.k8s.io/v1): what `kubectl get` shows, made on the server.
//!
//! Reading order: `Columns` (which), `table` (all rows), `age`. Never asks for the time; `now` comes from the caller.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::field::sorted_json;
use super::jsonpath::JsonPath;

mod builtin;

const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may \
allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation \
idempotence and configuration definition. Cannot be updated. More info: \
https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not \
guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in \
RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// What a client wants beside the cells (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// The metadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter; unknown words are the caller's to refuse.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// A column and where its cells come from.
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Path(JsonPath),
    Code(fn(&Value, Timestamp) -> Value),
}

/// The columns of a kind.
#[derive(Clone, Debug)]
pub struct Columns(Vec<Column>);

impl Columns {
    /// Those of a custom resource: its name and its `additionalPrinterColumns`, or its age.
    #[must_use]
    pub fn custom(printer_columns: &[Value]) -> Self {
        let mut columns = vec![name_column()];
        for column in printer_columns {
            let text = |name: &str| column.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            // A path that does not parse was refused with the definition.
            let Ok(path) = JsonPath::parse(&text("jsonPath")) else {
                continue;
            };
            let description = match text("description") {
                empty if empty.is_empty() => {
                    format!("Custom resource definition column (in JSONPath format): {}", text("jsonPath"))
                }
                given => given,
            };
            columns.push(Column {
                name: text("name"),
                kind: text("type"),
                format: text("format"),
                description,
                priority: column.get("priority").and_then(Value::as_i64).unwrap_or_default(),
                source: Source::Path(path),
            });
        }
        if printer_columns.is_empty() {
            columns.push(age_column("date"));
        }
        Self(columns)
    }

    /// Those of a built-in kind; kinds without columns of their own show name and age.
    #[must_use]
    pub fn builtin(kind: &str) -> Self {
        Self(builtin::columns(kind))
    }
}

fn name_column() -> Column {
    Column { format: "name".to_owned(), ..code("Name", "string", NAME, |o, _| json!(text(o, "/metadata/name"))) }
}

fn age_column(kind: &str) -> Column {
    code("Age", kind, AGE, |o, now| json!(age(text(o, "/metadata/creationTimestamp"), now)))
}

fn code(name: &str, kind: &str, description: &str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format: String::new(),
        description: description.to_owned(),
        priority: 0,
        source: Source::Code(cell),
    }
}

/// The text at a JSON pointer, or an empty one.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A `Table` of objects. `list_meta` is the `metadata` of the list, or of the one object.
#[must_use]
pub fn table(columns: &Columns, objects: &[Value], include: IncludeObject, list_meta: &Value, now: Timestamp) -> Value {
    let rows: Vec<Value> = objects.iter().map(|o| row(columns, o, include, now)).collect();
    let mut out = rows_only(rows, list_meta);
    let definitions: Vec<Value> = columns.0.iter().map(definition).collect();
    out["columnDefinitions"] = json!(definitions);
    out
}

/// As `table`, for one event of a watch: a real server leaves the columns out after the first.
#[must_use]
pub fn table_event(
    columns: &Columns,
    object: &Value,
    include: IncludeObject,
    with_columns: bool,
    now: Timestamp,
) -> Value {
    let version = json!({"resourceVersion": text(object, "/metadata/resourceVersion")});
    if with_columns {
        return table(columns, std::slice::from_ref(object), include, &version, now);
    }
    rows_only(vec![row(columns, object, include, now)], &version)
}

fn rows_only(rows: Vec<Value>, list_meta: &Value) -> Value {
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta, "columnDefinitions": null, "rows": rows})
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

fn row(columns: &Columns, object: &Value, include: IncludeObject, now: Timestamp) -> Value {
    let cells: Vec<Value> = columns.0.iter().map(|c| cell(c, object, now)).collect();
    let object = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Object => object.clone(),
        IncludeObject::Metadata => json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
        }),
    };
    json!({"cells": cells, "object": object})
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let path = match &column.source {
        Source::Code(cell) => return cell(object, now),
        Source::Path(path) => path,
    };
    let found = path.find(object);
    let Some(first) = found.first() else { return Value::Null };
    match column.kind.as_str() {
        "string" => {
            let words: Vec<String> =
                found.iter().map(|v| v.as_str().map_or_else(|| sorted_json(v), str::to_owned)).collect();
            json!(words.join(" "))
        }
        "integer" => match (first.as_i64(), first.as_f64()) {
            (Some(whole), _) => json!(whole),
            #[expect(clippy::cast_possible_truncation, reason = "the real server cuts the fraction off, too")]
            (None, Some(number)) => json!(number as i64),
            _ => Value::Null,
        },
        "number" => first.as_f64().map_or(Value::Null, |n| json!(n)),
        "boolean" => first.as_bool().map_or(Value::Null, |b| json!(b)),
        "date" => first.as_str().map_or(Value::Null, |text| json!(age(text, now))),
        _ => Value::Null,
    }
}

/// How long ago a time was, as the server prints it: `5m`. Times to come are `<invalid>`, as in a real cluster.
#[must_use]
pub fn age(time: &str, now: Timestamp) -> String {
    if time.is_empty() {
        return "<unknown>".to_owned();
    }
    match time.parse::<Timestamp>() {
        Ok(time) => duration(now.as_millisecond() - time.as_millisecond()),
        Err(_) => "<invalid>".to_owned(),
    }
}

/// A length of time in two units at most.
fn duration(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let two = |a: i64, unit_a: &str, b: i64, unit_b: &str| {
        if b == 0 { format!("{a}{unit_a}") } else { format!("{a}{unit_a}{b}{unit_b}") }
    };
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(days, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests;
