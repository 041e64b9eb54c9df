//! Events at transitions. One that fails never fails a pass: it is logged and forgotten.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::write::Writer;
use crate::{api::MANAGER, text};

/// The most bytes of a note: the API server takes 1024.
const NOTE: usize = 1024;

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
    recorder: Recorder,
    writer: Writer,
}

impl Events {
    /// Events that this replica reports.
    pub fn new(writer: Writer, instance: &str) -> Self {
        let reporter = Reporter { controller: MANAGER.into(), instance: Some(instance.into()) };
        Self { recorder: Recorder::new(writer.client.clone(), reporter), writer }
    }

    /// Reports what happened to an object.
    pub async fn report(&self, object: &ObjectReference, happened: Happened, note: String) {
        let event = Event {
            type_: if happened.warns() { EventType::Warning } else { EventType::Normal },
            reason: happened.as_str().into(),
            note: Some(text::clean(&note, NOTE)),
            action: "Reconcile".into(),
            secondary: None,
        };
        if let Err(error) = self.writer.guarded(self.recorder.publish(&event, object)).await {
            tracing::warn!(reason = happened.as_str(), %error, "the event could not be reported");
        }
    }
}
