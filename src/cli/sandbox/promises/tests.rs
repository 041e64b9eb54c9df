//! A promise that is broken is noticed, whoever breaks it.

use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use oat_sandbox::{hub::NewToken, traffic::Traffic};
use serde_json::{Value, json};

use super::*;
use crate::{
    api::names::{ClusterId, Label},
    cli::sandbox::{Sandbox, Time, manifests, start},
    clock::Clock,
};

struct Stage {
    sandbox: Sandbox,
    client: kube::Client,
    clock: Clock,
    /// When it begins.
    start: Timestamp,
}

/// The next Saturday: clients check certificates by the machine's clock, so that the time can't be any.
fn saturday() -> Timestamp {
    let today = Clock::system().now().to_zoned(jiff::tz::TimeZone::UTC).date();
    today.nth_weekday(1, jiff::civil::Weekday::Saturday).unwrap().to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp()
}

impl Stage {
    /// An object with a window at 01:00 on Saturdays, as Saturday begins.
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Clock::manual(Clock::system().now());
        let time = Time { speed: 1, clock: clock.clone(), traffic: Traffic::new() };
        let sandbox = start(time).await.unwrap();
        let client = sandbox.servers.kubernetes.kubeconfig();
        let client = kube::config::Kubeconfig::from_yaml(&client).unwrap();
        let client = kube::Config::from_custom_kubeconfig(client, &Default::default()).await.unwrap();
        let client = kube::Client::try_from(client).unwrap();
        manifests::install(&client).await.unwrap();
        let windows = json!([{"schedule": "0 1 * * 6", "duration": "1h"}]);
        let object = json!({"apiVersion": "oat-operator.dev/v1alpha1", "kind": "OrganizationAccessToken",
            "metadata": {"name": "pull", "namespace": "default"},
            "spec": {"organizationRef": {"name": "acme"}, "rotation": {"windows": windows}}});
        manifests::apply(&client, &object, "the object").await.unwrap();
        clock.advance(saturday().duration_since(clock.now()).unsigned_abs());
        let start = clock.now();
        Self { sandbox, client, clock, start }
    }

    fn objects(&self) -> Api<OrganizationAccessToken> {
        Api::default_namespaced(self.client.clone())
    }

    fn label(&self, sequence: u64) -> String {
        let identity = Identity::of("OrganizationAccessToken", "default", "pull");
        let marker = Marker { cluster: ClusterId::parse("test").unwrap(), identity, sequence };
        marker.label(&Label::parse("pull").unwrap())
    }

    /// A token at Docker Hub: its id and value.
    fn token(&self, sequence: u64) -> (String, String) {
        let acme = self.sandbox.servers.hub.organization("acme");
        acme.create(NewToken::new("acme", &self.label(sequence))).unwrap()
    }

    /// The status names this token, which expires in so many hours.
    async fn remember(&self, id: &str, expires: i64) {
        let at = |hours: i64| (self.clock.now() + jiff::SignedDuration::from_hours(hours)).to_string();
        let token = json!({"id": id, "sequence": 1, "creationTime": at(expires - 2160), "expirationTime": at(expires)});
        let patch = json!({"status": {"token": token}});
        self.objects().patch_status("pull", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// The object's Secret holds this value.
    async fn publish(&self, value: &str) {
        let owner = self.objects().get("pull").await.unwrap().uid().unwrap();
        let secret: Secret = serde_json::from_value(json!({"type": "kubernetes.io/basic-auth",
            "metadata": {"name": "pull", "labels": {OWNER: owner}, "annotations": {SEQUENCE: "1"}},
            "stringData": {"username": "acme", "password": value}}))
        .unwrap();
        let secrets: Api<Secret> = Api::default_namespaced(self.client.clone());
        secrets.create(&PostParams::default(), &secret).await.unwrap();
    }

    /// As the operator would ask Docker Hub.
    fn asked(&self, method: &str, path: &str, query: &str, body: Value) {
        let entry = Entry {
            index: 0,
            server: Server::Hub,
            time: self.clock.now(),
            method: method.into(),
            path: path.into(),
            query: query.into(),
            user_agent: "oat-operator/test".into(),
            status: None,
            fault: None,
            executed: true,
            request_body: Some(body.to_string().into_bytes()),
        };
        self.sandbox.promises.see(Moment::Executed(200), &entry);
    }

    fn creates(&self) {
        self.asked("POST", "/v2/orgs/acme/access-tokens", "", json!({"label": self.label(2)}));
    }

    fn polls(&self) {
        self.asked("GET", "/v2/orgs/acme/access-tokens", "page=1&page_size=100", Value::Null);
    }

    fn broken(&self) -> Vec<String> {
        self.sandbox.promises.summary().broken
    }
}

#[tokio::test]
async fn a_value_that_does_not_work_is_noticed_unless_it_is_meant() {
    let stage = Stage::new().await;
    let acme = stage.sandbox.servers.hub.organization("acme");
    let (id, value) = stage.token(1);
    stage.remember(&id, 48).await;
    stage.publish(&value).await;
    stage.polls();
    assert_eq!(stage.broken(), [""; 0]);
    let held = |why: &str| format!("Secret default/pull held token 1, which was {why}");
    acme.set_expiry(&id, Some(stage.clock.now()));
    stage.polls();
    assert_eq!(stage.broken(), [held("expired")]);
    acme.set_expiry(&id, None);
    let active = async |active: bool| {
        let patch = json!({"spec": {"active": active}});
        stage.objects().patch("pull", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    active(false).await;
    acme.deactivate(&id);
    stage.polls();
    assert_eq!(stage.broken(), [held("expired")], "it is switched off as asked");
    active(true).await;
    assert_eq!(stage.broken(), [held("deactivated"), held("expired")]);
    acme.delete(&id);
    stage.polls();
    assert_eq!(stage.broken(), [held("deactivated"), held("deleted"), held("expired")]);
    assert!(
        stage.sandbox.promises.summary().to_string().contains("dead values in Secrets                           3")
    );
}

#[tokio::test]
async fn a_rotation_outside_the_windows_is_noticed_unless_it_presses() {
    let stage = Stage::new().await;
    let (id, value) = stage.token(1);
    let counts = || {
        let counts = stage.sandbox.promises.lock().counts;
        (counts.made, counts.kept, counts.pressing)
    };
    stage.creates();
    assert_eq!(counts(), (1, 0, 0), "a first token waits for no window");
    stage.remember(&id, 720).await;
    stage.creates();
    assert_eq!(counts(), (2, 0, 1), "no Secret holds a token that works");
    stage.publish(&value).await;
    assert_eq!(stage.broken(), [""; 0]);
    stage.creates();
    assert_eq!(stage.broken(), [format!("default/pull was rotated at {} in no window", stage.start)]);
    stage.clock.advance(std::time::Duration::from_secs(3600));
    stage.creates();
    assert_eq!((counts(), stage.broken().len()), ((4, 1, 1), 1), "the window is open");
    stage.clock.advance(std::time::Duration::from_secs(3600));
    stage.remember(&id, 6).await;
    stage.creates();
    assert_eq!((counts(), stage.broken().len()), ((5, 1, 2), 1), "expiry is near");
}

#[tokio::test]
async fn a_token_that_nobody_knows_is_left_over() {
    let stage = Stage::new().await;
    let (id, _) = stage.token(1);
    stage.remember(&id, 720).await;
    assert_eq!(stage.broken(), [""; 0]);
    let _ = stage.token(2);
    assert_eq!(stage.broken(), [format!("{:?} was left over at Docker Hub", stage.label(2))]);
}
