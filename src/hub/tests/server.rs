//! A small HTTP server that answers as told: well, badly, late, or not at all.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use url::Url;

use super::{JWT, list};

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub connection: usize,
    pub method: String,
    pub path: String,
    pub headers: String,
    pub body: String,
}

impl Seen {
    pub fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path.split('?').next() == Some(path)
    }

    pub fn is_login(&self) -> bool {
        self.is("POST", "/v2/auth/token")
    }

    pub fn is_list(&self) -> bool {
        self.is("GET", "/v2/orgs/acme/access-tokens")
    }

    pub fn is_create(&self) -> bool {
        self.is("POST", "/v2/orgs/acme/access-tokens")
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What the server does with a request.
pub enum Say {
    /// A whole answer.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// Bytes without end.
    Flood,
    /// Nothing, for ever.
    Hang,
    /// The answer, once told to.
    Held(watch::Receiver<bool>, Box<Say>),
}

impl Say {
    pub fn json(status: u16, body: Value) -> Self {
        Self::Answer(status, vec![("content-type", "application/json".into())], body.to_string())
    }

    pub fn html(status: u16) -> Self {
        let page = "<!DOCTYPE html><html><title>Just a moment...</title></html>";
        Self::Answer(status, vec![("content-type", "text/html".into())], page.into())
    }

    pub fn header(self, name: &'static str, value: impl ToString) -> Self {
        match self {
            Self::Answer(status, mut headers, body) => {
                headers.push((name, value.to_string()));
                Self::Answer(status, headers, body)
            }
            other => other,
        }
    }
}

type Script = dyn Fn(&Seen) -> Option<Say> + Send + Sync;

pub struct Server {
    address: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    count: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers by `script`, or where it has nothing to say: every login is accepted, the list is empty, proofs succeed.
    pub async fn start(script: impl Fn(&Seen) -> Option<Say> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, script): (Arc<Mutex<Vec<Seen>>>, Arc<Script>) = (Arc::default(), Arc::new(script));
        let (sender, count) = watch::channel(0);
        let (log, sender) = (seen.clone(), Arc::new(sender));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, number, script.clone(), log.clone(), sender.clone()));
            }
        });
        Self { address, seen, count, task }
    }

    pub fn url(&self, path: &str) -> Url {
        format!("http://{}/{path}", self.address).parse().unwrap()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn count(&self, of: impl Fn(&Seen) -> bool) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| of(seen)).count()
    }

    /// Waits until so many requests of a kind have come in.
    pub async fn wait(&self, number: usize, of: impl Fn(&Seen) -> bool) {
        let mut count = self.count.clone();
        count.wait_for(|_| self.count(&of) >= number).await.unwrap();
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    script: Arc<Script>,
    log: Arc<Mutex<Vec<Seen>>>,
    count: Arc<watch::Sender<usize>>,
) {
    let mut buffer = Vec::new();
    while let Some(seen) = request(&mut stream, &mut buffer, connection).await {
        log.lock().unwrap().push(seen.clone());
        count.send_modify(|count| *count += 1);
        let mut say = script(&seen).unwrap_or_else(|| usual(&seen));
        while let Say::Held(mut gate, then) = say {
            let _ = gate.wait_for(|open| *open).await;
            say = *then;
        }
        match say {
            Say::Answer(status, headers, body) => {
                let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    text += &format!("{name}: {value}\r\n");
                }
                text += "\r\n";
                if status != 204 {
                    text += &body;
                }
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Say::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Say::Flood => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n").await;
                while stream.write_all(&[b' '; 65536]).await.is_ok() {}
                return;
            }
            Say::Hang => std::future::pending().await,
            Say::Held(..) => unreachable!(),
        }
    }
}

async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> Option<Seen> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let total = end + length.unwrap_or(0usize);
    while buffer.len() < total {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(&buffer[end..total]).into_owned();
    buffer.drain(..total);
    let mut words = head.split(' ');
    let (method, path) = (words.next()?.into(), words.next()?.into());
    Some(Seen { connection, method, path, headers: head, body })
}

fn usual(seen: &Seen) -> Say {
    let body = match seen.path.split('?').next().unwrap() {
        "/v2/auth/token" => serde_json::json!({"access_token": JWT}),
        "/v2/orgs/acme/access-tokens" if seen.method == "GET" => list(&[]),
        "/token" => serde_json::json!({"token": "t.o.k", "access_token": "t.o.k", "expires_in": 300}),
        _ => return Say::json(404, serde_json::json!({"message": "not found", "errinfo": {}})),
    };
    Say::json(200, body)
}
