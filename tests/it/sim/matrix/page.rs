//! docs/fault-matrix.md: what is played, and what is not and why.

use std::fmt::Write;

use super::{
    asks::{self, Ask, Situation},
    cells::{Cell, cell},
    troubles::{self, Trouble},
};
use crate::generated;

const HEAD: &str = "# The fault matrix

Generated from `tests/it/sim/matrix` by `UPDATE=1 cargo test --test it the_fault_matrix_is_documented`.

Every fault that Docker Hub and an API server are known for, at every kind of request that the operator sends, in two situations: an object at rest to which something happens, and one in the middle of a rotation.
The operator runs with its own clients under virtual time. Each run must end as the same run without the fault does, within what the fault may cost. While a run goes on, every request is watched for what must never happen (see [reliability.md](reliability.md)). A run whose fault met no request fails.

| | Command |
|---|---|
| once, in both situations | `cargo test --test it sim::matrix` |
| in all its forms, and for ten minutes too | `OAT_MATRIX=long cargo test --test it sim::matrix` |

What a fault may cost beyond the run without it, each time that it is done (`bounds.rs` there):

* the request that failed is sent once more, with a login and a list before it where they are needed; what is wrong is written into the status, and taken back;
* a create that was lost or refused: one more create, and the deletion of what was made;
* a value that was refused three times, a token that is called unknown, an object that was replaced: one more token;
* a status that could not be written: the change of the token that it was to remember, once more;
* a finalizer that could not be taken away: the deletion of the tokens that are gone, once more.

Nothing else. While a fault lasts, a request that fails is sent at most 20 times in ten minutes: after 1 s, then after twice as long each time, five minutes at most. All that is asked and written then, watches and the Lease apart, are 60 requests at most.
Watches and lists wait 0.5 s at first and 5 s at most; the Lease is renewed every two seconds. Connections that are refused (1) and odd certificates (22) begin with the request, whose connection breaks, and last for 20 seconds; what really happens to an object happens once.
";

/// The page.
fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut reasons = Vec::new();
    for (title, troubles, asks) in [
        ("Docker Hub and its token service", troubles::HUB.as_slice(), asks::HUB.as_slice()),
        ("The API server", troubles::KUBERNETES.as_slice(), asks::KUBERNETES.as_slice()),
    ] {
        writeln!(page, "\n## {title}\n").unwrap();
        table(&mut page, troubles, asks, &mut reasons);
        writeln!(page, "\n| Request | What it is | At rest | In a rotation |\n|---|---|---|---|").unwrap();
        for ask in asks {
            let words = |situation| ask.case(situation).map_or("", |case| case.words);
            let (idle, rotating) = (words(Situation::Idle), words(Situation::Rotating));
            writeln!(page, "| {} | {} | {idle} | {rotating} |", ask.words(), ask.meaning()).unwrap();
        }
    }
    writeln!(page, "\n## What is left out\n").unwrap();
    for (number, reason) in reasons.iter().enumerate() {
        writeln!(page, "* {}: {reason}", letter(number)).unwrap();
    }
    page
}

fn table(page: &mut String, troubles: &[Trouble], asks: &[Ask], reasons: &mut Vec<&'static str>) {
    let names: Vec<&str> = asks.iter().map(|ask| ask.words()).collect();
    writeln!(page, "| | Fault | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(asks.len())).unwrap();
    for (number, trouble) in troubles.iter().enumerate() {
        write!(page, "| {} | {} |", number + 1, trouble.words()).unwrap();
        for ask in asks {
            let shown = match cell(*trouble, *ask) {
                Cell::Run => "✓".to_owned(),
                Cell::Left(reason) => letter(place(reasons, reason)),
            };
            write!(page, " {shown} |").unwrap();
        }
        page.push('\n');
    }
}

fn place(reasons: &mut Vec<&'static str>, reason: &'static str) -> usize {
    reasons.iter().position(|known| *known == reason).unwrap_or_else(|| {
        reasons.push(reason);
        reasons.len() - 1
    })
}

fn letter(number: usize) -> String {
    char::from(b'a' + u8::try_from(number).unwrap()).to_string()
}

#[test]
fn the_fault_matrix_is_documented() {
    generated::check("docs/fault-matrix.md", &page(), "--test it the_fault_matrix_is_documented");
}
