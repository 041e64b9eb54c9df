//! What the sandbox shows at its end: whether an object is ready, and whether its Secret's value works.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use secrecy::ExposeSecret;

use crate::{api::OrganizationAccessToken, k8s::secrets};

/// Whether the object's state is reached, as `kubectl wait --for=condition=Ready` sees it, for its newest generation.
pub fn is_ready(token: &OrganizationAccessToken) -> bool {
    let Some(status) = &token.status else { return false };
    let ready = status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && status.observed_generation == token.metadata.generation
}

/// The object and why it is not ready, in words.
pub fn state(token: &OrganizationAccessToken) -> String {
    let conditions = token.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    let why =
        ready.map_or("the operator has not seen it".into(), |ready| format!("{}: {}", ready.reason, ready.message));
    format!("{}/{} {why}", token.namespace().unwrap_or_default(), token.name_any())
}

/// Asks a registry's token service with nothing but what is in a Secret.
pub async fn accepted(token_url: &str, secret: &Secret) -> Result<bool, String> {
    let Some((username, value)) = secrets::credentials(secret) else {
        return Err("the Secret holds no credentials".into());
    };
    let request = reqwest::Client::new().get(format!("{token_url}?service=registry.docker.io"));
    let answer = request.basic_auth(username, Some(value.expose_secret())).send().await;
    let answer = answer.map_err(|error| format!("the token service does not answer: {}", error.without_url()))?;
    match answer.status().as_u16() {
        200 => Ok(true),
        401 => Ok(false),
        other => Err(format!("the token service answered {other}")),
    }
}
