//! Durations as users write them: by the grammar of the CRDs' pattern, and nothing that only some parser takes.
//!
//! Never panics and never rounds up: kube's own parser does the first at texts such as `1h-1h`.

use std::time::Duration;

/// Reads durations as Go writes them, by the grammar of the CRDs' pattern and up to what Go's own type holds (292 years).
pub fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{:?} is no duration: expected one like 1h30m", text.chars().take(32).collect::<String>());
    nanoseconds(text).map(Duration::from_nanos).ok_or_else(refused)
}

/// Reads an organization's `spec.pollInterval`: at least a minute, or Docker Hub is asked without end.
pub fn poll_interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    let long_enough = interval >= Duration::from_secs(60);
    long_enough.then_some(interval).ok_or_else(|| "pollInterval must be at least 1m".into())
}

/// The units, those first that begin like another one.
const UNITS: [(&str, u64); 4] =
    [("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];

fn nanoseconds(text: &str) -> Option<u64> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = Some(text).filter(|text| (1..=32).contains(&text.len()))?;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("0", after),
        };
        let (unit, after) = UNITS.iter().find_map(|(name, unit)| Some((*unit, after.strip_prefix(name)?)))?;
        let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
        // What is beyond 18 digits of a fraction is far below a nanosecond.
        let fraction = fraction.get(..18).unwrap_or(fraction);
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = fraction.parse::<u128>().ok()?.checked_mul(unit.into())? / scale;
        total = total.checked_add(whole)?.checked_add(u64::try_from(part).ok()?)?;
        rest = after;
    }
    (total <= i64::MAX.unsigned_abs()).then_some(total)
}
