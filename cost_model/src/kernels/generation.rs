//! What was measured by generation of GPU and holds for every device of it.

use ir::chip::Chip;
use ir::stack::Scaling;
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

/// Figures of a generation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generation {
    chip: Chip,
    /// Seconds that kernels and transfers lose to each other for each second that they share: inside
    /// hosts, and across them.
    ///
    /// Across hosts 0.07, inside 0.5 on A100 (`overlap.csv`). Inside on later ones 0.15, nominal:
    /// transfers take as many multiprocessors there (20 to 24) of more.
    pub slowed: [f64; 2],
    /// In 16 bits, in 8 bits scaled by tensors, and in 8 bits scaled by blocks.
    grouped: [Grouped; 3],
    /// Host seconds of a block with experts, forward and backward, with a dispatcher of few kernels.
    ///
    /// H100 and B200: fitted on the 19 mixtures of Megatron-Bridge, nominal 2.4 ms, three passes of the
    /// launch floor of vTrain (f8dda847). A100: that of the H100, as it is the host's. No step on A100 was
    /// used; those of Megatron-LM's functional tests (d98e8a64) show 3.6 ms, 4.8 where ranks exchange
    /// tokens.
    pub launches_s: f64,
    /// Shares of the links inside (`expert_exchange.csv`, over `links.csv`).
    pub exchange: Exchange,
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

/// Widths and shares of links are those of the H100, nominal.
const A100: Generation = Generation {
    chip: Chip::A100,
    slowed: [0.5, 0.07],
    grouped: grouped([(0.838, 220.0), (0.60, 230.0), (0.55, 1361.0)]),
    launches_s: 4.0e-3,
    exchange: NVLINK_4,
};
const H100: Generation = Generation {
    chip: Chip::H100,
    slowed: [0.15, 0.07],
    grouped: grouped([(0.77, 220.0), (0.60, 230.0), (0.55, 1361.0)]),
    launches_s: 4.0e-3,
    exchange: NVLINK_4,
};
const B200: Generation = Generation {
    chip: Chip::B200,
    slowed: [0.15, 0.07],
    grouped: grouped([(0.68, 455.0), (0.553, 558.0), (0.566, 622.0)]),
    launches_s: 3.1e-3,
    exchange: NVLINK_5,
};
/// Launches and shares of links are those of the B200, nominal.
const GB200: Generation = Generation {
    chip: Chip::Gb200,
    grouped: grouped([(0.65, 439.0), (0.53, 772.0), (0.58, 654.0)]),
    ..B200
};

const GENERATIONS: [Generation; 4] = [A100, H100, B200, GB200];

impl Generation {
    /// Products of experts in a type.
    #[must_use]
    pub const fn grouped(&self, dtype: DType, scaling: Scaling) -> Grouped {
        let [half, tensors, blocks] = self.grouped;
        match (dtype, scaling) {
            (DType::F8, Scaling::Tensor | Scaling::Row) => tensors,
            (DType::F8, Scaling::Block) | (DType::F4, _) => blocks,
            _ => half,
        }
    }
}

/// The generation of a chip; one that has no row is taken as an A100.
#[must_use]
pub fn generation(chip: Chip) -> Generation {
    GENERATIONS.into_iter().find(|own| own.chip == chip).unwrap_or(A100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_find_their_generation_and_others_the_a100() {
        assert_eq!(generation(Chip::H100).slowed, [0.15, 0.07]);
        assert_eq!(generation(Chip::Gb200).chip, Chip::Gb200);
        for chip in [Chip::A100, Chip::V100, Chip::Other] {
            assert_eq!(generation(chip), A100);
        }
    }
}
