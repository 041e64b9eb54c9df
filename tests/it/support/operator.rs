//! The operator as users run it: the program, in a process of its own.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

/// A running operator. It is killed when this is dropped.
pub struct Operator {
    child: Child,
    /// Its pod's name, so to say; its identity in the Lease begins with it.
    pub name: String,
    pub log: PathBuf,
    pub metrics: SocketAddr,
    pub health: SocketAddr,
}

/// What an operator is started with.
pub struct Start<'a> {
    pub kubeconfig: &'a Path,
    pub log: PathBuf,
    pub hub: String,
    pub registry_token: String,
    pub registry_service: String,
    /// None: the operator finds out.
    pub cluster_id: Option<&'a str>,
    pub more: Vec<String>,
}

impl Operator {
    pub fn start(start: Start<'_>) -> Self {
        let host = super::own_host();
        let (metrics, health) = (SocketAddr::from((host, 8080)), SocketAddr::from((host, 8081)));
        let log = File::create(&start.log).unwrap();
        let name = start.log.file_stem().unwrap().to_string_lossy().into_owned();
        let child = Command::new(env!("CARGO_BIN_EXE_oat-operator"))
            .arg("run")
            .args(["--hub-url", &start.hub, "--registry-token-url", &start.registry_token])
            .args(["--registry-service", &start.registry_service])
            .args(start.cluster_id.into_iter().flat_map(|id| ["--cluster-id", id]))
            .args(["--operator-namespace", "oat-operator"])
            .args(["--metrics-addr", &metrics.to_string(), "--health-addr", &health.to_string()])
            .args(&start.more)
            .env("KUBECONFIG", start.kubeconfig)
            .env("RUST_LOG", "trace")
            .env("HOSTNAME", &name)
            // Nobody is there. Credentials that went where the environment says would come to nothing.
            .envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, "http://127.0.0.1:9")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, name, log: start.log, metrics, health }
    }

    /// SIGKILL: nothing is cleaned up, nothing is released.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(kill.success(), "SIG{name} to {}", self.name);
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        super::eventually("the operator ends after SIGTERM", async || self.child.try_wait().unwrap()).await
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn logged(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
    }
}
