#!/usr/bin/env python3
"""What DeepSpeed makes of our JSON, by its own code.

    python deepspeed_config.py FOLDER FILE.json PLAN.json [...]

For each pair, as `deepspeed.initialize` goes: `DeepSpeedConfig` with the plan's number of processes,
`PipeModelDataParallelTopology` and `PipelineParallelGrid` (in a pipeline) or the groups of AutoTP (without
one) of every rank, `PipelineModule` with our `parts` on every stage, `TrainSchedule` of every stage, and
which optimizer the engine would wrap. Rank and number of processes are stubbed, groups are lists of ranks.
Prints one JSON document per pair: `runs`, what its objects say (`dumped_plan.py`), and `differences` from
the plan, which is read from its JSON alone.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import sys

os.environ.update(DS_ACCELERATOR="cpu", LOCAL_RANK="0", TORCH_DISTRIBUTED_DEBUG="DETAIL")
from differences import Differences, judge
from plan_groups import wanted

sys.path.insert(0, sys.argv[1])

import torch  # noqa: E402
from deepspeed import comm  # noqa: E402
from deepspeed.pipe import LayerSpec, PipelineModule  # noqa: E402
from deepspeed.runtime.config import DeepSpeedConfig  # noqa: E402
from deepspeed.runtime.engine import DeepSpeedEngine  # noqa: E402
from deepspeed.runtime.pipe.schedule import BackwardPass, ForwardPass, TrainSchedule  # noqa: E402
from deepspeed.runtime.pipe.topology import (  # noqa: E402
    PipelineParallelGrid,
    PipeModelDataParallelTopology,
)
from deepspeed.utils import groups, logger  # noqa: E402

logger.setLevel(logging.ERROR)


class Processes:
    """Those of a run, seen from one of them."""

    def __init__(self, n: int) -> None:
        self.n, self.rank = n, 0
        comm.get_rank = lambda group=None: self.rank
        comm.get_world_size = lambda group=None: self.n if group is None else len(group)
        comm.is_initialized = lambda: True
        comm.new_group = lambda ranks=None: list(ranks)
        groups.log_dist = lambda *_, **__: None


class Layer(torch.nn.Module):
    """One that knows its number."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.weight = at, torch.nn.Parameter(torch.zeros(1))


class Cut(PipelineModule):
    """Stages as the file says."""

    def __init__(self, parts: list[int], **named) -> None:
        self.bounds = parts
        super().__init__(**named)

    def _partition_layers(self, method="uniform") -> None:
        self.parts = self.bounds
        stage = self._topo.get_coord(self.global_rank).pipe
        self._set_bounds(start=self.parts[stage], stop=self.parts[stage + 1])


def pipeline_groups(topology) -> dict[str, list[int]]:
    grid = PipelineParallelGrid(topology=topology)
    return {"tensor": grid.slice_group, "pipeline": grid.pp_group, "data": grid.dp_group}


def automatic_groups(size: int, rank: int) -> dict[str, list[int]]:
    """Those of AutoTP."""
    groups._TENSOR_MODEL_PARALLEL_GROUP = groups._DATA_PARALLEL_GROUP = None
    if size == 1:
        return {"tensor": [rank], "pipeline": [rank], "data": list(range(comm.get_world_size()))}
    groups._init_tp_mesh_device(tensor_model_parallel_size=size)
    own = groups.get_tensor_model_parallel_group(), groups.get_data_parallel_group()
    return {"tensor": own[0], "pipeline": [rank], "data": own[1]}


def order(n_micro_batches: int, n_stages: int, stage: int) -> list[str]:
    """Passes of a stage with their micro-batches, as DeepSpeed runs them."""
    schedule = TrainSchedule(n_micro_batches, n_stages, stage)
    passes, n_forward, n_backward = [], 0, 0
    for commands in schedule:
        for command in commands:
            if isinstance(command, ForwardPass):
                passes.append(f"F{n_forward}")
                n_forward += 1
            elif isinstance(command, BackwardPass):
                passes.append(f"B{n_backward}")
                n_backward += 1
    return passes


def one_forward_one_backward(m: int, n_stages: int, stage: int) -> list[str]:
    """Narayanan et al. 2021, figure 4: as many forward passes as stages follow, then one of each."""
    ahead = min(m, n_stages - stage - 1)
    passes = [f"F{i}" for i in range(ahead)]
    for i in range(m - ahead):
        passes += [f"F{i + ahead}", f"B{i}"]
    return passes + [f"B{i}" for i in range(m - ahead, m)]


def engine_of(config, in_pipeline: bool) -> DeepSpeedEngine:
    """An engine that knows its config alone."""
    engine = DeepSpeedEngine.__new__(DeepSpeedEngine)
    torch.nn.Module.__init__(engine)
    engine.__dict__.update(_config=config, pipeline_parallelism=in_pipeline, global_rank=0)
    return engine


KINDS = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


def states(config, own: dict, optimizer: str | None) -> dict:
    """What replicas share out and gradients are summed in, by the optimizer that the engine makes."""
    engine = engine_of(config, own["pipeline"] > 1)
    engine._assert_valid_mixed_precision_config()
    kind = {"sgd": torch.optim.SGD}.get(optimizer, torch.optim.AdamW)
    wrapper = engine._do_optimizer_sanity_check(kind([torch.nn.Parameter(torch.zeros(1))], lr=1e-3))
    model_type, sum_type = engine.get_data_types()
    sent = {sum_type, engine.communication_data_type}
    stage = int(config.zero_optimization_stage)
    shared = wrapper in ("zero_optimization", "bf16")
    return {
        "dtype": KINDS[model_type],
        "zero": max(stage, int(shared)) if shared or own["data"] > 1 else 0,
        "offloads": engine.zero_cpu_offload(),
        # Its own stack sums and exchanges them in the type of the run.
        "stack": "megatron-deepspeed-2021" if sent == {model_type} else f"none that sums in {sent}",
    }


def built(file: dict, n_layers: int, processes: Processes, topology) -> list[list[int]]:
    """Layers that `PipelineModule` builds on every stage, the embedding first and the head last."""
    layers, stages = [LayerSpec(Layer, at) for at in range(n_layers)], []
    for stage in range(topology.get_dim("pipe")):
        processes.rank = topology.get_rank(pipe=stage, data=0, model=0)
        module = Cut(parts=file["parts"], layers=layers, topology=topology)
        stages.append([layer.at for layer in module.forward_funcs])
    processes.rank = 0
    return stages


def runs(file: dict, config, processes: Processes, topology, planned: dict) -> dict:
    """What runs, in the words of `dumped_plan.py`."""
    size = config.tensor_parallel_config.autotp_size
    n_stages, n = topology.get_dim("pipe"), config.gradient_accumulation_steps
    in_pipeline = n_stages > 1
    # Whoever builds the model counts its layers.
    n_blocks = sum(stage["blocks"]["n"] for stage in planned["partition"]["stages"])
    held = built(file, n_blocks + 2, processes, topology) if in_pipeline else [range(n_blocks + 2)]
    again = config.pipeline["activation_checkpoint_interval"] if in_pipeline else file["gradient_checkpointing"]
    own = {
        "data": topology.get_dim("data"),
        "tensor": topology.get_dim("model") if in_pipeline else max(size, 1),
        "pipeline": n_stages,
        "context": 1,
        "expert": 1,
        "virtual_stages": 1,
        "micro_batch": config.train_micro_batch_size_per_gpu,
        "n_micro_batches": n,
        # Where AutoTP splits the model, its config takes every process for a replica.
        "global_batch": config.train_batch_size // max(size, 1),
        # Samples and optimizer are the program's.
        "sequence_length": planned["training"]["sequence_length"],
        "optimizer": None,
        "sequence_parallel": in_pipeline and bool(file.get("sequence_parallel")),
        "pipeline_inside": False,
        "recompute": {0: "none", 1: "full"}.get(int(again), {"uniform": again}),
        "blocks": [sum(0 < at <= n_blocks for at in stage) for stage in held],
        "order": [[f"{stage}{own}" for own in order(n, n_stages, stage)] for stage in range(n_stages)],
    }
    return {**own, **states(config, own, planned["workload"].get("optimizer"))}


def differences(said: dict, plan: dict) -> list[str]:
    """Of what runs from the plan."""
    own, training, found = plan["parallelism"], plan["parallelism"]["training"], Differences()
    for axis in ("data", "tensor", "pipeline", "context", "expert", "n_micro_batches"):
        found.same(axis, said[axis], own[axis])
    found.same("micro-batch", said["micro_batch"], training["micro_batch"])
    found.same("global batch", said["global_batch"], plan["training"]["global_batch"])
    splits = training["sequence_parallel"] and own["tensor"] > 1
    found.same("sequence", said["sequence_parallel"] and own["tensor"] > 1, splits)
    planned = [stage["blocks"] for stage in plan["partition"]["stages"]]
    found.same("blocks", said["blocks"], [blocks["n"] for blocks in planned])
    for stage, blocks in enumerate(planned):
        found.same(f"recompute of stage {stage}", said["recompute"], blocks["recompute"])
        ours = one_forward_one_backward(own["n_micro_batches"], len(planned), stage)
        found.same(f"order of stage {stage}", said["order"][stage], [f"{stage}{own}" for own in ours])
    found.same("type", said["dtype"], plan["workload"]["dtype"])
    found.same("stack", said["stack"], plan["training"]["stack"])
    found.same("states on hosts", said["offloads"], plan["training"].get("offloads_optimizer", False))
    found.same("ZeRO", said["zero"] if own["data"] > 1 else 0, training["zero"])
    if own["pipeline"] > 1 and said["zero"] >= 2:
        found.append("PipelineEngine refuses ZeRO 2 and 3")
    return found


def of_groups(said: dict, plan: dict, processes: Processes, topology) -> list[str]:
    """Of the groups of every rank from those of the plan."""
    found = Differences()
    for rank in range(topology.world_size()):
        processes.rank = rank
        in_pipeline = said["pipeline"] > 1
        theirs = pipeline_groups(topology) if in_pipeline else automatic_groups(said["tensor"], rank)
        for name, ranks in wanted(plan, rank).items():
            if name in theirs:
                found.same(f"{name} group of rank {rank}", tuple(sorted(theirs[name])), ranks)
    return found


def judged(file: str, plan: dict, _: pathlib.Path) -> dict:
    own = json.loads(pathlib.Path(file).read_text(encoding="utf-8"))
    topology = PipeModelDataParallelTopology(**own["topology"])
    processes = Processes(topology.world_size())
    mpu = PipelineParallelGrid(topology=topology) if topology.get_dim("pipe") > 1 else None
    config = DeepSpeedConfig(json.loads(json.dumps(own["ds_config"])), mpu)
    said = runs(own, config, processes, topology, plan)
    return {"differences": differences(said, plan) + of_groups(said, plan, processes, topology), "runs": said}


if __name__ == "__main__":
    judge(judged)
