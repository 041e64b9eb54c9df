//! The five routes of organization access tokens.
//!
//! Fields come in the order in which they were observed. The value is in the answer to the creation and nowhere else.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State as Shared};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Core;
use super::login::owner;
use super::options::{Order, Quirks};
use super::problem::Problem;
use super::scopes;
use super::state::{Resource, Route, State, Token, Wish};

/// `POST /v2/orgs/{name}/access-tokens`
pub(crate) async fn create(
    Shared(core): Shared<Core>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let now = core.clock.now();
    let mut state = core.lock();
    state.count(Route::Create);
    let (organization, user) = owner(&state, &headers, &name, now)?;
    let request = object(&body)?;
    let label = text(&request, "label")?.filter(|label| !label.trim().is_empty());
    let label = label.ok_or_else(|| Problem::value(400, "label", "This field is required."))?;
    check_label(&state, &organization, &label, None)?;
    let description = text(&request, "description")?;
    check_description(&state.quirks, description.as_deref())?;
    let resources = resources(&state, &organization, request.get("resources"))?.unwrap_or_default();
    if resources.is_empty() {
        return Err(Problem::value(400, "resources", "At least one resource is required."));
    }
    let expires_at = expiry(&state.quirks, &request, now)?;
    let known = state.organizations.get(&organization).ok_or_else(|| Problem::not_found("organization"))?;
    if known.tokens.len() >= known.settings.limit {
        let problem = Problem::value(state.quirks.limit_status, "label", "Access token limit reached.");
        return Err(problem);
    }
    let wish = Wish { label, description, resources, expires_at };
    let token = state.add_token(&organization, wish, &user, now).ok_or_else(|| Problem::not_found("organization"))?;
    let mut answer = json!({"id": token.id, "label": token.label});
    if let Some(description) = &token.description {
        answer["description"] = json!(description);
    }
    answer["resources"] = shown_resources(&token, &state.quirks);
    answer["token"] = json!(token.value);
    answer["is_active"] = json!(token.active);
    answer["expires_at"] = json!(token.expires_at.map(|at| at.to_string()));
    answer["created_at"] = json!(format!("{:.6}", token.created_at));
    Ok((StatusCode::CREATED, Json(answer)))
}

/// `GET /v2/orgs/{name}/access-tokens`
pub(crate) async fn list(
    Shared(core): Shared<Core>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let now = core.clock.now();
    let mut state = core.lock();
    state.count(Route::List);
    let (organization, _) = owner(&state, &headers, &name, now)?;
    let query = query.unwrap_or_default();
    let page = number(&query, "page")?.unwrap_or(1);
    let size = number(&query, "page_size")?.unwrap_or(state.quirks.default_page_size);
    let size = size.min(state.quirks.largest_page_size);
    let tokens = state.organizations.get(&organization).map(|known| known.tokens.as_slice()).unwrap_or_default();
    let total = tokens.len();
    let first = (page - 1).saturating_mul(size);
    let shown = |token: &Token| shown_token(token, &state.quirks, now, state.quirks.descriptions_in_list);
    let results: Vec<Value> = match state.quirks.order {
        Order::OldestFirst => tokens.iter().skip(first).take(size).map(shown).collect(),
        Order::NewestFirst => tokens.iter().rev().skip(first).take(size).map(shown).collect(),
    };
    let base = core.base_url();
    let link = |page: usize| format!("{base}/v2/orgs/{name}/access-tokens?page={page}&page_size={size}");
    let more = first.saturating_add(size) < total;
    Ok(Json(json!({
        "total": total,
        "next": more.then(|| link(page + 1)),
        "previous": (page > 1).then(|| link(page - 1)),
        "results": results,
    })))
}

/// `GET /v2/orgs/{org_name}/access-tokens/{access_token_id}`
pub(crate) async fn get(
    Shared(core): Shared<Core>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let now = core.clock.now();
    let mut state = core.lock();
    state.count(Route::Get);
    let (organization, _) = owner(&state, &headers, &name, now)?;
    whole(&mut state, &organization, &id, now)
}

/// `PATCH /v2/orgs/{org_name}/access-tokens/{access_token_id}`
pub(crate) async fn update(
    Shared(core): Shared<Core>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let now = core.clock.now();
    let mut state = core.lock();
    state.count(Route::Update);
    let (organization, _) = owner(&state, &headers, &name, now)?;
    let expired = find(&mut state, &organization, &id)?.expired(now);
    if expired {
        let status = state.quirks.expired_patch_status;
        return Err(Problem::value(status, "expires_at", "An expired access token can only be deleted."));
    }
    let request = object(&body)?;
    let label = text(&request, "label")?;
    if let Some(label) = &label {
        if label.trim().is_empty() {
            return Err(Problem::value(400, "label", "This field may not be blank."));
        }
        check_label(&state, &organization, label, Some(&id))?;
    }
    let description = text(&request, "description")?;
    check_description(&state.quirks, description.as_deref())?;
    let resources = resources(&state, &organization, request.get("resources"))?;
    if let (Some(status), Some([])) = (state.quirks.empty_resources_patch_status, resources.as_deref()) {
        return Err(Problem::value(status, "resources", "At least one resource is required."));
    }
    let active = match request.get("is_active") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(active)) => Some(*active),
        Some(_) => return Err(Problem::value(400, "is_active", "Must be a valid boolean.")),
    };
    let token = find(&mut state, &organization, &id)?;
    if let Some(label) = label {
        token.label = label;
    }
    if let Some(description) = description {
        token.description = Some(description).filter(|description| !description.is_empty());
    }
    if let Some(resources) = resources {
        token.resources = resources;
    }
    if let Some(active) = active {
        token.active = active;
    }
    state.changed(&organization, &id, now);
    whole(&mut state, &organization, &id, now)
}

/// `DELETE /v2/orgs/{org_name}/access-tokens/{access_token_id}`
pub(crate) async fn delete(
    Shared(core): Shared<Core>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let now = core.clock.now();
    let mut state = core.lock();
    state.count(Route::Delete);
    let (organization, _) = owner(&state, &headers, &name, now)?;
    if state.remove_token(&organization, &id, now) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("access token"))
    }
}

fn find<'a>(state: &'a mut State, organization: &str, id: &str) -> Result<&'a mut Token, Problem> {
    let known = state.organizations.get_mut(organization).and_then(|known| known.token(id));
    known.ok_or_else(|| Problem::not_found("access token"))
}

/// A token with its resources.
fn whole(state: &mut State, organization: &str, id: &str, now: Timestamp) -> Result<Json<Value>, Problem> {
    let token = find(state, organization, id)?.clone();
    let mut answer = shown_token(&token, &state.quirks, now, true);
    answer["resources"] = shown_resources(&token, &state.quirks);
    Ok(Json(answer))
}

fn shown_token(token: &Token, quirks: &Quirks, now: Timestamp, with_description: bool) -> Value {
    let mut shown = json!({"id": token.id, "label": token.label});
    if let (true, Some(description)) = (with_description, &token.description) {
        shown["description"] = json!(description);
    }
    shown["created_by"] = json!(token.created_by);
    shown["is_active"] = json!(token.active && (quirks.expired_stay_active || !token.expired(now)));
    shown["created_at"] = json!(format!("{:.6}", token.created_at));
    shown["expires_at"] = json!(token.expires_at.map(|at| at.to_string()));
    shown["last_used_at"] = json!(token.last_used_at.map(|at| format!("{at:.6}")));
    shown
}

fn shown_resources(token: &Token, quirks: &Quirks) -> Value {
    let mut resources = token.resources.clone();
    if quirks.sort_resources {
        resources.iter_mut().for_each(|resource| resource.scopes.sort());
        resources.sort();
    }
    let shown = |resource: Resource| json!({"type": resource.kind, "path": resource.path, "scopes": resource.scopes});
    resources.into_iter().map(shown).collect()
}

fn object(body: &[u8]) -> Result<serde_json::Map<String, Value>, Problem> {
    serde_json::from_slice(body).map_err(|_| Problem::new(400, json!({"fields": {}, "text": "invalid request body"})))
}

fn text(request: &serde_json::Map<String, Value>, field: &str) -> Result<Option<String>, Problem> {
    match request.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Problem::value(400, field, "Not a valid string.")),
    }
}

/// A number from a query, from 1 on.
fn number(query: &str, name: &str) -> Result<Option<usize>, Problem> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let Some((_, value)) = pairs.find(|(key, _)| key == name) else {
        return Ok(None);
    };
    let number = value.parse().ok().filter(|number| *number >= 1);
    number.map(Some).ok_or_else(|| Problem::value(400, name, "Must be a number from 1 on."))
}

fn check_label(state: &State, organization: &str, label: &str, except: Option<&str>) -> Result<(), Problem> {
    let longest = state.quirks.longest_label;
    if label.chars().count() > longest {
        return Err(Problem::value(400, "label", &format!("Must be no longer than {longest} characters.")));
    }
    let Some(status) = state.quirks.same_label_status else {
        return Ok(());
    };
    let mut tokens = state.organizations.get(organization).into_iter().flat_map(|known| &known.tokens);
    if tokens.any(|token| token.label == label && Some(token.id.as_str()) != except) {
        return Err(Problem::value(status, "label", "A token with this label exists."));
    }
    Ok(())
}

fn check_description(quirks: &Quirks, description: Option<&str>) -> Result<(), Problem> {
    let longest = quirks.longest_description;
    if description.is_some_and(|description| description.chars().count() > longest) {
        return Err(Problem::value(400, "description", &format!("Must be no longer than {longest} characters.")));
    }
    Ok(())
}

fn expiry(
    quirks: &Quirks,
    request: &serde_json::Map<String, Value>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Problem> {
    let Some(sent) = text(request, "expires_at")? else {
        return Ok(None);
    };
    let wrong = || Problem::value(400, "expires_at", "Not a valid date-time.");
    let at: Timestamp = sent.parse().map_err(|_| wrong())?;
    let at = Timestamp::from_microsecond(at.as_microsecond()).map_err(|_| wrong())?;
    if let (Some(status), true) = (quirks.past_expiry_status, at <= now) {
        return Err(Problem::value(status, "expires_at", "Must be in the future."));
    }
    if quirks.longest_life.is_some_and(|longest| at.duration_since(now) > longest) {
        return Err(Problem::value(400, "expires_at", "Too far in the future."));
    }
    Ok(Some(at))
}

/// The `resources` of a request, checked; `None` if there are none.
fn resources(state: &State, organization: &str, sent: Option<&Value>) -> Result<Option<Vec<Resource>>, Problem> {
    let sent = match sent {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(sent)) => sent,
        Some(_) => return Err(Problem::value(400, "resources", "Not a list.")),
    };
    let most = state.quirks.most_resources;
    if sent.len() > most {
        return Err(Problem::value(400, "resources", &format!("At most {most} resources.")));
    }
    sent.iter().map(|sent| resource(state, organization, sent)).collect::<Result<_, _>>().map(Some)
}

fn resource(state: &State, organization: &str, sent: &Value) -> Result<Resource, Problem> {
    let wrong = |text: &str| Problem::value(400, "resources", text);
    let kind = sent.get("type").and_then(Value::as_str).ok_or_else(|| wrong("type is required."))?;
    let path = sent.get("path").and_then(Value::as_str).ok_or_else(|| wrong("path is required."))?;
    let scopes = sent.get("scopes").and_then(Value::as_array).ok_or_else(|| wrong("scopes is required."))?;
    let scopes = scopes.iter().map(|scope| scope.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    let scopes = scopes.ok_or_else(|| wrong("scopes must be strings."))?;
    match kind {
        "TYPE_REPO" => check_path(state, organization, path)?,
        "TYPE_ORG" if path == organization => {}
        "TYPE_ORG" => return Err(wrong("path must be the organization.")),
        _ => return Err(wrong("type must be TYPE_REPO or TYPE_ORG.")),
    }
    if let (Some(status), true) = (state.quirks.empty_scopes_status, scopes.is_empty()) {
        return Err(Problem::value(status, "resources", "At least one scope is required."));
    }
    if let (Some(status), Some(scope)) =
        (state.quirks.unknown_scope_status, scopes.iter().find(|scope| !scopes::known(kind, scope)))
    {
        return Err(Problem::value(status, "resources", &format!("Unknown scope {scope:?}.")));
    }
    Ok(Resource { kind: kind.to_owned(), path: path.to_owned(), scopes })
}

/// `*/*/public`, `org/*`, or an existing repository of the organization.
fn check_path(state: &State, organization: &str, path: &str) -> Result<(), Problem> {
    if path == "*/*/public" {
        return Ok(());
    }
    let Some((owner, repository)) = path.split_once('/').filter(|(owner, _)| *owner == organization) else {
        return Err(Problem::value(400, "resources", "path is not in the organization."));
    };
    let known = state.organizations.get(owner).map(|known| known.settings.repositories.as_slice()).unwrap_or_default();
    if repository == "*" || known.iter().any(|known| known.name == repository) {
        return Ok(());
    }
    match state.quirks.missing_repository_status {
        Some(status) => Err(Problem::value(status, "resources", &format!("Repository {path} not found."))),
        // Even then, other patterns mean nothing.
        None if repository.is_empty() || repository.contains(['*', '/']) => {
            Err(Problem::value(400, "resources", "path is not valid."))
        }
        None => Ok(()),
    }
}
