#!/usr/bin/env python3
"""Hold what meshwright reads of live models against what PyTorch counts on them.

    python check_graphs.py --meshwright target/release/meshwright [--only NAME ...] [--via pt2 dynamo legacy]

Each model is exported by `meshwright.trace` (`.pt2`) and by both ONNX exporters. Parameters must be
those of the module (ONNX: trained vectors may be merged and constants folded, so only `.pt2` is held
to the unit), floating-point operations those of `torch.utils.flop_counter` on the same input or,
where that counter is blind, those of an independent count given with the model. No operator may be
guessed but for detectors, whose sizes depend on data (under 5 %). Then each graph is planned for
inference and for training. Prints a line for each model and way; exits with 1 if any fails.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib.util
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import torch
from torch.utils.flop_counter import FlopCounterMode

from live_models import DETECTORS, MODELS

# Apart from the package, whose native part need not be built for this.
SPEC = importlib.util.spec_from_file_location(
    "trace", pathlib.Path(__file__).resolve().parent / "meshwright" / "trace.py"
)
TRACE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TRACE)

CLUSTER = """\
name: two
kinds:
  - {name: card, memory_bytes: 85899345920, memory_bytes_per_s: 2.0e12, peak_fp32_flops: 1.9e13, peak_bf16_flops: 3.1e14}
devices:
  - {id: a, kind: card}
  - {id: b, kind: card}
links:
  - {between: [a, b], bytes_per_s: 2.0e11, latency_s: 5.0e-6}
"""


def export(way, model, args, kwargs, options, path):
    """Write one file."""
    if way == "pt2":
        TRACE.save(model, path, *args, **kwargs, **options)
        return

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.m = model

        def forward(self, *tensors):
            result = self.m(*tensors[: len(args)], **dict(zip(kwargs, tensors[len(args):])))
            tensors = torch.utils._pytree.tree_leaves(result)
            return tuple(t for t in tensors if isinstance(t, torch.Tensor))

    flat = (*args, *kwargs.values())
    with quiet(), torch.no_grad():
        if way == "dynamo":
            torch.onnx.export(Flat().eval(), flat, dynamo=True, verbose=False).save(str(path))
        else:
            torch.onnx.export(Flat().eval(), flat, str(path), dynamo=False, opset_version=17)


@contextlib.contextmanager
def quiet():
    """Nothing is printed, not even by native code, which prints whole graphs where it fails."""
    sys.stdout.flush()
    saved = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stdout.flush()
        for target, own in zip((1, 2), saved):
            os.dup2(own, target)
            os.close(own)
        os.close(nowhere)


def ask(meshwright, *arguments):
    done = subprocess.run(
        [str(meshwright), *map(str, arguments), "--json"],
        capture_output=True, text=True, check=False, timeout=120,
    )
    if done.returncode not in (0, 1) or not done.stdout:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip().splitlines()[:2]}")
    return json.loads(done.stdout)


def check(meshwright, name, way, folder):
    """What is wrong with one model by one way; `None` where the exporter itself refuses it."""
    torch.manual_seed(0)
    case = MODELS[name]()
    model, args, kwargs = case.model.eval(), case.args, case.kwargs
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*args, **kwargs)
    flops = counter.get_total_flops() + case.unseen_flops
    parameters = sum(p.numel() for p in model.parameters())
    path = folder / f"{name}-{way}.{'pt2' if way == 'pt2' else 'onnx'}"
    try:
        export(way, model, args, kwargs, case.options, path)
    except Exception as error:  # whatever the exporter meets
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        return None, f"{type(error).__name__}: {reason.strip()[:90]}"
    start = time.monotonic()
    read = ask(meshwright, "import", path)
    seconds = time.monotonic() - start
    summary = read["summary"]
    faults = []
    if way == "pt2" and summary["initializer_elements"] != parameters:
        faults.append(f"{summary['initializer_elements']} parameters, {parameters} by PyTorch")
    off = summary["forward_flops"] / flops - 1 if flops else summary["forward_flops"]
    if abs(off) > case.tolerance:
        faults.append(f"{summary['forward_flops']} FLOPs, {flops} by PyTorch ({off:+.2%})")
    most = 0.05 if name in DETECTORS else 0
    if summary["guessed_share"] > most:
        codes = [f"{w['code']}: {w['message'][:90]}" for w in read["warnings"]]
        faults.append(f"{summary['guessed_share']:.1%} guessed ({'; '.join(codes)})")
    for workload in ("inference", "training") if case.trains else ("inference",):
        try:
            plan = ask(
                meshwright, "plan", path, "--cluster", folder / "two.yaml", "--workload", workload,
                "--algorithm", "m-etf",
            )
            if not plan.get("plan"):
                faults.append(f"no plan for {workload}")
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            faults.append(f"{workload}: {error}")
    return faults, f"{parameters} parameters, {flops} FLOPs, {seconds:.2f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meshwright", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    parser.add_argument("--via", nargs="*", default=["pt2", "dynamo", "legacy"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    tally = collections.Counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "two.yaml").write_text(CLUSTER, encoding="utf-8")
        for name in arguments.only:
            for way in arguments.via:
                try:
                    faults, said = check(arguments.meshwright, name, way, folder)
                except Exception as error:
                    faults, said = [f"{type(error).__name__}: {error}"], ""
                state = "refused by the exporter" if faults is None else "FAIL" if faults else "ok"
                tally[way, state] += 1
                print(f"{state:5} {name} by {way}: {'; '.join(faults or [said])}", flush=True)
                for path in folder.glob(f"{name}-*"):
                    path.unlink()
    for (way, state), n in sorted(tally.items()):
        print(f"{way}: {n} {state}")
    return 1 if any(state == "FAIL" for _, state in tally) else 0


if __name__ == "__main__":
    sys.exit(main())
