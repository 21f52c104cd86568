#!/usr/bin/env python3
"""Which layers vLLM and SGLang give to which device under our scripts, by their own `get_pp_indices`.

    python server_layers.py SOURCE FILE.TARGET PLAN.json [...]

SOURCE is a folder or an archive of the server. Each script is run with a stand-in for the server that says
how it was started; then the server's function is asked for every rank. Prints one JSON document per pair:
`differences` from the placement, which is read from the plan's JSON alone: ops name their layers.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import typing

import one_file
from differences import Differences, judge

# By the program that a script starts: where the function stands, the variable that it reads.
SERVERS = {
    "vllm": ("vllm/distributed/utils.py", "VLLM_PP_LAYER_PARTITION", "--pipeline-parallel-size"),
    "sglang": ("sglang/srt/distributed/utils.py", "SGLANG_PP_LAYER_PARTITION", "--pp-size"),
}
STAND_IN = """#!/bin/sh
exec '{python}' -c 'import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))' "$@"
"""


class Environment:
    """vLLM reads its variables when they are asked for."""

    def __getattr__(self, name: str) -> str | None:
        return os.environ.get(name)


def indices(source: str, path: str) -> typing.Callable[[int, int, int], tuple[int, int]]:
    known = {"os": os, "Tuple": typing.Tuple, "envs": Environment(), "logger": logging.getLogger()}
    return one_file.functions(source, path, ["get_pp_indices"], known)["get_pp_indices"]


def started(script: str) -> tuple[list[str], dict[str, str]]:
    """Words and variables of the server that a script starts."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("vllm", "python"):
            path = pathlib.Path(folder, name)
            path.write_text(STAND_IN.format(python=sys.executable), encoding="utf-8")
            path.chmod(0o755)
        own = dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}")
        done = subprocess.run(["sh", script, "MODEL"], env=own, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


def planned(plan: dict) -> list[str]:
    """The device of each layer; all of its ops are there."""
    layers: dict[int, set[str]] = {}
    for op in plan["placement"]:
        found = re.match(r"model\.layers\.(\d+)\.", op["op"])
        if found:
            layers.setdefault(int(found[1]), set()).add(op["device"])
    assert all(len(devices) == 1 for devices in layers.values()), layers
    return [layers[at].pop() for at in range(len(layers))]


def differences(source: str, file: str, plan: dict) -> list[str]:
    path, variable, flag = SERVERS[pathlib.Path(file).suffixes[0].strip(".").split("@")[0]]
    words, variables = started(file)
    found, layers = Differences(), planned(plan)
    n_ranks = int(words[words.index(flag) + 1])
    devices = [f"gpu{at}" for at in variables["CUDA_VISIBLE_DEVICES"].split(",")]
    found.same("devices of ranks", len(devices), n_ranks)
    os.environ[variable] = variables[variable]
    own = indices(source, path)
    runs: list[str | None] = [None] * len(layers)
    for rank in range(n_ranks):
        first, end = own(len(layers), rank, n_ranks)
        runs[first:end] = [devices[rank]] * (end - first)
    found.same("devices of layers", runs, layers)
    ends = {op["op"]: op["device"] for op in plan["placement"]}
    found.same("embedding", devices[0], ends["model.embed_tokens"])
    found.same("head", devices[-1], ends["lm_head"])
    return found


def judged(file: str, plan: dict, _: pathlib.Path) -> dict:
    return {"differences": differences(sys.argv[1], file, plan)}


if __name__ == "__main__":
    judge(judged)
