//! Size limits on what servers send, beyond one answer's mebibyte: lists, logins, headers, texts, certificates.

use super::*;

/// A list whose pages hold so many tokens each, with labels of this length, and which has no end.
fn endless(count: usize, label: usize) -> impl Fn(&Seen) -> Option<Say> + Send + Sync {
    move |seen| {
        let page = seen.path.split("page=").nth(1)?.split('&').next()?.to_owned();
        let named = |n: usize| json!({"id": format!("t{page}-{n}"), "label": "x".repeat(label), "is_active": true});
        let results: Vec<_> = (0..count).map(named).collect();
        seen.is_list().then(|| Say::json(200, json!({"next": "more", "results": results})))
    }
}

#[tokio::test]
async fn a_list_is_bounded_in_tokens_and_in_bytes() {
    for (count, label, pages) in [(2_500, 10, 5), (100, 9_000, 10)] {
        let rig = rig(endless(count, label)).await;
        rig.handle.set_credentials(Some(owner()), "1");
        let error = rig.handle.refresh(Urgency::Normal).await.unwrap_err();
        assert_eq!(error.failure, Failure::Garbled);
        assert!(error.to_string().contains("more than 10000 tokens or 8 MiB"), "{error}");
        assert_eq!(rig.server.count(Seen::is_list) % pages, 0, "given up as soon as it is too long");
        assert_eq!(rig.state().snapshot, None);
    }
}

#[tokio::test]
async fn headers_without_end_are_given_up() {
    let many = (0..100_000).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let long = format!("x-long: {}\r\n", "y".repeat(4_000_000));
    for headers in [many, long] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\n{{}}").into_bytes();
        let rig = rig(move |seen| seen.is_create().then(|| Say::Raw(answer.clone()))).await;
        rig.handle.set_credentials(Some(owner()), "1");
        let error = rig.handle.create(new_token(), Urgency::Normal).await.unwrap_err();
        assert_eq!((error.failure.clone(), error.effect()), (Failure::Broken, Effect::Unknown), "{error}");
        assert_eq!(rig.server.count(Seen::is_create), 1);
    }
}

#[tokio::test]
async fn a_login_too_long_for_a_header_is_none() {
    for (length, good) in [(16 * 1024, true), (16 * 1024 + 1, false)] {
        let rig =
            rig(move |seen| seen.is_login().then(|| Say::json(200, json!({"access_token": "x".repeat(length)})))).await;
        rig.handle.set_credentials(Some(owner()), "1");
        let listed = rig.handle.refresh(Urgency::Normal).await;
        assert_eq!(listed.is_ok(), good, "{length}: {listed:?}");
    }
}

#[tokio::test]
async fn long_texts_of_tokens_are_cut() {
    let rig = ready(|seen| {
        let mut token = created("t1");
        for field in ["label", "description", "created_by"] {
            token[field] = json!("\u{e4}".repeat(100_000));
        }
        (seen.method == "GET" && seen.path.ends_with("/t1")).then(|| Say::json(200, token))
    })
    .await;
    let token = rig.handle.get("t1").await.unwrap().unwrap();
    for text in [Some(token.label), token.description, token.created_by] {
        assert_eq!(text.unwrap().chars().count(), 1024);
    }
}

#[tokio::test]
async fn a_ca_bundle_is_a_mebibyte_at_most() {
    let rig = rig(|_| None).await;
    let start = |roots: Vec<u8>| {
        let endpoints = Endpoints { roots, ..endpoints(&rig.server) };
        client::Http::new(&endpoints, Limits::default(), rig.clock.clone(), rig.told.clone()).err()
    };
    assert_eq!(start(vec![b'\n'; 1024 * 1024]), None);
    assert_eq!(start(vec![b'\n'; 1024 * 1024 + 1]).as_deref(), Some("the CA bundle is over 1 MiB"));
    // Garbage of that size costs no time either.
    let garbage = "-----BEGIN CERTIFICATE-----\n".repeat(37_000).into_bytes();
    assert_eq!(start(garbage).as_deref(), Some("the CA bundle holds no PEM certificates"));
}

#[tokio::test]
async fn a_refusal_of_any_shape_costs_little() {
    // A mebibyte of the smallest values: kept as a tree, it would take a hundred times that.
    let body = format!("{{\"fields\": [{}0], \"detail\": \"no\"}}", "0,".repeat(500_000));
    let rig = ready(move |seen| seen.is_create().then(|| Say::Answer(400, vec![], body.clone()))).await;
    let error = rig.handle.create(new_token(), Urgency::Normal).await.unwrap_err();
    assert_eq!((error.failure.clone(), error.text.as_str()), (Failure::Invalid, "no"));
}
