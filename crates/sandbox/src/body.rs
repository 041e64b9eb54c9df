//! Bodies of answers that go wrong on the way: cut off in the middle, slow, silent, or without measure.
//!
//! The request behind them is executed in full; only its answer suffers.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream::{self, StreamExt};
use http::{Response, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use crate::fault::{Canned, Hold};

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

/// The same answer whose body comes only when the hold is released.
pub(crate) fn muted(response: Response<Body>, mut hold: Hold) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let silence = stream::once(async move {
        hold.released().await;
        Ok::<_, axum::Error>(Bytes::new())
    });
    Response::from_parts(parts, Body::from_stream(silence.chain(body.into_data_stream())))
}

/// The same answer whose body ends after this time, or when the hold is released, as if it was complete.
pub(crate) fn ended(response: Response<Body>, time: Duration, mut hold: Hold) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let end = async move {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = hold.released() => {}
        }
    };
    let pieces = body.into_data_stream().take_until(Box::pin(end));
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// The same answer with `size` spaces behind its body.
pub(crate) fn flooded(response: Response<Body>, size: usize) -> Response<Body> {
    const PIECE: usize = 64 * 1024;
    static SPACES: [u8; PIECE] = [b' '; PIECE];
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let lengths = (0..size).step_by(PIECE).map(move |from| PIECE.min(size - from));
    let spaces = lengths.map(|length| Ok::<_, axum::Error>(Bytes::from_static(&SPACES).slice(..length)));
    Response::from_parts(parts, Body::from_stream(body.into_data_stream().chain(stream::iter(spaces))))
}

/// A whole answer, to be changed. Of a body that breaks off, nothing.
pub(crate) async fn canned(response: Response<Body>) -> Canned {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Canned { status: parts.status.as_u16(), headers, body }
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
