//! The only place that asks for the time.
//!
//! Everything else receives a [`Clock`], so that plans are functions of their arguments and tests hold time still.
//!
//! Invariant: no other module calls `Timestamp::now`, `Instant::now` or `SystemTime::now` (`clippy.toml` denies it).

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// How often the machine's clock is looked at by who waits for a time of day, or for its being set.
const LOOK: Duration = Duration::from_secs(60);

/// Where the time comes from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { origin: tokio::time::Instant },
    Manual(Arc<Manual>),
    Following(Arc<Following>),
}

/// The state of a clock that only moves when told to.
#[derive(Debug)]
struct Manual {
    start: Timestamp,
    now: watch::Sender<Timestamp>,
}

/// The state of a clock that runs as fast as tokio's, from a start of its own.
#[derive(Debug)]
struct Following {
    start: Timestamp,
    origin: tokio::time::Instant,
    /// By how much it was set, against the start.
    set_by: watch::Sender<SignedDuration>,
}

impl Following {
    fn now(&self) -> Timestamp {
        let ran = SignedDuration::try_from(self.origin.elapsed()).unwrap_or(SignedDuration::MAX);
        let now = self.start.saturating_add(ran).unwrap_or(Timestamp::MAX);
        now.saturating_add(*self.set_by.borrow()).unwrap_or(now)
    }
}

impl Clock {
    /// The machine's clock.
    #[allow(clippy::disallowed_methods, reason = "this module is where the time comes from")]
    pub fn system() -> Self {
        Self(Source::System { origin: tokio::time::Instant::now() })
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        let manual = Manual { start, now: watch::Sender::new(start) };
        Self(Source::Manual(Arc::new(manual)))
    }

    /// A clock that shows `start` now and then runs as fast as tokio's time, which a simulation may hold and skip, and a
    /// sandbox run faster.
    #[allow(clippy::disallowed_methods, reason = "this module is where the time comes from")]
    pub fn following(start: Timestamp) -> Self {
        let (origin, set_by) = (tokio::time::Instant::now(), watch::Sender::new(SignedDuration::ZERO));
        Self(Source::Following(Arc::new(Following { start, origin, set_by })))
    }

    /// The time of day, UTC.
    #[allow(clippy::disallowed_methods, reason = "this module is where the time comes from")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => Timestamp::now(),
            Source::Manual(manual) => *manual.now.borrow(),
            Source::Following(following) => following.now(),
        }
    }

    /// Time that never runs backwards, counted from the clock's making. For leases and time-outs.
    #[allow(clippy::disallowed_methods, reason = "this module is where the time comes from")]
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { origin } => origin.elapsed(),
            Source::Manual(manual) => {
                let passed = manual.now.borrow().duration_since(manual.start);
                Duration::try_from(passed).unwrap_or_default()
            }
            Source::Following(following) => following.origin.elapsed(),
        }
    }

    /// Moves a manual clock on. The machine's clock does not take orders: there it does nothing.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            manual.now.send_modify(|now| *now = now.saturating_add(by).unwrap_or(Timestamp::MAX));
        }
    }

    /// Sets a following clock forward or back, as people and time servers do; its [`Clock::elapsed`] goes on as it was.
    /// Others do not take orders: there it does nothing.
    pub fn set_by(&self, by: SignedDuration) {
        if let Source::Following(following) = &self.0 {
            following.set_by.send_modify(|set_by| *set_by = set_by.saturating_add(by));
        }
    }

    /// Returns once this clock has been set back by more than `by`: against the time that never runs backwards, and since
    /// this was called. A manual clock never is.
    pub async fn is_set_back(&self, by: Duration) {
        let ahead = || {
            let ran = SignedDuration::try_from(self.elapsed()).unwrap_or(SignedDuration::MAX);
            self.now().duration_since(Timestamp::UNIX_EPOCH).saturating_sub(ran)
        };
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        let mut set = match &self.0 {
            Source::Following(following) => Some(following.set_by.subscribe()),
            Source::System { .. } => None,
            Source::Manual(_) => std::future::pending().await,
        };
        let mut most = ahead();
        while most.saturating_sub(ahead()) <= by {
            most = most.max(ahead());
            match &mut set {
                Some(set) => _ = set.changed().await,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Returns once `deadline` has come. At once where it has passed.
    ///
    /// On the machine's clock it looks at the time of day again at least every minute, so that a clock that is set
    /// or a machine that slept is noticed.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        match &self.0 {
            Source::System { .. } => loop {
                let left = Duration::try_from(deadline.duration_since(self.now())).unwrap_or_default();
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LOOK)).await;
            },
            Source::Manual(manual) => {
                let mut now = manual.now.subscribe();
                // The sender lives in `self`, so waiting can't fail.
                let _ = now.wait_for(|now| *now >= deadline).await;
            }
            Source::Following(following) => {
                let mut set = following.set_by.subscribe();
                loop {
                    let left = Duration::try_from(deadline.duration_since(following.now())).unwrap_or_default();
                    if left.is_zero() {
                        return;
                    }
                    // Looking again each minute would make idle time expensive: this one knows when it is set.
                    tokio::select! {
                        () = tokio::time::sleep(left) => {}
                        _ = set.changed() => {}
                    }
                }
            }
        }
    }

    /// Returns after `duration`.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System { .. } | Source::Following(_) => tokio::time::sleep(duration).await,
            Source::Manual(manual) => {
                let deadline = manual.now.borrow().saturating_add(duration).unwrap_or(Timestamp::MAX);
                self.sleep_until(deadline).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_it_is_moved() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let sleeper = {
            let clock = clock.clone();
            tokio::spawn(async move { clock.sleep(Duration::from_secs(90)).await })
        };
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(89));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!(clock.elapsed(), Duration::from_secs(90));
    }

    #[tokio::test(start_paused = true)]
    async fn a_following_clock_runs_with_tokios_and_can_be_set() {
        let clock = Clock::following(Timestamp::UNIX_EPOCH);
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        clock.sleep_until(at(86_400)).await;
        assert_eq!((clock.now(), clock.elapsed()), (at(86_400), Duration::from_secs(86_400)));
        let hour = SignedDuration::from_hours(1);
        clock.set_by(-hour);
        assert_eq!((clock.now(), clock.elapsed()), (at(82_800), Duration::from_secs(86_400)));
        // Who sleeps notices that it is set.
        let (sleeper, setter) = (clock.clone(), clock.clone());
        tokio::join!(sleeper.sleep_until(at(90_000)), async move {
            setter.sleep(Duration::from_secs(60)).await;
            setter.set_by(hour * 2);
        });
        assert_eq!((clock.now(), clock.elapsed()), (at(90_060), Duration::from_secs(86_460)));
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), at(90_061));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_is_noticed() {
        let (clock, minute) = (Clock::following(Timestamp::UNIX_EPOCH), SignedDuration::from_mins(1));
        let watched = clock.clone();
        let set_back = tokio::spawn(async move { watched.is_set_back(Duration::from_secs(60)).await });
        let set = async |by: SignedDuration| {
            clock.set_by(by);
            clock.sleep(Duration::from_secs(5)).await;
            set_back.is_finished()
        };
        tokio::task::yield_now().await;
        assert!(!set(-minute).await, "no more than that");
        assert!(!set(minute * 600).await, "forward");
        assert!(!set(-minute).await);
        assert!(set(-SignedDuration::from_secs(1)).await, "more than that in sum");
    }
}
