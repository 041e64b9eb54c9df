//! What Docker Hub says is not believed, and what a namespace says reaches nobody else: escapes, long texts, endpoints.

use std::{net::TcpListener, process::Command};

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use oat_operator::api::{Organization, OrganizationAccessToken, crds};
use oat_sandbox::{
    fault::{Canned, Fault, Rule},
    hub::NewToken,
    journal::Server,
};
use serde_json::{Value, json};

use crate::support::{
    eventually,
    scan::Scanner,
    world::{NAMESPACE, PASSWORD, World, apply_value, condition, is_ready, organization_yaml, sequence},
};

/// What a hostile text is made of: the cursor, colours, the title, the clipboard, bells, lines, directions, no width.
const NASTY: &str = "\u{1b}[31mRED\u{1b}[0m \u{1b}]0;title\u{7} \u{1b}]52;c;eA==\u{1b}\\ \u{9b}2J\u{90}q\u{85} \r\nline \u{202e}gpj.exe\u{2066} \
    \u{200b}\u{feff}\u{2028} {\"level\":\"ERROR\"} <script> %s %n \u{0} \u{7f}";

/// Where a text holds what no terminal may get: raw, or as JSON or Rust write it for readers that undo that.
fn control(text: &str) -> Option<String> {
    let raw = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if let Some(at) = text.find(|c| raw(&c)) {
        return Some(format!("{:?}", text[at..].chars().take(60).collect::<String>()));
    }
    let written = ["\\u001b", "\\u{1b}", "\\u0007", "\\u009b", "\\u0000", "\\u202e", "\\u{202e}", "\\u007f", "\\u{9b}"];
    let lower = text.to_lowercase();
    written.iter().find_map(|form| lower.find(form)).map(|at| lower[at..].chars().take(60).collect())
}

#[track_caller]
fn is_clean(place: &str, text: &str) {
    assert_eq!(control(text), None, "{place}");
}

#[test]
fn what_is_no_clean_text_is_seen() {
    for (at, bad) in NASTY.char_indices().filter(|(_, c)| c.is_control() && *c != '\n') {
        assert!(control(&format!("a{bad}b")).is_some(), "{at}: {bad:?}");
        assert!(
            control(&json!(format!("a{bad}b")).to_string()).is_some() || "\r\n\t\u{85}\u{90}".contains(bad),
            "{bad:?}"
        );
    }
    assert!(control("\u{202e}").is_some() && control(&format!("{:?}", "\u{202e}")).is_some());
    assert_eq!(control("a plain\ntext \u{e4} \u{1f511}"), None);
}

async fn text(world: &World, path: &str) -> String {
    world.client.request_text(http::Request::get(path).body(Vec::new()).unwrap()).await.unwrap()
}

/// Every sink at once.
async fn all_is_clean(world: &World) {
    let group = "/apis/oat-operator.dev/v1alpha1";
    for path in [
        format!("{group}/organizations"),
        format!("{group}/organizationaccesstokens"),
        "/apis/events.k8s.io/v1/events".into(),
    ] {
        let text = text(world, &path).await;
        is_clean(&path, &text);
        let objects: Value = serde_json::from_str(&text).unwrap();
        for object in objects["items"].as_array().unwrap() {
            let status = object["status"].to_string();
            assert!(status.len() <= 32 * 1024, "{path}: a status of {} bytes", status.len());
            let note = object["note"].as_str().unwrap_or_default();
            assert!(note.len() <= 1024, "{path}: a note of {} bytes", note.len());
        }
    }
    for operator in &world.operators {
        let metrics = reqwest::get(format!("http://{}/metrics", operator.metrics)).await.unwrap();
        is_clean("metrics", &metrics.text().await.unwrap());
        let log = operator.logged();
        let ours = log.lines().filter(|line| line.contains("oat_operator"));
        for line in ours {
            is_clean("the log", line);
            assert!(line.len() <= 8 * 1024, "a line of {} bytes", line.len());
        }
        assert!(!log.contains("\u{1b}") && !log.contains("\u{202e}"), "the log");
    }
}

/// An answer that refuses in words like these.
fn refusal(status: u16) -> Canned {
    let long = format!("{NASTY} {}", "x\u{1b}\u{1f511} ".repeat(2_000));
    let body = json!({"message": long, "detail": NASTY, "text": long, "errinfo": {NASTY: NASTY}, "fields": {NASTY: [NASTY]},
        "errors": [{"code": NASTY, "message": long}], "details": NASTY});
    Canned::json(status, &body).header("x-nasty", "\u{e4}")
}

async fn hostile_answers(format: &str) {
    let mut world = World::new().await;
    let acme = world.hub.organization("acme");
    for number in 0..30 {
        let label = format!("{number} {NASTY} {}", "\u{1f511}\u{1b}[2J\u{202e}\"\\".repeat(1_250));
        assert!(acme.create(NewToken::new("acme", &label)).is_some());
    }
    world.organization().await;
    world.start(&["--log-format", format]);
    world.token("pull", json!({})).await;
    world.until_ready("pull").await;
    let named = world.until_organization("names the others", |status| status.unmanaged.len() == 20).await;
    assert!(
        named.status.unwrap().unmanaged.iter().all(|token| token.label.contains("[31mRED") && token.label.len() <= 100)
    );

    // Every kind of refusal of a rotation, a proof, a change, a list.
    let waits = |reason: &'static str| {
        move |object: &OrganizationAccessToken| {
            condition(object, "Reconciling").or(condition(object, "Stalled")).is_some_and(|(_, found)| found == reason)
        }
    };
    for (number, (status, reason)) in
        [(400, "InvalidSpec"), (500, "HubUnavailable"), (403, "Forbidden")].into_iter().enumerate()
    {
        let create =
            Rule::new(Fault::Answer(refusal(status))).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens");
        let create = world.faults.install(create);
        world.annotate("pull", "oat-operator.dev/rotate", &format!("{number}")).await;
        world.faults.hit(create, 1).await;
        let object = world.until("pull", reason, waits(reason)).await;
        let conditions = object.status.unwrap().conditions;
        assert!(conditions.iter().any(|condition| condition.message.contains("[31mRED")), "{conditions:?}");
        all_is_clean(&world).await;
        world.faults.remove(create);
        world.annotate("pull", "oat-operator.dev/rotate", &format!("{number} again")).await;
        world.until("pull", "goes on", |object| is_ready(object) && condition(object, "Stalled").is_none()).await;
    }
    let prove = Rule::new(Fault::Answer(refusal(401))).on(Server::Registry).request("GET", "/token").once();
    let prove = world.faults.install(prove);
    let before = sequence(&world.until_ready("pull").await);
    world.annotate("pull", "oat-operator.dev/rotate", "proof").await;
    world.faults.hit(prove, 1).await;
    world.until("pull", "is rotated in the end", |object| sequence(object) > before && is_ready(object)).await;
    let login = Rule::new(Fault::Answer(refusal(401))).on(Server::Hub).request("POST", "/v2/auth/token");
    let login = world.faults.install(login);
    world.credentials(NAMESPACE, "another password").await;
    world.faults.hit(login, 1).await;
    let said = |status: &oat_operator::api::organization::OrganizationStatus| {
        status
            .conditions
            .iter()
            .any(|condition| condition.reason == "CredentialsInvalid" && condition.message.contains("[31mRED"))
    };
    world.until_organization("says what the login was refused for", said).await;
    let events: Api<Event> = Api::namespaced(world.client.clone(), NAMESPACE);
    eventually("an event repeats what was said", async || {
        let events = events.list(&Default::default()).await.ok()?;
        events.iter().any(|event| event.note.as_ref().is_some_and(|note| note.contains("[31mRED"))).then_some(())
    })
    .await;
    all_is_clean(&world).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn escapes_and_long_texts_of_docker_hub_reach_nobody_with_logs_in_json() {
    hostile_answers("json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn escapes_and_long_texts_of_docker_hub_reach_nobody_with_logs_as_text() {
    hostile_answers("text").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_five_megabytes_is_not_read() {
    let mut world = World::new().await;
    world.organization().await;
    world.start(&[]);
    let mut body = refusal(400);
    body.body = json!({"message": NASTY.repeat(40_000)}).to_string().into_bytes();
    assert!(body.body.len() > 5_000_000);
    let create = Rule::new(Fault::Answer(body)).on(Server::Hub).request("POST", "/v2/orgs/acme/access-tokens").times(2);
    world.faults.install(create);
    world.token("pull", json!({})).await;
    let says = |object: &OrganizationAccessToken| {
        let conditions = object.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|condition| condition.message.contains("over 1 MiB"))
    };
    world.until("pull", "says so", says).await;
    all_is_clean(&world).await;
    world.until_ready("pull").await;
    world.finish().await;
}

/// A place that nobody should ask.
fn elsewhere() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_can_not_say_where_credentials_go() {
    let namespaced = crds().into_iter().find(|crd| crd.spec.names.kind == "Organization").unwrap();
    let schema = serde_json::to_string(&namespaced).unwrap();
    for field in ["endpoints", "hub", "registryToken", "caBundleSecretRef", "url", "namespace"] {
        assert!(!schema.contains(&format!("\"{field}\":")), "{field}");
    }
    let (listener, url) = elsewhere();
    let mut world = World::new().await;
    let mut organization: Value = serde_yaml::from_str(&organization_yaml(NAMESPACE)).unwrap();
    organization["spec"]["endpoints"] = json!({"hub": url, "registryToken": format!("{url}/token")});
    organization["spec"]["hub"] = url.clone().into();
    let applied = apply_value(&world.client, organization.clone()).await;
    // A strict client is told; any other is heard without it.
    if let Err(error) = applied {
        assert!(error.to_string().contains("field not declared in schema"), "{error}");
        world.organization().await;
    }
    let path = format!("/apis/oat-operator.dev/v1alpha1/namespaces/{NAMESPACE}/organizations/acme");
    let request = http::Request::put(path.as_str());
    let stored: Value = serde_json::from_str(&text(&world, &path).await).unwrap();
    organization["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
    let put = request.header("content-type", "application/json").body(organization.to_string().into_bytes()).unwrap();
    let stored: Value = serde_json::from_str(&world.client.request_text(put).await.unwrap()).unwrap();
    assert_eq!((&stored["spec"]["endpoints"], &stored["spec"]["hub"]), (&Value::Null, &Value::Null));
    let typed: Organization = serde_json::from_value(stored).unwrap();
    assert!(serde_json::to_value(&typed.spec).unwrap().get("endpoints").is_none());
    world.start(&[]);
    world.token("pull", json!({})).await;
    world.until_ready("pull").await;
    assert!(listener.accept().is_err(), "somebody connected");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_endpoint_of_an_organization_is_plain_http_off_this_machine() {
    let mut world = World::new().await;
    world.credentials("oat-operator", PASSWORD).await;
    let organization = |endpoints: &Value| {
        json!({"apiVersion": "oat-operator.dev/v1alpha1", "kind": "ClusterOrganization", "metadata": {"name": "acme"},
            "spec": {"credentials": {"secretRef": {"name": "acme-owner"}}, "tokenLimit": 200, "endpoints": endpoints}})
        .to_string()
    };
    world.start(&[]);
    let mark = world.mark();
    for endpoints in [
        json!({"hub": "http://192.0.2.1"}),
        json!({"registryToken": "http://192.0.2.1/token"}),
        json!({"hub": "http://127.0.0.1.example.com"}),
        json!({"registryToken": "http://localhost.example.com/token"}),
        json!({"hub": "http://0.0.0.0"}),
    ] {
        world.apply(&organization(&endpoints)).await;
        let field = endpoints.as_object().unwrap().keys().next().unwrap().clone();
        eventually(&format!("{endpoints} is refused"), async || {
            let message = world.until_cluster_organization("False", "InvalidSpec").await;
            (message.contains(&field) && message.contains("must be https")).then_some(())
        })
        .await;
    }
    assert_eq!(world.hub_since(mark), [""; 0]);
    world.apply(&organization(&json!({}))).await;
    world.until_cluster_organization("True", "Succeeded").await;
    world.finish().await;
}

#[test]
fn the_sandbox_tells_no_secrets() {
    let output = Command::new(env!("CARGO_BIN_EXE_oat-operator"))
        .args(["sandbox", "--apply", "examples/quickstart", "--exit"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUST_LOG", "trace")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("accepts it"));
    for printed in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(printed).contains("sandbox-password"));
        Scanner::new(&[]).check("what it prints", printed);
    }
}

mod shown {
    //! What `Debug` says of every public type that holds a secret, or could.

    use std::fmt::Debug;

    use k8s_openapi::api::core::v1::Secret;
    use oat_operator::{
        cli::run::Args,
        hub::{Created, Credentials, Token},
        k8s::{Key, secrets},
    };
    use secrecy::SecretString;
    use serde_json::json;

    use crate::support::scan::Scanner;

    const SECRETS: [&str; 3] =
        ["planted+Passw0rd/of=owner", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "dckr_oat_PlantedValueOfThisToken012"];

    #[test]
    fn no_debug_output_shows_a_secret() {
        let scanner = Scanner::new(&SECRETS.map(ToOwned::to_owned));
        let [password, totp, value] = SECRETS;
        let show = |what: &dyn Debug| format!("{what:?}\n{what:#?}");
        let credentials = Credentials::parse(b"owner", password.as_bytes(), Some(totp.as_bytes())).unwrap();
        let token = Token {
            id: "t1".into(),
            label: "label".into(),
            description: None,
            resources: None,
            active: true,
            creation_time: None,
            expiration_time: None,
            last_used_time: None,
            created_by: None,
        };
        let created = Created { token, value: SecretString::from(value) };
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": "pull", "namespace": "payments"}, "type": "kubernetes.io/basic-auth",
            "data": {"username": "YWNtZQ==", "password": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, value)},
        }))
        .unwrap();
        // The type of Kubernetes itself does show it, which is why none of ours may hold one.
        assert!(scanner.find(show(&secret).as_bytes()).is_some());
        let whole = secrets::credentials(&secret).unwrap();
        let (key, entry): (Key, secrets::Entry) = secrets::entry(secret);
        let broken = Credentials::parse(b"owner", format!("{password}\u{7}").as_bytes(), None).unwrap_err();
        for (what, text) in [
            ("credentials", show(&credentials)),
            ("a created token", show(&created)),
            ("the entry of a Secret", show(&(key, entry))),
            ("a value out of a Secret", show(&whole)),
            ("refused credentials", format!("{}{broken}", show(&broken))),
            ("the flags", show(&Args::of(["oat-operator".to_owned()]))),
        ] {
            scanner.check(what, text.as_bytes());
        }
    }
}
