//! The right to change something outside this process: asked directly before each write, and each time that a write
//! under way goes on.
//!
//! A write waits before it is sent: for its turn, a login, a connection. A process may be stopped meanwhile, for longer
//! than its leadership lasts. What goes on afterwards finds the right ended and sends nothing.
//!
//! Never: a right that was found once and used later.

use std::{fmt, future::Future, pin::pin, sync::Arc, task::Poll, time::Duration};

/// Tells whether a write may begin, and whether it may go on.
#[derive(Clone)]
pub struct Permit {
    least: Duration,
    lasts: Arc<dyn Fn(Duration) -> bool + Send + Sync>,
}

/// The right is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The write has not begun.
    Before,
    /// The right ended while the write was under way: it may have been carried out.
    During,
}

impl Permit {
    /// `lasts` says whether the right lasts for so long from now on. A write begins only where it lasts for `least`.
    pub fn new(least: Duration, lasts: impl Fn(Duration) -> bool + Send + Sync + 'static) -> Self {
        Self { least, lasts: Arc::new(lasts) }
    }

    /// The right of one who is alone.
    pub fn always() -> Self {
        Self::new(Duration::ZERO, |_| true)
    }

    /// Whether a write may begin now.
    pub fn begins(&self) -> bool {
        (self.lasts)(self.least)
    }

    /// Makes a call that changes something, as far as the right reaches.
    ///
    /// Caveats: it is asked whenever the call could go on. One that hangs is not looked at; whoever makes it sets a limit,
    /// or ends with the right.
    pub async fn guard<T>(&self, call: impl Future<Output = T>) -> Result<T, Denied> {
        if !self.begins() {
            return Err(Denied::Before);
        }
        let mut call = pin!(call);
        std::future::poll_fn(|context| match (self.lasts)(Duration::ZERO) {
            true => call.as_mut().poll(context).map(Ok),
            false => Poll::Ready(Err(Denied::During)),
        })
        .await
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("least", &self.least).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::*;

    /// A permit whose right lasts for so many more seconds, and a call that goes on twice and counts.
    async fn call(left: [u64; 3]) -> (Result<(), Denied>, usize) {
        let (now, steps) = (Arc::new(AtomicU64::new(left[0])), AtomicU64::new(0));
        let seconds = now.clone();
        let permit = Permit::new(Duration::from_secs(5), move |call| call.as_secs() <= seconds.load(SeqCst));
        let call = async {
            for then in &left[1..] {
                steps.fetch_add(1, SeqCst);
                now.store(*then, SeqCst);
                tokio::task::yield_now().await;
            }
        };
        let result = permit.guard(call).await;
        (result, usize::try_from(steps.load(SeqCst)).unwrap())
    }

    #[tokio::test]
    async fn a_write_begins_only_where_the_right_lasts_and_goes_on_while_it_is_there() {
        assert_eq!(call([5, 1, 0]).await, (Ok(()), 2));
        assert_eq!(call([4, 9, 9]).await, (Err(Denied::Before), 0));
    }

    #[tokio::test]
    async fn a_write_whose_right_ended_goes_no_step_further() {
        let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let asked = ended.clone();
        let permit = Permit::new(Duration::from_secs(5), move |_| !asked.load(SeqCst));
        let steps = AtomicU64::new(0);
        let call = async {
            steps.fetch_add(1, SeqCst);
            ended.store(true, SeqCst);
            tokio::task::yield_now().await;
            steps.fetch_add(1, SeqCst);
        };
        assert_eq!(permit.guard(call).await, Err(Denied::During));
        assert_eq!(steps.load(SeqCst), 1);
        assert!(!permit.begins());
        assert!(Permit::always().begins());
    }
}
