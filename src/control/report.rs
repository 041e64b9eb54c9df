//! What users are told of a step: events and the counters of rotations.

use k8s_openapi::api::core::v1::ObjectReference;

use super::Context;
use crate::{
    api::{conditions::Reason, names::TokenId},
    k8s::events::Happened,
    plan::{Change, Memory, Outcome, Step, View, Why},
};

/// The event of a step and its outcome, if it is one that users want to hear of. `before` is the view before it.
pub fn event(step: &Step, outcome: &Outcome, before: &View) -> Option<(Happened, String)> {
    match (step, outcome) {
        (Step::Remember(_), Outcome::Remembered(memory)) => remembered(memory, before),
        (Step::Publish(keys), Outcome::Published(results)) if results.iter().all(|(_, result)| result.is_ok()) => {
            let hand = before.hand.as_ref()?;
            let same = before.memory.token.as_ref().is_some_and(|token| token.id == hand.token.id);
            let names: Vec<_> = keys.iter().map(ToString::to_string).collect();
            same.then(|| (Happened::SecretRepaired, format!("token {} was written again to {}", hand.token.sequence, names.join(", "))))
        }
        (Step::Prove, Outcome::Unproved(message)) => Some((Happened::VerificationFailed, message.clone())),
        (Step::Update(_, change), Outcome::Updated(id, _)) => updated(id, change, before),
        (Step::Delete(_, why), Outcome::Deleted(id)) => {
            let happened = if *why == Why::Orphan { Happened::OrphanRemoved } else { Happened::TokenDeleted };
            let why = match why {
                Why::Replaced => "it was replaced and its time is over",
                Why::Revoked => "it was revoked",
                Why::Orphan => "nobody knew its value: the answer to its creation was lost",
                Why::Unproved => "the registry's token service refused it",
                Why::Exchanged => "the organization has no place left, and its replacement needs its own",
                Why::Farewell => "its object is being deleted",
            };
            Some((happened, format!("token {id} was deleted at Docker Hub: {why}")))
        }
        (Step::Create(_), Outcome::Failed(trouble)) if first_failure(before) && before.memory.token.is_some() => {
            Some((Happened::RotationFailed, trouble.message.clone()))
        }
        (Step::Release { abandoned: true }, Outcome::Released) => Some((
            Happened::TokenAbandoned,
            "the organization can't be reached: tokens may be left at Docker Hub, with this object's marker in their label".into(),
        )),
        _ => None,
    }
}

/// A token was changed: as somebody asked, or back to what somebody had asked for.
fn updated(id: &TokenId, change: &Change, before: &View) -> Option<(Happened, String)> {
    let current = before.memory.token.as_ref();
    if current.is_none() {
        return change.label.is_some().then(|| (Happened::TokenAdopted, format!("token {id} carries our marker now")));
    }
    let revoked = before.object.requests.revoke != before.memory.handled.revoke;
    if before.object.observed && !revoked && current.is_some_and(|token| token.id == *id) {
        let what = [
            change.active.map(|active| if active { "activated again" } else { "deactivated again" }),
            change.label.as_ref().map(|_| "its label was set again"),
            change.resources.as_ref().map(|_| "its description and scopes were set again"),
        ];
        let what: Vec<_> = what.into_iter().flatten().collect();
        return Some((Happened::DriftCorrected, format!("token {id} was changed at Docker Hub: {}", what.join(", "))));
    }
    let happened = match change.active? {
        true => Happened::TokenActivated,
        false if revoked => Happened::TokenRevoked,
        false => Happened::TokenDeactivated,
    };
    Some((happened, format!("token {id} at Docker Hub")))
}

/// The event of a state that is new to users.
pub fn waiting(reason: Reason) -> Option<Happened> {
    match reason {
        Reason::QuotaExceeded => Some(Happened::QuotaExceeded),
        Reason::NotGranted => Some(Happened::NotGranted),
        Reason::SecretConflict => Some(Happened::SecretConflict),
        Reason::TwinDetected => Some(Happened::TwinDetected),
        _ => None,
    }
}

fn first_failure(before: &View) -> bool {
    before.session.failure.is_none()
}

fn remembered(memory: &Memory, before: &View) -> Option<(Happened, String)> {
    let token = memory.token.as_ref()?;
    let expires = token.expires.map_or("never expires".into(), |time| format!("expires at {time}"));
    match &before.memory.token {
        None => {
            Some((Happened::TokenCreated, format!("token {} was made and published; it {expires}", token.sequence)))
        }
        Some(former) if former.id != token.id => {
            let text =
                format!("token {} was published in place of token {}; it {expires}", token.sequence, former.sequence);
            Some((Happened::TokenRotated, text))
        }
        Some(_) => None,
    }
}

/// Tells of a step.
pub async fn tell(context: &Context, object: &ObjectReference, step: &Step, outcome: &Outcome, before: &View) {
    if let Some((happened, note)) = event(step, outcome, before) {
        count(context, happened, before);
        tracing::info!(event = happened.as_str(), "{note}");
        context.events.report(object, happened, note).await;
    }
}

fn count(context: &Context, happened: Happened, before: &View) {
    let crate::plan::Organization::Known(account) = &before.organization else { return };
    match happened {
        Happened::TokenRotated => context.metrics.rotation(account.name.as_str(), "success"),
        Happened::RotationFailed => context.metrics.rotation(account.name.as_str(), "failure"),
        Happened::OrphanRemoved => context.metrics.orphan_removed(account.name.as_str()),
        _ => {}
    }
}
