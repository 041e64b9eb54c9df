//! What resources there are: the built-in ones, and one per served version of each CustomResourceDefinition.
//!
//! Never holds objects; never knows who may do what.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::machinery::cel::CelRules;
use crate::machinery::openapi::builtin_schema;
use crate::machinery::schema::Structural;
use crate::machinery::shapes::{BuiltinShapes, CustomShapes, Shapes};

/// All that can be done with a stored resource.
pub const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// A resource in one version.
#[derive(Debug)]
pub struct Kind {
    /// The API group; empty for the core.
    pub group: String,
    /// The version, e.g. `v1`.
    pub version: String,
    /// The name in paths, e.g. `secrets`.
    pub plural: String,
    /// The name that kubectl takes as well.
    pub singular: String,
    /// The kind of an object.
    pub kind: String,
    /// The kind of a list.
    pub list_kind: String,
    /// Abbreviations for kubectl.
    pub short_names: Vec<String>,
    /// Groups of resources for kubectl, e.g. `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Subresources by name.
    pub subresources: Vec<String>,
    /// What can be done with it.
    pub verbs: Vec<&'static str>,
    /// Where its objects are kept: resources with the same store show the same objects.
    pub store: String,
    /// Whether PUT may create.
    pub create_on_update: bool,
    /// Whether PUT may leave the resource version out.
    pub unconditional_update: bool,
    /// Whether `metadata.generation` counts changes.
    pub generation: bool,
    /// What only custom resources have.
    pub custom: Option<Custom>,
    /// The fields of a built-in kind, to find unknown ones and wrong types.
    pub fields: Option<Structural>,
}

/// What a CustomResourceDefinition says about one version.
#[derive(Debug)]
pub struct Custom {
    /// The definition's name.
    pub definition: String,
    /// The schema.
    pub schema: Structural,
    /// Its rules in CEL.
    pub rules: CelRules,
    /// `additionalPrinterColumns`.
    pub columns: Vec<Value>,
    /// Fields that may be selected by, as dotted paths.
    pub selectable: Vec<String>,
    /// Whether `status` is a subresource.
    pub status: bool,
    /// A warning for every request, for deprecated versions.
    pub deprecation: Option<String>,
}

impl Kind {
    /// `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// Whether a subresource is there.
    #[must_use]
    pub fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|s| s == subresource)
    }

    /// The group that errors in fields name: events are checked in the shape of the core group.
    #[must_use]
    pub fn group_of_errors(&self) -> &str {
        if self.store == "events" { "" } else { &self.group }
    }

    /// How lists merge and who owns what.
    #[must_use]
    pub fn shapes(&self) -> Box<dyn Shapes + '_> {
        match &self.custom {
            Some(custom) => Box::new(CustomShapes { schema: &custom.schema, status_subresource: custom.status }),
            None => Box::new(BuiltinShapes::new(&self.kind)),
        }
    }
}

/// A group and version as in `apiVersion`.
#[must_use]
pub fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The group and version of an `apiVersion`.
#[must_use]
pub fn split_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// One row per built-in resource: group, version, plural, kind, short names, categories, namespaced, subresources,
/// create by PUT, PUT without resource version, generation.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    bool,
    &'static [&'static str],
    bool,
    bool,
    bool,
);

const RBAC: &str = "rbac.authorization.k8s.io";

const BUILT_IN: &[Row] = &[
    ("", "v1", "configmaps", "ConfigMap", &["cm"], &[], true, &[], false, true, false),
    ("", "v1", "events", "Event", &["ev"], &[], true, &[], true, true, false),
    ("", "v1", "namespaces", "Namespace", &["ns"], &[], false, &["finalize", "status"], false, true, false),
    ("", "v1", "secrets", "Secret", &[], &[], true, &[], false, true, false),
    ("", "v1", "serviceaccounts", "ServiceAccount", &["sa"], &[], true, &["token"], false, true, false),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        &["crd", "crds"],
        &["api-extensions"],
        false,
        &["status"],
        false,
        false,
        true,
    ),
    ("apps", "v1", "daemonsets", "DaemonSet", &["ds"], &["all"], true, &["status"], false, true, true),
    ("apps", "v1", "deployments", "Deployment", &["deploy"], &["all"], true, &["status"], false, true, true),
    ("apps", "v1", "statefulsets", "StatefulSet", &["sts"], &["all"], true, &["status"], false, true, true),
    ("coordination.k8s.io", "v1", "leases", "Lease", &[], &[], true, &[], true, false, false),
    ("events.k8s.io", "v1", "events", "Event", &["ev"], &[], true, &[], true, true, false),
    (RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", &[], &[], false, &[], true, true, false),
    (RBAC, "v1", "clusterroles", "ClusterRole", &[], &[], false, &[], true, true, false),
    (RBAC, "v1", "rolebindings", "RoleBinding", &[], &[], true, &[], true, true, false),
    (RBAC, "v1", "roles", "Role", &[], &[], true, &[], true, true, false),
];

/// Resources that are only asked, never stored: group, plural, kind, namespaced.
const REVIEWS: &[(&str, &str, &str, bool)] = &[
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview", false),
    ("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview", true),
    ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview", false),
    ("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", false),
];

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn built_in(row: &Row, fields: Option<Structural>) -> Kind {
    let (
        group,
        version,
        plural,
        kind,
        short_names,
        categories,
        namespaced,
        subresources,
        create,
        unconditional,
        counts,
    ) = *row;
    let mut verbs = VERBS.to_vec();
    if plural == "namespaces" {
        verbs.retain(|v| *v != "deletecollection");
    }
    // The two groups of events show the same objects.
    let store = if plural == "events" { "events".to_owned() } else { super::failure::qualified(group, plural) };
    Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        short_names: strings(short_names),
        categories: strings(categories),
        namespaced,
        subresources: strings(subresources),
        verbs,
        store,
        create_on_update: create,
        unconditional_update: unconditional,
        generation: counts,
        custom: None,
        fields,
    }
}

fn review(&(group, plural, kind, namespaced): &(&str, &str, &str, bool)) -> Kind {
    Kind {
        group: group.to_owned(),
        version: "v1".to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        kind: kind.to_owned(),
        list_kind: String::new(),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced,
        subresources: Vec::new(),
        verbs: vec!["create"],
        store: String::new(),
        create_on_update: false,
        unconditional_update: false,
        generation: false,
        custom: None,
        fields: None,
    }
}

fn key(kind: &Kind) -> (String, String, String) {
    (kind.group.clone(), kind.version.clone(), kind.plural.clone())
}

/// All resources, by group, version and plural.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    all: BTreeMap<(String, String, String), Arc<Kind>>,
}

impl Kinds {
    /// The built-in ones.
    #[must_use]
    pub fn built_in() -> Self {
        // Their schemas are the same for every server of a process, and take their time.
        static ALL: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| {
            let stored = BUILT_IN.iter().map(|row| built_in(row, builtin_schema(row.0, row.1, row.3)));
            stored.chain(REVIEWS.iter().map(review)).map(Arc::new).collect()
        });
        let mut kinds = Self::default();
        for kind in ALL.iter() {
            kinds.all.insert(key(kind), kind.clone());
        }
        kinds
    }

    /// Adds or replaces one.
    pub fn insert(&mut self, kind: Kind) {
        self.all.insert(key(&kind), Arc::new(kind));
    }

    /// Takes away all versions that a CustomResourceDefinition brought.
    pub fn remove_definition(&mut self, definition: &str) {
        self.all.retain(|_, kind| kind.custom.as_ref().is_none_or(|c| c.definition != definition));
    }

    /// One, by its place in paths.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.all.get(&key).cloned()
    }

    /// One, by what its objects call themselves; any version of the group if that one is not served.
    #[must_use]
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        let (group, version) = split_version(api_version);
        let matching = || self.all.values().filter(|k| k.group == group && k.kind == kind);
        matching().find(|k| k.version == version).or_else(|| matching().next()).cloned()
    }

    /// One that shows a store.
    #[must_use]
    pub fn by_store(&self, store: &str) -> Option<Arc<Kind>> {
        self.all.values().find(|k| k.store == store).cloned()
    }

    /// All, ordered by group, version and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.all.values()
    }

    /// The versions of a group, the preferred one first; empty if there is no such group.
    #[must_use]
    pub fn versions(&self, group: &str) -> Vec<String> {
        let mut versions: Vec<String> = Vec::new();
        for kind in self.all.values().filter(|k| k.group == group) {
            if !versions.contains(&kind.version) {
                versions.push(kind.version.clone());
            }
        }
        versions.sort_by_key(|v| std::cmp::Reverse(priority(v)));
        versions
    }

    /// The names of all groups but the core.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self.all.values().map(|k| k.group.clone()).collect();
        groups.sort();
        groups.dedup();
        groups.retain(|g| !g.is_empty());
        groups
    }
}

/// `v2` before `v1` before `v1beta2` before `v1alpha1` before anything else, as the real server orders them.
pub(super) fn priority(version: &str) -> (u8, u64, u64) {
    let none = (0, 0, 0);
    let Some(rest) = version.strip_prefix('v') else { return none };
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    let Ok(major) = rest[..digits].parse() else { return none };
    let stage = &rest[digits..];
    if stage.is_empty() {
        return (3, major, 0);
    }
    for (name, rank) in [("beta", 2), ("alpha", 1)] {
        if let Some(minor) = stage.strip_prefix(name).and_then(|m| m.parse().ok()) {
            return (rank, major, minor);
        }
    }
    none
}
