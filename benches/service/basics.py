"""Start, the first three requests, and answers like those of the command line."""

import json
import os
import shutil
import subprocess
import tempfile

from client import PROGRAM, ROOT, Server, small_model, wide_model

CLUSTERS = os.path.join(ROOT, "examples", "clusters")
MODELS = os.path.join(ROOT, "examples", "models")


def start(hold, runs=20):
    """The time from the start of the process until it says that it listens."""
    times = []
    for _ in range(runs):
        with Server() as server:
            times.append(server.started_s * 1e3)
    times.sort()
    hold(times[len(times) // 2] < 100, "start on an empty folder below 100 ms",
         f"median {times[len(times) // 2]:.0f} ms, worst {times[-1]:.0f} ms of {runs}")


def cut(text):
    """Takes the member `run` out of the bytes; nothing else is parsed or written anew."""
    at = text.find(b'"run":')
    if at < 0:
        return text
    depth, i, quoted = 0, at + len(b'"run":'), False
    while True:
        c = text[i:i + 1]
        if quoted:
            i += c == b"\\"
            quoted = c != b'"'
        elif c == b'"':
            quoted = True
        elif c in b"{[":
            depth += 1
        elif c in b"}]":
            if depth == 0:
                break
            depth -= 1
        elif c == b"," and depth == 0:
            break
        i += 1
    return text[:at].rstrip(b" \n") + b"~" + text[i:].lstrip(b", \n")


def cases():
    small, wide = json.dumps(small_model()), json.dumps(wide_model(24))
    layers = open(os.path.join(MODELS, "gpt2.json")).read() if os.path.exists(os.path.join(MODELS, "gpt2.json")) else None
    node = open(os.path.join(CLUSTERS, "a100-node.yaml")).read()
    too_small = json.dumps({**small_model(), "devices": [{"id": 0, "kind": "k", "limit": 10}]})
    yield "an instance", {"model.json": small}, {"model": "model.json", "deterministic": True}, ["model.json", "--deterministic"]
    yield ("an instance, a recipe", {"model.json": wide},
           {"model": "model.json", "algorithm": "m-sct", "deterministic": True}, ["model.json", "--algorithm", "m-sct", "--deterministic"])
    yield ("a search", {"model.json": wide}, {"model": "model.json", "node_budget": 2000, "seed": 7, "deterministic": True},
           ["model.json", "--node-budget", "2000", "--seed", "7", "--deterministic"])
    yield ("no plan fits", {"model.json": too_small}, {"model": "model.json", "deterministic": True}, ["model.json", "--deterministic"])
    yield ("pins", {"model.json": small}, {"model": "model.json", "pin": ["a=1"], "algorithm": "m-sct"},
           ["model.json", "--pin", "a=1", "--algorithm", "m-sct"])
    for name in sorted(os.listdir(MODELS))[:3]:
        if name.endswith(".json"):
            text = open(os.path.join(MODELS, name)).read()
            yield (f"{name} in training", {"config.json": text, "node.yaml": node},
                   {"model": "config.json", "cluster": "node.yaml", "workload": "training", "global_batch": 8,
                    "sequence_length": 256, "deterministic": True},
                   ["config.json", "--cluster", "node.yaml", "--workload", "training", "--global-batch", "8",
                    "--sequence-length", "256", "--deterministic"])


def parity(hold):
    """The same request through both doors."""
    with Server() as server:
        client = server.client()
        for what, files, request, words in cases():
            folder = tempfile.mkdtemp()
            for name, text in files.items():
                with open(os.path.join(folder, name), "w") as file:
                    file.write(text)
                kind = "clusters" if name.endswith(".yaml") else "models"
                stored = client.post(f"/v1/{kind}?name={name}", text.encode())
                if stored.status not in (200, 201):
                    hold(False, f"{what}: {name} is taken", stored)
            told = subprocess.run([PROGRAM, "plan", *words, "--json", "-o", "plan.json"], cwd=folder, capture_output=True,
                                  env={k: v for k, v in os.environ.items() if not k.startswith("MESHWRIGHT_")})
            status = client.post("/v1/plans?wait=60", request)
            document = status.json()
            answer = client.get(f"/v1/plans/{document.get('id')}/answer")
            is_same = answer.status == 200 and cut(answer.body) == cut(told.stdout)
            facts = f"{len(told.stdout)} bytes, exit {told.returncode}, {document.get('state')}"
            if not is_same:
                facts += f"\n  CLI {told.stdout[:600]!r} {told.stderr[:300]!r}\n  API {answer} {status}"
            hold(is_same, f"{what}: the answers of CLI and API are the same bytes", facts)
            hold(document.get("exit_code") == told.returncode, f"{what}: the same exit code")
            path = os.path.join(folder, "plan.json")
            if told.returncode == 0 and os.path.exists(path):
                plan = client.get(f"/v1/plans/{document['id']}/plan")
                with open(path, "rb") as file:
                    mine = file.read()
                hold(cut(plan.body) == cut(mine), f"{what}: the plan file is the same",
                     "" if cut(plan.body) == cut(mine) else f"{mine[:200]!r}.. {plan.body[:200]!r}..")
            if document.get("state") == "failed":
                continue
            again = client.post("/v1/plans?wait=60", request)
            hold(again.headers.get("cache") == "hit" and again.json()["id"] == document["id"],
                 f"{what}: asked again it comes from the cache", again.headers.get("cache"))
            shutil.rmtree(folder)


def judge(hold, _args):
    start(hold)
    parity(hold)
