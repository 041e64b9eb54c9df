//! Two replicas: one leads, the other stands by and takes over; nothing is made twice.

use oat_sandbox::{
    fault::{Fault, Rule},
    journal::Server,
};
use serde_json::json;

use crate::support::{
    eventually,
    world::{Mark, World, is_ready, sequence},
};

/// Starts a replica and waits until it has seen everything.
async fn standby(world: &mut World, lease: &str) {
    world.start(&["--lease-duration", lease]);
    let standby = world.operators.last().unwrap().health;
    eventually("the standby is ready", async || {
        reqwest::get(format!("http://{standby}/readyz"))
            .await
            .ok()
            .filter(|answer| answer.status().is_success())
            .map(|_| ())
    })
    .await;
}

/// The lists of anything but the Lease since a mark.
fn lists(world: &World, mark: Mark) -> Vec<String> {
    let requests = world.kubernetes_since(mark).into_iter();
    let lists = requests.filter(|request| request.verb == "list" && request.resource != "leases");
    let mut lists: Vec<_> = lists.map(|request| request.resource).collect();
    lists.sort();
    lists
}

/// What one that takes over lists anew, since its watches may be behind; all else it knows.
const ANEW: [&str; 2] = ["organizationaccesstokens", "secrets"];

/// A leader that is told to stop in the middle of a rotation ends it and gives the Lease back: the lease is so long that
/// the test would fail if another had to wait for its end. The one who takes over is warm: it lists its own objects and Secrets once more, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_ends_its_work_and_the_next_one_leads_at_once() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&["--lease-duration", "10m"]);
    world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    world.until_ready("pull").await;
    let first = world.value("pull").await.unwrap();
    standby(&mut world, "10m").await;
    world.quiet().await;
    let mark = world.mark();
    let made = Rule::new(Fault::HangAfter).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens").once();
    let made = world.faults.install(made);
    world.annotate("pull", "oat-operator.dev/rotate", "one").await;
    world.faults.hit(made, 1).await;
    world.operators[0].signal("TERM");
    eventually("it has heard that it is to stop", async || {
        world.operators[0].logged().contains("told to stop").then_some(())
    })
    .await;
    world.faults.release(made);
    assert!(world.operators[0].terminate().await.success(), "{}", world.operators[0].logged());
    world.operators.remove(0);
    let second = world.value("pull").await.unwrap();
    assert!(second != first && world.works(&second).await, "its last work is in the Secret");
    assert_eq!(world.creates_since(mark), 1, "and nothing was made in vain");
    world.secrets().delete("pull", &Default::default()).await.unwrap();
    world.until("pull", "is healed by the next one", |object| sequence(object) == 3 && is_ready(object)).await;
    assert_eq!(lists(&world, mark), ANEW);
    assert_eq!(world.creates_since(mark), 2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_takes_over_when_the_leader_goes_and_when_it_dies() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&["--lease-duration", "3s"]);
    world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    world.until_ready("pull").await;
    standby(&mut world, "3s").await;
    let mark = world.mark();
    // Told to stop, the leader releases the Lease.
    assert!(world.operators[0].terminate().await.success(), "{}", world.operators[0].logged());
    world.operators.remove(0);
    world.annotate("pull", "oat-operator.dev/rotate", "one").await;
    world.until("pull", "is rotated by the standby", |object| sequence(object) == 2 && is_ready(object)).await;
    assert_eq!(lists(&world, mark), ANEW);
    // Killed, it releases nothing: the next one waits until the Lease has run out.
    world.start(&["--lease-duration", "3s"]);
    world.operators.remove(0).kill();
    world.annotate("pull", "oat-operator.dev/rotate", "two").await;
    world.until("pull", "is rotated by the third", |object| sequence(object) == 3 && is_ready(object)).await;
    eventually("one token is left", async || (world.hub.organization("acme").tokens().len() == 1).then_some(())).await;
    assert_eq!(world.creates_since(mark), 2);
    world.finish().await;
}
