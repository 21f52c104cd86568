//! What is asked of a fleet of serving workers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value::{self, Written};

/// Requests per second, above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

/// A percentile of requests, above 0 and at most 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentile(pub f64);

/// Which workers a fleet may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServingMode {
    /// Workers of all roles, together too.
    #[default]
    Auto,
    /// Workers that serve whole requests.
    Aggregated,
    /// Prefill and decode workers.
    Disaggregated,
}

impl ServingMode {
    /// All.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Aggregated, Self::Disaggregated];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Aggregated => "aggregated",
            Self::Disaggregated => "disaggregated",
        }
    }
}

impl Written for Rate {
    fn read(text: &str) -> Result<Self, String> {
        let rate = text.trim().parse().ok().filter(|rate| (1e-6..=1e9).contains(rate));
        rate.map(Self).ok_or_else(|| "needs requests per second above 0, such as 50".to_owned())
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

impl Written for Percentile {
    fn read(text: &str) -> Result<Self, String> {
        let stated: Option<f64> = text.trim().trim_start_matches('p').parse().ok();
        let percent = stated.filter(|percent| *percent > 0.0 && *percent < 100.0);
        percent.map(Self).ok_or_else(|| "needs a percentile below 100, such as 90".to_owned())
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

impl Written for ServingMode {
    fn read(text: &str) -> Result<Self, String> {
        value::named(text, &Self::ALL, Self::name)
    }

    fn text(&self) -> String {
        self.name().to_owned()
    }
}

/// What is asked of a fleet of serving workers; `None` = the usual.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ServingRequest {
    /// Requests per second.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub rate: Option<Rate>,
    /// Time to the first token (TTFT) at most.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub ttft: Option<Duration>,
    /// Time per further token (TPOT) at most.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub tpot: Option<Duration>,
    /// The percentile of requests that keep them, in percent; `None` = the mean does.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub percentile: Option<Percentile>,
    /// Tokens of a prompt.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub input_tokens: Option<u64>,
    /// Tokens of an answer.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub output_tokens: Option<u64>,
    /// Which workers it may have.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub mode: Option<ServingMode>,
}

impl ServingRequest {
    /// The first of its flags that was given.
    #[must_use]
    pub fn asks(&self) -> Option<&'static str> {
        let given = [
            ("--rate", self.rate.is_some()),
            ("--ttft", self.ttft.is_some()),
            ("--tpot", self.tpot.is_some()),
            ("--percentile", self.percentile.is_some()),
            ("--input-tokens", self.input_tokens.is_some()),
            ("--output-tokens", self.output_tokens.is_some()),
            ("--mode", self.mode.is_some()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }
}
