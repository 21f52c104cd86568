//! Bodies that an answer did not wait for. A connection that is closed while its client still sends
//! loses the answer, so what is left of a short body is read and dropped first.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// Most that is read and dropped, in bytes.
const MOST: usize = 16 << 20;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// A body that comes back where it is dropped before its end.
struct Lent {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.back = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take()
            && !self.body.is_end_stream()
        {
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}

/// What may come back of a request's body.
pub(super) struct Unread {
    body: oneshot::Receiver<Body>,
    /// Whether the client sends the body only where it is asked to.
    is_asked: bool,
}

/// Lends a request's body to whoever answers it.
pub(super) fn lend(request: Request) -> (Request, Unread) {
    let is_asked = request.headers().contains_key(header::EXPECT);
    let (back, body) = oneshot::channel();
    let lent = request.map(|body| Body::new(Lent { body, back: Some(back) }));
    (lent, Unread { body, is_asked })
}

impl Unread {
    /// Drops what is left; where that is too long, the answer says that the connection ends.
    pub(super) async fn drop_before(mut self, response: &mut Response) {
        let Ok(body) = self.body.try_recv() else { return };
        let read =
            !self.is_asked && tokio::time::timeout(PATIENCE, is_short(body)).await == Ok(true);
        if !read {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

async fn is_short(mut body: Body) -> bool {
    let mut n = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        n += frame.data_ref().map_or(0, Bytes::len);
        if n > MOST {
            return false;
        }
    }
    true
}
