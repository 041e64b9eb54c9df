//! What metrics show of objects, read from their statuses: the same on the leader and on a standby.

use std::sync::{Arc, Weak};

use jiff::Timestamp;

use super::metrics::{OrganizationSample, Snapshot, TokenSample};
use crate::{
    api::OrganizationAccessToken,
    control::{Context, Task, organizations},
    k8s::Key,
};

/// Looks at the stores. Weak, since the stores' owner holds the metrics.
pub struct Samples(Weak<Context>);

impl Samples {
    /// Of these stores.
    pub fn of(context: &Arc<Context>) -> Self {
        Self(Arc::downgrade(context))
    }
}

impl Snapshot for Samples {
    fn tokens(&self) -> Vec<TokenSample> {
        let Some(context) = self.0.upgrade() else { return Vec::new() };
        let tokens = context.tokens.all();
        tokens.iter().map(|(key, object)| token(key, object, organization(&context, key, object))).collect()
    }

    fn organizations(&self) -> Vec<OrganizationSample> {
        let Some(context) = self.0.upgrade() else { return Vec::new() };
        let mut found = context.organizations.all();
        found.sort_by(|one, other| one.key.cmp(&other.key));
        let samples = found.iter().filter_map(|found| {
            let counts = found.status.tokens.as_ref()?;
            let states = [
                ("total", counts.total),
                ("managed", counts.managed),
                ("unmanaged", counts.unmanaged),
                ("expired", counts.expired),
                ("inactive", counts.inactive),
                ("orphaned", counts.orphaned),
                ("unused", counts.unused),
            ];
            Some(OrganizationSample {
                name: found.name().to_owned(),
                states: states.map(|(state, count)| (state, u64::from(count))).to_vec(),
                limit: u64::from(counts.limit),
            })
        });
        samples.collect()
    }

    fn queues(&self) -> Vec<(&'static str, u64)> {
        let Some(context) = self.0.upgrade() else { return Vec::new() };
        let tokens = context.queue.count(|task| matches!(task, Task::Token(_)));
        let organizations = context.queue.count(|task| matches!(task, Task::Organization(_)));
        [("token", tokens), ("organization", organizations)].map(|(name, depth)| (name, depth as u64)).to_vec()
    }

    fn leads(&self) -> bool {
        self.0.upgrade().is_some_and(|context| context.leader.valid_for(std::time::Duration::ZERO))
    }
}

/// The organization's name at Docker Hub; while its object isn't there, the name that is referred to.
fn organization(context: &Context, key: &Key, object: &OrganizationAccessToken) -> String {
    let reference = &object.spec.organization_ref;
    let organization = organizations::key_of(reference.kind, &reference.name, &key.namespace);
    let found = context.organizations.get(&organization);
    found.map_or_else(|| reference.name.clone(), |found| found.name().to_owned())
}

fn token(key: &Key, object: &OrganizationAccessToken, organization: String) -> TokenSample {
    let status = object.status.clone().unwrap_or_default();
    let current = status.token.unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let secret = status.secret.unwrap_or_default();
    TokenSample {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        organization,
        expiration: seconds(current.expiration_time.as_deref()),
        renewal: seconds(status.renewal_time.as_deref()),
        last_used: seconds(current.last_used_time.as_deref()),
        ready: ready.and_then(|ready| match ready.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        }),
        targets: u64::from(secret.targets),
        published: u64::from(secret.published),
    }
}

fn seconds(time: Option<&str>) -> Option<f64> {
    let time: Timestamp = time?.parse().ok()?;
    Some(time.as_duration().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(status: serde_json::Value) -> OrganizationAccessToken {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "pull", "namespace": "payments"},
            "spec": {"organizationRef": {"name": "acme"}},
            "status": status,
        }))
        .unwrap()
    }

    fn sample(status: serde_json::Value) -> TokenSample {
        let key = Key { namespace: "payments".into(), name: "pull".into() };
        token(&key, &object(status), "acme".into())
    }

    #[test]
    fn a_token_is_shown_as_its_status_says() {
        let shown = sample(serde_json::json!({
            "conditions": [
                {"type": "Published", "status": "False", "reason": "r", "message": "", "lastTransitionTime": "2026-11-25T12:00:00Z"},
                {"type": "Ready", "status": "True", "reason": "r", "message": "", "lastTransitionTime": "2026-11-25T12:00:00Z"},
            ],
            "token": {"id": "0a1b", "label": "x", "sequence": 1, "expirationTime": "1970-01-02T00:00:00Z", "lastUsedTime": "1970-01-01T00:01:00.5Z"},
            "renewalTime": "1970-01-01T12:00:00Z",
            "secret": {"name": "pull", "targets": 2, "published": 1},
        }));
        let wanted = TokenSample {
            namespace: "payments".into(),
            name: "pull".into(),
            organization: "acme".into(),
            expiration: Some(86_400.0),
            renewal: Some(43_200.0),
            last_used: Some(60.5),
            ready: Some(true),
            targets: 2,
            published: 1,
        };
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_new_token_is_unknown_and_has_no_times() {
        let shown = sample(serde_json::json!({}));
        assert_eq!((shown.ready, shown.expiration, shown.renewal, shown.last_used), (None, None, None, None));
    }
}
