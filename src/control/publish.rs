//! The steps that concern Secrets of ours: read, written, touched, emptied and removed, each as it was last seen.
//!
//! Guarantees: what is not there is made by POST, what is there is written only as it was seen; an answer that tells of
//! somebody else is looked at once.

use std::sync::Arc;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use super::apply::{Pass, Stop, failed_write, kubernetes, lost_hand};
use crate::{
    api::{OrganizationAccessToken, conditions::Reason},
    k8s::{Key, observe, secrets, write},
    plan::{self, Hand, Held, Organization, Outcome, Step, Trouble, View},
};

/// How many Secrets are written at once.
const WIDTH: usize = 8;

impl Pass<'_> {
    /// Whether a Secret that a step writes has become another since the view was made. Our writes carry the version that
    /// the store has now; what was decided before it came must not be written over it.
    pub(super) fn moved(&self, step: &Step, view: &View) -> bool {
        let (Step::Publish(keys) | Step::Touch(keys) | Step::Remove(keys) | Step::Blank(keys)) = step else {
            return false;
        };
        let organization = match &view.organization {
            Organization::Known(account) => Some(&account.name),
            Organization::Missing(_) => None,
        };
        let sources = self.context.sources();
        let now = |key: &Key| observe::secret(key, &view.object.uid, organization, &sources);
        let same = |secret: &plan::Secret| secret.state == now(&secret.key);
        !view.secrets.iter().filter(|secret| keys.contains(&secret.key)).all(same)
    }

    /// Reads the value from a Secret of ours, if it still is the remembered one.
    pub(super) async fn fetch(&mut self, key: &Key, view: &View) -> Outcome {
        let Some(token) = view.memory.token.clone() else { return Outcome::NotFetched(key.clone()) };
        let secret = match self.context.writer.read_secret(key).await {
            Ok(secret) => secret,
            Err(error) => return Outcome::Failed(kubernetes(&format!("read Secret {key}"), &error)),
        };
        let value = secret
            .as_ref()
            .and_then(secrets::credentials)
            .map(|(_, value)| value)
            .filter(|value| secrets::hash(value) == token.value_hash);
        if let Some(secret) = secret {
            let (key, entry) = secrets::entry(secret);
            self.context.secrets.wrote(key, entry);
        }
        let Some(value) = value else { return Outcome::NotFetched(key.clone()) };
        self.memo.value = Some(value);
        Outcome::Fetched(Hand { token, handled: view.memory.handled.clone(), proved: true, refusals: 0 })
    }

    pub(super) async fn publish(&self, keys: &[Key], view: &View) -> Result<Outcome, Stop> {
        let parts = (&view.hand, &self.memo.value, &view.object.wanted, &view.organization);
        let (Some(hand), Some(value), Ok(wanted), Organization::Known(account)) = parts else {
            return Ok(Outcome::Failed(lost_hand()));
        };
        let content = secrets::Content {
            id: &hand.token.id,
            sequence: hand.token.sequence,
            expires: hand.token.expires,
            organization: account.name.as_str(),
            value,
            shape: &wanted.secret,
            layout: wanted.secret.layout_hash(&account.name),
        };
        let owner = self.owner();
        let write = |key: &Key| {
            let (key, secret) = (key.clone(), secrets::render(key, &owner, &content));
            async move { self.publish_one(&key, secret).await.map(|result| (key, result)) }
        };
        let writes: Vec<_> = keys.iter().map(write).collect();
        // What was written before the leadership was lost is known to the store.
        let results: Vec<_> = stream::iter(writes).buffer_unordered(WIDTH).collect().await;
        Ok(Outcome::Published(results.into_iter().collect::<Result<_, Stop>>()?))
    }

    async fn publish_one(&self, key: &Key, secret: Secret) -> Result<Result<Held, Trouble>, Stop> {
        let seen = self.seen(key);
        let writer = &self.context.writer;
        let written = match (writer.secret(key, secret.clone(), seen.as_deref()).await, seen.as_deref()) {
            // Left by an object that wanted another type, or sealed by somebody.
            (Err(error), Some(seen)) if error.is_immutable() => writer.replace_secret(key, secret, seen).await,
            (written, _) => written,
        };
        self.wrote_secret(key, seen.as_deref(), written).await
    }

    /// What we know of a Secret of this object.
    fn seen(&self, key: &Key) -> Option<Arc<secrets::Entry>> {
        self.context.secrets.get(key).filter(|entry| self.owns(entry))
    }

    /// Whether a Secret is this object's: made for it, or for one that is gone.
    fn owns(&self, entry: &secrets::Entry) -> bool {
        Some(&entry.owner) == self.object.metadata.uid.as_ref() || observe::is_left(entry, &self.context.tokens)
    }

    /// Writes to each Secret as it was seen, so that older writes in flight fail. A value that is not the remembered one
    /// goes; a Secret that is not there is made without one.
    pub(super) async fn touch(&self, keys: &[Key], view: &View) -> Result<Outcome, Stop> {
        let Ok(wanted) = &view.object.wanted else { return Ok(Outcome::Failed(lost_hand())) };
        let mark = self.context.clock.now().to_string();
        let remembered = view.memory.token.as_ref().map(|token| &token.value_hash);
        let mut results = Vec::new();
        for key in keys {
            let seen = self.seen(key);
            let writer = &self.context.writer;
            let written = match &seen {
                Some(entry) => {
                    let whole = remembered.is_some() && entry.value_hash.as_ref() == remembered;
                    writer.patch_secret(key, secrets::touch(entry, whole, &mark)).await
                }
                None => writer.secret(key, secrets::placeholder(key, &self.owner(), &wanted.secret, &mark), None).await,
            };
            results.push((key.clone(), self.wrote_secret(key, seen.as_deref(), written).await?));
        }
        Ok(Outcome::Touched(results))
    }

    /// What a write of a Secret says of it.
    async fn wrote_secret(
        &self,
        key: &Key,
        seen: Option<&secrets::Entry>,
        written: Result<Secret, write::Error>,
    ) -> Result<Result<Held, Trouble>, Stop> {
        Ok(match written {
            Err(write::Error::NotLeading) => return Err(Stop::NotLeading),
            Ok(secret) => {
                let (key, entry) = secrets::entry(secret);
                let held = observe::held(&entry, None);
                self.context.secrets.wrote(key, entry);
                Ok(held)
            }
            Err(error) if error.is_conflict() => Err(self.in_the_way(key).await),
            Err(error) if error.is_gone() => {
                self.context.secrets.forget(key, |known| Some(known) == seen);
                Err(kubernetes(&format!("write Secret {key}"), &error))
            }
            Err(error) => Err(kubernetes(&format!("write Secret {key}"), &error)),
        })
    }

    /// A Secret was there, or was written by somebody else since we saw it: look at it once.
    async fn in_the_way(&self, key: &Key) -> Trouble {
        let retry = Some(self.context.clock.now());
        let message = format!("Secret {key} was written by somebody else at the same time");
        let again = Trouble { reason: Reason::ProgressingWithRetry, message, retry, uncertain: false };
        match self.context.writer.read_secret(key).await {
            Ok(None) => {
                self.context.secrets.forget(key, |_| true);
                again
            }
            Ok(Some(secret)) => {
                let (key, entry) = secrets::entry(secret);
                if self.owns(&entry) {
                    self.context.secrets.wrote(key, entry);
                    return again;
                }
                let message = format!(
                    "Secret {key} exists and was not made for this object: delete it or choose another spec.secret.name"
                );
                Trouble { reason: Reason::SecretConflict, message, retry: None, uncertain: false }
            }
            Err(error) => kubernetes(&format!("read Secret {key}"), &error),
        }
    }

    pub(super) async fn remove(&self, keys: &[Key]) -> Result<Outcome, Stop> {
        for key in keys {
            let Some(seen) = self.context.secrets.get(key) else { continue };
            if let Err(error) = self.context.writer.delete_secret(key, &seen).await {
                return failed_write(&format!("delete Secret {key}"), &error);
            }
            self.context.secrets.forget(key, |known| known.uid == seen.uid);
        }
        Ok(Outcome::Removed(keys.to_vec()))
    }

    pub(super) async fn blank(&self, keys: &[Key]) -> Result<Outcome, Stop> {
        for key in keys {
            let Some(seen) = self.context.secrets.get(key) else { continue };
            if let Err(error) = self.context.writer.blank_secret(key, secrets::blank(&seen), &seen).await {
                return failed_write(&format!("empty Secret {key}"), &error);
            }
            self.context.secrets.forget(key, |known| known.uid == seen.uid);
        }
        Ok(Outcome::Blanked(keys.to_vec()))
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: OrganizationAccessToken::api_version(&()).into_owned(),
            kind: OrganizationAccessToken::kind(&()).into_owned(),
            name: self.object.metadata.name.clone().unwrap_or_default(),
            uid: self.object.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }
}
