//! Every kind of plan by small ones: of what they are, on what verbs read them again, and what verbs
//! answer.

use super::flags::folder as flagged;
use super::folder::Folder;
use super::followed::{layers, load_instance};
use super::gradients::on_ten_gigabit;
use super::{averaging, deterministic, expertflow, experts, findep, lossy, nano_batches, serving};
use super::{tasks, training, unlike};

pub(super) struct Kind {
    pub(super) name: &'static str,
    /// The first is tried with everything.
    pub(super) plans: &'static [Small],
    /// Formats that the first has.
    pub(super) targets: &'static [&'static str],
    /// Exit codes of [`VERBS`] on the first.
    pub(super) exits: [i32; 5],
}

/// A plan that is quickly made.
pub(super) struct Small {
    pub(super) model: &'static str,
    /// What a verb needs beside plan and model.
    pub(super) on: &'static str,
    asked: &'static str,
}

pub(super) const VERBS: [&str; 5] = ["verify", "simulate", "explain", "compare", "export"];

const fn small(model: &'static str, on: &'static str, flags: &'static str) -> Small {
    Small { model, on, asked: flags }
}

pub(super) const KINDS: [Kind; 17] = [
    Kind {
        name: "ops",
        plans: &[
            small("config.json", ONE, "--dim sequence=64 --algorithm m-etf"),
            small("config.json", ONE, "--dim sequence=64 --batch 4 --node-budget 500"),
            small(
                "config.json",
                TWO,
                "--dim sequence=64 --batch 8 --workload training --optimizer sgd \
                 --algorithm heft,local-search --node-budget 200",
            ),
            small(
                "dense.json",
                UNLIKE,
                "--dim sequence=64 --dtype f16 --objective max-load --algorithm contiguous",
            ),
            small(
                "dense.json",
                ONE,
                "--dim sequence=64 --for vllm --pipeline-only --node-budget 200",
            ),
            small("experts.json", ONE, "--dim sequence=64 --for llama.cpp --node-budget 200"),
            small("model.json", "", "--algorithm brute-force"),
            small("layers.json", "", "--node-budget 500"),
        ],
        targets: &["trace", "dot", "svg", "accelerate", "max-memory"],
        exits: [0; 5],
    },
    Kind {
        name: "degrees",
        plans: &[
            small("billion.json", TWO, "--global-batch 32 --sequence-length 2048"),
            small("billion.json", TWO, "--global-batch 32 --sequence-length 2048 --for torchtitan"),
            small(
                "billion.json",
                TWO,
                "--global-batch 32 --sequence-length 2048 --pin pipeline=4 --pin schedule=1f1b",
            ),
            small(
                "experts.json",
                TWO,
                "--global-batch 64 --sequence-length 2048 --pin expert=4 --pin expert-overlap=on",
            ),
            small(
                "billion.json",
                ONE,
                "--global-batch 16 --sequence-length 512 --objective energy-per-token \
                 --pin tensor=1 --node-budget 50",
            ),
            small("apart.json", TWO, "--global-batch 16 --sequence-length 1024 --spares 1"),
            small(
                "billion.json",
                TWO,
                "--global-batch 32 --sequence-length 2048 --replace degrees1.plan \
                 --lost node0.gpu3",
            ),
            small(
                "billion.json",
                ONE,
                "--global-batch 16 --sequence-length 512 --max-memory-per-device 1GB",
            ),
        ],
        targets: &["svg", "trace", "megatron", "torchtitan", "deepspeed", "flagscale"],
        exits: [0; 5],
    },
    Kind {
        name: "layers",
        plans: &[
            small("config.json", MEASURED, "--global-batch 32 --sequence-length 512"),
            small(
                "config.json",
                MEASURED,
                "--global-batch 32 --sequence-length 512 --max-memory-per-device 2300MiB \
                 --pin pipeline=2",
            ),
            small(
                "config.json",
                MEASURED,
                "--global-batch 16 --sequence-length 512 --pin data=4 --pin zero=3",
            ),
            small(
                "config.json",
                MEASURED,
                "--global-batch 16 --sequence-length 512 --pin sequence-parallel=ulysses \
                 --pin tensor=2",
            ),
            small(
                "config.json",
                MEASURED,
                "--global-batch 16 --sequence-length 512 --max-memory-per-device 1GiB",
            ),
        ],
        targets: &["galvatron", "svg"],
        exits: [0; 5],
    },
    Kind {
        name: "unlike",
        plans: &[
            small("dense.json", UNLIKE, "--global-batch 32 --sequence-length 1024 --dtype f16"),
            small("dense.json", UNLIKE, "--global-batch 8 --sequence-length 256"),
            small(
                "dense.json",
                UNLIKE,
                "--global-batch 8 --sequence-length 256 --dtype f16 --max-memory-per-device 2GB",
            ),
            small(
                "dense.json",
                UNLIKE,
                "--global-batch 8 --sequence-length 256 --dtype f16 --algorithm unlike-nodes \
                 --allow-lossy ada-top-k=0.01",
            ),
            small(
                "dense.json",
                ONE,
                "--global-batch 8 --sequence-length 256 --algorithm unlike-nodes",
            ),
            small(
                "dense.json",
                UNLIKE,
                "--global-batch 8 --sequence-length 256 --dtype f16 --node-budget 20 \
                 --objective energy-per-token",
            ),
        ],
        targets: &["flagscale", "svg", "trace"],
        exits: [0; 5],
    },
    Kind {
        name: "load",
        plans: &[
            small("dnn.json", "", ""),
            small("load.json", "", "--objective max-load --accelerators 2 --node-budget 2000"),
            small("load.json", "", "--objective contiguous-max-load --node-budget 2000"),
            small("load.json", "", "--objective latency --node-budget 200"),
            small("pipeline.json", "", "--objective time-per-sample"),
            small("profile.graph.txt", "", "--objective slowest-stage"),
        ],
        targets: &["split", "pipedream"],
        exits: [0; 5],
    },
    Kind {
        name: "tasks",
        plans: &[small("tasks.json", "", ""), small("tasks.json", "", "--algorithm lpt")],
        targets: &[],
        exits: [0, 0, 0, 0, 2],
    },
    Kind {
        name: "averaging",
        plans: &[
            small("pairs.json", "", ""),
            small("clients.json", "", ""),
            small("replicas.json", "", ""),
            small("replicas.json", "", "--allow-lossy"),
        ],
        targets: &[],
        exits: [0, 0, 0, 0, 2],
    },
    Kind {
        name: "copies",
        plans: &[
            small(
                "experts.json",
                H100,
                "--phase decode --batch 256 --expert-skew visits.json \
                 --algorithm expert-placement(slots=3) --node-budget 2000",
            ),
            small(
                "experts.json",
                H100,
                "--phase decode --batch 256 --expert-skew zipf:1.2 \
                 --algorithm eplb(slots=3,groups=4)",
            ),
            small(
                "experts.json",
                H100,
                "--phase prefill --batch 8 --sequence-length 128 --expert-skew visits.json \
                 --algorithm eplb(slots=4)",
            ),
            small(
                "experts.json",
                ONE,
                "--phase training --batch 8 --algorithm expert-placement(slots=5)",
            ),
            small("experts.json", ONE, "--routing-trace trace.jsonl --algorithm eplb(slots=5)"),
        ],
        targets: &["sglang", "sglang-location", "vllm"],
        exits: [0, 2, 0, 0, 0],
    },
    Kind {
        name: "cached",
        plans: &[
            small(
                "experts.json",
                CARD,
                "--phase decode --routing-trace trace.jsonl --algorithm expertflow(slots=24)",
            ),
            small(
                "experts.json",
                CARD,
                "--phase decode --routing-trace trace.jsonl \
                 --algorithm expertflow(slots=24,policy=lru)",
            ),
            small(
                "experts.json",
                CARDS,
                "--phase decode --batch 4 --expert-skew zipf:1.2 --algorithm expertflow(slots=24)",
            ),
            small(
                "experts.json",
                CARDS,
                "--phase decode --batch 4 --expert-skew visits.json \
                 --algorithm expertflow(slots=12,noise=0.3)",
            ),
        ],
        targets: &["llama.cpp"],
        exits: [0, 2, 0, 0, 0],
    },
    Kind {
        name: "streams",
        plans: &[
            small(
                "experts.json",
                TWO,
                "--phase training --batch 256 --sequence-length 2048 --algorithm fsmoe",
            ),
            small("experts.json", TWO, "--phase training --batch 8 --algorithm fsmoe-closed-form"),
            small(
                "apart.json",
                TWO,
                "--phase training --batch 64 --sequence-length 512 --algorithm fsmoe",
            ),
            small(
                "experts.json",
                H100,
                "--phase training --batch 64 --expert-skew zipf:1 --algorithm fsmoe",
            ),
        ],
        targets: &["svg"],
        exits: [0; 5],
    },
    Kind {
        name: "groups",
        plans: &[
            small(
                "apart.json",
                TWO,
                "--phase prefill --batch 64 --sequence-length 2048 --algorithm findep",
            ),
            small("apart.json", H100, "--phase decode --batch 64 --algorithm findep"),
            small(
                "experts.json",
                TWO,
                "--phase prefill --batch 64 --sequence-length 512 --expert-skew visits.json \
                 --algorithm ping-pong",
            ),
            small(
                "apart.json",
                TWO,
                "--phase prefill --batch 64 --sequence-length 2048 --algorithm naive",
            ),
        ],
        targets: &["svg"],
        exits: [0; 5],
    },
    Kind {
        name: "nano-batches",
        plans: &[
            small(
                "deep.json",
                TWO,
                "--phase prefill --batch 128 --sequence-length 2048 --algorithm dynaflow \
                 --interference table.csv",
            ),
            small(
                "deep-dense.json",
                TWO,
                "--phase prefill --batch 128 --sequence-length 2048 --algorithm dynaflow \
                 --interference fused.csv",
            ),
            small(
                "deep.json",
                TWO,
                "--phase decode --batch 128 --cached 1000 --kv-dtype fp8 --algorithm dynaflow",
            ),
            small(
                "deep.json",
                TWO,
                "--phase prefill --batch 128 --sequence-length 2048 --algorithm dual-batch \
                 --interference table.csv",
            ),
            small(
                "deep-dense.json",
                TWO,
                "--phase prefill --batch 64 --sequence-length 2048 --algorithm comm-fusion \
                 --interference fused.csv",
            ),
            small("deep.json", TWO, "--phase decode --batch 64 --algorithm sequential"),
        ],
        targets: &["svg", "sglang", "vllm"],
        exits: [0; 5],
    },
    Kind {
        name: "serving",
        plans: &[
            small("served.json", MIXED, "--phase decode --batch 1 --cached 1000 --dtype f16"),
            small("served.json", MIXED, "--phase prefill --batch 1 --sequence-length 512"),
            small(
                "served.json",
                MIXED,
                "--phase decode --batch 64 --cached 3000 --dtype f16 --objective latency",
            ),
            small("served.json", ONE, "--phase decode --batch 8 --cached 256"),
            small("dense.json", UNLIKE, "--phase decode --batch 2 --cached 100 --dtype f16"),
            small(
                "served.json",
                ONE,
                "--phase decode --batch 8 --cached 256 --kv-dtype fp8 --power-cap 1200",
            ),
            small(
                "served.json",
                ONE,
                "--phase decode --batch 8 --cached 256 --max-memory-per-device 1GB",
            ),
        ],
        targets: &["layer-ranges", "llama.cpp"],
        exits: [0; 5],
    },
    Kind {
        name: "fleet",
        plans: &[
            small("served.json", TWO, "--rate 2 --ttft 1s --tpot 20ms --algorithm serving-fleet"),
            small("served.json", TWO, "--input-tokens 500 --output-tokens 100"),
            small("served.json", TWO, "--rate 2 --mode aggregated --tpot 30ms --percentile 90"),
            small("served.json", TWO, "--mode disaggregated --tpot 30ms --kv-dtype fp8"),
            small("experts.json", H100, "--rate 5 --output-tokens 200 --tpot 40ms"),
            small("served.json", TWO, "--output-tokens 1000 --ttft 300ms --tpot 9ms"),
        ],
        targets: &["vllm", "sglang", "trtllm", "dynamo"],
        exits: [0; 5],
    },
    Kind {
        name: "sharding",
        plans: &[
            small(
                "billion.json",
                TWO,
                "--global-batch 32 --sequence-length 2048 --algorithm sharding",
            ),
            small(
                "billion.json",
                TWO,
                "--global-batch 32 --sequence-length 2048 --algorithm sharding(mesh=2x2x2) \
                 --max-memory-per-device 8GB",
            ),
            small("experts.json", TWO, "--global-batch 16 --algorithm sharding(mesh=8)"),
        ],
        targets: &[],
        exits: [0, 0, 0, 0, 2],
    },
    Kind {
        name: "gradients",
        plans: &[
            small("gradients.json", "", "--algorithm gradient-buckets"),
            small("gradients.json", "", "--algorithm mg-wfbp"),
            small("gradients.json", "", "--algorithm bucket-cap(bytes=1)"),
            small("lossy.json", "", ""),
            small("lossy.json", "", "--allow-lossy"),
            small("lossy.json", "", "--allow-lossy top-k"),
        ],
        targets: &["torch-ddp", "torch-hook", "megatron-buckets", "deepspeed-buckets"],
        exits: [0; 5],
    },
    Kind {
        name: "model-gradients",
        plans: &[
            small("dense.json", TWO, "--batch 16 --dim sequence=128 --algorithm gradient-buckets"),
            small("dense.json", TWO, "--batch 16 --dim sequence=128 --algorithm mg-wfbp"),
            small(
                "dense.json",
                TWO,
                "--batch 16 --dim sequence=128 --algorithm bucket-cap(bytes=1)",
            ),
            small(
                "dense.json",
                TWO,
                "--batch 16 --dim sequence=128 --algorithm gradient-buckets --allow-lossy",
            ),
            small(
                "dense.json",
                TWO,
                "--batch 16 --dim sequence=128 --algorithm gradient-buckets \
                 --allow-lossy top-k=0.01",
            ),
        ],
        targets: &["torch-ddp", "torch-hook", "megatron-buckets", "deepspeed-buckets"],
        exits: [0; 5],
    },
];

const ONE: &str = "--cluster one.yaml";
const TWO: &str = "--cluster two.yaml";
const MEASURED: &str = "--cluster one.yaml --profile measured";
const UNLIKE: &str = "--cluster unlike.yaml";
const MIXED: &str = "--cluster mixed.yaml";
const H100: &str = "--cluster h100.yaml";
const CARD: &str = "--cluster card.yaml";
const CARDS: &str = "--cluster cards.yaml";

impl Kind {
    /// The file of a plan.
    pub(super) fn file(&self, index: usize) -> String {
        format!("{}{}.plan", self.name, index + 1)
    }
}

impl Small {
    pub(super) fn line(&self) -> String {
        self.line_of(self.verb())
    }

    /// What asks for it by a verb.
    pub(super) fn line_of(&self, verb: &str) -> String {
        let words = format!("{verb} {} {} {} --deterministic", self.model, self.on, self.asked);
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The verb of the question.
    pub(super) fn verb(&self) -> &'static str {
        let asks = |all: &[&str]| all.iter().any(|words| self.asked.contains(words));
        let trains = ["--global-batch", "--phase training", "buckets", "mg-wfbp", "bucket-cap"];
        match self.on.is_empty() {
            true if ["model.json", "layers.json"].contains(&self.model) => "place",
            true => "solve",
            false if asks(&trains) => "train",
            false if asks(&["--phase", "--routing-trace", "--tpot", "--output-tokens"]) => "infer",
            false => "place",
        }
    }

    /// A verb on a plan, or on two, with this model and this cluster.
    pub(super) fn read(&self, verb: &str, plans: &str) -> String {
        format!("{verb} {plans} --model {} {}", self.model, self.on).trim_end().to_owned()
    }
}

/// All models, clusters and tables.
pub(super) fn folder() -> Folder {
    let folder = flagged();
    let models = [
        ("billion", training::config()),
        ("dense", unlike::config()),
        ("apart", findep::deepseek()),
        ("deep", nano_batches::experts()),
        ("deep-dense", nano_batches::dense()),
        ("served", serving::config()),
        ("layers", layers(20, 3)),
        ("load", load_instance(14, 5)),
        ("gradients", on_ten_gigabit(8, 0.36e-3)),
        ("lossy", lossy::one_gigabit(8)),
    ];
    for (name, model) in models {
        folder.write(&format!("{name}.json"), &model.to_string());
    }
    for (name, text) in [
        ("unlike.yaml", unlike::MIXED),
        ("mixed.yaml", serving::MIXED),
        ("h100.yaml", experts::CLUSTER),
        ("card.yaml", expertflow::ONE),
        ("cards.yaml", expertflow::TWO),
        ("pipeline.json", deterministic::PIPELINE),
        ("profile.graph.txt", deterministic::PROFILE),
        ("tasks.json", tasks::FILE),
        ("pairs.json", averaging::PAIRS),
        ("clients.json", averaging::CLIENTS),
        ("replicas.json", averaging::REPLICAS),
        ("fused.csv", nano_batches::FUSED),
    ] {
        folder.write(name, text);
    }
    folder
}
