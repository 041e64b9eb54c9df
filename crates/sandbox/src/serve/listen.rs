//! Connections: taken, refused, closed, with the certificate that is shown at the moment.
//!
//! Never looks into a request.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Shared, Tasks, answer};
use crate::traffic::Counted;

/// A port that stays ours, whether somebody listens there or not: what is refused must not reach another server, nor a
/// client whose own port it happens to become.
pub(crate) struct Place {
    /// Bound, and never listening.
    _holder: TcpSocket,
    address: SocketAddr,
}

impl Place {
    /// Takes a port on the loopback address; 0 takes a free one.
    pub(super) fn take(port: u16) -> io::Result<Self> {
        let holder = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let address = holder.local_addr()?;
        Ok(Self { _holder: holder, address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn listen(&self) -> io::Result<TcpListener> {
        bound(self.address)?.listen(1024)
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Beside the holder, and beside connections of before that have not quite ended.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// What can be done to a listener while it runs. Clones are about the same listener; deeds of faults may hold one.
#[derive(Clone)]
pub struct Listener {
    close: watch::Sender<u64>,
    refusing: watch::Sender<bool>,
    tls: watch::Sender<Option<Arc<ServerConfig>>>,
}

impl Listener {
    pub(super) fn new(tls: Option<Arc<ServerConfig>>) -> Self {
        Self { close: watch::Sender::new(0), refusing: watch::Sender::new(false), tls: watch::Sender::new(tls) }
    }

    /// Closes every open connection.
    pub fn close_connections(&self) {
        self.close.send_modify(|count| *count += 1);
    }

    /// Refuses connections from now on, and closes those that are open; or takes them again, at the same port.
    pub fn refuse(&self, refuse: bool) {
        self.refusing.send_replace(refuse);
        if refuse {
            self.close_connections();
        }
    }

    /// Shows this certificate from now on, and closes the connections that saw another. Only where there was TLS before.
    pub fn show(&self, config: Arc<ServerConfig>) {
        self.tls.send_replace(Some(config));
        self.close_connections();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("refusing", &*self.refusing.borrow()).finish_non_exhaustive()
    }
}

/// Takes connections until told to stop; then closes them all.
pub(super) async fn accept(
    listener: TcpListener,
    doors: Listener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = take(listener, &doors, &shared, &mut connections) => {}
    }
    connections.shutdown().await;
}

async fn take(mut listener: TcpListener, doors: &Listener, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    let mut refusing = doors.refusing.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = refusing.wait_for(|refuse| *refuse) => None,
            accepted = listener.accept() => Some(accepted),
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Some(Ok((stream, _))) => {
                shared.options.traffic.moved();
                connections.spawn(connection(stream, doors.clone(), shared.clone()));
            }
            // Out of descriptors or the like: let others go on, then look again.
            Some(Err(_)) => tokio::task::yield_now().await,
            None => {
                drop(listener);
                // An error would mean that the doors are gone, and they are here.
                drop(refusing.wait_for(|refuse| !*refuse).await);
                let Ok(again) = shared.place.listen() else { return };
                listener = again;
            }
        }
    }
}

async fn connection(stream: TcpStream, doors: Listener, shared: Arc<Shared>) {
    let mut close = doors.close.subscribe();
    let acceptor = doors.tls.borrow().clone().map(TlsAcceptor::from);
    // Small answers must not wait for each other.
    let _unsupported = stream.set_nodelay(true);
    let stream = Counted { stream, traffic: shared.options.traffic.clone() };
    let served = async {
        match acceptor {
            Some(acceptor) => {
                // A client that doesn't trust us goes away here; what it sees is its own error.
                if let Ok(stream) = acceptor.accept(stream).await {
                    converse(TokioIo::new(stream), shared).await;
                }
            }
            None => converse(TokioIo::new(stream), shared).await,
        }
    };
    tokio::select! {
        () = served => {}
        _ = close.changed() => {}
    }
}

async fn converse(io: impl hyper::rt::Read + hyper::rt::Write + Unpin + 'static, shared: Arc<Shared>) {
    let mut builder = auto::Builder::new(Tasks::default());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let service = service_fn(move |request| answer(request, shared.clone()));
    // An error here is the client's going away, or a connection that a fault closed.
    let _ended = builder.serve_connection(io, service).await;
}
