//! Label and field selectors: parsed, and matched against objects.
//!
//! Never decides which fields may be selected; the kind does, and asks `FieldSelector::unsupported`.

use std::fmt;

use serde_json::Value;

/// A label selector: all its requirements hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    Absent,
    In(Vec<String>),
    /// Also holds where the label is absent.
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

/// What is wrong with a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError(String);

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SelectorError {}

fn error<T>(text: impl Into<String>) -> Result<T, SelectorError> {
    Err(SelectorError(text.into()))
}

impl LabelSelector {
    /// Reads the query parameter `labelSelector`: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. Empty selects everything.
    ///
    /// # Errors
    /// Where the text is none.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut tokens = Tokens { rest: text };
        let mut requirements = Vec::new();
        if tokens.peek().is_empty() {
            return Ok(Self::default());
        }
        loop {
            requirements.push(requirement(&mut tokens)?);
            match tokens.next() {
                "" => return Ok(Self { requirements }),
                "," => {}
                other => {
                    return error(format!(
                        "unable to parse requirement: found '{other}', expected: ',' or 'end of string'"
                    ));
                }
            }
        }
    }

    /// Reads a `LabelSelector` object (`matchLabels`, `matchExpressions`). Empty selects everything.
    ///
    /// # Errors
    /// Where an operator is unknown or lacks values.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement { key: key.clone(), operator: Operator::In(vec![value]) });
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
            let values: Vec<String> = expression
                .get("values")
                .and_then(Value::as_array)
                .map(|v| v.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                .unwrap_or_default();
            let operator = match (text("operator"), values.is_empty()) {
                ("In", false) => Operator::In(values),
                ("NotIn", false) => Operator::NotIn(values),
                ("Exists", true) => Operator::Exists,
                ("DoesNotExist", true) => Operator::Absent,
                ("In" | "NotIn", true) => {
                    return error("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
                }
                ("Exists" | "DoesNotExist", false) => {
                    return error("values: Invalid value: values set must be empty for exists and does not exist");
                }
                (other, _) => return error(format!("\"{other}\" is not a valid label selector operator")),
            };
            requirements.push(Requirement { key: text("key").to_owned(), operator });
        }
        Ok(Self { requirements })
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object's `metadata.labels` are selected.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_labels(object.pointer("/metadata/labels").unwrap_or(&Value::Null))
    }

    /// Whether a map of labels is selected.
    #[must_use]
    pub fn matches_labels(&self, labels: &Value) -> bool {
        self.requirements.iter().all(|r| {
            let value = labels.get(&r.key).and_then(Value::as_str);
            let is_in = |values: &[String]| value.is_some_and(|v| values.iter().any(|w| w == v));
            let number = || value.and_then(|v| v.parse::<i64>().ok());
            match &r.operator {
                Operator::Exists => value.is_some(),
                Operator::Absent => value.is_none(),
                Operator::In(values) => is_in(values),
                Operator::NotIn(values) => !is_in(values),
                Operator::Greater(than) => number().is_some_and(|n| n > *than),
                Operator::Less(than) => number().is_some_and(|n| n < *than),
            }
        })
    }
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> &'a str {
        Tokens { rest: self.rest }.next()
    }

    /// The next operator, comma, parenthesis or word; empty at the end.
    fn next(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let end =
            ["==", "!=", "=", "!", ",", "(", ")", ">", "<"].iter().find(|t| self.rest.starts_with(**t)).map_or_else(
                || self.rest.find(|c: char| c.is_whitespace() || "=!,()<>".contains(c)).unwrap_or(self.rest.len()),
                |t| t.len(),
            );
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        token
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, SelectorError> {
    let mut key = tokens.next();
    if key == "!" {
        key = tokens.next();
        return Ok(Requirement { key: label_key(key)?, operator: Operator::Absent });
    }
    let key = label_key(key)?;
    let operator = match tokens.peek() {
        "" | "," => Operator::Exists,
        "=" | "==" => {
            tokens.next();
            Operator::In(vec![label_value(tokens)?])
        }
        "!=" => {
            tokens.next();
            Operator::NotIn(vec![label_value(tokens)?])
        }
        ">" | "<" => {
            let greater = tokens.next() == ">";
            let text = tokens.next();
            let Ok(number) = text.parse() else {
                return error(format!(
                    "values[0][{key}]: Invalid value: \"{text}\": for 'Gt', 'Lt' operators, the value must be an integer"
                ));
            };
            if greater { Operator::Greater(number) } else { Operator::Less(number) }
        }
        "in" => {
            tokens.next();
            Operator::In(label_values(tokens)?)
        }
        "notin" => {
            tokens.next();
            Operator::NotIn(label_values(tokens)?)
        }
        other => {
            return error(format!(
                "unable to parse requirement: found '{other}', expected: in, notin, =, ==, !=, gt, lt"
            ));
        }
    };
    Ok(Requirement { key, operator })
}

fn label_key(text: &str) -> Result<String, SelectorError> {
    let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(p, n)| (Some(p), n));
    let fits = |s: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        edge(s.chars().next())
            && edge(s.chars().next_back())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let prefix_fits = prefix.is_none_or(|p| super::formats::holds("k8s-long-name", p));
    if text.is_empty() || matches!(text, "," | "(" | ")" | "=" | "==" | "!=" | "!" | ">" | "<") {
        return error(format!("unable to parse requirement: found '{text}', expected: identifier"));
    }
    if !fits(name) || name.len() > 63 || !prefix_fits {
        return error(format!(
            "key: Invalid value: \"{text}\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        ));
    }
    Ok(text.to_owned())
}

/// One value; it may be empty.
fn label_value(tokens: &mut Tokens<'_>) -> Result<String, SelectorError> {
    match tokens.peek() {
        "" | "," => Ok(String::new()),
        word @ ("=" | "==" | "!=" | "!" | "(" | ")" | ">" | "<") => {
            error(format!("unable to parse requirement: found '{word}', expected: identifier"))
        }
        word => {
            tokens.next();
            Ok(word.to_owned())
        }
    }
}

fn label_values(tokens: &mut Tokens<'_>) -> Result<Vec<String>, SelectorError> {
    match tokens.next() {
        "(" => {}
        other => return error(format!("unable to parse requirement: found '{other}' expected: '('")),
    }
    let mut values = Vec::new();
    loop {
        match tokens.next() {
            ")" => {
                values.push(String::new());
                return Ok(values);
            }
            "," => values.push(String::new()),
            "" => return error("unable to parse requirement: found '', expected: ',' or ')'"),
            word => {
                values.push(word.to_owned());
                match tokens.next() {
                    ")" => return Ok(values),
                    "," if tokens.peek() != ")" => {}
                    "," => {}
                    other => {
                        return error(format!("unable to parse requirement: found '{other}', expected: ',' or ')'"));
                    }
                }
            }
        }
    }
}

/// A field selector: all its terms hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// Reads the query parameter `fieldSelector`: `metadata.name=x,status.phase!=Running`. Empty selects everything.
    ///
    /// # Errors
    /// Where a term has no operator or an escape is unknown.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for term in split_unescaped(text).into_iter().filter(|t| !t.is_empty()) {
            let found = ["!=", "==", "="].iter().filter_map(|op| Some((term.find(op)?, *op)));
            let Some((at, operator)) = found.min_by_key(|(at, op)| (*at, std::cmp::Reverse(op.len()))) else {
                return error(format!("invalid selector: '{text}'; can't understand '{term}'"));
            };
            let (field, value) = (&term[..at], &term[at + operator.len()..]);
            terms.push((field.to_owned(), operator != "!=", unescape(value)?));
        }
        Ok(Self { terms })
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `field` must have, if the selector says so; for the shortcut to one object.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|(f, equal, _)| f == field && *equal).map(|(_, _, value)| value.as_str())
    }

    /// The first field that is none of those that the kind supports.
    #[must_use]
    pub fn unsupported(&self, supported: &[&str]) -> Option<&str> {
        self.terms.iter().map(|(field, ..)| field.as_str()).find(|field| !supported.contains(field))
    }

    /// Whether an object is selected; a field that is absent is an empty text.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|(field, equal, wanted)| {
            let found = field.split('.').try_fold(object, |at, name| at.get(name));
            let text = match found {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            (text == *wanted) == *equal
        })
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    return error(format!(
                        "invalid field selector: invalid escape sequence: \\{}",
                        other.map(String::from).unwrap_or_default()
                    ));
                }
            },
            ',' | '=' => return error(format!("invalid field selector: unescaped character in value: {c}")),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn label_selectors_select() {
        let labels = json!({"a": "1", "b": "x", "n": "5", "e": "", "app.kubernetes.io/name": "oat"});
        for (selector, selected) in [
            ("", true),
            ("a", true),
            ("z", false),
            ("!a", false),
            ("!z", true),
            ("! z", true),
            ("a=1", true),
            ("a==1", true),
            ("a = 1", true),
            ("a=2", false),
            ("a!=1", false),
            ("a!=2", true),
            ("z!=2", true),
            ("e=", true),
            ("z=", false),
            ("e", true),
            ("a in (1,2)", true),
            ("a in (2, 3)", false),
            ("a in(1)", true),
            ("a notin (1)", false),
            ("a notin (2)", true),
            ("z notin (2)", true),
            ("e in (,x)", true),
            ("n>4", true),
            ("n>5", false),
            ("n<6", true),
            ("b<6", false),
            ("a=1,b=x", true),
            ("a=1,b=y", false),
            ("a=1, b in (x,y), !z, n>1", true),
            ("app.kubernetes.io/name=oat", true),
            ("app.kubernetes.io/name", true),
            ("in=1", false),
            ("notin", false),
        ] {
            let parsed = LabelSelector::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
            assert_eq!(parsed.matches(&json!({"metadata": {"labels": labels}})), selected, "{selector}");
        }
        assert!(!LabelSelector::parse("a").unwrap().matches(&json!({"metadata": {}})));
        assert!(LabelSelector::parse("").unwrap().is_empty());
    }

    #[test]
    fn label_selectors_that_are_none() {
        for selector in [
            "=", "a=b=c", "a in", "a in (", "a in b", "a in (b", "a b", ",a", "a,,b", "a,", "!", "a>x", "-a=1",
            "a/b/c=1", "(a)", "a=(b)",
        ] {
            assert!(LabelSelector::parse(selector).is_err(), "{selector}");
        }
        assert_eq!(
            LabelSelector::parse("a b").unwrap_err().to_string(),
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
        );
    }

    #[test]
    fn label_selectors_may_be_objects() {
        let labels = json!({"a": "1", "b": "2"});
        for (selector, selected) in [
            (json!({}), true),
            (json!({"matchLabels": {"a": "1"}}), true),
            (json!({"matchLabels": {"a": "1", "b": "1"}}), false),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}), true),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), false),
            (json!({"matchExpressions": [{"key": "z", "operator": "NotIn", "values": ["1"]}]}), true),
            (json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}), true),
            (json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}), false),
            (json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "z", "operator": "DoesNotExist"}]}), true),
        ] {
            assert_eq!(LabelSelector::from_object(&selector).unwrap().matches_labels(&labels), selected, "{selector}");
        }
        for broken in [
            json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}),
        ] {
            assert!(LabelSelector::from_object(&broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn field_selectors_select() {
        let object =
            json!({"metadata": {"name": "a,b", "namespace": "n"}, "type": "Opaque", "spec": {"n": 1, "b": true}});
        for (selector, selected) in [
            ("", true),
            ("metadata.namespace=n", true),
            ("metadata.namespace==n", true),
            ("metadata.namespace!=n", false),
            ("metadata.namespace=m", false),
            ("metadata.name=a\\,b", true),
            ("type=Opaque,metadata.namespace=n", true),
            ("type=Opaque,metadata.namespace=m", false),
            ("spec.n=1", true),
            ("spec.b=true", true),
            ("status.phase=", true),
            ("status.phase!=Running", true),
            ("status.phase=Running", false),
        ] {
            assert_eq!(FieldSelector::parse(selector).unwrap().matches(&object), selected, "{selector}");
        }
        for broken in ["a", "a=b\\c", "a=b=c", "a=b\\"] {
            assert!(FieldSelector::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn field_selectors_tell_what_they_ask_for() {
        let selector = FieldSelector::parse("metadata.name=x,spec.y!=z").unwrap();
        assert_eq!(selector.exact("metadata.name"), Some("x"));
        assert_eq!(selector.exact("spec.y"), None);
        assert_eq!(selector.unsupported(&["metadata.name"]), Some("spec.y"));
        assert_eq!(selector.unsupported(&["metadata.name", "spec.y"]), None);
    }
}
