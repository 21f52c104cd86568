#!/usr/bin/env python3
"""What Megatron-LM makes of our flags, by its own code.

    python megatron_lm.py FOLDER FILE.args PLAN.json [...]

For each pair: `parse_args` and `validate_args` with the plan's number of processes, the class that reads
the layout, and `initialize_model_parallel` for every rank on torch's fake backend. Prints one JSON
document per pair: `runs`, what the parsed objects and its scheduler say (`dumped_plan.py`), and
`differences` from the plan. Nothing is added to the flags but data, tokenizer, learning rate and the length
of the run.

Nothing here reads a plan through meshwright: degrees and layout are taken from the plan's JSON.
"""

from __future__ import annotations

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
from megatron.core.transformer.pipeline_parallel_layer_layout import (  # noqa: E402
    PipelineParallelLayerLayout,
)
from megatron.training.argument_utils import core_transformer_config_from_args  # noqa: E402
from megatron.training.arguments import parse_args, validate_args  # noqa: E402
from megatron_order import layers, order  # noqa: E402

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
    """By stage in model order: layers, and layers that predict a later token."""
    n_ranks = args.pipeline_model_parallel_size
    n_chunks = args.virtual_pipeline_model_parallel_size or 1
    layout = getattr(args, "pipeline_model_parallel_layout", None)
    if layout is None:
        return even_stages(args, n_ranks, n_chunks)
    if not isinstance(layout, PipelineParallelLayerLayout):
        layout = PipelineParallelLayerLayout.from_str(str(layout), n_ranks)
    return layers(layout, n_ranks, n_chunks)


def even_stages(args, n_ranks: int, n_chunks: int) -> list[dict[str, int]]:
    """Without a layout: stated counts are of ranks, in equal chunks; the others share the rest."""
    first, last = args.decoder_first_pipeline_num_layers, args.decoder_last_pipeline_num_layers
    free = args.num_layers - (first or 0) - (last or 0)
    ends = {0: first, n_ranks - 1: last}
    others = n_ranks - sum(own is not None for own in ends.values())
    held = []
    for stage in range(n_ranks * n_chunks):
        own = ends.get(stage % n_ranks)
        held.append((own if own is not None else free // max(others, 1)) // n_chunks)
    later = [0] * (len(held) - 1) + [args.mtp_num_layers or 0]
    return [{"decoder": layers, "mtp": mtp} for layers, mtp in zip(held, later)]


def sharding(args) -> int:
    """ZeRO's stage."""
    if args.use_megatron_fsdp:
        order = ["no_shard", "optim", "optim_grads", "optim_grads_params"]
        return order.index(args.data_parallel_sharding_strategy)
    if args.use_torch_fsdp2:
        return 2 if args.torch_fsdp2_reshard_after_forward is False else 3
    return int(bool(args.use_distributed_optimizer))


def attributes(args) -> dict:
    """What a run is told, in the words of `dumped_plan.py`."""
    return {
        "data": args.data_parallel_size,
        "tensor": args.tensor_model_parallel_size,
        "pipeline": args.pipeline_model_parallel_size,
        "context": args.context_parallel_size,
        "expert": args.expert_model_parallel_size,
        "virtual_stages": args.virtual_pipeline_model_parallel_size or 1,
        "expert_overlap": bool(args.overlap_moe_expert_parallel_comm),
        "micro_batch": args.micro_batch_size,
        "global_batch": args.global_batch_size,
        "sequence_length": args.seq_length,
        "sequence_parallel": bool(args.sequence_parallel),
        "zero": sharding(args),
        "pipeline_inside": bool(args.use_tp_pp_dp_mapping),
        "recompute": recomputed(args),
        "blocks": [stage["decoder"] + stage["mtp"] for stage in layers_of_stages(args)],
        "n_predicting": args.mtp_num_layers or 0,
        "dtype": "fp8" if args.fp8 else DTYPES[args.params_dtype],
        "optimizer": {"adam": "adamw"}.get(args.optimizer, args.optimizer),
        "offloads": bool(args.optimizer_cpu_offload),
    }


DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


def stack(args) -> str:
    """The planner's name for what runs beside what, and in which types; those that none has are told."""
    n_replicas = args.data_parallel_size * args.context_parallel_size
    splits = args.sequence_parallel and args.tensor_model_parallel_size > 1
    beside = args.overlap_grad_reduce or n_replicas == 1, args.tp_comm_overlap or not splits
    kernels = args.attention_backend.name, args.cuda_graph_impl
    tokens = args.moe_token_dispatcher_type if args.num_experts else "alltoall"
    if (*beside, *kernels, tokens) != (True, True, "auto", "none", "alltoall"):
        return f"none with {beside}, {kernels}, {tokens}"
    if args.fp8 is not None and args.fp8_recipe in ("mxfp8", "blockwise"):
        return "megatron-bridge-mxfp8"
    return "megatron-bridge" if sums_half(args) else "megatron-core"


def sums_half(args) -> bool:
    """Whether gradients are summed and exchanged in 16 bits (`grad_reduce_in_fp32` of its DDP)."""
    return args.params_dtype != torch.float32 and not args.accumulate_allreduce_grads_in_fp32


def runs(args, config) -> dict:
    own = attributes(args)
    n = args.global_batch_size // args.data_parallel_size // args.micro_batch_size
    return {**own, "n_micro_batches": n, "stack": stack(args), "order": order(config, n)}


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
    same, said = found.same, attributes(args)
    for axis in ("tensor", "pipeline", "context", "expert", "data"):
        same(axis, said[axis], own[axis])
    same("micro-batch", args.micro_batch_size, training["micro_batch"])
    n = args.global_batch_size // args.data_parallel_size // args.micro_batch_size
    same("micro-batches", n, own["n_micro_batches"])
    same("chunks", said["virtual_stages"], training["virtual_stages"])
    same("sequence length", args.seq_length, plan["training"]["sequence_length"])
    on = training["sequence_parallel"] and own["tensor"] > 1
    same("sequence", said["sequence_parallel"], on)
    blocks = [s["blocks"] for s in plan["partition"]["stages"]]
    same("blocks", said["blocks"], [b["n"] for b in blocks])
    same("later tokens", sum(s["mtp"] for s in layers_of_stages(args)), n_later)
    zero = training["zero"]
    same("Megatron-FSDP", bool(args.use_megatron_fsdp), zero >= 2)
    # The one that leaves its states on hosts.
    offloads = plan["training"].get("offloads_optimizer", False)
    same("distributed optimizer", bool(args.use_distributed_optimizer), zero >= 1 or offloads)
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
    overlaps = own["training"].get("expert_overlap", False)
    same("experts' exchanges beside work", args.overlap_moe_expert_parallel_comm, overlaps)
    same("tensor ranks beside products", args.tp_comm_overlap, splits)
    in_16 = training["stack"].startswith("megatron-bridge") and workload["dtype"] != "fp32"
    same("gradients in 16 bits", sums_half(args), in_16)


def judged(file: str, plan: dict, _: pathlib.Path) -> dict:
    words = pathlib.Path(file).read_text(encoding="utf-8").split()
    own = plan["parallelism"]
    world = own["data"] * own["tensor"] * own["pipeline"] * own["context"]
    # What the file of the environment says, where there is one.
    is_fsdp = "--use-megatron-fsdp" in words
    args = parsed(words, world, "8" if is_fsdp else "1")
    # Checks of its own, as the model is built.
    config = core_transformer_config_from_args(args)
    found = differences(args, plan, args.mtp_num_layers or 0)
    theirs = groups(args)
    for rank in range(world):
        ours = wanted(plan, rank)
        wrong = [name for name in ours if ours[name] not in theirs[name]]
        found += [f"{name} group of rank {rank}: {ours[name]} is planned" for name in wrong]
        if wrong:
            break
    return {"differences": found, "runs": runs(args, config)}


if __name__ == "__main__":
    judge(judged)
