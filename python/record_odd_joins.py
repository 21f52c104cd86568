#!/usr/bin/env python3
"""Record runs that are not what the model beside them is, for the test `odd_joins`.

    python record_odd_joins.py tests/data/traces/odd

Writes `relu.pt2` (six linears of 16, a relu behind each; batch 8) and profiles of: that model (`own`),
its pass followed by a sort that the ExecutionTrace does not see (`more`), three passes in one trace
(`three`), the same linears with sorts (`sort`) or one more of them (`longer`), with dropouts in training
mode (`drop`), and `own` with one call renamed (`renamed`). `times.json` holds what the calls of each
profile take by themselves, summed here, in nanoseconds: no code of the importer is used.
"""

import gzip
import json
import pathlib
import sys

import torch
from check_joins import PRIVATE, TRACE
from torch.profiler import ExecutionTraceObserver, ProfilerActivity, profile


class Net(torch.nn.Module):
    def __init__(self, function, layers=6) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(16, 16) for _ in range(layers)])
        self.function = function

    def forward(self, x):
        for layer in self.layers:
            x = self.function(layer(x))
        return x


def record(stem, watched, after=lambda: None):
    """An ExecutionTrace of `watched`, a profile of it and what comes after."""
    with torch.no_grad():
        watched(), after()
        observer = ExecutionTraceObserver().register_callback(f"{stem}.et.json")
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as kineto:
            observer.start()
            watched()
            observer.stop()
            after()
        observer.unregister_callback()
        kineto.export_chrome_trace(f"{stem}.kineto.json")


def busy(document):
    """Nanoseconds in which calls of operators ran, thread by thread."""
    calls = [e for e in document["traceEvents"] if e.get("ph") == "X" and e.get("cat") == "cpu_op"]
    total, ends = 0, {}
    for call in sorted(calls, key=lambda e: e["ts"]):
        thread = (call["pid"], call["tid"])
        start, end = max(call["ts"], ends.get(thread, 0)), call["ts"] + call["dur"]
        total += max(0, end - start)
        ends[thread] = max(end, ends.get(thread, 0))
    return round(total * 1000)


def pack(path, times):
    document = json.loads(path.read_text())
    for member in PRIVATE:
        document.pop(member, None)
    if "traceEvents" in document:
        kept = ("cpu_op", "user_annotation")
        document["traceEvents"] = [e for e in document["traceEvents"] if e.get("cat") in kept]
        times[path.name.split(".")[0]] = busy(document)
    text = json.dumps(document, separators=(",", ":")).encode()
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(text, mtime=0))
    path.unlink()


def main() -> int:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, net = torch.randn(8, 16), Net(torch.relu).eval()
    TRACE.save(net, folder / "relu.pt2", x, force=True)
    record(folder / "own", lambda: net(x))
    record(folder / "more", lambda: net(x), lambda: torch.sort(torch.zeros(2000, 100)))
    record(folder / "three", lambda: [net(x) for _ in range(3)])
    others = {
        "sort": Net(lambda y: torch.sort(y, -1).values),
        "longer": Net(torch.relu, 7),
        "drop": Net(lambda y: torch.nn.functional.dropout(torch.relu(y), 0.5)),
    }
    for name, other in others.items():
        record(folder / name, lambda other=other: other(x))
    renamed = json.loads((folder / "own.kineto.json").read_text())
    call = next(e for e in renamed["traceEvents"] if e.get("name") == "aten::relu")
    call["name"] = "aten::tanh"
    (folder / "renamed.kineto.json").write_text(json.dumps(renamed))
    times = {}
    for path in sorted(folder.glob("*.json")):
        if path.name != "times.json":
            pack(path, times)
    (folder / "times.json").write_text(json.dumps(times, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
