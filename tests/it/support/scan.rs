//! The search for secrets where none may be.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Every form in which a secret could stand somewhere.
fn forms(secret: &str) -> Vec<String> {
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let url: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let bytes = format!("{:?}", secret.as_bytes());
    let mut forms = vec![secret.to_owned(), hex, url, bytes.trim_matches(['[', ']']).to_owned()];
    // Within longer base64 a secret looks different by where it begins.
    for skip in 0..3 {
        let inner = STANDARD.encode(format!("{}{secret}", "x".repeat(skip)));
        let whole = inner.trim_end_matches('=');
        // The first and the last group may hold bits of what stands beside it.
        forms.push(whole.chars().skip(4).take(whole.len().saturating_sub(8)).collect());
    }
    forms
}

/// Where a session's JWT stands in a text: its header is `{"` in base64, and a dot follows.
fn jwt(text: &str) -> Option<usize> {
    text.match_indices("eyJ").map(|(at, _)| at).find(|at| {
        let rest = &text[*at..];
        let header = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(rest.len());
        header >= 16 && rest[header..].starts_with(".eyJ")
    })
}

/// Fails where a text holds a secret in any form.
#[track_caller]
pub fn check(place: &str, text: &str, secrets: &[String]) {
    assert_eq!(jwt(text), None, "{place} holds a JWT");
    for secret in secrets.iter().filter(|secret| secret.len() >= 8) {
        for form in forms(secret) {
            if let Some(at) = text.find(&form) {
                let from = text[..at].char_indices().rev().nth(120).map_or(0, |(i, _)| i);
                panic!("{place} holds a secret of {} characters, after: {}", secret.len(), &text[from..at]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_it_looks_for() {
        let secret = "dckr_oat_abcdefghijklmnopqrstuvwxyz".to_owned();
        let auth = STANDARD.encode(format!("acme:{secret}"));
        let hidden =
            [secret.clone(), format!("x {auth} y"), format!("{:?}", secret.as_bytes()), STANDARD.encode(&secret)];
        for text in hidden {
            let found = std::panic::catch_unwind(|| check("here", &text, std::slice::from_ref(&secret)));
            assert!(found.is_err(), "{text}");
        }
        assert!(jwt("Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.x").is_some());
        check("here", "sha256:0123 token id-1 of acme, eyJ", &[secret]);
    }
}
