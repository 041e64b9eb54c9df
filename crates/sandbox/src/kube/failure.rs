//! What goes wrong, as the `Status` object that a Kubernetes API server answers: real reasons, codes and messages.
//!
//! Never decides what is wrong; never carries more of an object than the real server repeats.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::machinery::field::{FieldError, aggregate};

/// A resource within a group, as messages name it: `secrets`, `leases.coordination.k8s.io`.
#[must_use]
pub fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// A request that is refused or could not be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The HTTP status.
    pub code: u16,
    /// `Status.reason`; empty where the real server has none.
    pub reason: &'static str,
    /// `Status.message`.
    pub message: String,
    /// `Status.details`; `None` where the real server leaves it out.
    pub details: Option<Map<String, Value>>,
}

/// The details that name a group, a resource or kind, and an object.
fn named(group: &str, kind: &str, name: &str) -> Map<String, Value> {
    let mut details = Map::new();
    for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details.insert(key.to_owned(), json!(value));
        }
    }
    details
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>, details: Option<Map<String, Value>>) -> Self {
        Self { code, reason, message: message.into(), details }
    }

    /// 400: the request itself is malformed.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message, None)
    }

    /// 401: no known bearer token.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized", None)
    }

    /// 403: `name` may be empty.
    #[must_use]
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, resource);
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{what} is forbidden: {why}"),
            (false, false) => format!("{what} \"{name}\" is forbidden: {why}"),
        };
        Self::new(403, "Forbidden", message, Some(named(group, resource, name)))
    }

    /// 404: no such object.
    #[must_use]
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(group, resource));
        Self::new(404, "NotFound", message, Some(named(group, resource, name)))
    }

    /// 404: no such resource, below a version that exists.
    #[must_use]
    pub fn unknown_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message, Some(Map::new()))
    }

    /// 405: a resource that can't do this.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message, Some(Map::new()))
    }

    /// 406: no representation that the client accepts.
    #[must_use]
    pub fn not_acceptable() -> Self {
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                       application/json;stream=watch";
        Self::new(406, "NotAcceptable", message, Some(Map::new()))
    }

    /// 409: the name is taken.
    #[must_use]
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(group, resource));
        Self::new(409, "AlreadyExists", message, Some(named(group, resource, name)))
    }

    /// 409: a precondition does not hold.
    #[must_use]
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, resource);
        let message = format!("Operation cannot be fulfilled on {what} \"{name}\": {why}");
        Self::new(409, "Conflict", message, Some(named(group, resource, name)))
    }

    /// 409: the resource version is not the current one.
    #[must_use]
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    /// 409: server-side apply met another owner's fields.
    #[must_use]
    pub fn apply_conflict(message: String, causes: Vec<Value>) -> Self {
        let mut details = Map::new();
        details.insert("causes".to_owned(), Value::Array(causes));
        Self::new(409, "Conflict", message, Some(details))
    }

    /// 410: the version is older than the history.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message, None)
    }

    /// 415: a body of a type that is not read here.
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        let message = "415: Unsupported Media Type";
        Self::new(415, "UnsupportedMediaType", message, Some(Map::new()))
    }

    /// 422: fields that are wrong.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let message = format!("{} \"{name}\" is invalid: {}", qualified(group, kind), aggregate(errors));
        let mut details = named(group, kind, name);
        let causes = errors.iter().map(FieldError::to_cause).collect();
        details.insert("causes".to_owned(), Value::Array(causes));
        Self::new(422, "Invalid", message, Some(details))
    }

    /// 422: a patch that can't be applied to this object.
    #[must_use]
    pub fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message, Some(Map::new()))
    }

    /// 500 without a reason, as for errors that the real server has no type for.
    pub fn plain(message: impl Into<String>) -> Self {
        Self::new(500, "", message, None)
    }

    /// 501: something that the sandbox doesn't do and says so.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, "NotImplemented", message, Some(Map::new()))
    }

    /// 504: the client has seen a version that is not there yet.
    #[must_use]
    pub fn too_large_version(asked: u64, current: u64) -> Self {
        let mut details = Map::new();
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        details.insert("causes".to_owned(), json!([cause]));
        details.insert("retryAfterSeconds".to_owned(), json!(1));
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Self::new(504, "Timeout", message, Some(details))
    }

    /// The same failure with another message.
    #[must_use]
    pub fn with_message(mut self, message: String) -> Self {
        self.message = message;
        self
    }

    /// The same failure with a cause added to its details.
    #[must_use]
    pub fn with_cause(mut self, cause: Value) -> Self {
        let details = self.details.get_or_insert_default();
        if let Value::Array(causes) = details.entry("causes").or_insert_with(|| json!([])) {
            causes.push(cause);
        }
        self
    }

    /// The `Status` object.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"});
        status["message"] = json!(self.message);
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = Value::Object(details.clone());
        }
        status["code"] = json!(self.code);
        status
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.status().to_string()));
        *response.status_mut() = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        let wait = self.details.as_ref().and_then(|d| d.get("retryAfterSeconds"));
        if let Some(seconds) = wait.and_then(Value::as_u64) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The answer to a request that had nothing else to say.
#[must_use]
pub fn success(group: &str, resource: &str, name: &str, uid: &str) -> Value {
    let mut details = named(group, resource, name);
    details.insert("uid".to_owned(), json!(uid));
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
