//! Credentials that are wrong, missing or corrected.

use serde_json::json;

use crate::support::{
    eventually,
    world::{NAMESPACE, PASSWORD, World, condition},
};

fn logins(world: &World, mark: crate::support::world::Mark) -> usize {
    world.hub_since(mark).iter().filter(|call| call.contains("/v2/auth/token") || call.contains("login")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_at_most_three_times_and_a_corrected_one_heals_at_once() {
    let mut world = World::new().await;
    world.credentials(NAMESPACE, "wrong-password-1").await;
    world.organization().await;
    world.token("pull", json!({})).await;
    let mark = world.mark();
    world.start(&[]);
    let object = world.until("pull", "is stalled", |object| condition(object, "Stalled").is_some()).await;
    assert_eq!(condition(&object, "Stalled").unwrap().1, "CredentialsInvalid");
    assert_eq!(condition(&object, "Ready").unwrap(), ("False".to_owned(), "CredentialsInvalid".to_owned()));
    world.quiet().await;
    // Over a restart too: the refusal is remembered in the organization's status.
    world.kill();
    world.start(&[]);
    world
        .until_organization("says so", |status| {
            status.conditions.iter().any(|c| c.type_ == "CredentialsValid" && c.status == "False")
        })
        .await;
    world.quiet().await;
    assert!(logins(&world, mark) <= 3, "{:?}", world.hub_since(mark));
    assert_eq!(world.creates_since(mark), 0);
    world.credentials(NAMESPACE, PASSWORD).await;
    world.until_ready("pull").await;
    world.until_organization_ready().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_wrong_passwords_are_the_most_whatever_is_set_and_however_often_it_restarts() {
    let mut world = World::new().await;
    world.organization().await;
    let mark = world.mark();
    for number in 1..=3 {
        world.credentials(NAMESPACE, &format!("wrong-password-{number}")).await;
        world.start(&["--leader-elect=false"]);
        let what = format!("remembers {number}");
        world.until_organization(&what, |status| status.refused_logins.len() == number).await;
        assert_eq!(logins(&world, mark), number);
        world.kill();
    }
    // Even the right one waits now: one more wrong one might lock the owner out.
    world.credentials(NAMESPACE, PASSWORD).await;
    world.start(&["--leader-elect=false"]);
    world
        .until_organization("says why it waits", |status| {
            let valid = status.conditions.iter().find(|condition| condition.type_ == "CredentialsValid");
            valid.is_some_and(|valid| valid.message.contains("several logins were refused within ten minutes"))
        })
        .await;
    world.quiet().await;
    assert_eq!(logins(&world, mark), 3);
    // Ten minutes later the list has gone out of date, and goes with the next change.
    world.kill();
    let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(11);
    let old: Vec<_> = (1..=3).map(|n| json!({"version": n.to_string(), "time": long_ago.to_string()})).collect();
    let api: kube::Api<oat_operator::api::Organization> = kube::Api::namespaced(world.client.clone(), NAMESPACE);
    let patch = json!({"status": {"refusedLogins": old, "refusedCredentials": null}});
    api.patch_status("acme", &Default::default(), &kube::api::Patch::Merge(patch)).await.unwrap();
    world.start(&["--leader-elect=false"]);
    let organization = world.until_organization_ready().await;
    assert!(organization.status.unwrap().refused_logins.is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_unreadable_credentials_name_the_secret_and_the_key() {
    let mut world = World::new().await;
    world.secrets().delete("acme-owner", &Default::default()).await.unwrap();
    world.organization().await;
    world.token("pull", json!({})).await;
    let mark = world.mark();
    world.start(&[]);
    let message = |object: &oat_operator::api::OrganizationAccessToken| {
        let status = object.status.as_ref()?;
        status.conditions.iter().find(|condition| condition.type_ == "Ready").map(|condition| condition.message.clone())
    };
    let missing = |object: &oat_operator::api::OrganizationAccessToken| {
        message(object).is_some_and(|m| m.contains("acme-owner does not exist"))
    };
    world.until("pull", "names the Secret", missing).await;
    world.credentials(NAMESPACE, "line one\nline two").await;
    let unreadable = |object: &oat_operator::api::OrganizationAccessToken| {
        message(object).is_some_and(|m| m.contains("password") && m.contains("control"))
    };
    world.until("pull", "names the key", unreadable).await;
    assert_eq!(logins(&world, mark), 0, "nothing was sent");
    world.credentials(NAMESPACE, &format!("{PASSWORD}\n")).await;
    world.until_ready("pull").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_with_two_factor_authentication_logs_in_by_the_pair_of_calls() {
    const TOTP: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
    let mut world =
        World::with(|options| options.users = vec![oat_sandbox::hub::User::new("acme-owner", PASSWORD).totp(TOTP)])
            .await;
    let secret = json!({"stringData": {"totpSecret": TOTP}});
    world.secrets().patch("acme-owner", &Default::default(), &kube::api::Patch::Merge(secret)).await.unwrap();
    world.organization().await;
    world.token("pull", json!({})).await;
    let mark = world.mark();
    world.start(&[]);
    world.until_ready("pull").await;
    let calls = world.hub_since(mark);
    assert_eq!(&calls[..2], ["POST /v2/users/login", "POST /v2/users/2fa-login"]);
    eventually("nothing else logs in", async || Some(())).await;
    world.finish().await;
}
