//! A year of several objects, looked at hour by hour: when each was rotated, what it cost, and that every Secret's value
//! worked all the while.
//!
//! What is expected is reckoned here, from the specs and the calendar; the operator's own reckoning is not asked.

use std::collections::BTreeMap;

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use oat_operator::api::names::Marker;
use oat_sandbox::{
    hub::{self, NewToken},
    journal::{Entry, Server},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{DAY, HOUR, MINUTE, Options, Sim, is_work};
use crate::support::world::{self, NAMESPACE};

const DAYS: u32 = 365;
const GROUP: &str = "/apis/oat-operator.dev/v1alpha1";

const fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// How late something may be done that is due: a few requests.
const LATE: SignedDuration = SignedDuration::from_secs(5);
/// The most that a renewal is put forward, so that objects which were made together aren't renewed together.
const JITTER: SignedDuration = hours(1);
/// A login holds for ten minutes and is used for nine, give or take what a second's fraction does.
const LOGIN: [SignedDuration; 2] = [SignedDuration::from_secs(542), SignedDuration::from_secs(538)];

/// An object, and when the successor of a token is made that was made at a time: from when to when.
struct Object {
    name: &'static str,
    organization: &'static str,
    spec: Value,
    next: fn(Timestamp) -> (Timestamp, Timestamp),
    /// How many rotations a year has by that.
    rotations: usize,
    /// How often the status says more than which tokens there are: that one waits, for a window or a place, or that one
    /// which was taken over is gone.
    waits: usize,
}

impl Object {
    fn all(adopted: &str) -> [Self; 6] {
        let window = |schedule: &str, duration: &str| json!([{"schedule": schedule, "duration": duration, "timeZone": "Europe/Berlin"}]);
        let of =
            |name, spec, next, (rotations, waits)| Self { name, organization: "acme", spec, next, rotations, waits };
        let weekly = json!({"rotation": {"interval": "168h", "windows": window("0 2 * * 0", "2h")}});
        let monthly = json!({"rotation": {"interval": "720h", "windows": window("0 2 * * 6", "4h")}});
        let july = json!({"expiration": {"lifetime": "720h"}, "rotation": {"windows": window("0 0 1 7 *", "1h")}});
        let taken = json!({"adopt": {"id": adopted}, "rotation": {"interval": "720h"}});
        let scarce = json!({
            "organizationRef": {"name": "tight"},
            "repositories": [{"name": "tight/payments-api", "scopes": ["scope-image-pull"]}],
            "rotation": {"renewBefore": "6h"},
        });
        [
            // The night in which clocks are put forward has no 02:00; the one in which they are put back has two.
            of("weekly", weekly, |made| late(opens(made + hours(168), Weekday::Sunday, 2)), (51, 1)),
            of("monthly", monthly, |made| late(opens(made + hours(720), Weekday::Saturday, 4)), (10, 10)),
            // A third of 90 days before expiry.
            of("quarterly", json!({}), |made| (made + hours(1440) - JITTER, made + hours(1440) + LATE), (6, 0)),
            // No window is ever open in time: six hours before expiry they don't count any more.
            of("july", july, |made| late(made + hours(720 - 6)), (12, 12)),
            of("adopted", taken, |made| late(made + hours(720)), (12, 1)),
            // There is one place: an hour before expiry the token gives it to its successor.
            Self { organization: "tight", ..of("scarce", scarce, |made| late(made + hours(2160 - 1)), (4, 4)) },
        ]
    }
}

fn late(due: Timestamp) -> (Timestamp, Timestamp) {
    (due, due + LATE)
}

/// The first moment from a time on in a window that opens at 02:00 in Berlin on such days.
fn opens(due: Timestamp, weekday: Weekday, lasts: i64) -> Timestamp {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let yesterday = due.to_zoned(berlin.clone()).date().yesterday().unwrap();
    let start = |day: Date| day.at(2, 0, 0, 0).to_zoned(berlin.clone()).unwrap().timestamp();
    let days = yesterday.series(jiff::Span::new().days(1)).filter(|day| day.weekday() == weekday);
    let open = days.map(start).find(|start| due < *start + hours(lasts)).unwrap();
    open.max(due)
}

#[test]
fn the_calendar_of_this_test() {
    let opens = |due: &str| opens(due.parse().unwrap(), Weekday::Sunday, 2).to_string();
    for (due, expected) in [
        ("2026-01-08T00:00:00Z", "2026-01-11T01:00:00Z"),
        ("2026-01-11T02:59:59Z", "2026-01-11T02:59:59Z"),
        ("2026-01-11T03:00:00Z", "2026-01-18T01:00:00Z"),
        // Clocks are put forward from 02:00 to 03:00, and back from 03:00 to 02:00.
        ("2026-03-28T00:00:00Z", "2026-03-29T01:00:00Z"),
        ("2026-03-29T03:00:00Z", "2026-04-05T00:00:00Z"),
        ("2026-10-24T00:00:00Z", "2026-10-25T00:00:00Z"),
        ("2026-10-26T00:00:00Z", "2026-11-01T01:00:00Z"),
    ] {
        assert_eq!(opens(due), expected, "{due}");
    }
}

/// When an object's tokens were made.
fn made(creates: &[Entry], object: &Object) -> Vec<Timestamp> {
    let label = format!("{NAMESPACE}/{}", object.name);
    let adopted = |user: &str| object.name == "adopted" && user == "jenkins";
    let user = |entry: &&Entry| {
        let body = entry.json().unwrap();
        let (user, _) = Marker::parse(body["label"].as_str().unwrap()).unwrap();
        user == label || adopted(user)
    };
    // Docker Hub and statuses keep whole seconds.
    creates.iter().filter(user).map(|entry| Timestamp::from_second(entry.time.as_second()).unwrap()).collect()
}

/// Each token was made when it was to be, and as often as a year has it.
fn check_rotations(object: &Object, made: &[Timestamp]) {
    assert_eq!(made.len(), object.rotations + 1, "{}: {made:?}", object.name);
    for pair in made.windows(2) {
        let (from, to) = (object.next)(pair[0]);
        assert!(
            from <= pair[1] && pair[1] <= to,
            "{}: {} after {}, not in {from}..{to}",
            object.name,
            pair[1],
            pair[0]
        );
    }
}

/// How often an organization is listed in a year, polled at intervals that differ a little by its name.
fn polls(name: &str, interval: SignedDuration) -> usize {
    let spread = interval + interval / 2560 * i32::from(Sha256::digest(name)[0]);
    usize::try_from((DAY * DAYS).as_secs() / spread.unsigned_abs().as_secs()).unwrap()
}

/// How many logins an organization's calls need, the one with the other bound.
fn logins(calls: &[Entry], organization: &str) -> [usize; 2] {
    let path = format!("/v2/orgs/{organization}/");
    LOGIN.map(|holds| {
        let (mut count, mut last) = (0, None);
        for call in calls.iter().filter(|call| call.path.starts_with(&path)) {
            if last.is_none_or(|last| call.time.duration_since(last) >= holds) {
                (count, last) = (count + 1, Some(call.time));
            }
        }
        count
    })
}

fn options() -> Options {
    let mut options = Options::new(365);
    options.calm = true;
    options.hub = Box::new(|hub| {
        hub.organizations[0].limit = 10;
        hub.organizations.push(hub::Organization::new("tight").owner("acme-owner").limit(1).private("payments-api"));
    });
    options
}

fn works(sim: &Sim, object: &Object) -> bool {
    let organization = sim.servers.hub.organization(object.organization);
    let value = sim.value(object.name);
    value.and_then(|value| organization.by_value(&value)).is_some_and(|token| token.live())
}

async fn organizations(sim: &Sim) {
    let text = world::organization_yaml(NAMESPACE);
    sim.apply(&text.replace("tokenLimit: 200", "tokenLimit: 10, pollInterval: 4h")).await;
    let tight = text.replace("name: acme,", "name: tight,");
    sim.apply(&tight.replace("tokenLimit: 200", "tokenLimit: 1, reservedTokens: 0, pollInterval: 24h")).await;
}

/// How often whoever waits for a place looks while so many seconds are left: every ten minutes, later after a tenth of
/// what is left, a minute at least.
fn looks(left: u64) -> usize {
    std::iter::successors(Some(left), |left| left.checked_sub((left / 10).clamp(60, 600))).count() - 1
}

/// What the year cost, against what the specs say.
fn check_costs(sim: &Sim, objects: &[Object]) {
    let calls = sim.journal.filter(|entry| is_work(entry) && entry.server == Server::Hub);
    let creates: Vec<_> =
        calls.iter().filter(|call| call.method == "POST" && call.path.ends_with("/access-tokens")).cloned().collect();
    let counts = sim.counts(0);
    let rotations: usize = objects.iter().map(|object| object.rotations).sum();
    objects.iter().for_each(|object| check_rotations(object, &made(&creates, object)));
    // Of each rotation the former token is deleted, and so is the one that was taken over. One that gave its place away is
    // deleted again with its successor there, should it have come back.
    let expected = (rotations + objects.len(), rotations + 1 + 4, 1);
    assert_eq!((counts.creates, counts.deletes, counts.updates), expected, "creates, deletes, updates");
    // Each token is proved before it is published.
    assert_eq!(counts.proofs, counts.creates);
    // All parts of a token are compared once a day, spread over an hour.
    let days = usize::try_from(DAYS).unwrap() * objects.len();
    assert!((days * 24 / 25 - objects.len()..=days).contains(&counts.gets), "{} inspections", counts.gets);
    let listed = |name: &str| {
        calls
            .iter()
            .filter(|call| call.path == format!("/v2/orgs/{name}/access-tokens") && call.method == "GET")
            .count()
    };
    let (acme, tight) = (listed("acme"), listed("tight"));
    let expected = polls("acme", hours(4));
    assert!((expected - 2..=expected + 2).contains(&acme), "{acme} lists of acme, {expected} polls");
    // Whoever waits for a place does so for five hours and what was put forward.
    let (expected, waits) = (polls("tight", hours(24)), 4 * looks(5 * 3600));
    assert!((expected + waits - 8..=expected + waits + 4 * 4).contains(&tight), "{tight} lists of tight");
    let [least, most] = [0, 1].map(|bound| logins(&calls, "acme")[bound] + logins(&calls, "tight")[bound]);
    assert!((least..=most).contains(&counts.logins), "{} logins, not {least} to {most}", counts.logins);
    let figures = (counts.creates, counts.deletes, counts.lists, counts.gets, counts.logins);
    println!("creates, deletes, lists, inspections, logins: {figures:?}");
    check_writes(counts.writes, objects);
}

/// A rotation is one write to its Secret and two to its object's status; nothing else is written but the finalizer, the
/// first token, and the numbers of organizations.
fn check_writes(mut writes: BTreeMap<String, usize>, objects: &[Object]) {
    let mut take = |what: String| writes.remove(&what).unwrap_or_default();
    let (core, ours) = (format!("/api/v1/namespaces/{NAMESPACE}"), format!("{GROUP}/namespaces/{NAMESPACE}"));
    for Object { name, rotations, waits, .. } in objects {
        let secret = take(format!("PATCH {core}/secrets/{name}"));
        let object = format!("PATCH {ours}/organizationaccesstokens/{name}");
        let (finalizer, status) = (take(object.clone()), take(format!("{object}/status")));
        assert_eq!((secret, finalizer, status), (*rotations, 1, 1 + 2 * rotations + waits), "writes for {name}");
    }
    assert_eq!(take(format!("POST {core}/secrets")), objects.len());
    // Two at the start; then a poll may see the two tokens of an overlap, and the next one a single token again.
    for organization in ["acme", "tight"] {
        let there = objects.iter().filter(|object| object.organization == organization);
        let most = 4 + there.map(|object| 2 * object.rotations).sum::<usize>();
        let numbers = take(format!("PATCH {ours}/organizations/{organization}/status"));
        assert!(numbers <= most, "{numbers} writes of the numbers of {organization}");
    }
    assert!(writes.is_empty(), "{writes:?}");
}

#[test]
fn a_year_passes_and_every_rotation_is_where_it_belongs() {
    let begun = std::time::Instant::now();
    Sim::run_with(options(), async |sim| {
        let acme = sim.servers.hub.organization("acme");
        let (adopted, _) = acme.create(NewToken::new("acme", "jenkins")).unwrap();
        let objects = Object::all(&adopted);
        organizations(sim).await;
        let operator = sim.start_operator(&[]).await;
        for object in &objects {
            sim.token(object.name, object.spec.clone()).await;
        }
        let all = |sim: &Sim| objects.iter().all(|object| sim.is_ready(object.name) && works(sim, object));
        sim.until("all work", MINUTE, all).await;
        for _ in 0..24 * DAYS {
            sim.advance(HOUR).await;
            for object in &objects {
                assert!(works(sim, object), "{} at {}\n{}", object.name, sim.now(), sim.story());
            }
        }
        check_costs(sim, &objects);
        assert!(objects.iter().all(|object| sim.is_ready(object.name)));
        let live = |name: &str| sim.servers.hub.organization(name).tokens().len();
        assert_eq!((live("acme"), live("tight")), (5, 1), "one token for each object");
        for object in &objects {
            sim.delete(object.name).await;
        }
        let gone = |sim: &Sim| objects.iter().all(|object| sim.object(object.name).is_none());
        sim.until("all are gone", MINUTE, gone).await;
        operator.stop().await.unwrap();
        assert_eq!((live("acme"), live("tight")), (0, 0), "nothing is left at Docker Hub");
        assert!(sim.end().secrets.is_empty(), "nothing is left in the cluster");
        let requests = sim.journal.count(is_work);
        println!("{DAYS} days in {:?}: {requests} requests, {} jumps", begun.elapsed(), sim.passed());
    });
}
