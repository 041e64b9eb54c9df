//! Faults on demand: what a network, a proxy or a sick server does to a request.
//!
//! A [`Rule`] says which requests a [`Fault`] is done to. The first installed rule that matches and is not used up wins.
//! Requests that are held (delayed, hanging, parked) wait for [`Faults::release`]; removing a rule releases them too, so
//! that nothing hangs for ever. Nothing here looks at what the servers store, and nothing here logs.
//!
//! In reading order: [`Fault`] (what can be done), [`hub`] and [`kubernetes`] (what such servers do in the field, by name),
//! then the rules below.

pub mod hub;
mod kind;
pub mod kubernetes;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::journal::Server;
use crate::serve::RequestInfo;

pub use kind::{Canned, Deed, Fault, Sent};

/// Accepts or refuses a request.
pub type Predicate = Arc<dyn Fn(&RequestInfo) -> bool + Send + Sync>;

/// Names an installed rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(u64);

/// Which requests a fault is done to.
#[derive(Clone)]
pub struct Rule {
    /// Only requests to this server; `None` means any.
    pub server: Option<Server>,
    /// Only requests that this accepts.
    pub matches: Predicate,
    /// How many matching requests pass first.
    pub skip: u32,
    /// How often the fault is done; `None` means until the rule is removed.
    pub times: Option<u32>,
    /// What is done.
    pub fault: Fault,
}

impl Rule {
    /// A rule for every request, for ever.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self { server: None, matches: Arc::new(|_| true), skip: 0, times: None, fault }
    }

    /// Only requests to this server.
    #[must_use]
    pub fn on(mut self, server: Server) -> Self {
        self.server = Some(server);
        self
    }

    /// Only requests that `accept` accepts as well.
    #[must_use]
    pub fn when(mut self, accept: impl Fn(&RequestInfo) -> bool + Send + Sync + 'static) -> Self {
        let before = self.matches;
        self.matches = Arc::new(move |request| before(request) && accept(request));
        self
    }

    /// Only requests with this method and a path that begins so.
    #[must_use]
    pub fn request(self, method: &str, path_prefix: &str) -> Self {
        let (method, prefix) = (method.to_owned(), path_prefix.to_owned());
        self.when(move |request| request.method == method && request.path.starts_with(&prefix))
    }

    /// The first `count` matching requests pass.
    #[must_use]
    pub fn skip(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    /// At most `count` times.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.times = Some(count);
        self
    }

    /// Once.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("server", &self.server)
            .field("skip", &self.skip)
            .field("times", &self.times)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

/// The fault switches of a sandbox, shared by its servers. Clones share one set.
#[derive(Clone)]
pub struct Faults(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    frozen: watch::Sender<bool>,
    hits: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    rules: Vec<Installed>,
    freeze: Option<Freeze>,
}

struct Installed {
    rule: Rule,
    seen: u32,
    hits: u64,
    /// Gone when the rule is removed, which releases whatever waits.
    release: Option<watch::Sender<()>>,
}

struct Freeze {
    /// How many accepted requests still pass before the one that freezes.
    left: u64,
    accept: Predicate,
    frozen: bool,
    /// Whether the one that freezes is executed.
    execute: bool,
    thaw: watch::Sender<()>,
}

/// Resolves when the holder lets go.
pub(crate) struct Hold(watch::Receiver<()>);

impl Hold {
    /// Waits for the release. A removed rule releases as well.
    pub(crate) async fn released(&mut self) {
        // An error means that the rule is gone, which is a release.
        let _gone = self.0.changed().await;
    }
}

/// What becomes of one request.
pub(crate) enum Verdict {
    /// Nothing: execute and answer.
    Pass,
    /// This fault.
    Apply(Fault, Hold),
    /// Execute or not, then answer nothing until thawed.
    FreezeNow {
        /// Resolves when it is over.
        thaw: Hold,
        /// Whether to execute.
        execute: bool,
    },
    /// Frozen: close without executing.
    Frozen,
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl Faults {
    /// No faults.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            frozen: watch::Sender::new(false),
            hits: watch::Sender::new(0),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule behind those that are there.
    pub fn install(&self, rule: Rule) -> RuleId {
        let mut state = self.lock();
        state.rules.push(Installed { rule, seen: 0, hits: 0, release: Some(watch::Sender::new(())) });
        RuleId(state.rules.len() as u64 - 1)
    }

    /// Ends a rule and releases what it holds. Its hits can still be asked for.
    pub fn remove(&self, id: RuleId) {
        if let Some(installed) = self.lock().rules.get_mut(index(id)) {
            installed.release = None;
        }
    }

    /// Ends every rule and releases what they hold.
    pub fn clear(&self) {
        for installed in &mut self.lock().rules {
            installed.release = None;
        }
    }

    /// Lets go of the requests that the rule holds now.
    pub fn release(&self, id: RuleId) {
        if let Some(release) = self.lock().rules.get(index(id)).and_then(|installed| installed.release.as_ref()) {
            release.send_replace(());
        }
    }

    /// How often the rule's fault was done.
    #[must_use]
    pub fn hits(&self, id: RuleId) -> u64 {
        self.lock().rules.get(index(id)).map_or(0, |installed| installed.hits)
    }

    /// Waits until the rule's fault was done `count` times.
    pub async fn hit(&self, id: RuleId, count: u64) {
        let mut changes = self.0.hits.subscribe();
        while self.hits(id) < count {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Freezes at the `n`-th request from now on that `accept` accepts, counted from 1 over all servers: that one is executed
    /// and not answered, and from then on every accepted request is closed unexecuted until [`Faults::thaw`].
    /// What the system was at that point is what a program that is started anew finds: a crash test's one tool.
    pub fn freeze_at(&self, n: u64, accept: impl Fn(&RequestInfo) -> bool + Send + Sync + 'static) {
        self.freeze(n, true, accept);
    }

    /// The same, but the `n`-th request is not executed either: what a program leaves that ends before it could send it.
    pub fn freeze_before(&self, n: u64, accept: impl Fn(&RequestInfo) -> bool + Send + Sync + 'static) {
        self.freeze(n, false, accept);
    }

    fn freeze(&self, n: u64, execute: bool, accept: impl Fn(&RequestInfo) -> bool + Send + Sync + 'static) {
        self.0.frozen.send_replace(false);
        self.lock().freeze = Some(Freeze {
            left: n.saturating_sub(1),
            accept: Arc::new(accept),
            frozen: false,
            execute,
            thaw: watch::Sender::new(()),
        });
    }

    /// Whether the freeze has happened.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        *self.0.frozen.borrow()
    }

    /// Resolves when the freeze has happened (at once if it has): the request that froze is then executed.
    pub async fn frozen(&self) {
        let mut frozen = self.0.frozen.subscribe();
        // The sender lives as long as `self`.
        let _closed = frozen.wait_for(|frozen| *frozen).await;
    }

    /// Ends the freeze, also one that has not happened. The request that froze is closed without an answer.
    pub fn thaw(&self) {
        self.lock().freeze = None;
        self.0.frozen.send_replace(false);
    }

    /// Says that the request that froze is as far as it gets.
    pub(crate) fn freeze_done(&self) {
        if self.lock().freeze.is_some() {
            self.0.frozen.send_replace(true);
        }
    }

    /// What becomes of this request. Counts it.
    pub(crate) fn judge(&self, request: &RequestInfo) -> Verdict {
        let mut state = self.lock();
        if let Some(freeze) = &mut state.freeze
            && (freeze.accept)(request)
        {
            if freeze.frozen {
                return Verdict::Frozen;
            }
            if freeze.left == 0 {
                freeze.frozen = true;
                return Verdict::FreezeNow { thaw: Hold(freeze.thaw.subscribe()), execute: freeze.execute };
            }
            freeze.left -= 1;
        }
        for installed in &mut state.rules {
            let Some(release) = &installed.release else { continue };
            let rule = &installed.rule;
            if rule.server.is_some_and(|server| server != request.server) || !(rule.matches)(request) {
                continue;
            }
            if installed.seen < rule.skip {
                installed.seen += 1;
                continue;
            }
            if rule.times.is_some_and(|times| installed.hits >= u64::from(times)) {
                continue;
            }
            installed.hits += 1;
            let verdict = Verdict::Apply(rule.fault.clone(), Hold(release.subscribe()));
            drop(state);
            self.0.hits.send_modify(|hits| *hits += 1);
            return verdict;
        }
        Verdict::Pass
    }
}

fn index(id: RuleId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("rules", &self.lock().rules.len()).finish()
    }
}
