//! What the URL of a PostgreSQL says.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use postgres::config::Host;
use postgres::{Config, Error};

use super::Url;
use crate::fault::Fault;

/// How long a server that does not answer is waited for.
const CONNECT: Duration = Duration::from_secs(5);
/// How long what was sent may go unacknowledged, and a connection be silent before it is probed.
const SILENCE: Duration = Duration::from_secs(15);

/// What is shown of it: no password.
pub(super) fn shown(config: &Config, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("postgres://")?;
    config.get_user().map_or(Ok(()), |user| write!(f, "{user}@"))?;
    for (i, host) in config.get_hosts().iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        match host {
            Host::Tcp(name) => write!(f, "{comma}{name}")?,
            Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
        }
    }
    write!(f, "/{}", config.get_dbname().unwrap_or_default())
}

impl Url {
    /// What it says. Where it is written wrongly, nothing of it is repeated that may be part of a
    /// password.
    pub(super) fn read(&self) -> Result<Config, String> {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        if !["postgres", "postgresql"].contains(&scheme) {
            let is_word = scheme.chars().all(|c| c.is_ascii_alphanumeric());
            let scheme =
                if is_word { format!("no kind `{scheme}` of") } else { "no such".to_owned() };
            return Err(format!("there are {scheme} databases"));
        }
        if rest.matches('@').count() > 1 {
            return Err("it has several `@`; within a name or a password write %40".to_owned());
        }
        // A certificate is always looked at as these ask for, which the library does not know.
        let (address, settings) = self.0.split_once('?').unwrap_or((&self.0, ""));
        if settings.split('&').filter(|setting| setting.starts_with("sslmode=")).count() > 1 {
            return Err("it states sslmode more than once".to_owned());
        }
        let settings = settings.split('&').map(|setting| match setting {
            "sslmode=verify-full" | "sslmode=verify-ca" => "sslmode=require",
            other => other,
        });
        let url = format!("{address}?{}", settings.collect::<Vec<_>>().join("&"));
        url.parse().map_err(|error: Error| words(&error))
    }

    /// How to connect: what it says, and what it leaves open.
    pub(super) fn config(&self) -> Result<Config, Fault> {
        let mut config = self.read().map_err(|reason| {
            let form = "postgres://USER:PASSWORD@HOST:PORT/NAME";
            Fault::Other(format!("the URL of the database: {reason}; it has the form {form}"))
        })?;
        if config.get_password().is_none()
            && let Some(password) = std::env::var_os("PGPASSWORD")
        {
            config.password(password.into_encoded_bytes());
        }
        if config.get_application_name().is_none() {
            config.application_name("meshwright");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        config.keepalives_idle(config.get_keepalives_idle().min(SILENCE));
        config.keepalives_interval(config.get_keepalives_interval().unwrap_or(CONNECT));
        config.keepalives_retries(config.get_keepalives_retries().unwrap_or(3));
        Ok(config)
    }
}

/// What it says, with its causes; no values of parameters.
pub(super) fn words(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} ({})", said.message(), said.code().code());
    }
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
