//! Who is let in, and for what.

use reqwest::Method;
use serde_json::{Value, json};

use super::{DEFAULT, Kube, ok, refused, secret, start};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ROBOT: &str = "system:serviceaccount:default:robot";

/// Gives the robot a role with these rules in the namespace `default`.
async fn grant(kube: &Kube, name: &str, rules: Value) {
    let role = json!({"metadata": {"name": name}, "rules": rules});
    ok(kube.post(&format!("{RBAC}/namespaces/default/roles"), role).await, 201);
    let binding = json!({
        "metadata": {"name": name}, "roleRef": {"kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
    });
    ok(kube.post(&format!("{RBAC}/namespaces/default/rolebindings"), binding).await, 201);
}

async fn robot(kube: &mut Kube) {
    kube.server.add_user(ROBOT, "robot-token", &[]);
    kube.token = "robot-token".to_owned();
}

#[tokio::test]
async fn strangers_are_not_let_in() {
    let mut kube = start().await;
    let url = format!("{}/api", kube.server.url());
    refused(&Kube::answer(kube.http.get(&url)).await, 401, "Unauthorized", "Unauthorized");
    refused(&Kube::answer(kube.http.get(&url).bearer_auth("x")).await, 401, "Unauthorized", "");
    for path in ["/healthz", "/livez", "/readyz", "/readyz/ping", "/version"] {
        let answer = kube.http.get(format!("{}{path}", kube.server.url())).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    robot(&mut kube).await;
    ok(kube.get("/api").await, 200);
    kube.server.remove_user("robot-token");
    assert_eq!(kube.get("/api").await.0, 401);
}

#[tokio::test]
async fn what_no_role_grants_is_forbidden() {
    let mut kube = start().await;
    grant(&kube, "reader", json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}])).await;
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("one")).await, 201);
    robot(&mut kube).await;
    ok(kube.get(&format!("{DEFAULT}/secrets/one")).await, 200);
    ok(kube.get(&format!("{DEFAULT}/secrets")).await, 200);
    let who = format!("User \"{ROBOT}\"");
    let rows = [
        (
            kube.get("/api/v1/secrets").await,
            format!(
                "secrets is forbidden: {who} cannot list resource \"secrets\" in API group \"\" at the cluster scope"
            ),
        ),
        (
            kube.get(&format!("{DEFAULT}/secrets?watch=1")).await,
            format!("{who} cannot watch resource \"secrets\" in API group \"\" in the namespace \"default\""),
        ),
        (
            kube.delete(&format!("{DEFAULT}/secrets/one"), json!({})).await,
            format!("secrets \"one\" is forbidden: {who} cannot delete resource"),
        ),
        (
            kube.post(&format!("{DEFAULT}/secrets"), secret("two")).await,
            format!("{who} cannot create resource \"secrets\""),
        ),
        (
            kube.merge(&format!("{DEFAULT}/secrets/one"), json!({})).await,
            format!("{who} cannot patch resource \"secrets\""),
        ),
        (kube.get("/metrics").await, format!("forbidden: {who} cannot get path \"/metrics\"")),
    ];
    for (answer, message) in &rows {
        refused(answer, 403, "Forbidden", message);
    }
}

#[tokio::test]
async fn apply_needs_the_right_to_create_only_to_create() {
    let mut kube = start().await;
    grant(&kube, "patcher", json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["patch"]}])).await;
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("one")).await, 201);
    robot(&mut kube).await;
    let apply = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    ok(kube.patch("apply", &format!("{DEFAULT}/secrets/one?fieldManager=m"), apply("one")).await, 200);
    let answer = kube.patch("apply", &format!("{DEFAULT}/secrets/two?fieldManager=m"), apply("two")).await;
    refused(&answer, 403, "Forbidden", "cannot create resource \"secrets\"");
}

#[tokio::test]
async fn names_and_subresources_are_told_apart() {
    let mut kube = start().await;
    let rules = json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update"], "resourceNames": ["mine"]}]);
    grant(&kube, "holder", rules).await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = |name: &str| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": {}});
    let mut mine = ok(kube.post(path, lease("mine")).await, 201);
    mine["spec"]["holderIdentity"] = json!("robot");
    robot(&mut kube).await;
    ok(kube.put(&format!("{path}/mine"), mine).await, 200);
    refused(
        &kube.put(&format!("{path}/other"), lease("other")).await,
        403,
        "Forbidden",
        "leases.coordination.k8s.io \"other\" is forbidden",
    );
}

#[tokio::test]
async fn reviews_answer_what_is_allowed() {
    let mut kube = start().await;
    let rule = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
    grant(&kube, "reader", json!([rule])).await;
    let ask = |verb: &str| json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {"verb": verb, "resource": "secrets", "namespace": "default"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(ok(kube.post(path, ask("delete")).await, 201)["status"], json!({"allowed": true}));
    let about = json!({"spec": {"user": ROBOT, "resourceAttributes": {"verb": "get", "resource": "secrets", "namespace": "default"}}});
    let other = ok(kube.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", about).await, 201);
    assert_eq!(other["status"]["allowed"], true);
    robot(&mut kube).await;
    let got = ok(kube.post(path, ask("get")).await, 201);
    assert_eq!(got["status"]["allowed"], true);
    let reason = "RBAC: allowed by RoleBinding \"reader/default\" of Role \"reader/default\" to ServiceAccount \"robot/default\"";
    assert_eq!(got["status"]["reason"], reason);
    assert_eq!(ok(kube.post(path, ask("delete")).await, 201)["status"], json!({"allowed": false}));
    refused(&kube.post(path, json!({"spec": {}})).await, 422, "Invalid", "exactly one of");
    let rules = ok(
        kube.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", json!({"spec": {"namespace": "default"}}))
            .await,
        201,
    );
    assert!(rules["status"]["resourceRules"].as_array().unwrap().contains(&rule), "{rules}");
    let me = ok(kube.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({})).await, 201);
    assert_eq!(me["status"]["userInfo"]["username"], ROBOT);
    refused(&kube.get(path).await, 403, "Forbidden", "");
}

#[tokio::test]
async fn impersonation_is_a_right_of_its_own() {
    let mut kube = start().await;
    let path = format!("{DEFAULT}/secrets");
    let as_robot = kube.request(Method::GET, &path).header("impersonate-user", ROBOT);
    refused(&Kube::answer(as_robot).await, 403, "Forbidden", &format!("User \"{ROBOT}\" cannot list"));
    robot(&mut kube).await;
    let as_admin = kube.request(Method::GET, &path).header("impersonate-user", "kubernetes-admin");
    refused(&Kube::answer(as_admin).await, 403, "Forbidden", "cannot impersonate resource \"users\"");
}

#[tokio::test]
async fn cluster_roles_collect_rules() {
    let kube = start().await;
    let roles = format!("{RBAC}/clusterroles");
    let label = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let rule = json!({"apiGroups": ["example.dev"], "resources": ["widgets"], "verbs": ["get"]});
    let body = json!({"metadata": {"name": "widgets-view", "labels": label}, "rules": [rule]});
    ok(kube.post(&roles, body).await, 201);
    let store = "clusterroles.rbac.authorization.k8s.io";
    for name in ["view", "edit", "admin"] {
        kube.until(|k| k.server.object(store, "", name).unwrap()["rules"].as_array().unwrap().contains(&rule)).await;
    }
}

#[tokio::test]
async fn one_name_is_listed_and_watched_by_who_may_see_that_name() {
    let mut kube = start().await;
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["list"]}]);
    grant(&kube, "reader", rules).await;
    ok(kube.post(&format!("{DEFAULT}/secrets"), secret("one")).await, 201);
    robot(&mut kube).await;
    ok(kube.get(&format!("{DEFAULT}/secrets?fieldSelector=metadata.name%3Done")).await, 200);
    for query in ["", "?fieldSelector=metadata.name%3Dtwo", "?fieldSelector=metadata.name%21%3Done"] {
        refused(&kube.get(&format!("{DEFAULT}/secrets{query}")).await, 403, "Forbidden", "cannot list");
    }
    let watch = kube.get(&format!("{DEFAULT}/secrets?watch=1&fieldSelector=metadata.name%3Done")).await;
    refused(&watch, 403, "Forbidden", "cannot watch");
}
