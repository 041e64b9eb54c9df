//! A namespace, the organization in it and the owner's credentials go, in every order: the deletion ends, and nothing is
//! left at Docker Hub as long as the operator still knew the credentials.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{Api, api::DeleteParams};
use oat_operator::api::Organization;
use serde_json::json;

use crate::support::{
    PATIENCE, within,
    world::{NAMESPACE, World},
};

#[derive(Clone, Copy, Debug)]
enum Thing {
    Namespace,
    Organization,
    Credentials,
}

const ORDERS: [[Thing; 3]; 6] = [
    [Thing::Namespace, Thing::Organization, Thing::Credentials],
    [Thing::Namespace, Thing::Credentials, Thing::Organization],
    [Thing::Organization, Thing::Namespace, Thing::Credentials],
    [Thing::Organization, Thing::Credentials, Thing::Namespace],
    [Thing::Credentials, Thing::Namespace, Thing::Organization],
    [Thing::Credentials, Thing::Organization, Thing::Namespace],
];

async fn remove(world: &World, thing: Thing) {
    let (client, params) = (world.client.clone(), DeleteParams::default());
    let removed = match thing {
        Thing::Namespace => Api::<Namespace>::all(client).delete(NAMESPACE, &params).await.map(drop),
        Thing::Organization => {
            Api::<Organization>::namespaced(client, NAMESPACE).delete("acme", &params).await.map(drop)
        }
        Thing::Credentials => {
            Api::<Secret>::namespaced(client, NAMESPACE).delete("acme-owner", &params).await.map(drop)
        }
    };
    // It may have gone with its namespace.
    let gone = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 404);
    assert!(removed.as_ref().err().is_none_or(gone), "{thing:?}: {removed:?}");
}

async fn settled() -> World {
    let mut world = World::new().await;
    // In a namespace that is being deleted nothing can be made, no event for one.
    world.forbids = true;
    world.organization().await;
    world.start(&["--leader-elect=false", "--abandon-after", "3s"]);
    world.token("pull", json!({"rotation": {"overlap": "1h"}})).await;
    world.until_ready("pull").await;
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    world.until("pull", "has two tokens", |object| crate::support::world::sequence(object) == 2).await;
    world.quiet().await;
    assert_eq!(world.hub.organization("acme").tokens().len(), 2);
    world
}

async fn until_the_namespace_is_gone(world: &World, order: [Thing; 3]) {
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let gone = async || namespaces.get_opt(NAMESPACE).await.unwrap().is_none().then_some(());
    within(2 * PATIENCE, &format!("{order:?}: the namespace is gone"), gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_every_order_nothing_is_left() {
    for order in ORDERS {
        let world = settled().await;
        for thing in order {
            remove(&world, thing).await;
            world.quiet().await;
        }
        until_the_namespace_is_gone(&world, order).await;
        let left = world.hub.organization("acme").tokens();
        assert!(left.is_empty(), "{order:?}: {left:?}");
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_every_order_a_deletion_ends_over_a_restart() {
    for order in ORDERS {
        let mut world = settled().await;
        remove(&world, order[0]).await;
        world.quiet().await;
        world.kill();
        remove(&world, order[1]).await;
        world.start(&["--leader-elect=false", "--abandon-after", "3s"]);
        world.quiet().await;
        remove(&world, order[2]).await;
        until_the_namespace_is_gone(&world, order).await;
        // What could not be deleted any more says whose it was.
        let left = world.hub.organization("acme").tokens();
        assert!(left.iter().all(|token| token.label.starts_with("payments/pull [test/")), "{order:?}: {left:?}");
        world.finish().await;
    }
}
