//! The accept loop of every server in the sandbox: HTTP/1.1 and HTTP/2, with or without TLS, on the loopback address only.
//!
//! Each request is read whole (at most [`REQUEST_LIMIT`] bytes), written to the journal, put before the faults, and handed to
//! an [`axum::Router`]. Answers are streamed, so a watch works. Every task is owned by [`Serving`] and ends with it.
//! This module knows nothing of Kubernetes or Docker Hub. In reading order: here what a request goes through, then `listen`
//! (connections) and `suffer` (faults carried out).

mod listen;
mod suffer;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use http::{HeaderMap, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::rt::Executor;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

use crate::clock::Clock;
use crate::fault::{Faults, Verdict};
use crate::journal::{Entry, Journal, Moment, Server};
use crate::traffic::Traffic;

pub use listen::Listener;
pub(crate) use listen::Place;

/// The largest request body that is read; more is answered with 413.
pub const REQUEST_LIMIT: usize = 8 * 1024 * 1024;

/// What the faults and their predicates see of a request. Its `Debug` form shows no headers and no body.
#[derive(Clone)]
pub struct RequestInfo {
    /// The server that got it.
    pub server: Server,
    /// The HTTP method.
    pub method: String,
    /// The path, as sent.
    pub path: String,
    /// The query without its `?`; empty if there is none.
    pub query: String,
    /// The `User-Agent` header; empty if there is none.
    pub user_agent: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl fmt::Debug for RequestInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestInfo")
            .field("server", &self.server)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

/// Says by a path which server a request is for, where one listener serves more than one.
pub type Classify = Arc<dyn Fn(&str) -> Server + Send + Sync>;

/// What a listener needs.
#[derive(Clone)]
pub struct ServeOptions {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The port that a listener before this one had, instead.
    pub(crate) again: Option<Arc<Place>>,
    /// With TLS, the server's configuration.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Which server a request is for.
    pub classify: Classify,
    /// The clock for the journal.
    pub clock: Clock,
    /// Where requests are written down.
    pub journal: Journal,
    /// The fault switches.
    pub faults: Faults,
    /// Where it is counted that something moves.
    pub traffic: Traffic,
    /// How long a request is on its way.
    pub latency: Duration,
}

impl ServeOptions {
    /// A listener for one server, without TLS, on any free port.
    #[must_use]
    pub fn new(server: Server, clock: Clock, journal: Journal, faults: Faults) -> Self {
        Self {
            port: 0,
            again: None,
            tls: None,
            classify: Arc::new(move |_| server),
            clock,
            journal,
            faults,
            traffic: Traffic::new(),
            latency: Duration::ZERO,
        }
    }
}

/// A running listener. Dropping it ends it and closes its connections.
#[must_use = "dropping it ends the server"]
pub struct Serving {
    /// Where it listens.
    pub addr: SocketAddr,
    tls: bool,
    listener: Listener,
    stop: watch::Sender<bool>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

struct Shared {
    options: ServeOptions,
    router: Router,
    place: Arc<Place>,
    /// Work that goes on after its client has gone (see [`crate::fault::Fault::CommitLater`]).
    parked: Tasks,
}

/// A set of tasks that end when it is dropped.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// Runs the streams of one HTTP/2 connection as tasks that end with the connection.
impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

/// Closes the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

/// Starts a listener on the loopback address that hands requests to `router`.
///
/// # Errors
/// When the port can't be bound.
pub async fn serve(options: ServeOptions, router: Router) -> io::Result<Serving> {
    let place = match &options.again {
        Some(place) => place.clone(),
        None => Arc::new(Place::take(options.port)?),
    };
    let (listener, addr) = (place.listen()?, place.address());
    let tls = options.tls.is_some();
    let stop = watch::Sender::new(false);
    let doors = Listener::new(options.tls.clone());
    let shared = Arc::new(Shared { options, router, place, parked: Tasks::default() });
    let accepting = tokio::spawn(listen::accept(listener, doors.clone(), shared.clone(), stop.subscribe()));
    Ok(Serving { addr, tls, listener: doors, stop, accepting: Mutex::new(Some(accepting)), shared })
}

impl Serving {
    /// `http://127.0.0.1:port`, or `https://…` with TLS; no slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.addr)
    }

    /// Options for a listener at the same port after this one: until then the port stays taken, and refuses.
    #[must_use]
    pub fn again(&self, options: &ServeOptions) -> ServeOptions {
        ServeOptions { again: Some(self.shared.place.clone()), ..options.clone() }
    }

    /// What can be done to the listener while it runs.
    #[must_use]
    pub fn listener(&self) -> Listener {
        self.listener.clone()
    }

    /// Stops listening, closes every connection, ends parked requests unexecuted, and returns when that is done.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(accepting) = accepting {
            // An error would mean that it was aborted, which ends it as well.
            let _ended = accepting.await;
        }
        let mut parked = std::mem::take(&mut *self.shared.parked.lock());
        parked.shutdown().await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.get_mut().unwrap_or_else(PoisonError::into_inner) {
            accepting.abort();
        }
        self.shared.parked.lock().abort_all();
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("url", &self.url()).finish()
    }
}

/// One request from its arrival to the head of its answer.
async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Closed> {
    let (parts, incoming) = request.into_parts();
    let Ok(collected) = Limited::new(incoming, REQUEST_LIMIT).collect().await else {
        return Ok(status_only(StatusCode::PAYLOAD_TOO_LARGE));
    };
    if !shared.options.latency.is_zero() {
        tokio::time::sleep(shared.options.latency).await;
    }
    let info = describe(&shared.options, &parts, collected.to_bytes());
    let journal = &shared.options.journal;
    let index = journal.add(Entry {
        index: 0,
        server: info.server,
        time: shared.options.clock.now(),
        method: info.method.clone(),
        path: info.path.clone(),
        query: info.query.clone(),
        user_agent: info.user_agent.clone(),
        status: None,
        fault: None,
        executed: false,
        request_body: (!info.body.is_empty()).then(|| info.body.to_vec()),
    });
    journal.tell(Moment::Arrived, index);
    let call = Call { shared: shared.clone(), parts, body: info.body.clone(), index };
    let answered = match shared.options.faults.judge(&info) {
        Verdict::Pass => Ok(call.execute().await),
        Verdict::Frozen => {
            call.note("Frozen");
            Err(Closed)
        }
        Verdict::FreezeNow { mut thaw, execute } => {
            call.note("Freeze");
            if execute {
                drop(call.execute().await);
            }
            shared.options.faults.freeze_done();
            thaw.released().await;
            Err(Closed)
        }
        Verdict::Apply(fault, hold) => {
            call.note(fault.name());
            call.suffer(fault, hold).await
        }
    };
    if let Ok(response) = &answered {
        let status = response.status().as_u16();
        journal.update(index, |entry| entry.status = Some(status));
        journal.tell(Moment::Answered(status), index);
    }
    answered
}

fn describe(options: &ServeOptions, parts: &Parts, body: Bytes) -> RequestInfo {
    let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    RequestInfo {
        server: (options.classify)(parts.uri.path()),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        user_agent: agent.unwrap_or_default().to_owned(),
        headers: parts.headers.clone(),
        body,
    }
}

/// A request that can be executed, more than once if need be.
#[derive(Clone)]
struct Call {
    shared: Arc<Shared>,
    parts: Parts,
    body: Bytes,
    index: u64,
}

impl Call {
    fn note(&self, fault: &str) {
        self.shared.options.journal.update(self.index, |entry| entry.fault = Some(fault.to_owned()));
    }

    async fn execute(&self) -> Response<Body> {
        self.shared.options.journal.update(self.index, |entry| entry.executed = true);
        let request = Request::from_parts(self.parts.clone(), Body::from(self.body.clone()));
        let done: Result<_, Infallible> = self.shared.router.clone().oneshot(request).await;
        let response = match done {
            Ok(response) => response,
            Err(never) => match never {},
        };
        self.shared.options.journal.tell(Moment::Executed(response.status().as_u16()), self.index);
        response
    }
}

fn status_only(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
