//! What people do: apply, edit, annotate, delete; and what can be seen without asking anybody.

use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use oat_operator::api::{Organization, OrganizationAccessToken};
use serde_json::{Value, json};

use super::Sim;
use crate::support::world::{self, NAMESPACE};

/// As servers name them.
pub const TOKENS: &str = "organizationaccesstokens.oat-operator.dev";
pub const ORGANIZATIONS: &str = "organizations.oat-operator.dev";

impl Sim {
    /// Server-side applies every document of a YAML text.
    pub async fn apply(&self, text: &str) {
        world::apply(&self.client, text).await;
    }

    /// The organization `acme` in the usual namespace.
    pub async fn organization(&self) {
        self.apply(&world::organization_yaml(NAMESPACE)).await;
    }

    /// Makes a token object in the usual namespace; `more` is merged into the spec.
    pub async fn token(&self, name: &str, more: Value) {
        let object = serde_json::from_value(world::token_value(name, more)).unwrap();
        self.tokens().create(&PostParams::default(), &object).await.unwrap();
    }

    /// Changes a token object as `kubectl patch --type merge` does.
    pub async fn patch(&self, name: &str, patch: Value) {
        self.tokens().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn annotate(&self, name: &str, key: &str, value: &str) {
        self.patch(name, json!({"metadata": {"annotations": {key: value}}})).await;
    }

    pub async fn delete(&self, name: &str) {
        self.tokens().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Writes the owner's credentials in the usual namespace.
    pub async fn credentials(&self, password: &str) {
        world::credentials(&self.client, NAMESPACE, password).await;
    }

    /// Deletes a Secret of the usual namespace.
    pub async fn delete_secret(&self, name: &str) {
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        secrets.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Puts something else in the place of a Secret's value.
    pub async fn tamper(&self, name: &str) {
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let config = json!({"auths": {"https://index.docker.io/v1/": {"username": "acme", "password": "tampered"}}});
        let patch = json!({"stringData": {".dockerconfigjson": config.to_string()}});
        secrets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    fn tokens(&self) -> Api<OrganizationAccessToken> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// A token object as it is stored.
    pub fn object(&self, name: &str) -> Option<OrganizationAccessToken> {
        let object = self.servers.kube.object(TOKENS, NAMESPACE, name)?;
        Some(serde_json::from_value(object).unwrap())
    }

    pub fn organization_object(&self) -> Option<Organization> {
        let object = self.servers.kube.object(ORGANIZATIONS, NAMESPACE, "acme")?;
        Some(serde_json::from_value(object).unwrap())
    }

    pub fn is_ready(&self, name: &str) -> bool {
        self.object(name).is_some_and(|object| world::is_ready(&object))
    }

    pub fn organization_is_ready(&self) -> bool {
        let conditions = self.organization_object().and_then(|object| object.status).map(|status| status.conditions);
        conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }

    /// The value in a pull secret of the usual namespace.
    pub fn value(&self, secret: &str) -> Option<String> {
        value(&self.servers.kube.object("secrets", NAMESPACE, secret)?)
    }

    /// Whether Docker Hub takes the value in a pull secret.
    pub fn works(&self, secret: &str) -> bool {
        let acme = self.servers.hub.organization("acme");
        self.value(secret).and_then(|value| acme.by_value(&value)).is_some_and(|token| token.live())
    }
}

/// The value in a Secret, as a client reads it: by its type. Other keys are somebody's own.
pub fn value(secret: &Value) -> Option<String> {
    use base64::Engine;
    let read = |key: &str| {
        let data = secret["data"][key].as_str()?;
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).ok()?).ok()
    };
    if secret["type"] != "kubernetes.io/dockerconfigjson"
        && let Some(password) = read("password")
    {
        return Some(password);
    }
    let config: Value = serde_json::from_str(&read(".dockerconfigjson")?).ok()?;
    let first = config["auths"].as_object()?.values().next()?;
    Some(first["password"].as_str()?.to_owned())
}
