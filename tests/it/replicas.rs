//! Two replicas: one leads, the other stands by and takes over; nothing is made twice.

use serde_json::json;

use crate::support::{
    eventually,
    world::{World, is_ready, sequence},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_takes_over_when_the_leader_goes_and_when_it_dies() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&["--lease-duration", "3s"]);
    world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    world.until_ready("pull").await;
    world.start(&["--lease-duration", "3s"]);
    let standby = world.operators[1].health;
    eventually("the standby is ready", async || {
        reqwest::get(format!("http://127.0.0.1:{standby}/readyz"))
            .await
            .ok()
            .filter(|answer| answer.status().is_success())
            .map(|_| ())
    })
    .await;
    let mark = world.mark();
    // Told to stop, the leader releases the Lease.
    assert!(world.operators[0].terminate().await.success(), "{}", world.operators[0].logged());
    world.operators.remove(0);
    world.annotate("pull", "oat-operator.dev/rotate", "one").await;
    world.until("pull", "is rotated by the standby", |object| sequence(object) == 2 && is_ready(object)).await;
    // Killed, it releases nothing: the next one waits until the Lease has run out.
    world.start(&["--lease-duration", "3s"]);
    world.operators.remove(0).kill();
    world.annotate("pull", "oat-operator.dev/rotate", "two").await;
    world.until("pull", "is rotated by the third", |object| sequence(object) == 3 && is_ready(object)).await;
    eventually("one token is left", async || (world.hub.organization("acme").tokens().len() == 1).then_some(())).await;
    assert_eq!(world.creates_since(mark), 2);
    world.finish().await;
}
