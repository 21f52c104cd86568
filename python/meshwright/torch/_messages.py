"""Times messages and collectives of processes over gloo; the first prints them as JSON:
`{operation: {ranks: [[bytes, seconds], ...]}}`, bytes of a collective as nccl-tests count them (of what
is gathered, or scattered). All groups of so many ranks run at once.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any, Callable, Dict, Tuple

import torch
import torch.distributed as dist

#: Sizes in bytes: 1 KiB to 64 MiB.
SIZES = [1 << log for log in range(10, 27, 2)]
WARM_UP, REPEATS = 2, 9

#: Of the whole, the part of a rank, and its group.
Operation = Callable[[torch.Tensor, torch.Tensor, Any], Any]


def main() -> None:
    dist.init_process_group("gloo")
    rank, n = dist.get_rank(), dist.get_world_size()
    operations: Dict[str, Operation] = {
        "all-reduce": lambda whole, _, group: dist.all_reduce(whole, group=group),
        "all-gather": lambda whole, part, group: dist.all_gather_into_tensor(whole, part, group=group),
        "reduce-scatter": lambda whole, part, group: dist.reduce_scatter_tensor(part, whole, group=group),
    }
    there_and_back = [_timed(size, 1, lambda whole, *_: _there_and_back(whole, rank), None) for size in SIZES]
    told = {"point-to-point": {2: [(size, seconds / 2) for size, seconds in there_and_back]}}
    for ranks in (ranks for ranks in range(2, n + 1) if n % ranks == 0):
        groups = [dist.new_group(list(range(first, first + ranks))) for first in range(0, n, ranks)]
        for name, operation in operations.items():
            rows = [_timed(size, ranks, operation, groups[rank // ranks]) for size in SIZES]
            told.setdefault(name, {})[ranks] = rows
    if rank == 0:
        print(json.dumps(told))
    dist.destroy_process_group()


def _timed(size: int, ranks: int, operation: Operation, group: Any) -> Tuple[int, float]:
    """Bytes of an operation, and its median seconds."""
    part = torch.zeros(max(1, size // 4 // ranks))
    whole = torch.zeros(len(part) * ranks)
    seconds = []
    for _ in range(WARM_UP + REPEATS):
        dist.barrier()
        start = time.perf_counter()
        operation(whole, part, group)
        seconds.append(time.perf_counter() - start)
    return 4 * len(whole), statistics.median(seconds[WARM_UP:])


def _there_and_back(message: torch.Tensor, rank: int) -> None:
    for sender in (0, 1):
        if rank < 2:
            (dist.send if rank == sender else dist.recv)(message, 1 - rank)


if __name__ == "__main__":
    main()
