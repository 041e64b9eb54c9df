//! Every place that the operator writes to or that shows what it holds, as text: where no secret may be.
//!
//! Left out is only what is there to hold secrets: the data of Secrets, and what Docker Hub is told in a login or a proof.

use kube::Client;
use oat_sandbox::journal::{Entry, Journal, Server};
use serde_json::Value;

use super::{
    operator::Operator,
    scan::Scanner,
    world::{PASSWORD, World},
};

/// Lists whose objects are looked at whole: metadata, managed fields, spec and status.
const LISTS: [&str; 6] = [
    "/apis/oat-operator.dev/v1alpha1/organizationaccesstokens",
    "/apis/oat-operator.dev/v1alpha1/organizations",
    "/apis/oat-operator.dev/v1alpha1/clusterorganizations",
    "/apis/events.k8s.io/v1/events",
    "/apis/coordination.k8s.io/v1/leases",
    "/api/v1/secrets",
];

/// Takes the data out of every Secret in a tree: what is left is metadata.
fn without_data(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let strings = |data: &Value| data.as_object().is_some_and(|data| data.values().all(|v| !v.is_object()));
            for name in ["data", "stringData"] {
                if fields.get(name).is_some_and(strings) {
                    fields.remove(name);
                }
            }
            fields.values_mut().for_each(without_data);
        }
        Value::Array(items) => items.iter_mut().for_each(without_data),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What a JSON text of Secrets says but for their data.
fn metadata(text: &[u8]) -> String {
    let mut value: Value = serde_json::from_slice(text).unwrap_or_default();
    without_data(&mut value);
    value.to_string()
}

/// A request as far as it may be seen: its line, and its body where that is not meant to hold a secret.
fn request(entry: &Entry) -> String {
    let body = match (entry.server, entry.request_body.as_deref()) {
        (Server::Kubernetes, Some(body)) if entry.path.contains("/secrets") => metadata(body),
        (Server::Kubernetes, Some(body)) => String::from_utf8_lossy(body).into_owned(),
        (Server::Hub, Some(body)) if entry.path.contains("/access-tokens") => {
            String::from_utf8_lossy(body).into_owned()
        }
        _ => String::new(),
    };
    format!("{}\n{body}", entry.line())
}

/// What the operator asked of all servers, the writes that a later one has covered up included.
pub fn check_journal(scanner: &Scanner, journal: &Journal) {
    for entry in journal.filter(|entry| entry.user_agent.starts_with("oat-operator")) {
        scanner.check(&format!("request {}", entry.index), request(&entry).as_bytes());
    }
}

/// What the system shows of the process to others.
pub fn check_process(scanner: &Scanner, pid: u32) {
    for file in ["cmdline", "environ"] {
        // A process that has ended has none.
        if let Ok(text) = std::fs::read(format!("/proc/{pid}/{file}")) {
            scanner.check(&format!("/proc/PID/{file}"), &text);
        }
    }
}

async fn check_metrics(scanner: &Scanner, operator: &Operator) {
    if let Ok(answer) = reqwest::get(format!("http://{}/metrics", operator.metrics)).await {
        scanner.check("metrics", answer.text().await.unwrap().as_bytes());
    }
}

async fn check_objects(scanner: &Scanner, client: &Client) {
    for path in LISTS {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let text = client.request_text(request).await.unwrap();
        let text = if path.ends_with("/secrets") { metadata(text.as_bytes()) } else { text };
        assert!(text.contains("\"items\""), "{path} is not a list: {text}");
        scanner.check(path, text.as_bytes());
    }
}

/// Looks everywhere.
pub async fn check(world: &World) {
    let mut secrets = world.hub.secrets();
    secrets.push(PASSWORD.to_owned());
    let scanner = Scanner::new(&secrets);
    // Panics and what is printed at the end are in the logs too: these are the program's whole output.
    for log in world.logs() {
        scanner.check(&log.display().to_string(), &std::fs::read(log).unwrap());
    }
    for operator in &world.operators {
        check_metrics(&scanner, operator).await;
        check_process(&scanner, operator.pid());
    }
    check_objects(&scanner, &world.client).await;
    check_journal(&scanner, &world.journal);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_data_of_secrets_is_left_out() {
        let list = json!({"items": [
            {"metadata": {"annotations": {"a": "in an annotation"}, "managedFields": [{"fieldsV1": {"f:data": {"f:x": {}}}}]},
                "data": {"x": "in the data"}, "stringData": {"x": "in the data"}},
        ]});
        let left = metadata(list.to_string().as_bytes());
        assert!(
            left.contains("in an annotation") && left.contains("f:data") && !left.contains("in the data"),
            "{left}"
        );
    }

    #[test]
    fn a_process_is_seen_with_its_arguments_and_its_environment() {
        let scanner = Scanner::new(&["planted-in-the-arguments".to_owned(), "planted-in-the-environment".to_owned()]);
        let run = |argument: &str, variable: &str| {
            let mut child = std::process::Command::new("sh")
                .args(["-c", "echo up; read -r line", argument])
                .env("PLANTED", variable)
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            // Only then has it become the program that it is to be.
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
            let found = std::panic::catch_unwind(|| check_process(&scanner, child.id()));
            child.kill().unwrap();
            child.wait().unwrap();
            found.map_err(|said| *said.downcast::<String>().unwrap())
        };
        assert!(run("harmless", "harmless").is_ok());
        assert!(run("planted-in-the-arguments", "harmless").unwrap_err().contains("cmdline"));
        assert!(run("harmless", "planted-in-the-environment").unwrap_err().contains("environ"));
    }
}
