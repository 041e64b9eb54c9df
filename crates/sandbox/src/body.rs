//! Bodies of answers that go wrong on the way: cut off in the middle, or slow.
//!
//! The request behind them is executed in full; only its answer suffers.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream::{self, StreamExt};
use http::{Response, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use crate::fault::Hold;

/// The same answer with half of its body under the full `content-length`, then a closed connection.
/// Of a streamed answer, half of its first piece.
pub(crate) async fn truncated(response: Response<Body>) -> Response<Body> {
    let (mut parts, mut body) = response.into_parts();
    let whole = if body.size_hint().exact().is_some() {
        body.collect().await.map(http_body_util::Collected::to_bytes).ok()
    } else {
        body.frame().await.and_then(Result::ok).and_then(|frame| frame.into_data().ok())
    };
    let whole = whole.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, whole.len().max(1).into());
    let half = whole.slice(..whole.len() / 2);
    let cut = stream::once(async {
        // Once around the scheduler, so that what came before is flushed and not dropped together with the connection.
        tokio::task::yield_now().await;
        Err(io::Error::other("cut off on purpose"))
    });
    let pieces = stream::iter((!half.is_empty()).then_some(Ok::<_, io::Error>(half))).chain(cut);
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// The same answer at one byte a second until the hold is released; then the rest at once.
pub(crate) fn dripped(response: Response<Body>, hold: Hold) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let state = Drip { source: body, left: Bytes::new(), hold, fast: false, first: true };
    Response::from_parts(parts, Body::from_stream(stream::unfold(state, next_drop)))
}

struct Drip {
    source: Body,
    left: Bytes,
    hold: Hold,
    fast: bool,
    first: bool,
}

async fn next_drop(mut drip: Drip) -> Option<(Result<Bytes, axum::Error>, Drip)> {
    while drip.left.is_empty() {
        match drip.source.frame().await? {
            Ok(frame) => drip.left = frame.into_data().unwrap_or_default(),
            Err(error) => return Some((Err(error), drip)),
        }
    }
    if !drip.fast && !drip.first {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = drip.hold.released() => drip.fast = true,
        }
    }
    drip.first = false;
    let size = if drip.fast { drip.left.len() } else { 1 };
    let piece = drip.left.split_to(size);
    Some((Ok(piece), drip))
}
