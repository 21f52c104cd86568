#!/usr/bin/env python3
"""What manifests of exported fleets start, by vLLM's parser and, where it is named, the schema of llm-d's chart.

    python fleet_manifests.py SOURCE FILE.TARGET PLAN.json [...]

SOURCE is vLLM's folder or wheel (`fleet_servers.py`). LLM_D_SCHEMA names the `values.schema.json` of the chart
llm-d-modelservice. Prints one JSON document per pair: `differences` from the plan's JSON, and `starts`, how many
worker types there were.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

import fleet_servers
import yaml
from differences import Differences, judge

# Flags of Dynamo's own server.
DYNAMO = {"--model", "--disaggregation-mode"}


def without(words: list[str], flags: set[str]) -> list[str]:
    """Words without some flags and what follows each."""
    kept = []
    at = 0
    while at < len(words):
        step = 2 if words[at] in flags else 1
        kept += words[at : at + 1] if step == 1 else []
        at += step
    return kept


def of_dynamo(manifest: dict, plan: dict) -> list[tuple[dict, list[str], dict]]:
    """Worker types with the words of their servers, and replicas and GPUs by the manifest."""
    workers = plan["fleet"]["workers"]
    found = []
    for worker, component in zip(workers, manifest["spec"]["components"][1:], strict=True):
        container = component["podTemplate"]["spec"]["containers"][0]
        words = container["args"]
        if worker["role"] != "aggregated" and words[words.index("--disaggregation-mode") + 1] != worker["role"]:
            words = []
        said = {
            "replicas": component["replicas"], "gpus": int(container["resources"]["limits"]["nvidia.com/gpu"]),
            "nodes": component.get("multinode", {}).get("nodeCount", 1),
        }  # fmt: skip
        found.append((worker, without(words, DYNAMO), said))
    return found


def of_llm_d(manifest: dict, plan: dict) -> list[tuple[dict, list[str], dict]]:
    """The same of llm-d, whose chart writes the degrees itself."""
    found = []
    for worker in plan["fleet"]["workers"]:
        part = manifest["prefill" if worker["role"] == "prefill" else "decode"]
        container, degrees = part["containers"][0], part["parallelism"]
        words = [*container["args"], "--tensor-parallel-size", str(degrees["tensor"])]
        words += ["--data-parallel-size", str(degrees["data"])]
        gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
        found.append((worker, words, {"replicas": part["replicas"], "gpus": gpus, "nodes": 1}))
    return found


def local(schema):
    """A schema without what it refers to on other hosts."""
    if isinstance(schema, dict):
        if str(schema.get("$ref", "")).startswith("http"):
            return {}
        return {key: local(value) for key, value in schema.items()}
    return [local(value) for value in schema] if isinstance(schema, list) else schema


def refused(manifest: dict) -> list[str]:
    """What the chart's schema says of values."""
    path = os.environ.get("LLM_D_SCHEMA")
    if path is None:
        return []
    import jsonschema

    schema = local(json.loads(pathlib.Path(path).read_text(encoding="utf-8")))
    return [f"{list(of.path)}: {of.message}" for of in jsonschema.Draft7Validator(schema).iter_errors(manifest)]


def main() -> None:
    parsed = fleet_servers.parser("vllm")

    def judged(file: str, plan: dict, _: pathlib.Path) -> dict:
        manifest = yaml.safe_load(pathlib.Path(file).read_text(encoding="utf-8"))
        is_dynamo = manifest.get("kind") == "DynamoGraphDeployment"
        types = (of_dynamo if is_dynamo else of_llm_d)(manifest, plan)
        found = Differences([] if is_dynamo else refused(manifest))
        for at, (worker, words, said) in enumerate(types):
            runs, _ = parsed(["serve", "org/Model", *words])
            devices = worker["replicas"][0]
            hosts = list(dict.fromkeys(device.split(".")[0] for device in devices))
            wanted, _ = fleet_servers.of_vllm(worker, plan, (hosts, 0, devices))
            # The operators number hosts themselves.
            for attribute in wanted.keys() - {"nnodes", "node_rank"}:
                fleet_servers.same(found, f"worker {at} {attribute}", runs, attribute, wanted[attribute])
            transfer = runs.kv_transfer_config
            role = fleet_servers.TRANSFER.get(worker["role"])
            found.same(f"worker {at} role", transfer and transfer.kv_role, role)
            found.same(f"worker {at} replicas", said["replicas"], len(worker["replicas"]))
            found.same(f"worker {at} devices", said["gpus"] * said["nodes"], len(devices))
        return {"differences": found, "starts": len(types)}

    judge(judged)


if __name__ == "__main__":
    main()
