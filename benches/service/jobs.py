"""Plans that crash, hang or eat memory: the plan says so, the server lives."""

import json
import os
import signal
import time

from client import Server, children, small_model, wide_model


def judge(hold, _args):
    with Server("--workers", "1", "--job-time", "3s", "--job-memory", "160MiB") as server:
        client = server.client()
        client.post("/v1/models?name=small.json", json.dumps(small_model(1)).encode())
        client.post("/v1/models?name=long.json", json.dumps(wide_model(120)).encode())
        long = {"model": "long.json", "time_limit": "60s"}
        began = time.monotonic()
        got = client.post("/v1/plans?wait=30", long).json()
        took = time.monotonic() - began
        code = (got.get("error") or {}).get("code")
        hold(code == "time-limit" and took < 12 or got.get("state") == "done", "a plan above its time is cut and says so", (got.get("state"), code, f"{took:.1f} s"))
        for number, wanted in ((signal.SIGKILL, "crashed"), (signal.SIGABRT, "crashed"), (signal.SIGILL, "crashed"), (signal.SIGSTOP, "time-limit")):
            asked = client.post("/v1/plans", {**long, "seed": int(number)}).json()
            place, until = f"/v1/plans/{asked['id']}", time.monotonic() + 20
            while client.get(place).json()["state"] != "running" and time.monotonic() < until:
                time.sleep(0.02)
            for pid in children(server.process.pid):
                os.kill(pid, number)
            until = time.monotonic() + 30
            while (now := client.get(place + "?wait=5").json())["state"] == "running" and time.monotonic() < until:
                pass
            code = (now["error"] or {}).get("code")
            hold(now["state"] == "failed" and code == wanted, f"a plan whose process gets {number.name} says so", (now["state"], code))
            hold(client.get("/readyz").status == 200, "the server lives")
        ok = client.post("/v1/plans?wait=30", {"model": "small.json", "deterministic": True}).json()
        hold(ok.get("state") == "done", "the next plan is made", ok.get("state"))
        hold(not children(server.process.pid), "no child is left", children(server.process.pid))
        hold("panicked" not in server.said(), "no panic in the server")
    with Server("--workers", "1", "--job-memory", "96MiB") as server:
        client = server.client()
        client.post("/v1/models?name=small.json", json.dumps(small_model(1)).encode())
        big = json.dumps({**wide_model(60000)}).encode()
        got = client.post("/v1/models?name=big.json", big)
        told = got.json()
        if got.status < 300:
            now = client.post("/v1/plans?wait=60", {"model": "big.json", "algorithm": "m-sct"}).json()
            told = now.get("error") or now
        hold(told.get("code") == "memory-limit", "one that needs more memory than it may have says so", str(told)[:300])
        ok = client.post("/v1/plans?wait=30", {"model": "small.json", "deterministic": True}).json()
        hold(ok.get("state") == "done", "the next plan is made", ok.get("state"))
        hold(not children(server.process.pid), "no child is left", children(server.process.pid))
        hold("panicked" not in server.said(), "no panic in the server")
