//! One step against the world. It decides nothing, and it is the only caller of Docker Hub's writes.
//!
//! Guarantees: every step becomes an [`Outcome`], failures and lost answers included; a create is sent once. What the
//! lost leadership kept from being sent is no failure: it ends the pass.

use std::sync::Arc;

use kube::Api;

use super::{Context, account, memo::Memo};
use crate::{
    api::{
        OrganizationAccessToken,
        conditions::Reason,
        names::{Marker, TokenId},
        valid::{Resource as Access, Wanted},
    },
    hub::{self, Urgency},
    k8s::{secrets, status, write},
    plan::{self, Change, Hand, Memory, NewToken, Outcome, Remembered, Step, Trouble, View, Why, schedule},
};

/// Why a pass ends without an outcome.
#[derive(Debug)]
pub enum Stop {
    /// This replica doesn't lead, or not for long enough.
    NotLeading,
    /// Somebody wrote the object since: begin again with what they wrote.
    Conflict,
}

/// What a step works on.
pub struct Pass<'a> {
    /// What all passes share.
    pub context: &'a Context,
    /// The object as it was last written or shown.
    pub object: Arc<OrganizationAccessToken>,
    /// What this process remembers of it, the value in hand included.
    pub memo: Memo,
}

impl Pass<'_> {
    /// Carries a step out.
    pub async fn apply(&mut self, step: &Step, view: &View) -> Result<Outcome, Stop> {
        if !self.context.may_write() {
            return Err(Stop::NotLeading);
        }
        if self.moved(step, view) {
            return Err(Stop::Conflict);
        }
        match step {
            Step::AddFinalizer => self.finalizer(true).await,
            Step::Release { .. } => self.finalizer(false).await,
            Step::Remember(memory) => self.remember(memory, view).await,
            Step::Fetch(key) => Ok(self.fetch(key, view).await),
            Step::Publish(keys) => self.publish(keys, view).await,
            Step::Touch(keys) => self.touch(keys, view).await,
            Step::Remove(keys) => self.remove(keys).await,
            Step::Blank(keys) => self.blank(keys).await,
            Step::Refresh | Step::Confirm(_) | Step::Create(_) | Step::Prove | Step::Update(..) | Step::Delete(..) => {
                self.ask(step, view).await
            }
        }
    }

    async fn finalizer(&mut self, wanted: bool) -> Result<Outcome, Stop> {
        let written = self.context.writer.finalizer(self.object.as_ref(), wanted).await;
        match written {
            Ok(object) if wanted => {
                self.wrote(object);
                Ok(Outcome::Finalized)
            }
            Ok(_) => Ok(Outcome::Released),
            Err(error) if error.is_gone() && !wanted => Ok(Outcome::Released),
            Err(error) if error.is_gone() => Err(self.vanished()),
            Err(error) if error.is_conflict() => Err(Stop::Conflict),
            Err(error) => failed_write("set the finalizer", &error),
        }
    }

    async fn remember(&mut self, memory: &Memory, view: &View) -> Result<Outcome, Stop> {
        let now = self.context.clock.now();
        let mut then = view.clone();
        then.absorb(&Step::Remember(memory.clone()), Outcome::Remembered(memory.clone()), now);
        let facts = plan::outlook(&then, now);
        match self.write_status(&then, &facts).await? {
            Ok(()) => Ok(Outcome::Remembered(memory.clone())),
            Err(error) => failed_write("write the status", &error),
        }
    }

    /// Writes the status if it differs. Conflicts end the pass.
    pub async fn write_status(
        &mut self,
        view: &View,
        facts: &crate::api::conditions::Facts,
    ) -> Result<Result<(), write::Error>, Stop> {
        let former = self.object.status.clone().unwrap_or_default();
        let wanted = status::token_status(view, facts, &former, self.context.clock.now());
        let Some(patch) = status::patch(&former, &wanted) else { return Ok(Ok(())) };
        if !self.context.may_write() {
            return Err(Stop::NotLeading);
        }
        let namespace = self.object.metadata.namespace.clone().unwrap_or_default();
        let api: Api<OrganizationAccessToken> = Api::namespaced(self.context.writer.client.clone(), &namespace);
        match self.context.writer.status(&api, self.object.as_ref(), patch).await {
            Ok(object) => {
                self.wrote(object);
                Ok(Ok(()))
            }
            Err(error) if error.is_gone() => Err(self.vanished()),
            Err(error) if error.is_conflict() => Err(Stop::Conflict),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The object is gone, and no watch has said so yet.
    fn vanished(&self) -> Stop {
        self.forget();
        Stop::Conflict
    }

    /// Forgets the object, unless another one has taken its name.
    pub fn forget(&self) {
        let uid = &self.object.metadata.uid;
        self.context.tokens.forget(&crate::k8s::key(self.object.as_ref()), |known| known.metadata.uid == *uid);
    }

    fn wrote(&mut self, object: OrganizationAccessToken) {
        self.context.tokens.wrote(crate::k8s::key(&object), object.clone());
        self.object = Arc::new(object);
    }

    /// The steps at Docker Hub.
    async fn ask(&mut self, step: &Step, view: &View) -> Result<Outcome, Stop> {
        let Some(hub) = account::hub(self.context, &self.object) else {
            return Ok(Outcome::Failed(Trouble {
                reason: Reason::OrganizationNotReady,
                message: "the organization's client has not been started yet".into(),
                retry: None,
                uncertain: false,
            }));
        };
        let handle = &hub.handle;
        match step {
            Step::Refresh => match handle.refresh(Urgency::Normal).await {
                Ok(snapshot) => Ok(Outcome::Listed(self.list(&snapshot, view))),
                Err(error) => failed(&error),
            },
            Step::Confirm(id) => match handle.get(id.as_str()).await {
                Ok(found) => {
                    let found = found.map(|token| account::token_of(&token, sequence(&token, view)));
                    Ok(Outcome::Confirmed(id.clone(), found))
                }
                Err(error) => failed(&error),
            },
            Step::Create(new) => self.create(handle, new).await,
            Step::Prove => self.prove(handle, view).await,
            Step::Update(id, change) => match handle.update(id.as_str(), hub_change(change), urgency(change)).await {
                Ok(_) => Ok(Outcome::Updated(id.clone(), change.clone())),
                // What is gone can't be changed: the next decision needs to know that, not to try again.
                Err(error) if error.reason() == "TokenNotFound" => Ok(Outcome::Confirmed(id.clone(), None)),
                Err(error) => failed(&error),
            },
            Step::Delete(id, why) => {
                let urgency = if *why == Why::Revoked { Urgency::Urgent } else { Urgency::Normal };
                match handle.delete(id.as_str(), urgency).await {
                    Ok(()) => Ok(Outcome::Deleted(id.clone())),
                    Err(error) => failed(&error),
                }
            }
            _ => Ok(Outcome::Failed(lost_hand())),
        }
    }

    fn list(&self, snapshot: &hub::Snapshot, view: &View) -> plan::List {
        let current = view.memory.token.iter().map(|token| token.id.to_string());
        let previous = view.memory.previous.iter().map(|token| token.id.to_string());
        let remembered: Vec<_> = current.chain(previous).collect();
        let adopt = self.object.spec.token.adopt.as_ref();
        account::list_of(snapshot, &view.object.cluster, &view.object.identity, &remembered, adopt)
    }

    async fn create(&mut self, handle: &hub::Handle, new: &NewToken) -> Result<Outcome, Stop> {
        let urgency = if new.urgent { Urgency::Urgent } else { Urgency::Normal };
        let asked = hub::NewToken {
            label: new.label.clone(),
            description: Some(new.description.clone()).filter(|text| !text.is_empty()),
            resources: new.resources.iter().map(hub_resource).collect(),
            expiration_time: new.expires,
        };
        let created = match handle.create(asked, urgency).await {
            Ok(created) => created,
            Err(error) => return failed(&error),
        };
        let Ok(id) = TokenId::parse(&created.token.id) else {
            let message = "Docker Hub gave the new token an id that can't stand in a path".into();
            let trouble = Trouble { reason: Reason::HubUnavailable, message, retry: None, uncertain: true };
            return Ok(Outcome::Failed(trouble));
        };
        let token = Remembered {
            id,
            label: new.label.clone(),
            sequence: new.sequence,
            created: Some(schedule::beginning(created.token.creation_time, self.context.clock.now())),
            expires: created.token.expiration_time.or(new.expires),
            active: true,
            last_used: None,
            value_hash: secrets::hash(&created.value),
            shape_hash: new.shape_hash.clone(),
            expiry: new.expiry.clone(),
        };
        self.memo.value = Some(created.value);
        Ok(Outcome::Created(Hand { token, handled: new.handled.clone(), proved: !new.verify, refusals: 0 }))
    }

    async fn prove(&self, handle: &hub::Handle, view: &View) -> Result<Outcome, Stop> {
        let Some(value) = &self.memo.value else { return Ok(Outcome::Failed(lost_hand())) };
        let scopes = view.object.wanted.as_ref().map(proof_scopes).unwrap_or_default();
        match handle.prove(value, &scopes, Urgency::Normal).await {
            Ok(hub::Proof::Accepted) => Ok(Outcome::Proved),
            Ok(hub::Proof::Refused(message)) => Ok(Outcome::Unproved(message)),
            Err(error) => failed(&error),
        }
    }
}

/// Deletes a token that has no object, if it still says that it is ours and has none. Whether it was there.
///
/// Errors: in words; what may have been carried out all the same is seen in the next list.
pub async fn remove_orphan(
    context: &Context,
    handle: &hub::Handle,
    id: &TokenId,
    living: &plan::orphans::Living,
) -> Result<bool, String> {
    let leads = || context.may_write().then_some(()).ok_or_else(|| "this replica doesn't lead".to_owned());
    leads()?;
    let found = handle.get(id.as_str()).await.map_err(|error| error.to_string())?;
    if !found.is_some_and(|token| living.lacks_object(&token.label)) {
        return Ok(false);
    }
    leads()?;
    handle.delete(id.as_str(), Urgency::Normal).await.map_err(|error| error.to_string())?;
    Ok(true)
}

/// What a proof asks for: to pull from the first repository that is named in full.
fn proof_scopes(wanted: &Wanted) -> Vec<String> {
    let named = wanted.resources.iter().find_map(|resource| match resource {
        Access::Repository(path, _) if !path.as_str().contains('*') => Some(format!("repository:{path}:pull")),
        Access::Repository(..) | Access::Organization(..) => None,
    });
    named.into_iter().collect()
}

fn sequence(token: &hub::Token, view: &View) -> Option<u64> {
    let own = |marker: &Marker| marker.cluster == view.object.cluster && marker.identity == view.object.identity;
    Marker::parse(&token.label).map(|(_, marker)| marker).filter(own).map(|marker| marker.sequence)
}

fn hub_resource(resource: &Access) -> hub::Resource {
    let (kind, path, scopes) = match resource {
        Access::Repository(path, scopes) => (hub::ResourceKind::Repository, path, scopes),
        Access::Organization(path, scopes) => (hub::ResourceKind::Organization, path, scopes),
    };
    hub::Resource { kind, path: path.to_string(), scopes: scopes.iter().map(ToString::to_string).collect() }
}

fn hub_change(change: &Change) -> hub::Change {
    hub::Change {
        label: change.label.clone(),
        description: change.description.clone(),
        resources: change.resources.as_ref().map(|resources| resources.iter().map(hub_resource).collect()),
        active: change.active,
    }
}

/// To make a token stop working is urgent.
fn urgency(change: &Change) -> Urgency {
    if change.active == Some(false) { Urgency::Urgent } else { Urgency::Normal }
}

fn failed(error: &hub::Error) -> Result<Outcome, Stop> {
    if error.failure == hub::Failure::NotPermitted && error.effect() == hub::Effect::None {
        return Err(Stop::NotLeading);
    }
    let retry = match error.disposition() {
        hub::Disposition::RetryAt(time) => Some(time),
        hub::Disposition::Retry | hub::Disposition::Stalled => None,
    };
    Ok(Outcome::Failed(Trouble {
        reason: account::reason(error.reason()),
        message: error.to_string(),
        retry,
        uncertain: error.effect() == hub::Effect::Unknown,
    }))
}

/// A write to Kubernetes that failed, in words.
pub(super) fn kubernetes(what: &str, error: &write::Error) -> Trouble {
    let reason = if error.is_forbidden() { Reason::Forbidden } else { Reason::KubernetesUnavailable };
    Trouble { reason, message: format!("can't {what}: {error}"), retry: None, uncertain: false }
}

/// The same as the end of a step. Without leadership nothing was sent, so that nothing failed.
pub(super) fn failed_write(what: &str, error: &write::Error) -> Result<Outcome, Stop> {
    match error {
        write::Error::NotLeading => Err(Stop::NotLeading),
        error => Ok(Outcome::Failed(kubernetes(what, error))),
    }
}

pub(super) fn lost_hand() -> Trouble {
    let message = "the token's value is not in memory any more".into();
    Trouble { reason: Reason::ProgressingWithRetry, message, retry: None, uncertain: false }
}
