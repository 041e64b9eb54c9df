//! One journal for all servers of a sandbox: every request in one total order.
//!
//! It never stores headers other than the user agent, so no `Authorization` header can reach it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

/// How much of a request's body an entry keeps.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Which of the sandbox's servers got a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Server {
    /// The Kubernetes API server.
    Kubernetes,
    /// Docker Hub's API.
    Hub,
    /// The registry's token service.
    Registry,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubernetes => "kubernetes",
            Self::Hub => "hub",
            Self::Registry => "registry",
        })
    }
}

/// One request, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position in the journal, from 0.
    pub index: u64,
    /// The server that got the request.
    pub server: Server,
    /// When it arrived, by the sandbox's clock.
    pub time: Timestamp,
    /// The HTTP method.
    pub method: String,
    /// The path, as sent.
    pub path: String,
    /// The query without its `?`, as sent; empty if there was none.
    pub query: String,
    /// The `User-Agent` header; empty if there was none.
    pub user_agent: String,
    /// The status of the answer. `None` while there is none, and for ever if the connection was closed without one.
    pub status: Option<u16>,
    /// The fault that was applied, if one was.
    pub fault: Option<String>,
    /// Whether the server began to execute the request.
    pub executed: bool,
    /// At most [`BODY_LIMIT`] bytes of the request's body; `None` if it was empty.
    pub request_body: Option<Vec<u8>>,
}

impl Entry {
    /// `GET /path?query`, as in a request line.
    #[must_use]
    pub fn line(&self) -> String {
        if self.query.is_empty() {
            format!("{} {}", self.method, self.path)
        } else {
            format!("{} {}?{}", self.method, self.path, self.query)
        }
    }

    /// Whether this is a request that is meant to change something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE")
    }

    /// The request's body as JSON, if it is.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.request_body.as_deref()?).ok()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5} {:<10} {}", self.index, self.server, self.line())?;
        match self.status {
            Some(status) => write!(f, " -> {status}")?,
            None => write!(f, " -> no answer")?,
        }
        if let Some(fault) = &self.fault {
            write!(f, " [{fault}]")?;
        }
        Ok(())
    }
}

/// When a witness is told of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has arrived. Nothing is done yet, and perhaps never will be.
    Arrived,
    /// It was executed with this status. The answer has not been sent yet, and perhaps never will be.
    Executed(u16),
    /// It is being answered with this status, by the server or by a fault in its name.
    Answered(u16),
}

/// Who is told of every request at once, within the server's own task.
pub type Witness = Arc<dyn Fn(Moment, &Entry) + Send + Sync>;

/// All requests of a sandbox in the order of their arrival. Clones share one journal.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

/// The entries that are kept.
struct Kept {
    /// The index of the first one: how many were dropped before it.
    first: u64,
    entries: VecDeque<Entry>,
    most: usize,
}

impl Kept {
    fn length(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn get_mut(&mut self, index: u64) -> Option<&mut Entry> {
        let at = index.checked_sub(self.first)?;
        self.entries.get_mut(usize::try_from(at).ok()?)
    }

    fn add(&mut self, mut entry: Entry) -> u64 {
        if self.entries.len() >= self.most {
            self.entries.pop_front();
            self.first += 1;
        }
        entry.index = self.length();
        self.entries.push_back(entry);
        self.length()
    }
}

struct Inner {
    kept: Mutex<Kept>,
    /// The number of entries; touched as well when an entry gets its status.
    length: watch::Sender<u64>,
    witness: Mutex<Option<Witness>>,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

impl Journal {
    /// An empty journal that keeps every entry.
    #[must_use]
    pub fn new() -> Self {
        Self::of_last(usize::MAX)
    }

    /// An empty journal that keeps so many entries, at least one: for a sandbox that stays up.
    #[must_use]
    pub fn of_last(most: usize) -> Self {
        let kept = Kept { first: 0, entries: VecDeque::new(), most: most.max(1) };
        Self(Arc::new(Inner { kept: Mutex::new(kept), length: watch::Sender::new(0), witness: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every entry that is kept.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.filter(|_| true)
    }

    /// The entries from `index` on.
    #[must_use]
    pub fn since(&self, index: u64) -> Vec<Entry> {
        self.filter(|entry| entry.index >= index)
    }

    /// How many entries there were so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.lock().length()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries that `accept` accepts.
    pub fn filter(&self, accept: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        self.lock().entries.iter().filter(|entry| accept(entry)).cloned().collect()
    }

    /// How many entries `accept` accepts.
    pub fn count(&self, accept: impl Fn(&Entry) -> bool) -> usize {
        self.lock().entries.iter().filter(|entry| accept(entry)).count()
    }

    /// The entries of one server.
    #[must_use]
    pub fn of(&self, server: Server) -> Vec<Entry> {
        self.filter(|entry| entry.server == server)
    }

    /// The entries of one server that are meant to change something.
    #[must_use]
    pub fn writes(&self, server: Server) -> Vec<Entry> {
        self.filter(|entry| entry.server == server && entry.is_write())
    }

    /// A watch of the journal's length. It wakes up when an entry is added and when an entry gets its status.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.length.subscribe()
    }

    /// Waits until `reached` holds of the entries. It looks again after each change, and at once.
    pub async fn wait_for(&self, reached: impl Fn(&[Entry]) -> bool) {
        let mut changes = self.subscribe();
        loop {
            if reached(self.lock().entries.make_contiguous()) {
                return;
            }
            // The sender lives as long as `self`, so this can't fail.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Calls `witness` from now on when a request arrives and each time that one was executed. No lock of a server is held
    /// meanwhile, so it may look into all of them.
    pub fn witness(&self, witness: impl Fn(Moment, &Entry) + Send + Sync + 'static) {
        *self.0.witness.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(witness));
    }

    /// Tells the witness, if there is one.
    pub(crate) fn tell(&self, moment: Moment, index: u64) {
        let witness = self.0.witness.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(witness) = witness else { return };
        let entry = self.lock().get_mut(index).cloned();
        if let Some(entry) = entry {
            witness(moment, &entry);
        }
    }

    /// Adds an entry; its index is set here. Answers the index.
    pub(crate) fn add(&self, mut entry: Entry) -> u64 {
        if let Some(body) = &mut entry.request_body {
            body.truncate(BODY_LIMIT);
        }
        let length = self.lock().add(entry);
        self.0.length.send_modify(|known| *known = length.max(*known));
        length - 1
    }

    /// Changes an entry and wakes up those who wait.
    pub(crate) fn update(&self, index: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().get_mut(index) {
            change(entry);
        }
        self.0.length.send_modify(|_| ());
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("entries", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            index: 0,
            server: Server::Hub,
            time: Timestamp::UNIX_EPOCH,
            method: "GET".into(),
            path: path.into(),
            query: String::new(),
            user_agent: String::new(),
            status: None,
            fault: None,
            executed: false,
            request_body: None,
        }
    }

    #[test]
    fn a_bounded_journal_keeps_the_last_entries_under_their_numbers() {
        let journal = Journal::of_last(2);
        let numbers: Vec<u64> = ["/a", "/b", "/c"].into_iter().map(|path| journal.add(entry(path))).collect();
        assert_eq!(numbers, [0, 1, 2]);
        journal.update(0, |_| unreachable!("it was dropped"));
        journal.update(2, |entry| entry.status = Some(200));
        let kept: Vec<_> = journal.entries().iter().map(|entry| (entry.index, entry.status)).collect();
        assert_eq!(kept, [(1, None), (2, Some(200))]);
        assert_eq!((journal.len(), journal.since(2).len()), (3, 1));
    }
}
