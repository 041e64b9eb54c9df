//! What runs: the watches that fill the stores, and the workers that empty the queue.
//!
//! Guarantees: nothing is looked at before this replica leads and every store is complete, token objects and Secrets as of
//! after that; when any task ends, all end.
//! Told to stop, it begins nothing more and ends what it is at, so that no value is lost that was just made. Every task's
//! handle is held in a set; nothing is detached, and nothing runs any more when [`Controller::run`] returns.

use std::{fmt::Debug, future::Future, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Resource,
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::{
    Context, OrganizationKey, Settings, Task, account,
    hubs::Hubs,
    memo::Memos,
    organization,
    organizations::{self, Found, Organizations},
    queue::Queue,
    token,
    watches::{self, Watches},
};
use crate::{
    api::{
        ClusterOrganization, MANAGED_BY, MANAGER, Organization, OrganizationAccessToken, conditions::Reason,
        token::OrganizationKind,
    },
    clock::Clock,
    k8s::{
        Key, events::Events, foreign::Foreign, key, leader::Leader, lenient::Lenient, secrets, store::Store,
        write::Writer,
    },
    serve::metrics::Metrics,
};

/// How long passes under way may take after the end was asked for: shorter than a pod is given to end.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);

/// What the controller runs on.
pub struct Parts {
    /// The time.
    pub clock: Clock,
    /// How the operator is set up.
    pub settings: Settings,
    /// Writes to Kubernetes; its client, which has no retry layer, also watches.
    pub writer: Writer,
    /// Who leads.
    pub leader: Leader,
    /// Metrics.
    pub metrics: Metrics,
    /// The namespaces to watch; empty for all.
    pub namespaces: Vec<String>,
    /// How many objects are worked on at once.
    pub concurrency: usize,
    /// The name that events give as their source.
    pub instance: String,
}

/// The controller, ready to run.
pub struct Controller {
    context: Arc<Context>,
    namespaces: Vec<Option<String>>,
    concurrency: usize,
}

/// A task ended that must not end.
#[derive(Debug, thiserror::Error)]
#[error("a task ended that must run for ever: {0}")]
pub struct Ended(String);

impl Controller {
    /// Joins the parts.
    pub fn new(parts: Parts) -> Self {
        let namespaces: Vec<Option<String>> = match parts.namespaces.is_empty() {
            true => vec![None],
            false => parts.namespaces.iter().cloned().map(Some).collect(),
        };
        let watches = namespaces.len();
        // In namespaced mode the credentials of cluster-wide organizations are in a namespace of their own.
        let credentials = namespaces.iter().flatten().all(|name| *name != parts.settings.operator_namespace);
        let foreign = if namespaces.contains(&None) { 1 } else { watches + usize::from(credentials) };
        let context = Context {
            queue: Arc::new(Queue::new(parts.clock.clone())),
            events: Events::new(parts.writer.clone(), parts.clock.clone(), &parts.instance),
            clock: parts.clock,
            settings: parts.settings,
            writer: parts.writer,
            leader: parts.leader,
            tokens: Store::new(watches),
            organizations: Organizations::new(watches),
            secrets: Store::new(watches),
            foreign: Foreign::new(foreign),
            hubs: Hubs::default(),
            memos: Memos::default(),
            watches: Watches::default(),
            caught_up: tokio::sync::OnceCell::new(),
            namespaces: parts.namespaces.clone(),
            metrics: parts.metrics,
        };
        Self { context: Arc::new(context), namespaces, concurrency: parts.concurrency }
    }

    /// What all passes share.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Runs until `stop` and until passes under way are through, for [`GRACE`] at most; an error where a task ended that
    /// must not.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Ended> {
        let (stopping, stopped) = tokio::sync::watch::channel(false);
        let (mut watches, mut workers) = (JoinSet::new(), JoinSet::new());
        self.watch_all(&mut watches);
        for _ in 0..self.concurrency {
            workers.spawn(work(self.context.clone(), stopped.clone()));
        }
        let result = tokio::select! {
            () = stop => Ok(()),
            ended = watches.join_next() => Err(Ended(format!("{ended:?}"))),
            ended = workers.join_next() => Err(Ended(format!("{ended:?}"))),
        };
        if result.is_ok() {
            tracing::info!("told to stop: what is under way ends first");
            stopping.send_replace(true);
            let through = async { while workers.join_next().await.is_some() {} };
            tokio::select! {
                () = through => {}
                () = self.context.clock.sleep(GRACE) => {
                    tracing::warn!("work was under way for too long after the end was asked for; it is broken off");
                }
            }
        }
        workers.shutdown().await;
        watches.shutdown().await;
        result
    }

    fn watch_all(&self, tasks: &mut JoinSet<()>) {
        for (scope, namespace) in self.namespaces.iter().enumerate() {
            let namespace = namespace.as_deref();
            tasks.spawn(watch_tokens(self.context.clone(), self.api(namespace), scope));
            tasks.spawn(watch_organizations(self.context.clone(), self.api(namespace), scope));
            tasks.spawn(watch_secrets(self.context.clone(), self.api(namespace), scope));
            tasks.spawn(watch_foreign(self.context.clone(), self.api(namespace), scope));
        }
        let operator = &self.context.settings.operator_namespace;
        let watched = |namespace: &Option<String>| namespace.as_ref().is_none_or(|name| name == operator);
        if !self.namespaces.iter().any(watched) {
            let scope = self.namespaces.len();
            tasks.spawn(watch_foreign(self.context.clone(), self.api(Some(operator)), scope));
        }
        let clusters = Api::all(self.context.writer.client.clone());
        tasks.spawn(watch_cluster_organizations(self.context.clone(), clusters));
    }

    fn api<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match namespace {
            Some(namespace) => Api::namespaced(self.context.writer.client.clone(), namespace),
            None => Api::all(self.context.writer.client.clone()),
        }
    }
}

/// Follows a watch for ever; when it works again after a failure, whoever failed for want of the API server goes on.
async fn follow<K, S>(
    context: &Context,
    anew: Option<tokio::sync::watch::Receiver<()>>,
    begin: impl Fn() -> S,
    take: impl FnMut(Event<K>),
) where
    S: futures::Stream<Item = watcher::Result<Event<K>>>,
{
    watches::follow(&context.watches, &context.clock, anew, begin, take, || came_back(context)).await;
}

/// The API server is there again.
fn came_back(context: &Context) {
    context.queue.retry_now();
    for (key, object) in context.tokens.all() {
        let memo = object.metadata.uid.as_deref().and_then(|uid| context.memos.get(uid));
        if memo.is_some_and(|memo| memo.lacks_kubernetes()) {
            context.queue.add(Task::Token(key));
        }
    }
    for found in context.organizations.all() {
        let trouble = context.hubs.trouble(&found.key);
        if trouble.is_some_and(|trouble| trouble.reason == Reason::KubernetesUnavailable) {
            context.queue.add(Task::Organization(found.key));
        }
    }
}

fn with_key<K: kube::ResourceExt>(Lenient(object): Lenient<K>) -> (Key, K) {
    (key(&object), object)
}

/// How watches are asked for.
fn config(context: &Context) -> watcher::Config {
    watcher::Config::default().timeout(context.settings.watch_timeout)
}

fn plain<K>(context: &Context, api: Api<K>) -> impl futures::Stream<Item = watcher::Result<Event<K>>> + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config(context))
}

async fn watch_tokens(context: Arc<Context>, api: Api<Lenient<OrganizationAccessToken>>, scope: usize) {
    follow(
        &context,
        Some(context.watches.anew()),
        || plain(&context, api.clone()),
        |event| {
            let gone = matches!(event, Event::Delete(_) | Event::InitDone);
            for key in context.tokens.take(scope, event, with_key) {
                wake_losers(&context, &key);
                context.queue.add(Task::Token(key));
            }
            if gone {
                forget(&context);
            }
        },
    )
    .await;
}

/// Objects of a namespace that wait for a Secret or a token which another object has.
fn wake_losers(context: &Context, changed: &Key) {
    let waits = |object: &OrganizationAccessToken| {
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
        conditions.any(|condition| condition.type_ == "Stalled" && condition.reason == Reason::SecretConflict.as_str())
    };
    for (key, object) in context.tokens.all() {
        if key.namespace == changed.namespace && key != *changed && waits(&object) {
            context.queue.add(Task::Token(key));
        }
    }
}

/// What is remembered of objects that are gone, and clients that nobody needs any more.
fn forget(context: &Context) {
    let tokens = context.tokens.all();
    let uids: std::collections::HashSet<&str> =
        tokens.iter().filter_map(|(_, token)| token.metadata.uid.as_deref()).collect();
    context.memos.retain(|uid| uids.contains(uid));
    for (key, _) in context.hubs.all() {
        if context.organizations.get(&key).is_none() && !tokens.iter().any(|(_, token)| account::key_of(token) == key) {
            context.hubs.remove(&key);
        }
    }
}

async fn watch_organizations(context: Arc<Context>, api: Api<Lenient<Organization>>, scope: usize) {
    follow(
        &context,
        None,
        || plain(&context, api.clone()),
        |event| {
            let changed = context.organizations.namespaced.take(scope, event, with_key);
            organizations_changed(&context, OrganizationKind::Organization, changed);
        },
    )
    .await;
}

async fn watch_cluster_organizations(context: Arc<Context>, api: Api<Lenient<ClusterOrganization>>) {
    follow(
        &context,
        None,
        || plain(&context, api.clone()),
        |event| {
            let changed = context.organizations.cluster.take(0, event, with_key);
            organizations_changed(&context, OrganizationKind::ClusterOrganization, changed);
        },
    )
    .await;
}

fn organizations_changed(context: &Context, kind: OrganizationKind, changed: Vec<Key>) {
    for key in changed {
        let key = OrganizationKey { kind, key };
        organization::wake_tokens(context, &key);
        context.queue.add(Task::Organization(key));
    }
}

/// Our Secrets, with data: only it tells whether somebody changed the value. The data is dropped at once.
async fn watch_secrets(context: Arc<Context>, api: Api<Secret>, scope: usize) {
    let config = config(&context).labels(&format!("{MANAGED_BY}={MANAGER}"));
    follow(
        &context,
        Some(context.watches.anew()),
        || watcher(api.clone(), config.clone()),
        |event| {
            let owners = |context: &Context, key: &Key| context.secrets.get(key).map(|entry| entry.owner.clone());
            let before = match &event {
                Event::Delete(secret) => owners(&context, &key(secret)),
                _ => None,
            };
            let changed = context.secrets.take(scope, event, secrets::entry);
            for key in changed {
                let after = owners(&context, &key);
                for (token, object) in context.tokens.all() {
                    let uid = object.metadata.uid.as_ref();
                    let named = token.namespace == key.namespace && secret_name(&object) == key.name;
                    if named || uid.is_some_and(|uid| before.as_ref() == Some(uid) || after.as_ref() == Some(uid)) {
                        context.queue.add(Task::Token(token));
                    }
                }
            }
        },
    )
    .await;
}

fn secret_name(object: &OrganizationAccessToken) -> &str {
    let own = object.metadata.name.as_deref().unwrap_or_default();
    object.spec.token.secret.name.as_deref().unwrap_or(own)
}

/// All other Secrets, by name: whether one is in the way, and whether an owner's credentials changed.
async fn watch_foreign(context: Arc<Context>, api: Api<PartialObjectMeta<Secret>>, scope: usize) {
    let config = config(&context).labels(&format!("{MANAGED_BY}!={MANAGER}"));
    let begin =
        || watcher(api.clone(), config.clone()).map(|event| event.map(|event| names(event, |secret| key(&secret))));
    let mut listed = false;
    follow(&context, None, begin, |event| {
        context.foreign.take(scope, &event);
        match event {
            // The first list tells nothing new: organizations read their credentials anyway.
            Event::InitDone if std::mem::replace(&mut listed, true) => every_credential_changed(&context),
            Event::Apply(key) | Event::Delete(key) => foreign_changed(&context, &key),
            Event::Init | Event::InitApply(_) | Event::InitDone => {}
        }
    })
    .await;
}

fn names<K>(event: Event<K>, name: impl Fn(K) -> Key) -> Event<Key> {
    match event {
        Event::Apply(object) => Event::Apply(name(object)),
        Event::Delete(object) => Event::Delete(name(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(name(object)),
        Event::InitDone => Event::InitDone,
    }
}

/// Every organization object with the Secrets that it reads.
fn credentials(context: &Context) -> Vec<(OrganizationKey, Vec<Key>)> {
    let secrets = |found: Found| {
        let bundle = found.endpoints.as_ref().and_then(|endpoints| endpoints.ca_bundle_secret_ref.as_ref());
        let names = std::iter::once(&found.spec.credentials.secret_ref.name).chain(bundle.map(|bundle| &bundle.name));
        let namespace = organizations::namespace(&found.key, &context.settings.operator_namespace);
        let secrets = names.map(|name| Key { namespace: namespace.into(), name: name.clone() }).collect();
        (found.key.clone(), secrets)
    };
    context.organizations.all().into_iter().map(secrets).collect()
}

fn every_credential_changed(context: &Context) {
    for (organization, _) in credentials(context) {
        context.hubs.mark_unread(organization.clone());
        context.queue.add(Task::Organization(organization));
    }
}

fn foreign_changed(context: &Context, key: &Key) {
    for (organization, secrets) in credentials(context) {
        if secrets.contains(key) {
            context.hubs.mark_unread(organization.clone());
            context.queue.add(Task::Organization(organization));
        }
    }
    for (token, object) in context.tokens.all() {
        if token.namespace == key.namespace && secret_name(&object) == key.name {
            context.queue.add(Task::Token(token));
        }
    }
}

/// A worker: waits until there is something to know and this replica leads, then empties the queue until it is stopped.
async fn work(context: Arc<Context>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    let leads = async {
        ready(&context).await;
        let leads = context.leader.claim().wait_for(Option::is_some).await.is_ok();
        context.caught_up.get_or_init(|| catch_up(&context)).await;
        leads
    };
    tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => return,
        leads = leads => if !leads { return },
    }
    loop {
        let task = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            task = context.queue.next() => task,
        };
        let started = context.clock.elapsed();
        let (controller, result) = match &task {
            Task::Token(key) => ("token", token::reconcile(&context, key).await),
            Task::Organization(key) => ("organization", organization::reconcile(&context, key).await),
        };
        context.metrics.reconciled(controller, result, context.clock.elapsed().saturating_sub(started));
        context.queue.done(&task);
    }
}

/// Whoever begins to lead lists token objects and Secrets anew: what its watches have shown may lag behind what the leader
/// before it wrote, by more than any overlap where a watch is silent. A token must not be deleted for want of seeing the
/// Secret that holds it, nor made for an object that is gone.
async fn catch_up(context: &Context) {
    if context.leader.is_alone() {
        return;
    }
    context.tokens.expire();
    context.secrets.expire();
    context.watches.begin_anew();
    for mut store in [context.tokens.current(), context.secrets.current()] {
        // The sender lives in the context.
        let _ = store.wait_for(|current| *current).await;
    }
}

/// Every store has been listed once.
pub async fn ready(context: &Context) {
    let others = [context.tokens.complete(), context.secrets.complete(), context.foreign.complete()];
    for mut store in context.organizations.complete().into_iter().chain(others) {
        // The sender lives in the context.
        let _ = store.wait_for(|complete| *complete).await;
    }
}
