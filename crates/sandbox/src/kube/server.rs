//! The server as a whole: what it is started with, where it is, and what tests may do to it besides requests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::controllers;
use super::handler;
use super::hands::Hands;
use super::ids::Ids;
use super::lag::Lags;
use super::rbac::User;
use super::world::{Api, World};
use crate::clock::Clock;
use crate::fault::Faults;
use crate::journal::{Journal, Server};
use crate::serve::{Listener, ServeOptions, Serving, serve};
use crate::tls::{self, Authority, Certificate};
use crate::traffic::Traffic;

/// How many changes are remembered if nothing else is said.
const HISTORY: usize = 20_000;

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// The port is taken.
    #[error("port not bound")]
    Bind(#[from] std::io::Error),
    /// The certificate could not be made.
    #[error("certificate not made")]
    Certificate(#[from] tls::Error),
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct KubeOptions {
    /// Where the time comes from.
    pub clock: Clock,
    /// Where requests are written down.
    pub journal: Journal,
    /// The fault switches.
    pub faults: Faults,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// How many changes are remembered: watches that begin before them are told so.
    pub history: usize,
    /// Who signs the server's certificate; a new authority if `None`.
    pub authority: Option<Authority>,
    /// The server's TLS configuration, where many servers are to share one; made from the authority if `None`.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Where it is counted that something moves.
    pub traffic: Traffic,
    /// How long a request is on its way.
    pub latency: Duration,
    /// What is there at the start; a new cluster if `None`.
    pub template: Option<Template>,
    /// Makes uids and generated names repeatable. Without it they are random.
    pub seed: Option<u64>,
    /// Without TLS. For simulations of long times, where handshakes would be most of the work.
    pub plain: bool,
    /// How long watches last, whatever is asked, and then without bookmarks. For simulations of long quiet times.
    pub longest_watch: Option<Duration>,
}

/// All that a server knew at one moment, to start others with. Clones share it.
#[derive(Clone)]
pub struct Template(Arc<World>);

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

impl KubeOptions {
    /// A server on any free port with a long memory.
    #[must_use]
    pub fn new(clock: Clock, journal: Journal, faults: Faults) -> Self {
        Self {
            clock,
            journal,
            faults,
            port: 0,
            history: HISTORY,
            authority: None,
            tls: None,
            traffic: Traffic::new(),
            latency: Duration::ZERO,
            template: None,
            seed: None,
            plain: false,
            longest_watch: None,
        }
    }
}

/// A running API server. Dropping it ends it.
#[must_use = "dropping it ends the server"]
pub struct KubeServer {
    api: Arc<Api>,
    authority: Authority,
    serving: Serving,
    controllers: JoinHandle<()>,
    admin_token: String,
}

impl KubeServer {
    /// Starts a server with the namespaces, roles and controllers of a new cluster.
    ///
    /// # Errors
    /// When the port is taken or no certificate can be made.
    pub async fn start(options: KubeOptions) -> Result<Self, KubeError> {
        let authority = match options.authority {
            Some(authority) => authority,
            None => Authority::new()?,
        };
        let config = match options.tls {
            _ if options.plain => None,
            Some(config) => Some(config),
            None => Some(authority.server_config(&Certificate::loopback(options.clock.now()))?),
        };
        let ids = Ids::new(options.seed);
        let mut api = match options.template {
            Some(template) => Api::from_template(options.clock.clone(), &template.0, ids),
            None => Api::new(options.clock.clone(), options.history, ids),
        };
        api.longest_watch = options.longest_watch;
        let api = Arc::new(api);
        let admin_token = Uuid::new_v4().simple().to_string();
        let admin = User::new("kubernetes-admin", &["system:masters".to_owned()]);
        api.write(|world| world.users.insert(admin_token.clone(), admin));
        let mut serve_options = ServeOptions::new(Server::Kubernetes, options.clock, options.journal, options.faults);
        serve_options.port = options.port;
        serve_options.traffic = options.traffic;
        serve_options.latency = options.latency;
        serve_options.tls = config;
        let serving = serve(serve_options, handler::router(api.clone())).await?;
        let controllers = tokio::spawn(controllers::run(api.clone()));
        Ok(Self { api, authority, serving, controllers, admin_token })
    }

    /// What the server knows now, to start others with.
    #[must_use]
    pub fn template(&self) -> Template {
        Template(Arc::new(self.api.read(World::clone)))
    }

    /// `https://127.0.0.1:port`, or `http://…` where it was started without TLS.
    #[must_use]
    pub fn url(&self) -> String {
        self.serving.url()
    }

    /// The certificate that clients must trust.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.authority.ca_pem()
    }

    /// The bearer token of a member of `system:masters`.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// A kubeconfig for the administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_for(&self.admin_token)
    }

    /// A kubeconfig with another bearer token.
    #[must_use]
    pub fn kubeconfig_for(&self, token: &str) -> String {
        use base64::Engine as _;
        let ca = base64::engine::general_purpose::STANDARD.encode(self.ca_pem());
        let name = "sandbox";
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": self.url(), "certificate-authority-data": ca}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        });
        // JSON is YAML.
        format!("{config:#}\n")
    }

    /// Lets somebody in with a bearer token. A name like `system:serviceaccount:<namespace>:<name>` brings its groups.
    pub fn add_user(&self, name: &str, token: &str, groups: &[&str]) {
        let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        self.api.write(|world| world.users.insert(token.to_owned(), User::new(name, &groups)));
    }

    /// Makes a bearer token worthless.
    pub fn remove_user(&self, token: &str) {
        self.api.write(|world| world.users.remove(token));
    }

    /// The present resource version.
    #[must_use]
    pub fn resource_version(&self) -> u64 {
        self.api.read(|world| world.store.revision())
    }

    /// Resolves at each change; its value is the resource version. For tests that wait for a state.
    #[must_use]
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<u64> {
        self.api.subscribe()
    }

    /// One object as it is stored, past RBAC, journal and faults. `resource` is as in `secrets` or
    /// `leases.coordination.k8s.io`; `namespace` is empty for cluster-wide objects.
    #[must_use]
    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.api.read(|world| world.store.get(resource, namespace, name).map(|o| (**o).clone()))
    }

    /// All objects of a resource as they are stored, past RBAC, journal and faults.
    #[must_use]
    pub fn objects(&self, resource: &str) -> Vec<Value> {
        self.api.read(|world| world.store.list(resource, None).map(|(_, o)| (**o).clone()).collect())
    }

    /// The same without a copy of each.
    #[must_use]
    pub fn stored(&self, resource: &str) -> Vec<Arc<Value>> {
        self.api.read(|world| world.store.list(resource, None).map(|(_, object)| object.clone()).collect())
    }

    /// How many changes there were since a resource version, by resource; `None` if that is forgotten.
    #[must_use]
    pub fn changes_since(&self, version: u64) -> Option<BTreeMap<String, usize>> {
        let changes = self.api.read(|world| world.store.since(None, version))?;
        let mut counts = BTreeMap::new();
        for change in changes {
            *counts.entry(change.store).or_default() += 1;
        }
        Some(counts)
    }

    /// Forgets the history: watches and pages that begin before now are told that they are too old (410).
    pub fn compact(&self) {
        self.api.write(|world| world.store.compact());
        self.api.wake();
    }

    /// Stops the controllers (definitions, namespaces, garbage, roles), or lets them go on from where they were.
    pub fn pause_controllers(&self, paused: bool) {
        self.api.write(|world| world.paused = paused);
        self.api.wake();
    }

    /// What others do to the cluster besides requests.
    #[must_use]
    pub fn hands(&self) -> Hands {
        Hands { api: self.api.clone() }
    }

    /// The listener: to refuse connections, or to show another certificate.
    #[must_use]
    pub fn listener(&self) -> Listener {
        self.serving.listener()
    }

    /// What makes watches lag behind and lists show the past.
    #[must_use]
    pub fn lags(&self) -> Lags {
        self.api.lags.clone()
    }

    /// Closes every open connection and goes on listening.
    pub fn close_connections(&self) {
        self.serving.listener().close_connections();
    }

    /// Ends the server and returns when it has ended.
    pub async fn shutdown(self) {
        self.controllers.abort();
        self.serving.shutdown().await;
    }
}

impl Drop for KubeServer {
    fn drop(&mut self) {
        self.controllers.abort();
    }
}

impl fmt::Debug for KubeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeServer").field("url", &self.url()).finish_non_exhaustive()
    }
}
