//! Named string formats (`date-time`, `duration`, `uri` …) as a Kubernetes API server reads them.
//!
//! Never refuses a format that it does not know: such a name is a hint for readers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;

/// Whether `text` holds to `format`; unknown formats hold.
#[must_use]
pub fn holds(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => date_time(text),
        "date" => date(text),
        "duration" => duration(text),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "uri" => uri(text),
        "email" => email(text),
        "hostname" => hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "mac" => mac(text),
        "uuid" => uuid(text, None),
        "uuid3" => uuid(text, Some('3')),
        "uuid4" => uuid(text, Some('4')),
        "uuid5" => uuid(text, Some('5')),
        "hexcolor" => hex_color(text),
        "k8s-short-name" => label(text, 63),
        "k8s-long-name" => text.len() <= 253 && text.split('.').all(|part| label(part, 253)),
        _ => true,
    }
}

/// `2026-11-25`.
fn date(text: &str) -> bool {
    text.len() == 10 && shape(text, "dddd-dd-dd") && text.parse::<jiff::civil::Date>().is_ok()
}

/// `2026-11-25T06:07:08.9Z` or with an offset.
fn date_time(text: &str) -> bool {
    let Some((day, rest)) = text.split_once(['T', 't']) else {
        return false;
    };
    if !date(day) || rest.len() < 9 || !rest.is_char_boundary(8) {
        return false;
    }
    let (clock, rest) = rest.split_at(8);
    let number = |range: std::ops::Range<usize>| clock.get(range).and_then(|s| s.parse::<u8>().ok()).unwrap_or(99);
    if !shape(clock, "dd:dd:dd") || number(0..2) > 23 || number(3..5) > 59 || number(6..8) > 59 {
        return false;
    }
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    matches!(zone, "Z" | "z") || zone.len() == 6 && zone.starts_with(['+', '-']) && shape(&zone[1..], "dd:dd")
}

/// Whether each `d` of the form is a digit of the text and the rest is equal.
fn shape(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(t, f)| if f == b'd' { t.is_ascii_digit() } else { t == f })
}

/// Go's durations (`1h30m`), and numbers with the name of a unit (`3 days`).
fn duration(text: &str) -> bool {
    if go_duration(text).is_some() {
        return true;
    }
    let units = [
        "ns",
        "nano",
        "nanosecond",
        "us",
        "µs",
        "micro",
        "microsecond",
        "ms",
        "milli",
        "millisecond",
        "s",
        "sec",
        "second",
        "m",
        "min",
        "minute",
        "h",
        "hr",
        "hour",
        "d",
        "day",
        "w",
        "wk",
        "week",
    ];
    let mut rest = text.trim();
    let mut any = false;
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if after.len() == rest.len() {
            return false;
        }
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let unit = after[..end].to_lowercase();
        if !units.iter().any(|u| unit == *u || unit.strip_suffix('s') == Some(u)) {
            return false;
        }
        any = true;
        rest = after[end..].trim_start();
    }
    any
}

/// A duration as Go writes it, in nanoseconds: `1h2m3.5s`, `-1.5h`, `0`.
#[must_use]
pub fn go_duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let nanos: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 18 || fraction.len() > 18
        {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        total += whole * nanos + part * nanos / scale;
        rest = after;
    }
    (total <= i128::from(i64::MAX)).then_some(if negative { -total } else { total })
}

/// An absolute URI or an absolute path, as Go's `url.ParseRequestURI` takes them.
fn uri(text: &str) -> bool {
    if text.is_empty() || text.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return false;
    }
    text.starts_with('/') || url::Url::parse(text).is_ok()
}

fn email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    !local.is_empty()
        && !local.contains(char::is_whitespace)
        && !domain.is_empty()
        && !domain.contains(char::is_whitespace)
}

fn hostname(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.trim_end_matches('.').split('.').all(|part| {
            !part.is_empty()
                && part.len() <= 63
                && part.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
                && !part.starts_with('-')
                && !part.ends_with('-')
        })
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn uuid(text: &str, version: Option<char>) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    let dashes_fit = !text.contains('-') || [8, 13, 18, 23].iter().all(|i| text.as_bytes().get(*i) == Some(&b'-'));
    let shape = plain.len() == 32 && plain.bytes().all(|b| b.is_ascii_hexdigit()) && dashes_fit;
    let variant_fits =
        !matches!(version, Some('4' | '5')) || matches!(plain.chars().nth(16), Some('8' | '9' | 'a' | 'A' | 'b' | 'B'));
    shape && version.is_none_or(|v| plain.chars().nth(12) == Some(v)) && variant_fits
}

fn hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

fn label(text: &str, most: usize) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= most
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for (format, good, bad) in [
            (
                "date-time",
                &[
                    "2026-11-25T06:07:08Z",
                    "2026-11-25T06:07:08.123456Z",
                    "2026-11-25t06:07:08+02:00",
                    "2024-02-29T23:59:59-11:30",
                ][..],
                &[
                    "",
                    "2026-11-25",
                    "2026-11-25 06:07:08Z",
                    "2026-13-25T06:07:08Z",
                    "2026-02-29T06:07:08Z",
                    "2026-11-25T24:07:08Z",
                    "2026-11-25T06:07Z",
                    "2026-11-25T06:07:08",
                    "2026-11-25T06:07:08.Z",
                    "2026-11-25T06:07:08+0200",
                ][..],
            ),
            ("date", &["2026-11-25"], &["2026-11-31", "26-11-25", "2026-11-25T00:00:00Z", ""]),
            (
                "duration",
                &["1h", "1h30m", "0", "1.5s", "-5m", "100ms", "3 days", "1d", "2 weeks", "1 hour 30 minutes"],
                &["", "1", "h", "1x", "an hour", "1h-", "1.h.2"],
            ),
            ("byte", &["", "aGVsbG8="], &["a", "hello!", "aGVsbG8"]),
            (
                "uri",
                &["https://a.b/c?d=e", "urn:x:y", "/path", "http://localhost:80"],
                &["", "a b", "no-scheme", "://x"],
            ),
            ("email", &["a@b.c", "a+b@c"], &["", "a", "@b", "a@", "a b@c"]),
            ("hostname", &["a", "a.b.c", "a-b.c"], &["", "-a", "a..b", "a b"]),
            ("ipv4", &["1.2.3.4"], &["1.2.3", "256.1.1.1", "::1", ""]),
            ("ipv6", &["::1", "fe80::1"], &["1.2.3.4", "g::", ""]),
            ("cidr", &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/+8"]),
            ("mac", &["01:23:45:67:89:ab", "01-23-45-67-89-ab"], &["01:23", "0123456789ab", "zz:23:45:67:89:ab"]),
            (
                "uuid",
                &["f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "F81D4FAE7DEC11D0A76500A0C91E6BF6"],
                &["", "f81d4fae", "g81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
            ),
            ("uuid4", &["5b6a3f6e-2f0c-4a57-9f0a-2f4b8c1d3e5f"], &["f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]),
            ("hexcolor", &["#fff", "a1b2c3"], &["#ffff", "red", ""]),
            ("k8s-short-name", &["a", "a-1"], &["", "A", "a.b", "-a", "a-"]),
            ("k8s-long-name", &["a", "a.b-c.d"], &["", "a..b", "A.b"]),
            ("unheard-of", &["", "x"], &[]),
        ] {
            for text in good {
                assert!(holds(format, text), "{format} takes {text:?}");
            }
            for text in bad {
                assert!(!holds(format, text), "{format} refuses {text:?}");
            }
        }
    }

    #[test]
    fn go_durations_have_their_length() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            (".5s", Some(500_000_000)),
            ("-2m", Some(-120_000_000_000)),
            ("+2m", Some(120_000_000_000)),
            ("1µs", Some(1_000)),
            ("720h", Some(2_592_000_000_000_000)),
            ("", None),
            ("-", None),
            ("1", None),
            ("1d", None),
            ("1.2.3s", None),
            (".s", None),
        ] {
            assert_eq!(go_duration(text), nanos, "{text:?}");
        }
    }
}
