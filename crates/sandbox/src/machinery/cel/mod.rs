//! `x-kubernetes-validations`: rules in CEL, compiled with the schema and evaluated against new and old objects.
//!
//! Reading order: `CelRules` here, `value` (JSON to CEL), `check` (what a compiler of types would refuse).
//! Differences from a real server: costs are neither estimated nor limited, and of types only the names of fields are
//! checked when a rule is compiled; a rule that mixes types up fails when it runs.
//!
//! Invariant: a rule that can't be evaluated is an error, never a pass.

mod check;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube_cel::cel::objects::OptionalValue;
use kube_cel::cel::parser::{Expression, Parser};
use kube_cel::cel::{Context, Value as Cel};
use serde_json::{Value, json};

use super::field::{FieldError, child, index, key, same};
use super::schema::{Additional, ListType, Rule, SCHEMA_PATH, Structural};
use super::validate::same_element;

/// A longer message than this is not used.
const LONGEST_MESSAGE: usize = 5 * 1024;

/// The compiled rules of one schema.
#[derive(Debug, Default)]
pub struct CelRules {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    rules: Vec<Compiled>,
    properties: BTreeMap<String, Node>,
    items: Option<Box<Node>>,
    additional: Option<Box<Node>>,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    program: Expression,
    message: Option<Expression>,
    uses_old: bool,
    /// Appended to the path of an error.
    field_path: String,
}

impl CelRules {
    /// Compiles every rule of a schema.
    ///
    /// # Errors
    /// One per rule that is not CEL, names fields that the schema lacks, or wants an old value where there is none.
    pub fn compile(schema: &Structural) -> Result<Self, Vec<FieldError>> {
        Self::compile_at(schema, SCHEMA_PATH)
    }

    /// As [`compile`](Self::compile), for a schema that stands at `path`.
    ///
    /// # Errors
    /// As `compile`.
    pub fn compile_at(schema: &Structural, path: &str) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let root = compile(schema, path, true, None, &mut errors);
        if errors.is_empty() { Ok(Self { root: root.unwrap_or_default() }) } else { Err(errors) }
    }

    /// Whether there is nothing to evaluate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// Evaluates the rules; with `old`, an update. `schema` is the one that was compiled.
    #[must_use]
    pub fn validate(&self, schema: &Structural, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if !self.is_empty() {
            let context = value::context();
            let unchanged = old.is_some_and(|old| same(old, new));
            let mut run = Run { context: &context, errors: &mut errors };
            run.node(&self.root, Spot { schema, path: "", is_root: true, unchanged }, new, old);
        }
        errors
    }
}

/// Everything that is wrong with an object: its values, then the rules, unless errors stand that may trip them.
#[must_use]
pub fn check_object(schema: &Structural, rules: &CelRules, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    check_object_among(&[], schema, rules, new, old)
}

/// The same where errors stand already, such as those of the metadata: they stop the rules too. They are not repeated.
#[must_use]
pub fn check_object_among(
    others: &[FieldError],
    schema: &Structural,
    rules: &CelRules,
    new: &Value,
    old: Option<&Value>,
) -> Vec<FieldError> {
    let mut errors = schema.validate(new, old);
    if rules.is_empty() {
        return errors;
    }
    if errors.iter().chain(others).any(|e| e.kind.blocks_rules()) {
        errors.push(FieldError::invalid(
            "",
            Value::Null,
            "some validation rules were not checked because the object was invalid; correct the existing errors to \
             complete validation",
        ));
    } else {
        errors.extend(rules.validate(schema, new, old));
    }
    errors
}

impl Node {
    fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.properties.is_empty() && self.items.is_none() && self.additional.is_none()
    }
}

/// `uncorrelatable`: the list on the way here whose elements can't be told apart, so that no old value is found.
fn compile(
    schema: &Structural,
    path: &str,
    is_root: bool,
    uncorrelatable: Option<&str>,
    errors: &mut Vec<FieldError>,
) -> Option<Node> {
    let mut node = Node::default();
    for (i, rule) in schema.rules.iter().enumerate() {
        let here = index(&child(path, "x-kubernetes-validations"), i);
        node.rules.extend(compile_rule(rule, schema, is_root, &here, uncorrelatable, errors));
    }
    for (name, field) in &schema.properties {
        let here = key(&child(path, "properties"), name);
        if let Some(inner) = compile(field, &here, false, uncorrelatable, errors) {
            node.properties.insert(name.clone(), inner);
        }
    }
    if let Some(items) = &schema.items {
        let here = child(path, "items");
        let lost = uncorrelatable.or((schema.list_type != ListType::Map).then_some(path));
        node.items = compile(items, &here, false, lost, errors).map(Box::new);
    }
    if let Additional::Schema(values) = &schema.additional {
        let here = child(path, "additionalProperties");
        node.additional = compile(values, &here, false, uncorrelatable, errors).map(Box::new);
    }
    (!node.is_empty()).then_some(node)
}

fn compile_rule(
    rule: &Rule,
    schema: &Structural,
    is_root: bool,
    path: &str,
    uncorrelatable: Option<&str>,
    errors: &mut Vec<FieldError>,
) -> Option<Compiled> {
    let before = errors.len();
    let scope = check::Scope { schema, is_root, optional_old: rule.optional_old_self };
    let mut parse = |text: &str, name: &str| {
        let result = Parser::default().enable_optional_syntax(true).parse(text).map_err(|e| e.to_string());
        let result = result.and_then(|program| check::names(&program, &scope).map(|()| program));
        result.map_err(|cause| errors.push(compile_error(rule, &child(path, name), text, &cause))).ok()
    };
    let program = parse(&rule.rule, "rule");
    let message = rule.message_expression.as_deref().and_then(|text| parse(text, "messageExpression"));
    let uses_old = program.as_ref().is_some_and(|p| p.references().has_variable("oldSelf"))
        || message.as_ref().is_some_and(|m| m.references().has_variable("oldSelf"));
    if let (true, Some(list)) = (uses_old, uncorrelatable) {
        let detail = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
        errors.push(FieldError::invalid(child(path, "rule"), rule.rule.as_str(), detail));
    }
    if rule.optional_old_self && !uses_old {
        let detail = "may not be set if oldSelf is not used in rule";
        errors.push(FieldError::invalid(child(path, "optionalOldSelf"), true, detail));
    }
    let field_path = match rule.field_path.as_deref().map(|p| field_path(p, schema)) {
        None => String::new(),
        Some(Ok(path)) => path,
        Some(Err(cause)) => {
            let detail = format!("fieldPath must be a valid path: {cause}");
            let written = rule.field_path.clone().unwrap_or_default();
            errors.push(FieldError::invalid(child(path, "fieldPath"), written, detail));
            return None;
        }
    };
    if errors.len() > before {
        return None;
    }
    Some(Compiled { rule: rule.clone(), program: program?, message, uses_old, field_path })
}

fn compile_error(rule: &Rule, path: &str, text: &str, cause: &str) -> FieldError {
    if path.ends_with("messageExpression") {
        let detail = format!("messageExpression compilation failed: {cause}");
        return FieldError::invalid(path, text, detail);
    }
    let mut shown = json!({"rule": rule.rule});
    if let Some(message) = &rule.message {
        shown["message"] = json!(message);
    }
    FieldError::invalid(path, shown, format!("compilation failed: {cause}"))
}

/// Reads `.a.b['c']` and returns it as it is appended to a path.
fn field_path(text: &str, schema: &Structural) -> Result<String, String> {
    let mut rest = text;
    let mut at = schema;
    let mut out = String::new();
    while !rest.is_empty() {
        let name;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return Err("unexpected end of JSON path".to_owned());
            }
            (name, rest) = (&after[..end], &after[end..]);
        } else if let Some(after) = rest.strip_prefix("['") {
            let Some(end) = after.find("']") else {
                return Err("unexpected end of JSON path".to_owned());
            };
            (name, rest) = (&after[..end], &after[end + 2..]);
        } else {
            return Err(format!("expected [ or . but got: {}", rest.split(['.', '[']).next().unwrap_or(rest)));
        }
        let is_map = at.properties.is_empty();
        at = at.field(name).ok_or("does not refer to a valid field")?;
        out = if is_map { key(&out, name) } else { child(&out, name) };
    }
    Ok(out)
}

/// One walk over an object.
struct Run<'a> {
    context: &'a Context<'a>,
    errors: &'a mut Vec<FieldError>,
}

/// A place in the object and what holds there.
#[derive(Clone, Copy)]
struct Spot<'a> {
    schema: &'a Structural,
    path: &'a str,
    is_root: bool,
    /// The value, or the nearest one around it that has an old value, is as it was.
    unchanged: bool,
}

impl Run<'_> {
    fn node(&mut self, node: &Node, spot: Spot<'_>, new: &Value, old: Option<&Value>) {
        if new.is_null() {
            return;
        }
        self.rules(node, spot, new, old.filter(|o| !o.is_null()));
        let is_same = |new: &Value, old: Option<&Value>| old.map_or(spot.unchanged, |old| same(old, new));
        match new {
            Value::Object(map) => {
                for (name, value) in map {
                    let declared = spot.schema.properties.contains_key(name);
                    let inner = if declared { node.properties.get(name) } else { node.additional.as_deref() };
                    let (Some(inner), Some(schema)) = (inner, spot.schema.field(name)) else {
                        continue;
                    };
                    let path = if declared { child(spot.path, name) } else { key(spot.path, name) };
                    let before = old.and_then(|o| o.get(name));
                    let unchanged = is_same(value, before);
                    self.node(inner, Spot { schema, path: &path, is_root: false, unchanged }, value, before);
                }
            }
            Value::Array(items) => {
                let (Some(inner), Some(schema)) = (node.items.as_deref(), spot.schema.items.as_deref()) else {
                    return;
                };
                let old_items = match (spot.schema.list_type, old) {
                    (ListType::Map, Some(Value::Array(old))) => old.as_slice(),
                    _ => &[],
                };
                for (i, item) in items.iter().enumerate() {
                    let before = same_element(&spot.schema.list_keys, item, old_items);
                    let unchanged = is_same(item, before);
                    let path = index(spot.path, i);
                    self.node(inner, Spot { schema, path: &path, is_root: false, unchanged }, item, before);
                }
            }
            _ => {}
        }
    }

    fn rules(&mut self, node: &Node, spot: Spot<'_>, new: &Value, old: Option<&Value>) {
        if node.rules.is_empty() {
            return;
        }
        let this = value::from_json(new, spot.schema, spot.is_root, None, self.context);
        let before = old.map(|old| value::from_json(old, spot.schema, spot.is_root, Some(new), self.context));
        for compiled in &node.rules {
            if compiled.uses_old && before.is_none() && !compiled.rule.optional_old_self {
                continue;
            }
            let mut scope = self.context.new_inner_scope();
            scope.add_variable_from_value("self", this.clone());
            if compiled.rule.optional_old_self {
                let optional = before.clone().map_or_else(OptionalValue::none, OptionalValue::of);
                scope.add_variable_from_value("oldSelf", Cel::Opaque(Arc::new(optional)));
            } else if let Some(before) = &before {
                scope.add_variable_from_value("oldSelf", before.clone());
            }
            if let Some(error) = evaluate(compiled, spot, new, &scope)
                && (compiled.uses_old || !spot.unchanged)
            {
                self.errors.push(error);
            }
        }
    }
}

fn evaluate(compiled: &Compiled, spot: Spot<'_>, new: &Value, scope: &Context<'_>) -> Option<FieldError> {
    let rule = &compiled.rule;
    let shown = (!new.is_object() && !new.is_array()).then(|| new.clone());
    let invalid = |detail: String| match shown.clone() {
        Some(value) => FieldError::invalid(spot.path, value, detail),
        None => FieldError::invalid_without_value(spot.path, detail),
    };
    let said = rule.message.as_deref().unwrap_or(&rule.rule).trim();
    match Cel::resolve(&compiled.program, scope) {
        Ok(Cel::Bool(true)) => None,
        Ok(Cel::Bool(false)) => {
            let detail =
                compiled.message.as_ref().and_then(|m| message(m, scope)).unwrap_or_else(|| match &rule.message {
                    Some(message) => message.trim().to_owned(),
                    None => format!("failed rule: {}", rule.rule.trim()),
                });
            let path = match (spot.path, compiled.field_path.as_str()) {
                (path, "") => path.to_owned(),
                (path, below) if below.starts_with('[') => format!("{path}{below}"),
                (path, below) => child(path, below),
            };
            Some(match rule.reason.as_deref() {
                Some("FieldValueForbidden") => FieldError::forbidden(path, detail),
                Some("FieldValueRequired") => FieldError::required(path, detail),
                Some("FieldValueDuplicate") => FieldError::duplicate(path, shown.unwrap_or(Value::Null)),
                _ => FieldError { path, ..invalid(detail) },
            })
        }
        Ok(_) => Some(invalid(format!("rule did not evaluate to a bool: {said}"))),
        Err(error) => Some(invalid(format!("{error} evaluating rule: {said}"))),
    }
}

/// What a `messageExpression` says; `None` where it fails or says nothing fit for one line.
fn message(expression: &Expression, scope: &Context<'_>) -> Option<String> {
    let Ok(Cel::String(text)) = Cel::resolve(expression, scope) else {
        return None;
    };
    let text = text.trim();
    (!text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
