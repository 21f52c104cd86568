"""Random plans of training runs, planned and exported by the command line, for the checks of consumers."""

from __future__ import annotations

import json
import pathlib
import random
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "examples/clusters/pod-1024.yaml"
MODELS = ["llama-2-70b", "qwen3-30b-a3b", "deepseek-v3"]
# Small ones, which a consumer compiles here for so many devices.
WIDTHS = {
    "hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8,
    "intermediate_size": 128, "vocab_size": 256, "max_position_embeddings": 32,
}  # fmt: skip
SMALL = {
    "llama": WIDTHS | {"model_type": "llama"},
    "mistral": WIDTHS | {"model_type": "mistral", "sliding_window": None},
    "qwen3": WIDTHS | {"model_type": "qwen3", "tie_word_embeddings": True},
    "qwen2": WIDTHS | {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3-moe": WIDTHS | {"model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2,
                           "moe_intermediate_size": 48},
    "gpt2": {"model_type": "gpt2", "n_embd": 64, "n_head": 8, "vocab_size": 319, "n_positions": 32},
    "deepseek": WIDTHS | {"model_type": "deepseek_v3", "num_key_value_heads": 8, "q_lora_rank": 32,
                          "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4,
                          "v_head_dim": 8, "moe_intermediate_size": 48, "n_routed_experts": 8,
                          "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
                          "num_nextn_predict_layers": 0},
}  # fmt: skip
COMPILED = {"jax"}
RECOMPUTE = {
    "megatron": ["none", "selective", "full", "alike", "fitted"],
    "torchtitan": ["none", "per-op", "full"],
    "deepspeed": ["none", "full"],
    "huggingface": ["none", "full"],
    "galvatron": ["none", "full", "fitted"],
}
RECOMPUTE["jax"] = ["none", "selective", "full"]
RECOMPUTE["megatron-bridge"] = RECOMPUTE["megatron"]
ZERO = {
    "megatron": [0, 1, 1, 2, 3],
    "torchtitan": [0, 2, 3, 3],
    "deepspeed": [0, 1, 1, 2, 3],
    "jax": [0, 1, 2, 3, 3],
    "megatron-bridge": [0, 1, 1, 2, 3],
    "huggingface": [0, 2, 3, 3],
    "galvatron": [0, 2, 3, 3],
}
TYPES = {
    "megatron": ["bf16", "bf16", "fp8", "fp16"],
    "torchtitan": ["bf16", "bf16", "fp32"],
    "deepspeed": ["bf16", "bf16", "fp16", "fp32"],
    "jax": ["bf16", "bf16", "fp16", "fp32"],
    "megatron-bridge": ["bf16", "bf16", "fp8", "fp16"],
    "huggingface": ["bf16", "bf16", "fp32"],
    "galvatron": ["bf16"],
}
# Pipeline ranks are the outermost axis of their meshes.
OUTERMOST = {"torchtitan", "deepspeed", "huggingface", "galvatron", "jax"}
# What they have one of.
ALONE = {
    "deepspeed": {"context": 1, "expert": 1},
    "galvatron": {"context": 1, "expert": 1},
    "huggingface": {"pipeline": 1, "expert": 1},
    "jax": {"pipeline": 1, "context": 1},
}
MODELS_OF = {"galvatron": MODELS[:2], "huggingface": MODELS[:2]}


def name_of(target: str) -> str:
    """`megatron` of `megatron@0.20`."""
    return target.split("@")[0]


def pins(rng: random.Random, has_experts: bool, target: str) -> dict[str, object]:
    """What a user might fix: a degree or setting of each kind, some left free."""
    is_titan, alone = target == "torchtitan", ALONE.get(target, {})

    def degree(axis: str, choices: list[int]) -> int:
        return alone[axis] if axis in alone else rng.choice(choices)

    chosen: dict[str, object] = {
        "tensor": rng.choice([1, 2, 4, 8]),
        "pipeline": degree("pipeline", [1, 2, 4, 8]),
        "context": degree("context", [1, 1, 1, 2, 4]),
        "expert": degree("expert", [1, 2, 4, 8]) if has_experts else 1,
        "micro-batch": rng.choice([1, 1, 2, 4]),
        "zero": rng.choice(ZERO[target]),
        "recompute": rng.choice(RECOMPUTE[target]),
        "mesh": rng.choice(["data-inside", "pipeline-inside"][: 2 - (target in OUTERMOST)]),
        "sequence-parallel": rng.choice(["on", "on", "off"]),
    }
    if chosen["pipeline"] != 1 and target not in ALONE:
        chosen["virtual-stages"] = rng.choice([1, 1, 2, 4])
        if is_titan:
            chosen["schedule"] = rng.choice(["1f1b", "gpipe", "interleaved", "zb-v", "breadth-first"])
            del chosen["virtual-stages"]
    return {key: value for key, value in chosen.items() if rng.random() < 0.85}


def model_of(rng: random.Random, target: str) -> tuple[str, dict]:
    """A model's name and config, with few layers, so that most degrees fit."""
    if target in COMPILED:
        name = rng.choice(sorted(SMALL))
        return name, SMALL[name] | {"num_hidden_layers": 2}
    name = rng.choice(MODELS_OF.get(target, MODELS))
    config = json.loads((ROOT / f"examples/models/{name}.json").read_text(encoding="utf-8"))
    return name, config | {"num_hidden_layers": rng.choice([8, 12, 16])}


def batch_of(rng: random.Random, target: str) -> list[str]:
    """Devices, samples of a step and tokens of a sample."""
    small = target in COMPILED
    devices, samples = ([8], [16, 32]) if small else ([32, 64, 128], [256, 512])
    told = ["--devices", rng.choice(devices), "--global-batch", rng.choice(samples)]
    return [str(word) for word in [*told, "--sequence-length", 32 if small else 4096]]


def plans(meshwright: str, target: str, n: int, folder: pathlib.Path, seed: int = 1):
    """Yields (plan, exported file, model, cluster) of so many plans that were found and exported. A file
    that names a schedule's CSV has it beside it, with `.csv` behind its name.

    A pin that leaves nothing, or nothing that fits, is no plan. A plan made for a target that its export
    then refuses is an error.
    """
    rng = random.Random(seed)
    made = 0
    for case in range(20 * n):
        if made == n:
            return
        name, config = model_of(rng, name_of(target))
        model = folder / f"{name}-{case}.json"
        model.write_text(json.dumps(config), encoding="utf-8")
        own = pins(rng, any("expert" in key for key in config), name_of(target))
        plan, file = folder / f"{case}.json", folder / f"{case}.{target}"
        on = ["--cluster", str(CLUSTER)]
        command = [
            meshwright, "plan", str(model), *on, *batch_of(rng, name_of(target)),
            "--for", name_of(target), "--dtype", rng.choice(TYPES[name_of(target)]),
            "--time-limit", "3s", "-o", str(plan), "--force",
            *[word for key, value in own.items() for word in ("--pin", f"{key}={value}")],
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not plan.exists():
            continue
        command = [meshwright, "export", str(plan), "--model", str(model), *on]
        command += ["--target", target, "-o", str(file), "--force"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"planned for {target}, but not exported: {own}\n{done.stderr}")
        if "schedule_csv" in file.read_text(encoding="utf-8"):
            command[command.index("--target") + 1 :] = ["torch-pipelining", "-o", f"{file}.csv", "--force"]
            subprocess.run(command, capture_output=True, check=True)
        made += 1
        yield plan, file, model, CLUSTER
