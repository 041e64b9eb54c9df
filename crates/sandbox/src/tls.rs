//! A certificate authority for the sandbox's own servers.
//!
//! Its keys live in memory only. Certificates can also be made wrong on purpose: for another name, or out of date.

use std::fmt;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate or its key could not be generated.
    #[error("certificate not generated")]
    Generate(#[from] rcgen::Error),
    /// The TLS library refused the certificate.
    #[error("certificate refused")]
    Refused(#[from] rustls::Error),
    /// A date that no certificate can hold.
    #[error("date out of range")]
    Date,
}

/// A certificate authority. Clones share its key.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What a server's certificate says.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Host names and addresses.
    pub names: Vec<String>,
    /// The first moment of its life.
    pub not_before: Timestamp,
    /// The last moment of its life.
    pub not_after: Timestamp,
}

impl Certificate {
    /// For this machine's own names, from a day before `now` to a year after it.
    #[must_use]
    pub fn loopback(now: Timestamp) -> Self {
        Self {
            names: vec!["127.0.0.1".to_owned(), "localhost".to_owned(), "kubernetes.default.svc".to_owned()],
            not_before: now.saturating_sub(24.hours()).unwrap_or(now),
            not_after: now.saturating_add((24 * 365).hours()).unwrap_or(now),
        }
    }
}

impl Authority {
    /// A new authority with a new key, good from 1975 to 4096, so that no simulated clock leaves its life.
    ///
    /// # Errors
    /// When the certificate can't be generated.
    pub fn new() -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("oat-sandbox");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self(Arc::new(Inner { issuer: Issuer::new(params, key), pem })))
    }

    /// The authority's certificate, for clients that are to trust it.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.0.pem.clone()
    }

    /// A TLS configuration with a new key and such a certificate, for HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// When the certificate can't be generated.
    pub fn server_config(&self, certificate: &Certificate) -> Result<Arc<rustls::ServerConfig>, Error> {
        let mut params = CertificateParams::new(certificate.names.clone())?;
        params.distinguished_name = name("oat-sandbox server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let moments = (certificate.not_before.as_second(), certificate.not_after.as_second());
        let shift = |seconds: i64| {
            let year_2000 = rcgen::date_time_ymd(2000, 1, 1);
            let since = seconds.checked_sub(946_684_800).ok_or(Error::Date)?;
            let length = std::time::Duration::from_secs(since.unsigned_abs());
            Ok::<_, Error>(if since < 0 { year_2000 - length } else { year_2000 + length })
        };
        params.not_before = shift(moments.0)?;
        params.not_after = shift(moments.1)?;
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.0.issuer)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![signed.der().clone()], private)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
