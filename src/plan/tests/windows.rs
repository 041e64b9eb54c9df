//! Windows, the distance between rotations, and the daily look at all parts of a token.

use super::{Row, build::*, check_all};
use crate::plan::*;

#[test]
fn rotations_keep_to_windows() {
    check_all(rows());
}

/// Token 1 is due in 50 days, on 2027-01-19 at 23:55; 2027-01-23 is a Saturday.
pub fn rows() -> Vec<Row> {
    let saturdays = || settled().windows("0 2 * * 6", hours(4));
    let soon = |case: Case| case.listed_ago(seconds(0));
    let yearly = || settled().windows("0 0 1 7 *", hours(1));
    vec![
        Row("not before it is due", saturdays(), "rest Settled, ready, wake 1274h"),
        Row("due, but no window is open", saturdays().after(days(51)), "rest WaitingForWindow, ready, wake 50h"),
        Row("a window opens", soon(saturdays().after(days(53) + hours(2))), "create 2"),
        Row("and is open for a while", soon(saturdays().after(days(53) + hours(5))), "create 2"),
        Row("then the next one", saturdays().after(days(53) + hours(6)), "rest WaitingForWindow, ready, wake 164h"),
        Row("somebody who asks doesn't wait", saturdays().rotate("now"), "create 2"),
        Row("nor does a lost value", saturdays().secret_absent(), "create 2"),
        Row(
            "nor does an edit",
            saturdays().spec(|w| w.expiry = crate::api::valid::Expiry::After(days(30))),
            "create 2",
        ),
        Row(
            "nothing is rotated just because one is open",
            saturdays().after(days(4) + hours(3)),
            "rest Settled, ready, wake 1175h",
        ),
        Row("a window too late yields", yearly().after(days(79)), "rest WaitingForWindow, ready, wake 18h"),
        Row("six hours before it expires", soon(yearly().after(days(79) + hours(18))), "create 2"),
        Row("no window keeps one that expired", soon(yearly().after(days(80))), "create 2"),
        Row(
            "what never expires waits for its window",
            settled()
                .token(|token| (token.expires, token.expiry) = (None, "never".into()))
                .spec(|w| (w.expiry, w.rotation.interval) = (crate::api::valid::Expiry::Never, Some(days(10))))
                .windows("0 2 * * 6", hours(4)),
            "rest WaitingForWindow, ready, wake 98h",
        ),
    ]
}

#[test]
fn who_asks_again_and_again_waits() {
    check_all(distance_rows());
}

pub fn distance_rows() -> Vec<Row> {
    let made = |sequence, before| settled_at(sequence).token(|token| token.created = Some(ago(before))).rotate("again");
    vec![
        Row("the first rotation is free", made(1, seconds(0)), "create 2"),
        Row("the second is not", made(2, seconds(3)), "rest Progressing, ready, wake 7s"),
        Row("after ten seconds it is", made(2, seconds(10)), "create 3"),
        Row(
            "an emergency doesn't wait",
            settled_at(2).token(|token| token.created = Some(now())).revoke("leaked"),
            "update t2 active=false",
        ),
        Row("other work goes on meanwhile", made(2, seconds(3)).inactive(), "update t2 active=false"),
        Row("nor does a lost value", made(2, seconds(3)).secret_absent(), "create 3"),
    ]
}

#[test]
fn once_a_day_all_parts_are_compared() {
    check_all(inspection_rows());
}

pub fn inspection_rows() -> Vec<Row> {
    let inspected = |before| settled().with(|view| view.session.inspected = ago(before));
    vec![
        Row("not before", inspected(hours(1)), "rest Settled, ready, wake 23h 4m 42s"),
        Row("then by its id", inspected(hours(25)), "confirm t1"),
        Row("work comes first", inspected(hours(25)).rotate("now"), "create 2"),
        Row("there must be one", fresh().with(|view| view.session.inspected = ago(hours(25))), "create 1"),
    ]
}

#[test]
fn what_is_said_to_be_gone_is_looked_at_once() {
    let mut case = settled().with(|view| view.session.inspected = ago(hours(25)));
    let list = case.view.list().unwrap().clone();
    case.view.absorb(&Step::Confirm(id("t1")), Outcome::Confirmed(id("t1"), None), case.now);
    assert_eq!(case.answer(), "create 2");
    // A list shows it all the same. It is not asked for again and again.
    case.view.absorb(&Step::Refresh, Outcome::Listed(list), case.now);
    assert_eq!(case.answer().split(',').next(), Some("rest Settled"));
}

/// What Docker Hub says of the current token in all its parts, and what comes of it.
fn looked_at(case: &mut Case, shape: &str) -> String {
    let found = Token { shape: Some(shape.into()), ..listed(1) };
    case.view.absorb(&Step::Confirm(id("t1")), Outcome::Confirmed(id("t1"), Some(found)), case.now);
    case.answer()
}

const CORRECTION: &str = "update t1 label=\"pull\"+marker resources=1 description=\"pulls\"";

fn corrected(case: &mut Case) {
    let Decision::Step(Step::Update(id, change)) = decide(&case.view, case.now) else { panic!("{}", case.answer()) };
    case.view.absorb(&Step::Update(id.clone(), change.clone()), Outcome::Updated(id, change), case.now);
}

#[test]
fn what_differs_is_corrected_and_looked_at_again_soon() {
    let mut case = settled().with(|view| view.session.inspected = ago(hours(25)));
    assert_eq!(looked_at(&mut case, &wanted().shape_hash()), "rest Settled, ready, wake 24h 4m 42s", "as it should be");
    assert_eq!(looked_at(&mut case, "narrower"), CORRECTION);
    corrected(&mut case);
    assert_eq!(case.answer(), "rest Settled, ready, wake 5m");
    assert_eq!(case.clone().after(minutes(5)).answer(), "confirm t1");
    assert_eq!(looked_at(&mut case, &wanted().shape_hash()), "rest Settled, ready, wake 24h 4m 42s", "it holds");
    assert_eq!(looked_at(&mut case, "narrower"), CORRECTION, "somebody did it again");
}

#[test]
fn what_is_as_before_right_after_its_correction_is_left() {
    let mut case = settled().with(|view| view.session.inspected = ago(hours(25)));
    looked_at(&mut case, "narrower");
    corrected(&mut case);
    // Docker Hub has its own words for what we gave it.
    assert_eq!(looked_at(&mut case, "narrower"), "rest Settled, ready, wake 24h 4m 42s", "no correction without end");
    assert_eq!(looked_at(&mut case, "narrower"), "rest Settled, ready, wake 24h 4m 42s");
    assert_eq!(looked_at(&mut case, "wider"), CORRECTION, "another difference is");
    corrected(&mut case);
    assert_eq!(looked_at(&mut case, "narrower"), CORRECTION, "its own words once more");
    corrected(&mut case);
    assert_eq!(looked_at(&mut case, "narrower"), "rest Settled, ready, wake 24h 4m 42s");
}

#[test]
fn a_correction_that_was_not_carried_out_and_not_written_down_is_made_later() {
    let mut case = settled().with(|view| view.session.inspected = ago(hours(25)));
    let status = case.view.memory.clone();
    let confirm = Step::Confirm(id("t1"));
    let found = || Outcome::Confirmed(id("t1"), Some(Token { shape: Some("by hand".into()), ..listed(1) }));
    case.view.absorb(&confirm, found(), case.now);
    // The pass ends here: somebody wrote the object.
    case.view.memory = status;
    assert_eq!(case.answer().split(',').next(), Some("rest Settled"));
    case.view.absorb(&confirm, found(), case.now);
    assert_eq!(case.answer(), "update t1 label=\"pull\"+marker resources=1 description=\"pulls\"");
}
