"""An exported program that runs as a sharding plan says, with DTensor."""

from __future__ import annotations

import json
import math
import os
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from torch.utils import _pytree as pytree

from .._errors import refused
from ._graph import Program, Sharding
from ._matched import Matched
from ._step import Leaving, Step


def shard(plan: Any, program: Any, *, mesh: Optional[DeviceMesh] = None) -> nn.Module:
    """A module that trains an exported program as a sharding plan says; every process of the mesh calls it.

    `plan` is the file (or document) of `meshwright train MODEL.pt2 --algorithm sharding`, `program` the same
    `.pt2` file or `torch.export.ExportedProgram`. Parameters have the program's names and are DTensors in the
    plan's placements at rest; so are their gradients after `loss.backward()`, for any optimizer of torch.
    `_StridedShard(d, split_factor=n)`, `_S(d,n)` in plans, is of an axis that splits a dimension after later axes of
    n devices.

    The module takes the program's inputs, whole on every process or as DTensors. Outputs without dimensions,
    such as a loss, are plain tensors, equal on all processes; others are DTensors (`full_tensor()` gathers them).
    Each forward pass allows one backward pass; gradients accumulate over several, as elsewhere in torch.
    Parameters and buffers that the graph does not read are replicated. Dropout draws a mask per shard, and is
    active where it was when the program was exported: `train()` and `eval()` change nothing.

    Without `mesh` devices are CUDA with nccl where available, else the CPU with gloo. Refuses by name what it
    does not run (`cannot-run`, `other-world`, `other-model`).
    """
    sharding, exported = Sharding(_document(plan)), Program(_exported(program))
    if mesh is None:
        mesh = _mesh(sharding)
    sizes, names = tuple(mesh.shape), mesh.mesh_dim_names
    if sizes != tuple(sharding.sizes) or (names and list(names) != sharding.axes):
        axes = ", ".join(f"{axis} {size}" for axis, size in zip(sharding.axes, sharding.sizes))
        message = f"the plan's mesh is {axes}, and the one given has {list(sizes)} devices along {list(names or [])}"
        raise refused("other-world", message)
    if mesh.get_coordinate() is None:
        raise refused("other-world", "this process is not in the mesh")
    return Sharded(sharding, exported, mesh)


def _document(plan: Any) -> Mapping[str, Any]:
    plan = getattr(plan, "document", plan)
    if not isinstance(plan, Mapping):
        try:
            with open(os.fsdecode(plan), encoding="utf-8") as file:
                plan = json.load(file)
        except (OSError, ValueError, TypeError, RecursionError) as wrong:
            raise refused("unreadable", f"the plan can't be read: {wrong}") from wrong
    document = plan.get("plan", plan) if isinstance(plan, Mapping) else None
    if not isinstance(document, Mapping) or not isinstance(document.get("sharding"), Mapping):
        raise refused("cannot-run", "the plan is no sharding", "plan with --algorithm sharding")
    return document["sharding"]


def _exported(program: Any) -> torch.export.ExportedProgram:
    if isinstance(program, torch.export.ExportedProgram):
        return program
    try:
        return torch.export.load(os.fsdecode(program))
    except Exception as wrong:  # noqa: BLE001  (archives fail in many ways)
        raise refused("unreadable", f"the program can't be read: {wrong}") from wrong


class Sharded(nn.Module):
    """A program that runs on parts of tensors, as a plan states."""

    def __init__(self, plan: Sharding, program: Program, mesh: DeviceMesh) -> None:
        super().__init__()
        self._matched = Matched(plan, program, mesh)
        self._n_steps = 0
        self._place_sources()

    def _place_sources(self) -> None:
        """Registers parameters and buffers under all names that the program has for them."""
        self._owners: Dict[str, Tuple[Dict[str, Any], str]] = {}
        matched, program = self._matched, self._matched.program
        transient = program.exported.graph_signature.non_persistent_buffers
        placed: Dict[str, Any] = {}
        for name in program.tied:
            value, rest = program.sources[name].detach(), matched.rest[name]
            local = matched.cut(value, rest).to(matched.device, copy=True).contiguous()
            placed[name] = matched.wrap(local, rest, tuple(value.shape))
            if program.kinds[name] == "PARAMETER":
                placed[name] = nn.Parameter(placed[name], requires_grad=program.sources[name].requires_grad)
        names = {target: name for name, targets in program.tied.items() for target in targets}
        for target in dict.fromkeys([*(own for own in program.exported.state_dict if own in names), *names]):
            *path, leaf = target.split(".")
            owner: nn.Module = self
            for part in path:
                owner = owner._modules.setdefault(part, nn.Module())  # type: ignore[assignment]
            own = placed[names[target]]
            tensors = owner._parameters if isinstance(own, nn.Parameter) else owner._buffers
            tensors[leaf] = own
            if target not in program.exported.state_dict or target in transient:
                owner._non_persistent_buffers_set.add(leaf)
            self._owners.setdefault(names[target], (tensors, leaf))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given, matched = self._given(args, kwargs), self._matched
        step = Step(matched, matched.program.shapes(given), self._n_steps)
        matched.enter(step)
        self._n_steps += 1
        for name, own in given.items():
            if not isinstance(own, torch.Tensor):
                step.numbers[name] = own
                continue
            rest, shape = matched.rest[name], step.shapes[name]
            matched.local_shape(shape, rest, name)
            if isinstance(own, DTensor):
                step.set(name, matched.move(own.detach(), rest))
            else:
                step.set(name, matched.wrap(matched.cut(own, rest).to(matched.device).contiguous(), rest, shape))
        targets = {spec.target for spec, _ in matched.program.outputs if spec.kind.name == "BUFFER_MUTATION"}
        for name, (owner, leaf) in self._owners.items():
            # The backward pass may read what a buffer was before.
            is_written = not targets.isdisjoint(matched.program.tied[name])
            step.set(name, owner[leaf].clone() if is_written else owner[leaf])
        for call in matched.program.calls:
            step.run_call(call)
        leaves = []
        for spec, name in matched.program.outputs:
            if spec.kind.name == "BUFFER_MUTATION":
                of = next(own for own, targets in matched.program.tied.items() if spec.target in targets)
                owner, leaf = self._owners[of]
                with torch.no_grad():
                    owner[leaf].to_local().copy_(step.get(name, matched.rest[of]).to_local())
            else:
                leaves.append(name[0] if isinstance(name, tuple) else self._leaving(step, name))
        step.end()
        return pytree.tree_unflatten(leaves, matched.program.exported.call_spec.out_spec)

    def _leaving(self, step: Step, name: str) -> Any:
        if name in step.numbers:
            return step.numbers[name]
        matched, value = self._matched, step.env[name]
        placements, grad, given = matched.leaving.get(name, (value.placements, "", matched.whole))
        moved = step.get(name, placements if value.dim() else matched.whole)
        if name in matched.leaving and value.requires_grad and torch.is_grad_enabled():
            return Leaving.apply(step, name, given, moved, step.fans.pop(grad, value))
        local = moved.to_local()
        return matched.wrap(local.detach(), moved.placements, step.shapes[name]) if value.dim() else local.clone()

    def _given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Dict[str, Any]:
        """Inputs by name, of the form that the program was exported with."""
        program = self._matched.program
        spec, names = program.exported.call_spec.in_spec, program.user_inputs
        own = pytree.tree_unflatten([None] * spec.num_leaves, spec)[1]
        kwargs = {name: kwargs[name] for name in own if name in kwargs} if set(own) == set(kwargs) else dict(kwargs)
        leaves, found = pytree.tree_flatten((tuple(args), kwargs))
        if found != spec:
            raise refused("other-inputs", f"the program takes {len(names)} inputs in another form: {spec}")
        for name, value in zip(names, leaves):
            meta = program.metas[name]
            if isinstance(value, torch.Tensor) != isinstance(meta, torch.Tensor):
                raise refused("other-inputs", f"input `{name}` is {type(value).__name__}")
            if not isinstance(value, torch.Tensor):
                continue
            if value.requires_grad:
                raise refused("cannot-run", f"input `{name}` requires a gradient, of which the plan says nothing")
            fits = len(value.shape) == len(meta.shape) and value.dtype == meta.dtype
            if not fits or any(isinstance(size, int) and size != n for size, n in zip(meta.shape, value.shape)):
                message = f"input `{name}` is {value.dtype} {list(value.shape)}"
                raise refused("other-inputs", f"{message}, and the program takes {meta.dtype} {list(meta.shape)}")
        return dict(zip(names, leaves))


def _mesh(plan: Sharding) -> DeviceMesh:
    """Devices of the plan's axes, one for each process."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized() and "RANK" in os.environ:
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    n, world = dist.get_world_size() if dist.is_initialized() else 1, math.prod(plan.sizes)
    if n != world or not dist.is_initialized():
        message = f"the plan runs on {world} processes, and there are {n}"
        raise refused("other-world", message, f"start it with torchrun --nproc-per-node {world}")
    return init_device_mesh(kind, tuple(plan.sizes), mesh_dim_names=tuple(plan.axes))
