//! The next step of the operator: how it may go, and what the operator knows after it.

use oat_operator::api::conditions::Reason;
use oat_operator::plan::{Decision, Hand, Organization, Outcome, SecretKey, Session, Step, View, edge};

use super::{
    effects::{self, carry_out, remember},
    flying,
    operator::Operator,
    tables::{Shared, hash_of},
    world::{Flying, How, Listed, State, before, time},
};

/// What is known after a step, and what of it outlives the pass.
#[derive(Clone)]
pub struct After {
    view: Shared<View>,
    memo: Shared<(Session, Option<Hand>)>,
    list: Shared<Listed>,
    fresh: bool,
    stale: bool,
}

/// The next step, for people to read.
pub fn describe(model: &Operator, state: &State) -> String {
    let current = state.process.store.current;
    match model.view(state).map(|view| model.decision(&view, state.tick)) {
        Some(decision) => match &*decision {
            Decision::Step(step) => format!("{step:?} current={current}"),
            Decision::Rest(rest) => format!("rest {:?}", rest.facts.progress),
        },
        None => "gone".into(),
    }
}

/// How the next step may go.
pub fn ways(model: &Operator, state: &State) -> Vec<How> {
    let Some(view) = model.view(state) else { return Vec::new() };
    let decision = model.decision(&view, state.tick);
    let left = &state.left;
    let possible = match &*decision {
        // A pass that comes to rest writes what it learnt and ends; without either there is nothing to do.
        Decision::Rest(_) => {
            let (writes, ends) = (learnt(state, view.get()), state.process.pass.is_some());
            vec![
                (How::Well, u8::from(writes || ends)),
                (How::Refused, left.refuse * u8::from(writes)),
                (How::Crash, left.crash * u8::from(writes)),
                (How::CrashLate, left.late.min(left.crash) * u8::from(writes)),
            ]
        }
        Decision::Step(step) => {
            let looks = matches!(step, Step::Refresh | Step::Confirm(_) | Step::Fetch(_));
            let writes = u8::from(!looks && *step != Step::Prove);
            let several = matches!(step, Step::Publish(keys) if keys.len() > 1);
            vec![
                (How::Well, 1),
                (How::Refused, left.refuse * u8::from(!looks)),
                (How::Partly, left.refuse * u8::from(several)),
                (How::Altered, left.alter * u8::from(matches!(step, Step::Publish(_)))),
                (How::LostBefore, left.lost * u8::from(step.needs_hub())),
                (How::LostAfter, left.lost * writes),
                (How::Late, left.late * writes),
                (How::Crash, left.crash * writes),
                (How::CrashLate, left.late.min(left.crash) * writes),
            ]
        }
    };
    possible.into_iter().filter(|(_, budget)| *budget > 0).map(|(how, _)| how).collect()
}

/// The operator takes one step, or ends its pass. `None` where nothing changes.
pub fn step(model: &Operator, state: &mut State, how: How) -> Option<()> {
    let view = model.view(state)?;
    let decision = model.decision(&view, state.tick);
    let Decision::Step(step) = &*decision else {
        return rest(model, state, view.get(), how);
    };
    spend(state, how);
    let current = state.process.store.current;
    let outcome = match moved(model, state, view.get(), step) {
        false => carry_out(model, state, view.get(), step, how),
        true => None,
    };
    if matches!(how, How::Crash | How::CrashLate) {
        model.restart(state, true);
        return Some(());
    }
    let Some(outcome) = outcome else {
        // Somebody wrote the object since: the pass begins again. Unless the store is behind, that is a change.
        let changes = state.process.pass.take().is_some() || !current && state.process.store.behind.is_none();
        return (changes || how != How::Well).then_some(());
    };
    if matches!(&outcome, Outcome::Failed(trouble) if trouble.uncertain) {
        state.tokens.iter_mut().for_each(|token| token.old = true);
    }
    let mark = hash_of(&(view.mark(), state.tick, &outcome));
    let after = model.seen.absorbed.ask(mark, || absorb(model, state.tick, view.get(), step, outcome));
    state.process.memo = after.memo;
    state.process.list = after.list;
    (state.process.fresh, state.process.stale) = (after.fresh, after.stale);
    state.process.pass = state.object.is_some().then_some(after.view);
    Some(())
}

/// Whether a Secret that a step writes has become another in the store since the view was made: the pass begins again.
fn moved(model: &Operator, state: &State, view: &View, step: &Step) -> bool {
    let (Step::Publish(keys) | Step::Touch(keys) | Step::Remove(keys) | Step::Blank(keys)) = step else {
        return false;
    };
    let now = |key: &SecretKey| model.names.stored(state.process.store.secrets[effects::place_of(key)].0);
    let mut written = view.secrets.iter().filter(|secret| keys.contains(&secret.key));
    written.any(|secret| secret.state != now(&secret.key))
}

fn spend(state: &mut State, how: How) {
    let left = &mut state.left;
    match how {
        How::Well => {}
        How::Refused | How::Partly => left.refuse -= 1,
        How::Altered => left.alter -= 1,
        How::LostBefore | How::LostAfter => left.lost -= 1,
        How::Late => left.late -= 1,
        How::Crash => left.crash -= 1,
        How::CrashLate => (left.crash, left.late) = (left.crash - 1, left.late - 1),
    }
}

fn absorb(model: &Operator, tick: u8, former: &View, step: &Step, outcome: Outcome) -> After {
    let mut view = former.clone();
    view.absorb(step, outcome.clone(), time(tick));
    model.seen.edges.lock().unwrap().insert(edge(former, step, &outcome, &view));
    let mut session = view.session.clone();
    let list = match &view.organization {
        Organization::Known(account) => account.list.as_ref(),
        Organization::Missing(_) => None,
    };
    let fresh = list.is_some_and(|list| list.started > session.fresh_after);
    let stale = list.is_some_and(|list| list.started < before(time(tick), 60_000_000_000));
    let list = list.map(|list| (list.total, list.tokens.clone())).unwrap_or_default();
    // Times of the same tick are the same; the next pass begins when the wait is over.
    session.fresh_after = jiff::Timestamp::MIN;
    session.since = jiff::Timestamp::MAX;
    if session.inspected > jiff::Timestamp::MIN {
        session.inspected = jiff::Timestamp::MAX;
    }
    if let Some(failure) = &mut session.failure {
        // Only a place that isn't there has its time in the rules.
        let full = failure.trouble.reason == Reason::QuotaExceeded;
        failure.not_before = time(tick + u8::from(full));
        while failure.count > 2 {
            failure.count -= 2;
        }
    }
    let memo = Shared::new((session, view.hand.clone()));
    After { view: Shared::new(view), memo, list: Shared::new(list), fresh, stale }
}

/// Whether a view knows more than the status.
fn learnt(state: &State, view: &View) -> bool {
    let object = match &state.process.store.behind {
        Some(behind) => behind,
        None => &state.object,
    };
    object.as_ref().is_some_and(|object| *object.memory.get() != view.memory)
}

/// The end of a pass: what it learnt is written, unless somebody wrote the object since.
fn rest(model: &Operator, state: &mut State, view: &View, how: How) -> Option<()> {
    let writes = learnt(state, view);
    if !writes && state.process.pass.is_none() {
        return None;
    }
    spend(state, how);
    let current = state.process.store.current;
    match how {
        How::Refused => {}
        How::CrashLate => {
            let memory = Shared::new(view.memory.clone());
            let sent = state.tick;
            flying::send(model, state, Flying::Status { memory, valid: current, sent });
        }
        _ if writes && current => {
            remember(state, &view.memory, state.tick);
            state.saw_object();
        }
        // A store that is behind begins with the same again, until it isn't.
        _ if writes && state.process.pass.is_none() && how == How::Well => return None,
        _ => {}
    }
    state.process.pass = None;
    if matches!(how, How::Crash | How::CrashLate) {
        model.restart(state, true);
    }
    Some(())
}
