//! Training graphs made from real inference graphs, against PyTorch's own count of forward and
//! backward (`docs/data.md`).

use importers::ImportOptions;
use ir::op::{Phase, Work};
use ir::workload::{Mode, Workload};

use crate::data;

/// Model and FLOPs of forward plus backward as `FlopCounterMode` has them, less what the counter
/// adds: for sd15_unet the fused attention kernel computes its scores anew in the backward pass,
/// which counts five products where two went forward: half of 126,052,270,080. gnmt is three times
/// its forward figure, because the counter sees no LSTM cells.
const REFERENCE: &[(&str, u64)] = &[
    ("bert_base", 85_497_348_096),
    ("bert_large", 1_104_257_482_752),
    ("gnmt", 3 * 20_401_356_800),
    ("gpt2_small", 874_944_921_600),
    ("gpt2_xl", 10_520_110_694_400),
    ("inception_v3", 34_240_933_248),
    ("llama3_8b", 98_814_312_579_072),
    ("mixtral_8x7b", 19_684_908_859_392),
    ("mixtral_small", 205_000_802_304),
    ("resnet50", 24_299_077_632),
    ("sd15_unet", 2_469_799_198_720 - 126_052_270_080 / 2),
    ("t5_base", 176_588_587_008),
    ("vit_l_16", 369_019_994_112),
    ("whisper_small", 1_223_199_129_600),
];

#[test]
fn forward_and_backward_do_the_products_that_pytorch_counts() {
    let Some(folder) = data::folder() else { return };
    for (name, expected) in REFERENCE {
        let path = folder.join(format!("models/onnx/{name}.onnx"));
        let graph = importers::read(&path, &ImportOptions::default()).unwrap().graph;
        let forward = graph.flops();
        let workload = Workload { mode: Mode::Training, ..Workload::default() };
        let (training, _) = cost_model::ops::workload::apply(graph, &workload).unwrap();
        assert_eq!(training.flops().get(), *expected, "{name}");
        let of_phase = |phase: Phase| {
            let ops = training.ops.iter().filter(|op| op.phase == phase);
            ops.map(|op| match &op.work {
                Work::Kernel(kernel) => kernel.flops().get(),
                Work::View | Work::Given(_) => 0,
            })
            .sum::<u64>()
        };
        assert_eq!(of_phase(Phase::Forward), forward.get(), "{name}");
        assert_eq!(of_phase(Phase::Optimizer), 0, "{name}");
        assert!(of_phase(Phase::BackwardWeight) > 0, "{name}");
    }
}
