//! Files that follow from the Rust types are what the types say. `UPDATE=1 cargo test generated` writes them anew.

use std::{fs, path::Path};

use oat_operator::api;

/// Compares a file with what it should hold, or writes it where `UPDATE` is set; `test` names the test that asks.
pub fn check(path: &str, expected: &str, test: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{} is out of date: run `UPDATE=1 cargo test {test}`", path.display());
}

#[test]
fn crds_follow_from_the_types() {
    for crd in api::crds() {
        let name = crd.metadata.name.clone().unwrap();
        let text = format!(
            "# Generated from src/api by `UPDATE=1 cargo test generated`.\n{}",
            serde_yaml::to_string(&crd).unwrap()
        );
        check(&format!("crds/{name}.yaml"), &text, "generated");
        check(&format!("config/crd/bases/{name}.yaml"), &text, "generated");
    }
}
