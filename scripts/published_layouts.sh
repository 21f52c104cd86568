#!/usr/bin/env bash
# Published layouts (docs/published-runs.md) beside the plans of `meshwright train`.
#
#   MESHWRIGHT=target/release/meshwright bash scripts/published_layouts.sh [FOLDER] [NAME ..]
#
# Writes configs and clusters into FOLDER (published-layouts), then one line per question to results.tsv:
# name, exit code, seconds of the step, GiB of the fullest device, devices, wall seconds, plan or error.
# NAME limits the run to questions that begin so. Questions run one after the other.
set -u
mw=$(realpath "${MESHWRIGHT:-target/release/meshwright}")
folder=${1:-published-layouts}; shift || true
only=("$@")
limit=${LIMIT:-20s}
mkdir -p "$folder/models" "$folder/clusters" "$folder/plans"
cd "$folder" || exit 1

# Figures of the papers and of each model's config.json.
python3 - <<'P'
import json
def write(name, **config):
    json.dump(config, open(f"models/{name}.json", "w"), indent=2)
llama = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=128256, num_key_value_heads=8,
             max_position_embeddings=131072, hidden_act="silu", tie_word_embeddings=False, torch_dtype="bfloat16")
# arXiv:2407.21783, table 3.
for name, h, f, layers, heads in [("8b", 4096, 14336, 32, 32), ("70b", 8192, 28672, 80, 64), ("405b", 16384, 53248, 126, 128)]:
    write(f"llama-3.1-{name}", **llama, hidden_size=h, intermediate_size=f, num_hidden_layers=layers, num_attention_heads=heads)
# arXiv:2401.04088, table 1.
write("mixtral-8x7b", **{**llama, "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "vocab_size": 32000,
      "max_position_embeddings": 32768}, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
      num_attention_heads=32, num_local_experts=8, num_experts_per_tok=2)
# arXiv:2412.19437, section 4.2.
write("deepseek-v3", architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", vocab_size=129280, hidden_size=7168,
      intermediate_size=18432, moe_intermediate_size=2048, num_hidden_layers=61, num_attention_heads=128,
      num_key_value_heads=128, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64,
      v_head_dim=128, n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8, n_group=8, topk_group=4,
      first_k_dense_replace=3, moe_layer_freq=1, num_nextn_predict_layers=1, scoring_func="sigmoid",
      max_position_embeddings=163840, hidden_act="silu", rms_norm_eps=1e-6, tie_word_embeddings=False, torch_dtype="bfloat16")
# arXiv:2505.09388, table 2.
write("qwen3-235b-a22b", architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", vocab_size=151936, hidden_size=4096,
      intermediate_size=12288, moe_intermediate_size=1536, num_hidden_layers=94, num_attention_heads=64,
      num_key_value_heads=4, head_dim=128, num_experts=128, num_experts_per_tok=8, decoder_sparse_step=1,
      mlp_only_layers=[], norm_topk_prob=True, max_position_embeddings=40960, hidden_act="silu",
      tie_word_embeddings=False, torch_dtype="bfloat16")
# arXiv:2508.10925, table 1.
write("gpt-oss-120b", architectures=["GptOssForCausalLM"], model_type="gpt_oss", vocab_size=201088, hidden_size=2880,
      intermediate_size=2880, num_hidden_layers=36, num_attention_heads=64, num_key_value_heads=8, head_dim=64,
      num_local_experts=128, num_experts_per_tok=4, attention_bias=True, sliding_window=128,
      layer_types=["sliding_attention", "full_attention"] * 18, max_position_embeddings=131072,
      hidden_act="silu", tie_word_embeddings=False, torch_dtype="bfloat16")
# arXiv:2104.04473, section 5.
write("gpt3-175b", architectures=["GPT2LMHeadModel"], model_type="gpt2", n_embd=12288, n_layer=96, n_head=96,
      n_positions=2048, vocab_size=51200, torch_dtype="bfloat16")
# arXiv:2211.05100, table 3; the script pads the vocabulary to 250,880. 72 layers: what was measured before the run.
for name, layers in [("bloom-176b", 70), ("bloom-72-layers", 72)]:
    write(name, architectures=["BloomForCausalLM"], model_type="bloom", hidden_size=14336, n_layer=layers, n_head=112,
          vocab_size=250880, tie_word_embeddings=True, torch_dtype="bfloat16")
def cluster(name, hosts, device, scaleup, host, nics, network, devices=8):
    open(f"clusters/{name}.yaml", "w").write(
        f"name: {name}\nnodes:\n  - {{count: {hosts}, device: {device}, devices: {devices}, scaleup: {scaleup}, "
        f"host: {host}, nics: {nics}}}\nnetwork: {{link: {network}}}\n")
for gpus in [8, 64, 128, 256, 1024, 16384]:
    cluster(f"h100x{gpus}", gpus // 8, "h100_sxm5_80gb", "nvlink4", "pcie5_x16", 8, "ib_ndr_400")
cluster("h800x2048", 256, "h800_sxm5_80gb", "nvlink4_h800", "pcie5_x16", 8, "ib_ndr_400")
cluster("gb200x256", 4, "gb200_gpu_186gb", "nvlink5_nvl72", "pcie6_x16", 64, "ib_ndr_400", devices=64)
cluster("a100x384", 48, "a100_sxm4_80gb", "nvlink3", "pcie4_x16", 8, "ib_hdr_200")
cluster("a100x384-opa", 48, "a100_sxm4_80gb", "nvlink3", "pcie4_x16", 4, "omnipath_100")
P

run() { # NAME MODEL CLUSTER ARGUMENT ..
  local name=$1 model=models/$2.json at=clusters/$3.yaml; shift 3
  if [ ${#only[@]} -gt 0 ]; then
    local o hit=; for o in "${only[@]}"; do [[ $name == "$o"* ]] && hit=1; done
    [ -n "$hit" ] || return 0
  fi
  local begun rc; begun=$(date +%s.%N)
  "$mw" train "$model" --cluster "$at" $([[ " $* " == *" --time-limit "* ]] || echo --time-limit $limit) "$@" --json > "plans/$name.json" 2> "plans/$name.err"; rc=$?
  python3 - "$name" "$rc" "$begun" "$@" <<'P' | tee -a results.tsv
import json, sys, time
name, rc, begun, *flags = sys.argv[1:]
text = open(f"plans/{name}.json").read() or open(f"plans/{name}.err").read()
told = json.loads(text) if text.strip() else {}
best = told.get("best")
if best:
    json.dump(told["plan"], open(f"plans/{name}.plan.json", "w"))
    said = [f"{best['step_time_s']:.4g}", f"{best['peak_bytes'] / 2**30:.1f}", str(best["n_devices"])]
    what = best["degrees"] + f" ({told.get('stop_reason')})"
else:
    said, what = ["", "", ""], "{code}: {message}".format(**told.get("error", {"code": "?", "message": text[:200]}))
print("\t".join([name, rc, *said, f"{time.time() - float(begun):.1f}", what.replace("\n", " ")]))
P
}
pin() { printf -- '--pin %s ' "$@"; }
rm -f results.tsv

# DeepSeek-V3, 2,048 H800, fp8 by blocks.
ds="deepseek-v3 h800x2048 --global-batch 15360 --sequence-length 4096 --dtype fp8"
v=$(pin tensor=1 pipeline=16 context=1 expert=64 micro-batch=1 zero=1 schedule=dualpipe-v)
o="--stack megatron-bridge-flex-overlap-mxfp8"
run deepseek-pinned            $ds $o --for any $v --pin recompute=none
run deepseek-pinned-recompute  $ds $o --for any $v
run deepseek-pinned-240gb      $ds $o --for any $v --pin recompute=none --scale memory=3
run deepseek-ours              $ds $o --for any
run deepseek-bridge            $ds $o --for megatron-bridge
run deepseek-bridge-none       $ds $o --for megatron-bridge --pin recompute=none
run deepseek-flex              $ds --stack megatron-bridge-flex --for megatron-bridge
run deepseek-flex-zero1        $ds --stack megatron-bridge-flex --for megatron-bridge --pin zero=1
# DeepSeek-V3, 1,024 H100, fp8, recipe of Megatron-Bridge.
ds="deepseek-v3 h100x1024 --global-batch 8192 --sequence-length 4096 --dtype fp8 --stack megatron-bridge-flex-overlap --for megatron-bridge"
v=$(pin tensor=2 pipeline=8 context=1 expert=64 virtual-stages=4 schedule=interleaved micro-batch=1 zero=1 mesh=data-inside recompute=none)
run deepseek1024-pinned        $ds $v
run deepseek1024-pinned-240gb  $ds $v --scale memory=3
run deepseek1024-ours          $ds
run deepseek1024-ours-none     $ds --pin recompute=none

# Llama 3.1 405B, 16,384 H100, bf16. The paper does not state virtual stages.
ll="llama-3.1-405b h100x16384 --global-batch 2048 --sequence-length 8192"
v=$(pin tensor=8 pipeline=16 context=1 micro-batch=1 schedule=interleaved)
m="--stack megatron-core --for megatron"; t="--stack torchtitan --for torchtitan"
run llama405-megatron-pinned       $ll $m $v --pin zero=1 --pin recompute=none
run llama405-megatron-pinned-100gb $ll $m $v --pin zero=1 --pin recompute=none --pin virtual-stages=4 --scale memory=1.25
run llama405-megatron-pinned-fits  $ll $m $v --pin zero=1
run llama405-megatron-v8           $ll $m $v --pin zero=1 --pin virtual-stages=8
run llama405-megatron-ours         $ll $m
run llama405-titan-pinned          $ll $t $v --pin zero=2 --pin recompute=none
run llama405-titan-pinned-any-zero $ll $t $v --pin recompute=none
run llama405-titan-pinned-100gb    $ll $t $v --pin zero=2 --pin recompute=none --pin virtual-stages=4 --scale memory=1.25
run llama405-titan-pinned-per-op   $ll $t $v --pin zero=2 --pin recompute=per-op --pin virtual-stages=4
run llama405-titan-ours            $ll $t
# The same model, 1,024 H100, recipe of Megatron-Bridge.
ll="llama-3.1-405b h100x1024 --global-batch 512 --sequence-length 8192 --stack megatron-bridge --for megatron-bridge"
run llama405x1024-pinned $ll $(pin tensor=8 pipeline=8 context=2 virtual-stages=8 schedule=interleaved micro-batch=1 zero=1 recompute=none mesh=data-inside)
run llama405x1024-ours   $ll

# Llama 3.1 70B, 64 H100, recipes of Megatron-Bridge.
ll="llama-3.1-70b h100x64 --global-batch 128 --sequence-length 8192 --stack megatron-bridge --for megatron-bridge"
c=$(pin tensor=4 virtual-stages=5 schedule=interleaved micro-batch=1 zero=1 recompute=none split=equal mesh=data-inside)
run llama70-pinned     $ll $c --pin pipeline=4 --pin context=2
run llama70-ours       $ll
run llama70-fp8-pinned $ll --dtype fp8 $c --pin pipeline=8 --pin context=1
run llama70-fp8-ours   $ll --dtype fp8

# Llama 3.1 8B, 8 H100.
ll="llama-3.1-8b h100x8 --global-batch 128 --sequence-length 8192 --stack megatron-bridge --for megatron-bridge"
run llama8-pinned $ll $(pin tensor=1 pipeline=1 context=2 micro-batch=1 zero=1 recompute=none)
run llama8-ours   $ll

# Mixtral 8x7B, 64 H100.
mi="mixtral-8x7b h100x64 --global-batch 256 --sequence-length 4096 --stack megatron-core-2024 --for megatron"
run mixtral-pinned  $mi $(pin tensor=1 pipeline=4 context=1 expert=8 virtual-stages=8 schedule=interleaved micro-batch=1 zero=1 recompute=none split=equal mesh=data-inside)
run mixtral-ours    $mi
run mixtral-fastest $mi --fastest

# Qwen3 235B, 256 H100, bf16.
qw="qwen3-235b-a22b h100x256 --global-batch 2048 --sequence-length 4096 --for megatron-bridge"
v=$(pin tensor=2 pipeline=8 context=1 virtual-stages=4 schedule=interleaved micro-batch=1 zero=1 mesh=data-inside)
o="--stack megatron-bridge-alltoall-overlap"
run qwen-pinned         $qw $o $v --pin expert=32 --pin recompute=none
run qwen-pinned-ep16    $qw $o $v --pin expert=16 --pin recompute=none
run qwen-pinned-ep16-fits $qw $o $v --pin expert=16
run qwen-pinned-160gb   $qw $o $v --pin expert=16 --pin recompute=none --scale memory=2
run qwen-ours           $qw $o
run qwen-ours-none      $qw $o --pin recompute=none
run qwen-plain-pinned   $qw --stack megatron-bridge $v --pin expert=16
run qwen-plain-ours     $qw --stack megatron-bridge
run qwen-plain-zero1    $qw --stack megatron-bridge --pin zero=1
# Qwen3 235B, 256 GB200, MXFP8.
qw="qwen3-235b-a22b gb200x256 --global-batch 8192 --sequence-length 4096 --dtype fp8 --for megatron-bridge"
v=$(pin tensor=1 pipeline=8 context=1 expert=32 virtual-stages=3 schedule=interleaved micro-batch=1 zero=1 mesh=data-inside recompute=none)
run qwengb-pinned         $qw --stack megatron-bridge-flex-graphs $v --pin expert-overlap=off
run qwengb-ours           $qw --stack megatron-bridge-flex-graphs
run qwengb-overlap-pinned $qw --stack megatron-bridge-flex-overlap-graphs $v
run qwengb-overlap-ours   $qw --stack megatron-bridge-flex-overlap-graphs

# GPT-OSS 120B, 64 H100, bf16.
go="gpt-oss-120b h100x64 --global-batch 1280 --sequence-length 4096 --stack megatron-bridge --for megatron-bridge"
run gptoss-pinned   $go $(pin tensor=1 pipeline=4 context=1 expert=8 virtual-stages=1 schedule=1f1b micro-batch=1 zero=1 recompute=none split=equal mesh=data-inside expert-overlap=off)
run gptoss-ours     $go
run gptoss-ours-60s $go --time-limit 60s
run gptoss-zero1    $go --pin zero=1

# GPT-3 175B, 384 A100 (2021) and 128 H100.
gp="gpt3-175b a100x384 --global-batch 1536 --sequence-length 2048 --stack megatron-deepspeed-2021 --for megatron"
run gpt3-pinned      $gp $(pin tensor=8 pipeline=12 context=1 virtual-stages=1 schedule=1f1b micro-batch=1 zero=0 recompute=full split=equal mesh=data-inside sequence-parallel=off)
run gpt3-ours        $gp
run gpt3-ours-2021   $gp $(pin sequence-parallel=off recompute=full zero=0)
gp="gpt3-175b h100x128 --global-batch 256 --sequence-length 2048 --stack megatron-bridge --for megatron-bridge"
run gpt3h100-pinned  $gp $(pin tensor=4 pipeline=8 context=1 virtual-stages=6 schedule=interleaved micro-batch=1 zero=1 recompute=none split=equal mesh=data-inside)
run gpt3h100-ours    $gp

# BLOOM 176B, 384 A100.
bl="a100x384-opa --global-batch 2048 --sequence-length 2048 --stack megatron-deepspeed-2021 --for megatron"
v=$(pin tensor=4 pipeline=12 context=1 virtual-stages=1 schedule=1f1b micro-batch=2 zero=1 recompute=full mesh=data-inside sequence-parallel=off)
run bloom-pinned    bloom-176b $bl $v
run bloom-72-pinned bloom-72-layers $bl $v
run bloom-ours      bloom-176b $bl
run bloom-ours-2022 bloom-176b $bl $(pin sequence-parallel=off recompute=full virtual-stages=1)
