//! What an organization's client knows, for everybody who watches: the tokens, the trouble, the login.
//!
//! Invariants: watchers are woken by changes only, not by times that move. The token list never goes back behind what our
//! own calls did: they are folded in at once, and again over a list that was asked for before they were answered.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Disposition, Error, Refusal, Token, lock};

/// All tokens of the organization at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The tokens by id, as a list shows them: without description and resources.
    pub tokens: Arc<Vec<Token>>,
    /// When the first page of the list was asked for: the list shows everything that was done before.
    pub started: Timestamp,
    /// Since when there have been so many: when the first list in a row that says so began.
    pub steady: Timestamp,
    /// Grows when a token differs.
    pub revision: u64,
}

/// Why the client can't do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One of [`Error::REASONS`].
    pub reason: &'static str,
    /// What happened, where, and what to do.
    pub message: String,
    /// Since when it is so.
    pub since: Timestamp,
    /// Nothing is tried before.
    pub retry: Option<Timestamp>,
}

/// What is known of the credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// There are none.
    #[default]
    Missing,
    /// They were not tried yet.
    Untried,
    /// They were accepted.
    Accepted,
    /// They were refused.
    Refused,
}

/// What an organization's client knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The tokens; none before the first list.
    pub snapshot: Option<Snapshot>,
    /// Why the client can't do its work, if so. It goes with the next list that succeeds.
    pub trouble: Option<Trouble>,
    /// What is known of the credentials.
    pub login: Login,
    /// Credentials that were refused, to be kept over restarts.
    pub refused: Option<Refusal>,
    /// The last logins that were refused, or may have been, the newest last; to be kept over restarts too.
    pub wrong: Vec<Refusal>,
    /// Until when Docker Hub asked for silence, where that was the last that was heard of it.
    pub silent: Option<Timestamp>,
}

/// What one of our own calls did to the list.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Put(Token),
    Remove(String),
}

/// The state and what is needed to change it.
pub(super) struct Board {
    state: watch::Sender<State>,
    /// What was done since the list that is under way began. None between lists.
    since: Mutex<Option<Vec<Edit>>>,
}

impl Board {
    pub fn new(refused: Option<Refusal>) -> Self {
        Self { state: watch::Sender::new(State { refused, ..State::default() }), since: Mutex::new(None) }
    }

    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.borrow())
    }

    /// From now on edits are kept, to be folded into the list that begins.
    pub fn begin(&self) {
        *lock(&self.since) = Some(Vec::new());
    }

    /// The list came to nothing.
    pub fn give_up(&self) {
        *lock(&self.since) = None;
    }

    /// The list that began at `started` is complete.
    pub fn finish(&self, mut tokens: Vec<Token>, started: Timestamp) -> Snapshot {
        // A token that moved between pages while they were read may come twice: the later sight holds.
        tokens.reverse();
        tokens.sort_by(|a, b| a.id.cmp(&b.id));
        tokens.dedup_by(|a, b| a.id == b.id);
        for token in &mut tokens {
            strip(token);
        }
        let mut since = lock(&self.since);
        for edit in since.take().unwrap_or_default() {
            apply(&mut tokens, edit);
        }
        let mut snapshot = Snapshot { tokens: Arc::new(tokens), started, steady: started, revision: 1 };
        self.state.send_if_modified(|state| {
            if let Some(old) = state.snapshot.as_ref().filter(|old| old.tokens.len() == snapshot.tokens.len()) {
                snapshot.steady = old.steady;
            }
            let (trouble, silent) = (state.trouble.take(), state.silent.take());
            let mut changed = trouble.is_some() || silent.is_some();
            match &state.snapshot {
                Some(old) if old.tokens == snapshot.tokens => snapshot.revision = old.revision,
                Some(old) => {
                    snapshot.revision = old.revision.saturating_add(1);
                    changed = true;
                }
                None => changed = true,
            }
            state.snapshot = Some(snapshot.clone());
            changed
        });
        snapshot
    }

    /// Folds in what one of our own calls did.
    pub fn edit(&self, mut edit: Edit) {
        if let Edit::Put(token) = &mut edit {
            strip(token);
        }
        let mut since = lock(&self.since);
        if let Some(edits) = since.as_mut() {
            edits.push(edit.clone());
        }
        self.state.send_if_modified(|state| {
            let Some(snapshot) = &mut state.snapshot else {
                return false;
            };
            let mut tokens = snapshot.tokens.to_vec();
            apply(&mut tokens, edit);
            let changed = tokens != *snapshot.tokens;
            if tokens.len() != snapshot.tokens.len() {
                snapshot.steady = snapshot.started;
            }
            if changed {
                snapshot.tokens = Arc::new(tokens);
                snapshot.revision = snapshot.revision.saturating_add(1);
            }
            changed
        });
    }

    /// Says that the client can't do its work.
    pub fn trouble(&self, error: &Error, retry: Option<Timestamp>, now: Timestamp) {
        let (reason, message) = (error.reason(), error.to_string());
        let retry = match error.disposition() {
            Disposition::RetryAt(time) => Some(time),
            Disposition::Retry | Disposition::Stalled => retry,
        };
        self.state.send_if_modified(|state| {
            let since = match &mut state.trouble {
                // Silence is the same for every call that meets it.
                Some(old) if old.reason == reason && (old.message == message || reason == "RateLimited") => {
                    old.retry = retry;
                    return false;
                }
                Some(old) if old.reason == reason => old.since,
                _ => now,
            };
            state.trouble = Some(Trouble { reason, message, since, retry });
            true
        });
    }

    /// What was wrong is to be found out anew.
    pub fn forget_trouble(&self) {
        self.state.send_if_modified(|state| state.trouble.take().is_some());
    }

    /// Says until when nothing is sent.
    pub fn silent(&self, until: Timestamp) {
        self.state.send_if_modified(|state| state.silent.replace(until) != Some(until));
    }

    /// Says what is known of the credentials.
    pub fn login(&self, login: Login, refused: Option<Refusal>, wrong: Vec<Refusal>) {
        self.state.send_if_modified(|state| {
            let changed = state.login != login || state.refused != refused || state.wrong != wrong;
            (state.login, state.refused, state.wrong) = (login, refused, wrong);
            changed
        });
    }
}

/// Only what a list tells, so that an edit and the list that confirms it are equal.
fn strip(token: &mut Token) {
    token.description = None;
    token.resources = None;
}

fn apply(tokens: &mut Vec<Token>, edit: Edit) {
    let id = match &edit {
        Edit::Put(token) => &token.id,
        Edit::Remove(id) => id,
    };
    match (tokens.binary_search_by(|token| token.id.as_str().cmp(id)), edit) {
        (Ok(at), Edit::Put(token)) => {
            if let Some(place) = tokens.get_mut(at) {
                *place = token;
            }
        }
        (Err(at), Edit::Put(token)) => tokens.insert(at, token),
        (Ok(at), Edit::Remove(_)) => {
            tokens.remove(at);
        }
        (Err(_), Edit::Remove(_)) => {}
    }
}
