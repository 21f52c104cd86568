// The fields of a request as the form shows them: by task, with a label and a hint each.

export type Task = "train" | "place" | "infer" | "solve";

/** Tasks: name, title, the question. */
export const TASKS: [Task, string, string][] = [
  ["train", "Train", "Parallelism degrees, schedule, recompute and ZeRO of a training run."],
  ["place", "Place", "Device and order of each operator or module of a graph, for inference or training."],
  ["infer", "Infer", "Serving: a fleet of workers for a request rate, or one step: pipeline, experts, offload."],
  ["solve", "Solve", "An instance whose file states all costs."],
];

const SEARCH = ["algorithm", "objective", "time_limit", "gap", "fastest", "node_budget", "seed", "threads", "deterministic"];

/** Titles of groups, and the fields of each. */
type Groups = [string, string[]][];

/** Fields that ask for a fleet of serving workers. */
export const OF_FLEETS = ["rate", "concurrency", "requests", "input_tokens", "output_tokens", "lengths", "prefix_tokens", "ttft", "tpot", "request_latency", "percentile", "mode"];

const STEP: Groups = [
  ["Serving step", ["model", "cluster", "phase", "batch", "sequence_length", "cached_tokens", "dtype"]],
  ["Workload", ["executor", "kv_dtype", "quantization", "expert_skew", "routing_trace", "interference", "profile"]],
  ["Limits", ["max_memory_per_device", "memory_margin", "power_cap", "scale"]],
  ["Search", [...SEARCH, "pue"]],
];

/** Fields of each task by what they are about; the first group is open. */
export const GROUPS: Record<Task, Groups> = {
  train: [
    ["Training run", ["model", "cluster", "executor", "global_batch", "sequence_length", "dtype"]],
    ["Workload", ["tokens_per_step", "micro_batch", "optimizer", "adapter", "freeze", "stack", "profile", "expert_skew", "dims", "batch_axis", "phase", "batch"]],
    ["Limits", ["devices", "max_memory_per_device", "memory_margin", "no_offload", "power_cap", "allow_lossy", "pin", "scale"]],
    ["Failures and elastic devices", ["spares", "replace", "lost"]],
    ["Search", [...SEARCH, "pue"]],
  ],
  place: [
    ["Placement", ["model", "cluster", "executor", "workload", "batch", "time_limit"]],
    ["Workload", ["micro_batch", "dtype", "optimizer", "dims", "batch_axis", "qdq_as_written", "profile", "costs", "traces"]],
    ["Constraints", ["pin", "forbid", "colocate", "constraints", "pipeline_only", "scale"]],
    ["Search", SEARCH],
  ],
  infer: [
    ["Traffic and latencies", ["model", "cluster", "rate", "concurrency", "requests", "input_tokens", "output_tokens", "lengths", "prefix_tokens", "ttft", "tpot", "request_latency", "percentile"]],
    ["Workers", ["executor", "mode", "objective", "devices", "dtype", "kv_dtype", "profile"]],
    ["Limits", ["max_memory_per_device", "memory_margin", "scale"]],
    ["Search", ["time_limit", "seed", "threads", "deterministic"]],
  ],
  solve: [
    ["Instance", ["model", "accelerators", "time_limit"]],
    ["Search", [...SEARCH, "allow_lossy"]],
  ],
};

/** What inference is asked about: what a request states of it, and the algorithms that answer. */
export interface Question { name: string; title: string; words: string; states: { phase?: string; algorithm?: string }; rows: RegExp }

export const QUESTIONS: Question[] = [
  { name: "fleet", title: "Fleet", words: "How many workers of which degrees, batch and role serve a request rate within latencies; without a rate, the most requests per second of these devices.", states: {}, rows: /^serving-fleet/ },
  { name: "pipeline", title: "Pipeline", words: "Which layers on which device: pipeline parallelism, one device per stage.", states: { phase: "decode" }, rows: /^serving-pipeline/ },
  { name: "experts", title: "Expert placement", words: "Where the copies of each expert go (MoE).", states: { phase: "decode", algorithm: "expert-placement" }, rows: /^(expert-placement|eplb)/ },
  { name: "cache", title: "Expert cache", words: "Which experts are cached on the GPU; the others are offloaded to the host.", states: { phase: "decode", algorithm: "expertflow" }, rows: /^expertflow/ },
  { name: "apart", title: "Attention and experts apart", words: "Attention and experts on separate devices (disaggregation).", states: { phase: "decode", algorithm: "findep" }, rows: /^(findep|ping-pong|naive)/ },
  { name: "parts", title: "Nano-batches", words: "Whether to split a step into nano-batches.", states: { phase: "decode", algorithm: "dynaflow" }, rows: /^(dynaflow|dual-batch|comm-overlap|comm-fusion|sequential)/ },
];

/** What a request for inference asks: by its algorithm, else by whether it names a step. */
export function question_of(phase: string, algorithm: string): Question {
  return QUESTIONS.find((own) => own.rows.test(algorithm)) ?? QUESTIONS[phase === "" ? 0 : 1]!;
}

/** Fields of a task; of inference, of a question. */
export const groups_of = (task: Task, question: Question | undefined): Groups => (task === "infer" && question !== undefined && question.name !== "fleet" ? STEP : GROUPS[task]);

/** All fields that have a place in the form. */
export const KNOWN = new Set([...Object.values(GROUPS).flat(), ...STEP].flatMap(([, names]) => names));

const SERVERS = /^(vllm|sglang|trtllm)(@|$)/;
const OBJECTIVES_OF_FLEETS = ["throughput", "fewest-devices", "lowest-price"];
/** Objectives of training runs and placements alone, and of instances. */
const OBJECTIVES_OF_STEPS = ["throughput", "latency", "energy-per-token", "cost-per-token"];

/** Whether a task, or a question about inference, has a choice of a field. */
export function has_choice(task: Task, question: Question | undefined, field: string, choice: string): boolean {
  if (task === "infer" && field === "executor") return question?.name === "fleet" ? SERVERS.test(choice) && !choice.includes("@") : choice === "llama.cpp";
  if (task === "infer" && field === "objective") return (question?.name === "fleet" ? OBJECTIVES_OF_FLEETS : OBJECTIVES_OF_STEPS).includes(choice);
  if (field === "objective") return !["fewest-devices", "lowest-price"].includes(choice);
  const places = /^(accelerate|vllm|sglang|llama\.cpp)(@|$)/.test(choice);
  if (field === "executor" && choice !== "any") return places === (task === "place");
  if (field === "phase") return (choice === "training") === (task === "train");
  return true;
}

/** Algorithms that decide, by task; what each runs on is stated by the service. */
export function has_algorithm(task: Task, name: string, runs_on: string[]): boolean {
  const of: Record<Task, string[]> = { train: ["training runs"], place: ["models"], infer: ["serving", "experts", "streams"], solve: ["instances"] };
  if (task === "train" && /^(fsmoe|gradient-buckets|mg-wfbp|bucket-cap|expert-placement|eplb)/.test(name)) return true;
  return runs_on.some((own) => of[task].includes(own)) && !(task === "infer" && name.startsWith("fsmoe"));
}

/** Label, and hint; a field that is not listed shows its name and what its schema says. */
const WORDS: Record<string, [string, string]> = {
  model: ["Model", "ONNX, an exported graph or a config.json: an uploaded file or an example."],
  cluster: ["Cluster", "Devices and links: an uploaded file or an example."],
  profile: ["Profile", "Measured costs of the devices. Without one, costs are nominal: from data sheets."],
  workload: ["Workload", "Inference unless stated; training adds the backward pass."],
  executor: ["For (launcher)", "Limits the search to what this program can run; `any` lifts the limit."],
  global_batch: ["Global batch", "Samples per step, over all replicas."],
  batch: ["Batch", "Samples per step, over all devices."],
  micro_batch: ["Micro-batch size", "Samples per micro-batch; empty: chosen by the search, or the whole batch."],
  sequence_length: ["Sequence length", "Tokens per sample."],
  tokens_per_step: ["Tokens per step", "Sets the global batch by tokens."],
  dtype: ["Compute type", "Replaces fp32 in the model."],
  optimizer: ["Optimizer", "AdamW unless stated."],
  adapter: ["Adapter", "Trains adapters only: `lora:rank=16,targets=q+v`, `qlora:..`, `dora:..`."],
  freeze: ["Frozen parts", "Such as `embedding+head,layers=24`."],
  costs: ["Measured costs", "A CSV table: op, seconds by kind of device, bytes."],
  dims: ["Dimensions", "Extents of named dimensions."],
  batch_axis: ["Batch axes", "By input, the axis that counts samples."],
  expert_skew: ["Expert load imbalance", "`balanced`, `zipf:S`, or a file with the routed tokens per expert."],
  phase: ["Phase", "Step to plan."],
  cached_tokens: ["Cached tokens", "Tokens per sample in the KV cache; empty: 0 in prefill, the sequence length in decode."],
  kv_dtype: ["KV cache type", "Type of cached keys and values; empty: as the checkpoint states."],
  quantization: ["Quantization", "Mixture of llama.cpp's types, such as Q4_K_M; empty: as the file states."],
  routing_trace: ["Routing trace", "A file with the experts of each token, for an expert cache."],
  interference: ["Interference table", "A file with the slowdown of operators that share a device."],
  traces: ["Traces", "PyTorch profiler (Kineto) traces of the model; measured durations replace predictions."],
  stack: ["Software stack", "Preset of kernel and collective efficiencies."],
  qdq_as_written: ["Do not fuse Q/DQ", "QuantizeLinear/DequantizeLinear pairs are not fused into integer kernels."],
  rate: ["Request rate", "Requests per second, e.g. `50`; empty: as many as the devices serve."],
  concurrency: ["Concurrency", "Requests under way at once, instead of a rate."],
  requests: ["Requests file", "Arrivals and lengths of recorded requests, instead of a rate: the name of an uploaded CSV file with `arrival_s`, `input_tokens` and `output_tokens`."],
  input_tokens: ["Input tokens", "Tokens of a prompt; 4,000 unless stated."],
  output_tokens: ["Output tokens", "Tokens of an answer; 1,000 unless stated."],
  lengths: ["Mix of lengths", "Instead of one length: `IN:OUT:SHARE` separated by commas, e.g. `4000:1000:3,500:200`."],
  prefix_tokens: ["Shared prefix", "Tokens that all prompts begin with and that stay cached."],
  ttft: ["TTFT at most", "Time to first token, e.g. `1s`."],
  tpot: ["TPOT at most", "Time per further token, one mean of each request, e.g. `20ms`."],
  request_latency: ["Request latency at most", "Time to the last token, e.g. `30s`."],
  percentile: ["Percentile", "Share of requests that keep the latencies, in percent, e.g. `90`; empty: the mean does."],
  mode: ["Mode", "Roles of workers: `aggregated` serve whole requests, `disaggregated` are prefill and decode workers; both unless stated."],
  algorithm: ["Algorithm", "Chosen automatically unless stated."],
  objective: ["Objective", "Minimised or maximised; step time unless stated."],
  pue: ["Site PUE", "Power usage effectiveness of the site; 1 unless stated."],
  power_cap: ["Power cap", "Upper limit on wall power, in watts."],
  allow_lossy: ["Lossy compression", "Allows lossy gradient or activation compression: `all`, `top-k`, `ada-top-k=DENSITY`."],
  gap: ["Target gap", "The search stops at this gap, value / bound − 1."],
  fastest: ["Fastest plan", "The fastest predicted plan, even if a simpler one is within 1 %."],
  node_budget: ["Node budget", "Upper limit on search nodes."],
  seed: ["Random seed", "The same seed gives the same plan."],
  threads: ["Threads", "All cores unless stated."],
  deterministic: ["Deterministic", "The answer does not depend on the clock."],
  time_limit: ["Time limit", "Wall-clock time of the search, e.g. `10s`."],
  devices: ["Devices", "Number of devices, or a range."],
  accelerators: ["Accelerators", "Overrides the instance's accelerator count."],
  max_memory_per_device: ["Memory limit per device", "Upper limit, e.g. `70GiB`."],
  memory_margin: ["Memory margin", "Share of device memory that stays free, e.g. `10%`."],
  no_offload: ["No optimizer offload", "Optimizer states stay on the devices."],
  spares: ["Spare devices", "Number of devices in reserve; failover targets are reported."],
  replace: ["Replaces", "Plan of the current run: the new plan starts from its settings."],
  lost: ["Lost devices", "Devices, hosts or kinds of devices to plan without."],
  pin: ["Pin", "`PATTERN=DEVICE`; for training runs `FIELD=VALUE`, e.g. `tensor=8`."],
  forbid: ["Forbid", "`PATTERN=DEVICE`."],
  colocate: ["Colocate", "Patterns of operators that share a device."],
  constraints: ["Constraints file", "A file with pin, forbid and colocate."],
  pipeline_only: ["Pipeline only", "Allows a serving plan without TP, EP and DP."],
  scale: ["Scale the cluster", "`NAME=FACTOR`, e.g. `memory=1.5`, `nvlink4=2`; `links` scales all links."],
};

export function label(field: string, task?: Task): string {
  if (task === "solve" && field === "model") return "Instance";
  const words = field.replaceAll("_", " ");
  return WORDS[field]?.[0] ?? words[0]!.toUpperCase() + words.slice(1);
}

/** Hints of fields that mean something else for a fleet. */
const OF_A_FLEET: Record<string, string> = {
  executor: "Engine of the workers; vLLM unless stated.", devices: "Upper limit; all of the cluster unless stated.",
  objective: "Fewest devices with a rate, else the most requests per second; `lowest-price` counts `price_per_hour` of the cluster.",
};

export function hint(field: string, description: string, task?: Task, question?: Question): string {
  if (task === "infer" && question?.name === "fleet" && OF_A_FLEET[field] !== undefined) return OF_A_FLEET[field];
  if (task === "solve" && field === "model") return "An instance with given costs: an uploaded file.";
  return WORDS[field]?.[1] ?? description;
}

const TRAINS = /^(search-3d|per-layer|unlike-nodes|heterogeneous|fsmoe|gradient-buckets|mg-wfbp|bucket-cap)/;
const INFERS = /^(serving-pipeline|serving-fleet|expert-placement|eplb|expertflow|findep|ping-pong|naive|dynaflow|dual-batch|comm-overlap|comm-fusion|sequential)/;

/** The task of a request: as stated, else from what it asks; `found` is the algorithm of its plan. */
export function task_of_request(request: Record<string, unknown>, found?: string | null): Task {
  const has = (name: string) => request[name] !== undefined && request[name] !== null && request[name] !== "";
  const stated = TASKS.find(([name]) => name === request["task"])?.[0];
  if (stated !== undefined) return stated;
  if (["global_batch", "tokens_per_step", "replace"].some(has) || request["phase"] === "training") return "train";
  if (["phase", ...OF_FLEETS].some(has)) return "infer";
  if (has("model") && !has("cluster")) return "solve";
  const algorithm = found ?? String(request["algorithm"] ?? "");
  if (TRAINS.test(algorithm)) return "train";
  if (INFERS.test(algorithm)) return "infer";
  return "place";
}
