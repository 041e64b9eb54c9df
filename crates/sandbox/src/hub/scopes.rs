//! The 33 scopes that Docker documents, and what they mean to a registry.
//!
//! The list grows at Docker; whether others are refused is a quirk.

/// Scopes of a resource of type `TYPE_REPO`.
pub(crate) const REPOSITORY: &[&str] = &[
    "scope-image-pull",
    "scope-image-push",
    "scope-image-delete",
    "scope-repository-read",
    "scope-repository-edit",
    "scope-repository-admin",
    "scope-tag-read",
    "scope-tag-admin",
    "scope-webhook-read",
    "scope-webhook-edit",
    "scope-webhook-admin",
    "scope-repo-group-read",
    "scope-repo-group-edit",
    "scope-repo-group-admin",
    "scope-repository-settings-admin",
];

/// Scopes of a resource of type `TYPE_ORG`.
pub(crate) const ORGANIZATION: &[&str] = &[
    "scope-member-read",
    "scope-member-edit",
    "scope-invite-read",
    "scope-invite-edit",
    "scope-group-read",
    "scope-group-edit",
    "scope-activity-read",
    "scope-siem_credentials-read",
    "scope-ram-read",
    "scope-ram-write",
    "scope-report-read",
    "scope-repository-create",
    "scope-repository-list",
    "scope-registry-usage-read",
];

/// Scopes of Docker's other products; which type of resource they go with is not documented, so both are accepted.
pub(crate) const PRODUCT: &[&str] = &[
    "scope-cloud-connect",
    "scope-audit_events-read",
    "scope-governance-policy-read",
    "scope-governance-policy-write",
];

/// Whether the scope is known for this type of resource.
pub(crate) fn known(kind: &str, scope: &str) -> bool {
    let own = if kind == "TYPE_ORG" { ORGANIZATION } else { REPOSITORY };
    own.contains(&scope) || PRODUCT.contains(&scope)
}

/// What a scope allows at the registry; a higher scope includes the lower ones.
pub(crate) fn actions(scope: &str) -> &'static [&'static str] {
    match scope {
        "scope-image-pull" => &["pull"],
        "scope-image-push" => &["pull", "push"],
        "scope-image-delete" => &["pull", "push", "delete"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_scopes_as_docker_documents() {
        let mut all: Vec<_> = [REPOSITORY, ORGANIZATION, PRODUCT].concat();
        assert_eq!((REPOSITORY.len(), ORGANIZATION.len(), PRODUCT.len()), (15, 14, 4));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 33);
    }

    #[test]
    fn scopes_belong_to_a_type() {
        assert!(known("TYPE_REPO", "scope-image-pull"));
        assert!(!known("TYPE_ORG", "scope-image-pull"));
        assert!(known("TYPE_ORG", "scope-member-read"));
        assert!(!known("TYPE_REPO", "scope-member-read"));
        assert!(known("TYPE_REPO", "scope-cloud-connect"));
        assert!(!known("TYPE_REPO", "repo-pull"));
    }
}
