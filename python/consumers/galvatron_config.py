#!/usr/bin/env python3
"""What Hetu-Galvatron makes of our JSON, by its own code.

    python galvatron_config.py SOURCE FILE.json PLAN.json [...]

SOURCE is a folder or an archive of the package. For each pair: `get_hybrid_parallel_configs_api` with the
plan's number of processes, `check_hp_config`, and `hp_config_whole_model` with an embedding before and a
head behind the layers. Prints one JSON document per pair: `differences` from the plan, which is read from
its JSON alone.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import types

import one_file
from differences import Differences, judge

UTILS = ["str2array", "read_json_config", "config2strategy"]
RUNTIME = [
    "get_pp_ranks_enc", "get_hybrid_parallel_configs_api", "check_hp_config", "hp_config_whole_model",
]  # fmt: skip


def code(source: str, world: int) -> dict:
    """Its functions, as one of so many processes runs them."""
    utils = one_file.functions(source, "galvatron/utils/config_utils.py", UTILS, {"json": json, "os": os})
    processes = types.SimpleNamespace(get_world_size=lambda: world)
    known = utils | {"json": json, "os": os, "torch": types.SimpleNamespace(distributed=processes)}
    core = types.ModuleType("galvatron.core")
    core.get_args = lambda: types.SimpleNamespace(local_rank=1)
    sys.modules |= {"galvatron": types.ModuleType("galvatron"), "galvatron.core": core}
    return one_file.functions(source, "galvatron/core/runtime/hybrid_parallel_config.py", RUNTIME, known)


def again(stage: dict) -> list[int]:
    """Whether each block of a stage is computed again."""
    policy, n = stage["recompute"], stage["n"]
    n_again = min(n, policy["block"]) if isinstance(policy, dict) else {"none": 0, "full": n}[policy]
    return [1] * n_again + [0] * (n - n_again)


def differences(source: str, file: str, plan: dict) -> list[str]:
    own, training = plan["parallelism"], plan["parallelism"]["training"]
    world = own["data"] * own["tensor"] * own["pipeline"]
    stages = [stage["blocks"] for stage in plan["partition"]["stages"]]
    n_layers = sum(stage["n"] for stage in stages)
    theirs, found = code(source, world), Differences()
    # What its own flags say where the file says nothing.
    args = types.SimpleNamespace(
        galvatron_config_path=file, local_rank=1, global_train_batch_size=0, chunks=-1, pipeline_type=None,
        default_dp_type=None, embed_sdp=None, distributed_checkpoint=False, vocab_tp=None, vocab_sp=None,
    )  # fmt: skip

    def shape(*_):
        return types.SimpleNamespace(layernums=lambda: [n_layers])

    configs = theirs["get_hybrid_parallel_configs_api"](None, args, shape)
    theirs["check_hp_config"](configs, [n_layers])
    modules = ["embed"] + ["gpt_dec"] * n_layers + ["cls"]
    whole = theirs["hp_config_whole_model"](
        modules, configs, args.embed_sdp, 0, args.vocab_tp, args.vocab_sp
    )
    found.same("tensor", set(whole["tp_sizes_whole"]), {own["tensor"]})
    found.same("data", set(whole["dp_sizes_whole"]), {own["data"]})
    found.same("pipeline", configs["pp_deg"], own["pipeline"])
    found.same("blocks", configs["pp_division"], [stage["n"] for stage in stages])
    ranks = [at for at, stage in enumerate(stages) for _ in range(stage["n"])]
    found.same("ranks", whole["pp_ranks_whole"], [0, *ranks, ranks[-1]])
    found.same("recompute", configs["checkpoint_flags_enc"], sum(map(again, stages), []))
    found.same("micro-batches", args.chunks, own["n_micro_batches"])
    samples = training["micro_batch"] * own["n_micro_batches"] * own["data"]
    found.same("global batch", args.global_train_batch_size, samples)
    if own["pipeline"] > 1:
        named = {"1f1b": "pipedream_flush", "gpipe": "gpipe"}
        found.same("schedule", args.pipeline_type, named.get(plan["training"]["schedule"]))
    default = {"ddp": 0, "zero2": 2, "zero3": 3}[args.default_dp_type]
    if own["data"] > 1:
        zeros = [3 if sharded else default for sharded in whole["dp_types_whole"]]
        found.same("ZeRO", set(zeros), {training["zero"]})
    found.same("neighbours", set(whole["tp_consec_whole"]), {1})
    return found


def judged(file: str, plan: dict, _: pathlib.Path) -> dict:
    return {"differences": differences(sys.argv[1], file, plan)}


if __name__ == "__main__":
    judge(judged)
