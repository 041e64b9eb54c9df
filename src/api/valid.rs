//! A spec, checked once at the border: texts become names, durations and times, or findings that name the field.
//!
//! The CRD's schema refuses the same things earlier. This is what holds for objects that are older than the schema.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

pub use super::durations::{duration, poll_interval};

use super::{
    names::{InvalidName, Label, OrgName, ResourcePath, Scope, SecretName, TokenId},
    token::{Adopt, DeletionPolicy, RotationPolicy, SecretDeletionPolicy, SecretType, TokenSpec, Verification},
    windows::Window,
};

/// What a user did wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldProblem {
    /// The path from the object's root: `spec.repositories[0].name`.
    pub field: String,
    /// What is wrong with it and what is expected.
    pub message: String,
}

impl std::fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// What a token may act on, as Docker Hub takes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `TYPE_REPO`.
    Repository(ResourcePath, Vec<Scope>),
    /// `TYPE_ORG`.
    Organization(ResourcePath, Vec<Scope>),
}

/// When a token expires.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// So long after it was made.
    After(Duration),
    /// At this time.
    At(Timestamp),
    /// Never.
    Never,
}

impl std::fmt::Display for Expiry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::After(lifetime) => write!(f, "{}s", lifetime.as_secs()),
            Self::At(time) => write!(f, "{time}"),
            Self::Never => f.write_str("never"),
        }
    }
}

/// How long before expiry a token is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RenewBefore {
    /// A third of the lifetime.
    Third,
    /// So long before.
    Duration(Duration),
    /// This much of the lifetime, in percent.
    Percentage(u8),
}

/// When and how a token is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RotationRules {
    /// Whether the schedule rotates, or only whoever asks.
    pub automatic: bool,
    /// How long before expiry.
    pub before: RenewBefore,
    /// How long after it was made, in any case.
    pub interval: Option<Duration>,
    /// How long the previous token lives on.
    pub overlap: Duration,
    /// When the schedule may rotate; empty for always.
    pub windows: Vec<Window>,
    /// Any change rotates now.
    pub trigger: Option<String>,
    /// Whether a new token is proved.
    pub verify: bool,
}

/// The Secret that a token is delivered in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretShape {
    /// Its name.
    pub name: SecretName,
    /// Its type.
    pub kind: SecretType,
    /// The keys under `auths`.
    pub registries: Vec<String>,
    /// Labels from the template.
    pub labels: BTreeMap<String, String>,
    /// Annotations from the template.
    pub annotations: BTreeMap<String, String>,
    /// Whether it stays when the object goes.
    pub retain: bool,
}

impl SecretShape {
    /// Changes when anything but the value must be written anew. Its end is that of the registries alone, so that whoever
    /// reads the Secret can tell whether they are still those that were written.
    pub fn layout_hash(&self, organization: &OrgName) -> String {
        format!("{}-{}", digest(&format!("{organization}\n{self:?}")), registries_hash(&self.registries))
    }
}

/// A token's spec with every part checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The user's part of the label.
    pub label: Label,
    /// The description; empty for none.
    pub description: String,
    /// What it may do, in a stable order.
    pub resources: Vec<Resource>,
    /// Whether it is to be active.
    pub active: bool,
    /// When it expires.
    pub expiry: Expiry,
    /// When and how it is replaced.
    pub rotation: RotationRules,
    /// What becomes of it at the end.
    pub deletion: DeletionPolicy,
    /// The token to take over.
    pub adopt: Option<Adoption>,
    /// The Secret.
    pub secret: SecretShape,
}

/// Which token to take over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Adoption {
    /// The one with this id.
    Id(TokenId),
    /// The one with exactly this label.
    Label(String),
}

impl std::fmt::Display for Adoption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id {id}"),
            Self::Label(label) => write!(f, "label {label:?}"),
        }
    }
}

impl Wanted {
    /// Changes when the token at Docker Hub must be patched.
    pub fn shape_hash(&self) -> String {
        let resources = self.resources.iter().map(|resource| match resource {
            Resource::Repository(path, scopes) => ("TYPE_REPO", path, scopes),
            Resource::Organization(path, scopes) => ("TYPE_ORG", path, scopes),
        });
        let resources = resources.map(|(kind, path, scopes)| {
            (kind.to_owned(), path.to_string(), scopes.iter().map(ToString::to_string).collect())
        });
        shape_hash(self.label.as_str(), &self.description, resources.collect())
    }
}

/// The hash of a token's shape: its label without the marker, its description, and what it may do, as Docker Hub names
/// it. The order says nothing.
pub fn shape_hash(label: &str, description: &str, mut resources: Vec<(String, String, Vec<String>)>) -> String {
    resources.iter_mut().for_each(|(_, _, scopes)| scopes.sort());
    resources.sort();
    digest(&format!("{label:?}\n{description:?}\n{resources:?}"))
}

/// The hash of the keys under `auths`.
pub fn registries_hash(registries: &[String]) -> String {
    digest(&registries.join("\n"))
}

/// The first 16 hex digits of a SHA-256: enough to see a change.
fn digest(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text)[..8])
}

/// Prefixes of labels and annotations that command other controllers. A tenant could make them copy the Secret away
/// or delete it.
const RESERVED: [&str; 8] = [
    "kubernetes.io",
    "k8s.io",
    "oat-operator.dev",
    "emberstack.com",
    "mittwald.de",
    "external-secrets.io",
    "argoproj.io",
    "reflector.v1.k8s.emberstack.com",
];

/// Collects findings while the parts of a spec are read.
struct Reader {
    problems: Vec<FieldProblem>,
}

impl Reader {
    fn problem(&mut self, field: impl Into<String>, message: impl ToString) {
        self.problems.push(FieldProblem { field: field.into(), message: message.to_string() });
    }

    fn name<T>(&mut self, field: impl Into<String>, parsed: Result<T, InvalidName>) -> Option<T> {
        parsed.map_err(|invalid| self.problem(field, invalid)).ok()
    }

    fn duration(&mut self, field: &str, text: Option<&str>) -> Option<Duration> {
        duration(text?).map_err(|message| self.problem(field, message)).ok()
    }

    fn scopes(&mut self, field: &str, texts: &[String]) -> Vec<Scope> {
        if texts.len() > 32 {
            self.problem(field, "expected at most 32");
        }
        let parse = |(i, text): (usize, &String)| self.name(format!("{field}[{i}]"), Scope::parse(text));
        let mut scopes: Vec<_> = texts.iter().enumerate().filter_map(parse).collect();
        scopes.sort();
        scopes.dedup();
        scopes
    }
}

/// Checks a spec. `allowed` are the prefixes of template keys that the operator's flags permit.
pub fn wanted(
    spec: &TokenSpec,
    organization: Option<&OrgName>,
    namespace: &str,
    name: &str,
    allowed: &[String],
) -> Result<Wanted, Vec<FieldProblem>> {
    let mut reader = Reader { problems: Vec::new() };
    if let Some(problem) = &spec.unreadable {
        reader.problem("spec", problem);
    }
    let label = match &spec.label {
        Some(text) => reader.name("spec.label", Label::parse(text)),
        None => Some(Label::of_object(namespace, name)),
    };
    let description = spec.description.clone().unwrap_or_default();
    if description.chars().count() > 200 || description.chars().any(char::is_control) {
        reader.problem("spec.description", "expected at most 200 characters, none of them control characters");
    }
    let resources = resources(&mut reader, spec, organization);
    let expiry = expiry(&mut reader, spec);
    let rotation = rotation(&mut reader, spec, expiry.as_ref());
    let adopt = spec.adopt.as_ref().and_then(|adopt| adoption(&mut reader, adopt));
    let secret = secret(&mut reader, spec, name, allowed);
    match (label, expiry, rotation, secret) {
        (Some(label), Some(expiry), Some(rotation), Some(secret)) if reader.problems.is_empty() => Ok(Wanted {
            label,
            description,
            resources,
            active: spec.active,
            expiry,
            rotation,
            deletion: spec.deletion_policy,
            adopt,
            secret,
        }),
        _ => Err(reader.problems),
    }
}

fn adoption(reader: &mut Reader, adopt: &Adopt) -> Option<Adoption> {
    match (&adopt.id, &adopt.label) {
        (Some(id), None) => reader.name("spec.adopt.id", TokenId::parse(id)).map(Adoption::Id),
        (None, Some(label)) if !label.is_empty() && label.chars().count() <= 100 => {
            Some(Adoption::Label(label.clone()))
        }
        (None, Some(_)) => {
            reader.problem("spec.adopt.label", "expected 1 to 100 characters");
            None
        }
        _ => {
            reader.problem("spec.adopt", "exactly one of id and label is needed");
            None
        }
    }
}

fn resources(reader: &mut Reader, spec: &TokenSpec, organization: Option<&OrgName>) -> Vec<Resource> {
    if spec.repositories.len() > 50 {
        reader.problem("spec.repositories", "expected at most 50");
    }
    let mut resources = Vec::new();
    for (i, repository) in spec.repositories.iter().enumerate() {
        let field = format!("spec.repositories[{i}]");
        let path = reader.name(format!("{field}.name"), ResourcePath::parse(&repository.name));
        if spec.repositories.iter().take(i).any(|other| other.name == repository.name) {
            reader.problem(format!("{field}.name"), "is there twice: put all scopes into one entry");
        }
        let scopes = reader.scopes(&format!("{field}.scopes"), &repository.scopes);
        if repository.scopes.is_empty() {
            reader.problem(format!("{field}.scopes"), "expected at least one scope, such as scope-image-pull");
        }
        resources.extend(path.map(|path| Resource::Repository(path, scopes)));
    }
    if spec.public_repositories {
        let pull = Scope::parse("scope-image-pull").ok().into_iter().collect();
        resources.push(Resource::Repository(ResourcePath::public(), pull));
    }
    let scopes = reader.scopes("spec.organizationScopes", &spec.organization_scopes);
    if let (Some(organization), false) = (organization, scopes.is_empty()) {
        resources.push(Resource::Organization(ResourcePath::organization(organization), scopes));
    }
    let asked = spec.public_repositories || !spec.repositories.is_empty() || !spec.organization_scopes.is_empty();
    if !asked {
        reader.problem(
            "spec.repositories",
            "a token needs repositories, publicRepositories or organizationScopes: Docker Hub makes none that may do nothing",
        );
    }
    resources.sort();
    resources
}

fn expiry(reader: &mut Reader, spec: &TokenSpec) -> Option<Expiry> {
    let field = "spec.expiration";
    let expiration = spec.expiration.clone().unwrap_or_default();
    match (&expiration.lifetime, &expiration.time, expiration.never) {
        (Some(text), None, None) => {
            let lifetime = reader.duration("spec.expiration.lifetime", Some(text))?;
            if (10..=87_600 * 3600).contains(&lifetime.as_secs()) {
                return Some(Expiry::After(lifetime));
            }
            reader.problem("spec.expiration.lifetime", "lifetime must be between 10s and 87600h");
        }
        (None, Some(text), None) => match text.parse::<Timestamp>() {
            Ok(time) => return Some(Expiry::At(time)),
            Err(_) => reader.problem("spec.expiration.time", "expected a time in RFC 3339, e.g. 2027-01-31T00:00:00Z"),
        },
        (None, None, Some(true)) => return Some(Expiry::Never),
        (None, None, Some(false)) => reader.problem(field, "never can only be true; leave it out otherwise"),
        _ => reader.problem(field, "exactly one of lifetime, time and never is needed"),
    }
    None
}

fn rotation(reader: &mut Reader, spec: &TokenSpec, expiry: Option<&Expiry>) -> Option<RotationRules> {
    let rules = &spec.rotation;
    let duration = reader.duration("spec.rotation.renewBefore", rules.renew_before.as_deref());
    let before = match (duration, rules.renew_before_percentage) {
        (Some(_), Some(_)) => {
            reader.problem("spec.rotation", "renewBefore and renewBeforePercentage exclude each other");
            return None;
        }
        (Some(before), None) => RenewBefore::Duration(before),
        (None, Some(percentage)) if (1..=99).contains(&percentage) => RenewBefore::Percentage(percentage),
        (None, Some(_)) => {
            reader.problem("spec.rotation.renewBeforePercentage", "expected 1 to 99");
            return None;
        }
        (None, None) => RenewBefore::Third,
    };
    if matches!(before, RenewBefore::Duration(before) if before.is_zero()) {
        reader.problem("spec.rotation.renewBefore", "must be longer than 0s: a token that expires fails pulls");
    }
    if let (RenewBefore::Duration(before), Some(Expiry::After(lifetime))) = (before, expiry)
        && before >= *lifetime
    {
        reader.problem("spec.rotation.renewBefore", "must be shorter than expiration.lifetime");
    }
    let interval = reader.duration("spec.rotation.interval", rules.interval.as_deref());
    if interval.is_some_and(|interval| interval.as_secs() < 10) {
        reader.problem("spec.rotation.interval", "interval must be at least 10s");
    }
    if rules.trigger.as_ref().is_some_and(|trigger| trigger.chars().count() > 256) {
        reader.problem("spec.rotation.trigger", "expected at most 256 characters");
    }
    let overlap = reader.duration("spec.rotation.overlap", Some(&rules.overlap));
    let windows = windows(reader, spec);
    let overlap = overlap?;
    Some(RotationRules {
        automatic: rules.policy == RotationPolicy::Automatic,
        before,
        interval,
        overlap,
        windows,
        trigger: rules.trigger.clone(),
        verify: rules.verification == Verification::Registry,
    })
}

fn windows(reader: &mut Reader, spec: &TokenSpec) -> Vec<Window> {
    let windows = &spec.rotation.windows;
    if windows.len() > 10 {
        reader.problem("spec.rotation.windows", "expected at most 10");
    }
    let mut read = |(i, window): (usize, &super::token::Window)| {
        let field = format!("spec.rotation.windows[{i}]");
        let duration = reader.duration(&format!("{field}.duration"), Some(&window.duration))?;
        let parsed = Window::parse(&window.schedule, duration, &window.time_zone);
        parsed.map_err(|(part, message)| reader.problem(format!("{field}.{part}"), message)).ok()
    };
    windows.iter().take(10).enumerate().filter_map(&mut read).collect()
}

fn secret(reader: &mut Reader, spec: &TokenSpec, object: &str, allowed: &[String]) -> Option<SecretShape> {
    let secret = &spec.secret;
    let name = reader.name("spec.secret.name", SecretName::parse(secret.name.as_deref().unwrap_or(object)));
    for (field, keys) in [("labels", &secret.template.labels), ("annotations", &secret.template.annotations)] {
        if keys.len() > 32 {
            reader.problem(format!("spec.secret.template.{field}"), "expected at most 32");
        }
        for (key, value) in keys {
            let value = if field == "labels" { label_value(value) } else { annotation_value(value) };
            let message = template_key(key, allowed).or(value);
            if let Some(message) = message {
                reader.problem(format!("spec.secret.template.{field}[{key:?}]"), message);
            }
        }
    }
    if secret.registries.is_empty() {
        reader.problem("spec.secret.registries", "expected at least one, such as https://index.docker.io/v1/");
    }
    if secret.registries.len() > 16 {
        reader.problem("spec.secret.registries", "expected at most 16");
    }
    for (i, _) in secret.registries.iter().enumerate().filter(|(_, registry)| !is_registry(registry)) {
        reader.problem(
            format!("spec.secret.registries[{i}]"),
            "expected a host, or one like https://index.docker.io/v1/",
        );
    }
    // Each once, as they stand in a docker config: a Secret is compared with what was written.
    let mut registries = secret.registries.clone();
    let mut seen = BTreeSet::new();
    registries.retain(|registry| seen.insert(registry.clone()));
    Some(SecretShape {
        name: name?,
        kind: secret.kind,
        registries,
        labels: secret.template.labels.clone(),
        annotations: secret.template.annotations.clone(),
        retain: secret.deletion_policy == SecretDeletionPolicy::Retain,
    })
}

/// Why a key may not stand in a template, if it may not.
fn template_key(key: &str, allowed: &[String]) -> Option<String> {
    if allowed.iter().any(|prefix| key.starts_with(prefix.as_str())) {
        return None;
    }
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    if name.is_empty() || !is_qualified(name) || domain.is_some_and(|domain| SecretName::parse(domain).is_err()) {
        return Some("no valid key: expected <domain>/<name> or <name>".into());
    }
    let domain = domain.unwrap_or_default();
    let reserved = RESERVED.iter().find(|r| domain == **r || domain.ends_with(&format!(".{r}")))?;
    Some(format!(
        "keys under {reserved} command other controllers; the operator's --allow-template-key can permit this one"
    ))
}

/// Why a text may not be a label's value: Kubernetes would refuse the Secret after the token was made.
/// A key under `auths`: a host, perhaps with a port and a path, perhaps with `https://`. The schema's pattern, in words.
fn is_registry(text: &str) -> bool {
    let rest = text.strip_prefix("https://").unwrap_or(text);
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = address.split_once(':').unwrap_or((address, "0"));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 253
        && host.starts_with(first)
        && host.chars().all(plain)
        && !port.is_empty()
        && port.chars().all(|c| c.is_ascii_digit())
        && path.chars().all(|c| plain(c) || matches!(c, '_' | '/'))
}

fn annotation_value(value: &str) -> Option<String> {
    (value.chars().count() > 4096).then(|| "expected at most 4096 characters".into())
}

fn label_value(value: &str) -> Option<String> {
    let fits = is_qualified(value);
    (!fits).then(|| {
        "no valid value: expected at most 63 letters, digits, -, _ and . with a letter or digit at each end".into()
    })
}

/// The grammar that names of keys and values of labels share; nothing is a value too.
fn is_qualified(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn org() -> OrgName {
        OrgName::parse("acme").unwrap()
    }

    /// A spec with these fields besides one repository, checked.
    fn read_with(fields: Value, allowed: &[String]) -> Result<Wanted, Vec<FieldProblem>> {
        let mut spec = json!({"repositories": [{"name": "acme/api", "scopes": ["scope-image-pull"]}]});
        let fields = fields.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(fields);
        let spec: TokenSpec = serde_json::from_value(spec).unwrap();
        wanted(&spec, Some(&org()), "payments", "pull", allowed)
    }

    fn read(fields: Value) -> Result<Wanted, Vec<FieldProblem>> {
        read_with(fields, &[])
    }

    #[track_caller]
    fn good(fields: Value) -> Wanted {
        read(fields.clone()).unwrap_or_else(|problems| panic!("{fields}: {problems:?}"))
    }

    /// The findings as users see them.
    fn problems(fields: Value) -> Vec<String> {
        read(fields).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_defaults() {
        let wanted = good(json!({}));
        assert_eq!(wanted.label.as_str(), "payments/pull");
        assert_eq!((wanted.description.as_str(), wanted.active), ("", true));
        assert_eq!(wanted.expiry, Expiry::After(Duration::from_secs(90 * 86_400)));
        let rules = RotationRules {
            automatic: true,
            before: RenewBefore::Third,
            interval: None,
            overlap: Duration::from_secs(3600),
            windows: Vec::new(),
            trigger: None,
            verify: true,
        };
        assert_eq!(wanted.rotation, rules);
        assert_eq!(wanted.deletion, DeletionPolicy::Delete);
        assert_eq!(wanted.secret.name.as_str(), "pull");
        assert_eq!(wanted.secret.kind, SecretType::DockerConfigJson);
        assert_eq!(wanted.secret.registries, ["https://index.docker.io/v1/"]);
        assert!(!wanted.secret.retain);
    }

    #[test]
    fn every_field() {
        let wanted = good(json!({
            "label": "payments pull", "description": "for payments", "active": false,
            "repositories": [
                {"name": "acme/b", "scopes": ["scope-image-push", "scope-image-pull", "scope-image-push"]},
                {"name": "acme/*", "scopes": ["scope-image-pull"]},
            ],
            "publicRepositories": true, "organizationScopes": ["scope-member-read"],
            "expiration": {"never": true},
            "rotation": {"policy": "Manual", "renewBeforePercentage": 33, "interval": "720h", "overlap": "0s",
                         "trigger": "x", "verification": "None"},
            "deletionPolicy": "Retain",
            "secret": {"name": "dockerhub", "type": "Opaque", "registries": ["dhi.io"], "deletionPolicy": "Retain",
                       "template": {"labels": {"team": "a.b_c-D"}, "annotations": {"acme.dev/note": "any text!"}}},
        }));
        assert_eq!(
            (wanted.label.as_str(), wanted.description.as_str(), wanted.active),
            ("payments pull", "for payments", false)
        );
        let texts: Vec<_> = wanted.resources.iter().map(|resource| format!("{resource:?}")).collect();
        assert_eq!(texts.len(), 4);
        assert!(texts[0].contains("*/*/public") && texts[1].contains("acme/*"), "{texts:?}");
        assert!(
            texts[2].contains("[Scope(\"scope-image-pull\"), Scope(\"scope-image-push\")]"),
            "sorted, once each: {texts:?}"
        );
        assert!(texts[3].starts_with("Organization(ResourcePath(\"acme\")"), "{texts:?}");
        assert_eq!(wanted.expiry, Expiry::Never);
        let rules = RotationRules {
            automatic: false,
            before: RenewBefore::Percentage(33),
            interval: Some(Duration::from_secs(720 * 3600)),
            overlap: Duration::ZERO,
            windows: Vec::new(),
            trigger: Some("x".into()),
            verify: false,
        };
        assert_eq!(wanted.rotation, rules);
        assert_eq!(wanted.deletion, DeletionPolicy::Retain);
        assert_eq!((wanted.secret.name.as_str(), wanted.secret.kind), ("dockerhub", SecretType::Opaque));
        assert!(wanted.secret.retain);
        assert_eq!(wanted.secret.labels["team"], "a.b_c-D");
        assert_eq!(wanted.secret.annotations["acme.dev/note"], "any text!");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let long = |number: usize| "x".repeat(number);
        let repository = |name: &str, scopes: Value| json!({"repositories": [{"name": name, "scopes": scopes}]});
        let lifetime = |text: &str| json!({"expiration": {"lifetime": text}});
        let rotation = |fields: Value| json!({"rotation": fields});
        let label = |key: &str, value: &str| json!({"secret": {"template": {"labels": {key: value}}}});
        let annotation = |key: &str| json!({"secret": {"template": {"annotations": {key: "x"}}}});
        let twice = json!({"repositories": [
            {"name": "acme/api", "scopes": ["scope-image-pull"]}, {"name": "acme/api", "scopes": ["scope-image-push"]}]});
        let many: Vec<_> =
            (0..51).map(|i| json!({"name": format!("acme/r{i}"), "scopes": ["scope-image-pull"]})).collect();
        let nothing = json!({"repositories": [], "publicRepositories": false});
        let cases = [
            (json!({"label": "a [b]"}), "spec.label"),
            (json!({"label": ""}), "spec.label"),
            (json!({"label": long(61)}), "spec.label"),
            (json!({"label": " a"}), "spec.label"),
            (json!({"description": long(201)}), "spec.description"),
            (json!({"description": "a\u{1b}[31m"}), "spec.description"),
            (repository("api", json!(["scope-image-pull"])), "spec.repositories[0].name"),
            (repository("acme/../x", json!(["scope-image-pull"])), "spec.repositories[0].name"),
            (repository("*/*/public", json!(["scope-image-pull"])), "spec.repositories[0].name"),
            (repository("acme/api", json!([])), "spec.repositories[0].scopes"),
            (repository("acme/api", json!(["scope-image-pull", "pull"])), "spec.repositories[0].scopes[1]"),
            (twice, "spec.repositories[1].name"),
            (json!({"repositories": many}), "spec.repositories"),
            (nothing, "spec.repositories"),
            (json!({"organizationScopes": ["admin"]}), "spec.organizationScopes[0]"),
            (lifetime("9s"), "spec.expiration.lifetime"),
            (lifetime("87601h"), "spec.expiration.lifetime"),
            (lifetime("-1h"), "spec.expiration.lifetime"),
            (lifetime("90d"), "spec.expiration.lifetime"),
            (lifetime(""), "spec.expiration.lifetime"),
            (json!({"expiration": {"time": "tomorrow"}}), "spec.expiration.time"),
            (json!({"expiration": {"never": false}}), "spec.expiration"),
            (json!({"expiration": {}}), "spec.expiration"),
            (json!({"expiration": {"never": true, "lifetime": "1h"}}), "spec.expiration"),
            (rotation(json!({"renewBefore": "soon"})), "spec.rotation.renewBefore"),
            (rotation(json!({"renewBefore": "0s"})), "spec.rotation.renewBefore"),
            (rotation(json!({"renewBefore": "2160h"})), "spec.rotation.renewBefore"),
            (rotation(json!({"renewBeforePercentage": 0})), "spec.rotation.renewBeforePercentage"),
            (rotation(json!({"renewBeforePercentage": 100})), "spec.rotation.renewBeforePercentage"),
            (rotation(json!({"renewBefore": "1h", "renewBeforePercentage": 5})), "spec.rotation"),
            (rotation(json!({"interval": "9s"})), "spec.rotation.interval"),
            (rotation(json!({"interval": "x"})), "spec.rotation.interval"),
            (rotation(json!({"overlap": "-5m"})), "spec.rotation.overlap"),
            (rotation(json!({"trigger": long(257)})), "spec.rotation.trigger"),
            (
                repository("acme/api", json!((0..33).map(|i| format!("scope-{i}")).collect::<Vec<_>>())),
                "spec.repositories[0].scopes",
            ),
            (json!({"secret": {"registries": ["dhi.io", "http://dhi.io"]}}), "spec.secret.registries[1]"),
            (json!({"secret": {"registries": ["dhi.io:"]}}), "spec.secret.registries[0]"),
            (json!({"secret": {"registries": ["a b"]}}), "spec.secret.registries[0]"),
            (
                json!({"secret": {"registries": (0..17).map(|i| format!("r{i}.io")).collect::<Vec<_>>()}}),
                "spec.secret.registries",
            ),
            (
                json!({"secret": {"template": {"annotations": {"a": long(4097)}}}}),
                "spec.secret.template.annotations[\"a\"]",
            ),
            (
                json!({"secret": {"template": {"annotations": (0..33).map(|i| (format!("a{i}"), "x")).collect::<BTreeMap<_, _>>()}}}),
                "spec.secret.template.annotations",
            ),
            (json!({"secret": {"name": "Docker_Hub"}}), "spec.secret.name"),
            (json!({"secret": {"registries": []}}), "spec.secret.registries"),
            (label("app.kubernetes.io/name", "x"), "spec.secret.template.labels[\"app.kubernetes.io/name\"]"),
            (label("oat-operator.dev/owner", "x"), "spec.secret.template.labels[\"oat-operator.dev/owner\"]"),
            (label("", "x"), "spec.secret.template.labels[\"\"]"),
            (label("-a", "x"), "spec.secret.template.labels[\"-a\"]"),
            (label("a/b/c", "x"), "spec.secret.template.labels[\"a/b/c\"]"),
            (label("A.dev/b", "x"), "spec.secret.template.labels[\"A.dev/b\"]"),
            (label("/b", "x"), "spec.secret.template.labels[\"/b\"]"),
            (label("team", "two words"), "spec.secret.template.labels[\"team\"]"),
            (label("team", &long(64)), "spec.secret.template.labels[\"team\"]"),
            (annotation("reflector.v1.k8s.emberstack.com/reflection-auto-enabled"), "spec.secret.template.annotations"),
            (annotation("replicator.v1.mittwald.de/replicate-to"), "spec.secret.template.annotations"),
            (annotation("external-secrets.io/type"), "spec.secret.template.annotations"),
            (annotation("argocd.argoproj.io/tracking-id"), "spec.secret.template.annotations"),
            (annotation("k8s.io/x"), "spec.secret.template.annotations"),
        ];
        for (fields, field) in cases {
            let found = problems(fields.clone());
            assert_eq!(found.len(), 1, "{fields}: {found:?}");
            let (path, message) = found[0].split_once(": ").unwrap();
            let matches = path == field || path.starts_with(&format!("{field}["));
            assert!(matches && message.len() > 10, "{fields}: {found:?} instead of {field}");
        }
    }

    #[test]
    fn a_registry_counts_once() {
        let wanted = good(json!({"secret": {"registries": ["dhi.io", "a.io", "dhi.io"]}}));
        assert_eq!(wanted.secret.registries, ["dhi.io", "a.io"]);
    }

    #[test]
    fn all_findings_are_told_at_once() {
        let found = problems(json!({
            "label": "[", "description": "\u{7}", "expiration": {"lifetime": "1s"}, "rotation": {"overlap": "x"},
            "secret": {"name": "_", "registries": []},
        }));
        let fields: Vec<_> = found.iter().map(|text| text.split(':').next().unwrap()).collect();
        let expected = [
            "spec.label",
            "spec.description",
            "spec.expiration.lifetime",
            "spec.rotation.overlap",
            "spec.secret.name",
            "spec.secret.registries",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn the_edges_are_allowed() {
        for fields in [
            json!({"expiration": {"lifetime": "10s"}}),
            json!({"expiration": {"lifetime": "87600h"}}),
            json!({"expiration": {"time": "2027-01-31T00:00:00+01:00"}}),
            json!({"rotation": {"renewBefore": "2159h59m59s"}}),
            json!({"rotation": {"renewBeforePercentage": 1}}),
            json!({"rotation": {"renewBeforePercentage": 99}}),
            json!({"rotation": {"interval": "10s"}}),
            json!({"rotation": {"overlap": "0s"}}),
            json!({"label": "x".repeat(60)}),
            json!({"description": "x".repeat(200)}),
            json!({"repositories": []}),
            json!({"repositories": [], "publicRepositories": false, "organizationScopes": ["scope-member-read"]}),
            json!({"secret": {"template": {"labels": {"team": "", "notkubernetes.io.acme.dev/x": "y"}}}}),
            json!({"secret": {"template": {"annotations": {"mykubernetes.io/x": "two words"}}}}),
        ] {
            good(fields);
        }
    }

    #[test]
    fn flags_permit_keys_of_a_template() {
        let fields = json!({"secret": {"template": {"labels": {"app.kubernetes.io/name": "x"}}}});
        let allow = |prefix: &str| read_with(fields.clone(), &[prefix.to_owned()]);
        assert!(allow("app.kubernetes.io/").is_ok());
        assert!(allow("app.kubernetes.io/name").is_ok());
        assert!(allow("argoproj.io/").is_err());
    }

    #[test]
    fn hashes_change_with_what_they_stand_for() {
        let shape = |fields| good(fields).shape_hash();
        let base = shape(json!({}));
        assert_eq!(base.len(), 16);
        assert_ne!(shape(json!({"label": "other"})), base);
        assert_ne!(shape(json!({"description": "other"})), base);
        assert_ne!(shape(json!({"publicRepositories": false})), base);
        assert_ne!(shape(json!({"organizationScopes": ["scope-member-read"]})), base);
        // What Docker Hub doesn't hold, or what can't be patched, is no part of it.
        assert_eq!(shape(json!({"active": false, "expiration": {"never": true}, "secret": {"name": "x"}})), base);
        let order = |names: [&str; 2]| {
            let repositories = names.map(|name| json!({"name": name, "scopes": ["scope-image-pull"]}));
            shape(json!({"repositories": repositories}))
        };
        assert_eq!(order(["acme/a", "acme/b"]), order(["acme/b", "acme/a"]), "the order says nothing");
        let layout = |fields| good(fields).secret.layout_hash(&org());
        let base = layout(json!({}));
        assert_ne!(layout(json!({"secret": {"registries": ["dhi.io"]}})), base);
        assert_ne!(layout(json!({"secret": {"type": "Opaque"}})), base);
        assert_ne!(layout(json!({"secret": {"template": {"labels": {"a": "b"}}}})), base);
        assert_ne!(layout(json!({"secret": {"template": {"annotations": {"a": "b"}}}})), base);
        assert_ne!(good(json!({})).secret.layout_hash(&OrgName::parse("other").unwrap()), base);
        assert_eq!(layout(json!({"label": "other", "rotation": {"overlap": "2h"}})), base);
    }

    #[test]
    fn expirations_in_words_tell_them_apart() {
        let text = |fields: Value| good(json!({"expiration": fields})).expiry.to_string();
        assert_eq!(text(json!({"lifetime": "1h30m"})), "5400s");
        assert_eq!(text(json!({"lifetime": "5400s"})), "5400s");
        assert_eq!(text(json!({"time": "2027-01-31T00:00:00+01:00"})), "2027-01-30T23:00:00Z");
        assert_eq!(text(json!({"never": true})), "never");
    }

    #[test]
    fn without_an_organization_its_own_scopes_wait() {
        let spec = json!({"organizationScopes": ["scope-member-read"]});
        let spec: TokenSpec = serde_json::from_value(spec).unwrap();
        let read = wanted(&spec, None, "payments", "pull", &[]).unwrap();
        assert_eq!(read.resources.len(), 1);
    }

    #[test]
    fn poll_intervals() {
        assert_eq!(poll_interval("1m"), Ok(Duration::from_secs(60)));
        for bad in ["0s", "59s", "59999ms", "", "1d"] {
            assert!(poll_interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        let seconds = |text: &str| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("0s"), Ok(0));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2562047h47m16.854775807s"), Ok(Duration::from_nanos(i64::MAX.unsigned_abs())));
        assert_eq!(duration("1ms1.000000001s0.5m"), Ok(Duration::from_nanos(31_001_000_001)));
        assert_eq!(duration("0.0000000000000000000000001h"), Ok(Duration::ZERO));
        let longest = format!("{}h", "9".repeat(31));
        let last = "2562047h47m16.854775808s";
        for bad in [
            "",
            "-1s",
            "1",
            "1d",
            "P1D",
            "h",
            &longest,
            "9999999999999h",
            "-0s",
            "1h ",
            &"1h".repeat(99),
            last,
            // kube's own parser panics at the first and takes the others.
            "1h-1h",
            "1h+1h",
            "+1h",
            "+-1h",
            "--1h",
            "1h0",
            "0",
            ".5h",
            "1.h",
            "1..5h",
            "1.5.5h",
            "1\u{b5}s",
            "1us",
            "1ns",
            "1e3s",
            "١h",
            "1H",
            "1hh",
            "1m s",
            "\n1h",
            "1h\0",
        ] {
            let answer = duration(bad);
            assert!(answer.as_ref().is_err_and(|message| message.len() < 100), "{bad}: {answer:?}");
        }
    }
}
