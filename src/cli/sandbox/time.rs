//! The sandbox's time: the machine's, or one that runs faster.
//!
//! One that runs faster is tokio's own, held still: on a thread of its own it passes only while nothing is under way
//! between the operator and the sandbox's servers, and then so many times as fast as the machine's. Every timer is on it,
//! those of the operator's clients included, so that no call is timed out by it, however fast it is and however slow
//! the machine.

use std::future::Future;

use oat_sandbox::{pacer::Pacer, traffic::Traffic};

use super::Error;
use crate::clock::Clock;

/// The most times that the sandbox's time can be as fast as the machine's: a year is half a minute.
pub const FASTEST: i64 = 1_000_000;

/// The time that all parts of a sandbox share.
pub struct Time {
    pub speed: u32,
    pub clock: Clock,
    /// Where servers count what they do, so that time stands still meanwhile.
    pub traffic: Traffic,
}

impl Time {
    pub fn is_fast(&self) -> bool {
        self.speed > 1
    }

    /// The clock for the sandbox's servers.
    pub fn shown(&self) -> oat_sandbox::clock::Clock {
        let clock = self.clock.clone();
        oat_sandbox::clock::Clock::from_fn(move || clock.now())
    }
}

/// Runs a sandbox at this speed.
pub async fn run<F>(speed: u32, sandbox: impl FnOnce(Time) -> F + Send + 'static) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let (clock, traffic) = (Clock::system(), Traffic::new());
    if speed <= 1 {
        return sandbox(Time { speed, clock, traffic }).await;
    }
    let (done, ended) = tokio::sync::oneshot::channel();
    let start = clock.now();
    let on_its_thread = move || {
        let pacer = Pacer::new(traffic.clone()).map_err(Error::Time)?;
        pacer.runtime().map_err(Error::Time)?.block_on(async {
            pacer.start().await;
            let clock = Clock::following(start);
            tokio::select! {
                never = Pacer::pace(speed) => match never {},
                told = sandbox(Time { speed, clock, traffic }) => told,
            }
        })
    };
    let thread = std::thread::Builder::new().name("sandbox".into());
    // Nobody waits for an answer any more only where this process ends.
    thread.spawn(move || _ = done.send(on_its_thread())).map_err(Error::Time)?;
    ended.await.unwrap_or(Err(Error::Panicked))
}
