#!/usr/bin/env python3
"""What the packaged Megatron-Core makes of our flags, by its own config, layout class and scheduler.

    python megatron_core.py FOLDER FILE.args PLAN.json [...]

FOLDER holds the installed package, which has no parser of flags: a flag goes to the field of
`TransformerConfig` of its name, where there is one, and the config's own checks run. Prints one JSON document
per pair: `differences` of layers and of the order of passes from the plan. Nothing here reads a plan through
meshwright. `megatron_lm.py` judges all flags, by a checkout of Megatron-LM.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

from differences import Differences, judge

sys.path.insert(0, sys.argv[1])

import packaging.version  # noqa: E402
import torch  # noqa: E402
from megatron.core import utils as core_utils  # noqa: E402
from megatron.core.transformer.transformer_config import TransformerConfig  # noqa: E402
from megatron_order import layers, order  # noqa: E402

# Kernels that a machine with devices has: Transformer Engine runs on no other.
core_utils._te_version = packaging.version.Version("2.9.0")

# Flags of another name than their field.
NAMES = {"num_experts": "num_moe_experts", "norm_epsilon": "layernorm_epsilon", "fp8_format": "fp8"}
FIELDS = {field.name: str(field.type) for field in dataclasses.fields(TransformerConfig)}


def fields(words: list[str]) -> dict[str, object]:
    """Flags by the fields that they set, numbers as numbers, a flag without a value as true."""
    said: dict[str, object] = {}
    for at, word in enumerate(words):
        if not word.startswith("--"):
            continue
        value = words[at + 1] if at + 1 < len(words) and not words[at + 1].startswith("--") else True
        name = word.removeprefix("--").replace("-", "_")
        name = NAMES.get(name, name)
        kind = FIELDS.get(name)
        # Fields of callables have a type, where flags have a name.
        if kind is None or "Callable" in kind:
            continue
        if value is not True and value.replace(".", "", 1).isdigit():
            value = float(value) if "." in value or "float" in kind else int(value)
        said[name] = value
    # The one flag that turns off what is on without it.
    said["add_bias_linear"] = "--disable-bias-linear" not in words
    return said


def judged(file: str, plan: dict, _: pathlib.Path) -> dict:
    said = fields(pathlib.Path(file).read_text(encoding="utf-8").split())
    own = plan["parallelism"]
    chunks = own["training"]["virtual_stages"]
    # What its parser derives: chunks from the layout, element types from their flags.
    if own["pipeline"] > 1 and chunks > 1:
        said["virtual_pipeline_model_parallel_size"] = chunks
    said["params_dtype"] = torch.bfloat16 if said.get("bf16") else torch.float32
    if own["pipeline"] > 1:
        said["pipeline_dtype"] = said["params_dtype"]
    config = TransformerConfig(**said)
    found = Differences()
    rows = [",".join(row) for row in order(config, own["n_micro_batches"])]
    found.same("order", rows, plan["schedule"]["grid"])
    if config.pipeline_model_parallel_layout is not None:
        held = layers(config.pipeline_model_parallel_layout, own["pipeline"], chunks)
        blocks = [stage["blocks"]["n"] for stage in plan["partition"]["stages"]]
        found.same("blocks", [stage["decoder"] + stage["mtp"] for stage in held], blocks)
    return {"differences": found}


if __name__ == "__main__":
    judge(judged)
