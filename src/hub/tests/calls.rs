//! Calls: what is sent, how often, and who goes first.

use std::sync::atomic::Ordering::SeqCst;

use futures::{FutureExt, future::join_all};
use tokio::sync::watch;

use super::*;

#[tokio::test]
async fn a_create_sends_what_was_asked_for_and_folds_the_token_in() {
    let rig = ready(|seen| seen.is_create().then(|| Say::json(201, created("t1")))).await;
    let mut state = rig.handle.state();
    state.mark_unchanged();
    let made = rig.handle.create(new_token(), Urgency::Normal).await.unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&made.value), VALUE);
    assert_eq!(made.token.resources, Some(new_token().resources));
    assert_eq!(made.token.expiration_time, Some("2029-12-31T23:59:59Z".parse().unwrap()));
    assert!(state.has_changed().unwrap());
    let snapshot = rig.state().snapshot.unwrap();
    assert_eq!((snapshot.tokens.len(), snapshot.revision), (1, 2));

    let seen = rig.server.seen().pop().unwrap();
    assert_eq!(
        seen.json(),
        json!({
            "label": "payments pull [c/abc.1]", "description": "about",
            "resources": [{"type": "TYPE_REPO", "path": "acme/*", "scopes": ["scope-image-pull"]}],
            "expires_at": "2030-03-17T17:46:40Z",
        })
    );
    for header in
        [&format!("authorization: Bearer {JWT}"), "content-type: application/json", "user-agent: oat-operator/"]
    {
        assert!(seen.headers.contains(header), "{header}: {}", seen.headers);
    }
    assert_eq!(rig.server.count(|other| other.connection == seen.connection), 1, "a connection of its own");
    assert!(rig.told.0.lock().unwrap().contains(&("create".into(), "201".into())));
}

#[tokio::test]
async fn a_change_sends_only_what_changes() {
    let rig =
        ready(|seen| seen.is("PATCH", "/v2/orgs/acme/access-tokens/t1").then(|| Say::json(200, token("t1")))).await;
    let change = Change { active: Some(false), description: Some(String::new()), ..Change::default() };
    let token = rig.handle.update("t1", change, Urgency::Urgent).await.unwrap();
    assert_eq!(token.id, "t1");
    assert_eq!(rig.server.seen().pop().unwrap().json(), json!({"description": "", "is_active": false}));
    let gone = rig.handle.update("t2", Change::default(), Urgency::Normal).await.unwrap_err();
    assert_eq!((gone.reason(), gone.disposition()), ("TokenNotFound", Disposition::Retry));
}

/// A 404 is believed only where a look at the token says so too.
#[tokio::test]
async fn a_token_that_is_there_is_not_taken_for_gone() {
    let rig = ready(|seen| {
        let listed = seen.is_list().then(|| Say::json(200, list(&["t1"])));
        listed.or_else(|| seen.is("GET", "/v2/orgs/acme/access-tokens/t1").then(|| Say::json(200, token("t1"))))
    })
    .await;
    let delete = rig.handle.delete("t1", Urgency::Normal).await.unwrap_err();
    let update = rig.handle.update("t1", Change::default(), Urgency::Normal).await.unwrap_err();
    for error in [delete, update] {
        assert_eq!((error.reason(), error.disposition()), ("UnexpectedAnswer", Disposition::Retry), "{error}");
    }
    assert_eq!(rig.state().snapshot.unwrap().tokens.len(), 1);
}

#[tokio::test]
async fn names_that_mean_another_path_are_not_sent() {
    let rig = ready(|_| None).await;
    let before = rig.server.seen().len();
    for id in ["", ".", "..", "a/b", "a?b", "a#b", "%2e%2e", "a b", "ä"] {
        let error = rig.handle.delete(id, Urgency::Urgent).await.unwrap_err();
        assert_eq!((error.failure.clone(), error.effect()), (Failure::Unusable, Effect::None), "{id}");
    }
    assert_eq!(rig.server.seen().len(), before);
}

#[tokio::test]
async fn a_login_that_ran_out_is_made_again_and_only_what_may_be_repeated_is() {
    let refusing = |seen: &Seen| {
        let routes = ["GET", "PATCH", "DELETE"].iter().any(|method| seen.is(method, "/v2/orgs/acme/access-tokens/t1"));
        (routes || seen.is_create()).then(|| Say::json(401, json!({"message": "unauthorized"})))
    };
    let rig = ready(refusing).await;
    let logins = || rig.server.count(Seen::is_login);
    assert_eq!(logins(), 1);

    let error = rig.handle.create(new_token(), Urgency::Normal).await.unwrap_err();
    assert_eq!((error.failure.clone(), error.effect()), (Failure::LoginExpired, Effect::None));
    assert_eq!((rig.server.count(Seen::is_create), logins()), (1, 1));

    let calls = rig.server.seen().len();
    let error = rig.handle.get("t1").await.unwrap_err();
    assert_eq!(error.failure, Failure::LoginExpired);
    assert_eq!(rig.server.seen().len() - calls, 4, "login, 401, login, 401");
    let calls = rig.server.seen().len();
    rig.handle.update("t1", Change::default(), Urgency::Normal).await.unwrap_err();
    assert_eq!(rig.server.seen().len() - calls, 4);
    let calls = rig.server.seen().len();
    rig.handle.delete("t1", Urgency::Normal).await.unwrap_err();
    assert_eq!(rig.server.seen().len() - calls, 4);
}

#[tokio::test]
async fn a_repeat_after_a_new_login_succeeds() {
    let first = Mutex::new(true);
    let rig = ready(move |seen| {
        let route = seen.is("GET", "/v2/orgs/acme/access-tokens/t1");
        let first = route && std::mem::take(&mut *first.lock().unwrap());
        let answer = if first { Say::json(401, json!({})) } else { Say::json(200, token("t1")) };
        route.then_some(answer)
    })
    .await;
    assert!(rig.handle.get("t1").await.unwrap().is_some());
    assert_eq!(rig.server.count(Seen::is_login), 2);
}

#[tokio::test]
async fn nothing_is_sent_while_docker_hub_wants_silence() {
    let rig = ready(|seen| {
        let limited = seen.is("GET", "/v2/orgs/acme/access-tokens/t1");
        limited
            .then(|| Say::json(429, json!({"detail": "Rate limit exceeded", "error": false})).header("retry-after", 90))
    })
    .await;
    let until = Timestamp::constant(1_800_000_090, 0);
    let error = rig.handle.get("t1").await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::RetryAt(until));
    let before = rig.server.seen().len();
    rig.clock.advance(Duration::from_secs(89));
    for error in [
        rig.handle.get("t2").await.unwrap_err(),
        rig.handle.create(new_token(), Urgency::Urgent).await.unwrap_err(),
        rig.handle.update("t2", Change::default(), Urgency::Urgent).await.unwrap_err(),
        rig.handle.delete("t2", Urgency::Urgent).await.unwrap_err(),
        rig.handle.refresh(Urgency::Urgent).await.unwrap_err(),
    ] {
        assert_eq!((error.reason(), error.effect()), ("RateLimited", Effect::None));
        assert_eq!(error.disposition(), Disposition::RetryAt(until));
    }
    assert_eq!(rig.server.seen().len(), before, "0 calls early");
    let state = rig.state();
    assert_eq!((state.silent, state.trouble.unwrap().retry), (Some(until), Some(until)));

    // The list that ends the trouble comes by itself.
    rig.clock.advance(Duration::from_secs(1));
    rig.until(|state| state.trouble.is_none() && state.silent.is_none()).await;
    assert_eq!(rig.server.seen().len(), before + 1);
}

#[tokio::test]
async fn the_last_calls_of_a_minute_are_kept_for_urgent_ones() {
    let rig = ready(|seen| {
        let left =
            |left: u32| Say::json(200, list(&[])).header("x-ratelimit-limit", 10).header("x-ratelimit-remaining", left);
        let listed = seen.is_list().then(|| left(2).header("x-ratelimit-reset", NOW.as_second() + 30));
        listed.or_else(|| (seen.method == "DELETE").then(|| Say::Answer(204, vec![], String::new())))
    })
    .await;
    assert_eq!(*rig.told.1.lock().unwrap(), [2]);
    let before = rig.server.seen().len();
    let error = rig.handle.create(new_token(), Urgency::Normal).await.unwrap_err();
    assert_eq!((error.failure.clone(), error.effect()), (Failure::Reserved, Effect::None));
    assert_eq!(rig.server.seen().len(), before);
    assert_eq!(rig.state().trouble, None, "nobody is in trouble");
    rig.handle.delete("t1", Urgency::Urgent).await.unwrap();
    rig.handle.delete("t1", Urgency::Urgent).await.unwrap();
    let error = rig.handle.delete("t1", Urgency::Urgent).await.unwrap_err();
    assert_eq!(error.reason(), "RateLimited");
    assert_eq!(rig.server.seen().len(), before + 2);
}

#[tokio::test]
async fn calls_that_hang_hold_back_neither_each_other_nor_a_revocation() {
    let (open, gate) = watch::channel(false);
    let rig = ready(move |seen| {
        let held = || Say::Held(gate.clone(), Box::new(Say::json(201, created("t9"))));
        seen.is_create().then(held)
    })
    .await;
    let handle = &rig.handle;
    let creates = (0..9).map(|_| handle.create(new_token(), Urgency::Normal));
    let creates = join_all(creates);
    let rest = async {
        rig.server.wait(6, Seen::is_create).await;
        // Two places are kept.
        handle.delete("t1", Urgency::Urgent).await.unwrap();
        handle.update("t1", Change::default(), Urgency::Urgent).await.unwrap_err();
        assert!(handle.get("t1").now_or_never().is_none(), "no place for a normal call");
        assert_eq!(rig.server.count(Seen::is_create), 6);
        open.send_replace(true);
    };
    let (made, ()) = tokio::join!(creates, rest);
    assert!(made.iter().all(Result::is_ok));
    assert_eq!(rig.server.count(Seen::is_create), 9);
}

#[tokio::test]
async fn a_call_without_an_end_ends_all_the_same() {
    for say in [|| Say::Hang, || Say::Held(watch::channel(false).1, Box::new(Say::Hang))] {
        let rig = rig_with(None, Duration::from_millis(300), move |seen| seen.is_create().then(say)).await;
        rig.handle.set_credentials(Some(owner()), "1");
        let error = rig.handle.create(new_token(), Urgency::Normal).await.unwrap_err();
        assert_eq!((error.failure.clone(), error.effect()), (Failure::Timeout, Effect::Unknown));
        assert_eq!(rig.server.count(Seen::is_create), 1);
        assert!(rig.told.0.lock().unwrap().contains(&("create".into(), "timeout".into())));
    }
}

#[tokio::test]
async fn a_mebibyte_is_read_and_not_a_byte_more() {
    for (size, fits) in [(1024 * 1024, true), (1024 * 1024 + 1, false), (64 * 1024 * 1024, false)] {
        let rig = ready(move |seen| {
            let body = || {
                if size > 1 << 21 { Say::Flood } else { Say::Answer(200, vec![], padded(size)) }
            };
            seen.is("GET", "/v2/orgs/acme/access-tokens/t1").then(body)
        })
        .await;
        match rig.handle.get("t1").await {
            Ok(found) => assert!(fits && found.is_some(), "{size}"),
            Err(error) => assert!(!fits && error.failure == Failure::TooLarge, "{size}: {error}"),
        }
    }
}

fn padded(size: usize) -> String {
    let token = token("t1").to_string();
    format!("{token}{}", " ".repeat(size - token.len()))
}

#[tokio::test]
async fn what_never_left_was_certainly_not_executed() {
    tls();
    let server = Server::start(|_| None).await;
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    // No listener; and TLS where there is none.
    for url in [format!("http://127.0.0.1:{gone}"), format!("https://127.0.0.1:{}", server.port())] {
        let (handle, _task) = Organization::start(OrganizationConfig {
            name: "acme".into(),
            endpoints: Endpoints { hub: url.parse().unwrap(), ..endpoints(&server) },
            poll_interval: MINUTE,
            refused: None,
            limits: Limits::default(),
            clock: Clock::manual(NOW),
            observer: Arc::new(Told::default()),
            permit: Permit::always(),
        });
        handle.set_credentials(Some(owner()), "1");
        let error = handle.create(new_token(), Urgency::Normal).await.unwrap_err();
        assert_eq!(
            (error.failure.clone(), error.effect(), error.disposition()),
            (Failure::Connect, Effect::None, Disposition::Retry)
        );
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn endpoints_that_can_not_be_used_are_trouble_and_nothing_is_sent() {
    tls();
    let server = Server::start(|_| None).await;
    let good = endpoints(&server);
    let bad = [
        Endpoints { hub: "http://hub.example.com".parse().unwrap(), ..good.clone() },
        Endpoints { roots: b"no certificate".to_vec(), ..good.clone() },
        Endpoints { registry_service: String::new(), ..good },
    ];
    for endpoints in bad {
        let (handle, _task) = Organization::start(OrganizationConfig {
            name: "acme".into(),
            endpoints,
            poll_interval: MINUTE,
            refused: None,
            limits: Limits::default(),
            clock: Clock::manual(NOW),
            observer: Arc::new(Told::default()),
            permit: Permit::always(),
        });
        handle.set_credentials(Some(owner()), "1");
        let error = handle.refresh(Urgency::Normal).await.unwrap_err();
        assert_eq!((error.reason(), error.disposition()), ("InvalidSpec", Disposition::Stalled), "{error}");
        assert!(handle.state().borrow().trouble.is_some());
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_client_that_was_stopped_sends_nothing_more() {
    let rig = ready(|_| None).await;
    let before = rig.server.seen().len();
    let waiting = rig.handle.clone();
    rig.handle.stop();
    rig.task.await.unwrap();
    assert_eq!(waiting.refresh(Urgency::Urgent).await.unwrap_err().failure, Failure::Stopped);
    assert_eq!(waiting.get("t1").await.unwrap_err().failure, Failure::Stopped);
    assert_eq!(waiting.create(new_token(), Urgency::Urgent).await.unwrap_err().failure, Failure::Stopped);
    assert_eq!(waiting.prove(&secret(VALUE), &[], Urgency::Normal).await.unwrap_err().failure, Failure::Stopped);
    assert_eq!(rig.server.seen().len(), before);
}

#[tokio::test]
async fn a_client_ends_with_its_last_handle() {
    let (_open, gate) = watch::channel(false);
    let rig = rig(move |seen| seen.is_list().then(|| Say::Held(gate.clone(), Box::new(Say::Hang)))).await;
    rig.handle.set_credentials(Some(owner()), "1");
    rig.server.wait(1, Seen::is_list).await;
    let other = rig.handle.clone();
    drop(rig.handle);
    assert!(!rig.task.is_finished());
    drop(other);
    rig.task.await.unwrap();
}

/// A client that has logged in once, whose right ends when the server sees this request.
async fn until_seen(method: &'static str, path: &'static str, answer: fn() -> Say) -> Rig {
    let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = ended.clone();
    let permit = Permit::new(MINUTE, move |_| !asked.load(SeqCst));
    let script = move |seen: &Seen| {
        let here = seen.method == method && seen.path == path;
        ended.fetch_or(here, SeqCst);
        here.then(answer)
    };
    let rig = permitted(None, Duration::from_secs(30), permit, script).await;
    rig.handle.set_credentials(Some(owner()), "1");
    rig
}

#[tokio::test]
async fn what_waited_longer_than_the_right_lasts_is_not_sent() {
    let rig = until_seen("POST", "/v2/auth/token", || Say::json(200, json!({"access_token": JWT}))).await;
    rig.until(|state| state.snapshot.is_some()).await;
    let before = rig.server.seen().len();
    let create = rig.handle.create(new_token(), Urgency::Normal).await.unwrap_err();
    let update = rig.handle.update("id-1", Change::default(), Urgency::Urgent).await.unwrap_err();
    let delete = rig.handle.delete("id-1", Urgency::Urgent).await.unwrap_err();
    for error in [create, update, delete] {
        assert_eq!((error.failure.clone(), error.effect()), (Failure::NotPermitted, Effect::None), "{error}");
    }
    assert_eq!(rig.server.seen().len(), before);
    rig.handle.refresh(Urgency::Normal).await.expect("reading is free");
}

#[tokio::test]
async fn a_create_that_outlasts_the_right_is_given_up_and_may_have_been_executed() {
    let path = "/v2/orgs/acme/access-tokens";
    let rig = until_seen("POST", path, || Say::json(201, created("id-1"))).await;
    let error = rig.handle.create(new_token(), Urgency::Normal).await.unwrap_err();
    assert_eq!((error.failure.clone(), error.effect()), (Failure::NotPermitted, Effect::Unknown), "{error}");
    let creates = rig.server.seen().into_iter().filter(|seen| seen.method == "POST" && seen.path == path);
    assert_eq!(creates.count(), 1);
}
