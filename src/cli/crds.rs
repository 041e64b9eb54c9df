//! `oat-operator crds`: the definitions, as YAML documents.

use std::process::ExitCode;

use crate::api;

/// One definition as `crds/` holds it.
pub fn yaml(crd: &impl serde::Serialize) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(crd)
}

/// Prints all of them.
pub fn main() -> ExitCode {
    for crd in api::crds() {
        match yaml(&crd) {
            Ok(text) => print!("---\n{text}"),
            Err(error) => {
                eprintln!("error: a definition can't be written as YAML: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
