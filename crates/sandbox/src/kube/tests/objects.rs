//! Built-in objects: creating, changing, deleting, and what is refused.

use reqwest::Method;
use serde_json::{Value, json};

use super::{DEFAULT, Kube, ok, refused, secret, start};

fn secrets() -> String {
    format!("{DEFAULT}/secrets")
}

fn one() -> String {
    format!("{DEFAULT}/secrets/one")
}

#[tokio::test]
async fn a_new_object_gets_what_only_the_server_says() {
    let kube = start().await;
    let mut body = secret("one");
    body["metadata"]["uid"] = json!("mine");
    body["metadata"]["generation"] = json!(7);
    body["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    body["stringData"] = json!({"c": "d"});
    let created = ok(kube.post(&secrets(), body).await, 201);
    let meta = &created["metadata"];
    assert_eq!(meta["creationTimestamp"], super::NOW);
    assert_ne!(meta["uid"], "mine");
    assert!(meta.get("generation").is_none(), "secrets count no generations");
    assert_eq!(meta["resourceVersion"], kube.server.resource_version().to_string());
    assert_eq!(created["data"], json!({"a": "Yg==", "c": "ZA=="}));
    assert!(created.get("stringData").is_none());
    assert_eq!(created["type"], "Opaque");
    let owner = &meta["managedFields"][0];
    assert_eq!((owner["manager"].as_str(), owner["operation"].as_str()), (Some("test"), Some("Update")));
    assert_eq!(ok(kube.get(&one()).await, 200), created);
}

#[tokio::test]
async fn what_is_no_good_object_is_refused() {
    let kube = start().await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = secret("x");
        change(&mut body);
        body
    };
    let kind = |name: &str, key: &str, value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "type": name, "stringData": {key: value}});
    let rows: Vec<(Value, u16, &str, &str)> = vec![
        (with(&|b| b["metadata"]["name"] = json!("S_")), 422, "Invalid", "a lowercase RFC 1123 subdomain"),
        (
            with(&|b| b["metadata"] = json!({})),
            422,
            "Invalid",
            "metadata.name: Required value: name or generateName is required",
        ),
        (
            with(&|b| b["kind"] = json!("ConfigMap")),
            400,
            "BadRequest",
            "ConfigMap in version \"v1\" cannot be handled as a Secret",
        ),
        (
            with(&|b| b["apiVersion"] = json!("v2")),
            400,
            "BadRequest",
            "no kind \"Secret\" is registered for version \"v2\"",
        ),
        (
            with(&|b| b["metadata"]["namespace"] = json!("other")),
            400,
            "BadRequest",
            "the namespace of the provided object does not match",
        ),
        (
            with(&|b| b["metadata"]["resourceVersion"] = json!("5")),
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        ),
        (
            with(&|b| b["metadata"]["labels"] = json!({"a": 5})),
            400,
            "BadRequest",
            "cannot unmarshal number into Go struct field ObjectMeta.labels of type string",
        ),
        (
            with(&|b| b["metadata"]["labels"] = json!({"a": "b c"})),
            422,
            "Invalid",
            "metadata.labels: Invalid value: \"b c\"",
        ),
        (
            with(&|b| b["metadata"]["finalizers"] = json!(["x"])),
            422,
            "Invalid",
            "name is neither a standard finalizer name",
        ),
        (
            with(&|b| b["metadata"]["ownerReferences"] = json!([{"kind": "x"}])),
            422,
            "Invalid",
            "metadata.ownerReferences[0].uid: Required value",
        ),
        (with(&|b| b["data"] = json!({"a": "%%"})), 400, "BadRequest", "illegal base64 data at input byte 0"),
        (
            with(&|b| b["data"] = json!({"a": 5})),
            400,
            "BadRequest",
            "json: cannot unmarshal number into Go struct field Secret.data of type []uint8",
        ),
        (
            with(&|b| b["data"] = json!({"a b": "YQ=="})),
            422,
            "Invalid",
            "data[a b]: Invalid value: \"a b\": a valid config key",
        ),
        (
            with(&|b| b["immutable"] = json!("yes")),
            400,
            "BadRequest",
            "cannot unmarshal string into Go struct field Secret.immutable of type bool",
        ),
        (kind("kubernetes.io/dockerconfigjson", "x", "y"), 422, "Invalid", "data[.dockerconfigjson]: Required value"),
        (
            kind("kubernetes.io/dockerconfigjson", ".dockerconfigjson", "nojson"),
            422,
            "Invalid",
            "<secret contents redacted>",
        ),
        (
            kind("kubernetes.io/dockerconfigjson", ".dockerconfigjson", "[]"),
            422,
            "Invalid",
            "<secret contents redacted>",
        ),
        (
            kind("kubernetes.io/basic-auth", "x", "y"),
            422,
            "Invalid",
            "[data[username]: Required value, data[password]: Required value]",
        ),
        (kind("kubernetes.io/tls", "tls.crt", "y"), 422, "Invalid", "data[tls.key]: Required value"),
        (
            kind("kubernetes.io/service-account-token", "x", "y"),
            422,
            "Invalid",
            "metadata.annotations[kubernetes.io/service-account.name]",
        ),
    ];
    let before = kube.server.resource_version();
    for (body, code, reason, message) in rows {
        refused(&kube.post(&secrets(), body).await, code, reason, message);
    }
    assert_eq!(kube.server.resource_version(), before, "nothing was written");
    ok(kube.post(&secrets(), kind("kubernetes.io/basic-auth", "username", "")).await, 201);
    let large = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "y"}, "stringData": {"a": "x".repeat(1_100_000)}});
    refused(&kube.post(&secrets(), large).await, 422, "Invalid", "data: Too long: may not be more than 1048576 bytes");
    let huge = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "y"}, "stringData": {"a": "x".repeat(4_000_000)}});
    refused(&kube.post(&secrets(), huge).await, 413, "RequestEntityTooLarge", "limit is 3145728");
}

#[tokio::test]
async fn a_namespace_must_be_there_and_stay() {
    let kube = start().await;
    refused(
        &kube.post("/api/v1/namespaces/nope/secrets", secret("x")).await,
        404,
        "NotFound",
        "namespaces \"nope\" not found",
    );
    ok(kube.post("/api/v1/namespaces", json!({"metadata": {"name": "team"}})).await, 201);
    let mut held = secret("held");
    held["metadata"]["finalizers"] = json!(["a.dev/b"]);
    ok(kube.post("/api/v1/namespaces/team/secrets", held).await, 201);
    ok(kube.delete("/api/v1/namespaces/team", json!({})).await, 200);
    let answer = kube.post("/api/v1/namespaces/team/secrets", secret("x")).await;
    let why =
        "secrets \"x\" is forbidden: unable to create new content in namespace team because it is being terminated";
    refused(&answer, 403, "Forbidden", why);
    assert_eq!(answer.1["details"]["causes"][0]["reason"], "NamespaceTerminating");
    refused(
        &kube.delete("/api/v1/namespaces/default", json!({})).await,
        403,
        "Forbidden",
        "this namespace may not be deleted",
    );
}

#[tokio::test]
async fn a_name_is_taken_once_and_made_up_if_asked() {
    let kube = start().await;
    ok(kube.post(&secrets(), secret("one")).await, 201);
    refused(&kube.post(&secrets(), secret("one")).await, 409, "AlreadyExists", "secrets \"one\" already exists");
    let generated = json!({"metadata": {"generateName": "gen-"}});
    let first = ok(kube.post(&secrets(), generated.clone()).await, 201);
    let second = ok(kube.post(&secrets(), generated).await, 201);
    let name = first["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("gen-") && name.len() == 9, "{name}");
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
}

#[tokio::test]
async fn unknown_fields_are_met_as_asked() {
    let kube = start().await;
    let mut body = secret("x");
    body["foo"] = json!(1);
    refused(
        &kube.post(&format!("{}?fieldValidation=Strict", secrets()), body.clone()).await,
        400,
        "BadRequest",
        "Secret in version \"v1\" cannot be handled as a Secret: strict decoding error: unknown field \"foo\"",
    );
    for (mode, warned) in [("Warn", true), ("Ignore", false)] {
        let path = format!("{}?fieldValidation={mode}&dryRun=All", secrets());
        let response = kube.request(Method::POST, &path).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 201);
        let warning = response.headers().get("warning").map(|w| w.to_str().unwrap().to_owned());
        assert_eq!(warning, warned.then(|| "299 - \"unknown field \\\"foo\\\"\"".to_owned()));
        assert!(response.json::<Value>().await.unwrap().get("foo").is_none());
    }
    refused(
        &kube.post(&format!("{}?fieldValidation=x", secrets()), body).await,
        422,
        "Invalid",
        "fieldValidation: Unsupported value: \"x\"",
    );
}

#[tokio::test]
async fn a_put_needs_the_right_object() {
    let kube = start().await;
    let created = ok(kube.post(&secrets(), secret("one")).await, 201);
    let with = |name: &str, value: &str| {
        let mut body = secret("one");
        body["metadata"][name] = json!(value);
        body
    };
    let modified = "Operation cannot be fulfilled on secrets \"one\": the object has been modified; please apply your \
                    changes to the latest version and try again";
    refused(&kube.put(&one(), with("resourceVersion", "1")).await, 409, "Conflict", modified);
    refused(
        &kube.put(&one(), with("resourceVersion", "x")).await,
        500,
        "",
        "strconv.ParseUint: parsing \"x\": invalid syntax",
    );
    refused(
        &kube.put(&one(), with("name", "two")).await,
        400,
        "BadRequest",
        "the name of the object (two) does not match the name on the URL (one)",
    );
    refused(
        &kube.put(&one(), with("uid", "z")).await,
        409,
        "Conflict",
        "Precondition failed: UID in precondition: z, UID in object meta:",
    );
    refused(
        &kube.put(&format!("{DEFAULT}/secrets/zero"), secret("zero")).await,
        404,
        "NotFound",
        "secrets \"zero\" not found",
    );
    let mut typed = secret("one");
    typed["type"] = json!("x");
    refused(&kube.put(&one(), typed).await, 422, "Invalid", "type: Invalid value: \"x\": field is immutable");
    // Without a version, a Secret is replaced whatever its version is.
    let mut body = secret("one");
    body["data"] = json!({"x": "eQ=="});
    let updated = ok(kube.put(&one(), body).await, 200);
    assert_eq!(updated["data"], json!({"x": "eQ=="}));
    assert_eq!(updated["metadata"]["uid"], created["metadata"]["uid"]);
    assert_ne!(updated["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_write_that_changes_nothing_writes_nothing() {
    let kube = start().await;
    let created = ok(kube.post(&secrets(), secret("one")).await, 201);
    let before = kube.server.resource_version();
    assert_eq!(ok(kube.put(&one(), created.clone()).await, 200), created);
    assert_eq!(ok(kube.merge(&one(), json!({"data": {"a": "Yg=="}})).await, 200), created);
    assert_eq!(kube.server.resource_version(), before);
}

#[tokio::test]
async fn a_dry_run_does_everything_but_write() {
    let kube = start().await;
    let created = ok(kube.post(&secrets(), secret("one")).await, 201);
    let before = kube.server.resource_version();
    let dry = ok(kube.post(&format!("{}?dryRun=All", secrets()), secret("two")).await, 201);
    assert!(dry["metadata"]["uid"].is_string());
    assert!(dry["metadata"].get("resourceVersion").is_none());
    let patched = ok(kube.merge(&format!("{}?dryRun=All", one()), json!({"data": {"a": "Yw=="}})).await, 200);
    assert_eq!(patched["data"]["a"], "Yw==");
    assert_eq!(patched["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    ok(kube.delete(&format!("{}?dryRun=All", one()), json!({})).await, 200);
    refused(&kube.post(&format!("{}?dryRun=All", secrets()), secret("one")).await, 409, "AlreadyExists", "");
    refused(
        &kube.delete(&format!("{}?dryRun=x", one()), json!({})).await,
        422,
        "Invalid",
        "dryRun: Unsupported value: [\"x\"]: supported values: \"All\"",
    );
    assert_eq!(kube.server.resource_version(), before);
    assert_eq!(ok(kube.get(&one()).await, 200), created);
}

#[tokio::test]
async fn patches_of_every_kind() {
    let kube = start().await;
    ok(kube.post(&secrets(), secret("one")).await, 201);
    let merged = ok(kube.merge(&one(), json!({"data": {"a": null, "c": "ZA=="}})).await, 200);
    assert_eq!(merged["data"], json!({"c": "ZA=="}));
    let json =
        json!([{"op": "test", "path": "/data/c", "value": "ZA=="}, {"op": "add", "path": "/data/e", "value": "Zg=="}]);
    let patched = ok(kube.patch("json-patch", &one(), json).await, 200);
    assert_eq!(patched["data"], json!({"c": "ZA==", "e": "Zg=="}));
    let accounts = format!("{DEFAULT}/serviceaccounts/default");
    let add = |name: &str| json!({"secrets": [{"name": name}]});
    ok(kube.patch("strategic-merge-patch", &accounts, add("a")).await, 200);
    let account = ok(kube.patch("strategic-merge-patch", &accounts, add("b")).await, 200);
    assert_eq!(account["secrets"].as_array().unwrap().len(), 2, "merged by name");
    let pull = |name: &str| json!({"imagePullSecrets": [{"name": name}]});
    ok(kube.patch("strategic-merge-patch", &accounts, pull("a")).await, 200);
    let account = ok(kube.patch("strategic-merge-patch", &accounts, pull("b")).await, 200);
    assert_eq!(account["imagePullSecrets"], json!([{"name": "b"}]), "replaced as a whole");
}

#[tokio::test]
async fn patches_that_are_refused() {
    let kube = start().await;
    ok(kube.post(&secrets(), secret("one")).await, 201);
    let rows = [
        ("merge-patch", json!({"metadata": {"resourceVersion": "1"}}), 409, "Conflict", "the object has been modified"),
        (
            "merge-patch",
            json!({"metadata": {"uid": "1"}}),
            422,
            "Invalid",
            "metadata.uid: Invalid value: \"1\": field is immutable",
        ),
        (
            "merge-patch",
            json!({"metadata": {"name": "q"}}),
            400,
            "BadRequest",
            "the name of the object (q) does not match the name on the URL (one)",
        ),
        (
            "merge-patch",
            json!({"data": {"a": 5}}),
            422,
            "Invalid",
            "json: cannot unmarshal number into Go struct field Secret.data of type []uint8",
        ),
        ("merge-patch", json!([]), 400, "BadRequest", ""),
        (
            "json-patch",
            json!([{"op": "test", "path": "/data/a", "value": "x"}]),
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        ),
        (
            "json-patch",
            json!([{"op": "remove", "path": "/data/zz"}]),
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        ),
        ("json-patch", json!({"op": "remove"}), 400, "BadRequest", "error decoding patch"),
        ("foo", json!({}), 415, "UnsupportedMediaType", "415: Unsupported Media Type"),
    ];
    let before = kube.server.resource_version();
    for (kind, body, code, reason, message) in rows {
        refused(&kube.patch(kind, &one(), body).await, code, reason, message);
    }
    let strict = kube.merge(&format!("{}?fieldValidation=Strict", one()), json!({"foo": 1})).await;
    refused(&strict, 422, "Invalid", "strict decoding error: unknown field \"foo\"");
    refused(
        &kube.merge(&format!("{}?force=true", one()), json!({})).await,
        422,
        "Invalid",
        "force: Forbidden: may not be specified for non-apply patch",
    );
    refused(
        &kube.merge(&format!("{DEFAULT}/secrets/zero"), json!({})).await,
        404,
        "NotFound",
        "secrets \"zero\" not found",
    );
    assert_eq!(kube.server.resource_version(), before);
}

#[tokio::test]
async fn apply_creates_changes_and_respects_other_owners() {
    let kube = start().await;
    let path = format!("{}?fieldManager=me", one());
    let config =
        |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}, "data": {"a": value}});
    let created = ok(kube.patch("apply", &path, config("Yg==")).await, 201);
    let owners = &created["metadata"]["managedFields"];
    assert_eq!(owners[0]["fieldsV1"], json!({"f:data": {"f:a": {}}}), "{owners}");
    assert_eq!(ok(kube.patch("apply", &path, config("Yg==")).await, 200), created, "again changes nothing");
    ok(kube.merge(&format!("{}?fieldManager=you", one()), json!({"data": {"a": "Yw=="}})).await, 200);
    let conflict = kube.patch("apply", &path, config("Yg==")).await;
    refused(&conflict, 409, "Conflict", "Apply failed with 1 conflict: conflict with \"you\" using v1: .data.a");
    assert_eq!(conflict.1["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let forced = ok(kube.patch("apply", &format!("{path}&force=true"), config("Yg==")).await, 200);
    assert_eq!(forced["data"]["a"], "Yg==");
    let mut empty = config("");
    empty.as_object_mut().unwrap().remove("data");
    let given_up = ok(kube.patch("apply", &path, empty).await, 200);
    assert!(given_up.get("data").is_none(), "{given_up}");
}

#[tokio::test]
async fn apply_by_kubectl_keeps_the_annotation_of_client_side_apply() {
    let kube = start().await;
    let name = "kubectl.kubernetes.io/last-applied-configuration";
    let mut body = secret("one");
    body["metadata"]["annotations"] = json!({name: "{}\n"});
    ok(kube.post(&secrets(), body).await, 201);
    let config = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}, "data": {"c": "ZA=="}});
    let other = ok(kube.patch("apply", &format!("{}?fieldManager=me", one()), config.clone()).await, 200);
    assert_eq!(other["metadata"]["annotations"][name], "{}\n");
    let applied = ok(kube.patch("apply", &format!("{}?fieldManager=kubectl", one()), config).await, 200);
    let text =
        "{\"apiVersion\":\"v1\",\"data\":{\"c\":\"ZA==\"},\"kind\":\"Secret\",\"metadata\":{\"name\":\"one\"}}\n";
    assert_eq!(applied["metadata"]["annotations"][name], text);
}

#[tokio::test]
async fn apply_takes_uid_and_version_as_preconditions() {
    let kube = start().await;
    let created = ok(kube.post(&secrets(), secret("one")).await, 201);
    let path = |name: &str| format!("{DEFAULT}/secrets/{name}?fieldManager=me&force=true");
    let config = |name: &str, meta: &[(&str, &str)]| {
        let mut config =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"a": "Yw=="}});
        for (key, value) in meta {
            config["metadata"][*key] = json!(value);
        }
        config
    };
    let uid = created["metadata"]["uid"].as_str().unwrap();
    let version = created["metadata"]["resourceVersion"].as_str().unwrap();
    refused(
        &kube.patch("apply", &path("one"), config("one", &[("uid", "z")])).await,
        422,
        "Invalid",
        "metadata.uid: Invalid value: \"z\": field is immutable",
    );
    refused(
        &kube.patch("apply", &path("one"), config("one", &[("resourceVersion", "1")])).await,
        409,
        "Conflict",
        "the object has been modified",
    );
    let absent = "Operation cannot be fulfilled on secrets \"zero\": uid mismatch: the provided object specified uid z, and no existing object was found";
    refused(&kube.patch("apply", &path("zero"), config("zero", &[("uid", "z")])).await, 409, "Conflict", absent);
    let applied =
        ok(kube.patch("apply", &path("one"), config("one", &[("uid", uid), ("resourceVersion", version)])).await, 200);
    assert_eq!(applied["data"]["a"], "Yw==");
    // A version alone does not keep apply from creating, as on a real server.
    ok(kube.patch("apply", &path("zero"), config("zero", &[("resourceVersion", "1")])).await, 201);
}

#[tokio::test]
async fn apply_requests_that_are_refused() {
    let kube = start().await;
    let good = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}});
    refused(
        &kube.patch("apply", &one(), good.clone()).await,
        422,
        "Invalid",
        "fieldManager: Required value: is required for apply patch",
    );
    let path = format!("{}?fieldManager=me", one());
    refused(&kube.patch("apply", &path, json!({"a": 1})).await, 400, "BadRequest", "invalid object type: /, Kind=");
    let mut other = good.clone();
    other["metadata"]["name"] = json!("three");
    refused(
        &kube.patch("apply", &path, other).await,
        400,
        "BadRequest",
        "the name of the object (three) does not match the name on the URL (one)",
    );
    let mut managed = good.clone();
    managed["metadata"]["managedFields"] = json!([{}]);
    refused(&kube.patch("apply", &path, managed).await, 400, "BadRequest", "metadata.managedFields must be nil");
    let mut unknown = good;
    unknown["foo"] = json!(1);
    refused(
        &kube.patch("apply", &path, unknown).await,
        500,
        "",
        "failed to create typed patch object (/one; /v1, Kind=Secret): .foo: field not declared in schema",
    );
    assert!(kube.server.object("secrets", "default", "one").is_none());
}

#[tokio::test]
async fn deletion_has_preconditions() {
    let kube = start().await;
    let created = ok(kube.post(&secrets(), secret("one")).await, 201);
    let uid = created["metadata"]["uid"].as_str().unwrap();
    let version = created["metadata"]["resourceVersion"].as_str().unwrap();
    let on = |preconditions: Value| json!({"preconditions": preconditions});
    let message = format!(
        "the UID in the precondition (z) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
    );
    refused(&kube.delete(&one(), on(json!({"uid": "z"}))).await, 409, "Conflict", &message);
    let message =
        format!("the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ({version})");
    refused(&kube.delete(&one(), on(json!({"resourceVersion": "1"}))).await, 409, "Conflict", &message);
    refused(
        &kube.delete(&one(), json!({"propagationPolicy": "Foo"})).await,
        422,
        "Invalid",
        "propagationPolicy: Unsupported value: \"Foo\"",
    );
    let both = json!({"orphanDependents": true, "propagationPolicy": "Foreground"});
    refused(
        &kube.delete(&one(), both).await,
        422,
        "Invalid",
        "orphanDependents and deletionPropagation cannot be both set",
    );
    let gone = ok(kube.delete(&one(), on(json!({"uid": uid, "resourceVersion": version}))).await, 200);
    assert_eq!(
        gone,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": {"name": "one", "kind": "secrets", "uid": uid}})
    );
    refused(&kube.delete(&one(), json!({})).await, 404, "NotFound", "secrets \"one\" not found");
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let kube = start().await;
    let mut body = secret("one");
    body["metadata"]["finalizers"] = json!(["a.dev/b", "a.dev/c"]);
    ok(kube.post(&secrets(), body).await, 201);
    let dying = ok(kube.delete(&one(), json!({})).await, 200);
    assert_eq!(dying["metadata"]["deletionTimestamp"], super::NOW);
    assert_eq!(dying["metadata"]["deletionGracePeriodSeconds"], 0);
    let before = kube.server.resource_version();
    ok(kube.delete(&one(), json!({})).await, 200);
    assert_eq!(kube.server.resource_version(), before, "dying twice is dying once");
    refused(
        &kube.post(&secrets(), secret("one")).await,
        409,
        "AlreadyExists",
        "object is being deleted: secrets \"one\" already exists",
    );
    let more = json!({"metadata": {"finalizers": ["a.dev/b", "a.dev/d"]}});
    refused(
        &kube.merge(&one(), more).await,
        422,
        "Invalid",
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{\"a.dev/d\"}",
    );
    ok(kube.merge(&one(), json!({"metadata": {"finalizers": ["a.dev/c"]}})).await, 200);
    ok(kube.merge(&one(), json!({"metadata": {"finalizers": null}})).await, 200);
    refused(&kube.get(&one()).await, 404, "NotFound", "");
}

#[tokio::test]
async fn immutable_secrets_and_config_maps_stay() {
    let kube = start().await;
    for plural in ["secrets", "configmaps"] {
        let kind = if plural == "secrets" { "Secret" } else { "ConfigMap" };
        let path = format!("{DEFAULT}/{plural}");
        let body = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "fixed"}, "data": {"a": "Yg=="}, "immutable": true});
        ok(kube.post(&path, body).await, 201);
        let path = format!("{path}/fixed");
        refused(
            &kube.merge(&path, json!({"data": {"a": "Yw=="}})).await,
            422,
            "Invalid",
            "data: Forbidden: field is immutable when `immutable` is set",
        );
        refused(
            &kube.merge(&path, json!({"immutable": false})).await,
            422,
            "Invalid",
            "immutable: Forbidden: field is immutable when `immutable` is set",
        );
        ok(kube.merge(&path, json!({"metadata": {"labels": {"a": "b"}}})).await, 200);
    }
}

#[tokio::test]
async fn leases_are_compared_and_set() {
    let kube = start().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let body = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "renewTime": "2026-11-25T07:00:00.000000Z"}});
    let created = ok(kube.post(path, body.clone()).await, 201);
    let one = format!("{path}/l");
    refused(
        &kube.put(&one, body).await,
        422,
        "Invalid",
        "metadata.resourceVersion: Invalid value: 0: must be specified for an update",
    );
    let mut mine = created.clone();
    mine["spec"]["holderIdentity"] = json!("b");
    ok(kube.put(&one, mine).await, 200);
    let mut late = created;
    late["spec"]["holderIdentity"] = json!("c");
    refused(
        &kube.put(&one, late).await,
        409,
        "Conflict",
        "Operation cannot be fulfilled on leases.coordination.k8s.io \"l\"",
    );
    refused(
        &kube.merge(&one, json!({"spec": {"leaseDurationSeconds": 0}})).await,
        422,
        "Invalid",
        "must be greater than 0",
    );
    refused(&kube.merge(&one, json!({"spec": {"renewTime": "soon"}})).await, 422, "Invalid", "");
}

#[tokio::test]
async fn events_are_the_same_in_both_groups() {
    let kube = start().await;
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let body = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "type": "Normal", "reason": "TokenCreated",
        "note": "made", "action": "Create", "eventTime": "2026-11-25T07:00:00.000000Z", "reportingController": "a.dev/c",
        "reportingInstance": "i", "regarding": {"apiVersion": "v1", "kind": "Secret", "name": "one", "namespace": "default", "uid": "u"},
    });
    let created = ok(kube.post(path, body.clone()).await, 201);
    assert_eq!((created["note"].as_str(), created["apiVersion"].as_str()), (Some("made"), Some("events.k8s.io/v1")));
    let core = ok(kube.get(&format!("{DEFAULT}/events/e")).await, 200);
    assert_eq!((core["message"].as_str(), core["involvedObject"]["name"].as_str()), (Some("made"), Some("one")));
    assert_eq!((core["reportingComponent"].as_str(), core["apiVersion"].as_str()), (Some("a.dev/c"), Some("v1")));
    for (query, count) in
        [("involvedObject.uid=u", 1), ("involvedObject.name=two", 0), ("reason=TokenCreated,type=Normal", 1)]
    {
        let list = ok(kube.get(&format!("{DEFAULT}/events?fieldSelector={query}")).await, 200);
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{query}");
    }
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-11-25T07:01:00.000000Z"}});
    let patched = ok(kube.merge(&format!("{path}/e"), series).await, 200);
    assert_eq!(patched["series"]["count"], 2);
    refused(
        &kube.merge(&format!("{path}/e"), json!({"note": "other"})).await,
        422,
        "Invalid",
        "message: Invalid value: \"other\": field is immutable",
    );
    let mut bare = body;
    bare["metadata"]["name"] = json!("f");
    for name in ["action", "reportingController", "reportingInstance", "reason", "eventTime"] {
        let mut body = bare.clone();
        body.as_object_mut().unwrap().remove(name);
        let answer = kube.post(path, body).await;
        refused(&answer, 422, "Invalid", "Event \"f\" is invalid");
        refused(&answer, 422, "Invalid", &format!("{name}: Required value"));
    }
}

#[tokio::test]
async fn bindings_keep_their_role() {
    let kube = start().await;
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let body = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]});
    let created = ok(kube.post(path, body).await, 201);
    assert_eq!(created["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    refused(
        &kube.merge(&format!("{path}/b"), json!({"roleRef": {"name": "q"}})).await,
        422,
        "Invalid",
        "roleRef: Invalid value",
    );
    let wrong = json!({"metadata": {"name": "c"}, "roleRef": {"kind": "Foo", "name": "r"}, "subjects": [{"kind": "Bar", "name": ""}]});
    let answer = kube.post(path, wrong).await;
    refused(
        &answer,
        422,
        "Invalid",
        "roleRef.kind: Unsupported value: \"Foo\": supported values: \"Role\", \"ClusterRole\"",
    );
    refused(&answer, 422, "Invalid", "subjects[0].name: Required value");
    let role = json!({"metadata": {"name": "r"}, "rules": [{"verbs": []}]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    refused(
        &kube.post(roles, role).await,
        422,
        "Invalid",
        "rules[0].verbs: Required value: verbs must contain at least one value",
    );
}

#[tokio::test]
async fn workloads_are_stored_and_counted() {
    let kube = start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    assert_eq!(ok(kube.post(path, body.clone()).await, 201)["metadata"]["generation"], 1);
    let one = format!("{path}/d");
    let restart =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    let restarted = ok(kube.patch("strategic-merge-patch", &one, restart).await, 200);
    assert_eq!(restarted["metadata"]["generation"], 2);
    assert_eq!(restarted["spec"]["template"]["metadata"]["labels"]["a"], "b");
    assert_eq!(
        ok(kube.merge(&one, json!({"metadata": {"labels": {"x": "y"}}})).await, 200)["metadata"]["generation"],
        2
    );
    let ready = ok(
        kube.merge(&format!("{one}/status"), json!({"status": {"replicas": 1}, "spec": {"replicas": 9}})).await,
        200,
    );
    assert_eq!((&ready["status"]["replicas"], &ready["spec"]["replicas"]), (&json!(1), &json!(1)));
    let mut wrong = body;
    wrong["metadata"]["name"] = json!("e");
    wrong["spec"]["template"]["metadata"]["labels"] = json!({"a": "c"});
    refused(&kube.post(path, wrong).await, 422, "Invalid", "`selector` does not match template `labels`");
    refused(
        &kube.post(path, json!({"metadata": {"name": "f"}, "spec": {}})).await,
        422,
        "Invalid",
        "spec.selector: Required value",
    );
}

#[tokio::test]
async fn what_the_sandbox_does_not_do_is_said() {
    let kube = start().await;
    let account = format!("{DEFAULT}/serviceaccounts/default/token");
    refused(&kube.post(&account, json!({})).await, 501, "NotImplemented", "no service account tokens");
    refused(&kube.get("/openapi/v2").await, 501, "NotImplemented", "OpenAPI v3 only");
    refused(&kube.get("/api/v1/pods").await, 404, "NotFound", "the server could not find the requested resource");
    refused(&kube.get(&format!("{DEFAULT}/secrets/one/log")).await, 404, "NotFound", "");
    refused(&kube.put(&secrets(), json!({})).await, 405, "MethodNotAllowed", "the server does not allow this method");
    refused(&kube.post(&one(), secret("one")).await, 405, "MethodNotAllowed", "");
    refused(&kube.delete("/api/v1/namespaces", json!({})).await, 405, "MethodNotAllowed", "");
    refused(&kube.post("/api/v1/secrets", secret("one")).await, 405, "MethodNotAllowed", "");
    refused(&kube.accept(&one(), "text/html").await, 406, "NotAcceptable", "Available representations");
    refused(&kube.accept(&one(), "application/vnd.kubernetes.protobuf").await, 406, "NotAcceptable", "");
    assert_eq!(kube.get("/apis/none/v1/things").await, (404, Value::from("404 page not found\n")));
    assert_eq!(kube.get("/foo").await, (404, Value::from("404 page not found\n")));
}

#[tokio::test]
async fn a_namespace_has_a_status_of_its_own() {
    let kube = start().await;
    let path = "/api/v1/namespaces/default";
    let main = json!({"status": {"phase": "X"}, "spec": {"finalizers": []}, "metadata": {"labels": {"a": "b"}}});
    let changed = ok(kube.merge(path, main).await, 200);
    assert_eq!(
        (&changed["status"]["phase"], &changed["spec"]["finalizers"]),
        (&json!("Active"), &json!(["kubernetes"]))
    );
    assert_eq!(changed["metadata"]["labels"]["a"], "b");
    let status =
        json!({"status": {"phase": "Terminating"}, "metadata": {"labels": {"c": "d"}}, "spec": {"finalizers": []}});
    let changed = ok(kube.merge(&format!("{path}/status"), status).await, 200);
    assert_eq!(
        (&changed["status"]["phase"], &changed["spec"]["finalizers"]),
        (&json!("Terminating"), &json!(["kubernetes"]))
    );
    assert_eq!(changed["metadata"]["labels"]["c"], "d");
}

#[tokio::test]
async fn a_collection_is_deleted_by_selection() {
    let kube = start().await;
    for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let mut body = secret(name);
        body["metadata"]["labels"] = json!({"l": label});
        ok(kube.post(&secrets(), body).await, 201);
    }
    let deleted = ok(kube.delete(&format!("{}?labelSelector=l%3Dx", secrets()), json!({})).await, 200);
    assert_eq!(deleted["items"].as_array().unwrap().len(), 2);
    assert_eq!(kube.server.objects("secrets").len(), 1);
}

#[tokio::test]
async fn yaml_is_read_and_written() {
    let kube: Kube = start().await;
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {a: b}\n";
    let request =
        kube.request(Method::POST, &format!("{DEFAULT}/configmaps")).header("content-type", "application/yaml");
    ok(Kube::answer(request.body(body)).await, 201);
    let (code, text) = kube.accept(&format!("{DEFAULT}/configmaps/y"), "application/yaml").await;
    assert_eq!(code, 200);
    assert!(text.as_str().unwrap().contains("data:\n  a: b\n"), "{text}");
}
