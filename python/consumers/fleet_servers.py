#!/usr/bin/env python3
"""How servers of exported fleets are started, by the parsers of vLLM and SGLang themselves.

    python fleet_servers.py SOURCE FILE.TARGET PLAN.json [...]

SOURCE is a folder or the wheel of the server; what its parser imports and does not use is stood in for
(`absent.py`). Each script is run for every replica, on each of its hosts, with a stand-in for the server that says
how it was started. Prints one JSON document per pair: `differences` of what the parser makes of the words from
the plan's JSON, and `starts`, how many there were.
"""

from __future__ import annotations

import argparse
import atexit
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import absent
from differences import Differences, judge

ABSENT = {
    "vllm": [
        "vllm.ir", "vllm.kernels", "vllm.distributed", "vllm.model_executor.layers", "vllm.model_executor.models",
        "vllm.v1.attention", "vllm._custom_ops", "torch", "transformers", "triton", "tokenizers", "sentencepiece",
        "fastapi", "aiohttp", "openai", "tiktoken", "PIL", "cachetools", "blake3", "uvicorn", "starlette",
        "openai_harmony", "mistral_common", "xgrammar", "llguidance", "outlines_core", "lark", "gguf",
        "compressed_tensors", "msgpack", "prometheus_client", "watchfiles", "pybase64", "cpuinfo", "pynvml", "ray",
        "numba", "cv2", "depyf", "einops", "safetensors", "model_hosting_container_standards", "anthropic", "mcp",
        "setproctitle", "ijson", "flashinfer", "diskcache", "partial_json_parser", "torchvision", "scipy",
        "opentelemetry", "prometheus_fastapi_instrumentator", "soundfile", "lm_format_enforcer", "tqdm", "six", "av",
        "nixl", "supervisor", "cbor2", "zmq", "cloudpickle", "uvloop",
    ],
    "sglang": [
        "sglang.srt.layers", "sglang.kernels", "sglang.srt.distributed", "torch", "transformers", "triton", "torchao",
        "sgl_kernel", "sglang_kernel", "IPython", "PIL", "torchvision", "uvicorn", "setproctitle", "xgrammar",
        "flashinfer", "aiohttp", "pybase64", "soundfile", "compressed_tensors", "torchaudio", "partial_json_parser",
        "einops", "interegular", "modelscope", "gguf", "dill", "decord", "safetensors", "diffusers", "openai",
        "tiktoken", "starlette", "uvloop", "zmq", "psutil", "pynvml", "py_spy", "timm", "sgl_kernel_npu", "cuda",
        "torch_memory_saver", "tvm_ffi", "cutlass", "orjson",
    ],
}  # fmt: skip
STAND_IN = """#!/bin/sh
exec '{python}' -c 'import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))' "$@"
"""


def vllm():
    """From the words of `vllm serve` to its engine's arguments and those of the server."""
    import vllm.platforms as platforms

    platforms.current_platform.device_type = "cuda"
    type(platforms.current_platform).device_type = "cuda"
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = AsyncEngineArgs.add_cli_args(FlexibleArgumentParser())
    parser.add_argument("model_tag")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--headless", action="store_true")

    def parsed(words: list[str]):
        server = parser.parse_args(words[1:])
        return AsyncEngineArgs.from_cli_args(server), server

    return parsed


def sglang():
    """From the words of `sglang.launch_server` to its arguments."""
    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)

    def parsed(words: list[str]):
        server = parser.parse_args(words[2:])
        return server, server

    return parsed


def started(script: str, words: list[str], rank: int | None) -> tuple[list[str], dict[str, str]]:
    """Words and variables of the server that a script starts."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("vllm", "python"):
            path = pathlib.Path(folder, name)
            path.write_text(STAND_IN.format(python=sys.executable), encoding="utf-8")
            path.chmod(0o755)
        own = dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}")
        own.pop("NODE_RANK", None)
        if rank is not None:
            own["NODE_RANK"] = str(rank)
        command = ["bash", script, *words, "org/Model"]
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


def replicas(plan: dict):
    """Yields each replica of each worker type: the type, its words, hosts, devices."""
    seen: dict[str, int] = {}
    for worker in plan["fleet"]["workers"]:
        role = worker["role"]
        number = seen[role] = seen.get(role, -1) + 1
        for at, devices in enumerate(worker["replicas"]):
            hosts = list(dict.fromkeys(device.split(".")[0] for device in devices))
            yield worker, [f"{role}-{number}", str(at)], hosts, devices


def of_vllm(worker: dict, plan: dict, on: tuple) -> tuple[dict, list[str]]:
    """Attributes that a start should have, and the devices of its processes in order."""
    hosts, at, devices = on
    stages, tensor, data = len(worker["stages"]), worker["tensor"], worker["data"]
    order = [
        devices[(stage * data + rank) * tensor + part]
        for rank in range(data) for stage in range(stages) for part in range(tensor)
    ]  # fmt: skip
    wanted = {
        "tensor_parallel_size": tensor, "pipeline_parallel_size": stages, "data_parallel_size": data,
        "enable_expert_parallel": worker["expert"] > 1, "max_num_seqs": worker["max_num_seqs"],
        "max_num_batched_tokens": worker["max_num_batched_tokens"], "max_model_len": longest(plan),
        "dtype": "bfloat16", "nnodes": len(hosts), "node_rank": at,
        "kv_cache_dtype": "fp8" if is_fp8(plan) else "auto",
    }  # fmt: skip
    return wanted, order


def of_sglang(worker: dict, plan: dict, on: tuple) -> tuple[dict, list[str]]:
    """The same of SGLang."""
    hosts, at, devices = on
    tensor, data = worker["tensor"], worker["data"]
    role = worker["role"]
    wanted = {
        "tp_size": tensor * data, "pp_size": len(worker["stages"]), "dp_size": data,
        "enable_dp_attention": data > 1, "ep_size": worker["expert"],
        "max_running_requests": worker["max_num_seqs"] * data, "context_length": longest(plan),
        "dtype": "bfloat16", "kv_cache_dtype": "fp8_e4m3" if is_fp8(plan) else "auto", "nnodes": len(hosts),
        "node_rank": at, "disaggregation_mode": "null" if role == "aggregated" else role,
    }  # fmt: skip
    if role != "decode":
        budget = worker["max_num_batched_tokens"]
        wanted |= {"chunked_prefill_size": budget * data, "max_prefill_tokens": budget}
    return wanted, devices


def longest(plan: dict) -> int:
    """Tokens of the longest request."""
    return max(of["input_tokens"] + of["output_tokens"] for of in plan["fleet"]["lengths"])


def is_fp8(plan: dict) -> bool:
    return plan.get("request", {}).get("kv_dtype") == "fp8"


def share(plan: dict) -> float:
    """The share of memory that vLLM takes: its default, or what a margin leaves."""
    left = 1 - plan.get("request", {}).get("kept_free", 0)
    return min(0.92, math.floor(100 * left + 1e-3) / 100)


SERVERS = {
    "vllm": (vllm, of_vllm, "VLLM_PP_LAYER_PARTITION"),
    "sglang": (sglang, of_sglang, "SGLANG_PP_LAYER_PARTITION"),
}
TRANSFER = {"prefill": "kv_producer", "decode": "kv_consumer"}


def same(found: Differences, what: str, runs: object, attribute: str, wanted: object) -> None:
    """Compares an attribute; types are compared by their names."""
    own = getattr(runs, attribute, None)
    found.same(what, own if isinstance(wanted, (int, bool)) else str(own), wanted)


def differences(parsed, file: str, plan: dict, server: str) -> tuple[list[str], int]:
    _, wanted_of, variable = SERVERS[server]
    found, n_starts, ports = Differences(), 0, set()
    for worker, words, hosts, devices in replicas(plan):
        for at in range(len(hosts)):
            given, variables = started(file, words, at if len(hosts) > 1 else None)
            runs, process = parsed(given)
            wanted, order = wanted_of(worker, plan, (hosts, at, devices))
            name = "/".join([*words, str(at)])
            for attribute, value in wanted.items():
                same(found, f"{name} {attribute}", runs, attribute, value)
            each = len(order) // len(hosts)
            mine = order[at * each : (at + 1) * each]
            numbers = ",".join(device.split("gpu")[1] for device in mine)
            found.same(f"{name} devices", variables.get("CUDA_VISIBLE_DEVICES"), numbers)
            found.same(f"{name} host", {device.split(".")[0] for device in mine}, {hosts[at]})
            stages = worker["stages"]
            layers = ",".join(map(str, stages)) if len(stages) > 1 else None
            found.same(f"{name} layers", variables.get(variable), layers)
            if server == "vllm":
                transfer = runs.kv_transfer_config
                found.same(f"{name} role", transfer and transfer.kv_role, TRANSFER.get(worker["role"]))
                found.same(f"{name} memory", runs.gpu_memory_utilization, share(plan))
                found.same(f"{name} headless", process.headless, at > 0)
            found.same(f"{name} port is free", (hosts[at], process.port) in ports, False)
            ports.add((hosts[at], process.port))
            n_starts += 1
    return found, n_starts


def parser(server: str):
    """The server's parser, of the folder or the wheel that the command line names."""
    source = pathlib.Path(sys.argv[1])
    if source.is_file():
        folder = pathlib.Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        with zipfile.ZipFile(source) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.endswith((".py", ".json"))])
        source = folder
    sys.path.insert(0, str(source / "python" if (source / "python").exists() else source))
    absent.install(ABSENT[server])
    return SERVERS[server][0]()


def main() -> None:
    server = pathlib.Path(sys.argv[2]).suffixes[0].strip(".").split("@")[0] if len(sys.argv) > 2 else "vllm"
    parsed = parser(server)

    def judged(file: str, plan: dict, _: pathlib.Path) -> dict:
        found, n_starts = differences(parsed, file, plan, server)
        return {"differences": found, "starts": n_starts}

    judge(judged)


if __name__ == "__main__":
    main()
