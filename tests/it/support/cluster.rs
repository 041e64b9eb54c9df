//! The cluster that a scenario runs on: the sandbox's API server, or a real control plane (`OAT_TEST_CLUSTER=real`).

use std::sync::OnceLock;

use oat_sandbox::{
    clock::Clock,
    fault::{Fault, Faults, Rule, RuleId},
    journal::{Journal, Server},
    kube::{KubeOptions, KubeServer},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::controlplane::ControlPlane;

/// The bearer token of the operator, which acts under the roles that we ship.
pub const OPERATOR: &str = "operator-token";

/// One request of the operator to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
    /// As sent.
    pub query: String,
}

impl Request {
    /// Events and the Lease stand apart: see docs/decisions/0006.
    pub fn is_write(&self) -> bool {
        let writes = ["create", "update", "patch", "delete", "deletecollection"];
        writes.contains(&self.verb.as_str())
            && !self.resource.starts_with("leases")
            && !self.resource.starts_with("events")
    }

    /// Whether it reads all Secrets of a place only with our label, or only those without. An authorizer that knows
    /// selectors could then forbid all else. What is no such request passes.
    pub fn selects_secrets(&self) -> bool {
        let many = self.resource == "secrets" && ["list", "watch", "deletecollection"].contains(&self.verb.as_str());
        let query: Vec<_> = url::form_urlencoded::parse(self.query.as_bytes()).collect();
        let ours = ["app.kubernetes.io/managed-by=oat-operator", "app.kubernetes.io/managed-by!=oat-operator"];
        !many || query.iter().any(|(name, value)| name == "labelSelector" && ours.contains(&&**value))
    }

    pub fn is_read(&self) -> bool {
        ["get", "list"].contains(&self.verb.as_str()) && !self.resource.starts_with("leases")
    }
}

pub enum Cluster {
    Sandbox { server: Box<KubeServer>, journal: Journal, faults: Faults, outage: Option<RuleId> },
    Real { plane: Box<ControlPlane>, _turn: SemaphorePermit<'static> },
}

/// Real control planes are large: two at a time.
fn turns() -> &'static Semaphore {
    static TURNS: OnceLock<Semaphore> = OnceLock::new();
    TURNS.get_or_init(|| Semaphore::new(2))
}

pub fn is_real() -> bool {
    std::env::var("OAT_TEST_CLUSTER").as_deref() == Ok("real")
}

impl Cluster {
    pub async fn start(journal: &Journal, faults: &Faults) -> Self {
        if is_real() {
            let _turn = turns().acquire().await.unwrap();
            let plane = ControlPlane::start(&[("operator", OPERATOR, "system:authenticated")]).await;
            let plane = Box::new(plane.unwrap_or_else(|unavailable| panic!("{}", unavailable.0)));
            return Self::Real { plane, _turn };
        }
        let options = KubeOptions::new(Clock::system(), journal.clone(), faults.clone());
        let server = KubeServer::start(options).await.unwrap();
        server.add_user("operator", OPERATOR, &["system:authenticated"]);
        Self::Sandbox { server: Box::new(server), journal: journal.clone(), faults: faults.clone(), outage: None }
    }

    /// For the administrator.
    pub fn kubeconfig(&self) -> String {
        match self {
            Self::Sandbox { server, .. } => server.kubeconfig(),
            Self::Real { plane, .. } => plane.kubeconfig(),
        }
    }

    /// For the operator.
    pub fn operator_kubeconfig(&self) -> String {
        match self {
            Self::Sandbox { server, .. } => server.kubeconfig_for(OPERATOR),
            Self::Real { plane, .. } => plane.kubeconfig_for(OPERATOR),
        }
    }

    /// The operator reaches the API server no more, not even by connections that it has; a real one nobody reaches.
    pub fn go_away(&mut self) {
        match self {
            Self::Sandbox { server, faults, outage, .. } => {
                let ours = Rule::new(Fault::Refuse).on(Server::Kubernetes);
                *outage = Some(faults.install(ours.when(|request| request.user_agent.starts_with("oat-operator"))));
                server.close_connections();
            }
            Self::Real { plane, .. } => plane.stop_apiserver(),
        }
    }

    /// The end of an outage.
    pub async fn come_back(&mut self) {
        match self {
            Self::Sandbox { faults, outage, .. } => outage.take().into_iter().for_each(|rule| faults.remove(rule)),
            Self::Real { plane, .. } => plane.restart_apiserver().await,
        }
    }

    /// What the operator asked of the API server so far.
    pub fn requests(&self) -> Vec<Request> {
        match self {
            Self::Sandbox { journal, .. } => {
                let ours = journal
                    .filter(|entry| entry.server == Server::Kubernetes && entry.user_agent.starts_with("oat-operator"));
                ours.iter()
                    .filter_map(|entry| sandbox_request(&entry.method, &entry.path, &entry.query, entry.status))
                    .collect()
            }
            Self::Real { plane, .. } => {
                let ours = plane.audit().into_iter().filter(|event| event.user == "operator");
                let request = |event: super::controlplane::AuditEvent| Request {
                    resource: if event.subresource.is_empty() {
                        event.resource
                    } else {
                        format!("{}/{}", event.resource, event.subresource)
                    },
                    verb: event.verb,
                    group: event.group,
                    namespace: event.namespace,
                    name: event.name,
                    code: event.code,
                    query: event.query,
                };
                ours.map(request).collect()
            }
        }
    }
}

/// A request as an audit log would have it.
fn sandbox_request(method: &str, path: &str, query: &str, status: Option<u16>) -> Option<Request> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match *parts.first()? {
        "api" => ("", parts.get(2..)?),
        "apis" => (*parts.get(1)?, parts.get(3..)?),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, more @ ..] if !more.is_empty() => (*namespace, more),
        rest => ("", rest),
    };
    let (resource, name, subresource) = match rest {
        [resource] => (*resource, "", ""),
        [resource, name] => (*resource, *name, ""),
        [resource, name, subresource] => (*resource, *name, *subresource),
        _ => return None,
    };
    let verb = match (method, name.is_empty()) {
        ("GET", _) if query.contains("watch=true") => "watch",
        ("GET", true) => "list",
        ("GET", false) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", false) => "delete",
        ("DELETE", true) => "deletecollection",
        _ => return None,
    };
    let resource = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
    Some(Request {
        verb: verb.into(),
        group: group.into(),
        resource,
        namespace: namespace.into(),
        name: name.into(),
        code: u64::from(status.unwrap_or_default()),
        query: query.into(),
    })
}

#[test]
fn only_secrets_without_a_selector_are_a_blind_request() {
    let ask = |path: &str, query: &str| sandbox_request("GET", path, query, Some(200)).unwrap();
    let ours = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Doat-operator";
    let request = ask("/api/v1/namespaces/payments/secrets", &format!("watch=true&{ours}"));
    assert_eq!((request.verb.as_str(), request.namespace.as_str(), request.group.as_str()), ("watch", "payments", ""));
    assert!(request.selects_secrets());
    assert!(ask("/api/v1/secrets", "labelSelector=app.kubernetes.io%2Fmanaged-by%21%3Doat-operator").selects_secrets());
    assert!(ask("/api/v1/namespaces/payments/secrets/pull", "").selects_secrets());
    assert!(!ask("/api/v1/secrets", "watch=true").selects_secrets());
    assert!(!ask("/api/v1/secrets", "labelSelector=team%3Dpayments").selects_secrets());
    assert_eq!(ask("/apis/oat-operator.dev/v1alpha1/organizations", "").group, "oat-operator.dev");
}
