//! Names, parsed once at the border, so that nothing behind it handles raw text.
//!
//! Every type here holds only text that has passed its rule. The rules are those of Docker Hub (`hub-api.md`) and of
//! Kubernetes; the CRDs' patterns repeat them for early answers, this module is what is relied on.
//!
//! Invariant: no value of these types can change the path of a request, a label's meaning or another object's name.

use std::fmt;

use sha2::{Digest, Sha256};

/// Why a text is no valid name. The message says what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A Docker Hub organization: lower-case letters and digits, 2 to 80 of them, `-` and `_` inside.
    OrgName
}
name! {
    /// A token's id at Docker Hub. Opaque; safe as one segment of a path.
    TokenId
}
name! {
    /// What a token may act on: `org/repository`, `org/*` or `*/*/public`, or an organization's name.
    ResourcePath
}
name! {
    /// A right, such as `scope-image-pull`. Unknown ones are passed on: Docker adds to the list.
    Scope
}
name! {
    /// The name of a Secret: a DNS subdomain of at most 253 characters.
    SecretName
}
name! {
    /// The user's part of a token's label at Docker Hub: 1 to 60 characters, no control characters, no `[` or `]`.
    Label
}
name! {
    /// The first part of the marker: which cluster made the token. 1 to 12 lower-case letters, digits, `-`.
    ClusterId
}
name! {
    /// 80 bits that say which object a token belongs to: a hash of kind, namespace and name in 16 characters.
    ///
    /// It outlives the object's uid, so that an object restored from a backup finds its token again, and it is long
    /// enough that nobody finds another name with the same hash.
    Identity
}

/// Every `/v2/` path of Docker Hub holds the organization's name, so it must be one harmless segment.
impl OrgName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let ends = edge(text.chars().next()) && edge(text.chars().last());
        if (2..=80).contains(&text.len()) && ends && text.chars().all(inner) {
            return Ok(Self(text.into()));
        }
        Err(InvalidName(format!(
            "{} is no Docker Hub organization: expected 2 to 80 lower-case letters and digits, with - and _ inside",
            quoted(text)
        )))
    }
}

impl TokenId {
    /// Checks an id that came from Docker Hub or from a status.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let harmless = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if (1..=128).contains(&text.len()) && text.chars().all(harmless) {
            return Ok(Self(text.into()));
        }
        Err(InvalidName(format!("{} is no token id: expected letters, digits, - and _", quoted(text))))
    }
}

impl ResourcePath {
    /// The path that stands for all public repositories.
    pub fn public() -> Self {
        Self("*/*/public".into())
    }

    /// The organization itself, for organization-wide scopes.
    pub fn organization(name: &OrgName) -> Self {
        Self(name.0.clone())
    }

    /// Checks `org/repository` or `org/*`. Docker documents no other patterns.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let expected = || {
            InvalidName(format!(
                "{} is no repository: expected <organization>/<repository> or <organization>/*, in lower case",
                quoted(text)
            ))
        };
        let (org, repository) = text.split_once('/').ok_or_else(expected)?;
        OrgName::parse(org).map_err(|_| expected())?;
        if repository == "*" || is_repository_name(repository) {
            return Ok(Self(text.into()));
        }
        Err(expected())
    }
}

/// The repository's own part: distribution's grammar without slashes.
fn is_repository_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators_fit = text
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|between| matches!(between, "" | "." | "_" | "__") || between.chars().all(|c| c == '-'));
    (1..=255).contains(&bytes.len())
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && separators_fit
}

impl Scope {
    /// Checks the shape of a scope, not whether Docker knows it.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let named = text.strip_prefix("scope-").is_some_and(|rest| !rest.is_empty());
        if named && text.len() <= 64 && text.chars().all(fits) {
            return Ok(Self(text.into()));
        }
        Err(InvalidName(format!("{} is no scope: expected one like scope-image-pull", quoted(text))))
    }
}

impl SecretName {
    /// Checks a DNS subdomain.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let part = |p: &str| !p.is_empty() && p.chars().all(fits) && !p.starts_with('-') && !p.ends_with('-');
        if text.len() <= 253 && text.split('.').all(part) {
            return Ok(Self(text.into()));
        }
        Err(InvalidName(format!("{} is no name for a Secret: expected a DNS subdomain", quoted(text))))
    }
}

impl Label {
    /// Most characters of the user's part: the whole label has 100.
    pub const MAX: usize = 60;

    /// Checks the user's part of a label.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let forbidden = |c: char| c.is_control() || c == '[' || c == ']';
        let length = text.chars().count();
        if (1..=Self::MAX).contains(&length) && !text.chars().any(forbidden) && text.trim() == text {
            return Ok(Self(text.into()));
        }
        Err(InvalidName(format!(
            "{} is no label: expected 1 to {} characters without [, ], control characters or outer spaces",
            quoted(text),
            Self::MAX
        )))
    }

    /// The label of an object that names none: `<namespace>/<name>`, cut to fit.
    pub fn of_object(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").chars().take(Self::MAX).collect())
    }

    /// The label of a token that somebody else named, cut and cleaned so that a marker can follow.
    pub fn adopted(text: &str) -> Self {
        let clean = |c: char| match c {
            '[' => '(',
            ']' => ')',
            c if c.is_control() => ' ',
            c => c,
        };
        let text: String = text.trim().chars().map(clean).take(Self::MAX).collect();
        Self(if text.trim().is_empty() { "adopted".into() } else { text.trim().into() })
    }
}

impl ClusterId {
    /// Checks the value of `--cluster-id`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=12).contains(&text.len()) && text.chars().all(fits) {
            return Ok(Self(text.into()));
        }
        Err(InvalidName(format!(
            "{} is no cluster id: expected 1 to 12 lower-case letters, digits and -",
            quoted(text)
        )))
    }

    /// The default: the first 8 characters of the kube-system namespace's uid.
    pub fn of_uid(uid: &str) -> Result<Self, InvalidName> {
        Self::parse(&uid.chars().take(8).collect::<String>().to_ascii_lowercase())
    }
}

impl Identity {
    /// The hash of kind, namespace and name. The parts can't hold the separator.
    pub fn of(kind: &str, namespace: &str, name: &str) -> Self {
        let hash = Sha256::digest(format!("{kind}\0{namespace}\0{name}"));
        let text = data_encoding::BASE32_NOPAD.encode(&hash[..10]);
        Self(text.to_ascii_lowercase())
    }

    fn parse(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
        (text.len() == 16 && text.chars().all(fits)).then(|| Self(text.into()))
    }
}

/// What the operator appends to a label: whose token it is, and which in the row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marker {
    /// Which cluster made it.
    pub cluster: ClusterId,
    /// For which object.
    pub identity: Identity,
    /// 1 for the object's first token; each later one has a higher number.
    pub sequence: u64,
}

impl Marker {
    /// The whole label at Docker Hub: ` [<cluster>/<identity>.<sequence>]` behind the user's part.
    pub fn label(&self, user: &Label) -> String {
        format!("{user} [{}/{}.{}]", self.cluster, self.identity, self.sequence)
    }

    /// Reads the marker at the end of a label, and nowhere else.
    pub fn parse(label: &str) -> Option<(&str, Self)> {
        let (user, marker) = label.strip_suffix(']')?.rsplit_once(" [")?;
        let (cluster, rest) = marker.split_once('/')?;
        let (identity, sequence) = rest.split_once('.')?;
        let canonical = sequence.bytes().all(|b| b.is_ascii_digit()) && !sequence.starts_with('0');
        let marker = Self {
            cluster: ClusterId::parse(cluster).ok()?,
            identity: Identity::parse(identity)?,
            sequence: canonical.then(|| sequence.parse().ok()).flatten()?,
        };
        Some((user, marker))
    }
}

/// For messages: long and odd texts are cut and escaped, so that they can't bend a terminal.
fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(64).collect();
    format!("{cut:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organization_names() {
        for good in ["acme", "ab", "a-b", "a_b", "0day", &"x".repeat(80)] {
            assert!(OrgName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", "a-", "Acme", "a/b", "..", "a b", "a%2fb", "acmé", "a\n", &"x".repeat(81)] {
            assert!(OrgName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn repositories() {
        for good in ["acme/api", "acme/*", "acme/a.b", "acme/a__b", "acme/a---b", "acme/0"] {
            assert!(ResourcePath::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "acme",
            "acme/",
            "/api",
            "acme/../x",
            "acme/a/b",
            "*/*",
            "*/*/public",
            "acme/team-*",
            "acme/A",
            "acme/..",
            "acme/a___b",
            "acme/-a",
            "acme/a-",
            "acme/a..b",
            "acme/a b",
            "docker.io/acme/api",
            "",
        ] {
            assert!(ResourcePath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn scopes_are_checked_in_shape_only() {
        for good in ["scope-image-pull", "scope-siem_credentials-read", "scope-of-tomorrow"] {
            assert!(Scope::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "scope-", "repo-pull", "scope-Image", "scope-a b", &format!("scope-{}", "x".repeat(60))] {
            assert!(Scope::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn secret_names_and_labels() {
        assert!(SecretName::parse("dockerhub").is_ok());
        assert!(SecretName::parse("a.b-c").is_ok());
        for bad in ["", "A", "a_b", "a..b", "-a", "a/b", &"x".repeat(254)] {
            assert!(SecretName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Label::parse("Pulls for payments, EU").is_ok());
        for bad in ["", "a [b]", "a\u{7}", " a", "a ", &"x".repeat(61)] {
            assert!(Label::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_marker_survives_the_round_trip_and_fits() {
        let marker = Marker {
            cluster: ClusterId::parse("0a1b2c3d-eu1").unwrap(),
            identity: Identity::of("OrganizationAccessToken", "payments", "pull"),
            sequence: 9_999_999,
        };
        let label = marker.label(&Label::parse(&"x".repeat(60)).unwrap());
        assert_eq!(label.chars().count(), 100);
        assert_eq!(Marker::parse(&label), Some(("x".repeat(60).as_str(), marker)));
    }

    #[test]
    fn only_an_exact_marker_at_the_end_counts() {
        let id = Identity::of("OrganizationAccessToken", "a", "b");
        let good = format!("a/b [c1/{id}.7]");
        assert_eq!(Marker::parse(&good).unwrap().1.sequence, 7);
        for bad in [
            format!("[c1/{id}.7]"),
            format!("a [c1/{id}.7] "),
            format!("a [c1/{id}.7] b"),
            format!("a [c1/{id}.07]"),
            format!("a [c1/{id}.]"),
            format!("a [c1/{id}.+7]"),
            format!("a [C1/{id}.7]"),
            format!("a [c1/{}.7]", id.as_str().to_uppercase()),
            format!("a [c1/{id}]"),
            format!("a [c1/{id}.7"),
            "a [c1/short.7]".into(),
            "jenkins".into(),
            String::new(),
        ] {
            assert_eq!(Marker::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn identities_differ_by_every_part() {
        let ids = [("A", "b", "c"), ("A", "bc", ""), ("Ab", "", "c"), ("A", "b", "d")]
            .map(|(k, ns, n)| Identity::of(k, ns, n));
        for (i, a) in ids.iter().enumerate() {
            assert_eq!(a.as_str().len(), 16);
            assert!(ids.iter().skip(i + 1).all(|b| a != b));
        }
    }
}
