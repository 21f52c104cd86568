#!/usr/bin/env python3
"""What DeepSpeed makes of our JSON, by its own code.

    python deepspeed_config.py FOLDER FILE.json PLAN.json [...]

For each pair, as `deepspeed.initialize` goes: `DeepSpeedConfig` with the plan's number of processes,
`PipeModelDataParallelTopology` and `PipelineParallelGrid` (in a pipeline) or the groups of AutoTP (without
one) of every rank, `PipelineModule` with our `parts` on every stage, `TrainSchedule` of every stage, and
which optimizer the engine would wrap. Rank and number of processes are stubbed, groups are lists of ranks.
Prints one JSON document per pair: `differences` from the plan, which is read from its JSON alone.
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


def states(config, plan: dict) -> list[str]:
    """What replicas share out and gradients are summed in, by the optimizer that the engine makes."""
    own, training = plan["parallelism"], plan["parallelism"]["training"]
    found, in_pipeline = Differences(), own["pipeline"] > 1
    engine = engine_of(config, in_pipeline)
    engine._assert_valid_mixed_precision_config()
    kind = {"sgd": torch.optim.SGD}.get(plan["workload"].get("optimizer"), torch.optim.AdamW)
    optimizer = kind([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    wrapper = engine._do_optimizer_sanity_check(optimizer)
    model_type, sum_type = engine.get_data_types()
    kinds = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
    kind = kinds[plan["workload"]["dtype"].replace("fp", "f")]
    found.same("type", model_type, kind)
    # Its own stack sums and exchanges them in 16 bits.
    if plan["training"]["stack"] == "megatron-deepspeed-2021":
        found.same("sums", (sum_type, engine.communication_data_type), (kind, kind))
    offloads = plan["training"].get("offloads_optimizer", False)
    found.same("states on hosts", engine.zero_cpu_offload(), offloads)
    shared = wrapper in ("zero_optimization", "bf16") and own["data"] > 1
    found.same("shared states", shared, training["zero"] >= 1)
    if own["data"] > 1:
        found.same("ZeRO", int(config.zero_optimization_stage), training["zero"])
    if in_pipeline and config.zero_optimization_stage >= 2:
        found.append("PipelineEngine refuses ZeRO 2 and 3")
    return found


def stages(file: dict, plan: dict, processes: Processes, topology) -> list[str]:
    """What `PipelineModule` builds on every stage, and in which order it runs."""
    found, own = Differences(), plan["parallelism"]
    planned = [stage["blocks"] for stage in plan["partition"]["stages"]]
    n_blocks = sum(blocks["n"] for blocks in planned)
    layers = [LayerSpec(Layer, at) for at in range(n_blocks + 2)]
    for stage, blocks in enumerate(planned):
        processes.rank = topology.get_rank(pipe=stage, data=0, model=0)
        module = Cut(parts=file["parts"], layers=layers, topology=topology)
        built = [layer.at for layer in module.forward_funcs]
        first, last = stage == 0, stage + 1 == len(planned)
        ours = list(range(blocks["first"] + 1, blocks["first"] + 1 + blocks["n"]))
        ours = [0] * first + ours + [n_blocks + 1] * last
        found.same(f"layers of stage {stage}", built, ours)
        runs = order(own["n_micro_batches"], len(planned), stage)
        planned_order = one_forward_one_backward(own["n_micro_batches"], len(planned), stage)
        found.same(f"order of stage {stage}", runs, planned_order)
    return found


def differences(file: dict, plan: dict) -> list[str]:
    own, training = plan["parallelism"], plan["parallelism"]["training"]
    world = own["data"] * own["tensor"] * own["pipeline"] * own["context"]
    processes, found = Processes(world), Differences()
    topology = PipeModelDataParallelTopology(**file["topology"])
    found.same("processes", topology.world_size(), world)
    in_pipeline = own["pipeline"] > 1
    mpu = PipelineParallelGrid(topology=topology) if in_pipeline else None
    config = DeepSpeedConfig(json.loads(json.dumps(file["ds_config"])), mpu)
    size = config.tensor_parallel_config.autotp_size
    found.same("AutoTP", max(size, 1), 1 if in_pipeline else own["tensor"])
    found.same("micro-batch", config.train_micro_batch_size_per_gpu, training["micro_batch"])
    found.same("micro-batches", config.gradient_accumulation_steps, own["n_micro_batches"])
    samples = training["micro_batch"] * own["n_micro_batches"] * own["data"]
    # Where AutoTP splits the model, its config takes every process for a replica.
    found.same("global batch", config.train_batch_size / max(size, 1), samples)
    again = all(s["blocks"]["recompute"] == "full" for s in plan["partition"]["stages"])
    if in_pipeline:
        interval = config.pipeline["activation_checkpoint_interval"]
        found.same("recompute", interval, int(again))
        on = training["sequence_parallel"]
        if own["tensor"] > 1:
            found.same("sequence", file["sequence_parallel"], on)
        found += stages(file, plan, processes, topology)
    else:
        found.same("recompute", file["gradient_checkpointing"], again)
        found.same("sequence", False, training["sequence_parallel"] and own["tensor"] > 1)
    found += states(config, plan)
    for rank in range(world):
        processes.rank = rank
        theirs = pipeline_groups(topology) if in_pipeline else automatic_groups(max(size, 1), rank)
        for name, ranks in wanted(plan, rank).items():
            if name in theirs:
                found.same(f"{name} group of rank {rank}", tuple(sorted(theirs[name])), ranks)
    return found


def judged(file: str, plan_file: str) -> dict:
    plan = json.loads(pathlib.Path(plan_file).read_text(encoding="utf-8"))
    own = json.loads(pathlib.Path(file).read_text(encoding="utf-8"))
    try:
        return {"file": file, "differences": differences(own, plan)}
    except (AssertionError, ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        return {"file": file, "differences": [f"refused: {type(error).__name__}: {error}"]}


if __name__ == "__main__":
    judge(judged)
