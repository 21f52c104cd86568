#!/usr/bin/env python3
"""Run schedule files through PyTorch's own validator and simulator, without processes.

    python check_schedules.py schedule.csv [schedule.csv ...]

Each file is one of the dialect `compute_only` of torch.distributed.pipelining: a row per rank, cells
such as `2F0`. The steps are those of `_PipelineScheduleRuntime._load_csv` and of torch's dry run:
parse every cell, validate, add sends and receives and their waits, simulate to the end. Prints one
line per file; exits with 1 if any is refused.
"""

from __future__ import annotations

import csv
import pathlib
import sys

from torch.distributed.pipelining import schedules as torch_schedules


def check(path: pathlib.Path) -> str:
    """How large the schedule is; raises what PyTorch raises."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [[torch_schedules._Action.from_str(cell) for cell in row] for row in csv.reader(file)]
    order = dict(enumerate(rows))
    cells = [cell for row in rows for cell in row if cell is not None]
    n_stages = 1 + max(cell.stage_index for cell in cells)
    n_micro_batches = 1 + max(cell.microbatch_index for cell in cells)
    rank_of = torch_schedules._validate_schedule(order, len(rows), n_stages, n_micro_batches)
    compute = {rank: [cell for cell in row if cell is not None] for rank, row in order.items()}
    whole = torch_schedules._add_send_recv(compute, lambda stage: rank_of[stage], n_stages)
    whole = torch_schedules._add_wait_send(whole)
    torch_schedules._validate_send_waits(whole)
    torch_schedules._simulate_comms_compute(whole, lambda stage: rank_of[stage], n_stages)
    return f"{len(rows)} ranks, {n_stages} stages, {n_micro_batches} micro-batches"


def main() -> None:
    n_refused = 0
    for name in sys.argv[1:]:
        try:
            print(f"ok      {name}: {check(pathlib.Path(name))}")
        except Exception as error:  # noqa: BLE001  (torch raises whatever it likes)
            n_refused += 1
            print(f"REFUSED {name}: {type(error).__name__}: {error}")
    sys.exit(1 if n_refused else 0)


if __name__ == "__main__":
    main()
