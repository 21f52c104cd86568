//! What an inference pipeline is planned on: a config of dense blocks on the devices of a cluster, which may
//! all differ.

use std::path::Path;

use cost_model::runs::served::priced::{self, Batch};
use cost_model::runs::served::{Costs, Goal, Piece};
use documents::plan::request::RequestDocument;
use ir::cluster::MAX_PLACES;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::plan_kind::PlanKind;
use ir::tensor::DType;
use ir::workload::StepPhase;

use super::local::Local;
use super::refused;
use crate::answer::energy;
use crate::inputs::run::hardware::retain_of_inference;
use crate::inputs::run::model::{self, Model};
use crate::inputs::run::setting::{MOST_SAMPLES, STACK, Setting as Run};
use crate::request::ProblemRequest;
use crate::request::element_type;
use crate::request::fields::Honours;

/// Most tokens of a sample.
const MOST_TOKENS: u64 = 1 << 24;
/// Most tokens of a batch.
const MOST_BATCH: u64 = 1 << 32;

/// What a plan is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Prefill or decode.
    pub phase: StepPhase,
    /// Samples of a batch.
    pub batch: u64,
    /// Tokens of a prompt; `None` = those of a sample.
    pub tokens: Option<u64>,
    /// Tokens that are cached; `None` = none in prefill, those of a sample less the new one in decode.
    pub cached: Option<u64>,
    /// What is wanted.
    pub goal: Goal,
    /// First blocks whose experts the host of llama.cpp keeps.
    pub host_experts: u32,
    /// What else.
    pub request: RequestDocument,
}

/// Model and devices, and what a batch does.
#[derive(Clone)]
pub struct Setting {
    /// Model, devices and software.
    pub run: Run,
    /// What a batch does.
    pub batch: Batch,
    /// What is wanted.
    pub goal: Goal,
    /// What pipelines cost.
    pub costs: Costs,
    /// What llama.cpp has beside devices, where it serves.
    pub local: Option<Local>,
}

impl Setting {
    /// Reads a model on the cluster of the flags.
    ///
    /// # Errors
    /// Those of the readers; `not-for-serving`, `batch`, `cached`, `dtype`, `no-system`.
    pub fn read(path: &Path, flags: &ProblemRequest, job: Asked) -> Result<Self, Diagnostic> {
        check(&job)?;
        if !importers::is_config(path) {
            let message = "inference pipelines are planned for a config.json or a GGUF file";
            return Err(refused(message, "give one, or place the ops of a graph without --phase"));
        }
        // The size of a batch is none of the config's.
        let mut flags = flags.clone();
        flags.model.batch = None;
        flags.without.clone_from(&job.request.without);
        flags.board_limit = job.request.board_limit;
        let kv_dtype = model::cache_type(job.request.kv_dtype.as_deref())?;
        let quantization = job.request.quantization.as_deref();
        let on = (path, job.tokens);
        let mut read = model::quantized(on, &flags.model, kv_dtype, quantization)?;
        let is_local = job.request.executor.is_some();
        check_model(&read, is_local)?;
        model::with_windows(&mut read);
        let sample = read.tokens.unwrap_or(1);
        let (tokens, cached, assumed) = match (job.phase, job.cached) {
            (StepPhase::Decode, Some(cached)) => (1, cached, None),
            (StepPhase::Decode, None) => (1, sample.saturating_sub(1), Some("--cached")),
            (_, cached) => {
                let is_stated = job.tokens.is_some();
                let assumed = (!is_stated).then_some("--sequence-length");
                (sample, cached.unwrap_or(0), assumed)
            }
        };
        let mut run = Run::on(read, &flags, STACK, job.batch)?;
        energy::check(&job.request, &run.cluster)?;
        if run.layers.is_some() {
            let message = "`--profile` names a folder of measured layers of training steps";
            return Err(refused(message, "give a profile of the devices, or leave it out"));
        }
        // What only training, or equal devices, are warned of.
        run.warnings.retain(|warning| warning.code != "stated-dtype");
        retain_of_inference(&mut run.warnings);
        run.warnings.extend(assumed.map(|flag| told_assumed(flag, tokens, cached)));
        run.warnings.extend(beyond(&run, job.phase, cached));
        run.request = job.request;
        let stored = run.model.stored.as_ref().and_then(|stored| stored.cache);
        run.request.kv_dtype = stored.map(|dtype| dtype.to_string());
        run.keep_margin();
        check_devices(&run)?;
        let (phase, samples) = (job.phase, job.batch);
        let batch = Batch { phase, samples, tokens, cached };
        let local = is_local.then(|| Local::read(&run, job.host_experts)).transpose()?;
        let (local, assumed) = local.map_or((None, None), |read| (Some(read.0), read.1));
        run.warnings.extend(assumed);
        let costs = priced_by(&run, batch, local.as_ref())?;
        Ok(Self { run, batch, goal: job.goal, costs, local })
    }

    /// Tokens per second where a batch ends every so many nanoseconds.
    #[must_use]
    pub fn tokens_per_s(&self, period: u64) -> f64 {
        let tokens = self.batch.samples as f64 * self.batch.tokens as f64;
        tokens * 1e9 / period.max(1) as f64
    }

    /// The name of a device.
    #[must_use]
    pub fn name(&self, device: usize) -> &str {
        let host = self.local.as_ref().map_or("", |local| local.name.as_str());
        self.run.cluster.devices.get(device).map_or(host, |device| device.name.as_str())
    }

    /// A device as people call it.
    #[must_use]
    pub fn called(&self, device: usize) -> String {
        match device < self.run.cluster.devices.len() {
            true => self.run.cluster.in_words(&[DeviceId::new(device)]),
            false => self.name(device).to_owned(),
        }
    }

    /// The best that one device does alone: its position and nanoseconds of a batch.
    #[must_use]
    pub fn alone(&self) -> Option<(usize, u64)> {
        let of = |device: usize| {
            let whole = [Piece { device, blocks: 0..self.costs.n_blocks() }];
            Some((device, self.costs.judge(&whole, self.goal).ok()?.latency))
        };
        (0..self.costs.n_devices()).filter_map(of).min_by_key(|candidate| candidate.1)
    }

    /// `decode of 1 sample with 1024 tokens cached`.
    #[must_use]
    pub fn words(&self) -> String {
        let Batch { phase, samples, tokens, cached } = self.batch;
        let samples = match samples {
            1 => "1 sample".to_owned(),
            n => format!("{n} samples"),
        };
        match phase {
            StepPhase::Decode => format!("decode of {samples} with {cached} tokens cached"),
            _ if cached == 0 => format!("prefill of {samples} of {tokens} tokens"),
            _ => format!("prefill of {samples} of {tokens} tokens behind {cached} cached"),
        }
    }
}

/// What pipelines cost under llama.cpp, or else in other servers.
///
/// # Errors
/// `no-system`.
fn priced_by(run: &Run, batch: Batch, local: Option<&Local>) -> Result<Costs, Diagnostic> {
    let on = (&run.cluster, &run.profile);
    let costs = match local {
        None => priced::costs(&run.pricing(), on, batch, |memory| run.room(memory)),
        Some(local) => local.costs(run, batch, local.n_host_experts),
    };
    costs.ok_or_else(|| {
        let message = "a device states no rate that blocks are priced by";
        Diagnostic::input("no-system", message)
            .hint("state memory_bytes_per_s and a peak rate of each kind of device")
    })
}

/// Refuses sizes that no batch has.
fn check(job: &Asked) -> Result<(), Diagnostic> {
    if !(1..=MOST_SAMPLES).contains(&job.batch) {
        let message = format!("{} samples of a batch, from 1 to {MOST_SAMPLES}", job.batch);
        return Err(Diagnostic::usage("batch", message).hint("state them with --batch"));
    }
    if job.phase == StepPhase::Decode && job.tokens.is_some_and(|tokens| tokens != 1) {
        let message =
            "`--sequence-length` has no effect on decode, where each sample has one new token";
        return Err(refused(message, "state the tokens before it with --cached"));
    }
    let tokens = job.tokens.unwrap_or(1).saturating_add(job.cached.unwrap_or(0));
    if tokens > MOST_TOKENS || tokens.saturating_mul(job.batch) > MOST_BATCH {
        let message = format!("{tokens} tokens of each of {} samples are too many", job.batch);
        return Err(Diagnostic::usage("cached", message)
            .fact("most_tokens", MOST_TOKENS)
            .fact("most_tokens_of_a_batch", MOST_BATCH)
            .hint("state fewer with --cached, --sequence-length or --batch"));
    }
    Ok(())
}

/// Refuses models whose blocks are not those of a dense decoder.
fn check_model(model: &Model, is_local: bool) -> Result<(), Diagnostic> {
    if model.graph.is_some() || model.card.is_of_parts() {
        let message = "models of this type are planned op by op: no card cuts them into blocks";
        return Err(refused(message, "place its ops without --phase"));
    }
    if model.card.has_experts() && !is_local {
        let message = "MoE models are not planned as inference pipelines";
        return Err(refused(
            message,
            "plan their experts, such as with --algorithm expert-placement, or --for llama.cpp",
        ));
    }
    if model.card.n_predictions > 1 {
        let message = "models whose last blocks predict later tokens are not planned";
        return Err(refused(message, "leave those blocks out of the config"));
    }
    Ok(())
}

/// Refuses clusters that can't be priced pair by pair, and kinds that lack the type.
fn check_devices(run: &Run) -> Result<(), Diagnostic> {
    let n = run.cluster.devices.len();
    if n > MAX_PLACES {
        let message =
            format!("{n} devices are more than {MAX_PLACES}, of which every two are priced");
        return Err(refused(message, "name a part of the cluster"));
    }
    let dtype = run.numbers.dtype;
    let kinds = run.cluster.device_ids().map(|device| run.cluster.kind_of(device));
    let known = [DType::Bf16, DType::F16, DType::F32, DType::F8];
    match kinds.into_iter().find(|kind| !element_type::has(kind, dtype)) {
        Some(kind) => {
            Err(element_type::refused(element_type::lacks(&kind.name, dtype), kind, &known))
        }
        None => Ok(()),
    }
}

fn told_assumed(flag: &str, tokens: u64, cached: u64) -> Diagnostic {
    let message = match flag {
        "--cached" => format!("{cached} cached tokens of each sample are assumed"),
        _ => format!("prompts of {tokens} tokens are assumed"),
    };
    Diagnostic::warning("assumed-length", message).hint(format!("state them with {flag}"))
}

/// That a decoding step is past the learned positions of a model.
fn beyond(run: &Run, phase: StepPhase, cached: u64) -> Option<Diagnostic> {
    let card = &run.model.groups.first()?.card;
    let is_beyond = phase == StepPhase::Decode && !card.form.is_gated() && cached >= card.sequence;
    is_beyond.then(|| {
        let message = format!(
            "{cached} cached tokens and a new one are more than the {} positions of the model",
            card.sequence
        );
        Diagnostic::warning("beyond-positions", message).hint("state fewer with --cached")
    })
}

/// What inference pipelines honour of a request.
pub const HONOURS: Honours = Honours {
    hint: |field| match field.name {
        "global_batch" | "tokens_per_step" | "micro_batch" => {
            "state the samples of a batch with --batch, and their tokens with --cached or \
             --sequence-length"
        }
        "devices" => "leave it out: the plan says which devices are used",
        "rate" | "concurrency" | "requests" | "ttft" | "tpot" | "request_latency"
        | "percentile" => {
            "leave it out: request rates and latency limits are for --for vllm, sglang or trtllm"
        }
        "input_tokens" | "output_tokens" => "state the tokens of context with --cached",
        "routing_trace" | "interference" | "expert_skew" => {
            "leave it out: the model has no experts"
        }
        _ => "leave it out",
    },
    ..Honours::new(
        "serving pipeline",
        PlanKind::Inference,
        "cluster profile batch dtype workload scale sequence_length \
     max_memory_per_device memory_margin phase cached_tokens kv_dtype objective pue \
     power_cap gap node_budget export executor quantization",
    )
};
