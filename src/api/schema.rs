//! Pieces of the CRDs' schemas that the derive macros don't have: durations, times, bounded lists and maps.
//!
//! Every list, map and text is bounded, or the API server refuses the CEL rules over them as too costly.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A duration as Go writes it: `1h30m`, `2160h`.
pub const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";

pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": DURATION, "maxLength": 32})
}

pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 40})
}

fn scope() -> Schema {
    json_schema!({"type": "string", "pattern": r"^scope-[a-z0-9_-]+$", "maxLength": 64})
}

pub(super) fn scopes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 32, "items": scope()})
}

pub(super) fn scopes_required(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "minItems": 1, "maxItems": 32, "items": scope()})
}

pub(super) fn registries(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 16,
        "items": {"type": "string", "minLength": 1, "maxLength": 253, "pattern": r"^(https://)?[a-z0-9][a-zA-Z0-9.-]*(:[0-9]+)?(/[a-zA-Z0-9._/-]*)?$"},
    })
}

pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"},
    })
}

pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 4096},
    })
}
