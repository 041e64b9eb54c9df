//! What a server says to people: the fields of its refusals that are known to hold words, and nothing else of them.
//!
//! Invariant: whatever else an answer holds is skipped while it is read. A refusal of 1 MiB costs no more memory than the words
//! that are kept of it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::error::clean;

/// How many names of fields are kept, and how many of them are told.
const NAMES: (usize, usize) = (64, 16);
/// How many messages of a list of errors are kept.
const MESSAGES: usize = 4;

/// The words in a refusal.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Whole texts, in the order of their fields: detail, message, text.
    texts: [Option<String>; 3],
    info: Vec<String>,
    /// The names of the request's fields that are refused.
    pub fields: Vec<String>,
    /// The token service's shape: `{"errors": [{"code", "message"}]}` or `{"details": "…"}`.
    errors: Vec<String>,
    details: Option<String>,
}

/// Reads a refusal; None where it is no JSON object, as a page for people is not.
pub(super) fn read(body: &[u8]) -> Option<Words> {
    serde_json::from_slice(body).ok()
}

impl Words {
    /// All of it in one line, cleaned and cut.
    pub fn text(&self) -> String {
        let mut parts: Vec<String> =
            self.texts.iter().flatten().filter(|text| !text.trim().is_empty()).map(|text| clean(text)).collect();
        for (name, names) in [("errinfo", &self.info), ("fields", &self.fields)] {
            if !names.is_empty() {
                let names: Vec<_> = names.iter().take(NAMES.1).map(|name| clean(name)).collect();
                parts.push(format!("{name}: {}", names.join(", ")));
            }
        }
        parts.extend(self.errors.iter().map(|text| clean(text)));
        parts.extend(self.details.as_deref().map(clean));
        clean(&parts.join("; "))
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WordsVisitor)
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Words, A::Error> {
        let mut words = Words::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "detail" => words.texts[0] = map.next_value::<Text>()?.0,
                "message" => words.texts[1] = map.next_value::<Text>()?.0,
                "text" => words.texts[2] = map.next_value::<Text>()?.0,
                "errinfo" => words.info = map.next_value::<Names>()?.0,
                "fields" => words.fields = map.next_value::<Names>()?.0,
                "errors" => words.errors = map.next_value::<Messages>()?.0,
                "details" => words.details = map.next_value::<Text>()?.0,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(words)
    }
}

/// A text, or nothing where something else stands.
#[derive(Debug, Default)]
pub(super) struct Text(pub Option<String>);

/// The names of an object's fields, or nothing where something else stands.
#[derive(Debug, Default)]
struct Names(Vec<String>);

/// The texts `message` of a list of objects, or nothing where something else stands.
#[derive(Debug, Default)]
struct Messages(Vec<String>);

/// Takes in any JSON value: what is not overridden here is skipped and comes to nothing.
macro_rules! lenient {
    ($name:ident { $($overridden:item)* }) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Any;
                impl<'de> Visitor<'de> for Any {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("any value")
                    }

                    fn visit_bool<E>(self, _: bool) -> Result<$name, E> {
                        Ok($name::default())
                    }

                    fn visit_i64<E>(self, _: i64) -> Result<$name, E> {
                        Ok($name::default())
                    }

                    fn visit_u64<E>(self, _: u64) -> Result<$name, E> {
                        Ok($name::default())
                    }

                    fn visit_f64<E>(self, _: f64) -> Result<$name, E> {
                        Ok($name::default())
                    }

                    fn visit_unit<E>(self) -> Result<$name, E> {
                        Ok($name::default())
                    }

                    $($overridden)*
                }
                deserializer.deserialize_any(Any)
            }
        }
    };
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

fn skip_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

lenient!(Text {
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
        skip_map(map).map(|()| Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Text, A::Error> {
        skip_seq(seq).map(|()| Text(None))
    }
});

lenient!(Names {
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Names, E> {
        Ok(Names::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if names.len() < NAMES.0 {
                names.push(name);
            }
        }
        Ok(Names(names))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Names, A::Error> {
        skip_seq(seq).map(|()| Names::default())
    }
});

lenient!(Messages {
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Messages, E> {
        Ok(Messages::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Messages, A::Error> {
        skip_map(map).map(|()| Messages::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Messages, A::Error> {
        let mut messages = Vec::new();
        while messages.len() < MESSAGES {
            match seq.next_element::<Message>()? {
                Some(message) => messages.extend(message.0),
                None => return Ok(Messages(messages)),
            }
        }
        skip_seq(seq).map(|()| Messages(messages))
    }
});

/// The text `message` of an object, or nothing where something else stands.
#[derive(Debug, Default)]
struct Message(Option<String>);

lenient!(Message {
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Message, E> {
        Ok(Message(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        let mut message = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "message" => message = map.next_value::<Text>()?.0,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Message(message))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Message, A::Error> {
        skip_seq(seq).map(|()| Message(None))
    }
});

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(body: &Value) -> Option<String> {
        read(body.to_string().as_bytes()).map(|words| words.text())
    }

    #[test]
    fn only_fields_that_hold_words_are_told() {
        let body = json!({
            "detail": "no\u{7}pe", "message": "", "text": "bad", "secret": "planted", "fields": {"la\nbel": ["planted"]}
        });
        assert_eq!(said(&body).unwrap(), "no pe; bad; fields: la bel");
        let body = json!({"errors": [{"code": "planted", "message": "one"}, "planted", {"message": 1}, {"message": "two"}],
            "details": "more"});
        assert_eq!(said(&body).unwrap(), "one; two; more");
    }

    #[test]
    fn what_is_no_object_says_nothing() {
        for body in [json!(["planted"]), json!("planted"), json!(1), json!(null)] {
            assert!(said(&body).is_none(), "{body}");
        }
        assert!(read(b"<html>planted</html>").is_none());
        assert!(read(b"{\"detail\": \"planted\"").is_none(), "cut off");
    }

    #[test]
    fn other_shapes_in_known_fields_are_passed_over() {
        for odd in [json!(true), json!(-1), json!(1.5), json!(7), json!(null), json!([["x"]]), json!({"a": {"b": []}})]
        {
            let body = json!({"detail": odd, "errors": odd, "text": "kept", "details": odd});
            assert_eq!(said(&body).unwrap(), "kept", "{odd}");
        }
        let body = json!({"fields": ["x"], "errinfo": "x", "errors": {"message": "x"}, "message": "kept"});
        assert_eq!(said(&body).unwrap(), "kept");
    }

    #[test]
    fn of_a_large_refusal_little_is_kept() {
        let fields: serde_json::Map<_, _> = (0..20_000).map(|n| (format!("field-{n}"), json!([0, 0, 0]))).collect();
        let errors: Vec<_> = (0..20_000).map(|n| json!({"message": format!("error {n}")})).collect();
        let body = json!({"fields": fields, "errors": errors, "padding": vec![json!({}); 20_000]});
        let words = read(body.to_string().as_bytes()).unwrap();
        assert_eq!((words.fields.len(), words.errors.len()), (NAMES.0, MESSAGES));
        assert!(words.text().chars().count() <= 256);
    }
}
