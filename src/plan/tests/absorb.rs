//! What each outcome leaves in the view.

use super::{build::*, check, hope, life::SETTLED};
use crate::{
    api::{conditions::Reason, token::LastHandled},
    plan::*,
};

impl Case {
    /// Takes in an outcome as of now.
    fn absorb(mut self, step: Step, outcome: Outcome) -> Self {
        self.view.absorb(&step, outcome, self.now);
        self
    }

    /// The outcome of whatever is decided.
    fn then(self, outcome: Outcome) -> Self {
        let Decision::Step(step) = decide(&self.view, self.now) else { panic!("{}", self.answer()) };
        self.absorb(step, outcome)
    }

    fn hoped(self) -> Self {
        let Decision::Step(step) = decide(&self.view, self.now) else { panic!("{}", self.answer()) };
        let outcome = hope::hope(&self.view, &step, self.now);
        self.absorb(step, outcome)
    }

    fn fails(self, trouble: Trouble) -> Self {
        self.then(Outcome::Failed(trouble))
    }

    fn tokens(&self) -> &List {
        match &self.view.organization {
            Organization::Known(Account { list: Some(list), .. }) => list,
            other => panic!("{other:?}"),
        }
    }

    fn failure(&self) -> &Failure {
        self.view.session.failure.as_ref().unwrap()
    }
}

fn hub_down() -> Trouble {
    trouble(Reason::HubUnavailable)
}

fn lost() -> Trouble {
    Trouble { uncertain: true, ..hub_down() }
}

fn key() -> SecretKey {
    super::build::key("dockerhub")
}

#[test]
fn a_finalizer() {
    check(&unseen().then(Outcome::Finalized), "create 1");
    let released = settled().deleting(seconds(0)).absorb(Step::Release { abandoned: false }, Outcome::Released);
    assert!(!released.view.object.finalizer);
}

#[test]
fn our_own_calls_change_how_long_it_has_been_so() {
    let steady = |case: &Case| case.view.list().map(|list| (list.total, list.steady, list.started));
    let case = settled().rotate("a").full_for(days(9));
    assert_eq!(steady(&case), Some((10, ago(days(9) + seconds(1)), ago(seconds(1)))));
    let fewer = case.absorb(Step::Delete(id("t1"), Why::Exchanged), Outcome::Deleted(id("t1")));
    assert_eq!(steady(&fewer), Some((9, ago(seconds(1)), ago(seconds(1)))));
}

#[test]
fn a_list() {
    let list = |started, sequence| List {
        started,
        total: 5,
        steady: started,
        tokens: [(id("t1"), listed(1)), (id(&format!("t{sequence}")), listed(sequence))].into(),
    };
    let case = fresh().listed_ago(hours(3)).trouble(Reason::HubUnavailable);
    let case = case.absorb(Step::Refresh, Outcome::Listed(list(now(), 4)));
    check(&case, "create 5");
    assert_eq!(case.tokens(), &list(now(), 4));
    let Organization::Known(account) = &case.view.organization else { panic!() };
    assert_eq!(account.trouble, None);
    // A clock that was set back makes no list older than the moment at which it was asked for.
    let case = fresh().listed_ago(hours(3)).absorb(Step::Refresh, Outcome::Listed(list(ago(hours(2)), 4)));
    check(&case, "create 5");
    // What it shows is not gone.
    let case = settled().gone("t1");
    check(&case, "create 2");
    check(&case.absorb(Step::Refresh, Outcome::Listed(list(now(), 1))), SETTLED);
    // What it doesn't show may be.
    let case =
        settled().gone("t1").absorb(Step::Refresh, Outcome::Listed(List { tokens: [].into(), ..list(now(), 1) }));
    check(&case, "create 2");
    // The first list of all.
    let case = fresh().no_list().absorb(Step::Refresh, Outcome::Listed(list(now(), 4)));
    check(&case, "create 5");
}

#[test]
fn a_look_by_id() {
    let missing = settled().hub_lacks("t1");
    check(&missing.clone().then(Outcome::Confirmed(id("t1"), Some(listed(1)))), SETTLED);
    check(&missing.clone().then(Outcome::Confirmed(id("t1"), None)), "create 2");
    // Another one than the current one tells nothing of that.
    let other = settled().hub(7).absorb(Step::Confirm(id("t7")), Outcome::Confirmed(id("t7"), None));
    assert_eq!(other.view.session.gone, None);
    assert!(!other.tokens().tokens.contains_key(&id("t7")));
    // Found, but not as it should be.
    let off = Token { active: false, ..listed(1) };
    let case = missing.then(Outcome::Confirmed(id("t1"), Some(off)));
    assert!(!case.view.memory.token.as_ref().unwrap().active);
    check(&case, "update t1 active=true");
    // A change that met nothing says the same.
    let case = settled().inactive().then(Outcome::Confirmed(id("t1"), None));
    check(&case, "rest Settled, ready, wake 24h 4m 42s");
    let case = settled().revoke("a").then(Outcome::Confirmed(id("t1"), None));
    check(&case, "create 2");
}

#[test]
fn a_new_token() {
    let case = fresh().hoped();
    assert_eq!((case.tokens().total, case.tokens().tokens.len()), (4, 1));
    assert_eq!(case.tokens().tokens[&id("t1")].sequence, Some(1));
    assert_eq!(case.view.session.tried, 1);
    check(&case, "prove");
    check(&fresh().spec(|wanted| wanted.rotation.verify = false).hoped(), "publish payments/dockerhub");
}

#[test]
fn a_lost_answer() {
    let case = fresh().fails(lost());
    assert_eq!((case.view.session.tried, case.view.session.fresh_after), (1, now()));
    check(&case, "rest HubUnavailable, not ready, wake 1s");
    let case = case.after(seconds(1));
    check(&case, "refresh");
    check(&case.hoped(), "create 2");
    // A clear no needs no list, and its sequence is not used again either.
    let case = fresh().fails(hub_down());
    check(&case.after(seconds(1)), "create 2");
    // Lost again in the same moment: the list from between is no evidence.
    let case = fresh().fails(lost()).after(seconds(1)).hoped().fails(lost()).after(seconds(2));
    check(&case, "refresh");
    // A clock that was set back doesn't make an old list fresh.
    let mut case = fresh().fails(lost());
    case.now = ago(hours(1));
    let step = Step::Refresh;
    case.view.absorb(&step, Outcome::Failed(lost()), case.now);
    assert_eq!(case.view.session.fresh_after, now());
}

#[test]
fn a_proof() {
    let made = || fresh().hand(1);
    check(&made().then(Outcome::Proved), "publish payments/dockerhub");
    let refused = |case: Case| case.then(Outcome::Unproved("denied".into()));
    let case = refused(made());
    check(&case, "rest VerificationFailed, not ready, wake 1s");
    assert_eq!(case.failure().trouble.message, "denied");
    let case = refused(case.after(seconds(1)));
    check(&case, "rest VerificationFailed, not ready, wake 2s");
    let case = refused(case.after(seconds(2)));
    check(&case, "rest VerificationFailed, not ready, wake 4s");
    let case = case.after(seconds(4));
    check(&case, "delete t1 Unproved");
    // A proof that couldn't be made is no refusal.
    let case = made().fails(hub_down());
    assert_eq!(case.view.hand.as_ref().unwrap().refusals, 0);
}

#[test]
fn tokens_that_are_always_refused_are_made_ever_more_slowly() {
    let (mut case, mut made) = (fresh(), Vec::new());
    while made.len() < 5 {
        case = match decide(&case.view, case.now) {
            Decision::Step(Step::Prove) => case.then(Outcome::Unproved("denied".into())),
            Decision::Step(step) => {
                if matches!(step, Step::Create(_)) {
                    made.push(case.now);
                }
                case.hoped()
            }
            Decision::Rest(rest) => Case { now: rest.wake.unwrap(), ..case },
        };
    }
    let waits: Vec<_> = made.windows(2).map(|pair| schedule::between(pair[0], pair[1]).as_secs()).collect();
    assert_eq!(waits, [1 + 2 + 4, 8 + 16 + 32, 64 + 128 + 256, 900]);
}

#[test]
fn creates_whose_answers_are_always_lost_come_ever_more_slowly() {
    let (mut case, mut sent) = (fresh(), Vec::new());
    while sent.len() < 12 {
        case = match decide(&case.view, case.now) {
            Decision::Step(Step::Create(_)) => {
                sent.push(case.now);
                case.fails(lost())
            }
            Decision::Step(_) => case.hoped(),
            Decision::Rest(rest) => Case { now: rest.wake.unwrap(), ..case },
        };
    }
    let waits: Vec<_> = sent.windows(2).map(|pair| schedule::between(pair[0], pair[1]).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
}

#[test]
fn a_row_of_failures_ends_with_work_done_or_with_time() {
    let failing = |count| settled().rotate("a").failed("create", Reason::HubUnavailable, count, seconds(0));
    assert_eq!(failing(4).fails(hub_down()).failure().count, 5);
    assert_eq!(failing(u32::MAX).fails(hub_down()).failure().count, u32::MAX);
    assert_eq!(failing(4).edited().fails(hub_down()).failure().count, 1);
    assert_eq!(failing(4).after(minutes(10)).fails(hub_down()).failure().count, 5);
    let later = failing(4).after(seconds(601)).listed_ago(seconds(0));
    assert_eq!(later.fails(hub_down()).failure().count, 1);
    let failed = |case: Case| case.failed("other", Reason::HubUnavailable, 4, seconds(0));
    let ended = |case: Case| failed(case).hoped().view.session.failure.is_none();
    assert!(ended(unseen()), "finalizer");
    assert!(ended(fresh().hand(1)), "proof");
    assert!(ended(fresh().proved(1)), "publication");
    assert!(ended(fresh().proved(1).secret_holds(1)), "memory");
    assert!(ended(settled().inactive()), "update");
    assert!(ended(settled_at(3).hub(2)), "deletion of a leftover");
    assert!(ended(settled().also("old", 1)), "removal");
    assert!(ended(settled().also("old", 1).retain_secret().laid_out()), "blanking");
    assert!(ended(
        settled().with(|view| view.memory.token = None).hub_lacks("t1").secret_absent().deleting(seconds(0))
    ));
    assert!(!ended(fresh()), "making doesn't");
    assert!(!ended(fresh().listed_ago(hours(2))), "looking doesn't");
    assert!(!ended(settled().hub_lacks("t1")), "looking doesn't");
    assert!(!ended(settled().secret_misshapen()), "reading doesn't");
    assert!(!ended(fresh().hand(1).hand_is(|hand| hand.refusals = 3)), "giving up doesn't");
}

#[test]
fn how_long_a_failure_waits() {
    let waits = |case: Case, trouble: Trouble| {
        let case = case.rotate("now").fails(trouble);
        schedule::between(case.now, case.failure().not_before).as_secs()
    };
    assert_eq!(waits(settled(), hub_down()), 1);
    assert_eq!(waits(settled(), trouble(Reason::Forbidden)), 300);
    assert_eq!(waits(settled(), Trouble { retry: Some(ahead(minutes(7))), ..hub_down() }), 420);
    assert_eq!(waits(settled(), Trouble { retry: Some(ahead(minutes(7))), ..trouble(Reason::RateLimited) }), 420);
    let expires = |time| settled().token(|token| token.expires = Some(time));
    assert_eq!(waits(expires(ahead(minutes(20))), trouble(Reason::Forbidden)), 60);
    assert_eq!(waits(expires(ahead(seconds(3))), trouble(Reason::Forbidden)), 1);
    // What has expired is not tried each second for ever.
    assert_eq!(waits(expires(now()), trouble(Reason::Forbidden)), 300);
    assert_eq!(waits(expires(ago(days(1))), trouble(Reason::Forbidden)), 300);
    // Nor is what goes anyway.
    let case = expires(ahead(seconds(3))).deleting(seconds(0)).fails(trouble(Reason::InvalidSpec));
    assert_eq!(case.failure().not_before, ahead(minutes(5)));
}

#[test]
fn refused_credentials() {
    let case = settled().rotate("now").fails(trouble(Reason::CredentialsInvalid));
    check(&case, "rest CredentialsInvalid, ready, wake 5m");
    let corrected = case.with(|view| {
        let Organization::Known(account) = &mut view.organization else { panic!() };
        account.trouble = None;
    });
    check(&corrected, "create 3");
}

#[test]
fn a_publication() {
    let case = fresh().proved(1).hoped();
    check(&case, "remember 1");
    assert!(case.view.hand.is_some(), "not remembered yet");
    let written = || fresh().proved(1).with(|view| view.session.touched.extend([key()]));
    let failing = |trouble: Trouble| written().then(Outcome::Published(vec![(key(), Err(trouble))]));
    let case = failing(trouble(Reason::KubernetesUnavailable));
    check(&case, "rest KubernetesUnavailable, not ready, wake 1s");
    assert!(case.view.session.touched.is_empty(), "it may still be under way, whatever was written before");
    assert_eq!(case.view.secrets[0].failure, Some((Reason::KubernetesUnavailable, "as told".into())));
    check(&case.clone().after(seconds(1)), "publish payments/dockerhub");
    let case = case.after(seconds(1)).hoped();
    assert_eq!(case.view.secrets[0].failure, None);
    check(&case, "remember 1");
    // Forbidden by an API server that may only not know its roles yet: soon again, then less and less often.
    let forbidden = failing(trouble(Reason::Forbidden));
    check(&forbidden, "rest Forbidden, not ready, wake 1s");
    let again = Outcome::Published(vec![(key(), Err(trouble(Reason::Forbidden)))]);
    check(&forbidden.after(seconds(1)).then(again), "rest Forbidden, not ready, wake 2s");
    // Somebody else's Secret of that name.
    let case = failing(trouble(Reason::SecretConflict));
    check(&case, "rest SecretConflict, not ready, wake 5m");
    check(&case.secret_absent(), "publish payments/dockerhub");
    // Written by somebody at the same time: again at once, and no other token is made.
    let again = Trouble { retry: Some(now()), ..trouble(Reason::ProgressingWithRetry) };
    let case = failing(again.clone());
    check(&case, "publish payments/dockerhub");
    // Each time: then less and less often.
    let twice = case.then(Outcome::Published(vec![(key(), Err(again))]));
    check(&twice, "rest ProgressingWithRetry, not ready, wake 2s");
}

#[test]
fn a_publication_that_admission_changes() {
    let other = Held { layout_hash: "another".into(), ..held(1) };
    let altered = |case: Case| case.then(Outcome::Published(vec![(key(), Ok(other.clone()))]));
    let case = altered(settled().secret_misshapen().hoped());
    check(&case, "rest ProgressingWithRetry, ready, wake 1s");
    let case = altered(case.after(seconds(1)));
    check(&case, "rest ProgressingWithRetry, ready, wake 2s");
    check(&case.after(seconds(2)).hoped(), "rest Settled, ready, wake 1199h 55m 15s");
    // The value is there all the same, and remembered.
    check(&altered(fresh().proved(1)), "remember 1");
}

#[test]
fn one_publication_of_two() {
    let second = super::build::key("second");
    let case = fresh().proved(1).second(SecretState::Absent);
    let results = vec![(key(), Ok(held(1))), (second.clone(), Err(trouble(Reason::Forbidden)))];
    let case = case.then(Outcome::Published(results));
    check(&case, "remember 1");
    let case = case.hoped();
    assert!(case.view.hand.is_some(), "the second one doesn't hold it yet");
    check(&case, "publish payments/second");
    let case = case.fails(trouble(Reason::KubernetesUnavailable));
    check(&case, "rest KubernetesUnavailable, not ready, wake 1s");
    let case = case.after(seconds(1)).hoped();
    assert!(case.view.hand.is_none(), "a value is held no longer than needed");
    check(&case, "rest Settled, ready, wake 1199h 55m 17s");
}

#[test]
fn a_fetched_value() {
    let broken = || settled().secret_misshapen();
    let case = broken().hoped();
    check(&case, "publish payments/dockerhub");
    let case = case.hoped();
    assert!(case.view.hand.is_none());
    check(&case, SETTLED);
    check(&broken().then(Outcome::NotFetched(key())), "create 2");
    // With another copy that is tried first.
    let case = settled().secret_misshapen().also("copy", 1).then(Outcome::NotFetched(key()));
    check(&case, "fetch payments/copy");
    let unknown =
        settled().absorb(Step::Fetch(super::build::key("none")), Outcome::NotFetched(super::build::key("none")));
    check(&unknown, SETTLED);
    let foreign = settled().secret_foreign();
    let same = foreign.clone().absorb(Step::Fetch(key()), Outcome::NotFetched(key()));
    assert_eq!(same.view.secrets, foreign.view.secrets);
}

#[test]
fn what_is_remembered() {
    let case = settled().gone("t1").hub_lacks("t1").proved(2).secret_holds(2).hoped();
    assert_eq!(case.view.memory.token, Some(remembered(2)));
    assert_eq!(case.view.session.gone, None);
    assert!(case.view.hand.is_none());
    check(&case, "delete t1 Replaced");
}

#[test]
fn an_update() {
    let case = settled().inactive().spec(|wanted| wanted.description = "new".into()).hoped();
    let token = case.view.memory.token.as_ref().unwrap();
    assert!(!token.active);
    assert_eq!(token.shape_hash, case.view.object.wanted.as_ref().unwrap().shape_hash());
    check(&case, SETTLED);
    // A label of ours is known again as ours, a free one is not.
    let case = settled().at_hub("t1", |token| (token.label, token.sequence) = ("mine".into(), None)).hoped();
    assert_eq!(case.tokens().tokens[&id("t1")], listed(1));
    let free = Change { label: Some("pull".into()), ..Change::default() };
    let case = case.absorb(Step::Update(id("t1"), free.clone()), Outcome::Updated(id("t1"), free.clone()));
    assert_eq!(case.tokens().tokens[&id("t1")].sequence, None);
    // The marker of another object or cluster is not ours.
    for label in [format!("pull [c2/{}.1]", identity()), "pull [c1/aaaaaaaaaaaaaaaa.1]".into()] {
        let change = Change { label: Some(label), ..Change::default() };
        let case = settled().absorb(Step::Update(id("t1"), change.clone()), Outcome::Updated(id("t1"), change));
        assert_eq!(case.tokens().tokens[&id("t1")].sequence, None);
    }
    // One that is neither in the list nor remembered.
    let case = settled().absorb(Step::Update(id("t9"), free.clone()), Outcome::Updated(id("t9"), free));
    assert_eq!(case.view, settled().view);
    // Without a list.
    let case = settled().no_list().revoke("a").hoped();
    assert!(!case.view.memory.token.unwrap().active);
}

#[test]
fn a_deletion() {
    let case = settled_at(2).previous(1, now()).hoped();
    assert_eq!((case.view.memory.previous.len(), case.tokens().total), (0, 2));
    check(&case, SETTLED);
    let case = fresh().hand(1).hand_is(|hand| hand.refusals = 3).hoped();
    assert!(case.view.hand.is_none());
    // What the list doesn't show was not counted.
    let case = settled_at(2).previous(1, now()).hub_lacks("t1").hoped();
    assert_eq!(case.tokens().total, 3);
    let case = settled().secret_absent().deleting(seconds(0)).hoped();
    assert_eq!(case.view.memory.token, None);
    check(&case, "release");
}

#[test]
fn secrets_that_go() {
    let case = settled().deleting(seconds(0)).hoped();
    assert_eq!(case.view.secrets[0].state, SecretState::Absent);
    let case = settled().retain_secret().deleting(seconds(0)).hoped();
    assert_eq!(case.view.secrets[0].state, SecretState::Absent);
    check(&case, "delete t1 Farewell");
}

#[test]
fn what_docker_hub_changes_by_itself() {
    let seen = |found: Option<Timestamp>, known: Option<Timestamp>| {
        let mut case = settled().token(|token| token.last_used = known).at_hub("t1", |token| token.last_used = found);
        case.view.see_current();
        case.view.memory.token.unwrap().last_used
    };
    assert_eq!(seen(None, None), None);
    // A day after it was made, or after the last sight, not before.
    assert_eq!(seen(Some(ago(days(9))), None), Some(ago(days(9))));
    assert_eq!(seen(Some(ago(days(9) + seconds(1))), None), None);
    assert_eq!(seen(Some(ago(days(2))), Some(ago(days(3)))), Some(ago(days(2))));
    assert_eq!(seen(Some(ago(days(2))), Some(ago(days(3) - seconds(1)))), Some(ago(days(3) - seconds(1))));
    // A value that others brought to its place meanwhile is not kept.
    let mut case = settled().proved(1);
    case.view.see_current();
    assert!(case.view.hand.is_none());
    for case in [settled().no_organization(), settled().no_list(), settled().hub_lacks("t1"), fresh()] {
        let mut same = case.clone();
        same.view.see_current();
        assert_eq!(same.view, case.view);
    }
}

#[test]
fn without_an_organization_nothing_is_listed() {
    let list = List { started: now(), total: 0, steady: now(), tokens: [].into() };
    let before = settled().no_organization();
    let after = before.clone().absorb(Step::Refresh, Outcome::Listed(list));
    assert_eq!(after.view, before.view);
}

#[test]
fn requests_are_handled_by_the_token_that_was_made_for_them() {
    let mut case = settled().rotate("a").trigger("b");
    for _ in 0..4 {
        case = case.hoped();
    }
    let handled = LastHandled { trigger: Some("b".into()), rotate: Some("a".into()), revoke: None };
    assert_eq!(case.view.memory.handled, handled);
    assert!(case.answer().starts_with("rest Settled, ready, wake 1h"), "{}", case.answer());
}

/// Found by the model: a leader whose watch was behind took the value of an older token from a Secret, and wrote it over
/// a newer one.
#[test]
fn a_value_that_the_status_has_overtaken_is_dropped() {
    let mut case = settled_at(2).proved(1);
    case.view.see_current();
    assert!(case.view.hand.is_none());
    let mut newer = settled_at(2).proved(3);
    newer.view.see_current();
    assert!(newer.view.hand.is_some());
}
