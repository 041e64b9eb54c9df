//! What scenarios share.

pub mod cluster;
pub mod controlplane;
pub mod kubectl;
pub mod lint;
pub mod operator;
pub mod process;
pub mod random;
pub mod registry;
pub mod scan;
pub mod sinks;
pub mod skopeo;
pub mod world;

use std::{
    future::Future,
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// The longest that a scenario waits for something to become true.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Looks again and again until there is an answer. Fails by name where there is none in time.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    within(PATIENCE, what, look)
}

/// The same with another patience.
#[track_caller]
pub fn within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let since = Instant::now();
        let mut again = tokio::time::interval(Duration::from_millis(20));
        loop {
            again.tick().await;
            if let Some(answer) = look().await {
                return answer;
            }
            assert!(since.elapsed() < patience, "{caller}: not within {patience:?}: {what}");
        }
    }
}

/// An address of the loopback device that nobody else has, in no process: its ports are free.
pub fn own_host() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let [.., high, low] = std::process::id().to_be_bytes();
    let [.., next, last] = (count + 1).to_be_bytes();
    Ipv4Addr::new(127, 64 + (high ^ next) % 128, low, last)
}
