//! The status linter: what must hold of every status, at any time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use oat_operator::api::{Organization, OrganizationAccessToken, conditions::Reason};

/// Reasons that conditions have beyond those of `Reason`.
const OWN: [&str; 9] =
    ["InProgress", "Idle", "Active", "Inactive", "NoToken", "Complete", "Incomplete", "NotTried", "LimitReached"];

fn conditions(name: &str, conditions: &[Condition], generation: Option<i64>, observed: Option<i64>) {
    let get = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let known = |reason: &str| OWN.contains(&reason) || Reason::ALL.iter().any(|known| known.as_str() == reason);
    assert!(get("Ready").is_some(), "L1 {name}: Ready is missing");
    assert!(observed <= generation, "L2 {name}: observedGeneration {observed:?} is ahead of {generation:?}");
    for condition in conditions {
        let kind = &condition.type_;
        assert!(known(&condition.reason), "L3 {name}: {kind} has the unknown reason {}", condition.reason);
        assert!(condition.observed_generation == observed, "L4 {name}: {kind} has another observedGeneration");
        assert!(condition.message.len() <= 1024, "L5 {name}: {kind}'s message is too long");
        assert!(!condition.message.chars().any(char::is_control), "L6 {name}: {kind}'s message has control characters");
    }
    for kind in ["Stalled", "Reconciling"] {
        let status = get(kind).map(|condition| condition.status.as_str());
        assert!(matches!(status, None | Some("True")), "L7 {name}: {kind} is there and not True");
    }
    assert!(get("Stalled").is_none() || get("Reconciling").is_none(), "L8 {name}: Stalled and Reconciling at once");
    let count = |kind: &str| conditions.iter().filter(|condition| condition.type_ == kind).count();
    assert!(conditions.iter().all(|condition| count(&condition.type_) == 1), "L9 {name}: a condition is there twice");
}

/// Checks a token's status.
pub fn token(object: &OrganizationAccessToken) {
    let Some(status) = object.status.as_ref().filter(|status| status.observed_generation != Some(-1)) else { return };
    let name = object.metadata.name.as_deref().unwrap_or_default();
    conditions(name, &status.conditions, object.metadata.generation, status.observed_generation);
    let ready = status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    assert!(!ready || status.token.is_some(), "T1 {name}: Ready without a token");
    if let Some(token) = &status.token {
        assert!(
            status.previous.iter().all(|previous| previous.sequence < token.sequence),
            "T2 {name}: a previous token is newer"
        );
        assert!(
            status.previous.iter().all(|previous| previous.id != token.id),
            "T3 {name}: the token is its own previous"
        );
        assert!(token.value_hash.starts_with("sha256:"), "T4 {name}: no hash of the value");
    }
}

/// Checks an organization's status.
pub fn organization(object: &Organization) {
    let Some(status) = object.status.as_ref().filter(|status| status.observed_generation != Some(-1)) else { return };
    let name = object.metadata.name.as_deref().unwrap_or_default();
    conditions(name, &status.conditions, object.metadata.generation, status.observed_generation);
    assert!(status.refused_logins.len() <= 3, "O4 {name}: too many refused logins are remembered");
    if let Some(counts) = &status.tokens {
        assert_eq!(counts.total, counts.managed + counts.unmanaged, "O1 {name}: the numbers don't add up");
        assert!(status.unmanaged.len() <= 20, "O2 {name}: too many unmanaged tokens are named");
        assert!(status.orphaned.len() <= 50, "O3 {name}: too many orphans are named");
    }
}
