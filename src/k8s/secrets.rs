//! Pull secrets: what stands in them, and what is remembered of them.
//!
//! Invariant: nothing but [`Content`] and a Secret on its way to the API server holds a value; the index keeps hashes.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{ResourceExt, core::ObjectMeta};
use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Key, loose::Loose, store::Versioned};
use crate::api::{
    self,
    names::TokenId,
    token::SecretType,
    valid::{SecretShape, registries_hash},
};

/// Annotation on our Secrets: the hash of everything that the spec says of them but the value.
pub const LAYOUT: &str = "oat-operator.dev/layout";

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// What a Secret is to hold.
pub struct Content<'a> {
    /// The token's id.
    pub id: &'a TokenId,
    /// The token's sequence.
    pub sequence: u64,
    /// When the token expires.
    pub expires: Option<Timestamp>,
    /// The organization's name, which is the user name for its tokens.
    pub organization: &'a str,
    /// The token's value.
    pub value: &'a SecretString,
    /// Type, keys, labels and annotations.
    pub shape: &'a SecretShape,
    /// See [`LAYOUT`].
    pub layout: String,
}

/// What is remembered of a Secret of ours: no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The Secret's uid.
    pub uid: String,
    /// The Secret's resourceVersion.
    pub version: String,
    /// Its type, where it is one of ours.
    pub kind: Option<SecretType>,
    /// The uid of the token object that it was made for.
    pub owner: String,
    /// The sequence in its annotation; 0 where that can't be read.
    pub sequence: u64,
    /// The SHA-256 of its value, where its data is whole: every part of it says the same.
    pub value_hash: Option<String>,
    /// The user name beside the value: the organization that it is for.
    pub username: Option<String>,
    /// The layout in its annotation.
    pub layout: String,
    /// The id of the token in its annotation.
    pub token: Option<String>,
    /// What an apply would leave on it.
    pub loose: Loose,
}

impl Versioned for Entry {
    fn version(&self) -> &str {
        &self.version
    }
}

/// The SHA-256 of a value, as the status keeps it.
pub fn hash(value: &SecretString) -> String {
    format!("sha256:{}", data_encoding::HEXLOWER.encode(&Sha256::digest(value.expose_secret())))
}

/// Cuts a Secret down to what is remembered.
pub fn entry(secret: Secret) -> (Key, Entry) {
    let key = super::key(&secret);
    let annotation = |name: &str| secret.annotations().get(name).cloned().unwrap_or_default();
    let whole = whole(&secret);
    // A docker config with other registries than were written is no use, though its value be right.
    let as_written = |layout: &String| match &whole {
        Some((Some(registries), _)) => layout.ends_with(&format!("-{}", registries_hash(registries))),
        Some((None, _)) | None => true,
    };
    // It is kept for each Secret, and an annotation may have 256 KiB. Ours is short.
    let layout = Some(annotation(LAYOUT)).filter(|layout| layout.len() <= 64).filter(as_written).unwrap_or_default();
    let (username, value) = whole.map(|(_, login)| (login.username, login.password)).unzip();
    let entry = Entry {
        uid: secret.uid().unwrap_or_default(),
        version: secret.resource_version().unwrap_or_default(),
        kind: secret.type_.as_deref().and_then(kind),
        owner: secret.labels().get(api::OWNER).cloned().unwrap_or_default(),
        sequence: annotation(api::SEQUENCE).parse().unwrap_or(0),
        value_hash: value.as_ref().map(hash),
        username,
        layout,
        token: secret.annotations().get(api::TOKEN_ID).filter(|id| id.len() <= 64).cloned(),
        loose: Loose::of(&secret),
    };
    (key, entry)
}

/// The most bytes that a key of ours may have, and the most registries. Whoever may write Secrets can put our label on one of 1 MiB.
const MOST: (usize, usize) = (256 * 1024, 256);
/// The longest user name and value.
const LONGEST: (usize, usize) = (255, 4096);

/// The user name and the value in a Secret of ours, where all that we would write for them is there as we would write it.
/// Keys that somebody added are theirs: no write of ours would take them away.
pub fn credentials(secret: &Secret) -> Option<(String, SecretString)> {
    whole(secret).map(|(_, login)| (login.username, login.password))
}

/// The registries, where there are any, and the login in a Secret of ours whose data is just what we would write for them.
fn whole(secret: &Secret) -> Option<(Option<Vec<String>>, Login)> {
    let data = secret.data.as_ref()?;
    let kind = kind(secret.type_.as_deref()?)?;
    let small = |bytes: &&ByteString| bytes.0.len() <= MOST.0;
    let text = |key: &str| data.get(key).filter(small).and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
    let (registries, login) = match kind {
        SecretType::BasicAuth => {
            (None, Login { username: text(USERNAME)?.to_owned(), password: SecretString::from(text(PASSWORD)?) })
        }
        SecretType::DockerConfigJson | SecretType::Opaque => {
            let auths = serde_json::from_str::<DockerConfig>(text(DOCKER_CONFIG)?).ok()?.auths;
            (Some(auths.registries), auths.first?)
        }
    };
    if login.username.len() > LONGEST.0 || login.password.expose_secret().len() > LONGEST.1 {
        return None;
    }
    let known = registries.as_deref().unwrap_or_default();
    let ours = self::data(kind, known, &login.username, &login.password);
    let whole =
        !login.password.expose_secret().is_empty() && ours.iter().all(|(key, bytes)| data.get(key) == Some(bytes));
    whole.then_some((registries, login))
}

/// A docker config as far as it must be read: all registries, and the first one's login.
#[derive(Deserialize)]
struct DockerConfig {
    auths: Auths,
}

#[derive(Deserialize)]
struct Login {
    username: String,
    password: SecretString,
}

struct Auths {
    registries: Vec<String>,
    first: Option<Login>,
}

impl<'de> Deserialize<'de> for Auths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Auths;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Auths, A::Error> {
                let mut auths = Auths { registries: Vec::new(), first: None };
                while let Some(registry) = map.next_key()? {
                    if auths.registries.len() == MOST.1 {
                        return Err(A::Error::custom("too many registries"));
                    }
                    auths.registries.push(registry);
                    match auths.first {
                        None => auths.first = Some(map.next_value()?),
                        Some(_) => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(auths)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

fn kind(text: &str) -> Option<SecretType> {
    [SecretType::DockerConfigJson, SecretType::BasicAuth, SecretType::Opaque]
        .into_iter()
        .find(|kind| type_name(*kind) == text)
}

/// The type as Kubernetes names it.
pub fn type_name(kind: SecretType) -> &'static str {
    match kind {
        SecretType::DockerConfigJson => "kubernetes.io/dockerconfigjson",
        SecretType::BasicAuth => "kubernetes.io/basic-auth",
        SecretType::Opaque => "Opaque",
    }
}

/// A docker config with the same credentials for every registry.
fn docker_config(registries: &[String], username: &str, value: &SecretString) -> Value {
    let auth = STANDARD.encode(format!("{username}:{}", value.expose_secret()));
    let entry = json!({"username": username, "password": value.expose_secret(), "auth": auth});
    let auths: serde_json::Map<_, _> = registries.iter().map(|registry| (registry.clone(), entry.clone())).collect();
    json!({ "auths": auths })
}

fn data(kind: SecretType, registries: &[String], username: &str, value: &SecretString) -> BTreeMap<String, ByteString> {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let basic = [(USERNAME.to_owned(), bytes(username)), (PASSWORD.to_owned(), bytes(value.expose_secret()))];
    let config = || {
        let config = docker_config(registries, username, value).to_string();
        (DOCKER_CONFIG.to_owned(), bytes(&config))
    };
    match kind {
        SecretType::DockerConfigJson => BTreeMap::from([config()]),
        SecretType::BasicAuth => BTreeMap::from(basic),
        SecretType::Opaque => basic.into_iter().chain([config()]).collect(),
    }
}

/// A Secret as it is to be.
pub fn render(key: &Key, owner: &OwnerReference, content: &Content<'_>) -> Secret {
    let shape = content.shape;
    let mut labels = shape.labels.clone();
    labels.insert(api::MANAGED_BY.into(), api::MANAGER.into());
    labels.insert(api::OWNER.into(), owner.uid.clone());
    let mut annotations = shape.annotations.clone();
    annotations.insert(api::TOKEN_ID.into(), content.id.to_string());
    annotations.insert(api::SEQUENCE.into(), content.sequence.to_string());
    annotations.insert(LAYOUT.into(), content.layout.clone());
    if let Some(expires) = content.expires {
        annotations.insert(api::EXPIRATION_TIME.into(), expires.to_string());
    }
    // A Secret that stays when the object goes must not be collected with it.
    let owners = (!shape.retain).then(|| vec![owner.clone()]);
    Secret {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: owners,
            ..ObjectMeta::default()
        },
        type_: Some(type_name(shape.kind).into()),
        data: Some(data(shape.kind, &shape.registries, content.organization, content.value)),
        ..Secret::default()
    }
}

/// A Secret of ours without a value, for a name that must not be written by anybody else.
pub fn placeholder(key: &Key, owner: &OwnerReference, shape: &SecretShape, mark: &str) -> Secret {
    let mut labels = shape.labels.clone();
    labels.insert(api::MANAGED_BY.into(), api::MANAGER.into());
    labels.insert(api::OWNER.into(), owner.uid.clone());
    Secret {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(api::TOUCHED.to_owned(), mark.to_owned())])),
            owner_references: (!shape.retain).then(|| vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        type_: Some(type_name(shape.kind).into()),
        data: Some(empty(shape.kind)),
        ..Secret::default()
    }
}

/// The data of a Secret without a value.
fn empty(kind: SecretType) -> BTreeMap<String, ByteString> {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let basic = [(USERNAME.to_owned(), bytes("")), (PASSWORD.to_owned(), bytes(""))];
    let config = (DOCKER_CONFIG.to_owned(), bytes(r#"{"auths":{}}"#));
    match kind {
        SecretType::DockerConfigJson => BTreeMap::from([config]),
        SecretType::BasicAuth => BTreeMap::from(basic),
        SecretType::Opaque => basic.into_iter().chain([config]).collect(),
    }
}

/// The merge patch that writes to a Secret as it was seen, so that older writes in flight fail; `whole` leaves its value.
pub fn touch(entry: &Entry, whole: bool, mark: &str) -> Value {
    let mut patch = json!({"metadata": {
        "uid": entry.uid,
        "resourceVersion": entry.version,
        "annotations": {api::TOUCHED: mark},
    }});
    if !whole {
        patch["data"] = json!(empty(entry.kind.unwrap_or_default()));
    }
    patch
}

/// The merge patch that takes the value out of a Secret and lets it go.
pub fn blank(entry: &Entry) -> Value {
    let ours = [api::TOKEN_ID, api::SEQUENCE, api::EXPIRATION_TIME, api::TOUCHED, LAYOUT];
    let annotations: serde_json::Map<_, _> = ours.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    json!({
        "metadata": {
            "uid": entry.uid,
            "resourceVersion": entry.version,
            "labels": {api::MANAGED_BY: null, api::OWNER: null},
            "annotations": annotations,
        },
        "data": empty(entry.kind.unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::names::SecretName;

    fn shape(kind: SecretType) -> SecretShape {
        SecretShape {
            name: SecretName::parse("dockerhub").unwrap(),
            kind,
            registries: vec!["https://index.docker.io/v1/".into(), "dhi.io".into()],
            labels: BTreeMap::from([("team".into(), "payments".into())]),
            annotations: BTreeMap::new(),
            retain: false,
        }
    }

    fn layout() -> String {
        format!("layout-{}", registries_hash(&shape(SecretType::Opaque).registries))
    }

    fn rendered(kind: SecretType) -> Secret {
        let owner = OwnerReference { uid: "uid-1".into(), ..OwnerReference::default() };
        let key = Key { namespace: "payments".into(), name: "dockerhub".into() };
        let content = Content {
            id: &TokenId::parse("id-1").unwrap(),
            sequence: 3,
            expires: Some("2027-01-01T00:00:00Z".parse().unwrap()),
            organization: "acme",
            value: &SecretString::from("dckr_oat_value"),
            shape: &shape(kind),
            layout: layout(),
        };
        render(&key, &owner, &content)
    }

    const KINDS: [SecretType; 3] = [SecretType::DockerConfigJson, SecretType::BasicAuth, SecretType::Opaque];

    #[test]
    fn what_is_written_is_read_back() {
        for kind in KINDS {
            let (key, entry) = entry(rendered(kind));
            assert_eq!(key.to_string(), "payments/dockerhub");
            assert_eq!(entry.value_hash, Some(hash(&SecretString::from("dckr_oat_value"))), "{kind:?}");
            assert_eq!((entry.owner.as_str(), entry.sequence, entry.layout), ("uid-1", 3, layout()));
        }
    }

    #[test]
    fn the_docker_config_is_what_clients_expect() {
        let secret = rendered(SecretType::DockerConfigJson);
        let config: Value = serde_json::from_slice(&secret.data.unwrap()[DOCKER_CONFIG].0).unwrap();
        let entry =
            json!({"username": "acme", "password": "dckr_oat_value", "auth": STANDARD.encode("acme:dckr_oat_value")});
        assert_eq!(config, json!({"auths": {"https://index.docker.io/v1/": entry, "dhi.io": entry}}));
    }

    #[test]
    fn any_change_of_our_data_is_seen() {
        for kind in KINDS {
            let secret = rendered(kind);
            for key in secret.data.as_ref().unwrap().keys() {
                let mut changed = secret.clone();
                changed.data.as_mut().unwrap().insert(key.clone(), ByteString(b"{}".to_vec()));
                let kept = credentials(&changed).map(|(username, value)| (username, hash(&value)));
                let whole = ("acme".to_owned(), hash(&SecretString::from("dckr_oat_value")));
                assert_ne!(kept, Some(whole), "{kind:?} {key}");
            }
            let mut added = secret.clone();
            added.data.as_mut().unwrap().insert("extra".into(), ByteString(b"x".to_vec()));
            assert_eq!(
                entry(added).1.value_hash,
                Some(hash(&SecretString::from("dckr_oat_value"))),
                "{kind:?}: theirs"
            );
            let empty = Secret { data: None, ..secret };
            assert!(credentials(&empty).is_none());
        }
    }

    #[test]
    fn registries_that_somebody_changed_are_seen() {
        for kind in [SecretType::DockerConfigJson, SecretType::Opaque] {
            let mut secret = rendered(kind);
            let config = secret.data.as_mut().unwrap().get_mut(DOCKER_CONFIG).unwrap();
            config.0 = String::from_utf8(config.0.clone()).unwrap().replace("dhi.io", "example.com").into_bytes();
            let (_, entry) = entry(secret);
            assert!(entry.value_hash.is_some(), "the value is still there");
            assert_eq!(entry.layout, "", "and the layout is not as written");
        }
    }

    #[test]
    fn a_blanked_secret_holds_nothing_and_is_not_ours() {
        for kind in KINDS {
            let (_, entry) = entry(rendered(kind));
            let patch = blank(&entry);
            let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&patch["data"]), keys(&json!(rendered(kind).data)), "every key is emptied");
            assert!(!patch.to_string().contains("dckr"));
            assert_eq!(patch["metadata"]["labels"][api::OWNER], Value::Null);
        }
    }

    #[test]
    fn a_touched_secret_keeps_its_value_or_has_none() {
        let (_, known) = entry(rendered(SecretType::DockerConfigJson));
        let kept = touch(&known, true, "now");
        assert_eq!((&kept["data"], &kept["metadata"]["annotations"][api::TOUCHED]), (&Value::Null, &json!("now")));
        assert_eq!(kept["metadata"]["resourceVersion"], json!(known.version));
        let emptied = touch(&known, false, "now");
        assert_eq!(emptied["data"], json!({DOCKER_CONFIG: STANDARD.encode(r#"{"auths":{}}"#)}));
        let owner = OwnerReference { uid: "uid-1".into(), ..OwnerReference::default() };
        let key = Key { namespace: "payments".into(), name: "dockerhub".into() };
        for kind in KINDS {
            let (_, entry) = entry(placeholder(&key, &owner, &shape(kind), "now"));
            assert_eq!((entry.value_hash, entry.owner.as_str(), entry.sequence), (None, "uid-1", 0), "{kind:?}");
        }
    }
}
