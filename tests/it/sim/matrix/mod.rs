//! Every fault that Docker Hub and an API server are known for, at every kind of request, on an object at rest and in the
//! middle of a rotation. The end is that of the quiet run; the cost is that of the quiet run and what [`bounds`] allows.
//!
//! ```console
//! $ OAT_MATRIX=long cargo test --test it sim::matrix                             # all forms, and for ten minutes too
//! $ OAT_CELL='create 4' cargo test --test it sim::matrix -- --nocapture          # one request, one fault by its number
//! ```
//!
//! Reading order: [`asks`] (the requests, and what happens), [`troubles`] (the faults), [`cells`] (which meets which),
//! [`play`] (one run), [`bounds`] (what it may cost), [`page`] (docs/fault-matrix.md).
//!
//! Never: a cell that passes though the fault met nothing.

mod asks;
mod bounds;
mod cells;
mod page;
mod play;
mod troubles;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use asks::{Ask, Case, Phase, Situation};
use cells::Cell;
use play::{Played, Struck, play};
use troubles::Trouble;

/// The runs of one kind of request: quiet ones are played once.
struct Row {
    ask: Ask,
    quiet: HashMap<(usize, u8, bool), Played>,
    failed: Vec<String>,
    /// How often a run with a fault was played, and the longest recovery.
    runs: usize,
    slowest: std::time::Duration,
}

impl Row {
    fn quiet(&mut self, situation: Situation, case: Case, phase: Phase, tls: bool) -> Played {
        let ask = self.ask;
        let key = (situation as usize, phase as u8, tls);
        self.quiet.entry(key).or_insert_with(|| play(ask, case, phase, tls, None)).clone()
    }

    fn run(&mut self, situation: Situation, struck: Struck) {
        let Struck { trouble, form, lasting } = struck;
        let Some(case) = self.ask.case(situation) else { return };
        let (phase, tls) = (trouble.phase(self.ask), trouble == Trouble::Certificate);
        let quiet = self.quiet(situation, case, phase, tls);
        let what = format!("{} {} {situation:?} form {form} lasting {lasting}", self.ask.words(), trouble.words());
        self.runs += 1;
        let played = catch_unwind(AssertUnwindSafe(|| {
            let found = play(self.ask, case, phase, tls, Some((struck, &quiet.outcome.end)));
            let complaints = bounds::complaints(trouble, self.ask, &quiet, &found);
            println!("{what}: {} hits, {} requests meanwhile, {:?}", found.hits, found.during, found.recovery);
            assert!(complaints.is_empty(), "{}", complaints.join("\n"));
            found
        }));
        match played {
            Ok(found) => self.slowest = self.slowest.max(found.recovery),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
                self.failed.push(format!("{what}: {text}"));
            }
        }
    }
}

/// Which cell is asked for by `OAT_CELL`, if one is: a request and the number of a fault.
fn is_asked_for(ask: Ask, number: usize) -> bool {
    let Ok(cell) = std::env::var("OAT_CELL") else { return true };
    match cell.rsplit_once(' ') {
        Some((name, at)) if at.parse() == Ok(number) => name == ask.words(),
        _ => cell == ask.words(),
    }
}

/// All cells of a request: once in both situations, each in another of the fault's forms; all forms, and those that last,
/// where the long run is asked for.
fn row(ask: Ask) {
    let begun = Instant::now();
    let long = std::env::var("OAT_MATRIX").as_deref() == Ok("long");
    let mut row = Row { ask, quiet: HashMap::new(), failed: Vec::new(), runs: 0, slowest: std::time::Duration::ZERO };
    let troubles: &[Trouble] = if ask.is_hub() { &troubles::HUB } else { &troubles::KUBERNETES };
    let at = ask as usize;
    for (number, trouble) in troubles.iter().enumerate() {
        if cells::cell(*trouble, ask) != Cell::Run || !is_asked_for(ask, number + 1) {
            continue;
        }
        let forms = trouble.forms(ask);
        for (nth, situation) in [Situation::Idle, Situation::Rotating].into_iter().enumerate() {
            for form in (0..forms).filter(|form| long || *form == (at + nth) % forms) {
                for lasting in [false, true].into_iter().filter(|lasting| !lasting || long && trouble.lasts(form)) {
                    row.run(situation, Struck { trouble: *trouble, form, lasting });
                }
            }
        }
    }
    println!("{}: {} runs in {:?}, the slowest recovery {:?}", ask.words(), row.runs, begun.elapsed(), row.slowest);
    assert!(row.failed.is_empty(), "{} of {} runs failed:\n{}", row.failed.len(), row.runs, row.failed.join("\n\n"));
}

macro_rules! rows {
    ($($name:ident: $ask:ident;)*) => {$(
        #[test]
        fn $name() {
            row(Ask::$ask);
        }
    )*};
}

rows! {
    login: Login;
    list: List;
    get: Get;
    create: Create;
    change: Change;
    delete: Delete;
    proof: Proof;
    own_kinds: OwnKinds;
    own_secrets: OwnSecrets;
    other_secrets: OtherSecrets;
    credentials: Credentials;
    add_finalizer: AddFinalizer;
    make_secret: MakeSecret;
    change_secret: ChangeSecret;
    remove_secret: RemoveSecret;
    status: Status;
    release: Release;
    event: Event;
    lease: Lease;
}
