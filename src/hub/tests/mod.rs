//! The client against a server that says anything.

mod answers;
mod calls;
mod limits;
mod lists;
mod logins;
mod origin;
mod properties;
mod secrets;
mod server;
mod values;

use std::{
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;
use crate::{clock::Clock, permit::Permit};
use server::{Say, Seen, Server};

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
const MINUTE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "pw-Planted.Passw0rd+";
const TOTP: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
const VALUE: &str = "dckr_oat_PlantedValueOfAToken123456";
const JWT: &str = "header.PlantedJwtPayload.signature";

/// What the observer was told.
#[derive(Default)]
struct Told(Mutex<Vec<(String, String)>>, Mutex<Vec<u64>>);

impl Observer for Told {
    fn request(&self, operation: &'static str, code: &str, seconds: f64) {
        assert!(seconds >= 0.0);
        self.0.lock().unwrap().push((operation.into(), code.into()));
    }

    fn rate_limit(&self, remaining: u64) {
        self.1.lock().unwrap().push(remaining);
    }
}

/// A client and the server that it talks to.
struct Rig {
    server: Server,
    clock: Clock,
    told: Arc<Told>,
    handle: Handle,
    task: JoinHandle<()>,
}

fn tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn endpoints(server: &Server) -> Endpoints {
    Endpoints {
        hub: server.url(""),
        registry_token: server.url("token"),
        registry_service: "registry.docker.io".into(),
        roots: Vec::new(),
    }
}

/// A client with no credentials yet.
async fn rig_with(
    refused: Option<Refusal>,
    call: Duration,
    script: impl Fn(&Seen) -> Option<Say> + Send + Sync + 'static,
) -> Rig {
    permitted(refused, call, Permit::always(), script).await
}

/// The same with a right that may end.
async fn permitted(
    refused: Option<Refusal>,
    call: Duration,
    permit: Permit,
    script: impl Fn(&Seen) -> Option<Say> + Send + Sync + 'static,
) -> Rig {
    tls();
    let server = Server::start(script).await;
    let (clock, told) = (Clock::manual(NOW), Arc::new(Told::default()));
    let (handle, task) = Organization::start(OrganizationConfig {
        name: "acme".into(),
        endpoints: endpoints(&server),
        poll_interval: 60 * MINUTE,
        refused,
        limits: Limits { connect: Duration::from_secs(10), call },
        clock: clock.clone(),
        observer: told.clone(),
        permit,
    });
    Rig { server, clock, told, handle, task }
}

async fn rig(script: impl Fn(&Seen) -> Option<Say> + Send + Sync + 'static) -> Rig {
    rig_with(None, Duration::from_secs(30), script).await
}

/// A client that has logged in and read its first list.
async fn ready(script: impl Fn(&Seen) -> Option<Say> + Send + Sync + 'static) -> Rig {
    let rig = rig(script).await;
    rig.handle.set_credentials(Some(owner()), "1");
    rig.until(|state| state.snapshot.is_some()).await;
    rig
}

impl Rig {
    async fn until(&self, condition: impl FnMut(&State) -> bool) -> State {
        self.handle.state().wait_for(condition).await.unwrap().clone()
    }

    fn state(&self) -> State {
        self.handle.state().borrow().clone()
    }
}

fn owner() -> Credentials {
    credentials(PASSWORD)
}

fn credentials(password: &str) -> Credentials {
    Credentials::parse(b"owner", password.as_bytes(), None).unwrap()
}

fn token(id: &str) -> Value {
    json!({
        "id": id, "label": format!("label of {id}"), "created_by": "owner", "is_active": true,
        "created_at": "2026-03-18T21:15:40.504110Z", "expires_at": "2029-12-31T23:59:59Z", "last_used_at": null,
    })
}

fn created(id: &str) -> Value {
    let mut token = token(id);
    token["token"] = json!(VALUE);
    token["description"] = json!("about");
    token["resources"] = json!([{"type": "TYPE_REPO", "path": "acme/*", "scopes": ["scope-image-pull"]}]);
    token
}

fn list(ids: &[&str]) -> Value {
    let results: Vec<_> = ids.iter().map(|id| token(id)).collect();
    json!({"total": ids.len(), "next": null, "previous": null, "results": results})
}

fn new_token() -> NewToken {
    NewToken {
        label: "payments pull [c/abc.1]".into(),
        description: Some("about".into()),
        resources: vec![Resource {
            kind: ResourceKind::Repository,
            path: "acme/*".into(),
            scopes: vec!["scope-image-pull".into()],
        }],
        expiration_time: Some(Timestamp::constant(1_900_000_000, 999_000_000)),
    }
}

fn secret(value: &str) -> SecretString {
    SecretString::from(value)
}
