//! What published runs showed, nothing fitted: `cargo test --test it -- intervals` holds this table
//! against `validate`, and writes it anew with `MESHWRIGHT_BLESS=1`.

use super::{Architecture, Family, Judged, Likeness};

const fn judged(
    set: &'static str,
    (stack, architecture, bits): (Family, Architecture, u32),
    [is_sharded, has_experts]: [bool; 2],
    (n_models, squares): (u32, f64),
) -> Judged<'static> {
    let like = Likeness { stack, architecture, bits, is_sharded, has_experts };
    Judged { set, like, n_models, squares }
}

/// Of each published set, runs that are alike.
#[rustfmt::skip]
pub static JUDGED: [Judged<'static>; 33] = [
    judged("runs Bridge FP8 dense", (Family::MegatronCore, Architecture::Hopper, 8), [false, false], (1, 0.0004)),
    judged("runs Bridge FP8 dense", (Family::MegatronCore, Architecture::Hopper, 8), [true, false], (1, 0.0050)),
    judged("runs Bridge FP8 dense", (Family::MegatronCore, Architecture::Blackwell, 8), [false, false], (2, 0.0044)),
    judged("runs Bridge FP8 dense", (Family::MegatronCore, Architecture::Blackwell, 8), [true, false], (1, 0.0009)),
    judged("runs Bridge experts", (Family::MegatronCore, Architecture::Hopper, 8), [false, true], (2, 0.0148)),
    judged("runs Bridge experts", (Family::MegatronCore, Architecture::Hopper, 16), [false, true], (1, 0.0227)),
    judged("runs Bridge experts", (Family::MegatronCore, Architecture::Blackwell, 8), [false, true], (2, 0.0125)),
    judged("runs Bridge experts", (Family::MegatronCore, Architecture::Blackwell, 16), [false, true], (1, 0.0080)),
    judged("runs Megatron-Core H100", (Family::MegatronCore, Architecture::Hopper, 16), [false, false], (4, 0.1407)),
    judged("runs NeuSight inference", (Family::PyTorch, Architecture::Ampere, 32), [false, false], (3, 0.0044)),
    judged("runs NeuSight inference", (Family::PyTorch, Architecture::Hopper, 32), [false, false], (3, 0.0055)),
    judged("runs NeuSight inference", (Family::PyTorch, Architecture::Other, 32), [false, false], (2, 0.0102)),
    judged("runs NeuSight training", (Family::PyTorch, Architecture::Ampere, 32), [false, false], (3, 0.0977)),
    judged("runs NeuSight training", (Family::PyTorch, Architecture::Hopper, 32), [false, false], (3, 0.0282)),
    judged("runs SC21 ZeRO-3", (Family::Megatron2021, Architecture::Ampere, 16), [true, false], (1, 0.0491)),
    judged("runs SC21 tensor + pipeline", (Family::Megatron2021, Architecture::Ampere, 16), [false, false], (1, 0.0021)),
    judged("runs golden over 0.3 s", (Family::MegatronTests, Architecture::Ampere, 16), [false, false], (1, 0.0229)),
    judged("runs golden over 0.3 s", (Family::MegatronTests, Architecture::Ampere, 16), [false, true], (1, 0.0278)),
    judged("runs golden over 0.3 s", (Family::MegatronTests, Architecture::Ampere, 16), [true, true], (1, 0.2029)),
    judged("runs golden over 0.3 s", (Family::MegatronTests, Architecture::Hopper, 16), [false, false], (1, 0.9962)),
    judged("runs golden over 0.3 s", (Family::MegatronTests, Architecture::Hopper, 16), [false, true], (1, 0.6691)),
    judged("runs golden over 0.3 s", (Family::MegatronTests, Architecture::Hopper, 16), [true, true], (1, 0.0122)),
    judged("runs golden over 0.3 s", (Family::MegatronTests, Architecture::Blackwell, 16), [false, false], (1, 1.6672)),
    judged("runs golden over 0.3 s", (Family::MegatronTests, Architecture::Blackwell, 16), [false, true], (1, 1.1792)),
    judged("runs golden over 0.3 s", (Family::MegatronTests, Architecture::Blackwell, 16), [true, false], (1, 1.8819)),
    judged("runs golden over 0.3 s", (Family::MegatronTests, Architecture::Blackwell, 16), [true, true], (1, 0.4405)),
    judged("runs torchtitan", (Family::Torchtitan, Architecture::Hopper, 8), [true, false], (2, 0.0150)),
    judged("runs torchtitan", (Family::Torchtitan, Architecture::Hopper, 16), [true, false], (2, 0.0056)),
    judged("steps BigScience A100", (Family::Megatron2021, Architecture::Ampere, 16), [false, false], (11, 0.3998)),
    judged("steps Korthikanti", (Family::Megatron2021, Architecture::Ampere, 16), [false, false], (2, 0.0029)),
    judged("steps SC21", (Family::Megatron2021, Architecture::Ampere, 16), [false, false], (7, 0.0076)),
    judged("steps vTrain multi", (Family::Megatron2021, Architecture::Ampere, 16), [false, false], (2, 0.0682)),
    judged("steps vTrain single", (Family::Megatron2021, Architecture::Ampere, 16), [false, false], (5, 0.0521)),
];
