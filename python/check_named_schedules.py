#!/usr/bin/env python3
"""Hold schedule files against the schedules of torch.distributed.pipelining whose names they go by.

    python check_named_schedules.py NAME=schedule.csv [...]

Each name is made by `get_schedule_class`, for as many ranks, stages and micro-batches as its file has, on
stages that compute nothing. Classes of one stage per rank are run on every rank, and the passes that they
ask for are noted down; the others say what they run. Cell by cell that must be the file. Prints one line per
file; exits with 1 if any differs.
"""

from __future__ import annotations

import csv
import pathlib
import sys
from unittest import mock

from torch import nn
from torch.distributed.pipelining import schedules as torch_schedules

Rows = list[list[str]]


def stage(at: int, n_stages: int, rank: int, n_ranks: int) -> mock.Mock:
    """A stage that sends and computes nothing."""
    made = mock.Mock(stage_index=at, num_stages=n_stages, group_rank=rank, group_size=n_ranks)
    made.configure_mock(submod=nn.Module(), is_first=at == 0, is_last=False)
    for name in ("get_fwd_recv_ops", "get_fwd_send_ops", "get_bwd_recv_ops", "get_bwd_send_ops"):
        getattr(made, name).return_value = []
    return made


def single(kind: type, n_ranks: int, n_micro_batches: int) -> Rows:
    """Passes of a class of one stage per rank, as it asks for them."""
    rows = []
    for rank in range(n_ranks):
        row: list[str] = []
        own = stage(rank, n_ranks, rank, n_ranks)
        own.forward_one_chunk.side_effect = lambda at, *_, row=row, rank=rank, **__: row.append(f"{rank}F{at}")
        own.backward_one_chunk.side_effect = lambda at, row=row, rank=rank, **_: row.append(f"{rank}B{at}")
        schedule = kind(own, n_micro_batches, loss_fn=lambda *_: None)
        schedule._initialize_stage = lambda *_: None
        schedule._step_microbatches()
        rows.append(row)
    return rows


def opened(actions: list) -> list[str]:
    """Cells that compute; a pair of overlapping ones as its two."""
    cells = []
    for action in actions:
        inside = getattr(action, "sub_actions", None)
        if inside:
            cells += opened(inside)
        elif action is not None and action.is_compute_op:
            cells.append(str(action))
    return cells


def multi(kind: type, stages: list[list[int]], n_micro_batches: int) -> Rows:
    """Cells of a class of several stages per rank, as it runs them."""
    n_ranks, n_stages = len(stages), sum(map(len, stages))
    own = [stage(at, n_stages, 0, n_ranks) for at in stages[0]]
    schedule = kind(own, n_micro_batches, loss_fn=lambda *_: None)
    order = schedule.pipeline_order_with_comms
    return [opened(order[rank]) for rank in range(n_ranks)]


def lowered(path: pathlib.Path, stages: list[list[int]], n_micro_batches: int) -> Rows:
    """The cells of a file, as torch runs them."""
    n_ranks, n_stages = len(stages), sum(map(len, stages))
    own = [stage(at, n_stages, 0, n_ranks) for at in stages[0]]
    runtime = torch_schedules._PipelineScheduleRuntime(own, n_micro_batches, loss_fn=lambda *_: None)
    runtime._load_csv(str(path))
    return [opened(runtime.pipeline_order_with_comms[rank]) for rank in range(n_ranks)]


def check(name: str, path: pathlib.Path) -> str:
    """How large the schedule is; raises what differs, and what PyTorch raises."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [[cell for cell in row if cell.strip()] for row in csv.reader(file)]
    cells = [[torch_schedules._Action.from_str(cell) for cell in row] for row in rows]
    stages = [sorted({cell.stage_index for cell in row}) for row in cells]
    n_micro_batches = 1 + max(cell.microbatch_index for row in cells for cell in row)
    kind = torch_schedules.get_schedule_class(name)
    if issubclass(kind, torch_schedules.PipelineScheduleSingle):
        theirs, ours = single(kind, len(rows), n_micro_batches), [list(map(str, row)) for row in cells]
    else:
        theirs, ours = multi(kind, stages, n_micro_batches), lowered(path, stages, n_micro_batches)
    for rank, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        at = next((at for at, pair in enumerate(zip(a, b)) if pair[0] != pair[1]), min(len(a), len(b)))
        if a != b:
            raise ValueError(f"rank {rank} from cell {at}: {name} runs {a[at : at + 4]}, not {b[at : at + 4]}")
    return f"{name}, {len(rows)} ranks, {sum(map(len, stages))} stages, {n_micro_batches} micro-batches"


def main() -> None:
    n_other = 0
    for word in sys.argv[1:]:
        name, _, file = word.partition("=")
        try:
            print(f"same    {file}: {check(name, pathlib.Path(file))}")
        except Exception as error:  # noqa: BLE001  (torch raises whatever it likes)
            n_other += 1
            print(f"DIFFERS {file}: {type(error).__name__}: {error}")
    sys.exit(1 if n_other else 0)


if __name__ == "__main__":
    main()
