//! Events at transitions. One that fails never fails a pass: it is logged and forgotten.
//!
//! Each is one POST of an object of its own. kube's recorder folds two events of one reason into a series, and the
//! note of the second is lost: which of two tokens was deleted, say. Here only the very same event is folded: what was
//! said of an object within the last six minutes is not said again.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::core::ObjectMeta;

use super::write::Writer;
use crate::{api::MANAGER, clock::Clock, text};

/// How long an event is remembered, so that it is not reported again.
const FOLD: Duration = Duration::from_secs(360);
/// How many are remembered.
const REMEMBERED: usize = 4096;
/// What the API server takes, in bytes: of a note, of a reporter's name, of an object's name.
const NOTE: usize = 1024;
const REPORTER: usize = 128;
const NAME: usize = 253;

/// What happened, in one word; the reason of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "api.md lists them; each says what it is")]
pub enum Happened {
    TokenCreated,
    TokenRotated,
    TokenRevoked,
    TokenDeactivated,
    TokenActivated,
    TokenDeleted,
    TokenAdopted,
    OrphanRemoved,
    SecretRepaired,
    DriftCorrected,
    VerificationFailed,
    RotationFailed,
    ExpiresSoon,
    QuotaExceeded,
    NotGranted,
    SecretConflict,
    TwinDetected,
    TokenAbandoned,
    CredentialsInvalid,
    QuotaLow,
    UnusedTokens,
}

impl Happened {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenCreated => "TokenCreated",
            Self::TokenRotated => "TokenRotated",
            Self::TokenRevoked => "TokenRevoked",
            Self::TokenDeactivated => "TokenDeactivated",
            Self::TokenActivated => "TokenActivated",
            Self::TokenDeleted => "TokenDeleted",
            Self::TokenAdopted => "TokenAdopted",
            Self::OrphanRemoved => "OrphanRemoved",
            Self::SecretRepaired => "SecretRepaired",
            Self::DriftCorrected => "DriftCorrected",
            Self::VerificationFailed => "VerificationFailed",
            Self::RotationFailed => "RotationFailed",
            Self::ExpiresSoon => "ExpiresSoon",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::NotGranted => "NotGranted",
            Self::SecretConflict => "SecretConflict",
            Self::TwinDetected => "TwinDetected",
            Self::TokenAbandoned => "TokenAbandoned",
            Self::CredentialsInvalid => "CredentialsInvalid",
            Self::QuotaLow => "QuotaLow",
            Self::UnusedTokens => "UnusedTokens",
        }
    }

    /// Whether somebody should look.
    fn warns(self) -> bool {
        matches!(
            self,
            Self::VerificationFailed
                | Self::RotationFailed
                | Self::ExpiresSoon
                | Self::QuotaExceeded
                | Self::NotGranted
                | Self::SecretConflict
                | Self::TwinDetected
                | Self::TokenAbandoned
                | Self::CredentialsInvalid
                | Self::QuotaLow
        )
    }
}

/// Where events go.
#[derive(Clone)]
pub struct Events {
    writer: Writer,
    reporter: Arc<Reporter>,
    said: Arc<Said>,
}

/// Who reports, and when.
struct Reporter {
    clock: Clock,
    instance: String,
    count: AtomicU64,
}

/// What was reported.
#[derive(Default)]
struct Said {
    recent: Mutex<HashMap<u64, Duration>>,
}

impl Said {
    /// Whether this was reported within the last minutes. Forgets what is older.
    fn recently(&self, event: u64, now: Duration) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, when| now.saturating_sub(*when) < FOLD);
        recent.contains_key(&event)
    }

    /// It was reported.
    fn put(&self, event: u64, now: Duration) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() < REMEMBERED {
            recent.insert(event, now);
        }
    }
}

impl Events {
    /// Events that this replica reports.
    pub fn new(writer: Writer, clock: Clock, instance: &str) -> Self {
        Self { writer, reporter: Arc::new(Reporter::new(clock, instance)), said: Arc::default() }
    }

    /// Reports what happened to an object.
    pub async fn report(&self, object: &ObjectReference, happened: Happened, note: String) {
        let event = self.reporter.event(object, happened, &note);
        let hash = hash(&event);
        if self.said.recently(hash, self.reporter.clock.elapsed()) {
            return;
        }
        match self.writer.event(&event).await {
            Ok(()) => self.said.put(hash, self.reporter.clock.elapsed()),
            Err(error) => tracing::warn!(reason = happened.as_str(), %error, "the event could not be reported"),
        }
    }
}

impl Reporter {
    fn new(clock: Clock, instance: &str) -> Self {
        Self { clock, instance: cut(instance, REPORTER).to_owned(), count: AtomicU64::new(0) }
    }

    fn event(&self, object: &ObjectReference, happened: Happened, note: &str) -> Event {
        let now = self.clock.now();
        // Two of one moment need two names; another replica hardly reports at the same nanosecond.
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let suffix = format!(".{:x}.{count:x}", now.as_nanosecond());
        let name = cut(object.name.as_deref().unwrap_or(MANAGER), NAME.saturating_sub(suffix.len()));
        let name = name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        Event {
            action: Some("Reconcile".into()),
            event_time: Some(MicroTime(now)),
            metadata: ObjectMeta {
                name: Some(format!("{name}{suffix}")),
                // What has no namespace is reported in this one.
                namespace: Some(object.namespace.clone().unwrap_or_else(|| "default".into())),
                ..ObjectMeta::default()
            },
            note: Some(text::clean(note, NOTE)),
            reason: Some(happened.as_str().into()),
            regarding: Some(object.clone()),
            reporting_controller: Some(MANAGER.into()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if happened.warns() { "Warning" } else { "Normal" }.into()),
            ..Event::default()
        }
    }
}

/// What makes two events the same.
fn hash(event: &Event) -> u64 {
    let object = event.regarding.as_ref();
    let mut hasher = DefaultHasher::new();
    (object.map(|object| (&object.kind, &object.namespace, &object.name, &object.uid))).hash(&mut hasher);
    (&event.reason, &event.note).hash(&mut hasher);
    hasher.finish()
}

/// The beginning of a text, in so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= bytes).last();
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reporter() -> Reporter {
        Reporter::new(Clock::manual("2026-11-25T00:00:00Z".parse().unwrap()), &"i".repeat(300))
    }

    fn object(name: &str) -> ObjectReference {
        ObjectReference { name: Some(name.into()), uid: Some("u".into()), ..ObjectReference::default() }
    }

    #[test]
    fn two_events_of_one_moment_have_two_names_that_the_api_server_takes() {
        let reporter = reporter();
        for name in ["pull".to_owned(), format!("{}.b", "a".repeat(251)), "x".repeat(225) + ".y.zzzzzzzzzzzzzzzzzz"] {
            let one = reporter.event(&object(&name), Happened::TokenDeleted, "one");
            let two = reporter.event(&object(&name), Happened::TokenDeleted, "one");
            let names = [one, two].map(|event| event.metadata.name.unwrap());
            assert_ne!(names[0], names[1]);
            for name in names {
                let fits = |part: &str| {
                    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                    part.starts_with(ends) && part.ends_with(ends)
                };
                assert!(name.len() <= 253 && name.split('.').all(fits), "{name}");
            }
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let reporter = reporter();
        let event = reporter.event(&object("pull"), Happened::QuotaLow, &"é".repeat(1000));
        assert_eq!(event.note.unwrap(), "é".repeat(512));
        assert_eq!(event.reporting_instance.unwrap().len(), 128);
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!((cut("aé", 2), cut("aé", 3), cut("", 3)), ("a", "aé", ""));
    }

    #[test]
    fn only_the_same_words_about_the_same_object_are_the_same_event() {
        let reporter = reporter();
        let hash = |name: &str, happened, note: &str| hash(&reporter.event(&object(name), happened, note));
        let one = hash("pull", Happened::TokenDeleted, "one");
        assert_eq!(one, hash("pull", Happened::TokenDeleted, "one"));
        for other in [
            hash("push", Happened::TokenDeleted, "one"),
            hash("pull", Happened::TokenRevoked, "one"),
            hash("pull", Happened::TokenDeleted, "two"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn what_was_said_is_forgotten_after_six_minutes_and_there_is_an_end_to_it() {
        let (said, at) = (Said::default(), Duration::from_secs);
        said.put(1, at(0));
        assert!(said.recently(1, at(359)) && !said.recently(2, at(359)));
        assert!(!said.recently(1, at(360)));
        (0..10_000).for_each(|event| said.put(event, at(400)));
        assert_eq!(said.recent.lock().unwrap().len(), REMEMBERED);
    }
}
