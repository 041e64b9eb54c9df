//! Whether a rotation may be now: by an object's windows, or because it can't wait.

use jiff::{SignedDuration, Timestamp};

use crate::api::{
    OrganizationAccessToken, REVOKE, ROTATE,
    token::{CurrentToken, Window},
    valid, windows,
};

/// From so long before its expiry on a token waits for no window; from a fifth of its life where that is less.
const NEAR: SignedDuration = SignedDuration::from_hours(6);

/// What somebody wants that is not done yet.
pub struct Asked {
    pub rotate: bool,
    pub revoke: bool,
}

/// What somebody wants of an object.
pub fn asked(object: &OrganizationAccessToken) -> Asked {
    let handled = object.status.as_ref().map(|status| status.last_handled.clone()).unwrap_or_default();
    let annotation = |key: &str| object.metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned();
    let new = |wanted: Option<String>, done: Option<String>| wanted.is_some() && wanted != done;
    let trigger = new(object.spec.token.rotation.trigger.clone(), handled.trigger);
    Asked {
        rotate: new(annotation(ROTATE), handled.rotate) || trigger,
        revoke: new(annotation(REVOKE), handled.revoke),
    }
}

/// Whether a moment lies in one of an object's windows.
pub fn window(object: &OrganizationAccessToken, time: Timestamp) -> bool {
    object.spec.token.rotation.windows.iter().filter_map(parsed).any(|window| window.contains(time))
}

fn parsed(window: &Window) -> Option<windows::Window> {
    let duration = valid::duration(&window.duration).ok()?;
    windows::Window::parse(&window.schedule, duration, &window.time_zone).ok()
}

/// Whether a rotation can't wait for a window: somebody wants it now, or expiry is near.
pub fn is_pressing(object: &OrganizationAccessToken, time: Timestamp) -> bool {
    let asked = asked(object);
    let token = object.status.as_ref().and_then(|status| status.token.as_ref());
    asked.rotate || asked.revoke || token.is_some_and(|token| expires_soon(token, time))
}

fn expires_soon(token: &CurrentToken, time: Timestamp) -> bool {
    let read = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
    let Some(expires) = read(&token.expiration_time) else { return false };
    let life = read(&token.creation_time).map(|created| expires.duration_since(created));
    let near = life.map_or(NEAR, |life| NEAR.min(life / 5));
    expires.duration_since(time) <= near
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(rotation: serde_json::Value, token: serde_json::Value) -> OrganizationAccessToken {
        let spec = serde_json::json!({"organizationRef": {"name": "acme"}, "rotation": rotation});
        let annotations = serde_json::json!({"oat-operator.dev/rotate": "2"});
        let status = serde_json::json!({"token": token, "lastHandled": {"rotate": "2", "trigger": "a"}});
        let metadata = serde_json::json!({"name": "pull", "annotations": annotations});
        serde_json::from_value(serde_json::json!({
            "apiVersion": "oat-operator.dev/v1alpha1", "kind": "OrganizationAccessToken",
            "metadata": metadata, "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn token(created: &str, expires: &str) -> serde_json::Value {
        serde_json::json!({"id": "a", "sequence": 1, "creationTime": created, "expirationTime": expires})
    }

    #[test]
    fn a_rotation_waits_for_a_window_unless_it_presses() {
        let saturdays = [serde_json::json!({"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"})];
        let rotation = |trigger: &str| serde_json::json!({"windows": saturdays, "trigger": trigger});
        let long = token("2026-09-01T00:00:00Z", "2026-11-30T00:00:00Z");
        let short = token("2026-11-29T20:00:00Z", "2026-11-30T00:00:00Z");
        for (trigger, token, time, expected) in [
            ("a", &long, "2026-11-28T00:59:59Z", (false, false)),
            ("a", &long, "2026-11-28T01:00:00Z", (true, false)),
            ("b", &long, "2026-11-28T00:59:59Z", (false, true)),
            ("a", &long, "2026-11-29T17:59:59Z", (false, false)),
            ("a", &long, "2026-11-29T18:00:00Z", (false, true)),
            ("a", &short, "2026-11-29T23:11:00Z", (false, false)),
            ("a", &short, "2026-11-29T23:12:00Z", (false, true)),
        ] {
            let object = object(rotation(trigger), token.clone());
            let time = time.parse().unwrap();
            assert_eq!((window(&object, time), is_pressing(&object, time)), expected, "{trigger} {time}");
        }
    }

    #[test]
    fn what_was_handled_is_not_asked_for() {
        let mut object = object(serde_json::json!({}), token("2026-09-01T00:00:00Z", "2026-11-30T00:00:00Z"));
        assert!(!asked(&object).rotate && !asked(&object).revoke);
        for (key, expected) in [(ROTATE, (true, false)), (REVOKE, (false, true))] {
            object.metadata.annotations = Some([(key.to_owned(), "3".to_owned())].into());
            assert_eq!((asked(&object).rotate, asked(&object).revoke), expected);
        }
    }
}
