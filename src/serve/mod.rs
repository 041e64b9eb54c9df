//! What is served over HTTP: probes and metrics. Read-only.
//!
//! Reading order: this page (a server that can be stopped), [`probes`], [`metrics`] (the series), [`samples`] (where
//! per-object series come from).
//!
//! Never: a change of anything, by any request; a secret, a token's id or its label in an answer.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::Router;
use tokio::{net::TcpListener, sync::oneshot};

pub mod metrics;
pub mod probes;
pub mod samples;
#[cfg(test)]
mod tests;

/// How long requests under way may take after the stop. No answer of ours takes long; a client that says nothing more
/// doesn't keep the process.
const GRACE: Duration = Duration::from_secs(2);

/// Why something is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can't be listened on.
    #[error("can't listen on {address}: choose another address with {flag}; port 0 takes any that is free")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The flag that it comes from.
        flag: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Connections can't be accepted any more.
    #[error("the server of {flag} ended")]
    Ended {
        /// The flag that its address comes from.
        flag: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A server that listens, and answers once it runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    flag: &'static str,
    router: Router,
}

impl Server {
    /// Listens. The flag is the one that the address comes from, for the error's text.
    ///
    /// `[::]` means every address of both families, and falls back to `0.0.0.0` where there is no IPv6.
    pub async fn bind(address: SocketAddr, flag: &'static str, router: Router) -> Result<Self, Error> {
        let failed = |source| Error::Bind { address, flag, source };
        let listener = match TcpListener::bind(address).await {
            Err(error) if address.is_ipv6() && address.ip().is_unspecified() && !in_use(&error) => {
                let all = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                TcpListener::bind(SocketAddr::new(all, address.port())).await
            }
            bound => bound,
        };
        let listener = listener.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, flag, router })
    }

    /// Where it listens: the port that it was given where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, then lets requests under way end.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        self.run_for(stop, GRACE).await
    }

    async fn run_for(self, stop: impl Future<Output = ()>, grace: Duration) -> Result<(), Error> {
        let (stopping, stopped) = oneshot::channel::<()>();
        let serve = axum::serve(self.listener, self.router).with_graceful_shutdown(async {
            // Dropped or sent: both are the stop.
            let _ = stopped.await;
        });
        let mut serve = std::pin::pin!(serve.into_future());
        let ended = |source| Error::Ended { flag: self.flag, source };
        tokio::select! {
            served = &mut serve => return served.map_err(ended),
            () = stop => drop(stopping),
        }
        match tokio::time::timeout(grace, serve).await {
            Ok(served) => served.map_err(ended),
            Err(_) => Ok(()),
        }
    }
}

fn in_use(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}
