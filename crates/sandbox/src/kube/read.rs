//! Getting one object and listing many: selectors, pages, versions, and the forms in which a client may want them.
//!
//! Pages of one list show the store as it was at the first page, as long as the history reaches that far.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::call::Call;
use super::failure::Failure;
use super::kinds::Kind;
use super::object::meta;
use super::request::{Form, Query};
use super::store::{Key, Table};
use super::world::World;
use super::write::present;
use crate::machinery::field::FieldError;
use crate::machinery::selector::{FieldSelector, LabelSelector};
use crate::machinery::table::{Columns, table};

/// Which objects a list or watch shows.
#[derive(Clone, Debug)]
pub struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    namespace: Option<String>,
    name: Option<String>,
    core_events: bool,
}

impl Selection {
    /// Reads the selectors of a request.
    ///
    /// # Errors
    /// 400 for those that can't be read or are not supported.
    pub fn read(call: &Call) -> Result<Self, Failure> {
        let labels = LabelSelector::parse(call.query.get("labelSelector"));
        let labels = labels.map_err(|e| Failure::bad_request(e.to_string()))?;
        let fields = FieldSelector::parse(call.query.get("fieldSelector"));
        let fields = fields.map_err(|e| Failure::bad_request(e.to_string()))?;
        let supported = selectable(&call.kind);
        let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
        if let Some(field) = fields.unsupported(&supported) {
            return Err(Failure::bad_request(format!("field label not supported: {field}")));
        }
        let name = (!call.place.name.is_empty()).then(|| call.place.name.clone());
        Ok(Self {
            labels,
            fields,
            namespace: (!call.place.namespace.is_empty()).then(|| call.place.namespace.clone()),
            name,
            core_events: call.kind.store == "events",
        })
    }

    /// Whether an object is shown.
    #[must_use]
    pub fn shows(&self, key: &Key, object: &Value) -> bool {
        self.namespace.as_ref().is_none_or(|n| *n == key.0)
            && self.name.as_ref().is_none_or(|n| *n == key.1)
            && self.labels.matches(object)
            && (self.fields.is_empty() || self.fields.matches(&self.for_fields(object)))
    }

    /// Events can be selected by fields under the names of both groups.
    fn for_fields(&self, object: &Value) -> Value {
        let mut object = object.clone();
        if self.core_events {
            object["regarding"] = object["involvedObject"].clone();
            object["reportingController"] = object["reportingComponent"].clone();
            let source = object["source"]["component"].as_str().map(str::to_owned);
            let component = source.or_else(|| object["reportingComponent"].as_str().map(str::to_owned));
            object["source"] = json!(component.unwrap_or_default());
        }
        object
    }
}

/// The fields by which a kind's objects can be selected.
fn selectable(kind: &Kind) -> Vec<String> {
    let mut fields = vec!["metadata.name".to_owned()];
    if kind.namespaced || kind.custom.is_none() {
        fields.push("metadata.namespace".to_owned());
    }
    if let Some(custom) = &kind.custom {
        fields.extend(custom.selectable.clone());
    }
    match kind.store.as_str() {
        "secrets" => fields.push("type".to_owned()),
        "namespaces" => fields.push("status.phase".to_owned()),
        "events" => {
            let prefix = if kind.group.is_empty() { "involvedObject" } else { "regarding" };
            let parts = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
            fields.extend(parts.iter().map(|p| format!("{prefix}.{p}")));
            fields.extend(["reason", "reportingComponent", "source", "type", "reportingController"].map(str::to_owned));
        }
        _ => {}
    }
    fields
}

/// The version of a query; `None` if none is asked for.
///
/// # Errors
/// 400 if it is no number.
pub fn version(query: &Query) -> Result<Option<u64>, Failure> {
    let text = query.get("resourceVersion");
    if text.is_empty() {
        return Ok(None);
    }
    let version = text.parse::<u64>().map_err(|_| {
        Failure::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": \
             invalid syntax"
        ))
    })?;
    Ok(Some(version))
}

/// The version of a query that can be answered at once.
///
/// # Errors
/// As `version`, and 504 if it is in the future.
fn asked_version(query: &Query, current: u64) -> Result<Option<u64>, Failure> {
    match version(query)? {
        Some(version) if version > current => Err(Failure::too_large_version(version, current)),
        asked => Ok(asked),
    }
}

/// GET of one object.
///
/// # Errors
/// 404 if it is not there.
pub fn get(world: &World, call: &Call, now: Timestamp) -> Result<Value, Failure> {
    let kind = &call.kind;
    asked_version(&call.query, world.store.revision())?;
    let found = world.store.get(&kind.store, &call.place.namespace, &call.place.name);
    let Some(found) = found else {
        return Err(Failure::not_found(&kind.group, &kind.plural, &call.place.name));
    };
    Ok(shown(call, present(kind, found), now))
}

/// One object in the form that the client wants.
#[must_use]
pub fn shown(call: &Call, object: Value, now: Timestamp) -> Value {
    match call.representation.form {
        Form::Metadata => partial(&object),
        // Only objects of the kind have its columns; a `Status` stays what it is.
        Form::Table if object["kind"] == call.kind.kind.as_str() => {
            let version = json!({"resourceVersion": meta(&object, "resourceVersion")});
            table(&columns(&call.kind), &[object], call.representation.include, &version, now)
        }
        _ => object,
    }
}

/// The metadata of an object.
#[must_use]
pub fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// The columns of a kind's tables.
#[must_use]
pub fn columns(kind: &Kind) -> Columns {
    match &kind.custom {
        Some(custom) => Columns::custom(&custom.columns),
        None => Columns::builtin(&kind.kind),
    }
}

/// Where the next page begins, and at which version.
struct Continue {
    version: u64,
    after: Key,
}

impl Continue {
    fn write(&self) -> String {
        let (namespace, name) = &self.after;
        let text = json!({"v": "meta.k8s.io/v1", "rv": self.version, "start": [namespace, name]}).to_string();
        URL_SAFE_NO_PAD.encode(text)
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let token: Value = serde_json::from_slice(&bytes).ok()?;
        Some(Self {
            version: token["rv"].as_u64()?,
            after: (token["start"][0].as_str()?.to_owned(), token["start"][1].as_str()?.to_owned()),
        })
    }
}

/// Lists: the present, unless the client asks for a version, or a `past` one is to be shown instead.
///
/// # Errors
/// 400 and 422 for options that don't fit together, 410 for versions that are forgotten.
pub fn list(world: &World, call: &Call, past: Option<u64>, now: Timestamp) -> Result<Value, Failure> {
    let (query, kind) = (&call.query, &call.kind);
    let selection = Selection::read(call)?;
    let limit = query.number("limit")?;
    check_version_match(query, "")?;
    let current = world.store.revision();
    let (version, after) = match query.get("continue") {
        "" => {
            let asked = asked_version(query, current)?;
            let exact = query.get("resourceVersionMatch") == "Exact"
                || limit.is_some() && asked.is_some_and(|v| v > 0) && query.get("resourceVersionMatch").is_empty();
            (asked.filter(|_| exact).or(past).unwrap_or(current), None)
        }
        text => {
            if !matches!(query.get("resourceVersion"), "" | "0") {
                let why = "specifying resource version is not allowed when using continue";
                return Err(Failure::bad_request(why));
            }
            let token = Continue::read(text)
                .ok_or_else(|| Failure::bad_request("invalid continue token: continue key is not valid"))?;
            (token.version, Some(token.after))
        }
    };
    let table = world.store.at(&kind.store, version).ok_or_else(|| match after {
        Some(_) => Failure::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of \
             the results. Continuing with the provided token results in an inconsistent list - objects that were \
             created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        ),
        None => Failure::expired(format!("The resourceVersion for the provided list is too old. ({version})")),
    })?;
    let page = page(&table, &selection, after.as_ref(), limit);
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some((last, remaining)) = page.next {
        metadata["continue"] = json!(Continue { version, after: last }.write());
        // The real server does not count what selectors leave out.
        if selection.labels.is_empty() && selection.fields.is_empty() {
            metadata["remainingItemCount"] = json!(remaining);
        }
    }
    if kind.custom.is_some() && metadata.get("continue").is_none() {
        metadata["continue"] = json!("");
    }
    let objects = page.objects.iter().map(|o| present(kind, o)).collect();
    Ok(list_object(call, objects, metadata, now))
}

struct Page {
    objects: Vec<Arc<Value>>,
    /// The last key of this page, and how many objects follow.
    next: Option<(Key, usize)>,
}

fn page(table: &Table, selection: &Selection, after: Option<&Key>, limit: Option<u64>) -> Page {
    let mut rest: Vec<(&Key, &Arc<Value>)> = table
        .iter()
        .filter(|(key, _)| after.is_none_or(|after| *key > after))
        .filter(|(key, object)| selection.shows(key, object))
        .collect();
    let most = limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(usize::MAX);
    let remaining = rest.len().saturating_sub(most);
    rest.truncate(most);
    let last = rest.last().map(|(key, _)| (*key).clone());
    Page {
        objects: rest.into_iter().map(|(_, object)| object.clone()).collect(),
        next: last.filter(|_| remaining > 0).map(|key| (key, remaining)),
    }
}

/// A list in the form that the client wants.
#[must_use]
pub fn list_object(call: &Call, objects: Vec<Value>, metadata: Value, now: Timestamp) -> Value {
    let kind = &call.kind;
    match call.representation.form {
        Form::Table => table(&columns(kind), &objects, call.representation.include, &without_empty(metadata), now),
        Form::Metadata => {
            let metadata = without_empty(metadata);
            let items: Vec<Value> = objects.iter().map(partial).collect();
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items,
            })
        }
        _ => {
            let items: Vec<Value> = objects.into_iter().map(|o| item(kind, o)).collect();
            json!({"kind": kind.list_kind, "apiVersion": kind.api_version(), "metadata": metadata, "items": items})
        }
    }
}

/// Lists of custom resources have an empty `continue`, other lists have none.
fn without_empty(mut metadata: Value) -> Value {
    if metadata["continue"] == "" {
        super::object::drop_field(&mut metadata, "continue");
    }
    metadata
}

/// Objects of built-in kinds don't repeat in a list what the list says.
fn item(kind: &Kind, mut object: Value) -> Value {
    if kind.custom.is_none() {
        super::object::drop_field(&mut object, "kind");
        super::object::drop_field(&mut object, "apiVersion");
    }
    object
}

/// Whether `resourceVersionMatch` and its companions fit together.
///
/// # Errors
/// 422 if they don't.
pub fn check_version_match(query: &Query, watch: &str) -> Result<(), Failure> {
    let (matching, version) = (query.get("resourceVersionMatch"), query.get("resourceVersion"));
    let initial = query.get("sendInitialEvents");
    let forbidden = |field: &str, why: &str| {
        let errors = [FieldError::forbidden(field, why)];
        Err(Failure::invalid("meta.k8s.io", "ListOptions", "", &errors))
    };
    if watch.is_empty() {
        if !initial.is_empty() {
            return forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
        if matching.is_empty() {
            return Ok(());
        }
        if version.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            return forbidden("resourceVersionMatch", why);
        }
        if !query.get("continue").is_empty() {
            return forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided");
        }
        if matching == "Exact" && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            return forbidden("resourceVersionMatch", why);
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let supported = ["Exact", "NotOlderThan", ""].map(str::to_owned);
            let errors = [FieldError::not_supported("resourceVersionMatch", matching, &supported)];
            return Err(Failure::invalid("meta.k8s.io", "ListOptions", "", &errors));
        }
        return Ok(());
    }
    match (initial.is_empty(), matching) {
        (true, "") | (false, "NotOlderThan") => Ok(()),
        (false, _) => {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            forbidden("resourceVersionMatch", why)
        }
        (true, _) => {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            forbidden("resourceVersionMatch", why)
        }
    }
}
