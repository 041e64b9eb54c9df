//! Writes to Kubernetes through the client that the operator has: none is repeated by any layer, whatever the answer, and
//! none is sent without the right to.
//!
//! On the sandbox only: a real API server can't be told what to answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Resource, ResourceExt, api::PostParams};
use oat_operator::{
    api::OrganizationAccessToken,
    clock::Clock,
    k8s::{
        Key,
        events::{Events, Happened},
        secrets::{self, Entry},
        write::{Error, Writer},
    },
    permit::Permit,
};
use oat_sandbox::{
    fault::{Canned, Fault, Rule},
    journal::Server,
};
use serde_json::json;

use crate::support::{
    cluster,
    world::{NAMESPACE, World},
};

const KINDS: [&str; 8] = [
    "add the finalizer",
    "release the finalizer",
    "status",
    "create a Secret",
    "apply a Secret",
    "blank a Secret",
    "delete a Secret",
    "event",
];

/// What the writes are about: an object, and a Secret as it was seen.
struct Subject {
    object: OrganizationAccessToken,
    key: Key,
    secret: Secret,
    entry: Entry,
}

async fn subject(world: &World) -> Subject {
    let object = world.token("pull", json!({})).await;
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "held", "namespace": NAMESPACE}})).unwrap();
    let secret = world.secrets().create(&PostParams::default(), &secret).await.unwrap();
    let (key, entry) = secrets::entry(secret.clone());
    Subject { object, key, secret, entry }
}

/// One write of this kind; an event's failure is nobody's concern.
async fn write(writer: &Writer, kind: &str, subject: &Subject) -> Result<(), Error> {
    let Subject { object, key, secret, entry } = subject;
    let api: Api<OrganizationAccessToken> = Api::namespaced(writer.client.clone(), NAMESPACE);
    let mut new = Secret::default();
    new.metadata.name = secret.metadata.name.clone();
    new.metadata.namespace = secret.metadata.namespace.clone();
    match kind {
        "add the finalizer" => writer.finalizer(object, true).await.map(drop),
        "release the finalizer" => writer.finalizer(object, false).await.map(drop),
        "status" => writer.status(&api, object, json!({"status": {"plan": ["x"]}})).await.map(drop),
        "create a Secret" => {
            writer.secret(&Key { name: "new".into(), ..key.clone() }, named(new, "new"), None).await.map(drop)
        }
        "apply a Secret" => writer.secret(key, new, Some(entry)).await.map(drop),
        "blank a Secret" => writer.patch_secret(key, json!({"metadata": {"labels": {"a": "b"}}})).await.map(drop),
        "delete a Secret" => writer.delete_secret(key, entry).await,
        "event" => {
            let events = Events::new(writer.clone(), Clock::system(), "test");
            events.report(&object.object_ref(&()), Happened::TokenCreated, object.name_any()).await;
            Ok(())
        }
        other => panic!("{other}"),
    }
}

fn named(mut secret: Secret, name: &str) -> Secret {
    secret.metadata.name = Some(name.into());
    secret
}

/// The client as the operator makes it, from a kubeconfig.
async fn client(world: &World, prepare: impl FnOnce(&mut kube::Config)) -> Client {
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&world.cluster.operator_kubeconfig()).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    prepare(&mut config);
    Client::try_from(config).unwrap()
}

fn answers() -> Vec<Fault> {
    let canned = |status: u16| {
        let body = json!({"kind": "Status", "status": "Failure", "code": status, "reason": "Busy", "message": "later"});
        Canned::json(status, &body)
    };
    let mut faults: Vec<Fault> = [429, 503, 504]
        .into_iter()
        .flat_map(|status| {
            [canned(status), canned(status).header("Retry-After", "0"), canned(status).header("Retry-After", "1")]
        })
        .map(Fault::Answer)
        .collect();
    faults.extend([Fault::Refuse, Fault::LoseAnswer]);
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_sent_once_whatever_the_answer() {
    if cluster::is_real() {
        eprintln!("not run: a real API server can't be told what to answer");
        return;
    }
    let world = World::new().await;
    let subject = subject(&world).await;
    let client = client(&world, oat_operator::cli::run::prepare).await;
    let writer = Writer { client, limit: Duration::from_secs(5), permit: Permit::always() };
    for fault in answers() {
        let rule = Rule::new(fault.clone()).on(Server::Kubernetes);
        let rule = world.faults.install(rule.when(|request| request.user_agent.starts_with("oat-operator")));
        for (at, kind) in KINDS.into_iter().enumerate() {
            let before = world.faults.hits(rule);
            let result = write(&writer, kind, &subject).await;
            assert_eq!(world.faults.hits(rule) - before, 1, "{kind} after {fault:?}");
            let expected = match &fault {
                _ if kind == "event" => result.is_ok(),
                Fault::Answer(answer) => matches!(&result, Err(Error::Refused { code, .. }) if *code == answer.status),
                // What was executed when its answer was lost may be in the way of the next, which is refused.
                _ => matches!(result, Err(Error::Unknown)),
            };
            assert!(expected, "{at} {kind} after {fault:?}: {result:?}");
        }
        world.faults.remove(rule);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubes_own_client_would_repeat_them() {
    if cluster::is_real() {
        return;
    }
    let world = World::new().await;
    let subject = subject(&world).await;
    // The same without what `prepare` takes away: were it not taken away, the test above would fail.
    let client = client(&world, |config| {
        oat_operator::cli::run::prepare(config);
        config.default_retry = true;
    });
    let writer = Writer { client: client.await, limit: Duration::from_secs(5), permit: Permit::always() };
    let busy = Rule::new(Fault::Answer(Canned::json(503, &json!({"code": 503})))).on(Server::Kubernetes);
    let busy = world.faults.install(busy.when(|request| request.user_agent.starts_with("oat-operator")));
    let _ = write(&writer, "create a Secret", &subject).await;
    assert!(world.faults.hits(busy) > 3, "{}", world.faults.hits(busy));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_without_the_right_to_and_nothing_goes_on_after_it() {
    let world = World::new().await;
    let subject = subject(&world).await;
    let client = client(&world, oat_operator::cli::run::prepare).await;
    let (limit, ended) = (Duration::from_secs(5), Arc::new(AtomicBool::new(true)));
    let asked = ended.clone();
    let permit = Permit::new(limit, move |_| !asked.load(SeqCst));
    let writer = Writer { client, limit, permit };
    let mark = world.mark();
    for kind in KINDS {
        let result = write(&writer, kind, &subject).await;
        assert!(kind == "event" || matches!(result, Err(Error::NotLeading)), "{kind}: {result:?}");
    }
    assert_eq!(world.kubernetes_since(mark), [], "without the right");
    writer.read_secret(&subject.key).await.unwrap().expect("reading is free");

    if cluster::is_real() {
        return;
    }
    // It ends while a write is under way: whoever waits is told that nobody knows what became of it.
    ended.store(false, SeqCst);
    let held =
        Rule::new(Fault::HangBefore).on(Server::Kubernetes).request("POST", "/api/v1/namespaces/payments/secrets");
    let held = world.faults.install(held);
    let under_way = tokio::spawn({
        let (writer, subject) = (writer.clone(), subject);
        async move { write(&writer, "create a Secret", &subject).await }
    });
    world.faults.hit(held, 1).await;
    ended.store(true, SeqCst);
    world.faults.release(held);
    let result = under_way.await.unwrap();
    assert!(matches!(result, Err(Error::Unknown)), "{result:?}");
}
