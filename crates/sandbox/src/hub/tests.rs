//! The Hub over real connections: logins, tokens, limits, the token service.

mod logins;
mod registry;
mod tokens;

use jiff::SignedDuration;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::*;
use crate::testing::{HeldClock, client};

const PULL: &str = "scope-image-pull";
/// RFC 6238's own secret.
const TOTP: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// A Hub with one organization, `acme`, and users of every kind.
struct World {
    hub: Hub,
    clock: HeldClock,
    client: reqwest::Client,
    journal: Journal,
}

async fn world() -> World {
    world_with(|_| ()).await
}

async fn world_with(change: impl FnOnce(&mut HubOptions)) -> World {
    let clock = HeldClock::at("2026-11-25T12:00:00.504110Z");
    let mut options = HubOptions::new(clock.clock());
    options.seed = Some(1);
    options.organizations = vec![
        Organization::new("acme").owner("olga").owner("otto").owner("sso").member("mia").private("api").public("site"),
        Organization::new("other").owner("ute").public("open").private("closed"),
    ];
    options.users = vec![
        User::new("olga", "right").personal_token("dckr_pat_olga"),
        User::new("otto", "right").totp(TOTP).personal_token("dckr_pat_otto"),
        User::new("sso", "right").single_sign_on().personal_token("dckr_pat_sso"),
        User::new("mia", "right"),
        User::new("ute", "right"),
    ];
    change(&mut options);
    let journal = options.journal.clone();
    let hub = Hub::start(options).await.unwrap();
    World { hub, clock, client: client(), journal }
}

/// A status with a JSON body; `null` where there is none.
type Answer = (u16, Value);

async fn answer(response: Response) -> Answer {
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
}

impl World {
    async fn post(&self, path: &str, body: Value) -> Answer {
        answer(self.client.post(format!("{}{path}", self.hub.url())).json(&body).send().await.unwrap()).await
    }

    async fn auth_token(&self, identifier: &str, secret: &str) -> Answer {
        self.post("/v2/auth/token", json!({"identifier": identifier, "secret": secret})).await
    }

    async fn users_login(&self, username: &str, password: &str) -> Answer {
        self.post("/v2/users/login", json!({"username": username, "password": password})).await
    }

    async fn jwt(&self, user: &str) -> String {
        let (status, body) = self.auth_token(user, "right").await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    async fn call(&self, jwt: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.hub.url())).bearer_auth(jwt);
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request.send().await.unwrap()).await
    }

    /// A call as the owner `olga`.
    async fn owner(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let jwt = self.jwt("olga").await;
        self.call(&jwt, method, path, body).await
    }

    async fn create(&self, body: Value) -> Answer {
        self.owner(Method::POST, TOKENS, Some(body)).await
    }

    /// A token made through the API: its id and value.
    async fn token(&self, label: &str, resources: Value) -> (String, String) {
        let (status, body) = self.create(json!({"label": label, "resources": resources})).await;
        assert_eq!(status, 201, "{body}");
        let text = |field: &str| body[field].as_str().unwrap().to_owned();
        (text("id"), text("token"))
    }

    fn acme(&self) -> OrganizationHandle {
        self.hub.organization("acme")
    }

    fn minutes(&self, minutes: i64) {
        self.clock.advance(SignedDuration::from_mins(minutes));
    }
}

const TOKENS: &str = "/v2/orgs/acme/access-tokens";

fn all_repositories() -> Value {
    json!([{"type": "TYPE_REPO", "path": "acme/*", "scopes": [PULL]}])
}

fn keys_of(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The claims of a JWT, unverified.
fn claims(jwt: &str) -> Value {
    use base64::Engine;
    let part = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
