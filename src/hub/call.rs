//! What all calls share: the right to send, the login, the budget, and what an answer means.
//!
//! Invariants: `Shared::send` is the one way to Docker Hub, and it asks the budget first. Only calls that may be
//! repeated are repeated, once, and only after a 401. What changes something is sent only with the right to.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, StatusCode};
use jiff::Timestamp;
use secrecy::{SecretString, zeroize::Zeroizing};
use tokio::sync::{Notify, oneshot};
use url::Url;

use super::{
    Endpoints, Error, Failure, Observer, Operation, Snapshot, Urgency,
    budget::{Budget, Gate, Refused},
    client::{Authorization, Http, Lost, Reply, Request},
    error::withhold,
    lock,
    login::{Logins, Session},
    state::Board,
    wire, words,
};
use crate::{
    clock::Clock,
    permit::{Denied, Permit},
};

/// Someone who waits for a list that begins from now on.
pub(super) struct Waiter {
    pub urgency: Urgency,
    pub answer: oneshot::Sender<Result<Snapshot, Error>>,
}

/// What the actor and the handles of an organization have in common.
pub(super) struct Shared {
    pub name: String,
    pub endpoints: Endpoints,
    pub http: Result<Http, String>,
    pub clock: Clock,
    pub observer: Arc<dyn Observer>,
    pub permit: Permit,
    pub gate: Gate,
    pub budget: Mutex<Budget>,
    pub registry_budget: Mutex<Budget>,
    pub logins: Logins,
    pub board: Board,
    /// None once the client has stopped.
    pub waiters: Mutex<Option<Vec<Waiter>>>,
    pub poll_interval: Mutex<Duration>,
    /// Somebody changed something: what was learned from failures doesn't count any more.
    pub restart: Mutex<bool>,
    /// Something happened that may make a list due.
    pub wake: Notify,
}

/// One call of a token route.
pub(super) struct Call<'a> {
    pub operation: Operation,
    pub method: Method,
    pub id: Option<&'a str>,
    pub query: &'a [(&'a str, &'a str)],
    pub body: Option<Vec<u8>>,
}

impl Shared {
    /// An error of this organization: nothing was sent, unless said otherwise.
    pub fn error(&self, operation: Operation, failure: Failure) -> Error {
        Error::new(operation, &self.name, failure)
    }

    /// Takes somebody on who waits for a list. False: the client has stopped.
    pub fn wait(&self, waiter: Waiter) -> bool {
        let Some(()) = lock(&self.waiters).as_mut().map(|waiters| waiters.push(waiter)) else {
            return false;
        };
        self.wake.notify_one();
        true
    }

    /// Everything is tried anew, and at once.
    pub fn restart(&self) {
        *lock(&self.restart) = true;
        self.wake.notify_one();
    }

    /// No call begins from now on, and nobody waits.
    pub fn close(&self) {
        self.gate.close();
        lock(&self.waiters).take();
    }

    /// Tells watchers how the credentials stand.
    pub fn publish_login(&self) {
        let (login, refused) = self.logins.standing();
        self.board.login(login, refused, self.logins.wrong());
    }

    /// What a JSON answer says, without secrets; None where a page for people came instead.
    pub fn said(&self, reply: &Reply, more: &[SecretString]) -> Option<String> {
        if reply.body.iter().all(u8::is_ascii_whitespace) {
            return Some(String::new());
        }
        let words = words::read(&reply.body)?;
        let mut secrets = self.logins.secrets();
        secrets.extend_from_slice(more);
        Some(withhold(words.text(), &secrets))
    }

    /// Sends a request to Docker Hub once the budget permits. An answer may still say no.
    pub async fn send(&self, operation: Operation, request: Request, urgency: Urgency) -> Result<Reply, Error> {
        let admitted = lock(&self.budget).admit(urgency, self.clock.now());
        if let Err(refused) = admitted {
            return Err(self.withheld(operation, refused));
        }
        let reply = self.exchange(operation, request).await?;
        let now = self.clock.now();
        let remaining = lock(&self.budget).note(&reply.headers, now);
        if let Some(remaining) = remaining {
            self.observer.rate_limit(remaining);
        }
        let text = || self.said(&reply, &[]).unwrap_or_default();
        let limited = reply.status == StatusCode::FORBIDDEN && text().to_lowercase().contains("rate limit");
        if reply.status == StatusCode::TOO_MANY_REQUESTS || limited {
            let until = lock(&self.budget).pause(&reply.headers, now);
            self.board.silent(until);
            let error = self.error(operation, Failure::RateLimited).status(reply.status.as_u16());
            return Err(self.troubled(error.text(text()).retry(until)));
        }
        Ok(reply)
    }

    /// A call that leaves everything as it was, or one that changes something and has the right to. It is asked here,
    /// after all that a call waits for.
    async fn permitted<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if operation.reads() {
            return call.await;
        }
        let denied = || self.error(operation, Failure::NotPermitted);
        self.permit.guard(call).await.map_err(|when| match when {
            Denied::Before => denied(),
            Denied::During => denied().sent(),
        })?
    }

    /// Sends a request and sorts out what is no answer to it at all, whoever gave it.
    pub async fn exchange(&self, operation: Operation, request: Request) -> Result<Reply, Error> {
        let error = |failure| self.error(operation, failure);
        let http = self.http.as_ref().map_err(|problem| error(Failure::Unusable).text(problem.clone()))?;
        let reply = match http.send(request).await {
            Ok(reply) => reply,
            Err(Lost::Unsendable(problem)) => return Err(error(Failure::Unusable).text(problem)),
            Err(Lost::Connect(cause)) => return Err(error(Failure::Connect).text(cause)),
            Err(Lost::Timeout) => return Err(error(Failure::Timeout).sent()),
            Err(Lost::Broken(cause)) => return Err(error(Failure::Broken).text(cause).sent()),
            Err(Lost::TooLarge(status)) => return Err(error(Failure::TooLarge).status(status).sent()),
        };
        let failure = match reply.status {
            StatusCode::REQUEST_TIMEOUT => Failure::Unavailable,
            status if status.is_redirection() => Failure::Redirected,
            status if status.is_server_error() => Failure::Unavailable,
            status if status.is_informational() => Failure::Unexpected,
            _ => return Ok(reply),
        };
        let text = self.said(&reply, &[]).unwrap_or_default();
        Err(error(failure).status(reply.status.as_u16()).text(text).sent())
    }

    fn withheld(&self, operation: Operation, refused: Refused) -> Error {
        match refused {
            Refused::Paused(until) => self.troubled(self.error(operation, Failure::RateLimited).retry(until)),
            Refused::Reserved(until) => self.error(operation, Failure::Reserved).retry(until),
        }
    }

    /// Trouble that concerns every call, not only this one, is everybody's to know; a list at its end clears it.
    pub fn troubled(&self, error: Error) -> Error {
        self.board.trouble(&error, None, self.clock.now());
        self.wake.notify_one();
        error
    }

    /// A login that holds. That there is none is everybody's trouble, unless it passes by itself.
    pub async fn login(&self, urgency: Urgency) -> Result<Session, Error> {
        let result = self.logins.session(self, urgency).await;
        result.map_err(|error| match error.failure {
            Failure::Reserved | Failure::LoginExpired | Failure::TwoFactorWait => error,
            _ => self.troubled(error),
        })
    }

    /// One call of a token route, with a login. Every answer but success is an error.
    ///
    /// Guarantees: a create is sent at most once. All others may be sent a second time, after a 401 and a new login.
    pub async fn call(&self, call: &Call<'_>, urgency: Urgency) -> Result<Reply, Error> {
        if !wire::is_segment(&self.name) || call.id.is_some_and(|id| !wire::is_segment(id)) {
            let error = self.error(call.operation, Failure::Unusable);
            return Err(error.text("a name or id that can't stand in a path"));
        }
        let once = call.operation == Operation::Create;
        let mut repeated = false;
        loop {
            let session = self.login(urgency).await?;
            let request = Request {
                operation: call.operation.as_str(),
                method: call.method.clone(),
                url: self.url(call),
                authorization: Some(Authorization::Bearer(session.token.clone())),
                body: call.body.clone().map(Zeroizing::new),
                once,
            };
            let reply = self.permitted(call.operation, self.send(call.operation, request, urgency)).await?;
            if reply.status.is_success() {
                return Ok(reply);
            }
            let error = self.refused(call.operation, &reply);
            if error.failure != Failure::LoginExpired {
                return Err(error);
            }
            self.logins.expire(&session);
            if once || repeated {
                return Err(error);
            }
            repeated = true;
        }
    }

    /// The place to send a call to: always on the configured origin, whatever links an answer held.
    fn url(&self, call: &Call<'_>) -> Url {
        let collection = ["v2", "orgs", &self.name, "access-tokens"];
        let segments: Vec<&str> = collection.into_iter().chain(call.id).collect();
        let mut url = wire::route(&self.endpoints.hub, &segments);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        url
    }

    /// What a refusal means.
    pub(super) fn refused(&self, operation: Operation, reply: &Reply) -> Error {
        let error = |failure| self.error(operation, failure).status(reply.status.as_u16());
        let Some(text) = self.said(reply, &[]) else {
            // Something in between answered, and nobody knows what it did with the request before.
            return error(Failure::Page).sent();
        };
        let words = text.to_lowercase();
        let limit = (speaks_of_limit(&words) && !names_a_field(&reply.body)) || speaks_of_tokens(&reply.body);
        let full = operation == Operation::Create && limit;
        let failure = match reply.status.as_u16() {
            401 => Failure::LoginExpired,
            400 | 402 | 403 | 409 | 422 if full => Failure::QuotaExceeded,
            403 if words.contains("issued from") || words.contains("access token is not allowed") => {
                Failure::WrongCredentials
            }
            403 if words.contains("personal access token") => Failure::WrongCredentials,
            402 | 403 => Failure::Forbidden,
            404 if operation == Operation::Create && words.contains("repositor") => Failure::Invalid,
            404 if matches!(operation, Operation::List | Operation::Create) => Failure::OrganizationNotFound,
            404 if words.contains("organization not found") || words.contains("org not found") => {
                Failure::OrganizationNotFound
            }
            404 => Failure::TokenNotFound,
            400 | 422 => Failure::Invalid,
            _ => Failure::Unexpected,
        };
        error(failure).text(text)
    }
}

/// Whether a refusal of a create speaks of the number of tokens.
fn speaks_of_limit(words: &str) -> bool {
    ["limit", "maximum", "quota", "exceed", "too many"].iter().any(|word| words.contains(word))
}

/// Whether it says in so many words that there are as many tokens as there may be, whatever field it hangs that on.
fn speaks_of_tokens(body: &[u8]) -> bool {
    let words = String::from_utf8_lossy(body).to_lowercase();
    let ways = ["limit reached", "reached the limit", "limit exceeded", "maximum number", "too many", "quota"];
    words.contains("token") && ways.iter().any(|way| words.contains(way))
}

/// Whether a refusal names a field of the request: then a limit in it is the field's, not the organization's.
fn names_a_field(body: &[u8]) -> bool {
    let fields = ["label", "description", "resources", "expires_at", "path", "scopes"];
    words::read(body).is_some_and(|words| words.fields.iter().any(|named| fields.contains(&named.as_str())))
}

/// A time after another, at most the last there is.
pub(super) fn plus(time: Timestamp, wait: Duration) -> Timestamp {
    time.saturating_add(wait).unwrap_or(Timestamp::MAX)
}
