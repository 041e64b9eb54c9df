//! The commands: what the flags say, put together and run.

pub mod crds;
pub mod log;
#[cfg(feature = "sandbox")]
mod proof;
pub mod run;
#[cfg(feature = "sandbox")]
pub mod sandbox;

use clap::{Parser, Subcommand};

/// Docker Hub organization access tokens as Kubernetes objects.
#[derive(Parser, Debug)]
#[command(name = "oat-operator", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one, for as long as the program runs")]
pub enum Command {
    /// Run the operator.
    Run(run::Args),
    /// Print the CustomResourceDefinitions.
    Crds,
    /// Run the operator between a Kubernetes API server and a Docker Hub in memory, to try it.
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Args),
}

/// Carries a command out; the exit code.
pub async fn main(cli: Cli) -> std::process::ExitCode {
    match cli.command {
        Command::Run(args) => run::main(args).await,
        Command::Crds => crds::main(),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => sandbox::main(args).await,
    }
}
