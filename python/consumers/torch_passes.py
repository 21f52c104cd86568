"""Passes of each pipeline rank, by torch's own schedules: without processes or a model."""

from __future__ import annotations

import csv
import pathlib

from torch.distributed.pipelining import schedules


class Stage:
    """One that notes which passes a schedule runs; the rest of what a stage does returns nothing."""

    submod, is_first, is_last, has_backward = None, False, False, True

    def __init__(self, index: int, n_stages: int, n_ranks: int) -> None:
        self.stage_index, self.num_stages, self.group_size = index, n_stages, n_ranks
        self.group_rank, self.passes = index % n_ranks, []

    def forward_one_chunk(self, micro_batch: int, *_, **__) -> None:
        self.passes.append(f"{self.stage_index}F{micro_batch}")

    def backward_one_chunk(self, micro_batch: int, *_, **__) -> None:
        self.passes.append(f"{self.stage_index}B{micro_batch}")

    def __getattr__(self, name: str):
        return lambda *_, **__: []


def of_one_stage(kind: type, rank: int, n_ranks: int, n: int) -> list[str]:
    """What 1F1B and GPipe run: their own loop over micro-batches."""
    stage = Stage(rank, n_ranks, n_ranks)
    schedule = kind(stage, n)
    schedule._initialize_stage = lambda *_: None
    schedule._has_backward = True
    schedule._step_microbatches(arg_mbs=[()] * n, kwarg_mbs=[{}] * n)
    return stage.passes


def cells(actions: list) -> list[str]:
    """Of a row of actions, the passes."""
    known = [own for own in actions if own is not None and own.is_compute_op]
    return [str(part) for own in known for part in (own.sub_actions or [own])]


def order(name: str | None, n_ranks: int, n_stages: int, n: int, file: str) -> list[list[str]]:
    """By rank. Without a pipeline, gradients of one micro-batch after the other are summed."""
    if name is None:
        return [[f"0{letter}{i}" for i in range(n) for letter in "FB"]]
    kind = schedules.get_schedule_class(name)
    if issubclass(kind, schedules.PipelineScheduleSingle):
        return [of_one_stage(kind, rank, n_ranks, n) for rank in range(n_ranks)]
    if kind in (schedules.PipelineScheduleMulti, schedules._PipelineScheduleRuntime):
        with pathlib.Path(file).open(newline="", encoding="utf-8") as lines:
            return [cells([schedules._Action.from_str(cell) for cell in row]) for row in csv.reader(lines)]
    whole = kind([Stage(rank, n_stages, n_ranks) for rank in range(0, n_stages, n_ranks)], n)
    return [cells(whole.pipeline_order[rank]) for rank in range(n_ranks)]
