//! Fields that stand twice in one object of a JSON text. Once it is read into values, only the last of them is left.
//!
//! Never fails: a text that is no JSON has none.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::machinery::field::{child, index};

/// The paths of all fields that stand twice or more, in the order in which they are met.
#[must_use]
pub fn of(text: &[u8]) -> Vec<String> {
    let found = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(text);
    match (Place { path: String::new(), found: &found }).deserialize(&mut reader) {
        Ok(()) => found.into_inner(),
        Err(_) => Vec::new(),
    }
}

/// A value that is being walked through.
struct Place<'a> {
    path: String,
    found: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut at = 0;
        while seq.next_element_seed(Place { path: index(&self.path, at), found: self.found })?.is_some() {
            at += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = child(&self.path, &name);
            if !seen.insert(name) {
                self.found.borrow_mut().push(path.clone());
            }
            map.next_value_seed(Place { path, found: self.found })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn each_field_counts_in_its_own_object() {
        assert_eq!(of(br#"{"a": 1, "b": {"a": [{"c": 1}, {"c": 1, "c": 2}]}, "b": null}"#), ["b.a[1].c", "b"]);
        assert_eq!(of(br#"{"a": {"b": 1}, "c": {"b": 1}}"#), [""; 0]);
        assert_eq!(of(b"a: 1\na: 2"), [""; 0], "no JSON");
        assert_eq!(of(br#"{"a": 1, "a": 2"#), [""; 0], "cut off");
    }
}
