//! Flags of fleets of serving workers.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use engine::request::serving::{Lengths, Percentile, Rate, ServingMode, ServingRequest};
use engine::request::value::{Written, duration, positive};

/// What is asked of a fleet.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving")]
pub(crate) struct ServingFlags {
    /// Requests per second [default: as many as the devices serve]
    #[arg(long, value_name = "N", value_parser = <Rate as Written>::read)]
    #[arg(allow_negative_numbers = true)]
    pub(crate) rate: Option<Rate>,
    /// Mean number of requests in flight, in place of --rate
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) concurrency: Option<u64>,
    /// Arrivals and lengths of requests, as CSV
    #[arg(long, value_name = "FILE")]
    pub(crate) requests: Option<PathBuf>,
    /// Time to first token at most, such as 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) ttft: Option<Duration>,
    /// Time per output token at most, such as 30ms
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) tpot: Option<Duration>,
    /// Mean end-to-end latency at most, such as 20s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) request_latency: Option<Duration>,
    /// Percentile for --ttft, --tpot and --request-latency, such as 90 [default: mean]
    #[arg(long, value_name = "P", value_parser = <Percentile as Written>::read)]
    #[arg(allow_negative_numbers = true)]
    pub(crate) percentile: Option<Percentile>,
    /// Prompt tokens per request [default: 4000]
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) input_tokens: Option<u64>,
    /// Output tokens per request [default: 1000]
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) output_tokens: Option<u64>,
    /// Mix of lengths, such as 4000:1000:3,500:200
    #[arg(long, value_name = "IN:OUT:SHARE", value_parser = <Lengths as Written>::read)]
    pub(crate) lengths: Option<Lengths>,
    /// Tokens that all prompts begin with (prefix caching)
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) prefix_tokens: Option<u64>,
    /// auto, aggregated or disaggregated [default: auto]
    #[arg(long, value_name = "MODE", value_parser = <ServingMode as Written>::read)]
    pub(crate) mode: Option<ServingMode>,
}

impl ServingFlags {
    /// What they ask for.
    pub(crate) fn request(&self) -> ServingRequest {
        ServingRequest {
            rate: self.rate,
            ttft: self.ttft,
            tpot: self.tpot,
            percentile: self.percentile,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            lengths: self.lengths.clone(),
            prefix_tokens: self.prefix_tokens,
            requests: self.requests.clone(),
            concurrency: self.concurrency,
            request_latency: self.request_latency,
            mode: self.mode,
        }
    }
}
