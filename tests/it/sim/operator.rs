//! An operator as a task of the simulation: the program's own entry point, its clients and its watches included.

use std::{net::SocketAddr, sync::atomic::Ordering};

use oat_operator::{
    cli::run::{self, Args},
    clock::Clock,
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::Sim;
use crate::support::world::SERVICE;

/// A running operator. Dropped, it goes on.
#[must_use = "it is killed or stopped by this"]
pub struct OperatorHandle {
    task: JoinHandle<Result<(), run::Error>>,
    /// Its sender is dropped at the end.
    ended: watch::Receiver<()>,
    stop: Option<oneshot::Sender<()>>,
    /// The clock of its machine, to be set by [`Clock::set_by`].
    pub clock: Clock,
    /// Where its /metrics are.
    pub metrics: SocketAddr,
}

impl OperatorHandle {
    /// It ends where it stands: nothing is cleaned up, nothing more is sent.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// SIGTERM, and how it ended.
    pub async fn stop(mut self) -> Result<(), run::Error> {
        self.stop.take().into_iter().for_each(|stop| _ = stop.send(()));
        (&mut self.task).await.unwrap()
    }

    /// Waits until it ends by itself.
    pub async fn ended(mut self) -> Result<(), run::Error> {
        (&mut self.task).await.unwrap()
    }

    pub fn has_ended(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    /// Returns once it has ended, for whatever reason.
    pub async fn end(&self) {
        let _ = self.ended.clone().changed().await;
    }
}

impl Drop for OperatorHandle {
    fn drop(&mut self) {
        // A sender that is dropped would be the signal.
        self.stop.take().into_iter().for_each(std::mem::forget);
    }
}

impl Sim {
    /// Starts an operator with these flags besides the usual ones. Without one about the lease it elects no leader.
    pub async fn start_operator(&self, flags: &[&str]) -> OperatorHandle {
        self.start_operator_at(self.clock.clone(), flags).await
    }

    /// The same on a machine with a clock of its own.
    pub async fn start_operator_at(&self, clock: Clock, flags: &[&str]) -> OperatorHandle {
        let number = self.starts.fetch_add(1, Ordering::SeqCst) + 1;
        let metrics = SocketAddr::from((self.host, u16::try_from(10_000 + 2 * (number % 20_000)).unwrap()));
        let health = SocketAddr::new(metrics.ip(), metrics.port() + 1);
        let mut all: Vec<String> = ["run", "--operator-namespace", "oat-operator", "--cluster-id", "test"]
            .iter()
            .map(ToString::to_string)
            .collect();
        let hub = &self.servers.hub;
        let given = [
            ("--hub-url", hub.url()),
            ("--registry-token-url", hub.token_url()),
            ("--registry-service", SERVICE.into()),
        ];
        let listens = [("--metrics-addr", metrics.to_string()), ("--health-addr", health.to_string())];
        all.extend(given.into_iter().chain(listens).flat_map(|(flag, value)| [flag.to_owned(), value]));
        all.extend(flags.iter().map(ToString::to_string));
        if !flags.iter().any(|flag| flag.starts_with("--lease") || flag.starts_with("--leader")) {
            all.push("--leader-elect=false".into());
        }
        if self.calm {
            all.extend(["--watch-timeout", "0s"].map(str::to_owned));
        }
        let mut config = crate::support::world::config(&self.servers.kube.kubeconfig_for(self.user)).await;
        run::prepare(&mut config);
        if self.calm {
            config.read_timeout = None;
        }
        let (stop, stopped) = oneshot::channel();
        let told = async {
            let _ = stopped.await;
        };
        let (over, ended) = watch::channel(());
        let run = run::run_with(Args::of(all), config, clock.clone(), told);
        let task = tokio::spawn(async move {
            let _over = over;
            run.await
        });
        OperatorHandle { task, ended, stop: Some(stop), clock, metrics }
    }
}
