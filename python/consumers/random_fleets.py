"""Random fleets of serving workers, planned for an engine and exported to it."""

from __future__ import annotations

import json
import pathlib
import random
import subprocess

DENSE = {
    "model_type": "llama", "vocab_size": 32_000, "max_position_embeddings": 32_768, "tie_word_embeddings": False,
}  # fmt: skip
# Hidden size, width, heads, key and value heads, layers.
SIZES = [
    (2048, 8192, 16, 8, 16), (4096, 14_336, 32, 8, 32), (4096, 11_008, 32, 32, 32), (5120, 17_408, 40, 8, 40),
    (8192, 28_672, 64, 8, 80),
]  # fmt: skip
EXPERTS = {
    "model_type": "qwen3_moe", "vocab_size": 151_936, "max_position_embeddings": 40_960, "num_experts": 128,
    "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": [], "head_dim": 128,
    "tie_word_embeddings": False,
}  # fmt: skip
# Hidden size, width of an expert, heads, key and value heads, layers.
MIXED = [(2048, 768, 32, 4, 48), (4096, 1536, 64, 4, 94)]
# Engines of targets that start other software's servers, and say what they cannot state.
ENGINES = {"dynamo": "vllm", "llm-d": "vllm"}
KINDS = [("h100_sxm5_80gb", "nvlink4"), ("h200_sxm5_141gb", "nvlink4"), ("a100_sxm4_80gb", "nvlink3")]


def model(rng: random.Random) -> tuple[str, dict]:
    """A config and the kind of its model."""
    if rng.random() < 0.4:
        hidden, width, heads, kv_heads, layers = rng.choice(MIXED)
        kind, base = "experts", EXPERTS | {"moe_intermediate_size": width, "intermediate_size": 3 * width}
    else:
        hidden, width, heads, kv_heads, layers = rng.choice(SIZES)
        kind, base = "dense", DENSE | {"intermediate_size": width}
    sizes = {"hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
    return kind, base | sizes | {"num_hidden_layers": layers}


def cluster(rng: random.Random) -> str:
    """Hosts of one or two kinds."""
    text = "name: fleet\nnodes:\n"
    for device, link in rng.sample(KINDS, rng.choice([1, 1, 1, 2])):
        n, devices = rng.choice([1, 2, 4]), rng.choice([2, 4, 8, 8])
        text += f"  - {{count: {n}, device: {device}, devices: {devices}, scaleup: {link}, "
        text += f"host: pcie5_x16, nics: {devices}}}\n"
    return text + "network: {link: ib_ndr_400}\n"


def flags(rng: random.Random) -> list[str]:
    """Traffic, promises and limits."""
    words = ["--input-tokens", str(rng.choice([200, 1000, 4000])), "--output-tokens", str(rng.choice([50, 300, 1000]))]
    words += ["--tpot", rng.choice(["20ms", "50ms", "100ms"])]
    words += rng.choice([[], ["--ttft", "1s"], ["--ttft", "3s", "--percentile", "90"]])
    words += rng.choice([[], [], ["--rate", str(rng.choice([0.5, 3, 10, 40]))]])
    words += rng.choice([[], [], ["--mode", "aggregated"], ["--mode", "disaggregated"]])
    return words + rng.choice([[], [], ["--kv-dtype", "fp8"]])


def plans(meshwright: str, target: str, n: int, folder: pathlib.Path, seed: int = 1):
    """Yields (plan, script, model, cluster) of so many fleets that were found and exported."""
    rng, made = random.Random(seed), 0
    name = target.split("@")[0]
    engine = ENGINES.get(name, name)
    for case in range(20 * n):
        if made == n:
            return
        kind, config = model(rng)
        path, nodes = folder / f"{kind}-{case}.json", folder / f"{case}.yaml"
        path.write_text(json.dumps(config), encoding="utf-8")
        nodes.write_text(cluster(rng), encoding="utf-8")
        plan, file = folder / f"plan-{case}.json", folder / f"{case}.{target}"
        margin = rng.choice([[], [], ["--memory-margin", "15%"]]) if engine == "vllm" else []
        command = [meshwright, "infer", str(path), "--cluster", str(nodes), "--for", engine, *flags(rng), *margin]
        command += ["--dtype", "bf16", "--deterministic", "-o", str(plan), "--force"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode in (4, 5):  # No fleet: none is possible, or none was found.
            continue
        if done.returncode != 0:
            raise SystemExit(f"not planned: {' '.join(command)}\n{done.stderr}")
        command = [meshwright, "export", str(plan), "--model", str(path), "--cluster", str(nodes)]
        command += ["--target", name, "-o", str(file), "--force"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if name in ENGINES and "cannot-express" in done.stderr:
            continue
        if done.returncode != 0:
            raise SystemExit(f"planned for {target}, but not exported: {done.stderr}")
        made += 1
        yield plan, file, path, nodes
