//! Credentials go to one origin, over TLS that holds, or nowhere: of every kind of request, under everything that a network
//! in between can do, not a byte arrives.

use std::net::{SocketAddr, TcpListener};

use oat_sandbox::tls::{Authority, Certificate};
use rustls::{ServerConfig, ServerConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

/// The kinds of requests that carry a secret.
const KINDS: [&str; 7] = ["login", "list", "create", "get", "patch", "delete", "prove"];

fn is_kind(kind: &str, seen: &Seen) -> bool {
    let token = "/v2/orgs/acme/access-tokens/t1";
    match kind {
        "login" => seen.is_login(),
        "list" => seen.is_list(),
        "create" => seen.is_create(),
        "get" => seen.is("GET", token),
        "patch" => seen.is("PATCH", token),
        "delete" => seen.is("DELETE", token),
        _ => seen.is("GET", "/token"),
    }
}

/// Sends one request of this kind (a login by whatever needs one).
async fn send(kind: &str, handle: &Handle) -> Result<(), Error> {
    match kind {
        "login" | "list" => handle.refresh(Urgency::Urgent).await.map(drop),
        "create" => handle.create(new_token(), Urgency::Urgent).await.map(drop),
        "get" => handle.get("t1").await.map(drop),
        "patch" => handle.update("t1", Change::default(), Urgency::Urgent).await.map(drop),
        "delete" => handle.delete("t1", Urgency::Urgent).await,
        _ => handle.prove(&secret(VALUE), &[], Urgency::Urgent).await.map(drop),
    }
}

/// Somebody else's port. Whoever connects has gone too far already.
struct Elsewhere(TcpListener);

impl Elsewhere {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn connections(&self) -> usize {
        std::iter::from_fn(|| self.0.accept().ok()).count()
    }
}

#[test]
fn a_connection_elsewhere_is_seen() {
    let elsewhere = Elsewhere::new();
    assert_eq!(elsewhere.connections(), 0);
    let _connection = std::net::TcpStream::connect(elsewhere.address()).unwrap();
    assert_eq!(elsewhere.connections(), 1);
}

#[tokio::test]
async fn no_redirect_of_any_request_is_followed() {
    let elsewhere = Elsewhere::new();
    for kind in KINDS {
        for status in [300, 301, 302, 303, 304, 307, 308] {
            for location in [
                format!("http://{}/v2/auth/token", elsewhere.address()),
                format!("//{}/token", elsewhere.address()),
                format!("https://user:word@{}/", elsewhere.address()),
                "/v2/users/login".to_owned(),
            ] {
                let redirect = move |seen: &Seen| {
                    is_kind(kind, seen).then(|| Say::html(status).header("location", &location).header("refresh", "0"))
                };
                let rig = rig(redirect).await;
                rig.handle.set_credentials(Some(owner()), "1");
                let error = send(kind, &rig.handle).await.unwrap_err();
                assert_eq!(error.failure, Failure::Redirected, "{kind} {status}");
                let asked = rig.server.count(|seen| is_kind(kind, seen));
                // The client asks for a list of its own accord, too.
                assert!(asked == 1 || ["login", "list"].contains(&kind), "{kind} {status}: asked {asked} times");
                assert_eq!(rig.server.count(|seen| seen.path.contains("users")), 0, "{kind} {status}");
            }
        }
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn links_and_headers_of_answers_lead_nowhere() {
    let elsewhere = Elsewhere::new();
    let address = elsewhere.address();
    let leading = move |say: Say| {
        say.header("location", format!("http://{address}/x"))
            .header("link", format!("<http://{address}/x>; rel=\"next\""))
            .header("alt-svc", format!("h2=\"{address}\"; ma=3600, http/1.1=\"{address}\""))
            .header("content-location", format!("http://{address}/x"))
            .header("www-authenticate", format!("Bearer realm=\"http://{address}/token\",service=\"x\""))
            .header("set-cookie", "session=planted; Path=/")
    };
    let rig = ready(move |seen| {
        let page = json!({"total": 2, "next": format!("http://{address}/x?page=2"), "previous": format!("http://{address}/"),
            "results": [token(if seen.path.contains("page=1&") { "t1" } else { "t2" })]});
        let last = json!({"total": 2, "next": null, "results": [token("t2")]});
        let say = match KINDS.into_iter().find(|kind| is_kind(kind, seen))? {
            "login" => Say::json(200, json!({"access_token": JWT, "refresh_url": format!("http://{address}/")})),
            "list" => Say::json(200, if seen.path.contains("page=1&") { page } else { last }),
            "create" => Say::json(201, created("t1")),
            "get" | "patch" => Say::json(200, token("t1")),
            "delete" => Say::Answer(204, Vec::new(), String::new()),
            _ => Say::json(401, json!({"details": "no"})),
        };
        Some(leading(say))
    })
    .await;
    for kind in KINDS {
        send(kind, &rig.handle).await.unwrap();
    }
    assert_eq!(elsewhere.connections(), 0);
    let seen = rig.server.seen();
    assert!(seen.iter().all(|seen| !seen.headers.to_lowercase().contains("cookie")), "cookies are not kept");
    let list = seen
        .iter()
        .filter(|seen| seen.is_list())
        .all(|seen| seen.path.starts_with("/v2/orgs/acme/access-tokens?page="));
    assert!(list);
}

/// A server whose certificate can be changed, and that counts what it could read.
struct Tls {
    address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    read: Arc<Mutex<Vec<u8>>>,
    connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Speaks TLS until there is a whole request; answers it with a close.
async fn talk(mut stream: TcpStream, config: Arc<ServerConfig>, read: Arc<Mutex<Vec<u8>>>) {
    let mut tls = ServerConnection::new(config).unwrap();
    let (mut request, mut buffer) = (Vec::new(), [0; 16384]);
    loop {
        let mut out = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut out).unwrap();
        }
        if stream.write_all(&out).await.is_err() || request.ends_with(b"the end") {
            return;
        }
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).unwrap();
            // What is wrong with it is the client's to say.
            let Ok(state) = tls.process_new_packets() else { return };
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            std::io::Read::read_exact(&mut tls.reader(), &mut plain).unwrap();
            read.lock().unwrap().extend_from_slice(&plain);
            request.extend_from_slice(&plain);
        }
        if let Some(answer) = answer(&request) {
            std::io::Write::write_all(&mut tls.writer(), answer.as_bytes()).unwrap();
            tls.send_close_notify();
            request = b"the end".to_vec();
        }
    }
}

/// The usual answer to a request, once it is complete.
fn answer(request: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(request);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    if body.len() < length.unwrap_or(0) {
        return None;
    }
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?.split('?').next()?);
    let (status, body) = match (method, path) {
        ("POST", "/v2/auth/token") => (200, json!({"access_token": JWT})),
        ("POST", "/v2/orgs/acme/access-tokens") => (201, created("t1")),
        ("GET", "/v2/orgs/acme/access-tokens") => (200, list(&["t1"])),
        ("GET", "/token") => (200, json!({"token": "t.o.k"})),
        _ => (200, token("t1")),
    };
    let body = body.to_string();
    Some(format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

impl Tls {
    async fn start(config: Arc<ServerConfig>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(Mutex::new(config));
        let (read, connections) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<usize>>::default());
        let (presented, plain, count) = (config.clone(), read.clone(), connections.clone());
        let task = tokio::spawn(async move {
            let mut talks = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *count.lock().unwrap() += 1;
                let config = presented.lock().unwrap().clone();
                talks.spawn(talk(stream, config, plain.clone()));
            }
        });
        Self { address, config, read, connections, task }
    }

    /// From now on it shows this certificate. What was read before is forgotten.
    fn present(&self, config: &Arc<ServerConfig>) {
        *self.config.lock().unwrap() = config.clone();
        self.read.lock().unwrap().clear();
    }

    fn read(&self) -> String {
        String::from_utf8_lossy(&self.read.lock().unwrap()).into_owned()
    }

    fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// A client that trusts this authority.
    fn client(&self, authority: &Authority) -> (Handle, JoinHandle<()>) {
        Organization::start(OrganizationConfig {
            name: "acme".into(),
            endpoints: Endpoints {
                hub: format!("https://{}", self.address).parse().unwrap(),
                registry_token: format!("https://{}/token", self.address).parse().unwrap(),
                registry_service: "registry.docker.io".into(),
                roots: authority.ca_pem().into_bytes(),
            },
            poll_interval: NEVER,
            refused: None,
            limits: Limits::default(),
            clock: Clock::manual(NOW),
            permit: Permit::always(),
            observer: Arc::new(Told::default()),
        })
    }
}

/// A server's side with this certificate, without HTTP/2: a request is then readable as it stands.
fn side(authority: &Authority, certificate: &Certificate) -> Arc<ServerConfig> {
    let mut config = ServerConfig::clone(&authority.server_config(certificate).unwrap());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_ends_it_before_a_byte() {
    tls();
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let good = Certificate::loopback(Clock::system().now());
    let at = |hours: i64| Clock::system().now() + jiff::SignedDuration::from_hours(hours);
    let good_side = side(&ours, &good);
    let bad = [
        ("another authority", side(&theirs, &good)),
        ("another name", side(&ours, &Certificate { names: vec!["hub.docker.com".into()], ..good.clone() })),
        (
            "a name that only looks so",
            side(&ours, &Certificate { names: vec!["127.0.0.1.example".into()], ..good.clone() }),
        ),
        ("over", side(&ours, &Certificate { not_before: at(-48), not_after: at(-1), ..good.clone() })),
        ("not yet", side(&ours, &Certificate { not_before: at(1), not_after: at(48), ..good.clone() })),
    ];
    let server = Tls::start(good_side.clone()).await;
    for kind in KINDS {
        // What would arrive if it held.
        server.present(&good_side);
        let (handle, _task) = server.client(&ours);
        handle.set_credentials(Some(owner()), "1");
        send(kind, &handle).await.unwrap();
        let secret = match kind {
            "login" => PASSWORD.to_owned(),
            "prove" => data_encoding::BASE64.encode(format!("acme:{VALUE}").as_bytes()),
            _ => format!("Bearer {JWT}"),
        };
        assert!(server.read().contains(&secret), "{kind}: {}", server.read());
        for (what, side) in &bad {
            let fresh = kind == "login";
            // A login that is there already, and then the network changes hands.
            let (handle, _task) = server.client(&ours);
            handle.set_credentials(Some(owner()), "1");
            if !fresh && kind != "prove" {
                server.present(&good_side);
                handle.refresh(Urgency::Urgent).await.unwrap();
            }
            server.present(side);
            let before = server.connections();
            let error = send(kind, &handle).await.unwrap_err();
            assert_eq!((&error.failure, error.effect()), (&Failure::Connect, Effect::None), "{kind}, {what}: {error}");
            assert!(error.text.contains("certificate"), "{kind}, {what}: {error}");
            assert_eq!(server.read(), "", "{kind}, {what}");
            assert!(server.connections() > before, "{kind}, {what}: it was not even tried");
        }
    }
}

#[tokio::test]
async fn what_is_no_tls_gets_no_secret() {
    tls();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let read = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let heard = read.clone();
    let plain = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 65536];
            let count = stream.read(&mut buffer).await.unwrap_or_default();
            buffer.truncate(count);
            heard.lock().unwrap().push(buffer);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
        }
    });
    let (handle, _task) = Organization::start(OrganizationConfig {
        name: "acme".into(),
        endpoints: Endpoints {
            hub: format!("https://{address}").parse().unwrap(),
            registry_token: format!("https://{address}/token").parse().unwrap(),
            registry_service: "registry.docker.io".into(),
            roots: Vec::new(),
        },
        poll_interval: NEVER,
        refused: None,
        limits: Limits::default(),
        clock: Clock::manual(NOW),
        permit: Permit::always(),
        observer: Arc::new(Told::default()),
    });
    handle.set_credentials(Some(owner()), "1");
    for kind in KINDS {
        let error = send(kind, &handle).await.unwrap_err();
        assert_eq!((&error.failure, error.effect()), (&Failure::Connect, Effect::None), "{kind}: {error}");
    }
    plain.abort();
    let read = read.lock().unwrap();
    // What came is the beginning of TLS, with nothing in it.
    assert!(read.len() >= KINDS.len());
    for bytes in read.iter() {
        let text = String::from_utf8_lossy(bytes);
        assert!(bytes.starts_with(&[22, 3]) && !text.contains(PASSWORD) && !text.contains("HTTP"), "{text}");
    }
}
