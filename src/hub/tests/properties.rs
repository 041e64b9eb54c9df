//! Properties of Docker Hub's side: budgets, pauses, logins, lists and texts, each on ten thousand cases.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use jiff::{SignedDuration, fmt::rfc2822};
use proptest::prelude::*;

use super::*;
use crate::hub::{
    budget::{Budget, Refused},
    error::clean,
    state::{Board, Edit},
};
use crate::properties::config;

fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn later(seconds: i64) -> Timestamp {
    NOW.saturating_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn rate(limit: u64, remaining: u64, reset: i64) -> HeaderMap {
    headers(&[
        ("x-ratelimit-limit", limit.to_string()),
        ("x-ratelimit-remaining", remaining.to_string()),
        ("x-ratelimit-reset", later(reset).as_second().to_string()),
    ])
}

/// How many calls are let through in a row.
fn admitted(budget: &mut Budget, urgency: Urgency) -> u64 {
    (0..1000).take_while(|_| budget.admit(urgency, NOW).is_ok()).count() as u64
}

fn token(id: &str, label: &str) -> crate::hub::Token {
    let answer = json!({"id": id, "label": label, "is_active": true});
    let answer: wire::TokenAnswer = wire::read(answer.to_string().as_bytes()).unwrap();
    answer.token().unwrap()
}

fn tokens() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec(("[a-e][a-c]?", "[x-z]"), 0..12)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn silence_lasts_as_long_as_asked_within_an_hour(seconds in prop_oneof![0..7200u64, any::<u64>()], dated in any::<bool>()) {
        let seconds = if dated { seconds.min(1 << 31) } else { seconds };
        let value = match dated {
            true => rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&later(seconds as i64)).unwrap(),
            false => seconds.to_string(),
        };
        let until = Budget::default().pause(&headers(&[("retry-after", value)]), NOW);
        let expected = match seconds {
            0 => 60,
            seconds => seconds.min(3600) as i64,
        };
        prop_assert_eq!(until, later(expected));
    }

    #[test]
    fn the_longest_silence_counts(asked in proptest::collection::vec(0..5000u32, 1..8)) {
        let mut budget = Budget::default();
        for seconds in &asked {
            budget.pause(&headers(&[("retry-after", seconds.to_string())]), NOW);
        }
        let longest = asked.iter().map(|seconds| if *seconds == 0 { 60 } else { (*seconds).min(3600) }).max().unwrap();
        prop_assert_eq!(budget.admit(Urgency::Urgent, later(i64::from(longest) - 1)), Err(Refused::Paused(later(longest.into()))));
        prop_assert_eq!(budget.admit(Urgency::Normal, later(longest.into())), Ok(()));
    }

    #[test]
    fn a_fifth_of_the_calls_is_kept(limit in 0..300u64, remaining in 0..300u64) {
        let limit = limit.max(remaining);
        let fresh = || {
            let mut budget = Budget::default();
            budget.note(&rate(limit, remaining, 30), NOW);
            budget
        };
        prop_assert_eq!(admitted(&mut fresh(), Urgency::Urgent), remaining);
        let mut budget = fresh();
        let normal = admitted(&mut budget, Urgency::Normal);
        prop_assert_eq!(normal, remaining.saturating_sub(limit / 5));
        prop_assert_eq!(admitted(&mut budget, Urgency::Urgent), remaining - normal, "the rest is for urgent ones");
    }

    #[test]
    fn answers_that_overtake_one_another_come_to_the_same(seen in proptest::collection::vec(0..200u64, 1..8), turn in any::<prop::sample::Index>()) {
        let left = |seen: &[u64]| {
            let mut budget = Budget::default();
            for remaining in seen {
                budget.note(&rate(200, *remaining, 30), NOW);
            }
            admitted(&mut budget, Urgency::Urgent)
        };
        let mut turned = seen.clone();
        turned.rotate_left(turn.index(seen.len()));
        prop_assert_eq!(left(&seen), *seen.iter().min().unwrap());
        prop_assert_eq!(left(&turned), left(&seen));
    }

    #[test]
    fn a_window_is_over_when_it_says(reset in -5000..5000i64, remaining in 0..2u64) {
        let mut budget = Budget::default();
        budget.note(&rate(10, remaining, reset), NOW);
        let end = if (1..=3600).contains(&reset) { reset } else { 60 };
        prop_assert_eq!(budget.admit(Urgency::Normal, NOW).is_ok(), false);
        prop_assert_eq!(budget.admit(Urgency::Normal, later(end)), Ok(()));
    }

    #[test]
    fn a_login_ends_when_its_jwt_does(end in -100_000..1_000_000_000i64, more in "[a-z]{0,9}") {
        let claims = format!(r#"{{"sub":"{more}","exp":{},"{more}x":[1]}}"#, later(end).as_second());
        let jwt = format!("h.{}.s", data_encoding::BASE64URL_NOPAD.encode(claims.as_bytes()));
        prop_assert_eq!(wire::lifetime(&jwt, NOW).as_secs(), if end > 0 { end } else { 600 });
    }

    #[test]
    fn a_list_in_pages_is_the_list(seen in tokens(), size in 1..5usize) {
        let page = |part: &[(String, String)]| {
            let results: Vec<_> = part.iter().map(|(id, label)| json!({"id": id, "label": label, "is_active": true})).collect();
            let page: wire::Page = wire::read(json!({"next": null, "results": results}).to_string().as_bytes()).unwrap();
            page.results.into_iter().filter_map(wire::TokenAnswer::token).collect::<Vec<_>>()
        };
        let read: Vec<_> = seen.chunks(size).flat_map(page).collect();
        let snapshot = Board::new(None).finish(read, NOW);
        // Of a token that moved between pages, the later sight holds.
        let expected: BTreeMap<&str, &str> = seen.iter().map(|(id, label)| (id.as_str(), label.as_str())).collect();
        let kept: Vec<_> = snapshot.tokens.iter().map(|token| (token.id.as_str(), token.label.as_str())).collect();
        prop_assert_eq!(kept, expected.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn what_our_own_calls_did_is_in_the_list_at_once_and_later(first in tokens(), edits in proptest::collection::vec(("[a-e][a-c]?", proptest::option::of("[x-z]")), 0..8), second in tokens()) {
        let board = Board::new(None);
        let of = |seen: &[(String, String)]| seen.iter().map(|(id, label)| token(id, label)).collect::<Vec<_>>();
        board.finish(of(&first), NOW);
        board.begin();
        let mut shown: BTreeMap<String, String> = first.iter().cloned().collect();
        let mut listed: BTreeMap<String, String> = second.iter().cloned().collect();
        for (id, label) in edits {
            for expected in [&mut shown, &mut listed] {
                match &label {
                    Some(label) => drop(expected.insert(id.clone(), label.clone())),
                    None => drop(expected.remove(&id)),
                }
            }
            board.edit(label.map_or_else(|| Edit::Remove(id.clone()), |label| Edit::Put(token(&id, &label))));
        }
        let kept = || board.read(|state| state.snapshot.clone().unwrap().tokens.iter().map(|token| (token.id.clone(), token.label.clone())).collect::<Vec<_>>());
        prop_assert_eq!(kept(), shown.into_iter().collect::<Vec<_>>());
        board.finish(of(&second), NOW);
        prop_assert_eq!(kept(), listed.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn ids_stay_one_segment_of_their_path(id in "[A-Za-z0-9._-]{1,12}") {
        prop_assume!(wire::is_segment(&id));
        let base: Url = "https://hub.docker.com/proxy/".parse().unwrap();
        let url = wire::route(&base, &["v2", "orgs", "acme", "access-tokens", &id]);
        prop_assert_eq!(url.as_str(), format!("https://hub.docker.com/proxy/v2/orgs/acme/access-tokens/{id}"));
    }

    #[test]
    fn texts_of_servers_are_cut_and_cleaned_once(text in ".{0,400}|[\\x00-\\x20\u{202e}a\u{1f600}]{0,300}") {
        let cleaned = clean(&text);
        prop_assert!(cleaned.chars().count() <= 256 && !cleaned.chars().any(char::is_control));
        prop_assert_eq!(clean(&cleaned), cleaned);
    }

    #[test]
    fn a_long_label_is_cut_and_nobodys(length in 0..3000usize) {
        let label = format!("{} [c1/aaaaaaaaaaaaaaaa.7]", "\u{e4}".repeat(length));
        let kept = token("t1", &label).label;
        prop_assert_eq!(kept == label, label.chars().count() <= 1024);
        prop_assert!(kept.chars().count() <= 1024 && label.starts_with(&kept));
    }
}
