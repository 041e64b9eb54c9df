//! Elections against an API server that knows one Lease. Each candidate has a clock of its own.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::*;

/// One Lease, and who watches it.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    lease: Option<Value>,
    version: u64,
    events: Vec<(u64, Value)>,
    watchers: Vec<mpsc::UnboundedSender<Value>>,
}

/// The way from one candidate to the server.
#[derive(Default)]
struct Link {
    fault: AtomicU8,
    deaf: AtomicBool,
    unwatchable: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    rival: Mutex<Option<Value>>,
}

/// No answer.
const CUT: u8 = 1;
/// An answer that says no.
const BROKEN: u8 = 2;
/// Writes are carried out, and their answers are lost.
const MUTE: u8 = 3;

type At = State<(Server, Arc<Link>)>;

impl Server {
    fn lock(&self) -> std::sync::MutexGuard<'_, Stored> {
        self.0.lock().unwrap()
    }

    fn spec(&self, field: &str) -> Value {
        self.lock().lease.as_ref().map_or(Value::Null, |lease| lease["spec"][field].clone())
    }

    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut lease = self.lock().lease.clone().unwrap();
        edit(&mut lease);
        self.lock().put(lease);
    }

    fn delete(&self) {
        let mut stored = self.lock();
        let mut lease = stored.lease.take().unwrap();
        stored.version += 1;
        lease["metadata"]["resourceVersion"] = json!(stored.version.to_string());
        stored.tell("DELETED", &lease);
    }

    fn client(&self, link: &Arc<Link>) -> Client {
        let leases = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases";
        let router = Router::new()
            .route(leases, get(list).post(create))
            .route(&format!("{leases}/{{name}}"), get(read).put(replace))
            .with_state((self.clone(), link.clone()));
        Client::new(router, "default")
    }
}

impl Stored {
    fn put(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["apiVersion"] = json!("coordination.k8s.io/v1");
        lease["kind"] = json!("Lease");
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let kind = if self.lease.is_none() { "ADDED" } else { "MODIFIED" };
        self.lease = Some(lease.clone());
        self.tell(kind, &lease);
        lease
    }

    fn tell(&mut self, kind: &str, lease: &Value) {
        let event = json!({"type": kind, "object": lease});
        self.watchers.retain(|watcher| watcher.send(event.clone()).is_ok());
        self.events.push((self.version, event));
    }
}

fn no(code: u16, reason: &str) -> Response {
    let body = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no"});
    (StatusCode::from_u16(code).unwrap(), body.to_string()).into_response()
}

impl Link {
    async fn pass(&self) -> Result<(), Response> {
        match self.fault.load(SeqCst) {
            CUT => std::future::pending().await,
            BROKEN => Err(no(500, "InternalError")),
            _ => Ok(()),
        }
    }

    async fn answer(&self, body: Value) -> Response {
        if self.fault.load(SeqCst) == MUTE {
            std::future::pending::<()>().await;
        }
        body.to_string().into_response()
    }
}

async fn list(State((server, link)): At, Query(query): Query<std::collections::HashMap<String, String>>) -> Response {
    if let Err(refusal) = link.pass().await {
        return refusal;
    }
    assert_eq!(query["fieldSelector"], "metadata.name=oat-operator", "RBAC permits this name only");
    if link.unwatchable.load(SeqCst) {
        return no(403, "Forbidden");
    }
    if !query.contains_key("watch") {
        let stored = server.lock();
        let version = stored.version.to_string();
        return json!({"apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList",
            "metadata": {"resourceVersion": version}, "items": stored.lease.iter().collect::<Vec<_>>()})
        .to_string()
        .into_response();
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    if !link.deaf.load(SeqCst) {
        let since: u64 = query["resourceVersion"].parse().unwrap();
        let mut stored = server.lock();
        for (_, event) in stored.events.iter().filter(|(version, _)| *version > since) {
            sender.send(event.clone()).unwrap();
        }
        stored.watchers.push(sender.clone());
    }
    // A deaf watch keeps its sender, and hears nothing.
    let stream = futures::stream::unfold((receiver, sender), |(mut receiver, sender)| async move {
        let event: Value = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(format!("{event}\n")), (receiver, sender)))
    });
    Body::from_stream(stream).into_response()
}

async fn read(State((server, link)): At) -> Response {
    if let Err(refusal) = link.pass().await {
        return refusal;
    }
    link.reads.fetch_add(1, SeqCst);
    let lease = server.lock().lease.clone();
    lease.map_or_else(|| no(404, "NotFound"), |lease| lease.to_string().into_response())
}

async fn create(State((server, link)): At, lease: String) -> Response {
    if let Err(refusal) = link.pass().await {
        return refusal;
    }
    link.writes.fetch_add(1, SeqCst);
    if server.lock().lease.is_some() {
        return no(409, "AlreadyExists");
    }
    let lease = server.lock().put(serde_json::from_str(&lease).unwrap());
    link.answer(lease).await
}

async fn replace(State((server, link)): At, Path((_, name)): Path<(String, String)>, lease: String) -> Response {
    if let Err(refusal) = link.pass().await {
        return refusal;
    }
    link.writes.fetch_add(1, SeqCst);
    assert_eq!(name, "oat-operator");
    if let Some(rival) = link.rival.lock().unwrap().take() {
        server.edit(|lease| lease["spec"]["holderIdentity"] = rival);
    }
    let lease: Value = serde_json::from_str(&lease).unwrap();
    let version = lease["metadata"]["resourceVersion"].as_str().expect("a PUT without resourceVersion").to_owned();
    let current = server.lock().lease.clone();
    match current {
        None => no(404, "NotFound"),
        Some(current) if current["metadata"]["resourceVersion"] != version => no(409, "Conflict"),
        Some(_) => {
            let lease = server.lock().put(lease);
            link.answer(lease).await
        }
    }
}

/// A candidate in a task.
struct Candidate {
    leader: Leader,
    clock: Clock,
    link: Arc<Link>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Lost>>,
}

fn candidate(server: &Server, identity: &str, start: &str) -> Candidate {
    candidate_with(server, identity, start, Link::default())
}

fn candidate_with(server: &Server, identity: &str, start: &str, link: Link) -> Candidate {
    let (clock, link) = (Clock::manual(start.parse().unwrap()), Arc::new(link));
    let config = Config {
        namespace: "ops".into(),
        name: "oat-operator".into(),
        identity: identity.into(),
        lease_duration: Duration::from_secs(15),
        clock: clock.clone(),
    };
    let (leader, election) = elect(server.client(&link), config);
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(election.run(async move {
        let _ = stopped.await;
    }));
    Candidate { leader, clock, link, stop: Some(stop), task }
}

impl Candidate {
    fn leads(&self) -> bool {
        self.leader.valid_for(Duration::ZERO)
    }

    fn claim(&self) -> Option<Claim> {
        self.leader.claim().borrow().clone()
    }

    fn set(&self, fault: u8) {
        self.link.fault.store(fault, SeqCst);
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

/// Lets every task run until it waits. Nothing here does real I/O and there is one thread, so that this is a matter of
/// counting, not of luck: a request and its answer take a dozen turns.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Moves these candidates' clocks on together, a tenth of a second at a time.
async fn pass(candidates: &[&Candidate], tenths: u32) {
    settle().await;
    for _ in 0..tenths {
        for candidate in candidates {
            candidate.clock.advance(Duration::from_millis(100));
        }
        settle().await;
    }
}

const NOON: &str = "2026-11-25T12:00:00Z";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_times_are_those_of_client_go() {
    let timing = Timing::of(secs(15));
    assert_eq!((timing.lease, timing.deadline, timing.retry, timing.request), (secs(15), secs(10), secs(2), secs(5)));
    let shortest = Timing::of(Duration::ZERO);
    assert_eq!(shortest.lease, secs(1));
    assert!(shortest.retry < shortest.request && shortest.request < shortest.deadline && shortest.deadline < secs(1));
}

#[test]
fn the_right_to_lead_ends_by_whichever_clock_is_first() {
    let noon: Timestamp = NOON.parse().unwrap();
    let right = Right::Until { elapsed: secs(10), time: noon + secs(10) };
    assert!(right.covers(secs(5), secs(4), noon + secs(4)));
    assert!(!right.covers(secs(5), secs(5), noon + secs(5)), "the call may end with the lease");
    assert!(!right.covers(secs(5), secs(4), noon + secs(600)), "the machine slept, and its monotonic clock too");
    assert!(right.covers(secs(5), secs(4), noon - secs(600)), "a clock set back changes nothing");
    assert!(!right.covers(secs(5), secs(9), noon - secs(600)), "nor does it prolong anything");
    assert!(!right.covers(Duration::MAX, secs(0), noon));
    assert!(Right::Always.covers(Duration::MAX, Duration::MAX, Timestamp::MAX));
    assert!(!Right::None.covers(Duration::ZERO, Duration::ZERO, noon));
}

#[tokio::test]
async fn the_first_candidate_makes_the_lease_and_leads() {
    let server = Server::default();
    let a = candidate(&server, "a", NOON);
    assert_eq!(a.claim(), None);
    assert!(!a.leads());
    settle().await;
    assert_eq!(a.claim().unwrap().since_term, 0);
    assert!(a.claim().unwrap().acquired >= NOON.parse().unwrap());
    assert_eq!(server.spec("holderIdentity"), "a");
    assert_eq!(server.spec("leaseDurationSeconds"), 15);
    assert_eq!(server.spec("leaseTransitions"), 0);
    assert!(server.spec("renewTime").as_str().unwrap().starts_with("2026-11-25T12:00:00.0000"));
    assert!(a.leader.valid_for(Duration::from_millis(9_999)));
    assert!(!a.leader.valid_for(secs(10)), "a call of 10 s may end after the deadline");
}

#[tokio::test]
async fn a_leader_renews_every_two_seconds_and_a_standby_only_watches() {
    let server = Server::default();
    let a = candidate(&server, "a", NOON);
    settle().await;
    let b = candidate(&server, "b", NOON);
    let mut claim = a.leader.claim();
    claim.mark_unchanged();
    for _ in 0..60 {
        pass(&[&a, &b], 10).await;
        assert!(a.leader.valid_for(secs(7)), "2 s between renewals leave nearly 8");
        assert!(!b.leads());
    }
    let writes = a.link.writes.load(SeqCst);
    assert!((28..=31).contains(&writes), "{writes} writes in a minute");
    assert!(!claim.has_changed().unwrap(), "renewals aren't news");
    assert_eq!(b.link.writes.load(SeqCst) + b.link.reads.load(SeqCst), 0);
    assert_eq!(server.spec("leaseTransitions"), 0);
}

#[tokio::test]
async fn a_standby_takes_over_when_the_lease_expires_by_its_own_clock() {
    let server = Server::default();
    let a = candidate(&server, "a", NOON);
    settle().await;
    // 40 days behind: times of day of two machines are never compared.
    let b = candidate(&server, "b", "2026-10-16T12:00:00Z");
    pass(&[&b], 149).await;
    assert!(!b.leads());
    pass(&[&b], 2).await;
    assert!(b.leads());
    assert_eq!(b.claim().unwrap().since_term, 1);
    assert_eq!(server.spec("holderIdentity"), "b");
    assert_eq!(server.spec("leaseTransitions"), 1);
    let writes = server.lock().version;

    // The first leader was stopped for as long. It must know before anything else of it runs.
    a.clock.advance(secs(16));
    assert!(!a.leads());
    settle().await;
    assert!(matches!(a.task.await.unwrap(), Err(Lost::Expired { last: None, .. })));
    assert_eq!(a.leader.claim().borrow().clone(), None);
    assert_eq!(server.lock().version, writes, "and it writes nothing more");
}

#[tokio::test]
async fn a_leader_whose_clock_is_slow_learns_that_it_was_replaced() {
    let server = Server::default();
    let a = candidate(&server, "a", NOON);
    settle().await;
    let b = candidate(&server, "b", NOON);
    pass(&[&b], 151).await;
    assert!(b.leads());
    pass(&[&a], 21).await;
    let lost = a.task.await.unwrap().unwrap_err();
    assert_eq!(lost.to_string(), r#"the Lease is held by "b""#);
    assert_eq!(server.spec("holderIdentity"), "b");
}

#[tokio::test]
async fn a_released_lease_is_taken_without_waiting() {
    let server = Server::default();
    let mut a = candidate(&server, "a", NOON);
    settle().await;
    let b = candidate(&server, "b", NOON);
    pass(&[&a, &b], 50).await;
    let before = b.clock.elapsed();
    a.stop();
    settle().await;
    assert!(a.task.await.unwrap().is_ok());
    assert!(!a.leader.valid_for(Duration::ZERO));
    assert!(b.leads());
    assert_eq!(b.clock.elapsed(), before, "not a moment later");
    assert_eq!(b.claim().unwrap().since_term, 1);
    let released = server.lock().events.iter().rev().nth(1).unwrap().1["object"]["spec"].clone();
    assert_eq!((&released["holderIdentity"], &released["leaseDurationSeconds"]), (&json!(""), &json!(1)));
    assert_eq!(released["leaseTransitions"], 0);
    assert_eq!(server.spec("holderIdentity"), "b");
    assert_eq!(server.spec("leaseDurationSeconds"), 15);
}

#[tokio::test]
async fn a_leader_that_is_cut_off_ends_at_the_deadline() {
    for (fault, text) in [(CUT, "no answer"), (BROKEN, "500 InternalError")] {
        let server = Server::default();
        let a = candidate(&server, "a", NOON);
        pass(&[&a], 1).await;
        a.set(fault);
        pass(&[&a], 97).await;
        assert!(a.leads() && !a.task.is_finished());
        pass(&[&a], 3).await;
        assert!(!a.leads());
        assert_eq!(a.claim(), None);
        let lost = a.task.await.unwrap().unwrap_err();
        assert!(lost.to_string().contains("within 10s"), "{lost}");
        let last = std::error::Error::source(&lost).unwrap().to_string();
        assert!(last.contains(text), "{last}");
    }
}

#[tokio::test]
async fn a_short_cut_changes_nothing() {
    for fault in [CUT, BROKEN, MUTE] {
        let server = Server::default();
        let a = candidate(&server, "a", NOON);
        settle().await;
        let claim = a.claim();
        for _ in 0..4 {
            pass(&[&a], 10).await;
            a.set(fault);
            // A renewal that hangs is given up after 5 s, and the next one is sent 2 s after.
            pass(&[&a], 40).await;
            a.set(0);
            pass(&[&a], 50).await;
            assert!(a.leader.valid_for(secs(5)), "fault {fault}");
        }
        assert_eq!(a.claim(), claim);
        assert!(!a.task.is_finished());
    }
}

#[tokio::test]
async fn who_loses_the_race_remains_on_standby() {
    let server = Server::default();
    let a = candidate(&server, "a", NOON);
    settle().await;
    let b = candidate(&server, "b", NOON);
    settle().await;
    *b.link.rival.lock().unwrap() = Some(json!("c"));
    pass(&[&b], 151).await;
    assert_eq!(b.link.writes.load(SeqCst), 1, "it tried");
    assert!(!b.leads() && b.claim().is_none() && !b.task.is_finished());
    assert_eq!(server.spec("holderIdentity"), "c");
    pass(&[&b], 145).await;
    assert!(!b.leads(), "c has its 15 s");
    pass(&[&b], 10).await;
    assert!(b.leads());
    a.task.abort();
}

#[tokio::test]
async fn a_lease_that_was_taken_without_our_knowing_is_ours() {
    let server = Server::default();
    let a = candidate_with(&server, "a", NOON, Link { fault: MUTE.into(), ..Link::default() });
    pass(&[&a], 49).await;
    assert_eq!(server.spec("holderIdentity"), "a");
    assert!(!a.leads(), "the answer is not there");
    a.set(0);
    pass(&[&a], 25).await;
    assert!(a.leads());
    assert_eq!(server.spec("leaseTransitions"), 0);
}

#[tokio::test]
async fn who_stops_while_taking_the_lease_gives_it_back() {
    let server = Server::default();
    let mut a = candidate_with(&server, "a", NOON, Link { fault: MUTE.into(), ..Link::default() });
    pass(&[&a], 10).await;
    assert_eq!(server.spec("holderIdentity"), "a");
    a.set(0);
    a.stop();
    settle().await;
    assert!(a.task.await.unwrap().is_ok());
    assert_eq!(server.spec("holderIdentity"), "");
}

#[tokio::test]
async fn a_release_that_hangs_does_not_keep_the_claim_or_the_process() {
    let server = Server::default();
    let mut a = candidate(&server, "a", NOON);
    settle().await;
    a.set(CUT);
    a.stop();
    settle().await;
    assert!(!a.leads() && a.claim().is_none());
    assert!(!a.task.is_finished());
    pass(&[&a], 101).await;
    assert!(a.task.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_standby_stops_at_once_and_leaves_the_lease_alone() {
    let server = Server::default();
    let a = candidate(&server, "a", NOON);
    settle().await;
    let mut b = candidate(&server, "b", NOON);
    settle().await;
    b.set(CUT);
    b.stop();
    settle().await;
    assert!(b.task.await.unwrap().is_ok());
    assert_eq!(server.spec("holderIdentity"), "a");
    assert!(a.leads());
}

#[tokio::test]
async fn a_lease_deleted_from_under_the_leader_is_made_again_with_its_term() {
    let server = Server::default();
    let mut a = candidate(&server, "a", NOON);
    settle().await;
    let b = candidate(&server, "b", NOON);
    settle().await;
    a.stop();
    settle().await;
    assert_eq!(b.claim().unwrap().since_term, 1);
    server.delete();
    pass(&[&b], 21).await;
    assert!(b.leader.valid_for(secs(9)));
    assert_eq!(server.spec("leaseTransitions"), 1);
}

#[tokio::test]
async fn a_standby_makes_a_lease_that_was_deleted() {
    let server = Server::default();
    let a = candidate(&server, "a", NOON);
    settle().await;
    let b = candidate(&server, "b", NOON);
    settle().await;
    server.delete();
    settle().await;
    assert!(b.leads());
    pass(&[&a], 21).await;
    assert!(matches!(a.task.await.unwrap(), Err(Lost::Taken { holder }) if holder == "b"));
}

#[tokio::test]
async fn an_edit_by_hand_takes_the_leadership_or_leaves_it() {
    let server = Server::default();
    let a = candidate(&server, "a", NOON);
    settle().await;
    server.edit(|lease| lease["metadata"]["labels"] = json!({"looked-at": "yes"}));
    pass(&[&a], 21).await;
    assert!(a.leader.valid_for(secs(9)), "a label takes nothing");
    assert_eq!(server.lock().lease.as_ref().unwrap()["metadata"]["labels"]["looked-at"], "yes", "and it stays");
    server.edit(|lease| lease["spec"]["holderIdentity"] = json!(""));
    pass(&[&a], 21).await;
    assert!(matches!(a.task.await.unwrap(), Err(Lost::Taken { holder }) if holder.is_empty()));
}

#[tokio::test]
async fn annotations_do_not_keep_a_dead_leader_alive() {
    let server = Server::default();
    let a = candidate(&server, "a", NOON);
    settle().await;
    let b = candidate(&server, "b", NOON);
    for second in 0..15 {
        server.edit(|lease| lease["metadata"]["annotations"] = json!({"at": second.to_string()}));
        pass(&[&b], 10).await;
    }
    pass(&[&b], 1).await;
    assert!(b.leads());
    a.task.abort();
}

#[tokio::test]
async fn where_the_lease_may_not_be_watched_it_is_read() {
    let server = Server::default();
    let mut a = candidate(&server, "a", NOON);
    settle().await;
    let b = candidate_with(&server, "b", NOON, Link { unwatchable: true.into(), ..Link::default() });
    pass(&[&a, &b], 300).await;
    assert!(!b.leads());
    let reads = b.link.reads.load(SeqCst);
    assert!((13..=16).contains(&reads), "{reads} reads in 30 s");
    a.stop();
    pass(&[&b], 21).await;
    assert!(b.leads());
}

#[tokio::test]
async fn a_deaf_watch_takes_no_lease_that_is_alive() {
    let server = Server::default();
    let mut a = candidate(&server, "a", NOON);
    settle().await;
    let b = candidate_with(&server, "b", NOON, Link { deaf: true.into(), ..Link::default() });
    pass(&[&a, &b], 600).await;
    assert!(a.leads() && !b.leads());
    assert_eq!(b.link.writes.load(SeqCst), 1, "one attempt showed that the watch is not to be trusted");
    a.stop();
    pass(&[&b], 21).await;
    assert!(b.leads());
}

#[tokio::test]
async fn others_durations_are_respected() {
    let server = Server::default();
    let a = candidate(&server, "a", NOON);
    settle().await;
    server.edit(|lease| lease["spec"]["leaseDurationSeconds"] = json!(30));
    let b = candidate(&server, "b", NOON);
    pass(&[&b], 299).await;
    assert!(!b.leads());
    pass(&[&b], 2).await;
    assert!(b.leads());
    a.task.abort();
}

#[tokio::test]
async fn a_claim_ends_with_its_task() {
    let server = Server::default();
    let a = candidate(&server, "a", NOON);
    settle().await;
    assert!(a.leads());
    a.task.abort();
    settle().await;
    assert!(!a.leads());
    assert_eq!(a.claim(), None);
}

#[tokio::test]
async fn without_an_election_one_leads_for_ever() {
    let clock = Clock::manual(NOON.parse().unwrap());
    let leader = Leader::always(&clock);
    assert!(leader.valid_for(Duration::MAX));
    let mut claim = leader.claim();
    assert_eq!(claim.borrow().as_ref().unwrap().since_term, 0);
    let mut changed = std::pin::pin!(claim.changed());
    assert!(futures::poll!(&mut changed).is_pending(), "and that never changes");
    assert!(Election::none().run(async {}).await.is_ok());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 10, failure_persistence: None, ..Default::default() })]

    /// Three candidates whose clocks run 10 % apart, with links that fail at random; who loses is started again.
    #[test]
    fn two_never_lead_at_once(script in proptest::collection::vec((0usize..3, 0u8..=3, 5u32..60), 5..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let server = Server::default();
            let names = ["a", "b", "c"];
            let mut all: Vec<Candidate> = names.iter().map(|name| candidate(&server, name, NOON)).collect();
            let paces = [95, 100, 105];
            let mut starts = 0;
            let calm = (0..3).map(|who| (who, 0, 1)).chain([(0, 0, 500)]);
            for (who, fault, tenths) in script.into_iter().chain(calm) {
                all[who].set(fault);
                for _ in 0..tenths {
                    for (candidate, pace) in all.iter().zip(paces) {
                        candidate.clock.advance(Duration::from_millis(pace));
                    }
                    for _ in 0..4 {
                        for _ in 0..12 { tokio::task::yield_now().await; }
                        assert!(all.iter().filter(|candidate| candidate.leads()).count() <= 1);
                    }
                    for (old, name) in all.iter_mut().zip(names) {
                        if old.task.is_finished() {
                            starts += 1;
                            let fault = old.link.fault.load(SeqCst);
                            let link = Link { fault: fault.into(), ..Link::default() };
                            let new = candidate_with(&server, &format!("{name}-{starts}"), NOON, link);
                            let ended = std::mem::replace(old, new).task.await;
                            assert!(matches!(ended, Ok(Err(_))), "only the loss of the lease ends a candidate: {ended:?}");
                        }
                    }
                }
            }
            assert_eq!(all.iter().filter(|candidate| candidate.leads()).count(), 1, "in calm weather somebody leads");
        });
    }
}
