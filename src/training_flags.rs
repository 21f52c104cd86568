//! Flags of training runs.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Args;
use engine::request::{ExpertSkew, TrainingRequest};
use ir::tuning::Adapter;
use ir::units::Bytes;

use engine::request::tuning::{Frozen, adapter_of_flag};
use engine::request::value::{Written, bytes, expert_skew, margin, positive, range};

/// What is asked of a search over all degrees.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training run")]
pub(crate) struct TrainingFlags {
    /// Global batch size: samples per step over all replicas
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) global_batch: Option<u64>,
    /// Sequence length: tokens per sample
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
    /// Share of memory that stays free [default: the file's, or 5%]
    #[arg(long, value_name = "SHARE", value_parser = margin)]
    pub(crate) memory_margin: Option<f64>,
    /// Software stack, a preset's name [default: megatron-core]
    #[arg(long, value_name = "NAME")]
    pub(crate) stack: Option<String>,
    /// Expert load imbalance: zipf:S or a file [default: balanced]
    #[arg(long, value_name = "SKEW", value_parser = expert_skew)]
    pub(crate) expert_skew: Option<ExpertSkew>,
    /// Train adapters: lora:rank=16,targets=q+v, qlora:.., or a PEFT file
    #[arg(long, value_name = "ADAPTER", value_parser = adapter_of_flag)]
    pub(crate) adapter: Option<Adapter>,
    /// Freeze parts: embedding, head, attention, mlp, layers=N
    #[arg(long, value_name = "PARTS", value_parser = <Frozen as Written>::read)]
    pub(crate) freeze: Option<Frozen>,
    /// Keep optimizer states on the devices
    #[arg(long)]
    pub(crate) no_offload: bool,
    /// Give the fastest plan, not the simplest within 1 % of it
    #[arg(long)]
    pub(crate) fastest: bool,
    /// Reserve N spare devices; report failover targets
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) spares: Option<u64>,
    /// Plan again from this running plan; report what moves
    #[arg(long, value_name = "PLAN")]
    pub(crate) replace: Option<PathBuf>,
    /// Plan without a device, host or kind; repeatable
    #[arg(long, value_name = "DEVICE")]
    pub(crate) lost: Vec<String>,
}

impl TrainingFlags {
    /// What they ask for.
    pub(crate) fn request(&self) -> TrainingRequest {
        let flags = self.clone();
        TrainingRequest {
            global_batch: flags.global_batch,
            sequence_length: flags.sequence_length,
            tokens_per_step: flags.tokens_per_step,
            devices: flags.devices,
            max_memory_per_device: flags.max_memory_per_device,
            memory_margin: flags.memory_margin,
            stack: flags.stack,
            expert_skew: flags.expert_skew,
            adapter: flags.adapter,
            freeze: flags.freeze,
            no_offload: flags.no_offload,
            fastest: flags.fastest,
            spares: flags.spares,
            replace: flags.replace,
            lost: flags.lost,
        }
    }
}
