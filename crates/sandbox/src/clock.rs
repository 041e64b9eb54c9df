//! The clock that every server of the sandbox reads.
//!
//! Time comes from outside, so that a test can hold it. Nothing else in this crate asks the system for the time of day.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// A source of the present time, cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        // The one place that is allowed to ask.
        #[allow(clippy::disallowed_methods)]
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that answers what `now` answers.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
