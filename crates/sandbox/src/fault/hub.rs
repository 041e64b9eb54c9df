//! What Docker Hub, its token service, and what stands before them answer on a bad day, by name.
//!
//! Never changes what is stored, but for what the request itself does.

use serde_json::{Value, json};

use super::{Canned, Fault};

/// How much a gzip bomb becomes.
pub const BOMB: usize = 256 * 1024 * 1024;

fn trouble(status: u16) -> Canned {
    Canned::html(status, "<html><head><title>Error</title></head><body><h1>Try again</h1></body></html>")
}

/// A 5xx; not executed.
#[must_use]
pub fn unavailable(status: u16) -> Fault {
    Fault::Answer(trouble(status))
}

/// A 5xx; executed all the same.
#[must_use]
pub fn unavailable_after(status: u16) -> Fault {
    Fault::AnswerAfter(trouble(status))
}

/// 429 with this `Retry-After`.
#[must_use]
pub fn too_many(retry_after: Option<&str>) -> Fault {
    let answer = Canned::json(429, &json!({"detail": "Rate limit exceeded", "error": false}));
    Fault::Answer(match retry_after {
        Some(value) => answer.header("retry-after", value),
        None => answer,
    })
}

/// 401, as for a JWT that is over.
#[must_use]
pub fn login_expired() -> Fault {
    Fault::Answer(Canned::json(401, &json!({"detail": "Unauthorized", "message": "unauthorized"})))
}

/// 403 in words for programs.
#[must_use]
pub fn forbidden() -> Fault {
    Fault::Answer(Canned::json(403, &json!({"message": "access denied", "errinfo": {}})))
}

/// 403 with a page for people: a bot challenge.
#[must_use]
pub fn challenge() -> Fault {
    let page = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>";
    Fault::Answer(Canned::html(403, page).header("cf-mitigated", "challenge"))
}

/// 200 with a page for people; not executed.
#[must_use]
pub fn page() -> Fault {
    Fault::Answer(Canned::html(200, "<!DOCTYPE html><html><body>We will be back soon.</body></html>"))
}

/// Executed; of the answer's JSON comes half, under the length of that half.
#[must_use]
pub fn cut_json() -> Fault {
    Fault::then(|answer| answer.body.truncate(answer.body.len() / 2))
}

/// Executed; the answer is a JSON object of something else.
#[must_use]
pub fn wrong_shape() -> Fault {
    Fault::then(|answer| answer.body = json!({"unexpected": [1, 2, 3]}).to_string().into_bytes())
}

/// Executed; the answer lacks this field, in itself and in the items of a list.
#[must_use]
pub fn without(field: &'static str) -> Fault {
    Fault::then(move |answer| answer.edit(|body| every(body, &|object| drop(object.remove(field)))))
}

/// Executed; the answer has this value in a field that it has, in itself and in the items of a list.
#[must_use]
pub fn with(field: &'static str, value: Value) -> Fault {
    Fault::then(move |answer| {
        answer.edit(|body| {
            every(body, &|object| {
                if let Some(found) = object.get_mut(field) {
                    *found = value.clone();
                }
            });
        });
    })
}

fn every(body: &mut Value, change: &dyn Fn(&mut serde_json::Map<String, Value>)) {
    if let Some(results) = body.get_mut("results").and_then(Value::as_array_mut) {
        results.iter_mut().for_each(|item| every(item, change));
    }
    if let Some(object) = body.as_object_mut() {
        change(object);
    }
}

/// Executed; the answer is a few hundred kilobytes that say they become [`BOMB`] bytes when unpacked.
#[must_use]
pub fn gzip_bomb() -> Fault {
    let bomb = zeros(BOMB);
    Fault::then(move |answer| {
        answer.headers.retain(|(name, _)| name != "content-length");
        answer.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
        answer.body = bomb.clone();
    })
}

/// 404 for a token, whether there is one or not.
#[must_use]
pub fn token_not_found() -> Fault {
    Fault::Answer(Canned::json(404, &json!({"detail": "Not found", "message": "access token not found"})))
}

/// The organization has no place for another token.
#[must_use]
pub fn limit_reached(status: u16) -> Fault {
    let text = "Access token limit reached.";
    let body =
        if status == 400 { json!({"fields": {}, "text": text}) } else { json!({"detail": text, "message": text}) };
    Fault::Answer(Canned::json(status, &body))
}

/// A gzip member that unpacks to `length` zeros: one literal, then matches of 258 bytes in the fixed Huffman code.
fn zeros(length: usize) -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], filled: 0 };
    // The last block, with fixed codes.
    bits.push(0b1, 1);
    bits.push(0b01, 2);
    // Literal 0 is 00110000, from its most significant bit on; a match of 258 is 11000101; distance 1 is 00000.
    bits.code(0b0011_0000, 8);
    let matches = length.saturating_sub(1) / 258;
    for _ in 0..matches {
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    for _ in 0..length.saturating_sub(1 + matches * 258) {
        bits.code(0b0011_0000, 8);
    }
    // The end of the block.
    bits.code(0, 7);
    let mut bytes = bits.bytes;
    bytes.extend_from_slice(&crc_of_zeros(length).to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    bytes
}

struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are used; 0 and 8 both mean that it is full.
    filled: u8,
}

impl Bits {
    /// The lowest `count` bits, the least significant first.
    fn push(&mut self, value: u16, count: u8) {
        for at in 0..count {
            if self.filled.is_multiple_of(8) {
                self.bytes.push(0);
                self.filled = 0;
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::from((value >> at) & 1 == 1) << self.filled;
            }
            self.filled += 1;
        }
    }

    /// A Huffman code, the most significant bit first.
    fn code(&mut self, value: u16, count: u8) {
        for at in (0..count).rev() {
            self.push(value >> at, 1);
        }
    }
}

/// CRC-32 of `length` zeros: each takes the remainder by one table step, whose table is not worth keeping.
fn crc_of_zeros(length: usize) -> u32 {
    let table: Vec<u32> = (0..256u32)
        .map(|byte| (0..8).fold(byte, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }))
        .collect();
    let step = |crc: u32| {
        let entry = table.get(usize::try_from(crc & 0xff).unwrap_or_default()).copied().unwrap_or_default();
        (crc >> 8) ^ entry
    };
    !(0..length).fold(u32::MAX, |crc, _| step(crc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bomb_is_small_and_well_formed() {
        // Python's gzip.decompress makes 520 zeros of it.
        let packed = "1f8b08000000000000ff631805a380818101003cc3477608020000";
        assert_eq!(data_encoding::HEXLOWER.encode(&zeros(520)), packed);
        assert!(zeros(BOMB).len() < BOMB / 150);
    }
}
