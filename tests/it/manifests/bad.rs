//! Bad manifests, by hand: a good object of each kind, and what is wrong with it, one field at a time.
//!
//! A row is one field with all its bad values: each value is a manifest of its own.

use serde_json::{Value, json};

use crate::support::world::NAMESPACE;

/// A manifest that is refused, and the field that is named.
pub struct Bad {
    pub kind: &'static str,
    pub field: &'static str,
    pub object: Value,
}

impl Bad {
    /// What it is, for messages.
    pub fn what(&self) -> String {
        let pointer = format!("/{}", self.field.replace(['.', '['], "/").replace(']', ""));
        let value = self.object.pointer(&pointer).unwrap_or(&self.object["spec"]).to_string();
        format!("{} {} {}", self.kind, self.field, value.chars().take(120).collect::<String>())
    }
}

/// A row's value that stands for the absence of the field.
const ABSENT: &str = "(absent)";

/// A good object of a kind, with every field.
pub fn good(kind: &str) -> Value {
    let credentials = json!({"secretRef": {"name": "acme-owner"}});
    let (metadata, spec) = match kind {
        "OrganizationAccessToken" => (
            json!({"name": "good", "namespace": NAMESPACE}),
            json!({
                "organizationRef": {"kind": "ClusterOrganization", "name": "acme"},
                "label": "payments pull", "description": "Pulls for payments",
                "repositories": [
                    {"name": "acme/payments-api", "scopes": ["scope-image-pull", "scope-image-push"]},
                    {"name": "acme/*", "scopes": ["scope-image-pull"]},
                ],
                "publicRepositories": true, "organizationScopes": ["scope-member-read"], "active": true,
                "expiration": {"lifetime": "2160h"},
                "rotation": {"policy": "Automatic", "renewBefore": "720h", "interval": "1000h", "overlap": "1h30m",
                    "trigger": "2026-11-25", "verification": "Registry"},
                "deletionPolicy": "Delete",
                "secret": {"name": "dockerhub", "type": "kubernetes.io/dockerconfigjson",
                    "registries": ["https://index.docker.io/v1/", "dhi.io"],
                    "template": {"labels": {"team": "payments"}, "annotations": {"acme.dev/note": "any text"}},
                    "deletionPolicy": "Delete"},
            }),
        ),
        "Organization" => (
            json!({"name": "good", "namespace": NAMESPACE}),
            json!({"organization": "acme", "credentials": credentials, "subscription": "Team", "tokenLimit": 10,
                "reservedTokens": 1, "pollInterval": "1h", "suspend": false}),
        ),
        _ => (
            json!({"name": "good"}),
            json!({"organization": "acme", "credentials": credentials, "subscription": "Business", "tokenLimit": 100,
                "reservedTokens": 2, "pollInterval": "10m", "suspend": true,
                "endpoints": {"hub": "https://hub.docker.com", "registryToken": "https://auth.docker.io/token",
                    "registryService": "registry.docker.io", "caBundleSecretRef": {"name": "corporate-ca", "key": "ca.crt"}}}),
        ),
    };
    json!({"apiVersion": "oat-operator.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// All of them.
pub fn all() -> Vec<Bad> {
    let mut rows = Rows(Vec::new());
    tokens(&mut rows);
    token_lists(&mut rows);
    token_secrets(&mut rows);
    organizations(&mut rows, "Organization");
    organizations(&mut rows, "ClusterOrganization");
    endpoints(&mut rows);
    rows.0
}

struct Rows(Vec<Bad>);

impl Rows {
    /// `pointer` in a good object takes each of these values; the answer names `field`.
    fn row(&mut self, kind: &'static str, pointer: &str, field: &'static str, values: Value) {
        for value in values.as_array().unwrap() {
            let mut object = good(kind);
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            match object.pointer_mut(parent).unwrap() {
                Value::Object(parent) if value == ABSENT => drop(parent.remove(name)),
                Value::Object(parent) => drop(parent.insert(name.to_owned(), value.clone())),
                Value::Array(parent) => parent[name.parse::<usize>().unwrap()] = value.clone(),
                other => panic!("{pointer}: {other}"),
            }
            self.0.push(Bad { kind, field, object });
        }
    }

    /// The whole spec is changed like this.
    fn merged(&mut self, kind: &'static str, field: &'static str, patches: Value) {
        for patch in patches.as_array().unwrap() {
            let mut object = good(kind);
            for (name, value) in patch.as_object().unwrap() {
                object["spec"][name] = value.clone();
            }
            self.0.push(Bad { kind, field, object });
        }
    }
}

fn x(number: usize) -> String {
    "x".repeat(number)
}

/// Names of Kubernetes objects that are none.
fn bad_names() -> Value {
    json!([ABSENT, null, 1, ["a"], "", "A", "a_b", "-a", "a-", "a..b", ".a", "a/b", "../a", "a b", "ä", "a\n", x(254)])
}

/// Durations that are none.
fn bad_durations() -> Value {
    json!([
        "", "1", "1d", "90d", "-1h", "+1h", ".5h", "1.h", "1h ", "1 h", "P1D", "1h-1h", "1us", "h", "1e3s", "١h", 3600,
        true
    ])
}

const OAT: &str = "OrganizationAccessToken";

fn tokens(rows: &mut Rows) {
    rows.row(OAT, "/spec", "spec", json!([ABSENT, 1, "x", []]));
    rows.row(OAT, "/spec/organizationRef", "spec.organizationRef", json!([ABSENT, 1, "acme", []]));
    rows.row(OAT, "/spec/organizationRef/name", "spec.organizationRef.name", bad_names());
    rows.row(
        OAT,
        "/spec/organizationRef/kind",
        "spec.organizationRef.kind",
        json!([1, "", "organization", "Namespace"]),
    );
    rows.row(
        OAT,
        "/spec/label",
        "spec.label",
        json!([1, "", " ", "a [b]", "[", "]", " a", "a ", "\ta", "a\n", x(61), "ä".repeat(61), ["a"], {"a": 1}, "a\u{7}b", "a\u{0}b", "a\u{1b}[31m"]),
    );
    rows.row(
        OAT,
        "/spec/description",
        "spec.description",
        json!([1, true, x(201), "ä".repeat(201), ["a"], "a\u{7}", "a\nb", "a\u{1b}]0;x"]),
    );
    for field in ["publicRepositories", "active"] {
        let name: &'static str = if field == "active" { "spec.active" } else { "spec.publicRepositories" };
        rows.row(OAT, &format!("/spec/{field}"), name, json!(["yes", 1, "true", []]));
    }
    rows.row(OAT, "/spec/deletionPolicy", "spec.deletionPolicy", json!(["", "delete", "Forget", 1, ["Delete"]]));
    rows.row(OAT, "/spec/expiration", "spec.expiration", json!([{}, 1, "2160h", [], {"lifetime": "24h", "never": true}, {"lifetime": "24h", "time": "2027-01-31T00:00:00Z"}, {"time": "2027-01-31T00:00:00Z", "never": true}]));
    rows.row(OAT, "/spec/expiration/lifetime", "spec.expiration.lifetime", bad_durations());
    rows.row(
        OAT,
        "/spec/expiration/lifetime",
        "spec.expiration.lifetime",
        json!(["0s", "1s", "9s", "9.999s", "87600h1ms", "87601h", "999999999h", "9999999999999999h"]),
    );
    let times = json!([
        "",
        "tomorrow",
        "2027-01-31",
        "2027-01-31 00:00",
        "2027-02-30T00:00:00Z",
        "2027-13-01T00:00:00Z",
        "2027-01-31T25:00:00Z",
        "2027-01-31T00:00:00",
        1_800_000_000,
        x(41)
    ]);
    for time in times.as_array().unwrap() {
        rows.merged(OAT, "spec.expiration.time", json!([{"expiration": {"time": time}, "rotation": {}}]));
    }
    rows.merged(
        OAT,
        "spec.expiration.never",
        json!([{"expiration": {"never": false}}, {"expiration": {"never": "true"}}, {"expiration": {"never": 1}}]),
    );
    rotation(rows);
}

fn rotation(rows: &mut Rows) {
    rows.row(
        OAT,
        "/spec/rotation",
        "spec.rotation",
        json!([1, "Automatic", [], {"renewBefore": "1h", "renewBeforePercentage": 10}]),
    );
    rows.row(OAT, "/spec/rotation/policy", "spec.rotation.policy", json!(["", "automatic", "Sometimes", 1, true]));
    rows.row(OAT, "/spec/rotation/verification", "spec.rotation.verification", json!(["", "Hope", 0, false]));
    rows.row(OAT, "/spec/rotation/renewBefore", "spec.rotation.renewBefore", bad_durations());
    rows.row(OAT, "/spec/rotation/renewBefore", "spec.rotation.renewBefore", json!(["0s", "2160h", "2161h", "87600h"]));
    rows.merged(OAT, "spec.rotation.renewBeforePercentage", json!([
        {"rotation": {"renewBeforePercentage": 0}}, {"rotation": {"renewBeforePercentage": 100}}, {"rotation": {"renewBeforePercentage": -1}},
        {"rotation": {"renewBeforePercentage": 256}}, {"rotation": {"renewBeforePercentage": "33"}}, {"rotation": {"renewBeforePercentage": 33.5}},
    ]));
    rows.row(OAT, "/spec/rotation/interval", "spec.rotation.interval", bad_durations());
    rows.row(OAT, "/spec/rotation/interval", "spec.rotation.interval", json!(["0s", "9s", "9999ms"]));
    rows.row(OAT, "/spec/rotation/overlap", "spec.rotation.overlap", bad_durations());
    rows.row(OAT, "/spec/rotation/trigger", "spec.rotation.trigger", json!([1, true, ["now"], x(257)]));
}

fn token_lists(rows: &mut Rows) {
    let repository = |i: usize| json!({"name": format!("acme/r{i}"), "scopes": ["scope-image-pull"]});
    let many: Vec<_> = (0..51).map(repository).collect();
    rows.row(OAT, "/spec/repositories", "spec.repositories", json!([1, "acme/api", {"name": "acme/api"}, many]));
    rows.row(OAT, "/spec/repositories/0", "spec.repositories[0]", json!([1, "acme/api", []]));
    let same = json!({"name": "acme/*", "scopes": ["scope-image-push"]});
    rows.row(OAT, "/spec/repositories/0", "spec.repositories[1]", json!([same]));
    rows.row(
        OAT,
        "/spec/repositories/0/name",
        "spec.repositories[0].name",
        json!([
            ABSENT,
            1,
            "",
            "api",
            "acme",
            "acme/",
            "/api",
            "acme/../other",
            "acme/..",
            "acme/a/b",
            "Acme/api",
            "acme/Api",
            "acme/team-*",
            "*/*",
            "*/*/public",
            "docker.io/acme/api",
            "acme/a..b",
            "acme/a___b",
            "acme/-a",
            "acme/a-",
            "acme/a b",
            "acme/a:latest",
            "acme/a@sha256:00",
            "acme/ä",
            "a/api",
            "acme/api\n",
            format!("acme/{}", x(332)),
            format!("{}/api", x(81)),
            "acme%2fapi",
            "acme\\api",
        ]),
    );
    rows.row(
        OAT,
        "/spec/repositories/0/scopes",
        "spec.repositories[0].scopes",
        json!([ABSENT, [], 1, "scope-image-pull", {}, scopes(33)]),
    );
    rows.row(OAT, "/spec/repositories/0/scopes/1", "spec.repositories[0].scopes[1]", bad_scopes());
    rows.row(OAT, "/spec/repositories/0/scopes/1", "spec.repositories[0].scopes[1]", json!(["scope-image-pull"]));
    rows.row(
        OAT,
        "/spec/organizationScopes",
        "spec.organizationScopes",
        json!([1, "scope-member-read", {}, scopes(33)]),
    );
    rows.row(OAT, "/spec/organizationScopes/0", "spec.organizationScopes[0]", bad_scopes());
    rows.row(
        OAT,
        "/spec/organizationScopes",
        "spec.organizationScopes[1]",
        json!([["scope-member-read", "scope-member-read"]]),
    );
    rows.merged(
        OAT,
        "publicRepositories",
        json!([{"repositories": [], "publicRepositories": false, "organizationScopes": []}]),
    );
}

fn scopes(number: usize) -> Vec<String> {
    (0..number).map(|i| format!("scope-{i}")).collect()
}

fn bad_scopes() -> Value {
    json!([
        1,
        "",
        "scope-",
        "repo-pull",
        "pull",
        "scope-Image",
        "scope-a b",
        "Scope-image-pull",
        "scope-image-pull\n",
        "scope-ä",
        format!("scope-{}", x(59)),
        ["scope-image-pull"]
    ])
}

fn token_secrets(rows: &mut Rows) {
    rows.row(OAT, "/spec/secret", "spec.secret", json!([1, "dockerhub", []]));
    rows.row(
        OAT,
        "/spec/secret/name",
        "spec.secret.name",
        json!([1, "", "Pull", "a_b", "-a", "a..b", "a/b", "a b", "a\n", x(254)]),
    );
    rows.row(
        OAT,
        "/spec/secret/type",
        "spec.secret.type",
        json!([
            1,
            "",
            "opaque",
            "kubernetes.io/tls",
            "kubernetes.io/service-account-token",
            "bootstrap.kubernetes.io/token"
        ]),
    );
    rows.row(OAT, "/spec/secret/deletionPolicy", "spec.secret.deletionPolicy", json!(["", "Deactivate", 1]));
    let many: Vec<_> = (0..17).map(|i| format!("r{i}.example.com")).collect();
    rows.row(OAT, "/spec/secret/registries", "spec.secret.registries", json!([[], 1, "dhi.io", many]));
    rows.row(
        OAT,
        "/spec/secret/registries/1",
        "spec.secret.registries[1]",
        json!([
            1,
            "",
            " ",
            "http://dhi.io",
            "https://",
            "ftp://dhi.io",
            "dhi.io?x",
            "dhi.io#x",
            "user@dhi.io",
            "dhi io",
            "-dhi.io",
            "dhi.io:port",
            "DHI.io",
            x(254),
            "https://index.docker.io/v1/"
        ]),
    );
    rows.row(OAT, "/spec/secret/template", "spec.secret.template", json!([1, "x", []]));
    let template = |name: &str, key: String, value: Value| json!({name: {key: value}});
    let many: serde_json::Map<_, _> = (0..33).map(|i| (format!("k{i}"), json!("v"))).collect();
    rows.row(
        OAT,
        "/spec/secret/template",
        "spec.secret.template.labels",
        json!([{"labels": 1}, {"labels": []}, {"labels": many}]),
    );
    rows.row(
        OAT,
        "/spec/secret/template",
        "spec.secret.template.annotations",
        json!([{"annotations": 1}, {"annotations": "x"}, {"annotations": many}]),
    );
    for value in
        [json!(1), json!("two words"), json!("-a"), json!("a-"), json!("ä"), json!(x(64)), json!("a\n"), json!(true)]
    {
        rows.row(
            OAT,
            "/spec/secret/template",
            "spec.secret.template.labels",
            json!([template("labels", "team".into(), value)]),
        );
    }
    for value in [json!(1), json!(false), json!(["a"]), json!(x(4097))] {
        rows.row(
            OAT,
            "/spec/secret/template",
            "spec.secret.template.annotations",
            json!([template("annotations", "note".into(), value)]),
        );
    }
    let reserved = [
        "kubernetes.io/x",
        "app.kubernetes.io/managed-by",
        "k8s.io/x",
        "a.k8s.io/x",
        "oat-operator.dev/owner",
        "x.oat-operator.dev/y",
        "emberstack.com/x",
        "reflector.v1.k8s.emberstack.com/reflection-auto-enabled",
        "replicator.v1.mittwald.de/replicate-to",
        "external-secrets.io/type",
        "argocd.argoproj.io/instance",
        "argoproj.io/x",
    ];
    let no_keys =
        ["", "-a", "a-", "a/b/c", "A.dev/b", "/b", "a/", "a b", "ä", "a_/b", ".a/b", "a\n"].map(str::to_owned);
    let long = [x(64), format!("{}/b", x(254)), format!("a/{}", x(64))];
    for key in reserved.into_iter().map(str::to_owned).chain(no_keys).chain(long) {
        rows.row(
            OAT,
            "/spec/secret/template",
            "spec.secret.template.labels",
            json!([template("labels", key.clone(), json!("v"))]),
        );
        rows.row(
            OAT,
            "/spec/secret/template",
            "spec.secret.template.annotations",
            json!([template("annotations", key, json!("v"))]),
        );
    }
}

fn organizations(rows: &mut Rows, kind: &'static str) {
    rows.row(kind, "/spec", "spec", json!([ABSENT, 1, []]));
    rows.row(
        kind,
        "/spec/organization",
        "spec.organization",
        json!([1, "", "a", "-a", "a-", "Acme", "a/b", "..", "a b", "a%2fb", "acmé", "a\n", x(81), ["acme"]]),
    );
    rows.row(
        kind,
        "/spec/credentials",
        "spec.credentials",
        json!([ABSENT, 1, "acme-owner", [], {}, {"username": "a", "password": "b"}]),
    );
    rows.row(kind, "/spec/credentials/secretRef", "spec.credentials.secretRef", json!([1, "acme-owner", {}]));
    rows.row(kind, "/spec/credentials/secretRef/name", "spec.credentials.secretRef.name", bad_names());
    rows.row(kind, "/spec/subscription", "spec.subscription", json!(["", "team", "Pro", 1]));
    rows.row(kind, "/spec/tokenLimit", "spec.tokenLimit", json!([0, -1, 10_001, 4_294_967_296u64, 1.5, "10", true]));
    rows.row(kind, "/spec/reservedTokens", "spec.reservedTokens", json!([-1, 100, 1.5, "1", 4_294_967_296u64]));
    rows.merged(
        kind,
        "spec.reservedTokens",
        json!([{"tokenLimit": 1, "reservedTokens": 1}, {"tokenLimit": 5, "reservedTokens": 6}]),
    );
    rows.row(kind, "/spec/pollInterval", "spec.pollInterval", bad_durations());
    rows.row(kind, "/spec/pollInterval", "spec.pollInterval", json!(["0s", "59s", "59999ms"]));
    rows.row(kind, "/spec/suspend", "spec.suspend", json!(["true", 1, []]));
}

fn endpoints(rows: &mut Rows) {
    const CHORG: &str = "ClusterOrganization";
    rows.row(CHORG, "/spec/endpoints", "spec.endpoints", json!([1, "https://hub.docker.com", []]));
    let urls = json!([
        1,
        "",
        "hub.docker.com",
        "ftp://hub.docker.com",
        "https://",
        "https://user@hub.docker.com",
        "https://hub.docker.com?x=1",
        "https://hub.docker.com#x",
        "https://hub docker.com",
        "http://hub.docker.com",
        "http://10.0.0.1",
        "https://[::1",
        "https://hub.docker.com:99999",
        format!("https://{}", x(246))
    ]);
    rows.row(CHORG, "/spec/endpoints/hub", "spec.endpoints", urls.clone());
    rows.row(CHORG, "/spec/endpoints/registryToken", "spec.endpoints", urls);
    rows.row(
        CHORG,
        "/spec/endpoints/registryService",
        "spec.endpoints",
        json!([1, "", x(254), "registry docker", "régistry", "a\n"]),
    );
    rows.row(CHORG, "/spec/endpoints/caBundleSecretRef/name", "spec.endpoints.caBundleSecretRef.name", bad_names());
    rows.row(
        CHORG,
        "/spec/endpoints/caBundleSecretRef/key",
        "spec.endpoints.caBundleSecretRef.key",
        json!([1, "", "a/b", "a b", "..\n", x(254)]),
    );
}
