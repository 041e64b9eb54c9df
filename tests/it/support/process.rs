//! Programs that run for one test and end with it.
//!
//! A shell around each program waits for the end of a pipe of ours and then ends the program, so that none outlives a test
//! that is killed. It knows nothing of what it runs.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

/// A program that ends with us, however we end.
pub struct Guarded {
    shell: Child,
    log: PathBuf,
}

impl Drop for Guarded {
    /// Closes the pipe and waits until the program is gone, so that its port and its files are free afterwards.
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Guarded {
    /// Starts it; what it prints goes to the end of this file.
    pub fn start(program: &Path, args: &[String], log: PathBuf) -> Self {
        // `read` comes back when the pipe closes. If the program ends first, the one who reads is not needed any more.
        let script = r#"exec 3<&0
            "$0" "$@" 3<&- </dev/null & program=$!
            (read -r end; kill -9 $program) <&3 & reader=$!
            exec 3<&- </dev/null
            wait $program; code=$?
            kill $reader 2>/dev/null
            exit $code"#;
        let output = fs::File::options().create(true).append(true).open(&log).unwrap();
        let shell = Command::new("sh")
            .args(["-c", script])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { shell, log }
    }

    /// Whether it has not ended yet.
    pub fn runs(&mut self) -> bool {
        matches!(self.shell.try_wait(), Ok(None))
    }

    /// The file that it prints to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of what the program has printed.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A port that nobody listens on, below those that the system gives to outgoing connections: a client that keeps calling
/// while the API server restarts could otherwise be given the very port that it calls.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() % 12_000;
    loop {
        let next = u32::from(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(20_000 + (first + next) % 12_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

#[test]
fn a_program_ends_when_our_pipe_closes_and_its_own_end_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let ended_with = |mut guarded: Guarded| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(guarded.shell.wait().map(|status| status.code())));
        receiver.recv_timeout(std::time::Duration::from_secs(30)).expect("the program goes on").unwrap()
    };
    let args = ["-c".to_owned(), "exec tail -f /dev/null".to_owned()];
    let mut lasting = Guarded::start(Path::new("sh"), &args, folder.path().join("lasting.log"));
    assert!(lasting.runs());
    // This is what a killed test does.
    drop(lasting.shell.stdin.take());
    assert_eq!(ended_with(lasting), Some(128 + 9));

    let args = ["-c".to_owned(), "echo address taken; exit 3".to_owned()];
    let mut brief = Guarded::start(Path::new("sh"), &args, folder.path().join("brief.log"));
    let pipe = brief.shell.stdin.take();
    assert_eq!(ended_with(brief), Some(3));
    drop(pipe);
    assert!(fs::read_to_string(folder.path().join("brief.log")).unwrap().contains("address taken"));
}
