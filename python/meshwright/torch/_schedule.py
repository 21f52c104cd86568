"""The schedule of a plan, as torch.distributed.pipelining runs it."""

from __future__ import annotations

import csv
import os
import tempfile
from typing import Any, Callable, List, Sequence, Tuple

import torch
import torch.distributed as dist
from torch.distributed.pipelining import PipelineStage, schedules

from ._setting import Setting, cannot
from ._stage import Stage

#: Ours under torch's names.
NAMED = {
    "gpipe": schedules.ScheduleGPipe,
    "1f1b": schedules.Schedule1F1B,
    "interleaved": schedules.ScheduleInterleaved1F1B,
    "zb-v": schedules.ScheduleZBVZeroBubble,
    "dualpipe-v": schedules.ScheduleDualPipeV,
}
Row = Tuple[str, ...]


def build(
    setting: Setting,
    stages: Sequence[Stage],
    group: Any,
    device: torch.device,
    loss_fn: Callable[..., torch.Tensor],
    is_csv: bool = False,
) -> Any:
    """The schedule of this process: by its class where torch runs the same cells, else by our CSV."""
    rank = dist.get_rank(group)
    own = sorted({_stage_of(cell) for cell in setting.grid[rank]})
    if any("R" in cell for row in setting.grid for cell in row):
        raise cannot("recompute as a cell of its own", 'plan with pin=["schedule=1f1b"]')
    splits = any(letter in cell for row in setting.grid for cell in row for letter in "IW")
    if splits and any(any(blocks.again) for blocks in setting.stages):
        raise cannot("recompute beside a split backward pass", 'plan with pin=["recompute=none"]')

    def made() -> List[PipelineStage]:
        return [PipelineStage(stages[at], at, len(stages), device, group=group) for at in own]

    kind = NAMED.get(setting.schedule)
    if kind is not None and not is_csv:
        single = issubclass(kind, schedules.PipelineScheduleSingle)
        if not single or len(own) == 1:
            try:
                schedule = kind(made()[0] if single else made(), setting.n_micro_batches, loss_fn=loss_fn)
            except ValueError:
                # Numbers that the class does not take; as a list of cells they run.
                schedule = None
            if schedule is not None and _rows(schedule, setting) == list(setting.grid):
                return schedule
    return _by_csv(setting, made(), loss_fn)


def _by_csv(setting: Setting, stages: List[PipelineStage], loss_fn: Any) -> Any:
    schedule = schedules._PipelineScheduleRuntime(stages, setting.n_micro_batches, loss_fn=loss_fn)
    descriptor, path = tempfile.mkstemp(suffix=".csv")
    try:
        with open(descriptor, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(setting.grid)
        schedule._load_csv(path)
    finally:
        os.unlink(path)
    return schedule


def _rows(schedule: Any, setting: Setting) -> List[Row]:
    """The cells that a schedule runs, by rank."""
    n, ranks = setting.n_micro_batches, range(setting.pipeline)
    if isinstance(schedule, schedules.Schedule1F1B):
        # What it says of its last rank counts forward passes from 1; this is what it runs.
        return [_one_f_one_b(rank, setting.pipeline, n) for rank in ranks]
    return [tuple(_cells(schedule.pipeline_order[rank])) for rank in ranks]


def _one_f_one_b(rank: int, n_ranks: int, n: int) -> Row:
    ahead = min(n, n_ranks - rank)
    cells = [f"{rank}F{at}" for at in range(ahead)]
    for at in range(n):
        cells.append(f"{rank}B{at}")
        cells += [f"{rank}F{at + ahead}"] if at + ahead < n else []
    return tuple(cells)


def _cells(actions: Any) -> List[str]:
    cells: List[str] = []
    for action in actions:
        if action is None or not action.is_compute_op:
            continue
        inside = getattr(action, "sub_actions", None)
        cells += _cells(inside) if inside else [str(action)]
    return cells


def _stage_of(cell: str) -> int:
    return int("".join(letter if letter.isdigit() else " " for letter in cell).split()[0])
