//! Starts the sandbox's Kubernetes API server and prints the path of a kubeconfig for it.
//!
//! `cargo run -p oat-sandbox --example serve [PORT]`, then `kubectl --kubeconfig PATH get namespaces`.

use std::error::Error;

use oat_sandbox::clock::Clock;
use oat_sandbox::fault::Faults;
use oat_sandbox::journal::Journal;
use oat_sandbox::kube::{KubeOptions, KubeServer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut options = KubeOptions::new(Clock::system(), Journal::new(), Faults::new());
    if let Some(port) = std::env::args().nth(1) {
        options.port = port.parse()?;
    }
    let server = KubeServer::start(options).await?;
    let path = std::env::temp_dir().join(format!("oat-sandbox-{}.kubeconfig", std::process::id()));
    std::fs::write(&path, server.kubeconfig())?;
    println!("{}", path.display());
    tokio::signal::ctrl_c().await?;
    std::fs::remove_file(&path)?;
    Ok(())
}
