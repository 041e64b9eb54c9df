//! What is to be looked at, and when: client-go's work queue, on our clock.
//!
//! Guarantees: a key is handed out to one worker at a time; what is added while it is worked on is handed out again
//! after; adding twice is adding once. Times come from [`Clock`], so that tests need not wait.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{clock::Clock, plan::schedule::backoff};

/// A queue of keys.
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
    news: Notify,
    clock: Clock,
}

struct Inner<T> {
    ready: VecDeque<T>,
    queued: HashSet<T>,
    running: HashSet<T>,
    again: HashSet<T>,
    timers: BTreeSet<(Timestamp, T)>,
    due: HashMap<T, Timestamp>,
    /// How often in a row a key was retried.
    retries: HashMap<T, u32>,
    handed_out: u64,
}

impl<T: Clone + Eq + Hash + Ord> Queue<T> {
    /// An empty queue.
    pub fn new(clock: Clock) -> Self {
        let inner = Inner {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            running: HashSet::new(),
            again: HashSet::new(),
            timers: BTreeSet::new(),
            due: HashMap::new(),
            retries: HashMap::new(),
            handed_out: 0,
        };
        Self { inner: Mutex::new(inner), news: Notify::new(), clock }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a key out as soon as a worker is free.
    pub fn add(&self, key: T) {
        self.lock().add(key);
        self.news.notify_one();
    }

    /// Hands a key out at this time; replaces an earlier time for it. `None` takes the time away.
    pub fn add_at(&self, key: T, time: Option<Timestamp>) {
        self.lock().schedule(key, time);
        self.news.notify_one();
    }

    /// Hands a key out again after a second; after twice as long each further time in a row, at most five minutes.
    /// [`Queue::add`] hands it out at once all the same.
    pub fn retry(&self, key: T) {
        let mut inner = self.lock();
        let retries = inner.retries.entry(key.clone()).or_default();
        *retries = retries.saturating_add(1);
        let wait = backoff(*retries, None);
        inner.schedule(key, self.clock.now().checked_add(wait).ok());
        drop(inner);
        self.news.notify_one();
    }

    /// Hands out all that waits for its retry: what was in the way is gone.
    pub fn retry_now(&self) {
        let mut inner = self.lock();
        let retried: Vec<T> = inner.retries.keys().cloned().collect();
        retried.into_iter().for_each(|key| inner.add(key));
        drop(inner);
        self.news.notify_one();
    }

    /// Forgets how often a key was retried.
    pub fn forget(&self, key: &T) {
        self.lock().retries.remove(key);
    }

    /// The next key; [`Queue::done`] must follow.
    pub async fn next(&self) -> T {
        loop {
            let news = self.news.notified();
            let wake = {
                let mut inner = self.lock();
                inner.fire(self.clock.now());
                if let Some(key) = inner.take() {
                    if !inner.ready.is_empty() {
                        self.news.notify_one();
                    }
                    return key;
                }
                inner.timers.first().map(|(time, _)| *time)
            };
            match wake {
                Some(time) => tokio::select! {
                    () = news => {}
                    () = self.clock.sleep_until(time) => {}
                },
                None => news.await,
            }
        }
    }

    /// A worker is through with a key.
    pub fn done(&self, key: &T) {
        let mut inner = self.lock();
        inner.running.remove(key);
        if inner.again.remove(key) {
            inner.add(key.clone());
        }
        drop(inner);
        self.news.notify_one();
    }

    /// How many keys wait for a worker.
    pub fn depth(&self) -> usize {
        self.lock().ready.len()
    }

    /// How many of these keys wait for a worker.
    pub fn count(&self, which: impl Fn(&T) -> bool) -> usize {
        self.lock().ready.iter().filter(|key| which(key)).count()
    }

    /// How many keys have been handed out: the number of a pass in logs.
    pub fn handed_out(&self) -> u64 {
        self.lock().handed_out
    }

    /// Whether nothing waits for a worker or is worked on. Timers don't count.
    pub fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.ready.is_empty() && inner.running.is_empty()
    }
}

impl<T: Clone + Eq + Hash + Ord> Inner<T> {
    fn add(&mut self, key: T) {
        if self.running.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn schedule(&mut self, key: T, time: Option<Timestamp>) {
        if let Some(former) = self.due.remove(&key) {
            self.timers.remove(&(former, key.clone()));
        }
        if let Some(time) = time {
            self.due.insert(key.clone(), time);
            self.timers.insert((time, key));
        }
    }

    fn fire(&mut self, now: Timestamp) {
        while let Some((time, key)) = self.timers.first().filter(|(time, _)| *time <= now).cloned() {
            self.timers.remove(&(time, key.clone()));
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.running.insert(key.clone());
        self.handed_out += 1;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    fn queue() -> (Queue<&'static str>, Clock) {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        (Queue::new(clock.clone()), clock)
    }

    fn poll(queue: &Queue<&'static str>) -> Option<&'static str> {
        queue.next().now_or_never()
    }

    #[test]
    fn adding_twice_is_adding_once() {
        let (queue, _) = queue();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!((poll(&queue), poll(&queue), poll(&queue)), (Some("a"), Some("b"), None));
    }

    #[test]
    fn a_key_is_worked_on_once_at_a_time_and_again_if_asked_meanwhile() {
        let (queue, _) = queue();
        queue.add("a");
        assert_eq!(poll(&queue), Some("a"));
        queue.add("a");
        assert_eq!(poll(&queue), None);
        assert!(!queue.is_idle());
        queue.done(&"a");
        assert_eq!(poll(&queue), Some("a"));
        queue.done(&"a");
        assert!(queue.is_idle());
    }

    #[test]
    fn times_are_kept_and_replaced() {
        let (queue, clock) = queue();
        let at = |seconds| Some(Timestamp::from_second(seconds).unwrap());
        queue.add_at("a", at(10));
        queue.add_at("b", at(20));
        queue.add_at("a", at(30));
        queue.add_at("c", at(5));
        queue.add_at("c", None);
        clock.advance(Duration::from_secs(25));
        assert_eq!((poll(&queue), poll(&queue)), (Some("b"), None));
        clock.advance(Duration::from_secs(5));
        assert_eq!(poll(&queue), Some("a"));
    }

    #[test]
    fn retries_wait_longer_each_time_until_they_are_forgotten() {
        let (queue, clock) = queue();
        let waits = || {
            queue.retry("a");
            let before = clock.now();
            while poll(&queue).is_none() {
                clock.advance(Duration::from_secs(1));
            }
            queue.done(&"a");
            clock.now().duration_since(before).as_secs()
        };
        let found: Vec<i64> = std::iter::repeat_with(waits).take(11).collect();
        assert_eq!(found, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        queue.forget(&"a");
        assert_eq!(waits(), 1);
        queue.retry("a");
        queue.add("a");
        assert_eq!(poll(&queue), Some("a"), "news does not wait");
        queue.done(&"a");
        queue.retry_now();
        assert_eq!((poll(&queue), poll(&queue)), (Some("a"), None));
    }

    #[tokio::test]
    async fn a_sleeping_worker_is_woken_by_the_clock_and_by_news() {
        let (queue, clock) = queue();
        let queue = std::sync::Arc::new(queue);
        queue.add_at("later", Some(Timestamp::from_second(60).unwrap()));
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { (queue.next().await, queue.next().await) }
        });
        tokio::task::yield_now().await;
        queue.add("now");
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(60));
        assert_eq!(worker.await.unwrap(), ("now", "later"));
    }
}
