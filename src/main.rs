//! `oat-operator run | crds | sandbox`: parse, install the crypto provider, hand over.

use std::process::ExitCode;

use clap::Parser;
use oat_operator::cli::{self, Cli};

#[tokio::main]
async fn main() -> ExitCode {
    // kube and reqwest are built without a provider of their own; without this line they panic at the first request.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("error: another crypto provider has been installed");
        return ExitCode::FAILURE;
    }
    cli::main(Cli::parse()).await
}
