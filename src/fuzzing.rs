//! What the fuzz targets run (`fuzz/`): every parser of what comes in from outside, and what must hold of its answers.
//!
//! Only in tests and behind the feature `fuzzing`. `cargo test fuzzing` runs each target on its seeds and on seeded
//! mutations of them; docs/fuzzing.md says how to run them for long. Never: a parser of its own.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "that a target panics is what it is for")]

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::core::ObjectMeta;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{
    api::{
        names::{ClusterId, Identity, InvalidName, Label, Marker, OrgName, ResourcePath, Scope, SecretName, TokenId},
        organization::OrganizationStatus,
        token::{TokenSpec, TokenStatus},
        valid::{self, SecretShape, Wanted},
        windows::{self, Window},
    },
    hub::fuzzing as hub,
    k8s::{Key, secrets, status},
    plan::schedule,
};

/// A target: the name of its program and of its folder of seeds, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 20] = [
    ("create", hub::create),
    ("credentials", hub::credentials),
    ("delete", hub::delete),
    ("dockerconfig", dockerconfig),
    ("durations", durations),
    ("endpoints", hub::endpoints),
    ("get_and_patch", hub::get_and_patch),
    ("jwt", hub::jwt),
    ("list_page", hub::list_page),
    ("login", hub::login),
    ("markers", markers),
    ("names", names),
    ("older_status", older_status),
    ("rate_headers", hub::rate_headers),
    ("refusal", hub::refusal),
    ("specs", specs),
    ("texts", hub::texts),
    ("token_service", hub::token_service),
    ("watched_secret", watched_secret),
    ("windows", windows),
];

/// Labels at Docker Hub: a marker is read where we wrote one, and what is read is what was written.
pub fn markers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some((user, marker)) = Marker::parse(&text) {
        assert_eq!(format!("{user} [{}/{}.{}]", marker.cluster, marker.identity, marker.sequence), *text);
        assert!(marker.sequence > 0);
    }
    let (cluster, rest) = text.split_at(text.char_indices().nth(8).map_or(text.len(), |(at, _)| at));
    let (Ok(cluster), Ok(user)) = (ClusterId::parse(cluster), Label::parse(rest)) else { return };
    let sequence = u64::try_from(data.len()).unwrap() + 1;
    let marker = Marker { cluster, identity: Identity::of("OrganizationAccessToken", rest, "pull"), sequence };
    let label = marker.label(&user);
    assert!(label.chars().count() <= 100);
    assert_eq!(Marker::parse(&label), Some((user.as_str(), marker)));
}

/// Names: what passes can change neither a path nor a marker, and says the same again.
pub fn names(data: &[u8]) {
    fn check<T: ToString>(text: &str, parsed: Result<T, InvalidName>, most: usize, also: &str) -> bool {
        match parsed {
            Ok(name) => {
                assert_eq!(name.to_string(), text, "a name is what was read");
                assert!((1..=most).contains(&text.len()), "{text:?}");
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c);
                assert!(text.chars().all(plain), "{text:?}");
                true
            }
            Err(invalid) => {
                let said = invalid.to_string();
                // Escapes of 64 characters, and words.
                assert!(said.len() < 900 && !said.chars().any(char::is_control), "{said:?}");
                false
            }
        }
    }
    let text = &*String::from_utf8_lossy(data);
    check(text, OrgName::parse(text), 80, "-_");
    check(text, Scope::parse(text), 64, "-_");
    check(text, SecretName::parse(text), 253, "-.");
    check(text, ClusterId::parse(text), 12, "-");
    check(text, TokenId::parse(text), 128, "-_ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if check(text, ResourcePath::parse(text), 336, "-_./*") {
        let (organization, repository) = text.split_once('/').unwrap();
        assert!(OrgName::parse(organization).is_ok());
        assert!(repository == "*" || !repository.contains(['/', '*']) && !repository.contains(".."), "{text:?}");
    }
    if Label::parse(text).is_ok() {
        assert!((1..=60).contains(&text.chars().count()) && !text.contains(['[', ']']) && text.trim() == text);
        assert_eq!(Marker::parse(text), None, "a user can't write a marker");
    }
    let label = Label::of_object("payments", text);
    assert!(label.as_str().chars().count() <= 60);
}

/// Durations, as users write them.
pub fn durations(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    match valid::duration(text) {
        Ok(read) => {
            assert!(text.len() <= 32 && text.bytes().all(|b| b.is_ascii_digit() || b".hms".contains(&b)), "{text:?}");
            assert!(read.as_nanos() <= u128::from(i64::MAX.unsigned_abs()));
            // Printed in one unit and read again.
            let printed = format!("{}.{:09}s", read.as_secs(), read.subsec_nanos());
            assert_eq!(valid::duration(&printed), Ok(read), "{text:?}");
            // Nothing that is computed from it falls off the end of time.
            let now = Timestamp::from_second(1_800_000_000).unwrap();
            assert!(schedule::plus(now, read) >= now && schedule::minus(now, read) <= now);
            let both = format!("{text}{text}");
            if both.len() <= 32 {
                assert_eq!(valid::duration(&both).ok(), read.checked_mul(2).filter(fits), "{text:?}");
            }
        }
        Err(message) => assert!(message.len() < 400, "{message}"),
    }
}

fn fits(duration: &Duration) -> bool {
    duration.as_nanos() <= u128::from(i64::MAX.unsigned_abs())
}

fn secret_of(kind: &str, data: BTreeMap<String, ByteString>) -> Secret {
    Secret { type_: Some(kind.into()), data: Some(data), metadata: ObjectMeta::default(), ..Secret::default() }
}

/// What stands in a Secret of ours, whoever wrote it: three keys, with NUL between them.
pub fn dockerconfig(data: &[u8]) {
    let parts: Vec<&[u8]> = data.splitn(3, |byte| *byte == 0).collect();
    let keys = [".dockerconfigjson", "username", "password"];
    let all: BTreeMap<_, _> =
        keys.iter().zip(&parts).map(|(key, part)| ((*key).to_owned(), ByteString(part.to_vec()))).collect();
    let first: BTreeMap<_, _> = all.iter().take(1).map(|(key, part)| (key.clone(), part.clone())).collect();
    let basic: BTreeMap<_, _> = all.iter().skip(1).map(|(key, part)| (key.clone(), part.clone())).collect();
    for (kind, data) in
        [("kubernetes.io/dockerconfigjson", first), ("kubernetes.io/basic-auth", basic), ("Opaque", all.clone())]
    {
        let secret = secret_of(kind, data);
        if let Some((username, value)) = secrets::credentials(&secret) {
            // Every part of it says the same, so every part holds the value.
            let whole = serde_json::to_string(value.expose_secret()).unwrap();
            let held = |part: &ByteString| {
                let text = String::from_utf8_lossy(&part.0);
                text == username || text == value.expose_secret() || text.contains(&whole)
            };
            assert!(secret.data.as_ref().unwrap().values().all(held));
        }
    }
    // What we write is read back, for any names and any value.
    let texts: Vec<String> = parts.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    let [registry, username, value] = texts.as_slice() else { return };
    if registry.len() > 253 || username.len() > 80 || !(1..=4096).contains(&value.len()) {
        return;
    }
    for kind in ["kubernetes.io/dockerconfigjson", "kubernetes.io/basic-auth", "Opaque"] {
        let secret = rendered(kind, &[registry, "dhi.io"], username, value);
        let (read, held) = secrets::credentials(&secret).unwrap();
        assert_eq!((read.as_str(), held.expose_secret()), (username.as_str(), value.as_str()));
    }
}

/// What a spec that names nothing but a type makes of a Secret.
static SHAPES: LazyLock<Vec<SecretShape>> = LazyLock::new(|| {
    let kinds = ["kubernetes.io/dockerconfigjson", "kubernetes.io/basic-auth", "Opaque"];
    kinds.into_iter().map(|kind| wanted(&json!({"secret": {"type": kind}})).unwrap().secret).collect()
});

/// A Secret as we write it.
pub(crate) fn rendered(kind: &str, registries: &[&str], username: &str, value: &str) -> Secret {
    let shape = SHAPES.iter().find(|shape| secrets::type_name(shape.kind) == kind).unwrap();
    let mut shape = shape.clone();
    shape.registries = registries.iter().map(ToString::to_string).collect();
    let owner = OwnerReference { uid: "uid-1".into(), ..OwnerReference::default() };
    let content = secrets::Content {
        id: &TokenId::parse("id-1").unwrap(),
        sequence: 3,
        expires: None,
        organization: username,
        value: &SecretString::from(value),
        shape: &shape,
        layout: shape.layout_hash(&OrgName::parse("acme").unwrap()),
    };
    secrets::render(&Key { namespace: "payments".into(), name: "pull".into() }, &owner, &content)
}

/// A Secret as a watch shows it: whoever has our label on it.
pub fn watched_secret(data: &[u8]) {
    let Ok(secret) = serde_json::from_slice::<Secret>(data) else { return };
    let whole = secrets::credentials(&secret).is_some();
    let (key, entry) = secrets::entry(secret);
    assert_eq!(entry.value_hash.is_some(), whole);
    assert_eq!(entry.username.is_some(), whole);
    assert!(entry.layout.len() <= 64, "little is kept");
    assert!(entry.value_hash.is_none_or(|hash| hash.len() == 71));
    assert!(!format!("{key:?}").is_empty());
}

fn wanted(spec: &Value) -> Result<Wanted, Vec<valid::FieldProblem>> {
    let spec: TokenSpec = serde_json::from_value(spec.clone()).unwrap();
    valid::wanted(&spec, OrgName::parse("acme").ok().as_ref(), "payments", "pull", &[])
}

/// A spec that is older than the schema, or was let through by one.
pub fn specs(data: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<TokenSpec>(data) else { return };
    let organization = OrgName::parse("acme").ok();
    let read = || valid::wanted(&spec, organization.as_ref(), "payments", "pull", &["acme.dev/".into()]);
    match read() {
        Ok(wanted) => {
            assert_eq!(read().as_ref(), Ok(&wanted));
            assert!(wanted.resources.is_sorted() && !wanted.resources.is_empty());
            assert_eq!(
                (wanted.shape_hash().len(), wanted.secret.layout_hash(&OrgName::parse("acme").unwrap()).len()),
                (16, 33)
            );
            let now = Timestamp::from_second(1_800_000_000).unwrap();
            let expires = schedule::expiration(&wanted.expiry, now);
            if matches!(wanted.expiry, valid::Expiry::After(_)) {
                assert!(expires.is_some_and(|expires| expires > now));
            }
            // It survives the way through the API server.
            let stored: TokenSpec = serde_json::from_slice(&serde_json::to_vec(&spec).unwrap()).unwrap();
            assert_eq!(stored, spec);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(problem.field.starts_with("spec."), "{problem}");
                assert!(!problem.message.is_empty() && problem.message.len() < 1200, "{problem}");
                assert!(!problem.to_string().chars().any(char::is_control), "{problem:?}");
            }
        }
    }
}

/// Maintenance windows: a cron expression, a time zone, and bytes for a duration and a moment.
pub fn windows(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (schedule, zone) = (text(), text());
    let number =
        |from: usize| data.iter().rev().skip(from).take(4).fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let (duration, second) = (Duration::from_secs(number(0) % 700_000), number(4));
    let Ok(now) = Timestamp::from_second(i64::try_from(second).unwrap_or_default()) else { return };
    match Window::parse(&schedule, duration, &zone) {
        Ok(window) => {
            assert!(schedule.len() <= 100 && (windows::SHORTEST..=windows::LONGEST).contains(&duration));
            assert!(Window::parse(&schedule, duration, &zone).is_ok_and(|again| again == window));
            if let Some(next) = window.next(now) {
                assert!(next > now, "a window that begins later begins later");
            }
            let first = windows::first(std::slice::from_ref(&window), now);
            assert!(first.is_none_or(|first| first >= now));
            assert_eq!(first == Some(now), window.contains(now), "inside there is nothing to wait for");
        }
        Err((part, message)) => {
            assert!(["schedule", "duration", "timeZone"].contains(&part) && message.len() < 200);
        }
    }
}

/// A status that another version or somebody else wrote: what is remembered of it is stable.
pub fn older_status(data: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<TokenStatus>(data) {
        let memory = status::memory(Some(&read));
        if let Some(token) = &memory.token {
            assert!(TokenId::parse(token.id.as_str()).is_ok());
        }
        assert!(memory.previous.len() <= read.previous.len());
        let again: TokenStatus = serde_json::from_slice(&serde_json::to_vec(&read).unwrap()).unwrap();
        assert_eq!(status::memory(Some(&again)), memory);
        assert_eq!(status::patch(&read, &again), None, "nothing is written where nothing differs");
        let blank = TokenStatus::default();
        if let Some(patch) = status::patch(&blank, &read) {
            let mut document = json!({"status": blank});
            merge(&mut document, &patch);
            assert_eq!(document["status"], serde_json::to_value(&read).unwrap());
        }
    }
    if let Ok(read) = serde_json::from_slice::<OrganizationStatus>(data) {
        let again: OrganizationStatus = serde_json::from_slice(&serde_json::to_vec(&read).unwrap()).unwrap();
        assert_eq!(again, read);
    }
}

/// RFC 7386, for comparison.
pub(crate) fn merge(document: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *document = patch.clone();
        return;
    };
    if !document.is_object() {
        *document = json!({});
    }
    for (name, value) in fields {
        match value {
            Value::Null => drop(document.as_object_mut().and_then(|document| document.shift_remove(name))),
            value => merge(&mut document[name], value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::PathBuf};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
    }

    fn names_in(folder: PathBuf) -> BTreeSet<String> {
        let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap().path())).collect()
    }

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let mut paths: Vec<_> =
            fs::read_dir(folder("seeds").join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
    }

    #[test]
    fn every_target_has_a_program_and_seeds() {
        let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names_in(folder("fuzz_targets")), targets);
        assert_eq!(names_in(folder("seeds")), targets);
        let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
        for name in &targets {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} in fuzz/Cargo.toml");
            let program = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
            assert!(program.contains(&format!("fuzzing::{name}(data)")), "{name}");
            assert!(seeds(name).len() >= 2, "{name}: a good input and a bad one, at least");
        }
    }

    /// Numbers that look like chance and are the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
        }

        /// Another input, a few bytes away from this one.
        fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
            let mut bytes = seed.to_vec();
            for _ in 0..=self.below(4) {
                let at = self.below(bytes.len() + 1);
                match self.below(5) {
                    0 if at < bytes.len() => drop(bytes.remove(at)),
                    1 => bytes.insert(at, u8::try_from(self.below(256)).unwrap()),
                    2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                    3 => bytes.truncate(at),
                    _ => bytes.extend(&other[self.below(other.len() + 1)..]),
                }
            }
            bytes
        }
    }

    #[test]
    fn targets_hold_on_their_seeds_and_near_them() {
        let seed = std::env::var("OAT_SEED").map_or(1, |seed| seed.parse().unwrap());
        for (name, run) in TARGETS {
            let seeds = seeds(name);
            seeds.iter().for_each(|seed| run(seed));
            let mut numbers = Numbers(seed);
            for _ in 0..2_000 {
                let (one, other) = (numbers.below(seeds.len()), numbers.below(seeds.len()));
                let input = numbers.mutate(&seeds[one], &seeds[other]);
                let held = std::panic::catch_unwind(|| run(&input));
                assert!(
                    held.is_ok(),
                    "{name} fell at {:?}; again: OAT_SEED={seed} cargo test --lib fuzzing",
                    String::from_utf8_lossy(&input)
                );
            }
        }
    }
}
