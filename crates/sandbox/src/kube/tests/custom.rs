//! Custom resources: schema, rules, defaults, status, lists and tables; and definitions that are refused.

use serde_json::{Value, json};

use super::{Kube, ok, refused, start, widget, widgets};

const WIDGETS: &str = "/apis/example.dev/v1/namespaces/default/widgets";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async fn started() -> Kube {
    let kube = start().await;
    kube.define(widgets()).await;
    kube
}

fn path(name: &str) -> String {
    format!("{WIDGETS}/{name}")
}

#[tokio::test]
async fn a_resource_is_there_once_its_definition_is_established() {
    let kube = start().await;
    assert_eq!(kube.get(WIDGETS).await.0, 404);
    kube.define(widgets()).await;
    let list = ok(kube.get(WIDGETS).await, 200);
    assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("WidgetList"), 0));
    let definition = ok(kube.get(&format!("{CRDS}/widgets.example.dev")).await, 200);
    assert_eq!(definition["spec"]["names"]["singular"], "widget");
    assert_eq!(definition["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
}

#[tokio::test]
async fn defaults_are_filled_in_and_the_status_is_not_the_clients() {
    let kube = started().await;
    let mut body = widget("a");
    body["status"] = json!({"phase": "x"});
    body["spec"]["unknown"] = json!(1);
    let created = ok(kube.post(WIDGETS, body).await, 201);
    assert_eq!(created["spec"], json!({"size": "big", "n": 3}));
    assert_eq!(created["status"], json!({"observedGeneration": -1}));
    assert_eq!(created["metadata"]["generation"], 1);
    let updated = ok(kube.merge(&path("a"), json!({"spec": {"n": 4}, "status": {"phase": "y"}})).await, 200);
    assert_eq!((&updated["metadata"]["generation"], updated["status"].get("phase")), (&json!(2), None));
    let status = json!({"spec": {"n": 5}, "status": {"phase": "z"}, "metadata": {"labels": {"a": "b"}}});
    let reported = ok(kube.merge(&format!("{}/status", path("a")), status).await, 200);
    assert_eq!(reported["spec"]["n"], 4);
    assert_eq!(reported["status"]["phase"], "z");
    assert_eq!(reported["metadata"]["generation"], 2);
    assert!(reported["metadata"].get("labels").is_none());
    let labelled = ok(kube.merge(&path("a"), json!({"metadata": {"labels": {"a": "b"}}})).await, 200);
    assert_eq!(labelled["metadata"]["generation"], 2);
    let managers = labelled["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|m| m["subresource"] == "status"), "{managers:?}");
}

#[tokio::test]
async fn schema_and_rules_are_kept() {
    let kube = started().await;
    let with = |spec: Value| {
        let mut body = widget("a");
        body["spec"] = spec;
        body
    };
    let rows = [
        (json!({"size": "huge"}), "spec.size: Unsupported value: \"huge\": supported values: \"small\", \"big\""),
        (json!({"size": "big", "n": 11}), "spec.n in body should be less than or equal to 10"),
        (json!({"size": "big", "list": ["a", "b", "c", "d"]}), "spec.list: Too many: 4: must have at most 3 items"),
        (json!({"size": 5}), "spec.size in body must be of type string: \"integer\""),
        (json!({"n": 1}), "spec.size: Required value"),
        (json!({"size": "big", "n": 7}), "Widget.example.dev \"a\" is invalid: spec: Invalid value: seven is taken"),
    ];
    for (spec, message) in rows {
        refused(&kube.post(WIDGETS, with(spec)).await, 422, "Invalid", message);
    }
    ok(kube.post(WIDGETS, widget("a")).await, 201);
    refused(&kube.merge(&path("a"), json!({"spec": {"size": "small"}})).await, 422, "Invalid", "size is immutable");
    refused(
        &kube.merge(&format!("{}/status", path("a")), json!({"status": {"phase": 5}})).await,
        422,
        "Invalid",
        "status.phase in body must be of type string",
    );
}

#[tokio::test]
async fn requests_of_other_shapes_are_refused() {
    let kube = started().await;
    let rows = [
        (json!({"metadata": {"name": "a"}}), 400, "BadRequest", "Object 'Kind' is missing in"),
        (
            json!({"kind": "Widget"}),
            400,
            "BadRequest",
            "the API version in the data () does not match the expected API version (example.dev/v1)",
        ),
        (
            json!({"apiVersion": "example.dev/v1", "kind": "Other", "metadata": {"name": "a"}}),
            422,
            "Invalid",
            "kind: Invalid value: \"Other\": must be Widget",
        ),
    ];
    for (body, code, reason, message) in rows {
        refused(&kube.post(WIDGETS, body).await, code, reason, message);
    }
    let mut unknown = widget("a");
    unknown["spec"]["foo"] = json!(1);
    refused(
        &kube.post(&format!("{WIDGETS}?fieldValidation=Strict"), unknown).await,
        400,
        "BadRequest",
        "strict decoding error: unknown field \"spec.foo\"",
    );
    ok(kube.post(WIDGETS, widget("a")).await, 201);
    refused(
        &kube.put(&path("a"), widget("a")).await,
        422,
        "Invalid",
        "metadata.resourceVersion: Invalid value: 0: must be specified for an update",
    );
    refused(
        &kube.patch("strategic-merge-patch", &path("a"), json!({})).await,
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format",
    );
    let apply = format!("{}/status?fieldManager=me", path("b"));
    refused(&kube.patch("apply", &apply, widget("b")).await, 404, "NotFound", "widgets.example.dev \"b\" not found");
    let mut undeclared = widget("b");
    undeclared["spec"]["foo"] = json!(1);
    let message = "failed to create typed patch object (/b; example.dev/v1, Kind=Widget): .spec.foo: field not declared in schema";
    refused(&kube.patch("apply", &format!("{}?fieldManager=me", path("b")), undeclared).await, 500, "", message);
}

#[tokio::test]
async fn deletion_counts_as_a_change() {
    let kube = started().await;
    let mut body = widget("a");
    body["metadata"]["finalizers"] = json!(["a.dev/b"]);
    ok(kube.post(WIDGETS, body).await, 201);
    assert_eq!(ok(kube.delete(&path("a"), json!({})).await, 200)["metadata"]["generation"], 2);
    let last = ok(kube.merge(&path("a"), json!({"metadata": {"finalizers": []}})).await, 200);
    assert!(last["metadata"].get("finalizers").is_none());
    assert_eq!(kube.get(&path("a")).await.0, 404);
}

async fn names(kube: &Kube, query: &str) -> Vec<String> {
    let list = ok(kube.get(&format!("{WIDGETS}?{query}")).await, 200);
    list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lists_are_selected() {
    let kube = started().await;
    for (name, size, label) in [("a", "big", "x"), ("b", "small", "y"), ("c", "big", "y")] {
        let mut body = widget(name);
        body["spec"]["size"] = json!(size);
        body["metadata"]["labels"] = json!({"l": label});
        ok(kube.post(WIDGETS, body).await, 201);
    }
    assert_eq!(names(&kube, "fieldSelector=spec.size%3Dbig").await, ["a", "c"]);
    assert_eq!(names(&kube, "fieldSelector=metadata.name%3Db").await, ["b"]);
    assert_eq!(names(&kube, "labelSelector=l+in+(y),l!%3Dx").await, ["b", "c"]);
    assert_eq!(names(&kube, "labelSelector=l%3Dy&fieldSelector=spec.size%3Dbig").await, ["c"]);
    let rows = [
        ("fieldSelector=spec.n%3D4", "field label not supported: spec.n"),
        ("fieldSelector=spec.n", "invalid selector: 'spec.n'; can't understand 'spec.n'"),
        ("labelSelector=a%20b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("continue=foo", "continue key is not valid"),
        ("resourceVersion=x", "invalid resource version"),
        ("limit=x", "invalid syntax"),
    ];
    for (query, message) in rows {
        refused(&kube.get(&format!("{WIDGETS}?{query}")).await, 400, "BadRequest", message);
    }
}

#[tokio::test]
async fn pages_show_one_moment() {
    let kube = started().await;
    for name in ["a", "b", "c", "d", "e"] {
        ok(kube.post(WIDGETS, widget(name)).await, 201);
    }
    let first = ok(kube.get(&format!("{WIDGETS}?limit=2")).await, 200);
    let version = &first["metadata"]["resourceVersion"];
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    ok(kube.delete(&path("c"), json!({})).await, 200);
    ok(kube.post(WIDGETS, widget("ca")).await, 201);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = ok(kube.get(&format!("{WIDGETS}?limit=2&continue={token}")).await, 200);
    let shown: Vec<&Value> = second["items"].as_array().unwrap().iter().map(|o| &o["metadata"]["name"]).collect();
    assert_eq!(shown, ["c", "d"], "as it was at the first page");
    assert_eq!(&second["metadata"]["resourceVersion"], version);
    let token = second["metadata"]["continue"].as_str().unwrap().to_owned();
    let third = ok(kube.get(&format!("{WIDGETS}?limit=2&continue={token}")).await, 200);
    assert_eq!(third["items"].as_array().unwrap().len(), 1);
    assert_eq!(third["metadata"]["continue"], "");
    assert_eq!(names(&kube, "limit=-1").await.len(), 5);
    kube.server.compact();
    refused(
        &kube.get(&format!("{WIDGETS}?limit=2&continue={token}")).await,
        410,
        "Expired",
        "The provided continue parameter is too old",
    );
}

#[tokio::test]
async fn lists_at_a_version() {
    let kube = started().await;
    let created = ok(kube.post(WIDGETS, widget("a")).await, 201);
    let then = created["metadata"]["resourceVersion"].as_str().unwrap();
    ok(kube.post(WIDGETS, widget("b")).await, 201);
    assert_eq!(names(&kube, &format!("resourceVersion={then}&resourceVersionMatch=Exact")).await, ["a"]);
    assert_eq!(names(&kube, &format!("resourceVersion={then}&resourceVersionMatch=NotOlderThan")).await, ["a", "b"]);
    assert_eq!(names(&kube, "resourceVersion=0").await, ["a", "b"]);
    let future = kube.get(&format!("{WIDGETS}?resourceVersion=999999")).await;
    refused(&future, 504, "Timeout", "Too large resource version: 999999, current: ");
    assert_eq!(future.1["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    refused(
        &kube.get(&format!("{}?resourceVersion=999999", path("a"))).await,
        504,
        "Timeout",
        "Too large resource version",
    );
    refused(
        &kube.get(&format!("{WIDGETS}?resourceVersionMatch=Exact")).await,
        422,
        "Invalid",
        "resourceVersionMatch is forbidden unless resourceVersion is provided",
    );
    kube.server.compact();
    refused(
        &kube.get(&format!("{WIDGETS}?resourceVersion={then}&resourceVersionMatch=Exact")).await,
        410,
        "Expired",
        "too old",
    );
}

#[tokio::test]
async fn tables_and_metadata() {
    let kube = started().await;
    ok(kube.post(WIDGETS, widget("a")).await, 201);
    let table = ok(kube.accept(WIDGETS, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await, 200);
    assert_eq!(table["kind"], "Table");
    let columns: Vec<&Value> = table["columnDefinitions"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(columns, ["Name", "Size"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", "big"]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let one = ok(
        kube.accept(&format!("{}?includeObject=None", path("a")), "application/json;as=Table;v=v1;g=meta.k8s.io").await,
        200,
    );
    assert!(one["rows"][0].get("object").is_none_or(Value::is_null), "{one}");
    let list = ok(kube.accept(WIDGETS, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").await, 200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert!(list["items"][0].get("spec").is_none());
    let meta = ok(kube.accept(&path("a"), "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").await, 200);
    assert_eq!(meta["metadata"]["name"], "a");
}

#[tokio::test]
async fn definitions_that_are_refused() {
    let kube = start().await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = widgets();
        change(&mut body);
        body
    };
    let schema = "/spec/versions/0/schema/openAPIV3Schema";
    let rows: Vec<(Value, &str)> = vec![
        (with(&|b| b["metadata"]["name"] = json!("foo.example.dev")), "must be spec.names.plural+\".\"+spec.group"),
        (
            with(&|b| b["spec"]["scope"] = json!("Galaxy")),
            "spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            with(&|b| b["spec"]["versions"][0]["storage"] = json!(false)),
            "must have exactly one version marked as storage version",
        ),
        (with(&|b| b["spec"]["names"]["kind"] = json!("A_b")), "spec.names.kind: Invalid value: \"A_b\""),
        (
            with(&|b| *b.pointer_mut(schema).unwrap() = json!({"type": "object", "properties": {"spec": {}}})),
            "properties[spec].type: Required value",
        ),
        (
            with(&|b| {
                b.pointer_mut(schema).unwrap()["properties"]["spec"]["x-kubernetes-validations"][0]["rule"] =
                    json!("self.nope == 1")
            }),
            "undefined field 'nope'",
        ),
        (
            with(&|b| {
                b.pointer_mut(schema).unwrap()["properties"]["spec"]["x-kubernetes-validations"][0]["rule"] =
                    json!("self.n ==")
            }),
            "compilation failed",
        ),
        (
            with(&|b| b["spec"]["versions"][0]["additionalPrinterColumns"][0]["type"] = json!("colour")),
            "must be one of boolean,date,integer,number,string",
        ),
        (
            with(&|b| b["spec"]["versions"][0]["selectableFields"][0]["jsonPath"] = json!(".spec.nope")),
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec.nope\": is an invalid path: does not refer to a valid field",
        ),
        (
            with(&|b| b["spec"]["versions"][0]["selectableFields"][0]["jsonPath"] = json!(".spec")),
            "must point to a field of type string, boolean or integer",
        ),
        (with(&|b| b["spec"]["conversion"] = json!({"strategy": "Webhook"})), "the sandbox calls no webhooks"),
    ];
    for (body, message) in rows {
        refused(&kube.post(CRDS, body).await, 422, "Invalid", message);
    }
    kube.define(widgets()).await;
    refused(
        &kube.merge(&format!("{CRDS}/widgets.example.dev"), json!({"spec": {"scope": "Cluster"}})).await,
        422,
        "Invalid",
        "spec.scope: Invalid value: \"Cluster\": field is immutable",
    );
}

#[tokio::test]
async fn a_changed_definition_holds_for_what_is_there() {
    let kube = started().await;
    ok(kube.post(WIDGETS, widget("a")).await, 201);
    let mut changed = ok(kube.get(&format!("{CRDS}/widgets.example.dev")).await, 200);
    let spec = &mut changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    spec["colour"] = json!({"type": "string", "default": "red"});
    spec.as_object_mut().unwrap().remove("n");
    let rules = &mut changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    rules["x-kubernetes-validations"] = json!([]);
    ok(kube.put(&format!("{CRDS}/widgets.example.dev"), changed).await, 200);
    kube.until(|k| k.server.object("widgets.example.dev", "default", "a").unwrap()["spec"]["colour"] == "red").await;
    let read = ok(kube.get(&path("a")).await, 200);
    assert_eq!(read["spec"], json!({"size": "big", "colour": "red"}));
    let (_, document) = kube.get("/openapi/v3/apis/example.dev/v1").await;
    assert!(document.to_string().contains("colour"), "documents follow");
}

#[tokio::test]
async fn versions_show_the_same_objects() {
    let kube = start().await;
    let mut definition = widgets();
    let mut old = definition["spec"]["versions"][0].clone();
    old["name"] = json!("v1beta1");
    old["storage"] = json!(false);
    old["deprecated"] = json!(true);
    definition["spec"]["versions"].as_array_mut().unwrap().push(old);
    kube.define(definition).await;
    ok(kube.post(WIDGETS, widget("a")).await, 201);
    let path = "/apis/example.dev/v1beta1/namespaces/default/widgets/a";
    let shown = ok(kube.get(path).await, 200);
    assert_eq!((shown["apiVersion"].as_str(), shown["spec"]["n"].as_i64()), (Some("example.dev/v1beta1"), Some(3)));
    let patch = kube.request(reqwest::Method::PATCH, path).header("content-type", "application/merge-patch+json");
    let answer = patch.body(json!({"spec": {"n": 4}}).to_string()).send().await.unwrap();
    assert_eq!(answer.headers()["warning"], "299 - \"example.dev/v1beta1 Widget is deprecated\"");
    let read = ok(kube.get(&super::custom::path("a")).await, 200);
    assert_eq!((read["apiVersion"].as_str(), read["spec"]["n"].as_i64()), (Some("example.dev/v1"), Some(4)));
    let group = ok(kube.get("/apis/example.dev").await, 200);
    assert_eq!(group["versions"][0]["version"], "v1", "the more stable version first");
}

#[tokio::test]
async fn cluster_wide_resources_have_no_namespace() {
    let kube = start().await;
    let mut definition = widgets();
    definition["spec"]["scope"] = json!("Cluster");
    kube.define(definition).await;
    let path = "/apis/example.dev/v1/widgets";
    ok(kube.post(path, widget("a")).await, 201);
    assert_eq!(ok(kube.get(&format!("{path}/a")).await, 200)["metadata"].get("namespace"), None);
    refused(&kube.get(WIDGETS).await, 404, "NotFound", "the server could not find the requested resource");
    let mut placed = widget("b");
    placed["metadata"]["namespace"] = json!("default");
    refused(&kube.post(path, placed).await, 400, "BadRequest", "the namespace of the provided object does not match");
}
