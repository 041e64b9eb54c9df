//! Where the script is played: acts are carried out, operators crash and are started again, and at the end all is put
//! right that people can put right.
//!
//! Never decides by chance: all of that is in the script.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use oat_operator::{
    api::{OWNER, Organization, OrganizationAccessToken, SEQUENCE, names::Marker},
    clock::Clock,
};
use oat_sandbox::{
    fault::RuleId,
    hub::{NewToken, OrganizationHandle, Resource},
    journal::{Entry, Server},
    serve::RequestInfo,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    super::{HOUR, OperatorHandle, SECOND, Sim},
    script::{Act, Hand, LENGTH, OBJECTS, QUIET, Script, Tampering},
    verdict,
};
use crate::support::world::{self, NAMESPACE, PASSWORD};

/// What somebody's tokens are called at Docker Hub.
const SOMEBODYS: &str = "somebody's";

pub struct Stage<'a> {
    pub sim: &'a Sim,
    pub script: &'a Script,
    begun: Instant,
    operators: Vec<OperatorHandle>,
    replicas: bool,
    /// What the operators' clocks are off by.
    set_by: SignedDuration,
    troubles: BTreeMap<usize, RuleId>,
    down: bool,
    /// When something made an operator forget, or its clock wrong.
    pub upsets: Vec<Timestamp>,
    /// How many crashes and deeds of people there were that may cost a token.
    pub causes: usize,
}

/// An object's name.
pub fn name(object: usize) -> String {
    format!("token-{object}")
}

/// What a password is by its number.
fn password(number: usize) -> String {
    if number == 0 { PASSWORD.to_owned() } else { format!("{PASSWORD}, changed {number} times") }
}

/// Requests that a crash may come at.
fn counts(request: &RequestInfo) -> bool {
    let standing_by = request.query.contains("watch=") || request.path.contains("/leases");
    let event = request.server == Server::Kubernetes && request.path.contains("/events");
    request.user_agent.starts_with("oat-operator") && !standing_by && !event
}

impl<'a> Stage<'a> {
    pub fn new(sim: &'a Sim, script: &'a Script) -> Self {
        Self {
            sim,
            script,
            begun: Instant::now(),
            operators: Vec::new(),
            replicas: false,
            set_by: SignedDuration::ZERO,
            troubles: BTreeMap::new(),
            down: false,
            upsets: Vec::new(),
            causes: 0,
        }
    }

    /// Plays the script to its end.
    pub async fn play(&mut self) {
        self.organize().await;
        self.start().await;
        for (at, act) in &self.script.acts {
            self.wait(*at).await;
            tracing::info!(now = %self.sim.now(), ?act, "act");
            self.act(act).await;
        }
        self.wait(QUIET).await;
        self.put_right().await;
        self.wait(QUIET + HOUR).await;
        self.last_edits().await;
        self.wait(LENGTH).await;
    }

    /// Lets time pass. Operators that freeze or end are started again.
    async fn wait(&mut self, until: Duration) {
        let until = self.begun + until;
        loop {
            let frozen = self.sim.faults.is_frozen() && !self.down;
            if frozen || self.operators.iter().any(OperatorHandle::has_ended) {
                self.crash().await;
                self.start().await;
            }
            let ended = async {
                let ends: FuturesUnordered<_> = self.operators.iter().map(OperatorHandle::end).collect();
                ends.into_future().await.0
            };
            tokio::select! {
                biased;
                () = self.sim.faults.frozen(), if !self.down => {}
                Some(()) = ended => {}
                () = sleep_until(until) => return,
            }
        }
    }

    async fn crash(&mut self) {
        for operator in self.operators.drain(..) {
            operator.kill().await;
            self.sim.rules.fault();
        }
        // What it had sent arrives at closed doors.
        self.sim.advance(SECOND / 1000).await;
        self.sim.faults.thaw();
        self.causes += 1;
        self.upsets.push(self.sim.now());
        self.down = true;
    }

    async fn start(&mut self) {
        if !self.operators.is_empty() {
            return;
        }
        self.sim.faults.thaw();
        self.down = false;
        let leases = ["--leader-elect", "--lease-duration", "10m"];
        let flags: &[&str] = if self.replicas { &leases } else { &[] };
        for _ in 0..1 + usize::from(self.replicas) {
            let clock = Clock::following(self.sim.now().saturating_add(self.set_by).unwrap());
            self.operators.push(self.sim.start_operator_at(clock, flags).await);
        }
    }

    async fn replicas(&mut self, replicas: bool) {
        self.crash().await;
        self.replicas = replicas;
        if !replicas {
            self.sim.servers.kube.hands().remove("leases.coordination.k8s.io", "oat-operator", "oat-operator");
        }
        self.start().await;
    }

    async fn act(&mut self, act: &Act) {
        self.causes += 1;
        match act {
            Act::Make(object, spec) => self.make(*object, spec).await,
            Act::Edit(object, patch) => self.edit(*object, json!({"spec": patch})).await,
            Act::Annotate(object, key, text) => {
                self.edit(*object, json!({"metadata": {"annotations": {*key: text}}})).await;
            }
            Act::Delete(object) => allowed(self.tokens().delete(&name(*object), &DeleteParams::default()).await),
            Act::DeleteSecret(object) => {
                if let Some(secret) = self.secret(*object) {
                    allowed(self.secrets().delete(&secret, &DeleteParams::default()).await);
                }
            }
            Act::Tamper(object, how) => self.tamper(*object, *how).await,
            Act::Password(number) => self.sim.servers.hub.set_password("acme-owner", &password(*number)),
            Act::Credentials(Some(number)) => self.sim.credentials(&password(*number)).await,
            Act::Credentials(None) => allowed(self.secrets().delete("acme-owner", &DeleteParams::default()).await),
            Act::Suspend(suspend) => self.organization(json!({"suspend": suspend})).await,
            Act::DeleteOrganization => {
                self.upsets.push(self.sim.now());
                allowed(self.organizations().delete("acme", &DeleteParams::default()).await);
            }
            Act::MakeOrganization => {
                self.upsets.push(self.sim.now());
                self.organize().await;
            }
            Act::Poll(interval) => self.organization(json!({"pollInterval": format!("{}s", interval.as_secs())})).await,
            Act::Hand(object, hand) => self.hand(*object, *hand),
            Act::Fill(count) => {
                for number in 0..*count {
                    let _ = self.acme().create(NewToken::new("acme", &format!("{SOMEBODYS} {number}")));
                }
            }
            Act::Free => self.free(),
            Act::Trouble(number, trouble) => {
                // After a failure what is left over may stay for one rotation more.
                self.sim.rules.fault();
                self.troubles.insert(*number, self.sim.faults.install(trouble.rule()));
            }
            Act::Over(number) => {
                if let Some(rule) = self.troubles.remove(number) {
                    self.sim.faults.remove(rule);
                }
            }
            Act::Crash => self.crash().await,
            Act::CrashAt(at, true) => self.sim.faults.freeze_at(*at, counts),
            Act::CrashAt(at, false) => self.sim.faults.freeze_before(*at, counts),
            Act::Start => self.start().await,
            Act::Replicas(replicas) => self.replicas(*replicas).await,
            Act::Set(seconds) => self.set(SignedDuration::from_secs(*seconds)),
            Act::Sleep(time) => {
                self.sim.clock.set_by(SignedDuration::try_from(*time).unwrap());
                self.operators.iter().for_each(|one| one.clock.set_by(SignedDuration::try_from(*time).unwrap()));
                self.upsets.push(self.sim.now());
            }
            Act::Close(forget) => {
                if *forget {
                    self.sim.servers.kube.compact();
                }
                self.sim.servers.kube.close_connections();
            }
        }
    }

    fn set(&mut self, by: SignedDuration) {
        self.upsets.push(self.sim.now());
        self.set_by += by;
        self.sim.rules.clocks(self.sim.now(), self.set_by);
        self.operators.iter().for_each(|operator| operator.clock.set_by(by));
    }

    async fn organize(&self) {
        let setting = &self.script.setting;
        let object = json!({"apiVersion": "oat-operator.dev/v1alpha1", "kind": "Organization",
            "metadata": {"name": "acme", "namespace": NAMESPACE},
            "spec": {"credentials": {"secretRef": {"name": "acme-owner"}}, "tokenLimit": setting.limit,
                "reservedTokens": setting.reserved, "pollInterval": format!("{}s", setting.poll.as_secs())}});
        let object = serde_json::from_value(object).unwrap();
        allowed(self.organizations().create(&PostParams::default(), &object).await);
    }

    async fn organization(&self, patch: Value) {
        let patch = Patch::Merge(json!({"spec": patch}));
        allowed(self.organizations().patch("acme", &PatchParams::default(), &patch).await);
    }

    async fn make(&self, object: usize, spec: &Value) {
        let mut whole = world::token_value(&name(object), json!({}));
        super::spec::merge(&mut whole["spec"], spec.clone());
        let whole: OrganizationAccessToken = serde_json::from_value(whole).unwrap();
        allowed(self.tokens().create(&PostParams::default(), &whole).await);
    }

    async fn edit(&self, object: usize, patch: Value) {
        allowed(self.tokens().patch(&name(object), &PatchParams::default(), &Patch::Merge(patch)).await);
    }

    async fn tamper(&self, object: usize, how: Tampering) {
        let Some(secret) = self.secret(object) else { return };
        let config = json!({"auths": {"https://index.docker.io/v1/": {"username": "acme", "password": "tampered"}}});
        let patch = match how {
            Tampering::Value => json!({"stringData": {".dockerconfigjson": config.to_string()}}),
            Tampering::Garbage => json!({"stringData": {".dockerconfigjson": "{}"}}),
            Tampering::Annotation => json!({"metadata": {"annotations": {SEQUENCE: "9"}}}),
            Tampering::Label => json!({"metadata": {"labels": {OWNER: "somebody"}}}),
            Tampering::Key => json!({"stringData": {"password": "somebody's"}}),
        };
        allowed(self.secrets().patch(&secret, &PatchParams::default(), &Patch::Merge(patch)).await);
    }

    fn hand(&self, object: usize, hand: Hand) {
        let acme = self.acme();
        let current = self.sim.object(&name(object)).and_then(|object| object.status?.token);
        let tokens = acme.tokens();
        let any = tokens.get(object).or(tokens.first()).map(|token| token.id.clone());
        let Some(id) = current.map(|token| token.id).or(any) else { return };
        let label = acme.token(&id).map(|token| token.label).unwrap_or_default();
        let (user, marker) = label.split_once(" [").unwrap_or((&label, ""));
        // It may not be the one that the operator knows that works from now on, or the highest that is gone.
        self.sim.rules.fault();
        self.sim.rules.forget_labels();
        let _there = match hand {
            Hand::Deactivate => acme.deactivate(&id),
            Hand::Activate => acme.activate(&id),
            Hand::Delete => acme.delete(&id),
            Hand::Rename if !marker.is_empty() => acme.relabel(&id, &format!("renamed [{marker}")),
            Hand::Rename => false,
            Hand::Unmark => acme.relabel(&id, user),
            Hand::Rescope => acme.set_resources(&id, vec![Resource::repository("acme/site", &["scope-image-pull"])]),
            Hand::Describe => acme.describe(&id, Some("by hand")),
        };
    }

    fn free(&self) {
        let acme = self.acme();
        for token in acme.labelled(SOMEBODYS) {
            acme.delete(&token.id);
        }
    }

    /// All faults end, and people put right what they did to the organization.
    async fn put_right(&mut self) {
        let sim = self.sim;
        sim.faults.clear();
        sim.faults.thaw();
        self.set(-self.set_by);
        if self.replicas {
            self.replicas(false).await;
        }
        self.start().await;
        sim.servers.hub.set_password("acme-owner", PASSWORD);
        sim.credentials(PASSWORD).await;
        sim.servers.hub.unlock("acme-owner");
        self.free();
        self.tidy().await;
        self.acme().set_limit(200);
        self.organize().await;
        self.organization(json!({"suspend": false, "tokenLimit": 100, "pollInterval": "6h"})).await;
        self.upsets.push(sim.now());
    }

    /// What was let go by policy is somebody's own by now, and so is a Secret that no object claims.
    async fn tidy(&self) {
        let objects: Vec<_> = (0..OBJECTS).filter_map(|object| self.sim.object(&name(object))).collect();
        for token in self.acme().tokens() {
            let known = objects.iter().any(|object| verdict::knows(object, &token.id));
            if Marker::parse(&token.label).is_none() && !known {
                self.acme().delete(&token.id);
            }
        }
        for secret in self.sim.servers.kube.objects("secrets") {
            let (owner, name) = (&secret["metadata"]["labels"][OWNER], secret["metadata"]["name"].as_str().unwrap());
            let claimed = objects.iter().any(|object| owner.as_str() == object.metadata.uid.as_deref());
            if !claimed && name != "acme-owner" && secret["metadata"]["namespace"] == NAMESPACE {
                allowed(self.secrets().delete(name, &DeleteParams::default()).await);
            }
        }
    }

    /// Nothing is asked for any more that can't be had.
    async fn last_edits(&mut self) {
        for object in 0..OBJECTS {
            self.causes += 1;
            let Some(found) = self.sim.object(&name(object)) else { continue };
            let spec = serde_json::to_value(&found.spec).unwrap();
            // What is off may end, and a window may never open.
            let mut patch = json!({"active": true, "rotation": {"windows": []}});
            let ends = spec["expiration"]["time"].is_string();
            let manual = spec["rotation"]["policy"] == "Manual";
            if ends || manual {
                let expiration = json!({"lifetime": "400h", "time": null, "never": null});
                let rotation = json!({"renewBefore": null, "policy": "Automatic"});
                super::spec::merge(&mut patch, json!({"expiration": expiration, "rotation": rotation}));
            }
            if !self.script.setting.leave_conflicts {
                let kind = spec["secret"]["type"].clone();
                super::spec::merge(&mut patch, json!({"secret": {"name": format!("own-{object}"), "type": kind}}));
            }
            self.edit(object, json!({"spec": patch})).await;
        }
    }

    fn acme(&self) -> OrganizationHandle {
        self.sim.servers.hub.organization("acme")
    }

    /// The name of an object's Secret.
    fn secret(&self, object: usize) -> Option<String> {
        let found = self.sim.object(&name(object))?;
        Some(found.spec.token.secret.name.unwrap_or_else(|| name(object)))
    }

    fn tokens(&self) -> Api<OrganizationAccessToken> {
        Api::namespaced(self.sim.client.clone(), NAMESPACE)
    }

    fn organizations(&self) -> Api<Organization> {
        Api::namespaced(self.sim.client.clone(), NAMESPACE)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.sim.client.clone(), NAMESPACE)
    }

    /// The operators' requests, without those whose names come from the machine's clock.
    pub fn journal(&self) -> Vec<Entry> {
        self.sim.journal.filter(|entry| super::super::is_work(entry) && !entry.path.contains("/events"))
    }

    /// An end without noise.
    pub async fn leave(&mut self) {
        for operator in self.operators.drain(..) {
            operator.kill().await;
        }
    }
}

/// People ask for what can't be, or on a connection that is being closed: that is no reason to end.
fn allowed<T>(result: kube::Result<T>) {
    match result {
        Ok(_) | Err(kube::Error::Api(_) | kube::Error::Service(_) | kube::Error::HyperError(_)) => {}
        Err(error) => panic!("an administrator can't reach the cluster: {error}"),
    }
}
