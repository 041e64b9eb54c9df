//! What a Kubernetes API server does to an object between the request and the store, as pure functions over JSON:
//! schemas, defaults, pruning, validation, rules in CEL, patches, field ownership, selectors, tables, OpenAPI.
//!
//! Reading order: `field` (errors), `schema`, `validate`, `cel`, then `shapes`, `apply` and `patch`, then the rest.
//!
//! Invariant: nothing here does I/O, waits, or asks for the time; whoever calls brings objects and moments.

pub mod apply;
pub mod cel;
pub mod field;
pub mod fieldset;
pub mod formats;
pub mod jsonpath;
mod merge;
pub mod openapi;
pub mod patch;
pub mod prune;
pub mod schema;
pub mod selector;
pub mod shapes;
mod structural;
pub mod table;
pub mod validate;
