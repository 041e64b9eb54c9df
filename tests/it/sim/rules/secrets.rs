//! S1 and S3 at every change: what Secrets hold, and whether it may be there.

use oat_operator::api::SEQUENCE;
use oat_sandbox::journal::Entry;
use serde_json::Value;

use super::{Servers, State, entry_of, hash, text, user};

impl State {
    /// S1: no Secret holds a value that the operator has ended.
    pub fn look_at_secrets(&mut self, servers: &Servers, entry: &Entry) {
        for secret in servers.kube.stored("secrets") {
            let Some(hash) = self.hash_in(&secret) else { continue };
            let key = (text(&secret, "/metadata/namespace").to_owned(), text(&secret, "/metadata/name").to_owned());
            if let Some(how) = self.ended.get(&hash).filter(|_| !self.tampered.contains(&key)) {
                let what = format!("Secret {}/{} holds what was {how}", key.0, key.1);
                self.broke("S1", entry, &what);
            }
            self.held.insert(hash);
        }
    }

    /// The hash of the value in a Secret of ours.
    fn hash_in(&mut self, secret: &Value) -> Option<String> {
        let (uid, version) = (text(secret, "/metadata/uid"), text(secret, "/metadata/resourceVersion"));
        if let Some((_, hash)) = self.values.get(uid).filter(|(known, _)| known == version) {
            return hash.clone();
        }
        let hash = user::value(secret).filter(|_| entry_of(secret).is_some()).map(|value| hash(&value));
        self.values.insert(uid.to_owned(), (version.to_owned(), hash.clone()));
        hash
    }

    pub fn changed_secret(&mut self, servers: &Servers, entry: &Entry, namespace: &str, name: &str, ours: bool) {
        let key = (namespace.to_owned(), name.to_owned());
        if !ours {
            self.tampered.insert(key);
            return;
        }
        self.tampered.remove(&key);
        let Some(secret) = servers.kube.object("secrets", namespace, name) else { return };
        if let (Some(owner), Some(sequence)) = (entry_of(&secret), super::entry(&secret, "annotations", SEQUENCE)) {
            self.rises(entry, format!("Secrets of {owner}"), sequence.parse().unwrap_or_default());
        }
    }
}
