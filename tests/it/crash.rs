//! SIGKILL of the program itself in the middle of a rotation, then a restart: one live token, a Secret that works, no
//! orphan, and nobody had to help. Every other request of every scenario is crashed at in `sim::crash`, in virtual time.
//!
//! On the sandbox only: its servers can carry a request out, answer nothing, and take nothing from then on.

use oat_sandbox::journal::Server;
use serde_json::json;

use crate::support::{
    cluster, eventually,
    world::{World, is_ready, sequence},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_killed_after_it_made_a_token_goes_on_from_what_it_finds() {
    if cluster::is_real() {
        eprintln!("not run: a real API server can't be frozen");
        return;
    }
    let mut world = World::new().await;
    world.organization().await;
    world.start(&["--leader-elect=false"]);
    world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    world.until_ready("pull").await;
    world.quiet().await;
    let mark = world.mark();
    world.faults.freeze_at(1, |request| {
        let ours = request.user_agent.starts_with("oat-operator") && request.server == Server::Hub;
        ours && request.method == "POST" && request.path.ends_with("/access-tokens")
    });
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    world.faults.frozen().await;
    world.kill();
    world.faults.thaw();
    let acme = world.hub.organization("acme");
    assert_eq!(acme.tokens().len(), 2, "the token was made and its value is lost");
    world.start(&["--leader-elect=false"]);
    let settled = |object: &oat_operator::api::OrganizationAccessToken| {
        is_ready(object) && sequence(object) == 3 && object.status.as_ref().unwrap().previous.is_empty()
    };
    let object = world.until("pull", "is settled", settled).await;
    eventually("one token is left", async || (acme.tokens().len() == 1).then_some(())).await;
    assert_eq!(Some(acme.tokens().remove(0).id), object.status.and_then(|status| status.token).map(|token| token.id));
    assert!(world.works(&world.value("pull").await.unwrap()).await);
    assert_eq!(world.creates_since(mark), 2);
    world.finish().await;
}
