//! When: expiry, renewal, waking up, and how long to wait after a failure.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Drift, Remembered, View};
use crate::api::{
    valid::{Expiry, RenewBefore, Wanted},
    windows,
};

/// The longest wait after a failure.
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// When to look again where the time that was waited for has passed and nothing has changed.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// How long before its expiry a token is given up for its replacement where no place is left; less for short lives.
pub(super) const MARGIN: Duration = Duration::from_secs(3600);
/// The least time between two rotations that somebody asked for.
pub(super) const DISTANCE: Duration = Duration::from_secs(10);
/// How far our clock may be ahead of Docker Hub's.
const SKEW: Duration = Duration::from_secs(60);
/// How often a token is compared with Docker Hub in all its parts.
const INSPECTION: Duration = Duration::from_secs(24 * 3600);
/// How long after a look that led to a correction the next one comes, which shows whether it holds.
const REINSPECTION: Duration = Duration::from_secs(300);

/// From when on the life of a token that was made now counts: by Docker Hub's time, unless our clock is far ahead of it.
/// By Docker Hub's time the token may then be due already, and so would each successor be.
pub fn beginning(told: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let now = whole(now);
    told.filter(|told| between(*told, now) <= SKEW).unwrap_or(now)
}

/// When a token that is made now expires; whole seconds, as Docker Hub keeps them.
pub fn expiration(expiry: &Expiry, now: Timestamp) -> Option<Timestamp> {
    match expiry {
        Expiry::After(lifetime) => Some(whole(now.saturating_add(*lifetime).unwrap_or(Timestamp::MAX))),
        Expiry::At(time) => Some(whole(*time)),
        Expiry::Never => None,
    }
}

/// When a token is to be replaced, and by which rule. `None` if no rule says so.
///
/// A fixed time of expiry is not renewed past: a new token would expire at the same time.
/// A token is never renewed in the first half of its life, however its expiry came out, so that a Docker Hub that
/// shortens lifetimes can't make us mint without end.
///
/// Where there are windows it is the first moment from then on that lies in one: of those that are still to come, once
/// it was missed. Near expiry windows yield.
pub fn renewal(wanted: &Wanted, token: &Remembered, uid: &str, now: Timestamp) -> Option<(Timestamp, &'static str)> {
    let (due, rule) = due(wanted, token, uid)?;
    let windows = &wanted.rotation.windows;
    if windows.is_empty() || (due <= now && windows.iter().any(|window| window.contains(now))) {
        return Some((due, rule));
    }
    let open = windows::first(windows, due.max(now));
    let yields = token.expires.map(|expires| minus(expires, part_of(token, expires, 6 * MARGIN, 5)).max(due));
    match (open, yields) {
        (Some(open), Some(yields)) if yields < open => {
            Some((whole(yields), "expiry is near and no window is open before"))
        }
        (Some(open), _) => Some((whole(open), rule)),
        (None, yields) => yields.map(|time| (whole(time), "expiry is near and no window is open before")),
    }
}

/// Whether a token is due and only waits for a window.
pub(super) fn waits_for_window(wanted: &Wanted, token: &Remembered, uid: &str, now: Timestamp) -> bool {
    let is_due = due(wanted, token, uid).is_some_and(|(time, _)| time <= now);
    is_due && renewal(wanted, token, uid, now).is_some_and(|(time, _)| time > now)
}

/// A time, or that part of a short life.
fn part_of(token: &Remembered, expires: Timestamp, most: Duration, part: u32) -> Duration {
    token.created.map_or(most, |created| most.min(between(created, expires) / part))
}

/// Until when a token may keep its place though its replacement finds none.
pub(super) fn last_safe_moment(token: &Remembered) -> Option<Timestamp> {
    token.expires.map(|expires| minus(expires, part_of(token, expires, MARGIN, 10)))
}

/// From when on users are told that a token expires, if nothing has replaced it by then: a fifth of its life before, a
/// week at most.
pub(super) fn warning(token: &Remembered) -> Option<Timestamp> {
    let expires = token.expires?;
    Some(whole(minus(expires, part_of(token, expires, Duration::from_secs(7 * 24 * 3600), 5))))
}

/// Until when a rotation that somebody asks for waits. The first one after a create is free.
pub(super) fn distance(token: &Remembered) -> Option<Timestamp> {
    token.created.filter(|_| token.sequence > 1).map(|created| plus(created, DISTANCE))
}

/// When the current token is next compared with Docker Hub in all its parts: daily, spread over an hour, and soon after a
/// correction.
pub(super) fn inspection(view: &View) -> Timestamp {
    let wait = match view.session.drift {
        Drift::Corrected(_) => REINSPECTION,
        _ => INSPECTION + jitter(&view.object.uid, INSPECTION * 5),
    };
    plus(view.session.inspected, wait)
}

/// When a token is due by the rules alone, and by which.
fn due(wanted: &Wanted, token: &Remembered, uid: &str) -> Option<(Timestamp, &'static str)> {
    let rules = &wanted.rotation;
    if !rules.automatic {
        return None;
    }
    let created = token.created?;
    let by_expiry = token.expires.filter(|_| matches!(wanted.expiry, Expiry::After(_))).map(|expires| {
        let lifetime = between(created, expires);
        let before = match rules.before {
            RenewBefore::Third => lifetime / 3,
            RenewBefore::Duration(before) => before,
            RenewBefore::Percentage(percentage) => lifetime / 100 * u32::from(percentage),
        };
        let due = minus(expires, before + jitter(uid, before));
        (due.max(plus(created, lifetime / 2)), "renewBefore")
    });
    let by_interval = rules.interval.map(|interval| (plus(created, interval), "interval"));
    by_expiry.into_iter().chain(by_interval).map(|(time, rule)| (whole(time), rule)).min()
}

/// Spreads the renewals of objects that were made together: up to a hundredth of the time before expiry, at most an
/// hour, always earlier. From the uid, so that it is the same after a restart.
fn jitter(uid: &str, before: Duration) -> Duration {
    let most = (before / 100).min(Duration::from_secs(3600)).as_secs();
    let hash = Sha256::digest(uid);
    let number = hash.iter().take(4).fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
    Duration::from_secs(number % (most + 1))
}

/// How long to wait after so many failures: 1 s, doubling, at most 5 minutes, and less as expiry comes near.
pub fn backoff(failures: u32, left: Option<Duration>) -> Duration {
    let doubled = Duration::from_secs(1 << failures.saturating_sub(1).min(9)).min(LONGEST);
    match left {
        Some(left) => doubled.min((left / 20).max(Duration::from_secs(1))),
        None => doubled,
    }
}

/// When to look at a resting object again: the next renewal, revocation, expiry or retry.
pub fn wake(view: &View, now: Timestamp) -> Option<Timestamp> {
    if view.object.deleting.is_some() {
        let abandon = view.object.deleting.map(|since| plus(since, view.session.abandon_after));
        return abandon.filter(|time| *time > now);
    }
    let token = view.memory.token.as_ref();
    let renewal = match (&view.object.wanted, token) {
        (Ok(wanted), Some(token)) => renewal(wanted, token, &view.object.uid, now).map(|(time, _)| time),
        _ => None,
    };
    let inspection = token.map(|_| inspection(view));
    let warning = token.and_then(warning);
    let previous = view.memory.previous.iter().map(|previous| previous.revocation);
    let expiry = token.and_then(|token| token.expires);
    let retry = view.failure().map(|failure| failure.not_before);
    let times = renewal.into_iter().chain(previous).chain(expiry).chain(retry).chain(inspection).chain(warning);
    // The end of time never comes.
    times.filter(|time| *time > now && *time < Timestamp::MAX).min()
}

/// A moment without its fraction of a second: statuses and Docker Hub keep no more.
pub fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The time from one moment to a later one; nothing if it is not later.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// A moment so much later.
pub fn plus(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// A moment so much earlier.
pub fn minus(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_sub(duration).unwrap_or(Timestamp::MIN)
}
