//! Who may know whom: read from the sources, so that a fence that falls is a test that fails.
//!
//! It looks at text, not at names as the compiler resolves them: enough against a slip, not against malice.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A source file without its tests: up to the first `#[cfg(test)]` that opens a module in the file itself.
struct Source {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All Rust files under a folder. A folder of that name must be there: a fence around nothing fences nothing.
fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    files(&root().join(folder), &mut paths);
    assert!(!paths.is_empty(), "no sources under {folder}");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        let code = without_tests(&text);
        Source { path, text, code }
    };
    paths.into_iter().map(read).collect()
}

/// The same without files that are tests altogether.
fn production(folder: &str) -> Vec<Source> {
    let is_test = |path: &str| path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_test.rs");
    sources(folder).into_iter().filter(|source| !is_test(&source.path)).collect()
}

fn without_tests(text: &str) -> String {
    let mut code = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens = lines.peek().is_some_and(|next| next.trim_start().starts_with("mod ") && next.ends_with('{'));
        if line.trim() == "#[cfg(test)]" && opens {
            break;
        }
        code.push(line);
    }
    code.join("\n")
}

/// Code without comments and texts: words in them are no use of anything.
fn words(code: &str) -> String {
    let mut kept = String::new();
    for line in code.lines() {
        let line = line.split("//").next().unwrap_or_default();
        // Every second piece between quotes is a text.
        let line = line.replace("'\"'", "").replace("\\\"", "");
        kept.extend(line.split('"').step_by(2).collect::<Vec<_>>());
        kept.push('\n');
    }
    kept
}

/// The crates that the operator is built with, as code names them.
fn crates() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("\n[dependencies]").nth(1).unwrap().split("\n[").next().unwrap().to_owned();
    let names = dependencies.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(|name| name.replace('-', "_")).collect()
}

#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Complains of every line of code that contains one of these texts.
fn lines_with(sources: &[Source], forbidden: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        for (number, line) in words(&source.code).lines().enumerate() {
            for text in forbidden.iter().filter(|text| line.contains(*text)) {
                complaints.push(format!("{}:{}: {text}", source.path, number + 1));
            }
        }
    }
    complaints
}

#[test]
fn the_planner_is_pure() {
    let planner = production("src/plan");
    let allowed = ["serde", "jiff", "croner", "sha2"];
    let crates = crates();
    assert!(crates.iter().any(|name| name == "kube") && crates.iter().any(|name| name == "jiff"), "{crates:?}");
    let others = crates.iter().filter(|name| !allowed.contains(&name.as_str())).map(|name| format!("{name}::"));
    let others: Vec<_> = others.collect();
    let mut complaints = lines_with(&planner, &others.iter().map(String::as_str).collect::<Vec<_>>());
    let imports = ["std", "crate", "super", "self", "pub"].into_iter().chain(allowed);
    let imports: Vec<_> = imports
        .map(|name| format!("use {name}"))
        .chain(["decide", "outline", "session"].map(|own| format!("use {own}")))
        .collect();
    for source in &planner {
        let odd = source.code.lines().filter(|line| line.trim_start().trim_start_matches("pub ").starts_with("use "));
        let odd = odd.filter(|line| !imports.iter().any(|import| line.contains(import.as_str())));
        complaints.extend(odd.map(|line| format!("{}: {line}", source.path)));
    }
    let impure = [
        "crate::hub",
        "crate::k8s",
        "crate::control",
        "crate::clock",
        "crate::cli",
        "std::fs",
        "std::net",
        "std::env",
        "std::time::Instant",
        "SystemTime",
        "Timestamp::now",
        "std::thread",
        "std::sync",
        "std::process",
        "std::io",
        "async ",
        ".await",
        "tokio",
        "tracing",
        "println",
        "rand::",
        "thread_rng",
        "HashMap",
        "HashSet",
        "\nstatic ",
    ];
    complaints.extend(lines_with(&planner, &impure));
    // It never reads what it once said.
    complaints.extend(lines_with(&planner, &["conditions(", ".conditions"]));
    none(complaints);
}

#[test]
fn layers_know_only_those_below() {
    let mut complaints = lines_with(
        &production("src/api"),
        &["crate::plan", "crate::hub", "crate::k8s", "crate::control", "crate::cli", "reqwest", "tokio", "async "],
    );
    complaints.extend(lines_with(
        &production("src/hub"),
        &["kube::", "k8s_openapi", "crate::k8s", "crate::control", "crate::plan", "crate::cli"],
    ));
    complaints.extend(lines_with(&production("src/k8s"), &["reqwest", "crate::hub", "crate::control", "crate::cli"]));
    none(complaints);
}

#[test]
fn the_sandbox_shares_nothing_with_the_operator() {
    let mut complaints = lines_with(&sources("crates/sandbox/src"), &["oat_operator"]);
    let manifest = fs::read_to_string(root().join("crates/sandbox/Cargo.toml")).unwrap();
    // Its own name is another one.
    complaints.extend(
        manifest
            .lines()
            .filter(|line| line.contains("oat-operator =") || line.contains("path = \"../.."))
            .map(str::to_owned),
    );
    none(complaints);
}

#[test]
fn only_one_place_calls_docker_hubs_writes() {
    let control: Vec<_> = production("src").into_iter().filter(|source| !source.path.starts_with("src/hub/")).collect();
    let elsewhere: Vec<_> = control.into_iter().filter(|source| source.path != "src/control/apply.rs").collect();
    none(lines_with(&elsewhere, &["handle.create(", "handle.update(", "handle.delete("]));
}

#[test]
fn kinds_for_the_whole_cluster_are_known_in_few_places() {
    // A namespaced object must have no way to name what is not in its namespace.
    let known = ["src/api/", "src/control/runtime.rs", "src/control/organizations.rs"];
    let others =
        production("src").into_iter().filter(|source| !known.iter().any(|known| source.path.starts_with(known)));
    let others: Vec<_> = others.collect();
    let kinds = [
        "ClusterOrganization ",
        "ClusterOrganization,",
        "ClusterOrganization>",
        "ClusterOrganization{",
        "ClusterOrganizationAccessToken",
    ];
    none(lines_with(&others, &kinds));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut complaints = Vec::new();
    for source in production("src").into_iter().chain(production("crates/sandbox/src")) {
        let lines = source.code.lines().count();
        if lines > 550 {
            complaints.push(format!("{} has {lines} lines without its tests: split it by idea", source.path));
        }
    }
    // In main.rs the documentation of the program itself stands first.
    let modules = |source: &Source| source.path != "src/main.rs" && !source.text.trim().is_empty();
    for source in
        ["src", "crates/sandbox/src", "crates/model/tests", "tests/it"].into_iter().flat_map(production).filter(modules)
    {
        if !source.text.starts_with("//!") {
            complaints.push(format!("{} does not open with `//!`", source.path));
        }
    }
    none(complaints);
}

#[test]
fn all_tests_run_and_wait_for_conditions() {
    let mut complaints = Vec::new();
    for source in ["src", "crates/sandbox/src", "crates/model/tests", "tests"].into_iter().flat_map(sources) {
        for (number, line) in source.text.lines().enumerate() {
            let line = line.trim_start();
            if line.starts_with("#[ignore") {
                complaints.push(format!("{}:{}: a test that is not run", source.path, number + 1));
            }
        }
    }
    let slept = lines_with(&sources("tests"), &["sleep("]);
    // A server of another program can only be polled until it answers.
    complaints.extend(slept.into_iter().filter(|complaint| !complaint.starts_with("tests/it/support/controlplane.rs")));
    none(complaints);
}

#[test]
fn unsafe_code_and_silent_tasks_have_no_place() {
    let all: Vec<_> = ["src", "crates/sandbox/src"].into_iter().flat_map(production).collect();
    none(lines_with(&all, &["unsafe ", "todo!(", "unimplemented!(", "dbg!("]));
}

#[test]
fn nothing_switches_tls_off() {
    let all: Vec<_> = ["src", "crates/sandbox/src"].into_iter().flat_map(production).collect();
    none(lines_with(&all, &["danger", "insecure", "accept_invalid", "skip_verif", "NoVerif", "ServerCertVerifier"]));
}

#[test]
fn the_fences_stand() {
    // Each of them sees what it is there for.
    let source = |code: &str| Source { path: "x.rs".into(), text: code.into(), code: without_tests(code) };
    assert_eq!(lines_with(&[source("use reqwest::Client;")], &["reqwest"]), ["x.rs:1: reqwest"]);
    assert_eq!(lines_with(&[source("// reqwest\nlet a = \"reqwest\";")], &["reqwest"]), [""; 0]);
    assert_eq!(lines_with(&[source("let a = \"x\"; nap(1); // no")], &["nap("]), ["x.rs:1: nap("]);
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\nb\n}"), "a");
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests;\nb"), "a\n#[cfg(test)]\nmod tests;\nb");
}
