//! The rules of a token's life, one by one.

use super::{Row, build::*, check, check_all};
use crate::{api::valid::Expiry, plan::*};

#[test]
fn first_token() {
    check_all(first_token_rows());
}

pub fn first_token_rows() -> Vec<Row> {
    vec![
        Row("the finalizer comes before anything else", unseen(), "finalizer"),
        Row("then the token is made", fresh(), "create 1"),
        Row("an inactive one too, so that it can be activated", fresh().inactive(), "create 1"),
        Row("one that never expires", fresh().spec(|wanted| wanted.expiry = Expiry::Never), "create 1"),
        Row("a list from before this term is not enough", fresh().listed_ago(hours(2)), "refresh"),
        Row("nor one that began when the last create failed", fresh().listed_ago(hours(1)), "refresh"),
        Row("one from just after it is", fresh().listed_ago(seconds(3599)), "create 1"),
        Row("what an earlier life of the object left counts", fresh().hub(6), "create 7"),
        Row("and so does what a Secret holds", fresh().secret_holds(4), "create 5"),
        Row("but not what nobody can have made", fresh().secret_holds(1001), "create 1"),
        Row("a thousand ahead is believed", fresh().secret_holds(1000), "create 1001"),
        Row("no sequence is sent twice in a term", fresh().tried(3), "create 4"),
        Row("the end of all numbers is no panic", fresh().hub(u64::MAX), "create 18446744073709551615"),
    ]
}

#[test]
fn a_value_in_hand() {
    check_all(hand_rows());
}

pub fn hand_rows() -> Vec<Row> {
    let publish = "publish payments/dockerhub";
    vec![
        Row("is proved", fresh().hand(1), "prove"),
        Row("twice more if refused", fresh().hand(1).hand_is(|hand| hand.refusals = 2), "prove"),
        Row("and then given up", fresh().hand(1).hand_is(|hand| hand.refusals = 3), "delete t1 Unproved"),
        Row("once proved it is published", fresh().proved(1), publish),
        Row("over an older value", settled().proved(2), publish),
        Row("over a value that somebody changed", settled().secret_tampered().proved(2), publish),
        Row("then remembered", fresh().proved(1).secret_holds(1), "remember 1"),
        Row(
            "with the former token beside it for the overlap",
            settled().proved(2).secret_holds(2),
            "remember 2, 1 until 1h",
        ),
        Row(
            "while one Secret can't be written",
            settled().proved(2).secret_holds(2).second(SecretState::Absent),
            "remember 2, 1 until 1h",
        ),
        Row(
            "then the other one is tried again",
            settled_at(2).proved(2).second(SecretState::Absent),
            "publish payments/second",
        ),
        Row(
            "both are written at once",
            fresh().proved(1).second(SecretState::Absent),
            "publish payments/dockerhub payments/second",
        ),
        Row("a new layout is written with it", settled().secret_misshapen().proved(1), publish),
        Row(
            "one that expired in hand is given up",
            fresh().proved(1).hand_is(|hand| hand.token.expires = Some(now())),
            "delete t1 Unproved",
        ),
        Row(
            "the remembered one is not, even if it expired",
            settled().secret_misshapen().proved(1).hand_is(|hand| hand.token.expires = Some(now())),
            publish,
        ),
        Row("it needs no list", fresh().proved(1).no_list(), publish),
        Row(
            "one that was read from a Secret is not remembered again",
            settled().proved(1).with(|view| view.secrets[0].state = SecretState::Ours(held(1))),
            SETTLED,
        ),
    ]
}

/// Token 1 is where it should be; it is renewed in some 50 days.
pub const SETTLED: &str = "rest Settled, ready, wake 1199h 55m 18s";

#[test]
fn former_tokens_when_a_new_one_is_remembered() {
    check_all(succession_rows());
}

pub fn succession_rows() -> Vec<Row> {
    let next = |case: Case| case.proved(2).secret_holds(2);
    vec![
        Row("no overlap", next(settled().spec(|w| w.rotation.overlap = seconds(0))), "remember 2, 1 until now"),
        Row("a dead one ends now", next(settled().gone("t1")), "remember 2, 1 until now"),
        Row(
            "an expired one too",
            next(settled().token(|token| token.expires = Some(now()))),
            "remember 2, 1 until now",
        ),
        Row("a revoked one too", next(settled().revoke("a").at_hub("t1", off)), "remember 2, 1 until now"),
        Row(
            "not if that was handled",
            next(settled().revoke("a").handled(|handled| handled.revoke = Some("a".into()))),
            "remember 2, 1 until 1h",
        ),
        Row(
            "nor if the annotation is gone",
            next(settled().handled(|handled| handled.revoke = Some("a".into()))),
            "remember 2, 1 until 1h",
        ),
        Row(
            "what was replaced twice ends now",
            settled_at(2).previous(1, ahead(minutes(30))).proved(3).secret_holds(3),
            "remember 3, 1 until now, 2 until 1h",
        ),
        Row(
            "what was due before stays due",
            settled_at(2).previous(1, ago(minutes(30))).proved(3).secret_holds(3),
            "remember 3, 1 until 30m ago, 2 until 1h",
        ),
        Row(
            "whole seconds",
            next(settled()).after(std::time::Duration::from_millis(300)),
            "remember 2, 1 until 59m 59s 700ms",
        ),
    ]
}

#[test]
fn what_a_token_was_made_for_is_handled_and_what_was_handled_meanwhile_stays_so() {
    let handled = |case: Case| match decide(&case.view, case.now) {
        Decision::Step(Step::Remember(memory)) => memory.handled.rotate,
        other => panic!("{other:?}"),
    };
    let made = |case: Case| case.proved(2).secret_holds(2);
    let a = || Some("a".to_owned());
    assert_eq!(handled(made(settled().rotate("a"))), a());
    assert_eq!(handled(made(settled().rotate("a")).rotate("b")), a(), "the later one is still to be done");
    // Made by an older view of an object whose rotation a former leader has finished.
    assert_eq!(handled(made(settled()).rotate("a").handled(|handled| handled.rotate = a())), a());
    // Taken away: put there again, it asks again.
    assert_eq!(handled(made(settled().handled(|handled| handled.rotate = a()))), None);
}

#[test]
fn when_a_token_is_replaced() {
    check_all(replacement_rows());
}

pub fn replacement_rows() -> Vec<Row> {
    vec![
        Row("not while all is well", settled(), SETTLED),
        Row("an annotation asks for it", settled().rotate("now"), "create 2"),
        Row("a trigger asks for it", settled().trigger("2026-12"), "create 2"),
        Row(
            "an old annotation asks for nothing",
            settled().rotate("a").handled(|h| h.rotate = Some("a".into())),
            SETTLED,
        ),
        Row(
            "an old trigger asks for nothing",
            settled().trigger("a").handled(|h| h.trigger = Some("a".into())),
            SETTLED,
        ),
        Row(
            "a request that was taken away asks for nothing",
            settled().handled(|h| h.rotate = Some("a".into())),
            SETTLED,
        ),
        Row("a new value asks again", settled().rotate("b").handled(|h| h.rotate = Some("a".into())), "create 2"),
        Row("by the schedule", settled().after(days(50)).listed_ago(minutes(1)), "create 2"),
        Row("not a day early", settled().after(days(49)), "rest Settled, ready, wake 23h 55m 18s"),
        Row("not by the schedule if only asked", settled().manual().after(days(50)), "rest Settled, ready, wake 552h"),
        Row("asked for, policy or not", settled().manual().rotate("now"), "create 2"),
        Row("once expired", settled().after(days(80)), "create 2"),
        Row("not if the schedule may not", settled().manual().after(days(80)), "rest Expired, not ready, wake never"),
        Row("but if somebody asks", settled().manual().rotate("now").after(days(80)), "create 2"),
        Row("a newer value that nobody could remember", settled().secret_holds(2).hub(2), "create 3"),
        Row("also with an intact copy", settled().secret_holds(2).also("copy", 1), "create 3"),
        Row(
            "and with the older value in hand",
            settled().secret_holds(2).proved(1).second(SecretState::Absent),
            "publish payments/second",
        ),
        Row("not one that nobody can have made", settled().secret_holds(5000).also("copy", 1), "fetch payments/copy"),
        Row("by the interval", settled().spec(|w| w.rotation.interval = Some(days(10))), "create 2"),
        Row(
            "not before the interval",
            settled().spec(|w| w.rotation.interval = Some(days(11))),
            "rest Settled, ready, wake 24h",
        ),
        Row("another expiration can't be patched", settled().spec(|w| w.expiry = Expiry::After(days(30))), "create 2"),
        Row("nor can never", settled().spec(|w| w.expiry = Expiry::Never), "create 2"),
        Row("nor can a fixed time", settled().spec(|w| w.expiry = Expiry::At(ahead(days(5)))), "create 2"),
        Row("a missing one is asked for by its id", settled().hub_lacks("t1"), "confirm t1"),
        Row("and replaced if it is gone", settled().hub_lacks("t1").gone("t1"), "create 2"),
        Row("the old list says nothing about one that is gone", settled().gone("t1"), "create 2"),
        Row("a changed Secret without another copy", settled().secret_tampered(), "create 2"),
        Row("an unreadable one", settled().with(unreadable), "create 2"),
        Row("a deleted Secret without another copy", settled().secret_absent(), "create 2"),
        Row("not if the value is in hand", settled().proved(1).secret_absent(), "publish payments/dockerhub"),
        Row(
            "nothing is made that must not work",
            settled().rotate("now").inactive().at_hub("t1", off).token(|t| t.active = false),
            OFF,
        ),
        Row(
            "not even when due",
            settled().inactive().token(|t| t.active = false).at_hub("t1", off).after(days(60)),
            "rest Settled, ready, wake 312h",
        ),
        Row("not even when gone", settled().inactive().hub_lacks("t1").gone("t1").token(|t| t.active = false), OFF),
        Row(
            "not even to revoke it",
            settled().revoke("a").inactive().token(|t| t.active = false).at_hub("t1", off),
            OFF,
        ),
        Row(
            "the order is: revoked first, then activated",
            settled().revoke("a").token(|t| t.active = false).at_hub("t1", off),
            "create 2",
        ),
        Row("past a lost answer's token", settled().rotate("now").hub(2), "create 3"),
        Row(
            "and past those that were replaced",
            fresh().memory(2).hub(2).secret_absent().previous(3, ahead(hours(1))),
            "create 4",
        ),
    ]
}

/// The same as asked: there is a token and it doesn't work.
const OFF: &str = "rest Settled, ready, wake 1199h 55m 18s";

fn off(token: &mut Token) {
    token.active = false;
}

fn unreadable(view: &mut View) {
    view.secrets[0].state = SecretState::Ours(Held { value_hash: None, ..held(1) });
}

#[test]
fn room_is_made_before_another_token() {
    check_all(room_rows());
}

pub fn room_rows() -> Vec<Row> {
    let rotating = || settled_at(2).rotate("now");
    let lacking = || rotating().previous(1, ahead(minutes(5))).second(SecretState::Absent);
    vec![
        Row("a due token goes first", rotating().previous(1, ago(hours(1))), "delete t1 Replaced"),
        Row(
            "one that is not due too: there are two at most",
            rotating().previous(1, ahead(minutes(5))),
            "delete t1 Replaced",
        ),
        Row("a leftover goes first", rotating().hub_as("lost", 1), "delete lost Orphan"),
        Row("not one that may still be published", rotating().hub(3), "create 4"),
        Row("not while the Secret may hold it", rotating().previous(1, ago(hours(1))).secret_holds(1), "create 3"),
        Row(
            "nor while another Secret may: that goes first",
            rotating().previous(1, ago(hours(1))).also("old", 1),
            "remove payments/old",
        ),
        Row(
            "a token that can't be deleted stops no rotation",
            rotating().previous(1, ago(hours(1))).failed("delete", Reason::HubUnavailable, 1, seconds(0)),
            "create 3",
        ),
        Row("a Secret that lacks the current one is written first", lacking(), "fetch payments/dockerhub"),
        Row(
            "one that can't be written stops no rotation",
            lacking().failed("publish", Reason::KubernetesUnavailable, 1, hours(1)),
            "create 3",
        ),
        Row(
            "a value that doesn't work is not written, and what no Secret says it holds goes",
            lacking().at_hub("t2", |token| token.active = false),
            "delete t1 Replaced",
        ),
        Row(
            "nor one that has expired",
            lacking().at_hub("t2", |token| token.expires = Some(now())),
            "delete t1 Replaced",
        ),
        Row(
            "where it is gone there are two without that",
            rotating().previous(1, ahead(minutes(5))).gone("t2").hub_lacks("t2"),
            "create 3",
        ),
        Row(
            "a Secret that says it holds the former one keeps it",
            lacking().secret_holds(1).at_hub("t2", |token| token.active = false),
            "create 3",
        ),
        Row("with nothing to make room for it is not worth it", rotating().second(SecretState::Absent), "create 3"),
    ]
}

#[test]
fn places() {
    check_all(quota_rows());
}

pub fn quota_rows() -> Vec<Row> {
    let refused = |full| {
        let case = settled().rotate("now").failed("create", Reason::QuotaExceeded, 1, minutes(5));
        case.with(|view| view.session.failure.iter_mut().for_each(|failure| failure.full = Some(full)))
    };
    let full = |wait: &str| -> &'static str { format!("rest QuotaExceeded, not ready, wake {wait}").leak() };
    let just = |case: Case| case.listed_ago(seconds(1));
    vec![
        Row("the last one but the reserve is free", fresh().total(8), "create 1"),
        Row("the reserve is not for new tokens", just(fresh().total(9)), full("59s")),
        Row("a rotation may have it", settled().rotate("now").total(9), "create 2"),
        Row("but not one more", just(settled().rotate("now").total(10)), "rest QuotaExceeded, ready, wake 59s"),
        Row("more than allowed is no panic", just(fresh().total(u32::MAX)), full("59s")),
        Row(
            "a reserve beyond the limit is no panic",
            just(fresh().total(0)).with(|view| {
                if let Organization::Known(account) = &mut view.organization {
                    account.reserved = 11;
                }
            }),
            full("59s"),
        ),
        Row("an old list is asked for again", fresh().total(9).listed_ago(minutes(1)), "refresh"),
        Row("one of the last minute is believed", fresh().total(9).listed_ago(seconds(59)), full("1s")),
        Row(
            "at the limit our own leftovers go first",
            settled_at(2).rotate("now").full().hub_as("lost", 1),
            "delete lost Orphan",
        ),
        Row(
            "Docker Hub knows better than the list",
            settled().rotate("now").failed("create", Reason::QuotaExceeded, 1, minutes(5)),
            "rest QuotaExceeded, ready, wake 5m",
        ),
        Row("by a list from after that", refused(3), "rest QuotaExceeded, ready, wake 5m"),
        Row("until there are fewer", refused(4), "create 2"),
    ]
}

#[test]
fn secrets_are_healed() {
    check_all(heal_rows());
}

pub fn heal_rows() -> Vec<Row> {
    vec![
        Row("from another copy", settled().secret_absent().also("copy", 1), "fetch payments/copy"),
        Row("a changed one too", settled().secret_tampered().also("copy", 1), "fetch payments/copy"),
        Row("a wrong layout from the Secret itself", settled().secret_misshapen(), "fetch payments/dockerhub"),
        Row(
            "a wrong sequence too",
            settled().with(|view| view.secrets[0].state = SecretState::Ours(Held { sequence: 7, ..held(1) })),
            "fetch payments/dockerhub",
        ),
        Row("not from one that holds something else", settled().secret_absent().also("copy", 5), "create 6"),
        Row("an expired value is not spread", settled().secret_misshapen().after(days(80)), "create 2"),
        Row(
            "an inactive one is healed too",
            settled().secret_misshapen().inactive().at_hub("t1", off).token(|t| t.active = false),
            "fetch payments/dockerhub",
        ),
        Row("a wanted copy heals another", settled().second(SecretState::Absent), "fetch payments/dockerhub"),
    ]
}

#[test]
fn tokens_are_edited_in_place() {
    check_all(edit_rows());
}

pub fn edit_rows() -> Vec<Row> {
    let label = |text: &'static str| crate::api::names::Label::parse(text).unwrap();
    vec![
        Row("deactivated", settled().inactive(), "update t1 active=false"),
        Row("activated", settled().at_hub("t1", off), "update t1 active=true"),
        Row(
            "a new description",
            settled().spec(|w| w.description = "new".into()),
            "update t1 label=\"pull\"+marker resources=1 description=\"new\"",
        ),
        Row(
            "a new label",
            settled().spec(|w| w.label = label("other")),
            "update t1 label=\"other\"+marker resources=1 description=\"pulls\"",
        ),
        Row(
            "fewer rights",
            settled().spec(|w| w.resources.clear()),
            "update t1 label=\"pull\"+marker resources=0 description=\"pulls\"",
        ),
        Row(
            "all at once",
            settled().inactive().spec(|w| w.description = "new".into()),
            "update t1 active=false label=\"pull\"+marker resources=1 description=\"new\"",
        ),
        Row(
            "a label that somebody changed",
            settled().at_hub("t1", |token| (token.label, token.sequence) = ("mine now".into(), None)),
            "update t1 label=\"pull\"+marker",
        ),
        Row(
            "with it any other one that works",
            settled().inactive().at_hub("t1", off).hub(2).token(|t| t.active = false),
            "update t2 active=false",
        ),
        Row(
            "and one in hand that a Secret has overtaken",
            settled().inactive().at_hub("t1", off).token(|t| t.active = false).proved(2).secret_holds(3),
            "update t2 active=false",
        ),
        Row(
            "also when the current one is gone",
            settled().inactive().hub_lacks("t1").gone("t1").hub(2),
            "update t2 active=false",
        ),
        Row(
            "an expired one can't be",
            settled().manual().inactive().after(days(80)),
            "rest Settled, ready, wake never",
        ),
        Row(
            "a missing one neither",
            settled().inactive().hub_lacks("t1").gone("t1"),
            "rest Settled, ready, wake 1199h 55m 18s",
        ),
    ]
}

#[test]
fn what_is_left_over_goes() {
    check_all(clean_rows());
}

pub fn clean_rows() -> Vec<Row> {
    let due = || settled_at(2).previous(1, ago(seconds(1)));
    vec![
        Row("a Secret under the former name", settled().also("old", 1), "remove payments/old"),
        Row(
            "or its value, if Secrets are to stay",
            settled().also("old", 1).retain_secret().laid_out(),
            "blank payments/old",
        ),
        Row("not before the new one is written", settled().also("old", 1).secret_absent(), "fetch payments/old"),
        Row("a replaced token when its time is over", due(), "delete t1 Replaced"),
        Row("at that very moment", settled_at(2).previous(1, now()), "delete t1 Replaced"),
        Row("not before", settled_at(2).previous(1, ahead(hours(1))), "rest Settled, ready, wake 1h"),
        Row("a revoked one", due().at_hub("t1", off), "delete t1 Revoked"),
        Row("one that the list lacks", due().hub_lacks("t1"), "delete t1 Replaced"),
        Row("a Secret that holds it goes first", due().also("old", 1), "remove payments/old"),
        Row("not while a Secret holds it", due().secret_holds(1), "create 3"),
        Row("not while a Secret may be written later", due().second(SecretState::Absent), "fetch payments/dockerhub"),
        Row(
            "at once if none is to work",
            settled_at(2).previous(1, ahead(hours(1))).inactive().at_hub("t2", off),
            "delete t1 Replaced",
        ),
        Row("a lost answer's token below ours", settled_at(3).hub(2), "delete t2 Orphan"),
        Row("one with our own sequence and another id", settled_at(2).hub_as("twin", 2), "delete twin Orphan"),
        Row("not one above ours", settled_at(2).hub(3), "rest Settled, ready, wake 1199h 55m 18s"),
        Row("not one that lives on", settled_at(3).previous(2, ahead(hours(1))), "rest Settled, ready, wake 1h"),
        Row(
            "not one without our marker",
            settled_at(2).hub_as("jenkins", 1).at_hub("jenkins", |t| t.sequence = None),
            "rest Settled, ready, wake 1199h 55m 18s",
        ),
        Row(
            "not while a Secret may hold it",
            settled_at(3).hub(2).second(SecretState::Ours(held(2))),
            "fetch payments/dockerhub",
        ),
        Row("edits come before", due().inactive(), "update t2 active=false"),
        Row(
            "unless they failed just now",
            due().inactive().failed("update", Reason::Forbidden, 1, seconds(0)),
            "delete t1 Replaced",
        ),
        Row(
            "and so on in turn",
            due().inactive().failed("delete", Reason::Forbidden, 2, seconds(0)),
            "update t2 active=false",
        ),
    ]
}

#[test]
fn in_an_emergency() {
    check_all(revoke_rows());
}

pub fn revoke_rows() -> Vec<Row> {
    let revoked = || settled().revoke("leaked").at_hub("t1", off).token(|token| token.active = false);
    vec![
        Row("the token is deactivated at once", settled().revoke("leaked"), "update t1 active=false"),
        Row("before all lists", settled().revoke("leaked").no_list(), "update t1 active=false"),
        Row("whatever the spec says", settled().revoke("leaked").invalid(), "update t1 active=false"),
        Row(
            "whatever else fails",
            settled().failed("create", Reason::HubUnavailable, 9, minutes(5)).revoke("leaked"),
            "update t1 active=false",
        ),
        Row("whatever is in the way", settled().revoke("leaked").secret_foreign(), "update t1 active=false"),
        Row("and so is what it replaced", revoked().previous(0, ahead(hours(1))), "update t0 active=false"),
        Row("and what a leader before us published", revoked().hub(2).secret_holds(2), "update t2 active=false"),
        Row("then it is replaced", revoked(), "create 2"),
        Row(
            "a Secret that may hold what it replaced goes first",
            revoked().previous(0, ahead(hours(1))).at_hub("t0", off).also("old", 0),
            "remove payments/old",
        ),
        Row(
            "what it replaced goes first, also where the Secret has a new name",
            revoked().previous(0, ahead(hours(1))).at_hub("t0", off).secret_absent().also("old", 1),
            "delete t0 Revoked",
        ),
        Row(
            "without deactivating it twice",
            revoked().no_list(),
            "rest OrganizationNotReady, not ready, wake 1199h 55m 18s",
        ),
        Row("the replacement is proved", revoked().hand(2), "prove"),
        Row("and published", revoked().proved(2), "publish payments/dockerhub"),
        Row("and remembered, and the old one ends", revoked().proved(2).secret_holds(2), "remember 2, 1 until now"),
        Row(
            "those before it end too",
            settled_at(2)
                .previous(1, ahead(hours(1)))
                .revoke("leaked")
                .at_hub("t1", off)
                .at_hub("t2", off)
                .proved(3)
                .secret_holds(3),
            "remember 3, 1 until now, 2 until now",
        ),
        Row(
            "a token that was made just before the request is no answer to it",
            settled().proved(2).revoke("leaked"),
            "update t1 active=false",
        ),
        Row(
            "it is published all the same",
            settled().proved(2).revoke("leaked").at_hub("t1", off),
            "publish payments/dockerhub",
        ),
        Row("one that expired needs no deactivation", settled().revoke("leaked").after(days(80)), "create 2"),
        Row("nor does one that is gone", settled().revoke("leaked").hub_lacks("t1").gone("t1"), "create 2"),
        Row("one that the list lacks is looked for", settled().revoke("leaked").hub_lacks("t1"), "confirm t1"),
        Row("once is enough", settled().revoke("leaked").handled(|h| h.revoke = Some("leaked".into())), SETTLED),
        Row("there is nothing to revoke yet", fresh().revoke("leaked"), "create 1"),
        Row(
            "no organization, no call",
            settled().revoke("leaked").no_organization(),
            "rest OrganizationNotFound, not ready, wake 1199h 55m 18s",
        ),
    ]
}

#[test]
fn what_a_create_asks_for() {
    let case = settled().rotate("r").revoke("x").trigger("t").at_hub("t1", off);
    let Decision::Step(Step::Create(new)) = decide(&case.view, case.now) else { panic!("{}", case.answer()) };
    assert_eq!(new.label, format!("pull [c1/{}.2]", identity()));
    assert_eq!(new.handled, case.view.object.requests);
    assert_eq!(new.expires, Some(ahead(days(90))));
    assert_eq!((new.expiry.as_str(), new.description.as_str()), ("7776000s", "pulls"));
    assert_eq!(new.shape_hash, wanted().shape_hash());
    assert_eq!(new.resources, wanted().resources);
    assert!(new.verify && new.urgent);
    let case = fresh().spec(|wanted| wanted.rotation.verify = false);
    let Decision::Step(Step::Create(new)) = decide(&case.view, case.now) else { panic!("{}", case.answer()) };
    assert!(!new.verify && !new.urgent);
}

#[test]
fn what_a_user_puts_on_the_object_that_is_no_request_changes_nothing() {
    let quiet = settled();
    for generation in [1, 2, 900] {
        let mut case = quiet.clone();
        case.view.object.generation = generation;
        check(&case, SETTLED);
    }
}
