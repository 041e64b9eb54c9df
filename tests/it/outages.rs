//! What is around the operator goes away and comes back: the API server, the Lease, Docker Hub; or is narrower than
//! usual: few rights, one's own certificates, an organization that is suspended.

use std::{process::Command, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use oat_operator::api::OrganizationAccessToken;
use oat_sandbox::{
    fault::{Fault, Rule},
    journal::Server,
    tls::Authority,
};
use serde_json::json;

use crate::support::{
    PATIENCE, cluster, eventually, within,
    world::{NAMESPACE, PASSWORD, World, condition, is_ready, organization_yaml, sequence, token_value},
};

fn reconciling(object: &OrganizationAccessToken, reason: &str) -> bool {
    condition(object, "Reconciling").is_some_and(|(_, found)| found == reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_goes_away_in_a_rotation_and_nothing_is_lost_or_made_twice() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&["--leader-elect=false"]);
    world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    world.until_ready("pull").await;
    let first = world.value("pull").await.unwrap();
    world.quiet().await;
    let mark = world.mark();
    // The new token is made; its answer is on the way when the API server goes.
    let made = Rule::new(Fault::HangAfter).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens").once();
    let made = world.faults.install(made);
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    world.faults.hit(made, 1).await;
    world.cluster.go_away();
    world.faults.release(made);
    world.journal.wait_for(|entries| entries.iter().filter(|entry| entry.path == "/token").count() == 2).await;
    assert!(world.works(&first).await, "what is in the Secret");
    assert_eq!(world.hub.organization("acme").tokens().len(), 2);
    world.cluster.come_back().await;
    // A real one forbids everything until it has read its roles.
    world.forbids = cluster::is_real();
    // It tries again after as long as it has tried for, and a real API server takes its time to start.
    within(2 * PATIENCE, "the Secret is written", async || world.value("pull").await.filter(|value| *value != first))
        .await;
    world.until("pull", "has its second token", |object| sequence(object) == 2 && is_ready(object)).await;
    eventually("one token is left", async || (world.hub.organization("acme").tokens().len() == 1).then_some(())).await;
    let second = world.value("pull").await.unwrap();
    assert!(second != first && world.works(&second).await && !world.works(&first).await);
    assert_eq!(world.creates_since(mark), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_api_server_goes_on_when_it_is_back() {
    if cluster::is_real() {
        // How long a real one takes to start says more than how long we wait then.
        return;
    }
    let mut world = World::new().await;
    world.organization().await;
    world.start(&["--leader-elect=false"]);
    world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    world.until_ready("pull").await;
    let first = world.value("pull").await.unwrap();
    world.quiet().await;
    let made = Rule::new(Fault::HangAfter).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens").once();
    let made = world.faults.install(made);
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    world.faults.hit(made, 1).await;
    world.cluster.go_away();
    world.faults.release(made);
    // It tries after 1, 3, 7 and 15 seconds; the next time would be 16 seconds later, and the fifth 5 minutes at last.
    let tried = |world: &World| {
        let writes = world.journal.filter(|entry| entry.path.ends_with("/secrets/pull") && entry.is_write());
        writes.len()
    };
    let before = tried(&world);
    eventually("five writes failed", async || (tried(&world) >= before + 5).then_some(())).await;
    world.cluster.come_back().await;
    let written = async || world.value("pull").await.filter(|value| *value != first);
    within(Duration::from_secs(11), "the Secret is written soon after", written).await;
    world.until("pull", "has its second token", |object| sequence(object) == 2 && is_ready(object)).await;
    world.finish().await;
}

/// From now on the Lease can't be written: the sandbox closes the connections, a real cluster forbids it.
async fn cut_lease(world: &mut World) {
    if cluster::is_real() {
        world.forbids = true;
        let bindings: Api<RoleBinding> = Api::namespaced(world.client.clone(), "oat-operator");
        bindings.delete("oat-operator-leader-election", &Default::default()).await.unwrap();
    } else {
        let leases = Rule::new(Fault::Refuse).on(Server::Kubernetes).when(|request| request.path.contains("/leases"));
        world.faults.install(leases);
    }
}

async fn give_lease_back(world: &World) {
    world.faults.clear();
    world.permit("config/rbac/leader_election_role.yaml").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_renew_the_lease_ends_in_time_and_the_next_one_goes_on() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&["--lease-duration", "3s"]);
    world.until_organization_ready().await;
    world.quiet().await;
    // Work is under way when the Lease is cut off, and there is more all the time.
    let begun = Timestamp::now();
    let mut names = vec!["first".to_owned()];
    let made = Rule::new(Fault::LoseAnswer).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens").once();
    let made = world.faults.install(made);
    world.token("first", json!({})).await;
    world.faults.hit(made, 1).await;
    cut_lease(&mut world).await;
    // The last renewal was before this.
    let cut = Timestamp::now();
    let deadline = cut + Duration::from_secs(2);
    let mut more = tokio::time::interval(Duration::from_millis(100));
    let ended = loop {
        more.tick().await;
        if let Some(ended) = world.operators[0].has_ended() {
            break ended;
        }
        assert!(names.len() < 100, "it goes on without the Lease");
        let name = format!("pull-{}", names.len());
        world.token(&name, json!({})).await;
        names.push(name);
    };
    assert_eq!(ended.code(), Some(1));
    let logged = world.operators[0].logged();
    assert!(logged.contains("the Lease could not be renewed within 2s"), "{logged}");
    let events = |path: &str| path.contains("/events") || path.contains("/leases");
    let writes = world.journal.filter(|entry| {
        let ours = entry.user_agent.starts_with("oat-operator") && entry.is_write();
        ours && entry.time > begun && !events(&entry.path)
    });
    assert!(!writes.is_empty(), "nothing was under way");
    let late: Vec<_> = writes.iter().filter(|entry| entry.time > deadline).collect();
    assert!(late.is_empty(), "after the deadline: {late:?}");
    give_lease_back(&world).await;
    world.operators.clear();
    world.start(&["--lease-duration", "3s"]);
    for name in &names {
        world.until_ready(name).await;
    }
    let acme = world.hub.organization("acme");
    eventually("each object has one token", async || (acme.tokens().len() == names.len()).then_some(())).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_hub_is_down_at_a_restart_and_what_works_stays_as_it_is() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&[]);
    world.token("pull", json!({})).await;
    world.until_ready("pull").await;
    world.quiet().await;
    world.operators[0].terminate().await;
    world.operators.clear();
    world.hub.go_down().await;
    let mark = world.mark();
    world.start(&[]);
    let down = |conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]| {
        conditions.iter().any(|c| c.type_ == "Ready" && c.status == "False" && c.reason == "HubUnavailable")
    };
    world.until_organization("says that Docker Hub is down", |status| down(&status.conditions)).await;
    world.quiet().await;
    let object = world.until_ready("pull").await;
    assert_eq!(sequence(&object), 1);
    world.hub.come_back().await.unwrap();
    world.until_organization_ready().await;
    world.quiet().await;
    assert!(is_ready(&world.until_ready("pull").await));
    assert_eq!(world.hub_since(mark), ["POST /v2/auth/token", "GET /v2/orgs/acme/access-tokens"]);
    let secrets = world.kubernetes_since(mark).into_iter().filter(|request| request.resource == "secrets");
    let written: Vec<_> = secrets.filter(|request| request.is_write()).collect();
    assert!(written.is_empty(), "{written:?}");
    world.finish().await;
}

fn suspended_yaml() -> String {
    organization_yaml(NAMESPACE).replace("spec: {", "spec: {suspend: true, ")
}

async fn until_suspended(world: &World) {
    world
        .until_organization("is suspended", |status| {
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
            ready.is_some_and(|ready| ready.reason == "OrganizationNotReady" && ready.message.contains("spec.suspend"))
        })
        .await;
    world.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_organization_asks_nothing_deletes_all_the_same_and_goes_on_when_resumed() {
    let mut world = World::new().await;
    world.apply(&suspended_yaml()).await;
    world.token("pull", json!({})).await;
    let mark = world.mark();
    world.start(&[]);
    let waits = |object: &OrganizationAccessToken| reconciling(object, "OrganizationNotReady");
    world.until("pull", "waits", waits).await;
    until_suspended(&world).await;
    assert_eq!(world.hub_since(mark), [""; 0], "at the start");
    world.organization().await;
    world.until_ready("pull").await;
    world.until_organization_ready().await;
    world.apply(&suspended_yaml()).await;
    until_suspended(&world).await;
    let mark = world.mark();
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    world.until("pull", "waits again", |object| waits(object) && is_ready(object)).await;
    world.kill();
    world.start(&["--leader-elect=false"]);
    eventually("the new one reads the credentials", async || {
        let requests = world.kubernetes_since(mark);
        requests.iter().any(|request| request.verb == "get" && request.name == "acme-owner").then_some(())
    })
    .await;
    world.quiet().await;
    assert_eq!(world.hub_since(mark), [""; 0], "while there is work, and after a restart");
    world.delete("pull").await;
    world.until_gone("pull").await;
    world.quiet().await;
    let calls = world.hub_since(mark);
    assert_eq!(&calls[..2], ["POST /v2/auth/token", "GET /v2/orgs/acme/access-tokens"]);
    assert!(calls.len() == 3 && calls[2].starts_with("DELETE "), "{calls:?}");
    assert!(world.hub.organization("acme").tokens().is_empty());
    world.finish().await;
}

const NAMESPACED: [&str; 3] = [
    "config/rbac-namespaced/cluster_role.yaml",
    "config/rbac-namespaced/namespace_role.yaml",
    "config/rbac-namespaced/operator_role.yaml",
];

fn cluster_organization(endpoints: serde_json::Value) -> String {
    json!({"apiVersion": "oat-operator.dev/v1alpha1", "kind": "ClusterOrganization", "metadata": {"name": "acme"},
        "spec": {"credentials": {"secretRef": {"name": "acme-owner"}}, "tokenLimit": 200, "endpoints": endpoints}})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_namespace_is_served_with_rights_in_it_only() {
    let mut world = World::under(&NAMESPACED, |_| {}).await;
    world.organization().await;
    world.namespace("other").await;
    world.credentials("other", PASSWORD).await;
    world.apply(&organization_yaml("other")).await;
    let mut object = token_value("pull", json!({}));
    object["metadata"]["namespace"] = "other".into();
    world.apply(&object.to_string()).await;
    // Refused credentials are told in an event, which has no namespace of its own.
    world.credentials("oat-operator", "not the password").await;
    world.apply(&cluster_organization(json!({}))).await;
    world.start(&["--namespace", NAMESPACE]);
    world.until_cluster_organization("False", "CredentialsInvalid").await;
    world.credentials("oat-operator", PASSWORD).await;
    world.until_cluster_organization("True", "Succeeded").await;

    world.token("pull", json!({"rotation": {"overlap": "0s"}})).await;
    world.token("shared", json!({"organizationRef": {"kind": "ClusterOrganization"}})).await;
    world.until_ready("pull").await;
    assert!(is_ready(&world.until_ready("shared").await));
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    world.until("pull", "is rotated", |object| sequence(object) == 2 && is_ready(object)).await;
    world.secrets().delete("pull", &Default::default()).await.unwrap();
    world.until("pull", "is healed", |object| sequence(object) == 3 && is_ready(object)).await;
    let off =
        |object: &OrganizationAccessToken| condition(object, "Active").is_some_and(|(status, _)| status == "False");
    world.patch("pull", json!({"spec": {"active": false}})).await;
    world.until("pull", "is off", off).await;
    for name in ["pull", "shared"] {
        world.delete(name).await;
        world.until_gone(name).await;
    }
    world.quiet().await;
    assert!(world.hub.organization("acme").tokens().is_empty());

    let elsewhere: Api<OrganizationAccessToken> = Api::namespaced(world.client.clone(), "other");
    let object = elsewhere.get("pull").await.unwrap();
    assert_eq!(object.metadata.finalizers, None);
    assert!(object.status.is_none_or(|status| status.conditions.is_empty()));
    world.finish().await;
}

fn with_tls(authority: &Authority) -> impl FnOnce(&mut oat_sandbox::hub::HubOptions) {
    let authority = authority.clone();
    move |options| options.tls = Some(authority)
}

/// Whether a Secret holds a token that works.
async fn holds_a_living_token(world: &World) -> bool {
    let value = world.value("pull").await.unwrap();
    world.hub.organization("acme").by_value(&value).is_some_and(|token| token.live())
}

#[tokio::test(flavor = "multi_thread")]
async fn ones_own_authority_is_trusted_by_the_flag_only() {
    let authority = Authority::new().unwrap();
    let mut world = World::with(with_tls(&authority)).await;
    world.organization().await;
    world.token("pull", json!({})).await;
    world.start(&[]);
    let unknown = world.until("pull", "says so", |object| reconciling(object, "HubUnavailable")).await;
    let conditions = unknown.status.unwrap().conditions;
    let message = &conditions.iter().find(|condition| condition.type_ == "Ready").unwrap().message;
    assert!(message.contains("certificate") && message.contains("check") && message.contains("CA bundle"), "{message}");
    world.quiet().await;
    let asked = world.journal.filter(|entry| entry.server != Server::Kubernetes);
    assert!(asked.is_empty(), "{asked:?}");
    world.kill();
    let bundle = world.file("ca.pem", &authority.ca_pem());
    world.start(&["--ca-bundle", &bundle]);
    world.until_ready("pull").await;
    assert!(holds_a_living_token(&world).await);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_in_a_secret_is_trusted_as_soon_as_it_is_named() {
    let authority = Authority::new().unwrap();
    let mut world = World::with(with_tls(&authority)).await;
    world.credentials("oat-operator", PASSWORD).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "authority", "namespace": "oat-operator"},
        "stringData": {"ca.crt": authority.ca_pem()}});
    world.apply(&secret.to_string()).await;
    world.apply(&cluster_organization(json!({}))).await;
    world.token("pull", json!({"organizationRef": {"kind": "ClusterOrganization"}})).await;
    world.start(&[]);
    let message = world.until_cluster_organization("False", "HubUnavailable").await;
    assert!(message.contains("certificate") && message.contains("CA bundle"), "{message}");
    let bundle = json!({"caBundleSecretRef": {"name": "authority", "key": "ca.crt"}});
    world.apply(&cluster_organization(bundle)).await;
    world.until_ready("pull").await;
    world.until_cluster_organization("True", "Succeeded").await;
    assert!(holds_a_living_token(&world).await);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_nowhere_without_tls() {
    let mut world = World::new().await;
    world.credentials("oat-operator", PASSWORD).await;
    world.apply(&cluster_organization(json!({"hub": "http://hub.example"}))).await;
    world.token("pull", json!({"organizationRef": {"kind": "ClusterOrganization"}})).await;
    let mark = world.mark();
    world.start(&[]);
    let message = world.until_cluster_organization("False", "InvalidSpec").await;
    assert!(message.contains("spec.endpoints") && message.contains("must be https"), "{message}");
    world.until("pull", "is stalled", |object| condition(object, "Stalled").is_some()).await;
    world.quiet().await;
    assert_eq!(world.hub_since(mark), [""; 0]);
    // Corrected, it heals.
    world.apply(&cluster_organization(json!({}))).await;
    world.until_ready("pull").await;
    world.finish().await;
}

#[test]
fn an_endpoint_without_tls_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let nowhere = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "x", "user": {"token": "x"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]});
    std::fs::write(&kubeconfig, nowhere.to_string()).unwrap();
    for flag in ["--hub-url", "--registry-token-url"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oat-operator"));
        command.args(["run", "--cluster-id", "test", flag, "http://hub.example/token"]);
        let output = command.env("KUBECONFIG", &kubeconfig).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(printed.contains(flag) && printed.contains("must be https"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_tell_of_a_token_that_is_ready() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&[]);
    // The numbers are those of the first list, which is to come before the first token.
    world.until_organization_ready().await;
    world.token("pull", json!({})).await;
    world.until_ready("pull").await;
    world.annotate("pull", "oat-operator.dev/rotate", "now").await;
    let object = world.until("pull", "is rotated", |object| sequence(object) == 2 && is_ready(object)).await;
    world.quiet().await;
    let page = async |address: std::net::SocketAddr, path: &str| {
        let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (health, metrics) = (world.operators[0].health, world.operators[0].metrics);
    assert_eq!(page(health, "/healthz").await, (200, "ok\n".into()));
    assert_eq!(page(health, "/readyz").await, (200, "ok\n".into()));
    let (code, text) = page(metrics, "/metrics").await;
    assert_eq!(code, 200);
    let value = |series: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("oat_operator_{series} ")));
        line.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
    };
    let token = r#"namespace="payments",name="pull",organization="acme""#;
    let time = |text: Option<String>| {
        let time: Timestamp = text.unwrap().parse().unwrap();
        time.as_duration().as_secs_f64()
    };
    let status = object.status.unwrap();
    let expires = value(&format!("token_expiration_timestamp_seconds{{{token}}}"));
    assert_eq!(expires, time(status.token.unwrap().expiration_time));
    assert_eq!(value(&format!("token_renewal_timestamp_seconds{{{token}}}")), time(status.renewal_time));
    for (series, wanted) in [
        (format!(r#"token_ready{{{token},condition="True"}}"#), 1.0),
        (format!(r#"token_ready{{{token},condition="False"}}"#), 0.0),
        (format!("secret_targets{{{token}}}"), 1.0),
        (format!("secret_published{{{token}}}"), 1.0),
        (r#"token_rotations_total{organization="acme",result="success"}"#.into(), 1.0),
        (r#"organization_token_limit{organization="acme"}"#.into(), 200.0),
        (r#"organization_tokens{organization="acme",state="total"}"#.into(), 0.0),
        (r#"hub_requests_total{organization="acme",operation="create",code="201"}"#.into(), 2.0),
        (r#"hub_request_duration_seconds_count{organization="acme",operation="create"}"#.into(), 2.0),
        (r#"queue_depth{controller="token"}"#.into(), 0.0),
        ("leader".into(), 1.0),
    ] {
        assert_eq!(value(&series), wanted, "{series}");
    }
    assert!(value(r#"hub_rate_limit_remaining{organization="acme"}"#) < 180.0);
    assert!(value(r#"reconcile_total{controller="token",result="success"}"#) >= 2.0);
    assert!(value(r#"reconcile_duration_seconds_count{controller="token"}"#) >= 2.0);
    world.finish().await;
}
