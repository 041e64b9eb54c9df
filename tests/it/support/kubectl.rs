//! `kubectl` with one kubeconfig and a home of its own, so that nothing of whoever runs the tests takes part.

use std::{
    env, fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

/// kubectl for one server.
pub struct Kubectl {
    home: tempfile::TempDir,
}

impl Kubectl {
    pub fn new(kubeconfig: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("kubeconfig"), kubeconfig).unwrap();
        Self { home }
    }

    /// Runs it in the project's folder; what it prints, or what it says went wrong.
    pub async fn run(&self, args: &[&str]) -> Result<String, String> {
        self.feed(args, String::new()).await
    }

    /// The same with an object for `-f -`.
    pub async fn feed_object(&self, args: &[&str], object: &Value) -> Result<String, String> {
        self.feed(args, object.to_string()).await
    }

    /// Runs it and takes its success for granted.
    #[track_caller]
    pub fn does(&self, args: &[&str]) -> impl Future<Output = String> {
        let (caller, run) = (std::panic::Location::caller(), self.run(args));
        let shown = args.join(" ");
        async move { run.await.unwrap_or_else(|why| panic!("{caller}: kubectl {shown}: {why}")) }
    }

    async fn feed(&self, args: &[&str], input: String) -> Result<String, String> {
        let mut command = Command::new("kubectl");
        command
            .env_clear()
            .env("PATH", path())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("kubeconfig"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg("--request-timeout=60s")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // The server may live in this very runtime.
        let run = move || {
            let mut child = command.spawn().expect("kubectl is not installed: bash .ci/tools.sh");
            // It may end without reading.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait_with_output().unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

/// `PATH`, and behind it where `.ci/tools.sh` puts kubectl.
fn path() -> std::ffi::OsString {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    let tools = cache.into_iter().map(|cache| cache.join("oat-operator/tools/bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(env::split_paths(&path).chain(tools)).unwrap()
}
