//! Maintenance windows: a cron expression, how long each lasts, and in which time zone.
//!
//! Never: the time. Whether a moment lies in a window is asked with that moment.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, tz::TimeZone};

/// The shortest window: rotations take seconds, but clocks and polls differ.
pub const SHORTEST: Duration = Duration::from_secs(60);
/// A moment near the end of the years that are searched.
const LATE: Timestamp = Timestamp::constant(94_670_899_200, 0);
/// The longest window.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// When a token may be rotated.
#[derive(Clone, Debug)]
pub struct Window {
    schedule: Cron,
    text: String,
    duration: Duration,
    zone: TimeZone,
    zone_name: String,
}

/// Two windows are one if they are written alike: parsed parts follow from the text.
impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        self.written() == other.written()
    }
}

impl Eq for Window {}

impl Hash for Window {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.written().hash(state);
    }
}

impl Window {
    fn written(&self) -> (&str, Duration, &str) {
        (&self.text, self.duration, &self.zone_name)
    }

    /// Reads a window: five fields of cron, a duration between [`SHORTEST`] and [`LONGEST`], and a name such as
    /// `Europe/Berlin`. The error says which part is wrong.
    pub fn parse(schedule: &str, duration: Duration, zone: &str) -> Result<Self, (&'static str, String)> {
        let wrong_schedule = |why: String| ("schedule", why);
        if schedule.len() > 100 {
            return Err(wrong_schedule("expected at most 100 characters".into()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let schedule_parsed = parser.parse(schedule).map_err(|_| {
            wrong_schedule(
                "no cron expression: expected five fields such as \"0 2 * * 6\" for Saturdays at 02:00".into(),
            )
        })?;
        if !(SHORTEST..=LONGEST).contains(&duration) {
            return Err(("duration", "expected 1m to 168h".into()));
        }
        let time_zone = TimeZone::get(zone)
            .map_err(|_| ("timeZone", "no such time zone: expected a name such as Europe/Berlin or UTC".to_owned()))?;
        let window = Self {
            schedule: schedule_parsed,
            text: schedule.into(),
            duration,
            zone: time_zone,
            zone_name: zone.into(),
        };
        // Any moment will do: what never comes from here on never comes. This one is 30 years before the search gives up,
        // and within 28 years each date is once on each weekday. From now on it would take milliseconds, each pass.
        match window.next(LATE) {
            Some(_) => Ok(window),
            None => Err(wrong_schedule("this never happens: no such day is in the calendar".into())),
        }
    }

    /// Whether a moment lies in it.
    pub fn contains(&self, time: Timestamp) -> bool {
        let start = self.schedule.find_previous_occurrence(&time.to_zoned(self.zone.clone()), true);
        let end = start.ok().and_then(|start| start.timestamp().checked_add(self.duration).ok());
        end.is_some_and(|end| time < end)
    }

    /// When it next begins after a moment.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let found = self.schedule.find_next_occurrence(&after.to_zoned(self.zone.clone()), false);
        found.ok().map(|start| start.timestamp())
    }
}

/// The first moment from `time` on that lies in any of the windows. Without windows, any moment does.
pub fn first(windows: &[Window], time: Timestamp) -> Option<Timestamp> {
    if windows.is_empty() || windows.iter().any(|window| window.contains(time)) {
        return Some(time);
    }
    windows.iter().filter_map(|window| window.next(time)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window(schedule: &str, hours: u64, zone: &str) -> Window {
        Window::parse(schedule, Duration::from_secs(hours * 3600), zone).unwrap()
    }

    #[test]
    fn saturdays_in_berlin() {
        let saturdays = window("0 2 * * 6", 4, "Europe/Berlin");
        // A Saturday in winter: 02:00 there is 01:00 in UTC.
        for (time, inside) in [
            ("2026-11-28T00:59:59Z", false),
            ("2026-11-28T01:00:00Z", true),
            ("2026-11-28T04:59:59Z", true),
            ("2026-11-28T05:00:00Z", false),
            ("2026-11-27T03:00:00Z", false),
        ] {
            assert_eq!(saturdays.contains(at(time)), inside, "{time}");
        }
        assert_eq!(saturdays.next(at("2026-11-28T01:00:00Z")), Some(at("2026-12-05T01:00:00Z")));
        // In summer it is an hour earlier in UTC.
        assert_eq!(saturdays.next(at("2026-07-01T00:00:00Z")), Some(at("2026-07-04T00:00:00Z")));
    }

    #[test]
    fn clocks_that_are_set_lose_no_window() {
        // 02:30 does not exist on 2027-03-28 in Berlin, and comes twice on 2026-10-25.
        let night = window("30 2 * * *", 1, "Europe/Berlin");
        let spring = night.next(at("2027-03-27T02:00:00Z")).unwrap();
        assert!(spring <= at("2027-03-28T03:00:00Z"), "{spring}");
        let autumn = night.next(at("2026-10-24T12:00:00Z")).unwrap();
        assert!(night.contains(autumn));
    }

    #[test]
    fn the_first_of_several() {
        let windows = [window("0 2 * * 6", 4, "UTC"), window("0 12 * * 3", 1, "UTC")];
        assert_eq!(first(&windows, at("2026-11-25T12:30:00Z")), Some(at("2026-11-25T12:30:00Z")), "inside");
        assert_eq!(first(&windows, at("2026-11-25T13:00:00Z")), Some(at("2026-11-28T02:00:00Z")));
        assert_eq!(first(&windows, at("2026-11-29T00:00:00Z")), Some(at("2026-12-02T12:00:00Z")));
        assert_eq!(first(&[], at("2026-11-29T00:00:00Z")), Some(at("2026-11-29T00:00:00Z")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let part = |schedule: &str, seconds: u64, zone: &str| {
            Window::parse(schedule, Duration::from_secs(seconds), zone).map_err(|(part, _)| part)
        };
        for schedule in [
            "",
            "x",
            "* * * *",
            "0 0 2 * * 6",
            "0 2 * * 6 2027",
            "60 * * * *",
            "0 0 30 2 *",
            "0 0 31 4 *",
            "0 0 31 4,6,9,11 *",
        ] {
            assert_eq!(part(schedule, 3600, "UTC"), Err("schedule"), "{schedule:?}");
        }
        assert_eq!(part(&"*/1,".repeat(40), 3600, "UTC"), Err("schedule"));
        assert_eq!(part("0 2 * * 6", 59, "UTC"), Err("duration"));
        assert_eq!(part("0 2 * * 6", 7 * 24 * 3600 + 1, "UTC"), Err("duration"));
        for zone in ["", "Mars/Olympus", "../../etc/passwd", "+25"] {
            assert_eq!(part("0 2 * * 6", 3600, zone), Err("timeZone"), "{zone:?}");
        }
        for schedule in ["0 2 * * SAT", "*/5 * * * *", "0 0 29 2 *", "@daily"] {
            assert!(part(schedule, 3600, "Europe/Berlin").is_ok(), "{schedule:?}");
        }
    }

    #[test]
    fn what_comes_seldom_comes_before_the_search_ends() {
        assert_eq!(croner::YEAR_UPPER_LIMIT, 5000);
        assert_eq!(LATE.to_string(), "4970-01-01T00:00:00Z");
        // The 29th of February on each weekday, by its number or by the last one of the month.
        for day in ["+SUN", "+MON", "+TUE", "+WED", "+THU", "+FRI", "+SAT"] {
            let seldom = window(&format!("0 0 29 2 {day}"), 1, "UTC");
            assert!(seldom.next(LATE).is_some_and(|time| time < at("4998-01-01T00:00:00Z")), "{day}");
        }
    }

    #[test]
    fn the_ends_of_time_are_no_panic() {
        let window = window("0 2 * * 6", 4, "Europe/Berlin");
        for time in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            let _ = (window.contains(time), window.next(time));
        }
    }
}
