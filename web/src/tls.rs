//! Transport security.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
#[cfg(feature = "postgres")]
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore},
};

/// Where systems keep the certificates that they trust.
const FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Longest of these files, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// Of a certificate chain and its key, both PEM.
///
/// # Errors
/// Where they can't be read or do not belong together.
pub(crate) fn acceptor((chain, key): &(PathBuf, PathBuf)) -> io::Result<TlsAcceptor> {
    let failure = |path: &PathBuf, error: &dyn std::fmt::Display| {
        io::Error::other(format!("`{}`: {error}", path.display()))
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failure(chain, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failure(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failure(chain, &error))?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|error| failure(key, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The certificates that are trusted: those of the system's file, or of the file in `SSL_CERT_FILE`.
///
/// # Errors
/// Where there is none.
pub(crate) fn trusted() -> Result<Vec<CertificateDer<'static>>, String> {
    let configured = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let system = || FILES.iter().map(PathBuf::from).find(|file| file.exists());
    let file = configured.or_else(system).ok_or("this system has no file")?;
    let bytes = engine::answer::files::input_file::read(&file, MOST_BYTES);
    let roots = bytes.and_then(|bytes| {
        let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        roots.map_err(|error| error.to_string())
    });
    match roots {
        Ok(roots) if roots.is_empty() => {
            Err(format!("`{}`: it holds no certificate", file.display()))
        }
        roots => roots.map_err(|why| format!("`{}`: {why}", file.display())),
    }
}

/// To servers whose certificates are trusted and name them.
///
/// # Errors
/// As of `trusted`.
#[cfg(feature = "postgres")]
pub(crate) fn connector() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    // A system's file may hold some that are too old to be read.
    let (n_read, _) = roots.add_parsable_certificates(trusted()?);
    if n_read == 0 {
        return Err("no certificate that is trusted can be read".to_owned());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
