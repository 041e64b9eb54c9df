//! Random users, faults and clocks: each seed is a run of 30 virtual days, thought out by [`script`] and played on
//! [`stage`]. For 26 days up to four token objects are made, edited, rotated, revoked, deleted and made again; Secrets,
//! credentials and tokens at Docker Hub are tampered with; both servers fail in all ways of [`weather`], for one request
//! or for hours; operators crash, take turns, and have wrong clocks. Then it is quiet, and [`verdict`] looks: all must
//! be as the specs say. What must never happen is watched all the while by [`super::rules`].
//!
//! ```console
//! $ OAT_SEED=17 cargo test --test it sim::random::one_seed -- --nocapture     # play one again, with its script
//! $ OAT_SEED=17 OAT_LOG=debug cargo test --test it sim::random::one_seed -- --nocapture
//! $ OAT_SEED=17 OAT_SHRINK=1 cargo test --test it sim::random::one_seed      # leave out all that it fails without
//! $ OAT_SEEDS=8000 OAT_FIRST_SEED=301 cargo test --test it sim::random::a_month   # others than the first 300
//! ```
//!
//! Never: chance that is not the seed's.

mod chance;
mod script;
mod spec;
mod stage;
mod verdict;
mod weather;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use super::{Options, Sim};
use script::Script;
use stage::Stage;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Played {
    /// The operators' requests, with their times.
    lines: Vec<String>,
    values: Vec<String>,
}

fn play(script: &Script) -> Played {
    let mut options = Options::new(script.seed);
    (options.calm, options.plain, options.by_chance) = (true, true, true);
    let (limit, tighter) = (usize::try_from(script.setting.limit).unwrap(), script.setting.tighter);
    let login = jiff::SignedDuration::try_from(script.setting.login).unwrap();
    options.hub = Box::new(move |hub| {
        hub.quirks.jwt_life = login;
        let limit = if tighter { limit.min(6) } else { limit + 2 };
        hub.organizations.iter_mut().for_each(|organization| *organization = organization.clone().limit(limit));
    });
    Sim::run_with(options, async |sim| {
        let mut stage = Stage::new(sim, script);
        stage.play().await;
        let complaints = verdict::complaints(&stage).await;
        let lines = stage.journal().iter().map(|entry| format!("{} {}", entry.time, entry.line())).collect();
        stage.leave().await;
        assert!(complaints.is_empty(), "{}\n{}", complaints.join("\n"), sim.story());
        Played { lines, values: sim.servers.hub.values() }
    })
}

/// Ends the process where a seed takes for ever: a thread that is never idle can't be stopped otherwise.
struct Guard(#[expect(dead_code, reason = "it is over when this is dropped")] std::sync::mpsc::Sender<()>);

impl Guard {
    fn over(seed: u64) -> Self {
        let (over, waits) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            if waits.recv_timeout(HANGS) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                eprintln!("OAT_SEED={seed} goes on for ever");
                std::process::abort();
            }
        });
        Self(over)
    }
}

/// How many seeds are played if nobody says otherwise.
const SEEDS: u64 = 300;

/// When a seed that takes less than a second is given up.
const HANGS: std::time::Duration = std::time::Duration::from_secs(300);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Plays seeds on all processors. Tells all that fail.
fn play_all(first: u64, count: u64) {
    let begun = Instant::now();
    let next = AtomicU64::new(first);
    let (failed, requests) = (std::sync::Mutex::new(Vec::new()), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let work = || {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + count {
                        return;
                    }
                    let _guard = Guard::over(seed);
                    match catch_unwind(AssertUnwindSafe(|| play(&Script::of(seed)))) {
                        Ok(played) => _ = requests.fetch_add(played.lines.len() as u64, Ordering::SeqCst),
                        Err(_) => failed.lock().unwrap().push(seed),
                    }
                }
            };
            std::thread::Builder::new().name("sim::random::one_seed".into()).spawn_scoped(scope, work).unwrap();
        }
    });
    let took = begun.elapsed();
    let (millis, requests) = (took.as_millis() as u64, requests.into_inner());
    println!(
        "{count} seeds of 30 days in {took:?}: {} ms and {} requests each, {} days a second",
        millis / count,
        requests / count,
        30_000 * count / millis.max(1)
    );
    let failed = failed.into_inner().unwrap();
    let again = |seed: &u64| format!("OAT_SEED={seed} cargo test --test it sim::random::one_seed -- --nocapture");
    let commands: Vec<_> = failed.iter().map(again).collect();
    assert!(failed.is_empty(), "{} of {count} seeds failed:\n{}", failed.len(), commands.join("\n"));
}

#[test]
fn a_month_of_chance_ends_well() {
    play_all(number("OAT_FIRST_SEED").unwrap_or(1), number("OAT_SEEDS").unwrap_or(SEEDS));
}

/// The one of `OAT_SEED`, with what happens in it; without, the first.
#[test]
fn one_seed() {
    let seed = number("OAT_SEED").unwrap_or(1);
    let script = Script::of(seed);
    if std::env::var_os("OAT_SHRINK").is_some() {
        return shrink(script);
    }
    println!("{}", told(&script));
    let filter = std::env::var("OAT_LOG").unwrap_or_else(|_| "off".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).without_time().finish();
    tracing::subscriber::with_default(log, || play(&script));
}

fn told(script: &Script) -> String {
    let acts = script.acts.iter().map(|(at, act)| format!("  {:>10.1} h  {act:?}\n", at.as_secs_f64() / 3600.0));
    format!("seed {}, {:?}\n{}", script.seed, script.setting, acts.collect::<String>())
}

/// Leaves out one act after the other that a run fails without.
fn shrink(mut script: Script) {
    let fails = |script: &Script| catch_unwind(AssertUnwindSafe(|| play(script))).is_err();
    assert!(fails(&script), "it does not fail");
    loop {
        let before = script.acts.len();
        for at in (0..before).rev() {
            let mut less = script.clone();
            less.acts.remove(at);
            if fails(&less) {
                script = less;
            }
        }
        if script.acts.len() == before {
            break;
        }
    }
    println!("it fails with no less than this:\n{}", told(&script));
    play(&script);
}

#[test]
fn a_seed_makes_the_same_tokens_twice() {
    for seed in 1..=number("OAT_PAIRS").unwrap_or(5) {
        let (once, again) = (play(&Script::of(seed)), play(&Script::of(seed)));
        // What several objects ask for in the same instant has no order, and neither have Docker Hub's values.
        let sorted = |played: &Played| played.values.iter().cloned().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(sorted(&once), sorted(&again), "seed {seed}");
    }
    assert_ne!(play(&Script::of(1)), play(&Script::of(2)));
}
