#!/usr/bin/env python3
"""Hold how meshwright reads writes through views against PyTorch's own functionalisation.

    python check_in_place.py --meshwright target/release/meshwright [--programs 80] [--keep FOLDER]

Random programs write in place through views, of intermediate results, inputs and buffers, and read
the memory afterwards under other names. Each is exported by `meshwright.trace` as it is, whole and
once for each of its results alone. The operations read must be those that `torch.utils.flop_counter`
counts on `program.run_decompositions({})`, in which no memory has two names and nothing is left that
no result needs. Products have widths of 1, 2, 4, ..., so that a sum tells which of them are there:
those that the result depends on. Prints a line for each fault; exits with 1 if there is any. Without
`--meshwright` it prints what PyTorch counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import pathlib
import random
import subprocess
import sys
import tempfile
import warnings

import torch
from torch import nn
from torch.nn import functional as F
from torch._higher_order_ops import while_loop
from torch.utils.flop_counter import FlopCounterMode

# Apart from the package, whose native part need not be built for this.
SPEC = importlib.util.spec_from_file_location(
    "trace", pathlib.Path(__file__).resolve().parent / "meshwright" / "trace.py"
)
TRACE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TRACE)


class Cache(nn.Module):
    """Keys and values written into slices, of buffers or of what the pass makes."""

    def __init__(self, buffers):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))
        self.buffers_ = buffers
        if buffers:
            self.register_buffer("keys", torch.zeros(2, 24, 32))
            self.register_buffer("values", torch.zeros(2, 24, 32))

    def forward(self, x):
        keys, values = (
            (self.keys, self.values) if self.buffers_ else (x.new_zeros(2, 24, 32) for _ in "kv")
        )
        keys[:, :16] = self.k(x)
        values[:, :16].copy_(self.v(x))
        return self.o(F.scaled_dot_product_attention(self.q(x), keys, values))


class Rotary(nn.Module):
    """Half of each head is turned in place."""

    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x):
        q, k = self.q(x).view(2, 16, 4, 8), self.k(x).view(2, 16, 4, 8)
        for tensor in (q, k):
            a, b = tensor[..., :4], tensor[..., 4:]
            old = a.clone()
            a.mul_(0.5).sub_(b, alpha=0.2)
            b.mul_(0.5).add_(old, alpha=0.2)
        return q.transpose(1, 2) @ k.permute(0, 2, 3, 1)


class Branch(nn.Module):
    """A wrapper's graph writes memory of the graph around it."""

    def __init__(self):
        super().__init__()
        self.k, self.o = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x):
        c = x.new_zeros(2, 24, 32)
        view = c.transpose(0, 1)
        with torch.no_grad():
            c[:, 3:19].copy_(self.k(x))
        with torch.enable_grad():
            return self.o(view)


@torch.library.custom_op("example::store", mutates_args={"memory"})
def store(memory: torch.Tensor, value: torch.Tensor) -> None:
    memory[:, : value.shape[1]] = value


class Stored(nn.Module):
    """An operator of one's own that returns nothing."""

    def __init__(self):
        super().__init__()
        self.k, self.o = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x):
        c = x.new_zeros(2, 24, 32)
        view = c[:, 2:]
        torch.ops.example.store(c, self.k(x))
        return self.o(view)


@torch.library.custom_op("example::both", mutates_args={"memory"})
def both(memory: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    memory[:, : value.shape[1]] = value
    return value.clone()


@both.register_fake
def _(memory, value):
    return torch.empty_like(value)


class Both(Stored):
    """An operator of one's own that returns what nobody reads."""

    def forward(self, x):
        c = x.new_zeros(2, 24, 32)
        view = c[:, 2:]
        torch.ops.example.both(c, self.k(x))
        return self.o(view)


class Copied(Stored):
    """What is copied on the way has memory of its own; a diagonal has not."""

    def forward(self, x):
        c = x.to(torch.float32, copy=True)
        c.copy_(self.o(x))
        d = x.new_zeros(2, 32, 32)
        torch.linalg.diagonal(d).copy_(self.o(x).mean(1))
        return self.k(x) @ d


class Sides(Stored):
    """Both sides of a condition write memory from outside."""

    def forward(self, x):
        c = x.new_zeros(2, 24, 32)
        view, k = c[:, 2:], self.k(x)

        def left(c, k):
            c[:, :16].add_(k)
            return c.sum()

        def right(c, k):
            c.mul_(2)
            return c.sum()

        torch.cond(x.sum() > 0, left, right, (c, k))
        return self.o(view)


class Loop(Stored):
    """The body of a loop writes memory that it closes over."""

    def forward(self, x):
        c, k = x.new_zeros(2, 24, 32), self.k(x)
        view = c[:, 2:]

        def body(i):
            c[:, :16].add_(k)
            return (i + 1,)

        while_loop(lambda i: i < 3, body, (torch.tensor(0),))
        return self.o(view)


class Into(nn.Module):
    """A result of a product that goes where `out` says."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(32, 32), requires_grad=False)
        self.o = nn.Linear(32, 32)

    def forward(self, x):
        c = x.new_zeros(48, 32)
        torch.mm(x.reshape(32, 32), self.w, out=c[8:40])
        return self.o(c)


FIXED = {
    "cache": lambda: Cache(False),
    "cache-of-buffers": lambda: Cache(True),
    "rotary": Rotary,
    "branch": Branch,
    "stored": Stored,
    "both": Both,
    "sides": Sides,
    "copied": Copied,
    "loop": Loop,
    "into": Into,
}
# Two products, of 32 rows and of 44, by matrices of 32 x 32: of programs that PyTorch's counter, or
# its functionalisation, does not see through.
BY_HAND = dict.fromkeys(("stored", "both", "sides", "loop"), 2 * (32 + 44) * 32 * 32)
# What is warned of, as it should be.
WARNED = {"stored": "unknown-op", "both": "unknown-op", "loop": "guessed-trip-count"}


class Random(nn.Module):
    """A program by its seed. Products have widths of 1, 2, 4, ..., so that the sum of operations
    tells which of them are there."""

    def __init__(self, seed):
        super().__init__()
        self.seed, self.only = seed, None
        self.weights = nn.ParameterList()
        self.register_buffer("buffer", torch.zeros(4, 6, 8))
        self.is_dry = True
        self.forward(torch.randn(4, 6, 8))
        self.is_dry = False

    def product(self, tensor):
        if self.is_dry:
            width = 2 ** len(self.weights)
            weight = torch.randn(width, tensor.shape[-1]) / width
            self.weights.append(nn.Parameter(weight, requires_grad=False))
        self.n_products += 1
        return F.linear(tensor, self.weights[self.n_products - 1])

    def view(self, choose, t):
        """Another name for a part of a tensor, or for all of it."""
        axis = choose.randrange(t.dim())
        half = max(t.shape[axis] // 2, 1)
        ways = [
            lambda: t.narrow(axis, t.shape[axis] - half, half),
            lambda: t.narrow(axis, 0, half),
            lambda: t.transpose(0, -1),
            lambda: t.permute(*reversed(range(t.dim()))),
            lambda: t.unsqueeze(0).squeeze(0),
            lambda: t.detach(),
            lambda: t[..., ::2],
            lambda: t.chunk(2, axis)[0],
            lambda: t.split(half, axis)[-1],
            lambda: t.view_as(t),
        ]
        if t.dim() > 1:
            ways += [
                lambda: t.select(axis, t.shape[axis] - 1),
                lambda: choose.choice(t.unbind(axis)),
                lambda: t.unflatten(0, (1, -1)).flatten(0, 1),
                lambda: t.diagonal(0, 0, 1),
            ]
        if t.is_contiguous():
            ways += [lambda: t.view(-1, t.shape[-1]), lambda: t.flatten()]
        return choose.choice(ways)()

    def write(self, choose, t, others):
        """One write in place; what is written comes of a product, or of the memory itself."""
        value = self.product(choose.choice(others)).sum()
        rows = torch.arange(max(t.shape[0] // 2, 1))
        ways = [
            lambda: t.copy_(value.expand(t.shape)),
            lambda: t.add_(value),
            lambda: t.mul_(value),
            lambda: t.exp_().sub_(value),
            lambda: t.masked_fill_(t > 0, value),
            lambda: t.fill_(value),
            lambda: t.clamp_(max=1).addcmul_(value, value),
            lambda: t.index_put_((rows,), value),
            lambda: t.index_copy_(0, rows, value.expand(len(rows), *t.shape[1:])),
            lambda: t.index_add_(0, rows, value.expand(len(rows), *t.shape[1:])),
            lambda: t.lerp_(value.expand(t.shape), 0.5),
            lambda: torch.add(t.clone(), value, out=t),
            lambda: t.zero_(),
            lambda: t.__setitem__((..., slice(0, None, 2)), value),
        ]
        way = choose.choice(ways)
        if choose.random() < 0.2:
            with torch.no_grad():
                way()
        else:
            way()

    def forward(self, x):
        choose = random.Random(self.seed)
        self.n_products = 0
        y = self.product(x).sum(-1, keepdim=True) + torch.zeros(4, 6, 8)
        known = [y, torch.zeros(4, 6, 8), choose.choice([x, self.buffer, x.clone()])]
        results = []
        for _ in range(choose.randint(5, 11)):
            what = choose.random()
            if what < 0.5:
                known.append(self.view(choose, choose.choice(known)))
            elif what < 0.85:
                self.write(choose, choose.choice(known), known)
            else:
                results.append(self.product(choose.choice(known)))
        results += [self.product(choose.choice(known)), known[choose.randrange(len(known))] + 1]
        self.n_results = len(results)
        return tuple(results) if self.only is None else results[self.only]


def truth(exported, args):
    """Floating-point operations of what a functional program needs for its results."""
    functional = exported.run_decompositions({})
    functional.graph_module.graph.eliminate_dead_code()
    functional.graph_module.recompile()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional.module()(*args)
    return counter.get_total_flops()


def check(meshwright, name, model, args, path):
    """What is wrong with one program; `None` where PyTorch refuses it. Without a program to hold
    against PyTorch only the truth is told."""
    try:
        with torch.no_grad():
            exported = torch.export.export(model, args, strict=False)
            flops = BY_HAND.get(name) or truth(exported, tuple(a.clone() for a in args))
        TRACE.save(model, path, *args, force=True)
    except Exception as error:  # whatever the exporter meets
        return None, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
    if meshwright is None:
        return [], f"{flops} FLOPs"
    done = subprocess.run(
        [str(meshwright), "import", str(path), "--json"],
        capture_output=True, text=True, check=False, timeout=120,
    )
    if done.returncode:
        return [done.stderr.strip()[:300]], ""
    read = json.loads(done.stdout)
    faults = []
    if read["summary"]["forward_flops"] != flops:
        faults.append(f"{read['summary']['forward_flops']} FLOPs, {flops} of the functional program")
    codes = {warning["code"] for warning in read["warnings"]} - {"unknown-ties"}
    if codes != ({WARNED[name]} if name in WARNED else set()):
        faults.append(f"warned of {sorted(codes)}")
    return faults, f"{flops} FLOPs"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meshwright", type=pathlib.Path)
    parser.add_argument("--programs", type=int, default=80)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=pathlib.Path, help="folder that keeps the files")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    tally = {"ok": 0, "FAIL": 0, "refused by the exporter": 0}
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or pathlib.Path(scratch)
        folder.mkdir(exist_ok=True)

        def judge(name, model, args):
            faults, said = check(arguments.meshwright, name, model, args, folder / f"{name}.pt2")
            state = "refused by the exporter" if faults is None else "FAIL" if faults else "ok"
            tally[state] += 1
            if state != "ok" or name in FIXED or arguments.meshwright is None:
                print(f"{state:5} {name}: {'; '.join(faults or [said])}", flush=True)

        for name, make in FIXED.items():
            torch.manual_seed(0)
            judge(name, make().eval().requires_grad_(False), (torch.randn(2, 16, 32),))
        for seed in range(arguments.first, arguments.first + arguments.programs):
            torch.manual_seed(0)
            model = Random(seed).eval()
            for only in [None, *range(model.n_results)]:
                model.only = only
                judge(f"random-{seed}-{only}", model, (torch.randn(4, 6, 8),))
    print("; ".join(f"{n} {state}" for state, n in tally.items()))
    return 1 if tally["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
