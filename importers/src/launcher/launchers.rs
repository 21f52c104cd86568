//! The launchers that settings are read of.

/// Programs with settings that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// Command-line flags of Megatron-Core.
    Megatron,
    /// Overrides of torchtitan.
    Torchtitan,
    /// The JSON that meshwright writes for DeepSpeed, or a `ds_config`.
    DeepSpeed,
    /// Environment and flags of vLLM.
    Vllm,
    /// Environment and flags of SGLang.
    Sglang,
    /// The plan file of Hetu-Galvatron.
    Galvatron,
    /// What `accelerate config` writes.
    Accelerate,
    /// A recipe of Axolotl.
    Axolotl,
    /// A recipe of LLaMA-Factory.
    LlamaFactory,
}

impl Launcher {
    /// All.
    pub const ALL: [Self; 9] = [
        Self::Megatron,
        Self::Torchtitan,
        Self::DeepSpeed,
        Self::Vllm,
        Self::Sglang,
        Self::Galvatron,
        Self::Accelerate,
        Self::Axolotl,
        Self::LlamaFactory,
    ];

    /// Keys of files of `--config`, by which the engines know them.
    pub(super) const SERVER_KEYS: [(&'static str, Self); 14] = [
        ("model-path:", Self::Sglang),
        ("tp-size:", Self::Sglang),
        ("dp-size:", Self::Sglang),
        ("mem-fraction-static:", Self::Sglang),
        ("chunked-prefill-size:", Self::Sglang),
        ("tensor-parallel-size:", Self::Vllm),
        ("tensor_parallel_size:", Self::Vllm),
        ("pipeline-parallel-size:", Self::Vllm),
        ("max-num-batched-tokens:", Self::Vllm),
        ("max_num_batched_tokens:", Self::Vllm),
        ("max-num-seqs:", Self::Vllm),
        ("max-model-len:", Self::Vllm),
        ("gpu-memory-utilization:", Self::Vllm),
        ("gpu_memory_utilization:", Self::Vllm),
    ];

    /// Its name, the same as that of the export target where there is one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Megatron => "megatron",
            Self::Torchtitan => "torchtitan",
            Self::DeepSpeed => "deepspeed",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Galvatron => "galvatron",
            Self::Accelerate => "accelerate",
            Self::Axolotl => "axolotl",
            Self::LlamaFactory => "llama-factory",
        }
    }

    /// The launcher of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|launcher| launcher.name() == name)
    }

    /// Whether it serves models and trains none.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Vllm | Self::Sglang)
    }

    /// Whether its recipes are read alone, and no plan is written as one.
    #[must_use]
    pub const fn is_read_alone(self) -> bool {
        matches!(self, Self::Accelerate | Self::Axolotl | Self::LlamaFactory)
    }

    /// The launcher that a text names, or has flags or keys of.
    #[must_use]
    pub fn guess(text: &str) -> Option<Self> {
        let words = [
            ("llamafactory-cli", Self::LlamaFactory),
            ("--tensor-model-parallel-size", Self::Megatron),
            ("--pipeline-model-parallel", Self::Megatron),
            ("--parallelism.", Self::Torchtitan),
            ("--training.", Self::Torchtitan),
            ("axolotl train", Self::Axolotl),
            ("axolotl.cli", Self::Axolotl),
            ("accelerate launch", Self::Accelerate),
            ("accelerate-launch", Self::Accelerate),
            ("accelerate.commands.launch", Self::Accelerate),
            ("train_micro_batch_size_per_gpu", Self::DeepSpeed),
            ("\"train_batch_size\"", Self::DeepSpeed),
            ("\"zero_optimization\"", Self::DeepSpeed),
            ("VLLM_PP_LAYER_PARTITION", Self::Vllm),
            ("SGLANG_PP_LAYER_PARTITION", Self::Sglang),
            ("[parallelism]", Self::Torchtitan),
            ("[training]", Self::Torchtitan),
            ("vllm serve", Self::Vllm),
            ("vllm.entrypoints", Self::Vllm),
            ("vllm/vllm-openai", Self::Vllm),
            ("sglang.launch_server", Self::Sglang),
            ("sglang serve", Self::Sglang),
            ("--tensor-parallel-size", Self::Vllm),
            ("--tp-size", Self::Sglang),
            ("\"tp_sizes_enc\"", Self::Galvatron),
            // Runs over replicas alone.
            ("--micro-batch-size", Self::Megatron),
            ("--global-batch-size", Self::Megatron),
            ("--num-layers", Self::Megatron),
            ("--use-distributed-optimizer", Self::Megatron),
            ("--context-parallel-size", Self::Megatron),
            ("--expert-model-parallel-size", Self::Megatron),
            ("--job.config_file", Self::Torchtitan),
            ("torchtitan.train", Self::Torchtitan),
        ];
        // Keys at the top of recipes and of files of `--config`.
        let keys = [
            ("finetuning_type:", Self::LlamaFactory),
            ("base_model:", Self::Axolotl),
            ("distributed_type:", Self::Accelerate),
            ("compute_environment:", Self::Accelerate),
        ];
        let mut keys = keys.into_iter().chain(Self::SERVER_KEYS);
        let begins = |(key, _): &(&str, Self)| text.lines().any(|line| line.starts_with(key));
        let holds = |(word, _): &(&str, Self)| text.contains(word);
        let found = keys.find(begins).or_else(|| words.into_iter().find(holds));
        found.map(|(_, launcher)| launcher)
    }
}
