//! One-time codes by time (RFC 6238 with SHA-1, 30 seconds, 6 digits), as the second factor of a login.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha1::Sha1;

const STEP: i64 = 30;

/// The step of the present and its neighbours: a code is good a step early and a step late.
pub(crate) fn steps(now: Timestamp) -> [i64; 3] {
    let step = now.as_second().div_euclid(STEP);
    [step - 1, step, step + 1]
}

/// The code of a step, or `None` if the secret is not base32.
pub(crate) fn code(secret: &str, step: i64) -> Option<String> {
    let plain: String = secret.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_uppercase();
    let key = data_encoding::BASE32_NOPAD.decode(plain.trim_end_matches('=').as_bytes()).ok()?;
    Some(format!("{:06}", truncated(&key, step)? % 1_000_000))
}

/// RFC 4226's dynamic truncation of the HMAC of the step.
fn truncated(key: &[u8], step: i64) -> Option<u32> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).ok()?;
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash.last()? & 0x0f);
    let four = hash.get(offset..offset + 4)?;
    Some(u32::from_be_bytes(four.try_into().ok()?) & 0x7fff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, SHA-1 (8 digits there).
    #[test]
    fn the_rfcs_vectors() {
        for (second, eight_digits) in [
            (59_i64, 94_287_082_u32),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            let truncated = truncated(b"12345678901234567890", second / STEP).unwrap();
            assert_eq!(truncated % 100_000_000, eight_digits, "at {second}");
        }
    }

    #[test]
    fn secrets_are_read_as_people_write_them() {
        let code_of = |secret| code(secret, 1).unwrap();
        assert_eq!(code_of("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), "287082");
        assert_eq!(code_of("gezd gnbv gy3t qojq gezd gnbv gy3t qojq"), "287082");
        assert_eq!(code("not base32!", 1), None);
    }
}
