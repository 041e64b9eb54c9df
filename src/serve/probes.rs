//! `/healthz` and `/readyz`.
//!
//! `/healthz` says that the process answers: what must run for ever ends the process when it ends, so there is nothing
//! else to ask. `/readyz` says that everything watched has been listed. Who leads is not asked: a standby that has
//! listed everything takes over at once, and so it is ready.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, routing::get};

use crate::control::Context;

/// Tells what is missing before work can begin.
pub trait Readiness: Send + Sync {
    /// What has not been listed yet.
    fn missing(&self) -> Vec<&'static str>;
}

impl Readiness for Context {
    fn missing(&self) -> Vec<&'static str> {
        let [organizations, cluster_organizations] = self.organizations.complete();
        let stores = [
            ("organizationaccesstokens", self.tokens.complete()),
            ("organizations", organizations),
            ("clusterorganizations", cluster_organizations),
            ("secrets of the operator", self.secrets.complete()),
            ("names of other secrets", self.foreign.complete()),
        ];
        stores.into_iter().filter(|(_, complete)| !*complete.borrow()).map(|(name, _)| name).collect()
    }
}

/// The probes.
#[derive(Clone)]
pub struct Probes(Arc<dyn Readiness>);

impl Probes {
    /// Probes of this.
    pub fn new(readiness: Arc<dyn Readiness>) -> Self {
        Self(readiness)
    }

    /// The pages.
    pub fn router(self) -> Router {
        Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(self)
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(Probes(readiness)): State<Probes>) -> (StatusCode, String) {
    let missing = readiness.missing();
    match missing.is_empty() {
        true => (StatusCode::OK, "ok\n".into()),
        false => (StatusCode::SERVICE_UNAVAILABLE, format!("not listed yet: {}\n", missing.join(", "))),
    }
}
