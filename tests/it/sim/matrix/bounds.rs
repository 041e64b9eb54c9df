//! What a fault may cost beyond the quiet run, and how often a request may be tried while a fault lasts.

use std::time::Duration;

use super::{
    super::oracle::Counts,
    asks::Ask,
    play::Played,
    troubles::{Trouble, Trouble::*},
};

/// How long a fault lasts that does not come once.
pub const LASTS: Duration = Duration::from_secs(600);

/// How often a request is sent in ten minutes at most while it fails.
///
/// Work that fails waits 1 s, and twice as long each time, five minutes at most: ten times in ten minutes. A second one is
/// allowed for each, since a change that a watch tells of, a list that is back, or another kind of work begins anew.
pub fn patience(trouble: Trouble, ask: Ask) -> u64 {
    match (trouble, ask) {
        // Each one is opened anew when it ends, which is no failure: once a second, for each resource.
        (Closed, Ask::OwnKinds) => 3 * 640,
        (Closed, _) => 640,
        // A watch or list that fails waits 0.5 s, and twice as long each time, 5 s at most.
        (_, Ask::OwnKinds) => 3 * 130,
        (_, Ask::OwnSecrets | Ask::OtherSecrets) => 130,
        // A leader renews every two seconds; where somebody else wrote, it looks and renews once more.
        (_, Ask::Lease) => 3 * 310,
        _ => 20,
    }
}

/// How much is asked and written in these ten minutes at most, watches and the Lease apart.
///
/// An attempt is a list, maybe with a login, and what it comes to; a status says what is wrong, and an event.
pub fn work(trouble: Trouble, ask: Ask) -> usize {
    let lists = match ask {
        // A list may hide that credentials have changed: they are looked at after each.
        Ask::OtherSecrets => 2 * patience(trouble, ask),
        _ if ask.is_store() => patience(trouble, ask),
        _ => 0,
    };
    60 + usize::try_from(lists).unwrap()
}

/// What there may be of each kind, and what there is more of. Empty: all is well.
pub fn complaints(trouble: Trouble, ask: Ask, quiet: &Played, found: &Played) -> Vec<String> {
    let (hits, was, is) = (usize::try_from(found.hits).unwrap(), &quiet.outcome.counts, &found.outcome.counts);
    let own = |kind: Ask| if ask == kind { hits } else { 0 };
    let made = creates(trouble, ask, hits);
    // A login holds for ten minutes, and it went on for longer.
    let hours = usize::try_from(found.took.saturating_sub(quiet.took).as_secs() / 3000).unwrap();
    let rounds = hits + hours + 1;
    let mut complaints = Vec::new();
    for (what, is, most) in [
        ("requests while it lasted", hits, usize::try_from(patience(trouble, ask)).unwrap()),
        ("requests of all kinds while it lasted", found.during, work(trouble, ask)),
    ] {
        if is > most {
            complaints.push(format!("{is} {what}, {most} are allowed"));
        }
    }
    let mut check = |what: &str, was: usize, is: usize, more: usize| {
        if is > was + more {
            complaints.push(format!("{is} {what}, {was} in the quiet run; {more} more are allowed"));
        }
    };
    check("creates", was.creates, is.creates, made);
    check("deletes", was.deletes, is.deletes, made + own(Ask::Delete) + forgotten(ask, hits));
    // A change that could not be remembered is made once more.
    check("updates", was.updates, is.updates, own(Ask::Change) + own(Ask::Status));
    check("proofs", was.proofs, is.proofs, made + own(Ask::Proof));
    check(
        "gets",
        was.gets,
        is.gets,
        own(Ask::Get) + own(Ask::Delete) + own(Ask::Change) + made + forgotten(ask, hits) + 1,
    );
    check("lists", was.lists, is.lists, 2 * rounds + made);
    check("logins", was.logins, is.logins, 2 * rounds + made);
    for (path, count) in &is.writes {
        let before = was.writes.get(path).copied().unwrap_or_default();
        // What is wrong is said and taken back, and a write whose answer was odd is repeated.
        let more = if path.ends_with("/status") { 3 * hits + made + 2 } else { hits + made };
        check(path, before, *count, more);
    }
    complaints
}

/// How many tokens more may be made.
fn creates(trouble: Trouble, ask: Ask, hits: usize) -> usize {
    match (trouble, ask) {
        // What was not made, or whose value was lost, is made again.
        (_, Ask::Create) => hits,
        // A token that is said to be gone is replaced, and its successor is not looked at before another day.
        (NotFound, Ask::Get) => 1,
        // A value that was refused three times is given up.
        (LoginOver | Forbidden, Ask::Proof) => hits / 3,
        // An object that was replaced has no status, and begins with a new token.
        (Replaced, Ask::OwnKinds | Ask::AddFinalizer | Ask::Status) => hits,
        _ => 0,
    }
}

/// How many tokens may be deleted that are gone: a deletion that begins anew asks for all of them, two in an overlap.
fn forgotten(ask: Ask, hits: usize) -> usize {
    if ask == Ask::Release { 2 * hits } else { 0 }
}

/// What is never more than in the quiet run once all is over: nothing goes on.
pub fn changes(counts: &Counts) -> (usize, usize, usize, usize) {
    (counts.creates, counts.deletes, counts.updates, counts.proofs)
}
