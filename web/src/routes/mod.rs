//! One file per route, and one table of them all.

pub mod algorithms;
pub mod devices;
pub mod health;
mod missing;

use axum::Router;
use axum::routing::MethodRouter;

/// Every route: its path, and what answers there.
fn all() -> [(&'static str, MethodRouter); 3] {
    [
        ("/api/health", health::route()),
        ("/api/algorithms", algorithms::route()),
        ("/api/devices", devices::route()),
    ]
}

/// All of them, and an answer for any other path.
pub(crate) fn router() -> Router {
    let paths = all().map(|(path, _)| path);
    let routed = all().into_iter().fold(Router::new(), |app, (path, route)| app.route(path, route));
    routed.fallback(async move |uri| missing::answer(&uri, &paths))
}
