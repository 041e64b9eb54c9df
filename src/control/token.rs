//! A pass over one token object: observe, then decide, apply and absorb until it rests, then one status.

use std::collections::BTreeSet;

use futures::FutureExt;
use kube::{Resource, ResourceExt};
use tracing::Instrument;

use super::{
    Context, Task, account,
    apply::{Pass, Stop},
    memo::{Asked, Memo},
    report,
};
use crate::{
    api::{self, OrganizationAccessToken, conditions::Progress},
    k8s::{Key, events::Happened, observe},
    plan::{self, Decision, Rest, Session, Step, View},
};

/// The most steps of one pass. A pass that needs more goes on in the next one.
const STEPS: usize = 24;

/// How a pass ended; the result in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It rests.
    Rested,
    /// It is to be looked at again soon.
    Again,
    /// There is nothing to look at.
    Gone,
}

impl End {
    /// The label of the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rested => "success",
            Self::Again => "requeue",
            Self::Gone => "gone",
        }
    }
}

/// Looks at a token object. A panic costs this pass, not the process.
pub async fn reconcile(context: &Context, key: &Key) -> &'static str {
    let span = tracing::info_span!(
        "reconcile",
        controller = "token",
        namespace = key.namespace,
        name = key.name,
        uid = tracing::field::Empty,
        pass = context.queue.handed_out()
    );
    let pass = std::panic::AssertUnwindSafe(pass(context, key)).catch_unwind().instrument(span.clone()).await;
    let task = Task::Token(key.clone());
    match pass {
        Ok(End::Again) => {
            context.queue.retry(task);
            End::Again.as_str()
        }
        Ok(end) => {
            context.queue.forget(&task);
            end.as_str()
        }
        Err(_) => {
            let _entered = span.enter();
            tracing::error!("a bug: the pass over this object panicked; it is tried again in 5 minutes");
            context.queue.add_at(task, context.clock.now().checked_add(std::time::Duration::from_secs(300)).ok());
            "panic"
        }
    }
}

async fn pass(context: &Context, key: &Key) -> End {
    let Some(object) = context.tokens.get(key) else { return End::Gone };
    let Some(organization) = account::organization(context, &object) else { return End::Rested };
    let uid = object.uid().unwrap_or_default();
    tracing::Span::current().record("uid", uid.as_str());
    let mut memo = context.memos.get(&uid).unwrap_or_else(|| Memo::new(session(context)));
    memo.begin(context.watches.returns(), context.clock.now());
    memo.hear(asked(context, &object), context.clock.now());
    let sources = context.sources();
    let mut view = observe::view(&object, organization, memo.hand.clone(), memo.session.clone(), &sources);
    let mut pass = Pass { context, object, memo };
    // Seen anew, a value may be spent: it is dropped here and in what is kept.
    pass.memo.follow(&view);
    context.memos.put(&uid, pass.memo.clone());
    for _ in 0..STEPS {
        match plan::decide(&view, context.clock.now()) {
            Decision::Step(step) => match take(&mut pass, step, &mut view).await {
                Ok(true) => context.memos.put(&uid, pass.memo.clone()),
                Ok(false) => {
                    pass.forget();
                    return End::Gone;
                }
                Err(stop) => {
                    tracing::debug!(?stop, "the pass ends early");
                    return End::Again;
                }
            },
            Decision::Rest(rest) => return self::rest(&mut pass, &view, rest, key).await,
        }
    }
    End::Again
}

/// What people say of an object and of its organization.
fn asked(context: &Context, object: &OrganizationAccessToken) -> Asked {
    let request = |name: &str| object.annotations().get(name).cloned();
    let organization = context.organizations.get(&account::key_of(object));
    Asked {
        generation: object.metadata.generation,
        requests: [api::ROTATE, api::REVOKE, api::REQUESTED_AT].map(request),
        organization: organization.map(|found| (found.reference.uid, found.generation)),
    }
}

/// One step; whether there is still an object.
async fn take(pass: &mut Pass<'_>, step: Step, view: &mut View) -> Result<bool, Stop> {
    let before = view.clone();
    let outcome = pass.apply(&step, view).await?;
    let reference = pass.object.object_ref(&());
    view.absorb(&step, outcome.clone(), pass.context.clock.now());
    // The model has every edge that the operator takes: the scenarios look for these lines.
    tracing::debug!(edge = plan::edge(&before, &step, &outcome, view), "taken");
    pass.memo.follow(view);
    pass.context.memos.put(&view.object.uid, pass.memo.clone());
    report::tell(pass.context, &reference, &step, &outcome, &before).await;
    Ok(!matches!(outcome, plan::Outcome::Released))
}

/// The status, if it differs, and when to look again.
async fn rest(pass: &mut Pass<'_>, view: &View, rest: Rest, key: &Key) -> End {
    let context = pass.context;
    let former = stalled(pass.object.status.iter().flat_map(|status| &status.conditions));
    match pass.write_status(view, &rest.facts).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the status could not be written");
            return End::Again;
        }
        Err(_) => return End::Again,
    }
    if let Progress::Waiting(reason, message) = &rest.facts.progress
        && former.as_deref() != Some(reason.as_str())
    {
        let happened = report::waiting(*reason);
        if let Some(happened) = happened {
            context.events.report(&pass.object.object_ref(&()), happened, message.clone()).await;
        }
    }
    warn(pass, view, &rest).await;
    context.queue.add_at(Task::Token(key.clone()), rest.wake);
    End::Rested
}

/// That a token expires soon and nothing has replaced it: told once.
async fn warn(pass: &mut Pass<'_>, view: &View, rest: &Rest) {
    let Some(token) = view.memory.token.as_ref().filter(|_| rest.facts.expires_soon) else { return };
    if pass.memo.warned.as_ref() != Some(&token.id) {
        pass.memo.warned = Some(token.id.clone());
        pass.context.memos.put(&view.object.uid, pass.memo.clone());
        let message = format!("{}; it has not been replaced: see the conditions", rest.facts.summary);
        pass.context.events.report(&pass.object.object_ref(&()), Happened::ExpiresSoon, message).await;
    }
}

/// The reason of the condition `Stalled`, if it is there.
fn stalled<'a>(
    mut conditions: impl Iterator<Item = &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>,
) -> Option<String> {
    conditions.find(|condition| condition.type_ == "Stalled").map(|condition| condition.reason.clone())
}

fn session(context: &Context) -> Session {
    let since = account::term_start(context);
    Session {
        since,
        fresh_after: since,
        tried: 0,
        failure: None,
        gone: None,
        lost: BTreeSet::new(),
        seen: None,
        touched: BTreeSet::new(),
        inspected: since,
        drift: plan::Drift::None,
        hoped: context.clock.now(),
        abandon_after: context.settings.abandon_after,
    }
}
