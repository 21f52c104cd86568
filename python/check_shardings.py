#!/usr/bin/env python3
"""Train exported programs as sharding plans say, on processes with gloo, against the plain programs.

    python check_shardings.py --meshwright target/release/meshwright [--mesh 2x4] [--models FILE.pt2 ...]

Exports three small models in float64 (a transformer, a convnet, a gated mixture with a scan), plans each on
2 x 2 devices (or `--mesh`) with `--algorithm sharding`: as it is, over slow links, and with pins.
`meshwright.torch.shard` then trains three steps; losses of all steps and gradients of the first are compared with
those of the plain program, each gradient has the placements of its parameter at rest, and the collectives of the
first step are the plan's, along its axes. Two backward passes accumulate, checkpoints bring parameters and states
of optimizers back, and gradients are clipped. Plans that are no shardings, of other programs or for other meshes are
refused by name, and none of it loads the compiled part of the package. With `--models` these programs are checked
instead, as they are.
Prints one line per check; exits with 1 if any fails.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import json
import logging
import math
import pathlib
import subprocess
import sys
import tempfile
import warnings
from typing import Any, Callable

import torch
import torch.distributed as dist
import torch.distributed.checkpoint
import torch.multiprocessing
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import meshwright as mw

BATCH, STEPS, MESH = 8, 3, "2x2"
#: Slow devices make splits pay for models of this size; links between hosts and within, in bytes per second.
CLUSTER = """\
name: two-by-two
kinds:
  - {{name: slow, memory_bytes: 80GiB, memory_bytes_per_s: 2e9, peak_fp64_flops: 1e10, peak_fp32_flops: 2e10,
     peak_fp16_flops: 4e10, peak_bf16_flops: 4e10, multiprocessors: 132}}
link_kinds:
  - {{name: within, bytes_per_s: {within}, latency_s: 2e-7}}
  - {{name: between, bytes_per_s: {between}, latency_s: 5e-7}}
nodes:
  - {{count: {hosts}, device: slow, devices: {devices}, scaleup: within, host: pcie5_x16, nics: 2}}
network: {{link: between}}
"""


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, _ = x.shape
        q, k, v = (part.view(b, n, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, n, -1))


class Transformer(nn.Module):
    def __init__(self, width: int = 32, words: int = 64) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(16, width)
        self.layers = nn.ModuleList(
            nn.ModuleDict({
                "n1": nn.LayerNorm(width), "attention": Attention(width, 4), "n2": nn.LayerNorm(width),
                "mlp": nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)),
            })
            for _ in range(2)
        )  # fmt: skip
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        for layer in self.layers:
            x = x + layer["attention"](layer["n1"](x))
            x = x + layer["mlp"](layer["n2"](x))
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-1), logits


class Block(nn.Module):
    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        wide = 2 * width
        self.one, self.two = nn.Conv2d(width, wide, 3, stride, 1), nn.Conv2d(wide, wide, 3, 1, 1)
        self.alone = nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False)
        self.n1, self.n2, self.skip = nn.GroupNorm(4, wide), nn.GroupNorm(4, wide), nn.Conv2d(width, wide, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.n1(self.one(x)), inplace=True)
        return F.silu(self.n2(self.two(self.alone(y))) + self.skip(x))


class Convnet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(4, 8, 3, 1, 1), nn.Linear(32, 8)
        self.blocks = nn.Sequential(Block(8, 1), Block(16, 2))
        self.register_buffer("mean", torch.rand(1, 4, 1, 1))

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.stem(images - self.mean))
        x = F.max_pool2d(x, 2).mean((2, 3))
        return F.cross_entropy(self.head(x), labels)


class Mixture(nn.Module):
    """Experts that are weighted by a softmax, behind sums along the sequence that decay."""

    def __init__(self, width: int = 16, experts: int = 4) -> None:
        super().__init__()
        self.inner, self.decay = nn.Linear(width, 2 * width), nn.Parameter(torch.rand(width))
        self.gate, self.norm = nn.Linear(width, experts), nn.RMSNorm(width)
        self.up = nn.Parameter(torch.randn(experts, width, 2 * width) / 4)
        self.down = nn.Parameter(torch.randn(experts, 2 * width, width) / 4)

    def forward(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        values, gates = self.inner(x).chunk(2, -1)
        rate = torch.cumsum(F.softplus(self.decay) * torch.sigmoid(gates), 1)
        y = self.norm(torch.cumsum(values * torch.exp(-rate / 8), 1) * torch.exp(rate / 8) + x)
        hidden = F.silu(torch.einsum("bnd,edf->benf", y, self.up))
        weights = torch.softmax(self.gate(y), -1)
        return F.mse_loss(torch.einsum("benf,efd,bne->bnd", hidden, self.down, weights), target)


def ids() -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(64, (BATCH, 16))
    # A mean over labels that count is none over samples.
    labels[:3, :9] = -1
    return torch.randint(64, (BATCH, 16)), labels


#: A program and a plan of it.
Job = "tuple[pathlib.Path, pathlib.Path]"
Inputs = Callable[[], "tuple[torch.Tensor, ...]"]
MODELS: dict[str, tuple[Callable[[], nn.Module], Inputs, str]] = {
    "transformer": (Transformer, ids, "layers.*.mlp.0.weight=S(0)@device"),
    "convnet": (Convnet, lambda: (torch.randn(BATCH, 4, 16, 16), torch.randint(8, (BATCH,))), "stem.weight=S(0)"),
    "mixture": (Mixture, lambda: (torch.randn(BATCH, 16, 16), torch.randn(BATCH, 16, 16)), "up=S(0)@device"),
}


def export(name: str, path: pathlib.Path) -> None:
    torch.manual_seed(0)
    make, inputs, _ = MODELS[name]
    model, given = make().double(), inputs()
    given = tuple(own.double() if own.is_floating_point() else own for own in given)
    torch.export.save(torch.export.export(model.train(), given), path)


def sizes(mesh: str) -> list[int]:
    return [int(size) for size in mesh.split("x")]


def planned(meshwright: pathlib.Path, mesh: str, job: Job, links: tuple[str, str], *more: str) -> None:
    (model, plan), (hosts, *inside) = job, sizes(mesh)
    cluster = plan.with_suffix(".yaml")
    text = CLUSTER.format(within=links[0], between=links[1], hosts=hosts, devices=math.prod(inside))
    cluster.write_text(text, encoding="utf-8")
    algorithm, limit = ("sharding", "1s") if mesh == MESH else (f"sharding(mesh={mesh})", "5s")
    done = subprocess.run(
        [str(meshwright), "train", str(model), "--cluster", str(cluster), "--global-batch", str(BATCH),
         "--algorithm", algorithm, "--time-limit", limit, "--force", "-o", str(plan), *more],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{plan.name}: train exits with {done.returncode}\n{done.stdout}{done.stderr}"


def loss_of(outputs: Any) -> torch.Tensor:
    return next(own for own in pytree.tree_leaves(outputs) if isinstance(own, torch.Tensor) and own.dim() == 0)


def optimizer(number: int, parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9) if number % 2 else torch.optim.AdamW(parameters, lr=1e-2)


#: An operation and its axis.
Collective = "tuple[str, str]"
OPERATIONS = {
    "allreduce_": "all-reduce",
    "_allgather_base_": "all-gather",
    "_reduce_scatter_base_": "reduce-scatter",
    "alltoall_base_": "all-to-all",
}


class Collectives(TorchDispatchMode):
    """Counts collectives by operation and axis, those of numbers (losses, counts of labels) apart."""

    def __init__(self, mesh: Any) -> None:
        super().__init__()
        groups = (mesh.get_group(at) for at in range(mesh.ndim))
        self.axes = {tuple(dist.get_process_group_ranks(of)): axis for of, axis in zip(groups, mesh.mesh_dim_names)}
        self.of_tensors: collections.Counter[Collective] = collections.Counter()
        self.of_numbers: collections.Counter[Collective] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        space, name = func._schema.name.split("::")
        if space in ("c10d", "_c10d_functional", "_dtensor") and "wait" not in name:
            leaves = pytree.tree_leaves([args, kwargs])
            boxed = (own for own in leaves if isinstance(own, torch.ScriptObject))
            group = next((own for own in boxed if "ProcessGroup" in str(own._type())), None)
            ranks = dist.get_process_group_ranks(dist.ProcessGroup.unbox(group)) if group is not None else []
            axis = self.axes.get(tuple(ranks), "?")
            is_number = all(own.dim() == 0 for own in leaves if isinstance(own, torch.Tensor))
            of = self.of_numbers if is_number else self.of_tensors
            of[OPERATIONS.get(name, name), axis] += 1
        return func(*args, **(kwargs or {}))

    def differ(self, plan: pathlib.Path) -> dict[str, Any]:
        wanted: collections.Counter[Collective] = collections.Counter()
        for own in json.loads(plan.read_text(encoding="utf-8"))["sharding"]["redistributions"]:
            for of in own["collectives"]:
                wanted[of["operation"], of["axis"]] += own["times"]
        left = {"run": self.of_tensors - wanted, "planned": wanted - self.of_tensors - self.of_numbers}
        return {name: dict(own) for name, own in left.items() if own}


def trained(
    model: nn.Module, inputs: Any, number: int, counter: Any = None
) -> tuple[list[float], dict[str, torch.Tensor], Any]:
    """Losses, gradients of the first step and what it returned."""
    losses, grads, first = [], {}, None
    own = optimizer(number, model.parameters())
    for step in range(STEPS):
        own.zero_grad()
        with counter if counter is not None and step == 0 else contextlib.nullcontext():
            outputs = model(*inputs[0], **inputs[1])
            loss = loss_of(outputs)
            loss.backward()
        losses.append(loss.item())
        if step == 0:
            first = outputs
            named = model.named_parameters(remove_duplicate=False)
            grads = {name: of.grad.clone() for name, of in named if of.grad is not None}
        own.step()
    return losses, grads, first


def whole(own: torch.Tensor) -> torch.Tensor:
    return own.full_tensor() if hasattr(own, "full_tensor") else own  # type: ignore[no-any-return]


def plain_of(model: pathlib.Path) -> nn.Module:
    """The module that was exported, or else the program's own, which has tied parameters apart."""
    program = torch.export.load(str(model))
    if model.stem not in MODELS:
        return program.module()
    module = MODELS[model.stem][0]().double()
    module.load_state_dict(program.state_dict)
    return module


def compare(model: pathlib.Path, plan: pathlib.Path, number: int) -> str:
    program = torch.export.load(str(model))
    inputs = program.example_inputs
    plain = trained(plain_of(model), copy.deepcopy(inputs), number)
    sharded = mw.torch.shard(plan, program)
    counter = Collectives(next(sharded.parameters()).device_mesh)
    found = trained(sharded, inputs, number, counter)
    n = worst = 0
    tolerance = 1e-9 if all(own.dtype == torch.float64 for own in program.parameters()) else 1e-4
    for ours, theirs in zip(found[0], plain[0]):
        assert abs(ours - theirs) <= tolerance * abs(theirs), f"losses {found[0]}, of the plain program {plain[0]}"
    assert found[1].keys() == plain[1].keys(), f"gradients of {sorted(found[1].keys() ^ plain[1].keys())} alone"
    largest = max(own.abs().max().item() for own in plain[1].values())
    for name, grad in found[1].items():
        own = plain[1][name]
        assert grad.placements == sharded.get_parameter(name).placements, f"the gradient of {name} is {grad.placements}"
        difference = (whole(grad) - own).abs().max().item() / max(own.abs().max().item(), 1e-6 * largest)
        assert difference <= tolerance, f"the gradient of {name} differs by {difference:.3g}"
        worst, n = max(worst, difference), n + any(not of.is_replicate() for of in grad.placements)
    for ours, theirs in zip(pytree.tree_leaves(found[2]), pytree.tree_leaves(plain[2])):
        assert torch.allclose(whole(ours), theirs, rtol=tolerance, atol=tolerance), "outputs differ"
    assert not counter.differ(plan), f"collectives alone in one of them: {counter.differ(plan)}"
    own = f"{counter.of_tensors.total()} collectives as planned"
    return f"{len(found[1])} gradients, {n} of them split, differ by {worst:.1e} at most; {own}"


def accumulates(model: pathlib.Path, plan: pathlib.Path) -> str:
    program = torch.export.load(str(model))
    sharded, (args, kwargs) = mw.torch.shard(plan, program), program.example_inputs
    loss_of(sharded(*args, **kwargs)).backward()
    once = {name: own.grad.to_local().clone() for name, own in sharded.named_parameters()}
    first, second = (loss_of(sharded(*args, **kwargs)) for _ in range(2))
    (first + second).backward()
    for name, own in sharded.named_parameters():
        assert torch.allclose(own.grad.to_local(), 3 * once[name]), f"the gradient of {name} does not add up"
    state = sharded.state_dict()
    assert set(state) == set(program.state_dict), f"names {sorted(set(state) ^ set(program.state_dict))}"
    return "gradients of three backward passes add up"


def checkpoints(model: pathlib.Path, plan: pathlib.Path, folder: str) -> str:
    """A checkpoint of torch, read into another module, and gradients that are clipped."""
    program = torch.export.load(str(model))
    (args, kwargs), norms = program.example_inputs, []
    plain, sharded, other = program.module(), mw.torch.shard(plan, program), mw.torch.shard(plan, program)
    for own in (plain, sharded):
        loss_of(own(*args, **kwargs)).backward()
        norms.append(float(whole(nn.utils.clip_grad_norm_(own.parameters(), 0.01))))
    assert math.isclose(*norms, rel_tol=1e-9), f"gradients have norms {norms}"
    first, second = (optimizer(0, own.parameters()) for own in (sharded, other))
    first.step()
    loss_of(other(*args, **kwargs)).backward()
    second.step()
    saved = {"model": sharded.state_dict(), "states": first.state_dict()}
    torch.distributed.checkpoint.save(saved, checkpoint_id=folder)
    loaded = {"model": other.state_dict(), "states": second.state_dict()}
    torch.distributed.checkpoint.load(loaded, checkpoint_id=folder)
    second.load_state_dict(loaded["states"])
    for (name, ours), theirs in zip(other.named_parameters(), sharded.parameters()):
        assert torch.equal(whole(ours.detach()), whole(theirs.detach())), f"{name} comes back as another"
        for state in ("exp_avg", "exp_avg_sq"):
            pair = [whole(own.state[of][state]) for own, of in ((second, ours), (first, theirs))]
            assert torch.equal(*pair), f"{state} of {name} comes back as another"
    return "parameters and states come back, and gradients are clipped as elsewhere"


def refusals(jobs: list[Job]) -> str:
    """What is no plan of the program for these processes, by the code and a word of the message."""
    models = [model for model, _ in jobs]
    document = json.loads(jobs[0][1].read_text(encoding="utf-8"))

    def edited(edit: Callable[[dict], Any]) -> dict:
        own = copy.deepcopy(document)
        edit(own["sharding"])
        return own

    def op(sharding: dict, name: str) -> dict:
        return next(own for own in sharding["ops"] if own["op"] == name)

    def without(sharding: dict, name: str) -> None:
        sharding["ops"] = [own for own in sharding["ops"] if own["op"] != name]

    of_config = edited(lambda own: own["ops"][0].update(op="layers.0-31.q", tensors=["layers.0-31.q"]))
    of_eight = edited(lambda own: own["mesh"][0].update(size=4))
    beyond = edited(lambda own: op(own, "ids").update(outputs=[["S(1)", "S(5)"]]))
    other = edited(lambda own: op(own, "ids").update(outputs=[["S(0)", "X"]]))
    no_op = edited(lambda own: without(own, "embedding_1"))
    no_backward = edited(lambda own: without(own, "gelu.backward"))
    of_convnet = json.loads(jobs[1][1].read_text(encoding="utf-8"))
    op(of_convnet["sharding"], "mean").update(outputs=[["S(0)", "R"]])
    cases: dict[str, tuple[Any, pathlib.Path, str, str]] = {
        "no sharding": ({"format": "meshwright.plan/1"}, models[0], "cannot-run", "no sharding"),
        "a config.json": (of_config, models[0], "cannot-run", "config.json"),
        "another program": (document, models[1], "other-model", "in no op of the plan"),
        "more processes": (of_eight, models[0], "other-world", "8 processes"),
        "a dimension that does not divide": (of_convnet, models[1], "cannot-run", "dimension 0 of `mean`, of 1"),
        "a dimension beyond": (beyond, models[0], "other-model", "dimension 5 of `ids`"),
        "an op that is missing": (no_op, models[0], "other-model", "embedding_1"),
        "a backward op that is missing": (no_backward, models[0], "bad-plan", "gelu"),
        "a placement": (other, models[0], "bad-plan", "`X`"),
    }
    for name, (of, model, code, words) in cases.items():
        try:
            mw.torch.shard(of, model)
        except mw.MeshwrightError as refusal:
            assert refusal.code == code and words in str(refusal), f"{name}: {refusal}"
        else:
            raise AssertionError(f"{name} is not refused")
    return ", ".join(cases)


def checks_of(jobs: list[Job], is_own: bool, mesh: str, folder: str) -> list[tuple[str, Callable[[], str]]]:
    checks = [
        (plan.stem, lambda model=model, plan=plan, at=at: compare(model, plan, at))
        for at, (model, plan) in enumerate(jobs)
    ]
    if is_own:
        checks.append(("accumulation", lambda: accumulates(*jobs[0])))
        checks.append(("checkpoints", lambda: checkpoints(*jobs[1], f"{folder}/checkpoint")))
    if is_own and mesh == MESH:
        checks.append(("refusals", lambda: refusals(list({model: (model, plan) for model, plan in jobs}.values()))))
    return checks


def process(rank: int, jobs: list[Job], is_own: bool, mesh: str, folder: str) -> None:
    warnings.filterwarnings("ignore")
    # What DTensor says of `full_tensor`.
    logging.getLogger("torch.distributed.tensor").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    world = math.prod(sizes(mesh))
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    failed = 0
    for name, check in checks_of(jobs, is_own, mesh, folder):
        said, is_whole = "", True
        try:
            said = check()
        except (AssertionError, mw.MeshwrightError) as error:
            is_whole = False
            print(f"FAIL {name}: rank {rank}: {error}", flush=True)
        everywhere: list = [None] * world
        dist.all_gather_object(everywhere, is_whole)
        failed += not all(everywhere)
        if rank == 0 and all(everywhere):
            print(f"PASS {name}: {said}", flush=True)
    if rank == 0 and "meshwright._native" in sys.modules:
        print("FAIL the compiled part was loaded", flush=True)
        failed += 1
    dist.destroy_process_group()
    if failed:
        sys.exit(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meshwright", type=pathlib.Path, required=True)
    parser.add_argument("--mesh", default=MESH, help="such as 2x4 or 2x2x2, hosts first")
    parser.add_argument("--models", type=pathlib.Path, nargs="+", default=[])
    arguments = parser.parse_args()
    meshwright = arguments.meshwright.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder, jobs = pathlib.Path(name), []
        models = [(own.stem, own.resolve(), None) for own in arguments.models]
        if not models:
            for own in MODELS:
                export(own, folder / f"{own}.pt2")
            models = [(own, folder / f"{own}.pt2", pin) for own, (_, _, pin) in MODELS.items()]
        try:
            for own, model, pin in models:
                ways = {"slow-network": (("1e9", "3e8"), ()), "fast-links": (("1e11", "2e10"), ())}
                if pin is not None:
                    axis = "device" if len(sizes(arguments.mesh)) == 2 else "inner"
                    ways["pinned"] = (("1e9", "3e8"), ("--pin", pin.replace("device", axis)))
                for way, (links, more) in ways.items():
                    plan = folder / f"{own}-{way}.json"
                    planned(meshwright, arguments.mesh, (model, plan), links, *more)
                    jobs.append((model, plan))
            given = jobs, not arguments.models, arguments.mesh, name
            torch.multiprocessing.spawn(process, given, nprocs=math.prod(sizes(arguments.mesh)))
        except Exception as error:  # noqa: BLE001  (a process ends however it ends)
            print(f"FAIL {error}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
