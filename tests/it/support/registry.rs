//! A real registry for one test: `docker-registry` with an empty storage of its own, that lets in whom a token service lets in.
//!
//! It checks the tokens by the system's clock and allows a minute of difference, so the token service's clock may not be moved far.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;

use super::process::Guarded;

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running registry. It ends when this is dropped.
pub struct Registry {
    process: Guarded,
    address: String,
    _folder: tempfile::TempDir,
}

impl Registry {
    /// Starts one that trusts the holder of this certificate.
    pub async fn start(realm: &str, service: &str, issuer: &str, certificate_pem: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("token-service.crt"), certificate_pem).unwrap();
        // JSON is YAML.
        let config = json!({
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": file("storage")}},
            "http": {"addr": "127.0.0.1:0", "secret": "of one registry only"},
            "auth": {"token": {
                "realm": realm, "service": service, "issuer": issuer, "rootcertbundle": file("token-service.crt"),
            }},
        });
        fs::write(file("config.yml"), config.to_string()).unwrap();
        let args = ["serve".to_owned(), file("config.yml").display().to_string()];
        let mut process = Guarded::start(Path::new("docker-registry"), &args, file("log"));
        let address = listening(&mut process).await;
        let answer = reqwest::get(format!("http://{address}/v2/")).await.unwrap();
        let challenge = format!(r#"Bearer realm="{realm}",service="{service}""#);
        assert_eq!(answer.status(), 401, "everybody is let in");
        assert_eq!(answer.headers()["www-authenticate"], challenge);
        Self { process, address, _folder: folder }
    }

    /// `127.0.0.1:port`: what image names begin with, and the key of its credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it has written so far, requests included.
    pub fn log(&self) -> String {
        fs::read_to_string(self.process.log()).unwrap()
    }
}

/// Waits for the line of the log that says where it listens.
async fn listening(process: &mut Guarded) -> String {
    let since = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while since.elapsed() < PATIENCE && process.runs() {
        look.tick().await;
        let log = fs::read_to_string(process.log()).unwrap();
        let line = log.split_once("listening on ").and_then(|(_, rest)| rest.split_once('"'));
        if let Some((address, _)) = line {
            return address.to_owned();
        }
    }
    panic!("docker-registry does not listen after {:?}:\n{}", since.elapsed(), process.last_words());
}
