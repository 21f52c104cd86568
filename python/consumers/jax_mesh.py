#!/usr/bin/env python3
"""What JAX's partitioner makes of our mesh and rules, on eight forced devices of this host.

    python jax_mesh.py FOLDER FILE.json PLAN.json [...]

For each pair, with the loader of `examples/jax` and a small transformer of the plan's own config: groups of
the mesh, shards of every parameter that Transformers names, bytes of each state, what is saved for the
backward pass, and the collectives that XLA compiled a train step to. What is demanded follows from the
plan's JSON, by hand. Of the first plan that splits anything, files with one wrong word each have to differ.
Prints one JSON document per pair: `differences` from the plan.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import io
import json
import math
import os
import pathlib
import re
import sys
import tempfile

os.environ.update(
    XLA_FLAGS="--xla_force_host_platform_device_count=8", JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="3"
)
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples/jax"))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from differences import Differences, judge  # noqa: E402
from hlo_collectives import collectives  # noqa: E402
from jax.ad_checkpoint import print_saved_residuals  # noqa: E402
from jax_model import Model, loss, step  # noqa: E402
from jax_parameters import parameters, shared, split  # noqa: E402
from plan_groups import wanted  # noqa: E402
from shardings import Plan  # noqa: E402

# Little time for kernels that nobody runs.
COMPILER = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
STATES = ("parameters", "gradients", "optimizer")


class Case:
    """A plan with its model, and the file of it."""

    def __init__(self, file: dict, plan: dict, config: dict) -> None:
        self.file, self.plan, self.config = file, plan, config
        own, training = plan["parallelism"], plan["parallelism"]["training"]
        self.t, self.d, self.e = own["tensor"], own["data"], own["expert"]
        self.n, self.zero = own["n_micro_batches"], training["zero"]
        self.samples, self.length = training["micro_batch"], plan["training"]["sequence_length"]
        self.splits_sequences = training["sequence_parallel"] and self.t > 1
        self.again = plan["partition"]["stages"][0]["blocks"]["recompute"]
        self.hidden = config.get("hidden_size", config.get("n_embd"))
        self.experts = config.get("num_experts", 1)
        self.places = self.length * config.get("num_experts_per_tok", 1) // self.experts
        layers, is_mixture = config["num_hidden_layers"], self.experts > 1
        self.router = self.n * layers * self.experts * self.hidden * is_mixture
        self.is_run = config["model_type"] != "deepseek_v3"
        words = config["vocab_size"]
        self.shapes = parameters(config, -(-words // self.t) * self.t)
        self.tied = "lm_head.weight" not in self.shapes
        self.parts = {name: split(name, own, self.t, self.e) for name, own in self.shapes.items()}
        # Weights, gradients and what the optimizer keeps of each parameter (conventions, R5).
        single = plan["workload"]["dtype"] in ("f32", "fp32")
        states = (4, 4, 8) if single else (2, 2, 12)
        self.bytes = dict(zip(STATES, states))
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name) / "plan.jax.json"
            path.write_text(json.dumps(file), encoding="utf-8")
            self.loaded = Plan(path)

    def structs(self, state: str) -> dict:
        kind = self.file["states"][state]["dtype"]
        plain = {name: jax.ShapeDtypeStruct(shape, kind) for name, shape in self.shapes.items()}
        shardings = self.loaded.tree(state, plain)
        return {
            name: jax.ShapeDtypeStruct(own.shape, own.dtype, sharding=shardings[name])
            for name, own in plain.items()
        }

    def groups(self, name: str) -> frozenset[tuple[int, ...]]:
        """All groups of a kind; `others`: those who hold the same experts."""
        found = set()
        for rank in range(self.d * self.t):
            own = wanted(self.plan, rank)
            if name == "others":
                found.add(own["data"][own["expert"].index(rank) :: self.e])
            else:
                found.add(own[name])
        return frozenset(tuple(ranks) for ranks in found)


def mesh(case: Case) -> list[str]:
    """Axes against the plan's groups, by the ids of devices."""
    found, ids = Differences(), case.loaded.mesh.device_ids
    rows = {
        "tensor": ids.reshape(-1, ids.shape[2]),
        "expert": ids.transpose(0, 2, 1).reshape(-1, ids.shape[1]),
        "data": ids.transpose(2, 0, 1).reshape(ids.shape[2], -1),
    }
    for name, groups in rows.items():
        theirs = frozenset(tuple(sorted(row)) for row in groups.tolist())
        found.same(f"{name} groups", theirs, case.groups(name))
    found.same("axes", list(case.loaded.mesh.axis_names), ["data", "expert", "tensor"])
    return found


def batch(case: Case) -> list[str]:
    found, told = Differences(), case.file["batch"]
    found.same("micro-batches", told["micro_batches"], case.n)
    found.same("samples of a micro-batch", told["samples_of_a_micro_batch"], case.samples * case.d)
    found.same("samples", told["samples"], case.plan["training"]["global_batch"])
    found.same("tokens", told["tokens"], case.length)
    shape = (case.n, case.samples * case.d, case.length)
    shard = case.loaded.activation("tokens").shard_shape(shape)
    found.same("tokens of a rank", shard, (case.n, case.samples, case.length))
    optimizer = case.plan["workload"]["optimizer"]
    found.same("optimizer", case.file["optimizer"], optimizer)
    return found


def states(case: Case) -> list[str]:
    """Shards and bytes of a rank; what all ranks hold is the model."""
    found = Differences()
    for state, least, copies in (("parameters", 3, 1), ("gradients", 2, 1), ("optimizer", 1, None)):
        is_shared = case.zero >= least
        told, held, planned = case.file["states"][state], 0, 0
        copies = copies or len(told["copies"])
        for name, own in case.structs(state).items():
            part, shard = case.parts[name], own.sharding.shard_shape(own.shape)
            elements = shared(name, part, case.d, case.e) if is_shared else math.prod(part)
            if not is_shared:
                found.same(f"{state} {name}", shard, part)
            found.same(f"elements of {state} {name}", math.prod(shard), elements)
            held += math.prod(shard) * own.dtype.itemsize * copies
            planned += elements * case.bytes[state]
        found.same(f"bytes of {state}", held, planned)
    rows = case.file["rows_of_vocabulary"] - case.config["vocab_size"]
    padding = rows * case.hidden * (1 if case.tied else 2)
    counted = sum(math.prod(shape) for shape in case.shapes.values()) - padding
    found.same("parameters", counted, case.plan["training"]["n_parameters"])
    return found


def saved(case: Case) -> list[str]:
    """What a block saves: scores unless the attention core is computed again, inner elements unless all
    is."""
    model = Model(case.config, lambda x, _: x, case.file["checkpoint"])
    params = {name: jnp.zeros(shape) for name, shape in case.shapes.items()}
    tokens = jnp.zeros((3, case.length), int)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        print_saved_residuals(lambda own: loss(model, own, tokens), params)
    lines = [line for line in told.getvalue().splitlines() if "from the argument" not in line]
    n_heads = case.config.get("num_attention_heads", case.config.get("n_head"))
    inner = case.config.get("intermediate_size", 4 * case.hidden)
    scores = f"[3,{n_heads},{case.length},{case.length}]"
    found = Differences()
    found.same("scores saved", any(scores in line for line in lines), case.again == "none")
    widths = [f"[3,{case.length},{inner}]", f"[{case.experts},3,"]
    kept = any(width in line for line in lines for width in widths)
    found.same("inner elements saved", kept, case.again != "full")
    return found


def compiled(case: Case):
    """Collectives of a train step."""
    loaded, told = case.loaded, case.file["states"]
    types = {state: told[state]["dtype"] for state in ("parameters", "gradients")}

    def at(x, name):
        return jax.lax.with_sharding_constraint(x, loaded.activation(name))

    def tree(structs):
        return jax.tree.map(lambda own: own.sharding, structs)

    params, gradients = case.structs("parameters"), tree(case.structs("gradients"))
    moments = {copy: case.structs("optimizer") for copy in told["optimizer"]["copies"]}
    shape = (case.n, case.samples * case.d, case.length)
    tokens = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=loaded.activation("tokens"))
    model = Model(case.config, at, case.file["checkpoint"])
    run = step(model, case.n, lambda own: jax.lax.with_sharding_constraint(own, gradients), types)
    outs = (tree(params), tree(moments))
    lowered = jax.jit(run, out_shardings=outs).lower(params, moments, tokens)
    return collectives(lowered.compile(compiler_options=COMPILER).as_text())


def demanded(case: Case) -> dict[tuple[str, str], int]:
    """Elements of weights, and counts of activations, that a step of such degrees exchanges.

    Replicas sum each gradient: in every micro-batch, as ZeRO 2 and 3 are planned. ZeRO 1 and 2 gather
    weights once a step, ZeRO 3 once a micro-batch at least. Tensor ranks sum what comes out of
    row-parallel layers forward and what goes into column-parallel ones backward, once for each product,
    as XLA does for CPUs; where sequences are split they gather at both ends. Experts are sent and sent
    back in both passes. A block that is computed again needs no second sum behind its last product,
    unless experts' shares do."""
    layers, full = case.config["num_hidden_layers"], case.again == "full"
    found: collections.Counter = collections.Counter()
    for name, part in case.parts.items():
        if len(part) < 2:
            continue
        who = "others" if ".experts." in name else "data"
        looked_up = name.endswith(("embed_tokens.weight", "wte.weight"))
        # A tied table is the head too.
        uses = 2 if looked_up and case.tied else 1
        n = math.prod(part)
        found[who, "sums"] += case.n * uses * n
        found[who, "gathers"] += [0, n, n, case.n * n][case.zero]
    has_experts = "num_experts" in case.config
    n_columns = 1 if case.config["model_type"] == "gpt2" else 2
    sums = 4 + (0 if has_experts else 1 + n_columns) + full
    found["tensor", "sums"] = case.n * (layers * sums + 2)
    found["tensor", "sums of experts"] = case.n * layers * (3 + full) * has_experts
    found["tensor", "gathers"] = case.n * (layers * (4 + 2 * full) + 2) * case.splits_sequences
    found["expert", "exchanges"] = case.n * layers * (4 + 2 * full) * has_experts
    sizes = {"data": case.d, "others": case.d // case.e, "tensor": case.t, "expert": case.e}
    if case.e == 1:
        for what in ("sums", "gathers"):
            found["data", what] += found.pop(("others", what), 0)
    return {key: n for key, n in found.items() if n and sizes[key[0]] > 1}


def agrees(case: Case, key: tuple[str, str], runs: int, planned: int) -> bool:
    """Parameters of ZeRO 3 are gathered in every micro-batch, for the backward pass once more unless XLA
    keeps them, and for what is computed again. So small a product as the router's XLA may split over
    tensor ranks as well."""
    if key[0] == "data" and case.t > 1:
        planned -= case.router
        runs = planned if planned <= runs <= planned + case.router else runs
    if case.zero == 3 and key[1] == "gathers" and key[0] != "tensor":
        return planned <= runs <= 3 * planned
    return runs == planned


def counted(case: Case, found: list) -> dict[tuple[str, str], int]:
    """The same of a compiled step; what fits nothing by its own words. Vectors and one figure a token are
    left out."""
    rows = {
        (case.samples, case.length, case.hidden): "sums",
        (case.experts // case.e, case.samples * case.e, case.places, case.hidden): "sums of experts",
    }
    all_groups = {name: case.groups(name) for name in ("tensor", "data", "others", "expert")}
    names = [name for name, own in all_groups.items() if len(next(iter(own))) > 1]
    counts: collections.Counter = collections.Counter()
    for own in found:
        who = next((name for name in names if all_groups[name] == own.groups), "nobody")
        if own.kind == "all-to-all":
            # Which name such groups go by first says nothing.
            who = "expert" if all_groups["expert"] == own.groups else who
            counts[who, "exchanges"] += own.times
            continue
        for shape in own.shapes:
            if len(shape) < 2 or shape == (case.samples, case.length):
                continue
            if who in ("tensor", "nobody") and math.prod(shape) <= case.experts * case.hidden:
                continue
            if who == "tensor" and own.kind == "all-reduce":
                counts[who, rows.get(shape, str(shape))] += own.times
            elif who == "tensor" and own.kind == "all-gather" and shape in rows:
                counts[who, "gathers"] += own.times
            elif who in ("data", "others") and own.kind in ("all-reduce", "all-gather"):
                what = "sums" if own.kind == "all-reduce" else "gathers"
                counts[who, what] += own.times * math.prod(shape)
            else:
                counts[who, f"{own.kind} {shape}"] += own.times
    return dict(counts)


def differences(file: dict, plan: dict, config: dict) -> list[str]:
    found = Differences()
    try:
        case = Case(file, plan, config)
        for law in (mesh, batch, states):
            found += law(case)
        if case.is_run and not found:
            found += saved(case)
            planned, runs = demanded(case), counted(case, compiled(case))
            for key in sorted({*planned, *runs}):
                both = runs.get(key, 0), planned.get(key, 0)
                if not agrees(case, key, *both):
                    found.same(" ".join(key), *both)
    except (KeyError, ValueError, TypeError) as error:
        found.append(f"refused: {type(error).__name__}: {str(error)[:300]}")
    return found


def wrong(file: dict):
    """Files with one wrong word each: (what, file)."""

    def changed(what, change):
        other = copy.deepcopy(file)
        change(other)
        return what, other

    def swap(rule):
        rule["whole"], rule["shared"] = rule["whole"][::-1], rule["shared"][::-1]

    shape = file["mesh"]["shape"]
    yield changed("axes", lambda own: own["mesh"].update(shape=shape[::-1], axes=own["mesh"]["axes"][::-1]))
    for at, rule in enumerate(file["rules"]):
        if re.search(rule["path"], "model.layers.0.mlp.down_proj.weight"):
            yield changed("rows for columns", lambda own: swap(own["rules"][at]))
    for state in ("parameters", "gradients", "optimizer"):
        split = {"whole": "shared", "shared": "whole"}[file["states"][state]["split"]]
        yield changed(state, lambda own: own["states"][state].update(split=split))
    told = (file["checkpoint"]["around"], file["checkpoint"]["policy"])
    policy = "everything_saveable" if told == ("block", "nothing_saveable") else "nothing_saveable"
    yield changed("policy", lambda own: own.update(checkpoint={"around": "block", "policy": policy}))
    yield changed("tokens", lambda own: own["activations"].update(tokens=[None, None, None]))
    between = None if file["activations"]["residual"][1] else "tensor"
    spec = [file["activations"]["residual"][0], between, None]
    yield changed("residual", lambda own: own["activations"].update(residual=spec))


def splits_all(plan: dict, config: dict) -> bool:
    """Whether each wrong word must show."""
    own = plan["parallelism"]
    is_plain = config["model_type"] in ("llama", "qwen2")
    return is_plain and own["tensor"] > 1 and own["data"] > 1 and own["training"]["zero"] == 3


PROVED: list[str] = []


def judged(file: str, plan: dict, folder: pathlib.Path) -> dict:
    own = json.loads(pathlib.Path(file).read_text(encoding="utf-8"))
    config = json.loads((folder / f"{plan['model']['name']}.json").read_text(encoding="utf-8"))
    found = differences(own, plan, config)
    if not PROVED and splits_all(plan, config):
        PROVED.append(file)
        unseen = [what for what, other in wrong(own) if not differences(other, plan, config)]
        found += [f"wrong {what} went unseen" for what in unseen]
    return {"differences": found}


if __name__ == "__main__":
    judge(judged)
    if not PROVED:
        sys.exit("no plan splits all, so that wrong words were not tried")
