//! What is allowed to happen in each exploration, and how often at most.

use super::{
    large::LARGE,
    operator::Operator,
    swarm,
    world::{Budget, Start},
};

/// A name, and what happens in it, in the words of `OAT_MODEL`.
type Configuration = (&'static str, &'static str);

/// Those of every run. With a crash and a late write, the crash may be a Lease that moves, and the write lands past it.
const USUAL: &[Configuration] = &[
    ("create", "New crash=1 lost=1 late=1"),
    ("refusals", "New refuse=3 lost=1 crash=1"),
    ("rotation", "Settled crash=1 lost=1 late=1 rotate=1"),
    ("schedule", "Settled crash=1 lost=1 tick=3"),
    ("emergency", "Settled crash=1 lost=1 rotate=1 revoke=1"),
    ("edits", "Settled toggle=2 edit=1 rename=1 rotate=1 tick=1"),
    ("a new name and crashes", "Settled toggle=1 rename=1 rotate=1 crash=1"),
    ("changed Secrets", "Settled secret=2 rotate=1 crash=1 tick=1"),
    ("two Secrets", "Two refuse=1 secret=1 rotate=1 tick=2"),
    ("hands at Docker Hub", "Settled hub=2 rotate=1 tick=1"),
    ("deletion", "Settled delete=1 crash=1 lost=1 late=1 rotate=1"),
    ("a token that stays", "Retained delete=1 crash=1 lost=1 rotate=1 secret=1"),
    ("a token that stays, past a Lease", "Retained delete=1 crash=1 late=1 lost=1 rotate=1"),
    ("a short life", "New delete=1 crash=1 lost=1"),
    ("restored without its status", "Restored crash=1 lost=1 late=1"),
    ("two replicas", "Settled crash=2 late=2 rotate=1"),
    ("two replicas, lost answers", "Settled crash=2 late=2 lost=1 rotate=1"),
    ("create, crashed twice", "New crash=2 lost=1 late=1 tick=1"),
    ("deletion of a changed Secret", "Settled crash=1 late=1 lost=1 delete=1 rotate=1 secret=1"),
    ("two that are behind", "Settled crash=2 late=1 lag=2 rotate=1 rename=1"),
    ("replicas and edits", "Settled toggle=2 rename=1 edit=1 rotate=1 crash=1 late=1"),
    ("three replicas, a Secret dropped", "Settled crash=2 late=2 secret=1 rotate=1"),
    ("two replicas, a Secret dropped", "Settled crash=1 late=1 secret=1 rotate=1"),
    ("a view that is behind", "Settled crash=1 late=1 lag=1 rotate=1"),
    ("new names for one that is behind", "Retained crash=1 lag=1 rename=2 revoke=1"),
    ("a term that has settled", "Settled crash=1 lost=1 late=1 rotate=1 settle=1"),
    ("adoption, revoked at once", "Adopting refuse=2 revoke=1 rotate=1 toggle=1"),
    ("adoption", "Adopting crash=1 lost=1 late=1"),
    ("adoption and its end", "Adopting crash=1 refuse=1 delete=1 hub=1 tick=1"),
    ("drift that no list shows", "Settled hub=1 reshape=1 rotate=1 tick=1 crash=1"),
    ("asked before the first", "New rotate=1 revoke=1 toggle=1 crash=1 lost=1"),
    ("no proofs", "Trusting rotate=1 revoke=1 crash=1 lost=1 late=1"),
    ("a Secret without a status", "Kept crash=1 lost=1 late=1 hub=1"),
    ("adoption by id", "AdoptingById crash=1 lost=1 hub=1 delete=1"),
    ("no proofs, other Secrets", "Trusting rename=1 rotate=1 secret=1"),
    ("an emergency after a hand", "Settled hub=1 lost=1 revoke=1 toggle=1"),
    ("a new name and a wish when it is due", "Trusting rename=1 rotate=1 secret=1 tick=2"),
    ("no proofs, in time", "Trusting rotate=1 crash=1 tick=3"),
    ("both sides by hand", "Settled hub=1 secret=1 lost=1 rotate=1"),
    ("refused wishes", "Settled rotate=1 revoke=1 refuse=3 secret=1"),
    ("off, and on when it is due", "Settled toggle=2 rename=1 secret=1 tick=2"),
    ("the end of what is kept", "Deactivating delete=1 crash=1 refuse=1 lost=1"),
    ("edits of what is due", "Settled edit=1 toggle=1 refuse=1 lost=1 tick=2"),
    ("names that are taken", "Settled squat=1 rename=2 revoke=1 edit=1 delete=1 hub=1"),
    ("hands and wishes", "Settled hub=1 reshape=1 toggle=2 rotate=1 lost=1"),
    ("kept under a new name", "Retained rename=1 toggle=1 rotate=1 refuse=1 delete=1"),
    ("two Secrets under new names", "Two rename=1 toggle=1 hub=1 rotate=1"),
    ("what admission changes", "Settled alter=2 rotate=1 rename=1 refuse=1 secret=1 crash=1"),
    ("a finalizer taken off", "Settled unbind=1 rotate=1 crash=1 refuse=1 lost=1 late=1"),
    ("made again under its name", "Restored unbind=1 rotate=1 crash=1 late=1"),
    ("refused again and again", "Settled edit=1 rotate=1 delete=1 rename=1 refuse=3"),
    ("looks that fail", "Settled hub=1 lost=2 rotate=1 reshape=1"),
    ("an emergency that fails", "Settled rotate=1 revoke=1 lost=1 refuse=2"),
    ("stale views", "Settled lag=1 toggle=1 rename=1 rotate=1"),
    ("off to the end", "Settled toggle=2 revoke=1 edit=1 delete=1 reshape=1"),
    ("off under another name", "Settled toggle=2 revoke=1 rename=1 edit=1 secret=1"),
    ("off after a hand, refused", "Settled toggle=1 delete=1 hub=1 edit=1 refuse=2"),
    ("no proofs and an emergency", "Trusting toggle=2 revoke=1 rename=1 edit=1 rotate=1 hub=1"),
    ("no proofs, expired", "Trusting toggle=1 delete=1 edit=1 rename=1 hub=1 tick=3"),
    ("an emergency, hands and the end", "Settled hub=1 toggle=1 revoke=1 delete=1 secret=1 rotate=1"),
    ("an emergency in two Secrets", "Two revoke=1 rename=1 rotate=1 secret=1 hub=1"),
    ("a Secret that stays after a hand", "Retained toggle=1 delete=1 hub=1 refuse=1 revoke=1"),
    ("wishes before the first", "New toggle=2 delete=1 rotate=1 revoke=1 refuse=1 lost=1"),
    ("expired, off and revoked", "Settled toggle=2 edit=1 rename=1 revoke=1 tick=3"),
    ("expired and let go", "Settled edit=1 toggle=1 delete=1 reshape=1 tick=3 refuse=1"),
    // With a limit of places, of which somebody else has one.
    ("places for the first", "New limit=3 places=2 rotate=1 crash=1 lost=1 tick=1"),
    ("the last place", "New limit=2 places=2 crash=1 lost=1 tick=1"),
    ("adoption without a place", "Adopting limit=3 places=1 reshape=1 rotate=2 settle=1"),
    ("adoption by id without a place", "AdoptingById limit=2 places=1 late=1 reshape=1 rotate=1 settle=1 crash=1"),
    ("the end without a place", "Settled limit=2 delete=1 crash=1 lost=1 refuse=1"),
    ("an emergency with leftovers", "Settled limit=5 revoke=1 lost=3 late=1"),
    ("a Secret and no place", "Settled limit=3 places=2 secret=1 rotate=1 refuse=1"),
    ("an emergency without a place", "Settled limit=3 places=1 revoke=1 lost=2"),
    ("to the end", "Settled limit=3 places=2 refuse=1 reshape=1 tick=3"),
    ("places", "Settled limit=3 places=2 rotate=1 crash=1"),
    ("places, lost answers", "Settled limit=3 places=1 rotate=1 crash=1 lost=1 late=1 settle=1"),
    ("the last place and a changed Secret", "Settled limit=3 secret=1 rotate=1 crash=1 lost=1 late=1"),
    ("places, over time", "Settled limit=3 places=2 rotate=1 crash=1 late=1 tick=2"),
    ("places, off and revoked", "Settled limit=3 toggle=1 revoke=1 rotate=1 rename=1 places=1 hub=1"),
    // With such a limit, of which the operator was told that it is higher.
    ("fewer places than were told of", "Settled limit=3 exaggerated=1 places=2 secret=1 rotate=1 tick=3"),
    ("fewer places for the first", "New limit=2 exaggerated=1 places=2 crash=1 lost=1 tick=1"),
];

fn usual() -> impl Iterator<Item = (String, Operator)> {
    USUAL.iter().map(|(name, text)| ((*name).to_owned(), of_words(text)))
}

/// All of a run: see the crate's documentation for `OAT_MODEL`.
pub fn all() -> Vec<(String, Operator)> {
    let large = LARGE.iter().map(|(name, text)| ((*name).to_owned(), of_words(text)));
    match std::env::var("OAT_MODEL").ok() {
        None => usual().collect(),
        Some(chosen) if chosen == "large" => usual().chain(large).collect(),
        Some(chosen) if chosen == "swarm" => {
            let number = |variable, otherwise| std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap());
            let first: u64 = number("OAT_FIRST_SEED", 1);
            let words = (first..first + number("OAT_SEEDS", 40)).map(swarm::words);
            words.map(|words| (words.clone(), Operator { most: Some(swarm::MOST), ..of_words(&words) })).collect()
        }
        Some(chosen) if chosen.contains('=') => vec![(chosen.clone(), of_words(&chosen))],
        Some(chosen) => usual().chain(large).filter(|(name, _)| *name == chosen).collect(),
    }
}

/// One of them.
pub fn named(name: &str) -> Operator {
    usual().find(|(known, _)| known == name).unwrap().1
}

/// `Settled crash=1 late=2 limit=3 exaggerated=1`.
fn of_words(text: &str) -> Operator {
    let (mut start, mut budget, mut limit, mut exaggerated) = (Start::Settled, Budget::default(), None, 0);
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
            "alter" => &mut budget.alter,
            "unbind" => &mut budget.unbind,
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
