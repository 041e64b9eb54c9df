//! A pass over an organization object: its client is started and given the credentials, and its status follows the
//! client's state.

use std::sync::Arc;

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use tracing::Instrument;

use super::{
    Context, OrganizationKey, Task, account, hubs,
    organizations::{self, Found},
    token::End,
};
use crate::{
    api::{
        OrganizationAccessToken,
        conditions::{self, OrganizationFacts, Progress, Reason},
        names::{Identity, Marker, OrgName},
        organization::{OrganizationStatus, RefusedCredentials, TokenCounts, UnmanagedState, UnmanagedToken},
        valid,
    },
    hub,
    k8s::{Key, events::Happened, status},
    plan::Trouble,
    text,
};

/// How many tokens of others a status names.
const UNMANAGED: usize = 20;
/// How long after a poll is due its list is looked at.
const POLL_TIME: std::time::Duration = std::time::Duration::from_secs(45);
/// When to look again after a pass that ended early.
const SOON: std::time::Duration = std::time::Duration::from_secs(1);

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
    match pass {
        Ok(End::Again) => {
            let task = Task::Organization(key.clone());
            context.queue.add_at(task, context.clock.now().checked_add(SOON).ok());
            End::Again.as_str()
        }
        Ok(end) => end.as_str(),
        Err(_) => {
            let _entered = span.enter();
            tracing::error!("a bug: the pass over this object panicked; it is tried again in 5 minutes");
            let again = context.clock.now().checked_add(std::time::Duration::from_secs(300)).ok();
            context.queue.add_at(Task::Organization(key.clone()), again);
            "panic"
        }
    }
}

async fn pass(context: &Arc<Context>, key: &OrganizationKey) -> End {
    let Some(subject) = context.organizations.get(key) else {
        forget_unused(context, key);
        wake_tokens(context, key);
        return End::Gone;
    };
    if let Err(trouble) = equip(context, &subject).await {
        context.hubs.mark_unread(key.clone());
        let wake = context.clock.now().checked_add(std::time::Duration::from_secs(60)).ok();
        context.queue.add_at(Task::Organization(key.clone()), wake);
        if context.hubs.set_trouble(key, Some(trouble.clone())) {
            wake_tokens(context, key);
        }
        return write_status(context, &subject, None, Some(&trouble)).await;
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
        return write_status(context, &subject, Some(&state), Some(&trouble)).await;
    }
    if state.snapshot.is_none() && state.trouble.is_none() {
        // The first list is under way. Until it is here nothing is known that a status could say.
        return End::Rested;
    }
    // The client wakes us when something changed; the numbers that our own calls changed follow after each poll.
    let poll = valid::duration(&subject.spec.poll_interval).unwrap_or_default().saturating_add(POLL_TIME);
    context.queue.add_at(Task::Organization(key.clone()), context.clock.now().checked_add(poll).ok());
    write_status(context, &subject, Some(&state), None).await
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
    let refused =
        subject.status.refused_credentials.as_ref().and_then(|refused| {
            Some(hub::Refusal { version: refused.version.clone(), time: refused.time.parse().ok()? })
        });
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
    let watch = tokio::spawn(follow(Arc::downgrade(context), subject.key.clone(), handle.state()));
    let hub = Arc::new(hubs::Hub::new(handle, [task, watch], subject, identity));
    context.hubs.put(subject.key.clone(), hub.clone());
    hub
}

/// Wakes the organization, and its tokens where there is a new list, new trouble, or a place has become free.
async fn follow(
    context: std::sync::Weak<Context>,
    key: OrganizationKey,
    mut states: tokio::sync::watch::Receiver<hub::State>,
) {
    let digest = |state: &hub::State| {
        let snapshot = state.snapshot.as_ref();
        let trouble = state.trouble.as_ref().map(|trouble| (trouble.reason, trouble.retry));
        (snapshot.map(|snapshot| snapshot.started), snapshot.map_or(0, |snapshot| snapshot.tokens.len()), trouble)
    };
    let mut before = digest(&states.borrow());
    while states.changed().await.is_ok() {
        let now = digest(&states.borrow_and_update());
        let Some(context) = context.upgrade() else { return };
        if (now.0, now.2) != (before.0, before.2) {
            context.queue.add(Task::Organization(key.clone()));
            wake_tokens(&context, &key);
        } else if now.1 < before.1 {
            wake_tokens(&context, &key);
        }
        before = now;
    }
}

/// The status, if it differs.
async fn write_status(
    context: &Context,
    subject: &Found,
    state: Option<&hub::State>,
    trouble: Option<&Trouble>,
) -> End {
    let now = context.clock.now();
    let wanted = status_of(context, subject, state, trouble, now);
    let shown = state.and_then(|state| state.snapshot.as_ref()).map(|snapshot| snapshot.started);
    let counted = || shown.into_iter().for_each(|started| context.hubs.counted(&subject.key, started));
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
    announce(context, subject, &wanted).await;
    End::Rested
}

/// Events at transitions of the conditions.
async fn announce(context: &Context, subject: &Found, wanted: &OrganizationStatus) {
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

fn status_of(
    context: &Context,
    subject: &Found,
    state: Option<&hub::State>,
    trouble: Option<&Trouble>,
    now: Timestamp,
) -> OrganizationStatus {
    let former = &subject.status;
    let snapshot = state.and_then(|state| state.snapshot.as_ref());
    let limit = subject.spec.token_limit.unwrap_or(subject.spec.subscription.limit());
    // Numbers are those of the last poll: they are not written after each token that is made.
    let polled = snapshot
        .filter(|snapshot| former.tokens.is_none() || context.hubs.is_later_list(&subject.key, snapshot.started));
    let (tokens, unmanaged) = match polled {
        Some(snapshot) => (Some(counts(context, snapshot, limit, now)), unmanaged(context, snapshot, now)),
        None => (former.tokens.clone().map(|counts| TokenCounts { limit, ..counts }), former.unmanaged.clone()),
    };
    let own = state.and_then(|state| state.trouble.as_ref());
    let progress = match (trouble, own) {
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
        refused_credentials: refused(state, former),
    }
}

/// A refusal outlives the process, so that a restart doesn't try the same password again.
fn refused(state: Option<&hub::State>, former: &OrganizationStatus) -> Option<RefusedCredentials> {
    match state {
        Some(state) => state
            .refused
            .as_ref()
            .map(|refusal| RefusedCredentials { version: refusal.version.clone(), time: refusal.time.to_string() }),
        None => former.refused_credentials.clone(),
    }
}

fn ours(context: &Context, token: &hub::Token) -> Option<Marker> {
    let (_, marker) = Marker::parse(&token.label)?;
    (marker.cluster == context.settings.cluster).then_some(marker)
}

fn expired(token: &hub::Token, now: Timestamp) -> bool {
    token.expiration_time.is_some_and(|time| time <= now)
}

fn counts(context: &Context, snapshot: &hub::Snapshot, limit: u32, now: Timestamp) -> TokenCounts {
    let identity = |(key, _): &(Key, Arc<OrganizationAccessToken>)| {
        Identity::of("OrganizationAccessToken", &key.namespace, &key.name)
    };
    let living: std::collections::HashSet<Identity> = context.tokens.all().iter().map(identity).collect();
    let count = |holds: &dyn Fn(&hub::Token) -> bool| {
        u32::try_from(snapshot.tokens.iter().filter(|token| holds(token)).count()).unwrap_or(u32::MAX)
    };
    let managed = count(&|token| ours(context, token).is_some());
    let total = count(&|_| true);
    TokenCounts {
        total,
        limit,
        managed,
        unmanaged: total - managed,
        expired: count(&|token| expired(token, now)),
        inactive: count(&|token| !token.active),
        orphaned: count(&|token| ours(context, token).is_some_and(|marker| !living.contains(&marker.identity))),
    }
}

fn unmanaged(context: &Context, snapshot: &hub::Snapshot, now: Timestamp) -> Vec<UnmanagedToken> {
    let foreign = snapshot.tokens.iter().filter(|token| ours(context, token).is_none());
    let mut tokens: Vec<UnmanagedToken> = foreign
        .map(|token| UnmanagedToken {
            id: text::clean(&token.id, 64),
            label: text::clean(&token.label, 100),
            expiration_time: token.expiration_time.map(|time| time.to_string()),
            last_used_time: token.last_used_time.map(|time| time.to_string()),
            state: match (expired(token, now), token.active) {
                (true, _) => UnmanagedState::Expired,
                (false, true) => UnmanagedState::Active,
                (false, false) => UnmanagedState::Inactive,
            },
        })
        .collect();
    tokens.sort_by(|a, b| a.id.cmp(&b.id));
    tokens.truncate(UNMANAGED);
    tokens
}
