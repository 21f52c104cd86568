"""Parameters of a config as Transformers builds it, and how degrees of parallelism split each, by what its
layer does and not by anything that we export."""

from __future__ import annotations

import math

import torch
from transformers import AutoConfig, AutoModelForCausalLM

COLUMNS = ("q_proj", "k_proj", "v_proj", "q_b_proj", "kv_b_proj", "gate_proj", "up_proj", "c_fc")
ROWS = ("o_proj", "down_proj", "c_proj")
WORDS = ("embed_tokens", "wte", "lm_head")


def parameters(config: dict, rows: int) -> dict[str, tuple[int, ...]]:
    """Shapes by name; what Transformers fuses is held apart, the vocabulary has so many rows."""
    kind = config["model_type"]
    others = {key: value for key, value in config.items() if key != "model_type"}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **others))
    found = {}
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if name.endswith("experts.gate_up_proj"):
            half = (shape[0], shape[1] // 2, shape[2])
            found |= {name.replace("gate_up", part): half for part in ("gate", "up")}
        elif ".c_attn." in name:
            third = (*shape[:-1], shape[-1] // 3)
            found |= {name.replace("c_attn.", f"c_attn.{part}."): third for part in "qkv"}
        elif any(f"{word}.weight" in name for word in WORDS):
            found[name] = (rows, shape[1])
        else:
            found[name] = shape
    return found


def split(name: str, shape: tuple[int, ...], tensor: int, expert: int) -> tuple[int, ...]:
    """What a rank holds of it where replicas share nothing out: output features of a column-parallel
    layer, input features of a row-parallel one, rows of the vocabulary (Shoeybi et al. 2019)."""
    part = list(shape)
    is_expert = ".experts." in name
    # Conv1D of GPT-2 is `[in, out]`.
    turned = "c_attn" in name or "c_fc" in name or "c_proj" in name
    *_, module, last = ["", *name.split(".")]
    layer = last if is_expert else module
    is_bias = last == "bias"
    first = 1 if is_expert else 0
    if layer in WORDS:
        part[0] //= tensor
    elif layer in COLUMNS or "c_attn" in name:
        part[0 if is_bias else (1 if turned else first)] //= tensor
    elif layer in ROWS and not is_bias:
        part[0 if turned else first + 1] //= tensor
    if is_expert:
        part[0] //= expert
    return tuple(part)


def shared(name: str, part: tuple[int, ...], data: int, expert: int) -> int:
    """Elements of a rank's part where replicas share it out; vectors stay whole."""
    replicas = data // expert if ".experts." in name else data
    elements = math.prod(part)
    return elements if len(part) < 2 else elements // replicas
