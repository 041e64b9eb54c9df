//! The list: when it is read, who shares it, and what it becomes.

use futures::future::join_all;
use tokio::sync::watch;

use super::*;

fn ids(snapshot: &Snapshot) -> Vec<String> {
    snapshot.tokens.iter().map(|token| token.id.clone()).collect()
}

/// A script whose lists are held back until the gate opens, with these tokens.
fn held(ids: &'static [&'static str]) -> (watch::Sender<bool>, impl Fn(&Seen) -> Option<Say> + Send + Sync) {
    let (open, gate) = watch::channel(true);
    (open, move |seen: &Seen| {
        let made = seen.is_create().then(|| Say::json(201, created("t3")));
        made.or_else(|| seen.is_list().then(|| Say::Held(gate.clone(), Box::new(Say::json(200, list(ids))))))
    })
}

#[tokio::test]
async fn whoever_asks_gets_a_list_that_began_after_the_question() {
    let (open, script) = held(&["t1"]);
    let rig = ready(script).await;
    open.send_replace(false);
    rig.clock.advance(Duration::from_secs(1));
    let first = tokio::spawn({
        let handle = rig.handle.clone();
        async move { handle.refresh(Urgency::Normal).await }
    });
    rig.server.wait(2, Seen::is_list).await;
    rig.clock.advance(Duration::from_secs(1));
    // These come while that list is being read: one more list, for all of them.
    let handle = &rig.handle;
    let later = join_all((0..20).map(|_| handle.refresh(Urgency::Normal)));
    let opener = async {
        while handle.waiting() < 20 {
            tokio::task::yield_now().await;
        }
        open.send_replace(true);
    };
    let (later, ()) = tokio::join!(later, opener);
    let first = first.await.unwrap().unwrap();
    assert_eq!(first.started, Timestamp::constant(1_800_000_001, 0));
    for snapshot in later {
        assert_eq!(snapshot.unwrap().started, Timestamp::constant(1_800_000_002, 0));
    }
    assert_eq!(rig.server.count(Seen::is_list), 3);
    assert_eq!(rig.server.count(Seen::is_login), 1);
}

#[tokio::test]
async fn what_our_own_calls_did_is_folded_over_a_list_that_began_before() {
    let (open, script) = held(&["t1", "t2"]);
    let rig = ready(script).await;
    open.send_replace(false);
    let handle = &rig.handle;
    let edits = async {
        rig.server.wait(2, Seen::is_list).await;
        handle.create(new_token(), Urgency::Normal).await.unwrap();
        handle.delete("t1", Urgency::Normal).await.unwrap();
        assert_eq!(ids(&rig.state().snapshot.unwrap()), ["t2", "t3"], "at once");
        open.send_replace(true);
    };
    let (snapshot, ()) = tokio::join!(handle.refresh(Urgency::Normal), edits);
    assert_eq!(ids(&snapshot.unwrap()), ["t2", "t3"]);
    // A list that began afterwards is the truth.
    assert_eq!(ids(&handle.refresh(Urgency::Normal).await.unwrap()), ["t1", "t2"]);
}

#[tokio::test]
async fn watchers_are_woken_by_changes_only() {
    let rig = ready(|seen| seen.is_list().then(|| Say::json(200, list(&["t1"])))).await;
    let mut watcher = rig.handle.state();
    let before = watcher.borrow_and_update().snapshot.clone().unwrap();
    rig.clock.advance(Duration::from_secs(5));
    let after = rig.handle.refresh(Urgency::Normal).await.unwrap();
    assert_eq!((after.revision, &after.tokens), (before.revision, &before.tokens));
    assert!(!watcher.has_changed().unwrap());
    assert_eq!(rig.state().snapshot.unwrap().started, Timestamp::constant(1_800_000_005, 0), "the time moves quietly");
}

#[tokio::test]
async fn it_says_since_when_there_have_been_so_many() {
    let there: Arc<Mutex<&'static [&'static str]>> = Arc::new(Mutex::new(&["t1", "t2"]));
    let script = there.clone();
    let rig = ready(move |seen| seen.is_list().then(|| Say::json(200, list(*script.lock().unwrap())))).await;
    let steady = async |ids| {
        *there.lock().unwrap() = ids;
        rig.clock.advance(Duration::from_secs(5));
        rig.handle.refresh(Urgency::Normal).await.unwrap().steady
    };
    let at = |second: i64| Timestamp::constant(1_800_000_000 + second, 0);
    assert_eq!(steady(&["t1", "t2"]).await, at(0));
    assert_eq!(steady(&["t2", "t3"]).await, at(0), "one for another");
    assert_eq!(steady(&["t2"]).await, at(15));
    assert_eq!(steady(&["t2"]).await, at(15));
    rig.handle.delete("t2", Urgency::Normal).await.unwrap();
    assert_eq!(rig.state().snapshot.unwrap().steady, at(20), "our own deletion counts as of the list that it changes");
    assert_eq!(steady(&[]).await, at(20));
}

#[tokio::test]
async fn it_polls_by_the_clock_with_one_login_and_one_list() {
    let rig = ready(|_| None).await;
    assert_eq!(rig.server.seen().len(), 2);
    // At the latest a tenth after the interval.
    rig.clock.advance(66 * MINUTE);
    rig.server.wait(2, Seen::is_list).await;
    assert_eq!(rig.server.seen().len(), 4, "the login had run out");
    // Its time moves quietly, so it is looked at, not waited for.
    while rig.state().snapshot.is_none_or(|snapshot| snapshot.started == NOW) {
        tokio::task::yield_now().await;
    }
    rig.handle.set_poll_interval(MINUTE);
    rig.clock.advance(2 * MINUTE);
    rig.server.wait(3, Seen::is_list).await;
    assert_eq!(rig.server.seen().len(), 5, "the login still holds");
}

#[tokio::test]
async fn without_polls_it_lists_only_when_asked_and_new_credentials_end_the_trouble() {
    let well = Arc::new(Mutex::new(false));
    let script = well.clone();
    let rig = rig(move |seen| (seen.is_list() && !*script.lock().unwrap()).then(|| Say::html(503))).await;
    // Long enough for the client to do what it wants to.
    let idle = async || {
        rig.clock.advance(120 * MINUTE);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        rig.server.count(Seen::is_list)
    };
    rig.handle.set_poll_interval(NEVER);
    rig.handle.set_credentials(Some(owner()), "1");
    assert_eq!((idle().await, rig.server.seen().len()), (0, 0), "not at the start");
    rig.handle.refresh(Urgency::Normal).await.unwrap_err();
    assert_eq!(rig.state().trouble.unwrap().reason, "HubUnavailable");
    assert_eq!(idle().await, 1, "not after a failure");
    rig.handle.set_credentials(Some(credentials("another")), "2");
    rig.until(|state| state.trouble.is_none()).await;
    assert_eq!(idle().await, 1, "not after new credentials");
    *well.lock().unwrap() = true;
    rig.handle.refresh(Urgency::Normal).await.unwrap();
    assert_eq!(idle().await, 2);
    rig.handle.set_poll_interval(MINUTE);
    rig.server.wait(3, Seen::is_list).await;
}

#[tokio::test]
async fn after_failures_it_backs_off_and_recovers_by_itself() {
    let well = Arc::new(Mutex::new(false));
    let script = well.clone();
    let rig = rig(move |seen| (seen.is_list() && !*script.lock().unwrap()).then(|| Say::html(503))).await;
    rig.handle.set_credentials(Some(owner()), "1");
    let mut now = NOW;
    for (number, wait) in [5, 10, 20, 40, 80, 160, 300, 300].into_iter().enumerate() {
        rig.server.wait(number + 1, Seen::is_list).await;
        let retry = now.saturating_add(Duration::from_secs(wait)).unwrap();
        // Quiet, so it is looked at, not waited for.
        while rig.state().trouble.and_then(|trouble| trouble.retry) != Some(retry) {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.state().trouble.unwrap().since, NOW);
        if number == 7 {
            *well.lock().unwrap() = true;
        }
        rig.clock.advance(Duration::from_secs(wait - 1));
        assert_eq!(rig.server.count(Seen::is_list), number + 1);
        rig.clock.advance(Duration::from_secs(1));
        now = retry;
    }
    let state = rig.until(|state| state.snapshot.is_some()).await;
    assert_eq!(state.trouble, None);
    assert_eq!(rig.server.count(Seen::is_list), 9);
}

#[tokio::test]
async fn all_pages_are_read_and_no_link_is_followed() {
    let elsewhere = Server::start(|_| None).await;
    let link = elsewhere.url("v2/orgs/acme/access-tokens?page=2").to_string();
    let rig = ready(move |seen| {
        let page = match seen.path.split_once('?')?.1 {
            "page=1&page_size=100" => json!({"total": 3, "next": link, "results": [token("t3"), token("t1")]}),
            "page=2&page_size=100" => json!({"total": 3, "next": null, "results": [token("t2"), token("t1")]}),
            _ => return None,
        };
        seen.is_list().then(|| Say::json(200, page))
    })
    .await;
    assert_eq!(ids(&rig.state().snapshot.unwrap()), ["t1", "t2", "t3"], "merged by id");
    assert_eq!(rig.server.count(Seen::is_list), 2);
    assert_eq!(elsewhere.seen().len(), 0);
}

#[tokio::test]
async fn without_a_link_the_count_tells() {
    let rig = ready(|seen| {
        let page = match seen.path.split_once('?')?.1 {
            "page=1&page_size=100" => json!({"total": 3, "results": [token("t1"), token("t2")]}),
            "page=2&page_size=100" => json!({"total": 3, "results": [token("t3")], "new_field": {"a": [1]}}),
            _ => return None,
        };
        Some(Say::json(200, page))
    })
    .await;
    assert_eq!(ids(&rig.state().snapshot.unwrap()), ["t1", "t2", "t3"]);
    assert_eq!(rig.server.count(Seen::is_list), 2);
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let rig =
        rig(|seen| seen.is_list().then(|| Say::json(200, json!({"total": 9, "next": "x", "results": [token("t1")]}))))
            .await;
    rig.handle.set_credentials(Some(owner()), "1");
    let error = rig.handle.refresh(Urgency::Normal).await.unwrap_err();
    assert_eq!(error.reason(), "UnexpectedAnswer");
    assert_eq!(rig.state().snapshot, None);
}
