//! `oat-operator sandbox`: the operator, unchanged, between a Kubernetes API server and a Docker Hub in memory.
//!
//! Reading order: [`main`] (what happens, step by step), then what each step says; `time` (how fast it passes),
//! `manifests` (what is applied), `story` (what the operator then did), `promises` (what is looked at meanwhile, and the summary), `open` (when a rotation may be).

mod manifests;
mod open;
mod promises;
mod story;
mod time;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args as ClapArgs;
use kube::{
    Api, Client, ResourceExt,
    config::{KubeConfigOptions, Kubeconfig},
};
use oat_sandbox::{
    fault::Faults,
    hub::{self, Hub, HubOptions},
    journal::Journal,
    kube::{KubeOptions, KubeServer},
};
use tracing::level_filters::LevelFilter;

use self::{promises::Promises, time::Time};
use super::{proof, run};
use crate::api::OrganizationAccessToken;

/// Token objects, as the sandbox's API server names them.
const TOKENS: &str = "organizationaccesstokens.oat-operator.dev";
/// The one organization that there is.
const ORGANIZATION: &str = "acme";
/// How many requests are remembered: more than a start needs, and no more with each year that the sandbox stays up.
const JOURNAL: usize = 20_000;
/// How long a watch lasts where the time runs fast: for ever.
const LONGEST_WATCH: Duration = Duration::from_secs(365 * 86_400);

/// The flags of `oat-operator sandbox`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// A manifest, or a folder of manifests, to apply and to wait for; repeatable.
    #[arg(long = "apply", value_name = "PATH")]
    pub apply: Vec<PathBuf>,
    /// End after the proof: 0 where every token was accepted, 1 where not. Without it, the sandbox stays up.
    #[arg(long)]
    pub exit: bool,
    /// How many times as fast as the machine's the sandbox's time runs, for its two servers and the operator alike: at
    /// most 1000000, at which a year takes half a minute. It stands still while anything is under way. The operator then
    /// elects no leader.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=time::FASTEST))]
    pub speed: u32,
    /// Let so much of the sandbox's time pass once all is ready, say what happened in it, and end: 0 where every promise
    /// was kept, 1 where not.
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::api::valid::duration)]
    pub span: Option<Duration>,
    /// How long to wait until what was applied is ready, by the sandbox's time.
    #[arg(long, default_value = "60s", value_parser = crate::api::valid::duration)]
    pub timeout: Duration,
    /// Where the kubeconfig is written. Default: a file in the folder for temporary files.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// Why the sandbox ended without a proof.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the sandbox's API server could not be started")]
    Kubernetes(#[source] oat_sandbox::kube::KubeError),
    #[error("the sandbox's Docker Hub could not be started")]
    Hub(#[source] oat_sandbox::hub::Error),
    #[error("{0}: the file can't be read or written")]
    File(PathBuf, #[source] std::io::Error),
    #[error("{0}: no YAML that the API server could take")]
    Yaml(PathBuf, #[source] serde_yaml::Error),
    #[error("{0}: {1}")]
    Refused(String, #[source] kube::Error),
    #[error("the kubeconfig can't be used")]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    #[error("no request could be made")]
    Client(#[source] kube::Error),
    #[error("the operator ended")]
    Operator(#[source] run::Error),
    #[error("{0}")]
    NotReady(String),
    #[error("{0}")]
    NotProved(String),
    #[error("the sandbox's time could not be started")]
    Time(#[source] std::io::Error),
    #[error("a bug: the sandbox panicked")]
    Panicked,
    #[error("a promise was broken: {0}")]
    Broken(String),
}

/// Runs the sandbox.
pub async fn main(args: Args) -> ExitCode {
    super::log::init(run::LogFormat::Text, LevelFilter::WARN);
    match time::run(args.speed, |time| sandbox(args, time)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", run::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The two servers.
struct Servers {
    kubernetes: KubeServer,
    hub: Hub,
}

/// The two servers, what they were asked, and whether they were asked for the right things.
struct Sandbox {
    servers: Arc<Servers>,
    journal: Journal,
    promises: Arc<Promises>,
    time: Time,
}

async fn sandbox(args: Args, time: Time) -> Result<(), Error> {
    let sandbox = start(time).await?;
    println!("Kubernetes API server  {}", sandbox.servers.kubernetes.url());
    println!("Docker Hub             {}  (organization acme, owner acme-owner)", sandbox.servers.hub.url());
    let path = args.kubeconfig.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("oat-operator-sandbox-{}.kubeconfig", std::process::id()))
    });
    let text = sandbox.servers.kubernetes.kubeconfig();
    write_private(&path, &text).map_err(|error| Error::File(path.clone(), error))?;
    let kubeconfig = Kubeconfig::from_yaml(&text).map_err(Error::Kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(Error::Kubeconfig)?;
    let client = Client::try_from(config.clone()).map_err(Error::Client)?;
    run::prepare(&mut config);
    if sandbox.time.is_fast() {
        println!("time                   runs {} times as fast", sandbox.time.speed);
        // No watch is taken for dead because nothing happened for hours of a fast time.
        config.read_timeout = None;
    }
    manifests::install(&client).await?;
    println!("operator               started\n");
    let clock = sandbox.time.clock.clone();
    let operator = run::run_with(operator_args(&sandbox), config, clock, std::future::pending());
    let story = tell(&args, &sandbox, &client, &path);
    let told = tokio::select! {
        ended = operator => match ended {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::Operator(error)),
        },
        told = story => told,
    };
    if args.ends() && args.kubeconfig.is_none() {
        // The API server that it leads to is gone.
        let _ = std::fs::remove_file(&path);
    }
    told
}

impl Args {
    /// Whether the sandbox ends by itself.
    fn ends(&self) -> bool {
        self.exit || self.span.is_some()
    }
}

/// The servers, with an organization that the examples use.
async fn start(time: Time) -> Result<Sandbox, Error> {
    let (journal, faults) = (Journal::of_last(JOURNAL), Faults::new());
    let mut cluster = KubeOptions::new(time.shown(), journal.clone(), faults.clone());
    cluster.traffic = time.traffic.clone();
    cluster.longest_watch = time.is_fast().then_some(LONGEST_WATCH);
    let kubernetes = KubeServer::start(cluster).await.map_err(Error::Kubernetes)?;
    let acme = hub::Organization::new(ORGANIZATION).owner("acme-owner");
    let acme = acme.private("payments-api").private("base").public("site");
    let mut options = HubOptions::new(time.shown());
    options.journal = journal.clone();
    options.faults = faults;
    options.traffic = time.traffic.clone();
    options.organizations.push(acme);
    options.users.push(hub::User::new("acme-owner", "sandbox-password"));
    let hub = Hub::start(options).await.map_err(Error::Hub)?;
    let servers = Arc::new(Servers { kubernetes, hub });
    let promises = Promises::watch(&servers, &journal);
    Ok(Sandbox { servers, journal, promises, time })
}

/// The kubeconfig holds the administrator's token: for this user's eyes only.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// The operator's own flags, pointed at the sandbox.
fn operator_args(sandbox: &Sandbox) -> run::Args {
    let hub = &sandbox.servers.hub;
    // Where hours pass at once, a renewal of the Lease every two seconds would be all that is done.
    let fast = if sandbox.time.is_fast() { " --leader-elect=false --watch-timeout 0s" } else { "" };
    let flags = format!(
        "run --hub-url {} --registry-token-url {} --operator-namespace oat-operator \
         --metrics-addr 127.0.0.1:0 --health-addr 127.0.0.1:0{fast}",
        hub.url(),
        hub.token_url()
    );
    run::Args::of(flags.split_whitespace().map(str::to_owned))
}

/// What a newcomer sees: what is applied, what happens, and the proof.
async fn tell(args: &Args, sandbox: &Sandbox, client: &Client, kubeconfig: &Path) -> Result<(), Error> {
    let from = sandbox.journal.len();
    for path in &args.apply {
        for (what, object) in manifests::read(path)? {
            manifests::apply(client, &object, &what).await?;
            println!("applied  {what}");
        }
    }
    let tokens = wait(client, args.timeout).await;
    story::narrate(&sandbox.journal, from);
    prove_all(sandbox, client, &tokens?).await?;
    if let Some(span) = args.span {
        return pass(args, sandbox, client, span).await;
    }
    if args.exit {
        return Ok(());
    }
    if sandbox.time.is_fast() {
        sandbox.promises.tell();
    }
    println!("\nThe sandbox stays up; end it with Ctrl-C. Try:\n");
    println!("  export KUBECONFIG={}", kubeconfig.display());
    for command in [
        "kubectl get horg,oat -A",
        "kubectl -n payments describe oat payments-pull",
        "kubectl -n payments annotate oat payments-pull oat-operator.dev/rotate=1",
        "kubectl -n payments get secret dockerhub -o yaml",
        "kubectl -n payments delete oat payments-pull",
    ] {
        println!("  {command}");
    }
    let _ = tokio::signal::ctrl_c().await;
    Ok(())
}

/// Lets time pass, then says what happened in it and proves what is in the Secrets once more.
async fn pass(args: &Args, sandbox: &Sandbox, client: &Client, span: Duration) -> Result<(), Error> {
    let clock = &sandbox.time.clock;
    let from = promises::whole(clock.now());
    println!();
    sandbox.promises.tell();
    tokio::select! {
        () = clock.sleep(span) => {}
        _ = tokio::signal::ctrl_c() => println!("ended early"),
    }
    // What is under way at this very moment ends first.
    let settled = async {
        while sandbox.promises.summary().left > 0 {
            clock.sleep(Duration::from_secs(1)).await;
        }
    };
    let _still_left = tokio::time::timeout(args.timeout, settled).await;
    let tokens = wait(client, args.timeout).await;
    let summary = sandbox.promises.summary();
    println!("\nfrom {from} to {}", promises::whole(clock.now()));
    print!("{summary}");
    prove_all(sandbox, client, &tokens?).await?;
    if summary.broken.is_empty() { Ok(()) } else { Err(Error::Broken(summary.broken.join("; "))) }
}

/// Waits until every token object is ready.
async fn wait(client: &Client, timeout: Duration) -> Result<Vec<OrganizationAccessToken>, Error> {
    let api: Api<OrganizationAccessToken> = Api::all(client.clone());
    let waited = tokio::time::timeout(timeout, async {
        let mut looks = tokio::time::interval(Duration::from_millis(100));
        loop {
            looks.tick().await;
            let tokens = api.list(&Default::default()).await.map(|list| list.items).unwrap_or_default();
            if tokens.iter().all(proof::is_ready) {
                return tokens;
            }
        }
    });
    if let Ok(tokens) = waited.await {
        return Ok(tokens);
    }
    let tokens = api.list(&Default::default()).await.map(|list| list.items).unwrap_or_default();
    let waiting: Vec<_> = tokens.iter().filter(|token| !proof::is_ready(token)).map(proof::state).collect();
    Err(Error::NotReady(format!("not ready within {}s: {}", timeout.as_secs(), waiting.join("; "))))
}

/// Proves all, then says so.
async fn prove_all(sandbox: &Sandbox, client: &Client, tokens: &[OrganizationAccessToken]) -> Result<(), Error> {
    let mut proved = Vec::new();
    for token in tokens {
        proved.push(prove(sandbox, client, token).await?);
    }
    proved.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// The proof: the token service takes what is in the Secret; or refuses it, where the token is deactivated as asked.
async fn prove(sandbox: &Sandbox, client: &Client, token: &OrganizationAccessToken) -> Result<String, Error> {
    let namespace = token.namespace().unwrap_or_default();
    let name = token
        .status
        .as_ref()
        .and_then(|status| status.secret.as_ref())
        .map(|secret| secret.name.clone())
        .unwrap_or_default();
    let what = format!("Secret {namespace}/{name}");
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(client.clone(), &namespace);
    let secret = secrets.get(&name).await.map_err(|error| Error::Refused(what.clone(), error))?;
    let accepted = proof::accepted(&sandbox.servers.hub.token_url(), &secret).await.map_err(Error::NotProved)?;
    match (accepted, token.spec.token.active) {
        (true, true) => Ok(format!("proof    {what}: the registry's token service accepts it")),
        (false, false) => {
            Ok(format!("proof    {what}: the registry's token service refuses it, as the token is deactivated"))
        }
        (true, false) => Err(Error::NotProved(format!("{what}: accepted, although its token is to be deactivated"))),
        (false, true) => Err(Error::NotProved(format!("{what}: the registry's token service refuses it"))),
    }
}
