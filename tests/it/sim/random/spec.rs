//! Specs and changes of specs by chance. Some the API server refuses; that is a user's life too.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    super::{DAY, HOUR, MINUTE, SECOND, base},
    chance::Chance,
};

/// How many fields [`field`] knows.
const FIELDS: usize = 20;

/// A new object's spec.
pub fn whole(chance: &mut Chance, object: usize) -> Value {
    let mut spec = json!({"rotation": {"overlap": "1h"}});
    merge(&mut spec, json!({"expiration": expiration(chance)}));
    for _ in 0..chance.below(7) {
        let which = chance.below(FIELDS);
        merge(&mut spec, field(chance, object, which));
    }
    without_null(&mut spec);
    spec
}

/// A merge patch of one or two fields.
pub fn change(chance: &mut Chance, object: usize) -> Value {
    let mut patch = json!({});
    for _ in 0..1 + chance.below(2) {
        let which = chance.below(FIELDS);
        merge(&mut patch, field(chance, object, which));
    }
    patch
}

/// A merge patch after which tokens live for days.
pub fn longer(chance: &mut Chance) -> Value {
    let lifetime = text(chance.about(3 * DAY, 60 * DAY));
    json!({"expiration": {"lifetime": lifetime, "time": null, "never": null},
        "rotation": {"interval": null, "renewBefore": null}})
}

/// Whether tokens would be made every few hours.
pub fn is_short(spec: &Value) -> bool {
    let below_a_day = |value: &Value| {
        let seconds = value.as_str().and_then(|text| text.strip_suffix('s')?.parse().ok());
        seconds.is_some_and(|seconds: u64| seconds < DAY.as_secs())
    };
    below_a_day(&spec["expiration"]["lifetime"]) || below_a_day(&spec["rotation"]["interval"])
}

fn text(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

fn field(chance: &mut Chance, object: usize, which: usize) -> Value {
    match which {
        0 => json!({"description": chance.pick(&[json!(null), json!("for pulls"), json!("für Züge 🚂")])}),
        1 => json!({"label": chance.pick(&[json!(null), json!("team a"), json!("a".repeat(60))])}),
        2 => json!({"repositories": repositories(chance)}),
        3 => json!({"publicRepositories": chance.percent(50), "repositories": repositories(chance)}),
        4 => json!({"organizationScopes": chance.pick(&[json!(null), json!(["scope-member-read"])])}),
        5 | 6 => json!({"active": chance.percent(60)}),
        7 | 8 => json!({"expiration": expiration(chance)}),
        9 => json!({"rotation": {"policy": chance.pick(&["Automatic", "Automatic", "Manual"])}}),
        10 => json!({"rotation": {"renewBefore": text(chance.about(HOUR, 10 * DAY)), "renewBeforePercentage": null}}),
        11 => json!({"rotation": {"renewBefore": null, "renewBeforePercentage": chance.pick(&[1, 10, 50, 90])}}),
        12 => {
            let interval = json!(text(chance.about(20 * HOUR, 15 * DAY)));
            json!({"rotation": {"interval": chance.pick(&[json!(null), interval])}})
        }
        13 => {
            let some = text(chance.about(SECOND, 2 * DAY));
            json!({"rotation": {"overlap": chance.pick(&["0s".to_owned(), some])}})
        }
        14 => json!({"rotation": {"windows": windows(chance)}}),
        15 => json!({"rotation": {"trigger": chance.below(1000).to_string()}}),
        16 => json!({"rotation": {"verification": chance.pick(&["Registry", "None"])}}),
        17 => json!({"deletionPolicy": chance.pick(&["Delete", "Deactivate", "Retain"])}),
        18 => secret(chance, object),
        _ => {
            let labels = chance.pick(&[json!(null), json!({"team": "a"})]);
            json!({"secret": {"deletionPolicy": chance.pick(&["Delete", "Retain"]), "template": {"labels": labels}}})
        }
    }
}

fn repositories(chance: &mut Chance) -> Value {
    let names = ["acme/payments-api", "acme/base", "acme/site", "acme/*"];
    let scopes =
        [json!(["scope-image-pull"]), json!(["scope-image-push"]), json!(["scope-image-pull", "scope-image-push"])];
    let first = chance.below(names.len());
    let mut all = vec![json!({"name": names[first], "scopes": chance.pick(&scopes)})];
    if chance.percent(40) {
        all.push(json!({"name": names[(first + 1) % names.len()], "scopes": chance.pick(&scopes)}));
    }
    json!(all)
}

fn expiration(chance: &mut Chance) -> Value {
    let lifetime = |lifetime: Duration| json!({"lifetime": text(lifetime), "time": null, "never": null});
    match chance.below(100) {
        0..=7 => lifetime(chance.about(HOUR, DAY)),
        8..=64 => lifetime(chance.about(DAY, 20 * DAY)),
        65..=84 => lifetime(chance.about(20 * DAY, 60 * DAY)),
        85..=92 => {
            let time = base::beginning() + chance.about(HOUR, 60 * DAY);
            json!({"lifetime": null, "time": time.to_string(), "never": null})
        }
        _ => json!({"lifetime": null, "time": null, "never": true}),
    }
}

fn windows(chance: &mut Chance) -> Value {
    let window = |chance: &mut Chance| {
        let schedule = chance.pick(&["0 2 * * 6", "30 1 * * *", "@daily", "@monthly", "0 */6 * * *", "0 2 31 2 *"]);
        let zone = chance.pick(&["UTC", "Europe/Berlin", "America/New_York"]);
        json!({"schedule": schedule, "duration": text(chance.about(MINUTE, 10 * HOUR)), "timeZone": zone})
    };
    match chance.below(3) {
        0 => json!([]),
        1 => json!([window(chance)]),
        _ => json!([window(chance), window(chance)]),
    }
}

/// Another Secret; some names are those of others.
fn secret(chance: &mut Chance, object: usize) -> Value {
    let name = chance.pick(&[json!(null), json!(format!("spare-{object}")), json!("shared"), json!("token-0")]);
    let mut secret = json!({"name": name});
    if chance.percent(40) {
        let kinds = ["kubernetes.io/dockerconfigjson", "kubernetes.io/basic-auth", "Opaque"];
        secret["type"] = json!(chance.pick(&kinds));
    }
    if chance.percent(30) {
        secret["registries"] = chance.pick(&[json!(["https://index.docker.io/v1/", "dhi.io"]), json!(null)]);
    }
    json!({"secret": secret})
}

/// A merge patch on top of another, or of an object; absent stays absent.
pub fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn without_null(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(without_null);
    }
}
