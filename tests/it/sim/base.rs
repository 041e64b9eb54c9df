//! What all simulations of a process share, since it is dear: keys, certificates, and a cluster with our definitions.
//!
//! Never changes once it is made.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use oat_sandbox::{
    clock::Clock,
    fault::Faults,
    hub::Keys,
    journal::Journal,
    kube::{KubeOptions, KubeServer, Template},
    tls::{Authority, Certificate},
};

use crate::support::{
    cluster::OPERATOR,
    world::{client, install},
};

/// The roles of the operator that watches all namespaces.
const ROLES: [&str; 2] = ["config/rbac/role.yaml", "config/rbac/leader_election_role.yaml"];

pub struct Base {
    pub authority: Authority,
    pub tls: Arc<rustls::ServerConfig>,
    pub keys: Keys,
    pub template: Template,
}

/// When every simulation begins.
pub fn beginning() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Authority::new().unwrap();
        // Clients check it by the machine's clock, whatever the simulation's shows.
        let always = |year: i16| jiff::civil::date(year, 1, 1).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
        let mut certificate = Certificate::loopback(beginning());
        (certificate.not_before, certificate.not_after) = (always(1980), always(2200));
        let tls = authority.server_config(&certificate).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let template = runtime.block_on(async {
            let clock = Clock::from_fn(beginning);
            let mut options = KubeOptions::new(clock, Journal::new(), Faults::new());
            options.authority = Some(authority.clone());
            options.tls = Some(tls.clone());
            let server = KubeServer::start(options).await.unwrap();
            server.add_user("operator", OPERATOR, &["system:authenticated"]);
            install(&client(&server.kubeconfig()).await, &ROLES).await;
            server.template()
        });
        Base { authority, tls, keys: Keys::quick().unwrap(), template }
    })
}
