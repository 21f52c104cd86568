#!/usr/bin/env python3
"""What torchtitan makes of our overrides, by its own `ConfigManager`.

    python torchtitan_config.py FOLDER FILE.args PLAN.json [...]

FOLDER holds the package torchtitan. Prints one JSON document per pair: `differences` from the plan, which
is read from its JSON alone. The module and its config are what a user names: llama3, llama3_8b.
"""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import sys

from differences import Differences, judge

sys.path.insert(0, sys.argv[1])

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


def judged(file: str, plan_file: str) -> dict:
    plan = json.loads(pathlib.Path(plan_file).read_text(encoding="utf-8"))
    words = pathlib.Path(file).read_text(encoding="utf-8").split()
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            config = ConfigManager().parse_args([*BASE, *words])
    except (Exception, SystemExit) as error:  # noqa: BLE001
        why = f"{type(error).__name__}: {error} {told.getvalue()[-400:]}"
        return {"file": file, "differences": [f"refused: {why}"]}
    return {"file": file, "differences": differences(config, plan)}


if __name__ == "__main__":
    judge(judged)
