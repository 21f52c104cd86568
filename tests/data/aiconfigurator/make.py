"""Writes the folder of systems beside this file: invented times of two kinds of device, in the form of
AIConfigurator's tables. Needs pyarrow.

A kernel takes 5 us and what it computes at 1 POP/s, or moves at 1 TB/s."""

import itertools
import pathlib

import pyarrow
import pyarrow.parquet

ROOT = pathlib.Path(__file__).parent / "systems"
SYSTEM = """data_dir: data/{name}
gpu:
  mem_bw: 2000000000000
  mem_bw_empirical_scaling_factor: 0.8
  mem_empirical_constant_latency: 0.000003
  mem_capacity: 80000000000
  bfloat16_tc_flops: 1000000000000000
  fp8_tc_flops: 2000000000000000
  sm_version: 90
node:
  num_gpus_per_node: 8
  inter_node_bw: 50000000000
  intra_node_bw: 400000000000
  p2p_latency: 0.00001
misc:
  nccl_mem: {{1: 0, 2: 300000000}}
  other_mem: 3000000000
  nccl_version: '2.2'
"""
VERSIONS = """schema_version: 1
defaults:
  one: {current: "1.10.0", previous: "1.9.0"}
overrides:
  small:
    one: {current: "1.9.0", previous: null}
"""
KERNELS = 'one:\n  "1.9.0":\n    90: fast\n'


def table(system, family, engine, version, name, rows, compression="zstd"):
    folder = ROOT / "data" / system / family / engine / version
    folder.mkdir(parents=True, exist_ok=True)
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    path = folder / f"{name}.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression=compression)


def kernel(flops, moved):
    return (5e-6 + max(flops / 1e15, moved / 1e12)) * 1e3


def products(factor, sites, ms):
    for (n, k), m, dtype in itertools.product(sites, ms, ["bfloat16", "unheard_of"]):
        latency = factor * kernel(2 * m * n * k, 2 * (m * n + m * k + n * k))
        yield {"gemm_dtype": dtype, "m": m, "n": n, "k": k, "latency": latency}


def attention(is_decode):
    key_value = [(16, 2), (32, 4), (4, 4)]
    for (heads, kv), batch, tokens in itertools.product(key_value, [1, 4], [1, 1024, 4096]):
        flops = 4 * batch * heads * 128 * tokens if is_decode else 2 * batch * heads * 128 * tokens**2
        moved = 4 * batch * kv * 128 * tokens
        for source, factor in [("slow", 3), ("fast", 1)]:
            yield {
                "kernel_source": source,
                "attn_dtype": "bfloat16",
                "kv_cache_dtype": "bfloat16",
                "num_heads": heads,
                "num_key_value_heads": kv,
                "head_dim": 128,
                "batch_size": batch,
                "isl": 1 if is_decode else tokens,
                "step": tokens - 1 if is_decode else 0,
                "latency": factor * kernel(flops, moved),
            }


def latent(is_block=False):
    for heads, batch, tokens in itertools.product([16, 128], [1, 8], [512, 4096]):
        latency = kernel(1e3 * batch * heads * tokens, 1e3 * batch * tokens)
        yield {
            "mla_dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "num_heads": heads,
            "batch_size": batch, "isl": tokens, "step": 0, "latency": latency,
        } | ({"gemm_type": "bfloat16"} if is_block else {})


def latent_products():
    for op, heads, tokens in itertools.product(["mla_gen_pre", "mla_gen_post"], [16, 128], [1, 4096]):
        latency = kernel(2 * tokens * heads * 128 * 512, 2 * heads * 128 * 512)
        yield {
            "bmm_dtype": "bfloat16", "op_name": op, "num_heads": heads, "num_tokens": tokens,
            "latency": latency,
        }


def experts():
    for tokens, load in itertools.product([1, 64, 4096], ["power_law_1.2", "uniform"]):
        flops = 6 * tokens * 8 * 2048 * 768 / 2 * (1.5 if load != "uniform" else 1)
        yield {
            "moe_dtype": "bfloat16", "num_tokens": tokens, "hidden_size": 2048, "inter_size": 768,
            "topk": 8, "num_experts": 128, "moe_tp_size": 1, "moe_ep_size": 2, "distribution": load,
            "latency": kernel(flops, 6 * 2048 * 768 * min(64, tokens * 4)),
        }


def all_reduce():
    for gpus, size, source in itertools.product([2, 4], [1024, 1 << 20], ["graph", "of_eager"]):
        latency = 0.005 + size * 4 / 4e8 * (1 if source == "graph" else 9)
        yield {
            "kernel_source": source, "allreduce_dtype": "bfloat16", "num_gpus": gpus,
            "message_size": size, "latency": latency,
        }


def library():
    ops = ["all_reduce", "all_gather", "reduce_scatter", "alltoall"]
    for op, gpus, size, dtype in itertools.product(ops, [2, 4, 8], [1024, 1 << 20], ["half", "int8"]):
        yield {
            "nccl_dtype": dtype, "op_name": op, "num_gpus": gpus, "message_size": size,
            "latency": 0.01 + size * 2 / 4e8,
        }


def main():
    ROOT.mkdir(exist_ok=True)
    (ROOT / "query_versions.yaml").write_text(VERSIONS)
    (ROOT / "attention_lane_defaults.yaml").write_text(KERNELS)
    for name in ["large", "small"]:
        (ROOT / f"{name}.yaml").write_text(SYSTEM.format(name=name))
    sites = [(1024, 4096), (4096, 1024), (4096, 4096), (8192, 4096)]
    gemm = list(products(1, sites, [1, 16, 256, 4096]))
    table("large", "gemm", "one", "1.10.0", "gemm_perf", gemm + gemm[:3])
    older = list(products(2, [*sites, (2048, 2048)], [1, 16]))
    table("large", "gemm", "one", "1.9.0", "gemm_perf", older, "snappy")
    later = list(products(9, [(64, 64)], [1]))
    table("large", "gemm", "one", "1.11.0rc2", "gemm_perf", later)
    for name, rows, family in [
        ("context_attention_perf", attention(False), "attention"),
        ("generation_attention_perf", attention(True), "attention"),
        ("context_mla_perf", latent(), "mla"),
        ("generation_mla_perf", latent(), "mla"),
        ("mla_context_module_perf", latent(True), "mla"),
        ("mla_generation_module_perf", latent(True), "mla"),
        ("mla_bmm_perf", latent_products(), "mla_bmm"),
        ("moe_perf", experts(), "moe"),
        ("custom_allreduce_perf", all_reduce(), "comm"),
    ]:
        table("large", family, "one", "1.10.0", name, list(rows))
    table("large", "comm", "nccl", "2.2", "nccl_perf", list(library()))
    without = [{key: row[key] for key in row if key != "k"} for row in gemm]
    table("small", "gemm", "one", "1.9.0", "gemm_perf", without)


if __name__ == "__main__":
    main()
