//! No place is left: what an object gives up for its own next token, and in which order.

use super::{Row, build::*, check_all};
use crate::{api::conditions::Reason, plan::*};

fn off(token: &mut Token) {
    token.active = false;
}

/// Somebody else took it over.
fn anothers(token: &mut Token) {
    token.sequence = None;
    token.label = "x [c1/aaaaaaaaaaaaaaaa.1]".into();
}

#[test]
fn leftovers_go_first() {
    check_all(leftover_rows());
}

pub fn leftover_rows() -> Vec<Row> {
    let touched = |case: Case| case.with(|view| view.session.touched.extend([key("dockerhub")]));
    let lost = || fresh().full().hub(1);
    let passed = |case: Case, sequence| case.with(|view| view.memory.passed = sequence);
    vec![
        Row("the Secret is touched, so that nobody publishes it any more", lost(), "touch payments/dockerhub"),
        Row("then its sequence is passed", touched(lost()), "remember nothing, passed 1"),
        Row("then it goes", passed(touched(lost()), 1), "delete t1 Orphan"),
        Row("its sequence is not used again", passed(fresh(), 1), "create 2"),
        Row("with a place it is left alone until later", fresh().total(8).hub(1), "create 2"),
        Row("the same before a rotation", settled().rotate("a").full().hub(2), "touch payments/dockerhub"),
        Row("passed", touched(settled().rotate("a").full().hub(2)), "remember 1, passed 2"),
        Row("and gone", passed(touched(settled().rotate("a").full().hub(2)), 2), "delete t2 Orphan"),
        Row("what was passed is swept also later", passed(settled().hub(2), 2), "delete t2 Orphan"),
        Row(
            "a second Secret is touched too",
            touched(settled().rotate("a").full().hub(2)).second(SecretState::Ours(held(1))),
            "touch payments/second",
        ),
        Row(
            "and one that is not wanted any more",
            touched(settled().rotate("a").full().hub(2)).also("old", 1),
            "touch payments/old",
        ),
        Row(
            "one that a Secret may hold is left alone",
            fresh().full().hub(3).secret_holds(3),
            "rest QuotaExceeded, not ready, wake 59s",
        ),
        Row(
            "until it doesn't work any more",
            fresh().full().hub(3).secret_holds(3).at_hub("t3", off),
            "touch payments/dockerhub",
        ),
        Row(
            "or until it soon won't",
            fresh().full().hub(3).secret_holds(3).at_hub("t3", |token| token.expires = Some(ahead(minutes(59)))),
            "touch payments/dockerhub",
        ),
        Row("one in hand is none", settled().rotate("a").full().proved(2).secret_holds(2), "remember 2, 1 until 1h"),
    ]
}

#[test]
fn docker_hub_is_asked_less_and_less_often_whether_a_place_has_become_free() {
    check_all(patience_rows());
}

pub fn patience_rows() -> Vec<Row> {
    let left = |left: std::time::Duration| {
        let expires = Some(ahead(left));
        let case = settled().token(|token| token.expires = expires).at_hub("t1", |token| token.expires = expires);
        case.rotate("a").full_for(days(1))
    };
    let hoped = |case: Case, at| case.with(|view| view.session.hoped = at);
    vec![
        Row("after a minute", fresh().full_for(minutes(8)), "rest QuotaExceeded, not ready, wake 59s"),
        Row("not before", fresh().full_for(minutes(8)).after(seconds(58)), "rest QuotaExceeded, not ready, wake 1s"),
        Row("then", fresh().full_for(minutes(8)).after(seconds(59)), "refresh"),
        Row(
            "after an eighth of the time without a change",
            fresh().full_for(minutes(16)),
            "rest QuotaExceeded, not ready, wake 1m 59s",
        ),
        Row("then", fresh().full_for(minutes(16)).after(seconds(119)), "refresh"),
        Row("after ten minutes at last", fresh().full_for(days(9)), "rest QuotaExceeded, not ready, wake 9m 59s"),
        Row("then", fresh().full_for(days(9)).after(seconds(599)), "refresh"),
        Row("a list that is older says nothing", fresh().full_for(days(9)).listed_ago(hours(1)), "refresh"),
        Row("one with a place does, however old", fresh().full_for(days(9)).total(8), "create 1"),
        Row(
            "an edit a moment ago gives hope",
            hoped(fresh().full_for(days(9)), now()),
            "rest QuotaExceeded, not ready, wake 59s",
        ),
        Row("and old lists don't count", hoped(fresh().full_for(days(9)), now()).after(seconds(59)), "refresh"),
        Row(
            "for a while",
            hoped(fresh().full_for(days(9)), ago(seconds(1 + 16 * 60))),
            "rest QuotaExceeded, not ready, wake 1m 59s",
        ),
        Row("the same for a rotation that has days", left(days(3)), "rest QuotaExceeded, ready, wake 9m 59s"),
        Row(
            "a tenth of what is left until the last safe moment",
            left(seconds(3600 + 1199)),
            "rest QuotaExceeded, ready, wake 1m 59s",
        ),
        Row("each minute before it", left(minutes(65)), "rest QuotaExceeded, ready, wake 59s"),
        Row(
            "and after it, where the token may not be given up",
            left(minutes(30)).at_hub("t1", anothers),
            "rest QuotaExceeded, ready, wake 59s",
        ),
    ]
}

#[test]
fn then_the_current_token_at_last() {
    check_all(exchange_rows());
}

pub fn exchange_rows() -> Vec<Row> {
    let due = |left: std::time::Duration| {
        let expires = Some(ahead(left));
        settled().token(|token| token.expires = expires).at_hub("t1", |token| token.expires = expires).full()
    };
    vec![
        Row("not while it works", due(days(3)), "rest QuotaExceeded, ready, wake 59s"),
        Row("not an hour and a second before it expires", due(seconds(3601)), "rest QuotaExceeded, ready, wake 1s"),
        Row("at the last safe moment", due(hours(1)), "delete t1 Exchanged"),
        Row("when it has expired", due(seconds(0)), "delete t1 Exchanged"),
        Row(
            "when it was revoked",
            settled().revoke("a").at_hub("t1", off).token(|token| token.active = false).full(),
            "delete t1 Exchanged",
        ),
        Row("when no Secret holds it any more", settled().secret_absent().full(), "delete t1 Exchanged"),
        Row(
            "once gone it is replaced, also from the reserve",
            settled().gone("t1").hub_lacks("t1").total(9),
            "create 2",
        ),
        Row(
            "a former token goes before it",
            settled_at(2).previous(1, ahead(hours(1))).rotate("a").full(),
            "delete t1 Replaced",
        ),
        Row(
            "also after a failure, which says nothing about it",
            settled_at(2).previous(1, ahead(hours(1))).rotate("a").full().failed(
                "remember",
                Reason::KubernetesUnavailable,
                1,
                seconds(0),
            ),
            "delete t1 Replaced",
        ),
        Row(
            "a Secret that may hold it goes before that, also after a failure",
            settled_at(2).previous(1, ahead(hours(1))).also("old", 1).rotate("a").full().failed(
                "create",
                Reason::HubUnavailable,
                1,
                seconds(0),
            ),
            "remove payments/old",
        ),
        Row(
            "if it can't be deleted, the current one gets its turn at the last moment",
            settled_at(2)
                .previous(1, ahead(hours(1)))
                .token(|token| token.expires = Some(ahead(hours(1))))
                .full()
                .failed("delete", Reason::HubUnavailable, 2, seconds(0)),
            "delete t2 Exchanged",
        ),
        Row(
            "and then again it",
            settled_at(2)
                .previous(1, ahead(hours(1)))
                .token(|token| token.expires = Some(ahead(hours(1))))
                .full()
                .failed("delete", Reason::HubUnavailable, 3, seconds(0)),
            "delete t1 Replaced",
        ),
        Row(
            "once gone from a Secret that was changed, a former token makes the place",
            settled_at(2).previous(1, ahead(hours(1))).secret_tampered().gone("t2").hub_lacks("t2").full(),
            "delete t1 Replaced",
        ),
        Row(
            "the same from one that was deleted",
            settled_at(2).previous(1, ahead(hours(1))).secret_absent().gone("t2").hub_lacks("t2").full(),
            "delete t1 Replaced",
        ),
        Row(
            "or where not all Secrets hold the dead one",
            settled_at(2).previous(1, ahead(hours(1))).second(SecretState::Absent).gone("t2").hub_lacks("t2").full(),
            "delete t1 Replaced",
        ),
        Row(
            "not where somebody put it back there",
            settled_at(2).previous(1, ahead(hours(1))).secret_holds(1).gone("t2").hub_lacks("t2").full(),
            "rest QuotaExceeded, not ready, wake 59s",
        ),
        Row(
            "nor what somebody else took over",
            settled_at(2).previous(1, ahead(hours(1))).rotate("a").at_hub("t1", anothers).full(),
            "remember 2",
        ),
        Row(
            "nor that without a current one",
            settled_at(2)
                .previous(1, ahead(hours(1)))
                .at_hub("t1", anothers)
                .secret_absent()
                .gone("t2")
                .hub_lacks("t2")
                .full(),
            "remember 2",
        ),
        Row(
            "one that never expires waits",
            settled()
                .rotate("a")
                .token(|token| token.expires = None)
                .spec(|wanted| wanted.expiry = crate::api::valid::Expiry::Never)
                .full(),
            "rest QuotaExceeded, ready, wake 59s",
        ),
        Row(
            "what somebody else took over is not ours to delete",
            due(minutes(1)).at_hub("t1", anothers),
            "rest QuotaExceeded, ready, wake 59s",
        ),
    ]
}
