//! Readers of measured servers: requests of recorded runs, and means of load tests.

use std::collections::BTreeMap;
use std::path::Path;

use cost_model::serving::arrivals::Request;
use cost_model::serving::engine::Engine;
use cost_model::serving::replay::{Gathering, Times};
use importers::measurements::{Fields, read_table};
use ir::card::ModelCard;
use ir::card::stored::{CacheType, Stored};
use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use super::published::{BLOOM, LLAMA_8B, LLAMA_70B, LLAMA2_70B, QWEN3_32B, card};
use super::small;

/// Models of load tests by what their paths hold; rows of others are not judged.
const MODELS: [(&str, &str); 3] =
    [("Llama-3.1-8B", LLAMA_8B), ("Llama-3.1-70B", LLAMA_70B), ("Qwen3-32B", QWEN3_32B)];
/// Devices by system: kind of the catalogue, link, devices of a host.
const SYSTEMS: [(&str, [&str; 2], u32); 5] = [
    ("a100_sxm", ["a100_sxm4_80gb", "nvlink3"], 8),
    ("h100_sxm", ["h100_sxm5_80gb", "nvlink4"], 8),
    ("h200_sxm", ["h200_sxm5_141gb", "nvlink4"], 8),
    ("b200_sxm", ["b200_sxm_180gb", "nvlink5"], 8),
    ("gb200", ["gb200_gpu_186gb", "nvlink5_nvl72"], 72),
];
/// Where the sample of aiconfigurator 0.12 has rows of InferenceMAX's first version (SemiAnalysisAI/InferenceX
/// ac1998a5, the last commit before the date of the rows, `benchmarks/70b_*.sh`): lengths are drawn from 0.8 of
/// the stated ones to all of them (`--random-range-ratio 0.8`), ten requests of each user, keys and values in 8
/// bits. vLLM takes 8,192 tokens an iteration and as many requests as there are users, on B200 512; TensorRT-LLM
/// 16,384 tokens, and where prompts and answers have 1,024 tokens on fewer than 8 GPUs prompts wait for up to 20
/// iterations or 0.9 of these tokens.
const DRAWN: (&str, f64) = ("2026-04-06.csv", 0.8);
const DRAWN_TOKENS: u64 = 16_384;
const DRAWN_GATHERING: Gathering = Gathering { iterations: 20, tokens: 14_745 };
/// Tokens of an iteration at most by default (SGLang on GPUs of 60 GiB), and requests of `trtllm-serve`.
const MOST_TOKENS: u64 = 8_192;
const MOST_REQUESTS: u64 = 2_048;
/// Requests of vLLM on B200 in InferenceMAX.
const DRAWN_REQUESTS: u64 = 512;
/// Tokens beside a prompt and the requests that aiconfigurator's generator gives an iteration of vLLM and
/// TensorRT-LLM (`max_num_tokens`), and a batch of SGLang (`max_prefill_tokens`).
const BESIDE: u64 = 1_500;
/// The SGLang that its generator starts with prompts and decoding requests in one iteration
/// (`--enable-mixed-chunk`); rows of 0.5.1 and 0.5.8 are of a sweep of its own.
const GENERATED: &str = "0.5.6";
/// Prompts that AIPerf draws by default and the generator's command leaves so: vLLM has those of the fp8 rows
/// cached, some of which would else compute prompts faster than the peak of their device.
const PROMPTS: u64 = 100;

/// A load test: so many users, each with one request at a time.
#[derive(Clone, Debug)]
pub struct LoadTest {
    /// Line of the table, from 1.
    pub line: u64,
    /// The engine.
    pub engine: Engine,
    /// Name of the system.
    pub system: String,
    /// Kind of its devices and link between them.
    pub hosts: [&'static str; 2],
    /// Devices of a host.
    pub per_host: u32,
    /// The model.
    pub model: ModelCard,
    /// Type that it computes in.
    pub dtype: DType,
    /// Tensor ranks.
    pub tensor: u32,
    /// Users.
    pub users: u32,
    /// Tokens of prompts and of answers at most.
    pub tokens: [u32; 2],
    /// The shortest lengths over these.
    pub least: f64,
    /// Tokens and requests of an iteration at most.
    pub most: [u64; 2],
    /// How long prompts wait for more.
    pub gathering: Option<Gathering>,
    /// Whether iterations hold prompts and decoding requests.
    pub is_mixed: bool,
    /// Prompts that the users repeat, where the engine keeps them.
    pub repeated: Option<u64>,
    /// Mean TTFT and TPOT in seconds.
    pub seconds: [f64; 2],
}

impl LoadTest {
    /// Tokens of prompts that are cached already: all, where users repeat prompts that have room beside the running
    /// requests in a cache of so many tokens.
    #[must_use]
    pub fn cached(&self, room: u64) -> u32 {
        let [input, output] = self.tokens;
        let running = u64::from(self.users) * (u64::from(input) + u64::from(output));
        let needed = self.repeated.map(|n| n * u64::from(input) + running);
        if needed.is_some_and(|needed| needed <= room) { input } else { 0 }
    }
}

/// Reads the columns `backend`, `backend_version`, `model_path`, `system`, `mode`, `isl`, `osl`, `gemm_quant_mode`,
/// `batch_size`, `tp_size`, `attention_dp_size`, `silicon_ttft_ms`, `silicon_tpot_ms` and
/// `silicon_data_source`, as aiconfigurator 0.12 has them: aggregated workers of dense models whose configs
/// are known.
///
/// # Errors
/// Those of the table, see [`read_table`]; `bad-cell` for unknown systems, engines and types.
pub fn load_tests(path: &Path) -> Result<Vec<LoadTest>, Diagnostic> {
    read_table(path, load_test)
}

fn load_test(fields: &Fields) -> Result<Option<LoadTest>, Diagnostic> {
    let (path, mode) = (fields.text("model_path")?, fields.text("mode")?);
    let is_split = !["", "0", "1"].contains(&fields.text("attention_dp_size")?);
    let Some((name, config)) = MODELS.iter().find(|(name, _)| path.contains(name)) else {
        return Ok(None);
    };
    if mode != "agg" || is_split {
        return Ok(None);
    }
    let system = fields.text("system")?;
    let found = SYSTEMS.iter().find(|(known, ..)| *known == system);
    let (_, hosts, per_host) = found.ok_or_else(|| fields.bad("system", "a known system"))?;
    let engine = Engine::named(fields.text("backend")?)
        .ok_or_else(|| fields.bad("backend", "a known engine"))?;
    let number = fields.text("gemm_quant_mode")?;
    let dtype = match number {
        "" | "bfloat16" => DType::Bf16,
        "fp8" | "fp8_block" => DType::F8,
        "nvfp4" => DType::F4,
        _ => return Err(fields.bad("gemm_quant_mode", "`bfloat16`, `fp8`, `fp8_block`, `nvfp4`")),
    };
    let tokens = [small(fields, "isl")?, small(fields, "osl")?];
    let card = card(config, name, u64::from(tokens[0]) + u64::from(tokens[1]))?;
    let is_drawn = fields.text("silicon_data_source")?.contains(DRAWN.0);
    let (tensor, users) = (small(fields, "tp_size")?, small(fields, "batch_size")?);
    let waits = tokens == [1_024; 2] && tensor < 8;
    let is_generated = fields.text("backend_version")?.starts_with(GENERATED);
    let generated = u64::from(users) + u64::from(tokens[0]) + BESIDE;
    let most = match engine {
        Engine::TrtLlm if is_drawn => [DRAWN_TOKENS, MOST_REQUESTS],
        Engine::TrtLlm => [generated, MOST_REQUESTS],
        Engine::Vllm if is_drawn && system == "b200_sxm" => [MOST_TOKENS, DRAWN_REQUESTS],
        Engine::Vllm if !is_drawn => [generated, u64::from(users)],
        Engine::Sglang if is_generated => {
            [MOST_TOKENS.min(u64::from(tokens[0]) + BESIDE), u64::from(users)]
        }
        _ => [MOST_TOKENS, u64::from(users)],
    };
    let is_repeated = engine == Engine::Vllm && !is_drawn && dtype == DType::F8;
    let milliseconds = |column| Ok(fields.positive(column)? * 1e-3);
    Ok(Some(LoadTest {
        line: fields.line(),
        engine,
        system: system.to_owned(),
        hosts: *hosts,
        per_host: *per_host,
        model: cached(card, is_drawn || engine == Engine::TrtLlm && is_narrow(number)),
        dtype,
        tensor,
        users,
        tokens,
        most,
        gathering: (engine == Engine::TrtLlm && is_drawn && waits).then_some(DRAWN_GATHERING),
        is_mixed: engine != Engine::Sglang || is_generated,
        repeated: is_repeated.then_some(PROMPTS),
        least: if is_drawn { DRAWN.1 } else { 1.0 },
        seconds: [milliseconds("silicon_ttft_ms")?, milliseconds("silicon_tpot_ms")?],
    }))
}

/// Whether NVIDIA's checkpoints of a type state keys and values of 8 bits, which TensorRT-LLM takes by default.
fn is_narrow(number: &str) -> bool {
    ["fp8", "nvfp4"].contains(&number)
}

/// A model with keys and values in 8 bits, or as it computes.
fn cached(model: ModelCard, is_narrow: bool) -> ModelCard {
    let cache = if is_narrow { CacheType::F8 } else { CacheType::Bf16 };
    let stored = Stored { cache: Some(cache), ..Stored::default() };
    ModelCard { stored: Some(Box::new(stored)), ..model }
}

/// Llama 3.1 8B.
///
/// # Errors
/// None that its config has.
pub fn llama_8b() -> Result<ModelCard, Diagnostic> {
    card(LLAMA_8B, "llama-3.1-8b", 4096)
}

/// Qwen3 32B.
///
/// # Errors
/// None that its config has.
pub fn qwen3_32b() -> Result<ModelCard, Diagnostic> {
    card(QWEN3_32B, "qwen3-32b", 4096)
}

/// Reads the columns `input_tokens`, `output_tokens`, `arrival_s`, `queued_s`, `scheduled_s`,
/// `first_token_s` and `last_token_s` of a recorded run.
///
/// # Errors
/// Those of the table, see [`read_table`].
pub fn recorded(path: &Path) -> Result<Vec<(Request, Times)>, Diagnostic> {
    read_table(path, |fields| {
        let second = |column| {
            let number = fields.text(column)?.parse::<f64>().ok();
            let second = number.filter(|number| number.is_finite() && *number >= 0.0);
            second.ok_or_else(|| fields.bad(column, "seconds of at least 0"))
        };
        let arrival_s = second("arrival_s")?;
        let request = Request {
            arrival_s,
            n_input: small(fields, "input_tokens")?,
            n_output: small(fields, "output_tokens")?,
        };
        let times = Times {
            arrival_s,
            queued_s: second("queued_s")?,
            scheduled_s: second("scheduled_s")?,
            first_token_s: second("first_token_s")?,
            last_token_s: second("last_token_s")?,
        };
        Ok(Some((request, times)))
    })
}

/// Model, tensor ranks, tokens of a prompt, requests, tokens of an output; seconds of the prompts and of a
/// token.
pub type Group = ((String, u32, u64, u64, u64), [f64; 2]);

/// Reads the columns `model`, `tensor`, `prompt_tokens`, `batch`, `output_tokens`, `prompt_ms` and `token_ms`
/// of Splitwise's measurements.
///
/// # Errors
/// Those of the table, see [`read_table`].
pub fn splitwise(path: &Path) -> Result<Vec<Group>, Diagnostic> {
    read_table(path, |fields| {
        let [prompt, batch, output] = ["prompt_tokens", "batch", "output_tokens"];
        let key = (
            fields.name("model")?,
            small(fields, "tensor")?,
            fields.count(prompt)?,
            fields.count(batch)?,
            fields.count(output)?,
        );
        let seconds = [fields.positive("prompt_ms")? * 1e-3, fields.positive("token_ms")? * 1e-3];
        Ok(Some((key, seconds)))
    })
}

/// Llama 2 70B and BLOOM 176B, by the names of Splitwise's measurements.
///
/// # Errors
/// None that their configs have.
pub fn splitwise_models() -> Result<BTreeMap<String, ModelCard>, Diagnostic> {
    let of = |(name, config): (&str, &str)| Ok((name.to_owned(), card(config, name, 4096)?));
    [("llama2-70b", LLAMA2_70B), ("bloom-176b", BLOOM)].into_iter().map(of).collect()
}
