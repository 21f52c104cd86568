//! What other planners reach on the public instances: facts for comparison, nothing is planned
//! with them.
//!
//! Values and CPU seconds of the peers' own programs on their own inputs (msr-fiddle's
//! dnn-partitioning b207b6ad, piper d7fc8cf9, pipedream 7db6a1c3; g++ -O3 on two shared cores,
//! 2026), where not named otherwise; none of the integer programs' values. Seconds were not
//! written down for all.

use cost_model::given::Goal;

/// A peer's result.
pub(crate) struct Peer {
    /// Which program.
    pub(crate) name: &'static str,
    /// Its value, in the unit of the instance's file; `None` = it found nothing that fits.
    pub(crate) value: Option<f64>,
    /// Its CPU seconds, where known.
    pub(crate) seconds: Option<f64>,
}

/// End of a path without extensions, goal, program, value, CPU seconds.
type Row = (&'static str, Goal, &'static str, f64, Option<f64>);

use Goal::{ContiguousMaxLoad, Latency, MaxLoad, SlowestStage};

static ROWS: &[Row] = &[
    ("throughput/layer/bert24_inference", ContiguousMaxLoad, "DP", 17.789_906_25, Some(0.01)),
    ("throughput/layer/bert24_inference", ContiguousMaxLoad, "DP on one order", 17.7899, None),
    ("throughput/layer/bert24_inference", MaxLoad, "local search", 17.7776, None),
    ("throughput/layer/bert24_training", ContiguousMaxLoad, "DP", 41.745_812_5, Some(0.01)),
    ("throughput/layer/bert24_training", ContiguousMaxLoad, "DP on one order", 41.7458, None),
    ("throughput/layer/bert24_training", MaxLoad, "local search", 39.9432, None),
    ("throughput/layer/gnmt_inference", ContiguousMaxLoad, "DP", 32.910_658, Some(9.3)),
    ("throughput/layer/gnmt_inference", ContiguousMaxLoad, "DP on one order", 33.0326, None),
    ("throughput/layer/gnmt_inference", MaxLoad, "local search", 31.7827, None),
    ("throughput/layer/gnmt_training", ContiguousMaxLoad, "DP on one order", 107.0044, None),
    ("throughput/layer/gnmt_training", MaxLoad, "local search", 90.9476, None),
    ("throughput/layer/resnet50_inference", ContiguousMaxLoad, "DP", 33.774_666, Some(0.1)),
    ("throughput/layer/resnet50_inference", ContiguousMaxLoad, "DP on one order", 33.7747, None),
    ("throughput/layer/resnet50_inference", MaxLoad, "local search", 35.8893, None),
    ("throughput/layer/resnet50_training", ContiguousMaxLoad, "DP", 78.631_813, Some(0.11)),
    ("throughput/layer/resnet50_training", ContiguousMaxLoad, "DP on one order", 78.6498, None),
    ("throughput/layer/resnet50_training", MaxLoad, "local search", 81.6046, None),
    ("throughput/operator/bert_l-3_inference", ContiguousMaxLoad, "DP", 27.918_568, Some(0.52)),
    ("throughput/operator/bert_l-3_inference", ContiguousMaxLoad, "DP on one order", 27.9186, None),
    ("throughput/operator/bert_l-3_inference", MaxLoad, "local search", 27.5741, None),
    ("throughput/operator/bert_l-3_training", ContiguousMaxLoad, "DP", 65.303_149, Some(2.8)),
    ("throughput/operator/bert_l-3_training", ContiguousMaxLoad, "DP on one order", 65.3031, None),
    ("throughput/operator/bert_l-3_training", MaxLoad, "local search", 68.0629, None),
    ("throughput/operator/bert_l-12_inference", ContiguousMaxLoad, "DP", 147.477_984, Some(8.2)),
    (
        "throughput/operator/bert_l-12_inference",
        ContiguousMaxLoad,
        "DP on one order",
        147.478,
        None,
    ),
    ("throughput/operator/resnet50_inference", ContiguousMaxLoad, "DP", 124.348_85, Some(0.08)),
    ("throughput/operator/resnet50_inference", ContiguousMaxLoad, "DP on one order", 124.349, None),
    ("throughput/operator/resnet50_training", ContiguousMaxLoad, "DP", 255.194_416, Some(0.19)),
    ("throughput/operator/resnet50_training", ContiguousMaxLoad, "DP on one order", 255.194, None),
    ("latency/layer/bert24_inference", Latency, "greedy", 100.219, None),
    ("latency/layer/bert24_inference", Latency, "DP split", 108.031, None),
    ("latency/layer/resnet50_inference", Latency, "greedy", 4197.06, None),
    ("latency/layer/resnet50_inference", Latency, "DP split", 1443.793, None),
    ("latency/operator/bert_l-3_inference", Latency, "greedy", 416.204, None),
    ("latency/operator/bert_l-3_inference", Latency, "DP split", 414.441, None),
    ("latency/operator/bert_l-12_inference", Latency, "greedy", 867.839, None),
    ("latency/operator/bert_l-12_inference", Latency, "DP split", 1327.031, None),
    ("latency/operator/resnet50_inference", Latency, "greedy", 839.536, None),
    ("latency/operator/resnet50_inference", Latency, "DP split", 1123.653, None),
    ("pipedream-profiles/alexnet", SlowestStage, "optimiser", 28.721, Some(0.3)),
    ("pipedream-profiles/vgg16", SlowestStage, "optimiser", 216.45, Some(0.3)),
    ("pipedream-profiles/resnet50", SlowestStage, "optimiser", 111.497, Some(0.3)),
    ("pipedream-profiles/resnet18", SlowestStage, "optimiser", 69.523, Some(0.3)),
    ("pipedream-profiles/resnet101", SlowestStage, "optimiser", 103.941, Some(0.3)),
    ("pipedream-profiles/resnext50", SlowestStage, "optimiser", 151.988, Some(0.3)),
    ("pipedream-profiles/squeezenet1_0", SlowestStage, "optimiser", 72.954, Some(0.3)),
];

/// Peers' results on an instance, for one goal.
pub(crate) fn on(path: &str, goal: Goal) -> Vec<Peer> {
    let rows = ROWS.iter().filter(|row| path.ends_with(row.0) && row.1 == goal);
    rows.map(|row| Peer { name: row.2, value: Some(row.3), seconds: row.4 }).collect()
}

/// An experiment of Piper's authors, whose limits replace those of the file.
pub(crate) struct Experiment {
    /// End of the path without extensions.
    pub(crate) path: &'static str,
    /// Devices.
    pub(crate) n_devices: usize,
    /// GiB of each.
    pub(crate) memory_gib: u64,
    /// Piper's time per sample; `None` = out of memory.
    pub(crate) value: Option<f64>,
    /// Its CPU seconds.
    pub(crate) seconds: f64,
}

/// Bytes per second of a device in these experiments: 25 x 2^30.
pub(crate) const EXPERIMENT_BANDWIDTH: f64 = 25.0 * (1u64 << 30) as f64;

const fn experiment(
    path: &'static str,
    n_devices: usize,
    memory_gib: u64,
    value: Option<f64>,
    seconds: f64,
) -> Experiment {
    Experiment { path, n_devices, memory_gib, value, seconds }
}

/// The rows of Piper's experiments that were run again.
pub(crate) static EXPERIMENTS: &[Experiment] = &[
    experiment("piper/bert32a100", 8, 2, None, 0.03),
    experiment("piper/bert32a100", 8, 8, Some(0.165_855_75), 0.03),
    experiment("piper/bert32a100", 32, 1, None, 0.06),
    experiment("piper/bert32a100", 32, 8, Some(0.041_515_45), 0.08),
    experiment("piper/bert32a100", 128, 1, Some(0.038_871_75), 0.17),
    experiment("piper/bert32a100", 128, 2, Some(0.015_146_41), 0.21),
    experiment("piper/bert32a100", 128, 8, Some(0.010_120_88), 0.28),
    experiment("piper/bert32a100", 512, 1, Some(0.008_780_04), 2.1),
    experiment("piper/bert32a100", 512, 8, Some(0.002_561_13), 2.5),
    experiment("piper/resnet", 8, 4, Some(73.493_286), 2.0),
    experiment("piper/resnet", 16, 2, Some(76.521_313), 2.9),
    experiment("piper/resnet", 32, 2, Some(24.625_899), 4.8),
    experiment("piper/resnet", 64, 2, Some(11.333_79), 5.8),
    experiment("piper/resnet", 128, 2, Some(5.406_078), 8.5),
    experiment("piper/resnet", 128, 8, Some(3.894_504), 10.6),
];
