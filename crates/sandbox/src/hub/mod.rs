//! A Docker Hub in memory: its logins, its organization access tokens, and the registry's token service, on one listener.
//!
//! `/v2/…` is the Hub; `/token`, `/v2/` itself, manifests and blobs are the registry ([`Server::Registry`] in the journal). What Docker does not document is a
//! field of [`Quirks`]. It never talks to Docker, and keeps nothing when it is dropped.
//!
//! In reading order: [`options`], `state`, `login`, `tokens`, `token_service`, `registry`, [`hands`].

mod keys;
mod limits;
mod login;
mod problem;
mod registry;
mod scopes;
mod state;
mod token_service;
mod tokens;
mod totp;

pub mod hands;
pub mod options;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use jiff::Timestamp;
use serde_json::json;

use crate::clock::Clock;
use crate::fault::Faults;
use crate::journal::{Journal, Server};
use crate::serve::{Listener, ServeOptions, Serving, serve};
use crate::tls::{Authority, Certificate};
use crate::traffic::Traffic;

pub use hands::{NewToken, OrganizationHandle, TokenView};
pub use keys::Keys;
pub use options::{Order, Organization, Quirks, Repository, User};
pub use state::{Resource, Route};

/// Why the Hub did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port could not be bound.
    #[error("port not bound")]
    Bind(#[from] io::Error),
    /// There is no signing key.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// There is no server certificate.
    #[error("no server certificate")]
    Tls(#[from] crate::tls::Error),
}

/// What a Hub is started with.
#[derive(Debug)]
pub struct HubOptions {
    /// The clock of everything: logins, expiry, rate limits.
    pub clock: Clock,
    /// Where requests are written down.
    pub journal: Journal,
    /// The fault switches.
    pub faults: Faults,
    /// Where it is counted that something moves.
    pub traffic: Traffic,
    /// How long a request is on its way.
    pub latency: Duration,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// With TLS, who signs the certificate.
    pub tls: Option<Authority>,
    /// The organizations.
    pub organizations: Vec<Organization>,
    /// The users.
    pub users: Vec<User>,
    /// How the gaps in the documentation are filled.
    pub quirks: Quirks,
    /// Makes ids and values repeatable. Without it they are random.
    pub seed: Option<u64>,
    /// The key that signs; without it the one of this process.
    pub keys: Option<Keys>,
    /// What the `next` links of lists begin with, if not the listener's own address.
    pub public_url: Option<String>,
    /// The audience of registry tokens.
    pub service: String,
    /// The issuer of registry tokens.
    pub issuer: String,
}

impl HubOptions {
    /// A Hub with the given clock, alone in the world, and nothing in it.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            journal: Journal::new(),
            faults: Faults::new(),
            traffic: Traffic::new(),
            latency: Duration::ZERO,
            port: 0,
            tls: None,
            organizations: Vec::new(),
            users: Vec::new(),
            quirks: Quirks::default(),
            seed: None,
            keys: None,
            public_url: None,
            service: "registry.docker.io".to_owned(),
            issuer: "auth.docker.io".to_owned(),
        }
    }
}

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Core(Arc<CoreInner>);

pub(crate) struct CoreInner {
    state: Mutex<state::State>,
    pub(crate) clock: Clock,
    pub(crate) keys: Keys,
    pub(crate) service: String,
    pub(crate) issuer: String,
    base_url: OnceLock<String>,
}

impl std::ops::Deref for Core {
    type Target = CoreInner;

    fn deref(&self) -> &CoreInner {
        &self.0
    }
}

impl CoreInner {
    pub(crate) fn lock(&self) -> MutexGuard<'_, state::State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn base_url(&self) -> &str {
        self.base_url.get().map_or("", String::as_str)
    }
}

/// A running Hub. Dropping it ends it.
pub struct Hub {
    core: Core,
    options: ServeOptions,
    addr: SocketAddr,
    tls: bool,
    serving: Mutex<Option<Serving>>,
}

impl Hub {
    /// Starts a Hub with a token service.
    ///
    /// # Errors
    /// When there is no port, no key or no certificate.
    pub async fn start(options: HubOptions) -> Result<Self, Error> {
        let keys = options.keys.map_or_else(Keys::shared, Ok)?;
        let state = state::State::new(options.organizations, options.users, options.quirks, options.seed);
        let core = Core(Arc::new(CoreInner {
            state: Mutex::new(state),
            clock: options.clock.clone(),
            keys,
            service: options.service,
            issuer: options.issuer,
            base_url: OnceLock::new(),
        }));
        let mut listen = ServeOptions::new(Server::Hub, options.clock, options.journal, options.faults);
        listen.classify = Arc::new(classify);
        listen.traffic = options.traffic;
        listen.latency = options.latency;
        listen.port = options.port;
        if let Some(authority) = options.tls {
            listen.tls = Some(authority.server_config(&Certificate::loopback(listen.clock.now()))?);
        }
        let serving = serve(listen.clone(), router(core.clone())).await?;
        let (addr, tls) = (serving.addr, listen.tls.is_some());
        listen = serving.again(&listen);
        core.base_url.get_or_init(|| options.public_url.unwrap_or_else(|| serving.url()));
        Ok(Self { core, options: listen, addr, tls, serving: Mutex::new(Some(serving)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base of all its URLs, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.addr)
    }

    /// The URL of the token service.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("{}/token", self.url())
    }

    /// The certificate of the token service, for a registry's `rootcertbundle`.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        self.core.keys.certificate_pem()
    }

    /// An organization, to look into and to change by hand.
    #[must_use]
    pub fn organization(&self, name: &str) -> OrganizationHandle {
        OrganizationHandle { core: self.core.clone(), name: name.to_owned() }
    }

    /// Adds an organization, or replaces one with its tokens.
    pub fn add_organization(&self, settings: Organization) {
        let name = settings.name.clone();
        let organization = state::OrganizationState { settings, tokens: Vec::new() };
        self.core.lock().organizations.insert(name, organization);
    }

    /// Adds a user, or replaces one.
    pub fn add_user(&self, user: User) {
        self.core.lock().users.insert(user.name.clone(), user);
    }

    /// Changes a user's password. JWTs that are out stay good.
    pub fn set_password(&self, user: &str, password: &str) {
        self.with_user(user, |user| user.password = password.to_owned());
    }

    /// Turns a user's two-factor authentication on or off.
    pub fn set_totp_secret(&self, user: &str, base32: Option<&str>) {
        self.with_user(user, |user| user.totp_secret = base32.map(str::to_owned));
    }

    /// Turns a user's single sign-on on or off.
    pub fn set_single_sign_on(&self, user: &str, enforced: bool) {
        self.with_user(user, |user| user.sso = enforced);
    }

    fn with_user(&self, user: &str, act: impl FnOnce(&mut User)) {
        if let Some(user) = self.core.lock().users.get_mut(user) {
            act(user);
        }
    }

    /// Ends every JWT at once.
    pub fn end_sessions(&self) {
        self.core.lock().sessions.clear();
    }

    /// Until when a user name is locked after wrong logins.
    #[must_use]
    pub fn locked_until(&self, user: &str) -> Option<Timestamp> {
        self.core.lock().failures.get(user)?.locked_until
    }

    /// Lifts the lock of a user name.
    pub fn unlock(&self, user: &str) {
        self.core.lock().failures.remove(user);
    }

    /// Changes how the gaps in the documentation are filled.
    pub fn with_quirks(&self, act: impl FnOnce(&mut Quirks)) {
        act(&mut self.core.lock().quirks);
    }

    /// How often a route was executed.
    #[must_use]
    pub fn count(&self, route: Route) -> u64 {
        self.core.lock().counts.get(&route).copied().unwrap_or_default()
    }

    /// Every value of an organization access token that there ever was.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        self.core.lock().beliefs.keys().cloned().collect()
    }

    /// The listener, to refuse connections or to show another certificate; none while it is down.
    #[must_use]
    pub fn listener(&self) -> Option<Listener> {
        self.serving().as_ref().map(Serving::listener)
    }

    /// Whatever must not be seen by anybody: passwords, second factors' secrets, personal tokens, every value that ever was,
    /// every login and every ticket for a second factor.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let state = self.core.lock();
        let users = state.users.values().flat_map(|user| {
            let own = [Some(user.password.clone()), user.totp_secret.clone()].into_iter().flatten();
            own.chain(user.personal_tokens.iter().cloned())
        });
        users.chain(state.beliefs.keys().cloned()).chain(state.issued.iter().cloned()).collect()
    }

    /// Closes every open connection and goes on listening.
    pub fn close_connections(&self) {
        if let Some(listener) = self.listener() {
            listener.close_connections();
        }
    }

    /// Stops listening: connections are refused until [`Hub::come_back`]. What it knows stays.
    pub async fn go_down(&self) {
        let serving = self.serving().take();
        if let Some(serving) = serving {
            serving.shutdown().await;
        }
    }

    /// Listens again at the same address.
    ///
    /// # Errors
    /// When the port is taken meanwhile.
    pub async fn come_back(&self) -> Result<(), Error> {
        self.listen(self.options.clone()).await
    }

    /// Listens again with another certificate: a wrong name, a stranger's, one that is out of date.
    ///
    /// # Errors
    /// When there is no certificate, or the port is taken meanwhile.
    pub async fn come_back_as(&self, authority: &Authority, certificate: &Certificate) -> Result<(), Error> {
        let tls = Some(authority.server_config(certificate)?);
        self.listen(ServeOptions { tls, ..self.options.clone() }).await
    }

    async fn listen(&self, options: ServeOptions) -> Result<(), Error> {
        self.go_down().await;
        let serving = serve(options, router(self.core.clone())).await?;
        *self.serving() = Some(serving);
        Ok(())
    }

    fn serving(&self) -> MutexGuard<'_, Option<Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("url", &self.url()).finish()
    }
}

/// The Hub and the registry share a listener; only paths tell them apart.
fn classify(path: &str) -> Server {
    let registry = path == "/token" || path == "/v2/" || path.contains("/manifests/") || path.contains("/blobs/");
    if registry { Server::Registry } else { Server::Hub }
}

fn router(core: Core) -> Router {
    let hub = Router::new()
        .route("/v2/auth/token", post(login::auth_token))
        .route("/v2/users/login", post(login::users_login))
        .route("/v2/users/2fa-login", post(login::second_factor))
        .route("/v2/orgs/{name}/access-tokens", get(tokens::list).post(tokens::create))
        .route("/v2/orgs/{name}/access-tokens/{id}", get(tokens::get).patch(tokens::update).delete(tokens::delete))
        .fallback(async || problem::Problem::new(404, json!({"message": "page not found", "errinfo": {}})))
        .layer(middleware::from_fn_with_state(core.clone(), limits::limit));
    let registry = Router::new()
        .route("/token", get(token_service::get).post(token_service::post))
        .route("/v2/", get(registry::ping))
        .route("/v2/{organization}/{repository}/manifests/{reference}", get(registry::manifest))
        .route("/v2/{organization}/{repository}/blobs/{digest}", get(registry::blob));
    hub.merge(registry).with_state(core)
}
