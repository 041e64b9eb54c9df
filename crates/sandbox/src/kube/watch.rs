//! Watches: what is there, then every change, as one JSON object per line.
//!
//! An object that comes into the selection is added, one that leaves it is deleted, whatever happened to it.
//!
//! Invariant: the events of a watch are those of the history after its start, in order, each once; if the history no
//! longer reaches back, the watch says so and ends.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::stream;
use http::{HeaderValue, header};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::call::Call;
use super::failure::Failure;
use super::object::set_meta;
use super::read::{Selection, check_version_match, columns, partial, version};
use super::request::Form;
use super::store::Change;
use super::world::{Api, World};
use super::write::present;
use crate::machinery::table::{Columns, table_event};

/// A watch whose client sets no end lives so long.
const LONGEST: u64 = 30 * 60;
/// How often a quiet watch tells where it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The last bookmark comes so long before the end.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

struct Watch {
    api: Arc<Api>,
    call: Call,
    selection: Selection,
    columns: Option<Columns>,
    /// Whether the columns were sent.
    described: bool,
    bookmarks: bool,
    seen: u64,
    pending: VecDeque<Value>,
    changed: watch::Receiver<u64>,
    end: Instant,
    next_bookmark: Instant,
    over: bool,
}

/// Answers a watch.
///
/// # Errors
/// As for a list.
pub fn watch(api: &Arc<Api>, call: &Call, start: Instant) -> Result<Response, Failure> {
    let query = &call.query;
    check_version_match(query, "watch")?;
    let selection = Selection::read(call)?;
    let seconds = query.number("timeoutSeconds")?.unwrap_or(LONGEST);
    let end = start + api.longest_watch.unwrap_or(Duration::from_secs(seconds));
    let bookmarks = query.flag("allowWatchBookmarks")?;
    let initial = query.flag("sendInitialEvents")?;
    let changed = api.subscribe();
    let first = end.checked_sub(LAST_BOOKMARK).filter(|t| *t > start).unwrap_or(end);
    let mut watch = Watch {
        api: api.clone(),
        selection,
        columns: (call.representation.form == Form::Table).then(|| columns(&call.kind)),
        described: false,
        bookmarks,
        seen: 0,
        pending: VecDeque::new(),
        changed,
        end,
        next_bookmark: if api.longest_watch.is_some() { end } else { first.min(start + BOOKMARK_EVERY) },
        over: false,
        call: call.clone(),
    };
    api.read(|world| watch.begin(world, initial))?;
    let lines = stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, Infallible>(line), watch))
    });
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

impl Watch {
    /// Finds the place in the history to begin at.
    fn begin(&mut self, world: &World, initial: bool) -> Result<(), Failure> {
        let current = world.store.revision();
        // A version that is yet to come is waited for.
        let asked = version(&self.call.query)?;
        let from_present = initial || asked.is_none_or(|v| v == 0);
        if !from_present {
            self.seen = asked.unwrap_or(current);
            if self.seen < world.store.compacted() {
                self.expire(world);
            }
            return Ok(());
        }
        self.seen = current;
        // Without initial events, a watch that begins anywhere shows what is there as well.
        let silent = !initial && !self.call.query.get("sendInitialEvents").is_empty();
        if !silent {
            let namespace = Some(self.call.place.namespace.as_str()).filter(|n| !n.is_empty());
            let there: Vec<Value> = world
                .store
                .list(&self.call.kind.store, namespace)
                .filter(|(key, object)| self.selection.shows(key, object))
                .map(|(_, object)| present(&self.call.kind, object))
                .collect();
            for object in there {
                self.push("ADDED", object);
            }
        }
        if initial && self.bookmarks {
            self.bookmark(true);
        }
        Ok(())
    }

    /// The next line; `None` when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.is_stalled().await {
                continue;
            }
            if let Some(event) = self.pending.pop_front() {
                let mut line = event.to_string();
                line.push('\n');
                return Some(line.into());
            }
            if self.over {
                return None;
            }
            self.changed.mark_unchanged();
            let api = self.api.clone();
            api.read(|world| self.catch_up(world));
            if self.over || !self.pending.is_empty() {
                continue;
            }
            tokio::select! {
                changed = self.changed.changed() => {
                    if changed.is_err() {
                        self.over = true;
                    }
                }
                () = sleep_until(self.end) => self.over = true,
                () = sleep_until(self.next_bookmark), if self.bookmarks && self.next_bookmark < self.end => {
                    self.bookmark(false);
                    let last = self.end.checked_sub(LAST_BOOKMARK).unwrap_or(self.end);
                    let next = self.next_bookmark + BOOKMARK_EVERY;
                    self.next_bookmark = if self.next_bookmark < last { next.min(last) } else { self.end };
                }
            }
        }
    }

    /// Waits while the next event is held back. Whether it is not to be shown at all.
    async fn is_stalled(&mut self) -> bool {
        let stall = self.pending.front();
        let stall = stall.and_then(|event| self.api.lags.stall(&self.call.kind.store, &self.call.agent, event));
        let Some(mut stall) = stall else { return false };
        let shown = tokio::select! {
            shown = stall.over() => Some(shown),
            () = sleep_until(self.end) => None,
        };
        if shown == Some(true) {
            return false;
        }
        self.pending.clear();
        self.over = true;
        if shown == Some(false) {
            let api = self.api.clone();
            api.read(|world| self.expire(world));
        }
        true
    }

    fn catch_up(&mut self, world: &World) {
        let Some(changes) = world.store.since(Some(&self.call.kind.store), self.seen) else {
            self.expire(world);
            return;
        };
        for change in changes {
            self.show(&change);
        }
        self.seen = self.seen.max(world.store.revision());
        // A watch ends when its resource goes or becomes another.
        let kind = &self.call.kind;
        let served = world.kinds.find(&kind.group, &kind.version, &kind.plural);
        self.over = served.is_none_or(|served| !Arc::ptr_eq(&served, kind));
    }

    fn show(&mut self, change: &Change) {
        let shows = |object: &&Arc<Value>| self.selection.shows(&change.key, object);
        let (before, after) = (change.before.as_ref().filter(shows), change.after.as_ref().filter(shows));
        match (before, after) {
            (None, Some(after)) => self.push("ADDED", present(&self.call.kind, after)),
            (Some(_), Some(after)) => self.push("MODIFIED", present(&self.call.kind, after)),
            (Some(before), None) => {
                let mut gone = present(&self.call.kind, change.after.as_ref().unwrap_or(before));
                set_meta(&mut gone, "resourceVersion", change.revision.to_string());
                self.push("DELETED", gone);
            }
            (None, None) => {}
        }
    }

    fn push(&mut self, what: &str, object: Value) {
        let object = match (self.call.representation.form, &self.columns) {
            (Form::Metadata, _) => partial(&object),
            (Form::Table, Some(columns)) => {
                let first = !self.described;
                self.described = true;
                let now = self.api.clock.now();
                table_event(columns, &object, self.call.representation.include, first, now)
            }
            _ => object,
        };
        self.pending.push_back(json!({"type": what, "object": object}));
    }

    fn bookmark(&mut self, initial: bool) {
        let kind = &self.call.kind;
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.call.representation.form {
            Form::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Form::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": null, "rows": [],
            }),
            _ => json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata}),
        };
        self.pending.push_back(json!({"type": "BOOKMARK", "object": object}));
    }

    fn expire(&mut self, world: &World) {
        let text = format!("too old resource version: {} ({})", self.seen, world.store.compacted());
        let status = Failure::expired(text).status();
        self.pending.push_back(json!({"type": "ERROR", "object": status}));
        self.over = true;
    }
}
