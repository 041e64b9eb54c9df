//! What this crate's own tests share: a clock that is held, and a client that repeats nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;

/// A clock that moves only when told.
#[derive(Clone)]
pub(crate) struct HeldClock(Arc<AtomicI64>);

impl HeldClock {
    pub(crate) fn at(time: &str) -> Self {
        let time: Timestamp = time.parse().unwrap();
        Self(Arc::new(AtomicI64::new(time.as_microsecond())))
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = self.0.clone();
        Clock::from_fn(move || Timestamp::from_microsecond(time.load(Ordering::SeqCst)).unwrap())
    }

    pub(crate) fn advance(&self, by: SignedDuration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock().now()
    }
}

/// Makes sure that TLS has its cryptography.
pub(crate) fn crypto() {
    // An error means that another test was first.
    let _already = rustls::crypto::ring::default_provider().install_default();
}

/// A client that follows no redirects and does not look at the environment.
pub(crate) fn client() -> reqwest::Client {
    crypto();
    let redirects = reqwest::redirect::Policy::none();
    reqwest::Client::builder().no_proxy().redirect(redirects).user_agent("test/1").build().unwrap()
}
