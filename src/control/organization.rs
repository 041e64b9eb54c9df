//! A pass over an organization object: its client is started and given the credentials, and its status follows the
//! client's state.

use std::sync::Arc;

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use tracing::Instrument;

use super::{
    Context, OrganizationKey, Task, account, census, hubs,
    organizations::{self, Found},
    orphans,
    token::End,
};
use crate::{
    api::{
        conditions::{self, OrganizationFacts, Progress, Reason},
        names::OrgName,
        organization::{OrganizationStatus, RefusedCredentials, TokenCounts},
        valid,
    },
    hub,
    k8s::{Key, events::Happened, status},
    plan::Trouble,
};

/// How long after a poll is due its list is looked at.
const POLL_TIME: std::time::Duration = std::time::Duration::from_secs(45);
/// For so long a wrong login counts.
const LOCK_WINDOW: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// Looks at an organization object. A panic costs this pass, not the process.
pub async fn reconcile(context: &Arc<Context>, key: &OrganizationKey) -> &'static str {
    let span = tracing::info_span!(
        "reconcile",
        controller = "organization",
        namespace = key.key.namespace,
        name = key.key.name,
        pass = context.queue.handed_out()
    );
    let pass = std::panic::AssertUnwindSafe(pass(context, key)).catch_unwind().instrument(span.clone()).await;
    let task = Task::Organization(key.clone());
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
            let again = context.clock.now().checked_add(std::time::Duration::from_secs(300)).ok();
            context.queue.add_at(task, again);
            "panic"
        }
    }
}

async fn pass(context: &Arc<Context>, key: &OrganizationKey) -> End {
    let Some(subject) = context.organizations.get(key) else {
        // Should it be made again, what is remembered of its credentials may be out of date.
        context.hubs.mark_unread(key.clone());
        forget_unused(context, key);
        wake_tokens(context, key);
        return End::Gone;
    };
    if let Err(trouble) = equip(context, &subject).await {
        context.hubs.mark_unread(key.clone());
        if context.hubs.set_trouble(key, Some(trouble.clone())) {
            wake_tokens(context, key);
        }
        let written = write_status(context, &subject, &Look { trouble: Some(&trouble), ..Look::default() }).await;
        // What was not to be read may be soon: no watch tells of rights, or of an API server that has just come up.
        let unread = matches!(trouble.reason, Reason::Forbidden | Reason::KubernetesUnavailable);
        if !unread {
            let wake = context.clock.now().checked_add(std::time::Duration::from_secs(60)).ok();
            context.queue.add_at(Task::Organization(key.clone()), wake);
        }
        return if unread { End::Again } else { written };
    }
    if context.hubs.set_trouble(key, None) {
        wake_tokens(context, key);
    }
    let Some(hub) = context.hubs.get(key) else { return End::Again };
    let state = hub.handle.state().borrow().clone();
    if subject.spec.suspend {
        let trouble = Trouble {
            reason: Reason::OrganizationNotReady,
            message: "spec.suspend is true: Docker Hub is asked for nothing".into(),
            retry: None,
            uncertain: false,
        };
        let look = Look { state: Some(&state), trouble: Some(&trouble), recount: false };
        return write_status(context, &subject, &look).await;
    }
    if state.snapshot.is_none() && state.trouble.is_none() {
        // The first list is under way. Until it is here nothing is known that a status could say.
        return End::Rested;
    }
    let swept = match state.snapshot.as_ref().filter(|_| state.trouble.is_none()) {
        Some(snapshot) => orphans::sweep(context, &subject, &hub, snapshot).await,
        None => orphans::Swept::default(),
    };
    // The client wakes us when something changed; the numbers that our own calls changed follow after each poll.
    let poll = valid::duration(&subject.spec.poll_interval).unwrap_or_default().saturating_add(POLL_TIME);
    let poll = context.clock.now().checked_add(poll).ok();
    let wake = [poll, swept.wake].into_iter().flatten().min();
    context.queue.add_at(Task::Organization(key.clone()), wake);
    let state = hub.handle.state().borrow().clone();
    write_status(context, &subject, &Look { state: Some(&state), trouble: None, recount: swept.removed > 0 }).await
}

/// The object is gone: its client stays while token objects refer to it, so that they can clean up.
fn forget_unused(context: &Context, key: &OrganizationKey) {
    if !context.tokens.all().iter().any(|(_, token)| account::key_of(token) == *key) {
        context.hubs.remove(key);
        context.hubs.set_trouble(key, None);
    }
}

/// Every token object of an organization is to be looked at.
pub fn wake_tokens(context: &Context, key: &OrganizationKey) {
    for (token, object) in context.tokens.all() {
        if account::key_of(&object) == *key {
            context.queue.add(Task::Token(token));
        }
    }
}

/// Starts the client where none runs, and hands it the credentials where they may have changed.
async fn equip(context: &Arc<Context>, subject: &Found) -> Result<(), Trouble> {
    if let Some(problem) = &subject.spec.unreadable {
        return Err(trouble(Reason::InvalidSpec, format!("spec: {problem}")));
    }
    let known = context.hubs.get(&subject.key);
    let same = known.as_ref().is_some_and(|hub| hub.follows(subject));
    let unread = context.hubs.take_unread(&subject.key);
    if same && !unread {
        return Ok(());
    }
    let name = OrgName::parse(subject.name())
        .map_err(|invalid| trouble(Reason::InvalidSpec, format!("spec.organization: {invalid}")))?;
    let interval = valid::poll_interval(&subject.spec.poll_interval)
        .map_err(|message| trouble(Reason::InvalidSpec, format!("spec.pollInterval: {message}")))?;
    let identity = hubs::Identity { name: name.to_string(), endpoints: endpoints(context, subject).await? };
    let (credentials, version) = credentials(context, subject).await?;
    let hub = match known.filter(|hub| hub.identity == identity) {
        Some(hub) => hub,
        None => start(context, subject, identity, interval),
    };
    hub.give(subject);
    hub.handle.set_credentials(Some(credentials), version);
    hub.handle.set_poll_interval(poll_interval(subject, interval));
    Ok(())
}

fn trouble(reason: Reason, message: String) -> Trouble {
    Trouble { reason, message, retry: None, uncertain: false }
}

/// Where Docker Hub is for this organization: the operator's flags, or what a cluster's organization says.
async fn endpoints(context: &Context, subject: &Found) -> Result<hub::Endpoints, Trouble> {
    let mut endpoints = context.settings.endpoints.clone();
    let Some(spec) = &subject.endpoints else { return Ok(endpoints) };
    let url = |field: &str, text: &str| {
        text.parse().map_err(|_| trouble(Reason::InvalidSpec, format!("spec.endpoints.{field}: no URL")))
    };
    if let Some(text) = &spec.hub {
        endpoints.hub = url("hub", text)?;
    }
    if let Some(text) = &spec.registry_token {
        endpoints.registry_token = url("registryToken", text)?;
    }
    if let Some(service) = &spec.registry_service {
        endpoints.registry_service = service.clone();
    }
    // First what the spec says, then what it refers to.
    endpoints.check().map_err(|message| trouble(Reason::InvalidSpec, format!("spec.endpoints: {message}")))?;
    if let Some(reference) = &spec.ca_bundle_secret_ref {
        let secret = read(context, subject, &reference.name).await?;
        let Some(pem) = secret.data.as_ref().and_then(|data| data.get(&reference.key)) else {
            let message =
                format!("spec.endpoints.caBundleSecretRef: Secret {} has no key {}", reference.name, reference.key);
            return Err(trouble(Reason::CredentialsInvalid, message));
        };
        endpoints.roots = pem.0.clone();
    }
    Ok(endpoints)
}

/// The owner's credentials, and which version of their Secret it is.
async fn credentials(context: &Context, subject: &Found) -> Result<(hub::Credentials, String), Trouble> {
    let name = &subject.spec.credentials.secret_ref.name;
    let secret = read(context, subject, name).await?;
    let version = format!("{}/{}", secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default());
    let data = secret.data.unwrap_or_default();
    let invalid = |problem: String| trouble(Reason::CredentialsInvalid, format!("Secret {name}: {problem}"));
    let field = |key: &str| data.get(key).map(|bytes| bytes.0.as_slice());
    let required = |key: &str| field(key).ok_or_else(|| invalid(format!("key {key} is missing")));
    let credentials = hub::Credentials::parse(required("username")?, required("password")?, field("totpSecret"));
    Ok((credentials.map_err(|problem| invalid(problem.to_string()))?, version))
}

async fn read(context: &Context, subject: &Found, name: &str) -> Result<Secret, Trouble> {
    let namespace = organizations::namespace(&subject.key, &context.settings.operator_namespace);
    let key = Key { namespace: namespace.into(), name: name.into() };
    match context.writer.read_secret(&key).await {
        Ok(Some(secret)) => Ok(secret),
        Ok(None) => Err(trouble(Reason::CredentialsInvalid, format!("Secret {key} does not exist"))),
        Err(error) if error.is_forbidden() => {
            Err(trouble(Reason::Forbidden, format!("the operator may not read Secret {key}: {error}")))
        }
        Err(error) => Err(trouble(Reason::KubernetesUnavailable, format!("can't read Secret {key}: {error}"))),
    }
}

/// A suspended organization is not polled.
fn poll_interval(subject: &Found, interval: std::time::Duration) -> std::time::Duration {
    if subject.spec.suspend { hub::NEVER } else { interval }
}

/// Starts a client, and a task that wakes whoever is concerned when its state changes.
fn start(
    context: &Arc<Context>,
    subject: &Found,
    identity: hubs::Identity,
    interval: std::time::Duration,
) -> Arc<hubs::Hub> {
    let refused = subject.status.refused_credentials.as_ref().and_then(refusal);
    let (handle, task) = hub::Organization::start(hub::OrganizationConfig {
        name: identity.name.clone(),
        endpoints: identity.endpoints.clone(),
        poll_interval: poll_interval(subject, interval),
        limits: hub::Limits::default(),
        clock: context.clock.clone(),
        observer: context.metrics.observer(&identity.name),
        permit: context.writer.permit.clone(),
        refused,
    });
    // Also over a change of its endpoints: the former client is still here.
    let former = context.hubs.get(&subject.key).map(|hub| hub.handle.state().borrow().wrong.clone());
    let remembered = subject.status.refused_logins.iter().filter_map(refusal);
    handle.recall(former.unwrap_or_default().into_iter().chain(remembered).fold(Vec::new(), insert));
    // Looked at here and not by the task: what the client finds out before that runs is news too.
    let (states, before) = (handle.state(), digest(&handle.state().borrow()));
    let watch = tokio::spawn(follow(Arc::downgrade(context), subject.key.clone(), states, before));
    let hub = Arc::new(hubs::Hub::new(handle, [task, watch], subject, identity));
    context.hubs.put(subject.key.clone(), hub.clone());
    hub
}

/// A refusal as a client knows it.
fn refusal(refused: &RefusedCredentials) -> Option<hub::Refusal> {
    Some(hub::Refusal { version: refused.version.clone(), time: refused.time.parse().ok()? })
}

/// A refusal as the status shows it.
fn refusal_shown(refusal: &hub::Refusal) -> RefusedCredentials {
    RefusedCredentials { version: refusal.version.clone(), time: refusal.time.to_string() }
}

/// Puts a refusal into a list by its time, once.
fn insert(mut list: Vec<hub::Refusal>, refusal: hub::Refusal) -> Vec<hub::Refusal> {
    if let Err(at) = list.binary_search_by(|known| known.time.cmp(&refusal.time)) {
        list.insert(at, refusal);
    }
    list
}

/// What others want to hear of: the list, by its time and length, and what is wrong. A refusal must be in the status soon,
/// also where the trouble is the same as before.
type Digest =
    (Option<Timestamp>, usize, (Option<(&'static str, Option<Timestamp>)>, Option<hub::Refusal>, Vec<hub::Refusal>));

fn digest(state: &hub::State) -> Digest {
    let snapshot = state.snapshot.as_ref();
    let trouble = state.trouble.as_ref().map(|trouble| (trouble.reason, trouble.retry));
    let wrong = (trouble, state.refused.clone(), state.wrong.clone());
    (snapshot.map(|snapshot| snapshot.started), snapshot.map_or(0, |snapshot| snapshot.tokens.len()), wrong)
}

/// Wakes the organization, and its tokens where there is a new list, new trouble, or a place has become free.
async fn follow(
    context: std::sync::Weak<Context>,
    key: OrganizationKey,
    mut states: tokio::sync::watch::Receiver<hub::State>,
    mut before: Digest,
) {
    while states.changed().await.is_ok() {
        let now = digest(&states.borrow_and_update());
        let Some(context) = context.upgrade() else { return };
        if (&now.0, &now.2) != (&before.0, &before.2) {
            context.queue.add(Task::Organization(key.clone()));
            wake_tokens(&context, &key);
        } else if now.1 < before.1 {
            wake_tokens(&context, &key);
        }
        before = now;
    }
}

/// What a status is made of.
#[derive(Clone, Copy, Default)]
struct Look<'a> {
    state: Option<&'a hub::State>,
    /// What keeps us from using the client, if anything.
    trouble: Option<&'a Trouble>,
    /// Whether the numbers changed by what we did just now.
    recount: bool,
}

impl<'a> Look<'a> {
    fn snapshot(&self) -> Option<&'a hub::Snapshot> {
        self.state.and_then(|state| state.snapshot.as_ref())
    }
}

/// The status, if it differs.
async fn write_status(context: &Context, subject: &Found, look: &Look<'_>) -> End {
    let now = context.clock.now();
    let mut wanted = status_of(context, subject, look, now);
    let shown = look.snapshot().map(|snapshot| snapshot.started);
    let counted = || shown.into_iter().for_each(|started| context.hubs.counted(&subject.key, started));
    if status::patch(&subject.status, &wanted).is_none() {
        counted();
        return End::Rested;
    }
    // What is out of date goes along with a change, but is no reason for one.
    wanted.refused_logins.retain(|login| refusal(login).is_some_and(|refusal| counts(refusal.time, now)));
    let Some(patch) = status::patch(&subject.status, &wanted) else {
        counted();
        return End::Rested;
    };
    if !context.may_write() {
        return End::Again;
    }
    let written = context.organizations.write_status(&context.writer, &subject.key, patch).await;
    if let Err(error) = written {
        tracing::debug!(%error, "the organization's status could not be written");
        return End::Again;
    }
    counted();
    announce(context, subject, &wanted, look.snapshot(), now).await;
    End::Rested
}

/// Whether a wrong login still counts.
fn counts(time: Timestamp, now: Timestamp) -> bool {
    time.duration_since(now).abs() < LOCK_WINDOW
}

/// Events at transitions.
async fn announce(
    context: &Context,
    subject: &Found,
    wanted: &OrganizationStatus,
    snapshot: Option<&hub::Snapshot>,
    now: Timestamp,
) {
    let unused = |status: &OrganizationStatus| status.tokens.as_ref().map_or(0, |counts| counts.unused);
    if let Some(snapshot) = snapshot.filter(|_| unused(&subject.status) == 0 && unused(wanted) > 0) {
        let note = census::unused_in_words(subject, snapshot, now);
        context.events.report(&subject.reference, Happened::UnusedTokens, note).await;
    }
    let status = |conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition], kind: &str| {
        conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.clone())
    };
    for (kind, happened) in [("CredentialsValid", Happened::CredentialsInvalid), ("QuotaAvailable", Happened::QuotaLow)]
    {
        let (before, after) = (status(&subject.status.conditions, kind), status(&wanted.conditions, kind));
        if before != after && after.as_deref() == Some("False") {
            let message = wanted.conditions.iter().find(|c| c.type_ == kind).map(|c| c.message.clone());
            context.events.report(&subject.reference, happened, message.unwrap_or_default()).await;
        }
    }
}

fn status_of(context: &Context, subject: &Found, look: &Look<'_>, now: Timestamp) -> OrganizationStatus {
    let former = &subject.status;
    let (state, snapshot) = (look.state, look.snapshot());
    let limit = census::limit(subject);
    // Numbers are those of the last poll: they are not written after each token that is made.
    let edited = former.observed_generation != Some(subject.generation);
    let polled = snapshot.filter(|snapshot| {
        let first = former.tokens.is_none() || edited || look.recount;
        first || context.hubs.is_later_list(&subject.key, snapshot.started)
    });
    let (tokens, unmanaged, orphaned) = match polled.map(|snapshot| census::take(context, subject, snapshot, now)) {
        Some(census) => (Some(census.counts), census.unmanaged, census.orphaned),
        None => {
            let counts = former.tokens.clone().map(|counts| TokenCounts { limit, ..counts });
            (counts, former.unmanaged.clone(), former.orphaned.clone())
        }
    };
    let own = state.and_then(|state| state.trouble.as_ref());
    let progress = match (look.trouble, own) {
        (Some(trouble), _) => Progress::Waiting(trouble.reason, trouble.message.clone()),
        (None, Some(trouble)) => Progress::Waiting(account::reason(trouble.reason), trouble.message.clone()),
        (None, None) => Progress::Settled,
    };
    let credentials = match &progress {
        Progress::Waiting(Reason::CredentialsInvalid, _) => Some(false),
        Progress::Settled => Some(true),
        Progress::Waiting(..) => snapshot.map(|_| true),
    };
    let quota = match &tokens {
        Some(counts) => {
            let most = limit.saturating_sub(subject.spec.reserved_tokens);
            let text = format!(
                "{} of {limit} places are taken, {} kept for rotations",
                counts.total, subject.spec.reserved_tokens
            );
            (Some(counts.total < most), text)
        }
        None => (None, "no list of tokens yet".into()),
    };
    let facts = OrganizationFacts { progress, credentials, quota };
    OrganizationStatus {
        observed_generation: Some(subject.generation),
        organization: Some(subject.name().to_owned()),
        conditions: conditions::organization(&facts, subject.generation, &former.conditions, now),
        tokens,
        unmanaged,
        orphaned,
        refused_credentials: refused(state, former),
        refused_logins: match state {
            Some(state) => state.wrong.iter().map(refusal_shown).collect(),
            None => former.refused_logins.clone(),
        },
    }
}

/// A refusal outlives the process, so that a restart doesn't try the same password again.
fn refused(state: Option<&hub::State>, former: &OrganizationStatus) -> Option<RefusedCredentials> {
    match state {
        Some(state) => state.refused.as_ref().map(refusal_shown),
        None => former.refused_credentials.clone(),
    }
}
