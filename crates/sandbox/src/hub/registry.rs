//! The registry's face: the challenge that sends clients to the token service, and a manifest for those who come back.
//!
//! Enough to see whether a pull would be allowed. Every repository has every tag, and behind each the same image without
//! layers; nothing can be pushed.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Core;
use super::problem::Problem;
use super::token_service::public;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;

/// `GET /v2/`: whether this is a registry, and whether the caller is let in.
pub(crate) async fn ping(Shared(core): Shared<Core>, headers: HeaderMap) -> Response {
    match access(&core, &headers) {
        Some(_) => axum::Json(json!({})).into_response(),
        None => challenge(&core, None, false),
    }
}

/// `GET` and `HEAD /v2/{org}/{repository}/manifests/{reference}`
pub(crate) async fn manifest(
    Shared(core): Shared<Core>,
    Path((organization, repository, reference)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let body = image();
    let digest = digest(&body);
    serve(&core, &headers, &organization, &repository, || {
        let known = !reference.starts_with("sha256:") || reference == digest;
        known.then(|| content(MANIFEST_TYPE, &digest, body.clone()))
    })
}

/// `GET` and `HEAD /v2/{org}/{repository}/blobs/{digest}`
pub(crate) async fn blob(
    Shared(core): Shared<Core>,
    Path((organization, repository, wanted)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    serve(&core, &headers, &organization, &repository, || {
        let digest = digest(CONFIG);
        (wanted == digest).then(|| content("application/octet-stream", &digest, CONFIG.to_owned()))
    })
}

fn serve(
    core: &Core,
    headers: &HeaderMap,
    organization: &str,
    repository: &str,
    found: impl FnOnce() -> Option<Response>,
) -> Response {
    let name = format!("{organization}/{repository}");
    let Some(access) = access(core, headers) else {
        return challenge(core, Some(&name), false);
    };
    let pulls = |entry: &Value| {
        let actions = entry["actions"].as_array().map(Vec::as_slice).unwrap_or_default();
        entry["type"] == "repository" && entry["name"] == name.as_str() && actions.contains(&json!("pull"))
    };
    if !access.as_array().is_some_and(|entries| entries.iter().any(pulls)) {
        return challenge(core, Some(&name), true);
    }
    let state = core.lock();
    let exists = state.organizations.get(organization).is_none_or(|known| {
        public(&state, organization, repository)
            || known.settings.repositories.iter().any(|known| known.name == repository)
    });
    drop(state);
    exists.then(found).flatten().unwrap_or_else(|| {
        let errors = json!([{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {"name": name}}]);
        Problem::new(404, json!({"errors": errors})).into_response()
    })
}

/// What a bearer token that the token service gave out allows; `None` if it is none, or over.
fn access(core: &Core, headers: &HeaderMap) -> Option<Value> {
    let jwt = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let now = core.clock.now();
    let state = core.lock();
    let (expires, access) = state.registry_tokens.get(jwt)?;
    (*expires > now).then(|| access.clone())
}

fn challenge(core: &Core, name: Option<&str>, insufficient: bool) -> Response {
    let mut words = format!("Bearer realm=\"{}/token\",service=\"{}\"", core.base_url(), core.service);
    let mut detail = Value::Null;
    if let Some(name) = name {
        words.push_str(&format!(",scope=\"repository:{name}:pull\""));
        detail = json!([{"Type": "repository", "Class": "", "Name": name, "Action": "pull"}]);
    }
    if insufficient {
        words.push_str(",error=\"insufficient_scope\"");
    }
    let errors = json!([{"code": "UNAUTHORIZED", "message": "authentication required", "detail": detail}]);
    let mut response = Problem::new(401, json!({"errors": errors})).into_response();
    // A name that is no header value can't come from a path that was routed here.
    if let Ok(words) = HeaderValue::from_str(&words) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, words);
    }
    response.headers_mut().insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    response
}

fn image() -> String {
    let config = json!({
        "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(CONFIG), "size": CONFIG.len(),
    });
    json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": []}).to_string()
}

fn digest(content: &str) -> String {
    format!("sha256:{}", data_encoding::HEXLOWER.encode(&Sha256::digest(content.as_bytes())))
}

fn content(kind: &'static str, digest: &str, body: String) -> Response {
    let headers = [(header::CONTENT_TYPE.as_str(), kind), ("docker-content-digest", digest)];
    (StatusCode::OK, headers, body).into_response()
}
