//! Named software stacks: presets of [`ir::stack::Stack`], each with its source.

use ir::stack::{AttentionKernel, Elementwise, Launch, Stack};
use ir::units::Seconds;

/// Host time that one block's forward pass takes at least, in seconds: the cells of the vTrain
/// single-node table (vTrain at f8dda847) whose GPU work is short take 2.99 to 3.44 ms per block
/// and micro-batch with full recompute, which is four such passes.
const EAGER_FLOOR_S: f64 = 0.8e-3;
/// Rate of large products in a whole step over that of the same kernel timed alone. Nominal: about
/// 250 of 312 TFLOP/s stay under the power limit of an A100, where single kernels reach 278.
const HOT: f64 = 0.9;

/// Megatron-DeepSpeed of 2021: eager launches, fused softmax and pointwise chains of Megatron-LM,
/// attention as two products, no overlap.
#[must_use]
pub fn megatron_deepspeed_2021() -> Stack {
    Stack {
        name: "megatron-deepspeed-2021".to_owned(),
        launch_floor: floor(EAGER_FLOOR_S),
        launch: Launch::Eager,
        elementwise: Elementwise::Separate,
        attention: AttentionKernel::Unfused,
        overlap_data: 0.0,
        overlap_tensor: 0.0,
        derating: HOT,
        source: "launch floor: vTrain@f8dda847 single-node table; derating: nominal".to_owned(),
    }
}

/// Megatron-Core: fused pointwise chains, flash attention, gradient exchange beside the backward
/// pass. The floor is nominal: half of the eager one, because fused chains launch half the kernels.
#[must_use]
pub fn megatron_core() -> Stack {
    Stack {
        name: "megatron-core".to_owned(),
        launch_floor: floor(EAGER_FLOOR_S / 2.0),
        elementwise: Elementwise::Fused,
        attention: AttentionKernel::Flash,
        overlap_data: 0.9,
        source: "nominal".to_owned(),
        ..megatron_deepspeed_2021()
    }
}

/// torchtitan: fully sharded data parallelism with prefetch, flash attention, compiled blocks.
#[must_use]
pub fn torchtitan() -> Stack {
    Stack {
        name: "torchtitan".to_owned(),
        launch_floor: floor(EAGER_FLOOR_S / 4.0),
        elementwise: Elementwise::Fused,
        attention: AttentionKernel::Flash,
        overlap_data: 0.9,
        source: "nominal".to_owned(),
        ..megatron_deepspeed_2021()
    }
}

/// Plain PyTorch: eager launches, a kernel per pointwise op, flash attention, no overlap but that of
/// the gradient buckets.
#[must_use]
pub fn pytorch_eager() -> Stack {
    Stack {
        name: "pytorch-eager".to_owned(),
        attention: AttentionKernel::Flash,
        overlap_data: 0.5,
        source: "launch floor: that of megatron-deepspeed-2021; the rest nominal".to_owned(),
        ..megatron_deepspeed_2021()
    }
}

/// Compiled PyTorch: fused chains and recorded launches, which have no floor.
#[must_use]
pub fn compiled() -> Stack {
    Stack {
        name: "compiled".to_owned(),
        launch: Launch::CudaGraphs,
        elementwise: Elementwise::Fused,
        ..pytorch_eager()
    }
}

/// The stack that training is priced with where none is named.
#[must_use]
pub fn of_training() -> Stack {
    megatron_core()
}

/// All presets.
#[must_use]
pub fn presets() -> [Stack; 5] {
    [megatron_deepspeed_2021(), megatron_core(), torchtitan(), pytorch_eager(), compiled()]
}

/// The preset of a name.
#[must_use]
pub fn preset(name: &str) -> Option<Stack> {
    presets().into_iter().find(|stack| stack.name == name)
}

fn floor(seconds: f64) -> Seconds {
    Seconds::new(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_by_their_names_and_within_bounds() {
        for stack in presets() {
            assert_eq!(preset(&stack.name), Some(stack.clone()));
            assert!((0.0..=1.0).contains(&stack.overlap_data), "{stack:?}");
            assert!((0.0..=1.0).contains(&stack.overlap_tensor), "{stack:?}");
            assert!(stack.derating > 0.0 && stack.derating <= 1.0, "{stack:?}");
            assert!(stack.launch_floor.get() > 0.0 && !stack.source.is_empty(), "{stack:?}");
        }
        assert_eq!(preset("no such stack"), None);
    }
}
