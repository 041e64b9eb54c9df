//! What the simulation itself is worth: nobody is timed out by time that jumps, idle time is cheap, a seed repeats itself.

use std::time::Instant;

use jiff::SignedDuration;
use oat_operator::cli::run;
use serde_json::{Value, json};

use super::{HOUR, MINUTE, Options, SECOND, Sim, is_work};
use crate::support::world;

/// A life without any disturbance: made, rotated, deleted. Where it ends in the journal, as lines.
async fn life(sim: &Sim) -> Vec<String> {
    sim.organization().await;
    let operator = sim.start_operator(&[]).await;
    sim.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    sim.until("it is ready", MINUTE, |sim| sim.is_ready("pull")).await;
    sim.annotate("pull", "oat-operator.dev/rotate", "now").await;
    let rotated = |sim: &Sim| sim.object("pull").is_some_and(|object| world::sequence(&object) == 2);
    sim.until("it is rotated", MINUTE, |sim| rotated(sim) && sim.is_ready("pull")).await;
    sim.settle(10 * SECOND, MINUTE).await;
    assert!(sim.works("pull"));
    sim.delete("pull").await;
    sim.until("it is gone", MINUTE, |sim| sim.object("pull").is_none()).await;
    operator.stop().await.unwrap();
    assert!(sim.servers.hub.organization("acme").tokens().is_empty());
    let work = sim.journal.filter(is_work);
    let unanswered: Vec<_> = work.iter().filter(|entry| entry.status.is_none_or(|status| status >= 400)).collect();
    assert!(unanswered.is_empty(), "{unanswered:?}");
    // The client names events by the machine's clock.
    let work = work.iter().filter(|entry| !entry.path.contains("/events"));
    let mut lines: Vec<String> = work.map(|entry| format!("{} {}", entry.time, entry.line())).collect();
    // What happens in one instant has no order.
    lines.sort();
    lines
}

/// How many lives; more by `OAT_QUIET_RUNS`.
fn runs() -> u64 {
    std::env::var("OAT_QUIET_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(100)
}

/// How many requests a life takes, without events.
const LINES: usize = 23;

#[test]
fn nobody_is_timed_out_by_time_that_jumps() {
    let begun = Instant::now();
    Sim::run(0, async |sim| life(sim).await);
    let first = begun.elapsed();
    let begun = Instant::now();
    for seed in 1..=runs() {
        let lines = Sim::run(seed, async |sim| life(sim).await);
        assert_eq!(lines.len(), LINES, "seed {seed}:\n{}", lines.join("\n"));
    }
    println!("first {first:?}, then {} lives of {:?} each", runs(), begun.elapsed() / u32::try_from(runs()).unwrap());
}

#[test]
fn a_seed_repeats_itself() {
    let run = |seed| {
        Sim::run(seed, async |sim| {
            let lines = life(sim).await;
            // The list of an organization's tokens names no port, the tokens' ids come from the seed.
            let mut values = sim.servers.hub.values();
            values.sort();
            (lines, values)
        })
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}

#[test]
fn thirty_days_pass_at_once_and_the_token_works_all_the_while() {
    let begun = Instant::now();
    let mut options = Options::new(3);
    options.calm = true;
    let (requests, passed) = Sim::run_with(options, async |sim| {
        sim.organization().await;
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({"rotation": {"interval": "120h", "overlap": "1h"}})).await;
        sim.until("it is ready", MINUTE, |sim| sim.is_ready("pull")).await;
        for _ in 0..30 * 24 {
            sim.advance(HOUR).await;
            assert!(sim.works("pull"));
        }
        let days = (sim.now() - super::base::beginning()).total(jiff::Unit::Hour).unwrap() / 24.0;
        assert!(days >= 30.0, "{days}");
        let object = sim.object("pull").unwrap();
        assert!(world::sequence(&object) >= 6, "{:?}", object.status);
        operator.stop().await.unwrap();
        (sim.journal.count(is_work), sim.passed())
    });
    println!("30 days in {:?}: {requests} requests, {passed} jumps", begun.elapsed());
}

#[test]
fn logs_and_metrics_are_kept_and_clocks_can_be_set() {
    let mut options = Options::new(4);
    options.logs = true;
    Sim::run_with(options, async |sim| {
        sim.organization().await;
        let clock = oat_operator::clock::Clock::following(super::base::beginning());
        let operator = sim.start_operator_at(clock, &[]).await;
        sim.token("pull", json!({})).await;
        sim.until("it is ready", MINUTE, |sim| sim.is_ready("pull")).await;
        let metrics = sim.metrics(&operator).await;
        assert!(metrics.contains("oat_operator_"), "{metrics}");
        assert!(sim.logged().contains("started"), "{}", sim.logged());
        // Its clock leaps past the time of the rotation.
        operator.clock.set_by(SignedDuration::from_hours(24 * 61));
        sim.until("it is rotated", MINUTE, |sim| sim.object("pull").is_some_and(|o| world::sequence(&o) == 2)).await;
        assert!(!operator.has_ended());
        operator.kill().await;
    });
}

#[test]
fn a_leader_that_dies_is_followed_and_one_that_loses_the_lease_ends() {
    Sim::run(5, async |sim| {
        sim.organization().await;
        let first = sim.start_operator(&["--leader-elect"]).await;
        sim.until("it leads", MINUTE, Sim::organization_is_ready).await;
        let second = sim.start_operator(&["--leader-elect"]).await;
        sim.advance(MINUTE).await;
        first.kill().await;
        let died = sim.now();
        sim.token("pull", json!({})).await;
        sim.until("the other one goes on", MINUTE, |sim| sim.is_ready("pull")).await;
        let waited = sim.now().duration_since(died);
        assert!(waited >= SignedDuration::from_secs(13) && waited < SignedDuration::from_secs(20), "{waited:?}");
        let leases = oat_sandbox::fault::Rule::new(oat_sandbox::fault::Fault::Refuse);
        sim.faults.install(leases.when(|request| request.path.contains("/leases")));
        let lost = second.ended().await;
        assert!(matches!(lost, Err(run::Error::Lost(_))), "{lost:?}");
    });
}

/// Somebody who passes for the operator and keeps to no rule, at Docker Hub.
struct Impostor<'a>(&'a Sim, String);

impl<'a> Impostor<'a> {
    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.0.servers.hub.url());
        let request = reqwest::Client::new().request(method.parse().unwrap(), url).json(&body).bearer_auth(&self.1);
        let answer = request.header("User-Agent", "oat-operator/impostor").send().await.unwrap();
        let text = answer.error_for_status().unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn new(sim: &'a Sim) -> Self {
        let login = json!({"identifier": "acme-owner", "secret": world::PASSWORD});
        let answer = Self(sim, String::new()).call("POST", "/v2/auth/token", login).await;
        Self(sim, answer["access_token"].as_str().unwrap().to_owned())
    }
}

#[test]
fn the_rules_see_what_they_are_there_for() {
    Sim::run(6, async |sim| {
        sim.organization().await;
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({})).await;
        sim.until("it is ready", MINUTE, |sim| sim.is_ready("pull")).await;
        operator.kill().await;
        let impostor = Impostor::new(sim).await;
        let token = sim.servers.hub.organization("acme").tokens().remove(0);
        let label = token.label.replace(".1]", ".2]");
        let create = json!({"label": label, "resources": [
            {"type": "TYPE_REPO", "path": "acme/payments-api", "scopes": ["scope-image-pull"]}]});
        let tokens = "/v2/orgs/acme/access-tokens";
        for _ in 0..3 {
            impostor.call("POST", tokens, create.clone()).await;
        }
        impostor.call("POST", tokens, json!({"label": "mine", "resources": create["resources"]})).await;
        impostor.call("POST", tokens, json!({"label": token.label, "resources": create["resources"]})).await;
        let foreign = sim.servers.hub.organization("acme").labelled("mine").remove(0);
        impostor.call("PATCH", &format!("{tokens}/{}", foreign.id), json!({"is_active": false})).await;
        let newer = sim.servers.hub.organization("acme").labelled(&label).remove(0);
        impostor.call("DELETE", &format!("{tokens}/{}", newer.id), Value::Null).await;
        impostor.call("DELETE", &format!("{tokens}/{}", token.id), Value::Null).await;
        let mut broken: Vec<String> =
            sim.rules.take_broken().into_iter().map(|what| what.split(':').next().unwrap().to_owned()).collect();
        broken.sort();
        broken.dedup();
        assert_eq!(broken, ["S1", "S2", "S4", "S5", "S6", "S7"]);
    });
}

#[test]
fn an_overlap_is_cut_by_a_second_replacement_only() {
    let mut options = Options::new(7);
    options.calm = true;
    Sim::run_with(options, async |sim| {
        sim.organization().await;
        let operator = sim.start_operator(&[]).await;
        sim.token("pull", json!({"rotation": {"overlap": "2h"}})).await;
        sim.until("it is ready", MINUTE, |sim| sim.is_ready("pull")).await;
        let sequence = |sim: &Sim, number| sim.object("pull").is_some_and(|object| world::sequence(&object) == number);
        for number in [2, 3] {
            sim.advance(MINUTE).await;
            sim.annotate("pull", "oat-operator.dev/rotate", &number.to_string()).await;
            sim.until("it is replaced", MINUTE, |sim| sequence(sim, number)).await;
        }
        let acme = sim.servers.hub.organization("acme");
        let former = acme.tokens().into_iter().find(|token| token.label.ends_with(".2]")).unwrap();
        assert_eq!(acme.tokens().len(), 2, "the first had to go");
        assert!(sim.rules.take_broken().is_empty());
        let impostor = Impostor::new(sim).await;
        impostor.call("DELETE", &format!("/v2/orgs/acme/access-tokens/{}", former.id), Value::Null).await;
        sim.advance(3 * HOUR).await;
        let broken = sim.rules.take_broken();
        assert!(broken.len() == 1 && broken[0].starts_with("S8"), "{broken:?}");
        operator.kill().await;
    });
}
