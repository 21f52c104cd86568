//! Which kernel of the attention core a stack runs on a device: fused where its library has one for the
//! chip, the element type and the size of heads.
//!
//! | library | fused kernels | need |
//! |---|---|---|
//! | Transformer Engine, JAX | cuDNN (`nvte_get_fused_attn_backend`, `sm_arch >= 80`), FlashAttention 2 (its README) | compute capability 8.0 or CDNA 2, 16 bits, heads of at most 256 elements |
//! | PyTorch | FlashAttention 2, else memory-efficient attention (`sdp_utils.cpp`) | compute capability 5.0 |
//!
//! Without one the core is two products with the scores in memory. Chips that are not known are taken to
//! have what the stack names.

use ir::chip::{Architecture, Chip};
use ir::stack::{AttentionKernel, AttentionLibrary, Stack};
use ir::tensor::DType;

use super::precision;

/// Most elements of a head of FlashAttention 2 and of cuDNN.
pub const MOST_HEAD: u64 = 256;

/// Why a library has no fused kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The chip is older than its kernels.
    Chip(Chip),
    /// The core computes in another type than 16 bits.
    Type(DType),
    /// Heads have so many elements.
    Head(u64),
}

/// Why a library has no fused kernel for a chip, the type of products and the size of heads; `None` where
/// it has one.
#[must_use]
pub fn missing(
    library: AttentionLibrary,
    chip: Chip,
    dtype: DType,
    head_dim: u64,
) -> Option<Missing> {
    use Architecture::{Kepler, Pascal, Turing, Volta};
    let architecture = chip.architecture();
    match library {
        AttentionLibrary::PyTorch => (architecture == Kepler).then_some(Missing::Chip(chip)),
        AttentionLibrary::TransformerEngine => {
            if matches!(architecture, Kepler | Pascal | Volta | Turing) {
                return Some(Missing::Chip(chip));
            }
            let beside = precision::beside(dtype);
            if beside.bits() != 16 {
                return Some(Missing::Type(beside));
            }
            (head_dim > MOST_HEAD).then_some(Missing::Head(head_dim))
        }
    }
}

/// A stack as it runs on devices of some chips, all with the same flags, and why its attention is not
/// fused on some of them where it would be elsewhere. Each rank takes the kernel that its own chip has
/// (`--attention-backend auto`), so that the stack's is unfused where no chip has one.
#[must_use]
pub fn on_chips(
    mut stack: Stack,
    chips: impl IntoIterator<Item = Chip>,
    dtype: DType,
    head_dim: u64,
) -> (Stack, Option<Missing>) {
    let library = stack.attention_library;
    let each = chips.into_iter().map(|chip| missing(library, chip, dtype, head_dim));
    let (found, has): (Vec<_>, Vec<_>) = each.partition(Option::is_some);
    let found: Vec<Missing> = found.into_iter().flatten().collect();
    // User buffers are Transformer Engine's, which runs on the chips of its attention.
    let is_old = found.iter().any(|missing| matches!(missing, Missing::Chip(_)));
    if is_old && library == AttentionLibrary::TransformerEngine {
        stack.overlap_tensor = 0.0;
    }
    let was_fused = stack.attention == AttentionKernel::Flash;
    let lack = found.into_iter().next().filter(|_| was_fused);
    if lack.is_some() && has.is_empty() {
        stack.attention = AttentionKernel::Unfused;
    }
    (stack, lack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::stack::{megatron_core, pytorch_eager};

    #[test]
    fn kernels_by_library_and_chip() {
        let fused = |stack: Stack, chip, dtype, head| {
            on_chips(stack, [chip], dtype, head).0.attention == AttentionKernel::Flash
        };
        let old = [Chip::K80, Chip::P100, Chip::V100, Chip::T4, Chip::Rtx20];
        for chip in old {
            assert!(!fused(megatron_core(), chip, DType::F16, 64), "{chip:?}");
            assert_eq!(fused(pytorch_eager(), chip, DType::F16, 64), chip != Chip::K80);
        }
        for chip in [Chip::A100, Chip::Rtx30, Chip::L40, Chip::H100, Chip::B200, Chip::Mi300] {
            assert!(fused(megatron_core(), chip, DType::Bf16, 256), "{chip:?}");
            assert!(fused(megatron_core(), chip, DType::F8, 128), "{chip:?}");
            assert!(!fused(megatron_core(), chip, DType::F32, 128), "{chip:?}");
            assert!(!fused(megatron_core(), chip, DType::Bf16, 264), "{chip:?}");
            assert!(fused(pytorch_eager(), chip, DType::F32, 264), "{chip:?}");
        }
        // Some have a kernel.
        let mixed = on_chips(megatron_core(), [Chip::A100, Chip::V100], DType::F16, 64).0;
        assert_eq!((mixed.attention, mixed.overlap_tensor), (AttentionKernel::Flash, 0.0));
        let wide = on_chips(megatron_core(), [Chip::H100], DType::F32, 64).0;
        assert_eq!(wide.overlap_tensor, megatron_core().overlap_tensor);
    }
}
