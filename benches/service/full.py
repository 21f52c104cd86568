"""A database on a small file system that fills up: 507, reads go on, recovery. Needs `mount` (root)."""

import json
import os
import shutil
import subprocess
import tempfile
import time

from client import Server, small_model
from kills import settled


def judge(hold, _args):
    place = tempfile.mkdtemp(prefix="meshwright-full-")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place], capture_output=True)
    if made.returncode:
        print("     skipped: no tmpfs can be mounted here")
        os.rmdir(place)
        return
    work = tempfile.mkdtemp()
    try:
        with Server("--workers", "1", "--work-folder", work, folder=place) as server:
            filled(hold, server, place)
    finally:
        subprocess.run(["umount", "-l", place], check=False)
        os.rmdir(place)
        shutil.rmtree(work, ignore_errors=True)


def filled(hold, server, place):
    client = server.client()
    client.post("/v1/models?name=a.json", json.dumps(small_model(1)).encode())
    done = client.post("/v1/plans?wait=20", {"model": "a.json", "deterministic": True}).json()
    hold(done["state"] == "done", "there is space at first", done["state"])
    # Plans that run while the space goes.
    waiting = [client.post("/v1/plans", {"model": "a.json", "seed": i, "time_limit": "3s"}).json()["id"] for i in range(2)]
    ballast = os.path.join(place, "ballast")
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    told = {}
    for i in range(60):
        for what, got in (("model", client.post(f"/v1/models?name=b{i}.json", json.dumps(small_model(50 + i)).encode() + b" " * 300000)),
                          ("plan", client.post("/v1/plans", {"model": "a.json", "seed": 100 + i})),
                          ("upload", client.post("/v1/uploads", {"name": "u", "bytes": 10})),
                          ("measurement", client.post("/v1/measurements", {"plan": done["id"], "step_s": 1.0}))):
            told.setdefault(what, {}).setdefault(got.status, 0)
            told[what][got.status] += 1
            if got.status == 507 and (got.json()["code"] != "storage-full" or "retry-after" not in got.headers):
                hold(False, "507 says what it is", got)
    statuses = {status for one in told.values() for status in one}
    hold(statuses <= {201, 202, 200, 507} and all(507 in one for one in told.values()), "writes are answered by 507", told)
    reads = [client.get(path).status for path in ("/v1/plans", f"/v1/plans/{done['id']}", f"/v1/plans/{done['id']}/answer", "/v1/models",
                                                   "/metrics", "/livez", "/v1/algorithms")]
    hold(reads == [200] * len(reads), "reads go on", reads)
    explained = client.get(f"/v1/plans/{done['id']}/explain").status
    hold(explained in (200, 507), "an explanation too", explained)
    written = client.get(f"/v1/plans/{done['id']}/artefacts/dot").status
    hold(written in (200, 404, 422, 507), "an export is made or refused", written)
    hold(client.ask("DELETE", f"/v1/plans/{waiting[1]}").status in (204, 409, 507), "a deletion is answered")
    time.sleep(4)
    os.remove(ballast)
    until, got = time.monotonic() + 15, None
    while time.monotonic() < until:
        got = client.post("/v1/plans?wait=20", {"model": "a.json", "seed": 7777})
        if got.status == 200:
            break
        time.sleep(0.5)
    hold(got.status == 200 and got.json()["state"] == "done", "with space again it plans", got)
    listed = [row["id"] for row in client.get("/v1/plans?limit=500").json()["plans"]]
    states = settled(client, listed, 60)
    kinds = {}
    for state in states.values():
        kinds[state["state"]] = kinds.get(state["state"], 0) + 1
    hold(set(kinds) <= {"done", "cancelled"}, "what was acknowledged ends", kinds)
    hold(max(state["attempts"] for state in states.values()) <= 3, "after 3 attempts at most")
    server.kill()
    server.restart()
    hold(len(server.client().get("/v1/plans?limit=500").json()["plans"]) == len(listed), "a restart finds them all")
