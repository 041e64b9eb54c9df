//! Bad manifests are refused by the API server, with the field in the message, or stall with `InvalidSpec` before any call.

mod agree;
mod bad;
mod generated;

use kube::{
    Api, ResourceExt,
    api::{DynamicObject, PostParams},
};
use oat_operator::api::{OrganizationAccessToken, names::OrgName, valid};
use serde_json::{Value, json};

use crate::support::{eventually, world::World};
use bad::Bad;

/// What the operator itself finds wrong with a token's spec.
fn findings(object: &Value) -> Vec<String> {
    let object: OrganizationAccessToken = serde_json::from_value(object.clone()).unwrap();
    let organization = OrgName::parse("acme").ok();
    let read = valid::wanted(&object.spec.token, organization.as_ref(), "payments", &object.name_any(), &[]);
    read.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_manifests_are_refused_and_the_field_is_named() {
    let world = World::new().await;
    let all = bad::all();
    assert!(all.len() >= 300, "{}", all.len());
    for kind in ["OrganizationAccessToken", "Organization", "ClusterOrganization"] {
        let answer = agree::ask(&world.client, kind, &bad::good(kind).to_string()).await;
        assert!(!answer.refuses(), "{answer:?}");
    }
    let mut wrong = Vec::new();
    let mut taken = 0;
    for bad in &all {
        let answer = agree::ask(&world.client, bad.kind, &bad.object.to_string()).await;
        let named = |text: &str| text.contains(bad.field);
        if answer.refuses() {
            let named = [400, 422].contains(&answer.code)
                && (answer.causes.iter().any(|(field, _)| named(field)) || named(&answer.message));
            wrong.extend((!named).then(|| format!("{}: {} {}", bad.what(), answer.code, answer.message)));
        } else if bad.kind == "OrganizationAccessToken" {
            taken += 1;
            let found = findings(&bad.object);
            wrong.extend((!found.iter().any(|text| named(text))).then(|| format!("{}: taken; {found:?}", bad.what())));
        } else {
            taken += 1;
        }
    }
    eprintln!("{} bad manifests, {} of them refused by the API server", all.len(), all.len() - taken);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_schema_lets_through_stalls_without_a_call() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&[]);
    world.until_organization_ready().await;
    world.quiet().await;
    let mark = world.mark();
    let mut count = 0;
    for (i, bad) in bad::all().into_iter().enumerate() {
        if agree::ask(&world.client, bad.kind, &bad.object.to_string()).await.refuses() {
            continue;
        }
        count += 1;
        let mut object = bad.object.clone();
        object["metadata"]["name"] = json!(format!("bad-{i}"));
        if bad.kind == "OrganizationAccessToken" {
            object["spec"]["organizationRef"] = json!({"name": "acme"});
        }
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let message = stalled(&world, &bad, object).await;
        assert!(message.contains(bad.field), "{}: the field is not named in: {message}", bad.what());
    }
    assert!(count > 50, "{count}");
    assert_eq!(world.hub_since(mark), [""; 0]);
    world.finish().await;
}

/// Creates the object and waits until it is stalled because of its spec; what it says then.
async fn stalled(world: &World, bad: &Bad, object: DynamicObject) -> String {
    let types = object.types.clone().unwrap();
    let kind = kube::core::GroupVersionKind::gvk("oat-operator.dev", "v1alpha1", &types.kind);
    let resource = kube::api::ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(world.client.clone(), &namespace, &resource),
        None => Api::all_with(world.client.clone(), &resource),
    };
    api.create(&PostParams::default(), &object).await.unwrap();
    let name = object.name_any();
    eventually(&format!("{} is stalled", bad.what()), async || {
        let object = api.get_opt(&name).await.ok().flatten()?;
        let conditions = object.data["status"]["conditions"].as_array()?;
        let stalled = conditions.iter().find(|condition| condition["type"] == "Stalled")?;
        assert_eq!(stalled["reason"], "InvalidSpec", "{}", bad.what());
        Some(stalled["message"].as_str()?.to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_immutable_stays() {
    let world = World::new().await;
    world.organization().await;
    world.token("pull", json!({})).await;
    for (what, patch) in [
        ("organizationRef", json!({"spec": {"organizationRef": {"name": "other"}}})),
        ("type", json!({"spec": {"secret": {"type": "Opaque"}}})),
    ] {
        let refused = world.tokens().patch("pull", &Default::default(), &kube::api::Patch::Merge(patch)).await;
        let Err(kube::Error::Api(status)) = refused else { panic!("{what}: {refused:?}") };
        assert!(status.message.contains(what), "{}", status.message);
    }
    let organizations: kube::Api<oat_operator::api::Organization> =
        kube::Api::namespaced(world.client.clone(), "payments");
    let patch = json!({"spec": {"organization": "umbrella"}});
    assert!(organizations.patch("acme", &Default::default(), &kube::api::Patch::Merge(patch)).await.is_err());
    world.finish().await;
}
