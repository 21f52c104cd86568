//! The one place that owns a socket and an async runtime.

use std::io;
use std::net::TcpListener;

/// Serves [`crate::app`] on a bound listener until the process ends.
///
/// # Errors
/// When the runtime does not start or the socket fails.
pub fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, crate::app()).await
    })
}
