//! Flags that say how long a search takes, and what its choices may depend on.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use engine::request::value::{Written, duration, share};
use engine::request::{Limits, Pue};
use ir::card::stored::CacheType;
use ir::units::Watts;

/// When a search stops.
#[derive(Args, Clone, Debug)]
pub(crate) struct LimitFlags {
    /// Power usage effectiveness of the site [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = <Pue as Written>::read)]
    #[arg(help_heading = "Search")]
    pub(crate) pue: Option<Pue>,
    /// Upper limit on wall power, such as 2500 or 40kW
    #[arg(long, value_name = "WATTS", value_parser = <Watts as Written>::read)]
    #[arg(help_heading = "Search")]
    pub(crate) power_cap: Option<Watts>,
    /// Lossy gradient or activation compression: top-k=0.01 [all]
    #[arg(long, value_name = "WAY", value_delimiter = ',', num_args = 0..=1)]
    #[arg(default_missing_value = "all", help_heading = "Search")]
    pub(crate) allow_lossy: Vec<String>,
    /// KV cache type, such as fp8 [default: the checkpoint's]
    #[arg(long, value_name = "TYPE", value_parser = <CacheType as Written>::read)]
    #[arg(help_heading = "Search")]
    pub(crate) kv_dtype: Option<CacheType>,
    /// Weight types of llama.cpp, such as Q4_K_M [default: the file's]
    #[arg(long, value_name = "TYPE", help_heading = "Search")]
    pub(crate) quantization: Option<String>,
    /// Stop after this long, such as 2m [default: 30s for auto and degrees]
    #[arg(long, value_name = "TIME", value_parser = duration, env = "MESHWRIGHT_TIME_LIMIT")]
    #[arg(hide_env = true, help_heading = "Search")]
    pub(crate) time_limit: Option<Duration>,
    /// Stop once the plan is proved to be this near to the best, such as 1%
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Search")]
    pub(crate) gap: Option<f64>,
    /// Stop after this many search nodes; repeats exactly on any machine
    #[arg(long, value_name = "N", env = "MESHWRIGHT_NODE_BUDGET", hide_env = true)]
    #[arg(help_heading = "Search", value_parser = whole, allow_negative_numbers = true)]
    pub(crate) node_budget: Option<u64>,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 0, env = "MESHWRIGHT_SEED", hide_env = true)]
    #[arg(help_heading = "Search", value_parser = whole, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Threads that a search may use [default: all cores]
    #[arg(long, value_name = "N", env = "MESHWRIGHT_THREADS", hide_env = true)]
    #[arg(help_heading = "Search", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Same bytes each time: a node budget, no clock
    #[arg(long, conflicts_with = "time_limit", help_heading = "Search")]
    pub(crate) deterministic: bool,
}

fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("needs a whole number from 0 to {}", u64::MAX))
}

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "needs a whole number of at least 1".to_owned())
}

impl LimitFlags {
    /// What they ask for.
    pub(crate) fn request(&self) -> Limits {
        Limits {
            time_limit: self.time_limit,
            gap: self.gap,
            node_budget: self.node_budget,
            seed: self.seed,
            threads: self.threads,
            deterministic: self.deterministic,
        }
    }
}
