//! Replicas that are stopped for longer than their lease, and killed, at random moments of many rotations, while a reader
//! tries what the Secrets hold: not one dead value ever, and one live token per object at the end.
//!
//! A value is dead in a Secret where a read that began after its token's deletion arrived at Docker Hub still returns it.
//! Both times are taken in this process, so that this is exact: a read asks etcd, and can only be older than its answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use oat_operator::api::OrganizationAccessToken;
use oat_sandbox::journal::{Journal, Server};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use crate::support::{
    cluster, eventually, lint,
    operator::Operator,
    random::Random,
    within,
    world::{NAMESPACE, SERVICE, World, is_ready, organization_yaml, sequence},
};

/// How long the lease of the replicas lasts. Pauses are up to twice as long.
const LEASE: &str = "3s";
/// How long all of it may take.
const LONGEST: Duration = Duration::from_secs(270);

/// How much is done.
struct Scale {
    objects: usize,
    rotations: usize,
    /// The longest that somebody waits before the next rotation, in milliseconds.
    rest: u64,
    /// The least number of pauses and kills.
    disturbances: usize,
}

/// A look at a Secret, and whether the token service took what it held.
struct Read {
    began: Timestamp,
    tried: Timestamp,
    name: String,
    id: String,
    sequence: u64,
    works: bool,
}

/// Which objects are being rotated: these are looked at more often.
type Busy = Arc<Mutex<BTreeSet<String>>>;

/// Reads one Secret after the other, fifty times a second in all, until it is told to stop.
async fn read(
    secrets: Api<Secret>,
    names: Vec<String>,
    token_url: String,
    busy: Busy,
    stop: watch::Receiver<bool>,
) -> Vec<Read> {
    let http = reqwest::Client::new();
    let url = format!("{token_url}?service={SERVICE}");
    let mut reads: Vec<Read> = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for turn in 0_usize.. {
        tick.tick().await;
        if *stop.borrow() {
            break;
        }
        let hot: Vec<String> = busy.lock().unwrap().iter().cloned().collect();
        let from = if turn % 2 == 0 && !hot.is_empty() { &hot } else { &names };
        let name = from[turn / 2 % from.len()].clone();
        let began = Timestamp::now();
        let secret = secrets.get(&name).await.unwrap();
        let annotation = |key: &str| secret.annotations()[key].clone();
        let (id, sequence) = (annotation("oat-operator.dev/token-id"), annotation("oat-operator.dev/sequence"));
        let config: serde_json::Value =
            serde_json::from_slice(&secret.data.as_ref().unwrap()[".dockerconfigjson"].0).unwrap();
        let entry = config["auths"].as_object().unwrap().values().next().unwrap();
        let answer = http.get(&url).basic_auth("acme", entry["password"].as_str()).send().await.unwrap();
        let works = answer.status().is_success();
        reads.push(Read { began, tried: Timestamp::now(), name, id, sequence: sequence.parse().unwrap(), works });
    }
    reads
}

/// What the reads show, given when which token was deleted.
fn judge(reads: &[Read], deleted: &BTreeMap<String, Timestamp>) -> usize {
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut raced = 0;
    for read in reads {
        let gone = deleted.get(&read.id);
        let what = format!("{} held token {} (sequence {}) at {}", read.name, read.id, read.sequence, read.began);
        assert!(gone.is_none_or(|gone| read.began < *gone), "a dead value: {what}, which was deleted at {gone:?}");
        assert!(read.works || gone.is_some_and(|gone| *gone <= read.tried), "refused, and never deleted: {what}");
        raced += usize::from(!read.works);
        let before = newest.insert(&read.name, read.sequence).unwrap_or_default();
        assert!(before <= read.sequence, "a sequence went back from {before}: {what}");
    }
    raced
}

/// When each token's deletion arrived at Docker Hub.
fn deletions(journal: &Journal) -> BTreeMap<String, Timestamp> {
    let mut deleted = BTreeMap::new();
    for entry in journal.filter(|entry| entry.server == Server::Hub && entry.method == "DELETE" && entry.executed) {
        let id = entry.path.rsplit('/').next().unwrap_or_default().to_owned();
        deleted.entry(id).or_insert(entry.time);
    }
    deleted
}

type Objects = BTreeMap<String, OrganizationAccessToken>;

/// Follows the objects; each state passes the linter, and no sequence goes back.
async fn follow(api: Api<OrganizationAccessToken>, objects: watch::Sender<Objects>) {
    let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    while let Some(object) = stream.try_next().await.unwrap() {
        lint::token(&object);
        objects.send_modify(|known| {
            let before = known.get(&object.name_any()).map_or(0, sequence);
            assert!(sequence(&object) >= before, "the status of {} went back from {before}", object.name_any());
            known.insert(object.name_any(), object);
        });
    }
}

fn settled(object: &OrganizationAccessToken, rotate: &str) -> bool {
    let Some(status) = object.status.as_ref().filter(|_| is_ready(object)) else { return false };
    status.last_handled.rotate.as_deref() == Some(rotate)
}

/// Asks for one rotation after the other of one object.
async fn rotate(
    api: Api<OrganizationAccessToken>,
    mut objects: watch::Receiver<Objects>,
    name: String,
    busy: Busy,
    (mut random, rotations, rest): (Random, usize, u64),
) {
    for turn in 1..=rotations {
        wait_out(random.between(0, rest)).await;
        let text = turn.to_string();
        let patch = json!({"metadata": {"annotations": {"oat-operator.dev/rotate": text}}});
        busy.lock().unwrap().insert(name.clone());
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        objects.wait_for(|known| known.get(&name).is_some_and(|object| settled(object, &text))).await.unwrap();
        busy.lock().unwrap().remove(&name);
    }
}

/// How long something is left as it is: here, that is what is tested.
async fn wait_out(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

#[derive(Default, Debug)]
struct Figures {
    pauses: usize,
    kills: usize,
    /// Replicas that ended by themselves, as one does that lost its lease.
    ended: usize,
    changes_of_leader: u64,
}

/// The ones who stop and kill replicas.
struct Chaos<'a> {
    world: &'a mut World,
    random: Random,
    leases: Api<Lease>,
    figures: Figures,
}

impl Chaos<'_> {
    fn start(&mut self) {
        self.world.start(&["--lease-duration", LEASE]);
    }

    /// Starts those anew that have ended, as a cluster does.
    fn revive(&mut self) {
        let before = self.world.operators.len();
        for operator in &mut self.world.operators {
            if let Some(status) = operator.has_ended() {
                assert_eq!(status.code(), Some(1), "{}", operator.logged());
                assert!(operator.logged().contains("the leadership was lost"), "{}", operator.logged());
            }
        }
        self.world.operators.retain_mut(|operator| operator.has_ended().is_none());
        let ended = before - self.world.operators.len();
        self.figures.ended += ended;
        for _ in 0..ended {
            self.start();
        }
    }

    /// The replica that leads, or any.
    async fn target(&mut self) -> usize {
        let lease = self.leases.get_opt("oat-operator").await.unwrap().and_then(|lease| lease.spec);
        let holder = lease.and_then(|lease| lease.holder_identity).unwrap_or_default();
        let leader =
            self.world.operators.iter().position(|operator| holder.starts_with(&format!("{}_", operator.name)));
        let any = usize::try_from(self.random.below(self.world.operators.len() as u64)).unwrap();
        if self.random.percent(75) { leader.unwrap_or(any) } else { any }
    }

    /// Waits for a random moment: after some time, or a moment after a write arrived.
    async fn moment(&mut self) {
        if self.random.percent(40) {
            return wait_out(self.random.between(0, 1500)).await;
        }
        let (mark, skip) = (self.world.journal.len(), self.random.below(4));
        let ours = |entry: &oat_sandbox::journal::Entry| {
            let lease = entry.path.contains("/leases");
            entry.index >= mark && entry.is_write() && !lease && entry.user_agent.starts_with("oat-operator")
        };
        let reached = self.world.journal.wait_for(|entries| {
            entries.iter().rev().take_while(|entry| entry.index >= mark).filter(|entry| ours(entry)).count() as u64
                > skip
        });
        let _ = tokio::time::timeout(Duration::from_secs(3), reached).await;
        wait_out(self.random.between(0, 15)).await;
    }

    /// One pause or kill.
    async fn disturb(&mut self) {
        self.moment().await;
        self.revive();
        let target = self.target().await;
        if self.random.percent(30) {
            self.world.operators.remove(target).kill();
            self.figures.kills += 1;
            wait_out(self.random.between(0, 1000)).await;
            self.start();
        } else {
            self.world.operators[target].signal("STOP");
            self.figures.pauses += 1;
            wait_out(self.random.between(200, 6000)).await;
            self.world.operators[target].signal("CONT");
        }
    }

    /// Which replica leads: one that has renewed the Lease since nobody disturbs it. One that was stopped until now may
    /// still stand in the Lease, and be about to end.
    async fn leader(&mut self) -> usize {
        let before = Timestamp::now();
        eventually("a replica renews the Lease", async || {
            self.revive();
            let lease = self.leases.get("oat-operator").await.ok()?.spec?;
            let (holder, renewed) = (lease.holder_identity?, lease.renew_time?.0);
            let holds = |operator: &Operator| holder.starts_with(&format!("{}_", operator.name));
            self.world.operators.iter().position(holds).filter(|_| renewed > before)
        })
        .await
    }

    /// How often the Lease has changed hands.
    async fn transitions(&self) -> u64 {
        let lease = self.leases.get("oat-operator").await.unwrap().spec.unwrap();
        u64::try_from(lease.lease_transitions.unwrap_or_default()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_dead_in_a_secret_whoever_is_stopped_or_killed_when() {
    let scale = match cluster::is_real() {
        true => Scale { objects: 10, rotations: 5, rest: 4_000, disturbances: 30 },
        false => Scale { objects: 5, rotations: 1, rest: 12_000, disturbances: 4 },
    };
    let mut random = Random::for_test("pauses");
    let began = Instant::now();
    let mut world = World::new().await;
    world.apply(&organization_yaml(NAMESPACE).replace("spec: {", "spec: {pollInterval: 1m, ")).await;
    let names: Vec<String> = (0..scale.objects).map(|at| format!("pull-{at}")).collect();
    for _ in 0..2 {
        world.start(&["--lease-duration", LEASE]);
    }
    for (at, name) in names.iter().enumerate() {
        let overlap = if at % 2 == 0 { "0s" } else { "2s" };
        world.token(name, json!({"rotation": {"overlap": overlap}})).await;
    }
    for name in &names {
        world.until_ready(name).await;
    }

    let busy = Busy::default();
    let (stop, stopped) = watch::channel(false);
    let reader = tokio::spawn(read(world.secrets(), names.clone(), world.hub.token_url(), busy.clone(), stopped));
    let (objects, seen) = watch::channel(Objects::new());
    let mut follower = JoinSet::new();
    follower.spawn(follow(world.tokens(), objects));
    let mut rotations = JoinSet::new();
    for name in &names {
        let todo = (random.fork(), scale.rotations, scale.rest);
        rotations.spawn(rotate(world.tokens(), seen.clone(), name.clone(), busy.clone(), todo));
    }
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), "oat-operator");
    let mut chaos = Chaos { world: &mut world, random, leases, figures: Figures::default() };
    let (mut done, mut disturbances) = (0, 0);
    while done < names.len() || disturbances < scale.disturbances {
        assert!(began.elapsed() < LONGEST, "{done} objects have had their rotations: {:?}", chaos.figures);
        chaos.disturb().await;
        disturbances += 1;
        while let Some(rotated) = rotations.try_join_next() {
            rotated.unwrap();
            done += 1;
        }
        assert!(follower.try_join_next().is_none(), "the watch of the objects ended");
        assert!(!reader.is_finished(), "the reader ended");
    }
    let leader = chaos.leader().await;
    chaos.figures.changes_of_leader = chaos.transitions().await;
    let figures = chaos.figures;

    // A leader that begins lists what is at Docker Hub, and so finds what the ones before it have left.
    let status = world.operators[leader].terminate().await;
    assert!(status.success(), "{}", world.operators[leader].logged());
    world.operators.remove(leader);
    let acme = world.hub.organization("acme");
    within(2 * crate::support::PATIENCE, "each object has one token", async || {
        (acme.tokens().len() == names.len()).then_some(())
    })
    .await;
    let last = scale.rotations.to_string();
    for name in &names {
        let none_left = |object: &OrganizationAccessToken| {
            settled(object, &last) && object.status.as_ref().unwrap().previous.is_empty()
        };
        let object = world.until(name, "has one token", none_left).await;
        let value = world.value(name).await.unwrap();
        assert!(world.works(&value).await, "{name}");
        let id = acme.by_value(&value).unwrap().id;
        assert_eq!(Some(id), object.status.unwrap().token.map(|token| token.id), "{name}");
    }
    stop.send_replace(true);
    let reads = reader.await.unwrap();
    let deleted = deletions(&world.journal);
    let raced = judge(&reads, &deleted);
    let creates = world.journal.count(|entry| {
        entry.server == Server::Hub
            && entry.method == "POST"
            && entry.path.ends_with("/access-tokens")
            && entry.executed
    });
    let needed = scale.objects * (1 + scale.rotations);
    assert!(creates >= needed && deleted.len() + scale.objects <= creates);
    println!(
        "{} rotations of {} objects, {figures:?}, {creates} tokens made ({needed} needed), {} reads, 0 dead values, \
         {raced} refused because they were replaced meanwhile, {:?}",
        scale.objects * scale.rotations,
        scale.objects,
        reads.len(),
        began.elapsed(),
    );
    drop(follower);
    world.finish().await;
}

#[test]
fn a_dead_value_a_value_that_was_never_taken_back_and_a_step_back_are_found() {
    let time = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
    let read = |second, id: &str, sequence, works| Read {
        began: time(second),
        tried: time(second + 1),
        name: "pull".into(),
        id: id.into(),
        sequence,
        works,
    };
    let deleted: BTreeMap<_, _> = [("a".to_owned(), time(10))].into();
    let fails = |reads: Vec<Read>| std::panic::catch_unwind(|| judge(&reads, &deleted)).is_err();
    assert_eq!(judge(&[read(8, "a", 1, true), read(9, "a", 1, false), read(10, "b", 2, true)], &deleted), 1);
    assert!(fails(vec![read(11, "a", 1, false)]), "read after the deletion");
    assert!(fails(vec![read(11, "a", 1, true)]), "the same, though it works");
    assert!(fails(vec![read(5, "a", 1, false)]), "refused before the deletion");
    assert!(fails(vec![read(5, "b", 2, true), read(6, "c", 1, true)]), "sequences");
}
