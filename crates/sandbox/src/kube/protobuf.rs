//! Reading the protobuf that kubectl's `create` and `auth` commands send, for the few kinds that they send.
//!
//! Never writes protobuf: clients that send it accept JSON. A kind that is not in the table is refused (415).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// What every protobuf body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// What a field holds.
#[derive(Clone, Copy)]
enum Field {
    Text,
    Texts,
    Number,
    Bool,
    /// A map of texts.
    TextMap,
    /// A map of bytes.
    ByteMap,
    Time,
    Message(&'static [Row]),
    Messages(&'static [Row]),
}

type Row = (u64, &'static str, Field);

use Field::{Bool, ByteMap, Message, Messages, Number, Text, TextMap, Texts, Time};

const OWNER: &[Row] = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Bool),
    (7, "blockOwnerDeletion", Bool),
];
const META: &[Row] = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Number),
    (8, "creationTimestamp", Time),
    (9, "deletionTimestamp", Time),
    (10, "deletionGracePeriodSeconds", Number),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (13, "ownerReferences", Messages(OWNER)),
    (14, "finalizers", Texts),
];
const RULE: &[Row] = &[
    (1, "verbs", Texts),
    (2, "apiGroups", Texts),
    (3, "resources", Texts),
    (4, "resourceNames", Texts),
    (5, "nonResourceURLs", Texts),
];
const SUBJECT: &[Row] = &[(1, "kind", Text), (2, "apiGroup", Text), (3, "name", Text), (4, "namespace", Text)];
const ROLE_REF: &[Row] = &[(1, "apiGroup", Text), (2, "kind", Text), (3, "name", Text)];
const REQUIREMENT: &[Row] = &[(1, "key", Text), (2, "operator", Text), (3, "values", Texts)];
const LABEL_SELECTOR: &[Row] = &[(1, "matchLabels", TextMap), (2, "matchExpressions", Messages(REQUIREMENT))];
const AGGREGATION: &[Row] = &[(1, "clusterRoleSelectors", Messages(LABEL_SELECTOR))];
const RESOURCE: &[Row] = &[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
];
const PATH: &[Row] = &[(1, "path", Text), (2, "verb", Text)];
const ACCESS: &[Row] = &[(1, "resourceAttributes", Message(RESOURCE)), (2, "nonResourceAttributes", Message(PATH))];
const REFERENCE: &[Row] = &[
    (1, "kind", Text),
    (2, "namespace", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "resourceVersion", Text),
    (7, "fieldPath", Text),
];
const NAME: &[Row] = &[(1, "name", Text)];
const BINDING: &[Row] =
    &[(1, "metadata", Message(META)), (2, "subjects", Messages(SUBJECT)), (3, "roleRef", Message(ROLE_REF))];

/// The fields of a kind.
fn table(kind: &str) -> Option<&'static [Row]> {
    Some(match kind {
        "Secret" => &[
            (1, "metadata", Message(META)),
            (2, "data", ByteMap),
            (3, "type", Text),
            (4, "stringData", TextMap),
            (5, "immutable", Bool),
        ],
        "ConfigMap" => {
            &[(1, "metadata", Message(META)), (2, "data", TextMap), (3, "binaryData", ByteMap), (4, "immutable", Bool)]
        }
        "Namespace" => &[(1, "metadata", Message(META)), (2, "spec", Message(&[(1, "finalizers", Texts)]))],
        "ServiceAccount" => &[
            (1, "metadata", Message(META)),
            (2, "secrets", Messages(REFERENCE)),
            (3, "imagePullSecrets", Messages(NAME)),
            (4, "automountServiceAccountToken", Bool),
        ],
        "Role" => &[(1, "metadata", Message(META)), (2, "rules", Messages(RULE))],
        "ClusterRole" => &[
            (1, "metadata", Message(META)),
            (2, "rules", Messages(RULE)),
            (3, "aggregationRule", Message(AGGREGATION)),
        ],
        "RoleBinding" | "ClusterRoleBinding" => BINDING,
        "SelfSubjectAccessReview" => &[(1, "metadata", Message(META)), (2, "spec", Message(ACCESS))],
        "SelfSubjectRulesReview" => &[(1, "metadata", Message(META)), (2, "spec", Message(&[(1, "namespace", Text)]))],
        "SelfSubjectReview" => &[(1, "metadata", Message(META))],
        _ => return None,
    })
}

/// Reads a body; `None` if it is no protobuf or of a kind that is not known here.
#[must_use]
pub fn parse(body: &[u8]) -> Option<Value> {
    let mut unknown = fields(body.strip_prefix(MAGIC)?)?;
    let take = |fields: &[(u64, Wire)], number: u64| -> Option<Vec<u8>> {
        fields.iter().find_map(|(n, wire)| match wire {
            Wire::Bytes(bytes) if *n == number => Some(bytes.to_vec()),
            _ => None,
        })
    };
    let type_meta = take(&unknown, 1)?;
    let type_meta = fields(&type_meta)?;
    let text = |number| Some(String::from_utf8_lossy(&take(&type_meta, number)?).into_owned());
    let (version, kind) = (text(1)?, text(2)?);
    let raw = take(&unknown, 2)?;
    unknown.clear();
    let mut object = json!({"apiVersion": version, "kind": kind});
    if let Value::Object(fields) = message(&raw, table(&kind)?)? {
        for (name, value) in fields {
            object[name] = value;
        }
    }
    Some(object)
}

/// One field as it is on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let wire = match key & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Wire::Bytes(value)
            }
            _ => return None,
        };
        found.push((key >> 3, wire));
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn message(bytes: &[u8], table: &[Row]) -> Option<Value> {
    let mut object = Map::new();
    for (number, wire) in fields(bytes)? {
        let Some((_, name, field)) = table.iter().find(|(n, ..)| *n == number) else { continue };
        add(&mut object, name, *field, &wire)?;
    }
    Some(Value::Object(object))
}

fn add(object: &mut Map<String, Value>, name: &str, field: Field, wire: &Wire<'_>) -> Option<()> {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
    let value = match (field, wire) {
        (Number, Wire::Number(n)) => json!(n.cast_signed()),
        (Bool, Wire::Number(n)) => json!(*n != 0),
        // Empty is absent: Go writes texts and messages that are not set.
        (Text | Time | Message(_), Wire::Bytes([])) => return Some(()),
        (Text | Texts, Wire::Bytes(bytes)) => text(bytes),
        (Time, Wire::Bytes(bytes)) => time(bytes)?,
        (Message(table) | Messages(table), Wire::Bytes(bytes)) => message(bytes, table)?,
        (TextMap | ByteMap, Wire::Bytes(bytes)) => {
            let (mut key, mut value) = (String::new(), Vec::new());
            for (number, wire) in fields(bytes)? {
                match (number, wire) {
                    (1, Wire::Bytes(bytes)) => key = String::from_utf8_lossy(bytes).into_owned(),
                    (2, Wire::Bytes(bytes)) => value = bytes.to_vec(),
                    _ => {}
                }
            }
            let value = if matches!(field, ByteMap) { json!(STANDARD.encode(value)) } else { text(&value) };
            let map = object.entry(name).or_insert_with(|| json!({}));
            map[key] = value;
            return Some(());
        }
        _ => return None,
    };
    if matches!(field, Texts | Messages(_)) {
        if let Value::Array(list) = object.entry(name).or_insert_with(|| json!([])) {
            list.push(value);
        }
    } else {
        object.insert(name.to_owned(), value);
    }
    Some(())
}

fn time(bytes: &[u8]) -> Option<Value> {
    let seconds = fields(bytes)?.into_iter().find_map(|(n, wire)| match wire {
        Wire::Number(seconds) if n == 1 => Some(seconds.cast_signed()),
        _ => None,
    });
    let time = Timestamp::from_second(seconds.unwrap_or_default()).ok()?;
    Some(json!(super::world::time(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend(bytes);
        out
    }

    fn body(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let types = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &types), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn a_secret_is_read() {
        let label = field(11, &[field(1, b"k"), field(2, b"v")].concat());
        let created = field(8, b"");
        let meta = [field(1, b"x"), field(2, b""), label, created, field(14, b"a.dev/b")].concat();
        let data = [field(1, b"user"), field(2, b"me")].concat();
        let raw = [field(1, &meta), field(2, &data), field(3, b"Opaque"), vec![5 << 3, 1]].concat();
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "x", "labels": {"k": "v"}, "finalizers": ["a.dev/b"]},
            "data": {"user": "bWU="}, "type": "Opaque", "immutable": true,
        });
        assert_eq!(parse(&body("v1", "Secret", &raw)), Some(expected));
    }

    #[test]
    fn a_time_is_read_in_whole_seconds() {
        let seconds = [8, 0xe0, 0x07];
        let raw = field(1, &field(8, &seconds));
        let found = parse(&body("v1", "Namespace", &raw)).unwrap();
        assert_eq!(found["metadata"]["creationTimestamp"], "1970-01-01T00:16:32Z");
    }

    #[test]
    fn what_is_not_known_or_broken_is_not_read() {
        assert_eq!(parse(b"{}"), None);
        assert_eq!(parse(&body("v1", "Pod", b"")), None);
        let whole = body("v1", "Secret", &field(1, &field(1, b"x")));
        for length in 0..whole.len() - 4 {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        assert_eq!(parse(&body("v1", "Secret", &[0xff; 12])), None);
        assert_eq!(parse(&body("v1", "Secret", &[1 << 3 | 5, 0, 0, 0, 0])), None);
    }
}
