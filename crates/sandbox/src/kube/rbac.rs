//! Who may do what: roles and bindings as they are stored, evaluated for one question at a time.
//!
//! Never authenticates anyone. Differences from the real server: who writes roles is not kept from granting more than
//! they have.

use serde_json::{Value, json};

use super::failure::Failure;
use super::store::Store;

/// Where roles and bindings are kept.
const GROUP: &str = "rbac.authorization.k8s.io";
/// The members may do anything.
const MASTERS: &str = "system:masters";

/// Somebody who was authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The groups, those of everybody included.
    pub groups: Vec<String>,
}

impl User {
    /// A user with the groups that the name implies besides those given.
    #[must_use]
    pub fn new(name: &str, groups: &[String]) -> Self {
        let mut groups = groups.to_vec();
        if let Some(rest) = name.strip_prefix("system:serviceaccount:") {
            let namespace = rest.split(':').next().unwrap_or_default();
            groups.push("system:serviceaccounts".to_owned());
            groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        groups.push("system:authenticated".to_owned());
        groups.dedup();
        Self { name: name.to_owned(), groups }
    }
}

/// May somebody do this?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// What, e.g. `list`.
    pub verb: String,
    /// To which group's resource.
    pub group: String,
    /// To which resource; empty for a path.
    pub resource: String,
    /// To which subresource.
    pub subresource: String,
    /// In which namespace; empty for all or for cluster-wide resources.
    pub namespace: String,
    /// To which object; empty for a collection.
    pub name: String,
    /// To which path, where it is no resource.
    pub path: String,
}

impl Question {
    /// `secrets`, `namespaces/status`.
    fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// The refusal.
    #[must_use]
    pub fn refuse(&self, user: &User) -> Failure {
        let (who, verb) = (&user.name, &self.verb);
        if self.resource.is_empty() {
            let why = format!("User \"{who}\" cannot {verb} path \"{}\"", self.path);
            return Failure::forbidden("", "", "", &why);
        }
        let scope = match self.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let (resource, group) = (self.full_resource(), &self.group);
        let why = format!("User \"{who}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {scope}");
        Failure::forbidden(group, &self.resource, &self.name, &why)
    }
}

/// A rule that holds for somebody, and why it does.
struct Granted<'a> {
    rule: &'a Value,
    because: String,
}

/// Whether a user may do something, and because of what.
#[must_use]
pub fn allowed(store: &Store, user: &User, question: &Question) -> Option<String> {
    if user.groups.iter().any(|g| g == MASTERS) {
        return Some(String::new());
    }
    let granted = granted(store, user, &question.namespace);
    granted.into_iter().find(|g| covers(g.rule, question)).map(|g| g.because)
}

/// The rules that hold for a user in a namespace: those for resources, those for paths.
#[must_use]
pub fn rules(store: &Store, user: &User, namespace: &str) -> (Vec<Value>, Vec<Value>) {
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    let anywhere = json!({"verbs": ["*"], "nonResourceURLs": ["*"]});
    let masters = user.groups.iter().any(|g| g == MASTERS);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    if masters {
        (resources, paths) = (vec![all], vec![anywhere]);
    }
    for granted in granted(store, user, namespace) {
        let list = if granted.rule["nonResourceURLs"].is_array() { &mut paths } else { &mut resources };
        if !list.contains(granted.rule) {
            list.push(granted.rule.clone());
        }
    }
    (resources, paths)
}

fn granted<'a>(store: &'a Store, user: &User, namespace: &'a str) -> Vec<Granted<'a>> {
    let bindings = |plural: &str| format!("{plural}.{GROUP}");
    let mut granted = Vec::new();
    for (key, binding) in store.list(&bindings("clusterrolebindings"), None) {
        if let Some(subject) = subject(binding, user, "") {
            let what = format!("ClusterRoleBinding \"{}\"", key.1);
            collect(store, binding, "", &what, &subject, &mut granted);
        }
    }
    if !namespace.is_empty() {
        for (key, binding) in store.list(&bindings("rolebindings"), Some(namespace)) {
            if let Some(subject) = subject(binding, user, namespace) {
                let what = format!("RoleBinding \"{}/{namespace}\"", key.1);
                collect(store, binding, namespace, &what, &subject, &mut granted);
            }
        }
    }
    granted
}

/// The subject of a binding that a user is, in words.
fn subject(binding: &Value, user: &User, namespace: &str) -> Option<String> {
    let subjects = binding["subjects"].as_array()?;
    subjects.iter().find_map(|subject| {
        let name = subject["name"].as_str()?;
        match subject["kind"].as_str()? {
            "User" => (user.name == name).then(|| format!("User \"{name}\"")),
            "Group" => user.groups.iter().any(|g| g == name).then(|| format!("Group \"{name}\"")),
            "ServiceAccount" => {
                let namespace = subject["namespace"].as_str().unwrap_or(namespace);
                let full = format!("system:serviceaccount:{namespace}:{name}");
                (user.name == full).then(|| format!("ServiceAccount \"{name}/{namespace}\""))
            }
            _ => None,
        }
    })
}

fn collect<'a>(
    store: &'a Store,
    binding: &Value,
    namespace: &str,
    what: &str,
    subject: &str,
    granted: &mut Vec<Granted<'a>>,
) {
    let text = |name: &str| binding["roleRef"][name].as_str().unwrap_or_default();
    let (kind, name) = (text("kind"), text("name"));
    let role = match kind {
        "ClusterRole" => store.get(&format!("clusterroles.{GROUP}"), "", name),
        "Role" => store.get(&format!("roles.{GROUP}"), namespace, name),
        _ => None,
    };
    let Some(role) = role else { return };
    let full = if kind == "Role" { format!("{name}/{namespace}") } else { name.to_owned() };
    for rule in role["rules"].as_array().into_iter().flatten() {
        let because = format!("RBAC: allowed by {what} of {kind} \"{full}\" to {subject}");
        granted.push(Granted { rule, because });
    }
}

fn covers(rule: &Value, question: &Question) -> bool {
    let has = |name: &str, wanted: &str| {
        let list = rule[name].as_array();
        list.into_iter().flatten().any(|v| v == wanted || v == "*")
    };
    if !has("verbs", &question.verb) {
        return false;
    }
    if question.resource.is_empty() {
        let urls = rule["nonResourceURLs"].as_array().into_iter().flatten().filter_map(Value::as_str);
        return urls.into_iter().any(|url| match url.strip_suffix('*') {
            Some(prefix) => question.path.starts_with(prefix),
            None => url == question.path,
        });
    }
    let resource = question.full_resource();
    let any_of_subresource = format!("*/{}", question.subresource);
    let resources =
        has("resources", &resource) || !question.subresource.is_empty() && has("resources", &any_of_subresource);
    let names = rule["resourceNames"].as_array();
    let named = names.is_none_or(|names| names.is_empty() || names.iter().any(|n| n == question.name.as_str()));
    has("apiGroups", &question.group) && resources && named
}

/// The roles and bindings that a cluster starts with: resource and object.
#[must_use]
pub fn bootstrap() -> Vec<(&'static str, Value)> {
    let role = |name: &str, labels: Value, rules: Value| {
        let meta = json!({"name": name, "labels": labels});
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole", "metadata": meta, "rules": rules})
    };
    let aggregated = |name: &str, labels: Value, label: &str| {
        let selector = json!({"matchLabels": {format!("{GROUP}/aggregate-to-{label}"): "true"}});
        let mut role = role(name, labels, json!([]));
        role["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
        role
    };
    let binding = |name: &str, group: &str| {
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": group}]})
    };
    let to = |label: &str| json!({format!("{GROUP}/aggregate-to-{label}"): "true"});
    let none = || json!({});
    let read = json!(["get", "list", "watch"]);
    let write = json!(["create", "delete", "deletecollection", "patch", "update"]);
    let workloads = json!(["daemonsets", "deployments", "statefulsets"]);
    let everything = json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]}
    ]);
    let health = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    let reviews = json!([
        {"apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], "verbs": ["create"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]}
    ]);
    let view = json!([
        {"apiGroups": [""], "resources": ["configmaps", "events", "namespaces", "serviceaccounts"], "verbs": read},
        {"apiGroups": ["apps"], "resources": workloads, "verbs": read},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": read}
    ]);
    let edit = json!([
        {"apiGroups": [""], "resources": ["secrets"], "verbs": read},
        {"apiGroups": [""], "resources": ["configmaps", "events", "secrets", "serviceaccounts"], "verbs": write},
        {"apiGroups": ["apps"], "resources": workloads, "verbs": write},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": read},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": write}
    ]);
    let admin = json!([
        {"apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"], "verbs": ["create"]},
        {"apiGroups": [GROUP], "resources": ["rolebindings", "roles"], "verbs": ["*"]}
    ]);
    vec![
        ("clusterroles", role("cluster-admin", none(), everything)),
        ("clusterroles", role("system:basic-user", none(), reviews)),
        ("clusterroles", role("system:discovery", none(), json!([{"nonResourceURLs": discovery, "verbs": ["get"]}]))),
        (
            "clusterroles",
            role("system:public-info-viewer", none(), json!([{"nonResourceURLs": health, "verbs": ["get"]}])),
        ),
        ("clusterroles", role("system:aggregate-to-view", to("view"), view)),
        ("clusterroles", role("system:aggregate-to-edit", to("edit"), edit)),
        ("clusterroles", role("system:aggregate-to-admin", to("admin"), admin)),
        ("clusterroles", aggregated("view", to("edit"), "view")),
        ("clusterroles", aggregated("edit", to("admin"), "edit")),
        ("clusterroles", aggregated("admin", none(), "admin")),
        ("clusterrolebindings", binding("cluster-admin", MASTERS)),
        ("clusterrolebindings", binding("system:basic-user", "system:authenticated")),
        ("clusterrolebindings", binding("system:discovery", "system:authenticated")),
        ("clusterrolebindings", binding("system:public-info-viewer", "system:authenticated")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(verb: &str, resource: &str, name: &str) -> Question {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Question {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: name.to_owned(),
            ..Question::default()
        }
    }

    #[track_caller]
    fn check(rule: Value, question: &Question, expected: bool) {
        assert_eq!(covers(&rule, question), expected, "{rule} {question:?}");
    }

    #[test]
    fn rules_cover_what_they_name() {
        let secrets = || json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]});
        check(secrets(), &question("get", "secrets", "a"), true);
        check(secrets(), &question("create", "secrets", ""), false);
        check(secrets(), &question("get", "configmaps", "a"), false);
        check(secrets(), &question("get", "secrets/status", "a"), false);
        let mut other = question("get", "secrets", "a");
        other.group = "apps".to_owned();
        check(secrets(), &other, false);
    }

    #[test]
    fn names_and_stars() {
        let one = || json!({"apiGroups": ["*"], "resources": ["secrets"], "verbs": ["*"], "resourceNames": ["a"]});
        check(one(), &question("get", "secrets", "a"), true);
        check(one(), &question("get", "secrets", "b"), false);
        check(one(), &question("list", "secrets", ""), false);
        let status = || json!({"apiGroups": ["*"], "resources": ["*/status"], "verbs": ["*"]});
        check(status(), &question("patch", "secrets/status", "a"), true);
        check(status(), &question("patch", "secrets", "a"), false);
        let all = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
        check(all, &question("patch", "secrets/status", "a"), true);
    }

    #[test]
    fn paths() {
        let rule = || json!({"nonResourceURLs": ["/apis/*", "/version"], "verbs": ["get"]});
        let ask = |path: &str| Question { verb: "get".to_owned(), path: path.to_owned(), ..Question::default() };
        check(rule(), &ask("/apis/x"), true);
        check(rule(), &ask("/version"), true);
        check(rule(), &ask("/version/x"), false);
        check(rule(), &question("get", "secrets", ""), false);
    }

    #[test]
    fn refusals_read_as_the_real_ones() {
        let user = User::new("jane", &[]);
        let mut ask = question("list", "secrets", "");
        assert_eq!(
            ask.refuse(&user).message,
            "secrets is forbidden: User \"jane\" cannot list resource \"secrets\" in API group \"\" at the cluster scope"
        );
        (ask.name, ask.namespace, ask.subresource) = ("x".to_owned(), "n".to_owned(), "status".to_owned());
        assert_eq!(
            ask.refuse(&user).message,
            "secrets \"x\" is forbidden: User \"jane\" cannot list resource \"secrets/status\" in API group \"\" in the \
             namespace \"n\""
        );
    }

    #[test]
    fn a_service_account_is_in_the_groups_of_its_namespace() {
        let user = User::new("system:serviceaccount:ns:name", &[]);
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
    }
}
