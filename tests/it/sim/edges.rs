//! Every step that an operator takes in a simulation, looked for among the edges of the model: what it was taken on, what
//! came of it, and what was known then, in the planner's words.
//!
//! Within a pass each step begins with what was known after the one before it: the controller does nothing in between
//! that the planner doesn't know of.
//!
//! `crates/model/edges.txt` has the model's edges; the model's own test keeps it true.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, OnceLock},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::layer::{Context, Layer};

/// Where the steps are logged.
const TARGET: &str = "oat_operator::control::token";

/// Whether this is of interest.
pub fn is_about_steps(metadata: &Metadata<'_>) -> bool {
    metadata.target() == TARGET && *metadata.level() <= tracing::Level::DEBUG
}

/// What was seen.
#[derive(Clone, Default)]
pub struct Edges(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// How often each edge was taken.
    taken: BTreeMap<String, usize>,
    /// What was known after the last step of each pass.
    passes: HashMap<Id, String>,
    /// The spans that are entered.
    inside: Vec<Id>,
    /// Steps that began with something else than the one before them ended with.
    torn: BTreeSet<String>,
}

impl Seen {
    fn take(&mut self, edge: &str) {
        *self.taken.entry(edge.to_owned()).or_default() += 1;
        let mut parts = edge.split(" | ");
        let (before, after) = (parts.next().unwrap_or_default(), parts.last().unwrap_or_default());
        let Some(pass) = self.inside.last() else { return };
        let former = self.passes.insert(pass.clone(), after.to_owned());
        if let Some(former) = former.filter(|former| former != before) {
            self.torn.insert(format!("{former}\n  is not what follows begins with: {edge}"));
        }
    }
}

/// The field `edge` of an event.
struct Edge(Option<String>);

impl Visit for Edge {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "edge" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: Subscriber> Layer<S> for Edges {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if is_about_steps(attributes.metadata()) {
            // Ids come again.
            self.0.lock().unwrap().passes.remove(id);
        }
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.0.lock().unwrap().inside.push(id.clone());
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        let inside = &mut self.0.lock().unwrap().inside;
        if let Some(place) = inside.iter().rposition(|inner| inner == id) {
            inside.remove(place);
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !is_about_steps(event.metadata()) {
            return;
        }
        let mut edge = Edge(None);
        event.record(&mut edge);
        edge.0.into_iter().for_each(|edge| self.0.lock().unwrap().take(&edge));
    }
}

/// The model's edges.
fn model() -> &'static HashSet<String> {
    static MODEL: OnceLock<HashSet<String>> = OnceLock::new();
    MODEL.get_or_init(|| {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/crates/model/edges.txt")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let known = |line: usize| lines[line - 1].split(" | ").next().unwrap();
        let mut edges = HashSet::new();
        for (place, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            for step in line.split(" | ").skip(1) {
                let (step, after) = step.split_once(": ").unwrap();
                let mut after = after.split(' ');
                let outcome = after.next().unwrap();
                let after = after.map(|line| known(line.parse().unwrap()));
                edges.extend(after.map(|after| format!("{} | {step}: {outcome} | {after}", known(place + 1))));
            }
        }
        edges
    })
}

/// How many edges the simulations of this process took, and how many of them the model lacks.
fn so_far(taken: &BTreeMap<String, usize>) -> (usize, usize) {
    static ALL: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut all = ALL.lock().unwrap();
    all.extend(taken.keys().cloned());
    (all.len(), all.iter().filter(|edge| !model().contains(*edge)).count())
}

impl Edges {
    /// The end of a run: every step is one that the model has. Where users do anything at once, which no configuration of
    /// the model has all of, those that it lacks are only named.
    pub fn verdict(&self, by_chance: bool, story: &str) {
        let seen = self.0.lock().unwrap();
        assert!(seen.torn.is_empty(), "{:#?}\n{story}", seen.torn);
        let strange: Vec<_> = seen.taken.keys().filter(|edge| !model().contains(*edge)).collect();
        assert!(strange.is_empty() || by_chance, "the model has no such steps: {strange:#?}\n{story}");
        let (steps, (edges, besides)) = (seen.taken.values().sum::<usize>(), so_far(&seen.taken));
        println!("{steps} steps; {edges} edges so far, {besides} of them not in the model; here {strange:?}");
    }
}
