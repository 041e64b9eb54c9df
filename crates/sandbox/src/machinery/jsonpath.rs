//! The subset of Kubernetes' JSONPath that printer columns use: fields, indices, slices, wildcards, filters.
//!
//! Never fails on an object: a path that leads nowhere finds nothing.

use serde_json::Value;

use super::field::same;

/// A parsed path, e.g. `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    Filter(Vec<Step>, Option<(Comparison, Operand)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Literal(Value),
    Path(Vec<Step>),
}

impl JsonPath {
    /// Reads a path as printer columns have it, with a leading dot and without braces.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (steps, rest) = steps(text.trim(), false)?;
        if rest.is_empty() { Ok(Self { steps }) } else { Err(format!("unexpected text in a JSONPath: {rest}")) }
    }

    /// Everything that the path leads to.
    #[must_use]
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        walk(&self.steps, value)
    }
}

fn steps(text: &str, in_filter: bool) -> Result<(Vec<Step>, &str), String> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix("..") {
            return Err(format!("recursive descent is not supported: ..{after}"));
        } else if let Some(after) = rest.strip_prefix('.') {
            if let Some(after) = after.strip_prefix('*') {
                out.push(Step::All);
                rest = after;
                continue;
            }
            let (name, after) = name(after, in_filter);
            if !name.is_empty() {
                out.push(Step::Field(name));
            }
            rest = after;
        } else if let Some(after) = rest.strip_prefix("[?(") {
            let (step, after) = filter(after)?;
            out.push(step);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let end = after.find(']').ok_or("unterminated array")?;
            out.push(bracket(&after[..end])?);
            rest = &after[end + 1..];
        } else {
            return Ok((out, rest));
        }
    }
}

fn name(text: &str, in_filter: bool) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (out, &text[i..]),
            '=' | '!' | '<' | '>' | ')' | ' ' if in_filter => return (out, &text[i..]),
            c => out.push(c),
        }
    }
    (out, "")
}

fn bracket(inside: &str) -> Result<Step, String> {
    let inside = inside.trim();
    if inside == "*" {
        return Ok(Step::All);
    }
    for quote in ['\'', '"'] {
        if let Some(name) = inside.strip_prefix(quote).and_then(|s| s.strip_suffix(quote)) {
            return Ok(Step::Field(name.to_owned()));
        }
    }
    let number = |s: &str| match s.trim() {
        "" => Ok(None),
        s => s.parse::<i64>().map(Some).map_err(|_| format!("invalid array index {s}")),
    };
    match inside.split_once(':') {
        Some((from, to)) => Ok(Step::Slice(number(from)?, number(to)?)),
        None => number(inside)?.map(Step::Index).ok_or_else(|| "empty array index".to_owned()),
    }
}

fn filter(text: &str) -> Result<(Step, &str), String> {
    let left = text.trim_start().strip_prefix('@').ok_or("a filter begins with @")?;
    let (path, rest) = steps(left, true)?;
    let rest = rest.trim_start();
    let operators = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let found = operators.iter().find_map(|(text, op)| Some((*op, rest.strip_prefix(text)?)));
    let (comparison, rest) = match found {
        None => (None, rest),
        Some((op, after)) => {
            let (operand, rest) = operand(after.trim_start())?;
            (Some((op, operand)), rest)
        }
    };
    let rest = rest.trim_start().strip_prefix(")]").ok_or("unterminated filter")?;
    Ok((Step::Filter(path, comparison), rest))
}

fn operand(text: &str) -> Result<(Operand, &str), String> {
    for quote in ['\'', '"'] {
        if let Some(after) = text.strip_prefix(quote) {
            let end = after.find(quote).ok_or("unterminated string")?;
            return Ok((Operand::Literal(Value::from(&after[..end])), &after[end + 1..]));
        }
    }
    if let Some(after) = text.strip_prefix('@') {
        let (path, rest) = steps(after, true)?;
        return Ok((Operand::Path(path), rest));
    }
    let end = text.find(')').ok_or("unterminated filter")?;
    let literal =
        serde_json::from_str(text[..end].trim()).map_err(|_| format!("unrecognized operand {}", &text[..end]))?;
    Ok((Operand::Literal(literal), &text[end..]))
}

fn walk<'a>(steps: &[Step], value: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![value];
    for step in steps {
        found = found.into_iter().flat_map(|value| one(step, value)).collect();
    }
    found
}

fn one<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    let all = || match value {
        Value::Array(items) => items.iter().collect::<Vec<_>>(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    };
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::All => all(),
        Step::Index(at) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            place(*at, items.len()).and_then(|at| items.get(at)).into_iter().collect()
        }
        Step::Slice(from, to) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            let from = from.map_or(Some(0), |at| place(at, items.len())).unwrap_or(0);
            let to = to.map_or(Some(items.len()), |at| place(at, items.len())).unwrap_or(0).min(items.len());
            items.get(from..to).unwrap_or_default().iter().collect()
        }
        Step::Filter(path, None) => all().into_iter().filter(|item| !walk(path, item).is_empty()).collect(),
        Step::Filter(path, Some((comparison, operand))) => all()
            .into_iter()
            .filter(|item| {
                let right = match operand {
                    Operand::Literal(value) => Some(value),
                    Operand::Path(path) => walk(path, item).first().copied(),
                };
                match (walk(path, item).first(), right) {
                    (Some(left), Some(right)) => holds(left, *comparison, right),
                    _ => false,
                }
            })
            .collect(),
    }
}

/// A negative place counts from the end.
fn place(at: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    usize::try_from(if at < 0 { at + len } else { at }).ok()
}

fn holds(left: &Value, comparison: Comparison, right: &Value) -> bool {
    use std::cmp::Ordering;
    let order = match (left, right) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => left.as_f64().zip(right.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
    };
    match comparison {
        Comparison::Equal => same(left, right),
        Comparison::NotEqual => !same(left, right),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_what_they_name() {
        let object = json!({
            "metadata": {"name": "n", "labels": {"app.kubernetes.io/name": "x"}},
            "status": {
                "conditions": [{"type": "Ready", "status": "True", "n": 3}, {"type": "Stalled", "status": "False", "n": 5}],
                "list": [1, 2, 3],
                "tokens": {"total": 7},
            },
        });
        for (path, found) in [
            (".metadata.name", json!(["n"])),
            (".metadata.nothing", json!([])),
            (".metadata.name.deeper", json!([])),
            (".status.tokens.total", json!([7])),
            (r".metadata.labels.app\.kubernetes\.io/name", json!(["x"])),
            (".metadata.labels['app.kubernetes.io/name']", json!(["x"])),
            (".metadata.labels[\"app.kubernetes.io/name\"]", json!(["x"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Stalled')].status", json!(["False"])),
            (".status.conditions[?(@.type == \"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type!=\"Ready\")].type", json!(["Stalled"])),
            (".status.conditions[?(@.type==\"Gone\")].status", json!([])),
            (".status.conditions[?(@.n>3)].type", json!(["Stalled"])),
            (".status.conditions[?(@.n>=3)].type", json!(["Ready", "Stalled"])),
            (".status.conditions[?(@.n<5)].type", json!(["Ready"])),
            (".status.conditions[?(@.n<=2)].type", json!([])),
            (".status.conditions[?(@.n==3)].type", json!(["Ready"])),
            (".status.conditions[?(@.status)].type", json!(["Ready", "Stalled"])),
            (".status.conditions[?(@.missing)].type", json!([])),
            (".status.conditions[?(@.type==@.type)].n", json!([3, 5])),
            (".status.list[0]", json!([1])),
            (".status.list[-1]", json!([3])),
            (".status.list[9]", json!([])),
            (".status.list[*]", json!([1, 2, 3])),
            (".status.list[1:]", json!([2, 3])),
            (".status.list[:2]", json!([1, 2])),
            (".status.list[-1:]", json!([3])),
            (".status.list[0:1]", json!([1])),
            (".status.conditions[*].type", json!(["Ready", "Stalled"])),
            (".status.tokens.*", json!([7])),
        ] {
            let parsed = JsonPath::parse(path).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(json!(parsed.find(&object)), found, "{path}");
        }
    }

    #[test]
    fn paths_that_are_none() {
        for path in ["a", ".a[", ".a[x]", ".a[?(@.b]", ".a[?(b==1)]", ".a[?(@.b==)]", ".a..b", ".a[]", ".a[?(@.b=='x)]"]
        {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
