//! Decisions in one line.

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::conditions::Progress,
    plan::{Change, Decision, Memory, Rest, SecretKey, Step},
};

pub fn decision(decision: &Decision, now: Timestamp) -> String {
    match decision {
        Decision::Step(step) => self::step(step, now),
        Decision::Rest(rest) => self::rest(rest, now),
    }
}

pub fn step(step: &Step, now: Timestamp) -> String {
    match step {
        Step::AddFinalizer => "finalizer".into(),
        Step::Refresh => "refresh".into(),
        Step::Confirm(id) => format!("confirm {id}"),
        Step::Create(new) => format!("create {}", new.sequence),
        Step::Prove => "prove".into(),
        Step::Fetch(key) => format!("fetch {key}"),
        Step::Publish(keys) => format!("publish {}", names(keys)),
        Step::Touch(keys) => format!("touch {}", names(keys)),
        Step::Remember(memory) => format!("remember {}", self::memory(memory, now)),
        Step::Update(id, change) => format!("update {id}{}", self::change(change)),
        Step::Delete(id, why) => format!("delete {id} {why:?}"),
        Step::Remove(keys) => format!("remove {}", names(keys)),
        Step::Blank(keys) => format!("blank {}", names(keys)),
        Step::Release { abandoned: false } => "release".into(),
        Step::Release { abandoned: true } => "abandon".into(),
    }
}

fn names(keys: &[SecretKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The token's sequence, and when those before it are deleted.
pub fn memory(memory: &Memory, now: Timestamp) -> String {
    let token = memory.token.as_ref().map_or("nothing".into(), |token| token.sequence.to_string());
    let previous = memory.previous.iter().map(|previous| {
        let left = now.duration_until(previous.revocation);
        format!(", {} until {}", previous.sequence, self::left(left))
    });
    let passed = Some(memory.passed).filter(|passed| *passed > 0).map(|passed| format!(", passed {passed}"));
    token + &previous.collect::<String>() + &passed.unwrap_or_default()
}

fn change(change: &Change) -> String {
    let active = change.active.map(|active| format!(" active={active}"));
    let label = change.label.as_ref().map(|label| format!(" label={:?}", label.split(" [").next().unwrap_or_default()));
    let marked = change.label.as_ref().map(|label| if label.ends_with(']') { "+marker" } else { "-marker" }.into());
    let resources = change.resources.as_ref().map(|resources| format!(" resources={}", resources.len()));
    let description = change.description.as_ref().map(|text| format!(" description={text:?}"));
    [active, label, marked, resources, description].into_iter().flatten().collect()
}

fn left(left: SignedDuration) -> String {
    if left.is_zero() { "now".into() } else { format!("{left:#}") }
}

fn rest(rest: &Rest, now: Timestamp) -> String {
    let progress = match &rest.facts.progress {
        Progress::Settled => "Settled".into(),
        Progress::Waiting(reason, _) => reason.as_str().to_owned(),
    };
    let ready = if rest.facts.ready { "ready" } else { "not ready" };
    let wake = rest.wake.map_or("never".into(), |wake| left(now.duration_until(wake)));
    format!("rest {progress}, {ready}, wake {wake}")
}
