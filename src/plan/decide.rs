//! The decision: what the rules say, unless something is in the way of it.

use jiff::Timestamp;

use super::{Decision, Failure, Organization, Rest, Step, Trouble, View, facts, life, schedule};
use crate::api::conditions::{Facts, Progress, Reason};

/// What comes next for a token, from what is known and the time.
///
/// Total and deterministic: the same view and time give the same decision. One step at a time, so that a crash between
/// any two leaves a state that this same function carries on from.
pub fn decide(view: &View, now: Timestamp) -> Decision {
    match life::next(view, now) {
        life::Next::Do(step) => match hindrance(view, &step, now) {
            Some((trouble, wake)) => rest(view, now, Progress::Waiting(trouble.0, trouble.1), wake),
            None => Decision::Step(step),
        },
        life::Next::Wait(reason, message, wake) => rest(view, now, Progress::Waiting(reason, message), wake),
        life::Next::Settled => rest(view, now, Progress::Settled, None),
    }
}

/// What the status would say right now.
pub fn outlook(view: &View, now: Timestamp) -> Facts {
    match decide(view, now) {
        Decision::Rest(rest) => rest.facts,
        Decision::Step(_) => {
            let progress = Progress::Waiting(Reason::Progressing, "work is under way".into());
            facts::facts(view, now, progress)
        }
    }
}

/// Never at once: what is waited for was to be over and is not, and only time or news can change that.
fn rest(view: &View, now: Timestamp, progress: Progress, wake: Option<Timestamp>) -> Decision {
    let soon = schedule::plus(now, schedule::SOON);
    let wake = wake.map(|wake| if wake > now { wake } else { soon });
    let wake = [wake, schedule::wake(view, now)].into_iter().flatten().min();
    Decision::Rest(Rest { facts: facts::facts(view, now, progress), wake })
}

/// Whether a failure that counts keeps from a step.
fn hinders(failure: &Failure, step: &Step) -> bool {
    match failure.trouble.reason {
        Reason::CredentialsInvalid => step.needs_hub(),
        // There is no place: what makes one may go on.
        Reason::QuotaExceeded => matches!(step, Step::Create(_)),
        _ => !failure.publishing || matches!(step, Step::Publish(_) | Step::Fetch(_)),
    }
}

/// Why a step can't be taken now, and when it may be.
#[allow(clippy::type_complexity, reason = "a reason and a time; a struct for one caller would say no more")]
fn hindrance(view: &View, step: &Step, now: Timestamp) -> Option<((Reason, String), Option<Timestamp>)> {
    if let Some(failure) = view.failure()
        && now < failure.not_before
        && hinders(failure, step)
    {
        let Trouble { reason, message, .. } = &failure.trouble;
        return Some(((*reason, message.clone()), Some(failure.not_before)));
    }
    let Organization::Known(account) = &view.organization else {
        return None;
    };
    if !step.needs_hub() {
        return None;
    }
    if account.suspended && view.object.deleting.is_none() {
        return Some(((Reason::OrganizationNotReady, "the organization is suspended".into()), None));
    }
    // Other troubles of the organization may have passed; these two it knows to last until it wakes us.
    let trouble = account.trouble.as_ref()?;
    if account.suspended && trouble.retry.is_some_and(|retry| retry <= now) {
        // Nobody else finds out whether it is over.
        return None;
    }
    matches!(trouble.reason, Reason::CredentialsInvalid | Reason::RateLimited)
        .then(|| ((trouble.reason, trouble.message.clone()), trouble.retry))
}
