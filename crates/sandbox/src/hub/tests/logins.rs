//! Who gets in, by which door, and what is said to those who don't.

use super::*;

const WRONG: &str = "Incorrect authentication credentials";

#[tokio::test]
async fn a_password_opens_both_doors_for_ten_minutes() {
    let world = world().await;
    let (status, body) = world.auth_token("olga", "right").await;
    assert_eq!((status, keys_of(&body)), (200, vec!["access_token"]));
    let claims = claims(body["access_token"].as_str().unwrap());
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
    assert_eq!(claims["iat"], world.clock.now().as_second());
    assert_eq!(claims["https://hub.docker.com"]["username"], "olga");
    let (status, body) = world.users_login("olga", "right").await;
    assert_eq!((status, keys_of(&body)), (200, vec!["token"]));
    let jwt = body["token"].as_str().unwrap();
    assert_eq!(world.call(jwt, Method::GET, TOKENS, None).await.0, 200);
    world.minutes(9);
    assert_eq!(world.call(jwt, Method::GET, TOKENS, None).await.0, 200);
    world.minutes(1);
    assert_eq!(world.call(jwt, Method::GET, TOKENS, None).await.0, 401);
}

#[tokio::test]
async fn a_refresh_token_is_given_only_when_asked_for() {
    let world = world().await;
    let body = json!({"username": "olga", "password": "right"});
    let (_, body) = world.post("/v2/users/login?refresh_token=true", body).await;
    assert_eq!(keys_of(&body), ["token", "refresh_token"]);
}

#[tokio::test]
async fn wrong_credentials_are_refused_in_each_doors_own_words() {
    let world = world().await;
    let expected = json!({"errinfo": {}, "detail": WRONG, "message": "unauthorized"});
    assert_eq!(world.auth_token("olga", "wrong").await, (401, expected.clone()));
    assert_eq!(world.auth_token("nobody", "right").await, (401, expected));
    assert_eq!(world.users_login("olga", "wrong").await, (401, json!({"detail": WRONG})));
    assert_eq!(world.post("/v2/auth/token", json!({"identifier": "olga"})).await.0, 400);
    assert_eq!(world.post("/v2/users/login", json!([])).await.0, 400);
}

#[tokio::test]
async fn after_five_failures_a_name_is_locked_for_ten_minutes() {
    let world = world().await;
    for _ in 0..5 {
        assert_eq!(world.auth_token("olga", "wrong").await.0, 401);
    }
    assert_eq!(world.hub.locked_until("olga"), Some(world.clock.now() + SignedDuration::from_mins(10)));
    let expected = json!({"detail": "Rate limit exceeded", "error": false});
    assert_eq!(world.auth_token("olga", "right").await, (429, expected.clone()));
    assert_eq!(world.users_login("olga", "right").await, (429, expected));
    // It is the name that is locked, not the caller.
    assert_eq!(world.auth_token("mia", "right").await.0, 200);
    let body = json!({"identifier": "olga", "secret": "right"});
    let url = format!("{}/v2/auth/token", world.hub.url());
    world.minutes(4);
    let refused = world.client.post(url).json(&body).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "360");
    world.minutes(6);
    assert_eq!(world.auth_token("olga", "right").await.0, 200);
}

#[tokio::test]
async fn a_right_password_and_time_both_forget_failures() {
    let world = world().await;
    for _ in 0..3 {
        for _ in 0..4 {
            world.auth_token("olga", "wrong").await;
        }
        assert_eq!(world.auth_token("olga", "right").await.0, 200);
    }
    for _ in 0..4 {
        world.auth_token("olga", "wrong").await;
    }
    world.minutes(10);
    world.auth_token("olga", "wrong").await;
    assert_eq!(world.auth_token("olga", "right").await.0, 200);
}

#[tokio::test]
async fn a_lock_can_have_another_status_and_be_lifted() {
    let world = world_with(|options| {
        options.quirks.locked_status = 401;
        options.quirks.login_failures = 1;
    })
    .await;
    world.auth_token("olga", "wrong").await;
    assert_eq!(world.auth_token("olga", "right").await, (401, json!({"detail": WRONG})));
    world.hub.unlock("olga");
    assert_eq!(world.auth_token("olga", "right").await.0, 200);
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_taken() {
    let world = world().await;
    let (status, body) = world.users_login("otto", "right").await;
    assert_eq!(status, 401);
    assert_eq!(body["detail"], "Require secondary authentication on MFA enabled account");
    let ticket = body["login_2fa_token"].clone();
    let send =
        async |code: &str| world.post("/v2/users/2fa-login", json!({"login_2fa_token": ticket, "code": code})).await;
    let step = world.clock.now().as_second() / 30;
    let code = totp::code(TOTP, step).unwrap();
    let late = totp::code(TOTP, step - 2).unwrap();
    assert_eq!(send(&late).await, (401, json!({"detail": "Incorrect two-factor authentication code"})));
    let (status, body) = send(&code).await;
    assert_eq!((status, keys_of(&body)), (200, vec!["token"]));
    let jwt = body["token"].as_str().unwrap();
    assert_eq!(world.call(jwt, Method::GET, TOKENS, None).await.0, 200);
    // A ticket is good once.
    assert_eq!(send(&code).await.0, 401);
    assert_eq!(world.hub.count(Route::SecondFactor), 3);
}

#[tokio::test]
async fn wrong_codes_lock_as_well_and_tickets_grow_old() {
    let world = world().await;
    let ticket = async || world.users_login("otto", "right").await.1["login_2fa_token"].clone();
    let send = async |ticket: &Value| {
        let code = totp::code(TOTP, world.clock.now().as_second() / 30).unwrap();
        world.post("/v2/users/2fa-login", json!({"login_2fa_token": ticket, "code": code})).await.0
    };
    let old = ticket().await;
    world.minutes(10);
    assert_eq!(send(&old).await, 401);
    let ticket = ticket().await;
    for _ in 0..5 {
        world.post("/v2/users/2fa-login", json!({"login_2fa_token": ticket, "code": "x"})).await;
    }
    assert_eq!(send(&ticket).await, 429);
}

#[tokio::test]
async fn a_code_is_used_up_if_the_quirk_says_so() {
    let world = world_with(|options| options.quirks.codes_reusable = false).await;
    let login = async || {
        let ticket = world.users_login("otto", "right").await.1["login_2fa_token"].clone();
        let code = totp::code(TOTP, world.clock.now().as_second() / 30).unwrap();
        world.post("/v2/users/2fa-login", json!({"login_2fa_token": ticket, "code": code})).await.0
    };
    assert_eq!(login().await, 200);
    assert_eq!(login().await, 401);
    world.minutes(1);
    assert_eq!(login().await, 200);
}

#[tokio::test]
async fn the_new_door_asks_for_a_second_factor_too_but_its_ticket_is_a_quirk() {
    let world = world().await;
    let code = totp::code(TOTP, world.clock.now().as_second() / 30).unwrap();
    let login = async || {
        let (status, body) = world.auth_token("otto", "right").await;
        assert_eq!(status, 401);
        let ticket = body["login_2fa_token"].clone();
        assert!(ticket.is_string());
        world.post("/v2/users/2fa-login", json!({"login_2fa_token": ticket, "code": code})).await.0
    };
    assert_eq!(login().await, 401);
    world.hub.with_quirks(|quirks| quirks.second_factor_after_auth_token = true);
    assert_eq!(login().await, 200);
}

#[tokio::test]
async fn with_single_sign_on_a_password_is_refused_and_a_personal_token_accepted() {
    let world = world().await;
    assert_eq!(world.auth_token("sso", "right").await.0, 401);
    assert_eq!(world.users_login("sso", "right").await.0, 401);
    assert_eq!(world.auth_token("sso", "dckr_pat_sso").await.0, 200);
    world.hub.set_single_sign_on("sso", false);
    assert_eq!(world.users_login("sso", "right").await.0, 200);
}

#[tokio::test]
async fn passwords_at_the_new_door_are_a_quirk() {
    let world = world_with(|options| options.quirks.auth_token_takes_passwords = false).await;
    assert_eq!(world.auth_token("olga", "right").await.0, 401);
    assert_eq!(world.users_login("olga", "right").await.0, 200);
    assert_eq!(world.auth_token("olga", "dckr_pat_olga").await.0, 200);
}

#[tokio::test]
async fn personal_tokens_log_in_but_manage_nothing() {
    let world = world().await;
    // No second factor with a personal token.
    let (status, body) = world.users_login("otto", "dckr_pat_otto").await;
    assert_eq!(status, 200);
    let jwt = body["token"].as_str().unwrap();
    let expected = json!({"message": "token issued from personal access token is not allowed", "errinfo": {}});
    assert_eq!(world.call(jwt, Method::GET, TOKENS, None).await, (403, expected));
    world.hub.with_quirks(|quirks| quirks.personal_tokens_manage = true);
    assert_eq!(world.call(jwt, Method::GET, TOKENS, None).await.0, 200);
}

#[tokio::test]
async fn organization_tokens_log_in_at_the_new_door_only_and_manage_nothing() {
    let world = world().await;
    let (id, value) = world.token("pull", all_repositories()).await;
    assert_eq!(world.acme().token(&id).unwrap().last_used_at, None);
    let (status, body) = world.auth_token("acme", &value).await;
    assert_eq!(status, 200);
    assert_eq!(world.acme().token(&id).unwrap().last_used_at, Some(world.clock.now()));
    let jwt = body["access_token"].as_str().unwrap();
    let expected = json!({"message": "token issued from organization access token is not allowed"});
    assert_eq!(world.call(jwt, Method::POST, TOKENS, Some(json!({}))).await, (403, expected));
    let expected = json!({"detail": "Cannot log into an organization account"});
    assert_eq!(world.users_login("acme", &value).await, (401, expected));
    assert_eq!(world.auth_token("other", &value).await.0, 401);
    world.acme().deactivate(&id);
    assert_eq!(world.auth_token("acme", &value).await.0, 401);
    world.acme().activate(&id);
    assert_eq!(world.auth_token("acme", &value).await.0, 200);
    world.acme().set_expiry(&id, Some(world.clock.now()));
    let (status, body) = world.auth_token("acme", &value).await;
    assert_eq!((status, &body["detail"]), (401, &json!("org access token is expired")));
}

#[tokio::test]
async fn a_value_is_no_bearer_token() {
    let world = world().await;
    let (_, value) = world.token("pull", all_repositories()).await;
    for bearer in [value.as_str(), "dckr_pat_olga", "", "x.y.z"] {
        assert_eq!(world.call(bearer, Method::GET, TOKENS, None).await.0, 401, "{bearer}");
    }
    let bare = world.client.get(format!("{}{TOKENS}", world.hub.url())).send().await.unwrap();
    assert_eq!(bare.status(), 401);
}

#[tokio::test]
async fn the_old_scheme_still_works() {
    let world = world().await;
    let jwt = world.jwt("olga").await;
    let url = format!("{}{TOKENS}", world.hub.url());
    let answer = world.client.get(url).header("authorization", format!("JWT {jwt}")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn only_owners_manage_tokens() {
    let world = world().await;
    let forbidden = json!({"message": "forbidden", "errinfo": {}});
    let (mia, ute) = (world.jwt("mia").await, world.jwt("ute").await);
    assert_eq!(world.call(&mia, Method::GET, TOKENS, None).await, (403, forbidden.clone()));
    assert_eq!(world.call(&ute, Method::GET, TOKENS, None).await, (403, forbidden));
    assert_eq!(world.call(&ute, Method::GET, "/v2/orgs/other/access-tokens", None).await.0, 200);
    let (status, body) = world.call(&mia, Method::GET, "/v2/orgs/nowhere/access-tokens", None).await;
    assert_eq!(status, 404);
    assert!(body["message"].as_str().unwrap().contains("not found"));
    world.acme().set_owner("mia", true);
    assert_eq!(world.call(&mia, Method::GET, TOKENS, None).await.0, 200);
}

#[tokio::test]
async fn names_in_other_case_are_a_quirk() {
    let world = world().await;
    assert_eq!(world.owner(Method::GET, "/v2/orgs/ACME/access-tokens", None).await.0, 404);
    world.hub.with_quirks(|quirks| quirks.any_case = true);
    assert_eq!(world.owner(Method::GET, "/v2/orgs/ACME/access-tokens", None).await.0, 200);
}

#[tokio::test]
async fn hands_change_passwords_and_end_sessions() {
    let world = world().await;
    let jwt = world.jwt("olga").await;
    world.hub.set_password("olga", "new");
    assert_eq!(world.auth_token("olga", "right").await.0, 401);
    assert_eq!(world.auth_token("olga", "new").await.0, 200);
    assert_eq!(world.call(&jwt, Method::GET, TOKENS, None).await.0, 200);
    world.hub.end_sessions();
    assert_eq!(world.call(&jwt, Method::GET, TOKENS, None).await.0, 401);
    world.hub.set_totp_secret("olga", Some(TOTP));
    assert_eq!(world.auth_token("olga", "new").await.1["login_2fa_token"].as_str().map(str::len), Some(48));
}
