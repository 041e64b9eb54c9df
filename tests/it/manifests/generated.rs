//! Manifests from a seed: good ones with one to three fields that are wrong, odd, at a limit, missing or there twice.

use serde_json::{Map, Value, json};

use super::bad::good;

/// How many there are for a seed.
pub const COUNT: usize = 2_000;

/// The seed, which `OAT_SEED` sets.
pub fn seed() -> u64 {
    std::env::var("OAT_SEED").map_or(20_261_125, |seed| seed.parse().expect("OAT_SEED is a number"))
}

/// A manifest as the bytes of a request, since some can't be said as values.
pub struct Manifest {
    pub kind: &'static str,
    pub body: String,
}

/// All manifests of a seed.
pub fn all(seed: u64) -> Vec<Manifest> {
    (0..COUNT).map(|number| one(&mut Numbers::new(seed, number))).collect()
}

fn one(numbers: &mut Numbers) -> Manifest {
    let kind =
        numbers.pick(&["OrganizationAccessToken", "OrganizationAccessToken", "Organization", "ClusterOrganization"]);
    let mut object = good(kind);
    if numbers.below(2) == 0 {
        // Half of them are small: what is absent is as much a case as what is there.
        prune(&mut object["spec"], numbers);
    }
    for _ in 0..=numbers.below(3) {
        let places = places(&object);
        let place = numbers.pick(&places).clone();
        mutate(&mut object, &place, numbers);
    }
    let mut body = object.to_string();
    if numbers.below(40) == 0 {
        let field = numbers.pick(&["label", "organization", "spec", "suspend", "active"]);
        body = body.replacen("\"spec\":{", &format!("\"spec\":{{\"{field}\":\"x\",\"{field}\":\"y\","), 1);
    }
    Manifest { kind, body }
}

/// Takes optional fields away.
fn prune(spec: &mut Value, numbers: &mut Numbers) {
    let needed = ["organizationRef", "credentials"];
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|name, _| needed.contains(&name.as_str()) || numbers.below(2) == 0);
    }
}

/// Every place below the spec, and the metadata that users write.
fn places(object: &Value) -> Vec<String> {
    let mut places = vec!["/metadata/name".into(), "/metadata/labels".into(), "/metadata/annotations".into()];
    let mut todo = vec!["/spec".to_owned()];
    while let Some(place) = todo.pop() {
        match object.pointer(&place) {
            Some(Value::Object(map)) => todo.extend(map.keys().map(|key| format!("{place}/{}", escape(key)))),
            Some(Value::Array(list)) => todo.extend((0..list.len()).map(|at| format!("{place}/{at}"))),
            _ => {}
        }
        places.push(place);
    }
    places
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn mutate(object: &mut Value, place: &str, numbers: &mut Numbers) {
    let (parent, name) = place.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    let Some(parent) = object.pointer_mut(parent) else { return };
    let former = match parent {
        Value::Object(map) => map.get(&name).cloned().unwrap_or_default(),
        Value::Array(list) => name.parse().ok().and_then(|at: usize| list.get(at).cloned()).unwrap_or_default(),
        _ => return,
    };
    let value = match numbers.below(10) {
        0 => Value::Null,
        1 => odd(numbers),
        2 | 3 => near(&former, numbers),
        4 => return remove(parent, &name),
        5 => return add(parent, numbers),
        _ => fitting(&name, &former, numbers),
    };
    match parent {
        Value::Object(map) => drop(map.insert(name, value)),
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
        _ => {}
    }
}

fn remove(parent: &mut Value, name: &str) {
    match parent {
        Value::Object(map) => drop(map.remove(name)),
        Value::Array(list) => drop(list.remove(name.parse().unwrap())),
        _ => {}
    }
}

/// Another field, or one of the list's elements again.
fn add(parent: &mut Value, numbers: &mut Numbers) {
    match parent {
        Value::Object(map) => {
            let name = numbers.pick(&[
                "labels",
                "Label",
                "extra",
                "windows",
                "never",
                "time",
                "renewBeforePercentage",
                "endpoints",
                "tokenlimit",
            ]);
            map.entry(name).or_insert_with(|| fitting(name, &Value::Null, numbers));
        }
        Value::Array(list) if !list.is_empty() => {
            let again = numbers.pick(list).clone();
            let times = numbers.pick(&[1, 1, 1, 16, 40]);
            list.extend(std::iter::repeat_n(again, times));
        }
        _ => {}
    }
}

/// Any value at all.
fn odd(numbers: &mut Numbers) -> Value {
    let texts = [
        "",
        " ",
        "a",
        "true",
        "1",
        "null",
        "\u{0}",
        "ä",
        "\u{202e}evil",
        "\u{1f600}",
        "a\u{300}",
        "[",
        "]",
        "*",
        "../..",
        "a\nb",
    ];
    match numbers.below(8) {
        0 => json!(numbers.pick(&texts)),
        1 => json!(numbers.pick(&texts).repeat(numbers.below(300))),
        2 => json!(numbers.pick(&[
            -1i64,
            0,
            1,
            99,
            100,
            255,
            256,
            10_000,
            10_001,
            1 << 31,
            (1 << 31) - 1,
            1 << 32,
            (1 << 53) + 1,
            i64::MAX,
            i64::MIN
        ])),
        3 => json!(numbers.pick(&[0.5, -0.5, 1.0, 33.0, 1e3, 1e15, 1e21, -1e-9])),
        4 => json!(numbers.below(2) == 0),
        5 => json!([numbers.pick(&texts)]),
        6 => json!({numbers.pick(&["a", "name", ""]): numbers.pick(&texts)}),
        _ => numbers.pick(&[json!([]), json!({}), json!([null]), json!([[]]), json!({"a": {"b": []}})]).clone(),
    }
}

/// Nearly the same value.
fn near(former: &Value, numbers: &mut Numbers) -> Value {
    match former {
        Value::String(text) => {
            let mut letters: Vec<char> = text.chars().collect();
            let at = numbers.below(letters.len() + 1);
            let letter = numbers
                .pick(&['a', 'Z', '0', '-', '_', '.', '/', ' ', '[', '*', ':', '%', 'ä', '\n', '\u{7}', '\u{2028}']);
            match numbers.below(4) {
                0 if at < letters.len() => drop(letters.remove(at)),
                1 if at < letters.len() => letters[at] = letter,
                2 => {
                    letters = letters
                        .iter()
                        .copied()
                        .cycle()
                        .take(numbers.pick(&[1, 60, 61, 63, 64, 200, 201, 253, 254, 256, 257]))
                        .collect()
                }
                _ => letters.insert(at, letter),
            }
            json!(letters.into_iter().collect::<String>())
        }
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default();
            json!(numbers.pick(&[number - 1, number + 1, -number, number * 10, number * 1000, 0]))
        }
        Value::Bool(was) => json!(!was),
        Value::Array(list) => {
            Value::Array(list.iter().cloned().cycle().take(numbers.pick(&[0, 1, 16, 17, 32, 33, 50, 51])).collect())
        }
        Value::Object(map) => {
            let mut map: Map<_, _> =
                map.iter().take(numbers.below(map.len() + 1)).map(|(k, v)| (k.clone(), v.clone())).collect();
            let more = numbers.pick(&[0, 0, 1, 31, 32, 33]);
            map.extend((0..more).map(|n| (format!("k{n}"), json!("v"))));
            Value::Object(map)
        }
        Value::Null => odd(numbers),
    }
}

/// A value of the kind that belongs there: good ones, those at the limits, and those just beyond.
fn fitting(name: &str, former: &Value, numbers: &mut Numbers) -> Value {
    let durations = [
        "0s",
        "1s",
        "9s",
        "10s",
        "9.999s",
        "10.0s",
        "59s",
        "1m",
        "60s",
        "0h",
        "1h",
        "1h30m",
        "1.5h",
        "24h",
        "720h",
        "2159h59m59s",
        "2160h",
        "2161h",
        "87600h",
        "87600h1ms",
        "87601h",
        "2562047h",
        "2562048h",
        "1d",
        "90d",
        "-1h",
        "+1h",
        ".5h",
        "1.h",
        "1",
        "h",
        "1h1h",
        "1us",
        "1ns",
        "1µs",
        "1h ",
        "00001h",
        "1ms1s",
        "99999999999999999999h",
        "0.00000000000001h",
        "1h1m1s1ms",
    ];
    let times = [
        "2027-01-31T00:00:00Z",
        "2027-01-31T00:00:00+01:00",
        "2027-01-31t00:00:00z",
        "2027-01-31T00:00:00.123456789Z",
        "2027-01-31T00:00:00.1234567890123Z",
        "2027-02-30T00:00:00Z",
        "2028-02-29T00:00:00Z",
        "2027-02-29T00:00:00Z",
        "2027-01-31T23:59:60Z",
        "2027-01-31T24:00:00Z",
        "2027-01-31 00:00:00Z",
        "2027-01-31",
        "2027-01-31T00:00:00",
        "9999-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "2027-1-31T00:00:00Z",
        "2027-01-31T00:00:00+24:00",
        "2027-01-31T00:00:00-23:59",
        "2027-01-31T0:00:00Z",
        "2027-01-31T00:00Z",
        "2027-13-01T00:00:00Z",
        "soon",
        "",
    ];
    let names = [
        "a",
        "a.b",
        "a-b",
        "acme",
        "A",
        "a_b",
        "-a",
        "a-",
        "a..b",
        "",
        "acme/api",
        "acme/*",
        "acme/a__b",
        "acme/a___b",
        "acme/a..b",
        "*/*",
        "acme/a/b",
    ];
    let registries = [
        "dhi.io",
        "https://index.docker.io/v1/",
        "http://dhi.io",
        "dhi.io:443",
        "dhi.io:",
        "dhi.io/a//b",
        "https://dhi.io/ä",
        "DHI.io",
        "dHI.io",
        "a?b",
    ];
    let scopes =
        ["scope-image-pull", "scope-image-push", "scope-x", "scope-", "scope-A", "pull", "scope-siem_credentials-read"];
    match name {
        "lifetime" | "renewBefore" | "interval" | "overlap" | "pollInterval" => json!(numbers.pick(&durations)),
        "time" => json!(numbers.pick(&times)),
        "expiration" => numbers
            .pick(&[
                json!({"lifetime": "24h"}),
                json!({"never": true}),
                json!({"never": false}),
                json!({}),
                json!({"time": "2027-01-31T00:00:00Z"}),
                json!({"lifetime": "24h", "time": null}),
                json!({"never": true, "lifetime": "1h"}),
            ])
            .clone(),
        "tokenLimit" | "reservedTokens" => json!(numbers.pick(&[0, 1, 2, 9, 10, 11, 99, 100, 101, 10_000, 10_001])),
        "renewBeforePercentage" => json!(numbers.pick(&[0, 1, 33, 99, 100, 255, 256])),
        "policy" => json!(numbers.pick(&["Automatic", "Manual", "automatic", ""])),
        "verification" => json!(numbers.pick(&["Registry", "None", "none"])),
        "deletionPolicy" => json!(numbers.pick(&["Delete", "Deactivate", "Retain", "retain"])),
        "type" => json!(numbers.pick(&[
            "Opaque",
            "kubernetes.io/basic-auth",
            "kubernetes.io/dockerconfigjson",
            "kubernetes.io/tls",
            "opaque"
        ])),
        "kind" => json!(numbers.pick(&["Organization", "ClusterOrganization", "OrganizationAccessToken"])),
        "subscription" => json!(numbers.pick(&["Team", "Business", "Pro"])),
        "registries" => json!(Vec::from_iter((0..numbers.below(4)).map(|_| numbers.pick(&registries)))),
        "scopes" | "organizationScopes" => json!(Vec::from_iter((0..numbers.below(4)).map(|_| numbers.pick(&scopes)))),
        "hub" | "registryToken" => json!(numbers.pick(&[
            "https://a",
            "http://127.0.0.1:1/x",
            "ftp://a",
            "https://a b",
            "https://a?b",
            "https://u@a",
            "HTTPS://a"
        ])),
        "labels" | "annotations" => {
            json!({numbers.pick(&["team", "a/b", "", "A_b", "ä", "kubernetes.io/x", "a b"]): numbers.pick(&["v", "", "two words", "-a", "ä"])})
        }
        "repositories" => json!(Vec::from_iter(
            (0..numbers.below(3)).map(|_| json!({"name": numbers.pick(&names), "scopes": [numbers.pick(&scopes)]}))
        )),
        _ if former.is_string() || former.is_null() => json!(numbers.pick(&names)),
        _ => near(former, numbers),
    }
}

/// Numbers that look like chance and are the same for a seed.
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64, number: usize) -> Self {
        let mut numbers =
            Self(seed.wrapping_mul(1_000_003).wrapping_add(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        numbers.below(1);
        numbers
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }

    fn pick<T: Clone>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())].clone()
    }
}
