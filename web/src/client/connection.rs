//! Requests to a service. Each ends: connecting, every read and write, and all requests together have
//! a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ir::diagnostic::{Blame, Diagnostic};
use serde::de::DeserializeOwned;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use ureq::{Agent, AsSendBody, Body, BodyReader, Timeout};

use super::failure::{Failure, refused};
use super::trust;

/// Longest look-up of a name, and longest connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest silence while a request is answered.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest silence while the service works on a request.
const WORK: Duration = Duration::from_secs(600);
/// How often a request is sent that gets no answer.
const TRIES: u32 = 3;
/// Rest before the second try; before the third it is twice as long.
const REST: Duration = Duration::from_millis(300);
/// Longest rest that a service is granted.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// Longest answer, in bytes.
const LONGEST_ANSWER: u64 = 1 << 30;

/// A service, and how long it may take.
#[derive(Clone, Debug)]
pub struct Service {
    agent: Agent,
    /// Without a slash at its end.
    server: String,
    authorization: Option<HeaderValue>,
    /// When all requests together are over.
    until: Instant,
    total: Duration,
    interrupt: Arc<AtomicBool>,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    method: Method,
    path: &'a str,
    headers: Vec<(&'static str, String)>,
    body: &'a [u8],
    silence: Duration,
    repeats: bool,
}

impl<'a> Ask<'a> {
    pub(super) const fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, headers: Vec::new(), body: &[], silence: SILENCE, repeats: true }
    }

    pub(super) const fn body(mut self, body: &'a [u8]) -> Self {
        self.body = body;
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The service has work to do before it answers.
    pub(super) const fn slow(mut self) -> Self {
        self.silence = WORK;
        self
    }

    /// To be sent once.
    pub(super) const fn once(mut self) -> Self {
        self.repeats = false;
        self
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// Empty where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Itself, unless it refuses.
    pub(super) fn good(self, service: &Service) -> Result<Self, Failure> {
        match self.status {
            200..300 => Ok(self),
            status => Err(refused(&service.server, status, &self.body)),
        }
    }

    /// Its body as a document.
    pub(super) fn json<T: DeserializeOwned>(&self, service: &Service) -> Result<T, Failure> {
        let read = serde_json::from_slice(&self.body);
        read.map_err(|_| refused(&service.server, self.status, b""))
    }

    /// How long the service asks to wait.
    fn rest(&self) -> Option<Duration> {
        let asks = matches!(self.status, 429 | 503);
        let seconds = self.header("retry-after").parse().ok().filter(|_| asks)?;
        Some(Duration::from_secs(seconds)).filter(|rest| *rest <= LONGEST_REST)
    }
}

impl Service {
    /// At an address such as `http://127.0.0.1:8080`; all that is asked of it ends within `total`, or
    /// soon after `interrupt` is raised.
    ///
    /// # Errors
    /// `bad-server`, `bad-token`, `no-certificates`.
    pub fn new(
        server: &str,
        token: Option<&str>,
        total: Duration,
        interrupt: Arc<AtomicBool>,
    ) -> Result<Self, Diagnostic> {
        let server = server.trim_end_matches('/').to_owned();
        let is_secure = check(&server)?;
        let bearer = |token: &str| {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let message = "the token has characters that no token has";
            value.map_err(|_| {
                Diagnostic::usage("bad-token", message)
                    .hint("it is what `meshwright token` printed")
            })
        };
        let authorization = token.map(bearer).transpose()?;
        let agent = agent(is_secure, None)?;
        let now = Instant::now();
        // No clock adds up much more than that.
        let until = now.checked_add(total).unwrap_or(now + Duration::from_secs(1 << 30));
        Ok(Self { agent, server, authorization, until, total, interrupt })
    }

    /// The address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::SeqCst)
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Whether the time is over, or somebody wants the end.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.is_interrupted() {
            let error = Diagnostic::error(
                Blame::NotFound,
                "interrupted",
                "interrupted before there was a plan",
            );
            return Err(Failure::Interrupted(error));
        }
        if self.left().is_zero() { Err(self.late()) } else { Ok(()) }
    }

    pub(super) fn late(&self) -> Failure {
        let message = format!("`{}` gave no answer within {:.1?}", self.server, self.total);
        let error = Diagnostic::error(Blame::NotFound, "service-late", message)
            .hint("wait longer with --wait; the service goes on with what it has begun");
        Failure::NoAnswer(error)
    }

    /// Sends a request, again where that is sound and the service did not answer or asked for a rest.
    pub(super) fn send(&self, ask: &Ask<'_>) -> Result<Reply, Failure> {
        for tries in 1.. {
            let answered = self.opened(ask).and_then(|response| self.read(response));
            let rest = match &answered {
                Ok(reply) => reply.rest(),
                Err(ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::Tls(_)) => None,
                Err(_) => Some(REST * tries),
            };
            let is_last = tries >= TRIES || !ask.repeats || self.is_interrupted();
            match rest.filter(|rest| !is_last && *rest < self.left()) {
                Some(rest) => thread::sleep(rest),
                None => return answered.map_err(|error| self.failed(&error)),
            }
        }
        Err(self.late())
    }

    /// The body of an answer, as it comes.
    pub(super) fn stream(&self, ask: &Ask<'_>) -> Result<BodyReader<'static>, Failure> {
        let response = self.opened(ask).map_err(|error| self.failed(&error))?;
        if response.status().is_success() {
            return Ok(response.into_body().into_reader());
        }
        let reply = self.read(response).map_err(|error| self.failed(&error))?;
        Err(refused(&self.server, reply.status, &reply.body))
    }

    fn read(&self, response: Response<Body>) -> Result<Reply, ureq::Error> {
        let (parts, body) = response.into_parts();
        let body = body.into_with_config().limit(LONGEST_ANSWER).read_to_vec()?;
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    fn opened(&self, ask: &Ask<'_>) -> Result<Response<Body>, ureq::Error> {
        let uri = format!("{}{}", self.server, ask.path);
        let mut request = Request::builder().method(ask.method.clone()).uri(uri);
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if let Some(bearer) = &self.authorization {
            request = request.header("authorization", bearer);
        }
        match ask.method {
            Method::GET | Method::DELETE => self.run(request.body(())?, ask.silence),
            _ => self.run(request.body(ask.body)?, ask.silence),
        }
    }

    fn run(
        &self,
        request: Request<impl AsSendBody>,
        silence: Duration,
    ) -> Result<Response<Body>, ureq::Error> {
        // Nothing at all would be no limit.
        let left = self.left().max(Duration::from_millis(1));
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(Some(left))
            .timeout_per_read(Some(silence.min(left)))
            .timeout_per_write(Some(SILENCE.min(left)))
            .build();
        self.agent.run(request)
    }

    fn failed(&self, error: &ureq::Error) -> Failure {
        // Whichever limit was noticed first.
        if matches!(error, ureq::Error::Timeout(Timeout::Global)) || self.left() < REST {
            return self.late();
        }
        Failure::NoAnswer(unreached(&self.server, &error.to_string()))
    }
}

/// Why a service is not reached, and what helps.
fn unreached(server: &str, reason: &str) -> Diagnostic {
    let host = server.split_once("://").map_or(server, |(_, host)| host);
    let untrusted = |what: &str| ("untrusted-certificate", format!("`{server}` {what}"));
    let none = || ("no-service", format!("`{server}` does not answer"));
    let ((code, message), hint) = match reason {
        _ if reason.contains("UnknownIssuer") => (
            untrusted("has a certificate that this machine does not trust"),
            "trust the certificate of the service: export SSL_CERT_FILE=certificate.pem".to_owned(),
        ),
        _ if reason.contains("CaUsedAsEndEntity") => (
            untrusted("has the certificate of an authority, not of a server"),
            "make the certificate of the service with openssl req -x509 \
             -addext basicConstraints=critical,CA:FALSE (docs/operate.md)"
                .to_owned(),
        ),
        _ if reason.contains("NotValidForName") => (
            untrusted("has a certificate for another name"),
            "use a name that the certificate lists: --server https://NAME:PORT".to_owned(),
        ),
        _ if reason.contains("invalid peer certificate") => (
            untrusted("has a certificate that is not valid"),
            "check the certificate: openssl x509 -noout -text -in certificate.pem".to_owned(),
        ),
        _ if reason.contains("InvalidContentType") => {
            (none(), format!("the service does not use TLS: --server http://{host}"))
        }
        _ if reason.contains("invalid HTTP version") => {
            (none(), format!("the service may use TLS: --server https://{host}"))
        }
        _ => (none(), "check --server, and that the service runs: meshwright serve".to_owned()),
    };
    Diagnostic::error(Blame::NotFound, code, message).fact("reason", reason).hint(hint)
}

/// What sends requests, each answered within `patience`.
///
/// # Errors
/// `no-certificates`.
pub(crate) fn agent(is_secure: bool, patience: Option<Duration>) -> Result<Agent, Diagnostic> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent("meshwright")
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_global(patience);
    if is_secure {
        config = config.tls_config(trust::config()?);
    }
    Ok(config.build().into())
}

/// Whether an address is one of a service, and uses TLS.
fn check(server: &str) -> Result<bool, Diagnostic> {
    let wrong = |reason: &str| {
        Diagnostic::usage("bad-server", format!("`{server}` is no address of a service"))
            .fact("reason", reason)
            .hint("write it as http://127.0.0.1:8080 or https://plans.example")
    };
    let uri: Uri = server.parse().map_err(|_| wrong("it can not be read"))?;
    let is_secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wrong("it does not begin with http:// or https://")),
    };
    match uri.authority() {
        None => Err(wrong("it names no host")),
        Some(host) if host.as_str().contains('@') => Err(wrong("it holds a password")),
        Some(_) if uri.query().is_some() => Err(wrong("it holds a query")),
        Some(_) => Ok(is_secure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reasons in the words of the libraries of today.
    #[test]
    fn certificates_that_are_refused_have_a_hint() {
        for (reason, code, hint) in [
            (
                "io: invalid peer certificate: UnknownIssuer",
                "untrusted-certificate",
                "SSL_CERT_FILE=",
            ),
            (
                "io: invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
                "untrusted-certificate",
                "basicConstraints=critical,CA:FALSE",
            ),
            (
                "io: invalid peer certificate: NotValidForName",
                "untrusted-certificate",
                "--server https://NAME:PORT",
            ),
            ("io: invalid peer certificate: Expired", "untrusted-certificate", "openssl x509"),
            (
                "io: received corrupt message of type InvalidContentType",
                "no-service",
                "--server http://plans:8080",
            ),
            (
                "protocol: http parse fail: invalid HTTP version",
                "no-service",
                "--server https://plans:8080",
            ),
            ("io: Connection refused", "no-service", "meshwright serve"),
        ] {
            let error = unreached("https://plans:8080", reason);
            assert_eq!((error.code, error.hints.len()), (code, 1), "{reason}");
            assert!(error.hints[0].contains(hint), "{reason}: {:?}", error.hints);
        }
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!(check("http://127.0.0.1:8080"), Ok(false));
        assert_eq!(check("https://plans.example/under"), Ok(true));
        for wrong in ["", "plans", "ftp://a", "http://", "http://me:secret@a", "http://a?b=c"] {
            assert_eq!(check(wrong).unwrap_err().code, "bad-server", "{wrong}");
        }
    }
}
