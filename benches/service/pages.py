"""What pages ask of the largest plan, route by route: 10,000 operators forward, 64 devices, 32
micro-batches, a million slices (importers/examples/large_graph.rs). Prints a table; judges nothing
but that it is answered, as times depend on the machine."""

import json
import os
import subprocess
import tempfile
import time
from urllib.parse import quote

from client import PROGRAM, ROOT, Server

TIMES = 5
CLUSTERS = os.path.join(ROOT, "examples", "clusters")


def large(folder):
    program = os.path.join(os.path.dirname(PROGRAM), "examples", "large_graph")
    if not os.path.exists(program):
        return None
    path = os.path.join(folder, "large.onnx")
    subprocess.run([program, path], check=True)
    with open(path, "rb") as file:
        return file.read()


def planned(client, request):
    plan = client.post("/v1/plans?wait=60", request).json()
    while plan.get("state") not in ("done", "failed", "infeasible"):
        plan = client.get(f"/v1/plans/{plan['id']}?wait=60").json()
    return plan["id"]


def routes(client, plan, other):
    """What is asked, a row for each: its name, the method, path and body of a number of the run."""
    at = f"/v1/plans/{plan}"
    view = client.get(at + "/view").json()
    device = quote(view["devices"][0]["device"])
    top = client.get(at + "/graph?depth=1").json()["inside"]
    group = next(node["id"] for node in top["nodes"] if node["kind"] != "op")
    step = view["step_time_ns"]
    path = client.get(f"{at}/explain?longest=1000").json()["critical_path"]
    op = next(own["op"] for own in path if "op" in own)
    sent = next((own["transfer"] for own in path if "transfer" in own), None)
    yield "status", "GET", lambda n: (at, None)
    yield "answer", "GET", lambda n: (f"{at}/answer", None)
    yield "answer in brief", "GET", lambda n: (f"{at}/answer?brief=true", None)
    yield "view", "GET", lambda n: (f"{at}/view", None)
    yield "timeline of all", "GET", lambda n: (f"{at}/timeline?max_slices=4000", None)
    yield "timeline of a 100th", "GET", lambda n: (f"{at}/timeline?from_ns={step // 9 * n}&to_ns={step // 9 * n + step // 100}&max_slices=4000", None)
    yield "memory of a device", "GET", lambda n: (f"{at}/memory?device={device}&points=2000", None)
    yield "graph", "GET", lambda n: (f"{at}/graph?depth=1", None)
    yield f"graph, {group[:40]}", "GET", lambda n: (f"{at}/graph?group={quote(group, '')}&depth=1", None)
    yield "found", "GET", lambda n: (f"{at}/graph/found?text=blocks.{n}", None)
    yield "explain, the longest", "GET", lambda n: (f"{at}/explain?longest=1000", None)
    yield "explain of a device", "GET", lambda n: (f"{at}/explain?device={device}", None)
    yield "explain of an op", "GET", lambda n: (f"{at}/explain?op={quote(op, '')}", None)
    if sent is not None:
        yield "explain of a transfer", "GET", lambda n: (f"{at}/explain?transfer={quote(sent, '')}", None)
    yield "simulate", "POST", lambda n: ("/v1/simulate", {"plan": plan})
    yield "simulate, other memory", "POST", lambda n: ("/v1/simulate", {"plan": plan, "scale": [f"memory={1 + (n + 1) / 100}"]})
    yield "simulate, other links", "POST", lambda n: ("/v1/simulate", {"plan": plan, "scale": [f"links={1 + (n + 1) / 100}"]})
    yield "compare", "POST", lambda n: ("/v1/compare", {"plan": plan, "with": other})
    yield "trace", "GET", lambda n: (f"{at}/artefacts/trace", None)


def table(client, plan, other):
    print("| what | first, s | best, s | worst, s | answer, kB |\n|---|---|---|---|---|")
    for what, method, ask in routes(client, plan, other):
        times, told = [], ""
        for n in range(TIMES):
            path, body = ask(n)
            begun = time.monotonic()
            got = client.ask(method, path, body)
            times.append(time.monotonic() - begun)
            told = f"{len(got.body) / 1e3:.0f}" if got.status == 200 else f"{got.status} {got.body[:200]!r}"
            if times[-1] > 20:
                break
        print(f"| {what} | {times[0]:.3f} | {min(times):.3f} | {max(times):.3f} | {told} |", flush=True)


def judge(hold, _args):
    with tempfile.TemporaryDirectory() as folder:
        model = large(folder)
    if model is None:
        print("skipped: cargo build --release -p importers --example large_graph")
        return
    with Server() as server:
        client = server.client(timeout=300)
        client.post("/v1/models?name=large.onnx", model)
        with open(os.path.join(CLUSTERS, "pod.yaml"), "rb") as file:
            client.post("/v1/clusters?name=pod.yaml", file.read())
        request = {"model": "large.onnx", "cluster": "pod.yaml", "workload": "training", "batch": 2048, "micro_batch": 64}
        begun = time.monotonic()
        plan = planned(client, {**request, "algorithm": "m-topo"})
        print(f"planned in {time.monotonic() - begun:.1f} s")
        other = planned(client, {**request, "algorithm": "m-topo", "seed": 7})
        begun = time.monotonic()
        got = client.get(f"/v1/plans/{plan}/view")
        print(f"view made in {time.monotonic() - begun:.1f} s: {got.status}")
        table(client, plan, other)
        hold(True, "measured", json.dumps(client.get(f"/v1/plans/{plan}/view").json()["n_slices"]))
