//! The metrics, and the page that they are scraped from.
//!
//! What is counted is counted here. What can be looked at (objects, queues, who leads) is not kept but read from a
//! [`Snapshot`] at each scrape, so that a series ends with its object.
//!
//! Labels are names of objects and organizations, and words from closed lists. Never: a token's id, its label at Docker
//! Hub, or the text of an error.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric, prometheus_text, text},
    metrics::{MetricType, counter::Counter, family::Family, gauge::ConstGauge, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::hub;

/// The content type of OpenMetrics, which is what is served unless only the older format is asked for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A token object, as metrics show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenSample {
    /// The object's namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The organization at Docker Hub.
    pub organization: String,
    /// When the token expires, in seconds since 1970; none if never or if there is no token.
    pub expiration: Option<f64>,
    /// When the next rotation is due.
    pub renewal: Option<f64>,
    /// When the token was last used.
    pub last_used: Option<f64>,
    /// The condition Ready; none for Unknown.
    pub ready: Option<bool>,
    /// How many Secrets there should be.
    pub targets: u64,
    /// How many of them hold the current token.
    pub published: u64,
}

/// An organization, as metrics show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OrganizationSample {
    /// Its name at Docker Hub.
    pub name: String,
    /// How many tokens are in which state. A token may be in several.
    pub states: Vec<(&'static str, u64)>,
    /// How many there may be.
    pub limit: u64,
}

/// What is looked at when metrics are scraped.
pub trait Snapshot: Send + Sync {
    /// The token objects.
    fn tokens(&self) -> Vec<TokenSample>;
    /// The organizations whose tokens have been counted.
    fn organizations(&self) -> Vec<OrganizationSample>;
    /// How many objects wait for a worker, per controller.
    fn queues(&self) -> Vec<(&'static str, u64)>;
    /// Whether this process leads.
    fn leads(&self) -> bool;
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    organization: String,
    operation: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    organization: String,
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RotationLabels {
    organization: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct OrganizationLabels {
    organization: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct StateLabels {
    organization: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct TokenLabels {
    namespace: String,
    name: String,
    organization: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ReadyLabels {
    namespace: String,
    name: String,
    organization: String,
    condition: &'static str,
}

/// The metrics; copies are handles of the same ones.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_duration: Family<ControllerLabels, Histogram>,
    requests: Family<RequestLabels, Counter>,
    request_duration: Family<OperationLabels, Histogram>,
    rate_limit: Family<OrganizationLabels, Gauge<u64, std::sync::atomic::AtomicU64>>,
    rotations: Family<RotationLabels, Counter>,
    orphans: Family<OrganizationLabels, Counter>,
    looked_at: LookedAt,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that start at zero.
    pub fn new() -> Self {
        let reconcile_buckets =
            || Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
        let request_buckets = || Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
        let mut inner = Inner {
            registry: Registry::with_prefix("oat_operator"),
            reconciles: Family::default(),
            reconcile_duration: Family::new_with_constructor(reconcile_buckets),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(request_buckets),
            rate_limit: Family::default(),
            rotations: Family::default(),
            orphans: Family::default(),
            looked_at: LookedAt::default(),
        };
        inner.register();
        Self(Arc::new(inner))
    }

    /// Has per-object series read from this at each scrape.
    pub fn collect(&self, snapshot: impl Snapshot + 'static) {
        *self.0.looked_at.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(snapshot));
    }

    /// An object was looked at, with what result and for how long.
    pub fn reconciled(&self, controller: &'static str, result: &'static str, took: Duration) {
        self.0.reconciles.get_or_create(&ReconcileLabels { controller, result }).inc();
        self.0.reconcile_duration.get_or_create(&ControllerLabels { controller }).observe(took.as_secs_f64());
    }

    /// A token was rotated, or could not be.
    pub fn rotation(&self, organization: &str, result: &'static str) {
        self.0.rotations.get_or_create(&RotationLabels { organization: organization.into(), result }).inc();
    }

    /// A token whose object is gone was deleted.
    pub fn orphan_removed(&self, organization: &str) {
        self.0.orphans.get_or_create(&OrganizationLabels { organization: organization.into() }).inc();
    }

    /// Counts an organization's calls of Docker Hub.
    pub fn observer(&self, organization: &str) -> Arc<dyn hub::Observer> {
        Arc::new(Observer { metrics: self.clone(), organization: organization.into() })
    }

    /// The page.
    pub fn router(&self) -> Router {
        Router::new().route("/metrics", get(scrape)).with_state(self.clone())
    }
}

impl Inner {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("reconcile", "Objects looked at, by result", self.reconciles.clone());
        let help = "How long it took to look at an object";
        registry.register_with_unit("reconcile_duration", help, Unit::Seconds, self.reconcile_duration.clone());
        let help = "Requests to Docker Hub and its token service: the HTTP status, or why there was none";
        registry.register("hub_requests", help, self.requests.clone());
        let help = "How long requests to Docker Hub took";
        registry.register_with_unit("hub_request_duration", help, Unit::Seconds, self.request_duration.clone());
        let help = "How many requests Docker Hub still permits in this minute, as it said last";
        registry.register("hub_rate_limit_remaining", help, self.rate_limit.clone());
        registry.register("token_rotations", "Rotations of tokens, by result", self.rotations.clone());
        registry.register(
            "orphans_removed",
            "Tokens deleted that were left over from a create whose answer was lost",
            self.orphans.clone(),
        );
        registry.register_collector(Box::new(self.looked_at.clone()));
    }
}

struct Observer {
    metrics: Metrics,
    organization: String,
}

impl hub::Observer for Observer {
    fn request(&self, operation: &'static str, code: &str, seconds: f64) {
        let (metrics, organization) = (&self.metrics.0, self.organization.clone());
        let duration = OperationLabels { organization: organization.clone(), operation };
        metrics.request_duration.get_or_create(&duration).observe(seconds);
        metrics.requests.get_or_create(&RequestLabels { organization, operation, code: code.into() }).inc();
    }

    fn rate_limit(&self, remaining: u64) {
        let labels = OrganizationLabels { organization: self.organization.clone() };
        self.metrics.0.rate_limit.get_or_create(&labels).set(remaining);
    }
}

async fn scrape(State(Metrics(inner)): State<Metrics>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let older = accept.contains("text/plain") && !accept.contains("application/openmetrics-text");
    let mut page = String::new();
    let (kind, encoded) = match older {
        true => (prometheus_text::CONTENT_TYPE, prometheus_text::encode(&mut page, &inner.registry)),
        false => (OPENMETRICS, text::encode(&mut page, &inner.registry)),
    };
    match encoded {
        Ok(()) => ([(header::CONTENT_TYPE, kind)], page).into_response(),
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The series that are read at each scrape.
#[derive(Clone, Default)]
struct LookedAt(Arc<RwLock<Option<Arc<dyn Snapshot>>>>);

impl fmt::Debug for LookedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookedAt")
    }
}

impl Collector for LookedAt {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(snapshot) = self.0.read().unwrap_or_else(PoisonError::into_inner).clone() else { return Ok(()) };
        let mut page = Page(&mut encoder);
        let leader = BTreeMap::from([([("", ""); 0], u64::from(snapshot.leads()))]);
        page.gauge("leader", "Whether this process leads", None, leader)?;
        let queues = snapshot.queues().into_iter().map(|(controller, depth)| ([("controller", controller)], depth));
        page.gauge("queue_depth", "Objects that wait for a worker", None, queues.collect())?;
        page.tokens(snapshot.tokens())?;
        page.organizations(snapshot.organizations())
    }
}

struct Page<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Page<'_, '_> {
    /// One family, in the order of its labels. A map, since a page with the same series twice is refused as a whole.
    fn gauge<L: EncodeLabelSet + Ord, V: EncodeGaugeValue + Copy>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: BTreeMap<L, V>,
    ) -> fmt::Result
    where
        ConstGauge<V>: EncodeMetric,
    {
        if series.is_empty() {
            return Ok(());
        }
        // What registers itself gets its full stop there.
        let help = format!("{help}.");
        let mut family = self.0.encode_descriptor(name, &help, unit, MetricType::Gauge)?;
        for (labels, value) in series {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn tokens(&mut self, samples: Vec<TokenSample>) -> fmt::Result {
        let labels = |sample: &TokenSample| TokenLabels {
            namespace: sample.namespace.clone(),
            name: sample.name.clone(),
            organization: sample.organization.clone(),
        };
        let times = |of: fn(&TokenSample) -> Option<f64>| -> BTreeMap<TokenLabels, f64> {
            samples.iter().filter_map(|sample| Some((labels(sample), of(sample)?))).collect()
        };
        let counts = |of: fn(&TokenSample) -> u64| -> BTreeMap<TokenLabels, u64> {
            samples.iter().map(|sample| (labels(sample), of(sample))).collect()
        };
        let seconds = Some(&Unit::Seconds);
        let help = "When the token expires; absent if never";
        self.gauge("token_expiration_timestamp", help, seconds, times(|sample| sample.expiration))?;
        let help = "When the next rotation of the token is due";
        self.gauge("token_renewal_timestamp", help, seconds, times(|sample| sample.renewal))?;
        let help = "When the token was last used, as Docker Hub tells it; looked at once a day";
        self.gauge("token_last_used_timestamp", help, seconds, times(|sample| sample.last_used))?;
        let states = [("True", Some(true)), ("False", Some(false)), ("Unknown", None)];
        let ready = samples.iter().flat_map(|sample| {
            states.map(|(condition, state)| {
                let TokenLabels { namespace, name, organization } = labels(sample);
                let labels = ReadyLabels { namespace, name, organization, condition };
                (labels, u64::from(sample.ready == state))
            })
        });
        self.gauge("token_ready", "The condition Ready: 1 for the status that it has", None, ready.collect())?;
        let help = "How many Secrets are to hold the token";
        self.gauge("secret_targets", help, None, counts(|sample| sample.targets))?;
        let help = "How many Secrets hold the current token";
        self.gauge("secret_published", help, None, counts(|sample| sample.published))
    }

    /// An organization may have several objects; they speak of the same tokens, and the last one in order is shown.
    fn organizations(&mut self, samples: Vec<OrganizationSample>) -> fmt::Result {
        let states = samples.iter().flat_map(|sample| {
            let labels = |state| StateLabels { organization: sample.name.clone(), state };
            sample.states.iter().map(move |(state, count)| (labels(state), *count))
        });
        let help = "How many tokens the organization has at Docker Hub; one may be in several states";
        self.gauge("organization_tokens", help, None, states.collect())?;
        let limits =
            samples.iter().map(|sample| (OrganizationLabels { organization: sample.name.clone() }, sample.limit));
        let help = "How many tokens the organization may have";
        self.gauge("organization_token_limit", help, None, limits.collect())
    }
}
