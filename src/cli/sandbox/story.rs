//! What the operator did for what was applied, as a newcomer reads it.

use oat_sandbox::journal::{Journal, Server};

/// What the operator asked of Docker Hub and wrote to Kubernetes, in order.
pub fn narrate(journal: &Journal, from: u64) {
    for entry in journal.since(from) {
        if !entry.user_agent.starts_with("oat-operator") {
            continue;
        }
        let said = match (entry.server, entry.method.as_str(), entry.path.as_str()) {
            (Server::Hub, "POST", "/v2/auth/token") => "logged in at Docker Hub",
            (Server::Hub, "GET", _) => "listed the organization's tokens",
            (Server::Hub, "POST", path) if path.ends_with("/access-tokens") => "made a token at Docker Hub",
            (Server::Hub, "PATCH", _) => "changed the token at Docker Hub",
            (Server::Hub, "DELETE", _) => "deleted a token at Docker Hub",
            (Server::Registry, ..) => "proved the token at the registry's token service",
            (Server::Kubernetes, "POST", path) if path.ends_with("/secrets") => "published the token in a pull secret",
            (Server::Kubernetes, "PATCH", path)
                if path.contains("/organizationaccesstokens/") && path.ends_with("/status") =>
            {
                "remembered it in the status"
            }
            (Server::Kubernetes, "PATCH", path) if path.contains("/organizationaccesstokens/") => {
                "put the finalizer on the object"
            }
            _ => continue,
        };
        println!("{:<8} {said:<50} {} {}", "operator", entry.method, entry.path);
    }
}
