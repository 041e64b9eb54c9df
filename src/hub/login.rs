//! The login: one for everybody, kept until it is about to expire, and never the same wrong password twice.
//!
//! Docker locks an owner out for ten minutes after a few wrong logins. So credentials that were refused are not sent again
//! before others are set or 15 minutes have passed, and at most three logins that were refused (or may have been: the
//! answer was lost) are sent within ten minutes, whatever is set. Both hold over restarts: what is published as
//! [`super::State`] is kept by others, and given back.
//!
//! Invariant: at most one login is under way per organization. A failure of it is shared by all who waited for it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use totp_rs::{Algorithm, Totp};

use super::{
    Credentials, Error, Failure, InvalidCredentials, Login, Operation, Refusal, Urgency,
    call::Shared,
    client::{Reply, Request},
    lock,
    wire::{self, LoginAnswer, SecondFactor},
};

/// How long refused credentials rest.
const REST: SignedDuration = SignedDuration::from_mins(15);
/// In this time at most [`MAX_WRONG`] logins may fail.
const LOCK_WINDOW: SignedDuration = SignedDuration::from_mins(10);
const MAX_WRONG: usize = 3;
/// How long before its end a login is replaced.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);
/// How long a code of the second factor holds.
const CODE: i64 = 30;

/// A login that was accepted.
#[derive(Clone)]
pub(super) struct Session {
    pub token: SecretString,
    number: u64,
    until: Duration,
}

/// The logins of one organization.
pub(super) struct Logins {
    turn: tokio::sync::Mutex<()>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    slot: Option<Slot>,
    /// Counts the credentials that were set.
    generation: u64,
    session: Option<Session>,
    refused: Option<Refused>,
    /// The last logins that were refused, or may have been: no more than [`MAX_WRONG`], the newest last.
    wrong: Vec<Refusal>,
    /// When logins were sent whose answers were lost: each may have been refused. Not remembered over a restart, which
    /// may come in the middle of an outage.
    unsure: Vec<Timestamp>,
    /// When the login began that has not been answered.
    pending: Option<Timestamp>,
    /// The last 30 seconds whose code was sent.
    code: Option<i64>,
    /// How many logins came to an end, and the error of the last one.
    finished: u64,
    failed: Option<Error>,
}

#[derive(Clone)]
struct Slot {
    credentials: Arc<Credentials>,
    version: String,
    generation: u64,
    /// Whether these very credentials were accepted before.
    proven: bool,
}

struct Refused {
    refusal: Refusal,
    /// None where the refusal was remembered over a restart: then only the version tells.
    credentials: Option<Arc<Credentials>>,
    failure: Failure,
    text: String,
}

impl Logins {
    pub fn new(refused: Option<Refusal>) -> Self {
        let wrong = refused.iter().cloned().collect();
        let refused = refused.map(|refusal| Refused {
            refusal,
            credentials: None,
            failure: Failure::CredentialsRefused,
            text: String::new(),
        });
        let memory = Memory { refused, wrong, ..Memory::default() };
        Self { turn: tokio::sync::Mutex::new(()), memory: Mutex::new(memory) }
    }

    /// Takes logins into account that were refused, or may have been, before this client was started.
    pub fn recall(&self, wrong: Vec<Refusal>) {
        let mut memory = lock(&self.memory);
        let own = std::mem::take(&mut memory.wrong);
        let other = |refusal: &Refusal| !wrong.iter().any(|known| known.time == refusal.time);
        let own: Vec<_> = own.into_iter().filter(other).collect();
        wrong.into_iter().chain(own).for_each(|refusal| memory.note_wrong(refusal));
    }

    /// The last logins that were refused, or may have been.
    pub fn wrong(&self) -> Vec<Refusal> {
        lock(&self.memory).wrong.clone()
    }

    /// Whether there are credentials.
    pub fn ready(&self) -> bool {
        lock(&self.memory).slot.is_some()
    }

    /// What must not be in any text: the credentials and the login.
    pub fn secrets(&self) -> Vec<SecretString> {
        let memory = lock(&self.memory);
        let mut secrets: Vec<_> = memory.session.iter().map(|session| session.token.clone()).collect();
        if let Some(slot) = &memory.slot {
            secrets.push(slot.credentials.password.clone());
            secrets.extend(slot.credentials.totp_secret.clone());
        }
        secrets
    }

    /// Takes credentials on. Returns whether they differ from those before.
    pub fn set(&self, credentials: Option<Credentials>, version: String) -> bool {
        let mut memory = lock(&self.memory);
        let Some(credentials) = credentials else {
            memory.session = None;
            return memory.slot.take().is_some();
        };
        if let Some(refused) = &mut memory.refused {
            match &refused.credentials {
                Some(old) if **old == credentials => refused.refusal.version.clone_from(&version),
                None if refused.refusal.version == version => {}
                _ => memory.refused = None,
            }
        }
        match &mut memory.slot {
            Some(slot) if *slot.credentials == credentials => {
                slot.version = version;
                false
            }
            _ => {
                memory.generation = memory.generation.saturating_add(1);
                let (credentials, generation) = (Arc::new(credentials), memory.generation);
                memory.slot = Some(Slot { credentials, version, generation, proven: false });
                memory.session = None;
                true
            }
        }
    }

    /// What watchers may know.
    pub fn standing(&self) -> (Login, Option<Refusal>) {
        let memory = lock(&self.memory);
        let login = match (&memory.slot, &memory.refused) {
            (None, _) => Login::Missing,
            (Some(_), Some(_)) => Login::Refused,
            (Some(slot), None) if slot.proven => Login::Accepted,
            (Some(_), None) => Login::Untried,
        };
        (login, memory.refused.as_ref().map(|refused| refused.refusal.clone()))
    }

    /// Throws a login away that was not accepted any more, unless another has come meanwhile.
    pub fn expire(&self, session: &Session) {
        let mut memory = lock(&self.memory);
        if memory.session.as_ref().is_some_and(|current| current.number == session.number) {
            memory.session = None;
        }
    }

    /// A login that holds, made now if there is none.
    ///
    /// Flow: the one that is there; else wait for one's turn; what came of a login that ended meanwhile; else log in.
    /// Errors: nothing was sent with the errors of [`Memory::may`]; all others come from the server.
    pub async fn session(&self, shared: &Shared, urgency: Urgency) -> Result<Session, Error> {
        let ticket = {
            let memory = lock(&self.memory);
            if let Some(session) = memory.current(shared.clock.elapsed()) {
                return Ok(session);
            }
            memory.finished
        };
        let _turn = self.turn.lock().await;
        let slot = {
            let mut memory = lock(&self.memory);
            if let Some(session) = memory.current(shared.clock.elapsed()) {
                return Ok(session);
            }
            if let Some(error) = memory.failed.clone().filter(|_| memory.finished > ticket) {
                return Err(error);
            }
            memory.may(shared)
        };
        // One whose caller went away may just have been counted.
        shared.publish_login();
        let slot = slot?;
        let answer = attempt(self, shared, &slot.credentials, urgency).await;
        let result = lock(&self.memory).ended(shared, &slot, answer);
        shared.publish_login();
        result
    }
}

impl Memory {
    fn current(&self, elapsed: Duration) -> Option<Session> {
        self.session.clone().filter(|session| elapsed < session.until)
    }

    /// Whether a login may be sent now; if so, it counts as under way.
    fn may(&mut self, shared: &Shared) -> Result<Slot, Error> {
        let now = shared.clock.now();
        let error = |failure| shared.error(Operation::Login, failure);
        let Some(slot) = self.slot.clone() else {
            return Err(error(Failure::CredentialsMissing));
        };
        if let Some(time) = self.pending.take().filter(|_| !slot.proven) {
            // Its caller went away before the answer came.
            self.note_unsure(time);
        }
        if let Some(refused) = self.refused.as_ref().filter(|refused| recent(refused.refusal.time, now, REST)) {
            let until = plus(refused.refusal.time, REST);
            return Err(error(refused.failure.clone()).text(refused.text.clone()).retry(until));
        }
        let wrong = self.wrong.iter().map(|refusal| refusal.time).chain(self.unsure.iter().copied());
        let wrong = wrong.filter(|time| recent(*time, now, LOCK_WINDOW));
        if wrong.clone().count() >= MAX_WRONG {
            let oldest = wrong.min().unwrap_or(now);
            return Err(error(Failure::TooManyLogins).retry(plus(oldest, LOCK_WINDOW)));
        }
        let used = slot.credentials.totp_secret.is_some().then_some(self.code).flatten();
        if let Some(code) = used.filter(|code| *code == step(now)) {
            return Err(error(Failure::TwoFactorWait).retry(step_start(code.saturating_add(1))));
        }
        self.pending = Some(now);
        Ok(slot)
    }

    fn note_unsure(&mut self, time: Timestamp) {
        self.unsure.push(time);
        let surplus = self.unsure.len().saturating_sub(MAX_WRONG);
        self.unsure.drain(..surplus);
    }

    fn note_wrong(&mut self, refusal: Refusal) {
        self.wrong.push(refusal);
        let surplus = self.wrong.len().saturating_sub(MAX_WRONG);
        self.wrong.drain(..surplus);
    }

    fn ended(&mut self, shared: &Shared, slot: &Slot, answer: Result<SecretString, Error>) -> Result<Session, Error> {
        self.pending = None;
        self.finished = self.finished.saturating_add(1);
        let result = answer.map_err(|error| self.refused(shared, slot, error));
        self.failed = result.as_ref().err().cloned();
        if self.slot.as_ref().is_none_or(|current| current.generation != slot.generation) {
            // Others were set meanwhile: what these were good for doesn't matter.
            let error = shared.error(Operation::Login, Failure::LoginExpired).text("the credentials were replaced");
            self.failed = Some(error.clone());
            return Err(error);
        }
        let token = result?;
        self.refused = None;
        if let Some(slot) = &mut self.slot {
            slot.proven = true;
        }
        let lifetime = wire::lifetime(token.expose_secret(), shared.clock.now());
        let left = lifetime.saturating_sub(MARGIN.min(lifetime / 2));
        let until = shared.clock.elapsed().saturating_add(Duration::try_from(left).unwrap_or_default());
        let session = Session { token, number: self.finished, until };
        self.session = Some(session.clone());
        Ok(session)
    }

    /// Takes note of a login that failed.
    fn refused(&mut self, shared: &Shared, slot: &Slot, error: Error) -> Error {
        let now = shared.clock.now();
        let lost = matches!(error.failure, Failure::Timeout | Failure::Broken);
        if lost && !slot.proven {
            // It may have been a refusal, unless these credentials are known to be good.
            self.note_unsure(now);
        }
        let (refused, wrong) = match error.failure {
            Failure::CredentialsRefused | Failure::WrongCredentials | Failure::TwoFactorRefused => (true, true),
            Failure::TwoFactorRequired => (true, false),
            _ => (false, false),
        };
        if wrong {
            self.note_wrong(Refusal { version: slot.version.clone(), time: now });
        }
        if !refused {
            return error;
        }
        if let Some(current) = self.slot.as_mut().filter(|current| current.generation == slot.generation) {
            current.proven = false;
            self.refused = Some(Refused {
                refusal: Refusal { version: current.version.clone(), time: now },
                credentials: Some(slot.credentials.clone()),
                failure: error.failure.clone(),
                text: error.text.clone(),
            });
        }
        error.retry(plus(now, REST))
    }
}

/// Logs in, with the second factor where there is one. Gives back what the server gave out.
async fn attempt(
    logins: &Logins,
    shared: &Shared,
    credentials: &Credentials,
    urgency: Urgency,
) -> Result<SecretString, Error> {
    let (user, password) = (&credentials.username, credentials.password.expose_secret());
    let Some(secret) = &credentials.totp_secret else {
        let body = serde_json::json!({"identifier": user, "secret": password});
        let reply = post(shared, &["v2", "auth", "token"], &body, urgency).await?;
        if reply.status == StatusCode::UNAUTHORIZED && second_factor(&reply).is_some() {
            return Err(shared.error(Operation::Login, Failure::TwoFactorRequired).status(401));
        }
        return granted(shared, &reply, Failure::CredentialsRefused);
    };
    let body = serde_json::json!({"username": user, "password": password});
    let reply = post(shared, &["v2", "users", "login"], &body, urgency).await?;
    let Some(ticket) = second_factor(&reply).filter(|_| reply.status == StatusCode::UNAUTHORIZED) else {
        return granted(shared, &reply, Failure::CredentialsRefused);
    };
    let totp = totp(secret)
        .map_err(|invalid| shared.error(Operation::Login, Failure::TwoFactorRefused).text(invalid.to_string()))?;
    let now = shared.clock.now();
    lock(&logins.memory).code = Some(step(now));
    let code = totp.generate(u64::try_from(now.as_second()).unwrap_or_default()).to_string();
    let body = serde_json::json!({"login_2fa_token": ticket.expose_secret(), "code": code});
    let reply = post(shared, &["v2", "users", "2fa-login"], &body, urgency).await?;
    granted(shared, &reply, Failure::TwoFactorRefused)
}

async fn post(shared: &Shared, segments: &[&str], body: &serde_json::Value, urgency: Urgency) -> Result<Reply, Error> {
    let request = Request {
        operation: Operation::Login.as_str(),
        method: Method::POST,
        url: wire::route(&shared.endpoints.hub, segments),
        authorization: None,
        body: Some(Zeroizing::new(wire::encode(body))),
        once: true,
    };
    shared.send(Operation::Login, request, urgency).await
}

pub(super) fn second_factor(reply: &Reply) -> Option<SecretString> {
    serde_json::from_slice::<SecondFactor>(&reply.body).ok()?.login_2fa_token.filter(wire::is_sendable)
}

/// The login in an answer, or what the answer means.
pub(super) fn granted(shared: &Shared, reply: &Reply, refused: Failure) -> Result<SecretString, Error> {
    let error = |failure| shared.error(Operation::Login, failure).status(reply.status.as_u16());
    if reply.status.is_success() {
        let answer = wire::read::<LoginAnswer>(&reply.body).map_err(|problem| error(Failure::Garbled).text(problem))?;
        let token = answer.access_token.or(answer.token);
        return token.filter(wire::is_sendable).ok_or_else(|| error(Failure::Garbled).text("no login in the answer"));
    }
    let said = shared.said(reply, &[]);
    let text = said.clone().unwrap_or_default();
    let failure = match reply.status {
        // A bare 401 without a body that can be read is a refusal all the same: better to wait than to be locked out.
        StatusCode::UNAUTHORIZED => refusal(&text, refused),
        _ if said.is_none() => Failure::Page,
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY => refusal(&text, refused),
        _ => Failure::Unexpected,
    };
    Err(error(failure).text(text))
}

/// Some refusals say that the wrong kind of credentials was used.
fn refusal(text: &str, usual: Failure) -> Failure {
    let text = text.to_lowercase();
    let kinds = ["organization account", "access token is not allowed", "issued from"];
    if kinds.iter().any(|kind| text.contains(kind)) { Failure::WrongCredentials } else { usual }
}

/// The generator of codes from a secret as people copy it: base32, in groups, in any case, padded or not.
pub(super) fn totp(secret: &SecretString) -> Result<Totp, InvalidCredentials> {
    let wrong = |problem| InvalidCredentials { key: "totpSecret", problem };
    let text: Zeroizing<String> = Zeroizing::new(
        secret
            .expose_secret()
            .chars()
            .filter(|c| !matches!(c, ' ' | '-' | '='))
            .map(|c| c.to_ascii_uppercase())
            .collect(),
    );
    let secret = totp_rs::Secret::try_from_base32(text.as_str()).map_err(|_| wrong("is not base32"))?;
    if secret.as_bytes().len() < 10 {
        return Err(wrong("is too short for a second factor's secret"));
    }
    // RFC 6238 wants 16 bytes; many issuers, Google Authenticator's default among them, give 10.
    let builder = totp_rs::Builder::new().with_algorithm(Algorithm::SHA1).with_digits(6).with_step_duration(30);
    Ok(builder.with_secret(secret).build_noncompliant())
}

fn step(time: Timestamp) -> i64 {
    time.as_second().div_euclid(CODE)
}

fn step_start(step: i64) -> Timestamp {
    Timestamp::from_second(step.saturating_mul(CODE)).unwrap_or(Timestamp::MAX)
}

fn plus(time: Timestamp, wait: SignedDuration) -> Timestamp {
    time.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// Whether something happened less than `span` ago. A time far ahead was written by another clock and doesn't count.
fn recent(time: Timestamp, now: Timestamp, span: SignedDuration) -> bool {
    time.duration_since(now).abs() < span
}
