//! The search for secrets where none may be.
//!
//! A secret is looked for in pieces of eight characters, so that a part of it is found like the whole, and in nine forms:
//! plain, backwards, base64 (for files and for URLs, wherever in a longer text it begins), hex (small and capital),
//! percent-encoded, escaped (as JSON or Rust's `Debug` does it) and as a list of byte numbers. Beside that, whatever looks
//! like a token's value or a JWT is a find, whether anybody knows it or not.
//!
//! Invariant: what a find says never holds the secret.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE},
};

/// How many characters of a secret are a leak.
const PIECE: usize = 8;
/// Of longer secrets (JWTs) only so much of the end is looked for: the rest is the same in all of them.
const LONG: usize = 64;
/// Prefixes that everybody knows.
const PREFIXES: [&str; 2] = ["dckr_oat_", "dckr_pat_"];

/// What was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// Which secret, in the order in which they were given; none for one that only looks like one.
    pub secret: Option<usize>,
    pub form: &'static str,
    /// Where it begins, in bytes.
    pub at: usize,
}

/// Looks for all secrets at once.
pub struct Scanner {
    pieces: AhoCorasick,
    /// What each pattern is: the secret's number and the form.
    known: Vec<(usize, &'static str)>,
    marks: AhoCorasick,
}

/// The part of base64 that `piece` decides alone, after so many other bytes.
fn base64(engine: &impl Engine, piece: &str, before: usize) -> String {
    let text = engine.encode([&vec![0; before], piece.as_bytes()].concat());
    let (from, to) = ((8 * before).div_ceil(6), 8 * (before + piece.len()) / 6);
    text[from..to].to_owned()
}

fn hex(piece: &str) -> String {
    piece.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn quoted(piece: &str) -> String {
    let text = serde_json::to_string(piece).unwrap();
    text[1..text.len() - 1].to_owned()
}

/// Every form of a piece but the plain one.
fn forms(piece: &str) -> Vec<(&'static str, String)> {
    let percent: String = piece.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let numbers = |between: &str| piece.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(between);
    let mut forms = vec![
        ("backwards", piece.chars().rev().collect()),
        ("hex", hex(piece)),
        ("capital hex", hex(piece).to_uppercase()),
        ("percent", percent.to_lowercase()),
        ("percent", percent),
        ("percent", url::form_urlencoded::byte_serialize(piece.as_bytes()).collect()),
        ("escaped", quoted(piece)),
        ("escaped", piece.escape_default().to_string()),
        ("escaped", piece.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()),
        ("bytes", numbers(", ")),
        ("bytes", numbers(",")),
    ];
    for before in 0..3 {
        forms.push(("base64", base64(&STANDARD, piece, before)));
        forms.push(("base64url", base64(&URL_SAFE, piece, before)));
    }
    forms
}

/// The parts of a secret of [`PIECE`] characters, `step` apart, the last one included.
fn pieces(secret: &str, step: usize) -> Vec<&str> {
    let starts: Vec<usize> = secret.char_indices().map(|(at, _)| at).chain([secret.len()]).collect();
    let last = starts.len() - 1 - PIECE;
    let piece = |from: usize| &secret[starts[from]..starts[from + PIECE]];
    (0..last).step_by(step).chain([last]).map(piece).collect()
}

impl Scanner {
    /// Secrets of fewer than eight characters are not looked for: they are everywhere.
    pub fn new(secrets: &[String]) -> Self {
        let mut patterns: BTreeMap<String, (usize, &'static str)> = BTreeMap::new();
        for (number, secret) in secrets.iter().enumerate() {
            let bare = PREFIXES.iter().find_map(|prefix| secret.strip_prefix(prefix)).unwrap_or(secret);
            if bare.chars().count() < PIECE {
                continue;
            }
            let bare = bare.char_indices().rev().nth(LONG - 1).map_or(bare, |(from, _)| &bare[from..]);
            for piece in pieces(bare, 1) {
                patterns.entry(piece.to_owned()).or_insert((number, "plain"));
            }
            // Who encodes a secret encodes more of it than eight characters.
            for piece in pieces(bare, 4) {
                for (form, text) in forms(piece) {
                    patterns.entry(text).or_insert((number, form));
                }
            }
        }
        let (patterns, known): (Vec<_>, Vec<_>) = patterns.into_iter().unzip();
        let marks: Vec<String> = PREFIXES
            .iter()
            .map(|prefix| (*prefix).to_owned())
            .chain(["eyJ".to_owned()])
            .chain(PREFIXES.iter().flat_map(|prefix| (0..3).map(move |before| base64(&STANDARD, prefix, before))))
            .collect();
        let build = |patterns: &[String]| {
            AhoCorasick::builder().match_kind(MatchKind::Standard).build(patterns).expect("an automaton")
        };
        Self { pieces: build(&patterns), known, marks: build(&marks) }
    }

    /// The first find in a text.
    pub fn find(&self, text: &[u8]) -> Option<Find> {
        if let Some(found) = self.pieces.find(text) {
            let (secret, form) = self.known[found.pattern().as_usize()];
            return Some(Find { secret: Some(secret), form, at: found.start() });
        }
        self.marks.find_iter(text).find_map(|mark| {
            let form = match mark.pattern().as_usize() {
                prefix if prefix < PREFIXES.len() => {
                    let word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                    let value = text[mark.end()..].iter().take_while(word).count();
                    (value >= PIECE).then_some("like a value")
                }
                prefix if prefix == PREFIXES.len() => jwt(&text[mark.start()..]).then_some("like a JWT"),
                _ => Some("like a value in base64"),
            }?;
            Some(Find { secret: None, form, at: mark.start() })
        })
    }

    /// Fails where a text holds a secret in any form.
    #[track_caller]
    pub fn check(&self, place: &str, text: &[u8]) {
        let Some(find) = self.find(text) else { return };
        let from = find.at.saturating_sub(160);
        let before = String::from_utf8_lossy(&text[from..find.at]).into_owned();
        // What stands before the find may hold the rest of the secret.
        let before = match self.find(before.as_bytes()) {
            Some(_) => "(more secrets)",
            None => before.as_str(),
        };
        panic!("{place} holds secret {:?} ({}) at byte {}, after: {before}", find.secret, find.form, find.at);
    }
}

/// Whether a text begins with a JWT: its header is `{"` in base64, and a dot and the claims follow.
fn jwt(text: &[u8]) -> bool {
    let word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let header = text.iter().take_while(word).count();
    header >= 16 && text[header..].starts_with(b".eyJ")
}

/// Fails where a text holds one of these secrets in any form.
#[track_caller]
pub fn check(place: &str, text: &str, secrets: &[String]) {
    Scanner::new(secrets).check(place, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "dckr_oat_7awgM4jG5-SQvxcvmQ_2s8KpLzT";
    const PASSWORD: &str = "p\u{e4}ss \"word\"+/&\\\u{1F511} & more";

    fn scanner() -> Scanner {
        Scanner::new(&[VALUE.to_owned(), PASSWORD.to_owned(), "short".to_owned()])
    }

    #[track_caller]
    fn finds(text: &str, secret: usize, form: &str) {
        let found = scanner().find(text.as_bytes());
        let found = found.unwrap_or_else(|| panic!("{form} is not found in {text}"));
        assert_eq!((found.secret, found.form), (Some(secret), form), "{text}");
    }

    #[test]
    fn every_form_of_the_whole_is_found_wherever_it_begins() {
        for (number, secret) in [VALUE, PASSWORD].into_iter().enumerate() {
            for before in ["", "a", "ab", "acme:", "{\"password\":"] {
                let text = format!("{before}{secret}/");
                finds(&format!("x {} y", text.chars().rev().collect::<String>()), number, "backwards");
                finds(&STANDARD.encode(&text), number, "base64");
                finds(&format!("<{}>", hex(&text)), number, "hex");
                finds(&hex(&text).to_uppercase(), number, "capital hex");
                finds(&format!("{:?}", text.as_bytes()), number, "bytes");
                finds(&serde_json::to_string(text.as_bytes()).unwrap(), number, "bytes");
                let percent: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
                finds(&percent, number, "percent");
                finds(&percent.to_uppercase(), number, "percent");
                let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                finds(&escaped, number, "escaped");
                assert!(scanner().find(URL_SAFE.encode(&text).as_bytes()).is_some());
                assert!(scanner().find(text.as_bytes()).is_some());
                assert!(scanner().find(format!("{text:?}").as_bytes()).is_some());
                assert!(scanner().find(text.escape_default().to_string().as_bytes()).is_some());
            }
        }
        // Where it has characters that the forms differ in.
        let encoded: String = url::form_urlencoded::byte_serialize(PASSWORD.as_bytes()).collect();
        finds(&encoded, 1, "percent");
        finds(&serde_json::to_string(PASSWORD).unwrap(), 1, "escaped");
        finds(&PASSWORD.escape_default().to_string(), 1, "escaped");
        let odd = "\u{3ff}?>\u{3ff}?>\u{3ff}?>".to_owned();
        let found = Scanner::new(std::slice::from_ref(&odd)).find(URL_SAFE.encode(&odd).as_bytes());
        assert_eq!(found.map(|found| found.form), Some("base64url"));
    }

    #[test]
    fn eight_characters_beyond_the_prefix_are_found_and_seven_are_not() {
        let bare = &VALUE["dckr_oat_".len()..];
        for from in 0..=bare.len() - PIECE {
            finds(&format!("token:{}!", &bare[from..from + PIECE]), 0, "plain");
            assert_eq!(scanner().find(&bare.as_bytes()[from..from + PIECE - 1]), None);
        }
        // A password's characters are not bytes.
        let piece: String = PASSWORD.chars().skip(5).take(PIECE).collect();
        finds(&piece, 1, "plain");
    }

    #[test]
    fn encoded_parts_of_eleven_characters_are_found() {
        let bare = &VALUE["dckr_oat_".len()..];
        for from in 0..=bare.len() - 11 {
            let part = &bare[from..from + 11];
            finds(&hex(part), 0, "hex");
            finds(&STANDARD.encode(format!("ab{part}")), 0, "base64");
        }
    }

    #[test]
    fn what_only_looks_like_a_secret_is_found_too() {
        let none = Scanner::new(&[]);
        let like = |text: &str| none.find(text.as_bytes()).map(|found| found.form);
        assert_eq!(like("Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.x"), Some("like a JWT"));
        assert_eq!(like("password=dckr_pat_0123456789"), Some("like a value"));
        for before in ["", "a", "ab"] {
            assert_eq!(like(&STANDARD.encode(format!("{before}dckr_oat_0123456789"))), Some("like a value in base64"));
        }
        for harmless in ["sha256:0123 token id-1 of acme, eyJ", "put in a dckr_oat_ token", "a.eyJ", ""] {
            assert_eq!(like(harmless), None, "{harmless}");
        }
    }

    #[test]
    fn a_find_fails_and_does_not_repeat_the_secret() {
        let text = format!("the log says {VALUE} {VALUE}");
        let failed = std::panic::catch_unwind(|| scanner().check("here", text.as_bytes())).unwrap_err();
        let said = failed.downcast::<String>().unwrap();
        assert!(
            said.starts_with("here holds secret Some(0) (plain) at byte 22, after: the log says dckr_oat_"),
            "{said}"
        );
        assert!(!said.contains("7awgM"), "{said}");
        check("here", "sha256:0123 short", &[VALUE.to_owned()]);
    }

    #[test]
    fn many_secrets_and_a_large_log_take_no_time() {
        let secrets: Vec<String> = (0..500)
            .map(|number: u64| {
                let value = STANDARD.encode(number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
                format!("dckr_oat_{}{value}", value.trim_end_matches('='))
            })
            .collect();
        let since = std::time::Instant::now();
        let scanner = Scanner::new(&secrets);
        let line = br#"{"timestamp":"2026-11-25T12:00:00Z","level":"TRACE","message":"nothing of interest"}"#;
        let log = line.repeat(16 * 1024 * 1024 / line.len());
        assert_eq!(scanner.find(&log), None);
        let planted = [&log[..], secrets[499].as_bytes()].concat();
        assert_eq!(scanner.find(&planted).unwrap().secret, Some(499));
        assert!(since.elapsed().as_secs() < 30, "{:?}", since.elapsed());
    }
}
