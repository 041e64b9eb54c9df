//! The sandbox at speed: the program itself, its operator, its API server and its Docker Hub on one clock that runs fast.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use clap::Parser;
use jiff::{ToSpan, Zoned};
use oat_operator::cli::Cli;

use crate::support::world::read;

/// A token whose windows are half a year away: only its expiry has it rotated, every 240 hours less six.
fn short_lived() -> String {
    let there = Zoned::now().checked_add(180.days()).unwrap();
    format!(
        "---\napiVersion: oat-operator.dev/v1alpha1\nkind: OrganizationAccessToken\n\
         metadata: {{name: short, namespace: nightly}}\nspec:\n  organizationRef: {{name: acme}}\n  \
         expiration: {{lifetime: 240h}}\n  rotation:\n    windows:\n    - {{schedule: \"0 0 {} {} *\", duration: 1h}}\n",
        there.day(),
        there.month()
    )
}

/// The rows of the summary.
fn summary(output: &str) -> BTreeMap<String, u64> {
    let rows = output.lines().filter_map(|line| line.strip_prefix("  ")?.rsplit_once(' '));
    rows.filter_map(|(what, count)| Some((what.trim().to_owned(), count.parse().ok()?))).collect()
}

#[test]
fn fifty_days_pass_in_seconds_and_every_promise_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("tokens.yaml");
    std::fs::write(&manifest, read("examples/windows/windows.yaml") + &short_lived()).unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let mut command = Command::new(env!("CARGO_BIN_EXE_oat-operator"));
    command.args(["sandbox", "--speed", "1000000", "--for", "1200h"]);
    let output = command.arg("--apply").arg(&manifest).arg("--kubeconfig").arg(&kubeconfig).output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{output:?}");
    let expected = [
        ("tokens made", 3 + 7),
        ("tokens deleted", 7),
        ("tokens left over", 0),
        ("rotations", 7),
        // A month after they were made; the next ones are due after two.
        ("of those with windows: in one", 2),
        ("of those with windows: could not wait", 5),
        ("of those with windows: outside", 0),
        ("dead values in Secrets", 0),
    ];
    let mut found = summary(&said);
    let shown: BTreeSet<String> = summary(&read("README.md")).into_keys().collect();
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), shown, "what the README shows");
    let (polls, logins) = (found.remove("polls of Docker Hub").unwrap(), found.remove("logins at Docker Hub").unwrap());
    assert_eq!(found, expected.map(|(what, count)| (what.to_owned(), count)).into(), "{said}");
    // An hour and up to a tenth of it; a login holds for ten minutes.
    assert!((1200 * 10 / 11..=1202).contains(&polls) && logins >= polls, "{polls} polls, {logins} logins");
    assert_eq!(said.matches("Secret nightly/short holds token").count(), 5, "{said}");
    assert_eq!(said.matches("the registry's token service accepts it").count(), 2 * 3, "{said}");
}

#[test]
fn what_is_no_speed_and_no_time_is_refused() {
    let refused = |flag: &str, value: &str| {
        let parsed = Cli::try_parse_from(["oat-operator", "sandbox", &format!("{flag}={value}")]);
        parsed.err().map(|error| error.to_string()).unwrap_or_default()
    };
    for value in ["0", "1000001", "-1", "fast", "1.5", ""] {
        let said = refused("--speed", value);
        assert!(said.contains("--speed <N>"), "{value:?}: {said}");
    }
    assert!(refused("--speed", "0").contains("0 is not in 1..=1000000"), "{}", refused("--speed", "0"));
    assert!(
        refused("--for", "a year").contains("is no duration: expected one like 1h30m"),
        "{}",
        refused("--for", "a year")
    );
    assert_eq!([refused("--speed", "1000000"), refused("--speed", "1"), refused("--for", "8760h")], ["", "", ""]);
}
