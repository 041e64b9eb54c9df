//! Bad manifests are refused by the API server, with the field in the message, or stall with `InvalidSpec` before any call.

use kube::api::PostParams;
use serde_json::{Value, json};

use crate::support::world::{World, condition, token_value};

/// What is wrong, how, and the field that the answer names.
fn bad() -> Vec<(&'static str, Value, &'static str)> {
    let repository = |name: &str| json!({"repositories": [{"name": name, "scopes": ["scope-image-pull"]}]});
    vec![
        ("no organization", json!({"organizationRef": null}), "organizationRef"),
        ("a kind that isn't", json!({"organizationRef": {"kind": "Namespace", "name": "acme"}}), "kind"),
        ("a path in a name", json!({"organizationRef": {"name": "../acme"}}), "name"),
        ("an empty name", json!({"organizationRef": {"name": ""}}), "name"),
        ("brackets in the label", json!({"label": "a [b]"}), "label"),
        ("a label of 61", json!({"label": "x".repeat(61)}), "label"),
        ("a description of 201", json!({"description": "x".repeat(201)}), "description"),
        ("a repository without organization", repository("api"), "name"),
        ("a repository path upwards", repository("acme/../other"), "name"),
        ("three parts", repository("acme/a/b"), "name"),
        ("capitals", repository("Acme/api"), "name"),
        ("a pattern that Docker doesn't have", repository("acme/team-*"), "name"),
        ("everything", repository("*/*"), "name"),
        ("a registry's host", repository("docker.io/acme/api"), "name"),
        ("no scopes", json!({"repositories": [{"name": "acme/api", "scopes": []}]}), "scopes"),
        ("a scope without prefix", json!({"repositories": [{"name": "acme/api", "scopes": ["repo-pull"]}]}), "scopes"),
        (
            "the same repository twice",
            json!({"repositories": [
            {"name": "acme/api", "scopes": ["scope-image-pull"]}, {"name": "acme/api", "scopes": ["scope-image-push"]}]}),
            "repositories",
        ),
        (
            "51 repositories",
            json!({"repositories": (0..51).map(|i| json!({"name": format!("acme/r{i}"), "scopes": ["scope-image-pull"]})).collect::<Vec<_>>()}),
            "repositories",
        ),
        ("nothing to do", json!({"repositories": [], "publicRepositories": false}), "publicRepositories"),
        ("two expirations", json!({"expiration": {"lifetime": "24h", "never": true}}), "expiration"),
        ("no expiration", json!({"expiration": {}}), "expiration"),
        ("never is false", json!({"expiration": {"never": false}}), "never"),
        ("a day as Go doesn't write it", json!({"expiration": {"lifetime": "90d"}}), "lifetime"),
        ("a negative lifetime", json!({"expiration": {"lifetime": "-1h"}}), "lifetime"),
        ("a second", json!({"expiration": {"lifetime": "1s"}}), "lifetime"),
        ("a time that isn't", json!({"expiration": {"time": "tomorrow"}}), "time"),
        (
            "renewal before birth",
            json!({"expiration": {"lifetime": "1h"}, "rotation": {"renewBefore": "2h"}}),
            "renewBefore",
        ),
        ("two renewals", json!({"rotation": {"renewBefore": "1h", "renewBeforePercentage": 10}}), "renewBefore"),
        ("more than all", json!({"rotation": {"renewBeforePercentage": 100}}), "renewBeforePercentage"),
        ("no such policy", json!({"rotation": {"policy": "Sometimes"}}), "policy"),
        ("no such verification", json!({"rotation": {"verification": "Hope"}}), "verification"),
        ("no such deletion policy", json!({"deletionPolicy": "Forget"}), "deletionPolicy"),
        ("a Secret's name with capitals", json!({"secret": {"name": "Pull"}}), "name"),
        ("a service account's Secret", json!({"secret": {"type": "kubernetes.io/service-account-token"}}), "type"),
        ("no registries", json!({"secret": {"registries": []}}), "registries"),
        (
            "a label that commands",
            json!({"secret": {"template": {"labels": {"argocd.argoproj.io/instance": "x"}}}}),
            "template",
        ),
        (
            "an annotation that copies",
            json!({"secret": {"template": {"annotations": {"reflector.v1.k8s.emberstack.com/reflection-auto-enabled": "true"}}}}),
            "template",
        ),
        ("our own label", json!({"secret": {"template": {"labels": {"oat-operator.dev/owner": "me"}}}}), "template"),
        (
            "Kubernetes' label",
            json!({"secret": {"template": {"labels": {"app.kubernetes.io/managed-by": "me"}}}}),
            "template",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_manifests_cost_nothing_and_name_the_field() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&[]);
    world.until_organization_ready().await;
    world.quiet().await;
    let mark = world.mark();
    for (i, (what, spec, field)) in bad().into_iter().enumerate() {
        let name = format!("bad-{i}");
        let object = token_value(&name, json!({}));
        let mut object = object;
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        let created = match serde_json::from_value(object.clone()) {
            Ok(typed) => world.tokens().create(&PostParams::default(), &typed).await.map(|_| ()),
            Err(_) => crate::support::world::apply_value(&world.client, object).await.map(|_| ()),
        };
        match created {
            Err(kube::Error::Api(status)) => {
                assert_eq!(status.code, 422, "{what}: {}", status.message);
                assert!(status.message.contains(field), "{what}: {field} is not named in: {}", status.message);
            }
            Err(other) => panic!("{what}: {other}"),
            Ok(()) => {
                let object = world
                    .until(&name, &format!("{what}: is stalled"), |object| condition(object, "Stalled").is_some())
                    .await;
                assert_eq!(condition(&object, "Stalled").unwrap().1, "InvalidSpec", "{what}");
                let conditions = object.status.unwrap().conditions;
                let message = &conditions.iter().find(|condition| condition.type_ == "Stalled").unwrap().message;
                assert!(message.contains(field), "{what}: {field} is not named in: {message}");
            }
        }
    }
    assert_eq!(world.hub_since(mark), [""; 0]);
    world.finish().await;
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
