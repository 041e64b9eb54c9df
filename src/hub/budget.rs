//! Who may send now: how many calls at once, how many are left of this minute, and how long Docker Hub wants silence.
//!
//! Invariant: while a pause lasts, nothing is sent. A pause that a server asks for lasts an hour at most, and one that a
//! clock which was set back would make longer is void.

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Urgency;

/// How long to be silent when asked to without a time that makes sense.
const DEFAULT_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// The longest silence that a server may ask for.
const MAX_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// What is known of the calls that are left.
#[derive(Debug, Default)]
pub(super) struct Budget {
    pause: Option<Timestamp>,
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    limit: u64,
    remaining: u64,
    reset: Timestamp,
}

/// Why nothing may be sent, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Paused(Timestamp),
    Reserved(Timestamp),
}

impl Budget {
    /// Takes one call out of the budget, or says until when none may be sent.
    pub fn admit(&mut self, urgency: Urgency, now: Timestamp) -> Result<(), Refused> {
        if let Some(until) = self.paused(now) {
            return Err(Refused::Paused(until));
        }
        let Some(window) = self.window.as_mut().filter(|window| ahead(window.reset, now)) else {
            self.window = None;
            return Ok(());
        };
        let reserve = match urgency {
            Urgency::Urgent => 0,
            Urgency::Normal => window.limit / 5,
        };
        match window.remaining {
            0 => return Err(Refused::Paused(window.reset)),
            remaining if remaining <= reserve => return Err(Refused::Reserved(window.reset)),
            _ => window.remaining -= 1,
        }
        Ok(())
    }

    /// Until when nothing may be sent.
    pub fn paused(&self, now: Timestamp) -> Option<Timestamp> {
        self.pause.filter(|pause| ahead(*pause, now))
    }

    /// Takes note of an answer's `X-RateLimit-*` headers. Returns how many calls are left.
    pub fn note(&mut self, headers: &HeaderMap, now: Timestamp) -> Option<u64> {
        let remaining = number(headers, "x-ratelimit-remaining")?;
        let reset = number(headers, "x-ratelimit-reset")
            .and_then(|seconds| Timestamp::from_second(i64::try_from(seconds).ok()?).ok())
            .filter(|reset| ahead(*reset, now))
            .unwrap_or_else(|| after(now, DEFAULT_PAUSE));
        let limit = number(headers, "x-ratelimit-limit").unwrap_or(remaining).max(remaining);
        match &mut self.window {
            // Answers overtake one another: within a window the least is right.
            Some(window) if window.reset == reset => {
                window.limit = window.limit.max(limit);
                window.remaining = window.remaining.min(remaining);
            }
            Some(window) if reset < window.reset && ahead(window.reset, now) => {}
            window => *window = Some(Window { limit, remaining, reset }),
        }
        Some(remaining)
    }

    /// Takes note of a 429: silence until the time returned.
    pub fn pause(&mut self, headers: &HeaderMap, now: Timestamp) -> Timestamp {
        let until = retry_after(headers, now).unwrap_or_else(|| after(now, DEFAULT_PAUSE));
        let until = self.paused(now).map_or(until, |pause| pause.max(until));
        self.pause = Some(until);
        until
    }
}

/// Whether a time is still to come, and not so far off that only a wrong clock can have made it.
fn ahead(time: Timestamp, now: Timestamp) -> bool {
    now < time && time.duration_since(now) <= MAX_PAUSE
}

fn after(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// `Retry-After` as seconds or as a date, at most an hour. None where it is absent, garbage or past.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time.
        SignedDuration::from_secs(text.parse().unwrap_or(i64::MAX))
    } else {
        rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?.duration_since(now)
    };
    wait.is_positive().then(|| after(now, wait.min(MAX_PAUSE)))
}

/// How many calls are under way at once.
///
/// Normal calls stand in their own line first, so that an urgent one never waits behind a line of them.
#[derive(Debug)]
pub(super) struct Gate {
    all: Semaphore,
    normal: Semaphore,
}

/// The right to have one call under way.
pub(super) struct Pass<'a> {
    // Given back in this order: an urgent call that waits is served before the next normal one steps up.
    _all: SemaphorePermit<'a>,
    _normal: Option<SemaphorePermit<'a>>,
}

impl Gate {
    /// `all` calls at once, `reserve` of them urgent ones only.
    pub fn new(all: usize, reserve: usize) -> Self {
        Self { all: Semaphore::new(all), normal: Semaphore::new(all.saturating_sub(reserve)) }
    }

    /// Waits for its turn. None once the gate is closed.
    pub async fn pass(&self, urgency: Urgency) -> Option<Pass<'_>> {
        let normal = match urgency {
            Urgency::Urgent => None,
            Urgency::Normal => Some(self.normal.acquire().await.ok()?),
        };
        Some(Pass { _all: self.all.acquire().await.ok()?, _normal: normal })
    }

    /// Lets nobody through any more.
    pub fn close(&self) {
        self.all.close();
        self.normal.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW.as_second() + seconds).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[track_caller]
    fn pause(value: Option<&str>, seconds: i64) {
        let headers = value.map(|value| headers(&[("retry-after", value)])).unwrap_or_default();
        let mut budget = Budget::default();
        assert_eq!(budget.pause(&headers, NOW), at(seconds), "{value:?}");
        assert_eq!(budget.admit(Urgency::Urgent, at(seconds - 1)), Err(Refused::Paused(at(seconds))));
        assert_eq!(budget.admit(Urgency::Normal, at(seconds)), Ok(()));
    }

    #[test]
    fn retry_after_is_obeyed_within_reason() {
        pause(Some("7"), 7);
        pause(Some("3600"), 3600);
        pause(Some("86400"), 3600);
        pause(Some("99999999999999999999999999"), 3600);
        pause(Some("0"), 60);
        pause(Some("-5"), 60);
        pause(Some("soon"), 60);
        pause(Some(""), 60);
        pause(Some("1.5"), 60);
        pause(None, 60);
        pause(Some("Fri, 15 Jan 2027 08:01:30 GMT"), 90);
        pause(Some("Fri, 15 Jan 2027 07:00:00 GMT"), 60);
        pause(Some("Thu, 15 Jan 2032 07:00:00 GMT"), 3600);
    }

    #[test]
    fn a_later_pause_is_not_cut_short_and_a_clock_set_back_voids_it() {
        let mut budget = Budget::default();
        budget.pause(&headers(&[("retry-after", "600")]), NOW);
        assert_eq!(budget.pause(&headers(&[("retry-after", "5")]), NOW), at(600));
        assert_eq!(budget.admit(Urgency::Normal, at(-86_400)), Ok(()));
    }

    #[test]
    fn a_fifth_is_kept_for_urgent_calls() {
        let mut budget = Budget::default();
        let reset = at(30).as_second().to_string();
        let seen = [("x-ratelimit-limit", "10"), ("x-ratelimit-remaining", "4"), ("x-ratelimit-reset", &reset)];
        assert_eq!(budget.note(&headers(&seen), NOW), Some(4));
        assert_eq!(budget.admit(Urgency::Normal, NOW), Ok(()));
        assert_eq!(budget.admit(Urgency::Normal, NOW), Ok(()));
        assert_eq!(budget.admit(Urgency::Normal, NOW), Err(Refused::Reserved(at(30))));
        // An answer that was overtaken doesn't give calls back.
        budget.note(&headers(&seen), NOW);
        assert_eq!(budget.admit(Urgency::Normal, NOW), Err(Refused::Reserved(at(30))));
        assert_eq!(budget.admit(Urgency::Urgent, NOW), Ok(()));
        assert_eq!(budget.admit(Urgency::Urgent, NOW), Ok(()));
        assert_eq!(budget.admit(Urgency::Urgent, NOW), Err(Refused::Paused(at(30))));
        assert_eq!(budget.admit(Urgency::Normal, at(30)), Ok(()));
    }

    #[test]
    fn odd_rate_headers_do_no_harm() {
        let mut budget = Budget::default();
        assert_eq!(budget.note(&headers(&[("x-ratelimit-remaining", "many")]), NOW), None);
        assert_eq!(budget.admit(Urgency::Normal, NOW), Ok(()));
        budget.note(&headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "99999999999999")]), NOW);
        assert_eq!(budget.admit(Urgency::Urgent, NOW), Err(Refused::Paused(at(60))));
        assert_eq!(budget.admit(Urgency::Urgent, at(60)), Ok(()));
    }

    #[tokio::test]
    async fn urgent_calls_do_not_wait_behind_normal_ones() {
        use futures::FutureExt;
        let gate = Gate::new(3, 1);
        let first = gate.pass(Urgency::Normal).await.unwrap();
        let _second = gate.pass(Urgency::Normal).await.unwrap();
        let mut third = Box::pin(gate.pass(Urgency::Normal));
        assert!(third.as_mut().now_or_never().is_none());
        let _urgent = gate.pass(Urgency::Urgent).now_or_never().flatten().expect("a place is kept");
        let mut waiting = Box::pin(gate.pass(Urgency::Urgent));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "the urgent call is first");
        assert!(waiting.as_mut().now_or_never().flatten().is_some());
        gate.close();
        assert!(gate.pass(Urgency::Urgent).await.is_none());
    }
}
