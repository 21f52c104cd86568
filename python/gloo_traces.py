#!/usr/bin/env python3
"""Record one training step of two data-parallel processes over gloo.

    python gloo_traces.py FOLDER

Writes for each rank `rankN.et.json` (ExecutionTrace) and `rankN.kineto.json` (profile), without the
host's name, and `totals.json`: by rank the microseconds that PyTorch's own `key_averages` counts for
operators, and the parameters of the model.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import sys

import torch
import torch.distributed as dist
from torch.profiler import ExecutionTraceObserver, ProfilerActivity, profile

RANKS = 2
PRIVATE = ("host_name", "traceName", "trace_id")


def work(rank: int, folder: str, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 32))
    model = torch.nn.parallel.DistributedDataParallel(layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    samples = torch.randn(16, 64)

    def step() -> None:
        optimizer.zero_grad()
        model(samples).square().mean().backward()
        optimizer.step()

    for _ in range(3):
        step()
    place = pathlib.Path(folder)
    observer = ExecutionTraceObserver().register_callback(str(place / f"rank{rank}.et.json"))
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, execution_trace_observer=observer) as profiler:
        step()
    trace = place / f"rank{rank}.kineto.json"
    profiler.export_chrome_trace(str(trace))
    document = {key: value for key, value in json.loads(trace.read_text()).items() if key not in PRIVATE}
    trace.write_text(json.dumps(document))
    # What a thread of gloo records is an annotation, and waits for the other rank.
    operators = [event for event in profiler.key_averages() if not event.key.startswith(("gloo:", "Optimizer."))]
    total = sum(event.self_cpu_time_total for event in operators if "DistributedDataParallel" not in event.key)
    parameters = sum(parameter.numel() for parameter in layers.parameters())
    (place / f"totals{rank}.json").write_text(json.dumps({"operators_us": total, "parameters": parameters}))
    dist.destroy_process_group()


def main() -> None:
    folder = sys.argv[1]
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        port = own.getsockname()[1]
    torch.multiprocessing.spawn(work, (folder, port), RANKS)


if __name__ == "__main__":
    main()
