//! Every field of a config that changes bytes or operations, in every path that prices the model: each
//! reports what formulas by hand say, or refuses the field by name.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

const ONE: &str = "name: one\nnodes:\n  - {device: h100_sxm5_80gb, devices: 1, host: pcie5_x16}\n";
const CLUSTER: &str = "\
name: eight
nodes:
  - {count: 1, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4, host: pcie5_x16}
";
/// Tokens of a sample that is placed or trained.
const TOKENS: u64 = 64;
/// Products of an H100 in bf16 per second, of the data sheet.
const PEAK: f64 = 989.4e12;

/// A layer by hand.
struct Layer {
    /// Weights of products that each token meets but those of routed experts, how many products those are,
    /// and of these the ones that no quantiser takes: routers.
    products: u64,
    n_products: u64,
    router: u64,
    /// Norms and biases.
    others: u64,
    /// Routed experts, and how many a token goes to.
    experts: u64,
    per_token: u64,
}

/// A model by hand.
struct Model {
    layers: Vec<Layer>,
    /// Weights of an expert.
    expert: u64,
    /// Embedding, last norm, and head of its own.
    ends: u64,
    /// Words and width.
    head: u64,
    /// Elements of keys and values of a token in a layer, and of scores and values beside each other.
    cached: u64,
    scored: u64,
    /// Tokens that a token attends to at most.
    window: u64,
    hidden: u64,
    /// Bytes of an element, and whether products are in 8 bits with a scale of 32.
    element: u64,
    is_fp8: bool,
}

fn number(config: &Value, name: &str) -> u64 {
    config[name].as_u64().unwrap_or(0)
}

impl Model {
    fn of(config: &Value) -> Self {
        let n = |name: &str| number(config, name);
        let (attention, cached, scored) = attention(config);
        let (hidden, wide) = (n("hidden_size"), n("intermediate_size"));
        let experts = n("num_experts") + n("num_local_experts") + n("n_routed_experts");
        let inner = if n("moe_intermediate_size") > 0 { n("moe_intermediate_size") } else { wide };
        let expert = 3 * hidden * inner;
        let mlp_bias = if config["mlp_bias"] == true { 2 * wide + hidden } else { 0 };
        let layer = |at: u64| {
            let [products, n_products, others] = attention;
            let others = others + 2 * hidden;
            if experts == 0 || at < n("first_k_dense_replace") {
                let (products, others) = (products + 3 * hidden * wide, others + mlp_bias);
                let n_products = n_products + 3;
                return Layer { products, n_products, router: 0, others, experts: 0, per_token: 0 };
            }
            let shared = n("n_shared_experts");
            Layer {
                products: products + shared * expert,
                n_products: n_products + if shared > 0 { 3 } else { 0 },
                router: hidden * experts,
                others,
                experts,
                per_token: n("num_experts_per_tok"),
            }
        };
        let head = n("vocab_size") * hidden;
        let is_tied = config["tie_word_embeddings"] == true;
        Self {
            layers: (0..n("num_hidden_layers")).map(layer).collect(),
            expert,
            ends: head + hidden + if is_tied { 0 } else { head },
            head,
            cached,
            scored,
            window: config["sliding_window"].as_u64().unwrap_or(u64::MAX),
            hidden,
            element: if config["torch_dtype"] == "float32" { 4 } else { 2 },
            is_fp8: config["quantization_config"].is_object(),
        }
    }

    fn parameters(&self) -> u64 {
        let layer = |layer: &Layer| {
            layer.products + layer.router + layer.others + layer.experts * self.expert
        };
        self.layers.iter().map(layer).sum::<u64>() + self.ends
    }

    /// Bytes of an expert: three products.
    fn expert_bytes(&self) -> u64 {
        if self.is_fp8 { self.expert + 3 * 4 } else { self.element * self.expert }
    }

    fn experts(&self) -> u64 {
        self.layers.iter().map(|layer| layer.experts).sum()
    }

    /// Bytes of all but the experts.
    fn other_bytes(&self) -> u64 {
        let layer = |layer: &Layer| {
            let products = match self.is_fp8 {
                true => layer.products + 4 * layer.n_products,
                false => self.element * layer.products,
            };
            products + self.element * (layer.router + layer.others)
        };
        self.layers.iter().map(layer).sum::<u64>() + self.element * self.ends
    }

    fn bytes(&self) -> u64 {
        self.other_bytes() + self.experts() * self.expert_bytes()
    }

    /// Operations of a pass: two for each weight of a product and token, and for each pair of tokens that
    /// see each other.
    fn flops(&self, window: u64) -> u64 {
        let span = window.min(TOKENS);
        let layer = |layer: &Layer| {
            let products = layer.products + layer.router + layer.per_token * self.expert;
            2 * TOKENS * products + 2 * TOKENS * span * self.scored
        };
        self.layers.iter().map(layer).sum::<u64>() + 2 * TOKENS * self.head
    }
}

/// Weights of the products of attention, how many these are, other parameters; elements of a token's cache,
/// and of what is scored and summed for a pair of tokens.
fn attention(config: &Value) -> ([u64; 3], u64, u64) {
    let n = |name: &str| number(config, name);
    let (h, heads, groups) = (n("hidden_size"), n("num_attention_heads"), n("num_key_value_heads"));
    let kind = config["model_type"].as_str().unwrap();
    // Classes of Mistral and Mixtral read no such field.
    let is_read = !["mistral", "mixtral"].contains(&kind);
    let biased = |n: u64| if is_read && config["attention_bias"] == true { n } else { 0 };
    if kind != "deepseek_v3" {
        let dim = n("head_dim");
        let (q, kv) = (heads * dim, groups * dim);
        let norms = if kind == "qwen3_moe" { 2 * dim } else { 0 };
        let others = norms + biased(q + 2 * kv + h);
        return ([2 * h * q + 2 * h * kv, 4, others], 2 * kv, 2 * q);
    }
    let (q_rank, kv_rank) = (n("q_lora_rank"), n("kv_lora_rank"));
    let (plain, turned, value) = (n("qk_nope_head_dim"), n("qk_rope_head_dim"), n("v_head_dim"));
    let key = plain + turned;
    let queries = match q_rank {
        0 => h * heads * key,
        rank => h * rank + rank * heads * key,
    };
    let shared = h * (kv_rank + turned) + kv_rank * heads * (plain + value);
    let n_products = if q_rank > 0 { 5 } else { 4 };
    let others = q_rank + kv_rank + biased(q_rank + kv_rank + turned + h);
    let products = queries + shared + heads * value * h;
    ([products, n_products, others], kv_rank + turned, heads * (key + value))
}

/// A config of one kind, with what is changed in it: a field, its value, and the flag of Megatron that says
/// it, less where `-` stands before it; nothing where there is none, or where it is refused.
type Changes = Vec<(&'static str, Value, &'static str)>;

fn dense() -> Value {
    json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 1024,
        "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 128,
        "intermediate_size": 3072, "vocab_size": 32000, "max_position_embeddings": 4096,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "attention_bias": false,
        "hidden_act": "silu"
    })
}

fn with(mut config: Value, fields: &Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        config[name] = value.clone();
    }
    config
}

/// Fields of all models of these families.
fn common() -> Changes {
    vec![
        ("", Value::Null, "--num-layers 4"),
        ("hidden_size", json!(2048), "--hidden-size 2048"),
        ("num_hidden_layers", json!(5), "--num-layers 5"),
        ("num_attention_heads", json!(16), "--num-attention-heads 16"),
        ("vocab_size", json!(40000), "--vocab-size 40000"),
        ("tie_word_embeddings", json!(true), "-untie-embeddings-and-output-weights"),
        ("torch_dtype", json!("float32"), "-bf16"),
        ("torch_dtype", json!("float16"), "--fp16"),
        ("attention_bias", json!(true), ""),
        ("quantization_config", json!({"quant_method": "fp8"}), ""),
    ]
}

fn of_heads() -> Changes {
    vec![
        ("num_key_value_heads", json!(4), "--num-query-groups 4"),
        ("head_dim", json!(64), "--kv-channels 64"),
    ]
}

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("one.yaml", ONE);
    folder.write("c.yaml", CLUSTER);
    folder
}

/// What a path says, or nothing where it refuses.
fn told(folder: &Folder, line: &str) -> Value {
    folder.run(&format!("{line} --json")).exits(0).json()
}

fn placed_and_trained(folder: &Folder, model: &Model, what: &str) {
    let imported = told(folder, &format!("import m.json --dim sequence={TOKENS}"));
    assert_eq!(imported["summary"]["parameter_bytes"], model.bytes(), "import: {what}");
    assert_eq!(imported["summary"]["forward_flops"], model.flops(model.window), "import: {what}");
    assert_eq!(imported["summary"]["initializer_elements"], model.parameters(), "import: {what}");
    assert_eq!(imported["structure"]["n_parameters"], model.parameters(), "import: {what}");
    let placed = told(folder, &format!("plan m.json --cluster one.yaml --dim sequence={TOKENS}"));
    assert_eq!(placed["report"]["devices"][0]["parameter_bytes"], model.bytes(), "place: {what}");
    let line =
        format!("plan m.json --cluster one.yaml --global-batch 1 --sequence-length {TOKENS}");
    let trained = told(folder, &line);
    let training = &trained["plan"]["training"];
    assert_eq!(training["n_parameters"], model.parameters(), "train: {what}");
    // Of the type of the run, the peak is another one.
    if model.element == 2 {
        let best = |name: &str| trained["best"][name].as_f64().unwrap();
        let flops = best("model_flops_utilisation") * best("step_time_s") * PEAK;
        // Windows are not priced in training, which is said.
        let ratio = flops / 3.0 / model.flops(u64::MAX) as f64;
        assert!((ratio - 1.0).abs() < 0.01, "train: {what}: {ratio}");
        let says = trained["warnings"].to_string().contains("sliding-window");
        assert_eq!(says, model.window < TOKENS, "train: {what}");
    }
}

fn served(folder: &Folder, model: &Model, what: &str) {
    let line = "plan m.json --cluster one.yaml --phase decode --batch 4 --cached 1000";
    let stage = told(folder, line)["plan"]["served"]["stages"][0].clone();
    assert_eq!(stage["weight_bytes"], model.bytes(), "phase: {what}");
    let tokens = model.window.min(1001) * 4 * model.layers.len() as u64;
    assert_eq!(stage["cache_bytes"], model.cached * tokens * model.element, "phase: {what}");
}

fn offloaded(folder: &Folder, model: &Model, what: &str) {
    let line = "plan m.json --cluster one.yaml --algorithm expertflow --phase decode --batch 1";
    let host = told(folder, line)["plan"]["experts"]["host"].clone();
    assert_eq!(host["expert_bytes"], model.expert_bytes(), "expertflow: {what}");
    assert_eq!(host["memory_bytes"], model.bytes(), "expertflow: {what}");
    let line = "plan m.json --cluster c.yaml --algorithm findep --phase decode --batch 64 \
        --sequence-length 512";
    let both = told(folder, line)["plan"]["experts"]["disaggregated"].clone();
    let n = both["experts"].as_array().unwrap().len() as u64;
    let layers = model.layers.iter().filter(|layer| layer.experts > 0);
    let slots: u64 = layers.map(|layer| layer.experts.div_ceil(n)).sum();
    assert_eq!(both["expert_bytes"], slots * model.expert_bytes(), "findep: {what}");
    let samples = number(&both["step"], "samples") * number(&both["step"], "micro_batches");
    let cached = model.layers.len() as u64 * model.cached * 513 + model.hidden;
    let attention = model.other_bytes() + samples * cached * model.element;
    assert_eq!(both["attention_bytes"], attention, "findep: {what}");
}

/// Microseconds of a step whose layers are cut into nano-batches.
fn nano_batches(folder: &Folder) -> f64 {
    let line = "plan m.json --cluster c.yaml --algorithm dynaflow --phase decode --batch 64 \
        --sequence-length 512";
    let layers = told(folder, line)["plan"]["experts"]["layers"].clone();
    let each = |row: &Value| {
        let n = row["layers"].as_array().unwrap().len() as f64;
        n * row["nano_batches"]["cycle_s"].as_f64().unwrap() * 1e6
    };
    layers.as_array().unwrap().iter().map(each).sum()
}

/// What a launcher is told.
fn exported(folder: &Folder, flag: &str, what: &str) {
    let line = "plan m.json --cluster c.yaml --global-batch 8 --sequence-length 64 --for megatron \
        -o p.json --force --export megatron=m.sh";
    folder.run(line).exits(0);
    let script = folder.read("m.sh");
    let has = |flag: &str| script.lines().any(|line| line.trim_end_matches(" \\").trim() == flag);
    match flag.strip_prefix('-').filter(|name| !name.starts_with('-')) {
        Some(absent) => assert!(!has(&format!("--{absent}")), "{what}: {script}"),
        None => assert!(flag.is_empty() || has(flag), "{what}: {flag}: {script}"),
    }
}

fn check(base: &Value, changes: Changes) {
    let folder = folder();
    let mut of_base: Option<(u64, f64)> = None;
    for (field, value, flag) in changes {
        let mut config = base.clone();
        if !field.is_empty() {
            config[field] = value.clone();
        }
        let what = format!("{} {field} {value}", base["model_type"]);
        folder.write("m.json", &config.to_string());
        let model = Model::of(&config);
        placed_and_trained(&folder, &model, &what);
        match model.experts() {
            0 => served(&folder, &model, &what),
            _ => offloaded(&folder, &model, &what),
        }
        exported(&folder, flag, &what);
        let (bytes, time) = (model.bytes() - model.element * model.ends, nano_batches(&folder));
        let (of_bytes, of_time) = *of_base.get_or_insert((bytes, time));
        // Layers of other bytes take other times.
        let differs = (bytes as f64 / of_bytes as f64 - 1.0).abs() > 0.01;
        let is_other = (time / of_time - 1.0).abs() > 1e-6;
        assert!(is_other || !differs, "dynaflow: {what}: {time} and {of_time}");
    }
}

#[test]
fn dense_models() {
    let fields = [
        ("intermediate_size", json!(4096), "--ffn-hidden-size 4096"),
        ("mlp_bias", json!(true), ""),
    ];
    check(&dense(), [common(), of_heads(), fields.to_vec()].concat());
    let members = json!({"model_type": "mistral", "architectures": ["MistralForCausalLM"],
        "sliding_window": null});
    let fields = [
        ("", Value::Null, "--num-layers 4"),
        ("sliding_window", json!(16), "--window-size 15,0"),
        ("attention_bias", json!(true), ""),
    ];
    check(&with(dense(), &members), fields.to_vec());
}

#[test]
fn mixtures_whose_layers_are_alike() {
    let members = json!({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"],
        "intermediate_size": 512, "num_local_experts": 16, "num_experts_per_tok": 4,
        "sliding_window": null});
    let fields = [
        ("intermediate_size", json!(1024), "--moe-ffn-hidden-size 1024"),
        ("num_local_experts", json!(32), "--num-experts 32"),
        ("num_experts_per_tok", json!(2), "--moe-router-topk 2"),
    ];
    check(&with(dense(), &members), [common(), of_heads(), fields.to_vec()].concat());
}

#[test]
fn mixtures_with_norms_of_heads() {
    let members = json!({"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"],
        "moe_intermediate_size": 512, "num_experts": 16, "num_experts_per_tok": 4,
        "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": true});
    let fields = [
        ("intermediate_size", json!(4096), ""),
        ("moe_intermediate_size", json!(1024), "--moe-ffn-hidden-size 1024"),
        ("num_experts", json!(32), "--num-experts 32"),
        ("num_experts_per_tok", json!(2), "--moe-router-topk 2"),
    ];
    check(&with(dense(), &members), [common(), of_heads(), fields.to_vec()].concat());
    // Layers without experts among others with some are refused where cards are read.
    let folder = folder();
    for (field, value) in [("mlp_only_layers", json!([0])), ("decoder_sparse_step", json!(2))] {
        let mut config = with(dense(), &members);
        config[field] = value;
        folder.write("m.json", &config.to_string());
        for line in [
            "--cluster one.yaml --global-batch 1",
            "--cluster one.yaml --algorithm expertflow --phase decode --batch 1",
            "--cluster c.yaml --algorithm findep --phase decode --batch 64",
            "--cluster c.yaml --algorithm dynaflow --phase decode --batch 64",
        ] {
            // A run that trains is placed op by op instead, which is said.
            let found = folder.run(&format!("plan m.json {line}"));
            assert_eq!(found.code == 0, line.contains("--global-batch"), "{}", found.stderr);
            let said = format!("{}{}", found.stdout, found.stderr);
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains("in a part of the layers"), "{field}: {said}");
        }
    }
}

#[test]
fn mixtures_of_latent_attention() {
    let members = json!({"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"],
        "moe_intermediate_size": 512, "num_key_value_heads": 8, "q_lora_rank": 256,
        "kv_lora_rank": 128, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64,
        "n_routed_experts": 16, "n_shared_experts": 1, "num_experts_per_tok": 4,
        "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "head_dim": null});
    let fields = [
        ("intermediate_size", json!(4096), "--ffn-hidden-size 4096"),
        ("moe_intermediate_size", json!(1024), "--moe-ffn-hidden-size 1024"),
        ("q_lora_rank", json!(512), "--q-lora-rank 512"),
        ("q_lora_rank", Value::Null, "-q-lora-rank 256"),
        ("kv_lora_rank", json!(256), "--kv-lora-rank 256"),
        ("qk_nope_head_dim", json!(128), "--qk-head-dim 128"),
        ("qk_rope_head_dim", json!(64), "--qk-pos-emb-head-dim 64"),
        ("v_head_dim", json!(128), "--v-head-dim 128"),
        ("n_routed_experts", json!(32), "--num-experts 32"),
        ("n_shared_experts", json!(2), "--moe-shared-expert-intermediate-size 1024"),
        ("num_experts_per_tok", json!(2), "--moe-router-topk 2"),
        ("first_k_dense_replace", json!(2), "--moe-layer-freq ([0]*2+[1]*2)"),
    ];
    check(&with(dense(), &members), [common(), fields.to_vec()].concat());
}
