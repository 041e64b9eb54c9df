//! `skopeo` as a client that knows one file of credentials and nothing else, and an image that it can push.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An image of one layer that holds one file, in an OCI layout of its own.
pub struct Image {
    folder: tempfile::TempDir,
    config: String,
}

impl Image {
    /// An image whose file has this content. Images of other content share no blob with it.
    pub fn new(content: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("layout/blobs/sha256")).unwrap();
        let blob = |bytes: &[u8]| {
            let hash = sha256(bytes);
            fs::write(folder.path().join("layout/blobs/sha256").join(&hash), bytes).unwrap();
            hash
        };
        let part = |media_type: &str, hash: &str, size: usize| json!({"mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": format!("sha256:{hash}"), "size": size});
        let layer_bytes = tar("content", content);
        let layer = blob(&layer_bytes);
        let config_bytes = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        });
        let config_bytes = config_bytes.to_string();
        let config = blob(config_bytes.as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": part("config.v1+json", &config, config_bytes.len()),
            "layers": [part("layer.v1.tar", &layer, layer_bytes.len())],
        });
        let manifest = manifest.to_string();
        let index = json!({
            "schemaVersion": 2,
            "manifests": [part("manifest.v1+json", &blob(manifest.as_bytes()), manifest.len())],
        });
        fs::write(folder.path().join("layout/index.json"), index.to_string()).unwrap();
        fs::write(folder.path().join("layout/oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        Self { folder, config }
    }

    /// The hash of its configuration, which names its content: it stays the same however layers are compressed.
    pub fn config(&self) -> &str {
        &self.config
    }
}

/// Pushes the image to `127.0.0.1:port/organization/name`, tagged `latest`. The error is what skopeo says.
pub async fn push(authfile: &Path, repository: &str, image: &Image) -> Result<(), String> {
    let layout = image.folder.path().join("layout");
    copy(authfile, &format!("oci:{}", layout.display()), &format!("docker://{repository}:latest")).await
}

/// Pulls from `127.0.0.1:port/organization/name` and answers the hash of the image's configuration. The error is what skopeo says.
pub async fn pull(authfile: &Path, repository: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("pulled");
    copy(authfile, &format!("docker://{repository}:latest"), &format!("dir:{}", target.display())).await?;
    let manifest: Value = serde_json::from_slice(&fs::read(target.join("manifest.json")).unwrap()).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    // That the blobs came too is what makes it a pull.
    assert_eq!(sha256(&fs::read(target.join(config)).unwrap()), config);
    for layer in manifest["layers"].as_array().unwrap() {
        let hash = layer["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        assert_eq!(sha256(&fs::read(target.join(hash)).unwrap()), hash);
    }
    Ok(config.to_owned())
}

async fn copy(authfile: &Path, from: &str, to: &str) -> Result<(), String> {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new("skopeo");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        // No credentials but those of the file, and nothing left in the home of whoever runs the tests.
        .env("HOME", home.path())
        .args(["--insecure-policy", "--command-timeout", "60s", "--tmpdir"])
        .arg(home.path())
        .args(["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", "--authfile"])
        .arg(authfile)
        .args([from, to]);
    // The token service may live in this very runtime.
    let output = tokio::task::spawn_blocking(move || command.output().expect("skopeo is not installed")).await.unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

/// Writes a `.dockerconfigjson` for skopeo, exactly as a Secret holds it.
pub fn authfile(folder: &Path, name: &str, dockerconfigjson: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, dockerconfigjson).unwrap();
    path
}

fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// A tar archive of one file (POSIX.1-1988 ustar): a header of 512 bytes, the content, two empty blocks.
fn tar(name: &str, content: &str) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut field = |offset: usize, text: &str| header[offset..offset + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, "0000644\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(124, &format!("{:011o}\0", content.len()));
    field(136, "00000000000\0");
    field(148, "        ");
    field(156, "0");
    field(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content.as_bytes());
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}
