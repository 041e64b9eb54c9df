//! The options of writes and deletions, checked as the real server checks them.
//!
//! Never acts on them.

use serde_json::{Value, json};

use super::call::Call;
use super::failure::Failure;
use super::request::{BodyType, FieldValidation, Query};
use crate::machinery::field::FieldError;

/// Field managers may not be longer.
const LONGEST_MANAGER: usize = 128;

/// How to create, update or patch.
#[derive(Clone, Debug)]
pub struct Options {
    /// Do everything but store.
    pub dry_run: bool,
    /// Who owns the fields that are set.
    pub manager: String,
    /// How unknown fields are met.
    pub validation: FieldValidation,
    /// Take fields over from other owners.
    pub force: bool,
}

/// Fails with the errors, if there are any.
fn refuse(kind: &str, errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid("meta.k8s.io", kind, "", errors))
}

fn dry_run(values: &[&str], errors: &mut Vec<FieldError>) -> bool {
    let values: Vec<&&str> = values.iter().filter(|v| !v.is_empty()).collect();
    if values.iter().any(|v| **v != "All") {
        errors.push(FieldError::not_supported("dryRun", json!(values), &["All".to_owned()]));
    }
    !values.is_empty()
}

impl Options {
    /// Reads them from the query; `kind` is what the real server calls them.
    ///
    /// # Errors
    /// 400 and 422 for values that they can't have.
    pub fn read(call: &Call, kind: &str) -> Result<Self, Failure> {
        let query = &call.query;
        let mut errors = Vec::new();
        let dry_run = dry_run(&query.all("dryRun"), &mut errors);
        let manager = query.get("fieldManager");
        let apply = call.body_type == BodyType::Apply;
        let force = query.flag("force")?;
        if apply && manager.is_empty() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if kind == "PatchOptions" && !apply && !query.get("force").is_empty() {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        if manager.len() > LONGEST_MANAGER {
            errors.push(FieldError::too_long("fieldManager", LONGEST_MANAGER as u64));
        }
        if manager.chars().any(char::is_control) {
            errors.push(FieldError::invalid("fieldManager", manager, "should only contain printable characters"));
        }
        let validation = match query.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"].map(str::to_owned);
                errors.push(FieldError::not_supported("fieldValidation", other, &supported));
                FieldValidation::Warn
            }
        };
        refuse(kind, &errors)?;
        let agent = call.agent.split('/').next().unwrap_or_default();
        let manager = match (manager, agent) {
            ("", "") => "unknown".to_owned(),
            ("", agent) => agent.chars().take(LONGEST_MANAGER).collect(),
            (manager, _) => manager.to_owned(),
        };
        Ok(Self { dry_run, manager, validation, force })
    }
}

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// As the finalizers on the object say already.
    Unsaid,
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// How to delete.
#[derive(Clone, Debug)]
pub struct DeleteOptions {
    /// Do everything but store.
    pub dry_run: bool,
    /// What becomes of dependents.
    pub propagation: Propagation,
    /// Only the object with this uid.
    pub uid: Option<String>,
    /// Only the object in this version.
    pub version: Option<String>,
}

impl DeleteOptions {
    /// Deletes without conditions.
    #[must_use]
    pub fn background() -> Self {
        Self { dry_run: false, propagation: Propagation::Background, uid: None, version: None }
    }

    /// Reads them from the body, else from the query.
    ///
    /// # Errors
    /// 400 and 422 for values that they can't have.
    pub fn read(query: &Query, body: &[u8]) -> Result<Self, Failure> {
        let body: Value = if body.is_empty() {
            json!({})
        } else {
            serde_json::from_slice(body).map_err(|e| Failure::bad_request(e.to_string()))?
        };
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let mut errors = Vec::new();
        let listed = body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut values: Vec<&str> = listed.collect();
        values.extend(query.all("dryRun"));
        let dry_run = dry_run(&values, &mut errors);
        let orphan = match body["orphanDependents"].as_bool() {
            None if !query.get("orphanDependents").is_empty() => Some(query.flag("orphanDependents")?),
            given => given,
        };
        let asked = text("/propagationPolicy").unwrap_or_else(|| query.get("propagationPolicy").to_owned());
        let propagation = match asked.as_str() {
            "" => match orphan {
                None => Propagation::Unsaid,
                Some(true) => Propagation::Orphan,
                Some(false) => Propagation::Background,
            },
            "Background" => Propagation::Background,
            "Foreground" => Propagation::Foreground,
            "Orphan" => Propagation::Orphan,
            other => {
                let supported = ["Foreground", "Background", "Orphan", "nil"].map(str::to_owned);
                errors.push(FieldError::not_supported("propagationPolicy", other, &supported));
                Propagation::Unsaid
            }
        };
        if orphan.is_some() && !asked.is_empty() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid("propagationPolicy", asked, why));
        }
        refuse("DeleteOptions", &errors)?;
        Ok(Self {
            dry_run,
            propagation,
            uid: text("/preconditions/uid"),
            version: text("/preconditions/resourceVersion"),
        })
    }
}
