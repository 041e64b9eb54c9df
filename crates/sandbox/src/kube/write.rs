//! Creating: from a decoded request to a new object in the store. Also what creating and updating share.
//!
//! Flow: a name → what only the server says → who owns what → the namespace takes it → validation → the store. What is
//! there already is changed in `update` and deleted in `delete`.
//!
//! Invariant: a request that fails has changed nothing.

use serde_json::{Value, json};

use super::call::Call;
use super::decode::{self, Decoded};
use super::failure::Failure;
use super::ids::Ids;
use super::kinds::Kind;
use super::object::{drop_field, drop_meta, is_deleting, meta, set_meta};
use super::options::Options;
use super::world::World;
use super::{admit, definition, rbac};
use crate::machinery::apply::track;

/// What a write came to.
#[derive(Debug)]
pub struct Written {
    /// The HTTP status.
    pub code: u16,
    /// The object, in the version of the request.
    pub object: Value,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// An object as a version of its resource shows it.
#[must_use]
pub fn present(kind: &Kind, stored: &Value) -> Value {
    let mut object = stored.clone();
    if kind.group == "events.k8s.io" {
        decode::event_to_new(&mut object);
    }
    if kind.custom.is_some() {
        object["apiVersion"] = json!(kind.api_version());
    }
    object
}

/// The reverse of `present`.
pub fn to_stored(kind: &Kind, mut object: Value) -> Value {
    if kind.group == "events.k8s.io" {
        decode::event_to_core(&mut object);
    }
    object
}

/// POST to a collection.
///
/// # Errors
/// As the real server.
pub fn create(world: &mut World, now: &str, call: &Call) -> Result<Written, Failure> {
    let options = Options::read(call, "CreateOptions")?;
    let value = decode::parse(&call.body, call.body_type, &call.kind)?;
    let Decoded { mut object, warnings } = decode::object(value, &call.kind, options.validation, &call.body)?;
    place_in_namespace(call, &mut object)?;
    let version = meta(&object, "resourceVersion").to_owned();
    if !(version.is_empty() || version == "0") {
        return Err(Failure::plain("resourceVersion should not be set on objects to be created"));
    }
    insert(world, now, call, object, &options, true).map(|object| Written { code: 201, object, warnings })
}

/// The namespace of the path, which the object may repeat.
///
/// # Errors
/// 400 if the object names another.
pub fn place_in_namespace(call: &Call, object: &mut Value) -> Result<(), Failure> {
    let (asked, found) = (call.place.namespace.as_str(), meta(object, "namespace"));
    if !found.is_empty() && found != asked {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if asked.is_empty() {
        drop_meta(object, "namespace");
    } else {
        set_meta(object, "namespace", asked);
    }
    Ok(())
}

/// Stores a new object. `untracked`: its owners are yet to be written down.
fn insert(
    world: &mut World,
    now: &str,
    call: &Call,
    mut object: Value,
    options: &Options,
    untracked: bool,
) -> Result<Value, Failure> {
    let kind = &*call.kind;
    let generated = meta(&object, "name").is_empty() && !meta(&object, "generateName").is_empty();
    if generated {
        let name = generate_name(meta(&object, "generateName"), &mut world.ids);
        set_meta(&mut object, "name", name);
        // Some defaults depend on the name.
        decode::default(&mut object, kind);
    }
    for name in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        drop_meta(&mut object, name);
    }
    set_meta(&mut object, "uid", world.ids.uid());
    set_meta(&mut object, "creationTimestamp", now);
    if untracked {
        let version = kind.api_version();
        track(None, &mut object, &options.manager, None, &version, &*kind.shapes(), now);
    }
    namespace_takes(world, call, meta(&object, "name"))?;
    prepare_new(kind, &mut object);
    let object = to_stored(kind, object);
    let errors = admit::create(kind, &object);
    let name = meta(&object, "name").to_owned();
    if !errors.is_empty() {
        let found = object["kind"].as_str().unwrap_or(&kind.kind);
        return Err(Failure::invalid(kind.group_of_errors(), found, &name, &errors));
    }
    if let Some(existing) = world.store.get(&kind.store, &call.place.namespace, &name) {
        return Err(taken(kind, &name, existing, generated));
    }
    if options.dry_run {
        return Ok(present(kind, &object));
    }
    let key = (call.place.namespace.clone(), name);
    Ok(present(kind, &world.store.put(&kind.store, key, object)))
}

fn taken(kind: &Kind, name: &str, existing: &Value, generated: bool) -> Failure {
    let failure = Failure::already_exists(&kind.group, &kind.plural, name);
    let message = failure.message.clone();
    if generated {
        return failure
            .with_message(format!("{message}, the server was not able to generate a unique name for the object"));
    }
    if is_deleting(existing) {
        return failure.with_message(format!("object is being deleted: {message}"));
    }
    failure
}

/// A prefix with five characters that make no words.
fn generate_name(prefix: &str, ids: &mut Ids) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    const LONGEST: usize = 58;
    let suffix: String = ids.random().into_iter().take(5).map(|b| pick(ALPHABET, b)).collect();
    let prefix: String = prefix.chars().take(LONGEST).collect();
    prefix + &suffix
}

fn pick(alphabet: &[u8], byte: u8) -> char {
    let at = usize::from(byte) % alphabet.len().max(1);
    alphabet.get(at).map_or('x', |b| char::from(*b))
}

/// Namespaced objects need a namespace that is there and stays.
fn namespace_takes(world: &World, call: &Call, name: &str) -> Result<(), Failure> {
    let namespace = call.place.namespace.as_str();
    if !call.kind.namespaced {
        return Ok(());
    }
    let Some(found) = world.store.get("namespaces", "", namespace) else {
        return Err(Failure::not_found("", "namespaces", namespace));
    };
    if found["status"]["phase"] != "Terminating" {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let cause = json!({
        "reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace",
    });
    Err(Failure::forbidden(&call.kind.group, &call.kind.plural, name, &why).with_cause(cause))
}

/// What a new object can't say about itself.
fn prepare_new(kind: &Kind, object: &mut Value) {
    if kind.generation {
        set_meta(object, "generation", 1);
    }
    if let Some(custom) = &kind.custom {
        if custom.status {
            drop_field(object, "status");
            // The real server fills in defaults again whenever it reads.
            custom.schema.default(object);
        }
        return;
    }
    match kind.kind.as_str() {
        "Namespace" => {
            let list = &mut object["spec"]["finalizers"];
            if !list.is_array() {
                *list = json!([]);
            }
            if let Value::Array(list) = list
                && !list.iter().any(|f| f == "kubernetes")
            {
                list.push(json!("kubernetes"));
            }
            object["status"] = json!({"phase": "Active"});
        }
        "CustomResourceDefinition" => object["status"] = definition::first_status(object),
        _ if kind.has("status") => object["status"] = json!({}),
        _ => {}
    }
}

/// Apply creates what is not there, but not what it knows as another object.
///
/// # Errors
/// As `create`.
pub fn create_by_apply(
    world: &mut World,
    now: &str,
    call: &Call,
    object: Value,
    options: &Options,
    warnings: Vec<String>,
) -> Result<Written, Failure> {
    let kind = &call.kind;
    let uid = meta(&object, "uid");
    if !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(Failure::conflict(&kind.group, &kind.plural, &call.place.name, &why));
    }
    create_by_name(world, now, call, object, options, false, warnings)
}

/// PUT and apply create what is not there; who does that must be allowed to create.
///
/// # Errors
/// As `create`.
pub fn create_by_name(
    world: &mut World,
    now: &str,
    call: &Call,
    mut object: Value,
    options: &Options,
    untracked: bool,
    warnings: Vec<String>,
) -> Result<Written, Failure> {
    let question = rbac::Question { verb: "create".to_owned(), ..call.question() };
    if rbac::allowed(&world.store, &call.user, &question).is_none() {
        return Err(question.refuse(&call.user));
    }
    place_in_namespace(call, &mut object)?;
    insert(world, now, call, object, options, untracked).map(|object| Written { code: 201, object, warnings })
}
