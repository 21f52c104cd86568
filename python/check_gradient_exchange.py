#!/usr/bin/env python3
"""Exchange gradients as tables say, on 2 and 3 processes with gloo, against dense gradients.

    python check_gradient_exchange.py [--meshwright target/release/meshwright]

For each method, over several steps: every message and collective is counted where it is handed to
torch.distributed and held against the table; what is applied and what stays in the residuals add up to
the dense gradients, which a plain copy of the model computes; all processes get the same gradients to
the bit; what each sends is what plain Python chooses. Hostile tables are refused by name, and training
goes on from saved residuals as if it had not stopped. With `--meshwright` one plan per method is made,
exported with `--target torch-hook`, held against its table and exchanged too.
Prints one line per check; exits with 1 if any fails.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import functools
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Iterator

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn

import meshwright as mw

METHODS = ("as-is", "top-k", "global-top-k", "layer-wise")
#: All that hands tensors to other processes; what is asked of none of them is counted as well.
CALLS = (
    "all_gather", "all_gather_coalesced", "all_gather_into_tensor", "all_gather_object", "all_reduce",
    "all_reduce_coalesced", "all_to_all", "all_to_all_single", "batch_isend_irecv", "broadcast",
    "broadcast_object_list", "gather", "gather_object", "irecv", "isend", "recv", "reduce", "reduce_scatter",
    "reduce_scatter_tensor", "scatter", "scatter_object_list", "send",
)  # fmt: skip
#: Where the tensor stands that a process gives.
GIVEN = {"all_gather_into_tensor": 1}
STEPS = 5
Loss = Callable[[nn.Module, int], torch.Tensor]


@contextlib.contextmanager
def counting() -> Iterator[collections.Counter]:
    """Calls of torch.distributed by name and bytes of the tensor that is given."""
    calls: collections.Counter = collections.Counter()
    own = {name: getattr(dist, name) for name in CALLS}

    def counted(name: str, *words: Any, **more: Any) -> Any:
        given = words[GIVEN.get(name, 0)]
        calls[name, given.nbytes if isinstance(given, torch.Tensor) else -1] += 1
        return own[name](*words, **more)

    for name in CALLS:
        setattr(dist, name, functools.partial(counted, name))
    try:
        yield calls
    finally:
        for name in CALLS:
            setattr(dist, name, own[name])


def expected_calls(buckets: list[dict]) -> collections.Counter:
    """What this process gives: in a tree a rank has a child for each power of two below its lowest bit."""
    rank, world = dist.get_rank(), dist.get_world_size()
    calls: collections.Counter = collections.Counter()
    for bucket in buckets:
        n_bytes = bucket["sent_bytes"]
        if bucket["method"] != "global-top-k":
            calls["all_reduce" if bucket["method"] == "as-is" else "all_gather_into_tensor", n_bytes] += 1
            continue
        lowest = rank & -rank or world
        children = sum(rank + (1 << log) < world for log in range(world.bit_length()) if 1 << log < lowest)
        for name in ("send", "recv"):
            calls[name, n_bytes] += children + (rank > 0)
    return +calls


def everywhere(own: Any) -> list:
    told: list = [None] * dist.get_world_size()
    dist.all_gather_object(told, own)
    return told


def chosen(bucket: dict, held: list[float]) -> dict[int, float]:
    """The largest elements of a bucket, of `layer-wise` those of each tensor."""
    parts = [(len(held), bucket.get("kept", len(held)))]
    if bucket["method"] == "layer-wise":
        parts = [(own["elements"], own["kept"]) for own in bucket["tensors"]]
    found, start = {}, 0
    for elements, kept in parts:
        by_size = sorted(range(start, start + elements), key=lambda at: -abs(held[at]))
        found.update((at, held[at]) for at in by_size[:kept])
        start += elements
    return found


def reference(bucket: dict, held: list[list[float]]) -> tuple[dict[int, float], list[dict[int, float]]]:
    """The sum that is applied, and by process the sums that a tree dropped there."""
    own = [chosen(bucket, each) for each in held]
    dropped: list[dict[int, float]] = [{} for _ in held]
    step = 1
    while bucket["method"] == "global-top-k" and step < len(own):
        for rank in range(0, len(own) - step, 2 * step):
            both = collections.Counter(own[rank])
            for at, value in own[rank + step].items():
                both[at] += value
            by_size = sorted(both, key=lambda at: -abs(both[at]))
            own[rank] = {at: both[at] for at in by_size[: bucket["kept"]]}
            for at in by_size[bucket["kept"] :]:
                dropped[rank][at] = dropped[rank].get(at, 0.0) + both[at]
        step *= 2
    applied: dict[int, float] = {}
    for each in own[:1] if bucket["method"] == "global-top-k" else own:
        for at, value in each.items():
            applied[at] = applied.get(at, 0.0) + value
    return applied, dropped


def flat(bucket: dict, of: dict[str, torch.Tensor]) -> torch.Tensor:
    parts = [of[own["name"]] if own["name"] in of else torch.zeros(own["elements"]) for own in bucket["tensors"]]
    return torch.cat([part.detach().reshape(-1) for part in parts]).double()


def laws(model: nn.Module, table: pathlib.Path, loss_of: Loss, is_reference: bool = False, **arguments: Any) -> str:
    """Steps with what has to hold of each; how far off the sums are at worst."""
    buckets = json.loads(table.read_text(encoding="utf-8"))["buckets"]
    plain = copy.deepcopy(model)
    exchanged = mw.torch.exchange(model, table, **arguments)
    world, rank, worst = dist.get_world_size(), dist.get_rank(), 0.0
    n_sent = 0
    for step in range(STEPS):
        before = exchanged.residuals()
        exchanged.zero_grad()
        plain.zero_grad()
        n_before = dist.group.WORLD._get_sequence_number_for_group()
        with counting() as calls:
            loss_of(exchanged, step).backward()
        n_gloo = dist.group.WORLD._get_sequence_number_for_group() - n_before
        # In its first steps DDP agrees on its buckets.
        assert step < 3 or n_gloo == sum(calls.values()), f"step {step}: {sum(calls.values())} calls, gloo counts {n_gloo}"
        assert calls == expected_calls(buckets), f"step {step}: {dict(calls)}, not {dict(expected_calls(buckets))}"
        n_sent += sum(n_bytes * n for (name, n_bytes), n in calls.items() if name != "recv")
        loss_of(plain, step).backward()
        after = exchanged.residuals()
        dense, applied = ({name: own.grad for name, own in each.named_parameters()} for each in (plain, exchanged.module))
        for bucket in buckets:
            got = flat(bucket, applied)
            for other in everywhere(got):
                assert torch.equal(got, other), f"step {step}: processes have different gradients"
            held = flat(bucket, dense) + flat(bucket, before)
            total, left, scale = held.clone(), flat(bucket, after), held.abs()
            for each in (total, left, scale):
                dist.all_reduce(each)
            off = float((got * world + left - total).abs().max() / scale.max())
            worst = max(worst, off)
            assert off < 1e-6, f"step {step}: applied and left are {off:.1e} off the dense sum"
            if is_reference and bucket["method"] != "as-is":
                compared(bucket, everywhere(held.float().tolist()), got, flat(bucket, after), rank)
        with torch.no_grad():
            for (_, own), (_, other) in zip(exchanged.module.named_parameters(), plain.named_parameters()):
                own -= 0.01 * own.grad
                other.copy_(own)
    rebuilt = exchanged._get_ddp_logging_data()["rebuilt_bucket_sizes"].split(",")
    assert len(rebuilt) == len(list(plain.parameters())), f"parameters come to the hook in buckets of {rebuilt}"
    return f"{sum(everywhere(n_sent))} bytes given in {STEPS} steps, sums {worst:.0e} off"


def compared(bucket: dict, held: list[list[float]], got: torch.Tensor, left: torch.Tensor, rank: int) -> None:
    """What plain Python makes of the same: the elements that go, their mean, what stays."""
    applied, dropped = reference(bucket, held)
    for at, value in enumerate(got.tolist()):
        assert abs(value * len(held) - applied.get(at, 0.0)) <= 1e-6 * max(1.0, abs(value)), f"element {at} of the mean"
        assert (value != 0.0) == (at in applied), f"element {at} is applied or not"
    own = chosen(bucket, held[rank])
    for at, value in enumerate(left.tolist()):
        stays = dropped[rank].get(at, 0.0) + (0.0 if at in own else held[rank][at])
        assert abs(value - stays) <= 1e-6 * max(1.0, abs(stays)), f"element {at} of the residual"
        assert (value != 0.0) == (at not in own or at in dropped[rank]), f"element {at} is sent or not"


def small() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(9, 31), nn.Tanh(), nn.Linear(31, 17, bias=False), nn.Tanh(), nn.Linear(17, 1))


def loss_of_small(model: nn.Module, step: int) -> torch.Tensor:
    """Of data of this process and step."""
    chance = torch.Generator().manual_seed(1000 * step + dist.get_rank())
    x, y = torch.randn(8, 9, generator=chance), torch.randn(8, 1, generator=chance)
    return nn.functional.mse_loss(model(x), y)


def row(method: str, tensors: list[tuple[str, int]], density: float) -> dict:
    """A bucket of a table."""
    kept = [max(1, int(density * elements)) for _, elements in tensors]
    total = sum(elements for _, elements in tensors)
    rows: list[dict] = [{"name": name, "elements": elements} for name, elements in tensors]
    if method == "as-is":
        return {"method": method, "bytes": 4 * total, "sent_bytes": 4 * total, "tensors": rows}
    if method == "layer-wise":
        rows = [{**own, "kept": each} for own, each in zip(rows, kept)]
    return {"method": method, "bytes": 4 * total, "kept": sum(kept), "sent_bytes": 8 * sum(kept), "tensors": rows}


def table_of(model: nn.Module, methods: list[str], density: float = 0.1) -> dict:
    """Parameters dealt to a bucket of each method: buckets are no neighbours in the backward pass."""
    sizes = [(name, own.numel()) for name, own in model.named_parameters()]
    buckets = [row(method, sizes[at :: len(methods)], density) for at, method in enumerate(methods)]
    return {"format": "meshwright-gradient-exchange", "version": 1, "replicas": dist.get_world_size(), "buckets": buckets}


def written(folder: pathlib.Path, table: Any) -> pathlib.Path:
    path = folder / f"table-{dist.get_rank()}.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table), encoding="utf-8")
    return path


def method(folder: pathlib.Path, methods: list[str], **arguments: Any) -> str:
    model = small()
    return laws(model, written(folder, table_of(model, methods)), loss_of_small, True, **arguments)


def overlapped(folder: pathlib.Path) -> str:
    """The last process begins once the first is through its backward pass but for the first layer: nothing
    but a tree may wait for others there.
    """
    sizes = [(name, own.numel()) for name, own in small().named_parameters()]
    for name in ("as-is", "top-k", "layer-wise"):
        model, through = small(), folder / f"through-{name}"
        table = {**table_of(model, [name]), "buckets": [row(name, [own], 0.1) for own in sizes]}
        exchanged = mw.torch.exchange(model, written(folder, table))
        # In the first step DDP hands over all gradients at once.
        loss_of_small(exchanged, 0).backward()
        if dist.get_rank() == 0:
            model[0].weight.register_hook(lambda _, through=through: through.touch())
        loss = loss_of_small(exchanged, 1)
        until = time.monotonic() + 10.0
        while dist.get_rank() + 1 == dist.get_world_size() and not through.exists():
            if time.monotonic() > until:
                break
            time.sleep(0.01)
        is_through = through.exists()
        loss.backward()
        assert is_through or dist.get_rank() + 1 < dist.get_world_size(), f"{name} waits for others in the backward pass"
    return "the backward pass goes on"


class Named(nn.Module):
    """Parameters of one dimension under any names."""

    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__()
        for name, elements in sizes.items():
            place: nn.Module = self
            *inside, last = name.split(".")
            for each in inside:
                if not hasattr(place, each):
                    place.add_module(each, nn.Module())
                place = getattr(place, each)
            place.register_parameter(last, nn.Parameter(torch.zeros(elements)))

    def forward(self, step: int) -> torch.Tensor:
        # The gradient of each is what it is multiplied by.
        chance = torch.Generator().manual_seed(1000 * step + dist.get_rank())
        parts = [own @ torch.randn(own.numel(), generator=chance) for own in self.parameters()]
        return torch.stack(parts).sum()


def check_table(path: pathlib.Path) -> str:
    """Bytes, sums and equal gradients with any table of as many replicas as there are processes."""
    buckets = json.loads(path.read_text(encoding="utf-8"))["buckets"]
    sizes = {own["name"]: own["elements"] for bucket in buckets for own in bucket["tensors"]}
    return laws(Named(sizes), path, lambda model, step: model(step))


def accumulated(folder: pathlib.Path) -> str:
    """Two passes with `no_sync` before the one that is exchanged: their sum is."""

    def passes(model: nn.Module, step: int) -> torch.Tensor:
        with model.no_sync() if hasattr(model, "no_sync") else contextlib.nullcontext():
            for at in (1, 2):
                loss_of_small(model, 100 * at + step).backward()
        return loss_of_small(model, step)

    model = small()
    with_all = written(folder, table_of(model, list(METHODS)))
    return laws(model, with_all, passes)


def odd_gradients(folder: pathlib.Path) -> str:
    """Zeros pass; what is not finite is seen everywhere and gone a step later."""
    model = small()
    exchanged = mw.torch.exchange(model, written(folder, table_of(model, list(METHODS))))
    for step, factor in enumerate((1.0, 0.0, float("nan") if dist.get_rank() else 1.0, 1.0, 0.0)):
        exchanged.zero_grad()
        (loss_of_small(exchanged, step) * factor).backward()
        is_finite = [bool(own.grad.isfinite().all()) for own in model.parameters()]
        assert any(is_finite) == all(is_finite) == (step != 2), f"step {step}: {is_finite}"
        assert all(bool(own.isfinite().all()) for own in exchanged.residuals().values()), f"step {step}: residuals"
    return "0 and NaN"


def resumed(folder: pathlib.Path) -> str:
    """A regression that is stopped half-way and goes on from what was saved."""
    chance = torch.Generator().manual_seed(7 + dist.get_rank())
    x = torch.randn(64, 9, generator=chance)
    y = x[:, :1] - 0.5 * x[:, 1:2] * x[:, 2:3]
    told = []
    for name in METHODS[1:]:
        path = written(folder, table_of(small(), [name], 0.05))

        def trained(exchanged: nn.Module, n: int) -> list[float]:
            losses = []
            for _ in range(n):
                exchanged.zero_grad()
                loss = nn.functional.mse_loss(exchanged(x), y)
                loss.backward()
                with torch.no_grad():
                    for own in exchanged.parameters():
                        own -= 0.05 * own.grad
                losses.append(loss.item())
            return [sum(each) / len(each) for each in zip(*everywhere(losses))]

        first = mw.torch.exchange(small(), path)
        trained(first, 100)
        saved = folder / f"saved-{dist.get_rank()}.pt"
        torch.save({"model": first.module.state_dict(), "residuals": first.residuals()}, saved)
        ahead = trained(first, 200)
        losses = {}
        for is_whole in (True, False):
            state, model = torch.load(saved), small()
            model.load_state_dict(state["model"])
            again = mw.torch.exchange(model, path)
            if is_whole:
                again.load_residuals(state["residuals"])
            losses[is_whole] = trained(again, 200)
        assert losses[True] == ahead, f"{name}: from saved residuals {losses[True][-1]}, not {ahead[-1]}"
        assert losses[False] != ahead, f"{name}: residuals change nothing"
        assert ahead[-1] < 0.5 * ahead[0], f"{name}: loss {ahead[0]:.3f}, at the end {ahead[-1]:.3f}"
        told.append(f"{name} {ahead[0]:.3f} to {ahead[-1]:.3f}")
    return f"losses go on to the bit: {', '.join(told)}"


def bad_tables(good: dict) -> list[tuple[str, str]]:
    """What is no table of this model, and what the refusal names."""

    def changed(change: Callable[[dict], object]) -> str:
        own = copy.deepcopy(good)
        change(own)
        return json.dumps(own)

    def of(at: int, **members: Any) -> str:
        return changed(lambda own: own["buckets"][at].update(members))

    def tensor(at: int, **members: Any) -> str:
        return changed(lambda own: own["buckets"][at]["tensors"][0].update(members))

    huge = [{"name": "huge", "elements": 2**31}]
    return [
        (changed(lambda own: own["buckets"].pop(2)), "misses `2.weight`"),
        (tensor(0, name="other"), "unknown `other`"),
        (changed(lambda own: own["buckets"].append(row("as-is", [("0.bias", 32)], 1))), "`0.bias`"),
        (changed(lambda own: own["buckets"].append(row("as-is", [("more", 1)], 1))), "unknown `more`"),
        (changed(lambda own: own["buckets"].__setitem__(2, row("top-k", [("2.weight", 99)], 0.1))), "size of `2.weight`"),
        (tensor(0, elements=3), "`bytes` of buckets[0]"),
        (tensor(0, elements=True), "`elements`"),
        (of(2, kept=0), "`kept` of buckets[2]"),
        (of(2, kept=10**6), "`kept` of buckets[2]"),
        (of(2, kept=1.5), "`kept` of buckets[2]"),
        (of(1, kept=1), "`kept` of buckets[1]"),
        (tensor(1, kept=0), "`kept` of buckets[1].tensors[0]"),
        (of(0, kept=1), "`kept` is no member"),
        (of(2, sent_bytes=9), "`sent_bytes` of buckets[2]"),
        (of(0, sent_bytes=8), "`sent_bytes` of buckets[0]"),
        (of(2, method="two-way"), "method `two-way`"),
        (of(2, method=["top-k"]), "`method` of buckets[2]"),
        (of(2, tensors=[]), "`tensors` of buckets[2]"),
        (of(0, bytes=2**33, sent_bytes=2**33, tensors=huge), "2^31"),
        (of(2, density=0.1), "`density`"),
        (tensor(2, kept=1), "`kept` is no member of buckets[2].tensors[0]"),
        (changed(lambda own: own["buckets"][2].pop("kept")), "no `kept`"),
        (changed(lambda own: own.update(replicas=64)), "`replicas`"),
        (changed(lambda own: own.update(replicas="2")), "`replicas`"),
        (changed(lambda own: own.update(version=2)), "`version`"),
        (changed(lambda own: own.update(format="other")), "`format`"),
        (changed(lambda own: own.update(samples=1)), "`samples`"),
        (changed(lambda own: own.update(buckets={})), "`buckets`"),
        ('{"format": 1, "format": 2}', "twice"),
        (json.dumps(good)[:-1], "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no object"),
        ("\udcff", "no JSON"),
    ]


def hostile(folder: pathlib.Path) -> str:
    """Tables and arguments that are refused by name."""
    good = table_of(small(), ["as-is", "layer-wise", "top-k", "global-top-k"])
    arguments = {"find_unused_parameters": True, "bucket_cap_mb": 25, "mixed_precision": 1}
    cases: list[tuple[str, str, nn.Module, dict]] = [(text, what, small(), {}) for text, what in bad_tables(good)]
    cases += [(json.dumps(good), name, small(), {name: value}) for name, value in arguments.items()]
    cases += [(json.dumps(good), "`0.weight`", small().double(), {})]
    # What differs by process is refused on all.
    is_first = dist.get_rank() == 0
    cases.append((json.dumps(good, indent=2 if is_first else None), "different tables", small(), {}))
    cases.append((json.dumps({**good, "version": 2} if is_first else good), "`version`", small(), {}))
    path = folder / f"table-{dist.get_rank()}.json"
    for text, what, model, more in cases:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        refused_by(what, functools.partial(mw.torch.exchange, model, path, **more))
    refused_by("read", lambda: mw.torch.exchange(small(), folder / "none.json"))
    exchanged = mw.torch.exchange(small(), written(folder, good))
    saved = exchanged.residuals()
    refused_by("misses", lambda: exchanged.load_residuals(dict(list(saved.items())[1:])))
    refused_by("unknown `x`", lambda: exchanged.load_residuals({**saved, "x": torch.zeros(1)}))
    return f"{len(cases) + 3} by name"


def refused_by(what: str, ask: Callable[[], object]) -> None:
    try:
        ask()
    except mw.MeshwrightError as error:
        assert isinstance(error, ValueError) and what in error.message, f"not by {what}: {error}"
    else:
        raise AssertionError(f"{what} is not refused")


def checks_of(world: int, tables: list[pathlib.Path]) -> list[tuple[str, Callable[[pathlib.Path], str]]]:
    checks: list[tuple[str, Callable[[pathlib.Path], str]]] = [
        (name, functools.partial(method, methods=[name])) for name in METHODS
    ]  # fmt: skip
    checks.append(("all methods", functools.partial(method, methods=list(METHODS))))
    checks.append(("all methods, gradients as views", functools.partial(method, methods=list(METHODS), gradient_as_bucket_view=True)))
    checks += [("no_sync", accumulated), ("odd gradients", odd_gradients)]
    if world == 2:
        checks.append(("all methods, static graph", functools.partial(method, methods=list(METHODS), static_graph=True)))
        checks += [("overlap", overlapped), ("hostile tables", hostile), ("resumed", resumed)]
    return checks + [(path.stem, lambda folder, path=path: check_table(path)) for path in tables]


def process(rank: int, world: int, folder: pathlib.Path, tables: list[pathlib.Path]) -> None:
    """All checks on one process; the first tells those of all."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group-{world}", rank=rank, world_size=world)
    failed = 0
    for name, check in checks_of(world, tables):
        said, is_whole = "", True
        try:
            said = check(folder)
        except AssertionError as error:
            # At once: where others wait in another call, this may end with all processes.
            is_whole = False
            print(f"FAIL {world} processes, {name}: rank {rank}: {error}", flush=True)
        is_whole = all(everywhere(is_whole))
        failed += not is_whole
        if rank == 0 and is_whole:
            print(f"PASS {world} processes, {name}: {said}", flush=True)
    dist.destroy_process_group()
    if failed:
        sys.exit(1)


TENSORS = {
    "head.weight": 40_000, "body.1.weight": 400_000, "body.1.bias": 80_000, "body.0.weight": 120_000,
    "body.0.bias": 40_000, "stem.weight": 240_000,
}  # fmt: skip
LINK = {"latency_s": 5e-5, "bytes_per_s": 1e6}


def exported(meshwright: pathlib.Path, folder: pathlib.Path) -> list[pathlib.Path]:
    """A table of each method, of plans for a link so slow that it binds; each says what its plan does."""
    tables = []
    for name in METHODS:
        instance, plan, table = (folder / f"{name}.{kind}.json" for kind in ("instance", "plan", "table"))
        gradients = [{"name": own, "bytes": n_bytes, "ready_s": 0.02 * (at + 1)} for at, (own, n_bytes) in enumerate(TENSORS.items())]
        lossy = [] if name == "as-is" else [{"by": name, "density": 0.01, **LINK, "software_s_per_element": 3e-10}]
        document = {"replicas": 2, "forward_s": 0.05, "gradients": gradients, "exchange": [{"by": "all-reduce", **LINK}]}
        instance.write_text(json.dumps({**document, **({"lossy": lossy} if lossy else {})}), encoding="utf-8")
        allowed = ["--allow-lossy", name] if lossy else []
        for words in (
            ["plan", instance, *allowed, "-o", plan],
            ["export", plan, "--model", instance, "--target", "torch-hook", "-o", table],
        ):
            done = subprocess.run([str(word) for word in [meshwright, *words]], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{name}: {words[0]} exits with {done.returncode}\n{done.stdout}{done.stderr}"
        planned = json.loads(plan.read_text(encoding="utf-8"))["communication"]["buckets"]
        told = json.loads(table.read_text(encoding="utf-8"))["buckets"]
        as_planned = [{"lossy": own["method"], **own, "tensors": [each["name"] for each in own["tensors"]]} for own in told]
        for own, bucket in zip(as_planned, planned):
            del own["method"]
            if own["lossy"] == "as-is":
                assert own["sent_bytes"] == own["bytes"], own
                del own["lossy"], own["sent_bytes"]
            assert own == bucket, f"{name}: the table has {own}, the plan {bucket}"
        assert len(told) == len(planned), f"{name}: {len(told)} buckets, the plan has {len(planned)}"
        assert any(own["method"] == name for own in told), f"{name}: no bucket goes so"
        tables.append(table)
    return tables


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meshwright", type=pathlib.Path)
    meshwright = parser.parse_args().meshwright
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tables: list[pathlib.Path] = []
        if meshwright is not None:
            try:
                tables = exported(meshwright.resolve(), folder)
                print(f"PASS {len(tables)} exported tables are those of their plans", flush=True)
            except AssertionError as error:
                failed = True
                print(f"FAIL exported tables: {error}", flush=True)
        for world in (2, 3):
            words = (world, folder, tables if world == 2 else [])
            try:
                torch.multiprocessing.spawn(process, words, nprocs=world)
            except Exception as error:  # noqa: BLE001  (a process ends however it ends)
                failed = True
                print(f"FAIL {world} processes: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
