//! Times: renewal, expiry, waking, backoff, jitter; at the edges of time too.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::build::*;
use crate::{
    api::{
        conditions::Reason,
        valid::{Expiry, RenewBefore},
    },
    plan::{Remembered, schedule::*},
};

fn renews(change: impl FnOnce(&mut crate::api::valid::Wanted), token: impl FnOnce(&mut Remembered)) -> String {
    let (mut wanted, mut remembered) = (wanted(), remembered(1));
    change(&mut wanted);
    token(&mut remembered);
    match renewal(&wanted, &remembered, "uid-1", now()) {
        Some((time, rule)) => format!("{time} {rule}"),
        None => "never".into(),
    }
}

#[test]
fn when_a_token_is_renewed() {
    let same = |_: &mut Remembered| {};
    let before = |before| move |wanted: &mut crate::api::valid::Wanted| wanted.rotation.before = before;
    // Made on 2026-11-21, expires on 2027-02-19; the jitter of this uid for 30 days is 4 min 42 s.
    assert_eq!(renews(|_| {}, same), "2027-01-19T23:55:18Z renewBefore");
    assert_eq!(renews(before(RenewBefore::Duration(hours(1))), same), "2027-02-18T22:59:41Z renewBefore");
    assert_eq!(renews(before(RenewBefore::Duration(seconds(1))), same), "2027-02-18T23:59:59Z renewBefore");
    assert_eq!(renews(before(RenewBefore::Percentage(10)), same), "2027-02-09T23:55:18Z renewBefore");
    // Never in the first half of its life, so that a Docker Hub that shortens lifetimes doesn't make us mint for ever.
    assert_eq!(renews(before(RenewBefore::Percentage(99)), same), "2027-01-05T00:00:00Z renewBefore");
    assert_eq!(renews(before(RenewBefore::Duration(days(400))), same), "2027-01-05T00:00:00Z renewBefore");
    assert_eq!(
        renews(before(RenewBefore::Duration(days(30))), |token| token.expires = Some(ago(days(9)))),
        "2026-11-21T12:00:00Z renewBefore"
    );
    let interval = |days| move |wanted: &mut crate::api::valid::Wanted| wanted.rotation.interval = Some(days);
    assert_eq!(renews(interval(days(12)), same), "2026-12-03T00:00:00Z interval");
    assert_eq!(renews(interval(days(89)), same), "2027-01-19T23:55:18Z renewBefore");
    let never = |wanted: &mut crate::api::valid::Wanted| {
        wanted.expiry = Expiry::Never;
        wanted.rotation.interval = Some(days(12));
    };
    assert_eq!(renews(never, |token| token.expires = None), "2026-12-03T00:00:00Z interval");
    assert_eq!(renews(|wanted| wanted.expiry = Expiry::Never, |token| token.expires = None), "never");
    assert_eq!(renews(|wanted| wanted.expiry = Expiry::At(ahead(days(80))), same), "never");
    assert_eq!(renews(|wanted| wanted.rotation.automatic = false, same), "never");
    assert_eq!(renews(|_| {}, |token| token.created = None), "never");
}

#[test]
fn when_a_token_that_is_made_now_expires() {
    let odd = now() + jiff::SignedDuration::from_millis(1700);
    assert_eq!(expiration(&Expiry::After(hours(1)), odd), Some(at("2026-12-01T01:00:01Z")));
    assert_eq!(expiration(&Expiry::At(odd), now()), Some(at("2026-12-01T00:00:01Z")));
    assert_eq!(expiration(&Expiry::Never, now()), None);
    assert_eq!(expiration(&Expiry::After(Duration::MAX), now()).map(|time| time > now()), Some(true));
}

#[test]
fn a_life_counts_from_docker_hubs_time_unless_our_clock_is_far_ahead_of_it() {
    let counts_from = |told: Option<Timestamp>| beginning(told, now());
    assert_eq!(counts_from(Some(ago(seconds(60)))), ago(seconds(60)));
    assert_eq!(counts_from(Some(ago(seconds(61)))), now());
    assert_eq!(counts_from(Some(ahead(days(3)))), ahead(days(3)), "ours may be behind");
    assert_eq!(counts_from(None), now());
    assert_eq!(beginning(None, now() + Duration::from_millis(900)), now(), "whole seconds");
}

#[test]
fn waits_double_up_to_five_minutes() {
    let waits: Vec<_> = (0..12).map(|failures| backoff(failures, None).as_secs()).collect();
    assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(backoff(u32::MAX, None), seconds(300));
    // A twentieth of what is left, but never less than a second.
    assert_eq!(backoff(20, Some(minutes(20))), seconds(60));
    assert_eq!(backoff(20, Some(seconds(10))), seconds(1));
    assert_eq!(backoff(20, Some(Duration::ZERO)), seconds(1));
    assert_eq!(backoff(20, Some(Duration::MAX)), seconds(300));
}

#[test]
fn jitter_is_the_same_after_a_restart_and_differs_between_objects() {
    let due = |uid: &str| renewal(&wanted(), &remembered(1), uid, now()).unwrap().0;
    assert_eq!(due("a"), due("a"));
    let many: std::collections::BTreeSet<_> = (0..100).map(|i| due(&format!("uid-{i}"))).collect();
    assert!(many.len() > 90, "{}", many.len());
    let latest = ahead(days(50));
    assert!(many.iter().all(|time| *time <= latest && between(*time, latest) <= hours(1)));
}

#[test]
fn what_wakes_a_resting_object() {
    let wakes = |case: Case| wake(&case.view, case.now);
    assert_eq!(wakes(fresh()), None);
    assert_eq!(wakes(settled()), Some(at("2027-01-19T23:55:18Z")));
    assert_eq!(wakes(settled().after(days(60))), Some(ahead(days(73))), "to warn of its end");
    assert_eq!(wakes(settled().after(days(75))), Some(ahead(days(80))));
    assert_eq!(wakes(settled().after(days(90))), None);
    assert_eq!(wakes(settled().manual()), Some(ahead(days(73))));
    assert_eq!(wakes(settled().invalid()), Some(ahead(days(73))));
    let inspected = settled().manual().with(|view| view.session.inspected = now());
    assert_eq!(wakes(inspected), Some(at("2026-12-02T00:04:42Z")), "to compare all its parts");
    assert_eq!(wakes(settled_at(2).previous(1, ahead(minutes(9)))), Some(ahead(minutes(9))));
    assert_eq!(wakes(settled().failed("create", Reason::HubUnavailable, 1, seconds(7))), Some(ahead(seconds(7))));
    assert_eq!(wakes(settled().failed("create", Reason::HubUnavailable, 1, seconds(7)).edited()), wakes(settled()));
    assert_eq!(wakes(settled().deleting(minutes(4))), Some(ahead(minutes(6))));
    assert_eq!(wakes(settled().deleting(minutes(11))), None);
}

/// Any moment that can be written, the first and the last among them.
fn moment() -> impl Strategy<Value = Timestamp> {
    let any = (Timestamp::MIN.as_second()..=Timestamp::MAX.as_second())
        .prop_map(|second| Timestamp::from_second(second).unwrap());
    prop_oneof![8 => any, 1 => Just(Timestamp::MIN), 1 => Just(Timestamp::MAX)]
}

fn length() -> impl Strategy<Value = Duration> {
    let any = (any::<u64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos));
    let common = (0..400 * 86_400u64).prop_map(seconds);
    prop_oneof![1 => any, 8 => common, 1 => Just(Duration::MAX)]
}

fn before() -> impl Strategy<Value = RenewBefore> {
    prop_oneof![
        Just(RenewBefore::Third),
        (1..100u8).prop_map(RenewBefore::Percentage),
        (1..400 * 86_400u64).prop_map(|number| RenewBefore::Duration(seconds(number))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_renewal_lies_within_a_tokens_life(
        lifetime in 10..87_600 * 3600u64,
        before in before(),
        interval in proptest::option::of(10..87_600 * 3600u64),
        uid in "[a-z0-9-]{1,36}",
    ) {
        let mut wanted = wanted();
        wanted.expiry = Expiry::After(seconds(lifetime));
        wanted.rotation.before = before;
        wanted.rotation.interval = interval.map(seconds);
        let token = Remembered { expires: Some(ago(days(10)) + seconds(lifetime)), ..remembered(1) };
        let (due, rule) = renewal(&wanted, &token, &uid, now()).unwrap();
        prop_assert!(Some(due) > token.created, "{due}");
        prop_assert!(rule == "interval" || Some(due) < token.expires, "{due}");
        // The rule by expiry alone never comes in the first half.
        wanted.rotation.interval = None;
        let (due, _) = renewal(&wanted, &token, &uid, now()).unwrap();
        prop_assert!(between(ago(days(10)), due) >= seconds(lifetime / 2));
    }

    #[test]
    fn no_time_is_too_early_or_too_late(
        now in moment(), created in moment(), expires in proptest::option::of(moment()),
        lifetime in length(), before in before(), interval in proptest::option::of(length()),
        revocation in moment(), since in moment(), overlap in length(), failures in any::<u32>(),
    ) {
        let base = settled_at(2).previous(1, revocation).spec(|wanted| {
            wanted.expiry = Expiry::After(lifetime);
            wanted.rotation.before = before;
            wanted.rotation.interval = interval;
            wanted.rotation.overlap = overlap;
        });
        let base = base.token(|token| (token.created, token.expires) = (Some(created), expires));
        let base = base.with(|view| view.session.abandon_after = overlap);
        let base = base.failed("create", Reason::HubUnavailable, failures, seconds(1));
        for case in [
            base.clone(),
            base.clone().proved(3),
            base.clone().proved(3).secret_holds(3),
            base.clone().listed_ago(Duration::ZERO).total(10).rotate("x"),
            base.clone().with(|view| view.object.deleting = Some(since)),
            base.with(|view| view.object.deleting = Some(since)).secret_absent().no_list(),
        ] {
            let mut case = Case { now, ..case };
            let answer = crate::plan::decide(&case.view, now);
            prop_assert_eq!(&answer, &crate::plan::decide(&case.view, now));
            if let crate::plan::Decision::Rest(rest) = &answer {
                prop_assert!(rest.wake.is_none_or(|wake| wake > now), "{:?} is no time to wake at {now}", rest.wake);
            }
            if let crate::plan::Decision::Step(step) = answer {
                let outcome = crate::plan::Outcome::Failed(trouble(Reason::HubUnavailable));
                case.view.absorb(&step, outcome, now);
            }
        }
    }

    #[test]
    fn later_is_not_sooner(one in moment(), other in moment(), by in length()) {
        let (early, late) = (one.min(other), one.max(other));
        prop_assert!(plus(early, by) <= plus(late, by));
        prop_assert!(minus(early, by) <= minus(late, by));
        prop_assert!(plus(early, by) >= early && minus(early, by) <= early);
        prop_assert_eq!(between(late, early), if one == other { between(early, late) } else { Duration::ZERO });
        prop_assert_eq!(plus(early, between(early, late)), late);
    }

    #[test]
    fn a_longer_row_waits_no_less(failures in any::<u32>(), left in proptest::option::of(length())) {
        let wait = backoff(failures, left);
        prop_assert!(wait <= seconds(300) && wait >= seconds(1));
        prop_assert!(backoff(failures.saturating_add(1), left) >= wait);
        if let Some(left) = left {
            prop_assert!(wait <= (left / 20).max(seconds(1)));
            prop_assert!(backoff(failures, Some(left / 2)) <= wait);
        }
    }
}
