//! Answers that say no, in the shapes that Docker Hub uses (they differ by route).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// A refusal: a status and a JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) retry_after: Option<i64>,
}

impl Problem {
    pub(crate) fn new(status: u16, body: Value) -> Self {
        Self { status, body, retry_after: None }
    }

    /// `ValueError`, for input that is wrong: with another status than 400, the shape that goes with it.
    pub(crate) fn value(status: u16, field: &str, text: &str) -> Self {
        if status == 400 {
            Self::new(400, json!({"fields": {field: text}, "text": format!("{field}: {text}")}))
        } else {
            Self::new(status, json!({"detail": text, "message": format!("{field}: {text}")}))
        }
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, json!({"detail": "Unauthorized", "message": "unauthorized"}))
    }

    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(403, json!({"message": message, "errinfo": {}}))
    }

    /// Some clients know that something is gone only by the words "not found".
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(404, json!({"detail": "Not found", "message": format!("{what} not found")}))
    }

    pub(crate) fn too_many(retry_after: i64) -> Self {
        let body = json!({"detail": "Rate limit exceeded", "error": false});
        Self { status: 429, body, retry_after: Some(retry_after) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(0)));
        }
        response
    }
}
