#!/usr/bin/env python3
"""What torchtitan makes of our overrides, by its own `ConfigManager`.

    python torchtitan_config.py FOLDER FILE.args PLAN.json [...]

FOLDER holds the package torchtitan. Prints one JSON document per pair: `runs`, what its config and torch's
schedule say (`dumped_plan.py`), and `differences` from the plan, which is read from its JSON alone. The
module and its config are what a user names: llama3, llama3_8b. A schedule's CSV is FILE.csv.
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import sys

from differences import Differences, judge

sys.path.insert(0, sys.argv[1])

from torch_passes import order  # noqa: E402
from torchtitan.config import ConfigManager  # noqa: E402

BASE = ["--module", "llama3", "--config", "llama3_8b"]


def stage(layers: dict, first: bool, last: bool) -> list[str]:
    names = [f"layers.{i}" for i in range(layers["first"], layers["first"] + layers["n"])]
    return ["tok_embeddings"] * first + names + ["norm", "lm_head"] * last


def differences(config, plan: dict) -> list[str]:
    own, training = plan["parallelism"], plan["parallelism"]["training"]
    theirs, batch = config.parallelism, config.training
    found = Differences()
    same = found.same
    same("tensor", theirs.tensor_parallel_degree, own["tensor"])
    same("pipeline", theirs.pipeline_parallel_degree, own["pipeline"])
    same("context", theirs.context_parallel_degree, own["context"])
    same("expert", theirs.expert_parallel_degree, own["expert"])
    sharded = training["zero"] >= 2
    same("shards", theirs.data_parallel_shard_degree, own["data"] if sharded else 1)
    same("replicas", theirs.data_parallel_replicate_degree, 1 if sharded else own["data"])
    if sharded and own["data"] * own["context"] > 1:
        reshards = "always" if training["zero"] == 3 else "never"
        same("reshard", theirs.fsdp_reshard_after_forward, reshards)
    if own["tensor"] > 1:
        same("sequence", theirs.enable_sequence_parallel, training["sequence_parallel"])
    micro, n = training["micro_batch"], own["n_micro_batches"]
    length = plan["training"]["sequence_length"]
    if hasattr(batch, "num_tokens_per_train_step"):
        same("context length", batch.max_context_length, length)
        same("tokens of a micro-batch", batch.num_tokens_per_microbatch_per_dp_rank, micro * length)
        same("tokens of a step", batch.num_tokens_per_train_step, micro * n * own["data"] * length)
        if own["pipeline"] > 1:
            same("micro-batches", theirs.num_pp_microbatches, n)
    else:
        same("length", batch.seq_len, length)
        same("global batch", batch.global_batch_size, micro * n * own["data"])
        same("local batch", batch.local_batch_size, micro * (n if own["pipeline"] > 1 else 1))
        if own["pipeline"] > 1:
            same("micro-batch", theirs.pipeline_parallel_microbatch_size, micro)
    stages = [s["blocks"] for s in plan["partition"]["stages"]]
    if own["pipeline"] > 1:
        ends = [(i == 0, i + 1 == len(stages)) for i in range(len(stages))]
        parts = [stage(layers, *end) for layers, end in zip(stages, ends)]
        same("parts", theirs.module_fqns_per_model_part, parts)
        named = {"1f1b": "1F1B", "gpipe": "GPipe", "interleaved": "Interleaved1F1B",
                 "zb-v": "ZBVZeroBubble", "dualpipe-v": "DualPipeV"}  # fmt: skip
        wanted = named.get(plan["training"]["schedule"], "PipelineScheduleMulti")
        same("schedule", theirs.pipeline_parallel_schedule, wanted)
        same("graphs", batch.disable_cuda_graphs, True)
    policies = {"none": "NoneType", "full": "FullAC", "per-op": "SelectiveAC"}
    checkpoint = type(config.activation_checkpoint).__qualname__.split(".")[0]
    policy = stages[0]["recompute"]
    same("recompute", checkpoint, policies.get(policy, policy))
    kind = {"bf16": "bfloat16", "f32": "float32", "fp32": "float32"}[plan["workload"]["dtype"]]
    same("type", batch.mixed_precision_param, kind)
    return found


def batches(config) -> dict:
    """Samples of a micro-batch, and how many of them a replica runs."""
    theirs, batch = config.parallelism, config.training
    replicas = theirs.data_parallel_replicate_degree * theirs.data_parallel_shard_degree
    piped = theirs.pipeline_parallel_degree > 1
    if hasattr(batch, "num_tokens_per_train_step"):
        length, per_step = batch.max_context_length, batch.num_tokens_per_train_step
        micro = batch.num_tokens_per_microbatch_per_dp_rank // length
        n = per_step // replicas // (micro * length)
        if piped and theirs.num_pp_microbatches != n:
            n = f"{theirs.num_pp_microbatches} of {n}"
    else:
        length, local = batch.seq_len, batch.local_batch_size
        micro = theirs.pipeline_parallel_microbatch_size if piped else local
        n = batch.global_batch_size // replicas // micro
        if piped and n != local // micro:
            n = f"{local // micro} of {n}"
    samples = micro * n * replicas if isinstance(n, int) else None
    return {"micro_batch": micro, "n_micro_batches": n, "sequence_length": length, "global_batch": samples}


def sharding(theirs) -> int:
    """ZeRO's stage: what is sharded is gathered for the backward pass once more, or kept
    (`fsdp_reshard_after_forward`; by default it is kept in a pipeline alone)."""
    if theirs.data_parallel_shard_degree * theirs.context_parallel_degree == 1:
        return 0
    piped = theirs.pipeline_parallel_degree > 1
    return {"always": 3, "never": 2, "default": 2 if piped else 3}[theirs.fsdp_reshard_after_forward]


def runs(config, n_layers: int, schedule: str) -> dict:
    """What runs, in the words of `dumped_plan.py`."""
    theirs, batch = config.parallelism, batches(config)
    parts = theirs.module_fqns_per_model_part
    blocks = [sum(name.startswith("layers.") for name in part) for part in parts or []] or [n_layers]
    policies = {"NoneType": "none", "FullAC": "full", "SelectiveAC": "per-op"}
    kinds = {"bfloat16": "bf16", "float32": "fp32"}
    compiled = config.compile.enable
    beside = compiled and config.compile.enable_async_tensor_parallel
    n_ranks = theirs.pipeline_parallel_degree
    name = theirs.pipeline_parallel_schedule if n_ranks > 1 else None
    return {
        **batch,
        "data": theirs.data_parallel_replicate_degree * theirs.data_parallel_shard_degree,
        "tensor": theirs.tensor_parallel_degree,
        "pipeline": n_ranks,
        "context": theirs.context_parallel_degree,
        "expert": theirs.expert_parallel_degree,
        "virtual_stages": len(blocks) // n_ranks,
        "sequence_parallel": theirs.enable_sequence_parallel,
        "zero": sharding(theirs),
        "pipeline_inside": False,
        "recompute": policies[type(config.activation_checkpoint).__qualname__.split(".")[0]],
        "blocks": blocks,
        "dtype": kinds[config.training.mixed_precision_param],
        "optimizer": None,
        "offloads": config.training.enable_cpu_offload,
        "stack": "torchtitan" + ("-async-tp" if beside else "" if compiled else "-eager"),
        "order": order(name, n_ranks, len(blocks), batch["n_micro_batches"], schedule),
    }


def judged(file: str, plan: dict, _: pathlib.Path) -> dict:
    words = pathlib.Path(file).read_text(encoding="utf-8").split()
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            config = ConfigManager().parse_args([*BASE, *words])
    except SystemExit as error:
        raise ValueError(told.getvalue()[-400:]) from error
    # Whoever builds the model counts its layers.
    n_layers = sum(stage["blocks"]["n"] for stage in plan["partition"]["stages"])
    return {"differences": differences(config, plan), "runs": runs(config, n_layers, f"{file}.csv")}


if __name__ == "__main__":
    judge(judged)
