//! What keeps from work: findings, an organization in trouble, failures and their backoff.

use super::{Row, build::*, check, check_all, life::SETTLED};
use crate::{
    api::{conditions::Reason, valid::Expiry},
    plan::*,
};

#[test]
fn findings_come_before_work() {
    check_all(finding_rows());
}

pub fn finding_rows() -> Vec<Row> {
    vec![
        Row("a spec that can't be carried out", fresh().invalid(), "rest InvalidSpec, not ready, wake never"),
        Row("also for a token that works", settled().invalid(), "rest InvalidSpec, not ready, wake 1752h"),
        Row("no finalizer on it", unseen().invalid(), "rest InvalidSpec, not ready, wake never"),
        Row("no organization", fresh().no_organization(), "rest OrganizationNotFound, not ready, wake never"),
        Row(
            "a foreign Secret, before a token is made",
            fresh().secret_foreign(),
            "rest SecretConflict, not ready, wake never",
        ),
        Row(
            "no value is written over it",
            fresh().proved(1).secret_foreign(),
            "rest SecretConflict, not ready, wake never",
        ),
        Row(
            "a fixed time that has passed",
            fresh().spec(|w| w.expiry = Expiry::At(now())),
            "rest Expired, not ready, wake never",
        ),
        Row("the spec comes first", fresh().invalid().no_organization(), "rest InvalidSpec, not ready, wake never"),
        Row(
            "then the organization",
            fresh().no_organization().secret_foreign(),
            "rest OrganizationNotFound, not ready, wake never",
        ),
        Row(
            "then the Secret",
            fresh().secret_foreign().spec(|w| w.expiry = Expiry::At(now())),
            "rest SecretConflict, not ready, wake never",
        ),
        Row(
            "a fixed time that lies ahead is fine",
            fresh().spec(|w| w.expiry = Expiry::At(ahead(seconds(1)))),
            "create 1",
        ),
    ]
}

#[test]
fn nobody_is_looked_at_again_at_a_time_that_has_passed() {
    let cases = [
        ("a pause that is over", settled().rotate("now").trouble_until(Reason::RateLimited, ago(hours(1)))),
        ("a refusal that is over", settled().rotate("now").trouble_until(Reason::CredentialsInvalid, ago(hours(1)))),
        ("a first list that is late", fresh().no_list().trouble_until(Reason::HubUnavailable, ago(hours(1)))),
        (
            "a value in hand that a Secret overtakes",
            settled()
                .proved(2)
                .secret_holds(9)
                .failed("publish", Reason::KubernetesUnavailable, 1, seconds(1))
                .after(hours(1)),
        ),
    ];
    for (what, case) in cases {
        if let Decision::Rest(Rest { wake: Some(wake), .. }) = decide(&case.view, case.now) {
            assert!(wake > case.now, "{what}: {wake} after {}", case.now);
        }
    }
}

#[test]
fn findings_name_what_is_wrong() {
    let message = |case: Case| match decide(&case.view, case.now) {
        Decision::Rest(Rest { facts, .. }) => match facts.progress {
            crate::api::conditions::Progress::Waiting(_, message) => message,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(message(fresh().invalid()), "spec.label: too long");
    assert_eq!(message(fresh().no_organization()), "Organization acme does not exist");
    assert!(message(fresh().secret_foreign()).starts_with("Secret payments/dockerhub exists and was not made for"));
    assert!(message(fresh().spec(|w| w.expiry = Expiry::At(now()))).contains(NOW));
    assert!(
        message(fresh().total(9).listed_ago(seconds(1)))
            .contains("organization acme has 9 tokens, with 10 allowed and 1 kept for rotations")
    );
    assert!(message(settled().rotate("now").full()).contains("has 10 tokens, with 10 allowed: delete"));
    assert!(message(settled().manual().after(days(80))).contains("rotation.trigger"));
}

#[test]
fn many_problems_are_cut() {
    let case = fresh().with(|view| {
        let problem = |i| FieldProblem { field: format!("spec.f{i}"), message: "no".into() };
        view.object.wanted = Err((0..9).map(problem).collect());
    });
    let finding = checks::first(&case.view, case.now).unwrap();
    assert_eq!(finding.message.matches("; ").count(), 4);
}

#[test]
fn organizations_in_trouble() {
    check_all(organization_rows());
}

pub fn organization_rows() -> Vec<Row> {
    let listless = |case: Case| case.no_list();
    let limited =
        |until| settled().suspended().secret_absent().deleting(seconds(1)).trouble_until(Reason::RateLimited, until);
    vec![
        Row("no list yet", listless(fresh()), "rest OrganizationNotReady, not ready, wake never"),
        Row(
            "no list yet, and why",
            listless(fresh()).trouble(Reason::HubUnavailable),
            "rest HubUnavailable, not ready, wake never",
        ),
        Row(
            "and until when",
            listless(fresh()).trouble_until(Reason::HubUnavailable, ahead(minutes(2))),
            "rest HubUnavailable, not ready, wake 2m",
        ),
        Row(
            "refused credentials",
            fresh().trouble(Reason::CredentialsInvalid),
            "rest CredentialsInvalid, not ready, wake never",
        ),
        Row(
            "too many requests",
            fresh().trouble_until(Reason::RateLimited, ahead(minutes(1))),
            "rest RateLimited, not ready, wake 1m",
        ),
        Row("a hiccup doesn't keep from trying", fresh().trouble(Reason::HubUnavailable), "create 1"),
        Row(
            "the old token still works meanwhile",
            settled().rotate("a").trouble(Reason::CredentialsInvalid),
            "rest CredentialsInvalid, ready, wake 1199h 55m 18s",
        ),
        Row(
            "Secrets are written all the same",
            fresh().proved(1).trouble(Reason::CredentialsInvalid),
            "publish payments/dockerhub",
        ),
        Row(
            "suspended: nothing at Docker Hub",
            fresh().suspended(),
            "rest OrganizationNotReady, not ready, wake never",
        ),
        Row(
            "suspended: not even an emergency",
            settled().revoke("a").suspended(),
            "rest OrganizationNotReady, ready, wake 1199h 55m 18s",
        ),
        Row(
            "suspended, but deletion goes on",
            settled().suspended().secret_absent().deleting(seconds(1)),
            "delete t1 Farewell",
        ),
        Row("suspended, and nothing to do", settled().suspended(), SETTLED),
        Row(
            "suspended comes before other trouble",
            listless(fresh()).trouble(Reason::HubUnavailable).suspended(),
            "rest OrganizationNotReady, not ready, wake never",
        ),
        Row(
            "suspended, and a deletion that met too many requests",
            limited(ahead(minutes(1))),
            "rest RateLimited, not ready, wake 1m",
        ),
        Row("then again: no list shows that it is over", limited(now()), "delete t1 Farewell"),
    ]
}

#[test]
fn failures_wait() {
    check_all(failure_rows());
}

pub fn failure_rows() -> Vec<Row> {
    let failed = |step, reason| fresh().failed(step, reason, 3, seconds(4));
    vec![
        Row(
            "no step before its time",
            failed("create", Reason::HubUnavailable),
            "rest HubUnavailable, not ready, wake 4s",
        ),
        Row("then again", failed("create", Reason::HubUnavailable).after(seconds(4)), "create 1"),
        Row("an edit ends the waiting", failed("create", Reason::HubUnavailable).edited(), "create 1"),
        Row("an annotation does", failed("create", Reason::HubUnavailable).rotate("now"), "create 1"),
        Row("deletion does", failed("create", Reason::HubUnavailable).deleting(seconds(0)), "release"),
        Row(
            "a refused proof waits",
            fresh().hand(1).failed("prove", Reason::VerificationFailed, 1, seconds(1)),
            "rest VerificationFailed, not ready, wake 1s",
        ),
        Row(
            "so does a refused status",
            fresh().proved(1).secret_holds(1).failed("remember", Reason::KubernetesUnavailable, 1, seconds(1)),
            "rest KubernetesUnavailable, not ready, wake 1s",
        ),
        Row(
            "nothing to do needs no waiting",
            settled().failed("create", Reason::HubUnavailable, 3, seconds(4)),
            "rest Settled, ready, wake 4s",
        ),
        Row(
            "unless the Secret holds a newer one by now, which a former leader wrote late",
            fresh().proved(1).secret_holds(3).failed("publish", Reason::ProgressingWithRetry, 1, seconds(0)),
            "create 4",
        ),
        Row(
            "a Secret that can't be written",
            fresh().proved(1).failed("publish", Reason::Forbidden, 1, minutes(5)),
            "rest Forbidden, not ready, wake 5m",
        ),
        Row(
            "no other token is made for it, not even when it is to be tried at once",
            fresh().proved(1).failed("publish", Reason::ProgressingWithRetry, 1, seconds(0)),
            "publish payments/dockerhub",
        ),
        Row(
            "one of two: what is known is remembered",
            fresh().proved(1).secret_holds(1).second(SecretState::Absent).failed(
                "publish",
                Reason::Forbidden,
                1,
                minutes(5),
            ),
            "remember 1",
        ),
        Row(
            "one of two: other work goes on",
            settled().proved(1).second(SecretState::Absent).inactive().failed(
                "publish",
                Reason::Forbidden,
                1,
                minutes(5),
            ),
            "update t1 active=false",
        ),
        Row(
            "one of two: rotations go on",
            settled().proved(1).second(SecretState::Absent).rotate("now").failed(
                "publish",
                Reason::Forbidden,
                1,
                minutes(5),
            ),
            "create 2",
        ),
        Row(
            "one of two: and then it is said",
            settled().proved(1).second(SecretState::Absent).failed("publish", Reason::Forbidden, 1, minutes(5)),
            "rest Forbidden, not ready, wake 5m",
        ),
        Row(
            "one of two: without a value in hand too",
            settled().second(SecretState::Absent).failed("publish", Reason::Forbidden, 1, minutes(5)),
            "rest Forbidden, not ready, wake 5m",
        ),
        Row(
            "a foreign Secret that is gone is not waited for",
            fresh().proved(1).failed("publish", Reason::SecretConflict, 1, minutes(5)),
            "publish payments/dockerhub",
        ),
        Row(
            "nor are credentials that are taken again",
            fresh().failed("create", Reason::CredentialsInvalid, 1, minutes(5)),
            "create 1",
        ),
        Row(
            "while they are refused, they are",
            fresh().failed("create", Reason::CredentialsInvalid, 1, minutes(5)).trouble(Reason::CredentialsInvalid),
            "rest CredentialsInvalid, not ready, wake 5m",
        ),
        Row(
            "they don't keep from writing Secrets",
            fresh()
                .proved(1)
                .failed("prove", Reason::CredentialsInvalid, 1, minutes(5))
                .trouble(Reason::CredentialsInvalid),
            "publish payments/dockerhub",
        ),
    ]
}

#[test]
fn an_edit_of_anything_but_the_spec_keeps_the_waiting() {
    let case = fresh().failed("create", Reason::HubUnavailable, 3, seconds(4));
    // A label on the object changes neither its generation nor its requests.
    check(&case, "rest HubUnavailable, not ready, wake 4s");
}
