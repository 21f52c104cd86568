"""Times messages between two processes over gloo; the first prints `[[bytes, seconds], ...]`."""

from __future__ import annotations

import json
import statistics
import time

import torch
import torch.distributed as dist

#: Sizes in bytes: 1 KiB to 16 MiB.
SIZES = [1 << log for log in range(10, 25, 2)]
REPEATS = 15


def main() -> None:
    dist.init_process_group("gloo")
    is_first = dist.get_rank() == 0
    samples = []
    for size in SIZES:
        message = torch.zeros(size // 4)
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            for sends in (is_first, not is_first):
                (dist.send if sends else dist.recv)(message, 1 if is_first else 0)
            times.append((time.perf_counter() - start) / 2)
        samples.append([size, statistics.median(times)])
    if is_first:
        print(json.dumps(samples))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
