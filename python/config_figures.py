"""Writes tests/data/decoders.json: for small configs of every family of decoders, and for changes of one
field each, the parameters of transformers' own model and the operations that PyTorch's counter sees in a
pass over 2 samples of 32 tokens. Run from the repository; a word as argument keeps families with it."""
import dataclasses, json, logging, pathlib, sys, warnings
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

TABLE, CLASSES = pathlib.Path("tests/data/decoders.json"), "importers/src/config/decoder/defaults.json"
SMALL = {120: "vocab_size", 64: "hidden_size n_embd d_model lru_width word_embed_proj_dim",
    4: "num_hidden_layers n_layer n_layers num_layers num_attention_heads n_head n_heads attention_heads "
       "linear_num_value_heads linear_num_heads index_n_heads", 2: "o_groups num_key_value_heads num_kv_heads num_experts_per_tok moe_topk moe_k n_mamba_heads "
       "mamba_n_groups n_groups linear_num_key_heads", 16: "head_dim qk_nope_head_dim kv_channels mamba_d_head "
       "mamba_head_dim index_head_dim state_size mamba_d_state ssm_state_size linear_key_head_dim linear_value_head_dim linear_head_dim chunk_size "
       "mamba_chunk_size block_size", 96: "intermediate_size ffn_dim dff", 40: "moe_intermediate_size",
    8: "num_experts num_local_experts n_routed_experts moe_num_experts qk_rope_head_dim mamba_n_heads mamba_num_heads "
       "rotary_dim", 56: "shared_expert_intermediate_size moe_shared_expert_intermediate_size", 24: "q_lora_rank",
    20: "kv_lora_rank", 12: "v_head_dim o_lora_rank", 1: "n_group topk_group first_k_dense_replace num_dense_layers pad_token_id "
       "bos_token_id eos_token_id eod_token_id mamba_ngroups", 256: "max_position_embeddings n_positions max_seq_len",
    128: "mamba_d_ssm", 112: "intermediate_size_mlp"}
OWN = {"mamba2": dict(num_heads=8, expand=2), "nemotron_h": dict(layers_block_type=["mamba", "moe", "full_attention", "mlp"]),
    "recurrent_gemma": dict(num_key_value_heads=1), "lfm2": dict(full_attn_idxs=[1]), "gpt_neo": dict(num_heads=4,
    attention_types=[[["global", "local"], 2]]), "granitemoehybrid": dict(layer_types=["mamba", "attention"] * 2),
    "lfm2_moe": dict(layer_types=["conv", "full_attention"] * 2), "jamba": dict(attn_layer_period=2, attn_layer_offset=1,
    use_mamba_kernels=False), "gemma4_text": dict(hidden_size_per_layer_input=0, enable_moe_block=True, num_experts=8,
    top_k_experts=2, moe_intermediate_size=40, attention_k_eq_v=True, num_global_key_value_heads=1, global_head_dim=32,
    layer_types=["sliding_attention", "full_attention"] * 2), "bamba": dict(attn_layer_indices=[1, 3]), "llama4_text": dict(interleave_moe_layer_step=2),
    "flint": dict(layer_types=["full_attention", "sliding_attention"] * 2),
    "beam": dict(layer_types=["sliding_attention", "full_attention"] * 2),
    "lfm3": dict(layer_types=["conv", "full_attention", "sliding_attention", "conv"]),
    "deepseek_v4": dict(num_key_value_heads=1, layer_types=["sliding_attention", "compressed_sparse_attention",
    "heavily_compressed_attention", "compressed_sparse_attention"], compress_rates={"compressed_sparse_attention": 4,
    "heavily_compressed_attention": 8}), "kimi_linear": dict(layer_types=["linear_attention", "full_attention"] * 2),
    "minimax_m3_vl_text": dict(layer_types=["full_attention", "minimax_m3_sparse"] * 2, mlp_layer_types=["dense", "sparse"] * 2,
    dense_intermediate_size=112, shared_intermediate_size=40, index_block_size=8), "hyperclovax": dict(attention_multiplier=1.0), "dots1": dict(n_shared_experts=1), "zamba2": dict(
    layers_block_type=["mamba", "hybrid"] * 2, use_mamba_kernels=False, num_mem_blocks=1, num_key_value_heads=4)}
VARY = {136: "vocab_size", 96: "hidden_size n_embd d_model lru_width", 5: "num_hidden_layers n_layer conv_L_cache",
    8: "num_attention_heads index_n_heads n_head qk_nope_head_dim state_size mamba_d_state", 1: "num_key_value_heads num_kv_heads "
       "num_experts_per_tok num_dense_layers interleave_moe_layer_step", 24: "head_dim linear_head_dim o_lora_rank moe_intermediate_size moe_latent_size index_head_dim global_head_dim "
       "shared_expert_intermediate_size linear_key_head_dim linear_value_head_dim", 80: "intermediate_size dense_intermediate_size ffn_dim n_inner "
       "dff ffn_hidden_size", 6: "num_experts num_local_experts n_routed_experts time_step_rank mamba_dt_rank",
    2: "num_global_key_value_heads n_shared_experts num_shared_experts num_ln_in_parallel_attn decoder_sparse_step moe_layer_interval "
       "moe_layer_start_index first_k_dense_replace linear_num_heads linear_num_value_heads global_attn_every_n_layers", None: "q_lora_rank",
    28: "kv_lora_rank", 20: "v_head_dim", 0: "moe_num_shared_experts first_k_dense_replace shared_intermediate_size",
    32: "word_embed_proj_dim shared_intermediate_size block_multiple_of", 3: "hc_mult expand conv_kernel mamba_d_conv mamba_expand "
       "expert_layer_period linear_conv_kernel_dim num_experts_per_tok", 300: "max_position_embeddings n_positions",
    72: "intermediate_size_mlp", 64: "mamba_d_ssm"}
LISTS = dict(indexer_types=["full", "shared"] * 2, mlp_only_layers=[0, 2], moe_layers=[1], full_attn_idxs=[0, 2], attn_layer_indices=[0],
    block_types=["attention", "recurrent"], mlp_layer_types=["dense", "sparse"] * 2, layer_types=["full_attention"] * 4)
FLAGS = ("tie_word_embeddings attention_bias mlp_bias use_bias qkv_bias use_qkv_bias use_qk_norm qk_layernorm bias alibi "
    "multi_query new_decoder_architecture parallel_attn use_parallel_residual enable_bias do_layer_norm_before "
    "layer_norm_elementwise_affine use_conv_bias conv_bias mamba_conv_bias mamba_proj_bias mamba_rms_norm projectors_bias "
    "block_auto_adjust_ff_dim use_post_norm attention_out_bias lm_head_bias add_bias_linear use_sandwich_norm "
    "use_attention_gate attention_k_eq_v enable_moe_block").split()
by_name = lambda table: {name: value for value, names in table.items() for name in names.split()}

def base(kind, fields):
    own = {name: value for name, value in by_name(SMALL).items() if name in fields} | OWN.get(kind, {})
    if "kv_lora_rank" in own:
        own |= {"num_key_value_heads": 4}
    if "kv_lora_rank" in own or kind in ("minimax", "phimoe"):
        own.pop("head_dim", None)
    return own

def changes(own, fields):
    for value, names in VARY.items():
        yield from ({name: value} for name in names.split() if name in fields and own.get(name) != value)
    yield from ({name: value} for name, value in LISTS.items() if name in fields and own.get(name) != value)
    yield from ({name: not fields[name]} for name in FLAGS if isinstance(fields.get(name), bool))

def solved(config):
    """What the counter does not see: triangles that values and keys of a delta rule are solved with."""
    of = lambda name: getattr(config, f"linear_{name}", 0) or 0
    has = getattr(config, "layer_types", None) and (of("key_head_dim") or of("head_dim"))
    n = sum(kind == "linear_attention" for kind in config.layer_types) if has else 0
    if of("head_dim"):
        # Products of keys with keys and queries with keys too, whose channels decay apart.
        return n * 2 * 2 * of("num_heads") * 64 * 64 * 2 * of("head_dim")
    return n * 2 * 2 * of("num_value_heads") * 64 * 64 * (of("key_head_dim") + of("value_head_dim"))

def figures(kind, own):
    config = CONFIG_MAPPING[kind](**json.loads(json.dumps(own)))
    with torch.device("meta"):
        n = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    try:
        config = CONFIG_MAPPING[kind](**json.loads(json.dumps(own)))
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        if hasattr(config, "num_experts_per_tok") or hasattr(config, "top_k_experts"):
            model.set_experts_implementation("eager")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.randint(2, 100, (2, 32)), use_cache=False)
    except Exception:
        return n, None
    return n, counter.get_total_flops() + solved(config)

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
rows = {}
for kind in json.load(open(CLASSES)):
    fields = {f.name: f.default for f in dataclasses.fields(CONFIG_MAPPING[kind])}
    own = base(kind, fields)
    rows[kind] = row = {"config": own, "changes": []}
    for change in [{}, *changes(own, fields)] if not sys.argv[1:] or sys.argv[1] in kind else []:
        try:
            row["changes"].append([change, *figures(kind, own | change)])
        except Exception as error:
            print(kind, change, repr(error)[:90])
lines = (f"{json.dumps(kind)}:{json.dumps(row, separators=(',', ':'))}" for kind, row in rows.items() if row["changes"])
TABLE.write_text("{" + ",\n".join(lines) + "}\n")
