//! Tables of cases: a sentence, a view, and the one line that [`decide`] must answer.
//!
//! `build` makes views that read as sentences, `say` puts decisions into one line, `hope` answers steps as a world
//! without faults would.

mod absorb;
mod adoption;
mod build;
mod facts;
mod farewell;
mod hope;
mod life;
mod lives;
mod places;
mod produced;
mod say;
mod schedule;
mod waiting;
mod windows;

use build::Case;

/// A case: what it is about, the view and the time, and what is expected.
pub struct Row(pub &'static str, pub Case, pub &'static str);

/// Compares all rows of a table and shows every one that differs.
#[track_caller]
pub fn check_all(rows: Vec<Row>) {
    let wrong: Vec<_> = rows
        .into_iter()
        .filter_map(|Row(sentence, case, expected)| {
            let found = case.answer();
            (found != expected).then(|| format!("{sentence}\n  expected: {expected}\n  found:    {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Compares the answer to one view.
#[track_caller]
pub fn check(case: &Case, expected: &str) {
    assert_eq!(case.answer(), expected);
}
