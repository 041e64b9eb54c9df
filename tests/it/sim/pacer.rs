//! When time may pass: a runtime whose paused clock jumps to the next timer only while nothing is under way on a socket.
//!
//! tokio's own rule is too eager. It polls the sockets once, wakes who is concerned, and jumps all the same, so that each
//! answer would come after the time-out of its request. Here the thread is kept from parking until it is certain that
//! nothing is under way:
//!
//! * every connection ends at a server of the sandbox, and [`Traffic`] counts what those do with them;
//! * before each look at the sockets, a datagram is sent over the loopback device and received again. The kernel delivers
//!   what a processor sends there in order, so all that was written before has arrived by then;
//! * if the count stood still from one look to the next, then no server wrote anything that a client has yet to read, and
//!   if it did so once more, no client wrote anything that a server has yet to read. After a time of traffic, one look more.
//!
//! Never: real time. How fast the machine is and what else runs on it changes nothing but the duration.

use std::{
    net::UdpSocket,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use oat_sandbox::traffic::Traffic;
use tokio::runtime::{Builder, Runtime};

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
    pub fn new(traffic: Traffic) -> Self {
        let loopback = UdpSocket::bind("127.0.0.1:0").unwrap();
        loopback.connect(loopback.local_addr().unwrap()).unwrap();
        loopback.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (state, waker, holds) = (Mutex::default(), OnceLock::new(), AtomicUsize::new(0));
        Self(Arc::new(Inner { traffic, loopback, state, waker, holds }))
    }

    /// A runtime on this thread whose time stands still, and is let pass by this.
    pub fn runtime(&self) -> Runtime {
        let inner = self.0.clone();
        let mut builder = Builder::new_current_thread();
        builder.enable_all().start_paused(true).on_thread_park(move || inner.park());
        builder.build().unwrap()
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

    pub fn hold(&self) -> Hold {
        self.0.holds.fetch_add(1, Ordering::Relaxed);
        Hold(self.clone())
    }

    /// How often time was let pass.
    pub fn passed(&self) -> u64 {
        self.0.state.lock().unwrap().passed
    }
}

impl Inner {
    /// Runs before the thread would park, when no task is ready. A task that is woken here keeps it from parking: the
    /// sockets are polled and no time passes.
    fn park(&self) {
        let Some(waker) = self.waker.get() else { return };
        let mut state = self.state.lock().unwrap();
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
        if state.moved {
            // Should the kernel have put deliveries off, then to a thread of its own, which goes first here.
            std::thread::yield_now();
        }
        self.barrier();
        waker.wake_by_ref();
    }

    /// Returns when what was sent over the loopback device has been delivered.
    fn barrier(&self) {
        let sent = self.loopback.send(&[0]);
        let received = self.loopback.recv(&mut [0]);
        assert!(matches!((&sent, &received), (Ok(1), Ok(1))), "the loopback device: {sent:?} {received:?}");
    }
}
