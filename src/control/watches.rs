//! Follows watches for ever: how soon a broken one is tried again, when it is begun anew, and who is told that it is back.
//!
//! kube's own pause between attempts grows to half a minute and starts again with every list, so that an outage is felt
//! long after it, and a server that answers 410 to everything is listed without end. Here it grows to five seconds and
//! starts again only after a minute without a failure.
//!
//! Invariant: a watch that can't go on from where it is (410, a version from before a restore) is begun anew, never
//! tried for ever.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use futures::{Stream, StreamExt};
use kube::runtime::watcher::{self, Event};

use crate::clock::Clock;

/// The first and the longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// After so long without a failure the pauses begin again with the first.
const CALM: Duration = Duration::from_secs(60);
/// A watch that has failed and then says nothing for so long has been taken: an idle cluster sends no event.
const TAKEN: Duration = Duration::from_secs(2);
/// After so many failures in a row a watch is begun anew, with a list.
const ANEW: u32 = 8;

/// How the watches of this process are.
#[derive(Debug, Default)]
pub struct Watches {
    broken: AtomicUsize,
    returns: AtomicU64,
    anew: tokio::sync::watch::Sender<()>,
}

impl Watches {
    /// Whether every watch is being followed: what the stores show is what there is.
    pub fn all_well(&self) -> bool {
        self.broken.load(Ordering::SeqCst) == 0
    }

    /// Lets such watches begin anew, with a list, as are asked to.
    pub fn begin_anew(&self) {
        self.anew.send_replace(());
    }

    /// Resolves each time that watches are to begin anew.
    pub fn anew(&self) -> tokio::sync::watch::Receiver<()> {
        self.anew.subscribe()
    }

    /// How often a watch has come back: grows when the API server is there again.
    pub fn returns(&self) -> u64 {
        self.returns.load(Ordering::SeqCst)
    }
}

/// How one watch is.
struct Health<'a> {
    watches: &'a Watches,
    broken: bool,
    failures: u32,
    /// When it failed last.
    last: Duration,
}

impl Health<'_> {
    /// Takes note of a failure; how long to wait, and whether to begin anew then.
    fn failed(&mut self, error: &watcher::Error, now: Duration) -> (Duration, bool) {
        if !std::mem::replace(&mut self.broken, true) {
            self.watches.broken.fetch_add(1, Ordering::SeqCst);
        }
        if now.saturating_sub(self.last) >= CALM {
            self.failures = 0;
        }
        self.last = now;
        let pause = PAUSE.0.saturating_mul(1 << self.failures.min(8)).min(PAUSE.1);
        self.failures = self.failures.saturating_add(1);
        (pause, leads_nowhere(error) || self.failures.is_multiple_of(ANEW))
    }

    /// It works. Whether that is news.
    fn works(&mut self) -> bool {
        if !std::mem::replace(&mut self.broken, false) {
            return false;
        }
        self.watches.broken.fetch_sub(1, Ordering::SeqCst);
        self.watches.returns.fetch_add(1, Ordering::SeqCst);
        true
    }
}

impl Drop for Health<'_> {
    fn drop(&mut self) {
        if self.broken {
            self.watches.broken.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Whether going on from the same version can't help: it is too old, or, after a restore, too new.
fn leads_nowhere(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 410 | 504),
        watcher::Error::WatchError(status) => matches!(status.code, 410 | 504),
        _ => false,
    }
}

/// What kind of failure it is. The text of an error may quote an object, a Secret for one.
fn kind_of(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            format!("{} {}", status.code, status.reason)
        }
        watcher::Error::WatchError(status) => format!("{} {}", status.code, status.reason),
        watcher::Error::InitialListFailed(_) => "the list failed".into(),
        watcher::Error::WatchStartFailed(_) => "the watch could not be started".into(),
        watcher::Error::WatchFailed(_) => "the watch broke off".into(),
        watcher::Error::NoResourceVersion => "the list has no resourceVersion".into(),
    }
}

/// Follows a watch for ever. `begin` begins it, and again when `anew` says so; `back` is called when it works again after
/// a failure.
pub async fn follow<K, S>(
    watches: &Watches,
    clock: &Clock,
    mut anew: Option<tokio::sync::watch::Receiver<()>>,
    begin: impl Fn() -> S,
    mut take: impl FnMut(Event<K>),
    back: impl Fn(),
) where
    S: Stream<Item = watcher::Result<Event<K>>>,
{
    let mut health = Health { watches, broken: false, failures: 0, last: Duration::ZERO };
    let mut stream = Box::pin(begin());
    loop {
        let broken = health.broken;
        let next = tokio::select! {
            biased;
            () = told(&mut anew) => {
                stream.set(begin());
                continue;
            }
            next = stream.next() => next,
            () = taken(clock, broken) => {
                if health.works() {
                    back();
                }
                continue;
            }
        };
        match next {
            Some(Ok(event)) => {
                // The beginning of a list is told before it is asked for.
                if !matches!(event, Event::Init) && health.works() {
                    back();
                }
                take(event);
            }
            Some(Err(error)) => {
                let (pause, list) = health.failed(&error, clock.elapsed());
                let (kind, error) = (std::any::type_name::<K>(), kind_of(&error));
                tracing::warn!(kind, error, "a watch failed and is tried again");
                clock.sleep(pause).await;
                if list {
                    stream.set(begin());
                }
            }
            None => return,
        }
    }
}

/// Resolves when a watch is to begin anew; never for one that nobody tells.
async fn told(anew: &mut Option<tokio::sync::watch::Receiver<()>>) {
    let changed = match anew {
        Some(anew) => anew.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

/// Resolves when a watch that was broken has said nothing for long enough; never for one that works.
async fn taken(clock: &Clock, broken: bool) {
    if broken {
        clock.sleep(TAKEN).await;
    } else {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        collections::VecDeque,
    };

    use futures::{FutureExt, stream};
    use kube::core::Status;

    use super::*;

    type Item = watcher::Result<Event<u32>>;

    fn refused(code: u16) -> watcher::Error {
        watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(Status { code, ..Status::default() })))
    }

    /// What a script of watches came to: at which second each was begun, what was taken, and when one was back.
    #[derive(Default)]
    struct Told {
        begun: RefCell<Vec<f64>>,
        taken: RefCell<Vec<(f64, u32)>>,
        back: RefCell<Vec<f64>>,
        failures: Cell<u32>,
    }

    /// Follows scripted watches, in half seconds, for so many of them. The end of a script is silence.
    fn run(scripts: Vec<Vec<Item>>, halves: u32) -> (Told, Watches) {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let (watches, told) = (Watches::default(), Told::default());
        let scripts = RefCell::new(VecDeque::from(scripts));
        let now = || clock.elapsed().as_secs_f64();
        {
            let begin = || {
                told.begun.borrow_mut().push(now());
                let script = scripts.borrow_mut().pop_front().unwrap_or_default();
                stream::iter(script).chain(stream::pending()).inspect(|item| {
                    told.failures.set(told.failures.get() + u32::from(item.is_err()));
                })
            };
            let take = |event| {
                if let Event::Apply(number) = event {
                    told.taken.borrow_mut().push((now(), number));
                }
            };
            let mut following = Box::pin(follow(&watches, &clock, Some(watches.anew()), begin, take, || {
                told.back.borrow_mut().push(now())
            }));
            for _ in 0..halves {
                assert!(following.as_mut().now_or_never().is_none(), "it ended");
                clock.advance(Duration::from_millis(500));
            }
        }
        (told, watches)
    }

    #[test]
    fn pauses_grow_to_five_seconds_and_no_further() {
        let script: Vec<Item> = (0..7).map(|_| Err(refused(500))).chain([Ok(Event::Apply(1))]).collect();
        let (told, _) = run(vec![script], 200);
        // 0.5 + 1 + 2 + 4 + 5 + 5 + 5: after an outage of any length five seconds at most.
        assert_eq!(*told.taken.borrow(), [(22.5, 1)]);
        assert_eq!(*told.back.borrow(), [22.5]);
    }

    #[test]
    fn pauses_begin_anew_after_a_calm_minute_only() {
        let script: Vec<Item> = vec![Err(refused(500)), Err(refused(500)), Ok(Event::Apply(1))];
        let storm: Vec<Item> = (0..5).map(|_| Err(refused(500))).collect();
        let (told, _) = run(vec![script.into_iter().chain(storm).collect()], 12);
        // In six seconds: at 0, 0.5, 1.5 (with an event between), 3.5; the next pause is 4.
        assert_eq!((told.failures.get(), told.taken.borrow().len()), (4, 1));
    }

    #[test]
    fn a_watch_that_says_nothing_is_back_after_two_seconds() {
        let (told, watches) = run(vec![vec![Err(refused(503))]], 10);
        assert_eq!(*told.back.borrow(), [2.5]);
        assert!(watches.all_well());
        assert_eq!(watches.returns(), 1);
    }

    #[test]
    fn the_beginning_of_a_list_is_no_sign_of_life() {
        let list = || vec![Ok(Event::Init), Err(watcher::Error::NoResourceVersion)];
        let (told, _) = run(vec![list().into_iter().chain(list()).chain(list()).collect()], 7);
        assert_eq!(*told.back.borrow(), [0.0; 0]);
        assert_eq!(told.failures.get(), 3);
    }

    #[test]
    fn a_version_that_leads_nowhere_is_given_up() {
        for code in [410, 504] {
            let (told, _) = run(vec![vec![Err(refused(code))], vec![Ok(Event::Apply(2))]], 4);
            assert_eq!(*told.begun.borrow(), [0.0, 0.5], "{code}");
            assert_eq!(*told.taken.borrow(), [(0.5, 2)], "{code}");
        }
        let (told, _) = run(vec![vec![Err(refused(503)), Ok(Event::Apply(1))]], 4);
        assert_eq!(*told.begun.borrow(), [0.0]);
    }

    #[test]
    fn a_storm_of_410_is_listed_every_five_seconds_at_most() {
        let storm = || vec![Ok(Event::Init), Ok(Event::InitDone), Err(refused(410))];
        let (told, _) = run((0..100).map(|_| storm()).collect(), 120);
        assert!((10..=16).contains(&told.begun.borrow().len()), "{:?}", told.begun.borrow());
    }

    #[test]
    fn a_silent_watch_begins_anew_when_told() {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let (watches, begun, taken) = (Watches::default(), Cell::new(0_u32), RefCell::new(Vec::new()));
        let begin = || {
            begun.set(begun.get() + 1);
            stream::iter([Ok(Event::Apply(begun.get()))]).chain(stream::pending::<Item>())
        };
        let take = |event| taken.borrow_mut().push(event);
        let mut following = Box::pin(follow(&watches, &clock, Some(watches.anew()), begin, take, || {}));
        assert!(following.as_mut().now_or_never().is_none());
        watches.begin_anew();
        assert!(following.as_mut().now_or_never().is_none());
        assert!(following.as_mut().now_or_never().is_none());
        assert_eq!(begun.get(), 2);
        assert!(matches!(taken.borrow()[..], [Event::Apply(1), Event::Apply(2)]));
    }

    #[test]
    fn many_failures_in_a_row_end_in_a_list() {
        let (told, _) = run(vec![(0..20).map(|_| Err(refused(500))).collect()], 80);
        assert_eq!(told.begun.borrow().len(), 2, "{:?}", told.begun.borrow());
    }
}
