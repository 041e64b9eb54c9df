//! One run: the state before, the fault, what happens, until all is over.

use std::time::Duration;

use oat_sandbox::fault::{Rule, RuleId};
use tokio::time::Instant;

use super::{
    super::{
        DAY, HOUR, MINUTE, OperatorHandle, Options, SECOND, Sim, base,
        crash::{begin_with, deed, done},
        is_work,
        oracle::{End, Outcome},
    },
    asks::{Ask, Case, Phase},
    bounds::LASTS,
    troubles::{LATE, Trouble},
};

/// How long recovery may take: an hour of silence that Docker Hub asked for, a poll, a lost day's comparison.
const LIMIT: Duration = Duration::from_secs(36 * 3600);
/// Overlaps end, and polls that come once an hour show what was left.
const AFTER: Duration = Duration::from_secs(150 * 60);
/// The same, and how long it stays so, where a leader renews its Lease every two seconds meanwhile, or watches end and
/// begin as real ones do.
const SHORTER: (Duration, Duration) = (Duration::from_secs(700), Duration::from_secs(120));
/// How long a door is shut that is not shut for ten minutes.
const SHUT: Duration = Duration::from_secs(20);

/// A fault in a run.
#[derive(Clone, Copy, Debug)]
pub struct Struck {
    pub trouble: Trouble,
    pub form: usize,
    /// For ten minutes from the first time on, instead of once.
    pub lasting: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Played {
    pub outcome: Outcome,
    /// How often the fault was done.
    pub hits: u64,
    /// What the operator asked and wrote while it lasted.
    pub during: usize,
    /// From the action until it is as asked for.
    pub recovery: Duration,
    /// From the action to the end of all that follows.
    pub took: Duration,
}

/// Plays a case, with a fault or without. What the quiet run ended with is waited for.
pub fn play(ask: Ask, case: Case, phase: Phase, tls: bool, struck: Option<(Struck, &End)>) -> Played {
    let mut options = Options::new(1);
    let waits = struck.is_some_and(|(struck, _)| struck.trouble == Trouble::NoAnswer) && ask.is_store();
    let lively = phase == Phase::Watch || waits;
    options.calm = !lively;
    if tls {
        options.hub = Box::new(|hub| hub.tls = Some(base::base().authority.clone()));
    }
    // Both are dear, and nothing of what they are about comes with a poll.
    let (after, stay) = if lively || ask == Ask::Lease { SHORTER } else { (LATE + AFTER, 2 * HOUR) };
    Sim::run_with(options, async |sim| Run { sim, ask, case, phase, after, stay }.play(tls, struck).await)
}

struct Run<'a> {
    sim: &'a Sim,
    ask: Ask,
    case: Case,
    phase: Phase,
    /// How long all that follows may take, and how long it is watched that nothing goes on.
    after: Duration,
    stay: Duration,
}

impl Run<'_> {
    async fn play(&self, tls: bool, struck: Option<(Struck, &End)>) -> Played {
        let sim = self.sim;
        let bundle = tempfile::NamedTempFile::new().unwrap();
        let mut flags = vec!["--abandon-after", "24h"];
        if tls {
            std::fs::write(bundle.path(), base::base().authority.ca_pem()).unwrap();
            sim.servers.hub.listener().unwrap().show(base::base().tls.clone());
            flags.extend(["--ca-bundle", bundle.path().to_str().unwrap()]);
        }
        if self.ask == Ask::Lease {
            flags.push("--leader-elect");
        }
        let operator = begin_with(sim, self.case.scenario, &flags).await;
        sim.advance(self.case.rest).await;
        let (mark, before) = (sim.journal.len(), sim.servers.kube.resource_version());
        let rule = struck.map(|(struck, _)| self.install(struck, before));
        let began = Instant::now();
        let mut operator = self.happen(operator, &flags).await;
        let played = self.until_over(mark, began, struck.map(|(struck, end)| (struck, rule.unwrap(), end)));
        let played = tended(sim, &mut operator, &flags, self.ask == Ask::Lease, played).await;
        operator.kill().await;
        played
    }

    fn install(&self, struck: Struck, before: u64) -> RuleId {
        let Struck { trouble, form, lasting } = struck;
        let (ask, phase) = (self.ask, self.phase);
        let rule = Rule::new(trouble.fault(form, ask, self.sim, before));
        let rule = rule.when(move |request| ask.is(phase, lasting, request));
        let once = !lasting || trouble.is_door();
        // It may leave a token behind, or take one from its object.
        self.sim.rules.fault();
        if ask == Ask::Proof {
            self.sim.rules.disown();
        }
        self.sim.faults.install(if once { rule.once() } else { rule })
    }

    /// What happens, with a rotation before it, and while no operator runs where that is what the case is about.
    async fn happen(&self, operator: OperatorHandle, flags: &[&str]) -> OperatorHandle {
        let (sim, case) = (self.sim, self.case);
        let anew = case.restart || self.phase == Phase::List;
        let mut running = Some(operator);
        if anew {
            running.take().unwrap().kill().await;
            sim.advance(SECOND / 1000).await;
        }
        if self.phase == Phase::Watch {
            sim.servers.kube.close_connections();
        }
        if case.rotate {
            sim.annotate("pull", oat_operator::api::ROTATE, "now").await;
        }
        deed(sim, case.scenario).await;
        match running {
            Some(operator) => operator,
            None => sim.start_operator(flags).await,
        }
    }

    fn is_done(&self, mark: u64) -> bool {
        let rotated = || {
            let status = self.sim.object("pull").and_then(|object| object.status);
            status.is_some_and(|status| status.last_handled.rotate.as_deref() == Some("now"))
        };
        done(self.sim, self.case.scenario, mark) && (!self.case.rotate || rotated())
    }

    async fn until_over(&self, mark: u64, began: Instant, struck: Option<(Struck, RuleId, &End)>) -> Played {
        let sim = self.sim;
        let (mut hits, mut during) = (0, 0);
        if let Some((struck, rule, _)) = struck {
            (hits, during) = self.endure(struck, rule).await;
        }
        sim.until("it is as asked for", LIMIT, |_| self.is_done(mark)).await;
        let recovery = began.elapsed();
        sim.advance(self.after).await;
        if let Some((.., end)) = struck {
            self.until_equal(end).await;
        }
        let took = began.elapsed();
        sim.settle(10 * SECOND, HOUR).await;
        let outcome = sim.outcome(mark);
        // And so it stays.
        sim.advance(self.stay).await;
        assert_eq!(sim.end(), outcome.end, "it goes on\n{}", sim.story());
        let changes = super::bounds::changes;
        assert_eq!(changes(&sim.counts(mark)), changes(&outcome.counts), "it goes on\n{}", sim.story());
        if let Some((_, rule, _)) = struck {
            hits = hits.max(sim.faults.hits(rule));
        }
        Played { outcome, hits, during, recovery, took }
    }

    /// Waits until the fault has struck, and until it is over. How often it was done, and what was asked meanwhile.
    async fn endure(&self, struck: Struck, rule: RuleId) -> (u64, usize) {
        let sim = self.sim;
        tokio::select! {
            biased;
            () = sim.faults.hit(rule, 1) => {}
            () = sim.advance(LIMIT) => panic!("the fault met no request\n{}", sim.story()),
        }
        let from = sim.journal.len();
        let lasts = match struck.lasting {
            true => LASTS,
            false if struck.trouble.is_door() => SHUT,
            false => return (1, 0),
        };
        sim.advance(lasts).await;
        let during = sim.journal.count(|entry| entry.index >= from && is_work(entry));
        let hits = sim.faults.hits(rule);
        sim.faults.remove(rule);
        if struck.trouble.is_door() {
            struck.trouble.open(sim);
        }
        (hits, during)
    }

    async fn until_equal(&self, end: &End) {
        let deadline = Instant::now() + DAY;
        while self.sim.end() != *end {
            if Instant::now() > deadline {
                assert_eq!(self.sim.end(), *end, "it never ends as the quiet run\n{}", self.sim.story());
            }
            self.sim.advance(10 * MINUTE).await;
        }
    }
}

/// Does something while an operator that may end is started again, as a kubelet does; else it must not end.
async fn tended<T>(
    sim: &Sim,
    operator: &mut OperatorHandle,
    flags: &[&str],
    may_end: bool,
    work: impl Future<Output = T>,
) -> T {
    if !may_end {
        let result = work.await;
        assert!(!operator.has_ended(), "the operator has ended");
        return result;
    }
    let tend = async {
        loop {
            sim.advance(10 * SECOND).await;
            if operator.has_ended() {
                *operator = sim.start_operator(flags).await;
            }
        }
    };
    tokio::select! {
        biased;
        result = work => result,
        () = tend => unreachable!("it goes on for ever"),
    }
}
