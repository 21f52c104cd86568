"""Stages of a model: its parts from one block to another."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .._errors import refused
from ._setting import Setting


class Stage(nn.Module):
    """Parts that run one after the other; those of `again` compute their inside twice."""

    def __init__(self, parts: Sequence[nn.Module], again: Sequence[bool], dtype: torch.dtype) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.again = tuple(again)
        self.dtype = dtype

    def forward(self, x: Any) -> Any:
        device = x.device.type if isinstance(x, torch.Tensor) else x[0].device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32):
            for part, is_again in zip(self.parts, self.again):
                inputs = x if isinstance(x, tuple) else (x,)
                x = checkpoint(part, *inputs, use_reentrant=False) if is_again else part(*inputs)
        return x


def chain_of(model: nn.Module, chain: Optional[Sequence[nn.Module]]) -> List[nn.Module]:
    """The parts of a model in the order in which they run."""
    parts = list(model) if chain is None and isinstance(model, nn.Sequential) else list(chain or ())
    if parts and all(isinstance(part, nn.Module) for part in parts):
        return parts
    hint = "give chain=[model.embedding, *model.blocks, model.head], parts that take what the one before returns"
    raise refused("no-chain", f"{type(model).__name__} does not say in which order its parts run", hint)


def stages_of(chain: Sequence[nn.Module], setting: Setting) -> List[Stage]:
    """All stages of a plan; what stands before the blocks is part of the first, what stands behind of the last."""
    n_blocks = setting.stages[-1].end
    first = _first_block(chain, n_blocks)
    dtype = torch.bfloat16 if setting.dtype == "bf16" else torch.float32
    stages = []
    for at, blocks in enumerate(setting.stages):
        start = 0 if at == 0 else first + blocks.first
        end = len(chain) if at + 1 == len(setting.stages) else first + blocks.end
        parts = chain[start:end]
        before = first + blocks.first - start
        behind = len(parts) - before - len(blocks.again)
        stages.append(Stage(parts, [False] * before + list(blocks.again) + [False] * behind, dtype))
    _untied(stages)
    return stages


def names_of(model: nn.Module, chain: Sequence[nn.Module]) -> Dict[Tuple[int, str], str]:
    """By part of the chain and name in it, the name of each parameter in the model."""
    of = {id(parameter): name for name, parameter in model.named_parameters(remove_duplicate=False)}
    return {
        (id(part), name): of.get(id(parameter), f"{at}.{name}")
        for at, part in enumerate(chain)
        for name, parameter in part.named_parameters(remove_duplicate=False)
    }


def _first_block(chain: Sequence[nn.Module], n_blocks: int) -> int:
    """Where the blocks begin: the one run of so many parts of one class."""
    kinds = [type(part) for part in chain]
    runs = [(at, kind) for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] is not kind]
    ends = [at for at, _ in runs[1:]] + [len(kinds)]
    found = [at for (at, _), end in zip(runs, ends) if end - at == n_blocks]
    if len(found) == 1:
        return found[0]
    longest = max((end - at for (at, _), end in zip(runs, ends)), default=0)
    message = f"the plan has {n_blocks} blocks, and the longest run of equal parts of the model has {longest}"
    raise refused("other-model", message, "give the model that was planned, its blocks as parts of chain=")


def _untied(stages: Sequence[Stage]) -> None:
    seen: Dict[int, int] = {}
    for at, stage in enumerate(stages):
        for name, parameter in stage.named_parameters():
            if seen.setdefault(id(parameter), at) != at:
                message = f"stages {seen[id(parameter)]} and {at} share the parameter `{name}`"
                raise refused("tied-stages", message, "untie it, or plan with one pipeline rank")
