//! Watches that lag behind, and lists that show the past: what a slow or restarted API server gives its clients.
//!
//! A watch that comes to a held event stalls there: a stream never overtakes itself, so that nothing after the event is
//! shown either. Let go, it goes on with the event; expired, it ends with 410, so that its client lists anew and never
//! learns of the event. Watches that are opened meanwhile stall at the same event.
//!
//! Never changes what is stored, and never holds a request: only what is read is old.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

/// Names a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId(usize);

/// Which event is held: the first that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    resource: String,
    object: Option<(String, String)>,
    event: Option<&'static str>,
    agent: String,
    skip: u32,
}

impl Hold {
    /// An event of this resource, as in `secrets` or `leases.coordination.k8s.io`, in anybody's watch.
    #[must_use]
    pub fn new(resource: &str) -> Self {
        Self { resource: resource.to_owned(), object: None, event: None, agent: String::new(), skip: 0 }
    }

    /// Only of this object.
    #[must_use]
    pub fn object(mut self, namespace: &str, name: &str) -> Self {
        self.object = Some((namespace.to_owned(), name.to_owned()));
        self
    }

    /// Only `ADDED`, `MODIFIED` or `DELETED`.
    #[must_use]
    pub fn event(mut self, event: &'static str) -> Self {
        self.event = Some(event);
        self
    }

    /// Only in watches of programs whose name begins so.
    #[must_use]
    pub fn agent(mut self, prefix: &str) -> Self {
        self.agent = prefix.to_owned();
        self
    }

    /// The first `count` changes that fit pass.
    #[must_use]
    pub fn skip(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    fn fits(&self, resource: &str, agent: &str, event: &Value) -> bool {
        let meta = &event["object"]["metadata"];
        let text = |field: &str| meta[field].as_str().unwrap_or_default();
        self.resource == resource
            && agent.starts_with(&self.agent)
            && self.event.is_none_or(|kind| event["type"] == kind)
            && !matches!(event["type"].as_str(), Some("BOOKMARK" | "ERROR"))
            && self
                .object
                .as_ref()
                .is_none_or(|(namespace, name)| text("namespace") == namespace && text("name") == name)
    }
}

/// How far a hold has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No watch has come to its event yet.
    Waiting,
    /// A watch stands before it.
    Held,
    /// Let go.
    Released,
    /// Never shown.
    Expired,
}

struct Installed {
    hold: Hold,
    /// The versions of the changes that passed, and of the one that is held.
    passed: Vec<String>,
    version: Option<String>,
    stage: watch::Sender<Stage>,
}

struct PastList {
    resource: String,
    agent: String,
    revision: u64,
}

#[derive(Default)]
struct State {
    holds: Vec<Installed>,
    lists: Vec<PastList>,
}

/// The switches of one server. Clones share them.
#[derive(Clone, Default)]
pub struct Lags(Arc<Mutex<State>>);

impl Lags {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds an event back from now on.
    pub fn hold(&self, hold: Hold) -> HoldId {
        let mut state = self.lock();
        let stage = watch::Sender::new(Stage::Waiting);
        state.holds.push(Installed { hold, passed: Vec::new(), version: None, stage });
        HoldId(state.holds.len() - 1)
    }

    fn set(&self, id: HoldId, stage: Stage) {
        if let Some(installed) = self.lock().holds.get(id.0) {
            installed.stage.send_if_modified(|now| {
                let ends = matches!(now, Stage::Waiting | Stage::Held);
                if ends {
                    *now = stage;
                }
                ends
            });
        }
    }

    /// Shows the event, and what comes after it; one that has not come yet passes.
    pub fn release(&self, id: HoldId) {
        self.set(id, Stage::Released);
    }

    /// Ends the watches that stand before the event: their history is too old (410), so that their clients list anew.
    pub fn expire(&self, id: HoldId) {
        self.set(id, Stage::Expired);
    }

    /// Lets everything go, and forgets the lists to come.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.lists.clear();
        for installed in &state.holds {
            installed.stage.send_if_modified(|now| {
                let ends = matches!(now, Stage::Waiting | Stage::Held);
                if ends {
                    *now = Stage::Released;
                }
                ends
            });
        }
    }

    /// Whether a watch stands before the event.
    #[must_use]
    pub fn holds(&self, id: HoldId) -> bool {
        self.lock().holds.get(id.0).is_some_and(|installed| *installed.stage.borrow() == Stage::Held)
    }

    /// Resolves when a watch stands before the event (at once if one does), and when it never will.
    pub async fn held(&self, id: HoldId) {
        let Some(mut stage) = self.lock().holds.get(id.0).map(|installed| installed.stage.subscribe()) else { return };
        // Without the sender there is nothing to wait for.
        let _gone = stage.wait_for(|stage| *stage != Stage::Waiting).await;
    }

    /// The next list of this resource by a program whose name begins so shows the store as it was at this resource
    /// version, as long as the history reaches there; so each call is for one list.
    pub fn list_from(&self, resource: &str, agent: &str, version: u64) {
        let past = PastList { resource: resource.to_owned(), agent: agent.to_owned(), revision: version };
        self.lock().lists.push(past);
    }

    /// How many such lists have not been asked for yet.
    #[must_use]
    pub fn lists_to_come(&self) -> usize {
        self.lock().lists.len()
    }

    /// The version that a list is to show instead of the present.
    pub(super) fn past(&self, resource: &str, agent: &str) -> Option<u64> {
        let mut state = self.lock();
        let at = state.lists.iter().position(|list| list.resource == resource && agent.starts_with(&list.agent))?;
        Some(state.lists.remove(at).revision)
    }

    /// What keeps a watch from showing this event.
    pub(super) fn stall(&self, resource: &str, agent: &str, event: &Value) -> Option<Stall> {
        let mut state = self.lock();
        let version = event["object"]["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        for installed in &mut state.holds {
            let over = matches!(*installed.stage.borrow(), Stage::Released | Stage::Expired);
            if over || !installed.hold.fits(resource, agent, event) || installed.passed.iter().any(|v| v == version) {
                continue;
            }
            match &installed.version {
                Some(held) if held != version => continue,
                Some(_) => {}
                None if installed.passed.len() < usize::try_from(installed.hold.skip).unwrap_or(usize::MAX) => {
                    installed.passed.push(version.to_owned());
                    continue;
                }
                None => installed.version = Some(version.to_owned()),
            }
            installed.stage.send_replace(Stage::Held);
            return Some(Stall(installed.stage.subscribe()));
        }
        None
    }
}

impl fmt::Debug for Lags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Lags").field("holds", &state.holds.len()).field("lists", &state.lists.len()).finish()
    }
}

/// A watch that stands before an event.
pub(super) struct Stall(watch::Receiver<Stage>);

impl Stall {
    /// Waits for the end of the hold; whether the event is shown then.
    pub(super) async fn over(&mut self) -> bool {
        let stage = self.0.wait_for(|stage| matches!(stage, Stage::Released | Stage::Expired)).await;
        // Without the server there is nobody to show it to.
        stage.is_ok_and(|stage| *stage == Stage::Released)
    }
}
