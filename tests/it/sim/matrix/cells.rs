//! Which fault meets which request, and why the others don't.

use super::{
    asks::{self, Ask},
    troubles::{self, Trouble, Trouble::*},
};

/// What is done about a pair of a fault and a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// It is played.
    Run,
    /// It has no meaning, and why.
    Left(&'static str),
}

/// All pairs.
pub fn all() -> impl Iterator<Item = (Trouble, Ask, Cell)> {
    let of = |troubles: &'static [Trouble], asks: &'static [Ask]| {
        troubles.iter().flat_map(move |trouble| asks.iter().map(move |ask| (*trouble, *ask, cell(*trouble, *ask))))
    };
    of(&troubles::HUB, &asks::HUB).chain(of(&troubles::KUBERNETES, &asks::KUBERNETES))
}

pub fn cell(trouble: Trouble, ask: Ask) -> Cell {
    let left = match (trouble, ask) {
        (_, Ask::ServiceAccount | Ask::Workload) => Some("the operator doesn't do that yet"),
        (trouble, ask) if ask.is_hub() => hub(trouble, ask),
        (trouble, ask) if ask.is_store() => store(trouble),
        (trouble, ask) => kubernetes(trouble, ask),
    };
    left.map_or(Cell::Run, Cell::Left)
}

fn hub(trouble: Trouble, ask: Ask) -> Option<&'static str> {
    match (trouble, ask) {
        (OneByteASecond | CutJson | OtherShape | Large | Bomb, Ask::Delete) => {
            Some("the answer to a deletion has no body that could be odd")
        }
        (CommitLate, ask) if ask.reads() => Some("it changes nothing, so that late is never"),
        (NotFound, Ask::Login | Ask::List | Ask::Create | Ask::Proof) => Some("it names no token"),
        (Full, ask) if ask != Ask::Create => Some("only what is made needs a place"),
        _ => None,
    }
}

/// A list and a watch.
fn store(trouble: Trouble) -> Option<&'static str> {
    match trouble {
        Conflict | Denied | Mutated => Some("it changes nothing that could be in conflict, denied or changed"),
        Quota | Terminating => Some("it makes nothing"),
        TooLarge => Some("it sends nothing of a size"),
        TimeoutAfter => Some("it changes nothing: the same as 10"),
        _ => None,
    }
}

fn kubernetes(trouble: Trouble, ask: Ask) -> Option<&'static str> {
    match (trouble, ask) {
        (Expired | Silent | Closed | OldList | TooNew, _) => Some("it is no list and no watch"),
        (Conflict | Denied | Mutated, Ask::Credentials) => {
            Some("it changes nothing that could be in conflict, denied or changed")
        }
        (TimeoutAfter, Ask::Credentials) => Some("it changes nothing: the same as 10"),
        (Quota | Terminating, ask) if !matches!(ask, Ask::MakeSecret | Ask::Event) => Some("it makes nothing"),
        (TooLarge, Ask::Credentials | Ask::RemoveSecret) => Some("it sends nothing of a size"),
        (Replaced, Ask::MakeSecret | Ask::Event) => Some("there is none before"),
        (Replaced, Ask::Release) => Some("the new one is not to be deleted: another life, played by `sim::random`"),
        (Mutated, Ask::RemoveSecret) => Some("it sends no object"),
        (Mutated, Ask::Status) => Some("a status takes nothing else along"),
        _ => None,
    }
}

#[test]
fn the_matrix_is_whole() {
    let (mut run, mut left) = (0, 0);
    for (_, ask, cell) in all() {
        match cell {
            Cell::Run => run += 1,
            Cell::Left(_) => left += 1,
        }
        assert_eq!(ask.case(asks::Situation::Idle).is_none(), matches!(ask, Ask::ServiceAccount | Ask::Workload));
    }
    assert_eq!(run + left, 22 * 7 + 18 * 14);
    assert!(run >= 240, "{run} cells are played");
}
