//! What was measured of a chip, or is nominal, and holds for every device of it: one row a chip, by element
//! type where figures are of one.

use ir::chip::Chip;
use ir::stack::{CodePath, Scaling};
use ir::tensor::DType;

/// Products of several experts in one kernel: operations at a share of the peak rate of their type,
/// `1 + narrow / f` times over for experts of a width `f`.
///
/// Shares: products of 1e12 operations or more of `gemm.csv` and `gemm_fp8.csv`. Widths: balanced
/// layers of 1,024 tokens or more of `moe_dtypes.csv` (aiconfigurator 0.12.0), median error 10 to 22 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grouped {
    /// Share of the peak rate.
    pub efficiency: f64,
    /// Width at which a product takes twice as long.
    pub narrow: f64,
}

/// Shares of the rate of the links inside a host that exchanges of tokens reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange {
    /// Tokens on their way to experts, once for each rank (DeepEP's normal kernels).
    pub dispatch: f64,
    /// Their results on the way back.
    pub combine: f64,
    /// NCCL's all-to-all.
    pub all_to_all: f64,
}

/// Element types and scalings that constants of products tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operands {
    Single,
    Half,
    Eighth,
    EighthBlocks,
    Fourth,
}

impl Operands {
    pub(super) const fn of(dtype: DType, scaling: Scaling) -> Self {
        match (dtype, scaling) {
            (DType::F32 | DType::F64, _) => Self::Single,
            (DType::F8, Scaling::Block) => Self::EighthBlocks,
            (DType::F8, _) => Self::Eighth,
            (DType::F4, _) => Self::Fourth,
            _ => Self::Half,
        }
    }
}

/// Constants of products: name of the GPU in the tables; launch in microseconds, compute and memory
/// efficiency, p, k0, small-tile penalty, extra microseconds of the split-k escape.
type Fit = (&'static str, [f64; 7]);

/// Figures of a chip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generation {
    chip: Chip,
    /// Seconds that kernels and transfers lose to each other for each second that they share: inside
    /// hosts, and across them.
    ///
    /// Across hosts 0.07, inside 0.5 on A100 (`overlap.csv`). Inside on later ones 0.15, nominal:
    /// transfers take as many multiprocessors there (20 to 24) of more.
    pub slowed: [f64; 2],
    /// Shares of the links inside (`expert_exchange.csv`, over `links.csv`).
    pub exchange: Exchange,
    /// In 16 bits, in 8 bits scaled by tensors, and in 8 bits scaled by blocks.
    grouped: [Grouped; 3],
    /// Products in a step, by [`Operands`].
    products: [Option<Fit>; 5],
    /// Rate of large products in a step over that of the same kernel alone; watts, multiprocessors and
    /// gigahertz of the part that is limited least by its power (data sheets).
    ///
    /// H100 0.855 and Blackwell 0.828, fitted on published steps of Llama 3 in fp8 (Megatron-Bridge at
    /// 067f987d), of GPT in bf16 (Megatron-Core r0.8.0) and of torchtitan.
    pub(super) power: Option<(f64, [f64; 3])>,
    /// Rate of large products of more than 8 bits in a step of eager PyTorch over that of tuned code.
    ///
    /// H100 0.864: fitted on llm-foundry's steps of MPT 1b to 30b (2023), with which steps of nanotron (2024)
    /// agree that no constant was fitted on. Those of 8 bits agree with the rate of Megatron's (Transformer
    /// Engine runs both), those on A100 with 0.99. Other chips: nominal.
    eager: f64,
    /// Of that rate, what is left in steps in 16 bits, whose products draw more.
    ///
    /// B200 0.85: fitted on Megatron-Bridge's seven mixtures in bf16 on B200 and B300, at 1,000 and
    /// 1,100 W; GB200 at 1,200 W shows nothing of it (NeMo's Llama 3.1 405B in bf16 is 1 to 3 % faster
    /// than said).
    pub(super) in_16_bits: f64,
    /// Fused attention: peak rate in 16 bits of the device that rows are of; by growing size of heads
    /// elements, operations per second, tokens.
    pub(super) attention: Option<(f64, &'static [[f64; 3]])>,
}

const fn grouped(figures: [(f64, f64); 3]) -> [Grouped; 3] {
    let [a, b, c] = figures;
    const fn of((efficiency, narrow): (f64, f64)) -> Grouped {
        Grouped { efficiency, narrow }
    }
    [of(a), of(b), of(c)]
}

/// 388 and 329 GB/s in DeepEP's kernels and 330 in NCCL's, of 445.
const NVLINK_4: Exchange =
    Exchange { dispatch: 388.0 / 445.0, combine: 329.0 / 445.0, all_to_all: 330.0 / 445.0 };
/// 479, 455 and 560 GB/s of 704.
const NVLINK_5: Exchange =
    Exchange { dispatch: 479.0 / 704.0, combine: 455.0 / 704.0, all_to_all: 560.0 / 704.0 };

/// Share that an A100 keeps up in a step: what stacks' deratings say.
pub(super) const USUAL: f64 = 0.9;

/// A chip without a row: what an A100 has of all but products, attention and power. Widths and shares of
/// links are those of the H100, nominal.
const OTHER: Generation = Generation {
    chip: Chip::Other,
    slowed: [0.5, 0.07],
    exchange: NVLINK_4,
    grouped: grouped([(0.838, 220.0), (0.60, 230.0), (0.55, 1361.0)]),
    products: [None; 5],
    power: None,
    eager: 1.0,
    in_16_bits: 1.0,
    attention: None,
};

const T4: Generation = Generation {
    chip: Chip::T4,
    products: [Some(("T4", [2.6, 0.59, 0.77, 2.65, 0.0, 0.0, 0.0])), None, None, None, None],
    power: Some((USUAL, [250.0, 68.0, 1.545])),
    ..OTHER
};
const A100: Generation = Generation {
    chip: Chip::A100,
    products: [
        Some(("A100", [2.55, 0.95, 0.75, 1.68, 103.0, 0.64, 4.1])),
        Some(("A100 SXM", [2.55, 0.82, 0.75, 1.68, 103.0, 0.64, 4.1])),
        None,
        None,
        None,
    ],
    power: Some((USUAL, [400.0, 108.0, 1.41])),
    attention: Some((312e12, &[[128.0, 152e12, 661.0]])),
    ..OTHER
};
const L40: Generation =
    Generation { chip: Chip::L40, power: Some((USUAL, [350.0, 142.0, 2.52])), ..OTHER };
const H100: Generation = Generation {
    chip: Chip::H100,
    slowed: [0.15, 0.07],
    grouped: grouped([(0.77, 220.0), (0.60, 230.0), (0.55, 1361.0)]),
    products: [
        Some(("H100", [2.58, 0.82, 0.82, 2.84, 40.0, 0.0, 3.4])),
        Some(("H100 SXM", [2.58, 0.79, 0.82, 2.84, 40.0, 0.0, 3.4])),
        Some(("H100 SXM", [3.0, 0.77, 0.84, 1.60, 223.0, 0.12, 5.2])),
        Some(("H100 SXM", [3.0, 0.57, 0.51, 1.62, 87.0, 1.0, 60.0])),
        None,
    ],
    power: Some((0.855, [700.0, 132.0, 1.83])),
    eager: 0.864,
    attention: Some((
        989.4e12,
        &[[64.0, 482e12, 1810.0], [128.0, 560e12, 1100.0], [256.0, 588e12, 1209.0]],
    )),
    ..OTHER
};
const B200: Generation = Generation {
    chip: Chip::B200,
    slowed: [0.15, 0.07],
    exchange: NVLINK_5,
    grouped: grouped([(0.68, 455.0), (0.553, 558.0), (0.566, 622.0)]),
    products: [
        None,
        Some(("B200", [2.11, 0.68, 0.74, 2.45, 17.0, 0.28, 3.6])),
        Some(("B200", [3.0, 0.67, 0.68, 2.43, 50.0, 0.29, 15.8])),
        Some(("B200", [3.0, 0.65, 0.40, 2.96, 0.0, 0.0, 0.15])),
        Some(("B200", [3.0, 0.46, 0.61, 2.46, 385.0, 1.0, 33.0])),
    ],
    power: Some((0.828, [1000.0, 148.0, 1.965])),
    eager: 1.0,
    in_16_bits: 0.85,
    attention: Some((2.25e15, &[[64.0, 787e12, 2100.0], [128.0, 1250e12, 2600.0]])),
};
/// Shares of links are those of the B200, nominal.
const GB200: Generation = Generation {
    chip: Chip::Gb200,
    grouped: grouped([(0.65, 439.0), (0.53, 772.0), (0.58, 654.0)]),
    products: [
        None,
        Some(("GB200", [2.16, 0.66, 0.76, 2.53, 0.0, 0.20, 3.6])),
        Some(("GB200", [3.0, 0.60, 0.80, 1.92, 0.0, 0.64, 0.0])),
        Some(("GB200", [3.0, 0.64, 0.40, 4.27, 0.0, 0.0, 30.6])),
        Some(("GB200", [3.0, 0.47, 0.74, 1.75, 338.0, 1.0, 41.8])),
    ],
    power: Some((0.828, [1200.0, 152.0, 2.062])),
    in_16_bits: 1.0,
    attention: Some((2.5e15, &[[64.0, 866e12, 2100.0], [128.0, 1375e12, 2600.0]])),
    ..B200
};
/// Power: products of 30 to 380 ms of `gemm.csv` reach no less than those of 1 to 3 ms (0.81 and 0.79 of the
/// peak in the middle; H100 0.73 and 0.79, B200 0.57 and 0.69). Attention: FlashAttention 2 of vLLM 0.24,
/// aiconfigurator 0.12.0, prompts of 256 tokens and more, mean error 11 to 14 %.
const RTX_PRO_6000: Generation = Generation {
    chip: Chip::RtxPro6000,
    products: [
        None,
        Some(("RTX PRO 6000", [0.0, 0.76, 0.94, 3.19, 485.0, 0.0, 4.6])),
        None,
        None,
        None,
    ],
    power: Some((1.0, [600.0, 188.0, 2.6])),
    attention: Some((
        503.8e12,
        &[[64.0, 296e12, 1150.0], [128.0, 318e12, 800.0], [256.0, 317e12, 650.0]],
    )),
    ..OTHER
};

/// Share kept up in a step: settled on Megatron-LM's steps of Llama 3.1 8B and 70B on MI325X, fp8 and bf16,
/// of 1,000 W each (`tests/data/amd_training`), four rows, which were 14 to 25 % too fast at an A100's.
/// Settled on either model alone it is 0.68 and 0.71.
const MI300: Generation =
    Generation { chip: Chip::Mi300, power: Some((0.70, [1000.0, 304.0, 2.1])), ..OTHER };
/// The share of the MI300, nominal.
const MI350: Generation =
    Generation { chip: Chip::Mi350, power: Some((0.70, [1400.0, 256.0, 2.4])), ..OTHER };

const GENERATIONS: [Generation; 9] = [T4, A100, L40, H100, B200, GB200, RTX_PRO_6000, MI300, MI350];

impl Generation {
    /// Products of experts in a type.
    #[must_use]
    pub const fn grouped(&self, dtype: DType, scaling: Scaling) -> Grouped {
        let [half, tensors, blocks] = self.grouped;
        match Operands::of(dtype, scaling) {
            Operands::Single | Operands::Half => half,
            Operands::Eighth => tensors,
            Operands::EighthBlocks | Operands::Fourth => blocks,
        }
    }

    /// Rate of large products in a step of a code path over that of tuned code.
    pub(super) const fn share_of(&self, path: CodePath, operands: Operands) -> f64 {
        match (path, operands) {
            (CodePath::Eager, Operands::Half) => self.eager,
            _ => 1.0,
        }
    }

    /// Products of other kinds; none where none were measured.
    pub(super) const fn products(&self, operands: Operands) -> Option<Fit> {
        self.products[operands as usize]
    }
}

/// The row of a chip; one that has none is taken as an A100 but for its products, attention and power.
#[must_use]
pub fn generation(chip: Chip) -> Generation {
    GENERATIONS.into_iter().find(|generation| generation.chip == chip).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_find_their_generation_and_others_the_a100() {
        assert_eq!(generation(Chip::H100).slowed, [0.15, 0.07]);
        assert_eq!(generation(Chip::Gb200).chip, Chip::Gb200);
        for chip in [Chip::T4, Chip::V100, Chip::Other] {
            let generation = generation(chip);
            assert_eq!(generation.slowed, A100.slowed);
            assert_eq!((generation.grouped, generation.exchange), (A100.grouped, A100.exchange));
        }
    }
}
