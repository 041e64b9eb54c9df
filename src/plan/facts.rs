//! What the status is to say, from what is known.

use jiff::Timestamp;

use super::{View, schedule, secrets};
use crate::api::conditions::{Facts, Progress, Reason};

/// Findings that say: what the spec asks for is not what is there, however well the old token works.
fn contradicts(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::InvalidSpec
            | Reason::NotGranted
            | Reason::SecretConflict
            | Reason::OrganizationNotFound
            | Reason::Expired
            | Reason::TwinDetected
    )
}

pub(super) fn facts(view: &View, now: Timestamp, progress: Progress) -> Facts {
    let token = view.memory.token.as_ref();
    let targets = view.wanted_secrets().count() as u32;
    let published =
        token.map_or(0, |token| view.wanted_secrets().filter(|secret| secrets::carries(secret, token)).count()) as u32;
    let usable = view.wanted_secrets().all(|secret| {
        let hand = view.hand.as_ref().filter(|hand| hand.proved).map(|hand| &hand.token);
        token.into_iter().chain(hand).any(|token| secrets::carries(secret, token))
    });
    let wanted_active = view.object.wanted.as_ref().is_ok_and(|wanted| wanted.active);
    let alive = token.is_some_and(|token| {
        let unexpired = token.expires.is_none_or(|expires| expires > now);
        unexpired && view.session.gone.as_ref() != Some(&token.id)
    });
    let in_shape = match (&view.object.wanted, token) {
        (Ok(wanted), Some(token)) => token.shape_hash == wanted.shape_hash(),
        _ => false,
    };
    // What is dead can't be changed, and is not to work.
    let done_for = token.is_some() && !wanted_active && !alive;
    let agreed = done_for || token.is_some_and(|token| token.active == wanted_active) && in_shape;
    let contradicted = matches!(&progress, Progress::Waiting(reason, _) if contradicts(*reason));
    let works = if wanted_active { alive && usable } else { token.is_some() };
    let replacing =
        view.hand.as_ref().is_some_and(|hand| token.is_some_and(|token| hand.token.sequence > token.sequence));
    Facts {
        ready: works && agreed && targets > 0 && !contradicted && view.object.deleting.is_none(),
        deactivated: token.is_some() && !wanted_active,
        rotating: replacing || !view.memory.previous.is_empty(),
        active: token.map(|token| token.active),
        published: (targets, published),
        expires_soon: alive && wanted_active && token.and_then(schedule::warning).is_some_and(|time| time <= now),
        summary: summary(view, published, targets),
        plan: plan(view, now, &progress),
        progress,
    }
}

fn summary(view: &View, published: u32, targets: u32) -> String {
    let Some(token) = &view.memory.token else {
        return "there is no token yet".into();
    };
    let until = token.expires.map_or("never expires".into(), |time| format!("expires at {time}"));
    format!("token {} is in {published} of {targets} Secrets and {until}", token.sequence)
}

/// What comes next, in words; only what changes with the objects, not with the time.
fn plan(view: &View, now: Timestamp, progress: &Progress) -> Vec<String> {
    let mut lines = Vec::new();
    if view.object.deleting.is_some() {
        return lines;
    }
    if let Progress::Waiting(reason, _) = progress {
        lines.push(format!("waiting: {}", reason.as_str()));
    }
    for previous in &view.memory.previous {
        lines.push(format!("delete token {} at {}: overlap", previous.sequence, previous.revocation));
    }
    if let (Ok(wanted), Some(token)) = (&view.object.wanted, &view.memory.token)
        && wanted.active
        && let Some((time, rule)) =
            schedule::renewal(wanted, token, &view.object.uid, now).filter(|(time, _)| *time > now)
    {
        lines.push(format!("rotate at {time}: {rule}"));
    }
    lines
}
