//! The servers, asked over the network.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use reqwest::{Method, StatusCode};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpStream, task::JoinHandle};

use super::{
    metrics::{Metrics, OrganizationSample, Snapshot, TokenSample},
    probes::{Probes, Readiness},
    *,
};

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
}

async fn serve(router: Router, grace: Duration) -> Running {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), "--health-addr", router).await.unwrap();
    let address = server.address();
    assert_ne!(address.port(), 0);
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.run_for(async { drop(stopped.await) }, grace));
    Running { address, stop: Some(stop), task }
}

fn client() -> reqwest::Client {
    // Another test may have installed one before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

impl Running {
    async fn ask(&self, method: Method, path: &str, accept: &str) -> reqwest::Response {
        let request = client().request(method, format!("http://{}{path}", self.address));
        request.header("accept", accept).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.ask(Method::GET, path, "*/*").await;
        (answer.status(), answer.text().await.unwrap())
    }
}

#[derive(Default)]
struct Stores(AtomicBool);

impl Readiness for Stores {
    fn missing(&self) -> Vec<&'static str> {
        if self.0.load(SeqCst) { Vec::new() } else { vec!["organizations", "names of other secrets"] }
    }
}

#[tokio::test]
async fn the_probes_tell_alive_from_ready() {
    let stores = Arc::new(Stores::default());
    let server = serve(Probes::new(stores.clone()).router(), GRACE).await;
    assert_eq!(server.get("/healthz").await, (StatusCode::OK, "ok\n".into()));
    let waiting = "not listed yet: organizations, names of other secrets\n";
    assert_eq!(server.get("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, waiting.into()));
    stores.0.store(true, SeqCst);
    assert_eq!(server.get("/readyz").await, (StatusCode::OK, "ok\n".into()));
    assert_eq!(server.get("/").await.0, StatusCode::NOT_FOUND);
    assert_eq!(server.get("/metrics").await.0, StatusCode::NOT_FOUND, "that is another port's");
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        assert_eq!(server.ask(method, "/readyz", "*/*").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn an_address_in_use_is_reported_with_its_flag() {
    let first = Server::bind("127.0.0.1:0".parse().unwrap(), "--metrics-addr", Router::new()).await.unwrap();
    let error = Server::bind(first.address(), "--metrics-addr", Router::new()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&first.address().to_string()) && text.contains("--metrics-addr"), "{text}");
    assert!(std::error::Error::source(&error).is_some());
    let taken = format!("[::]:{}", first.address().port()).parse().unwrap();
    assert!(Server::bind(taken, "--metrics-addr", Router::new()).await.is_err(), "a taken port is no lack of IPv6");
}

#[tokio::test]
async fn every_address_includes_ipv4() {
    let probes = Probes::new(Arc::new(Stores::default())).router();
    let server = Server::bind("[::]:0".parse().unwrap(), "--health-addr", probes).await.unwrap();
    let port = server.address().port();
    let task = tokio::spawn(server.run(std::future::pending()));
    let answer = client().get(format!("http://127.0.0.1:{port}/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    task.abort();
}

#[tokio::test]
async fn a_stop_ends_the_server_and_a_silent_client_does_not_keep_it() {
    let mut server = serve(Router::new(), Duration::ZERO).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    silent.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    // The server has taken the first connection once it answers a second one.
    assert_eq!(server.get("/").await.0, StatusCode::NOT_FOUND);
    server.stop.take().unwrap().send(()).unwrap();
    assert!(server.task.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_end() {
    let (entered, mut inside) = tokio::sync::mpsc::channel(1);
    let (leave, left) = tokio::sync::watch::channel(false);
    let handler = move || async move {
        entered.send(()).await.unwrap();
        left.clone().wait_for(|leave| *leave).await.unwrap();
        "done"
    };
    let router = Router::new().route("/slow", axum::routing::get(handler));
    let mut server = serve(router, Duration::from_secs(60)).await;
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    inside.recv().await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    tokio::task::yield_now().await;
    leave.send(true).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert!(server.task.await.unwrap().is_ok());
}

struct Objects;

impl Snapshot for Objects {
    fn tokens(&self) -> Vec<TokenSample> {
        let sample = |namespace: &str, name: &str, ready, expiration| TokenSample {
            namespace: namespace.into(),
            name: name.into(),
            organization: "acme".into(),
            expiration,
            renewal: Some(1_800_000_000.0),
            last_used: expiration.map(|_| 1_790_000_000.0),
            ready,
            targets: 2,
            published: 1,
        };
        vec![sample("payments", "pull", Some(true), Some(1_801_000_000.5)), sample("", "all", None, None)]
    }

    fn organizations(&self) -> Vec<OrganizationSample> {
        let sample = |managed| OrganizationSample {
            name: "acme".into(),
            states: vec![("managed", managed), ("expired", 1)],
            limit: 10,
        };
        // Two objects for one organization: one series all the same.
        vec![sample(3), sample(4)]
    }

    fn queues(&self) -> Vec<(&'static str, u64)> {
        vec![("token", 7), ("organization", 0)]
    }

    fn leads(&self) -> bool {
        true
    }
}

fn filled() -> Metrics {
    let metrics = Metrics::new();
    metrics.reconciled("token", "success", Duration::from_millis(20));
    metrics.reconciled("token", "requeue", Duration::from_millis(300));
    metrics.rotation("acme", "success");
    metrics.orphan_removed("acme");
    metrics.orphan_removed("acme");
    let observer = metrics.observer("acme");
    observer.request("create", "201", 0.3);
    observer.request("create", "timeout", 30.5);
    observer.rate_limit(177);
    observer.rate_limit(176);
    metrics
}

/// Reads a page strictly: each family is announced once, before its samples, and no sample comes twice.
fn parse(page: &str) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut families, mut samples) = (BTreeMap::new(), BTreeMap::new());
    let mut current = String::new();
    let body = page.strip_suffix("# EOF\n").expect("the page has an end");
    for line in body.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            current = name.to_owned();
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} comes twice");
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.ends_with('.') && !help.ends_with(".."), "{help}");
        } else if let Some(unit) = line.strip_prefix("# UNIT ") {
            assert_eq!(unit, format!("{current} seconds"));
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(&current), "{series} under {current}");
            assert!(samples.insert(series.to_owned(), value.to_owned()).is_none(), "{series} comes twice");
        }
    }
    (families, samples)
}

async fn page(metrics: &Metrics, accept: &str) -> (String, String) {
    let server = serve(metrics.router(), GRACE).await;
    let answer = server.ask(Method::GET, "/metrics", accept).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, answer.text().await.unwrap())
}

#[tokio::test]
async fn a_scrape_shows_what_was_counted_and_what_is_there() {
    let metrics = filled();
    metrics.collect(Objects);
    let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let (kind, text) = page(&metrics, prometheus).await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let (families, mut samples) = parse(&text);
    let buckets: Vec<(String, String)> = samples.extract_if(.., |series, _| series.contains("_bucket")).collect();
    assert!(buckets.contains(&(
        r#"oat_operator_hub_request_duration_seconds_bucket{le="0.5",organization="acme",operation="create"}"#.into(),
        "1".into()
    )));
    let families: Vec<String> = families.into_iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    let samples: Vec<String> = samples.into_iter().map(|(series, value)| format!("{series} {value}")).collect();
    insta::assert_snapshot!(families.join("\n"), @r"
    oat_operator_hub_rate_limit_remaining gauge
    oat_operator_hub_request_duration_seconds histogram
    oat_operator_hub_requests counter
    oat_operator_leader gauge
    oat_operator_organization_token_limit gauge
    oat_operator_organization_tokens gauge
    oat_operator_orphans_removed counter
    oat_operator_queue_depth gauge
    oat_operator_reconcile counter
    oat_operator_reconcile_duration_seconds histogram
    oat_operator_secret_published gauge
    oat_operator_secret_targets gauge
    oat_operator_token_expiration_timestamp_seconds gauge
    oat_operator_token_last_used_timestamp_seconds gauge
    oat_operator_token_ready gauge
    oat_operator_token_renewal_timestamp_seconds gauge
    oat_operator_token_rotations counter
    ");
    insta::assert_snapshot!(samples.join("\n"), @r#"
    oat_operator_hub_rate_limit_remaining{organization="acme"} 176
    oat_operator_hub_request_duration_seconds_count{organization="acme",operation="create"} 2
    oat_operator_hub_request_duration_seconds_sum{organization="acme",operation="create"} 30.8
    oat_operator_hub_requests_total{organization="acme",operation="create",code="201"} 1
    oat_operator_hub_requests_total{organization="acme",operation="create",code="timeout"} 1
    oat_operator_leader 1
    oat_operator_organization_token_limit{organization="acme"} 10
    oat_operator_organization_tokens{organization="acme",state="expired"} 1
    oat_operator_organization_tokens{organization="acme",state="managed"} 4
    oat_operator_orphans_removed_total{organization="acme"} 2
    oat_operator_queue_depth{controller="organization"} 0
    oat_operator_queue_depth{controller="token"} 7
    oat_operator_reconcile_duration_seconds_count{controller="token"} 2
    oat_operator_reconcile_duration_seconds_sum{controller="token"} 0.32
    oat_operator_reconcile_total{controller="token",result="requeue"} 1
    oat_operator_reconcile_total{controller="token",result="success"} 1
    oat_operator_secret_published{namespace="",name="all",organization="acme"} 1
    oat_operator_secret_published{namespace="payments",name="pull",organization="acme"} 1
    oat_operator_secret_targets{namespace="",name="all",organization="acme"} 2
    oat_operator_secret_targets{namespace="payments",name="pull",organization="acme"} 2
    oat_operator_token_expiration_timestamp_seconds{namespace="payments",name="pull",organization="acme"} 1801000000.5
    oat_operator_token_last_used_timestamp_seconds{namespace="payments",name="pull",organization="acme"} 1790000000.0
    oat_operator_token_ready{namespace="",name="all",organization="acme",condition="False"} 0
    oat_operator_token_ready{namespace="",name="all",organization="acme",condition="True"} 0
    oat_operator_token_ready{namespace="",name="all",organization="acme",condition="Unknown"} 1
    oat_operator_token_ready{namespace="payments",name="pull",organization="acme",condition="False"} 0
    oat_operator_token_ready{namespace="payments",name="pull",organization="acme",condition="True"} 1
    oat_operator_token_ready{namespace="payments",name="pull",organization="acme",condition="Unknown"} 0
    oat_operator_token_renewal_timestamp_seconds{namespace="",name="all",organization="acme"} 1800000000.0
    oat_operator_token_renewal_timestamp_seconds{namespace="payments",name="pull",organization="acme"} 1800000000.0
    oat_operator_token_rotations_total{organization="acme",result="success"} 1
    "#);
}

#[tokio::test]
async fn the_older_format_is_served_to_who_asks_for_it_alone() {
    let (kind, text) = page(&filled(), "text/plain;version=0.0.4;q=1,*/*;q=0.1").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(text.contains("# TYPE oat_operator_orphans_removed_total counter\n"));
    assert!(!text.contains("# EOF"));
    let (kind, _) = page(&filled(), "*/*").await;
    assert!(kind.starts_with("application/openmetrics-text"));
}

#[tokio::test]
async fn before_anything_happened_the_page_is_empty_and_valid() {
    let (_, text) = page(&Metrics::new(), "*/*").await;
    let (_, samples) = parse(&text);
    assert_eq!(samples, BTreeMap::new());
}

#[tokio::test]
async fn names_are_escaped() {
    let metrics = Metrics::new();
    metrics.orphan_removed("a\"b\\c\nd");
    let (_, text) = page(&metrics, "*/*").await;
    assert!(text.contains(r#"{organization="a\"b\\c\nd"} 1"#), "{text}");
}
