#!/usr/bin/env python3
"""What Megatron Bridge makes of our overrides, by Hydra's own parser and the fields of its dataclasses.

    MEGATRON_LM=FOLDER python megatron_bridge.py FOLDER FILE.overrides PLAN.json [...]

FOLDER holds Bridge's source; its classes rest on Megatron-LM's, which MEGATRON_LM names. They are read
with `ast`, as importing them needs devices. Prints one JSON document per pair: `differences` from the
plan, which is read from its JSON alone, and keys that no dataclass has.
"""

from __future__ import annotations

import ast
import functools
import os
import pathlib
import sys

from differences import Differences, judge
from hydra.core.override_parser.overrides_parser import OverridesParser

ROOTS = [pathlib.Path(sys.argv[1]) / "src", pathlib.Path(os.environ.get("MEGATRON_LM", "."))]
CONFIG = "megatron.bridge.training.config"
MODELS = {
    False: ("megatron.bridge.models.gpt_provider", "GPTModelProvider"),
    True: ("megatron.bridge.models.mla_provider", "MLAModelProvider"),
}


def path_of(module: str) -> pathlib.Path:
    bases = [root.joinpath(*module.split(".")) for root in ROOTS]
    files = [file for base in bases for file in (base.with_suffix(".py"), base / "__init__.py")]
    found = next((file for file in files if file.exists()), None)
    if found is None:
        raise SystemExit(f"{module} is in no folder")
    return found


@functools.cache
def source(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


@functools.cache
def imported(module: str) -> dict[str, tuple[str, str]]:
    """Names of a module that are defined in another one: where, and as what."""
    found = {}
    for node in ast.walk(source(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            package = module.split(".") + [""] * (path_of(module).name == "__init__.py")
            above = package[: -node.level] if node.level else []
            for name in node.names:
                found[name.asname or name.name] = (".".join([*above, node.module]), name.name)
    return found


@functools.cache
def fields(module: str, name: str) -> frozenset[str]:
    """Fields of a dataclass and of those that it rests on."""
    classes = [n for n in source(module).body if isinstance(n, ast.ClassDef) and n.name == name]
    if not classes:
        return fields(*imported(module)[name]) if name in imported(module) else frozenset()
    own = {n.target.id for n in classes[0].body if isinstance(n, ast.AnnAssign)}
    for base in classes[0].bases:
        base = base.value if isinstance(base, ast.Subscript) else base
        where = imported(module).get(getattr(base, "id", ""), (module, ""))[0]
        if isinstance(base, ast.Name) and where.startswith("megatron"):
            own |= fields(module, base.id)
    return frozenset(own)


@functools.cache
def sections() -> dict[str, str]:
    """The class of each part of the container, of those that have one."""
    classes = source(CONFIG).body
    container = next(n for n in classes if isinstance(n, ast.ClassDef) and n.name == "ConfigContainer")
    parts = [n for n in container.body if isinstance(n, ast.AnnAssign)]
    kinds = {n.target.id: n.annotation.id for n in parts if isinstance(n.annotation, ast.Name)}
    return {**dict.fromkeys((n.target.id for n in parts), ""), **kinds, "dataset": "GPTDatasetConfig"}


def unknown(key: str, is_latent: bool) -> bool:
    """Whether no dataclass has such a field."""
    part, _, name = key.partition(".")
    if part == "model":
        return name not in fields(*MODELS[is_latent])
    kind = sections().get(part)
    return kind is None or bool(name) and name not in fields(CONFIG, kind)


def differences(said: dict[str, object], plan: dict) -> list[str]:
    own, training = plan["parallelism"], plan["parallelism"]["training"]
    found = Differences()
    same = found.same
    is_latent = "model.multi_latent_attention" in said
    found += [f"{key} is no field" for key in said if unknown(key, is_latent)]
    for name, axis in [("tensor_model", "tensor"), ("pipeline_model", "pipeline"), ("context", "context"),
                       ("expert_model", "expert")]:  # fmt: skip
        same(axis, said[f"model.{name}_parallel_size"], own[axis])
    if said.get("model.num_moe_experts"):
        same("experts' tensor", said["model.expert_tensor_parallel_size"], own["tensor"])
    micro, n = training["micro_batch"], own["n_micro_batches"]
    same("micro-batch", said["train.micro_batch_size"], micro)
    same("global batch", said["train.global_batch_size"], micro * n * own["data"])
    length = plan["training"]["sequence_length"]
    same("length", (said["model.seq_length"], said["dataset.seq_length"]), (length, length))
    chunks = said["model.virtual_pipeline_model_parallel_size"]
    same("chunks", chunks, None if training["virtual_stages"] == 1 else training["virtual_stages"])
    same("sequence", said["model.sequence_parallel"], training["sequence_parallel"] and own["tensor"] > 1)
    same("mesh", said["dist.use_tp_pp_dp_mapping"], training["mesh"] == "pipeline-inside")
    blocks = [stage["blocks"]["n"] for stage in plan["partition"]["stages"]]
    layout = said["model.pipeline_model_parallel_layout"]
    if layout is None:
        later = said["model.mtp_num_layers"] or 0
        same("blocks", [said["model.num_layers"] + later], blocks)
    else:
        same("blocks", [layers(stage) for stage in layout.split("|")], blocks)
    zero, shares = training["zero"], said["ddp.use_distributed_optimizer"]
    offloads = plan["training"].get("offloads_optimizer", False)
    same("shared states", shares, zero >= 1 or offloads)
    same("of the optimizer", said["optimizer.use_distributed_optimizer"], shares)
    same("Megatron-FSDP", (said["ddp.use_megatron_fsdp"], said["dist.use_megatron_fsdp"]), (zero >= 2,) * 2)
    if zero >= 2:
        strategy = {2: "optim_grads", 3: "optim_grads_params"}[zero]
        same("strategy", said["ddp.data_parallel_sharding_strategy"], strategy)
    same("states on hosts", said["optimizer.optimizer_cpu_offload"], offloads)
    half = plan["training"]["stack"].startswith("megatron-bridge") and plan["workload"]["dtype"] != "fp32"
    same("gradients in 32 bits", said["ddp.grad_reduce_in_fp32"], not half)
    beside = said["model.overlap_moe_expert_parallel_comm"]
    same("experts' exchanges beside work", beside, training.get("expert_overlap", False))
    policies = {"none": None, "selective": "selective"}
    policy = plan["partition"]["stages"][0]["blocks"]["recompute"]
    wanted = policies.get(policy, "full") if isinstance(policy, str) else "full"
    same("recompute", said["model.recompute_granularity"], wanted)
    kind = plan["workload"]["dtype"]
    ours = (kind == "bf16" or "8" in kind, kind.endswith("16") and kind != "bf16", "8" in kind)
    same("type", (said["model.bf16"], said["model.fp16"], said["model.fp8"] is not None), ours)
    return found


def layers(stage: str) -> int:
    """Layers of a stage of a layout."""
    total, at = 0, 0
    while at < len(stage):
        letter, at, digits = stage[at], at + 1, ""
        if stage[at : at + 1] == "*":
            at += 1
            while at < len(stage) and stage[at].isdigit():
                digits, at = digits + stage[at], at + 1
        total += int(digits or 1) * (letter in "tm")
    return total


def judged(file: str, plan: dict, _: pathlib.Path) -> dict:
    lines = pathlib.Path(file).read_text(encoding="utf-8").split()
    parsed = OverridesParser.create().parse_overrides(lines)
    said = {own.key_or_group: own.value() for own in parsed}
    if len(said) != len(lines):
        return {"differences": ["a key stands twice"]}
    return {"differences": differences(said, plan)}


if __name__ == "__main__":
    judge(judged)
