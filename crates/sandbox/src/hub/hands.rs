//! What people do by hand at Docker Hub, and what only a test may know.
//!
//! These calls go past the HTTP server: they are neither journaled nor counted, and no fault touches them.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Core;
use super::options::Repository;
use super::state::{OrganizationState, Resource, Token, Wish};

/// A token as a test sees it. The value is only there as a hash; see [`OrganizationHandle::value_of`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// Its label.
    pub label: String,
    /// Its description.
    pub description: Option<String>,
    /// What it may do.
    pub resources: Vec<Resource>,
    /// Whether it is active.
    pub active: bool,
    /// Whether it is expired by now.
    pub expired: bool,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// SHA-256 of its value, in hexadecimal.
    pub value_sha256: String,
}

impl TokenView {
    /// Whether it works at this moment.
    #[must_use]
    pub fn live(&self) -> bool {
        self.active && !self.expired
    }
}

/// A token to be made by hand.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its label.
    pub label: String,
    /// Its description.
    pub description: Option<String>,
    /// What it may do. Not checked.
    pub resources: Vec<Resource>,
    /// When it expires; may be in the past.
    pub expires_at: Option<Timestamp>,
    /// Who made it.
    pub created_by: String,
}

impl NewToken {
    /// A token that may pull from the whole organization and never expires, made by `somebody`.
    #[must_use]
    pub fn new(organization: &str, label: &str) -> Self {
        Self {
            label: label.to_owned(),
            description: None,
            resources: vec![Resource::repository(&format!("{organization}/*"), &["scope-image-pull"])],
            expires_at: None,
            created_by: "somebody".to_owned(),
        }
    }
}

/// An organization's page at Docker Hub, so to say. Calls about an organization that isn't there do nothing.
#[derive(Clone)]
pub struct OrganizationHandle {
    pub(super) core: Core,
    pub(super) name: String,
}

impl OrganizationHandle {
    fn with<T>(&self, act: impl FnOnce(&mut OrganizationState) -> T) -> Option<T> {
        self.core.lock().organizations.get_mut(&self.name).map(act)
    }

    fn change(&self, id: &str, act: impl FnOnce(&mut Token)) -> bool {
        let now = self.core.clock.now();
        let mut state = self.core.lock();
        let Some(token) = state.organizations.get_mut(&self.name).and_then(|known| known.token(id)) else {
            return false;
        };
        act(token);
        state.changed(&self.name, id, now);
        true
    }

    /// All tokens in the order of their creation.
    #[must_use]
    pub fn tokens(&self) -> Vec<TokenView> {
        let now = self.core.clock.now();
        self.with(|known| known.tokens.iter().map(|token| view(token, now)).collect()).unwrap_or_default()
    }

    /// How many tokens there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.with(|known| known.tokens.len()).unwrap_or_default()
    }

    /// One token.
    #[must_use]
    pub fn token(&self, id: &str) -> Option<TokenView> {
        self.tokens().into_iter().find(|token| token.id == id)
    }

    /// The tokens with this label, or whose label begins with it.
    #[must_use]
    pub fn labelled(&self, prefix: &str) -> Vec<TokenView> {
        self.tokens().into_iter().filter(|token| token.label.starts_with(prefix)).collect()
    }

    /// The value of a token, which Docker Hub itself would show only once.
    #[must_use]
    pub fn value_of(&self, id: &str) -> Option<String> {
        self.with(|known| known.token(id).map(|token| token.value.clone())).flatten()
    }

    /// The token that has this value.
    #[must_use]
    pub fn by_value(&self, value: &str) -> Option<TokenView> {
        let now = self.core.clock.now();
        self.with(|known| known.tokens.iter().find(|token| token.value == value).map(|token| view(token, now)))
            .flatten()
    }

    /// Makes a token, past all limits and checks. Answers its id and value.
    #[must_use]
    pub fn create(&self, token: NewToken) -> Option<(String, String)> {
        let now = self.core.clock.now();
        let wish = Wish {
            label: token.label,
            description: token.description,
            resources: token.resources,
            expires_at: token.expires_at,
        };
        let made = self.core.lock().add_token(&self.name, wish, &token.created_by, now)?;
        Some((made.id, made.value))
    }

    /// Deletes a token. Answers whether there was one; so do the others.
    pub fn delete(&self, id: &str) -> bool {
        let now = self.core.clock.now();
        self.core.lock().remove_token(&self.name, id, now)
    }

    /// Deactivates a token.
    pub fn deactivate(&self, id: &str) -> bool {
        self.change(id, |token| token.active = false)
    }

    /// Activates a token again.
    pub fn activate(&self, id: &str) -> bool {
        self.change(id, |token| token.active = true)
    }

    /// Gives a token another label.
    pub fn relabel(&self, id: &str, label: &str) -> bool {
        self.change(id, |token| token.label = label.to_owned())
    }

    /// Gives a token another description.
    pub fn describe(&self, id: &str, description: Option<&str>) -> bool {
        self.change(id, |token| token.description = description.map(str::to_owned))
    }

    /// Gives a token other rights. Not checked.
    pub fn set_resources(&self, id: &str, resources: Vec<Resource>) -> bool {
        self.change(id, |token| token.resources = resources)
    }

    /// Gives a token another expiry, which no person could.
    pub fn set_expiry(&self, id: &str, expires_at: Option<Timestamp>) -> bool {
        self.change(id, |token| token.expires_at = expires_at)
    }

    /// Says when a token was made.
    pub fn set_created(&self, id: &str, created_at: Timestamp) -> bool {
        self.change(id, |token| token.created_at = created_at)
    }

    /// Says when a token was last used.
    pub fn set_last_used(&self, id: &str, last_used_at: Option<Timestamp>) -> bool {
        self.change(id, |token| token.last_used_at = last_used_at)
    }

    /// Another limit of tokens; those that are there stay.
    pub fn set_limit(&self, limit: usize) {
        self.with(|known| known.settings.limit = limit);
    }

    /// Adds a repository, or changes whether it is public.
    pub fn set_repository(&self, name: &str, public: bool) {
        self.with(|known| {
            known.settings.repositories.retain(|repository| repository.name != name);
            known.settings.repositories.push(Repository { name: name.to_owned(), public });
        });
    }

    /// Removes a repository.
    pub fn remove_repository(&self, name: &str) {
        self.with(|known| known.settings.repositories.retain(|repository| repository.name != name));
    }

    /// Makes a user an owner, or only a member.
    pub fn set_owner(&self, user: &str, owner: bool) {
        self.with(|known| {
            known.settings.owners.retain(|known| known != user);
            known.settings.members.retain(|known| known != user);
            let list = if owner { &mut known.settings.owners } else { &mut known.settings.members };
            list.push(user.to_owned());
        });
    }
}

fn view(token: &Token, now: Timestamp) -> TokenView {
    TokenView {
        id: token.id.clone(),
        label: token.label.clone(),
        description: token.description.clone(),
        resources: token.resources.clone(),
        active: token.active,
        expired: token.expired(now),
        created_by: token.created_by.clone(),
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
        value_sha256: data_encoding::HEXLOWER.encode(&Sha256::digest(token.value.as_bytes())),
    }
}
