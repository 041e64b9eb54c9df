//! Logs: one line per event on standard error, as JSON or for people.
//!
//! A JSON line is flat. The fields of the spans around an event stand beside its own, so that every line of a pass names
//! its object: `{"timestamp":…,"level":"INFO","target":…,"message":…,"controller":"token","namespace":…,"name":…}`.
//!
//! Never: a secret. Those are `SecretString`s, which have no text; libraries that would print what they send or receive
//! are held at `debug` or above, whatever `RUST_LOG` says.

use std::{
    fmt,
    io::{self, IsTerminal},
};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::filter_fn,
    fmt::{
        FmtContext, FormatEvent, FormattedFields, MakeWriter,
        format::{JsonFields, Writer},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::run::LogFormat;
use crate::clock::Clock;

/// Libraries that print answers or headers at `trace`.
const TALKATIVE: [&str; 5] = ["kube_client", "hyper", "hyper_util", "h2", "reqwest"];

/// Logs from now on, as `RUST_LOG` says, or from this level. What can't be understood in it is left out, with a line that says so.
pub fn init(format: LogFormat, level: LevelFilter) {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let subscriber = subscriber(format, filter, io::stderr, io::stderr().is_terminal());
    if subscriber.try_init().is_err() {
        eprintln!("warning: logs have been set up before, and stay as they are");
    }
}

/// What logs go through: to this writer, at most as this filter says.
pub fn subscriber<W>(format: LogFormat, filter: EnvFilter, writer: W, color: bool) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer();
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => {
            let flat = Flat { clock: Clock::system() };
            Box::new(layer.with_writer(writer).with_ansi(false).fmt_fields(JsonFields::new()).event_format(flat))
        }
        LogFormat::Text => Box::new(layer.with_writer(writer).with_ansi(color)),
    };
    let quiet = filter_fn(|metadata| {
        let root = metadata.target().split("::").next().unwrap_or_default();
        *metadata.level() <= tracing::Level::DEBUG || !TALKATIVE.contains(&root)
    });
    tracing_subscriber::registry().with(layer.with_filter(quiet)).with(filter)
}

/// One flat JSON object a line.
struct Flat {
    clock: Clock,
}

impl<S> FormatEvent<S, JsonFields> for Flat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        line.insert("timestamp".into(), self.clock.now().to_string().into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("target".into(), event.metadata().target().into());
        // Where it is read first; the event fills it in.
        line.insert("message".into(), Value::Null);
        let spans = context.event_scope().into_iter().flat_map(|scope| scope.from_root());
        for span in spans {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            let fields = fields.and_then(|fields| serde_json::from_str::<Map<String, Value>>(&fields.fields).ok());
            for (name, value) in fields.unwrap_or_default() {
                insert(&mut line, &name, value);
            }
        }
        event.record(&mut Fields(&mut line));
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// A field of a span or an event. The line's own names are not theirs to take.
fn insert(line: &mut Map<String, Value>, name: &str, value: Value) {
    match name {
        "timestamp" | "level" | "target" => drop(line.insert(format!("field_{name}"), value)),
        // Events of the `log` crate say so where it comes from.
        "log.target" => drop(line.insert("target".into(), value)),
        _ if name.starts_with("log.") => {}
        _ => drop(line.insert(name.into(), value)),
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        insert(self.0, field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        insert(self.0, field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        insert(self.0, field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        insert(self.0, field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        insert(self.0, field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        insert(self.0, field.name(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        insert(self.0, field.name(), super::run::chain(value).into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str, events: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(format, EnvFilter::new(filter), move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, events);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn lines(filter: &str, events: impl FnOnce()) -> Vec<Value> {
        let text = logged(LogFormat::Json, filter, events);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_names_the_object_of_the_pass_it_was_written_in() {
        let lines = lines("info", || {
            let span =
                tracing::info_span!("reconcile", controller = "token", namespace = "payments", name = "pull", n = 3);
            let _entered = span.enter();
            let _inner = tracing::info_span!("step", step = tracing::field::Empty, name = "inner").entered();
            _inner.record("step", "create");
            tracing::warn!(code = 503_u64, retry = true, "Docker Hub \"is\" {}", "down");
        });
        let mut line = lines[0].clone();
        let time = line["timestamp"].take();
        assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        let wanted = json!({
            "timestamp": null, "level": "WARN", "target": "oat_operator::cli::log::tests",
            "message": "Docker Hub \"is\" down", "controller": "token", "namespace": "payments", "name": "inner",
            "n": 3, "step": "create", "code": 503, "retry": true,
        });
        assert_eq!(line, wanted);
        assert_eq!(lines.len(), 1);
    }

    #[test]
    fn one_event_is_one_line_and_outside_of_spans_nothing_is_added() {
        let lines = lines("info", || {
            tracing::info!(level = "mine", "first\nsecond");
            tracing::debug!("not asked for");
        });
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["message"], "first\nsecond");
        assert_eq!((&lines[0]["level"], &lines[0]["field_level"]), (&json!("INFO"), &json!("mine")));
        assert_eq!(lines[0].as_object().unwrap().len(), 5);
    }

    #[test]
    fn an_error_is_logged_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("inner"));
        let lines = lines("info", || tracing::error!(error = &error as &dyn std::error::Error, "failed"));
        assert_eq!(lines[0]["error"], "outer: inner");
    }

    #[test]
    fn events_of_the_log_crate_say_where_they_come_from() {
        let lines = lines("info", || tracing::info!(log.target = "rustls::client", log.line = 7, "hello"));
        assert_eq!((&lines[0]["target"], &lines[0]["message"]), (&json!("rustls::client"), &json!("hello")));
        assert_eq!(lines[0].as_object().unwrap().len(), 4);
    }

    #[test]
    fn libraries_never_print_what_they_receive() {
        let lines = lines("trace", || {
            tracing::trace!(target: "kube_client::client", "Status from {{\"data\": …}}");
            tracing::debug!(target: "kube_client::client", "requesting");
            tracing::trace!(target: "oat_operator::plan", "ours");
        });
        let messages: Vec<&Value> = lines.iter().map(|line| &line["message"]).collect();
        assert_eq!(messages, ["requesting", "ours"]);
    }

    #[test]
    fn text_is_for_people() {
        let text = logged(LogFormat::Text, "info", || {
            let _pass = tracing::info_span!("reconcile", name = "pull").entered();
            tracing::info!("rotated");
        });
        assert!(text.ends_with(" INFO reconcile{name=\"pull\"}: oat_operator::cli::log::tests: rotated\n"), "{text}");
    }
}
