//! Whose certificates the client trusts.

use std::sync::Arc;

use ir::diagnostic::Diagnostic;
use tokio_rustls::rustls::crypto::ring;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// # Errors
/// `no-certificates`.
pub(super) fn config() -> Result<TlsConfig, Diagnostic> {
    let roots = crate::tls::trusted().map_err(|reason| {
        Diagnostic::usage("no-certificates", "no certificate can be checked")
            .fact("reason", reason)
            .hint("install ca-certificates, or name a PEM file in SSL_CERT_FILE")
    })?;
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build())
}
