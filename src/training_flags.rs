//! Flags of `plan` for training runs on a model card.

use std::ops::RangeInclusive;

use clap::Args;
use documents::quantity::size;
use engine::request::TrainingRequest;
use ir::units::Bytes;

use crate::flag_values::{positive, share};

/// What is asked of a search over all degrees.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training run")]
pub(crate) struct TrainingFlags {
    /// Samples of one step over all replicas
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) global_batch: Option<u64>,
    /// Tokens of a sample
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) sequence_length: Option<u64>,
    /// Tokens of one step, in place of --global-batch
    #[arg(long, value_name = "N", value_parser = positive)]
    #[arg(conflicts_with = "global_batch")]
    pub(crate) tokens_per_step: Option<u64>,
    /// How many devices may be used: N or A..B
    #[arg(long, value_name = "N", value_parser = range)]
    pub(crate) devices: Option<RangeInclusive<u32>>,
    /// What a device may hold at most, such as 40GB or 38GiB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) max_memory_per_device: Option<Bytes>,
    /// Share of each device's memory that stays free for fragments and communication buffers
    /// [default: 5%, measured layers: 0]
    #[arg(long, value_name = "SHARE", value_parser = margin)]
    pub(crate) memory_margin: Option<f64>,
    /// Software stack, by the name of a preset [default: megatron-core]
    #[arg(long, value_name = "NAME")]
    pub(crate) stack: Option<String>,
    /// Keep optimizer states on the devices
    #[arg(long)]
    pub(crate) no_offload: bool,
}

impl TrainingFlags {
    /// What they ask for.
    pub(crate) fn request(&self) -> TrainingRequest {
        let own = self.clone();
        TrainingRequest {
            global_batch: own.global_batch,
            sequence_length: own.sequence_length,
            tokens_per_step: own.tokens_per_step,
            devices: own.devices,
            max_memory_per_device: own.max_memory_per_device,
            memory_margin: own.memory_margin,
            stack: own.stack,
            no_offload: own.no_offload,
        }
    }
}

/// A share below the whole.
fn margin(text: &str) -> Result<f64, String> {
    share(text).and_then(|share| match share < 1.0 {
        true => Ok(share),
        false => Err("needs a share below 100%, such as 5%".to_owned()),
    })
}

/// `8` or `8..64`, both ends included.
fn range(text: &str) -> Result<RangeInclusive<u32>, String> {
    let wrong = || "needs a count such as 8, or a range such as 8..64".to_owned();
    let count = |text: &str| text.trim().parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(wrong);
    match text.split_once("..") {
        None => count(text).map(|n| n..=n),
        Some((low, high)) => {
            let (low, high) = (count(low)?, count(high.trim_start_matches('='))?);
            if low <= high { Ok(low..=high) } else { Err(wrong()) }
        }
    }
}

/// A size with a unit, decimal or binary.
fn bytes(text: &str) -> Result<Bytes, String> {
    let wrong = || "needs a size such as 40GB, 38GiB or a number of bytes".to_owned();
    let value = size(text).ok_or_else(wrong)?;
    if value.is_finite() && (1.0..1e18).contains(&value) {
        Ok(Bytes(value.round() as u64))
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ranges_are_read() {
        assert_eq!(bytes("40GB"), Ok(Bytes(40_000_000_000)));
        assert_eq!(bytes("1.5 GiB"), Ok(Bytes(1_610_612_736)));
        assert_eq!(bytes("512"), Ok(Bytes(512)));
        assert!(bytes("-1GB").is_err() && bytes("nanGB").is_err() && bytes("").is_err());
        assert_eq!(range("8"), Ok(8..=8));
        assert_eq!(range("8..64"), Ok(8..=64));
        assert!(range("64..8").is_err() && range("0..8").is_err() && range("x").is_err());
    }
}
