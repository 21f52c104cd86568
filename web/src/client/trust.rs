//! Whose certificates are trusted: those of the system's file, or of the file in `SSL_CERT_FILE`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ir::diagnostic::Diagnostic;
use tokio_rustls::rustls::crypto::ring;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Where systems keep them.
const FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Longest file.
const MOST_BYTES: u64 = 16 << 20;

/// # Errors
/// `no-certificates`.
pub(super) fn config() -> Result<TlsConfig, Diagnostic> {
    let own = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let system = || FILES.iter().map(PathBuf::from).find(|file| file.exists());
    let failed = |reason: String| {
        Diagnostic::usage("no-certificates", "no certificate can be checked")
            .fact("reason", reason)
            .hint("install ca-certificates, or name a PEM file in SSL_CERT_FILE")
    };
    let file = own.or_else(system).ok_or_else(|| failed("this system has no file".to_owned()))?;
    let roots = read(&file).map_err(|why| failed(format!("`{}`: {why}", file.display())))?;
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build())
}

fn read(file: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let bytes = engine::input_file::read(file, MOST_BYTES)?;
    let mut roots = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(root) = item.map_err(|error| error.to_string())? {
            roots.push(root);
        }
    }
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(roots) }
}
