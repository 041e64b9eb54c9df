//! What the operator may do, held against what it does: a right that no story uses is one too many. That none is missing
//! is checked at the end of every scenario (`World::finish`).

use std::collections::BTreeSet;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::Patch};
use serde_json::{Value, json};

use crate::support::{
    cluster::Request,
    eventually,
    world::{NAMESPACE, PASSWORD, World, is_ready, organization_yaml, read, sequence},
};

const CLUSTER: [&str; 2] = ["config/rbac/role.yaml", "config/rbac/leader_election_role.yaml"];
const NAMESPACED: [&str; 3] = [
    "config/rbac-namespaced/cluster_role.yaml",
    "config/rbac-namespaced/namespace_role.yaml",
    "config/rbac-namespaced/operator_role.yaml",
];

/// One verb on one resource, as a role grants it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    /// Empty: everywhere.
    namespace: String,
    verb: String,
    group: String,
    resource: String,
    /// Empty: every name.
    names: Vec<String>,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Everything that the roles in a YAML text grant.
fn grants(text: &str) -> BTreeSet<Grant> {
    let documents = serde_yaml::Deserializer::from_str(text);
    let documents = documents.map(|document| <Value as serde::Deserialize>::deserialize(document).unwrap());
    let mut grants = BTreeSet::new();
    for role in documents.filter(|role| role["kind"] == "Role" || role["kind"] == "ClusterRole") {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        for rule in role["rules"].as_array().unwrap() {
            let names = texts(&rule["resourceNames"]);
            for (group, resource, verb) in texts(&rule["apiGroups"]).iter().flat_map(|group| {
                let resources = texts(&rule["resources"]);
                let pair = move |resource| (group.clone(), resource);
                let verbs = texts(&rule["verbs"]);
                resources.into_iter().map(pair).flat_map(move |(group, resource)| {
                    verbs.clone().into_iter().map(move |verb| (group.clone(), resource.clone(), verb))
                })
            }) {
                grants.insert(Grant { namespace: namespace.clone(), verb, group, resource, names: names.clone() });
            }
        }
    }
    grants
}

impl Grant {
    fn is_used_by(&self, request: &Request) -> bool {
        // A list of one name is a right on that name.
        let field = |name: &String| request.query.contains(&format!("metadata.name%3D{name}"));
        let named = |name: &String| *name == request.name || field(name);
        (200..300).contains(&request.code)
            && self.verb == request.verb
            && self.group == request.group
            && self.resource == request.resource
            && (self.namespace.is_empty() || self.namespace == request.namespace)
            && (self.names.is_empty() || self.names.iter().any(named))
    }
}

fn unused(files: &[&str], requests: &[Request]) -> Vec<Grant> {
    let grants = files.iter().flat_map(|file| grants(&read(file)));
    let unused: BTreeSet<_> =
        grants.filter(|grant| !requests.iter().any(|request| grant.is_used_by(request))).collect();
    unused.into_iter().collect()
}

/// Everything once: both kinds of organization, credentials that are wrong twice, a token's whole life, two of its events
/// of one kind, a Secret that is let go, another that is deleted; and a second replica.
async fn story(roles: &[&str], flags: &[&str]) -> World {
    let mut world = World::under(roles, |_| {}).await;
    let shared = json!({"apiVersion": "oat-operator.dev/v1alpha1", "kind": "ClusterOrganization",
        "metadata": {"name": "acme"}, "spec": {"credentials": {"secretRef": {"name": "acme-owner"}}, "tokenLimit": 200}});
    world.apply(&organization_yaml(NAMESPACE)).await;
    world.credentials("oat-operator", "wrong once").await;
    world.apply(&shared.to_string()).await;
    world.start_in(None, flags);
    world.until_cluster_organization("False", "CredentialsInvalid").await;
    world.credentials("oat-operator", PASSWORD).await;
    world.until_cluster_organization("True", "Succeeded").await;
    world.credentials("oat-operator", "wrong twice").await;
    world.until_cluster_organization("False", "CredentialsInvalid").await;

    world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    world.token("kept", json!({"secret": {"deletionPolicy": "Retain"}})).await;
    for name in ["pull", "kept"] {
        world.until_ready(name).await;
    }
    for (trigger, number) in [("first", 2), ("second", 3)] {
        world.annotate("pull", "oat-operator.dev/rotate", trigger).await;
        world.until("pull", trigger, |object| sequence(object) == number && is_ready(object)).await;
    }
    for name in ["pull", "kept"] {
        world.delete(name).await;
        world.until_gone(name).await;
    }
    world.quiet().await;
    lead_and_stand_by(&mut world, flags).await;
    world
}

/// The Lease is renewed, looked at after somebody else wrote it, and watched by a second replica.
async fn lead_and_stand_by(world: &mut World, flags: &[&str]) {
    let until = async |world: &World, verb: &str| {
        let asked = |request: &Request| request.resource == "leases" && request.verb == verb && request.code < 300;
        let what = format!("{verb} of the Lease");
        eventually(&what, async || world.cluster.requests().iter().any(asked).then_some(())).await;
    };
    world.start_in(None, flags);
    until(world, "watch").await;
    until(world, "update").await;
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), "oat-operator");
    let note = json!({"metadata": {"annotations": {"example.com/note": "by hand"}}});
    leases.patch("oat-operator", &Default::default(), &Patch::Merge(note)).await.unwrap();
    until(world, "get").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_right_in_the_whole_cluster_goes_unused() {
    let world = story(&CLUSTER, &[]).await;
    assert_eq!(unused(&CLUSTER, &world.cluster.requests()), []);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_right_in_single_namespaces_goes_unused() {
    let world = story(&NAMESPACED, &["--namespace", NAMESPACE]).await;
    assert_eq!(unused(&NAMESPACED, &world.cluster.requests()), []);
    world.finish().await;
}

#[test]
fn an_unused_right_is_seen() {
    let role = "{kind: Role, metadata: {namespace: a}, rules: [{apiGroups: [''], resources: [secrets, pods], verbs: [get, '*']}, \
        {apiGroups: [x.io], resources: [leases], resourceNames: [one], verbs: [list, update]}]}";
    let grants = grants(role);
    assert_eq!(grants.len(), 6);
    let request = |verb: &str, group: &str, resource: &str, namespace: &str, name: &str, query: &str| Request {
        verb: verb.into(),
        group: group.into(),
        resource: resource.into(),
        namespace: namespace.into(),
        name: name.into(),
        code: 200,
        query: query.into(),
    };
    let used = |request: Request| {
        let used = grants.iter().filter(|grant| grant.is_used_by(&request));
        used.map(|grant| format!("{} {}", grant.verb, grant.resource)).collect::<Vec<_>>()
    };
    assert_eq!(used(request("get", "", "secrets", "a", "s", "")), ["get secrets"]);
    assert_eq!(used(request("get", "", "secrets", "b", "s", "")), [""; 0]);
    assert_eq!(used(request("get", "y.io", "secrets", "a", "s", "")), [""; 0]);
    assert_eq!(used(request("update", "x.io", "leases", "a", "one", "")), ["update leases"]);
    assert_eq!(used(request("update", "x.io", "leases", "a", "two", "")), [""; 0]);
    assert_eq!(used(request("list", "x.io", "leases", "a", "", "fieldSelector=metadata.name%3Done")), ["list leases"]);
    assert_eq!(used(Request { code: 403, ..request("get", "", "secrets", "a", "s", "") }), [""; 0]);
}

/// What no role of ours may ever grant, whoever asks for it.
#[test]
fn some_rights_are_granted_never() {
    let never = [
        "*",
        "impersonate",
        "escalate",
        "bind",
        "deletecollection",
        "pods",
        "nodes",
        "serviceaccounts/token",
        "validatingwebhookconfigurations",
        "customresourcedefinitions",
    ];
    let files = CLUSTER.into_iter().chain(NAMESPACED).chain(["config/rbac/users.yaml"]);
    for grant in files.flat_map(|file| grants(&read(file))) {
        let words = [&grant.verb, &grant.group, &grant.resource];
        assert!(words.iter().all(|word| !never.contains(&word.as_str())), "{grant:?}");
        let writes = !["get", "list", "watch"].contains(&grant.verb.as_str());
        assert!(!(writes && grant.resource == "namespaces"), "{grant:?}");
    }
}
