//! The rate limit of the Hub's API: headers on every answer, and 429 above it if that is turned on.
//!
//! One counter for all callers, in windows of a minute by the sandbox's clock.

use axum::extract::{Request, State as Shared};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use jiff::Timestamp;

use super::Core;
use super::problem::Problem;

const WINDOW: i64 = 60;

pub(crate) async fn limit(Shared(core): Shared<Core>, request: Request, next: Next) -> Response {
    let now = core.clock.now();
    let (limit, remaining, reset, refused) = {
        let mut state = core.lock();
        let start = Timestamp::from_second(now.as_second().div_euclid(WINDOW) * WINDOW).unwrap_or(now);
        if state.minute.0 != start {
            state.minute = (start, 0);
        }
        let limit = state.quirks.rate_limit;
        let refused = state.quirks.enforce_rate_limit && state.minute.1 >= limit;
        state.minute.1 = state.minute.1.saturating_add(u32::from(!refused));
        (limit, limit.saturating_sub(state.minute.1), start.as_second() + WINDOW, refused)
    };
    let mut response =
        if refused { Problem::too_many(reset - now.as_second()).into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from(limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(remaining));
    headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
    response
}
