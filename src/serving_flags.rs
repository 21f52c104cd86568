//! Flags of fleets of serving workers.

use std::time::Duration;

use clap::Args;
use engine::request::serving::{Percentile, Rate, ServingMode, ServingRequest};
use engine::request::value::{Written, duration, positive};

/// What is asked of a fleet.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving")]
pub(crate) struct ServingFlags {
    /// Requests per second [default: as many as the devices serve]
    #[arg(long, value_name = "N", value_parser = <Rate as Written>::read)]
    #[arg(allow_negative_numbers = true)]
    pub(crate) rate: Option<Rate>,
    /// Time to first token at most, such as 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) ttft: Option<Duration>,
    /// Time per output token at most, such as 30ms
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) tpot: Option<Duration>,
    /// Percentile that keeps --ttft and --tpot [default: mean]
    #[arg(long, value_name = "P", value_parser = <Percentile as Written>::read)]
    pub(crate) percentile: Option<Percentile>,
    /// Prompt tokens per request [default: 4000]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) input_tokens: Option<u64>,
    /// Output tokens per request [default: 1000]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) output_tokens: Option<u64>,
    /// auto, aggregated or disaggregated [default: auto]
    #[arg(long, value_name = "MODE", value_parser = <ServingMode as Written>::read)]
    pub(crate) mode: Option<ServingMode>,
}

impl ServingFlags {
    /// What they ask for.
    pub(crate) fn request(&self) -> ServingRequest {
        let Self { rate, ttft, tpot, percentile, input_tokens, output_tokens, mode } = *self;
        ServingRequest { rate, ttft, tpot, percentile, input_tokens, output_tokens, mode }
    }
}
