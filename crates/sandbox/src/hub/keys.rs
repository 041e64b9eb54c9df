//! The RSA key that signs JWTs, and its self-signed certificate for registries.
//!
//! Making a key is slow, so a process makes one and keeps it; it is never written anywhere.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, SigningKey,
};
use rsa::PrivateKey;
use rsa::pkcs8::EncodePrivateKey;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[error("signing key: {0}")]
pub struct Error(String);

/// Signs JWTs. Clones share the key.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    pair: KeyPair,
    algorithm: &'static str,
    certificate_pem: String,
    certificate_base64: String,
}

impl Keys {
    /// A new key of 2048 bits.
    ///
    /// # Errors
    /// When the key or its certificate can't be generated.
    pub fn generate() -> Result<Self, Error> {
        let private = PrivateKey::new(&mut rand::rng(), 2048).map_err(|error| Error(error.to_string()))?;
        let der = private.to_pkcs8_der().map_err(|error| Error(error.to_string()))?;
        let der = PrivatePkcs8KeyDer::from(der.as_bytes());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256)
            .map_err(|error| Error(error.to_string()))?;
        Self::of(pair, "RS256")
    }

    /// A new Ed25519 key: its signatures cost a thirtieth. Registries want RS256; for clients that don't look at signatures.
    ///
    /// # Errors
    /// When the key or its certificate can't be generated.
    pub fn quick() -> Result<Self, Error> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(|error| Error(error.to_string()))?;
        Self::of(pair, "EdDSA")
    }

    fn of(pair: KeyPair, algorithm: &'static str) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "oat-sandbox token service");
        // A registry takes it as its root and as the signer at once.
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&pair).map_err(|error| Error(error.to_string()))?;
        let certificate_base64 = BASE64_STANDARD.encode(certificate.der());
        Ok(Self(Arc::new(Inner { pair, algorithm, certificate_pem: certificate.pem(), certificate_base64 })))
    }

    /// The one key of this process, made at the first call.
    ///
    /// # Errors
    /// When it can't be generated.
    pub fn shared() -> Result<Self, Error> {
        static SHARED: Mutex<Option<Keys>> = Mutex::new(None);
        // Held meanwhile, so that those who come at the same time wait for the one key instead of making their own.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = &*shared {
            return Ok(keys.clone());
        }
        let keys = Self::generate()?;
        *shared = Some(keys.clone());
        Ok(keys)
    }

    /// The certificate, for a registry's `rootcertbundle`.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        self.0.certificate_pem.clone()
    }

    /// A JWT with these claims; its header carries the certificate.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, Error> {
        let header = json!({"typ": "JWT", "alg": self.0.algorithm, "x5c": [self.0.certificate_base64]});
        let [header, claims] = [&header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = self.0.pair.sign(signed.as_bytes()).map_err(|error| Error(error.to_string()))?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}
