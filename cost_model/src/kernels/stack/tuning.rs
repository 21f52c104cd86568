//! Stacks that fine-tune models.

use ir::stack::{CodePath, Elementwise, Keeps, Projections, Stack};

use super::{EAGER_FLOOR_S, FLASH_2, FUSED_RATE, SEPARATE_LOSS, floor, pytorch_eager};

/// Bytes per logit of torchtune's loss in chunks, compiled: the logits in 16 bits, and one chunk of eight in
/// single precision with its gradient.
const CHUNKED_LOSS: f64 = 2.1;
/// The same of the whole loss as `torch.nn.functional.cross_entropy` is written: logits that are shifted and
/// copied in single precision, their log-softmax, its gradient and that of its result, 4 bytes each.
const WHOLE_LOSS: f64 = 16.0;
/// The same where a model of Transformers 4 computes it, which returns its logits in single precision besides.
const RETURNED_LOSS: f64 = 20.0;
/// The same in Transformers 5, which shifts labels and no logits: their log-softmax, its gradient and that of its
/// result in single precision (`loss/loss_utils.py`). Gradients of the head come when these are gone.
const SHIFTED_LABELS_LOSS: f64 = 12.0;
/// Bytes per parameter of the largest weight while its 8-bit moments are updated: both, and the weight, in
/// single precision, with the new values of the weight in 16 bits (torchao's `single_param_adam`).
const WIDE_MOMENTS: f64 = 13.0;

/// torchtune (2024) with compiled blocks and the loss in chunks: parameters, gradients and moments in 16 bits.
#[must_use]
pub fn torchtune() -> Stack {
    Stack {
        name: "torchtune".to_owned(),
        attention_rate: FLASH_2,
        elementwise: Elementwise::Fused,
        path: CodePath::Tuned,
        pointwise_rate: FUSED_RATE,
        launch_floor: floor(EAGER_FLOOR_S / 4.0),
        projections: Projections::Apart,
        sums_before_sharing: false,
        keeps: Keeps {
            is_half: true,
            is_fused: true,
            frees_gradients: true,
            quantises_targets: true,
            loss: Some(CHUNKED_LOSS),
            head_gradients: 2.0,
            shards_ends: true,
            update: WIDE_MOMENTS,
            as_written: false,
            repeats_heads: false,
            steps_in_backward: false,
            placeholders: false,
        },
        source: "torchtune's recipes of November 2024; its memory is judged in tests/data/finetuning.csv; times as \
                 torchtitan's, nominal"
            .to_owned(),
        ..pytorch_eager()
    }
}

/// torchtune as its modules are written, with the loss of the whole batch at once.
fn torchtune_eager() -> Stack {
    let compiled = torchtune();
    Stack {
        name: "torchtune-eager".to_owned(),
        elementwise: Elementwise::Eager,
        path: CodePath::Eager,
        launch_floor: floor(EAGER_FLOOR_S),
        loss_bytes: SEPARATE_LOSS,
        keeps: Keeps {
            is_fused: false,
            as_written: true,
            repeats_heads: true,
            loss: Some(WHOLE_LOSS),
            ..compiled.keeps
        },
        ..compiled
    }
}

/// torchtune whose optimizer runs in the backward pass (`optimizer_in_bwd`).
fn torchtune_in_backward() -> Stack {
    in_backward("torchtune-in-backward", torchtune())
}

/// The same as its modules are written.
fn torchtune_eager_in_backward() -> Stack {
    in_backward("torchtune-eager-in-backward", torchtune_eager())
}

fn in_backward(name: &str, stack: Stack) -> Stack {
    let keeps = Keeps { steps_in_backward: true, ..stack.keeps };
    Stack { name: name.to_owned(), keeps, ..stack }
}

/// PEFT on Transformers 5: modules as they are written, scaled-dot-product attention of grouped heads, the loss of
/// the whole batch at once.
fn peft() -> Stack {
    let older = peft_2024();
    Stack {
        name: "peft".to_owned(),
        attention_rate: pytorch_eager().attention_rate,
        keeps: Keeps {
            repeats_heads: false,
            loss: Some(SHIFTED_LABELS_LOSS),
            head_gradients: 0.0,
            ..older.keeps
        },
        source:
            "code of Llama in Transformers 5 and PEFT's LoRA; memory and times of large batches: \
                 examples/h100-steps/tuning.csv; the rest as pytorch-eager"
                .to_owned(),
        ..older
    }
}

/// PEFT on Transformers 4, which repeats grouped keys and values and returns its logits in single precision.
fn peft_2024() -> Stack {
    Stack {
        name: "peft-2024".to_owned(),
        attention_rate: FLASH_2,
        elementwise: Elementwise::Eager,
        loss_bytes: SEPARATE_LOSS,
        projections: Projections::Apart,
        keeps: Keeps {
            is_half: true,
            as_written: true,
            repeats_heads: true,
            frees_gradients: true,
            loss: Some(RETURNED_LOSS),
            head_gradients: 2.0,
            ..Keeps::default()
        },
        source: "kernels: code of Llama in Transformers 4; memory: tests/data/finetuning.csv; the rest as \
                 pytorch-eager"
            .to_owned(),
        ..pytorch_eager()
    }
}

/// All of them.
pub(super) fn stacks() -> [Stack; 6] {
    [
        torchtune(),
        torchtune_eager(),
        torchtune_in_backward(),
        torchtune_eager_in_backward(),
        peft(),
        peft_2024(),
    ]
}
