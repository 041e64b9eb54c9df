//! What the documentation says is what the program does: names, flags, defaults, manifests, commands and links.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::CommandFactory;
use kube::ResourceExt;
use oat_operator::{
    api::{ClusterOrganization, Organization, OrganizationAccessToken, conditions::Reason, names::OrgName, valid},
    cli::Cli,
    k8s::events::Happened,
    serve::{
        Server,
        metrics::{Metrics, OrganizationSample, Snapshot, TokenSample},
    },
};
use serde::Deserialize;
use serde_json::Value;

use crate::support::world::read;

const TOKEN_PAGE: &str = "docs/spec/organizationaccesstoken.md";
const ORGANIZATION_PAGE: &str = "docs/spec/organization.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page, relative to the root.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> = Vec::new();
    let mut folders = vec![PathBuf::from("docs")];
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"] {
        pages.push(page.into());
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                false => pages.push(path.to_str().unwrap().into()),
            }
        }
    }
    pages.retain(|page| page.ends_with(".md"));
    assert!(pages.iter().any(|page| page.starts_with("docs/spec/")), "{pages:?}");
    pages.sort();
    pages
}

/// The rows of every table of a page that begins with such a column, each with all of its cells.
fn rows(page: &str, column: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        let Some(line) = line.strip_prefix("| ") else {
            inside = inside && line.starts_with("|---");
            continue;
        };
        let cells: Vec<String> = line.trim_end().trim_end_matches('|').split(" | ").map(|c| c.trim().into()).collect();
        match inside {
            true => rows.push(cells),
            false => inside = cells[0] == column,
        }
    }
    assert!(!rows.is_empty(), "no table with a column {column}");
    rows
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The words of a table's first column; none comes twice.
fn first_words(page: &str, column: &str) -> BTreeSet<String> {
    let words: Vec<String> = rows(page, column).iter().flat_map(|row| quoted(&row[0])).collect();
    let set: BTreeSet<String> = words.iter().cloned().collect();
    assert_eq!(words.len(), set.len(), "a word comes twice in {words:?}");
    set
}

/// The blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let opens = format!("```{language}\n");
    page.split(&opens).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

struct Objects;

impl Snapshot for Objects {
    fn tokens(&self) -> Vec<TokenSample> {
        let time = Some(1_800_000_000.0);
        let names = |name: &str| TokenSample { name: name.into(), organization: "acme".into(), ..Default::default() };
        vec![TokenSample { expiration: time, renewal: time, last_used: time, ..names("pull") }]
    }

    fn organizations(&self) -> Vec<OrganizationSample> {
        vec![OrganizationSample { name: "acme".into(), states: vec![("total", 1)], limit: 10 }]
    }

    fn queues(&self) -> Vec<(&'static str, u64)> {
        vec![("token", 1)]
    }

    fn leads(&self) -> bool {
        true
    }
}

/// What is scraped after everything has happened once.
async fn scraped() -> String {
    let metrics = Metrics::new();
    metrics.reconciled("token", "success", Duration::from_millis(20));
    metrics.rotation("acme", "success");
    metrics.orphan_removed("acme");
    let observer = metrics.observer("acme");
    observer.request("create", "201", 0.3);
    observer.rate_limit(177);
    metrics.collect(Objects);
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), "--metrics-addr", metrics.router()).await.unwrap();
    let url = format!("http://{}/metrics", server.address());
    // Another test may have installed one before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let asked = async { reqwest::get(url).await.unwrap().text().await.unwrap() };
    tokio::select! {
        ended = server.run(std::future::pending()) => panic!("{ended:?}"),
        page = asked => page,
    }
}

/// Each metric by the name that a query uses, with its type and its labels.
fn metrics_of(page: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let (mut family, mut kind) = ("", "");
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("# TYPE ") {
            (family, kind) = text.split_once(' ').unwrap();
        } else if !line.starts_with('#') {
            let series = line.rsplit_once(' ').unwrap().0;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
            let labels = labels.map(|(name, _)| name.to_owned()).filter(|name| name != "le");
            let name = if kind == "histogram" { family } else { name };
            found.entry(name.into()).or_insert((kind.into(), BTreeSet::new())).1.extend(labels);
        }
    }
    found
}

#[tokio::test]
async fn the_page_of_metrics_lists_what_is_scraped() {
    let page = read("docs/metrics.md");
    let listed = rows(&page, "Metric").into_iter().map(|row| {
        let [name] = quoted(&row[0]).try_into().unwrap();
        (name, (row[1].clone(), quoted(&row[2]).into_iter().collect()))
    });
    let count = rows(&page, "Metric").len();
    let listed: BTreeMap<String, (String, BTreeSet<String>)> = listed.collect();
    assert_eq!(listed.len(), count, "a metric is listed twice");
    assert_eq!(listed, metrics_of(&scraped().await));
    // Names that are only spoken of, here or elsewhere, exist too.
    for other in pages() {
        for word in read(&other).split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let spoken = word.starts_with("oat_operator_") && word.len() > "oat_operator_".len();
            assert!(!spoken || listed.contains_key(word), "{other} speaks of {word}");
        }
    }
}

#[test]
fn every_reason_is_explained_and_every_explained_one_exists() {
    let all: BTreeSet<String> = Reason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
    let tokens = first_words(&read(TOKEN_PAGE), "Reason");
    let organizations = first_words(&read(ORGANIZATION_PAGE), "Reason");
    // Only an organization's condition QuotaAvailable has it.
    let limit = Reason::LimitReached.as_str();
    assert!(read(ORGANIZATION_PAGE).contains(&format!("`{limit}`")));
    let expected: BTreeSet<String> = all.iter().filter(|word| *word != limit).cloned().collect();
    assert_eq!(tokens, expected);
    assert!(organizations.is_subset(&all), "{organizations:?}");
}

#[test]
fn every_event_that_is_sent_is_explained() {
    let explained: BTreeSet<String> =
        [TOKEN_PAGE, ORGANIZATION_PAGE].iter().flat_map(|page| first_words(&read(page), "Event")).collect();
    let happened = |word: &str| {
        let text = read("src/k8s/events.rs");
        text.contains(&format!("=> \"{word}\""))
    };
    assert!(happened(Happened::TokenCreated.as_str()), "this test reads the sources as they are written now");
    for word in &explained {
        assert!(happened(word), "{word} is no event");
    }
    for file in ["report.rs", "token.rs", "organization.rs"] {
        for sent in read(&format!("src/control/{file}")).split("Happened::").skip(1) {
            let word = sent.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap();
            let explained = explained.contains(word);
            assert!(explained || !happened(word), "src/control/{file} sends {word}, which no page explains");
        }
    }
}

#[test]
fn the_readmes_flags_are_those_of_run() {
    let cli = Cli::command();
    let run = cli.get_subcommands().find(|command| command.get_name() == "run").unwrap();
    let mut known = BTreeMap::new();
    for flag in run.get_arguments() {
        let Some(name) = flag.get_long().filter(|name| *name != "help") else { continue };
        let variable = format!("OAT_OPERATOR_{}", name.to_uppercase().replace('-', "_"));
        assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        let defaults: Vec<_> =
            flag.get_default_values().iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        known.insert(format!("--{name}"), defaults);
    }
    let readme = read("README.md");
    assert_eq!(first_words(&readme, "Flag"), known.keys().cloned().collect());
    for row in rows(&readme, "Flag") {
        let [name] = quoted(&row[0]).try_into().unwrap();
        let default = &known[&name];
        assert!(
            default.is_empty() || quoted(&row[1]) == *default,
            "{name}: the default is {default:?}, not {}",
            row[1]
        );
    }
    for page in pages() {
        // What is spoken of elsewhere exists in some command.
        let text = read(&page);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let flag = |word: &&str| word.strip_prefix("--").is_some_and(|name| name.starts_with(char::is_alphabetic));
        for word in words.filter(flag) {
            let ours = known.contains_key(word) || OTHER_FLAGS.contains(&word);
            assert!(ours, "{page} speaks of {word}");
        }
    }
}

/// Flags of other commands that the pages show.
const OTHER_FLAGS: &[&str] = &[
    "--apply",
    "--exit",
    "--for",
    "--help",
    "--kubeconfig",
    "--nocapture",
    "--overwrite",
    "--release",
    "--server-side",
    "--speed",
    "--test",
];

/// Every key and value of the first is in the second: nothing was left out as unknown.
fn contained(part: &Value, whole: &Value, path: &str) {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            for (key, value) in part {
                let other = whole.get(key).unwrap_or_else(|| panic!("{path}.{key} is no field"));
                contained(value, other, &format!("{path}.{key}"));
            }
        }
        (Value::Array(part), Value::Array(whole)) => {
            assert_eq!(part.len(), whole.len(), "{path}");
            part.iter().zip(whole).for_each(|(one, other)| contained(one, other, path));
        }
        _ => assert_eq!(part, whole, "{path}"),
    }
}

/// Reads an object into its type, and back.
fn typed<T: serde::de::DeserializeOwned + serde::Serialize>(object: &Value, place: &str) -> T {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{place}: {error}"));
    contained(object, &serde_json::to_value(&typed).unwrap(), place);
    typed
}

/// Checks one manifest as far as it is ours; whether it is.
fn good(object: &Value, place: &str) -> bool {
    if object["apiVersion"] != "oat-operator.dev/v1alpha1" {
        return false;
    }
    match object["kind"].as_str().unwrap() {
        "Organization" => {
            let found: Organization = typed(object, place);
            found.validate_cel().unwrap_or_else(|error| panic!("{place}: {error}"));
            let name = found.spec.shared.organization.clone().unwrap_or_else(|| found.name_any());
            OrgName::parse(&name).unwrap_or_else(|error| panic!("{place}: {error}"));
        }
        "ClusterOrganization" => {
            let found: ClusterOrganization = typed(object, place);
            found.validate_cel().unwrap_or_else(|error| panic!("{place}: {error}"));
            let name = found.spec.shared.organization.clone().unwrap_or_else(|| found.name_any());
            OrgName::parse(&name).unwrap_or_else(|error| panic!("{place}: {error}"));
        }
        "OrganizationAccessToken" => {
            let found: OrganizationAccessToken = typed(object, place);
            found.validate_cel().unwrap_or_else(|error| panic!("{place}: {error}"));
            let organization = OrgName::parse(&found.spec.organization_ref.name).unwrap();
            let namespace = found.namespace().unwrap_or_else(|| "default".into());
            valid::wanted(&found.spec.token, Some(&organization), &namespace, &found.name_any(), &[])
                .unwrap_or_else(|problems| panic!("{place}: {problems:?}"));
        }
        kind => panic!("{place}: there is no kind {kind}"),
    }
    true
}

#[test]
fn every_manifest_in_the_pages_is_good() {
    let mut ours = 0;
    for page in pages() {
        for (number, block) in blocks(&read(&page), "yaml").iter().enumerate() {
            let place = format!("{page}, block {}", number + 1);
            for document in serde_yaml::Deserializer::from_str(block) {
                let object = Value::deserialize(document).unwrap_or_else(|error| panic!("{place}: {error}"));
                ours += usize::from(good(&object, &place));
            }
        }
    }
    assert!(ours >= 5, "only {ours} manifests were found");
}

#[test]
#[should_panic(expected = "is no field")]
fn a_misspelt_field_is_found() {
    let text = "{apiVersion: oat-operator.dev/v1alpha1, kind: Organization, metadata: {name: acme},
        spec: {credentials: {secretRef: {name: a}}, pollIntervall: 1h}}";
    good(&serde_yaml::from_str(text).unwrap(), "here");
}

/// As GitHub makes anchors of headings.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

#[test]
fn every_link_leads_to_something() {
    let mut links = 0;
    for page in pages() {
        let text = read(&page);
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if target.starts_with("https://") {
                continue;
            }
            let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { root().join(&page) } else { root().join(&page).with_file_name(path) };
            assert!(path.exists(), "{page}: {target} is not there");
            let heading = |line: &str| line.starts_with('#') && anchor(line.trim_start_matches('#')) == fragment;
            let found = fragment.is_empty() || fs::read_to_string(&path).unwrap().lines().any(heading);
            assert!(found, "{page}: {target} names no heading");
            links += 1;
        }
    }
    assert!(links >= 10, "only {links} links were found");
}

#[test]
fn the_map_names_what_is_there() {
    for row in rows(&read("ARCHITECTURE.md"), "Where") {
        for path in quoted(&row[0]) {
            assert!(root().join(&path).exists(), "ARCHITECTURE.md: {path} is not there");
        }
    }
}

#[test]
fn the_readme_is_a_page_and_the_changelog_is_kept() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 220, "the README has {} lines", readme.lines().count());
    let version = env!("CARGO_PKG_RUST_VERSION");
    for page in ["README.md", "CONTRIBUTING.md"] {
        let said = format!("{version} or later");
        assert!(read(page).contains(&said), "{page} does not say {said:?}");
    }
    let changelog = read("CHANGELOG.md");
    let headings: Vec<&str> = changelog.lines().filter(|line| line.starts_with("## ")).collect();
    assert_eq!(headings.first(), Some(&"## Unreleased"));
}

const DEMO: &str = "cargo run -- sandbox --apply examples/quickstart --exit";
const YEAR: &str = "cargo run -- sandbox --apply examples/windows --speed 1000000 --for 8760h";

#[test]
fn ci_runs_the_readmes_commands() {
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    for command in [DEMO, YEAR, "cargo test"] {
        assert!(readme.lines().any(|line| line == format!("$ {command}")), "the README does not show {command}");
        // What the tests have built already is not built a second time, with fewer features.
        let command = command.replace("cargo run --", "target/debug/oat-operator");
        assert!(ci.lines().any(|line| line == command), ".ci/run does not run {command}");
    }
}

/// The lines, sorted, each once: two things that have nothing to do with each other may come in either order.
fn told(output: &str) -> BTreeSet<String> {
    let port = |line: &str| match line.split_once("127.0.0.1:") {
        Some((before, after)) => {
            format!("{before}127.0.0.1:PORT{}", after.trim_start_matches("PORT").trim_start_matches(char::is_numeric))
        }
        None => line.to_owned(),
    };
    output.lines().map(port).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_demo_says_what_the_readme_shows() {
    let readme = read("README.md");
    let shown = blocks(&readme, "console").into_iter().find_map(|block| {
        let (first, rest) = block.split_once('\n')?;
        (first == format!("$ {DEMO}")).then(|| rest.to_owned())
    });
    let arguments = DEMO.split_once(" -- ").unwrap().1.split(' ');
    let output = Command::new(env!("CARGO_BIN_EXE_oat-operator")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(told(&String::from_utf8(output.stdout).unwrap()), told(&shown.unwrap()));
}
