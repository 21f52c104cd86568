//! Which requests a fleet serves: lengths, arrivals, and how many at once.

use std::path::Path;
use std::sync::Arc;

use cost_model::serving::arrivals::{Length, Request};
use importers::request_log::{self, Class, Logged, RequestLog};
use ir::diagnostic::Diagnostic;

use super::words::{per_second, thousands};
use crate::request::serving::ServingRequest;

/// Tokens of a request where none are stated.
const USUAL_TOKENS: [u32; 2] = [4_000, 1_000];

/// Requests of a file.
#[derive(Clone, Debug)]
pub struct Log {
    /// Name of the file.
    pub name: String,
    /// All requests of the file.
    pub n: u64,
    /// The first ones, at the rate that is asked for.
    pub requests: Arc<[Request]>,
}

/// Requests as they come.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Lengths of requests.
    pub lengths: Vec<Length>,
    /// Whether the tokens of prompts, and of answers, are nobody's choice.
    pub is_assumed: [bool; 2],
    /// Tokens that all prompts begin with.
    pub shared_prefix: u32,
    /// Of random arrivals.
    pub seed: u64,
    /// Requests per second; `None` = the most, or `concurrency`.
    pub rate: Option<f64>,
    /// Requests under way.
    pub concurrency: Option<u64>,
    /// A file of requests.
    pub log: Option<Log>,
}

impl Traffic {
    /// What flags ask for; with it, what is assumed and the flags that would state it.
    ///
    /// # Errors
    /// `lengths`, `arrivals`, `prefix`; those of the file of requests.
    pub fn of(
        serving: &ServingRequest,
    ) -> Result<(Self, Option<(String, Vec<&'static str>)>), Diagnostic> {
        let ways = [
            ("--lengths", serving.lengths.is_some()),
            ("--requests", serving.requests.is_some()),
            ("--input-tokens", serving.input_tokens.is_some()),
            ("--output-tokens", serving.output_tokens.is_some()),
        ];
        one_of("lengths", &ways[..3])?;
        one_of("lengths", &[ways[0], ways[1], ways[3]])?;
        let has_rate =
            [("--rate", serving.rate.is_some()), ("--requests", serving.requests.is_some())];
        let has_concurrency = ("--concurrency", serving.concurrency.is_some());
        one_of("arrivals", &[has_rate[0], has_concurrency])?;
        one_of("arrivals", &[has_rate[1], has_concurrency])?;
        let mut traffic = Self {
            rate: serving.rate.map(|rate| rate.0),
            concurrency: serving.concurrency,
            shared_prefix: small(serving.prefix_tokens.unwrap_or(0)),
            ..Self::default()
        };
        let mut assumed = None;
        if let Some(file) = &serving.requests {
            traffic.read(file)?;
        } else if let Some(lengths) = &serving.lengths {
            traffic.lengths.clone_from(&lengths.0);
        } else {
            let tokens = |at: usize, stated: Option<u64>| stated.map_or(USUAL_TOKENS[at], small);
            let (n_input, n_output) =
                (tokens(0, serving.input_tokens), tokens(1, serving.output_tokens));
            traffic.lengths.push(Length { n_input, n_output, share: 1.0 });
            let missing: Vec<&str> = ways[2..]
                .iter()
                .filter(|(_, is_stated)| !is_stated)
                .map(|(flag, _)| *flag)
                .collect();
            traffic.is_assumed =
                [serving.input_tokens, serving.output_tokens].map(|stated| stated.is_none());
            assumed = (!missing.is_empty())
                .then(|| (format!("requests of {n_input} tokens in, {n_output} out"), missing));
        }
        let shortest = traffic.lengths.iter().map(|length| length.n_input).min().unwrap_or(1);
        if traffic.shared_prefix >= shortest {
            let prefix = traffic.shared_prefix;
            let message = format!("a prefix of {prefix} tokens, and a prompt of {shortest}");
            return Err(Diagnostic::usage("prefix", message)
                .hint("state a --prefix-tokens shorter than every prompt"));
        }
        Ok((traffic, assumed))
    }

    /// Lengths and arrivals of a file; arrivals are moved to the rate that is asked for, where one is.
    fn read(&mut self, file: &Path) -> Result<(), Diagnostic> {
        let log = request_log::read(file)?;
        let rate = log.rate();
        if self.rate.or(rate).is_none() {
            let message = match log.n {
                1 => "one request has no rate",
                _ => "all requests arrive at once",
            };
            return Err(Diagnostic::input("bad-requests", message)
                .hint("state the requests per second with --rate"));
        }
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let slower = self.rate.zip(rate).map_or(1.0, |(asked, rate)| rate / asked);
        let class = |of: &Class| Length {
            n_input: of.n_input,
            n_output: of.n_output,
            share: of.n as f64 / log.n as f64,
        };
        self.lengths = log.classes.iter().map(class).collect();
        self.rate = self.rate.or(rate);
        self.log = Some(Log { name, n: log.n, requests: requests(&log, slower) });
        Ok(())
    }

    /// Cuts assumed prompts to what a model has positions for; the warning that says so.
    ///
    /// # Errors
    /// `beyond-context`, where the lengths are stated.
    pub fn cut(&mut self, positions: u64) -> Result<Option<Diagnostic>, Diagnostic> {
        let of = |length: &Length| u64::from(length.n_input) + u64::from(length.n_output);
        let longest = self.lengths.iter().max_by_key(|length| of(length)).copied();
        let Some(longest) = longest.filter(|longest| of(longest) > positions) else {
            return Ok(None);
        };
        let (n_input, n_output) = (longest.n_input, longest.n_output);
        let message = format!(
            "{n_input} input and {n_output} output tokens exceed the model's context of {positions} tokens"
        );
        let beyond = |message: String| {
            let hint = match &self.log {
                Some(log) => format!("leave longer requests out of {}", log.name),
                None => "lower --input-tokens or --output-tokens".to_owned(),
            };
            Diagnostic::usage("beyond-context", message)
                .hint(format!("{hint}, or set `rope_scaling` in the config for a longer context"))
        };
        let [_] = self.lengths[..] else { return Err(beyond(message)) };
        let left = |other: u32| small(positions.saturating_sub(u64::from(other)));
        let cut = match self.is_assumed {
            [true, _] => Length { n_input: left(n_output), ..longest },
            [false, true] => Length { n_output: left(n_input), ..longest },
            _ => return Err(beyond(message)),
        };
        if cut.n_input <= self.shared_prefix || cut.n_output == 0 {
            return Err(beyond(message));
        }
        self.lengths = vec![cut];
        let message =
            format!("{message}: planned for {} input, {} output", cut.n_input, cut.n_output);
        Ok(Some(
            Diagnostic::warning("beyond-context", message)
                .hint("state --input-tokens and --output-tokens"),
        ))
    }

    /// Whether a number of requests is asked for.
    #[must_use]
    pub const fn has_demand(&self) -> bool {
        self.rate.is_some() || self.concurrency.is_some()
    }

    /// `50 requests/s`, `1 concurrent request`, or requests of any number.
    #[must_use]
    pub fn demand(&self) -> String {
        match (self.rate, self.concurrency) {
            (Some(rate), _) => format!("{} request{}/s", per_second(rate), plural(rate == 1.0)),
            (None, Some(n)) => format!("{} concurrent request{}", thousands(n), plural(n == 1)),
            (None, None) => "requests".to_owned(),
        }
    }

    /// Mean tokens of a prompt and of an answer.
    #[must_use]
    pub fn mean_tokens(&self) -> [f64; 2] {
        let total: f64 = self.lengths.iter().map(|length| length.share).sum();
        let mean = |of: fn(&Length) -> u32| -> f64 {
            self.lengths.iter().map(|length| f64::from(of(length)) * length.share / total).sum()
        };
        [mean(|length| length.n_input), mean(|length| length.n_output)]
    }

    /// Tokens of an answer that so many percent of the answers do not exceed.
    #[must_use]
    pub fn output_percentile(&self, percent: f64) -> f64 {
        let mut all: Vec<(u32, f64)> =
            self.lengths.iter().map(|length| (length.n_output, length.share)).collect();
        all.sort_by_key(|(n_output, _)| *n_output);
        let mut left = percent / 100.0 * all.iter().map(|(_, share)| share).sum::<f64>();
        let found = all.iter().find(|(_, share)| {
            left -= share;
            left <= 0.0
        });
        found.or(all.last()).map_or(1.0, |(n_output, _)| f64::from(*n_output))
    }
}

/// Requests of a file for a replay, the time between their arrivals so many times as long.
#[must_use]
pub fn requests(log: &RequestLog, slower: f64) -> Arc<[Request]> {
    let of = |logged: &Logged| Request {
        arrival_s: slower * logged.arrival_s,
        n_input: logged.n_input,
        n_output: logged.n_output,
    };
    log.first.iter().map(of).collect()
}

/// As many tokens, or the most that there can be.
fn small(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

/// Refuses several of some flags.
fn one_of(code: &'static str, flags: &[(&str, bool)]) -> Result<(), Diagnostic> {
    let given: Vec<&str> =
        flags.iter().filter(|(_, is_given)| *is_given).map(|(flag, _)| *flag).collect();
    match given[..] {
        [one, other, ..] => {
            let message = format!("`{one}` and `{other}` state the same");
            Err(Diagnostic::usage(code, message).hint("leave one of them out"))
        }
        _ => Ok(()),
    }
}

const fn plural(is_one: bool) -> &'static str {
    if is_one { "" } else { "s" }
}
