//! The one task per organization: it reads the list of tokens for everybody, by the clock and when asked.
//!
//! Guarantees: whoever asks for a list gets one that began after the question; all who asked before it began share it.
//! Invariant: one list at a time. Only lists are read here; all other calls run in their callers' futures, so that a
//! call that hangs holds back nobody and one that is dropped is over.

use std::{
    future,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Method;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::{
    Endpoints, Error, Failure, Handle, Observer, Operation, Refusal, Snapshot, Token, Urgency,
    budget::{Budget, Gate},
    call::{Call, Shared, Waiter, plus},
    client::Http,
    lock,
    login::Logins,
    state::Board,
    wire::{self, Page},
};
use crate::{clock::Clock, permit::Permit};

/// How many calls may be under way at once, and how many of them are kept for urgent ones.
const CALLS: (usize, usize) = (8, 2);
/// The first and the longest distance between attempts after failures.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// The most pages of a list that are read: far more tokens than any plan has.
const MAX_PAGES: u32 = 50;
const PAGE_SIZE: u64 = 100;
/// The most tokens of a list, and the most bytes of all its pages: what an organization's client keeps is bounded,
/// whatever a server sends.
const MAX_TOKENS: usize = 10_000;
const MAX_LIST: usize = 8 * 1024 * 1024;

/// As a poll interval: the list is read only when somebody asks for it.
pub const NEVER: Duration = Duration::MAX;

/// How long a call may take. Real time, whatever the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To connect, TLS included.
    pub connect: Duration,
    /// From the first byte to the last.
    pub call: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), call: Duration::from_secs(30) }
    }
}

/// What an organization's client is started with.
pub struct OrganizationConfig {
    /// The organization's name at Docker Hub.
    pub name: String,
    /// Where Docker Hub is.
    pub endpoints: Endpoints,
    /// How often the list is read; [`NEVER`] for only when asked.
    pub poll_interval: Duration,
    /// Credentials that were refused before a restart.
    pub refused: Option<Refusal>,
    /// How long calls may take.
    pub limits: Limits,
    /// Where the time comes from.
    pub clock: Clock,
    /// Who is told of calls.
    pub observer: Arc<dyn Observer>,
    /// The right to change something, asked directly before it is done.
    pub permit: Permit,
}

/// An organization at Docker Hub.
pub struct Organization;

impl Organization {
    /// Starts an organization's client. It sends nothing before it has credentials, and ends when it is told to or when the
    /// last handle is dropped.
    ///
    /// Endpoints that can't be used are no reason not to start: they become the client's trouble.
    pub fn start(config: OrganizationConfig) -> (Handle, JoinHandle<()>) {
        let http = Http::new(&config.endpoints, config.limits, config.clock.clone(), config.observer.clone());
        let shared = Arc::new(Shared {
            name: config.name,
            endpoints: config.endpoints,
            http,
            clock: config.clock,
            observer: config.observer,
            permit: config.permit,
            gate: Gate::new(CALLS.0, CALLS.1),
            budget: Mutex::new(Budget::default()),
            registry_budget: Mutex::new(Budget::default()),
            logins: Logins::new(config.refused.clone()),
            board: Board::new(config.refused),
            waiters: Mutex::new(Some(Vec::new())),
            poll_interval: Mutex::new(config.poll_interval),
            restart: Mutex::new(false),
            wake: Notify::new(),
        });
        let (stop, stopped) = watch::channel(false);
        let actor = Actor { shared: shared.clone(), stopped, began: None, retry: None, failures: 0 };
        let task = tokio::spawn(actor.run());
        (Handle::new(shared, stop), task)
    }
}

struct Actor {
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
    /// When the last complete list began.
    began: Option<Timestamp>,
    /// When the list is tried again after it failed.
    retry: Option<Timestamp>,
    failures: u32,
}

impl Actor {
    async fn run(mut self) {
        loop {
            let mut stopped = self.stopped.clone();
            tokio::select! {
                biased;
                // An error means that the last handle is gone.
                _ = stopped.wait_for(|stopped| *stopped) => break,
                () = self.turn() => {}
            }
        }
        self.shared.board.give_up();
        self.shared.close();
    }

    /// Waits until a list is due or something happens, and reads it if it is due.
    async fn turn(&mut self) {
        let shared = self.shared.clone();
        let woken = shared.wake.notified();
        if std::mem::take(&mut *lock(&shared.restart)) {
            (self.retry, self.failures) = (Some(Timestamp::MIN), 0);
            if *lock(&shared.poll_interval) == NEVER {
                // No list of ours would show that it is over.
                shared.board.forget_trouble();
            }
        }
        let due = self.due();
        if due.is_none_or(|due| due > shared.clock.now()) {
            let alarm = async {
                match due {
                    Some(due) => shared.clock.sleep_until(due).await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                () = woken => return,
                () = alarm => {}
            }
        }
        self.list().await;
    }

    /// When the next list is due; None: only when something happens.
    fn due(&self) -> Option<Timestamp> {
        let shared = &self.shared;
        if lock(&shared.waiters).as_ref().is_some_and(|waiters| !waiters.is_empty()) {
            return Some(Timestamp::MIN);
        }
        let interval = *lock(&shared.poll_interval);
        if interval == NEVER || !shared.logins.ready() {
            return None;
        }
        if self.retry.is_some() {
            return self.retry;
        }
        let trouble = shared.board.read(|state| state.trouble.clone());
        if let Some(trouble) = trouble {
            // A call met it. A list shows when it is over.
            return Some(trouble.retry.unwrap_or_else(|| plus(trouble.since, BACKOFF.0)));
        }
        Some(self.began.map_or(Timestamp::MIN, |began| plus(began, spread(interval, &shared.name))))
    }

    async fn list(&mut self) {
        let shared = self.shared.clone();
        let waiters = Waiters(lock(&shared.waiters).as_mut().map(std::mem::take).unwrap_or_default());
        let urgent = waiters.0.iter().any(|waiter| waiter.urgency == Urgency::Urgent);
        let result = read(&shared, if urgent { Urgency::Urgent } else { Urgency::Normal }).await;
        match &result {
            Ok(snapshot) => (self.began, self.retry, self.failures) = (Some(snapshot.started), None, 0),
            Err(error) => self.failed(error),
        }
        waiters.answer(&result);
    }

    fn failed(&mut self, error: &Error) {
        self.shared.board.give_up();
        let now = self.shared.clock.now();
        let retry = match error.retry {
            Some(time) => time,
            None => {
                let wait = BACKOFF.0.saturating_mul(1 << self.failures.min(6)).min(BACKOFF.1);
                self.failures = self.failures.saturating_add(1);
                plus(now, wait)
            }
        };
        self.retry = Some(retry);
        if !matches!(error.failure, Failure::Reserved | Failure::TwoFactorWait) {
            self.shared.board.trouble(error, Some(retry), now);
        }
    }
}

/// Those who wait for the list that is being read. Dropped without an answer, they learn that the client stopped.
struct Waiters(Vec<Waiter>);

impl Waiters {
    fn answer(self, result: &Result<Snapshot, Error>) {
        for waiter in self.0 {
            // One that went away meanwhile doesn't mind.
            let _ = waiter.answer.send(result.clone());
        }
    }
}

/// Reads all pages of the list.
///
/// Caveats: offsets shift while others delete and create, so a token may be missed or come twice. That a token is missing
/// from a list proves nothing; [`Handle::get`] does.
async fn read(shared: &Shared, urgency: Urgency) -> Result<Snapshot, Error> {
    let error = |failure| shared.error(Operation::List, failure);
    let Some(_pass) = shared.gate.pass(urgency).await else {
        return Err(error(Failure::Stopped));
    };
    // First, so that the login's time doesn't count as the list's.
    shared.login(urgency).await?;
    shared.board.begin();
    let started = shared.clock.now();
    let (mut tokens, mut bytes) = (Vec::new(), 0_usize);
    let size = PAGE_SIZE.to_string();
    for number in 1..=MAX_PAGES {
        let (page, length) = page(shared, &number.to_string(), &size, urgency).await?;
        let (next, total, count) = (page.next, page.total, page.results.len());
        bytes = bytes.saturating_add(length);
        if bytes > MAX_LIST || tokens.len().saturating_add(count) > MAX_TOKENS {
            let text = format!("a list of more than {MAX_TOKENS} tokens or {} MiB", MAX_LIST >> 20);
            return Err(error(Failure::Garbled).text(text));
        }
        for answer in page.results {
            let token: Option<Token> = answer.token();
            tokens.push(token.ok_or_else(|| error(Failure::Garbled).text("a token's id that can't stand in a path"))?);
        }
        let more = match next {
            Some(link) => link.is_some(),
            // No such field: the count tells.
            None => total.is_some_and(|total| u64::try_from(tokens.len()).is_ok_and(|seen| seen < total)),
        };
        if !more || count == 0 {
            return Ok(shared.board.finish(tokens, started));
        }
    }
    Err(error(Failure::Garbled).text(format!("a list of more than {MAX_PAGES} pages")))
}

/// A page, and how many bytes it had.
async fn page(shared: &Shared, number: &str, size: &str, urgency: Urgency) -> Result<(Page, usize), Error> {
    let query = [("page", number), ("page_size", size)];
    let call = Call { operation: Operation::List, method: Method::GET, id: None, query: &query, body: None };
    let reply = shared.call(&call, urgency).await?;
    let garbled = |problem| shared.error(Operation::List, Failure::Garbled).status(reply.status.as_u16()).text(problem);
    Ok((wire::read(&reply.body).map_err(garbled)?, reply.body.len()))
}

/// The poll interval and up to a tenth more, always the same for a name, so that organizations don't poll in step.
fn spread(interval: Duration, name: &str) -> Duration {
    let hash = Sha256::digest(name.as_bytes());
    let part = hash.first().copied().unwrap_or_default();
    interval.saturating_add((interval / 2560).saturating_mul(u32::from(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_spread_by_less_than_a_tenth_and_stable() {
        let hour = Duration::from_secs(3600);
        let all: Vec<_> = (0..200).map(|n| spread(hour, &format!("org{n}"))).collect();
        assert!(all.iter().all(|spread| (hour..hour * 11 / 10).contains(spread)));
        assert!(all.iter().collect::<std::collections::BTreeSet<_>>().len() > 50);
        assert_eq!(spread(hour, "acme"), spread(hour, "acme"));
    }
}
