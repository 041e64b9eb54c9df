//! The operator under virtual time: the production clients over real sockets, the sandbox's two servers, and users, all
//! in one thread whose clock jumps over idle time. Thirty days cost what their requests cost.
//!
//! ```text
//! Sim::run(seed, async |sim| {
//!     let operator = sim.start_operator(&[]).await;
//!     sim.token("pull", json!({})).await;
//!     sim.until("it is ready", MINUTE, |sim| sim.is_ready("pull")).await;
//!     operator.kill().await;
//! });
//! ```
//!
//! [`Pacer`] lets time pass; [`operator`] starts, kills and stops; [`user`] edits and looks; [`rules`] watches every
//! request for what must never happen; [`oracle`] says how it ended, to be compared with an undisturbed run.
//!
//! A seed decides uids, ids, values and jitter, and so every time. What happens in one instant is in no certain order:
//! tokio chooses among branches that are ready by a chance of its own.
//!
//! Never: real time, or a wait without a limit.

mod base;
mod clocks;
mod crash;
mod edges;
mod held;
mod lives;
mod matrix;
mod operator;
mod oracle;
mod quiet;
mod random;
mod rules;
mod stale;
mod user;
mod year;

use std::{
    net::Ipv4Addr,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use oat_operator::clock::Clock;
use oat_sandbox::{
    fault::Faults,
    hub::{self, Hub, HubOptions},
    journal::{Entry, Journal},
    kube::{KubeOptions, KubeServer},
    pacer::Pacer,
    traffic::Traffic,
};
use tokio::time::{Instant, sleep_until, timeout_at};

pub use operator::OperatorHandle;

use crate::support::{
    cluster::OPERATOR,
    scan::Scanner,
    world::{PASSWORD, client},
};

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(86_400);

/// How long a request to the cluster is on its way, and a tenth of what one to Docker Hub is. Without it everything would
/// happen in one instant, and before and after would be the same.
pub const LATENCY: Duration = Duration::from_millis(2);

/// What a simulation is started with.
pub struct Options {
    /// Ids, values and jitter; all that chance decides.
    pub seed: u64,
    /// Watches last for ever and say nothing while nothing happens: for long times. Otherwise as real ones.
    pub calm: bool,
    /// Whether the cluster is spoken to without TLS, whose handshakes are dear.
    pub plain: bool,
    /// Whether logs are kept, at TRACE, and searched for secrets at the end.
    pub logs: bool,
    /// Whether so much happens at once that no configuration of the model has all of it: users who do anything, faults
    /// that the model does not tell apart. Steps that it lacks are then named, and fail nothing.
    pub by_chance: bool,
    /// Changes what Docker Hub is started with.
    pub hub: Box<dyn FnOnce(&mut HubOptions)>,
}

impl Options {
    pub fn new(seed: u64) -> Self {
        Self { seed, calm: false, plain: false, logs: false, by_chance: false, hub: Box::new(|_| {}) }
    }
}

/// The two servers.
pub struct Servers {
    pub kube: KubeServer,
    pub hub: Hub,
}

/// A cluster, a Docker Hub, and the means to act on them.
pub struct Sim {
    pub servers: Arc<Servers>,
    pub journal: Journal,
    pub faults: Faults,
    /// The clock of the servers, and of operators that are given no other.
    pub clock: Clock,
    /// An administrator of the cluster.
    pub client: Client,
    /// What must never happen, and what of it did.
    pub rules: Arc<rules::Rules>,
    /// The bearer token that operators use.
    pub user: &'static str,
    calm: bool,
    by_chance: bool,
    logs: Option<Logs>,
    /// The steps that operators took.
    edges: edges::Edges,
    pacer: Pacer,
    /// How many operators were started.
    starts: Arc<AtomicU32>,
    /// The loopback address that this simulation's operators listen on.
    host: Ipv4Addr,
}

/// What was logged.
#[derive(Clone, Default)]
pub struct Logs(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Says how to repeat a run that fails.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or_default();
            eprintln!("seed {}; again: cargo test --test it {test} -- --exact", self.0);
        }
    }
}

impl Sim {
    /// Runs a scenario, then checks the rules.
    pub fn run<T>(seed: u64, scenario: impl AsyncFnOnce(&mut Self) -> T) -> T {
        Self::run_with(Options::new(seed), scenario)
    }

    pub fn run_with<T>(options: Options, scenario: impl AsyncFnOnce(&mut Self) -> T) -> T {
        let _replay = Replay(options.seed);
        let logs = options.logs.then(Logs::default);
        let edges = edges::Edges::default();
        let _logging = listen(logs.clone(), edges.clone());
        base::base();
        let traffic = Traffic::new();
        let pacer = Pacer::new(traffic.clone()).unwrap();
        pacer.runtime().unwrap().block_on(async {
            pacer.start().await;
            let mut sim = Self::new(options, pacer, traffic, (logs, edges)).await;
            let result = scenario(&mut sim).await;
            sim.finish().await;
            result
        })
    }

    async fn new(
        options: Options,
        pacer: Pacer,
        traffic: Traffic,
        (logs, edges): (Option<Logs>, edges::Edges),
    ) -> Self {
        let base = base::base();
        let (journal, faults) = (Journal::new(), Faults::new());
        let clock = Clock::following(base::beginning());
        let shown = clock.clone();
        let theirs = oat_sandbox::clock::Clock::from_fn(move || shown.now());
        let mut cluster = KubeOptions::new(theirs.clone(), journal.clone(), faults.clone());
        cluster.authority = Some(base.authority.clone());
        cluster.tls = Some(base.tls.clone());
        cluster.traffic = traffic.clone();
        cluster.latency = LATENCY;
        cluster.template = Some(base.template.clone());
        cluster.seed = Some(options.seed);
        cluster.plain = options.plain;
        cluster.longest_watch = options.calm.then_some(365 * DAY);
        let kube = KubeServer::start(cluster).await.unwrap();
        let acme = hub::Organization::new("acme").owner("acme-owner").limit(200);
        let acme = acme.private("payments-api").private("base").public("site");
        let mut docker = HubOptions::new(theirs);
        docker.journal = journal.clone();
        docker.faults = faults.clone();
        docker.traffic = traffic;
        docker.latency = 10 * LATENCY;
        docker.seed = Some(options.seed);
        docker.keys = Some(base.keys.clone());
        docker.organizations.push(acme);
        docker.users.push(hub::User::new("acme-owner", PASSWORD));
        (options.hub)(&mut docker);
        let hub = Hub::start(docker).await.unwrap();
        let client = client(&kube.kubeconfig()).await;
        let servers = Arc::new(Servers { kube, hub });
        let starts = Arc::new(AtomicU32::new(0));
        let rules = rules::Rules::watch(&servers, &journal, starts.clone());
        Self {
            servers,
            journal,
            faults,
            clock,
            client,
            rules,
            user: OPERATOR,
            calm: options.calm,
            by_chance: options.by_chance,
            logs,
            edges,
            pacer,
            starts,
            host: crate::support::own_host(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets time pass.
    pub async fn advance(&self, by: Duration) {
        sleep_until(Instant::now() + by).await;
    }

    /// Waits until something holds of the servers. Fails where it does not within this much virtual time.
    #[track_caller]
    pub fn until(&self, what: &str, limit: Duration, mut holds: impl FnMut(&Self) -> bool) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let deadline = Instant::now() + limit;
            let (mut requests, mut changes) = (self.journal.subscribe(), self.servers.kube.subscribe());
            while !holds(self) {
                let news = async {
                    tokio::select! {
                        _ = requests.changed() => {}
                        _ = changes.changed() => {}
                    }
                };
                if timeout_at(deadline, news).await.is_err() {
                    assert!(holds(self), "{caller}: not within {limit:?}: {what}\n{}", self.story());
                }
            }
        }
    }

    /// Waits until operators have asked and written nothing for this long, apart from watches and the Lease.
    #[track_caller]
    pub fn settle(&self, still: Duration, limit: Duration) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let deadline = Instant::now() + limit;
            loop {
                let before = self.journal.count(is_work);
                self.advance(still).await;
                if self.journal.count(is_work) == before {
                    return;
                }
                assert!(Instant::now() < deadline, "{caller}: not still within {limit:?}\n{}", self.story());
            }
        }
    }

    /// The last requests, for people who look at a failure: forty, or as many as `OAT_STORY` says.
    pub fn story(&self) -> String {
        let entries = self.journal.filter(is_work);
        let told = std::env::var("OAT_STORY").ok().and_then(|told| told.parse().ok()).unwrap_or(40);
        let last = entries.iter().skip(entries.len().saturating_sub(told));
        last.map(|entry| format!("{} {entry}\n", entry.time)).collect()
    }

    /// What was logged so far.
    pub fn logged(&self) -> String {
        self.logs.as_ref().map(|logs| String::from_utf8_lossy(&logs.0.lock().unwrap()).into_owned()).unwrap_or_default()
    }

    /// An operator's metrics.
    pub async fn metrics(&self, operator: &OperatorHandle) -> String {
        let _hold = self.pacer.hold();
        reqwest::get(format!("http://{}/metrics", operator.metrics)).await.unwrap().text().await.unwrap()
    }

    /// How often time was let pass.
    pub fn passed(&self) -> u64 {
        self.pacer.passed()
    }

    /// The end of every run: nothing happened that must not, and no secret stands where none may.
    async fn finish(&self) {
        self.rules.verdict(&self.story());
        self.edges.verdict(self.by_chance, &self.story());
        let mut secrets = self.servers.hub.values();
        secrets.push(PASSWORD.to_owned());
        let scanner = Scanner::new(&secrets);
        if self.logs.is_some() {
            scanner.check("the log", self.logged().as_bytes());
        }
        for resource in [user::TOKENS, user::ORGANIZATIONS, "clusterorganizations.oat-operator.dev", "events"] {
            let objects = self.servers.kube.objects(resource);
            scanner.check(resource, serde_json::to_string(&objects).unwrap().as_bytes());
        }
    }
}

/// From now on this thread's logs go there: all that there are, or the steps alone.
fn listen(logs: Option<Logs>, edges: edges::Edges) -> tracing::subscriber::DefaultGuard {
    use tracing_subscriber::{filter::filter_fn, layer::SubscriberExt};
    let Some(logs) = logs else {
        let steps = filter_fn(edges::is_about_steps);
        return tracing::subscriber::set_default(tracing_subscriber::registry().with(edges).with(steps));
    };
    let filter = tracing_subscriber::EnvFilter::new("trace");
    let json = oat_operator::cli::run::LogFormat::Json;
    let subscriber = oat_operator::cli::log::subscriber(json, filter, move || logs.clone(), false);
    tracing::subscriber::set_default(subscriber.with(edges))
}

/// Requests of operators that are more than standing by.
pub fn is_work(entry: &Entry) -> bool {
    entry.user_agent.starts_with("oat-operator") && !entry.query.contains("watch=") && !entry.path.contains("/leases")
}
