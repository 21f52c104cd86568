//! What is asked of a fleet of serving workers.

use std::path::PathBuf;
use std::time::Duration;

use cost_model::serving::arrivals::Length;

use serde::{Deserialize, Serialize};

use super::value::{self, Written};

/// Requests per second, above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

/// A percentile of requests, above 0 and at most 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentile(pub f64);

/// Lengths of requests with their shares: `4000:1000:3,500:200` is three requests of 4,000 tokens in and 1,000
/// out for one of 500 and 200.
#[derive(Clone, Debug, PartialEq)]
pub struct Lengths(pub Vec<Length>);

/// Lengths that a mix may have.
const MOST_LENGTHS: usize = 64;

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
        rate.map(Self)
            .ok_or_else(|| "needs requests per second from 1e-6 to 1e9, such as 50".to_owned())
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

impl Written for Lengths {
    fn read(text: &str) -> Result<Self, String> {
        let needed = || {
            format!(
                "needs up to {MOST_LENGTHS} lengths IN:OUT or IN:OUT:SHARE, such as 4000:1000:3,500:200"
            )
        };
        let one = |part: &str| {
            let mut words = part.trim().split(':');
            let mut tokens = || words.next()?.parse().ok().filter(|n: &u32| *n > 0);
            let (n_input, n_output) = (tokens()?, tokens()?);
            let share = words.next().map_or(Some(1.0), |share| share.parse().ok())?;
            let is_share = (1e-9..=1e9).contains(&share) && words.next().is_none();
            is_share.then_some(Length { n_input, n_output, share })
        };
        let all: Option<Vec<Length>> = text.split(',').map(one).collect();
        all.filter(|all| all.len() <= MOST_LENGTHS).map(Self).ok_or_else(needed)
    }

    fn text(&self) -> String {
        let one = |of: &Length| format!("{}:{}:{}", of.n_input, of.n_output, of.share);
        self.0.iter().map(one).collect::<Vec<_>>().join(",")
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
    /// Lengths of requests, in place of one length.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub lengths: Option<Lengths>,
    /// Tokens that all prompts begin with, and that are cached.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub prefix_tokens: Option<u64>,
    /// When requests arrive and how long they are, in place of lengths.
    pub requests: Option<PathBuf>,
    /// Requests under way, in place of a rate.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub concurrency: Option<u64>,
    /// Time of a whole request at most.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub request_latency: Option<Duration>,
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
            ("--lengths", self.lengths.is_some()),
            ("--prefix-tokens", self.prefix_tokens.is_some()),
            ("--requests", self.requests.is_some()),
            ("--concurrency", self.concurrency.is_some()),
            ("--request-latency", self.request_latency.is_some()),
            ("--mode", self.mode.is_some()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }
}
