//! One request, one answer: limits on time and size, no redirects, no retries, no cookies.
//!
//! Invariant: a request goes out once. The client for what must never be repeated doesn't even reuse connections, because
//! hyper sends a request again when a reused connection turns out to be closed; `reqwest`'s own retries are off for both.

use std::{error::Error as _, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use reqwest::{Certificate, Client, redirect, retry};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use url::Url;

use super::{Endpoints, Limits, Observer, error::clean};
use crate::clock::Clock;

/// The most bytes of an answer that are read.
const MAX_BODY: usize = 1024 * 1024;

/// A request before it is sent.
pub(super) struct Request {
    /// The word that metrics use.
    pub operation: &'static str,
    pub method: Method,
    pub url: Url,
    pub authorization: Option<Authorization>,
    pub body: Option<Zeroizing<Vec<u8>>>,
    /// Whether a second sending would do harm, so that a connection of its own is used.
    pub once: bool,
}

/// The header that lets a request in.
#[derive(Clone)]
pub(super) enum Authorization {
    Bearer(SecretString),
    Basic { username: String, password: SecretString },
}

/// An answer, whatever it says.
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Zeroizing<Vec<u8>>,
}

/// No answer, or none that was read to its end.
#[derive(Debug)]
pub(super) enum Lost {
    /// Nothing was sent.
    Unsendable(&'static str),
    /// No connection came about, so nothing was sent.
    Connect(String),
    Timeout,
    Broken(String),
    TooLarge(u16),
}

/// The HTTP side of one organization.
pub(super) struct Http {
    pooled: Client,
    once: Client,
    clock: Clock,
    observer: Arc<dyn Observer>,
}

impl Http {
    /// Fails with words for people where the endpoints can't be used.
    pub fn new(
        endpoints: &Endpoints,
        limits: Limits,
        clock: Clock,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, String> {
        endpoints.check().map_err(|invalid| invalid.to_string())?;
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err("no TLS provider is installed".into());
        }
        if endpoints.roots.len() > MAX_BODY {
            return Err("the CA bundle is over 1 MiB".into());
        }
        let roots = match endpoints.roots.iter().all(u8::is_ascii_whitespace) {
            true => Vec::new(),
            false => {
                let roots = Certificate::from_pem_bundle(&endpoints.roots);
                roots.ok().filter(|roots| !roots.is_empty()).ok_or("the CA bundle holds no PEM certificates")?
            }
        };
        let tls = [&endpoints.hub, &endpoints.registry_token].iter().any(|url| url.scheme() == "https");
        let build = |idle: usize| {
            let builder = Client::builder()
                .user_agent(concat!("oat-operator/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .referer(false)
                .no_proxy()
                .connect_timeout(limits.connect)
                .timeout(limits.call)
                .pool_idle_timeout(Duration::from_secs(30))
                .pool_max_idle_per_host(idle);
            let builder = match tls {
                true => builder.tls_certs_merge(roots.clone()),
                // Nothing is to be trusted, and the system's certificates need not be read, nor even be there.
                false => builder.tls_certs_only([]),
            };
            builder.build().map_err(|error| format!("TLS can't be set up: {}", causes(&error)))
        };
        Ok(Self { pooled: build(2)?, once: build(0)?, clock, observer })
    }

    /// Sends a request, once, and reads the answer to its end.
    pub async fn send(&self, request: Request) -> Result<Reply, Lost> {
        let operation = request.operation;
        let start = self.clock.elapsed();
        let result = self.exchange(request).await;
        let seconds = self.clock.elapsed().saturating_sub(start).as_secs_f64();
        let status;
        let code = match &result {
            Ok(reply) => {
                status = reply.status;
                status.as_str()
            }
            Err(Lost::Unsendable(_) | Lost::Connect(_)) => "connect",
            Err(Lost::Timeout) => "timeout",
            Err(Lost::Broken(_)) => "broken",
            Err(Lost::TooLarge(_)) => "too_large",
        };
        tracing::debug!(operation, code, seconds, "called Docker Hub");
        self.observer.request(operation, code, seconds);
        result
    }

    async fn exchange(&self, request: Request) -> Result<Reply, Lost> {
        let client = if request.once { &self.once } else { &self.pooled };
        let mut builder = client.request(request.method, request.url).header(ACCEPT, "application/json");
        match request.authorization {
            Some(Authorization::Bearer(token)) => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
                    .map_err(|_| Lost::Unsendable("the login can't stand in a header"))?;
                value.set_sensitive(true);
                builder = builder.header(AUTHORIZATION, value);
            }
            Some(Authorization::Basic { username, password }) => {
                builder = builder.basic_auth(username, Some(password.expose_secret()));
            }
            None => {}
        }
        if let Some(body) = request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.to_vec());
        }
        let mut response = builder.send().await.map_err(lost)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Zeroizing::new(Vec::with_capacity(4096));
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len().saturating_add(chunk.len()) > MAX_BODY {
                return Err(Lost::TooLarge(status.as_u16()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, headers, body })
    }
}

fn lost(error: reqwest::Error) -> Lost {
    // The URL has no secrets, but no use either: the operation says it.
    let error = error.without_url();
    if error.is_builder() {
        return Lost::Unsendable("the request can't be built");
    }
    if error.is_connect() {
        return Lost::Connect(causes(&error));
    }
    if error.is_timeout() {
        return Lost::Timeout;
    }
    Lost::Broken(causes(&error))
}

/// The innermost causes of a transport error: words of the TLS, DNS and socket layers.
fn causes(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        parts.push(cause.to_string());
        source = cause.source();
    }
    parts.dedup();
    let text = if parts.is_empty() { error.to_string() } else { parts.join(": ") };
    clean(&text)
}
