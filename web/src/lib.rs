//! The service: what the command line lists, as JSON over HTTP.
//!
//! [`app`] returns a router, so that tests (and other programs) call it without a socket. Answers
//! are the documents that the command line prints with `--json`.

mod error;
pub mod routes;
pub mod server;

use axum::Router;

/// All routes.
///
/// ```
/// let router: axum::Router = web::app();
/// # let _ = router;
/// ```
pub fn app() -> Router {
    routes::router()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use serde_json::Value;
    use tower::ServiceExt;

    fn get(path: &str) -> (StatusCode, Value) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = super::app().oneshot(request).await.unwrap();
            let status = response.status();
            let bytes = to_bytes(response.into_body(), 1 << 24).await.unwrap();
            (status, serde_json::from_slice(&bytes).unwrap())
        })
    }

    #[test]
    fn health_answers() {
        assert_eq!(get("/api/health"), (StatusCode::OK, super::routes::health::document()));
    }

    #[test]
    fn algorithms_are_the_registry() {
        let (status, body) = get("/api/algorithms");
        assert_eq!(status, StatusCode::OK);
        let rows = body["algorithms"].as_array().unwrap();
        assert_eq!(rows.len(), planner::registry::entries().len());
        assert!(rows.iter().any(|row| row["name"] == "m-etf"), "{body}");
        let row = rows.iter().find(|row| row["name"] == "labels").unwrap();
        assert_eq!(row["guarantees"], serde_json::json!({ "instances": "optimal" }));
    }

    #[test]
    fn devices_are_the_catalogue() {
        let (status, body) = get("/api/devices");
        assert_eq!(status, StatusCode::OK);
        let catalogue = importers::cluster::catalogue().unwrap();
        assert_eq!(body["devices"].as_array().unwrap().len(), catalogue.devices.len());
        assert_eq!(body["links"].as_array().unwrap().len(), catalogue.links.len());
        assert!(body["devices"][0]["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn other_paths_are_problems_with_a_way_out() {
        let (status, body) = get("/api/device");
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(body["code"], "unknown-route");
        assert!(body["hints"][0].as_str().unwrap().contains("/api/devices"));
    }
}
