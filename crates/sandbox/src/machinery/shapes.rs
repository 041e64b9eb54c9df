//! Where lists are sets or maps and where objects are taken as a whole: what merging and field ownership need to know.
//!
//! Two sources: a custom resource's schema, and a table of the built-in kinds. Never looks at values.

use serde_json::{Value, json};

use super::schema::{Additional, ListType, Structural};

/// How a list merges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListShape {
    /// As a whole.
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects told apart by these keys.
    Map(Vec<String>),
}

/// The shapes of one kind. A path is the names of fields from the root, with `*` for an element of a list.
pub trait Shapes {
    /// How the list at a path merges.
    fn list(&self, path: &[String]) -> ListShape;
    /// Whether the object or map at a path is owned as a whole.
    fn atomic_map(&self, path: &[String]) -> bool;
    /// Whether `name` at a path is a declared field and not the key of a map.
    fn is_field(&self, path: &[String], name: &str) -> bool;
    /// What a missing key of a map list stands for.
    fn key_default(&self, path: &[String], key: &str) -> Option<Value>;
    /// Top-level fields that a request to this subresource can't write, so does not own.
    fn out_of_reach(&self, subresource: Option<&str>) -> Vec<&'static str> {
        match subresource {
            Some("status") => vec!["spec"],
            _ => Vec::new(),
        }
    }
    /// Whether the field is there, empty, in an object that does not exist yet.
    fn always_there(&self, path: &[String]) -> bool {
        path.is_empty() || path == ["metadata"]
    }
    /// By which key elements of a list at a path merge in a strategic merge patch; `None` replaces the list.
    fn patch_key(&self, path: &[String]) -> Option<PatchMerge> {
        let _ = path;
        None
    }
}

/// How a strategic merge patch treats a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchMerge {
    /// Elements are objects with this key.
    Key(&'static str),
    /// Elements are scalars.
    Primitive,
}

/// A custom resource.
#[derive(Clone, Copy, Debug)]
pub struct CustomShapes<'a> {
    /// Its schema.
    pub schema: &'a Structural,
    /// Whether `status` is a subresource, so that requests to the resource itself don't own it.
    pub status_subresource: bool,
}

impl Shapes for CustomShapes<'_> {
    fn list(&self, path: &[String]) -> ListShape {
        if let Some(shape) = meta_list(path) {
            return shape;
        }
        match find(self.schema, path) {
            Some(s) if s.list_type == ListType::Set => ListShape::Set,
            Some(s) if s.list_type == ListType::Map => ListShape::Map(s.list_keys.clone()),
            _ => ListShape::Atomic,
        }
    }

    fn atomic_map(&self, path: &[String]) -> bool {
        find(self.schema, path).is_some_and(|s| s.atomic_map)
    }

    fn is_field(&self, path: &[String], name: &str) -> bool {
        match path {
            [] => true,
            [meta] if meta == "metadata" => true,
            [meta, rest @ ..] if meta == "metadata" => {
                !matches!(rest.first().map(String::as_str), Some("labels" | "annotations"))
            }
            _ => find(self.schema, path).is_some_and(|s| s.properties.contains_key(name)),
        }
    }

    fn key_default(&self, path: &[String], key: &str) -> Option<Value> {
        find(self.schema, path)?.items.as_ref()?.properties.get(key)?.default.clone()
    }

    fn out_of_reach(&self, subresource: Option<&str>) -> Vec<&'static str> {
        match subresource {
            Some("status") => vec!["spec"],
            _ if self.status_subresource => vec!["status"],
            _ => Vec::new(),
        }
    }
}

impl Shapes for Structural {
    fn list(&self, path: &[String]) -> ListShape {
        custom(self).list(path)
    }
    fn atomic_map(&self, path: &[String]) -> bool {
        custom(self).atomic_map(path)
    }
    fn is_field(&self, path: &[String], name: &str) -> bool {
        custom(self).is_field(path, name)
    }
    fn key_default(&self, path: &[String], key: &str) -> Option<Value> {
        custom(self).key_default(path, key)
    }
    fn out_of_reach(&self, subresource: Option<&str>) -> Vec<&'static str> {
        custom(self).out_of_reach(subresource)
    }
}

/// A schema with a `status` is taken to have it as a subresource; say otherwise with `CustomShapes`.
fn custom(schema: &Structural) -> CustomShapes<'_> {
    CustomShapes { schema, status_subresource: schema.properties.contains_key("status") }
}

fn find<'a>(schema: &'a Structural, path: &[String]) -> Option<&'a Structural> {
    path.iter().try_fold(schema, |at, name| match (name.as_str(), &at.items) {
        ("*", Some(items)) => Some(items.as_ref()),
        _ => at.properties.get(name).or(match &at.additional {
            Additional::Schema(values) => Some(values.as_ref()),
            _ => None,
        }),
    })
}

/// The lists of every object's metadata, also of a template's.
fn meta_list(path: &[String]) -> Option<ListShape> {
    let [.., meta, name] = path else { return None };
    match (meta.as_str(), name.as_str()) {
        ("metadata", "finalizers") => Some(ListShape::Set),
        ("metadata", "ownerReferences") => Some(ListShape::Map(vec!["uid".to_owned()])),
        _ => None,
    }
}

/// A built-in kind.
#[derive(Clone, Debug)]
pub struct BuiltinShapes {
    kind: String,
}

impl BuiltinShapes {
    /// The shapes of a kind, e.g. `ServiceAccount`.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self { kind: kind.to_owned() }
    }
}

/// List, the kinds it holds for (none: all), keys (none: a set), the key of strategic merge patches.
type Row = (&'static str, &'static [&'static str], &'static [&'static str], Option<PatchMerge>);

const LISTS: &[Row] = &[
    ("containers", &[], &["name"], Some(PatchMerge::Key("name"))),
    ("initContainers", &[], &["name"], Some(PatchMerge::Key("name"))),
    ("ephemeralContainers", &[], &["name"], Some(PatchMerge::Key("name"))),
    ("env", &[], &["name"], Some(PatchMerge::Key("name"))),
    ("volumes", &[], &["name"], Some(PatchMerge::Key("name"))),
    ("volumeMounts", &[], &["mountPath"], Some(PatchMerge::Key("mountPath"))),
    ("volumeDevices", &[], &["devicePath"], Some(PatchMerge::Key("devicePath"))),
    ("hostAliases", &[], &["ip"], Some(PatchMerge::Key("ip"))),
    (
        "resourceClaims",
        &["Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"],
        &["name"],
        Some(PatchMerge::Key("name")),
    ),
    ("schedulingGates", &[], &["name"], Some(PatchMerge::Key("name"))),
    ("topologySpreadConstraints", &[], &["topologyKey", "whenUnsatisfiable"], Some(PatchMerge::Key("topologyKey"))),
    ("ports", &["Service"], &["port", "protocol"], Some(PatchMerge::Key("port"))),
    (
        "ports",
        &["Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"],
        &["containerPort", "protocol"],
        Some(PatchMerge::Key("containerPort")),
    ),
    (
        "imagePullSecrets",
        &["Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"],
        &["name"],
        Some(PatchMerge::Key("name")),
    ),
    ("secrets", &["ServiceAccount"], &["name"], Some(PatchMerge::Key("name"))),
    ("conditions", &[], &["type"], Some(PatchMerge::Key("type"))),
    ("podIPs", &["Pod"], &["ip"], Some(PatchMerge::Key("ip"))),
    ("hostIPs", &["Pod"], &["ip"], Some(PatchMerge::Key("ip"))),
    (
        "webhooks",
        &["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"],
        &["name"],
        Some(PatchMerge::Key("name")),
    ),
    ("taints", &["Node"], &[], None),
];

/// Fields that are maps from free keys, where others have declared fields.
const FREE_MAPS: &[&str] = &[
    "annotations",
    "binaryData",
    "data",
    "stringData",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "requests",
    "capacity",
    "allocatable",
    "hard",
    "used",
    "overhead",
];

/// Objects and maps that are owned as a whole.
const ATOMIC_MAPS: &[&str] = &[
    "configMapKeyRef",
    "fieldRef",
    "involvedObject",
    "labelSelector",
    "namespaceSelector",
    "nodeSelector",
    "objectSelector",
    "podSelector",
    "regarding",
    "related",
    "resourceFieldRef",
    "roleRef",
    "secretKeyRef",
    "secretRef",
    "selector",
    "targetRef",
];

impl BuiltinShapes {
    fn row(&self, path: &[String]) -> Option<&'static Row> {
        let name = path.last()?;
        LISTS.iter().find(|(list, kinds, ..)| list == name && (kinds.is_empty() || kinds.contains(&self.kind.as_str())))
    }
}

impl Shapes for BuiltinShapes {
    fn list(&self, path: &[String]) -> ListShape {
        meta_list(path).unwrap_or_else(|| match self.row(path) {
            Some((_, _, [], _)) | None => ListShape::Atomic,
            Some((_, _, keys, _)) => ListShape::Map(keys.iter().map(|k| (*k).to_owned()).collect()),
        })
    }

    fn atomic_map(&self, path: &[String]) -> bool {
        path.last().is_some_and(|name| ATOMIC_MAPS.contains(&name.as_str()))
    }

    fn is_field(&self, path: &[String], _: &str) -> bool {
        !path.last().is_some_and(|name| FREE_MAPS.contains(&name.as_str()))
    }

    fn key_default(&self, _: &[String], key: &str) -> Option<Value> {
        (key == "protocol").then(|| json!("TCP"))
    }

    fn out_of_reach(&self, subresource: Option<&str>) -> Vec<&'static str> {
        match (subresource, self.kind.as_str()) {
            (Some("status"), _) => vec!["spec"],
            (
                None,
                "Pod"
                | "Deployment"
                | "StatefulSet"
                | "DaemonSet"
                | "ReplicaSet"
                | "Job"
                | "CronJob"
                | "Namespace"
                | "Service"
                | "Node"
                | "CustomResourceDefinition",
            ) => vec!["status"],
            _ => Vec::new(),
        }
    }

    fn always_there(&self, path: &[String]) -> bool {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        matches!(
            names.as_slice(),
            [] | ["metadata" | "spec" | "status"]
                | ["spec", "template" | "strategy" | "updateStrategy" | "jobTemplate" | "names"]
                | ["spec", "template", "metadata" | "spec"]
                | [.., "containers" | "initContainers", "*", "resources"]
        )
    }

    fn patch_key(&self, path: &[String]) -> Option<PatchMerge> {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match names.as_slice() {
            [.., "metadata", "ownerReferences"] => Some(PatchMerge::Key("uid")),
            [.., "metadata", "finalizers"] => Some(PatchMerge::Primitive),
            _ => self.row(path).and_then(|(.., merge)| merge.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').filter(|s| !s.is_empty()).map(str::to_owned).collect()
    }

    fn map(keys: &[&str]) -> ListShape {
        ListShape::Map(keys.iter().map(|k| (*k).to_owned()).collect())
    }

    #[test]
    fn built_in_lists() {
        for (kind, at, shape) in [
            ("Secret", "metadata.ownerReferences", map(&["uid"])),
            ("Secret", "metadata.finalizers", ListShape::Set),
            ("ServiceAccount", "imagePullSecrets", ListShape::Atomic),
            ("ServiceAccount", "secrets", map(&["name"])),
            ("Pod", "spec.imagePullSecrets", map(&["name"])),
            ("Pod", "spec.containers", map(&["name"])),
            ("Pod", "spec.containers.*.env", map(&["name"])),
            ("Pod", "spec.containers.*.ports", map(&["containerPort", "protocol"])),
            ("Pod", "spec.containers.*.args", ListShape::Atomic),
            ("Pod", "spec.tolerations", ListShape::Atomic),
            ("Deployment", "spec.template.spec.volumes", map(&["name"])),
            ("Deployment", "status.conditions", map(&["type"])),
            ("Service", "spec.ports", map(&["port", "protocol"])),
            ("ClusterRole", "rules", ListShape::Atomic),
            ("RoleBinding", "subjects", ListShape::Atomic),
            ("CustomResourceDefinition", "spec.versions", ListShape::Atomic),
            ("CustomResourceDefinition", "status.conditions", map(&["type"])),
            ("Namespace", "spec.finalizers", ListShape::Atomic),
        ] {
            assert_eq!(BuiltinShapes::new(kind).list(&path(at)), shape, "{kind} {at}");
        }
    }

    #[test]
    fn built_in_maps() {
        let shapes = BuiltinShapes::new("Deployment");
        for (at, atomic) in [
            ("spec.selector", true),
            ("spec.template", false),
            ("metadata.labels", false),
            ("spec.template.spec.nodeSelector", true),
        ] {
            assert_eq!(shapes.atomic_map(&path(at)), atomic, "{at}");
        }
        for (at, name, field) in [
            ("", "spec", true),
            ("metadata", "labels", true),
            ("metadata.labels", "app", false),
            ("data", "x", false),
            ("spec", "replicas", true),
        ] {
            assert_eq!(shapes.is_field(&path(at), name), field, "{at}.{name}");
        }
    }

    #[test]
    fn built_in_patch_keys() {
        for (kind, at, key) in [
            ("ServiceAccount", "imagePullSecrets", None),
            ("Deployment", "spec.template.spec.imagePullSecrets", Some(PatchMerge::Key("name"))),
            ("ServiceAccount", "secrets", Some(PatchMerge::Key("name"))),
            ("Secret", "metadata.finalizers", Some(PatchMerge::Primitive)),
            ("Secret", "metadata.ownerReferences", Some(PatchMerge::Key("uid"))),
            ("Pod", "spec.containers.*.ports", Some(PatchMerge::Key("containerPort"))),
            ("Service", "spec.ports", Some(PatchMerge::Key("port"))),
            ("Role", "rules", None),
            ("Pod", "spec.containers.*.args", None),
        ] {
            assert_eq!(BuiltinShapes::new(kind).patch_key(&path(at)), key, "{kind} {at}");
        }
    }

    #[test]
    fn custom_shapes_come_from_the_schema() {
        let schema = Structural::parse(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}},
                "free": {"type": "object", "additionalProperties": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}},
                "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
                    "type": "object", "properties": {"k": {"type": "string", "default": "d"}, "in": {"type": "array", "items": {"type": "string"}}}}},
            }},
            "status": {"type": "object"},
        }}))
        .unwrap();
        assert_eq!(schema.list(&path("spec.list")), map(&["k"]));
        assert_eq!(schema.list(&path("spec.list.*.in")), ListShape::Atomic);
        assert_eq!(schema.list(&path("spec.free.anything")), ListShape::Set);
        assert_eq!(schema.list(&path("spec.unknown")), ListShape::Atomic);
        assert_eq!(schema.list(&path("metadata.finalizers")), ListShape::Set);
        assert!(schema.atomic_map(&path("spec.atomic")));
        assert!(!schema.atomic_map(&path("spec")));
        assert!(schema.is_field(&path("spec"), "list"));
        assert!(!schema.is_field(&path("spec.free"), "x"));
        assert!(!schema.is_field(&path("metadata.labels"), "x"));
        assert_eq!(schema.key_default(&path("spec.list"), "k"), Some(json!("d")));
        assert_eq!(schema.out_of_reach(None), ["status"]);
        assert_eq!(schema.out_of_reach(Some("status")), ["spec"]);
        assert_eq!(CustomShapes { schema: &schema, status_subresource: false }.out_of_reach(None), Vec::<&str>::new());
    }
}
