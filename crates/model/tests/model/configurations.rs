//! What is allowed to happen in each exploration, and how often at most.

use super::{
    large::LARGE,
    operator::Operator,
    world::{Budget, Start},
};

const NONE: Budget = Budget {
    crash: 0,
    lost: 0,
    late: 0,
    refuse: 0,
    lag: 0,
    rotate: 0,
    revoke: 0,
    toggle: 0,
    edit: 0,
    rename: 0,
    delete: 0,
    secret: 0,
    squat: 0,
    hub: 0,
    places: 0,
    settle: 0,
    reshape: 0,
    tick: 0,
};

type Configuration = (&'static str, Start, Budget);

/// Those of every run. With a crash and a late write, the crash may be a Lease that moves, and the write lands past it.
const USUAL: &[Configuration] = &[
    ("create", Start::New, Budget { crash: 1, lost: 1, late: 1, ..NONE }),
    ("refusals", Start::New, Budget { refuse: 3, lost: 1, crash: 1, ..NONE }),
    ("rotation", Start::Settled, Budget { crash: 1, lost: 1, late: 1, rotate: 1, ..NONE }),
    ("schedule", Start::Settled, Budget { crash: 1, lost: 1, tick: 3, ..NONE }),
    ("emergency", Start::Settled, Budget { crash: 1, lost: 1, rotate: 1, revoke: 1, ..NONE }),
    ("edits", Start::Settled, Budget { toggle: 2, edit: 1, rename: 1, rotate: 1, tick: 1, ..NONE }),
    ("a new name and crashes", Start::Settled, Budget { toggle: 1, rename: 1, rotate: 1, crash: 1, ..NONE }),
    ("changed Secrets", Start::Settled, Budget { secret: 2, rotate: 1, crash: 1, tick: 1, ..NONE }),
    ("two Secrets", Start::Two, Budget { refuse: 1, secret: 1, rotate: 1, tick: 2, ..NONE }),
    ("hands at Docker Hub", Start::Settled, Budget { hub: 2, rotate: 1, tick: 1, ..NONE }),
    ("deletion", Start::Settled, Budget { delete: 1, crash: 1, lost: 1, late: 1, rotate: 1, ..NONE }),
    ("a token that stays", Start::Retained, Budget { delete: 1, crash: 1, lost: 1, rotate: 1, secret: 1, ..NONE }),
    (
        "a token that stays, past a Lease",
        Start::Retained,
        Budget { delete: 1, crash: 1, late: 1, lost: 1, rotate: 1, ..NONE },
    ),
    ("a short life", Start::New, Budget { delete: 1, crash: 1, lost: 1, ..NONE }),
    ("restored without its status", Start::Restored, Budget { crash: 1, lost: 1, late: 1, ..NONE }),
    ("two replicas", Start::Settled, Budget { crash: 2, late: 2, rotate: 1, ..NONE }),
    ("two replicas, lost answers", Start::Settled, Budget { crash: 2, late: 2, lost: 1, rotate: 1, ..NONE }),
    ("create, crashed twice", Start::New, Budget { crash: 2, lost: 1, late: 1, tick: 1, ..NONE }),
    (
        "deletion of a changed Secret",
        Start::Settled,
        Budget { crash: 1, late: 1, lost: 1, delete: 1, rotate: 1, secret: 1, ..NONE },
    ),
    ("two that are behind", Start::Settled, Budget { crash: 2, late: 1, lag: 2, rotate: 1, rename: 1, ..NONE }),
    (
        "replicas and edits",
        Start::Settled,
        Budget { toggle: 2, rename: 1, edit: 1, rotate: 1, crash: 1, late: 1, ..NONE },
    ),
    ("three replicas, a Secret dropped", Start::Settled, Budget { crash: 2, late: 2, secret: 1, rotate: 1, ..NONE }),
    ("two replicas, a Secret dropped", Start::Settled, Budget { crash: 1, late: 1, secret: 1, rotate: 1, ..NONE }),
    ("a standby that is behind", Start::Settled, Budget { crash: 1, late: 1, lag: 1, rotate: 1, ..NONE }),
    ("a term that has settled", Start::Settled, Budget { crash: 1, lost: 1, late: 1, rotate: 1, settle: 1, ..NONE }),
    ("adoption", Start::Adopting, Budget { crash: 1, lost: 1, late: 1, ..NONE }),
    ("adoption and its end", Start::Adopting, Budget { crash: 1, refuse: 1, delete: 1, hub: 1, tick: 1, ..NONE }),
    ("drift that no list shows", Start::Settled, Budget { hub: 1, reshape: 1, rotate: 1, tick: 1, crash: 1, ..NONE }),
    ("asked before the first", Start::New, Budget { rotate: 1, revoke: 1, toggle: 1, crash: 1, lost: 1, ..NONE }),
    ("no proofs", Start::Trusting, Budget { rotate: 1, revoke: 1, crash: 1, lost: 1, late: 1, ..NONE }),
    ("a Secret without a status", Start::Kept, Budget { crash: 1, lost: 1, late: 1, hub: 1, ..NONE }),
    ("adoption by id", Start::AdoptingById, Budget { crash: 1, lost: 1, hub: 1, delete: 1, ..NONE }),
    ("no proofs, other Secrets", Start::Trusting, Budget { rename: 1, rotate: 1, secret: 1, ..NONE }),
    ("an emergency after a hand", Start::Settled, Budget { hub: 1, lost: 1, revoke: 1, toggle: 1, ..NONE }),
    (
        "a new name and a wish when it is due",
        Start::Trusting,
        Budget { rename: 1, rotate: 1, secret: 1, tick: 2, ..NONE },
    ),
    ("no proofs, in time", Start::Trusting, Budget { rotate: 1, crash: 1, tick: 3, ..NONE }),
    ("both sides by hand", Start::Settled, Budget { hub: 1, secret: 1, lost: 1, rotate: 1, ..NONE }),
    ("refused wishes", Start::Settled, Budget { rotate: 1, revoke: 1, refuse: 3, secret: 1, ..NONE }),
    ("off, and on when it is due", Start::Settled, Budget { toggle: 2, rename: 1, secret: 1, tick: 2, ..NONE }),
    ("the end of what is kept", Start::Deactivating, Budget { delete: 1, crash: 1, refuse: 1, lost: 1, ..NONE }),
    ("edits of what is due", Start::Settled, Budget { edit: 1, toggle: 1, refuse: 1, lost: 1, tick: 2, ..NONE }),
    (
        "names that are taken",
        Start::Settled,
        Budget { squat: 1, rename: 2, revoke: 1, edit: 1, delete: 1, hub: 1, ..NONE },
    ),
    ("hands and wishes", Start::Settled, Budget { hub: 1, reshape: 1, toggle: 2, rotate: 1, lost: 1, ..NONE }),
    (
        "kept under a new name",
        Start::Retained,
        Budget { rename: 1, toggle: 1, rotate: 1, refuse: 1, delete: 1, ..NONE },
    ),
    ("two Secrets under new names", Start::Two, Budget { rename: 1, toggle: 1, hub: 1, rotate: 1, ..NONE }),
    ("stale views", Start::Settled, Budget { lag: 1, toggle: 1, rename: 1, rotate: 1, ..NONE }),
];

/// With a limit of places, of which somebody else has one.
const CROWDED: &[(u8, Configuration)] = &[
    (3, ("places for the first", Start::New, Budget { places: 2, rotate: 1, crash: 1, lost: 1, tick: 1, ..NONE })),
    (2, ("the last place", Start::New, Budget { places: 2, crash: 1, lost: 1, tick: 1, ..NONE })),
    (5, ("an emergency with leftovers", Start::Settled, Budget { revoke: 1, lost: 3, late: 1, ..NONE })),
    (3, ("a Secret and no place", Start::Settled, Budget { places: 2, secret: 1, rotate: 1, refuse: 1, ..NONE })),
    (3, ("an emergency without a place", Start::Settled, Budget { places: 1, revoke: 1, lost: 2, ..NONE })),
    (3, ("to the end", Start::Settled, Budget { places: 2, refuse: 1, reshape: 1, tick: 3, ..NONE })),
    (3, ("places", Start::Settled, Budget { places: 2, rotate: 1, crash: 1, ..NONE })),
    (
        3,
        (
            "places, lost answers",
            Start::Settled,
            Budget { places: 1, rotate: 1, crash: 1, lost: 1, late: 1, settle: 1, ..NONE },
        ),
    ),
    (
        3,
        (
            "the last place and a changed Secret",
            Start::Settled,
            Budget { secret: 1, rotate: 1, crash: 1, lost: 1, late: 1, ..NONE },
        ),
    ),
    (3, ("places, over time", Start::Settled, Budget { places: 2, rotate: 1, crash: 1, late: 1, tick: 2, ..NONE })),
];

/// With such a limit, of which the operator was told that it is higher.
const MISTAKEN: &[(u8, Configuration)] = &[
    (
        3,
        ("fewer places than were told of", Start::Settled, Budget { places: 2, secret: 1, rotate: 1, tick: 3, ..NONE }),
    ),
    (2, ("fewer places for the first", Start::New, Budget { places: 2, crash: 1, lost: 1, tick: 1, ..NONE })),
];

fn operator(limit: Option<u8>, (name, start, budget): Configuration) -> (String, Operator) {
    (name.to_owned(), Operator { limit, ..Operator::new(start, budget) })
}

fn usual() -> impl Iterator<Item = (String, Operator)> {
    let crowded = CROWDED.iter().map(|(limit, rest)| operator(Some(*limit), *rest));
    let mistaken = MISTAKEN.iter().map(|(limit, rest)| operator(Some(*limit), *rest));
    let mistaken = mistaken.map(|(name, model)| (name, Operator { exaggerated: 1, ..model }));
    USUAL.iter().map(|one| operator(None, *one)).chain(crowded).chain(mistaken)
}

/// All of a run: see the crate's documentation for `OAT_MODEL`.
pub fn all() -> Vec<(String, Operator)> {
    let large = LARGE.iter().map(|(name, text)| ((*name).to_owned(), made_up(text)));
    match std::env::var("OAT_MODEL").ok() {
        None => usual().collect(),
        Some(chosen) if chosen == "large" => usual().chain(large).collect(),
        Some(chosen) if chosen.contains('=') => vec![(chosen.clone(), made_up(&chosen))],
        Some(chosen) => usual().chain(large).filter(|(name, _)| *name == chosen).collect(),
    }
}

/// One of them.
pub fn named(name: &str) -> Operator {
    usual().find(|(known, _)| known == name).unwrap().1
}

/// `Settled crash=1 late=2 limit=3 exaggerated=1`.
fn made_up(text: &str) -> Operator {
    let (mut start, mut budget, mut limit, mut exaggerated) = (Start::Settled, NONE, None, 0);
    for word in text.split_whitespace() {
        let Some((name, number)) = word.split_once('=') else {
            let starts = [
                Start::Deactivating,
                Start::Trusting,
                Start::Kept,
                Start::New,
                Start::Settled,
                Start::Two,
                Start::Retained,
                Start::Restored,
                Start::Adopting,
                Start::AdoptingById,
            ];
            start = starts.into_iter().find(|start| format!("{start:?}") == word).unwrap();
            continue;
        };
        let number: u8 = number.parse().unwrap();
        let field = match name {
            "limit" => {
                limit = Some(number);
                continue;
            }
            "exaggerated" => &mut exaggerated,
            "crash" => &mut budget.crash,
            "lost" => &mut budget.lost,
            "late" => &mut budget.late,
            "refuse" => &mut budget.refuse,
            "lag" => &mut budget.lag,
            "rotate" => &mut budget.rotate,
            "revoke" => &mut budget.revoke,
            "toggle" => &mut budget.toggle,
            "edit" => &mut budget.edit,
            "rename" => &mut budget.rename,
            "delete" => &mut budget.delete,
            "secret" => &mut budget.secret,
            "squat" => &mut budget.squat,
            "hub" => &mut budget.hub,
            "places" => &mut budget.places,
            "settle" => &mut budget.settle,
            "reshape" => &mut budget.reshape,
            "tick" => &mut budget.tick,
            other => panic!("{other} is no kind of event"),
        };
        *field = number;
    }
    Operator { limit, exaggerated, ..Operator::new(start, budget) }
}
