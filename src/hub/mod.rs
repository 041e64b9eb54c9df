//! Docker Hub and its token service over HTTP: one client per organization, shared by all objects that need it.
//!
//! Reading order: this file (what is said), [`Handle`] (the calls), `actor` (polling, the one list for everybody),
//! `login` (one login for everybody, and no wrong password twice), `budget` (who may send now), `client` (one request),
//! `wire` (its bytes), `words` (what a refusal says), `registry` (the proof of a value), [`Error`] (what went wrong).
//!
//! Invariants: nothing here knows Kubernetes. Credentials go to the configured origins only, over TLS (loopback apart).
//! A create is sent once per call, by no layer twice. Nothing is sent while Docker Hub asks for silence. No secret is in a log,
//! an error or debug output. No answer, however odd, is more than an [`Error`].
#![deny(missing_docs)]

mod actor;
mod budget;
mod call;
mod client;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod login;
mod registry;
mod state;
mod wire;
mod words;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

pub use actor::{Limits, NEVER, Organization, OrganizationConfig};
pub use error::{Disposition, Effect, Error, Failure, Operation};
pub use handle::Handle;
pub use state::{Login, Snapshot, State, Trouble};

/// Where Docker Hub is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The API, such as `https://hub.docker.com`.
    pub hub: Url,
    /// The registry's token service, such as `https://auth.docker.io/token`.
    pub registry_token: Url,
    /// The name of the registry there, such as `registry.docker.io`.
    pub registry_service: String,
    /// Certificates to trust besides the system's, as PEM. May be empty.
    pub roots: Vec<u8>,
}

impl Endpoints {
    /// Whether credentials may be sent there: `https`, or `http` to this machine, and nothing but scheme, host, port and path.
    pub fn check(&self) -> Result<(), InvalidEndpoint> {
        check_url("hub", &self.hub)?;
        check_url("registryToken", &self.registry_token)?;
        let plain = |c: char| c.is_ascii_graphic();
        if self.registry_service.is_empty() || !self.registry_service.chars().all(plain) {
            return Err(InvalidEndpoint { field: "registryService", problem: "must be a name without spaces" });
        }
        Ok(())
    }
}

/// An endpoint that credentials must not be sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("endpoint {field} {problem}")]
pub struct InvalidEndpoint {
    /// The field of `endpoints`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

fn check_url(field: &'static str, url: &Url) -> Result<(), InvalidEndpoint> {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let wrong = |problem| Err(InvalidEndpoint { field, problem });
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return wrong("must be https: only loopback addresses may be http"),
        _ => return wrong("must be an https URL"),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return wrong("must name a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("must not hold a user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("must not have a query or a fragment");
    }
    Ok(())
}

/// An owner's credentials.
#[derive(Clone)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// The base32 secret of the second factor.
    pub totp_secret: Option<SecretString>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("totp", &self.totp_secret.is_some()).finish_non_exhaustive()
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        let totp = |credentials: &Self| credentials.totp_secret.as_ref().map(|s| s.expose_secret().to_owned());
        self.username == other.username
            && self.password.expose_secret() == other.password.expose_secret()
            && totp(self) == totp(other)
    }
}

impl Eq for Credentials {}

/// A key of the credentials' Secret that can't be used. Says nothing of its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {key} {problem}")]
pub struct InvalidCredentials {
    /// The key of the Secret.
    pub key: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Credentials {
    /// Reads the values of a Secret's keys: one newline at the end is dropped, as editors and `echo` leave it.
    pub fn parse(username: &[u8], password: &[u8], totp_secret: Option<&[u8]>) -> Result<Self, InvalidCredentials> {
        let username = plain("username", username)?;
        if username.trim() != username {
            return Err(InvalidCredentials { key: "username", problem: "has spaces at its ends" });
        }
        let password = SecretString::from(plain("password", password)?);
        let totp_secret = totp_secret.map(|value| plain("totpSecret", value)).transpose()?;
        let totp_secret = totp_secret.map(SecretString::from);
        if let Some(secret) = &totp_secret {
            login::totp(secret)?;
        }
        Ok(Self { username: username.to_owned(), password, totp_secret })
    }
}

fn plain<'a>(key: &'static str, value: &'a [u8]) -> Result<&'a str, InvalidCredentials> {
    let wrong = |problem| Err(InvalidCredentials { key, problem });
    let Ok(text) = std::str::from_utf8(value) else {
        return wrong("is not UTF-8");
    };
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return wrong("is empty");
    }
    if text.contains('\u{feff}') {
        return wrong("has a byte order mark: save it without one");
    }
    if text.chars().any(char::is_control) {
        return wrong("has control characters, such as a line break or NUL");
    }
    if text.len() > 4096 {
        return wrong("is longer than 4096 bytes");
    }
    Ok(text)
}

/// What kind of thing a token may use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// Repositories: `TYPE_REPO`.
    Repository,
    /// The organization: `TYPE_ORG`.
    Organization,
    /// A kind that came later.
    Other(String),
}

/// What a token may use, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// What kind of thing.
    pub kind: ResourceKind,
    /// Which: `acme/api`, `acme/*`, `*/*/public`.
    pub path: String,
    /// How. Unknown scopes are passed on.
    pub scopes: Vec<String>,
}

/// An organization access token as Docker Hub shows it: never with its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The key. Labels may repeat.
    pub id: String,
    /// The name for people.
    pub label: String,
    /// The description; lists don't tell.
    pub description: Option<String>,
    /// What it may use; lists don't tell.
    pub resources: Option<Vec<Resource>>,
    /// Whether it is not deactivated. An expired token may well be active.
    pub active: bool,
    /// When it was made.
    pub creation_time: Option<Timestamp>,
    /// When it expires, if ever.
    pub expiration_time: Option<Timestamp>,
    /// When it was last used.
    pub last_used_time: Option<Timestamp>,
    /// Who made it.
    pub created_by: Option<String>,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NewToken {
    /// The name for people, with the marker.
    pub label: String,
    /// The description.
    pub description: Option<String>,
    /// What it may use: at least one.
    pub resources: Vec<Resource>,
    /// When it expires; sent in whole seconds.
    pub expiration_time: Option<Timestamp>,
}

/// A token that was made, with the only sight of its value.
#[derive(Clone, Debug)]
pub struct Created {
    /// The token.
    pub token: Token,
    /// Its value. Docker Hub shows it once.
    pub value: SecretString,
}

/// What is to be changed about a token; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Change {
    /// Another label.
    pub label: Option<String>,
    /// Another description; empty removes it.
    pub description: Option<String>,
    /// Other resources, all of them.
    pub resources: Option<Vec<Resource>>,
    /// Activate or deactivate.
    pub active: Option<bool>,
}

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Revocations, and rotations near expiry.
    Urgent,
    /// All else.
    Normal,
}

/// What the registry's token service says to a token's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is accepted.
    Accepted,
    /// It is refused, and why.
    Refused(String),
}

/// Credentials that Docker Hub refused, to be kept over restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which version of the credentials, as [`Handle::set_credentials`] was told.
    pub version: String,
    /// When.
    pub time: Timestamp,
}

/// Who is told of calls, for metrics.
pub trait Observer: Send + Sync {
    /// A request was sent, or was tried: `code` is the status, or `connect`, `timeout`, `broken`, `too_large`.
    fn request(&self, operation: &'static str, code: &str, seconds: f64);
    /// How many calls Docker Hub still permits in this minute.
    fn rate_limit(&self, remaining: u64);
}

/// A lock that outlives a panic of whoever held it: what is guarded here is never left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
