//! A cluster, a Docker Hub, and operators between them; the status linter and the search for secrets over all of it.

use std::path::PathBuf;

use k8s_openapi::{
    api::core::v1::{Namespace, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::{await_condition, conditions},
};
use oat_operator::api::{ClusterOrganization, Organization, OrganizationAccessToken};
use oat_sandbox::{
    clock::Clock,
    fault::Faults,
    hub::{self, Hub, HubOptions},
    journal::{Entry, Journal, Server},
};
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, Request, is_real},
    eventually, lint,
    operator::{Operator, Start},
    sinks,
};

/// The namespace of most scenarios.
pub const NAMESPACE: &str = "payments";
/// The owner's password.
pub const PASSWORD: &str = "correct-horse-battery-staple";

/// The policies that bind the operator's hands.
pub const ADMISSION: [&str; 2] = ["config/admission/secrets.yaml", "config/admission/objects.yaml"];

/// The service that registry tokens are asked for.
pub const SERVICE: &str = "registry.docker.io";

pub struct World {
    pub cluster: Cluster,
    pub hub: Hub,
    pub journal: Journal,
    pub faults: Faults,
    pub client: Client,
    pub operators: Vec<Operator>,
    /// Whether the scenario takes rights away on purpose. Otherwise the roles that we ship permit all that is asked.
    pub forbids: bool,
    folder: tempfile::TempDir,
    logs: Vec<PathBuf>,
}

/// A place in the journals.
#[derive(Clone, Copy)]
pub struct Mark {
    kubernetes: usize,
    hub: u64,
}

/// A Docker Hub with one organization and its owner.
fn options(journal: &Journal, faults: &Faults) -> HubOptions {
    let acme = hub::Organization::new("acme").owner("acme-owner").limit(200);
    let acme = acme.private("payments-api").private("base").public("site");
    let mut options = HubOptions::new(Clock::system());
    options.journal = journal.clone();
    options.faults = faults.clone();
    options.organizations.push(acme);
    options.users.push(hub::User::new("acme-owner", PASSWORD));
    options
}

impl Drop for World {
    /// Where a scenario fails, the end of what its operators logged.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for path in &self.logs {
            let text =
                std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().filter(|line| !line.contains("TRACE")).collect();
            let last = lines.iter().skip(lines.len().saturating_sub(25)).map(|line| line.chars().take(400).collect());
            eprintln!("{}:\n{}", path.display(), last.collect::<Vec<String>>().join("\n"));
        }
    }
}

impl World {
    /// Both servers with our definitions, roles, a namespace, and the credentials of an owner; no operator yet.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut HubOptions)) -> Self {
        Self::under(&["config/rbac/role.yaml", "config/rbac/leader_election_role.yaml"], change).await
    }

    /// The same with the operator under these roles.
    pub async fn under(roles: &[&str], change: impl FnOnce(&mut HubOptions)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (journal, faults) = (Journal::new(), Faults::new());
        let cluster = Cluster::start(&journal, &faults).await;
        let mut options = options(&journal, &faults);
        change(&mut options);
        let hub = Hub::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let client = client(&cluster.kubeconfig()).await;
        std::fs::write(folder.path().join("kubeconfig"), cluster.operator_kubeconfig()).unwrap();
        let (operators, logs) = (Vec::new(), Vec::new());
        install(&client, roles).await;
        // The sandbox's API server has no such policies.
        for file in ADMISSION.iter().filter(|_| is_real()) {
            permit(&client, file).await;
        }
        Self { cluster, hub, journal, faults, client, operators, forbids: false, folder, logs }
    }

    /// Binds the roles or policies of a file to the user that the operator is in tests.
    pub async fn permit(&self, file: &str) {
        permit(&self.client, file).await;
    }

    pub async fn namespace(&self, name: &str) {
        namespace(&self.client, name).await;
    }

    /// Writes the owner's credentials.
    pub async fn credentials(&self, namespace: &str, password: &str) {
        credentials(&self.client, namespace, password).await;
    }

    /// Server-side applies every document of a YAML text.
    pub async fn apply(&self, text: &str) {
        apply(&self.client, text).await;
    }

    /// The organization, ready to be used.
    pub async fn organization(&self) {
        self.apply(&organization_yaml(NAMESPACE)).await;
    }

    /// Starts an operator with these flags besides the usual ones.
    pub fn start(&mut self, more: &[&str]) {
        self.start_in(Some("test"), more);
    }

    /// The same with this cluster id, or the one that it finds by itself.
    pub fn start_in(&mut self, cluster_id: Option<&str>, more: &[&str]) {
        let log = self.folder.path().join(format!("operator-{}.log", self.logs.len()));
        let operator = Operator::start(Start {
            kubeconfig: &self.folder.path().join("kubeconfig"),
            log: log.clone(),
            hub: self.hub.url(),
            registry_token: self.hub.token_url(),
            registry_service: SERVICE.into(),
            cluster_id,
            more: more.iter().map(ToString::to_string).collect(),
        });
        self.logs.push(log);
        self.operators.push(operator);
    }

    /// What every operator has printed so far.
    pub fn logs(&self) -> &[PathBuf] {
        &self.logs
    }

    /// A file with this text; where it is.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// SIGKILL for the newest operator.
    pub fn kill(&mut self) {
        drop(self.operators.pop());
    }

    pub fn tokens(&self) -> Api<OrganizationAccessToken> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Makes a token object; `more` is merged into the spec.
    pub async fn token(&self, name: &str, more: Value) -> OrganizationAccessToken {
        let object = token_value(name, more);
        self.tokens().create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    /// Changes a token object as `kubectl patch --type merge` does.
    pub async fn patch(&self, name: &str, patch: Value) -> OrganizationAccessToken {
        self.tokens().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
    }

    pub async fn annotate(&self, name: &str, key: &str, value: &str) {
        self.patch(name, json!({"metadata": {"annotations": {key: value}}})).await;
    }

    /// Waits until a token object is as asked; every state on the way passes the linter.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&OrganizationAccessToken) -> bool,
    ) -> OrganizationAccessToken {
        let api = self.tokens();
        let what = format!("{name}: {what}");
        let last = std::cell::RefCell::new(None);
        let wait = eventually(&what, async || {
            let object = api.get_opt(name).await.ok().flatten()?;
            lint::token(&object);
            let done = holds(&object);
            *last.borrow_mut() = object.status.clone();
            done.then_some(object)
        });
        wait.await
    }

    pub async fn until_ready(&self, name: &str) -> OrganizationAccessToken {
        self.until(name, "is ready", is_ready).await
    }

    /// Waits until a cluster's organization has these for its Ready condition's status and reason; the message.
    pub async fn until_cluster_organization(&self, status: &str, reason: &str) -> String {
        let api: Api<ClusterOrganization> = Api::all(self.client.clone());
        eventually(&format!("the cluster's organization is {status}, {reason}"), async || {
            let conditions = api.get_opt("acme").await.ok().flatten()?.status?.conditions;
            let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready")?;
            (ready.status == status && ready.reason == reason).then_some(ready.message)
        })
        .await
    }

    /// Waits until the organization's status is as asked.
    pub async fn until_organization(
        &self,
        what: &str,
        holds: impl Fn(&oat_operator::api::organization::OrganizationStatus) -> bool,
    ) -> Organization {
        let api: Api<Organization> = Api::namespaced(self.client.clone(), NAMESPACE);
        eventually(&format!("the organization {what}"), async || {
            let object = api.get_opt("acme").await.ok().flatten()?;
            lint::organization(&object);
            object.status.as_ref().is_some_and(&holds).then_some(object)
        })
        .await
    }

    pub async fn until_organization_ready(&self) -> Organization {
        self.until_organization("is ready", |status| {
            status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
        })
        .await
    }

    /// Waits until a token object is gone.
    pub async fn until_gone(&self, name: &str) {
        let api = self.tokens();
        eventually(&format!("{name} is gone"), async || api.get_opt(name).await.unwrap().is_none().then_some(())).await;
    }

    pub async fn delete(&self, name: &str) {
        self.tokens().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// The value in a pull secret, as a client reads it.
    pub async fn value(&self, secret: &str) -> Option<String> {
        let secret = self.secrets().get_opt(secret).await.unwrap()?;
        let data = secret.data?;
        if let Some(password) = data.get("password") {
            return Some(String::from_utf8(password.0.clone()).unwrap());
        }
        let config: Value = serde_json::from_slice(&data.get(".dockerconfigjson")?.0).unwrap();
        let first = config["auths"].as_object()?.values().next()?;
        Some(first["password"].as_str()?.to_owned())
    }

    /// Whether the registry's token service takes a value.
    pub async fn works(&self, value: &str) -> bool {
        let url = format!("{}?service={SERVICE}", self.hub.token_url());
        let answer = reqwest::Client::new().get(url).basic_auth("acme", Some(value)).send().await.unwrap();
        answer.status().is_success()
    }

    pub fn mark(&self) -> Mark {
        Mark { kubernetes: self.cluster.requests().len(), hub: self.journal.len() }
    }

    /// The operator's requests to Kubernetes since a mark.
    pub fn kubernetes_since(&self, mark: Mark) -> Vec<Request> {
        self.cluster.requests().split_off(mark.kubernetes)
    }

    /// The operator's calls of Docker Hub and its token service since a mark, as `METHOD /path`.
    pub fn hub_since(&self, mark: Mark) -> Vec<String> {
        let ours = |entry: &&Entry| entry.server != Server::Kubernetes && entry.user_agent.starts_with("oat-operator");
        self.journal
            .since(mark.hub)
            .iter()
            .filter(ours)
            .map(|entry| format!("{} {}", entry.method, entry.path))
            .collect()
    }

    /// How many creates the operator has sent since a mark.
    pub fn creates_since(&self, mark: Mark) -> usize {
        self.hub_since(mark).iter().filter(|call| call.starts_with("POST") && call.ends_with("/access-tokens")).count()
    }

    /// Waits until the operator has asked nothing for a while: three looks, a second in all.
    pub async fn quiet(&self) {
        let mut before = (usize::MAX, u64::MAX);
        let mut same = 0;
        let count = || {
            let writes =
                self.cluster.requests().iter().filter(|request| !request.resource.starts_with("leases")).count();
            (writes, self.journal.filter(|entry| entry.server != Server::Kubernetes).len() as u64)
        };
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(150));
        while same < 5 {
            tick.tick().await;
            let now = count();
            same = if now == before { same + 1 } else { 0 };
            before = now;
        }
    }

    /// The end of a scenario: no secret anywhere but in Secrets, nothing that the roles don't permit was asked, and Secrets
    /// only by our label.
    pub async fn finish(self) {
        let forbidden: Vec<_> = self.cluster.requests().into_iter().filter(|request| request.code == 403).collect();
        assert!(self.forbids || forbidden.is_empty(), "the roles do not permit {forbidden:?}");
        let blind: Vec<_> = self.cluster.requests().into_iter().filter(|request| !request.selects_secrets()).collect();
        assert!(blind.is_empty(), "Secrets are asked for without our label: {blind:?}");
        sinks::check(&self).await;
        let organizations: Api<Organization> = Api::all(self.client.clone());
        organizations.list(&Default::default()).await.unwrap().iter().for_each(lint::organization);
    }
}

/// Our definitions, the operator's roles, a namespace, and the credentials of an owner.
pub async fn install(client: &Client, roles: &[&str]) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in oat_operator::api::crds() {
        crds.create(&PostParams::default(), &crd).await.unwrap();
    }
    for crd in oat_operator::api::crds() {
        await_condition(crds.clone(), &crd.name_any(), conditions::is_crd_established()).await.unwrap();
    }
    for name in ["oat-operator", NAMESPACE] {
        namespace(client, name).await;
    }
    for file in roles {
        permit(client, file).await;
    }
    credentials(client, NAMESPACE, PASSWORD).await;
}

/// Binds the roles of a file to the user that the operator is in tests.
async fn permit(client: &Client, file: &str) {
    apply(client, &as_user(&read(file))).await;
}

pub async fn namespace(client: &Client, name: &str) {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
}

/// Writes the owner's credentials.
pub async fn credentials(client: &Client, namespace: &str, password: &str) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme-owner", "namespace": namespace},
        "stringData": {"username": "acme-owner", "password": password}});
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    api.patch("acme-owner", &PatchParams::apply("test").force(), &Patch::Apply(secret)).await.unwrap();
}

/// Server-side applies every document of a YAML text.
pub async fn apply(client: &Client, text: &str) {
    for document in serde_yaml::Deserializer::from_str(text) {
        let value: Value = serde::Deserialize::deserialize(document).unwrap();
        if !value.is_null() {
            apply_value(client, value).await.unwrap();
        }
    }
}

pub fn is_ready(object: &OrganizationAccessToken) -> bool {
    condition(object, "Ready").is_some_and(|(status, _)| status == "True") && observed(object)
}

fn observed(object: &OrganizationAccessToken) -> bool {
    object.status.as_ref().and_then(|status| status.observed_generation) == object.metadata.generation
}

/// A condition's status and reason.
pub fn condition(object: &OrganizationAccessToken, kind: &str) -> Option<(String, String)> {
    let status = object.status.as_ref()?;
    let found = status.conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((found.status.clone(), found.reason.clone()))
}

/// The current token's sequence.
pub fn sequence(object: &OrganizationAccessToken) -> u64 {
    object.status.as_ref().and_then(|status| status.token.as_ref()).map_or(0, |token| token.sequence)
}

pub fn token_value(name: &str, more: Value) -> Value {
    let mut spec = json!({
        "organizationRef": {"name": "acme"},
        "repositories": [{"name": "acme/payments-api", "scopes": ["scope-image-pull"]}],
        "rotation": {"overlap": "1h"},
    });
    merge(&mut spec, more);
    json!({"apiVersion": "oat-operator.dev/v1alpha1", "kind": "OrganizationAccessToken",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}

pub fn organization_yaml(namespace: &str) -> String {
    format!(
        "apiVersion: oat-operator.dev/v1alpha1\nkind: Organization\nmetadata: {{name: acme, namespace: {namespace}}}\n\
         spec: {{credentials: {{secretRef: {{name: acme-owner}}}}, tokenLimit: 200}}\n"
    )
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn as_user(text: &str) -> String {
    text.replace(
        "- kind: ServiceAccount\n  name: oat-operator\n  namespace: oat-operator",
        "- kind: User\n  apiGroup: rbac.authorization.k8s.io\n  name: operator",
    )
    .replace("system:serviceaccount:oat-operator:oat-operator", "operator")
}

pub async fn client(kubeconfig: &str) -> Client {
    Client::try_from(config(kubeconfig).await).unwrap()
}

pub async fn config(kubeconfig: &str) -> kube::Config {
    let kubeconfig = kube::config::Kubeconfig::from_yaml(kubeconfig).unwrap();
    kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap()
}

/// Server-side applies one object of any kind.
pub async fn apply_value(client: &Client, value: Value) -> kube::Result<kube::core::DynamicObject> {
    let object: kube::core::DynamicObject = serde_json::from_value(value).unwrap();
    let types = object.types.clone().unwrap();
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    let gvk = kube::core::GroupVersionKind::gvk(group, version, &types.kind);
    let (resource, capabilities) = kube::discovery::pinned_kind(client, &gvk).await?;
    let api: Api<kube::core::DynamicObject> = match (capabilities.scope, object.namespace()) {
        (kube::discovery::Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), &namespace, &resource)
        }
        (kube::discovery::Scope::Namespaced, None) => Api::namespaced_with(client.clone(), "default", &resource),
        (kube::discovery::Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    api.patch(&object.name_any(), &PatchParams::apply("test").force(), &Patch::Apply(&object)).await
}
