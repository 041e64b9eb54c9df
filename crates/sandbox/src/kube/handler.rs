//! From an HTTP request to its answer: who asks, for what, whether they may, and who does it.
//!
//! Never does the work itself.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use serde_json::Value;
use tokio::time::Instant;

use super::call::Call;
use super::controllers::CRDS;
use super::failure::Failure;
use super::object::is_deleting;
use super::options::DeleteOptions;
use super::rbac::{Question, User, allowed};
use super::read::{self, Selection};
use super::request::{BodyType, Form, Query, body_type, place, representation};
use super::store::Key;
use super::world::{Api, World, time};
use super::write::{self, Written, present};
use super::{delete, discovery, review, update, watch};
use crate::machinery::openapi;
use crate::serve::REQUEST_LIMIT;

/// etcd refuses larger requests.
const OBJECT_LIMIT: usize = 3 * 1024 * 1024;

/// Everything that the server answers.
pub fn router(api: Arc<Api>) -> Router {
    Router::new().fallback(entry).with_state(api)
}

async fn entry(State(api): State<Arc<Api>>, request: Request<Body>) -> Result<Response, Infallible> {
    // Elapsed time is measured, not told: the clock may stand still.
    #[allow(clippy::disallowed_methods)]
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, REQUEST_LIMIT).await else {
        return Ok(Failure::bad_request("the body could not be read").into_response());
    };
    let incoming = Incoming {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body,
        start,
    };
    Ok(answer(&api, incoming).unwrap_or_else(IntoResponse::into_response))
}

struct Incoming {
    method: Method,
    path: String,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
    start: Instant,
}

impl Incoming {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

fn answer(api: &Arc<Api>, incoming: Incoming) -> Result<Response, Failure> {
    if is_public(&incoming.path) {
        return Ok(public(&incoming.path));
    }
    let user = api.read(|world| authenticate(world, &incoming))?;
    match place(&incoming.path) {
        Some(place) if !place.plural.is_empty() => {
            let kind = api.read(|world| find(world, &place.group, &place.version, &place.plural))?;
            let Some(kind) = kind else { return Ok(page_not_found()) };
            let call = Call {
                representation: representation(&incoming.headers, &incoming.query)?,
                body_type: body_type(&incoming.method, &incoming.headers)?,
                agent: incoming.header("user-agent").to_owned(),
                kind,
                place,
                query: incoming.query,
                method: incoming.method,
                body: incoming.body,
                user,
            };
            resource(api, &call, incoming.start)
        }
        _ => other(api, &incoming, &user),
    }
}

fn is_public(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    matches!(first, "healthz" | "livez" | "readyz" | "version")
}

fn public(path: &str) -> Response {
    if path.starts_with("/version") {
        return json(StatusCode::OK, &discovery::version());
    }
    text(StatusCode::OK, "ok")
}

fn text(status: StatusCode, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, headers, text).into_response()
}

fn page_not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn json(status: StatusCode, value: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache, private")];
    (status, headers, value.to_string()).into_response()
}

fn authenticate(world: &World, incoming: &Incoming) -> Result<User, Failure> {
    let token = incoming.header("authorization").strip_prefix("Bearer ").map(str::trim);
    let user = token.and_then(|t| world.users.get(t)).cloned().ok_or_else(Failure::unauthorized)?;
    let name = incoming.header("impersonate-user");
    if name.is_empty() {
        return Ok(user);
    }
    let groups: Vec<String> = incoming
        .headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|g| g.to_str().ok())
        .map(str::to_owned)
        .collect();
    let may = |resource: &str, namespace: &str, name: &str| {
        let question = Question {
            verb: "impersonate".to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Question::default()
        };
        match allowed(&world.store, &user, &question) {
            Some(_) => Ok(()),
            None => Err(question.refuse(&user)),
        }
    };
    match name.strip_prefix("system:serviceaccount:").and_then(|r| r.split_once(':')) {
        Some((namespace, account)) => may("serviceaccounts", namespace, account)?,
        None => may("users", "", name)?,
    }
    for group in &groups {
        may("groups", "", group)?;
    }
    Ok(User::new(name, &groups))
}

/// The resource of a path; `None` if there is not even such a version.
fn find(world: &World, group: &str, version: &str, plural: &str) -> Result<Option<Arc<super::kinds::Kind>>, Failure> {
    match world.kinds.find(group, version, plural) {
        Some(kind) => Ok(Some(kind)),
        // The core and the built-in groups know what they lack; the rest is nobody's.
        None if world.kinds.iter().any(|k| k.group == group && k.version == version && k.custom.is_none()) => {
            Err(Failure::unknown_resource())
        }
        None => Ok(None),
    }
}

/// Discovery and documents.
fn other(api: &Arc<Api>, incoming: &Incoming, user: &User) -> Result<Response, Failure> {
    let question =
        Question { verb: incoming.method.as_str().to_lowercase(), path: incoming.path.clone(), ..Question::default() };
    if api.read(|world| allowed(&world.store, user, &question).is_none()) {
        return Err(question.refuse(user));
    }
    let parts: Vec<&str> = incoming.path.split('/').filter(|p| !p.is_empty()).collect();
    let known = matches!(parts.first(), Some(&("api" | "apis" | "openapi")));
    if incoming.method != Method::GET && known {
        return Err(Failure::method_not_allowed());
    }
    let form = representation(&incoming.headers, &incoming.query).map(|r| r.form);
    let found = match parts.as_slice() {
        ["api"] | ["apis"] if form == Ok(Form::Discovery) => {
            let document = api.read(|world| discovery::aggregated(&world.kinds, parts == ["api"]));
            return Ok(discovery_answer(&document));
        }
        ["api"] => Some(discovery::core_versions(incoming.header("host"))),
        ["apis"] => Some(api.read(|world| discovery::groups(&world.kinds))),
        ["apis", group] => api.read(|world| discovery::group(&world.kinds, group)),
        ["api", version] => api.read(|world| discovery::resources(&world.kinds, "", version)),
        ["apis", group, version] => api.read(|world| discovery::resources(&world.kinds, group, version)),
        ["openapi", "v3"] => Some(openapi::index(&api.write(World::documents))),
        ["openapi", "v3", root @ ..] => api.write(World::documents).get(&root.join("/")).cloned(),
        ["openapi", "v2"] => return Err(Failure::not_implemented("the sandbox serves OpenAPI v3 only")),
        _ => None,
    };
    Ok(match found {
        Some(found) => json(StatusCode::OK, &found),
        None => page_not_found(),
    })
}

fn discovery_answer(document: &Value) -> Response {
    let mut response = json(StatusCode::OK, document);
    let kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A request to a resource: may they, can it, do it.
fn resource(api: &Arc<Api>, call: &Call, start: Instant) -> Result<Response, Failure> {
    let question = call.question();
    if api.read(|world| allowed(&world.store, &call.user, &question).is_none()) {
        return Err(question.refuse(&call.user));
    }
    check_verb(call, &question.verb)?;
    if call.body.len() > OBJECT_LIMIT {
        return Err(too_large());
    }
    let now = api.clock.now();
    let stamp = time(now);
    if call.kind.store.is_empty() {
        let reviewed = api.read(|world| review::review(world, call))?;
        return respond(call, 201, &reviewed, &[]);
    }
    match question.verb.as_str() {
        "get" => respond(call, 200, &api.read(|world| read::get(world, call, now))?, &[]),
        "list" => {
            let past = api.lags.past(&call.kind.store, &call.agent);
            respond(call, 200, &api.read(|world| read::list(world, call, past, now))?, &[])
        }
        "watch" => watch::watch(api, call, start),
        "create" => {
            let written = api.write(|world| {
                refuse_while_terminating(world, call)?;
                write::create(world, &stamp, call)
            })?;
            written_answer(call, written, now)
        }
        "update" | "patch" => written_answer(call, api.write(|world| update::update(world, &stamp, call))?, now),
        "delete" => {
            let options = DeleteOptions::read(&call.query, &call.body)?;
            let key = (call.place.namespace.clone(), call.place.name.clone());
            let left = api.write(|world| delete::delete(world, &stamp, &call.kind, &key, &options))?;
            respond(call, 200, &read::shown(call, left, now), &[])
        }
        _ => {
            let options = DeleteOptions::read(&call.query, &call.body)?;
            let deleted = api.write(|world| delete_collection(world, &stamp, call, &options))?;
            let metadata = serde_json::json!({"resourceVersion": api.read(|w| w.store.revision()).to_string()});
            respond(call, 200, &read::list_object(call, deleted, metadata, now), &[])
        }
    }
}

fn too_large() -> Failure {
    let mut failure = Failure::bad_request("Request entity too large: limit is 3145728");
    (failure.code, failure.reason) = (413, "RequestEntityTooLarge");
    failure
}

/// 404, 405 and 415 for what a resource can't do.
fn check_verb(call: &Call, verb: &str) -> Result<(), Failure> {
    let (kind, place) = (&call.kind, &call.place);
    let subresource = place.subresource.as_str();
    if kind.namespaced && place.namespace.is_empty() && !(place.name.is_empty() && matches!(verb, "list" | "watch")) {
        return Err(if place.name.is_empty() { Failure::method_not_allowed() } else { Failure::unknown_resource() });
    }
    if !kind.namespaced && !place.namespace.is_empty() {
        return Err(Failure::unknown_resource());
    }
    if !subresource.is_empty() {
        if !kind.has(subresource) {
            return Err(Failure::unknown_resource());
        }
        return match (subresource, verb) {
            ("token", "create") => Err(Failure::not_implemented("the sandbox issues no service account tokens")),
            ("finalize", "update") | ("status", "get" | "update" | "patch") => check_patch(call),
            _ => Err(Failure::method_not_allowed()),
        };
    }
    let fits = match verb {
        "create" | "list" | "deletecollection" => place.name.is_empty(),
        "update" | "patch" | "delete" | "get" => !place.name.is_empty(),
        "watch" => true,
        _ => false,
    };
    if !fits || !kind.verbs.contains(&verb) {
        return Err(Failure::method_not_allowed());
    }
    check_patch(call)
}

fn check_patch(call: &Call) -> Result<(), Failure> {
    if call.kind.custom.is_some() && call.body_type == BodyType::StrategicPatch {
        let message = "the body of the request was in an unknown format - accepted media types include: \
                       application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        let mut failure = Failure::unsupported_media_type().with_message(message.to_owned());
        failure.details = None;
        return Err(failure);
    }
    Ok(())
}

fn refuse_while_terminating(world: &World, call: &Call) -> Result<(), Failure> {
    let Some(custom) = &call.kind.custom else { return Ok(()) };
    let definition = world.store.get(CRDS, "", &custom.definition);
    if definition.is_some_and(|d| is_deleting(d)) {
        let message = "create not allowed while custom resource definition is terminating";
        return Err(Failure::method_not_allowed().with_message(message.to_owned()));
    }
    Ok(())
}

fn delete_collection(
    world: &mut World,
    now: &str,
    call: &Call,
    options: &DeleteOptions,
) -> Result<Vec<Value>, Failure> {
    let selection = Selection::read(call)?;
    let namespace = Some(call.place.namespace.as_str()).filter(|n| !n.is_empty());
    let found: Vec<(Key, Value)> = world
        .store
        .list(&call.kind.store, namespace)
        .filter(|(key, object)| selection.shows(key, object))
        .map(|(key, object)| (key.clone(), present(&call.kind, object)))
        .collect();
    let mut deleted = Vec::new();
    for (key, object) in found {
        delete::delete(world, now, &call.kind, &key, options)?;
        deleted.push(object);
    }
    Ok(deleted)
}

fn written_answer(call: &Call, written: Written, now: jiff::Timestamp) -> Result<Response, Failure> {
    let shown = read::shown(call, written.object, now);
    respond(call, written.code, &shown, &written.warnings)
}

fn respond(call: &Call, code: u16, value: &Value, warnings: &[String]) -> Result<Response, Failure> {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
    let mut response = json(status, value);
    if call.representation.yaml {
        let text = serde_yaml::to_string(value).map_err(|e| Failure::plain(e.to_string()))?;
        response = (status, [(header::CONTENT_TYPE, "application/yaml")], text).into_response();
    }
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    Ok(response)
}
