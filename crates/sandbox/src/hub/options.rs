//! What a sandbox's Docker Hub is started with: organizations, users, and how the gaps in Docker's documentation are filled.
//!
//! Plain data. Nothing here is secret beyond the sandbox itself, yet no `Debug` form shows a password.

use std::fmt;

use jiff::SignedDuration;

/// An organization.
#[derive(Clone, Debug)]
pub struct Organization {
    /// Its name, as in repository paths.
    pub name: String,
    /// How many tokens it may have: 10 with Team, 100 with Business.
    pub limit: usize,
    /// The repositories that exist.
    pub repositories: Vec<Repository>,
    /// User names of its owners.
    pub owners: Vec<String>,
    /// User names of its other members.
    pub members: Vec<String>,
}

impl Organization {
    /// An organization on the Team subscription, empty.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), limit: 10, repositories: Vec::new(), owners: Vec::new(), members: Vec::new() }
    }

    /// Another number of tokens.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// One more owner.
    #[must_use]
    pub fn owner(mut self, user: &str) -> Self {
        self.owners.push(user.to_owned());
        self
    }

    /// One more member that is no owner.
    #[must_use]
    pub fn member(mut self, user: &str) -> Self {
        self.members.push(user.to_owned());
        self
    }

    /// One more private repository, without the organization's name.
    #[must_use]
    pub fn private(mut self, repository: &str) -> Self {
        self.repositories.push(Repository { name: repository.to_owned(), public: false });
        self
    }

    /// One more public repository, without the organization's name.
    #[must_use]
    pub fn public(mut self, repository: &str) -> Self {
        self.repositories.push(Repository { name: repository.to_owned(), public: true });
        self
    }
}

/// A repository of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its name, without the organization's.
    pub name: String,
    /// Whether everybody may pull from it.
    pub public: bool,
}

/// A person's account.
#[derive(Clone)]
pub struct User {
    /// The user name.
    pub name: String,
    /// The password.
    pub password: String,
    /// With two-factor authentication: the secret of the one-time codes, in base32.
    pub totp_secret: Option<String>,
    /// Whether an organization enforces single sign-on for it, so that its password is no longer accepted.
    pub sso: bool,
    /// Its personal access tokens.
    pub personal_tokens: Vec<String>,
}

impl User {
    /// A user with a password only.
    #[must_use]
    pub fn new(name: &str, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            password: password.to_owned(),
            totp_secret: None,
            sso: false,
            personal_tokens: Vec::new(),
        }
    }

    /// With two-factor authentication.
    #[must_use]
    pub fn totp(mut self, base32: &str) -> Self {
        self.totp_secret = Some(base32.to_owned());
        self
    }

    /// With single sign-on enforced.
    #[must_use]
    pub fn single_sign_on(mut self) -> Self {
        self.sso = true;
        self
    }

    /// With one more personal access token.
    #[must_use]
    pub fn personal_token(mut self, value: &str) -> Self {
        self.personal_tokens.push(value.to_owned());
        self
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("sso", &self.sso).finish_non_exhaustive()
    }
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The newest token first.
    NewestFirst,
    /// The oldest token first.
    OldestFirst,
}

/// How the gaps in Docker's documentation are filled: each field is something that no source says for certain.
/// A client that works with every value of every field has assumed nothing.
#[derive(Clone, Debug)]
pub struct Quirks {
    /// Whether a JWT made from a personal access token may manage organization access tokens.
    pub personal_tokens_manage: bool,
    /// Whether `/v2/auth/token` takes passwords at all (in 2025 it refused some).
    pub auth_token_takes_passwords: bool,
    /// Whether the `login_2fa_token` that `/v2/auth/token` gives out is accepted by `/v2/users/2fa-login`.
    pub second_factor_after_auth_token: bool,
    /// Whether one one-time code can be used twice.
    pub codes_reusable: bool,
    /// Wrong logins until a user name is locked.
    pub login_failures: u32,
    /// How long the lock lasts.
    pub login_lock: SignedDuration,
    /// The status of an answer to a locked user name.
    pub locked_status: u16,
    /// The life of a JWT.
    pub jwt_life: SignedDuration,
    /// The status at the limit of tokens. 400 has a `ValueError` body, others an `Error` body.
    pub limit_status: u16,
    /// The status for a repository that doesn't exist; `None` accepts it.
    pub missing_repository_status: Option<u16>,
    /// The status for an unknown scope, or one of the wrong type of resource; `None` accepts it.
    pub unknown_scope_status: Option<u16>,
    /// The status for an empty list of scopes; `None` accepts it.
    pub empty_scopes_status: Option<u16>,
    /// The status for an expiry in the past; `None` accepts it.
    pub past_expiry_status: Option<u16>,
    /// The longest life; `None` means no bound.
    pub longest_life: Option<SignedDuration>,
    /// The status of a PATCH of an expired token.
    pub expired_patch_status: u16,
    /// The status of a PATCH with an empty list of resources; `None` accepts it.
    pub empty_resources_patch_status: Option<u16>,
    /// The status of a second token with the same label; `None` accepts it.
    pub same_label_status: Option<u16>,
    /// The longest label, in characters.
    pub longest_label: usize,
    /// The longest description, in characters.
    pub longest_description: usize,
    /// The most resources of one token.
    pub most_resources: usize,
    /// The page size without `page_size`.
    pub default_page_size: usize,
    /// The largest page; a larger `page_size` means this.
    pub largest_page_size: usize,
    /// The order of the list.
    pub order: Order,
    /// Whether items of the list have their `description`.
    pub descriptions_in_list: bool,
    /// Whether resources and scopes are answered sorted instead of as sent.
    pub sort_resources: bool,
    /// Whether an expired token still says `is_active: true`.
    pub expired_stay_active: bool,
    /// Whether a token exchange at the registry counts as a use.
    pub registry_counts_as_use: bool,
    /// Whether `/v2/auth/token` counts as a use.
    pub login_counts_as_use: bool,
    /// How long the registry's token service doesn't know a new token.
    pub registry_create_lag: SignedDuration,
    /// How long the registry's token service doesn't know of a change or deletion.
    pub registry_change_lag: SignedDuration,
    /// What `X-RateLimit-Limit` says: calls per minute.
    pub rate_limit: u32,
    /// Whether more calls are refused.
    pub enforce_rate_limit: bool,
    /// Whether organization names in paths and logins may be written in other case.
    pub any_case: bool,
    /// The token service's text for a deactivated token.
    pub inactive_text: String,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            personal_tokens_manage: false,
            auth_token_takes_passwords: true,
            second_factor_after_auth_token: false,
            codes_reusable: true,
            login_failures: 5,
            login_lock: SignedDuration::from_mins(10),
            locked_status: 429,
            jwt_life: SignedDuration::from_mins(10),
            limit_status: 400,
            missing_repository_status: Some(400),
            unknown_scope_status: Some(400),
            empty_scopes_status: Some(400),
            past_expiry_status: Some(400),
            longest_life: None,
            expired_patch_status: 400,
            empty_resources_patch_status: Some(400),
            same_label_status: None,
            longest_label: 100,
            longest_description: 200,
            most_resources: 50,
            default_page_size: 10,
            largest_page_size: 100,
            order: Order::NewestFirst,
            descriptions_in_list: false,
            sort_resources: false,
            expired_stay_active: true,
            registry_counts_as_use: true,
            login_counts_as_use: true,
            registry_create_lag: SignedDuration::ZERO,
            registry_change_lag: SignedDuration::ZERO,
            rate_limit: 180,
            enforce_rate_limit: false,
            any_case: false,
            inactive_text: "incorrect username or password".to_owned(),
        }
    }
}
