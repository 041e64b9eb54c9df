//! JSON as CEL sees it through a schema: names escaped, times as timestamps, only what the schema declares.
//!
//! Never fails: a value that does not fit its schema stays what it is, and the rule that meets it says so.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use kube_cel::KubeCelExt as _;
use kube_cel::cel::objects::Key;
use kube_cel::cel::{Context, ExecutionError, Program, ResolveResult, Value as Cel};
use serde_json::{Map, Value};

use super::super::field::same;
use super::super::schema::{Additional, ListType, Structural};
use super::super::validate::same_element;

/// Words that CEL keeps for itself; a field of such a name is reached as `__name__`.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

static TIMESTAMP: LazyLock<Option<Program>> = LazyLock::new(|| Program::compile("timestamp(text)").ok());
static DURATION: LazyLock<Option<Program>> = LazyLock::new(|| Program::compile("duration(text)").ok());
static BYTES: LazyLock<Option<Program>> = LazyLock::new(|| Program::compile("base64.decode(text)").ok());

/// All functions of a real server's rules; `type()`, which the interpreter lacks, answers with the name of the type.
pub(super) fn context() -> Context<'static> {
    let mut context = Context::default().with_all();
    context.add_function("duration", go_duration);
    context.add_function("type", |value: Cel| -> ResolveResult { Ok(words(type_name(&value))) });
    for name in ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type"] {
        context.add_variable_from_value(name, words(name));
    }
    context
}

/// `duration()` up to what Go's type holds: 292 years. The interpreter's own knows no end.
fn go_duration(text: Arc<String>) -> ResolveResult {
    let wrong = |why: &str| Err(ExecutionError::function_error("duration", why));
    // The interpreter's own also takes spaces at the end.
    if nanoseconds(&text).is_none_or(|sum| sum.abs() >= 9_223_372_036_854_775_807.0) {
        return wrong("type conversion error from 'string' to 'google.protobuf.Duration'");
    }
    let Some(program) = DURATION.as_ref() else { return wrong("is not to be had") };
    let mut plain = Context::default();
    plain.add_variable_from_value("text", words(&text));
    program.execute(&plain)
}

/// Roughly how long a duration is; `None` for what Go doesn't read.
fn nanoseconds(text: &str) -> Option<f64> {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut sum = 0.0;
    if rest == "0" {
        return Some(sum);
    }
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let unit = match unit {
            "h" => 3.6e12,
            "m" => 6e10,
            "s" => 1e9,
            "ms" => 1e6,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
            "ns" => 1.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * unit;
        rest = after;
    }
    Some(sum)
}

fn type_name(value: &Cel) -> &'static str {
    match value {
        Cel::Bool(_) => "bool",
        Cel::Int(_) => "int",
        Cel::UInt(_) => "uint",
        Cel::Float(_) => "double",
        Cel::String(_) => "string",
        Cel::Bytes(_) => "bytes",
        Cel::List(_) => "list",
        Cel::Map(_) => "map",
        Cel::Null => "null_type",
        _ => "opaque",
    }
}

/// How a field is called in an expression.
pub(super) fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "\u{0}")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
        .replace('\u{0}', "__underscores__")
}

/// Converts a value. `like` is the new value when this is the old one: lists whose order does not count are put in
/// its order, so that `self == oldSelf` compares them as the real server does.
pub(super) fn from_json(
    value: &Value,
    schema: &Structural,
    is_root: bool,
    like: Option<&Value>,
    context: &Context<'_>,
) -> Cel {
    match value {
        Value::String(text) => string(text, schema, context),
        Value::Number(n) if schema.kind.as_deref() == Some("number") => Cel::Float(n.as_f64().unwrap_or(f64::NAN)),
        // The real server refuses to compare an integer that was written with a fraction or an exponent, and so does this.
        Value::Number(n) if schema.kind.as_deref() == Some("integer") && n.is_f64() => words(&n.to_string()),
        Value::Array(items) => {
            let Some(inner) = &schema.items else {
                return plain(value);
            };
            let ordered = in_order_of(items, schema, like);
            let convert = |item: &Value| from_json(item, inner, false, None, context);
            Cel::List(Arc::new(ordered.into_iter().map(convert).collect()))
        }
        Value::Object(map) => object(map, schema, is_root, like, context),
        scalar => plain(scalar),
    }
}

fn object(
    map: &Map<String, Value>,
    schema: &Structural,
    is_root: bool,
    like: Option<&Value>,
    context: &Context<'_>,
) -> Cel {
    let is_map = schema.properties.is_empty() && !matches!(schema.additional, Additional::None);
    let is_object = is_root || schema.embedded;
    let mut out: HashMap<Key, Cel> = HashMap::with_capacity(map.len());
    for (name, value) in map {
        // A field that may be null and is: for `has()` it is not there.
        if value.is_null() && schema.properties.contains_key(name) {
            continue;
        }
        let (key, converted) = match (schema.field(name), name.as_str()) {
            (_, "metadata") if is_object => (name.clone(), metadata(value)),
            (_, "apiVersion" | "kind") if is_object => (name.clone(), plain(value)),
            (Some(inner), _) => {
                let key = if is_map { name.clone() } else { escape(name) };
                (key, from_json(value, inner, false, like.and_then(|l| l.get(name)), context))
            }
            (None, _) if is_map => (name.clone(), plain(value)),
            // What no schema declares can't be named in a rule.
            (None, _) => continue,
        };
        out.insert(Key::String(Arc::new(key)), converted);
    }
    Cel::Map(out.into())
}

/// Rules may look at the name and nothing else.
fn metadata(value: &Value) -> Cel {
    let mut out: HashMap<Key, Cel> = HashMap::new();
    for name in ["name", "generateName"] {
        if let Some(text) = value.get(name) {
            out.insert(Key::String(Arc::new(name.to_owned())), plain(text));
        }
    }
    Cel::Map(out.into())
}

fn string(text: &str, schema: &Structural, context: &Context<'_>) -> Cel {
    let program = match schema.limits.format.as_deref() {
        Some("date-time") => &*TIMESTAMP,
        // A date is midnight of its day.
        Some("date") => {
            return convert(&TIMESTAMP, &format!("{text}T00:00:00Z"), context).unwrap_or_else(|| words(text));
        }
        Some("duration") => &*DURATION,
        Some("byte") => &*BYTES,
        _ => &None,
    };
    convert(program, text, context).unwrap_or_else(|| words(text))
}

fn words(text: &str) -> Cel {
    Cel::String(Arc::new(text.to_owned()))
}

fn convert(program: &Option<Program>, text: &str, context: &Context<'_>) -> Option<Cel> {
    let program = program.as_ref()?;
    let mut scope = context.new_inner_scope();
    scope.add_variable_from_value("text", words(text));
    program.execute(&scope).ok()
}

fn in_order_of<'a>(items: &'a [Value], schema: &Structural, like: Option<&Value>) -> Vec<&'a Value> {
    let Some(Value::Array(like)) = like else {
        return items.iter().collect();
    };
    let find = |wanted: &Value| match schema.list_type {
        ListType::Atomic => None,
        ListType::Set => items.iter().find(|item| same(item, wanted)),
        ListType::Map => same_element(&schema.list_keys, wanted, items),
    };
    let first: Vec<&Value> = like.iter().filter_map(find).collect();
    let rest = items.iter().filter(|item| !first.iter().any(|f| std::ptr::eq(*f, *item)));
    let rest: Vec<&Value> = rest.collect();
    first.into_iter().chain(rest).collect()
}

fn plain(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(b) => Cel::Bool(*b),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Cel::Int(i),
            (None, Some(u)) => Cel::UInt(u),
            _ => Cel::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => words(text),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(plain).collect())),
        Value::Object(map) => {
            let entries: HashMap<Key, Cel> =
                map.iter().map(|(k, v)| (Key::String(Arc::new(k.clone())), plain(v))).collect();
            Cel::Map(entries.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_end_where_go_ends_them() {
        let holds = |text: &str| {
            let program = Program::compile("duration(text) > duration('0s')").unwrap();
            let mut context = context();
            context.add_variable_from_value("text", words(text));
            program.execute(&context)
        };
        for good in ["1h", "1h30m", "1.5s", "2562047h"] {
            assert_eq!(holds(good), Ok(Cel::Bool(true)), "{good}");
        }
        for bad in ["2562048h", "999999999h", "99999999999999999999h", "-2562048h", "1d", "", "1h ", "1h-1h"] {
            assert!(holds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_escaped_as_documented() {
        for (name, escaped) in [
            ("plain", "plain"),
            ("snake_case", "snake_case"),
            ("foo__bar", "foo__underscores__bar"),
            ("x-prop", "x__dash__prop"),
            ("a.b/c", "a__dot__b__slash__c"),
            ("namespace", "__namespace__"),
            ("in", "__in__"),
            ("string", "string"),
            ("redact__d", "redact__underscores__d"),
        ] {
            assert_eq!(escape(name), escaped);
        }
    }
}
