//! The edges of the model, in the planner's words: what is known, a step, what came of it, and what is known then.
//!
//! `edges.txt` has those of the usual configurations. The simulations of the integration suite look there for every step
//! that the operator takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
};

const HEADER: &str = "\
# What may be known of an object, a line each, with the steps that the model's usual configurations take then, what comes of
# them, and the lines of what is known after. Written by UPDATE=1 cargo test --test model configurations
";

/// The edges, one line for all that begin with the same.
fn text(edges: &BTreeSet<String>) -> String {
    let parts = || edges.iter().map(|edge| edge.split(" | ").collect::<Vec<_>>());
    let known: BTreeSet<&str> = parts().flat_map(|edge| [edge[0], edge[2]]).collect();
    let lines: BTreeMap<&str, usize> = known.iter().enumerate().map(|(place, known)| (*known, place + 3)).collect();
    let mut steps: BTreeMap<&str, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for edge in parts() {
        steps.entry(edge[0]).or_default().entry(edge[1]).or_default().push(lines[edge[2]]);
    }
    let mut text = HEADER.to_owned();
    for known in known {
        text += known;
        for (step, after) in steps.get(known).into_iter().flatten() {
            write!(text, " | {step}").unwrap();
            after.iter().for_each(|line| write!(text, " {line}").unwrap());
        }
        text.push('\n');
    }
    text
}

/// The file must have these, and no others.
#[track_caller]
pub fn compare(edges: &BTreeSet<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("edges.txt");
    let text = text(edges);
    println!("{} edges between {} situations", edges.len(), text.lines().count() - 2);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "edges.txt is out of date: UPDATE=1 cargo test --test model configurations");
}
