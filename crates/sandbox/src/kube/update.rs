//! Changing what is there: PUT, patches and server-side apply.
//!
//! Flow: the new state → who owns what → what this endpoint may not change is put back → validation → the store, unless
//! nothing changed. The last finalizer of an object in deletion takes the object with it.
//!
//! Invariant: a request that fails has changed nothing.

use std::sync::Arc;

use serde_json::Value;

use super::admit;
use super::call::Call;
use super::decode::{self, Decoded};
use super::failure::Failure;
use super::kinds::{Kind, split_version};
use super::object::{
    copy_field, drop_field, drop_meta, edit_meta, finalizers, generation, is_deleting, meta, set_meta,
};
use super::options::Options;
use super::request::BodyType;
use super::world::World;
use super::write::{Written, create_by_apply, create_by_name, place_in_namespace, present, to_stored};
use crate::machinery::apply::{Conflict, apply, conflict_message, track};
use crate::machinery::field::{FieldError, same, sorted_json};
use crate::machinery::patch;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// PUT or PATCH of an object or a subresource.
///
/// # Errors
/// As the real server.
pub fn update(world: &mut World, now: &str, call: &Call) -> Result<Written, Failure> {
    let apply = call.body_type == BodyType::Apply;
    let is_put = matches!(call.body_type, BodyType::Json | BodyType::Yaml | BodyType::Protobuf);
    let options = Options::read(call, if is_put { "UpdateOptions" } else { "PatchOptions" })?;
    let body = match call.body_type {
        _ if is_put || apply => decode::parse(&call.body, call.body_type, &call.kind)?,
        _ => serde_json::from_slice(&call.body).map_err(|_| Failure::bad_request("invalid JSON patch"))?,
    };
    let existing = world.store.get(&call.kind.store, &call.place.namespace, &call.place.name).cloned();
    let live = existing.as_deref().map(|stored| present(&call.kind, stored));
    if is_put {
        let Decoded { object, warnings } = decode::object(body, &call.kind, options.validation, &call.body)?;
        same_place(call, &object)?;
        return match (existing, live) {
            (Some(existing), Some(live)) => {
                same_uid(call, &object, &live)?;
                replace(world, now, call, &existing, &live, object, &options, warnings)
            }
            _ if call.kind.create_on_update && call.place.subresource.is_empty() => {
                create_by_name(world, now, call, object, &options, true, warnings)
            }
            _ => Err(absent(call)),
        };
    }
    if apply {
        let config = configuration(call, body)?;
        let applied = applied(call, live.as_ref(), &config, &options, now)?;
        let Decoded { object, warnings } = decode::typed(applied, &call.kind, options.validation)?;
        return match (existing, live) {
            (Some(existing), Some(live)) => replace(world, now, call, &existing, &live, object, &options, warnings),
            _ if call.place.subresource.is_empty() => create_by_apply(world, now, call, object, &options, warnings),
            _ => Err(absent(call)),
        };
    }
    let (Some(existing), Some(live)) = (existing, live) else {
        return Err(absent(call));
    };
    let patched = patched(call, &live, &body)?;
    let text = patched.to_string();
    let Decoded { object, warnings } =
        decode::typed(patched, &call.kind, options.validation).map_err(|failure| unreadable(&failure, &text))?;
    same_place(call, &object)?;
    replace(world, now, call, &existing, &live, object, &options, warnings)
}

fn absent(call: &Call) -> Failure {
    Failure::not_found(&call.kind.group, &call.kind.plural, &call.place.name)
}

/// A patch that leaves something that is no object of its kind.
fn unreadable(failure: &Failure, text: &str) -> Failure {
    let why = failure.message.split("cannot be handled as a ").nth(1).unwrap_or(&failure.message);
    let why = why.split_once(": ").map_or(why, |(_, why)| why);
    Failure::invalid("", "", "", &[FieldError::invalid("patch", text, why)])
}

fn same_place(call: &Call, object: &Value) -> Result<(), Failure> {
    let (name, namespace) = (meta(object, "name"), meta(object, "namespace"));
    let (asked, wanted) = (&call.place.name, &call.place.namespace);
    if name != asked {
        return Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({asked})"
        )));
    }
    if !namespace.is_empty() && namespace != wanted {
        return Err(Failure::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the request ({wanted})"
        )));
    }
    Ok(())
}

/// A PUT that names a uid means that object and no other of its name.
fn same_uid(call: &Call, object: &Value, live: &Value) -> Result<(), Failure> {
    let (asked, found) = (meta(object, "uid"), meta(live, "uid"));
    if asked.is_empty() || asked == found {
        return Ok(());
    }
    let kind = &call.kind;
    let path = [kind.plural.as_str(), &call.place.namespace, &call.place.name];
    let path: Vec<&str> = path.into_iter().filter(|p| !p.is_empty()).collect();
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
         failed: UID in precondition: {asked}, UID in object meta: {found}",
        path.join("/")
    );
    Err(Failure::conflict(&kind.group, &kind.plural, &call.place.name, &why))
}

fn patched(call: &Call, live: &Value, body: &Value) -> Result<Value, Failure> {
    let done = match call.body_type {
        BodyType::JsonPatch => patch::json(live, body),
        BodyType::MergePatch => patch::merge(live, body),
        _ => patch::strategic(live, body, &*call.kind.shapes()),
    };
    done.map_err(|error| match error {
        patch::PatchError::Malformed(text) => Failure::bad_request(text),
        patch::PatchError::DoesNotApply(_) => Failure::unprocessable(),
    })
}

/// The configuration of an apply request, checked.
fn configuration(call: &Call, mut config: Value) -> Result<Value, Failure> {
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version.is_empty() || kind.is_empty() {
        let (group, version) = split_version(version);
        return Err(Failure::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
    }
    if version != call.kind.api_version() || kind != call.kind.kind {
        let (group, version) = split_version(version);
        return Err(Failure::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    if !meta(&config, "name").is_empty() {
        same_place(call, &config)?;
    }
    let mut pruned = config.clone();
    let mut unknown = match (&call.kind.custom, &call.kind.fields) {
        (Some(custom), _) => custom.schema.prune(&mut pruned),
        (None, Some(fields)) => fields.prune(&mut pruned),
        (None, None) => Vec::new(),
    };
    if !unknown.is_empty() {
        unknown = unknown.iter().map(|path| format!(".{path}: field not declared in schema")).collect();
        let problems = match unknown.as_slice() {
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        let (namespace, name) = (meta(&config, "namespace"), meta(&config, "name"));
        let version = match call.kind.group.as_str() {
            "" => format!("/{}", call.kind.version),
            _ => call.kind.api_version(),
        };
        return Err(Failure::plain(format!(
            "failed to create typed patch object ({namespace}/{name}; {version}, Kind={}): {problems}",
            call.kind.kind
        )));
    }
    set_meta(&mut config, "name", call.place.name.as_str());
    Ok(config)
}

fn applied(call: &Call, live: Option<&Value>, config: &Value, options: &Options, now: &str) -> Result<Value, Failure> {
    let kind = &call.kind;
    let mut config = config.clone();
    if kind.custom.is_none() {
        // Text is written, bytes are owned.
        decode::fold_string_data(&mut config);
    }
    let subresource = Some(call.place.subresource.as_str()).filter(|s| !s.is_empty());
    let version = kind.api_version();
    let mut applied =
        apply(live, &config, &options.manager, options.force, subresource, &version, &*kind.shapes(), now).map_err(
            |conflicts| {
                let causes = conflicts.iter().map(Conflict::to_cause).collect();
                Failure::apply_conflict(conflict_message(&conflicts), causes)
            },
        )?;
    update_last_applied(&mut applied, &config, &options.manager);
    Ok(applied)
}

/// Client-side apply remembers what it applied in an annotation; the server keeps it right when the same user goes over
/// to server-side apply and may come back.
fn update_last_applied(applied: &mut Value, config: &Value, manager: &str) {
    let Some(annotation) = applied.pointer_mut("/metadata/annotations").and_then(|a| a.get_mut(LAST_APPLIED)) else {
        return;
    };
    if manager != "kubectl" {
        return;
    }
    let mut config = config.clone();
    if let Some(Value::Object(annotations)) = config["metadata"].get_mut("annotations") {
        annotations.shift_remove(LAST_APPLIED);
    }
    *annotation = Value::from(sorted_json(&config) + "\n");
}

/// Puts the new state of an object in the place of the old one. Both are in the version of the request.
#[expect(clippy::too_many_arguments, reason = "the old state is needed as stored and as shown")]
fn replace(
    world: &mut World,
    now: &str,
    call: &Call,
    existing: &Arc<Value>,
    live: &Value,
    mut new: Value,
    options: &Options,
    warnings: Vec<String>,
) -> Result<Written, Failure> {
    let kind = &*call.kind;
    let subresource = Some(call.place.subresource.as_str()).filter(|s| !s.is_empty());
    let answer = |object: &Value, warnings| Written { code: 200, object: present(kind, object), warnings };
    current_version(call, &new, live)?;
    if call.body_type != BodyType::Apply {
        let version = kind.api_version();
        track(Some(live), &mut new, &options.manager, subresource, &version, &*kind.shapes(), now);
    }
    place_in_namespace(call, &mut new)?;
    set_meta(&mut new, "resourceVersion", meta(live, "resourceVersion"));
    prepare_update(kind, subresource, &mut new, live);
    let new = to_stored(kind, new);
    let errors = admit::update(kind, &new, existing);
    if !errors.is_empty() {
        return Err(Failure::invalid(kind.group_of_errors(), &kind.kind, &call.place.name, &errors));
    }
    if removes_last_finalizer(kind, &new, existing) {
        if !options.dry_run {
            let key = (call.place.namespace.clone(), call.place.name.clone());
            world.store.delete(&kind.store, &key);
        }
        return Ok(answer(&new, warnings));
    }
    if same(&new, existing) {
        return Ok(answer(existing, warnings));
    }
    if options.dry_run {
        return Ok(answer(&new, warnings));
    }
    let key = (call.place.namespace.clone(), call.place.name.clone());
    Ok(answer(&world.store.put(&kind.store, key, new), warnings))
}

fn current_version(call: &Call, new: &Value, live: &Value) -> Result<(), Failure> {
    let kind = &call.kind;
    let asked = meta(new, "resourceVersion");
    if asked.is_empty() || asked == "0" {
        if kind.unconditional_update {
            return Ok(());
        }
        let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
        return Err(Failure::invalid(&kind.group, &kind.plural, &call.place.name, &[error]));
    }
    if asked.parse::<u64>().is_err() {
        return Err(Failure::plain(format!("strconv.ParseUint: parsing \"{asked}\": invalid syntax")));
    }
    if asked != meta(live, "resourceVersion") {
        return Err(Failure::modified(&kind.group, &kind.plural, &call.place.name));
    }
    Ok(())
}

/// Puts back what this endpoint may not change, and counts what it may.
fn prepare_update(kind: &Kind, subresource: Option<&str>, new: &mut Value, old: &Value) {
    match subresource {
        Some("finalize") => {
            let list = new["spec"]["finalizers"].clone();
            *new = old.clone();
            new["spec"]["finalizers"] = list;
        }
        // A namespace's status endpoint leaves the metadata to the client.
        Some(_) if kind.store == "namespaces" => copy_field(new, old, "spec"),
        Some(_) => {
            let (given, owners) = (new.clone(), new["metadata"]["managedFields"].clone());
            *new = old.clone();
            copy_field(new, &given, "status");
            if owners.is_null() {
                drop_meta(new, "managedFields");
            } else {
                set_meta(new, "managedFields", owners);
            }
        }
        None => {
            if kind.has("status") {
                copy_field(new, old, "status");
            }
            if kind.store == "namespaces" {
                copy_field(new, old, "spec");
            }
        }
    }
    let kept = ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"];
    edit_meta(new, |meta| {
        for name in kept {
            let before = &old["metadata"][name];
            // A uid that differs is refused later; a deletion that has begun can't be taken back.
            let may_differ = name == "uid" && meta.contains_key("uid");
            if !before.is_null() && !may_differ {
                meta.insert(name.to_owned(), before.clone());
            }
        }
    });
    if kind.generation && subresource.is_none() && counts(kind, new, old) {
        set_meta(new, "generation", generation(old) + 1);
    }
}

/// Whether a change is one of the desired state.
fn counts(kind: &Kind, new: &Value, old: &Value) -> bool {
    if kind.custom.is_none() {
        return !same(&new["spec"], &old["spec"]);
    }
    let bare = |object: &Value| {
        let mut object = object.clone();
        drop_field(&mut object, "metadata");
        object
    };
    !same(&bare(new), &bare(old))
}

fn removes_last_finalizer(kind: &Kind, new: &Value, old: &Value) -> bool {
    let held = kind.store == "namespaces" && new["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let grace = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
    is_deleting(old) && grace == 0 && finalizers(new).is_empty() && !held
}
