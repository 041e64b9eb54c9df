//! Who leads: a Lease, held as client-go holds one.
//!
//! ```text
//! stand by ── free, released or expired: PUT with resourceVersion ──► lead ── stop: release ──► end
//!    ▲  │ watches the Lease                                            │ renews
//!    └──┘ conflict, error: ordinary                                    └── taken, or no renewal until the deadline ──► Lost
//! ```
//!
//! Guarantees: two never lead at once, whatever the clocks of their machines say. A leader counts from *before* it sent
//! the last renewal that succeeded, on its own clock, and stops after two thirds of the lease; another waits the whole
//! lease, counted on its own clock from *after* it saw the last change, and takes the Lease only as it saw it.
//! [`Leader::valid_for`] is true only while that holds for the whole of a call.
//!
//! Assumptions: the client has a connection of its own and no layer that repeats requests. No two processes have one
//! identity. Clocks run equally fast within a third of the lease.
//!
//! Caveats: while the API server can't be asked nobody leads. A machine that slept is noticed by its time of day.
//!
//! Errors: a standby never fails; what goes wrong is tried again. A leader ends with [`Lost`], and the process with it.
//!
//! Never: a time from a Lease compared with a clock of ours.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::PostParams,
    runtime::watcher::{self, Event, watcher},
};
use tokio::sync::watch;

use crate::{clock::Clock, permit::Permit};

mod record;
#[cfg(test)]
mod tests;

use record::{Seen, Timing};

/// What an election is about.
#[derive(Clone, Debug)]
pub struct Config {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// Who we are: the pod's name and something random, so that no two processes ever share it.
    pub identity: String,
    /// How long a leader that has died is waited for. At least a second.
    pub lease_duration: Duration,
    /// The time.
    pub clock: Clock,
}

/// That this process leads, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The term: how often the Lease had changed hands. No other leader has the same one while the Lease exists.
    pub since_term: u64,
    /// When we knew that we lead. What was read before may be older than the last leader's writes.
    pub acquired: Timestamp,
}

/// The leadership was lost after having been held: the process must end.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The Lease could not be renewed in time.
    #[error("the Lease could not be renewed within {}s", .after.as_secs_f64())]
    Expired {
        /// The renew deadline.
        after: Duration,
        /// What went wrong last; nothing where this process did not run for so long.
        #[source]
        last: Option<Failure>,
    },
    /// Another holds the Lease.
    #[error("the Lease is held by {holder:?}")]
    Taken {
        /// Who; empty for nobody.
        holder: String,
    },
}

/// Why a request about the Lease failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The API server said no.
    #[error("the API server answered {0} {1}: {2}")]
    Refused(u16, String, String),
    /// No answer in time.
    #[error("no answer from the API server within {}s", .0.as_secs_f64())]
    Late(Duration),
    /// No answer that could be read.
    #[error("no answer from the API server that could be read")]
    Broken(#[source] Box<kube::Error>),
}

impl Failure {
    fn is(&self, code: u16) -> bool {
        matches!(self, Self::Refused(found, ..) if *found == code)
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status.code, status.reason, status.message),
            other => Self::Broken(Box::new(other)),
        }
    }
}

/// Tells whether this process leads.
#[derive(Clone, Debug)]
pub struct Leader(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    claim: watch::Sender<Option<Claim>>,
    right: Mutex<Right>,
}

/// How far the right to lead reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    None,
    Until { elapsed: Duration, time: Timestamp },
    Always,
}

impl Right {
    /// By both clocks: the one that never runs backwards, which may stand still while a machine sleeps, and the time of
    /// day, which goes on then. One that is set forward costs the time until the next renewal.
    fn covers(self, call: Duration, elapsed: Duration, time: Timestamp) -> bool {
        match self {
            Self::None => false,
            Self::Until { elapsed: end, time: end_time } => {
                elapsed.saturating_add(call) < end && time.saturating_add(call).is_ok_and(|time| time < end_time)
            }
            Self::Always => true,
        }
    }
}

impl Shared {
    fn set(&self, right: Right) {
        *self.right.lock().unwrap_or_else(PoisonError::into_inner) = right;
    }
}

impl Leader {
    fn new(clock: Clock, right: Right, claim: Option<Claim>) -> Self {
        Self(Arc::new(Shared { clock, claim: watch::Sender::new(claim), right: Mutex::new(right) }))
    }

    /// The only replica, which leads for ever from now on.
    pub fn always(clock: &Clock) -> Self {
        Self::new(clock.clone(), Right::Always, Some(Claim { since_term: 0, acquired: clock.now() }))
    }

    /// Whether nobody leads before or after it.
    pub fn is_alone(&self) -> bool {
        *self.0.right.lock().unwrap_or_else(PoisonError::into_inner) == Right::Always
    }

    /// The claim, and its changes: gained once, lost once.
    pub fn claim(&self) -> watch::Receiver<Option<Claim>> {
        self.0.claim.subscribe()
    }

    /// Whether a call that takes so long ends while this process still leads. To be asked directly before each write.
    pub fn valid_for(&self, call: Duration) -> bool {
        let right = *self.0.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.covers(call, self.0.clock.elapsed(), self.0.clock.now())
    }

    /// The right to write, for writes that take at most so long.
    pub fn permit(&self, limit: Duration) -> Permit {
        let leader = self.clone();
        Permit::new(limit, move |call| leader.valid_for(call))
    }
}

/// An election, to be run.
pub struct Election(Option<Candidate>);

/// Gets ready to be elected. Nothing is asked before [`Election::run`].
pub fn elect(client: Client, config: Config) -> (Leader, Election) {
    let leader = Leader::new(config.clock.clone(), Right::None, None);
    let api = Api::namespaced(client, &config.namespace);
    let timing = Timing::of(config.lease_duration);
    let candidate = Candidate { api, timing, config, shared: leader.0.clone(), seen: None, wrote: false };
    (leader, Election(Some(candidate)))
}

impl Election {
    /// No election: for [`Leader::always`].
    pub fn none() -> Self {
        Self(None)
    }

    /// Stands by, leads, and releases the Lease when told to stop. An error where the leadership was held and is lost.
    ///
    /// Flow: the claim ends before the Lease is released. Where this future is dropped the claim ends, and the Lease
    /// runs out.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Lost> {
        let Some(mut candidate) = self.0 else {
            stop.await;
            return Ok(());
        };
        let lost = tokio::select! {
            biased;
            () = stop => None,
            lost = candidate.serve() => Some(lost),
        };
        candidate.end();
        match lost {
            Some(lost) => Err(lost),
            None => {
                candidate.release().await;
                Ok(())
            }
        }
    }
}

/// One who would lead.
struct Candidate {
    api: Api<Lease>,
    config: Config,
    timing: Timing,
    shared: Arc<Shared>,
    /// The Lease as it was seen last; none before the first look.
    seen: Option<Seen>,
    /// A write was sent, so that the Lease may be ours.
    wrote: bool,
}

/// A renewal that succeeded, as of before it was sent.
#[derive(Clone, Copy)]
struct Sent {
    elapsed: Duration,
    time: Timestamp,
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.end();
    }
}

impl Candidate {
    /// Stands by, then leads until the leadership is lost.
    async fn serve(&mut self) -> Lost {
        let sent = self.stand_by().await;
        let term = self.seen.as_ref().and_then(|seen| seen.lease.as_ref()).map_or(0, record::transitions);
        let claim = Claim { since_term: term, acquired: self.config.clock.now() };
        tracing::info!(identity = self.config.identity, term, "leading");
        self.extend(sent);
        self.shared.claim.send_replace(Some(claim));
        let lost = self.lead(sent, term).await;
        self.end();
        lost
    }

    fn extend(&self, sent: Sent) {
        let elapsed = sent.elapsed.saturating_add(self.timing.deadline);
        let time = sent.time.saturating_add(self.timing.deadline).unwrap_or(Timestamp::MAX);
        self.shared.set(Right::Until { elapsed, time });
    }

    /// The claim is over.
    fn end(&self) {
        self.shared.set(Right::None);
        self.shared.claim.send_if_modified(|claim| claim.take().is_some());
    }

    /// Watches the Lease until it could be taken.
    async fn stand_by(&mut self) -> Sent {
        let clock = self.config.clock.clone();
        let fields = format!("metadata.name={}", self.config.name);
        let mut watch = std::pin::pin!(watcher(self.api.clone(), watcher::Config::default().fields(&fields)));
        let mut standby =
            Standby { not_before: Duration::ZERO, polled: clock.elapsed(), trusted: false, listed: false };
        let mut rest = Duration::ZERO;
        loop {
            let now = clock.elapsed();
            let wake = standby.wake(self);
            tokio::select! {
                event = watch.next(), if rest <= now => match event {
                    Some(Ok(event)) => standby.take(self, event),
                    failed => {
                        let error = failed.and_then(Result::err).map(|error| error.to_string());
                        tracing::warn!(error, "the Lease can't be watched; it is read instead");
                        standby.trusted = false;
                        rest = clock.elapsed().saturating_add(self.timing.retry);
                    }
                },
                () = until(&clock, wake) => {
                    if let Some(sent) = standby.act(self).await {
                        return sent;
                    }
                }
            }
        }
    }

    /// Renews until it is too late or another holds the Lease.
    async fn lead(&mut self, mut sent: Sent, term: u64) -> Lost {
        let clock = self.config.clock.clone();
        loop {
            let end = sent.elapsed.saturating_add(self.timing.deadline);
            let mut last = None;
            let mut next = sent.elapsed.saturating_add(self.timing.retry);
            sent = loop {
                until(&clock, next.min(end)).await;
                if clock.elapsed() >= end {
                    return Lost::Expired { after: self.timing.deadline, last };
                }
                match self.renew(end, term).await {
                    Ok(sent) => break sent,
                    Err(Trouble::Taken(holder)) => return Lost::Taken { holder },
                    Err(Trouble::Failed(failure)) => {
                        tracing::warn!(error = %failure, "the Lease could not be renewed; it is tried again");
                        last = Some(failure);
                    }
                }
                next = clock.elapsed().saturating_add(self.timing.retry);
            };
            self.extend(sent);
        }
    }

    /// Renews once, from what was seen last, and from a fresh look where that is not current any more.
    async fn renew(&mut self, end: Duration, term: u64) -> Result<Sent, Trouble> {
        match self.write(self.limit(end), term).await {
            Err(failure) if failure.is(409) || failure.is(404) => {
                self.look(self.limit(end)).await?;
                let holder = self.seen.as_ref().and_then(|seen| seen.lease.as_ref()).map(record::holder);
                match holder {
                    // Deleted, or changed by somebody without taking it.
                    None => {}
                    Some(Some(holder)) if holder == self.config.identity => {}
                    Some(holder) => return Err(Trouble::Taken(holder.unwrap_or_default().into())),
                }
                Ok(self.write(self.limit(end), term).await?)
            }
            written => Ok(written?),
        }
    }

    /// Writes the Lease as ours, over what was seen and nothing else.
    async fn write(&mut self, limit: Duration, term: u64) -> Result<Sent, Failure> {
        let me = self.config.identity.clone();
        let sent = Sent { elapsed: self.config.clock.elapsed(), time: self.config.clock.now() };
        let lease = match self.seen.as_ref().and_then(|seen| seen.lease.clone()) {
            Some(lease) => self.replace(&record::taken(lease, &me, self.timing, sent.time), limit).await?,
            None => self.create(&record::first(&self.config.name, &me, self.timing, sent.time, term), limit).await?,
        };
        self.saw(Some(lease));
        Ok(sent)
    }

    /// Gives the Lease back where it is ours, so that another need not wait for its end.
    async fn release(&mut self) {
        if !self.wrote {
            return;
        }
        let clock = self.config.clock.clone();
        let end = clock.elapsed().saturating_add(self.timing.deadline);
        loop {
            match self.try_release(end).await {
                Ok(()) => return,
                Err(failure) if clock.elapsed().saturating_add(self.timing.retry) >= end => {
                    tracing::warn!(error = %failure, "the Lease could not be released; it runs out");
                    return;
                }
                // A last renewal may still be under way and come between.
                Err(failure) if failure.is(409) => {}
                Err(_) => clock.sleep(self.timing.retry).await,
            }
        }
    }

    async fn try_release(&mut self, end: Duration) -> Result<(), Failure> {
        self.look(self.limit(end)).await?;
        let lease = self.seen.as_ref().and_then(|seen| seen.lease.clone());
        if let Some(lease) = lease.filter(|lease| record::holder(lease) == Some(&self.config.identity)) {
            let lease = record::released(lease, self.config.clock.now());
            self.replace(&lease, self.limit(end)).await?;
            tracing::info!(identity = self.config.identity, "the Lease is released");
        }
        Ok(())
    }

    /// How long a request may take that is of use until `end`.
    fn limit(&self, end: Duration) -> Duration {
        self.timing.request.min(end.saturating_sub(self.config.clock.elapsed()))
    }

    fn saw(&mut self, lease: Option<Lease>) {
        let now = self.config.clock.elapsed();
        match &mut self.seen {
            Some(seen) => seen.update(lease, now),
            None => self.seen = Some(Seen { lease, since: now }),
        }
    }

    async fn look(&mut self, limit: Duration) -> Result<(), Failure> {
        let lease = self.within(limit, self.api.get_opt(&self.config.name)).await?;
        self.saw(lease);
        Ok(())
    }

    async fn create(&mut self, lease: &Lease, limit: Duration) -> Result<Lease, Failure> {
        self.wrote = true;
        self.within(limit, self.api.create(&PostParams::default(), lease)).await
    }

    async fn replace(&mut self, lease: &Lease, limit: Duration) -> Result<Lease, Failure> {
        self.wrote = true;
        self.within(limit, self.api.replace(&self.config.name, &PostParams::default(), lease)).await
    }

    async fn within<T>(&self, limit: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        let clock = &self.config.clock;
        tokio::select! {
            biased;
            () = until(clock, clock.elapsed().saturating_add(limit)) => Err(Failure::Late(limit)),
            answer = call => Ok(answer?),
        }
    }
}

/// Returns once the clock that never runs backwards is there, at once where it has been.
async fn until(clock: &Clock, elapsed: Duration) {
    loop {
        let left = elapsed.saturating_sub(clock.elapsed());
        if left.is_zero() {
            return;
        }
        clock.sleep(left).await;
    }
}

/// Why a renewal failed.
enum Trouble {
    Taken(String),
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// How a standby looks at the Lease.
struct Standby {
    /// After a failed attempt: when to try again.
    not_before: Duration,
    /// When the Lease was last read because the watch is not trusted.
    polled: Duration,
    /// The watch tells what happens. It isn't trusted before it has listed, after it broke, and where it missed something.
    trusted: bool,
    /// The list under way has shown the Lease.
    listed: bool,
}

impl Standby {
    /// When to act.
    fn wake(&self, candidate: &Candidate) -> Duration {
        let poll = self.polled.saturating_add(candidate.timing.retry);
        let due = candidate.seen.as_ref().map(|seen| seen.due(&candidate.config.identity, candidate.timing));
        let due = due.map(|due| due.max(self.not_before));
        match (due, self.trusted) {
            (Some(due), true) => due,
            (Some(due), false) => due.min(poll),
            (None, _) => poll,
        }
    }

    /// An event of the watch.
    fn take(&mut self, candidate: &mut Candidate, event: Event<Lease>) {
        let before = candidate.seen.as_ref().map(|seen| seen.since);
        match event {
            Event::Init => self.listed = false,
            Event::InitApply(lease) => {
                self.listed = true;
                candidate.saw(Some(lease));
            }
            Event::InitDone => {
                self.trusted = true;
                if !self.listed {
                    candidate.saw(None);
                }
            }
            Event::Apply(lease) => {
                self.trusted = true;
                candidate.saw(Some(lease));
            }
            Event::Delete(_) => {
                self.trusted = true;
                candidate.saw(None);
            }
        }
        if candidate.seen.as_ref().map(|seen| seen.since) != before {
            self.not_before = Duration::ZERO;
        }
    }

    /// Takes the Lease where it is due, else reads it.
    async fn act(&mut self, candidate: &mut Candidate) -> Option<Sent> {
        let clock = candidate.config.clock.clone();
        let due = candidate.seen.as_ref().map(|seen| seen.due(&candidate.config.identity, candidate.timing));
        if due.is_some_and(|due| due.max(self.not_before) <= clock.elapsed()) {
            match candidate.write(candidate.timing.request, 0).await {
                Ok(sent) => return Some(sent),
                Err(failure) => {
                    tracing::info!(error = %failure, "the Lease could not be taken");
                    self.not_before = clock.elapsed().saturating_add(candidate.timing.retry);
                    // Somebody else was there, and the watch has not told yet.
                    self.trusted &= !(failure.is(409) || failure.is(404));
                }
            }
        }
        if !self.trusted {
            self.polled = clock.elapsed();
            if let Err(failure) = candidate.look(candidate.timing.request).await {
                tracing::warn!(error = %failure, "the Lease can't be read; it is tried again");
            }
        }
        None
    }
}
