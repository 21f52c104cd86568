#!/usr/bin/env python3
"""What JAX makes of an exported sharding (`--algorithm sharding`), on eight forced devices of this host.

    python jax_sharded.py FOLDER-or-FILE.jax.json [...]

Next to NAME.jax.json are the plan, NAME.json, and its config, MODEL.json. A small transformer of that config, with a
constraint wherever the file has one, is compared with itself on one device: loss and gradients. Parts of parameters
and activations on each device are compared with the placements in the plan's `sharding.ops`, by hand. Files with one
wrong entry each have to differ. Collectives of the compiled step next to the plan's are figures, no verdict: XLA
derives the backward pass. Prints one JSON document per plan; `differences` is the verdict.
"""

from __future__ import annotations

import collections
import copy
import functools
import itertools
import json
import math
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

# Nothing that merges collectives, so that each can be compared; optimization of kernels would only take time.
PASSES = ("all-reduce-combiner", "all-gather-combiner", "reduce-scatter-combiner", "all-reduce-reassociate")
FLAGS = ("--xla_force_host_platform_device_count=8", f"--xla_disable_hlo_passes={','.join(PASSES)}")
os.environ.update(XLA_FLAGS=" ".join(FLAGS), JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="3")
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples/jax"))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from differences import Differences  # noqa: E402
from hlo_collectives import collectives  # noqa: E402
from shardings import Plan, by_layer  # noqa: E402

COMPILER = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
TOLERANCE = 1e-5
BYTES = 4
Placement = tuple[str, ...]
Params = dict[str, Any]

# By name in the plan: the name in a checkpoint's layer and the plan's dimensions, by letters (see `sizes`).
ATTENTION = {"q": "hnd", "k": "hmd", "v": "hmd", "o": "ndh"}
DENSE = {"up": "hf", "gate": "hf", "down": "fh"}
EXPERTS = {"up": "ehg", "gate": "ehg", "down": "egh"}


# ---------------------------------------------------------------- parameters

class Config:
    """What a config says of sizes, and its parameters."""

    def __init__(self, config: dict) -> None:
        self.is_gpt2 = config["model_type"] == "gpt2"
        self.chosen, n_experts = config.get("num_experts_per_tok", 0), config.get("num_experts", 0)
        own = {"hidden_size": "n_embd", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"}
        of = {name: config.get(name, config.get(other)) for name, other in own.items()}
        hidden, heads = of["hidden_size"], of["num_attention_heads"]
        inner = config.get("intermediate_size", config.get("n_inner") or 4 * hidden)
        self.sizes = {"h": hidden, "n": heads, "m": config.get("num_key_value_heads", heads), "f": inner}
        self.sizes |= {"d": config.get("head_dim", hidden // heads), "v": config["vocab_size"]}
        self.sizes |= {"e": n_experts, "g": config.get("moe_intermediate_size", 0)}
        self.layers, self.is_tied = of["num_hidden_layers"], config["tie_word_embeddings"]
        self.weights = dict(self.named())

    def named(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """By name in the plan: that in a checkpoint, and letters of the plan's dimensions."""
        base = "transformer.wte" if self.is_gpt2 else "model.embed_tokens"
        yield "embedding.weight", (f"{base}.weight", "vh")
        if not self.is_tied:
            yield "head.weight", ("lm_head.weight", "vh")
        for n in range(self.layers):
            start = f"transformer.h.{n}." if self.is_gpt2 else f"model.layers.{n}."
            for name, of in self.in_layer():
                yield f"layers.{n}.{name}.weight", (start + of[0], of[1])

    def in_layer(self) -> Iterator[tuple[str, tuple[str, str]]]:
        for name, word in ATTENTION.items():
            gpt2 = "attn.c_proj.weight" if name == "o" else f"attn.c_attn.{name}.weight"
            yield f"attention.{name}", (gpt2 if self.is_gpt2 else f"self_attn.{name}_proj.weight", word)
        if self.sizes["e"]:
            yield "router", ("mlp.gate.weight", "he")
            for name, word in EXPERTS.items():
                yield f"experts.{name}", (f"mlp.experts.{name}_proj", word)
        elif self.is_gpt2:
            yield "mlp.up", ("mlp.c_fc.weight", "hf")
            yield "mlp.down", ("mlp.c_proj.weight", "fh")
        else:
            yield from ((f"mlp.{name}", (f"mlp.{name}_proj.weight", word)) for name, word in DENSE.items())

    def shape(self, word: str) -> tuple[int, ...]:
        return tuple(self.sizes[letter] for letter in word)

    def is_turned(self, word: str) -> bool:
        """Whether a checkpoint has `[out, in]`."""
        return word != "vh" and not self.is_gpt2

    def laid(self, x: Any, word: str) -> Any:
        """A weight of a checkpoint as the plan has it."""
        return (x.swapaxes(-1, -2) if self.is_turned(word) else x).reshape(self.shape(word))

    def back(self, x: Any, word: str) -> Any:
        """A part of it as a checkpoint has it: heads and their elements are one dimension."""
        at = word.find("d")
        merged = x if at < 0 else x.reshape(*x.shape[: at - 1], -1, *x.shape[at + 1 :])
        return merged.swapaxes(-1, -2) if self.is_turned(word) else merged

    def parameters(self, length: int) -> Params:
        """Random ones by names of a checkpoint."""
        draw, found = np.random.default_rng(0), {}
        for name, word in self.weights.values():
            shape = self.back(np.zeros(self.shape(word)), word).shape
            found[name] = draw.normal(0, 0.05, shape)
        hidden = self.sizes["h"]
        first, last = ("transformer.h", "transformer.ln_f") if self.is_gpt2 else ("model.layers", "model.norm")
        norms = ("ln_1", "ln_2") if self.is_gpt2 else ("input_layernorm", "post_attention_layernorm")
        vectors = [f"{first}.{n}.{norm}" for n, norm in itertools.product(range(self.layers), norms)]
        for name in [*vectors, last]:
            found[f"{name}.weight"] = draw.normal(1, 0.1, hidden)
        if self.is_gpt2:
            # None of keys: softmax takes it out, and its gradient is but rounding.
            biases = [name for name in found if name.endswith(".weight") and not re.search(r"wte|attn\.k", name)]
            found |= {f"{name[:-7]}.bias": draw.normal(0, 0.05, found[name].shape[-1]) for name in biases}
            found["transformer.wpe.weight"] = draw.normal(0, 0.05, (length, hidden))
        return {name: jnp.asarray(own, jnp.float32) for name, own in found.items()}


# ---------------------------------------------------------------- the program, with a site before and after each op

class Sites:
    """Places of constraints, by the plan's names; notes the shape at each. Without a plan they do nothing."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan
        self.read_shapes: dict[tuple[str, str], tuple[int, ...]] = {}
        self.left_shapes: dict[str, tuple[int, ...]] = {}

    def read(self, op: str, tensor: str, x: jax.Array) -> jax.Array:
        self.read_shapes[op, tensor] = x.shape
        sharding = self.plan and self.plan.read(op, tensor)
        return jax.lax.with_sharding_constraint(x, sharding) if sharding is not None else x

    def leave(self, tensor: str, x: jax.Array) -> jax.Array:
        self.left_shapes[tensor] = x.shape
        if self.plan is None or tensor not in self.plan.activations:
            return x
        return jax.lax.with_sharding_constraint(x, self.plan.activation(tensor))


class Program:
    """A decoder of the plan's ops."""

    def __init__(self, config: Config, at: Sites, policy: str) -> None:
        self.config, self.at = config, at
        self.policy = getattr(jax.checkpoint_policies, policy)

    def product(self, own: Params, op: str, x: tuple[str, jax.Array], words: str) -> jax.Array:
        """By a weight; `words` as of einsum."""
        tied = op == "head" and self.config.is_tied
        weight = "embedding.weight" if tied else f"{op}.weight"
        name, word = self.config.weights[weight]
        by = self.at.read(op, weight, self.config.laid(own[name], word))
        y = jnp.einsum(words, self.at.read(op, *x), by)
        bias = own.get(f"{name.removesuffix('.weight')}.bias")
        if bias is not None and not tied:
            y = y + bias.reshape(y.shape[-2:] if words.endswith("d") else -1)
        return self.at.leave(op, y)

    def norm(self, own: Params, op: str, x: tuple[str, jax.Array], name: str) -> jax.Array:
        y = self.at.read(op, *x)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1) + 1e-6)[..., None] * own[f"{name}.weight"]
        return self.at.leave(op, y + own.get(f"{name}.bias", 0.0))

    def joined(self, op: str, *parts: tuple[str, jax.Array]) -> jax.Array:
        one, other = (self.at.read(op, *part) for part in parts)
        return self.at.leave(op, one + other)

    def attention(self, own: Params, start: str, x: jax.Array) -> jax.Array:
        """Causal; fewer heads of keys and values are repeated."""
        op = f"{start}attention"
        words = {"q": "bsh,hnd->bsnd", "k": "bsh,hmd->bsmd", "v": "bsh,hmd->bsmd"}
        of = {n: self.product(own, f"{op}.{n}", (f"{op}_norm", x), word) for n, word in words.items()}
        q, k, v = (self.at.read(op, f"{op}.{n}", part) for n, part in of.items())
        k, v = (jnp.repeat(part, q.shape[2] // part.shape[2], axis=2) for part in (k, v))
        scores = jnp.einsum("bqnd,bknd->bnqk", q, k) / q.shape[-1] ** 0.5
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        shares = jax.nn.softmax(jnp.where(mask, scores, -1e9))
        y = self.at.leave(op, jnp.einsum("bnqk,bknd->bqnd", shares, v))
        return self.product(own, f"{op}.o", (op, y), "bsnd,ndh->bsh")

    def inner(self, own: Params, start: str, x: tuple[str, jax.Array], words: tuple[str, str]) -> jax.Array:
        """Up, gate if there is one, and down."""
        names = ["up"] if self.config.is_gpt2 else ["gate", "up"]
        made = [(f"{start}{n}", self.product(own, f"{start}{n}", x, words[0])) for n in names]
        op = f"{start}activation"
        gate, *up = (self.at.read(op, *part) for part in made)
        y = self.at.leave(op, jax.nn.silu(gate) * up[0] if up else jax.nn.gelu(gate))
        return self.product(own, f"{start}down", (op, y), words[1])

    def experts(self, own: Params, start: str, x: jax.Array) -> jax.Array:
        """Every expert takes as many tokens of a sample; those beyond are dropped."""
        config, norm = self.config, f"{start}mlp_norm"
        n, chosen, (router, top) = config.sizes["e"], config.chosen, (f"{start}router", f"{start}router.top")
        logits = self.product(own, router, (norm, x), "bsh,he->bse")
        shares = jax.nn.softmax(self.at.read(top, router, logits))
        shares = self.at.leave(top, jnp.where(shares >= jax.lax.top_k(shares, chosen)[0][..., -1:], shares, 0.0))

        def slots(op: str) -> tuple[jax.Array, jax.Array]:
            own_shares = self.at.read(op, top, shares)
            visits = (own_shares > 0).astype(x.dtype)
            place = jnp.cumsum(visits, axis=1) - visits
            n_slots = x.shape[1] * chosen // n
            return visits[..., None] * jax.nn.one_hot(place, n_slots, dtype=x.dtype), own_shares

        op = f"{start}dispatch"
        sent = jnp.einsum("bset,bsh->ebth", slots(op)[0], self.at.read(op, norm, x))
        sent = self.at.leave(op, sent)
        down = f"{start}experts.down"
        y = self.inner(own, f"{start}experts.", (op, sent), ("ebth,ehg->ebtg", "ebtg,egh->ebth"))
        op = f"{start}combine"
        taken, own_shares = slots(op)
        return self.at.leave(op, jnp.einsum("bset,bse,ebth->bsh", taken, own_shares, self.at.read(op, down, y)))

    def layer(self, n: int, own: Params, x: jax.Array) -> jax.Array:
        start, gpt2 = f"layers.{n}.", self.config.is_gpt2
        prefix = f"transformer.h.{n}." if gpt2 else f"model.layers.{n}."
        first, second = ("ln_1", "ln_2") if gpt2 else ("input_layernorm", "post_attention_layernorm")
        before = (f"{start}input", x)
        y = self.norm(own, f"{start}attention_norm", before, prefix + first)
        y = self.attention(own, start, y)
        middle = self.joined(f"{start}attention.residual", before, (f"{start}attention.o", y))
        between = (f"{start}attention.residual", middle)
        y = self.norm(own, f"{start}mlp_norm", between, prefix + second)
        if self.config.sizes["e"]:
            added = (f"{start}combine", self.experts(own, start, y))
        else:
            words = ("bsh,hf->bsf", "bsf,fh->bsh")
            added = (f"{start}mlp.down", self.inner(own, f"{start}mlp.", (f"{start}mlp_norm", y), words))
        return self.at.leave(f"{start}output", self.joined(f"{start}mlp.residual", between, added))

    def loss(self, own: Params, tokens: jax.Array) -> jax.Array:
        """Mean cross-entropy of the next token."""
        at, (name, word) = self.at, self.config.weights["embedding.weight"]
        taken = at.read("embedding", "tokens", at.leave("tokens", tokens))
        table = at.read("embedding", "embedding.weight", self.config.laid(own[name], word))
        x = at.leave("embedding", jnp.einsum("bsv,vh->bsh", jax.nn.one_hot(taken, table.shape[0]), table))
        if self.config.is_gpt2:
            x = x + own["transformer.wpe.weight"]
        for n in range(self.config.layers):
            x = jax.checkpoint(functools.partial(self.layer, n), policy=self.policy)(own, x)
        last = "transformer.ln_f" if self.config.is_gpt2 else "model.norm"
        x = self.norm(own, "norm", (f"layers.{self.config.layers - 1}.output", x), last)
        logits = at.read("cross_entropy", "head", self.product(own, "head", ("norm", x), "bsh,vh->bsv"))
        chances = at.leave("cross_entropy", jax.nn.log_softmax(logits))
        gold = jax.nn.one_hot(jnp.roll(tokens, -1, axis=1), logits.shape[-1])
        return -jnp.mean(jnp.sum(gold * chances, axis=-1))


# ---------------------------------------------------------------- parts, by hand

def orders(placement: Placement, mesh: list[int]) -> dict[int, list[int]]:
    """By dimension the axes that split it, the first to cut first: `_S(d,f)` cuts what later axes of f devices left."""
    found: dict[int, list[int]] = {}
    for axis in reversed(range(len(mesh))):
        split = re.fullmatch(r"_?S\((\d+)(?:,(\d+))?\)", placement[axis])
        if split:
            axes = found.setdefault(int(split[1]), [])
            before = [math.prod(mesh[of] for of in axes[:n]) for n in range(len(axes) + 1)]
            axes.insert(before.index(int(split[2] or 1)), axis)
    return found


class Planned:
    """The placements of a plan."""

    def __init__(self, plan: dict) -> None:
        own = plan["sharding"]
        self.axes = [axis["axis"] for axis in own["mesh"]]
        self.mesh = [axis["size"] for axis in own["mesh"]]
        self.rest: dict[str, Placement] = {}
        self.left: dict[str, Placement] = {}
        self.read: dict[tuple[str, str], Placement] = {}
        for op in own["ops"]:
            marks = (".backward", ".grad", ".stored")
            if any(mark in name for name in [op["op"], *op["tensors"]] for mark in marks):
                continue
            n = len(op.get("inputs", []))
            for name, placement in zip(op["tensors"][n:], op["outputs"]):
                into = self.rest if op["op"].endswith(".weight") else self.left
                into |= by_layer({name: tuple(placement)})
            for tensor, placement in zip(op["tensors"], op.get("inputs", [])):
                ops, names = list(by_layer({op["op"]: 0})), list(by_layer({tensor: 0}))
                names = names * len(ops) if len(names) == 1 else names
                # Of what layers leave, an op behind them reads the last.
                self.read |= {pair: tuple(placement) for pair in zip(ops, names[-len(ops) :])}

    def slices(self, shape: tuple[int, ...], placement: Placement, rank: int) -> tuple[slice, ...]:
        """The part of a rank: ranks are row-major, axes cut in the order that the placement states."""
        part, place = [(0, size) for size in shape], np.unravel_index(rank, self.mesh)
        for dim, axes in orders(placement, self.mesh).items():
            for axis in axes:
                (start, length), size = part[dim], self.mesh[axis]
                part[dim] = (start + int(place[axis]) * (length // size), length // size)
        return tuple(slice(start, start + length) for start, length in part)

    def agrees(self, shape: tuple[int, ...], placement: Placement, sharding: Any) -> bool:
        own = sharding.devices_indices_map(shape)
        parts = [tuple(slice(*of.indices(n)[:2]) for of, n in zip(own[d], shape)) for d in jax.devices()]
        return all(parts[rank] == self.slices(shape, placement, rank) for rank in range(len(parts)))


def at_rest(planned: Planned, config: Config, plan: Plan, params: Params) -> list[str]:
    """Numbers that a device gets of each parameter, against those of the plan's part."""
    found = Differences()
    weights = {of[0]: (name, of[1]) for name, of in config.weights.items()}
    for state in ("parameters", "gradients", "optimizer"):
        shardings = plan.tree(state, params)
        for name, own in params.items():
            numbers = np.arange(own.size).reshape(own.shape)
            parts = shardings[name].devices_indices_map(own.shape)
            for rank, device in enumerate(jax.devices()):
                part = numbers
                if name in weights:
                    planned_name, word = weights[name]
                    whole = config.laid(numbers, word)
                    cut = planned.slices(whole.shape, planned.rest[planned_name], rank)
                    part = config.back(whole[cut], word)
                if not np.array_equal(numbers[parts[device]], part):
                    placement = planned.rest[weights[name][0]] if name in weights else "whole"
                    found.append(f"{state} {name}: {shardings[name].spec}, {placement} is planned")
                    break
    return found


def at_ops(planned: Planned, plan: Plan, sites: Sites) -> list[str]:
    """What ops leave and read; partial sums are left as some op reads them, or in no stated parts."""
    found = Differences()
    found.same("ops that read", sorted(planned.read), sorted(sites.read_shapes))
    found.same("tensors left", sorted(planned.left), sorted(sites.left_shapes))
    stated = {(op, tensor) for op, own in plan.reads.items() for tensor in own if (op, tensor) in planned.read}
    found.same("ops in reads", sorted({op for op, _ in stated}), sorted(plan.reads))
    for name, shape in sites.left_shapes.items():
        options = [planned.left[name]]
        if "P" in options[0]:
            readers = (own for (_, tensor), own in planned.read.items() if tensor == name and "P" not in own)
            options = list(readers)
        if name not in plan.activations:
            found.same(f"stated parts of {name}", None, options[0] if "P" not in planned.left[name] else None)
        elif not any(planned.agrees(shape, own, plan.activation(name)) for own in options):
            found.append(f"{name} is left as {plan.activations[name]}, {planned.left[name]} is planned")
    for (op, tensor), shape in sites.read_shapes.items():
        placement, sharding = planned.read[op, tensor], plan.read(op, tensor)
        if "P" in placement:
            continue
        if sharding is None:
            found.same(f"{op} reads {tensor}", planned.rest.get(tensor), placement)
        elif not planned.agrees(shape, placement, sharding):
            found.append(f"{op} reads {tensor} as {sharding.spec}, {placement} is planned")
    return found


# ---------------------------------------------------------------- collectives

Key = tuple[str, tuple[str, ...], int]


def demanded(plan: dict, planned: Planned) -> dict[Key, int]:
    """Kind, axes and elements of the larger side on a device; steps of one kind along several axes are one."""
    found: collections.Counter = collections.Counter()
    for own in plan["sharding"]["redistributions"]:
        now, size = list(own["from"]), own["bytes"] // BYTES
        for kind, steps in itertools.groupby(own["collectives"], key=lambda step: step["operation"]):
            axes = [planned.axes.index(step["axis"]) for step in steps]
            before = now.copy()
            for axis in axes:
                now[axis] = own["to"][axis]
            large = before if kind == "reduce-scatter" else now
            local = size // math.prod(n for n, part in zip(planned.mesh, large) if part not in "RP")
            found[kind, tuple(sorted(planned.axes[axis] for axis in axes)), local] += own["times"]
    return dict(found)


def axes_of(groups: frozenset, planned: Planned) -> tuple[str, ...]:
    """The axes along which ranks of these groups differ."""
    ids = np.arange(math.prod(planned.mesh)).reshape(planned.mesh)
    every = range(len(planned.mesh))
    for n in every:
        for axes in itertools.combinations(every, n + 1):
            rows = np.moveaxis(ids, axes, range(-len(axes), 0)).reshape(-1, math.prod(planned.mesh[a] for a in axes))
            if frozenset(tuple(sorted(row)) for row in rows.tolist()) == groups:
                return tuple(sorted(planned.axes[axis] for axis in axes))
    return ("others",)


def compiled_to(text: str, planned: Planned, n_tokens: int) -> tuple[dict[Key, int], int]:
    """The same of a compiled step, and how many of vectors and of one figure a token."""
    found: collections.Counter = collections.Counter()
    n_small = 0
    for own in collectives(text):
        axes, ranks = axes_of(own.groups, planned), len(next(iter(own.groups)))
        # Several tensors in one call are several; of an exchange the tensors are parts of one.
        shapes = own.shapes[:1] if own.kind == "all-to-all" else own.shapes
        for shape in shapes:
            size = own.elements if own.kind == "all-to-all" else math.prod(shape)
            size *= ranks if own.kind == "reduce-scatter" else 1
            dims = sum(n > 1 for n in shape)
            if dims < 2 or (dims < 3 and size <= n_tokens):
                n_small += own.times
            else:
                found[own.kind, axes, size] += own.times
    return dict(found), n_small


def in_steps(key: Key, planned: Planned) -> list[list[Key]]:
    """Other collectives to the same end: one per axis, and all-reduces in place of a reduce-scatter (XLA for hosts cuts
    the results of those)."""
    kind, axes, size = key
    sizes = dict(zip(planned.axes, planned.mesh))
    runs = "all-reduce" if kind == "reduce-scatter" else kind
    ways = [[(runs, axes, size)]]
    for order in itertools.permutations(axes):
        rest = [math.prod(sizes[axis] for axis in order[:n]) for n in range(len(order))]
        ways.append([(runs, (axis,), size // n) for axis, n in zip(order, rest)])
        if kind == "reduce-scatter":
            ways.append([(runs, (axis,), size) for axis in order])
    return ways if kind in ("reduce-scatter", "all-gather") else []


def figures(wanted: dict[Key, int], runs: dict[Key, int], planned: Planned) -> dict[str, Any]:
    """How many are planned, found, the same and to the same end, and what differs."""
    left, extra = collections.Counter(wanted), collections.Counter(runs)
    same = left & extra
    left, extra = left - same, extra - same
    n_others = 0
    for key, way in [(own, way) for own in left for way in in_steps(own, planned)]:
        n = min(left[key], *(extra[step] for step in way))
        left[key] -= n
        extra.subtract({step: n for step in way})
        n_others += n

    def lines(own: collections.Counter) -> list[str]:
        rows = sorted((key, n) for key, n in own.items() if n > 0)
        return [f"{n} x {kind} {'+'.join(axes)} {size * BYTES} bytes" for (kind, axes, size), n in rows]

    def volume(own: dict[Key, int]) -> int:
        return sum(size * n for (_, _, size), n in own.items()) * BYTES

    counts = {"planned": sum(wanted.values()), "found": sum(runs.values()), "same": sum(same.values())}
    counts |= {"same_end": n_others, "planned_bytes": volume(wanted), "found_bytes": volume(runs)}
    return counts | {"planned_only": lines(left), "found_only": lines(extra)}


# ---------------------------------------------------------------- a plan

class Case:
    def __init__(self, path: pathlib.Path) -> None:
        def document(name: str) -> dict:
            return json.loads((path.parent / name).read_text(encoding="utf-8"))

        self.file = document(path.name)
        self.plan = document(path.name.removesuffix(".jax.json") + ".json")
        self.config = Config(document(f"{self.plan['model']['name']}.json"))
        self.planned = Planned(self.plan)
        self.n_samples = self.plan["workload"]["micro_batch"]
        self.length = self.plan["sharding"]["sequence_length"]
        self.params = self.config.parameters(self.length)
        draw = np.random.default_rng(1)
        self.tokens = draw.integers(0, self.config.sizes["v"], (self.n_samples, self.length), np.int32)
        policy = "nothing_saveable" if self.plan["sharding"]["recompute"] else "everything_saveable"
        self.alone = Program(self.config, Sites(), policy)
        jax.eval_shape(self.alone.loss, self.params, self.tokens)

    def structure(self, file: dict) -> list[str]:
        """All but values; of any file, so that wrong ones can be tried."""
        found = Differences()
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "plan.jax.json"
            path.write_text(json.dumps(file), encoding="utf-8")
            plan = Plan(path)
        found.same("axes", list(plan.mesh.axis_names), self.planned.axes)
        found.same("sizes", list(plan.mesh.devices.shape), self.planned.mesh)
        batch = {"samples": self.plan["workload"]["batch"], "tokens": self.length}
        batch |= {"samples_of_a_micro_batch": self.n_samples}
        batch["micro_batches"] = self.plan["parallelism"]["n_micro_batches"]
        found.same("batch", file["batch"], batch)
        policy = "nothing_saveable" if self.plan["sharding"]["recompute"] else "everything_saveable"
        found.same("checkpoint", file["checkpoint"], {"around": "block", "policy": policy})
        found += at_rest(self.planned, self.config, plan, self.params)
        return found + at_ops(self.planned, plan, self.alone.at)

    def run(self, plan: Plan) -> tuple[Any, str]:
        """Loss and gradients on all devices, and the program of a device."""
        program = Program(self.config, Sites(plan), self.file["checkpoint"]["policy"])
        outs = (None, plan.tree("gradients", self.params))
        params = jax.device_put(self.params, plan.tree("parameters", self.params))
        tokens = jax.device_put(self.tokens, plan.activation("tokens"))
        run = jax.jit(jax.value_and_grad(program.loss), out_shardings=outs)
        made = run.lower(params, tokens).compile(compiler_options=COMPILER)
        return made(params, tokens), made.as_text()


def values(runs: Any, alone: Any) -> list[str]:
    """Loss, and gradients relative to the largest element of each."""
    found = []
    for name, own, other in [("loss", runs[0], alone[0]), *((n, runs[1][n], alone[1][n]) for n in alone[1])]:
        own, other = np.asarray(own), np.asarray(other)
        apart = float(np.max(np.abs(own - other)) / np.max(np.abs(other)))
        if not apart <= TOLERANCE:
            found.append(f"{name}: {apart:.1e} apart")
    return found


def wrong(file: dict) -> Iterator[tuple[str, dict]]:
    """Files with one wrong entry each."""
    axes = file["mesh"]["axes"]

    def other_spec(spec: list) -> list:
        return [] if any(spec) else [axes[0]]

    if len(axes) > 1:
        for key in ("axes", "shape"):
            other = copy.deepcopy(file)
            other["mesh"][key] = other["mesh"][key][::-1]
            if other != file:
                yield f"{key} swapped", other
    other = copy.deepcopy(file)
    saves_all = file["checkpoint"]["policy"] == "everything_saveable"
    other["checkpoint"]["policy"] = "nothing_saveable" if saves_all else "everything_saveable"
    yield "policy", other
    for at, rule in enumerate(file["rules"]):
        other = copy.deepcopy(file)
        turned = rule["shared"][::-1] if any(rule["shared"]) else [axes[0]]
        other["rules"][at] |= {"whole": turned, "shared": turned}
        yield rule["path"], other
    for name, spec in file["activations"].items():
        other = copy.deepcopy(file)
        other["activations"][name] = other_spec(spec)
        yield f"activation {name}", other
    for op, own in file["reads"].items():
        for tensor, spec in own.items():
            other = copy.deepcopy(file)
            other["reads"][op][tensor] = other_spec(spec)
            yield f"read of {tensor} by {op}", other


def unseen(case: Case) -> tuple[int, list[str]]:
    """How many wrong files were tried, and those that no check noticed."""
    n_tried, missed = 0, []
    names = list(case.params)
    for what, file in wrong(case.file):
        is_rule = any(rule["path"] == what for rule in case.file["rules"])
        if is_rule and not any(re.search(what, name) for name in names):
            continue
        n_tried += 1
        try:
            found = case.structure(file)
        except (KeyError, ValueError, TypeError):
            continue
        if not found:
            missed.append(what)
    return n_tried, missed


def judged(path: pathlib.Path) -> dict[str, Any]:
    case = Case(path)
    found = case.structure(case.file)
    alone = jax.jit(jax.value_and_grad(case.alone.loss))(case.params, case.tokens)
    runs, text = case.run(Plan(path))
    found += values(runs, alone)
    own, n_small = compiled_to(text, case.planned, case.n_samples * case.length)
    figure = figures(demanded(case.plan, case.planned), own, case.planned) | {"of_vectors": n_small}
    n_tried, missed = unseen(case)
    found += [f"wrong {what} went unseen" for what in missed]
    return {"differences": found, "wrong_files": n_tried, "collectives": figure}


def main() -> None:
    paths = [path for name in sys.argv[1:] for path in files(pathlib.Path(name))]
    for path in paths:
        try:
            verdict = judged(path)
        except Exception as error:  # noqa: BLE001
            verdict = {"differences": [f"refused: {type(error).__name__}: {str(error)[:300]}"]}
        print(json.dumps({"file": path.name, **verdict}), flush=True)


def files(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path.glob("*.jax.json")) if path.is_dir() else [path]


if __name__ == "__main__":
    main()
