//! The proof of a token's value: does the registry's token service accept it?
//!
//! Invariant: the value goes to the configured token service only, as a password with the organization's name.

use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    Error, Failure, Operation, Proof,
    call::Shared,
    client::{Authorization, Reply, Request},
    lock, wire,
};

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<SecretString>,
    #[serde(default)]
    access_token: Option<SecretString>,
}

/// Asks once. Its limits are its own: Docker Hub's silence is not the token service's, nor the other way round.
pub(super) async fn prove(shared: &Shared, value: &SecretString, scopes: &[String]) -> Result<Proof, Error> {
    let error = |failure| shared.error(Operation::Prove, failure);
    let now = shared.clock.now();
    let paused = lock(&shared.registry_budget).paused(now);
    if let Some(until) = paused {
        return Err(error(Failure::RateLimited).retry(until));
    }
    let mut url = shared.endpoints.registry_token.clone();
    url.query_pairs_mut()
        .append_pair("service", &shared.endpoints.registry_service)
        .extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
    let authorization = Authorization::Basic { username: shared.name.clone(), password: value.clone() };
    let request = Request {
        operation: Operation::Prove.as_str(),
        method: Method::GET,
        url,
        authorization: Some(authorization),
        body: None,
        once: false,
    };
    let reply = shared.exchange(Operation::Prove, request).await.map_err(|error| error.without(value))?;
    judge(shared, &reply, value)
}

/// What an answer means.
pub(super) fn judge(shared: &Shared, reply: &Reply, value: &SecretString) -> Result<Proof, Error> {
    let error = |failure| shared.error(Operation::Prove, failure).status(reply.status.as_u16());
    let said = shared.said(reply, std::slice::from_ref(value));
    match reply.status {
        StatusCode::OK => {
            let answer: Answer = wire::read(&reply.body).map_err(|problem| error(Failure::Garbled).text(problem))?;
            let given =
                |token: &Option<SecretString>| token.as_ref().is_some_and(|token| !token.expose_secret().is_empty());
            if given(&answer.token) || given(&answer.access_token) {
                return Ok(Proof::Accepted);
            }
            Err(error(Failure::Garbled).text("no token in the answer"))
        }
        StatusCode::TOO_MANY_REQUESTS => {
            let until = lock(&shared.registry_budget).pause(&reply.headers, shared.clock.now());
            Err(error(Failure::RateLimited).text(said.unwrap_or_default()).retry(until))
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => match said {
            Some(text) => Ok(Proof::Refused(text)),
            None => Err(error(Failure::Page)),
        },
        _ => match said {
            Some(text) => Err(error(Failure::Unexpected).text(text)),
            None => Err(error(Failure::Page)),
        },
    }
}
