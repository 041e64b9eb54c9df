//! `oat-operator run`: the flags, and a list of what is started in which order.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{ArgAction, Args as ClapArgs, ValueEnum};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;

use crate::{
    api::{
        names::{ClusterId, InvalidName},
        valid,
    },
    clock::Clock,
    control::{
        Settings,
        runtime::{self, Controller, Parts},
    },
    hub,
    k8s::{
        leader::{self, Election, Leader},
        write::Writer,
    },
    serve::{self, metrics::Metrics},
};

/// The flags of `oat-operator run`. Each is also an environment variable, `OAT_OPERATOR_*`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Where ClusterOrganization credentials and the Lease live. Default: the pod's namespace, else oat-operator.
    #[arg(long, env = "OAT_OPERATOR_OPERATOR_NAMESPACE")]
    pub operator_namespace: Option<String>,
    /// A namespace to watch; repeatable. Default: all.
    #[arg(long = "namespace", env = "OAT_OPERATOR_NAMESPACE", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// The first part of the marker in labels at Docker Hub. Default: from the kube-system namespace's uid.
    #[arg(long, env = "OAT_OPERATOR_CLUSTER_ID", value_parser = ClusterId::parse)]
    pub cluster_id: Option<ClusterId>,
    /// Where Docker Hub is.
    #[arg(long, env = "OAT_OPERATOR_HUB_URL", default_value = "https://hub.docker.com")]
    pub hub_url: url::Url,
    /// Where the registry's token service is.
    #[arg(long, env = "OAT_OPERATOR_REGISTRY_TOKEN_URL", default_value = "https://auth.docker.io/token")]
    pub registry_token_url: url::Url,
    /// The service that registry tokens are asked for.
    #[arg(long, env = "OAT_OPERATOR_REGISTRY_SERVICE", default_value = "registry.docker.io")]
    pub registry_service: String,
    /// A file of certificates in PEM to trust besides the system's, for Docker Hub and its token service.
    #[arg(long, env = "OAT_OPERATOR_CA_BUNDLE")]
    pub ca_bundle: Option<PathBuf>,
    /// Whether replicas elect a leader. A single replica may switch it off.
    #[arg(long, env = "OAT_OPERATOR_LEADER_ELECT", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub leader_elect: bool,
    /// How long a leader that has died is waited for.
    #[arg(long, env = "OAT_OPERATOR_LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,
    /// How many objects are worked on at once.
    #[arg(long, env = "OAT_OPERATOR_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// How long a deletion waits for credentials that are gone.
    #[arg(long, env = "OAT_OPERATOR_ABANDON_AFTER", default_value = "10m", value_parser = valid::duration)]
    pub abandon_after: Duration,
    /// How long a watch is asked for. 0s: as long as the API server likes, and silence is taken for nothing to tell.
    #[arg(long, env = "OAT_OPERATOR_WATCH_TIMEOUT", default_value = "290s", value_parser = watch_timeout)]
    pub watch_timeout: u32,
    /// A prefix that is allowed in secret.template beyond the default; repeatable.
    #[arg(long = "allow-template-key", env = "OAT_OPERATOR_ALLOW_TEMPLATE_KEY", value_delimiter = ',')]
    pub allowed_template_keys: Vec<String>,
    /// Where /metrics is served.
    #[arg(long, env = "OAT_OPERATOR_METRICS_ADDR", default_value = ":8080", value_parser = address)]
    pub metrics_addr: SocketAddr,
    /// Where /healthz and /readyz are served.
    #[arg(long, env = "OAT_OPERATOR_HEALTH_ADDR", default_value = ":8081", value_parser = address)]
    pub health_addr: SocketAddr,
    /// How logs are written.
    #[arg(long, env = "OAT_OPERATOR_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Reads `:8080` as every address, as Go does.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.into() };
    full.parse().map_err(|_| format!("{text:?} is no address: expected one like :8080 or 127.0.0.1:8080"))
}

/// In seconds; what kube's client takes.
fn watch_timeout(text: &str) -> Result<u32, String> {
    let seconds = valid::duration(text)?.as_secs();
    u32::try_from(seconds).ok().filter(|seconds| *seconds < 295).ok_or_else(|| "expected less than 295s".into())
}

/// A third of it is the longest that a write may take.
fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = valid::duration(text)?;
    if duration < Duration::from_secs(3) { Err("expected at least 3s".into()) } else { Ok(duration) }
}

/// Why the operator could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No API server is configured.
    #[error("no Kubernetes API server is configured: run in a pod, or set KUBECONFIG")]
    Config(#[source] kube::config::InferConfigError),
    /// The client could not be made.
    #[error("the client for the Kubernetes API server could not be made")]
    Client(#[source] kube::Error),
    /// The cluster's id could not be read.
    #[error("namespace kube-system can't be read: permit it, or set --cluster-id")]
    ClusterId(#[source] kube::Error),
    /// The cluster's id is odd.
    #[error("the uid of namespace kube-system gives no cluster id: set --cluster-id")]
    OddClusterId(#[source] InvalidName),
    /// The endpoints are not acceptable.
    #[error("--hub-url, --registry-token-url or --ca-bundle: {0}")]
    Endpoints(String),
    /// The file of certificates could not be read.
    #[error("--ca-bundle {0}: the file can't be read")]
    CaBundle(PathBuf, #[source] std::io::Error),
    /// A server could not be started.
    #[error(transparent)]
    Serve(#[from] serve::Error),
    /// The leadership was lost: another replica may write now, so this process must not.
    #[error("the leadership was lost")]
    Lost(#[source] leader::Lost),
    /// The clock was set back: what is waited for may lie ahead for as long, so all of it is reckoned anew.
    #[error("the clock was set back by more than a minute: start again, so that nothing waits for the former time")]
    SetBack,
    /// A task ended.
    #[error(transparent)]
    Ended(#[from] runtime::Ended),
    /// Signals can't be received.
    #[error("signals can't be received")]
    Signal(#[source] std::io::Error),
}

/// By how much a clock may be set back without more ado.
const SET_BACK: Duration = Duration::from_secs(60);

/// Runs the operator until it is told to stop.
pub async fn main(args: Args) -> ExitCode {
    super::log::init(args.log_format, LevelFilter::INFO);
    let result = match terminated() {
        Ok(stop) => run(args, stop).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Resolves at SIGTERM or SIGINT.
fn terminated() -> Result<impl Future<Output = ()>, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

impl Args {
    /// The defaults with these flags; for commands that run the operator themselves.
    pub fn of(flags: impl IntoIterator<Item = String>) -> Self {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            args: Args,
        }
        <Flags as clap::Parser>::parse_from(flags).args
    }
}

/// Runs on the cluster that the environment names.
pub async fn run(args: Args, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let mut config = kube::Config::infer().await.map_err(Error::Config)?;
    prepare(&mut config);
    run_with(args, config, Clock::system(), stop).await
}

/// Starts everything, runs until `stop`, and releases the leadership.
pub async fn run_with(
    args: Args,
    config: kube::Config,
    clock: Clock,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let client = Client::try_from(config.clone()).map_err(Error::Client)?;
    // The Lease has a connection of its own: work must not delay a renewal.
    let lease_client = Client::try_from(config.clone()).map_err(Error::Client)?;
    let settings = settings(&args, &config, &client).await?;
    let instance = instance();
    let metrics = Metrics::new();
    let watched = clock.clone();
    let (leader, election) = elect(&args, &settings, lease_client, &clock, &instance);
    let limit = args.lease_duration / 3;
    let controller = Controller::new(Parts {
        clock,
        settings,
        writer: Writer { client, limit, permit: leader.permit(limit) },
        leader,
        metrics: metrics.clone(),
        namespaces: args.namespaces.clone(),
        concurrency: usize::from(args.concurrency),
        instance,
    });
    let context = controller.context().clone();
    metrics.collect(serve::samples::Samples::of(&context));
    let probes = serve::probes::Probes::new(context.clone());
    let health = serve::Server::bind(args.health_addr, "--health-addr", probes.router()).await?;
    let scrape = serve::Server::bind(args.metrics_addr, "--metrics-addr", metrics.router()).await?;
    tracing::info!(cluster = %context.settings.cluster, namespaces = ?args.namespaces, "started");
    // Told to stop, the controller ends what it is at; then the Lease may go.
    let (leaving, left) = tokio::sync::watch::channel(false);
    let gone = async |mut left: tokio::sync::watch::Receiver<bool>| {
        let _ = left.wait_for(|left| *left).await;
    };
    let mut election = std::pin::pin!(election.run(gone(left.clone())));
    let mut set_back = false;
    let stop = async {
        tokio::select! {
            () = stop => {}
            () = watched.is_set_back(SET_BACK) => set_back = true,
        }
    };
    let ended = tokio::select! {
        ended = controller.run(stop) => ended.map_err(Error::from),
        served = health.run(gone(left.clone())) => served.map_err(Error::from),
        served = scrape.run(gone(left)) => served.map_err(Error::from),
        lost = &mut election => return lost.map_err(Error::Lost),
    };
    let _ = leaving.send(true);
    let released = election.await.map_err(Error::Lost);
    if set_back { Err(Error::SetBack) } else { ended.and(released) }
}

/// Who leads: the only replica, or the one that holds the Lease.
fn elect(args: &Args, settings: &Settings, client: Client, clock: &Clock, instance: &str) -> (Leader, Election) {
    if !args.leader_elect {
        return (Leader::always(clock), Election::none());
    }
    let config = leader::Config {
        namespace: settings.operator_namespace.clone(),
        name: "oat-operator".into(),
        identity: format!("{instance}_{}", uuid::Uuid::new_v4()),
        lease_duration: args.lease_duration,
        clock: clock.clone(),
    };
    leader::elect(client, config)
}

/// Takes away the layer that repeats writes for minutes, and bounds every wait.
pub fn prepare(config: &mut kube::Config) {
    config.default_retry = false;
    let agent = http::HeaderValue::from_static(concat!("oat-operator/", env!("CARGO_PKG_VERSION")));
    config.headers.push((http::header::USER_AGENT, agent));
    config.connect_timeout = Some(Duration::from_secs(10));
    // A watch that says nothing for so long is taken for dead; the server ends one after less.
    config.read_timeout = Some(Duration::from_secs(320));
}

async fn settings(args: &Args, config: &kube::Config, client: &Client) -> Result<Settings, Error> {
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let pods = in_pod.then(|| config.default_namespace.clone());
    let cluster = match &args.cluster_id {
        Some(id) => id.clone(),
        None => {
            let system: Api<Namespace> = Api::all(client.clone());
            let system = system.get("kube-system").await.map_err(Error::ClusterId)?;
            ClusterId::of_uid(&system.uid().unwrap_or_default()).map_err(Error::OddClusterId)?
        }
    };
    let roots = match &args.ca_bundle {
        Some(path) => std::fs::read(path).map_err(|error| Error::CaBundle(path.clone(), error))?,
        None => Vec::new(),
    };
    let endpoints = hub::Endpoints {
        hub: args.hub_url.clone(),
        registry_token: args.registry_token_url.clone(),
        registry_service: args.registry_service.clone(),
        roots,
    };
    endpoints.check().map_err(|error| Error::Endpoints(error.to_string()))?;
    Ok(Settings {
        operator_namespace: args.operator_namespace.clone().or(pods).unwrap_or_else(|| "oat-operator".into()),
        cluster,
        endpoints,
        abandon_after: args.abandon_after,
        allowed_template_keys: args.allowed_template_keys.clone(),
        watch_timeout: args.watch_timeout,
    })
}

/// The pod's name, for the Lease and for events.
fn instance() -> String {
    std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "oat-operator".into())
}
