//! Logins: one for everybody, and never the same wrong password twice.

use futures::future::join_all;
use secrecy::ExposeSecret;
use tokio::sync::watch;

use super::*;

fn wrong(seen: &Seen) -> Option<Say> {
    seen.is_login().then(|| Say::json(401, json!({"detail": "Incorrect authentication credentials"})))
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let rig = rig(|_| None).await;
    let error = rig.handle.refresh(Urgency::Normal).await.unwrap_err();
    assert_eq!((error.reason(), error.disposition()), ("CredentialsInvalid", Disposition::Stalled));
    let state = rig.state();
    assert_eq!((state.login, state.trouble.unwrap().reason), (Login::Missing, "CredentialsInvalid"));
    assert_eq!(rig.server.seen().len(), 0);
    rig.handle.set_credentials(Some(owner()), "1");
    let state = rig.until(|state| state.snapshot.is_some()).await;
    assert_eq!((state.login, state.trouble), (Login::Accepted, None));
    let login = rig.server.seen().remove(0);
    assert_eq!(login.json(), json!({"identifier": "owner", "secret": PASSWORD}));
    assert!(!login.headers.contains("authorization"));
    rig.handle.set_credentials(None, "");
    assert_eq!(rig.state().login, Login::Missing);
    assert_eq!(rig.handle.get("t1").await.unwrap_err().failure, Failure::CredentialsMissing);
}

#[tokio::test]
async fn all_share_one_login() {
    let (open, gate) = watch::channel(false);
    let rig = rig(move |seen| {
        seen.is_login().then(|| Say::Held(gate.clone(), Box::new(Say::json(200, json!({"access_token": JWT})))))
    })
    .await;
    rig.handle.set_credentials(Some(owner()), "1");
    let handle = &rig.handle;
    let opener = async {
        rig.server.wait(1, Seen::is_login).await;
        open.send_replace(true);
    };
    let (found, ()) = tokio::join!(join_all((0..20).map(|_| handle.get("t1"))), opener);
    assert!(found.iter().all(|found| found == &Ok(None)));
    assert_eq!(rig.server.count(Seen::is_login), 1);
}

#[tokio::test]
async fn all_who_waited_share_the_failure_of_a_login() {
    let (open, gate) = watch::channel(false);
    let rig = rig(move |seen| seen.is_login().then(|| Say::Held(gate.clone(), Box::new(Say::html(503))))).await;
    rig.handle.set_credentials(Some(owner()), "1");
    let handle = &rig.handle;
    let opener = async {
        rig.server.wait(1, Seen::is_login).await;
        open.send_replace(true);
    };
    let (results, ()) = tokio::join!(join_all((0..6).map(|_| handle.delete("t1", Urgency::Urgent))), opener);
    for result in results {
        assert_eq!(result.unwrap_err().failure, Failure::Unavailable);
    }
    assert_eq!(rig.server.count(Seen::is_login), 1);
}

#[tokio::test]
async fn a_login_is_kept_until_a_minute_before_its_end() {
    let jwt = |expires: i64| {
        let claims = data_encoding::BASE64URL_NOPAD.encode(json!({"exp": expires}).to_string().as_bytes());
        format!("h.{claims}.s")
    };
    let jwt = jwt(NOW.as_second() + 1200);
    let rig = ready(move |seen| seen.is_login().then(|| Say::json(200, json!({"access_token": jwt})))).await;
    rig.clock.advance(19 * MINUTE - Duration::from_secs(1));
    assert_eq!(rig.handle.get("t1").await.unwrap(), None);
    assert_eq!(rig.server.count(Seen::is_login), 1);
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(rig.handle.get("t1").await.unwrap(), None);
    assert_eq!(rig.server.count(Seen::is_login), 2);
}

#[tokio::test]
async fn a_refused_password_is_not_tried_again_for_15_minutes() {
    let rig = rig(wrong).await;
    let logins = || rig.server.count(Seen::is_login);
    rig.handle.set_credentials(Some(owner()), "v1");
    let state = rig.until(|state| state.refused.is_some()).await;
    assert_eq!(state.refused, Some(Refusal { version: "v1".into(), time: NOW }));
    // The same under another version is the same.
    rig.handle.set_credentials(Some(owner()), "v2");
    assert_eq!(rig.state().refused.unwrap().version, "v2");
    rig.clock.advance(15 * MINUTE - Duration::from_secs(1));
    for _ in 0..3 {
        let error = rig.handle.refresh(Urgency::Urgent).await.unwrap_err();
        let until = Timestamp::constant(1_800_000_900, 0);
        assert_eq!((error.reason(), error.disposition()), ("CredentialsInvalid", Disposition::RetryAt(until)));
        assert!(error.to_string().contains("Incorrect authentication credentials"), "{error}");
    }
    assert_eq!(logins(), 1);
    rig.clock.advance(Duration::from_secs(1));
    rig.server.wait(2, Seen::is_login).await;
}

#[tokio::test]
async fn other_credentials_are_tried_at_once_but_no_more_than_three_wrong_ones_in_ten_minutes() {
    let rig = rig(|seen| if seen.body.contains("right") { None } else { wrong(seen) }).await;
    for number in 1..=5 {
        rig.handle.set_credentials(Some(credentials(&format!("wrong password {number}"))), number.to_string());
        let error = rig.handle.refresh(Urgency::Normal).await.unwrap_err();
        assert_eq!(error.reason(), "CredentialsInvalid");
        assert_eq!(rig.server.count(Seen::is_login), number.min(3), "{error}");
        rig.clock.advance(MINUTE);
    }
    // Even the right ones wait: another failure would lock the owner out.
    rig.handle.set_credentials(Some(credentials("the right one")), "6");
    let error = rig.handle.refresh(Urgency::Normal).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::RetryAt(Timestamp::constant(1_800_000_600, 0)));
    assert_eq!(rig.server.count(Seen::is_login), 3);
    rig.clock.advance(5 * MINUTE);
    let state = rig.until(|state| state.snapshot.is_some()).await;
    assert_eq!((state.login, state.refused), (Login::Accepted, None));
    assert_eq!(rig.server.count(Seen::is_login), 4);
}

#[tokio::test]
async fn a_refusal_is_remembered_over_a_restart() {
    let refusal = Refusal { version: "v1".into(), time: Timestamp::constant(1_799_999_940, 0) };
    let rig = rig_with(Some(refusal.clone()), Duration::from_secs(30), |_| None).await;
    rig.handle.set_credentials(Some(owner()), "v1");
    let error = rig.handle.refresh(Urgency::Urgent).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::RetryAt(Timestamp::constant(1_800_000_840, 0)));
    assert_eq!(rig.server.seen().len(), 0);
    assert_eq!((rig.state().login, rig.state().refused), (Login::Refused, Some(refusal)));
    rig.handle.set_credentials(Some(credentials("another")), "v2");
    let state = rig.until(|state| state.snapshot.is_some()).await;
    assert_eq!(state.refused, None);
}

#[tokio::test]
async fn three_wrong_logins_in_ten_minutes_are_the_most_over_any_number_of_restarts() {
    let at = |second: i32| Timestamp::constant(1_800_000_000 + i64::from(second), 0);
    let refusal = |version: &str, second| Refusal { version: version.into(), time: at(second) };
    // Two logins of a former process are remembered, the second also in the field of older versions.
    let rig = rig_with(Some(refusal("v2", -60)), Duration::from_secs(30), wrong).await;
    rig.handle.recall(vec![refusal("v1", -120), refusal("v2", -60)]);
    assert_eq!(rig.state().wrong, [refusal("v1", -120), refusal("v2", -60)]);
    rig.handle.set_credentials(Some(credentials("a third")), "v3");
    let state = rig.until(|state| state.wrong.len() == 3).await;
    assert_eq!(state.wrong, [refusal("v1", -120), refusal("v2", -60), refusal("v3", 0)]);
    // The next process is told of all three, and sends nothing before the first is ten minutes old.
    let next = rig_with(state.refused, Duration::from_secs(30), |_| None).await;
    next.handle.recall(state.wrong);
    next.handle.set_credentials(Some(owner()), "v4");
    let error = next.handle.refresh(Urgency::Urgent).await.unwrap_err();
    assert_eq!((error.failure.clone(), error.disposition()), (Failure::TooManyLogins, Disposition::RetryAt(at(480))));
    assert_eq!((rig.server.count(Seen::is_login), next.server.seen().len()), (1, 0));
    next.clock.advance(8 * MINUTE);
    let state = next.until(|state| state.snapshot.is_some()).await;
    assert_eq!((state.login, state.wrong.len()), (Login::Accepted, 3));
}

#[tokio::test]
async fn a_refusal_of_the_older_field_counts_without_the_list() {
    let refusal = Refusal { version: "v1".into(), time: NOW };
    let rig = rig_with(Some(refusal.clone()), Duration::from_secs(30), wrong).await;
    rig.handle.recall(Vec::new());
    assert_eq!(rig.state().wrong, [refusal]);
}

#[tokio::test]
async fn answers_that_were_lost_count_as_wrong_unless_the_credentials_are_known_to_be_good() {
    let broken = Arc::new(Mutex::new(false));
    let script = broken.clone();
    let rig = rig(move |seen| (seen.is_login() && *script.lock().unwrap()).then(|| Say::Raw(Vec::new()))).await;
    *broken.lock().unwrap() = true;
    rig.handle.set_credentials(Some(owner()), "1");
    for _ in 0..6 {
        rig.handle.refresh(Urgency::Normal).await.unwrap_err();
    }
    assert_eq!(rig.server.count(Seen::is_login), 3);
    *broken.lock().unwrap() = false;
    rig.clock.advance(11 * MINUTE);
    rig.until(|state| state.snapshot.is_some()).await;
    *broken.lock().unwrap() = true;
    rig.clock.advance(11 * MINUTE);
    let before = rig.server.count(Seen::is_login);
    for _ in 0..6 {
        assert_eq!(rig.handle.refresh(Urgency::Normal).await.unwrap_err().failure, Failure::Broken);
    }
    assert_eq!(rig.server.count(Seen::is_login) - before, 6);
}

#[tokio::test]
async fn the_second_factor_takes_two_steps_and_no_code_is_used_twice() {
    let rig = rig(|seen| {
        Some(match seen.path.as_str() {
            "/v2/users/login" => Say::json(401, json!({"detail": "MFA", "login_2fa_token": "ticket"})),
            "/v2/users/2fa-login" => Say::json(200, json!({"token": JWT})),
            "/v2/auth/token" => Say::html(500),
            _ if seen.path.ends_with("t1") => Say::json(401, json!({})),
            _ => return None,
        })
    })
    .await;
    let credentials = Credentials::parse(b"owner", PASSWORD.as_bytes(), Some(TOTP.as_bytes())).unwrap();
    rig.handle.set_credentials(Some(credentials.clone()), "1");
    rig.until(|state| state.snapshot.is_some()).await;
    let seen = rig.server.seen();
    assert_eq!(seen[0].json(), json!({"username": "owner", "password": PASSWORD}));
    let secret = credentials.totp_secret.unwrap();
    let code = login::totp(&secret).unwrap().generate(1_800_000_000).to_string();
    assert_eq!(seen[1].json(), json!({"login_2fa_token": "ticket", "code": code}));
    assert_eq!((code.len(), secret.expose_secret()), (6, TOTP));

    // The login is not accepted any more, but its code is used up.
    let error = rig.handle.get("t1").await.unwrap_err();
    let next = Timestamp::constant(1_800_000_030, 0);
    assert_eq!((error.failure.clone(), error.disposition()), (Failure::TwoFactorWait, Disposition::RetryAt(next)));
    assert_eq!(rig.server.count(|seen| seen.path.contains("/users/")), 2);
    rig.clock.advance(Duration::from_secs(30));
    assert_eq!(rig.handle.get("t2").await.unwrap(), None);
    assert_eq!(rig.server.count(|seen| seen.path.contains("/users/")), 4);
}

#[tokio::test]
async fn a_code_that_is_refused_is_the_credentials_fault() {
    let rig = rig(|seen| {
        Some(match seen.path.as_str() {
            "/v2/users/login" => Say::json(401, json!({"detail": "MFA", "login_2fa_token": "ticket"})),
            "/v2/users/2fa-login" => Say::json(401, json!({"detail": "Incorrect code"})),
            _ => return None,
        })
    })
    .await;
    rig.handle.set_credentials(Some(Credentials::parse(b"owner", b"x", Some(TOTP.as_bytes())).unwrap()), "1");
    let error = rig.handle.refresh(Urgency::Normal).await.unwrap_err();
    assert_eq!((error.failure.clone(), error.reason()), (Failure::TwoFactorRefused, "CredentialsInvalid"));
    rig.handle.refresh(Urgency::Normal).await.unwrap_err();
    assert_eq!(rig.server.seen().len(), 2);
}
