"""This machine, measured: a profile and a cluster file of as many processes as share it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Sequence, Tuple

from .. import _native
from .._ask import path_of
from .._errors import error, refused

#: Backends, each with its device of torch.
BACKENDS = ("torch-cpu",)
#: Longest time that the exchanges of messages may take, in seconds.
PATIENCE_S = 120

#: By operation and ranks of a group, bytes and seconds.
Exchanges = Dict[str, Dict[str, List[Tuple[int, float]]]]


def profile(
    backend: str = "torch-cpu",
    processes: int = 1,
    *,
    profile: Any = "profile.json",
    cluster: Any = "cluster.yaml",
    force: bool = False,
) -> Dict[str, Any]:
    """Times torch's kernels and gloo's messages, and writes what plans of this machine need.

    All processes measure at once, each with its share of the cores, as they will when they train. It
    takes about two minutes. Neither file is replaced without `force`.
    """
    if backend not in BACKENDS:
        hint = f"use {BACKENDS[0]}; `meshwright profile --backend cuda` measures a GPU"
        raise refused("unknown-backend", f"there is no backend {backend!r}", hint)
    if not isinstance(processes, int) or isinstance(processes, bool) or not 1 <= processes <= _n_cores():
        message = f"{processes!r} processes can't share {_n_cores()} cores"
        raise refused("bad-field", message, f"measure 1 to {_n_cores()}")
    outputs = [path_of(profile), path_of(cluster)]
    for path in outputs:
        if os.path.exists(path) and not force:
            raise refused("file-exists", f"`{path}` exists", "choose another name, or force=True")
    env = {**os.environ, "OMP_NUM_THREADS": str(max(1, _n_cores() // processes)), "CUDA_VISIBLE_DEVICES": ""}
    kind = f"cpu-{processes}"
    measured = _kernels(kind, processes, env)
    link = None
    if processes > 1:
        exchanges = _exchanges(processes, env)
        # The rate of a message is the cluster's.
        link = _line(exchanges.pop("point-to-point")["2"])
        own = measured["kinds"][kind]
        own["collectives"] = _collectives(exchanges, own["kernels"]["provenance"])
    text = _cluster(kind, processes, measured["kinds"][kind], link)
    for path, content in zip(outputs, [json.dumps(measured, indent=2) + "\n", text]):
        refusal = _native.write_file(path, content, bool(force))
        if refusal is not None:
            raise error(json.loads(refusal))
    return {"profile": measured, "cluster": text, "link": link, "written": outputs}


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _kernels(kind: str, processes: int, env: Dict[str, str]) -> Dict[str, Any]:
    """The profile of one of so many processes that measure at once."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, f"{at}.json") for at in range(processes)]
        command = [sys.executable, "-m", "meshwright", "profile", "--backend", "torch", "--python", sys.executable]
        busy = ["--busy"] if processes > 1 else []
        told = _all([[*command, "--kind", kind, "--json", *busy, "-o", path] for path in paths], [env] * processes)
        document = json.loads(told[0])
        if "error" in document:
            raise error(document)
        return document["profile"]


def _exchanges(processes: int, env: Dict[str, str]) -> Exchanges:
    """What messages and collectives take."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [{**env, **world, "RANK": str(at)} for at in range(processes)]
    told = _all([[sys.executable, "-m", "meshwright.torch._messages"]] * processes, ranks, PATIENCE_S)
    return json.loads(told[0])


def _collectives(exchanges: Exchanges, provenance: Dict[str, Any]) -> List[Dict[str, Any]]:
    """As profiles hold them: tables by size."""
    of = {"library": "gloo", "provenance": provenance}
    return [
        {"operation": name, "ranks": int(ranks), "ranks_per_node": int(ranks), **of, "table": [_point(*row) for row in rows]}
        for name, by_ranks in exchanges.items()
        for ranks, rows in by_ranks.items()
    ]


def _point(size: int, seconds: float) -> Dict[str, Any]:
    return {"bytes": size, "time_s": seconds}


def _line(samples: Sequence[Tuple[int, float]]) -> Dict[str, float]:
    """Seconds = start-up + bytes / rate: the line with the least relative error, through no negative start-up."""
    weights = [1.0 / (seconds * seconds) for _, seconds in samples]
    total = sum(weights)
    x = sum(weight * size for weight, (size, _) in zip(weights, samples)) / total
    y = sum(weight * seconds for weight, (_, seconds) in zip(weights, samples)) / total
    above = sum(weight * (size - x) * (seconds - y) for weight, (size, seconds) in zip(weights, samples))
    below = sum(weight * (size - x) ** 2 for weight, (size, _) in zip(weights, samples))
    slope = max(above / below, 1e-15)
    return {"latency_s": max(y - slope * x, min(seconds for _, seconds in samples) / 10), "bytes_per_s": 1.0 / slope}


def _all(commands: Sequence[Sequence[str]], envs: Sequence[Dict[str, str]], seconds: float = 600) -> List[str]:
    """What commands that run at once print; the first failure ends all."""
    running = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command, env in zip(commands, envs)
    ]
    try:
        told = [process.communicate(timeout=seconds) for process in running]
    except subprocess.TimeoutExpired as late:
        raise refused("too-slow", f"measuring did not end within {seconds:.0f} s") from late
    finally:
        for process in running:
            process.kill()
    for process, (output, errors) in zip(running, told):
        if process.returncode != 0 and not output.lstrip().startswith("{"):
            last = (errors.strip().splitlines() or ["it said nothing"])[-1]
            raise refused("torch-failed", f"the measuring process failed: {last}", "install torch where this runs")
    return [output for output, _ in told]


def _cluster(kind: str, processes: int, rates: Dict[str, Any], link: Any) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // processes
    bandwidth, peak = rates["memory_bytes_per_s"], rates["peak_flops_per_s"]["fp32"]
    lines = [
        f"# {processes} processes on {_n_cores()} cores, measured.",
        "name: this-machine",
        "kinds:",
        f"  - {{name: {kind}, memory_bytes: {memory}, memory_bytes_per_s: {bandwidth:.4e}, peak_fp32_flops: {peak:.4e}}}",
    ]
    if link is not None:
        rate, start = link["bytes_per_s"], link["latency_s"]
        lines += ["link_kinds:", f"  - {{name: gloo, bytes_per_s: {rate:.4e}, latency_s: {start:.4e}}}"]
    scaleup = ", scaleup: gloo" if link is not None else ""
    lines += ["nodes:", f"  - {{device: {kind}, devices: {processes}{scaleup}}}"]
    return "\n".join(lines) + "\n"
