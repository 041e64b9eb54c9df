//! The five routes, their shapes, their limits; and what people do by hand meanwhile.

use super::*;

const UUID: &str = r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";

fn matches(pattern: &str, value: &Value) -> bool {
    regex::Regex::new(pattern).unwrap().is_match(value.as_str().unwrap())
}

#[tokio::test]
async fn creation_answers_as_was_observed() {
    let world = world().await;
    let (status, body) = world
        .create(json!({
            "label": "debug-oat", "description": "debug", "resources": all_repositories(),
            "expires_at": "2029-12-31T23:59:59Z",
        }))
        .await;
    assert_eq!(status, 201);
    let fields = ["id", "label", "description", "resources", "token", "is_active", "expires_at", "created_at"];
    assert_eq!(keys_of(&body), fields);
    assert!(matches(UUID, &body["id"]), "{body}");
    assert!(matches("^dckr_oat_[a-zA-Z0-9_-]{27}$", &body["token"]), "{body}");
    assert_eq!(body["created_at"], "2026-11-25T12:00:00.504110Z");
    assert_eq!(body["expires_at"], "2029-12-31T23:59:59Z");
    assert_eq!(body["resources"], all_repositories());
    assert_eq!(keys_of(&body["resources"][0]), ["type", "path", "scopes"]);
    assert_eq!(body["is_active"], true);
}

#[tokio::test]
async fn without_description_and_expiry_the_one_is_absent_and_the_other_null() {
    let world = world().await;
    let (_, body) = world.create(json!({"label": "x", "resources": all_repositories(), "expires_at": null})).await;
    assert!(body.get("description").is_none());
    assert_eq!(body["expires_at"], Value::Null);
}

#[tokio::test]
async fn get_shows_all_but_the_value() {
    let world = world().await;
    let sent = json!({"label": "x", "description": "why", "resources": all_repositories()});
    let (_, created) = world.create(sent).await;
    let path = format!("{TOKENS}/{}", created["id"].as_str().unwrap());
    let (status, body) = world.owner(Method::GET, &path, None).await;
    assert_eq!(status, 200);
    let fields = [
        "id",
        "label",
        "description",
        "created_by",
        "is_active",
        "created_at",
        "expires_at",
        "last_used_at",
        "resources",
    ];
    assert_eq!(keys_of(&body), fields);
    assert_eq!((&body["created_by"], &body["last_used_at"]), (&json!("olga"), &Value::Null));
    assert_eq!(body["resources"], all_repositories());
}

#[tokio::test]
async fn unknown_ids_are_not_found_in_so_many_words() {
    let world = world().await;
    let path = format!("{TOKENS}/00000000-0000-4000-8000-000000000000");
    for (method, body) in [(Method::GET, None), (Method::PATCH, Some(json!({}))), (Method::DELETE, None)] {
        let (status, body) = world.owner(method.clone(), &path, body).await;
        let expected = json!({"detail": "Not found", "message": "access token not found"});
        assert_eq!((status, body), (404, expected), "{method}");
    }
}

#[tokio::test]
async fn lists_are_paged_by_ten_with_absolute_links() {
    let world = world_with(|options| options.organizations[0].limit = 100).await;
    for number in 0..23 {
        world.acme().create(NewToken::new("acme", &format!("t{number}"))).unwrap();
    }
    let page = async |path: &str| world.owner(Method::GET, path, None).await.1;
    let labels = |body: &Value| -> Vec<String> {
        body["results"].as_array().unwrap().iter().map(|token| token["label"].as_str().unwrap().to_owned()).collect()
    };
    let first = page(TOKENS).await;
    assert_eq!(keys_of(&first), ["total", "next", "previous", "results"]);
    assert_eq!((&first["total"], &first["previous"]), (&json!(23), &Value::Null));
    let next = format!("{}{TOKENS}?page=2&page_size=10", world.hub.url());
    assert_eq!(first["next"], next.as_str());
    assert_eq!((labels(&first).len(), labels(&first)[0].as_str()), (10, "t22"));
    let last = page(&format!("{TOKENS}?page=3")).await;
    assert_eq!((labels(&last), &last["next"]), (vec!["t2".into(), "t1".into(), "t0".into()], &Value::Null));
    assert_eq!(last["previous"], next.as_str());
    let item = &last["results"][0];
    let fields = ["id", "label", "created_by", "is_active", "created_at", "expires_at", "last_used_at"];
    assert_eq!(keys_of(item), fields);
    let all = page(&format!("{TOKENS}?page_size=1000")).await;
    assert_eq!((labels(&all).len(), &all["next"]), (23, &Value::Null));
    assert!(labels(&page(&format!("{TOKENS}?page=9")).await).is_empty());
    assert_eq!(world.owner(Method::GET, &format!("{TOKENS}?page=0"), None).await.0, 400);
    world.hub.with_quirks(|quirks| {
        quirks.order = Order::OldestFirst;
        quirks.largest_page_size = 5;
    });
    let small = page(&format!("{TOKENS}?page_size=100")).await;
    assert_eq!(labels(&small), ["t0", "t1", "t2", "t3", "t4"]);
    assert_eq!(small["next"], format!("{}{TOKENS}?page=2&page_size=5", world.hub.url()));
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named() {
    let world = world().await;
    let good = all_repositories();
    let resource = |kind: &str, path: &str, scopes: Value| json!([{"type": kind, "path": path, "scopes": scopes}]);
    let pull = json!([PULL]);
    let long = "x".repeat(101);
    for (field, sent) in [
        ("label", json!({"resources": good})),
        ("label", json!({"label": " ", "resources": good})),
        ("label", json!({"label": 7, "resources": good})),
        ("label", json!({"label": long, "resources": good})),
        ("description", json!({"label": "x", "description": "d".repeat(201), "resources": good})),
        ("resources", json!({"label": "x"})),
        ("resources", json!({"label": "x", "resources": []})),
        ("resources", json!({"label": "x", "resources": {}})),
        ("resources", json!({"label": "x", "resources": vec![good[0].clone(); 51]})),
        ("resources", json!({"label": "x", "resources": [{"type": "TYPE_REPO", "path": "acme/*"}]})),
        ("resources", json!({"label": "x", "resources": resource("TYPE_TEAM", "acme/*", pull.clone())})),
        ("resources", json!({"label": "x", "resources": resource("TYPE_REPO", "other/open", pull.clone())})),
        ("resources", json!({"label": "x", "resources": resource("TYPE_REPO", "acme/nowhere", pull.clone())})),
        ("resources", json!({"label": "x", "resources": resource("TYPE_REPO", "acme/a*", pull.clone())})),
        ("resources", json!({"label": "x", "resources": resource("TYPE_REPO", "acme", pull.clone())})),
        ("resources", json!({"label": "x", "resources": resource("TYPE_REPO", "acme/*", json!([]))})),
        ("resources", json!({"label": "x", "resources": resource("TYPE_REPO", "acme/*", json!(["repo-pull"]))})),
        ("resources", json!({"label": "x", "resources": resource("TYPE_ORG", "acme", pull)})),
        ("resources", json!({"label": "x", "resources": resource("TYPE_ORG", "other", json!(["scope-member-read"]))})),
        ("expires_at", json!({"label": "x", "resources": good, "expires_at": "tomorrow"})),
        ("expires_at", json!({"label": "x", "resources": good, "expires_at": "2026-11-25T12:00:00Z"})),
    ] {
        let (status, body) = world.create(sent.clone()).await;
        assert_eq!((status, keys_of(&body)), (400, vec!["fields", "text"]), "{sent}");
        assert_eq!(keys_of(&body["fields"]), [field], "{sent}: {body}");
    }
    let jwt = world.jwt("olga").await;
    let url = format!("{}{TOKENS}", world.hub.url());
    let garbage = world.client.post(url).bearer_auth(jwt).body("{").send().await.unwrap();
    assert_eq!(garbage.status(), 400);
    assert!(world.acme().tokens().is_empty());
}

#[tokio::test]
async fn every_form_of_a_path_is_accepted() {
    let world = world().await;
    let resources = json!([
        {"type": "TYPE_REPO", "path": "acme/api", "scopes": ["scope-image-push", "scope-cloud-connect"]},
        {"type": "TYPE_REPO", "path": "acme/*", "scopes": [PULL]},
        {"type": "TYPE_REPO", "path": "*/*/public", "scopes": [PULL]},
        {"type": "TYPE_ORG", "path": "acme", "scopes": ["scope-member-read"]},
    ]);
    let (id, _) = world.token("x", resources.clone()).await;
    let path = format!("{TOKENS}/{id}");
    assert_eq!(world.owner(Method::GET, &path, None).await.1["resources"], resources);
    world.hub.with_quirks(|quirks| quirks.sort_resources = true);
    let sorted = world.owner(Method::GET, &path, None).await.1["resources"].clone();
    let paths: Vec<_> = sorted.as_array().unwrap().iter().map(|resource| resource["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["acme", "*/*/public", "acme/*", "acme/api"]);
    assert_eq!(sorted[3]["scopes"], json!(["scope-cloud-connect", "scope-image-push"]));
}

#[tokio::test]
async fn gaps_are_filled_as_the_quirks_say() {
    let world = world().await;
    let sent = json!({"label": "x", "expires_at": "2020-01-01T00:00:00Z", "resources": [
        {"type": "TYPE_REPO", "path": "acme/nowhere", "scopes": []},
        {"type": "TYPE_REPO", "path": "acme/*", "scopes": ["scope-of-the-future"]},
    ]});
    world.hub.with_quirks(|quirks| quirks.missing_repository_status = Some(404));
    let (status, body) = world.create(sent.clone()).await;
    assert_eq!((status, keys_of(&body)), (404, vec!["detail", "message"]));
    world.hub.with_quirks(|quirks| quirks.missing_repository_status = None);
    assert_eq!(world.create(sent.clone()).await.0, 400);
    world.hub.with_quirks(|quirks| quirks.empty_scopes_status = None);
    assert_eq!(world.create(sent.clone()).await.0, 400);
    world.hub.with_quirks(|quirks| quirks.unknown_scope_status = None);
    assert_eq!(world.create(sent.clone()).await.0, 400);
    world.hub.with_quirks(|quirks| quirks.past_expiry_status = None);
    assert_eq!(world.create(sent.clone()).await.0, 201);
    world.hub.with_quirks(|quirks| quirks.same_label_status = Some(409));
    assert_eq!(world.create(sent).await.0, 409);
    let longest = Some(SignedDuration::from_hours(24 * 365));
    world.hub.with_quirks(|quirks| quirks.longest_life = longest);
    let sent = json!({"label": "y", "resources": all_repositories(), "expires_at": "2028-01-01T00:00:00Z"});
    assert_eq!(world.create(sent).await.0, 400);
}

#[tokio::test]
async fn without_the_existence_check_a_pattern_is_still_no_path() {
    let world = world_with(|options| options.quirks.missing_repository_status = None).await;
    for path in ["acme/team-*", "acme/", "acme/a/b"] {
        let resources = json!([{"type": "TYPE_REPO", "path": path, "scopes": [PULL]}]);
        assert_eq!(world.create(json!({"label": "x", "resources": resources})).await.0, 400, "{path}");
    }
}

#[tokio::test]
async fn expired_and_inactive_tokens_count_to_the_limit() {
    let world = world_with(|options| options.organizations[0].limit = 3).await;
    let sent = json!({"label": "x", "resources": all_repositories(), "expires_at": "2026-11-25T12:01:00Z"});
    let (_, expired) = world.create(sent.clone()).await;
    let (inactive, _) = world.token("x", all_repositories()).await;
    world.acme().deactivate(&inactive);
    world.token("x", all_repositories()).await;
    world.minutes(2);
    assert!(world.acme().token(expired["id"].as_str().unwrap()).unwrap().expired);
    let sent = json!({"label": "x", "resources": all_repositories()});
    let (status, body) = world.create(sent.clone()).await;
    assert_eq!((status, keys_of(&body)), (400, vec!["fields", "text"]));
    world.hub.with_quirks(|quirks| quirks.limit_status = 403);
    assert_eq!(world.create(sent.clone()).await.0, 403);
    assert_eq!(world.acme().tokens().len(), 3);
    world.acme().delete(&inactive);
    assert_eq!(world.create(sent.clone()).await.0, 201);
    world.acme().set_limit(4);
    assert_eq!(world.create(sent).await.0, 201);
}

#[tokio::test]
async fn patch_changes_what_is_sent_and_nothing_else() {
    let world = world().await;
    let sent = json!({
        "label": "x", "description": "why", "resources": all_repositories(), "expires_at": "2027-01-01T00:00:00Z",
    });
    let (_, created) = world.create(sent).await;
    let path = format!("{TOKENS}/{}", created["id"].as_str().unwrap());
    let patch = async |body: Value| world.owner(Method::PATCH, &path, Some(body)).await;
    let (status, body) = patch(json!({"is_active": false, "expires_at": "2030-01-01T00:00:00Z"})).await;
    assert_eq!((status, &body["is_active"], &body["label"]), (200, &json!(false), &json!("x")));
    assert_eq!(body["expires_at"], "2027-01-01T00:00:00Z");
    assert!(body.get("token").is_none());
    assert_eq!((&body["created_by"], &body["resources"]), (&json!("olga"), &all_repositories()));
    let public = json!([{"type": "TYPE_REPO", "path": "*/*/public", "scopes": [PULL]}]);
    let (_, body) = patch(json!({"label": "y", "resources": public, "is_active": true})).await;
    assert_eq!((&body["label"], &body["resources"], &body["is_active"]), (&json!("y"), &public, &json!(true)));
    assert_eq!(body["description"], "why");
    assert!(patch(json!({"description": ""})).await.1.get("description").is_none());
    for wrong in [json!({"label": ""}), json!({"is_active": "yes"}), json!({"resources": []}), json!([])] {
        assert_eq!(patch(wrong.clone()).await.0, 400, "{wrong}");
    }
    world.hub.with_quirks(|quirks| quirks.empty_resources_patch_status = None);
    assert_eq!(patch(json!({"resources": []})).await.1["resources"], json!([]));
}

#[tokio::test]
async fn an_expired_token_can_only_be_deleted() {
    let world = world().await;
    let sent = json!({"label": "x", "resources": all_repositories(), "expires_at": "2026-11-25T12:05:00Z"});
    let (_, created) = world.create(sent).await;
    let path = format!("{TOKENS}/{}", created["id"].as_str().unwrap());
    world.minutes(5);
    for change in [json!({"label": "y"}), json!({"is_active": false}), json!({})] {
        assert_eq!(world.owner(Method::PATCH, &path, Some(change)).await.0, 400);
    }
    assert_eq!(world.owner(Method::GET, &path, None).await.1["is_active"], true);
    world.hub.with_quirks(|quirks| {
        quirks.expired_stay_active = false;
        quirks.expired_patch_status = 409;
    });
    assert_eq!(world.owner(Method::GET, &path, None).await.1["is_active"], false);
    assert_eq!(world.owner(Method::PATCH, &path, Some(json!({}))).await.0, 409);
    assert_eq!(world.owner(Method::DELETE, &path, None).await, (204, Value::Null));
    assert_eq!(world.owner(Method::GET, &path, None).await.0, 404);
}

#[tokio::test]
async fn every_answer_says_how_many_calls_are_left() {
    let world = world().await;
    let url = format!("{}{TOKENS}", world.hub.url());
    let header = |answer: &Response, name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    for left in ["179", "178"] {
        let answer = world.client.get(&url).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), header(&answer, "x-ratelimit-limit")), (401, "180".to_owned()));
        assert_eq!(header(&answer, "x-ratelimit-remaining"), left);
        let reset: i64 = header(&answer, "x-ratelimit-reset").parse().unwrap();
        assert_eq!(reset, "2026-11-25T12:01:00Z".parse::<Timestamp>().unwrap().as_second());
    }
}

#[tokio::test]
async fn above_the_limit_calls_are_refused_until_the_minute_is_over() {
    let world = world_with(|options| {
        options.quirks.rate_limit = 3;
        options.quirks.enforce_rate_limit = true;
    })
    .await;
    let jwt = world.jwt("olga").await;
    let sent = json!({"label": "x", "resources": all_repositories()});
    let create = async || world.call(&jwt, Method::POST, TOKENS, Some(sent.clone())).await;
    assert_eq!((create().await.0, create().await.0), (201, 201));
    assert_eq!(create().await, (429, json!({"detail": "Rate limit exceeded", "error": false})));
    world.clock.advance(SignedDuration::from_secs(20));
    let refused = world.client.get(format!("{}{TOKENS}", world.hub.url())).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "40"));
    assert_eq!(refused.headers()["x-ratelimit-remaining"], "0");
    assert_eq!((world.acme().tokens().len(), world.hub.count(Route::Create)), (2, 2));
    world.clock.advance(SignedDuration::from_secs(40));
    assert_eq!(create().await.0, 201);
}

#[tokio::test]
async fn hands_reach_past_the_routes() {
    let world = world_with(|options| options.organizations[0].limit = 0).await;
    let (id, value) = world.acme().create(NewToken::new("acme", "jenkins")).unwrap();
    assert_eq!(world.acme().value_of(&id), Some(value.clone()));
    assert_eq!(world.acme().by_value(&value).unwrap().id, id);
    assert!(world.acme().relabel(&id, "renamed") && world.acme().describe(&id, Some("d")));
    let seen = world.acme().token(&id).unwrap();
    assert_eq!((seen.label.as_str(), seen.description.as_deref(), seen.live()), ("renamed", Some("d"), true));
    assert_eq!(seen.value_sha256.len(), 64);
    assert!(!format!("{seen:?}").contains(&value));
    assert_eq!(world.acme().labelled("ren").len(), 1);
    assert!(world.acme().delete(&id) && !world.acme().delete(&id) && !world.acme().deactivate(&id));
    assert_eq!(world.hub.values(), [value]);
    assert!(world.journal.is_empty());
    assert!(world.hub.organization("nowhere").create(NewToken::new("nowhere", "x")).is_none());
}

#[tokio::test]
async fn the_same_seed_gives_the_same_tokens() {
    let mut made = Vec::new();
    for seed in [Some(7), Some(7), Some(8), None] {
        let world = world_with(|options| options.seed = seed).await;
        made.push(world.acme().create(NewToken::new("acme", "x")).unwrap());
    }
    assert_eq!(made[0], made[1]);
    assert!(made[0] != made[2] && made[0] != made[3]);
}

#[tokio::test]
async fn what_it_knows_outlives_an_outage() {
    let world = world().await;
    let (id, _) = world.token("x", all_repositories()).await;
    let jwt = world.jwt("olga").await;
    let path = format!("{TOKENS}/{id}");
    world.hub.go_down().await;
    assert!(world.client.get(format!("{}{path}", world.hub.url())).send().await.is_err());
    world.hub.come_back().await.unwrap();
    assert_eq!(world.call(&jwt, Method::GET, &path, None).await.0, 200);
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let world = world().await;
    assert_eq!(world.owner(Method::GET, "/v2/users", None).await.0, 404);
    assert_eq!(world.owner(Method::PUT, TOKENS, None).await.0, 405);
    assert_eq!(world.owner(Method::GET, &format!("{TOKENS}/"), None).await.0, 404);
    let servers: Vec<Server> = world.journal.entries().iter().map(|entry| entry.server).collect();
    assert!(servers.iter().all(|server| *server == Server::Hub));
}
