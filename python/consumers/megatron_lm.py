#!/usr/bin/env python3
"""What Megatron-LM makes of our flags, by its own code.

    python megatron_lm.py FOLDER FILE.args PLAN.json [...]

For each pair: `parse_args` and `validate_args` with the plan's number of processes, the class that reads
the layout, and `initialize_model_parallel` for every rank on torch's fake backend. Prints one JSON
document per pair: what the parsed objects say, and `differences` from the plan. Nothing is added to the
flags but data, tokenizer, learning rate and the length of the run.

Nothing here reads a plan through meshwright: degrees and layout are taken from the plan's JSON.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import sys
import types
import typing

if not hasattr(typing, "override"):  # Python 3.11
    typing.override = lambda function: function
from differences import Differences, judge
from plan_groups import wanted

sys.path.insert(0, sys.argv[1])



import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402

logging.disable(logging.WARNING)
torch.cuda.get_device_capability = lambda *_: (9, 0)
torch.cuda.get_device_properties = lambda *_: types.SimpleNamespace(major=9, minor=0)
torch.cuda.is_available = lambda: False

import packaging.version  # noqa: E402
from megatron.core import parallel_state  # noqa: E402
from megatron.core import utils as core_utils  # noqa: E402
from megatron.core.models.common.embeddings import rope_utils  # noqa: E402
from megatron.core.transformer.enums import LayerType  # noqa: E402
from megatron.core.transformer.pipeline_parallel_layer_layout import (  # noqa: E402
    PipelineParallelLayerLayout,
)
from megatron.training.argument_utils import core_transformer_config_from_args  # noqa: E402
from megatron.training.arguments import parse_args, validate_args  # noqa: E402

# Kernels that a machine with devices has: Transformer Engine runs on no other.
core_utils._te_version = packaging.version.Version("2.9.0")
rope_utils.fused_apply_rotary_pos_emb = rope_utils.fused_apply_rotary_pos_emb_thd = print

# What no plan decides.
ADDED = "--lr 1e-4 --train-iters 10 --mock-data --tokenizer-type NullTokenizer".split()


def parsed(words: list[str], world: int, connections: str | None):
    """The namespace after validation, as rank 0 of so many processes sees it."""
    os.environ.update(RANK="0", WORLD_SIZE=str(world), LOCAL_RANK="0")
    os.environ.pop("CUDA_DEVICE_MAX_CONNECTIONS", None)
    if connections is not None:
        os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] = connections
    sys.argv = ["pretrain_gpt.py", *words, *ADDED]
    args = parse_args()
    validate_args(args, {})
    return args


def layers_of_stages(args) -> list[dict[str, int]]:
    """By stage in model order: layers, layers that predict a later token, embedding, loss."""
    n_ranks = args.pipeline_model_parallel_size
    n_chunks = args.virtual_pipeline_model_parallel_size or 1
    layout = getattr(args, "pipeline_model_parallel_layout", None)
    if layout is None:
        later = args.mtp_num_layers or 0
        return [{"decoder": args.num_layers, "mtp": later, "embedding": 1, "loss": 1}]
    if not isinstance(layout, PipelineParallelLayerLayout):
        layout = PipelineParallelLayerLayout.from_str(str(layout), n_ranks)
    stages = []
    for chunk in range(n_chunks):
        for rank in range(n_ranks):
            own = layout.layout[rank][chunk]
            stages.append({kind.name: own.count(kind) for kind in LayerType})
    return stages


GROUPS = {
    "tensor": "TENSOR_MODEL_PARALLEL_GROUP",
    "pipeline": "PIPELINE_MODEL_PARALLEL_GROUP",
    "data": "DATA_PARALLEL_GROUP",
    "context": "CONTEXT_PARALLEL_GROUP",
    "expert": "EXPERT_MODEL_PARALLEL_GROUP",
}


def groups(args) -> dict[str, set[tuple[int, ...]]]:
    """All groups of each kind, as every process makes them."""
    made: dict[str, set[tuple[int, ...]]] = {name: set() for name in GROUPS.values()}
    create = parallel_state.create_group

    def noted(ranks=None, *more, **named):
        made.setdefault(named.get("group_desc"), set()).add(tuple(sorted(ranks)))
        return create(ranks, *more, **named)

    dist.init_process_group("fake", rank=0, world_size=args.world_size, store=FakeStore())
    parallel_state.create_group = noted
    try:
        parallel_state.initialize_model_parallel(
            args.tensor_model_parallel_size,
            args.pipeline_model_parallel_size,
            args.virtual_pipeline_model_parallel_size,
            context_parallel_size=args.context_parallel_size,
            expert_model_parallel_size=args.expert_model_parallel_size,
            expert_tensor_parallel_size=args.expert_tensor_parallel_size,
            create_gloo_process_groups=False,
            order="tp-cp-ep-pp-dp" if args.use_tp_pp_dp_mapping else "tp-cp-ep-dp-pp",
        )
        return {name: made[theirs] for name, theirs in GROUPS.items()}
    finally:
        parallel_state.create_group = create
        parallel_state.destroy_model_parallel()
        dist.destroy_process_group()


def differences(args, plan: dict, n_later: int) -> list[str]:
    """What the consumer runs that the plan does not say."""
    own, training = plan["parallelism"], plan["parallelism"]["training"]
    found = Differences()
    same = found.same
    same("tensor", args.tensor_model_parallel_size, own["tensor"])
    same("pipeline", args.pipeline_model_parallel_size, own["pipeline"])
    same("context", args.context_parallel_size, own["context"])
    same("expert", args.expert_model_parallel_size, own["expert"])
    same("data", args.data_parallel_size, own["data"])
    same("micro-batch", args.micro_batch_size, training["micro_batch"])
    n = args.global_batch_size // args.data_parallel_size // args.micro_batch_size
    same("micro-batches", n, own["n_micro_batches"])
    same("chunks", args.virtual_pipeline_model_parallel_size or 1, training["virtual_stages"])
    same("sequence length", args.seq_length, plan["training"]["sequence_length"])
    on = training["sequence_parallel"] and own["tensor"] > 1
    same("sequence", bool(args.sequence_parallel), on)
    blocks = [s["blocks"] for s in plan["partition"]["stages"]]
    stages = layers_of_stages(args)
    same("blocks", [s["decoder"] + s["mtp"] for s in stages], [b["n"] for b in blocks])
    same("later tokens", sum(s["mtp"] for s in stages), n_later)
    zero = training["zero"]
    same("Megatron-FSDP", bool(args.use_megatron_fsdp), zero >= 2)
    same("distributed optimizer", bool(args.use_distributed_optimizer), zero >= 1)
    if args.use_megatron_fsdp:
        strategy = {2: "optim_grads", 3: "optim_grads_params"}[zero]
        same("strategy", args.data_parallel_sharding_strategy, strategy)
    priced(args, plan, same)
    return found


def recomputed(args) -> str | dict[str, int]:
    """What is computed again, as a plan's document says it."""
    match args.recompute_granularity, args.recompute_method:
        case None, _:
            return "none"
        case "selective", _:
            return "selective" if args.recompute_modules in (None, ["core_attn"]) else "else"
        case "full", "uniform" if args.recompute_num_layers == 1:
            return "full"
        case "full", "block":
            return {"block": args.recompute_num_layers}
        case "full", "uniform":
            return {"uniform": args.recompute_num_layers}
    return "else"


def priced(args, plan: dict, same) -> None:
    """What the step and the peak rest on besides degrees and layout."""
    own, training, workload = plan["parallelism"], plan["training"], plan["workload"]
    for stage in plan["partition"]["stages"]:
        same("recompute", recomputed(args), stage["blocks"]["recompute"])
    types = {"bf16": torch.bfloat16, "fp8": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    same("type of weights", args.params_dtype, types[workload["dtype"]])
    same("products in 8 bits", args.fp8 is not None, workload["dtype"] == "fp8")
    same("optimizer", args.optimizer, {"adamw": "adam"}.get(workload["optimizer"], workload["optimizer"]))
    same("optimizer on hosts", args.optimizer_cpu_offload, training.get("offloads_optimizer", False))
    # The stack exchanges gradients beside the backward pass and gathers tensor ranks' pieces beside products.
    n_replicas = own["data"] * own["context"]
    shares = own["training"]["zero"] >= 1
    same("gradients beside the pass", args.overlap_grad_reduce, n_replicas > 1)
    same("weights beside the pass", args.overlap_param_gather, shares and n_replicas > 1)
    splits = own["training"]["sequence_parallel"] and own["tensor"] > 1
    same("tensor ranks beside products", args.tp_comm_overlap, splits)
    in_16 = training["stack"].startswith("megatron-bridge")
    same("gradients in 16 bits", bool(args.grad_reduce_in_bf16), in_16)


def judged(file: str, plan_file: str) -> dict:
    """One pair."""
    plan = json.loads(pathlib.Path(plan_file).read_text(encoding="utf-8"))
    words = pathlib.Path(file).read_text(encoding="utf-8").split()
    own = plan["parallelism"]
    world = own["data"] * own["tensor"] * own["pipeline"] * own["context"]
    # What the file of the environment says, where there is one.
    is_fsdp = "--use-megatron-fsdp" in words
    try:
        args = parsed(words, world, "8" if is_fsdp else "1")
        # Checks of its own, as the model is built.
        core_transformer_config_from_args(args)
    except (AssertionError, ValueError, SystemExit, RuntimeError) as error:
        return {"file": file, "differences": [f"refused: {type(error).__name__}: {error}"]}
    found = differences(args, plan, args.mtp_num_layers or 0)
    try:
        theirs = groups(args)
    except (AssertionError, RuntimeError) as error:
        return {"file": file, "differences": [f"refused: {type(error).__name__}: {error}"]}
    for rank in range(world):
        ours = wanted(plan, rank)
        wrong = [name for name in ours if ours[name] not in theirs[name]]
        found += [f"{name} group of rank {rank}: {ours[name]} is planned" for name in wrong]
        if wrong:
            break
    said = {key: str(value) for key, value in vars(args).items()}
    return {"file": file, "differences": found, "args": said}


if __name__ == "__main__":
    judge(judged)
