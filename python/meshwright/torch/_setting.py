"""What a plan asks of the processes that run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Mapping, Tuple

from .._errors import refused

#: Element types that models are run in.
DTYPES = ("fp32", "bf16")


@dataclass(frozen=True)
class Blocks:
    """Blocks of a stage, and by block whether it is computed again."""

    first: int
    again: Tuple[bool, ...]

    @property
    def end(self) -> int:
        return self.first + len(self.again)


@dataclass(frozen=True)
class Setting:
    """Degrees, stages, schedule of a training plan. Ranks of a step are replicas x pipeline ranks."""

    data: int
    pipeline: int
    is_pipeline_inside: bool
    n_micro_batches: int
    micro_batch: int
    zero: int
    stages: Tuple[Blocks, ...]
    grid: Tuple[Tuple[str, ...], ...]
    schedule: str
    optimizer: str
    dtype: str

    @property
    def world(self) -> int:
        return self.data * self.pipeline

    @property
    def global_batch(self) -> int:
        return self.data * self.n_micro_batches * self.micro_batch

    def place(self, rank: int) -> Tuple[int, int]:
        """Replica and pipeline rank of a process."""
        if self.is_pipeline_inside:
            return rank // self.pipeline, rank % self.pipeline
        return rank % self.data, rank // self.data

    def rank(self, replica: int, pipeline_rank: int) -> int:
        """The process at a place."""
        if self.is_pipeline_inside:
            return replica * self.pipeline + pipeline_rank
        return pipeline_rank * self.data + replica


def read(document: Mapping[str, Any]) -> Setting:
    """Reads a plan document; refuses by name what is not run."""
    training = document.get("training")
    degrees = document.get("parallelism") or {}
    own = degrees.get("training")
    if not training or not own:
        raise cannot("a plan of single operators", "plan with global_batch")
    for name in ("tensor", "context", "expert"):
        if degrees[name] > 1:
            raise cannot(f"the {name} degree {degrees[name]}", f'plan with pin=["{name}=1"]')
    if (own.get("vocabulary") or 1) > 1:
        raise cannot("a vocabulary over several ranks", "plan without a folder of measured layers")
    if training.get("offloads_optimizer"):
        raise cannot("optimizer states on hosts", "plan with no_offload=True")
    if own["zero"] > 1 and degrees["pipeline"] > 1:
        raise cannot(f"ZeRO {own['zero']} in a pipeline", 'plan with pin=["zero=1"]')
    workload = document["workload"]
    dtype = workload.get("dtype") or "fp32"
    if dtype not in DTYPES:
        raise cannot(f"the element type {dtype}", f"plan with dtype={DTYPES[0]!r}")
    stages = [_blocks(stage.get("blocks"), own["zero"]) for stage in document["partition"]["stages"]]
    grid = document["schedule"].get("grid") or []
    return Setting(
        data=degrees["data"],
        pipeline=degrees["pipeline"],
        is_pipeline_inside=own["mesh"] == "pipeline-inside",
        n_micro_batches=degrees["n_micro_batches"],
        micro_batch=own["micro_batch"],
        zero=own["zero"],
        stages=tuple(stages),
        grid=tuple(tuple(row.split(",")) if isinstance(row, str) else tuple(row) for row in grid),
        schedule=training["schedule"],
        optimizer=workload.get("optimizer") or "adamw",
        dtype=dtype,
    )


def cannot(what: str, *hints: str) -> Exception:
    """What has no counterpart here."""
    return refused("cannot-run", f"meshwright.torch does not run {what}", *hints)


def _blocks(blocks: Any, zero: int) -> Blocks:
    if not blocks:
        raise cannot("a stage without blocks", "plan a model card or a transformer")
    runs = blocks.get("each") or [{"n": blocks["n"], "recompute": blocks["recompute"], "zero": zero}]
    again: List[bool] = []
    for run in runs:
        if run["zero"] != zero:
            raise cannot("ZeRO that differs by block", "plan without a folder of measured layers")
        again += _again(run["recompute"], run["n"])
    return Blocks(blocks["first"], tuple(again))


def _again(recompute: Any, n: int) -> List[bool]:
    if recompute in ("none", "full"):
        return [recompute == "full"] * n
    if isinstance(recompute, Mapping) and "block" in recompute:
        return [at < recompute["block"] for at in range(n)]
    if isinstance(recompute, Mapping) and recompute.get("uniform") == 1:
        return [True] * n
    raise cannot(f"recompute={recompute!r}", 'plan with pin=["recompute=full"] or "recompute=none"')
