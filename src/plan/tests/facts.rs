//! What the status says.

use super::build::*;
use crate::{
    api::conditions::{Facts, Progress, Reason},
    plan::*,
};

fn facts(case: Case) -> Facts {
    outlook(&case.view, case.now)
}

fn off(token: &mut Token) {
    token.active = false;
}

#[test]
fn ready_means_that_a_working_token_is_where_it_should_be() {
    let ready = |case: Case| facts(case).ready;
    assert!(ready(settled()));
    assert!(ready(settled().rotate("now")), "the old token works while the new one is made");
    assert!(ready(settled().after(days(55))), "also when that is late");
    assert!(ready(settled().proved(2).secret_holds(2)), "the new one works before it is remembered");
    assert!(ready(settled_at(2).previous(1, ago(hours(1)))), "whatever is to be tidied up");
    assert!(!ready(fresh()));
    assert!(!ready(fresh().proved(1)));
    assert!(!ready(settled().secret_absent()));
    assert!(!ready(settled().secret_tampered()));
    assert!(!ready(settled().second(SecretState::Absent)));
    assert!(!ready(settled().hand(2).secret_holds(2)), "not proved");
    assert!(!ready(settled().after(days(80))), "expired");
    assert!(!ready(settled().gone("t1")));
    assert!(!ready(settled().token(|token| token.active = false)), "somebody deactivated it");
    assert!(!ready(settled().spec(|wanted| wanted.description = "new".into())), "not edited yet");
    assert!(!ready(settled().inactive()), "not deactivated yet");
    assert!(!ready(settled().deleting(seconds(0))));
    assert!(!ready(settled().invalid()));
    assert!(!ready(settled().secret_foreign()));
    assert!(!ready(settled().no_organization()));
    let without_secrets = settled().with(|view| view.secrets.clear());
    assert!(!ready(without_secrets));
    // Ready as asked, though nothing works.
    let inactive = settled().inactive().token(|token| token.active = false).at_hub("t1", off);
    assert!(ready(inactive.clone()) && facts(inactive).deactivated);
    let dead = settled().inactive().after(days(91)).spec(|wanted| wanted.description = "new".into());
    assert!(ready(dead), "expired, it does not work either, and can't be edited");
    assert!(ready(settled().inactive().hub_lacks("t1").gone("t1")), "nor does one that somebody deleted");
    assert!(!facts(settled()).deactivated && !facts(fresh().inactive()).deactivated);
}

#[test]
fn the_rest_of_the_facts() {
    assert_eq!(facts(fresh()).active, None);
    assert_eq!(facts(settled()).active, Some(true));
    assert_eq!(facts(settled()).published, (1, 1));
    assert_eq!(facts(settled().second(SecretState::Absent)).published, (2, 1));
    assert_eq!(facts(settled().also("old", 1)).published, (1, 1));
    assert_eq!(facts(settled().secret_tampered()).published, (1, 0));
    assert_eq!(facts(fresh()).published, (1, 0));
    assert!(!facts(settled()).rotating);
    assert!(facts(settled().hand(2)).rotating);
    assert!(!facts(settled().proved(1)).rotating, "a repair is none");
    assert!(!facts(fresh().hand(1)).rotating, "nor is the first token");
    assert!(facts(settled_at(2).previous(1, ahead(hours(1)))).rotating);
    assert_eq!(facts(fresh()).progress, Progress::Waiting(Reason::Progressing, "work is under way".into()));
    assert_eq!(facts(settled()).progress, Progress::Settled);
}

#[test]
fn in_words() {
    assert_eq!(facts(fresh()).summary, "there is no token yet");
    assert_eq!(facts(settled()).summary, "token 1 is in 1 of 1 Secrets and expires at 2027-02-19T00:00:00Z");
    assert_eq!(
        facts(settled().token(|token| token.expires = None).second(SecretState::Absent)).summary,
        "token 1 is in 1 of 2 Secrets and never expires"
    );
    assert_eq!(facts(settled()).plan, ["rotate at 2027-01-19T23:55:18Z: renewBefore"]);
    assert_eq!(facts(settled().invalid()).plan, ["waiting: InvalidSpec"]);
    assert_eq!(
        facts(settled_at(2).previous(1, ahead(hours(1)))).plan,
        ["delete token 1 at 2026-12-01T01:00:00Z: overlap", "rotate at 2027-01-19T23:55:18Z: renewBefore"]
    );
    assert_eq!(facts(settled().inactive()).plan, ["waiting: Progressing"]);
    assert_eq!(facts(settled().manual()).plan, [""; 0]);
    assert_eq!(facts(settled().deleting(seconds(0))).plan, [""; 0]);
    assert_eq!(facts(settled().after(days(50))).plan, ["waiting: Progressing"]);
}
