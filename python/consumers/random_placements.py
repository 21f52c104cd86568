"""Random placements of inference on one host, planned for a server and exported to it."""

from __future__ import annotations

import json
import pathlib
import random
import subprocess

CONFIG = {
    "model_type": "llama", "hidden_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 4,
    "intermediate_size": 4096, "vocab_size": 2000, "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}  # fmt: skip
# Weights of a layer and of an end, in the type of the run.
LAYER_BYTES = 2 * (2 * 1024 * 1024 + 2 * 1024 * 512 + 3 * 1024 * 4096)
END_BYTES = 2 * 1024 * 2000

HOST = """\
name: host
context_bytes: 0
reserve_bytes: 0
devices:
"""


def cluster(rng: random.Random, n_layers: int) -> str:
    """GPUs of which each holds another number of layers, so that the model needs several."""
    text, left, at = HOST, n_layers + rng.randint(0, 2), 0
    while left > 0:
        n = min(left, rng.randint(1, max(1, n_layers // 3)))
        n_bytes = n * LAYER_BYTES + 2 * END_BYTES + LAYER_BYTES // 2
        text += f"  - {{id: gpu{at}, kind: a100_sxm4_80gb, node: host, memory_bytes: {n_bytes}}}\n"
        left, at = left - n, at + 1
    pairs = [(a, b) for a in range(at) for b in range(a + 1, at)]
    links = [f"  - {{between: [gpu{a}, gpu{b}], link: nvlink3}}\n" for a, b in pairs]
    return text + ("links:\n" + "".join(links) if links else "")


def plans(meshwright: str, target: str, n: int, folder: pathlib.Path, seed: int = 1):
    """Yields (plan, script, model) of so many placements that were found and exported."""
    rng = random.Random(seed)
    made = 0
    for case in range(20 * n):
        if made == n:
            return
        layers = rng.randint(3, 12)
        model, nodes = folder / f"llama-{case}.json", folder / f"{case}.yaml"
        model.write_text(json.dumps(CONFIG | {"num_hidden_layers": layers}), encoding="utf-8")
        nodes.write_text(cluster(rng, layers), encoding="utf-8")
        plan, file = folder / f"plan-{case}.json", folder / f"{case}.{target}"
        on = [str(model), "--cluster", str(nodes)]
        command = [
            meshwright, "plan", *on, "--dim", "sequence=128", "--dtype", "bf16", "--time-limit", "2s",
            "--for", target, "-o", str(plan), "--force",
        ]  # fmt: skip
        if target.split("@")[0] in ("vllm", "sglang"):
            command.append("--pipeline-only")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            continue
        command = [meshwright, "export", str(plan), "--model", *on, "--target", target]
        command += ["-o", str(file), "--force"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"planned for {target}, but not exported: {done.stderr}")
        made += 1
        yield plan, file, model
