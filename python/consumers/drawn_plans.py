"""Plans of training runs that no search made: degrees, cuts, recompute and types are drawn at random, and
the command line exports those that the model allows and the target can say. Memory is ample."""

from __future__ import annotations

import collections
import json
import pathlib
import random
import subprocess

from dumped_plan import document
from random_plans import MODELS, OUTERMOST, ROOT, TYPES, ZERO, name_of

RECOMPUTE = {
    "megatron": ["none", "selective", "full", "block", "uniform"],
    "torchtitan": ["none", "per-op", "full"],
    "deepspeed": ["none", "full"],
}
STACKS = {
    "megatron": ["megatron-core", "megatron-core", "megatron-bridge", "megatron-bridge-mxfp8"],
    "torchtitan": ["torchtitan", "torchtitan-eager", "torchtitan-async-tp"],
    "deepspeed": ["megatron-deepspeed-2021"],
}
OFFLOADS = {"megatron", "deepspeed"}


def parts(rng: random.Random, n_layers: int, n_stages: int) -> list[int]:
    """Layers of each stage, at least one."""
    cuts = sorted(rng.sample(range(1, n_layers), n_stages - 1))
    return [b - a for a, b in zip([0, *cuts], [*cuts, n_layers])]


def row(rank: int, n_ranks: int, n_chunks: int, n: int, together: bool = False) -> list[str]:
    """1F1B, interleaved where chunks are several (Narayanan et al. 2021, figure 4); one forward pass further
    ahead where passes of several chunks run together."""
    groups = [range(at, min(at + n_ranks, n)) for at in range(0, n, n_ranks)]
    forward = [(chunk, i) for group in groups for chunk in range(n_chunks) for i in group]
    ahead = n_ranks - rank - 1
    if n_chunks > 1:
        ahead = 2 * ahead + (n_chunks - 1) * n_ranks + int(together)
    ahead = min(ahead, len(forward))
    f = [f"{chunk * n_ranks + rank}F{i}" for chunk, i in forward]
    b = [f"{(n_chunks - 1 - chunk) * n_ranks + rank}B{i}" for chunk, i in forward]
    steady = [cell for pair in zip(f[ahead:], b) for cell in pair]
    return f[:ahead] + steady + b[len(f) - ahead :]


def drawn(rng: random.Random, target: str, base: dict) -> tuple[dict, str]:
    """A run in the words of `dumped_plan.py`, and the name of its schedule."""
    pipeline = rng.choice([1, 2, 4, 8])
    has_chunks = pipeline > 1 and target != "deepspeed"
    has_experts = base["training"]["held"][0]["n_experts"] > 0
    # Megatron-Core wants chunks for it, more micro-batches than fill the pipeline, and no block again.
    overlaps = target == "megatron" and has_experts and rng.random() < 0.4
    chunks = rng.choice([2, 3] if overlaps else [1, 1, 2, 3]) if has_chunks else 1
    n = pipeline * rng.choice([1, 2, 3]) if chunks > 1 else pipeline + rng.choice([0, 1, 5])
    n = max(n, 2 * pipeline) if overlaps else n
    recompute = rng.choice(["none", "selective"] if overlaps else RECOMPUTE[target])
    if recompute in ("block", "uniform"):
        recompute = {recompute: rng.choice([2, 3])}
    n_layers = base["training"]["n_blocks"]
    n_stages = min(pipeline * chunks, n_layers)
    with_others = target != "deepspeed"
    expert = rng.choice([2, 4, 8] if overlaps else [1, 2, 4, 8]) if with_others and has_experts else 1
    run = {
        "data": rng.choice([1, 2, 4, 8]),
        "tensor": rng.choice([1, 2, 4, 8]),
        "pipeline": pipeline,
        "context": rng.choice([1, 1, 2, 4]) if with_others else 1,
        "expert": expert,
        "expert_overlap": overlaps,
        "virtual_stages": chunks,
        "micro_batch": rng.choice([1, 2, 3]),
        "n_micro_batches": n,
        "sequence_length": base["training"]["sequence_length"],
        "sequence_parallel": rng.random() < 0.7,
        "zero": rng.choice(ZERO[target]),
        "pipeline_inside": target not in OUTERMOST and rng.random() < 0.3,
        "recompute": recompute,
        "blocks": parts(rng, n_layers, n_stages),
        "dtype": rng.choice(TYPES[target]),
        "optimizer": rng.choice(["adamw", "adamw", "sgd"]) if target != "torchtitan" else "adamw",
        "offloads": target in OFFLOADS and rng.random() < 0.2,
        "stack": rng.choice(STACKS[target]),
        "order": [row(rank, pipeline, chunks, n, overlaps) for rank in range(pipeline)],
    }
    return run, "interleaved" if chunks > 1 else "1f1b"


def bases(meshwright: str, folder: pathlib.Path, cluster: pathlib.Path) -> dict[pathlib.Path, dict]:
    """Of each model with few layers some plan, which names model and cluster."""
    found = {}
    for name in MODELS:
        config = json.loads((ROOT / f"examples/models/{name}.json").read_text(encoding="utf-8"))
        for n, length in ((8, 2048), (16, 4096), (24, 8192)):
            model, plan = folder / f"{name}-{n}.json", folder / f"{name}-{n}.plan"
            model.write_text(json.dumps({**config, "num_hidden_layers": n}), encoding="utf-8")
            command = [
                meshwright, "plan", str(model), "--cluster", str(cluster), "--devices", "8",
                "--global-batch", "64", "--sequence-length", str(length), "--for", "any", "--node-budget", "1",
                "--pin", "zero=0", "-o", str(plan), "--force",
            ]  # fmt: skip
            subprocess.run(command, capture_output=True, check=True)
            found[model] = json.loads(plan.read_text(encoding="utf-8"))
    return found


def plans(meshwright: str, target: str, n: int, folder: pathlib.Path, seed: int = 1):
    """Yields (plan, exported file, model, flags that name model and cluster) of so many plans."""
    cluster = folder / "cluster.yaml"
    text = (ROOT / "examples/clusters/pod-1024.yaml").read_text(encoding="utf-8")
    ample = "devices: 8, memory_bytes: 16TB, host_memory_bytes: 90TB,"
    cluster.write_text(text.replace("devices: 8,", ample), encoding="utf-8")
    rng, known = random.Random(seed), bases(meshwright, folder, cluster)
    refused: collections.Counter[str] = collections.Counter()
    made = 0
    while made < n and sum(refused.values()) < 40 * n + 40:
        model = rng.choice(list(known))
        run, schedule = drawn(rng, name_of(target), known[model])
        if len(run["blocks"]) != run["pipeline"] * run["virtual_stages"]:
            continue
        plan, file = folder / f"{made}.json", folder / f"{made}.{target}"
        own = document(run, known[model])
        own["training"]["schedule"] = schedule
        plan.write_text(json.dumps(own), encoding="utf-8")
        command = [meshwright, "export", str(plan), "--model", str(model), "--cluster", str(cluster)]
        command += ["--target", target, "-o", str(file), "--force"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            refused[done.stderr[:70]] += 1
            continue
        made += 1
        yield plan, file, model, cluster
    (folder / "refused.txt").write_text("\n".join(f"{n} x {why}" for why, n in refused.most_common()))
