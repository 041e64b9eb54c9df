//! What the sandbox's Docker Hub knows: organizations with their tokens, users, logins.
//!
//! Plain data behind one lock. Everything here is told the time and asks nobody.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::options::{Organization, Quirks, User};

/// How many logins and tickets are kept in mind.
const ISSUED: usize = 256;

/// The kinds of calls that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    /// `POST /v2/auth/token`
    AuthToken,
    /// `POST /v2/users/login`
    UsersLogin,
    /// `POST /v2/users/2fa-login`
    SecondFactor,
    /// `POST /v2/orgs/{name}/access-tokens`
    Create,
    /// `GET /v2/orgs/{name}/access-tokens`
    List,
    /// `GET /v2/orgs/{name}/access-tokens/{id}`
    Get,
    /// `PATCH /v2/orgs/{name}/access-tokens/{id}`
    Update,
    /// `DELETE /v2/orgs/{name}/access-tokens/{id}`
    Delete,
    /// `GET` and `POST /token`
    RegistryToken,
}

/// One entry of a token's `resources`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// `TYPE_REPO` or `TYPE_ORG`.
    pub kind: String,
    /// `org/repo`, `org/*`, `*/*/public`, or an organization.
    pub path: String,
    /// Scopes, such as `scope-image-pull`.
    pub scopes: Vec<String>,
}

impl Resource {
    /// A resource of type `TYPE_REPO`.
    #[must_use]
    pub fn repository(path: &str, scopes: &[&str]) -> Self {
        Self {
            kind: "TYPE_REPO".to_owned(),
            path: path.to_owned(),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        }
    }
}

/// An organization access token with its value.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) description: Option<String>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) value: String,
    pub(crate) active: bool,
    pub(crate) created_by: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
}

impl Token {
    pub(crate) fn expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

pub(crate) struct OrganizationState {
    pub(crate) settings: Organization,
    /// In the order of their creation.
    pub(crate) tokens: Vec<Token>,
}

impl OrganizationState {
    pub(crate) fn token(&mut self, id: &str) -> Option<&mut Token> {
        self.tokens.iter_mut().find(|token| token.id == id)
    }
}

/// Who a JWT was made for, and from what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    Password { user: String },
    PersonalToken { user: String },
    OrganizationToken { organization: String },
}

pub(crate) struct Session {
    pub(crate) identity: Identity,
    pub(crate) expires: Timestamp,
}

/// A login that waits for its second factor.
pub(crate) struct Pending {
    pub(crate) user: String,
    pub(crate) expires: Timestamp,
    pub(crate) from_auth_token: bool,
}

#[derive(Default)]
pub(crate) struct Failures {
    pub(crate) count: u32,
    pub(crate) last: Timestamp,
    pub(crate) locked_until: Option<Timestamp>,
}

/// What the registry's token service believes about a value from a moment on. `None` means that it is unknown.
pub(crate) struct Belief {
    pub(crate) since: Timestamp,
    pub(crate) token: Option<BelievedToken>,
}

#[derive(Clone)]
pub(crate) struct BelievedToken {
    pub(crate) organization: String,
    pub(crate) id: String,
    pub(crate) active: bool,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) resources: Vec<Resource>,
}

pub(crate) struct State {
    pub(crate) quirks: Quirks,
    pub(crate) organizations: BTreeMap<String, OrganizationState>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) pending: HashMap<String, Pending>,
    /// The newest logins and tickets, also those that are over.
    pub(crate) issued: VecDeque<String>,
    pub(crate) failures: HashMap<String, Failures>,
    /// The step of the last code that each user logged in with.
    pub(crate) last_codes: HashMap<String, i64>,
    /// By value of a token, also of those that are gone.
    pub(crate) beliefs: HashMap<String, Vec<Belief>>,
    /// Registry tokens that are out: when each is over, and its `access`.
    pub(crate) registry_tokens: HashMap<String, (Timestamp, serde_json::Value)>,
    pub(crate) counts: BTreeMap<Route, u64>,
    /// The start of the minute that is counted, and the calls in it.
    pub(crate) minute: (Timestamp, u32),
    random: StdRng,
}

impl State {
    pub(crate) fn new(organizations: Vec<Organization>, users: Vec<User>, quirks: Quirks, seed: Option<u64>) -> Self {
        let organizations = organizations
            .into_iter()
            .map(|settings| (settings.name.clone(), OrganizationState { settings, tokens: Vec::new() }));
        Self {
            quirks,
            organizations: organizations.collect(),
            users: users.into_iter().map(|user| (user.name.clone(), user)).collect(),
            sessions: HashMap::new(),
            pending: HashMap::new(),
            issued: VecDeque::new(),
            failures: HashMap::new(),
            last_codes: HashMap::new(),
            beliefs: HashMap::new(),
            registry_tokens: HashMap::new(),
            counts: BTreeMap::new(),
            minute: (Timestamp::MIN, 0),
            random: seed.map_or_else(rand::make_rng, StdRng::seed_from_u64),
        }
    }

    pub(crate) fn count(&mut self, route: Route) {
        *self.counts.entry(route).or_default() += 1;
    }

    /// Keeps a login or a ticket in mind, for [`super::Hub::secrets`].
    pub(crate) fn issued(&mut self, secret: &str) {
        if self.issued.len() == ISSUED {
            self.issued.pop_front();
        }
        self.issued.push_back(secret.to_owned());
    }

    /// A random UUID (version 4).
    pub(crate) fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// Random characters as in the values of tokens.
    pub(crate) fn letters(&mut self, count: usize) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
        (0..count).map(|_| char::from(ALPHABET[self.random.random_range(0..ALPHABET.len())])).collect()
    }

    /// The organization's own spelling of its name.
    pub(crate) fn organization_name(&self, name: &str) -> Option<String> {
        if self.quirks.any_case {
            self.organizations.keys().find(|known| known.eq_ignore_ascii_case(name)).cloned()
        } else {
            self.organizations.contains_key(name).then(|| name.to_owned())
        }
    }

    /// Adds a token with a new id and value, without looking at limits or at what it asks for.
    pub(crate) fn add_token(&mut self, organization: &str, wish: Wish, by: &str, now: Timestamp) -> Option<Token> {
        let token = Token {
            id: self.uuid(),
            value: format!("dckr_oat_{}", self.letters(27)),
            label: wish.label,
            description: wish.description,
            resources: wish.resources,
            active: true,
            created_by: by.to_owned(),
            created_at: now,
            expires_at: wish.expires_at,
            last_used_at: None,
        };
        self.organizations.get_mut(organization)?.tokens.push(token.clone());
        let lag = self.quirks.registry_create_lag;
        self.believe(organization, &token, true, now, lag);
        Some(token)
    }

    /// Tells the token service of a change that was made to a token.
    pub(crate) fn changed(&mut self, organization: &str, id: &str, now: Timestamp) {
        let token = self.organizations.get_mut(organization).and_then(|state| state.token(id)).cloned();
        if let Some(token) = token {
            let lag = self.quirks.registry_change_lag;
            self.believe(organization, &token, true, now, lag);
        }
    }

    /// Deletes a token. Answers whether there was one.
    pub(crate) fn remove_token(&mut self, organization: &str, id: &str, now: Timestamp) -> bool {
        let Some(state) = self.organizations.get_mut(organization) else {
            return false;
        };
        let Some(at) = state.tokens.iter().position(|token| token.id == id) else {
            return false;
        };
        let token = state.tokens.remove(at);
        let lag = self.quirks.registry_change_lag;
        self.believe(organization, &token, false, now, lag);
        true
    }

    fn believe(&mut self, organization: &str, token: &Token, exists: bool, now: Timestamp, lag: SignedDuration) {
        let believed = exists.then(|| BelievedToken {
            organization: organization.to_owned(),
            id: token.id.clone(),
            active: token.active,
            expires_at: token.expires_at,
            resources: token.resources.clone(),
        });
        let since = now.saturating_add(lag).unwrap_or(now);
        self.beliefs.entry(token.value.clone()).or_default().push(Belief { since, token: believed });
    }

    /// What the token service believes about a value now.
    pub(crate) fn believed(&self, value: &str, now: Timestamp) -> Option<&BelievedToken> {
        let beliefs = self.beliefs.get(value)?;
        beliefs.iter().rev().find(|belief| belief.since <= now)?.token.as_ref()
    }
}

/// What a new token is to be.
pub(crate) struct Wish {
    pub(crate) label: String,
    pub(crate) description: Option<String>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) expires_at: Option<Timestamp>,
}
