//! Deletion: every policy, with and without Secrets that stay.

use super::{Row, build::*, check_all};
use crate::{
    api::{conditions::Reason, token::DeletionPolicy::*},
    plan::*,
};

#[test]
fn secrets_go_first() {
    check_all(secret_rows());
}

pub fn secret_rows() -> Vec<Row> {
    let bye = || settled().deleting(seconds(0));
    let stays = || bye().deletion(Retain).retain_secret();
    let (remove, blank, touch) = ("remove payments/dockerhub", "blank payments/dockerhub", "touch payments/dockerhub");
    vec![
        Row("delete, delete", bye(), remove),
        Row("deactivate, delete", bye().deletion(Deactivate), remove),
        Row("retain, delete", bye().deletion(Retain), remove),
        Row("delete, retain: not with a dead value", bye().retain_secret(), blank),
        Row("deactivate, retain: not with a dead value", bye().deletion(Deactivate).retain_secret(), blank),
        Row("retain, retain: it stays", bye().deletion(Retain).retain_secret(), "update t1 label=\"pull\"-marker"),
        Row(
            "retain, retain: not with another value",
            bye().deletion(Retain).retain_secret().also("old", 0),
            "blank payments/old",
        ),
        Row("retain, retain: not with a value that is gone", stays().gone("t1").hub_lacks("t1"), blank),
        Row("retain, retain: whether it is gone is asked", stays().hub_lacks("t1"), "confirm t1"),
        Row("retain, retain: not with a value that has expired", stays().after(days(80)), blank),
        Row(
            "retain, retain: with one that somebody may activate",
            stays().at_hub("t1", |token| token.active = false),
            "update t1 label=\"pull\"-marker",
        ),
        Row("retain, retain: written before a token goes that may be on its way there", stays().hub(2), touch),
        Row("in hand too", stays().proved(2), touch),
        Row(
            "once in a term",
            stays().hub(2).with(|view| view.session.touched.extend([key("dockerhub")])),
            "delete t2 Farewell",
        ),
        Row("not for one that it held", stays().previous(0, ahead(hours(1))), "delete t0 Farewell"),
        Row("all of them", bye().also("old", 1), "remove payments/dockerhub payments/old"),
        Row("whatever the spec says", bye().invalid(), remove),
        Row("whatever the organization says", bye().no_organization(), remove),
        Row("not what is not ours", bye().secret_foreign(), "delete t1 Farewell"),
        Row("no value is written any more", bye().secret_absent().proved(2), "delete t1 Farewell"),
        Row("no finalizer, no work", unseen().deleting(seconds(0)), "rest Settled, not ready, wake 10m"),
        Row(
            "a Secret that can't be deleted keeps the token, however long",
            bye().deleting(hours(1)).failed("remove", Reason::Forbidden, 9, minutes(5)),
            "rest Forbidden, not ready, wake 5m",
        ),
    ]
}

#[test]
fn then_the_tokens() {
    check_all(token_rows());
}

/// Deleted with the Secret gone already.
fn cleared() -> Case {
    settled().secret_absent().deleting(seconds(0))
}

fn off(token: &mut Token) {
    token.active = false;
}

pub fn token_rows() -> Vec<Row> {
    let plain = |token: &mut Token| (token.label, token.sequence) = ("pull".into(), None);
    let done = |case: Case| case.with(|view| view.memory.token = None).hub_lacks("t1");
    vec![
        Row("the token", cleared(), "delete t1 Farewell"),
        Row("also if the list lacks it", cleared().hub_lacks("t1"), "delete t1 Farewell"),
        Row("not if it is known to be gone", cleared().hub_lacks("t1").gone("t1"), "release"),
        Row("what lives on", done(cleared()).previous(0, ahead(hours(1))), "delete t0 Farewell"),
        Row("what lost answers left", done(cleared()).hub(9), "delete t9 Farewell"),
        Row("what is in hand", done(cleared()).proved(2), "delete t2 Farewell"),
        Row("not what others made", done(cleared()).hub_as("jenkins", 1).at_hub("jenkins", plain), "release"),
        Row("then the object", done(cleared()), "release"),
        Row("kept, but without our marker", cleared().deletion(Retain), "update t1 label=\"pull\"-marker"),
        Row("kept and free", cleared().deletion(Retain).at_hub("t1", plain), "release"),
        Row(
            "deactivated, without our marker",
            cleared().deletion(Deactivate),
            "update t1 active=false label=\"pull\"-marker",
        ),
        Row("deactivated before", cleared().deletion(Deactivate).at_hub("t1", off), "update t1 label=\"pull\"-marker"),
        Row("deactivated and free", cleared().deletion(Deactivate).at_hub("t1", plain).at_hub("t1", off), "release"),
        Row("to be kept, but not in the list", cleared().deletion(Retain).hub_lacks("t1"), "confirm t1"),
        Row("to be kept, but gone", cleared().deletion(Retain).hub_lacks("t1").gone("t1"), "release"),
        Row(
            "to be kept, but expired: nothing can be changed",
            cleared().deletion(Deactivate).after(days(80)),
            "release",
        ),
        Row(
            "kept, but not what lives on",
            cleared().deletion(Retain).previous(0, ahead(hours(1))),
            "delete t0 Farewell",
        ),
        Row("kept, but not what is in hand", cleared().deletion(Retain).proved(2), "delete t2 Farewell"),
        Row("an old list doesn't show all", cleared().listed_ago(hours(1)), "refresh"),
        Row("nor does none", cleared().no_list(), "refresh"),
        Row("an unreadable spec keeps nothing", cleared().invalid(), "delete t1 Farewell"),
    ]
}

#[test]
fn deletion_ends() {
    check_all(end_rows());
}

pub fn end_rows() -> Vec<Row> {
    let stuck = |since| cleared().deleting(since);
    let refused = |since| stuck(since).trouble(Reason::CredentialsInvalid);
    let missing = |since| stuck(since).no_organization();
    let failing = |since, count| stuck(since).failed("delete", Reason::HubUnavailable, count, seconds(5));
    vec![
        Row("refused credentials are waited for", refused(minutes(9)), "rest CredentialsInvalid, not ready, wake 1m"),
        Row("for ten minutes", refused(minutes(10)), "abandon"),
        Row("a missing organization too", missing(minutes(9)), "rest OrganizationNotFound, not ready, wake 1m"),
        Row("for ten minutes", missing(minutes(10)), "abandon"),
        Row("a Docker Hub that fails too", failing(minutes(9), 5), "rest HubUnavailable, not ready, wake 5s"),
        Row("for ten minutes and five attempts", failing(minutes(10), 5).after(seconds(5)), "abandon"),
        Row("four attempts are too few", failing(minutes(10), 4).after(seconds(5)), "delete t1 Farewell"),
        Row(
            "one failure after a long standstill is none",
            failing(hours(9), 1),
            "rest HubUnavailable, not ready, wake 5s",
        ),
        Row("nor is a list that was not read yet", stuck(hours(9)).no_list(), "refresh"),
        Row(
            "nor a limit of requests",
            stuck(hours(9)).trouble_until(Reason::RateLimited, ahead(minutes(1))),
            "rest RateLimited, not ready, wake 1m",
        ),
        Row(
            "what needs no Docker Hub is done",
            refused(hours(1)).with(|view| view.memory.token = None).hub_lacks("t1"),
            "release",
        ),
        Row("a Docker Hub that is back gets its calls", stuck(hours(9)), "delete t1 Farewell"),
    ]
}
