//! The names in an expression: variables that exist, fields that the schema declares.
//!
//! Never infers more than it must: where a type is not plainly known, nothing is refused.

use std::collections::HashMap;

use kube_cel::cel::common::ast::{EntryExpr, Expr};
use kube_cel::cel::parser::Expression;

use super::super::schema::{Additional, Structural};
use super::value::escape;

/// Where a rule stands.
pub(super) struct Scope<'a> {
    pub schema: &'a Structural,
    pub is_root: bool,
    /// `oldSelf` is wrapped in an optional.
    pub optional_old: bool,
}

/// What is known of a subexpression.
#[derive(Clone, Copy)]
enum Known<'a> {
    Nothing,
    Schema(&'a Structural, bool),
}

/// Namespaces of functions and names of types, which look like variables.
const WORDS: &[&str] = &[
    "optional",
    "math",
    "sets",
    "base64",
    "format",
    "strings",
    "cel",
    "ip",
    "cidr",
    "quantity",
    "semver",
    "jsonpatch",
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "timestamp",
    "duration",
    "google",
];

/// Checks an expression.
pub(super) fn names(expression: &Expression, scope: &Scope<'_>) -> Result<(), String> {
    let mut variables = HashMap::new();
    variables.insert("self", Known::Schema(scope.schema, scope.is_root));
    let old = if scope.optional_old { Known::Nothing } else { Known::Schema(scope.schema, scope.is_root) };
    variables.insert("oldSelf", old);
    visit(expression, &variables).map(|_| ())
}

fn visit<'a>(expression: &'a Expression, variables: &HashMap<&'a str, Known<'a>>) -> Result<Known<'a>, String> {
    match &expression.expr {
        Expr::Ident(name) => match variables.get(name.as_str()) {
            Some(known) => Ok(*known),
            None if name.starts_with('@') || WORDS.contains(&name.as_str()) => Ok(Known::Nothing),
            None => Err(format!("undeclared reference to '{name}' (in container '')")),
        },
        Expr::Select(select) => {
            let operand = visit(&select.operand, variables)?;
            field(operand, &select.field)
        }
        Expr::Call(call) => {
            if let Some(target) = &call.target {
                visit(target, variables)?;
            }
            let mut arguments = Vec::new();
            for argument in &call.args {
                arguments.push(visit(argument, variables)?);
            }
            Ok(match (call.func_name.as_str(), arguments.first()) {
                ("_[_]", Some(Known::Schema(schema, _))) => element(schema),
                _ => Known::Nothing,
            })
        }
        Expr::Comprehension(c) => {
            let range = visit(&c.iter_range, variables)?;
            visit(&c.accu_init, variables)?;
            let mut inner = variables.clone();
            let (first, second) = match range {
                Known::Schema(schema, _) if schema.items.is_some() => (element(schema), element(schema)),
                Known::Schema(schema, _) => (Known::Nothing, element(schema)),
                Known::Nothing => (Known::Nothing, Known::Nothing),
            };
            match &c.iter_var2 {
                Some(name) => {
                    inner.insert(&c.iter_var, Known::Nothing);
                    inner.insert(name, second);
                }
                None => {
                    inner.insert(&c.iter_var, first);
                }
            }
            inner.insert(&c.accu_var, Known::Nothing);
            for part in [&c.loop_cond, &c.loop_step, &c.result] {
                visit(part, &inner)?;
            }
            Ok(Known::Nothing)
        }
        Expr::List(list) => {
            for element in &list.elements {
                visit(element, variables)?;
            }
            Ok(Known::Nothing)
        }
        Expr::Map(map) => entries(map.entries.iter().map(|e| &e.expr), variables),
        Expr::Struct(s) => entries(s.entries.iter().map(|e| &e.expr), variables),
        Expr::Literal(_) | Expr::Unspecified => Ok(Known::Nothing),
    }
}

fn entries<'a>(
    entries: impl Iterator<Item = &'a EntryExpr>,
    variables: &HashMap<&'a str, Known<'a>>,
) -> Result<Known<'a>, String> {
    for entry in entries {
        match entry {
            EntryExpr::MapEntry(e) => {
                visit(&e.key, variables)?;
                visit(&e.value, variables)?;
            }
            EntryExpr::StructField(e) => {
                visit(&e.value, variables)?;
            }
        }
    }
    Ok(Known::Nothing)
}

fn element(schema: &Structural) -> Known<'_> {
    match (&schema.items, &schema.additional) {
        (Some(items), _) => Known::Schema(items, false),
        (None, Additional::Schema(values)) => Known::Schema(values, false),
        _ => Known::Nothing,
    }
}

fn field<'a>(operand: Known<'a>, name: &str) -> Result<Known<'a>, String> {
    let Known::Schema(schema, is_root) = operand else {
        return Ok(Known::Nothing);
    };
    if (is_root || schema.embedded) && matches!(name, "apiVersion" | "kind" | "metadata") {
        return Ok(Known::Nothing);
    }
    if let Some((_, inner)) = schema.properties.iter().find(|(declared, _)| escape(declared) == name) {
        return Ok(Known::Schema(inner, false));
    }
    if schema.properties.is_empty() && !matches!(schema.additional, Additional::None) {
        return Ok(element(schema));
    }
    match schema.kind.as_deref() {
        Some("object") if schema.preserve_unknown && schema.properties.is_empty() => Ok(Known::Nothing),
        Some("object") => Err(format!("undefined field '{name}'")),
        Some(kind) => Err(format!("type '{kind}' does not support field selection")),
        None => Ok(Known::Nothing),
    }
}
