//! The integration suite: one binary, scenarios in modules, what they share in `support`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod admission;
mod clients;
mod controlplane;
mod crash;
mod credentials;
mod docs;
mod examples;
mod farewells;
mod faults;
mod fences;
mod generated;
mod life;
mod load;
mod manifests;
mod orphans;
mod outages;
mod pauses;
mod replicas;
mod rights;
mod sim;
mod speed;
mod support;
mod trust;
mod unreadable;
mod writes;

/// Simulations ask for memory all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
