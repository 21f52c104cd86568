#!/usr/bin/env python3
"""What Accelerate and Transformers make of our JSON, by their own code.

    python huggingface_config.py FOLDER FILE.json PLAN.json [...]

For each pair: the member `accelerate` as `accelerate launch --config_file` takes it, down to the variables
that it starts processes with; from these `FullyShardedDataParallelPlugin` and `ParallelismConfig`, whose
mesh is built for every rank on torch's fake backend; `training_arguments` by `HfArgumentParser`;
`distributed_config` by `DistributedConfig`. Prints one JSON document per pair: `differences` from the plan,
which is read from its JSON alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pathlib
import sys
import types
from collections.abc import Iterator

from differences import Differences, judge
from plan_groups import wanted

sys.path.insert(0, sys.argv[1])

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from accelerate.commands.launch import _validate_launch_command, launch_command_parser  # noqa: E402
from accelerate.parallelism_config import ParallelismConfig  # noqa: E402
from accelerate.utils import FullyShardedDataParallelPlugin, PrecisionType  # noqa: E402
from accelerate.utils.launch import prepare_multi_gpu_env  # noqa: E402
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402
from transformers import HfArgumentParser, Trainer, TrainingArguments, training_args  # noqa: E402
from transformers.distributed.configuration_utils import DistributedConfig  # noqa: E402

logging.disable(logging.WARNING)
# What a machine with devices says of itself.
training_args.is_torch_bf16_gpu_available = lambda: True


@contextlib.contextmanager
def started(file: dict, folder: pathlib.Path) -> Iterator[object]:
    """The launcher's arguments, and around them the variables that it would start processes with."""
    path = folder / f"accelerate-{os.getpid()}.json"
    path.write_text(json.dumps(file), encoding="utf-8")
    before = dict(os.environ)
    try:
        words = ["--config_file", str(path), "train.py"]
        args, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
        os.environ.update(prepare_multi_gpu_env(args))
        yield args
    finally:
        path.unlink()
        os.environ.clear()
        os.environ.update(before)


def sharding(args, plan: dict) -> list[str]:
    """What FSDP shards, recomputes and computes in."""
    found, training = Differences(), plan["parallelism"]["training"]
    plugin = FullyShardedDataParallelPlugin()
    found.same("FSDP", plugin.fsdp_version, 2)
    found.same("ZeRO", 3 if plugin.reshard_after_forward else 2, training["zero"])
    found.same("recompute", plugin.activation_checkpointing, recomputes(plan))
    found.same("whole blocks", plugin.auto_wrap_policy.__name__, "transformer_auto_wrap_policy")
    found.same("offload", "CPU" in type(plugin.cpu_offload).__name__, False)
    if args.mixed_precision != "no":
        plugin.set_mixed_precision(args.mixed_precision)
        found.same("type of FSDP", plugin.mixed_precision_policy.param_dtype, kind(plan))
        found.same("type of its sums", plugin.mixed_precision_policy.reduce_dtype, kind(plan))
    return found


def recomputes(plan: dict) -> bool:
    return all(stage["blocks"]["recompute"] == "full" for stage in plan["partition"]["stages"])


def kind(plan: dict) -> torch.dtype:
    return {"bf16": torch.bfloat16, "fp32": torch.float32, "f32": torch.float32}[plan["workload"]["dtype"]]


def meshes(config: ParallelismConfig, plan: dict, world: int) -> list[str]:
    """The groups of every rank on the mesh that Accelerate builds."""
    found = Differences()
    names = {"tensor": "tp", "context": "cp", "data": "dp_shard"}
    for rank in range(world):
        dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
        mesh = config.build_device_mesh("cpu")
        for name, ranks in wanted(plan, rank).items():
            if name in names and len(ranks) > 1:
                own = dist.get_process_group_ranks(mesh[names[name]].get_group())
                found.same(f"{name} group of rank {rank}", tuple(sorted(own)), ranks)
        dist.destroy_process_group()
    return found


def distributed(args, plan: dict, world: int, arguments) -> list[str]:
    """Degrees, as the launcher's variables and the Trainer's count of samples have them."""
    found, own = Differences(), plan["parallelism"]
    config, training = ParallelismConfig(), own["training"]
    has_mesh = args.use_parallelism_config
    is_fsdp = args.use_fsdp
    found.same("processes", args.num_processes, world)
    shares = own["data"] * own["context"] > 1 and training["zero"] >= 2
    found.same("FSDP", is_fsdp, shares and own["tensor"] == 1)
    if has_mesh:
        sizes = (config.dp_shard_size, config.tp_size, config.cp_size, config.dp_replicate_size)
        found.same("degrees", sizes, (own["data"], own["tensor"], own["context"], 1))
        accelerator = types.SimpleNamespace(
            multi_device=world > 1, num_processes=world, is_fsdp2=is_fsdp, is_main_process=True,
            distributed_type="FSDP" if is_fsdp else "MULTI_GPU",
        )  # fmt: skip
        config._validate_accelerator(accelerator)
        found += meshes(config, plan, world)
    else:
        # DDP: every process is a replica.
        found.same("degrees", (own["data"], own["tensor"], own["context"]), (world, 1, 1))
    trainer = types.SimpleNamespace(
        model=None, is_deepspeed_enabled=False, _train_batch_size=arguments.per_device_train_batch_size,
        accelerator=types.SimpleNamespace(parallelism_config=config if has_mesh else None),
    )  # fmt: skip
    for name in ("get_tp_size", "get_cp_size", "get_sp_size"):
        setattr(trainer, name, types.MethodType(getattr(Trainer, name), trainer))
    steps = types.SimpleNamespace(
        world_size=world, gradient_accumulation_steps=arguments.gradient_accumulation_steps
    )
    samples = training["micro_batch"] * own["n_micro_batches"] * own["data"]
    found.same("global batch", Trainer.get_total_train_batch_size(trainer, steps), samples)
    return found


def trained(arguments, plan: dict, is_fsdp: bool) -> list[str]:
    found, own, training = Differences(), plan["parallelism"], plan["parallelism"]["training"]
    found.same("micro-batch", arguments.per_device_train_batch_size, training["micro_batch"])
    found.same("micro-batches", arguments.gradient_accumulation_steps, own["n_micro_batches"])
    found.same("type", arguments.mixed_precision, "bf16" if kind(plan) == torch.bfloat16 else "no")
    if not is_fsdp:
        found.same("recompute", arguments.activation_checkpointing, recomputes(plan))
    elif arguments.activation_checkpointing:
        found.append("the Trainer refuses both ways of recompute")
    model = torch.nn.Linear(1, 1)
    made, _ = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    names = {"adamw": "AdamW", "sgd": "SGD", "adafactor": "Adafactor"}
    found.same("optimizer", made.__name__, names[plan["workload"].get("optimizer", "adamw")])
    sums = arguments.accelerator_config.gradient_accumulation_kwargs or {}
    shares = training["zero"] >= 2 and own["data"] * own["context"] > 1
    found.same("gradients shared out", sums.get("sync_each_batch", False), shares)
    return found


def split(file: dict, plan: dict) -> list[str]:
    """The model as it is loaded."""
    found, own = Differences(), plan["parallelism"]
    if "distributed_config" not in file:
        found.same("tensor", 1, own["tensor"])
        return found
    config = DistributedConfig(**file["distributed_config"])
    found.same("tensor", config.tp_size, own["tensor"])
    found.same("sequence", config.enable_sequence_parallel, own["training"]["sequence_parallel"])
    found.same("replicas", config.dp_size, own["data"])
    found.same("type of shards", config.fsdp_mixed_precision, kind(plan) == torch.bfloat16)
    if own["data"] > 1:
        found.same("ZeRO of a split model", 3, own["training"]["zero"])
    return found


def differences(file: dict, plan: dict, folder: pathlib.Path) -> list[str]:
    own, found = plan["parallelism"], Differences()
    found.same("pipeline and experts", (1, 1), (own["pipeline"], own["expert"]))
    world = own["data"] * own["tensor"] * own["context"]
    with started(file["accelerate"], folder) as args:
        found.same("precision", PrecisionType(args.mixed_precision), "no" if kind(plan) == torch.float32 else "bf16")
        given = file["training_arguments"] | {"output_dir": str(folder), "report_to": "none"}
        (arguments,) = HfArgumentParser(TrainingArguments).parse_dict(given)
        found += trained(arguments, plan, args.use_fsdp)
        found += distributed(args, plan, world, arguments)
        found += sharding(args, plan) if args.use_fsdp else []
        found += split(file, plan)
    return found


def judged(file: str, plan: dict, _: pathlib.Path) -> dict:
    path = pathlib.Path(file)
    own = json.loads(path.read_text(encoding="utf-8"))
    return {"differences": differences(own, plan, path.parent)}


if __name__ == "__main__":
    judge(judged)
