//! Transport security.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Of a certificate chain and its key, both PEM.
///
/// # Errors
/// Where they can't be read or do not belong together.
pub(crate) fn acceptor((chain, key): &(PathBuf, PathBuf)) -> io::Result<TlsAcceptor> {
    let told = |path: &PathBuf, error: &dyn std::fmt::Display| {
        io::Error::other(format!("`{}`: {error}", path.display()))
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| told(chain, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| told(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| told(chain, &error))?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|error| told(key, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
