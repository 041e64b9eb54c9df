//! `oat-operator sandbox`: the operator, unchanged, between a Kubernetes API server and a Docker Hub in memory.
//!
//! Reading order: [`main`] (what happens, step by step), then what each step says.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args as ClapArgs;
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, GroupVersionKind, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    discovery,
};
use oat_sandbox::{
    clock::Clock,
    fault::Faults,
    hub::{self, Hub, HubOptions},
    journal::{Journal, Server},
    kube::{KubeOptions, KubeServer},
};
use serde::Deserialize;
use tracing::level_filters::LevelFilter;

use super::{proof, run};
use crate::api::{self, OrganizationAccessToken};

/// The flags of `oat-operator sandbox`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// A manifest, or a folder of manifests, to apply and to wait for; repeatable.
    #[arg(long = "apply", value_name = "PATH")]
    pub apply: Vec<PathBuf>,
    /// End after the proof: 0 where every token was accepted, 1 where not. Without it, the sandbox stays up.
    #[arg(long)]
    pub exit: bool,
    /// How long to wait until what was applied is ready.
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
}

/// Runs the sandbox.
pub async fn main(args: Args) -> ExitCode {
    super::log::init(run::LogFormat::Text, LevelFilter::WARN);
    match sandbox(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", run::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The two servers and what is in them.
struct Sandbox {
    kubernetes: KubeServer,
    hub: Hub,
    journal: Journal,
}

async fn sandbox(args: Args) -> Result<(), Error> {
    let sandbox = start().await?;
    println!("Kubernetes API server  {}", sandbox.kubernetes.url());
    println!("Docker Hub             {}  (organization acme, owner acme-owner)", sandbox.hub.url());
    let path = args.kubeconfig.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("oat-operator-sandbox-{}.kubeconfig", std::process::id()))
    });
    let text = sandbox.kubernetes.kubeconfig();
    write_private(&path, &text).map_err(|error| Error::File(path.clone(), error))?;
    let kubeconfig = Kubeconfig::from_yaml(&text).map_err(Error::Kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(Error::Kubeconfig)?;
    let client = Client::try_from(config.clone()).map_err(Error::Client)?;
    run::prepare(&mut config);
    install(&client).await?;
    println!("operator               started\n");
    let operator =
        run::run_with(operator_args(&sandbox.hub), config, crate::clock::Clock::system(), std::future::pending());
    let story = tell(&args, &sandbox, &client, &path);
    let told = tokio::select! {
        ended = operator => match ended {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::Operator(error)),
        },
        told = story => told,
    };
    if args.exit && args.kubeconfig.is_none() {
        // The API server that it leads to is gone.
        let _ = std::fs::remove_file(&path);
    }
    told
}

/// The servers, with an organization that the examples use.
async fn start() -> Result<Sandbox, Error> {
    let (journal, faults) = (Journal::new(), Faults::new());
    let kubernetes = KubeServer::start(KubeOptions::new(Clock::system(), journal.clone(), faults.clone()));
    let kubernetes = kubernetes.await.map_err(Error::Kubernetes)?;
    let acme = hub::Organization::new("acme").owner("acme-owner");
    let acme = acme.private("payments-api").private("base").public("site");
    let mut options = HubOptions::new(Clock::system());
    options.journal = journal.clone();
    options.faults = faults;
    options.organizations.push(acme);
    options.users.push(hub::User::new("acme-owner", "sandbox-password"));
    let hub = Hub::start(options).await.map_err(Error::Hub)?;
    Ok(Sandbox { kubernetes, hub, journal })
}

/// The kubeconfig holds the administrator's token: for this user's eyes only.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// The definitions, and the namespace that the operator's Lease lives in.
async fn install(client: &Client) -> Result<(), Error> {
    for crd in api::crds() {
        let name = crd.name_any();
        apply_object(client, &serde_json::to_value(&crd).unwrap_or_default(), &name).await?;
    }
    let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "oat-operator"}});
    apply_object(client, &namespace, "oat-operator").await
}

/// The operator's own flags, pointed at the sandbox.
fn operator_args(hub: &Hub) -> run::Args {
    let flags = format!(
        "run --hub-url {} --registry-token-url {} --operator-namespace oat-operator \
         --metrics-addr 127.0.0.1:0 --health-addr 127.0.0.1:0",
        hub.url(),
        hub.token_url()
    );
    run::Args::of(flags.split_whitespace().map(str::to_owned))
}

/// What a newcomer sees: what is applied, what happens, and the proof.
async fn tell(args: &Args, sandbox: &Sandbox, client: &Client, kubeconfig: &Path) -> Result<(), Error> {
    let from = sandbox.journal.len();
    for path in &args.apply {
        for (what, object) in manifests(path)? {
            apply_object(client, &object, &what).await?;
            println!("applied  {what}");
        }
    }
    let tokens = wait(client, args.timeout).await;
    narrate(&sandbox.journal, from);
    let mut proved = Vec::new();
    for token in &tokens? {
        proved.push(prove(sandbox, client, token).await?);
    }
    proved.iter().for_each(|line| println!("{line}"));
    if args.exit {
        return Ok(());
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

/// Every object of a file, or of a folder's files in the order of their names.
fn manifests(path: &Path) -> Result<Vec<(String, serde_json::Value)>, Error> {
    let failed = |error| Error::File(path.to_owned(), error);
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml"));
        files.sort();
        let objects = files.iter().map(|file| manifests(file)).collect::<Result<Vec<_>, _>>()?;
        return Ok(objects.into_iter().flatten().collect());
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let object = serde_json::Value::deserialize(document).map_err(|error| Error::Yaml(path.to_owned(), error))?;
        if object.is_null() {
            continue;
        }
        let text =
            |pointer: &str| object.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let (kind, namespace, name) = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        let name = if namespace.is_empty() { name } else { format!("{namespace}/{name}") };
        objects.push((format!("{kind} {name}"), object));
    }
    Ok(objects)
}

/// Server-side applies an object of any kind.
async fn apply_object(client: &Client, object: &serde_json::Value, what: &str) -> Result<(), Error> {
    let refused = |error| Error::Refused(what.to_owned(), error);
    let object: DynamicObject =
        serde_json::from_value(object.clone()).map_err(|error| refused(kube::Error::SerdeError(error)))?;
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    let kind = GroupVersionKind::gvk(group, version, &types.kind);
    let (resource, capabilities) = discovery::pinned_kind(client, &kind).await.map_err(refused)?;
    let api: Api<DynamicObject> = match capabilities.scope {
        discovery::Scope::Namespaced => {
            Api::namespaced_with(client.clone(), object.metadata.namespace.as_deref().unwrap_or("default"), &resource)
        }
        discovery::Scope::Cluster => Api::all_with(client.clone(), &resource),
    };
    let params = PatchParams::apply("kubectl").force();
    api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await.map_err(refused)?;
    Ok(())
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

/// What the operator asked of Docker Hub and wrote to Kubernetes, in order.
fn narrate(journal: &Journal, from: u64) {
    for entry in journal.since(from) {
        if !entry.user_agent.starts_with("oat-operator") {
            continue;
        }
        let said = match (entry.server, entry.method.as_str(), entry.path.as_str()) {
            (Server::Hub, "POST", "/v2/auth/token") => "logged in at Docker Hub",
            (Server::Hub, "GET", _) => "listed the organization's tokens",
            (Server::Hub, "POST", path) if path.ends_with("/access-tokens") => "made a token at Docker Hub",
            (Server::Hub, "PATCH", _) => "changed the token at Docker Hub",
            (Server::Hub, "DELETE", _) => "deleted a token at Docker Hub",
            (Server::Registry, ..) => "proved the token at the registry's token service",
            (Server::Kubernetes, "POST", path) if path.ends_with("/secrets") => "published the token in a pull secret",
            (Server::Kubernetes, "PATCH", path)
                if path.contains("/organizationaccesstokens/") && path.ends_with("/status") =>
            {
                "remembered it in the status"
            }
            (Server::Kubernetes, "PATCH", path) if path.contains("/organizationaccesstokens/") => {
                "put the finalizer on the object"
            }
            _ => continue,
        };
        println!("{:<8} {said:<50} {} {}", "operator", entry.method, entry.path);
    }
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
    let accepted = proof::accepted(&sandbox.hub.token_url(), &secret).await.map_err(Error::NotProved)?;
    match (accepted, token.spec.token.active) {
        (true, true) => Ok(format!("proof    {what}: the registry's token service accepts it")),
        (false, false) => {
            Ok(format!("proof    {what}: the registry's token service refuses it, as the token is deactivated"))
        }
        (true, false) => Err(Error::NotProved(format!("{what}: accepted, although its token is to be deactivated"))),
        (false, true) => Err(Error::NotProved(format!("{what}: the registry's token service refuses it"))),
    }
}
