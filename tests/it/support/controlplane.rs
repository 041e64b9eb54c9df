//! A real control plane for one test: etcd, kube-apiserver and kube-controller-manager on loopback addresses.
//!
//! The programs come from `KUBEBUILDER_ASSETS` or `PATH`, else `tests/controlplane/build.sh` builds them once. None
//! of them outlives a test that is killed. It never listens beyond loopback addresses and knows nothing of the operator.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use super::process::{Guarded, free_port};

/// How long the whole may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often another program may take a port between our look and our start.
const TRIES: usize = 5;
const ADMIN: &str = "admin-token";
const MANAGER: &str = "manager-token";

/// Why there is no control plane: in words, for the person who runs the tests.
#[derive(Debug)]
pub struct Unavailable(pub String);

/// One request, as the audit log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditEvent {
    pub user: String,
    pub user_agent: String,
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
    /// What stands behind the path, as sent.
    pub query: String,
}

/// A running control plane. It ends when this is dropped.
pub struct ControlPlane {
    port: u16,
    etcd_port: u16,
    ca: String,
    users: BTreeMap<String, String>,
    programs: PathBuf,
    // Fields go in this order: first what calls, then what is called, then the files of both.
    manager: Option<Guarded>,
    apiserver: Option<Guarded>,
    etcd: Guarded,
    folder: tempfile::TempDir,
}

/// The folder that holds the three programs.
fn programs() -> Result<PathBuf, Unavailable> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(find_programs).clone().map_err(Unavailable)
}

fn find_programs() -> Result<PathBuf, String> {
    let programs = ["etcd", "kube-apiserver", "kube-controller-manager"];
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let mut folders = assets.into_iter().chain(path);
    if let Some(folder) = folders.find(|folder| programs.iter().all(|name| folder.join(name).is_file())) {
        return Ok(folder);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/build.sh");
    match Command::new("bash").arg(script).stderr(Stdio::inherit()).output() {
        Ok(output) if output.status.success() => Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())),
        _ => Err(format!(
            "{programs:?} are in neither KUBEBUILDER_ASSETS nor PATH, and tests/controlplane/build.sh could not build them (it needs Go)"
        )),
    }
}

struct Certificates {
    ca: String,
    server: String,
    key: String,
    account_key: String,
    account_public_key: String,
}

fn certificates() -> Certificates {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".into(), "localhost".into(), "kubernetes".into()];
    let server = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let accounts = KeyPair::generate().unwrap();
    Certificates {
        ca: ca_certificate.pem(),
        server: server.pem(),
        key: key.serialize_pem(),
        account_key: accounts.serialize_pem(),
        account_public_key: accounts.public_key_pem(),
    }
}

impl ControlPlane {
    /// For a test that runs on a real control plane only where `OAT_TEST_CLUSTER=real` asks for it: says so and returns
    /// nothing where it does not, or where the programs are not to be had. CI always has them.
    pub async fn if_wanted(users: &[(&str, &str, &str)]) -> Option<Self> {
        if env::var("OAT_TEST_CLUSTER").as_deref() != Ok("real") {
            eprintln!("not run: OAT_TEST_CLUSTER=real is not set");
            return None;
        }
        match Self::start(users).await {
            Ok(plane) => Some(plane),
            Err(Unavailable(reason)) if env::var_os("CI").is_some() => panic!("{reason}"),
            Err(Unavailable(reason)) => {
                eprintln!("not run: {reason}");
                None
            }
        }
    }

    /// Starts one with these users besides the administrator: name, token, groups (with commas between them).
    /// It is ready: the API server answers and the controllers work.
    pub async fn start(users: &[(&str, &str, &str)]) -> Result<Self, Unavailable> {
        let programs = programs()?;
        let mut failure = String::new();
        for _ in 0..TRIES {
            match Self::launch(programs.clone(), users).await {
                Ok(plane) => return Ok(plane),
                Err(reason) if reason.contains("address already in use") => failure = reason,
                Err(reason) => panic!("{reason}"),
            }
        }
        panic!("{failure}");
    }

    async fn launch(programs: PathBuf, users: &[(&str, &str, &str)]) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let certificates = certificates();
        let mut tokens = format!(
            "{ADMIN},admin,admin,system:masters\n{MANAGER},system:kube-controller-manager,manager,system:masters\n"
        );
        for (name, token, groups) in users {
            tokens += &format!("{token},{name},{name},\"{groups}\"\n");
        }
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
            "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}],
        });
        for (name, text) in [
            ("server.crt", &certificates.server),
            ("server.key", &certificates.key),
            ("accounts.key", &certificates.account_key),
            ("accounts.pub", &certificates.account_public_key),
            ("tokens.csv", &tokens),
            ("audit.yaml", &policy.to_string()),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let (etcd_port, port) = (free_port(), free_port());
        let etcd = start_etcd(&programs, folder.path(), etcd_port);
        let users = users.iter().map(|(name, token, _)| ((*name).to_owned(), (*token).to_owned())).collect();
        let mut plane = Self {
            port,
            etcd_port,
            ca: certificates.ca,
            users,
            programs,
            manager: None,
            apiserver: None,
            etcd,
            folder,
        };
        plane.start_apiserver();
        plane.wait_for("/readyz").await?;
        plane.start_manager();
        // This object is the work of a controller.
        plane.wait_for("/api/v1/namespaces/default/serviceaccounts/default").await?;
        Ok(plane)
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn start_apiserver(&mut self) {
        let args = [
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            "--bind-address=127.0.0.1".into(),
            "--endpoint-reconciler-type=none".into(),
            format!("--secure-port={}", self.port),
            format!("--tls-cert-file={}", self.file("server.crt")),
            format!("--tls-private-key-file={}", self.file("server.key")),
            format!("--token-auth-file={}", self.file("tokens.csv")),
            "--authorization-mode=RBAC".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", self.file("accounts.pub")),
            format!("--service-account-signing-key-file={}", self.file("accounts.key")),
            "--service-cluster-ip-range=10.0.0.0/24".into(),
            format!("--audit-policy-file={}", self.file("audit.yaml")),
            format!("--audit-log-path={}", self.file("audit.log")),
            // Written before the answer ends, in one file.
            "--audit-log-mode=blocking".into(),
            "--audit-log-maxsize=10000".into(),
            format!("--cert-dir={}", self.file("apiserver")),
        ];
        let log = self.folder.path().join("apiserver.log");
        self.apiserver = Some(Guarded::start(&self.programs.join("kube-apiserver"), &args, log));
    }

    fn start_manager(&mut self) {
        let kubeconfig = self.file("manager.kubeconfig");
        fs::write(&kubeconfig, self.kubeconfig_for(MANAGER)).unwrap();
        let args = [
            format!("--kubeconfig={kubeconfig}"),
            "--leader-elect=false".into(),
            "--use-service-account-credentials=false".into(),
            format!("--service-account-private-key-file={}", self.file("accounts.key")),
            "--controllers=garbage-collector-controller,namespace-controller,serviceaccount-controller,\
             clusterrole-aggregation-controller"
                .into(),
            // It serves nothing that a test wants.
            "--secure-port=0".into(),
        ];
        let log = self.folder.path().join("manager.log");
        self.manager = Some(Guarded::start(&self.programs.join("kube-controller-manager"), &args, log));
    }

    /// Waits until the API server answers this path with success.
    async fn wait_for(&mut self, path: &str) -> Result<(), String> {
        let (client, url) = (self.http(), format!("{}{path}", self.url()));
        let since = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(50));
        loop {
            look.tick().await;
            let answer = client.get(&url).bearer_auth(ADMIN).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            let late = since.elapsed() > PATIENCE;
            for program in [Some(&mut self.etcd), self.apiserver.as_mut(), self.manager.as_mut()].into_iter().flatten()
            {
                if late || !program.runs() {
                    let (log, words) = (program.log().display(), program.last_words());
                    return Err(format!("no success at {path} after {:?}; {log} ends with:\n{words}", since.elapsed()));
                }
            }
        }
    }

    /// Kills the API server and starts it again on the same port and data; returns when it is ready.
    pub async fn restart_apiserver(&mut self) {
        self.stop_apiserver();
        self.start_apiserver();
        self.wait_for("/readyz").await.unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Kills the API server, until `restart_apiserver`. Requests are refused meanwhile.
    pub fn stop_apiserver(&mut self) {
        drop(self.apiserver.take());
    }

    /// Where the API server is.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The authority behind the API server's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// The bearer token of a member of `system:masters`.
    pub fn admin_token(&self) -> &'static str {
        ADMIN
    }

    /// The bearer token of a user whom `start` was given.
    #[track_caller]
    pub fn user_token(&self, name: &str) -> &str {
        self.users.get(name).unwrap_or_else(|| panic!("no user {name}"))
    }

    /// A client that trusts the API server's certificate.
    pub fn http(&self) -> reqwest::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(self.ca_pem().as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([ca]).no_proxy().user_agent("controlplane-test").build().unwrap()
    }

    /// A kubeconfig for the administrator.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_for(ADMIN)
    }

    /// A kubeconfig with this bearer token (in JSON, which is YAML).
    pub fn kubeconfig_for(&self, token: &str) -> String {
        let ca = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, self.ca_pem());
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url(), "certificate-authority-data": ca}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        })
        .to_string()
    }

    /// Every request that has been answered so far, once each, watches included from their first answer on.
    pub fn audit(&self) -> Vec<AuditEvent> {
        audit_events(&fs::read_to_string(self.file("audit.log")).unwrap_or_default())
    }
}

fn start_etcd(programs: &Path, folder: &Path, port: u16) -> Guarded {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", free_port()));
    let args = [
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(),
        "--log-level=error".into(),
    ];
    Guarded::start(&programs.join("etcd"), &args, folder.join("etcd.log"))
}

/// The requests in an audit log. A watch is there twice (`ResponseStarted`, `ResponseComplete`) and counts once; a last
/// line that is still being written is left out.
fn audit_events(log: &str) -> Vec<AuditEvent> {
    let mut order = Vec::new();
    let mut events = BTreeMap::new();
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let id = text("/auditID");
        let read = AuditEvent {
            user: text("/user/username"),
            user_agent: text("/userAgent"),
            verb: text("/verb"),
            group: text("/objectRef/apiGroup"),
            resource: text("/objectRef/resource"),
            subresource: text("/objectRef/subresource"),
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
            query: text("/requestURI").split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default(),
        };
        if events.insert(id.clone(), read).is_none() {
            order.push(id);
        }
    }
    order.iter().filter_map(|id| events.remove(id)).collect()
}

#[test]
fn a_watch_counts_once_and_a_half_written_line_not_at_all() {
    let log = r#"
{"auditID":"1","stage":"ResponseStarted","verb":"watch","userAgent":"a","responseStatus":{"code":200}}
{"auditID":"2","stage":"ResponseComplete","verb":"patch","objectRef":{"resource":"secrets","namespace":"n","name":"s"}}
{"auditID":"1","stage":"ResponseComplete","verb":"watch","userAgent":"a","responseStatus":{"code":200}}
{"auditID":"3","stage":"Respon"#;
    let watch = AuditEvent { verb: "watch".into(), user_agent: "a".into(), code: 200, ..Default::default() };
    let (resource, namespace, name) = ("secrets".into(), "n".into(), "s".into());
    let patch = AuditEvent { verb: "patch".into(), resource, namespace, name, ..Default::default() };
    assert_eq!(audit_events(log), [watch, patch]);
}
