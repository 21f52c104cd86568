//! Messages to another service of plans that ended, by Standard Webhooks 1.0 (standardwebhooks.com):
//! signed, at least once, again where it is not taken.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ureq::Agent;

use crate::log;

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// How often a message is sent at most: the last one a day and more after the first.
const ATTEMPTS: i64 = 12;
/// Bytes of a secret, as the specification has it.
const SECRET: std::ops::RangeInclusive<usize> = 24..=64;

/// Who is told, and the key that messages are signed with.
#[derive(Clone)]
pub struct Webhook {
    url: String,
    is_secure: bool,
    key: Arc<hmac::Key>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", self.url)
    }
}

impl Webhook {
    /// Of an address and a secret, `whsec_` and 24 to 64 bytes in base64.
    ///
    /// # Errors
    /// What is wrong with either; nothing of the secret is repeated.
    pub fn new(url: &str, secret: &str) -> Result<Self, String> {
        let uri: axum::http::Uri = url.parse().map_err(|_| "the address can not be read")?;
        let scheme = uri.scheme_str().map(str::to_ascii_lowercase).unwrap_or_default();
        if !["http", "https"].contains(&scheme.as_str()) || uri.host().is_none() {
            return Err("the address does not begin with http:// or https:// and a host".to_owned());
        }
        if uri.authority().is_some_and(|host| host.as_str().contains('@')) {
            return Err("the address holds a password".to_owned());
        }
        let key = secret.trim().strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let key = key.filter(|key| SECRET.contains(&key.len())).ok_or_else(|| {
            format!(
                "the secret is not `whsec_` and {} to {} bytes in base64",
                SECRET.start(),
                SECRET.end()
            )
        })?;
        Ok(Self {
            url: url.to_owned(),
            is_secure: scheme == "https",
            key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &key)),
        })
    }

    /// Whether messages go under transport security.
    pub(crate) const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The header `webhook-signature` of a message.
    fn signature(&self, id: &str, seconds: i64, body: &str) -> String {
        let tag = hmac::sign(&self.key, format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }

    /// Sends a message once; why it was not taken.
    pub(crate) fn send(&self, agent: &Agent, id: &str, body: &str) -> Result<(), String> {
        let seconds = log::now_ms() / 1000;
        let sent = agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", self.signature(id, seconds, body))
            .send(body);
        let mut answer = sent.map_err(|error| error.to_string())?;
        // So that the connection can be used again; a long answer is not waited for.
        let _ = answer.body_mut().as_reader().take(64 << 10).read_to_end(&mut Vec::new());
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(format!("it answered {}", answer.status().as_u16())),
        }
    }
}

/// How long to wait after so many attempts: 5 s, four times as long after each, up to 6 h.
pub(crate) fn rest_ms(attempts: i64) -> Option<i64> {
    let tries = u32::try_from(attempts - 1).ok().filter(|_| attempts < ATTEMPTS)?;
    Some(4i64.saturating_pow(tries).saturating_mul(5_000).min(6 * 3_600_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Svix's documentation, "Verifying webhooks manually".
    #[test]
    fn messages_are_signed_as_published() {
        let hook = Webhook::new("https://a.example/in", "whsec_plJ3nmyCDGBKInavdOK15jsl");
        assert!(hook.is_err(), "18 bytes are fewer than the specification asks for");
        let key = STANDARD.decode("plJ3nmyCDGBKInavdOK15jsl").unwrap();
        let key = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &key));
        let hook = Webhook { url: String::new(), is_secure: false, key };
        let body = r#"{"event_type":"ping","data":{"success":true}}"#;
        assert_eq!(
            hook.signature("msg_loFOjxBNrRLzqYUf", 1_731_705_121, body),
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let secret = format!("whsec_{}", STANDARD.encode([7; 32]));
        assert!(!Webhook::new("http://127.0.0.1:9/in?a=b", &secret).unwrap().is_secure());
        for url in ["https://a/", "HTTPS://a/"] {
            assert!(Webhook::new(url, &secret).unwrap().is_secure(), "{url}");
        }
        let wrong = [
            ("ftp://a/", secret.as_str()),
            ("http:///in", &secret),
            ("https://me:pass@a/", &secret),
            ("https://a/", "whsec_c2VjcmV0"),
            ("https://a/", &secret[6..]),
        ];
        for (url, secret) in wrong {
            let reason = Webhook::new(url, secret).unwrap_err();
            assert!(!reason.contains(&secret[6..]) && !reason.contains("pass@"), "{reason}");
        }
    }

    #[test]
    fn a_message_is_tried_for_a_day() {
        let rests: Vec<i64> = (1..).map_while(rest_ms).collect();
        assert_eq!(rests.len(), 11);
        assert!(rests.is_sorted() && rests[0] == 5_000);
        assert!(rests.iter().sum::<i64>() > 24 * 3_600_000, "{rests:?}");
    }
}
