//! Clocks of operators that are wrong, and are set right.

use jiff::SignedDuration;
use oat_operator::{cli::run, clock::Clock};
use oat_sandbox::{
    fault::{Fault, Rule, hub},
    journal::Server,
};
use serde_json::json;

use super::{DAY, HOUR, MINUTE, Options, SECOND, Sim};
use crate::support::world;

fn calm(seed: u64) -> Options {
    let mut options = Options::new(seed);
    options.calm = true;
    options
}

fn sequence(sim: &Sim) -> u64 {
    sim.object("pull").as_ref().map_or(0, world::sequence)
}

#[test]
fn a_clock_that_is_days_ahead_makes_no_more_tokens() {
    Sim::run_with(calm(16), async |sim| {
        sim.organization().await;
        let ahead = Clock::following(sim.now() + 5 * DAY);
        let operator = sim.start_operator_at(ahead, &[]).await;
        sim.token("pull", json!({"expiration": {"lifetime": "24h"}, "rotation": {"interval": "20h"}})).await;
        sim.until("it works", MINUTE, |sim| sequence(sim) == 1 && sim.works("pull")).await;
        sim.advance(2 * HOUR).await;
        assert_eq!(sequence(sim), 1);
        operator.clock.set_by(SignedDuration::from_hours(-5 * 24));
        assert!(matches!(operator.ended().await, Err(run::Error::SetBack)));
        let operator = sim.start_operator(&[]).await;
        sim.until("it is replaced in time", 6 * DAY, |sim| sequence(sim) == 2 && sim.works("pull")).await;
        operator.stop().await.unwrap();
    });
}

/// What is waited for at the moment, so that it would be waited for until the former time has come again.
fn troubles() -> [(&'static str, Rule); 4] {
    let hub = |fault: Fault| Rule::new(fault).on(Server::Hub);
    let create = |fault: Fault| hub(fault).request("POST", "/v2/orgs/acme/access-tokens");
    [
        ("creates fail", create(hub::unavailable(503))),
        ("Docker Hub is down", hub(hub::unavailable(503))),
        ("Docker Hub wants silence", hub(hub::too_many(Some("300")))),
        ("the token service wants silence", Rule::new(hub::too_many(Some("300"))).on(Server::Registry)),
    ]
}

#[test]
fn a_clock_that_is_set_back_puts_nothing_off() {
    for (number, (what, rule)) in troubles().into_iter().enumerate() {
        Sim::run_with(calm(20 + number as u64), async |sim| {
            sim.organization().await;
            sim.rules.clocks(sim.now(), SignedDuration::from_hours(40 * 24));
            let operator = sim.start_operator_at(Clock::following(sim.now() + 40 * DAY), &[]).await;
            sim.token("pull", json!({})).await;
            sim.until("it is ready", MINUTE, |sim| sim.is_ready("pull")).await;
            let trouble = sim.faults.install(rule);
            sim.annotate("pull", "oat-operator.dev/rotate", "now").await;
            sim.advance(4 * MINUTE).await;
            assert_eq!(sequence(sim), 1, "{what}");
            sim.rules.clocks(sim.now(), SignedDuration::ZERO);
            operator.clock.set_by(SignedDuration::from_hours(-40 * 24));
            assert!(matches!(operator.ended().await, Err(run::Error::SetBack)), "{what}");
            sim.faults.remove(trouble);
            // A value that could not be proved is lost with the process.
            sim.rules.fault();
            let operator = sim.start_operator(&[]).await;
            sim.until(what, 10 * MINUTE, |sim| sequence(sim) >= 2 && sim.is_ready("pull") && sim.works("pull")).await;
            operator.stop().await.unwrap();
        });
    }
}

#[test]
fn a_leader_whose_clock_is_set_back_ends_what_it_is_at_and_gives_the_lease_back() {
    Sim::run_with(calm(25), async |sim| {
        sim.organization().await;
        let leader = sim.start_operator_at(Clock::following(sim.now()), &["--leader-elect"]).await;
        sim.until("it leads", MINUTE, Sim::organization_is_ready).await;
        let standby = sim.start_operator_at(Clock::following(sim.now()), &["--leader-elect"]).await;
        sim.advance(MINUTE).await;
        // A little is no reason.
        leader.clock.set_by(SignedDuration::from_secs(-30));
        sim.advance(MINUTE).await;
        assert!(!leader.has_ended());
        sim.token("pull", json!({})).await;
        sim.until("the token is made", MINUTE, |sim| {
            sim.journal.count(|entry| entry.server == Server::Hub && entry.status == Some(201)) == 1
        })
        .await;
        leader.clock.set_by(SignedDuration::from_secs(-31));
        assert!(matches!(leader.ended().await, Err(run::Error::SetBack)));
        let secret = sim.servers.kube.object("secrets", world::NAMESPACE, "pull");
        assert!(secret.is_some(), "a value is not thrown away");
        sim.until("the other one goes on", 5 * SECOND, |sim| sim.is_ready("pull")).await;
        assert_eq!(sequence(sim), 1);
        standby.stop().await.unwrap();
    });
}
