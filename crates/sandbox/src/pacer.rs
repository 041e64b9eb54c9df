//! When time may pass: a runtime whose paused clock jumps to the next timer only while nothing is under way on a socket.
//!
//! tokio's own rule is too eager. It polls the sockets once, wakes who is concerned, and jumps all the same, so that each
//! answer would come after the time-out of its request. Here the thread is kept from parking until it is certain that
//! nothing is under way:
//!
//! * every connection ends at a server of the sandbox, and [`Traffic`] counts what those do with them;
//! * once the count has stood still, before each look at the sockets, a datagram is sent over the loopback device and
//!   received again. The kernel delivers what a processor sends there in order, so all that was written before has
//!   arrived by then;
//! * if the count stood still from one look to the next, then no server wrote anything that a client has yet to read, and
//!   if it did so once more, no client wrote anything that a server has yet to read. After a time of traffic, one look more.
//!
//! So work takes no time, and idle time takes none of the machine's; [`Pacer::pace`] bounds how fast it runs.
//!
//! Never: real time, but in [`Pacer::pace`]. How fast the machine is and what else runs on it changes nothing but the
//! duration.

use std::{
    convert::Infallible,
    io,
    net::UdpSocket,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

use crate::traffic::Traffic;

/// How long a thread that paces sleeps at most: so long a step of the time takes on the machine.
const STEP: Duration = Duration::from_millis(5);

/// Lets time pass, or not. Clones are one.
#[derive(Clone)]
pub struct Pacer(Arc<Inner>);

struct Inner {
    traffic: Traffic,
    /// Talks to itself.
    loopback: UdpSocket,
    state: Mutex<State>,
    /// Of the task that keeps the thread from parking; there once it runs.
    waker: OnceLock<Waker>,
    holds: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// The count at the last look.
    seen: u64,
    /// How many times in a row it stood still.
    still: u32,
    /// Whether it has moved since time passed.
    moved: bool,
    /// How often time was let pass.
    passed: u64,
}

/// While it is there, time stands still: for requests to what is no server of the sandbox.
pub struct Hold(Pacer);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.0.holds.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pacer {
    /// Heeds the connections that are counted here.
    ///
    /// # Errors
    /// When there is no loopback device.
    pub fn new(traffic: Traffic) -> io::Result<Self> {
        let loopback = UdpSocket::bind("127.0.0.1:0")?;
        loopback.connect(loopback.local_addr()?)?;
        loopback.set_read_timeout(Some(Duration::from_secs(5)))?;
        let (state, waker, holds) = (Mutex::default(), OnceLock::new(), AtomicUsize::new(0));
        Ok(Self(Arc::new(Inner { traffic, loopback, state, waker, holds })))
    }

    /// A runtime on this thread whose time stands still, and is let pass by this.
    ///
    /// # Errors
    /// When the machine has no sockets left for it.
    pub fn runtime(&self) -> io::Result<Runtime> {
        let inner = self.0.clone();
        let mut builder = Builder::new_current_thread();
        builder.enable_all().start_paused(true).on_thread_park(move || inner.park()).build()
    }

    /// To be called within the runtime before anything else: from here on sockets are heeded.
    pub async fn start(&self) {
        let inner = self.0.clone();
        let keeper = std::future::poll_fn(move |context| {
            inner.waker.get_or_init(|| context.waker().clone());
            Poll::<()>::Pending
        });
        // It ends with the runtime.
        drop(tokio::spawn(keeper));
        while self.0.waker.get().is_none() {
            tokio::task::yield_now().await;
        }
    }

    /// Lets idle time run no faster than `speed` times the machine's, as long as this is polled beside all else.
    ///
    /// Work still takes no time, so that the speed changes nothing about what happens when.
    #[allow(clippy::disallowed_methods, reason = "how fast time passes is measured by the machine's")]
    pub async fn pace(speed: u32) -> Infallible {
        loop {
            let begun = std::time::Instant::now();
            tokio::time::sleep(STEP * speed).await;
            let left = STEP.saturating_sub(begun.elapsed());
            // As long as a thread blocks, tokio's time does not jump, and sockets are served.
            let _ended = tokio::task::spawn_blocking(move || std::thread::sleep(left)).await;
        }
    }

    /// Time stands still until this is dropped.
    #[must_use = "dropping it lets time pass"]
    pub fn hold(&self) -> Hold {
        self.0.holds.fetch_add(1, Ordering::Relaxed);
        Hold(self.clone())
    }

    /// How often time was let pass.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.0.lock().passed
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs before the thread would park, when no task is ready. A task that is woken here keeps it from parking: the
    /// sockets are polled and no time passes.
    fn park(&self) {
        let Some(waker) = self.waker.get() else { return };
        let mut state = self.lock();
        let count = self.traffic.count();
        if count == state.seen && self.holds.load(Ordering::Relaxed) == 0 {
            state.still += 1;
        } else {
            *state = State { seen: count, still: 0, moved: true, passed: state.passed };
        }
        let enough = if state.moved { 3 } else { 2 };
        if state.still >= enough {
            *state = State { seen: count, still: 0, moved: false, passed: state.passed + 1 };
            return;
        }
        if state.still > 0 {
            if state.moved {
                // Should the kernel have put deliveries off, then to a thread of its own, which goes first here.
                std::thread::yield_now();
            }
            self.barrier();
        }
        waker.wake_by_ref();
    }

    /// Returns when what was sent over the loopback device has been delivered.
    fn barrier(&self) {
        let sent = repeated(|| self.loopback.send(&[0]));
        let received = repeated(|| self.loopback.recv(&mut [0]));
        assert!(matches!((&sent, &received), (Ok(1), Ok(1))), "the loopback device: {sent:?} {received:?}");
    }
}

/// A signal may interrupt a call.
fn repeated(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it takes on the machine until so much time has passed at this speed.
    #[allow(clippy::disallowed_methods, reason = "the machine's time is what is asked for")]
    fn takes(speed: u32, passes: Duration) -> Duration {
        let pacer = Pacer::new(Traffic::new()).unwrap();
        let begun = std::time::Instant::now();
        pacer.runtime().unwrap().block_on(async {
            pacer.start().await;
            let begun = tokio::time::Instant::now();
            tokio::select! {
                never = Pacer::pace(speed) => match never {},
                () = tokio::time::sleep(passes) => {}
            }
            assert_eq!(begun.elapsed(), passes);
        });
        begun.elapsed()
    }

    #[test]
    fn idle_time_runs_no_faster_than_asked() {
        // The last step may be under way: it is taken at once.
        let took = takes(36_000, Duration::from_secs(3600));
        assert!(took >= Duration::from_millis(90), "an hour at 36,000 took {took:?}");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a paused clock is what is asked")]
    fn without_a_pace_idle_time_costs_nothing() {
        let pacer = Pacer::new(Traffic::new()).unwrap();
        pacer.runtime().unwrap().block_on(async {
            pacer.start().await;
            let begun = tokio::time::Instant::now();
            tokio::time::sleep(Duration::from_secs(365 * 86_400)).await;
            assert_eq!(begun.elapsed(), Duration::from_secs(365 * 86_400));
        });
        assert!((1..10).contains(&pacer.passed()), "{}", pacer.passed());
    }

    #[test]
    fn a_call_that_a_signal_interrupts_is_made_again() {
        let mut calls = 0;
        let made = repeated(|| {
            calls += 1;
            if calls < 3 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(1) }
        });
        assert_eq!((made.unwrap(), calls), (1, 3));
    }
}
