//! Real clients: kubectl (in `kubectl`), and `skopeo` against a real `distribution` registry that trusts the sandbox's token service.
//!
//! skopeo has nothing but the `.dockerconfigjson` of a Secret as the operator renders it. Runs where `OAT_TEST_CLIENTS=1` says
//! that `docker-registry` and `skopeo` are installed (`.ci/tools.sh` does that).

mod kubectl;
mod story;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use oat_operator::{
    api::{
        names::{SecretName, TokenId},
        token::SecretType,
        valid::SecretShape,
    },
    k8s::{self, secrets},
};
use oat_sandbox::{
    clock::Clock,
    hub::{Hub, HubOptions, Organization, User},
    journal::Journal,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::support::{
    registry::Registry,
    skopeo::{self, Image},
};

const PULL: &[&str] = &["scope-image-pull"];
const PUSH: &[&str] = &["scope-image-push"];
/// What skopeo says where the registry refuses: it is known who asks, and may not.
const DENIED: &str = "denied: requested access to the resource is denied";
/// What it says where the token service refuses an unknown or inactive token.
const UNKNOWN: &str =
    "unable to retrieve auth token: invalid username/password: unauthorized: incorrect username or password";
/// What it says where the token service refuses an expired token.
const EXPIRED: &str =
    "unable to retrieve auth token: invalid username/password: unauthorized: org access token is expired";
/// The owner of both organizations.
const OWNER: (&str, &str) = ("olivia", "correct horse battery staple");
/// What is in the registry: every repository of both organizations.
const REPOSITORIES: [&str; 5] = ["acme/payments-api", "acme/base", "acme/site", "globex/tool", "globex/hidden"];

/// Whether the programs are there.
fn wanted() -> bool {
    let wanted = std::env::var("OAT_TEST_CLIENTS").as_deref() == Ok("1");
    if !wanted {
        eprintln!("not run: OAT_TEST_CLIENTS=1 is not set");
    }
    wanted
}

/// A token that was made through the Hub's API.
struct Token {
    organization: &'static str,
    id: String,
    value: String,
}

/// A Docker Hub, and a registry with something to pull in every repository.
struct World {
    hub: Hub,
    registry: Registry,
    journal: Journal,
    http: reqwest::Client,
    jwt: String,
    ahead: Arc<AtomicI64>,
    images: BTreeMap<&'static str, Image>,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ahead = Arc::new(AtomicI64::new(0));
        let seconds = ahead.clone();
        let clock = move || jiff::Timestamp::now() + SignedDuration::from_secs(seconds.load(Ordering::SeqCst));
        let mut options = HubOptions::new(Clock::from_fn(clock));
        let journal = options.journal.clone();
        options.organizations = vec![
            Organization::new("acme").owner(OWNER.0).private("payments-api").private("base").public("site"),
            Organization::new("globex").owner(OWNER.0).public("tool").private("hidden"),
        ];
        options.users = vec![User::new(OWNER.0, OWNER.1)];
        let (service, issuer) = (options.service.clone(), options.issuer.clone());
        let hub = Hub::start(options).await.unwrap();
        let registry = Registry::start(&hub.token_url(), &service, &issuer, &hub.certificate_pem()).await;
        let mut world = Self {
            hub,
            registry,
            journal,
            http: reqwest::Client::new(),
            jwt: String::new(),
            ahead,
            images: REPOSITORIES.map(|name| (name, Image::new(name))).into(),
            folder: tempfile::tempdir().unwrap(),
        };
        let login = json!({"identifier": OWNER.0, "secret": OWNER.1});
        let answer = world.call(reqwest::Method::POST, "/v2/auth/token", login, 200).await;
        world.jwt = answer["access_token"].as_str().unwrap().to_owned();
        for organization in ["acme", "globex"] {
            let token = world.token(organization, &[(&format!("{organization}/*"), PUSH)], None).await;
            let authfile = world.authfile(&token);
            for (name, image) in world.images.iter().filter(|(name, _)| name.starts_with(organization)) {
                skopeo::push(&authfile, &world.repository(name), image).await.unwrap();
            }
        }
        world
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: Value, status: u16) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.hub.url())).bearer_auth(&self.jwt).json(&body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        answer.json().await.unwrap_or_default()
    }

    /// Makes a token with these repositories and scopes.
    async fn token(
        &self,
        organization: &'static str,
        rights: &[(&str, &[&str])],
        life: Option<SignedDuration>,
    ) -> Token {
        let resources: Vec<Value> =
            rights.iter().map(|(path, scopes)| json!({"type": "TYPE_REPO", "path": path, "scopes": scopes})).collect();
        let mut body = json!({"label": "pull", "resources": resources});
        if let Some(life) = life {
            body["expires_at"] = json!((jiff::Timestamp::now() + life).to_string());
        }
        let path = format!("/v2/orgs/{organization}/access-tokens");
        let made = self.call(reqwest::Method::POST, &path, body, 201).await;
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        Token { organization, id: text("id"), value: text("token") }
    }

    async fn activate(&self, token: &Token, active: bool) {
        let path = format!("/v2/orgs/{}/access-tokens/{}", token.organization, token.id);
        self.call(reqwest::Method::PATCH, &path, json!({"is_active": active}), 200).await;
    }

    async fn delete(&self, token: &Token) {
        let path = format!("/v2/orgs/{}/access-tokens/{}", token.organization, token.id);
        self.call(reqwest::Method::DELETE, &path, Value::Null, 204).await;
    }

    /// The `.dockerconfigjson` of the Secret that the operator would make of the token.
    fn authfile(&self, token: &Token) -> PathBuf {
        self.authfile_for(self.registry.address(), token.organization, token)
    }

    fn authfile_for(&self, registry: &str, username: &str, token: &Token) -> PathBuf {
        let shape = SecretShape {
            name: SecretName::parse("dockerhub").unwrap(),
            kind: SecretType::DockerConfigJson,
            registries: vec!["https://index.docker.io/v1/".into(), registry.into()],
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            retain: false,
        };
        let content = secrets::Content {
            id: &TokenId::parse(&token.id).unwrap(),
            sequence: 1,
            expires: None,
            organization: username,
            value: &SecretString::from(token.value.clone()),
            shape: &shape,
            layout: String::new(),
        };
        let key = k8s::Key { namespace: "payments".into(), name: "dockerhub".into() };
        let secret = secrets::render(&key, &OwnerReference::default(), &content);
        let data = &secret.data.unwrap()[".dockerconfigjson"];
        skopeo::authfile(self.folder.path(), &format!("{username}-{}.json", token.id), &data.0)
    }

    fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.address())
    }

    /// Pulls, and looks whether it is the image that was pushed there.
    async fn pull(&self, authfile: &std::path::Path, name: &str) -> Result<(), String> {
        let config = skopeo::pull(authfile, &self.repository(name)).await?;
        assert_eq!(config, self.images[name].config(), "{name} holds another image");
        Ok(())
    }

    /// Pulls from every repository: which of them work.
    async fn works(&self, authfile: &std::path::Path) -> Vec<&'static str> {
        let mut works = Vec::new();
        for name in REPOSITORIES {
            match self.pull(authfile, name).await {
                Ok(()) => works.push(name),
                Err(why) => assert!(why.contains(DENIED), "{name}: {why}"),
            }
        }
        works
    }
}

#[tokio::test]
async fn a_token_pulls_what_it_may_and_nothing_else() {
    if !wanted() {
        return;
    }
    let world = World::new().await;
    let one = world.authfile(&world.token("acme", &[("acme/payments-api", PULL)], None).await);
    assert_eq!(world.works(&one).await, ["acme/payments-api"]);
    let all = world.authfile(&world.token("acme", &[("acme/*", PULL)], None).await);
    assert_eq!(world.works(&all).await, ["acme/payments-api", "acme/base", "acme/site"]);
    let public = world.authfile(&world.token("acme", &[("*/*/public", PULL)], None).await);
    assert_eq!(world.works(&public).await, ["acme/site", "globex/tool"]);
    let both = world.authfile(&world.token("acme", &[("acme/base", PULL), ("*/*/public", PULL)], None).await);
    assert_eq!(world.works(&both).await, ["acme/base", "acme/site", "globex/tool"]);
    let anonymous = skopeo::authfile(world.folder.path(), "anonymous.json", br#"{"auths": {}}"#);
    assert_eq!(world.works(&anonymous).await, ["acme/site", "globex/tool"]);
}

#[tokio::test]
async fn a_token_pushes_only_with_the_scope_to_push() {
    if !wanted() {
        return;
    }
    let world = World::new().await;
    let reader = world.authfile(&world.token("acme", &[("acme/payments-api", PULL)], None).await);
    let writer = world.authfile(&world.token("acme", &[("acme/payments-api", PUSH)], None).await);
    let image = Image::new("the next version");
    let target = world.repository("acme/payments-api");
    let why = skopeo::push(&reader, &target, &image).await.unwrap_err();
    assert!(why.contains(DENIED), "{why}");
    assert_eq!(skopeo::pull(&reader, &target).await.unwrap(), world.images["acme/payments-api"].config());
    skopeo::push(&writer, &target, &image).await.unwrap();
    assert_eq!(skopeo::pull(&reader, &target).await.unwrap(), image.config());
    let why = skopeo::push(&writer, &world.repository("acme/base"), &image).await.unwrap_err();
    assert!(why.contains(DENIED), "{why}");
}

#[tokio::test]
async fn a_token_that_is_off_gone_or_expired_is_refused_everywhere() {
    if !wanted() {
        return;
    }
    let world = World::new().await;
    let rights: &[(&str, &[&str])] = &[("acme/payments-api", PULL), ("*/*/public", PULL)];
    let token = world.token("acme", rights, Some(SignedDuration::from_hours(1))).await;
    let authfile = world.authfile(&token);
    let both = async || {
        let [own, public] = ["acme/payments-api", "acme/site"];
        (world.pull(&authfile, own).await, world.pull(&authfile, public).await)
    };
    let refused = async |text: &str| {
        let (own, public) = both().await;
        // What everybody may pull is refused as well: nobody falls back to anonymous.
        for why in [own.unwrap_err(), public.unwrap_err()] {
            assert!(why.contains(text), "{why}");
        }
    };
    assert_eq!(both().await, (Ok(()), Ok(())));
    world.activate(&token, false).await;
    refused(UNKNOWN).await;
    world.activate(&token, true).await;
    assert_eq!(both().await, (Ok(()), Ok(())));
    world.ahead.store(2 * 60 * 60, Ordering::SeqCst);
    refused(EXPIRED).await;
    world.ahead.store(0, Ordering::SeqCst);
    assert_eq!(both().await, (Ok(()), Ok(())));
    world.delete(&token).await;
    refused(UNKNOWN).await;
}

#[tokio::test]
async fn both_values_work_through_an_overlap_and_then_only_the_new_one() {
    if !wanted() {
        return;
    }
    let world = World::new().await;
    let old = world.token("acme", &[("acme/*", PULL)], None).await;
    let new = world.token("acme", &[("acme/*", PULL)], None).await;
    let (before, after) = (world.authfile(&old), world.authfile(&new));
    assert_eq!(world.pull(&before, "acme/base").await, Ok(()));
    assert_eq!(world.pull(&after, "acme/base").await, Ok(()));
    world.delete(&old).await;
    let why = world.pull(&before, "acme/base").await.unwrap_err();
    assert!(why.contains(UNKNOWN), "{why}");
    assert_eq!(world.pull(&after, "acme/base").await, Ok(()));
}

#[tokio::test]
async fn a_token_goes_with_its_own_organization_as_user_name() {
    if !wanted() {
        return;
    }
    let world = World::new().await;
    let token = world.token("acme", &[("acme/*", PULL)], None).await;
    for stranger in [OWNER.0, "globex"] {
        let authfile = world.authfile_for(world.registry.address(), stranger, &token);
        let why = world.pull(&authfile, "acme/base").await.unwrap_err();
        assert!(why.contains(UNKNOWN), "{stranger}: {why}");
    }
    assert_eq!(world.pull(&world.authfile(&token), "acme/base").await, Ok(()));
}

#[tokio::test]
async fn the_token_service_is_asked_for_one_repository_and_values_stay_out_of_the_registry() {
    if !wanted() {
        return;
    }
    let world = World::new().await;
    let token = world.token("acme", &[("acme/*", PULL)], None).await;
    let since = world.journal.len();
    assert_eq!(world.pull(&world.authfile(&token), "acme/base").await, Ok(()));
    let asked: Vec<String> = world.journal.since(since).iter().map(|entry| entry.line()).collect();
    assert_eq!(asked, ["GET /token?account=acme&scope=repository%3Aacme%2Fbase%3Apull&service=registry.docker.io"]);
    let log = world.registry.log();
    assert!(log.contains("/v2/acme/base/manifests/latest"), "{log}");
    assert!(!log.contains(&token.value), "{log}");
}

#[tokio::test]
async fn the_registry_believes_only_the_token_service_that_it_was_told_of() {
    if !wanted() {
        return;
    }
    let world = World::new().await;
    let token = world.token("acme", &[("acme/*", PUSH)], None).await;
    let stranger = rcgen::generate_simple_self_signed(vec!["token service".into()]).unwrap().cert.pem();
    let own = world.hub.certificate_pem();
    let (service, issuer) = ("registry.docker.io", "auth.docker.io");
    for (certificate, issuer, works) in
        [(&own, issuer, true), (&own, "auth.example.com", false), (&stranger, issuer, false)]
    {
        let registry = Registry::start(&world.hub.token_url(), service, issuer, certificate).await;
        let authfile = world.authfile_for(registry.address(), "acme", &token);
        let repository = format!("{}/acme/base", registry.address());
        let pushed = skopeo::push(&authfile, &repository, &world.images["acme/base"]).await;
        assert_eq!(pushed.is_ok(), works, "{issuer}: {pushed:?}");
        assert!(pushed.err().is_none_or(|why| why.contains("unauthorized: authentication required")));
    }
}
