//! Each fault does what it says, over a real connection; no test waits for time to pass.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::routing::{get, post};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::fault::{Canned, Fault, Rule, RuleId};
use crate::testing::{HeldClock, client, crypto};
use crate::tls::{Authority, Certificate};

/// A server that counts what it executes and answers `count` in front of 600 dots.
struct Counting {
    serving: Serving,
    journal: Journal,
    faults: Faults,
    executed: Arc<AtomicU64>,
}

fn whole(count: u64) -> String {
    format!("{count}{}", ".".repeat(600))
}

async fn counting_with(tls: Option<Arc<rustls::ServerConfig>>) -> Counting {
    let executed = Arc::new(AtomicU64::new(0));
    let count = async |State(executed): State<Arc<AtomicU64>>| whole(executed.fetch_add(1, Ordering::SeqCst) + 1);
    let stream = async || {
        let first = futures::stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"first"))]);
        Body::from_stream(first.chain(futures::stream::pending()))
    };
    let router = Router::new()
        .route("/count", get(count).post(count))
        .route("/stream", get(stream))
        .route(
            "/echo",
            post(async |RawQuery(query): RawQuery, body: String| format!("{} {body}", query.unwrap_or_default())),
        )
        .with_state(executed.clone());
    let (journal, faults) = (Journal::new(), Faults::new());
    let clock = HeldClock::at("2026-11-25T00:00:00Z").clock();
    let mut options = ServeOptions::new(Server::Hub, clock, journal.clone(), faults.clone());
    options.tls = tls;
    let serving = serve(options, router).await.unwrap();
    Counting { serving, journal, faults, executed }
}

async fn counting() -> Counting {
    counting_with(None).await
}

impl Counting {
    async fn get(&self) -> reqwest::Result<String> {
        client().get(format!("{}/count", self.serving.url())).send().await?.text().await
    }

    fn begin(&self) -> JoinHandle<reqwest::Result<String>> {
        let url = format!("{}/count", self.serving.url());
        tokio::spawn(async move { client().get(url).send().await?.text().await })
    }

    fn executed(&self) -> u64 {
        self.executed.load(Ordering::SeqCst)
    }

    fn install(&self, fault: Fault) -> RuleId {
        self.faults.install(Rule::new(fault).once())
    }

    async fn raw(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.serving.addr).await.unwrap();
        stream.write_all(b"GET /count HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream
    }

    /// The last entry, when it has its answer or its connection was closed.
    fn last(&self) -> Entry {
        self.journal.entries().pop().unwrap()
    }
}

#[tokio::test]
async fn a_request_is_journaled_without_its_authorization() {
    let server = counting().await;
    let url = format!("{}/count?a=b&c", server.serving.url());
    client().post(url).bearer_auth("hush-hush").body("{\"x\":1}").send().await.unwrap();
    let entry = server.last();
    assert_eq!(entry.line(), "POST /count?a=b&c");
    assert_eq!((entry.index, entry.status, entry.executed, entry.fault.as_deref()), (0, Some(200), true, None));
    assert_eq!(entry.user_agent, "test/1");
    assert_eq!(entry.json().unwrap()["x"], 1);
    assert_eq!(entry.time.to_string(), "2026-11-25T00:00:00Z");
    assert!(entry.is_write());
    assert!(!format!("{:?}", server.journal.entries()).contains("hush-hush"));
}

#[tokio::test]
async fn the_journal_keeps_one_order_and_wakes_those_who_wait() {
    let server = counting().await;
    let journal = server.journal.clone();
    let waiting = tokio::spawn(async move {
        journal.wait_for(|entries| entries.iter().filter(|entry| entry.status == Some(200)).count() == 3).await;
    });
    for _ in 0..3 {
        server.get().await.unwrap();
    }
    waiting.await.unwrap();
    let indexes: Vec<u64> = server.journal.entries().iter().map(|entry| entry.index).collect();
    assert_eq!(indexes, [0, 1, 2]);
    assert_eq!(server.journal.since(1).len(), 2);
    assert_eq!((server.journal.len(), server.journal.is_empty()), (3, false));
    assert!(server.journal.writes(Server::Hub).is_empty());
    assert!(server.journal.of(Server::Kubernetes).is_empty());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_unexecuted() {
    let server = counting().await;
    let url = format!("{}/count", server.serving.url());
    let sent = client().post(url).body(vec![b'x'; REQUEST_LIMIT + 1]).send().await;
    // The connection may be closed while the client still writes.
    assert!(sent.is_err() || sent.is_ok_and(|answer| answer.status() == 413));
    assert_eq!(server.executed(), 0);
}

#[tokio::test]
async fn refuse_closes_without_executing() {
    let server = counting().await;
    server.install(Fault::Refuse);
    assert!(server.get().await.is_err());
    assert_eq!(server.executed(), 0);
    let entry = server.last();
    assert_eq!((entry.status, entry.executed, entry.fault.as_deref()), (None, false, Some("Refuse")));
    assert_eq!(server.get().await.unwrap(), whole(1));
}

#[tokio::test]
async fn lose_answer_executes_and_closes() {
    let server = counting().await;
    server.install(Fault::LoseAnswer);
    assert!(server.get().await.is_err());
    assert_eq!(server.executed(), 1);
    assert_eq!((server.last().status, server.last().executed), (None, true));
}

#[tokio::test]
async fn answer_replaces_and_answer_after_also_executes() {
    let server = counting().await;
    let url = format!("{}/count", server.serving.url());
    let canned = Canned::html(503, "<h1>no</h1>").header("retry-after", "soon");
    server.install(Fault::Answer(canned.clone()));
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "soon"));
    assert_eq!(answer.headers()["content-type"], "text/html; charset=UTF-8");
    assert_eq!(answer.text().await.unwrap(), "<h1>no</h1>");
    assert_eq!(server.executed(), 0);
    server.install(Fault::AnswerAfter(canned));
    assert_eq!(client().get(&url).send().await.unwrap().status(), 503);
    assert_eq!(server.executed(), 1);
    assert_eq!(server.last().status, Some(503));
}

#[tokio::test]
async fn redirect_is_not_executed() {
    let server = counting().await;
    server.install(Fault::Redirect { status: 307, location: "https://elsewhere.example/".to_owned() });
    let answer = client().get(format!("{}/count", server.serving.url())).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["location"]),
        (307, &"https://elsewhere.example/".parse().unwrap())
    );
    assert_eq!(server.executed(), 0);
}

#[tokio::test]
async fn delay_holds_the_request_before_it_is_executed() {
    let server = counting().await;
    let rule = server.install(Fault::Delay(Duration::from_secs(3600)));
    let asking = server.begin();
    server.faults.hit(rule, 1).await;
    assert_eq!((server.executed(), asking.is_finished()), (0, false));
    server.faults.release(rule);
    assert_eq!(asking.await.unwrap().unwrap(), whole(1));
    let rule = server.install(Fault::Delay(Duration::ZERO));
    assert_eq!(server.get().await.unwrap(), whole(2));
    assert_eq!(server.faults.hits(rule), 1);
}

#[tokio::test]
async fn hang_before_is_executed_when_released() {
    let server = counting().await;
    let rule = server.install(Fault::HangBefore);
    let asking = server.begin();
    server.faults.hit(rule, 1).await;
    assert_eq!((server.executed(), server.last().executed), (0, false));
    server.faults.release(rule);
    assert_eq!(asking.await.unwrap().unwrap(), whole(1));
}

#[tokio::test]
async fn hang_before_is_not_executed_once_the_client_has_gone() {
    let server = counting().await;
    let rule = server.install(Fault::HangBefore);
    let stream = server.raw().await;
    server.faults.hit(rule, 1).await;
    drop(stream);
    // Closing what is left of the connection makes sure that the server has let go of the request.
    server.serving.shutdown().await;
    server.faults.release(rule);
    assert_eq!(server.executed(), 0);
}

#[tokio::test]
async fn removing_a_rule_releases_what_it_holds() {
    let server = counting().await;
    let rule = server.install(Fault::HangBefore);
    let asking = server.begin();
    server.faults.hit(rule, 1).await;
    server.faults.remove(rule);
    assert_eq!(asking.await.unwrap().unwrap(), whole(1));
    assert_eq!(server.faults.hits(rule), 1);
    let rule = server.faults.install(Rule::new(Fault::HangAfter));
    let asking = server.begin();
    server.faults.hit(rule, 1).await;
    server.faults.clear();
    assert_eq!(asking.await.unwrap().unwrap(), whole(2));
    assert_eq!(server.get().await.unwrap(), whole(3));
}

#[tokio::test]
async fn hang_after_executes_and_keeps_the_answer() {
    let server = counting().await;
    let rule = server.install(Fault::HangAfter);
    let asking = server.begin();
    server.journal.wait_for(|entries| entries.iter().any(|entry| entry.executed)).await;
    server.journal.wait_for(|_| server.executed() == 1).await;
    assert!(!asking.is_finished());
    assert_eq!(server.last().status, None);
    server.faults.release(rule);
    assert_eq!(asking.await.unwrap().unwrap(), whole(1));
}

#[tokio::test]
async fn truncate_sends_half_under_the_full_length() {
    let server = counting().await;
    server.install(Fault::Truncate);
    let mut stream = server.raw().await;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    let received = String::from_utf8(received).unwrap();
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 601"), "{head}");
    assert_eq!(body, &whole(1)[..300]);
    assert_eq!(server.executed(), 1);
    server.install(Fault::Truncate);
    assert!(server.get().await.is_err());
}

#[tokio::test]
async fn drip_sends_a_byte_at_a_time_until_released() {
    let server = counting().await;
    let rule = server.install(Fault::Drip);
    let mut answer = client().get(format!("{}/count", server.serving.url())).send().await.unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    assert_eq!(first.as_ref(), b"1");
    server.faults.release(rule);
    let mut rest = first.to_vec();
    while let Some(piece) = answer.chunk().await.unwrap() {
        rest.extend_from_slice(&piece);
    }
    assert_eq!(String::from_utf8(rest).unwrap(), whole(1));
}

#[tokio::test]
async fn commit_later_executes_after_the_client_has_gone() {
    let server = counting().await;
    let rule = server.install(Fault::CommitLater);
    let stream = server.raw().await;
    server.faults.hit(rule, 1).await;
    drop(stream);
    server.serving.listener().close_connections();
    // Other requests go on meanwhile.
    assert_eq!(server.get().await.unwrap(), whole(1));
    server.faults.release(rule);
    server.journal.wait_for(|entries| entries[0].executed).await;
    assert_eq!(server.get().await.map(|text| text.len()).unwrap(), 601);
    assert_eq!(server.executed(), 3);
    assert_eq!(server.journal.entries()[0].status, None);
}

#[tokio::test]
async fn commit_later_answers_a_client_that_waited() {
    let server = counting().await;
    let rule = server.install(Fault::CommitLater);
    let asking = server.begin();
    server.faults.hit(rule, 1).await;
    assert_eq!(server.executed(), 0);
    server.faults.release(rule);
    assert_eq!(asking.await.unwrap().unwrap(), whole(1));
}

#[tokio::test]
async fn commit_after_executes_by_itself() {
    let server = counting().await;
    let rule = server.install(Fault::CommitAfter(Duration::ZERO));
    let stream = server.raw().await;
    server.faults.hit(rule, 1).await;
    drop(stream);
    server.serving.listener().close_connections();
    server.journal.wait_for(|_| server.executed() == 1).await;
    let rule = server.install(Fault::CommitAfter(Duration::from_secs(3600)));
    let asking = server.begin();
    server.faults.hit(rule, 1).await;
    assert_eq!((server.executed(), asking.is_finished()), (1, false));
    server.faults.release(rule);
    assert_eq!(asking.await.unwrap().unwrap(), whole(2));
}

#[tokio::test]
async fn mute_sends_the_head_and_the_body_when_released() {
    let server = counting().await;
    let rule = server.install(Fault::Mute);
    let mut answer = client().get(format!("{}/stream", server.serving.url())).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    {
        let mut silence = std::pin::pin!(answer.chunk());
        assert!(futures::poll!(&mut silence).is_pending());
    }
    server.faults.release(rule);
    assert_eq!(answer.chunk().await.unwrap().unwrap().as_ref(), b"first");
}

#[tokio::test]
async fn cut_after_ends_the_body_in_good_order() {
    let server = counting().await;
    let rule = server.install(Fault::CutAfter(Duration::from_secs(3600)));
    let mut answer = client().get(format!("{}/stream", server.serving.url())).send().await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap().as_ref(), b"first");
    server.faults.release(rule);
    assert_eq!(answer.chunk().await.unwrap(), None);
    server.install(Fault::CutAfter(Duration::from_millis(1)));
    let answer = client().get(format!("{}/stream", server.serving.url())).send().await.unwrap();
    assert!(answer.bytes().await.is_ok());
}

#[tokio::test]
async fn flood_sends_spaces_behind_the_body() {
    let server = counting().await;
    server.install(Fault::Flood(200_000));
    let text = server.get().await.unwrap();
    assert_eq!((text.len(), text.trim_end().to_owned()), (601 + 200_000, whole(1)));
}

#[tokio::test]
async fn first_is_done_before_the_request_and_may_change_it() {
    let server = counting().await;
    let executed = server.executed.clone();
    server.install(Fault::first(move |sent| {
        assert_eq!((sent.path.as_str(), sent.query.as_str()), ("/count", ""));
        executed.store(41, Ordering::SeqCst);
    }));
    assert_eq!(server.get().await.unwrap(), whole(42));
    let url = format!("{}/echo?a=1", server.serving.url());
    server.install(Fault::first(|sent| {
        sent.query.push_str("&b=2");
        sent.body.extend_from_slice(b" and more");
    }));
    assert_eq!(client().post(&url).body("this").send().await.unwrap().text().await.unwrap(), "a=1&b=2 this and more");
    assert_eq!(client().post(&url).body("this").send().await.unwrap().text().await.unwrap(), "a=1 this");
}

#[tokio::test]
async fn then_changes_the_answer_and_its_length() {
    let server = counting().await;
    server.install(Fault::then(|answer| {
        assert_eq!(answer.status, 200);
        answer.status = 203;
        answer.body.truncate(1);
    }));
    let answer = client().get(format!("{}/count", server.serving.url())).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.content_length()), (203, Some(1)));
    assert_eq!(answer.text().await.unwrap(), "1");
    assert_eq!(server.executed(), 1);
}

#[tokio::test]
async fn a_listener_refuses_until_it_is_told_to_take_connections_again() {
    let server = counting().await;
    let mut answer = client().get(format!("{}/stream", server.serving.url())).send().await.unwrap();
    answer.chunk().await.unwrap();
    let listener = server.serving.listener();
    let down = listener.clone();
    server.install(Fault::instead(move |_| down.refuse(true)));
    assert!(server.get().await.is_err());
    assert!(answer.chunk().await.is_err());
    assert_eq!(server.executed(), 0);
    // The listener is closed as soon as its task runs.
    while TcpStream::connect(server.serving.addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(server.get().await.unwrap_err().is_connect());
    listener.refuse(false);
    while TcpStream::connect(server.serving.addr).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.get().await.unwrap(), whole(1));
}

#[tokio::test]
async fn twice_executes_twice_and_answers_the_second() {
    let server = counting().await;
    server.install(Fault::Twice);
    assert_eq!(server.get().await.unwrap(), whole(2));
}

#[tokio::test]
async fn rules_choose_by_server_request_and_number() {
    let server = counting().await;
    let elsewhere = server.faults.install(Rule::new(Fault::Refuse).on(Server::Kubernetes));
    let posts = server.faults.install(Rule::new(Fault::Refuse).on(Server::Hub).request("POST", "/count"));
    let second = server.faults.install(Rule::new(Fault::LoseAnswer).request("GET", "/cou").skip(1).times(2));
    assert!(server.get().await.is_ok());
    assert!(server.get().await.is_err());
    assert!(server.get().await.is_err());
    assert!(server.get().await.is_ok());
    assert!(client().post(format!("{}/count", server.serving.url())).send().await.is_err());
    let hits = [elsewhere, posts, second].map(|rule| server.faults.hits(rule));
    assert_eq!(hits, [0, 1, 2]);
    assert_eq!(server.executed(), 4);
}

#[tokio::test]
async fn the_freeze_executes_one_more_request_and_then_none() {
    let server = counting().await;
    server.faults.freeze_at(2, |request| request.method == "GET");
    assert_eq!(server.get().await.unwrap(), whole(1));
    let url = format!("{}/count", server.serving.url());
    // Not counted, as the predicate does not accept it.
    assert!(client().post(&url).send().await.is_ok());
    assert!(!server.faults.is_frozen());
    let asking = server.begin();
    server.faults.frozen().await;
    assert_eq!(server.executed(), 3);
    assert!(server.get().await.is_err());
    assert!(server.get().await.is_err());
    assert_eq!((server.executed(), asking.is_finished()), (3, false));
    assert!(client().post(&url).send().await.is_ok());
    server.faults.thaw();
    assert!(asking.await.unwrap().is_err());
    assert_eq!(server.get().await.unwrap(), whole(5));
    assert!(!server.faults.is_frozen());
}

#[tokio::test]
async fn answers_are_streamed() {
    let server = counting().await;
    let mut answer = client().get(format!("{}/stream", server.serving.url())).send().await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap().as_ref(), b"first");
    server.serving.listener().close_connections();
    assert!(answer.chunk().await.is_err());
    assert_eq!(server.get().await.unwrap(), whole(1));
}

#[tokio::test]
async fn after_shutdown_nothing_is_open_and_the_port_can_be_taken_again() {
    let server = counting().await;
    let mut answer = client().get(format!("{}/stream", server.serving.url())).send().await.unwrap();
    answer.chunk().await.unwrap();
    server.serving.shutdown().await;
    assert!(answer.chunk().await.is_err());
    assert!(TcpStream::connect(server.serving.addr).await.is_err());
    let again = TcpListener::bind(server.serving.addr).await;
    assert!(again.is_ok());
}

#[tokio::test]
async fn a_port_stays_taken_while_nobody_listens() {
    let server = counting().await;
    let options = server.serving.again(&ServeOptions::new(
        Server::Hub,
        crate::clock::Clock::system(),
        Journal::new(),
        Faults::new(),
    ));
    server.serving.shutdown().await;
    // Who doesn't say that he shares it can't have it: no client's own port, no other server's.
    let alone = tokio::net::TcpSocket::new_v4().unwrap();
    assert!(alone.bind(server.serving.addr).is_err());
    drop(server);
    let again = serve(options, axum::Router::new()).await.unwrap();
    assert!(TcpStream::connect(again.addr).await.is_ok());
}

fn trusting(authority: &Authority) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(authority.ca_pem().as_bytes()).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap()
}

#[tokio::test]
async fn tls_is_trusted_by_those_who_know_the_authority() {
    crypto();
    let authority = Authority::new().unwrap();
    let now = crate::clock::Clock::system().now();
    let server = counting_with(Some(authority.server_config(&Certificate::loopback(now)).unwrap())).await;
    let url = format!("{}/count", server.serving.url());
    assert!(url.starts_with("https://127.0.0.1:"));
    let answer = trusting(&authority).get(&url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    assert!(trusting(&Authority::new().unwrap()).get(&url).send().await.is_err());
    // Over HTTP/2, a fault closes the stream.
    server.install(Fault::LoseAnswer);
    assert!(trusting(&authority).get(&url).send().await.is_err());
    assert_eq!(server.executed(), 2);
}

#[tokio::test]
async fn tls_can_be_wrong_on_purpose() {
    crypto();
    let authority = Authority::new().unwrap();
    let good = Certificate::loopback(crate::clock::Clock::system().now());
    let other_name = Certificate { names: vec!["elsewhere.example".to_owned()], ..good.clone() };
    let expired = Certificate {
        not_before: "2001-01-01T00:00:00Z".parse().unwrap(),
        not_after: "2002-01-01T00:00:00Z".parse().unwrap(),
        ..good.clone()
    };
    let stranger = Authority::new().unwrap();
    let server = counting_with(Some(authority.server_config(&good).unwrap())).await;
    let listener = server.serving.listener();
    // One client: that it trusted the last certificate helps the next one nothing.
    let trusting = trusting(&authority);
    let wrong = [(&authority, &other_name), (&authority, &expired), (&stranger, &good)];
    for (signer, certificate, accepted) in
        wrong.into_iter().flat_map(|(signer, certificate)| [(&authority, &good, true), (signer, certificate, false)])
    {
        listener.show(signer.server_config(certificate).unwrap());
        let url = format!("{}/count", server.serving.url());
        let before = server.executed();
        assert_eq!(trusting.get(url).send().await.is_ok(), accepted, "{certificate:?}");
        assert_eq!(server.executed(), before + u64::from(accepted));
    }
}
