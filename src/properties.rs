//! Properties of names, durations, specs, Secrets and statuses, each on ten thousand cases.
//!
//! proptest prints the smallest case that breaks one; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` run others. Those of the
//! planner are in `plan/tests/schedule.rs`, those of Docker Hub's side in `hub/tests/properties.rs`.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::ResourceExt;
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::{
    api::{
        self,
        names::{ClusterId, Identity, Label, Marker, OrgName, ResourcePath, Scope, SecretName, TokenId},
        token::{CurrentToken, PreviousToken, TokenSpec, TokenStatus},
        valid::{self, Expiry, Wanted},
    },
    fuzzing::{merge, rendered},
    hub::Credentials,
    k8s::{secrets, status},
    plan::schedule,
};

/// Ten thousand cases or as many as `PROPTEST_CASES` says, and no files.
pub(crate) fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000);
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

const UNITS: [(&str, u128); 4] =
    [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000)];

/// Texts that look like durations, most of them none.
fn nearly_a_duration() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[0-9]{1,3}",
        Just(".".into()),
        Just("h".into()),
        Just("ms".into()),
        Just("s".into()),
        Just("-".into()),
        "[ +udeµ٣]"
    ];
    proptest::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat())
}

/// The schema's pattern, told another way: digits, perhaps a point and digits, a unit, and again.
fn fits_the_pattern(text: &str) -> bool {
    let mut letters = text.chars().peekable();
    let mut parts = 0;
    while letters.peek().is_some() {
        let digits = |letters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            std::iter::from_fn(|| letters.next_if(char::is_ascii_digit)).count() > 0
        };
        if !digits(&mut letters) || letters.next_if_eq(&'.').is_some() && !digits(&mut letters) {
            return false;
        }
        match letters.next() {
            Some('m') => drop(letters.next_if_eq(&'s')),
            Some('s' | 'h') => {}
            _ => return false,
        }
        parts += 1;
    }
    parts > 0
}

/// A label as users may write it.
fn label() -> impl Strategy<Value = Label> {
    "[^\\[\\]\\p{Cc}\\s]([^\\[\\]\\p{Cc}]{0,58}[^\\[\\]\\p{Cc}\\s])?"
        .prop_filter_map("too long", |text| Label::parse(&text).ok())
}

fn marker() -> impl Strategy<Value = Marker> {
    ("[a-z0-9-]{1,12}", "[a-z]{1,9}", "[a-z.-]{0,20}", 1..u64::MAX).prop_map(|(cluster, namespace, name, sequence)| {
        Marker {
            cluster: ClusterId::parse(&cluster).unwrap(),
            identity: Identity::of("OrganizationAccessToken", &namespace, &name),
            sequence,
        }
    })
}

const REPOSITORY: &str = "[a-z0-9][a-z0-9_-]{0,10}[a-z0-9]/(\\*|[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,6}){0,3})";

/// A JSON object without nulls, as a status is.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from)
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    proptest::collection::btree_map("[a-d]", value, 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>()))
}

fn checked(spec: Value) -> Result<Wanted, Vec<valid::FieldProblem>> {
    let spec: TokenSpec = serde_json::from_value(spec).unwrap();
    valid::wanted(&spec, OrgName::parse("acme").ok().as_ref(), "payments", "pull", &[])
}

fn kind() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["kubernetes.io/dockerconfigjson", "kubernetes.io/basic-auth", "Opaque"])
}

fn registries() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_set("[a-z]{1,8}(\\.io|:5000|/v1/)", 1..5).prop_map(|set| set.into_iter().collect())
}

fn second() -> impl Strategy<Value = Timestamp> {
    (0..253_000_000_000i64).prop_map(|second| Timestamp::from_second(second).unwrap())
}

fn holding(secret: &Secret) -> Option<(String, String)> {
    secrets::credentials(secret).map(|(username, value)| (username, value.expose_secret().to_owned()))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_duration_is_the_sum_of_its_parts(parts in proptest::collection::vec((0..5000u64, proptest::option::of("[0-9]{1,3}"), 0..4usize), 1..4)) {
        let mut text = String::new();
        let mut nanoseconds = 0u128;
        for (whole, fraction, unit) in parts {
            let (name, unit) = UNITS[unit];
            nanoseconds += u128::from(whole) * unit;
            text += &whole.to_string();
            if let Some(fraction) = fraction {
                nanoseconds += fraction.parse::<u128>().unwrap() * unit / 10u128.pow(fraction.len() as u32);
                text += &format!(".{fraction}");
            }
            text += name;
        }
        let read = valid::duration(&text).map(|read| read.as_nanos());
        let readable = text.len() <= 32;
        prop_assert_eq!(read.ok(), readable.then_some(nanoseconds), "{}", text);
    }

    #[test]
    fn what_is_read_as_a_duration_is_what_the_schema_permits(text in nearly_a_duration()) {
        let read = valid::duration(&text).is_ok();
        let permitted = fits_the_pattern(&text) && text.len() <= 32;
        // Numbers of seven digits may be more than 292 years, which is no duration in Go either.
        let huge = text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 6);
        prop_assert!(read == permitted || huge && !read, "{}", text);
    }

    #[test]
    fn a_marker_is_read_as_it_was_written(user in label(), marker in marker()) {
        let label = marker.label(&user);
        prop_assert_eq!(Marker::parse(&label), Some((user.as_str(), marker)));
    }

    #[test]
    fn nobody_writes_a_marker_into_a_label(text in "[a-z \\[\\]/.0-9]{0,60}", marker in marker()) {
        if let Ok(label) = Label::parse(&text) {
            prop_assert_eq!(Marker::parse(label.as_str()), None);
            // Behind another text its own marker is the one that counts.
            let written = marker.label(&label);
            prop_assert_eq!(Marker::parse(&written).map(|(_, read)| read), Some(marker));
        }
    }

    #[test]
    fn a_marker_that_is_bent_is_another_or_none(user in label(), marker in marker(), at in any::<prop::sample::Index>(), letter in any::<char>()) {
        let mut letters: Vec<char> = marker.label(&user).chars().collect();
        let at = at.index(letters.len());
        prop_assume!(letters[at] != letter);
        letters[at] = letter;
        let bent: String = letters.into_iter().collect();
        let read = Marker::parse(&bent).map(|(text, read)| (text.to_owned(), read));
        prop_assert_ne!(read, Some((user.to_string(), marker)));
    }

    #[test]
    fn labels_of_objects_are_labels(namespace in "[a-z][a-z0-9-]{0,62}", name in "[a-z][a-z0-9.-]{0,252}") {
        let label = Label::of_object(&namespace, &name);
        prop_assert_eq!(Label::parse(label.as_str()), Ok(label.clone()));
        let whole = format!("{namespace}/{name}");
        prop_assert!(whole.starts_with(label.as_str()));
    }

    #[test]
    fn identities_tell_objects_apart(one in ("[A-C]", "[a-c]{1,3}", "[a-c]{1,3}"), other in ("[A-C]", "[a-c]{1,3}", "[a-c]{1,3}")) {
        let of = |(kind, namespace, name): &(String, String, String)| Identity::of(kind, namespace, name);
        prop_assert_eq!(of(&one) == of(&other), one == other);
        prop_assert_eq!(of(&one).as_str().len(), 16);
    }

    #[test]
    fn repositories_that_docker_has_are_taken(name in REPOSITORY) {
        let path = ResourcePath::parse(&name);
        prop_assert_eq!(path.map(|path| path.to_string()), Ok(name));
    }

    #[test]
    fn repositories_with_anything_else_are_refused(name in REPOSITORY, at in any::<prop::sample::Index>(), odd in "[^a-z0-9._*/-]|/|\\.\\.|\\*") {
        let at = at.index(name.len() + 1);
        let bent = format!("{}{odd}{}", &name[..at], &name[at..]);
        prop_assert!(ResourcePath::parse(&bent).is_err(), "{}", bent);
    }

    #[test]
    fn names_of_secrets_are_those_of_the_schema(name in "[a-z0-9.-]{0,12}|[a-zA-Z_ ]{1,5}") {
        let part = |part: &str| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-');
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c));
        prop_assert_eq!(SecretName::parse(&name).is_ok(), plain && name.split('.').all(part));
    }

    #[test]
    fn scopes_are_passed_on_as_they_are(rest in "[a-z0-9_-]{1,40}", other in "\\PC{0,20}") {
        let scope = format!("scope-{rest}");
        prop_assert_eq!(Scope::parse(&scope).map(|scope| scope.to_string()), Ok(scope));
        if let Ok(scope) = Scope::parse(&other) {
            prop_assert!(scope.as_str().starts_with("scope-"));
        }
    }

    #[test]
    fn a_secret_holds_what_was_written(kind in kind(), registries in registries(), username in "[a-z0-9_-]{2,80}", value in "[!-~]{8,60}") {
        let registries: Vec<&str> = registries.iter().map(String::as_str).collect();
        let secret = rendered(kind, &registries, &username, &value);
        prop_assert_eq!(holding(&secret), Some((username, value)));
        prop_assert_eq!(secret.labels()[api::MANAGED_BY].as_str(), api::MANAGER);
    }

    #[test]
    fn a_secret_with_one_other_byte_is_seen_as_changed(
        kind in kind(), value in "[!-~]{8,30}", at in any::<prop::sample::Index>(), byte in any::<u8>(), which in any::<prop::sample::Index>(),
    ) {
        let mut secret = rendered(kind, &["https://index.docker.io/v1/", "dhi.io"], "acme", &value);
        let seen = |secret: &Secret| {
            let (_, entry) = secrets::entry(secret.clone());
            (entry.value_hash, entry.username, entry.layout)
        };
        let before = seen(&secret);
        let data = secret.data.as_mut().unwrap();
        let key = data.keys().nth(which.index(data.len())).unwrap().clone();
        let bytes = &mut data.get_mut(&key).unwrap().0;
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert_ne!(seen(&secret), before);
    }

    #[test]
    fn a_secret_of_any_size_is_looked_at_in_bounds(length in 0..400_000usize, key in "\\.dockerconfigjson|username|password") {
        let data = BTreeMap::from([(key, ByteString(vec![b'['; length]))]);
        let secret = Secret { type_: Some("Opaque".into()), data: Some(data), ..Secret::default() };
        prop_assert_eq!(holding(&secret), None);
    }

    #[test]
    fn the_layout_hash_says_whether_the_layout_differs(one in layout(), other in layout()) {
        let hash = |spec: &Value| checked(json!({"secret": spec})).unwrap().secret.layout_hash(&OrgName::parse("acme").unwrap());
        prop_assert_eq!(hash(&one) == hash(&other), one == other, "{} {}", one, other);
        prop_assert_eq!(hash(&one), hash(&one.clone()));
    }

    #[test]
    fn the_order_of_repositories_and_scopes_says_nothing(names in proptest::collection::btree_set("acme/[a-e]", 1..5), turn in 0..5usize) {
        let entry = |(i, name): (usize, &String)| {
            let scopes = if i % 2 == 0 { json!(["scope-a", "scope-b"]) } else { json!(["scope-b", "scope-a", "scope-b"]) };
            json!({"name": name, "scopes": scopes})
        };
        let sorted: Vec<_> = names.iter().enumerate().map(entry).collect();
        let mut turned: Vec<_> = names.iter().enumerate().map(|(i, name)| entry((i + 1, name))).collect();
        let turn = turn % turned.len();
        turned.rotate_left(turn);
        let hash = |repositories: Vec<Value>| checked(json!({"repositories": repositories})).unwrap().shape_hash();
        prop_assert_eq!(hash(sorted), hash(turned));
    }

    #[test]
    fn a_good_spec_is_taken_and_a_bad_field_is_named(lifetime in 10..87_600 * 3600u64, part in 1..100u64, percentage in 1..=255u8, label in "\\PC{0,70}") {
        let before = (lifetime * part / 100).max(1);
        let mut spec = json!({"expiration": {"lifetime": format!("{lifetime}s")}, "rotation": {"renewBefore": format!("{before}s")}});
        let wanted = checked(spec.clone());
        prop_assert_eq!(wanted.map(|wanted| wanted.expiry), Ok(Expiry::After(Duration::from_secs(lifetime))));
        spec["label"] = json!(label);
        spec["rotation"] = json!({"renewBeforePercentage": percentage});
        let found = checked(spec).err().unwrap_or_default();
        let names = |field: &str| found.iter().any(|problem| problem.field == field);
        prop_assert_eq!(names("spec.label"), Label::parse(&label).is_err());
        prop_assert_eq!(names("spec.rotation.renewBeforePercentage"), percentage > 99);
    }

    #[test]
    fn a_token_expires_so_long_after_it_was_made(now in second(), nanos in 0..1_000_000_000i32, lifetime in 10..87_600 * 3600u64) {
        let made = Timestamp::new(now.as_second(), nanos).unwrap();
        let expires = schedule::expiration(&Expiry::After(Duration::from_secs(lifetime)), made).unwrap();
        prop_assert_eq!(expires.subsec_nanosecond(), 0);
        prop_assert_eq!(expires.as_second(), now.as_second() + lifetime as i64);
    }

    #[test]
    fn what_a_status_remembers_is_remembered(
        id in "[A-Za-z0-9_-]{1,40}", sequence in any::<u64>(), created in proptest::option::of(second()), expires in proptest::option::of(second()),
        active in any::<bool>(), label in "\\PC{0,100}", previous in proptest::collection::vec(("[a-z0-9]{1,8}", any::<u64>(), second()), 0..4),
    ) {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let token = CurrentToken {
            id, label, sequence, active, creation_time: time(created), expiration_time: time(expires), ..CurrentToken::default()
        };
        let previous = previous.into_iter().map(|(id, sequence, at)| PreviousToken { id, sequence, revocation_time: at.to_string() });
        let written = TokenStatus { token: Some(token.clone()), previous: previous.collect(), ..TokenStatus::default() };
        let read: TokenStatus = serde_json::from_slice(&serde_json::to_vec(&written).unwrap()).unwrap();
        let memory = status::memory(Some(&read));
        let kept = memory.token.unwrap();
        prop_assert_eq!((kept.id.as_str(), kept.label, kept.sequence, kept.active), (token.id.as_str(), token.label, sequence, active));
        prop_assert_eq!((kept.created, kept.expires), (created, expires));
        prop_assert_eq!(memory.previous.len(), written.previous.len());
        for (kept, written) in memory.previous.iter().zip(&written.previous) {
            prop_assert_eq!((kept.id.as_str(), kept.sequence, kept.revocation.to_string()), (written.id.as_str(), written.sequence, written.revocation_time.clone()));
        }
    }

    #[test]
    fn odd_parts_of_a_status_are_not_remembered(id in "\\PC{0,20}", time in "\\PC{0,30}") {
        let previous = vec![PreviousToken { id: id.clone(), sequence: 1, revocation_time: time.clone() }];
        let token = CurrentToken { id: id.clone(), expiration_time: Some(time.clone()), ..CurrentToken::default() };
        let memory = status::memory(Some(&TokenStatus { token: Some(token), previous, ..TokenStatus::default() }));
        let (good_id, good_time) = (TokenId::parse(&id).is_ok(), time.parse::<Timestamp>().ok());
        prop_assert_eq!(memory.token.as_ref().map(|token| token.expires), good_id.then_some(good_time));
        prop_assert_eq!(memory.previous.len(), usize::from(good_id && good_time.is_some()));
    }

    #[test]
    fn a_patch_makes_the_one_status_of_the_other(from in document(), to in document()) {
        let patch = status::patch(&from, &to);
        prop_assert_eq!(patch.is_none(), from == to);
        let mut document = json!({"status": from});
        patch.iter().for_each(|patch| merge(&mut document, patch));
        prop_assert_eq!(&document["status"], &to);
        prop_assert_eq!(status::patch(&document["status"], &to), None, "once is enough");
    }

    #[test]
    fn a_patch_leaves_alone_what_is_the_same(same in document(), to in document()) {
        let from = json!({"same": same, "other": 1});
        let to = json!({"same": same, "other": to});
        let patch = status::patch(&from, &to).unwrap();
        prop_assert_eq!(patch["status"].as_object().unwrap().keys().collect::<Vec<_>>(), ["other"]);
    }

    #[test]
    fn every_new_request_is_new(one in "[ab]{1,2}", other in "[ab]{1,2}", times in prop::sample::select(vec![1usize, 100, 300])) {
        let carried = |text: &str| {
            let mut secret = Secret::default();
            secret.annotations_mut().insert(api::REVOKE.into(), text.repeat(times));
            status::requests(&secret, None).revoke.unwrap()
        };
        prop_assert_eq!(carried(&one) == carried(&other), one.repeat(times) == other.repeat(times));
        prop_assert!(carried(&one).len() <= 256);
    }

    #[test]
    fn credentials_are_the_same_with_a_line_break_behind(username in "[!-~]{1,20}", password in "[ -~]{1,40}", end in "\n|\r\n|") {
        let parse = |end: &str| Credentials::parse(format!("{username}{end}").as_bytes(), format!("{password}{end}").as_bytes(), None);
        let (plain, ended) = (parse("").unwrap(), parse(&end).unwrap());
        prop_assert!(plain == ended && plain.password.expose_secret() == password);
        let shown = format!("{plain:?}");
        prop_assert_eq!(shown, "Credentials { totp: false, .. }");
    }
}

/// What a spec may say of its Secret.
fn layout() -> impl Strategy<Value = Value> {
    let map = || proptest::collection::btree_map("[ab]", "[xy]{0,1}", 0..3);
    (prop::sample::select(vec!["a.io", "b.io"]), prop::sample::select(vec!["Opaque", "kubernetes.io/basic-auth"]), map(), map()).prop_map(
        |(registry, kind, labels, annotations)| {
            json!({"registries": [registry], "type": kind, "template": {"labels": labels, "annotations": annotations}})
        },
    )
}
