"""Ten thousand small jobs at once; what `acknowledged` means; mixed reads beside planning."""

import json
import os
import random
import re
import shutil
import subprocess
import threading
import time

from client import Server, percentile, small_model, wide_model
from kills import pages


def accepted(server, n, threads=16):
    """Asks for n jobs from several clients; seconds of each answer, and id -> priority."""
    times, ids, wrong, lock, number = [], {}, [], threading.Lock(), iter(range(n))

    def go():
        client = server.client()
        while True:
            with lock:
                i = next(number, None)
            if i is None:
                return
            # Another seed is another content; priorities in turn.
            begun = time.monotonic()
            got = client.post(f"/v1/plans?priority={i % 3}", {"model": "small.json", "algorithm": "m-etf", "seed": i})
            took = time.monotonic() - begun
            with lock:
                times.append(took)
                if got.status == 202:
                    ids[got.json()["id"]] = i % 3
                else:
                    wrong.append(got)

    all_ = [threading.Thread(target=go) for _ in range(threads)]
    for thread in all_:
        thread.start()
    for thread in all_:
        thread.join()
    return times, ids, wrong


def queue(hold, n):
    with Server("--workers", "2") as server:
        client = server.client()
        client.post("/v1/models?name=small.json", json.dumps(small_model(1)).encode())
        client.post("/v1/models?name=long.json", json.dumps(wide_model(120)).encode())
        # Both slots are held while the queue fills, so that its order can be judged.
        holders = [client.post("/v1/plans?priority=9", {"model": "long.json", "time_limit": "10m", "seed": i}).json()["id"] for i in range(2)]
        time.sleep(1)
        begun = time.monotonic()
        times, ids, wrong = accepted(server, n)
        took = time.monotonic() - begun
        hold(not wrong and len(ids) == n, f"{n} jobs are accepted", wrong[:2] or f"{n / took:.0f}/s by 16 clients")
        hold(percentile(times, 0.99) < 0.05, "accept p99 below 50 ms",
             f"p50 {percentile(times, 0.5) * 1e3:.1f} ms, p99 {percentile(times, 0.99) * 1e3:.1f} ms, worst {max(times) * 1e3:.0f} ms")
        one = []
        for i in range(min(200, n)):
            begun = time.monotonic()
            got = client.post("/v1/plans", {"model": "small.json", "algorithm": "m-etf", "seed": 10**6 + i})
            one.append(time.monotonic() - begun)
            ids[got.json()["id"]] = 0
        n = len(ids)
        hold(percentile(one, 0.99) < 0.05, "by one client too", f"p50 {percentile(one, 0.5) * 1e3:.1f} ms, p99 {percentile(one, 0.99) * 1e3:.1f} ms")
        begun = time.monotonic()
        client.get("/v1/plans?limit=500&state=queued")
        hold(time.monotonic() - begun < 0.5, "a page of 500 of them in half a second", f"{(time.monotonic() - begun) * 1e3:.0f} ms")
        hold(server.memory("VmHWM") < 1 << 30, "memory below 1 GB", f"{server.memory('VmHWM') >> 20} MiB at most")
        for own in holders:
            client.post(f"/v1/plans/{own}/cancel")
        begun, until = time.monotonic(), time.monotonic() + n * 0.2 + 60
        while time.monotonic() < until:
            metrics = client.get("/v1/plans?state=queued&limit=1").json()["plans"] or client.get("/v1/plans?state=running&limit=1").json()["plans"]
            if not metrics:
                break
            time.sleep(1)
        took = time.monotonic() - begun
        rows = {row["id"]: row for row in pages(client) if row["id"] in ids}
        states = {}
        for row in rows.values():
            states[row["state"]] = states.get(row["state"], 0) + 1
        hold(states == {"done": n}, "all are there and done, each once", (states, f"{took:.0f} s, {n / took:.0f}/s"))
        hold(all(row["attempts"] == 1 for row in rows.values()), "each was started once")
        # Listed newest first. Two slots: a start may be overtaken by its neighbour within a moment.
        order = sorted(rows.values(), key=lambda row: row["started_ms"])
        place = {own: i for i, own in enumerate(reversed([row["id"] for row in pages(client)]))}
        wanted = sorted(rows.values(), key=lambda row: (-row["priority"], place[row["id"]]))
        slip = max(abs(i - j) for i, j in zip(range(n), positions(order, wanted)))
        hold(slip <= 4, "first in, first out within a priority", f"at most {slip} places off")
        hold(server.memory("VmHWM") < 1 << 30, "memory below 1 GB", f"{server.memory('VmHWM') >> 20} MiB at most, database {server.size() >> 20} MiB")


def positions(order, wanted):
    at = {row["id"]: i for i, row in enumerate(wanted)}
    return [at[row["id"]] for row in order]


def synced(hold):
    """The system calls: before the answer to a plan is sent, the log of the database is synced."""
    if not shutil.which("strace"):
        print("     skipped: no strace here")
        return
    with Server("--workers", "1") as server:
        client = server.client()
        client.post("/v1/models?name=small.json", json.dumps(small_model(1)).encode())
        # The only slot is held, so that what is synced is the acceptance.
        client.post("/v1/models?name=long.json", json.dumps(wide_model(120)).encode())
        client.post("/v1/plans", {"model": "long.json", "time_limit": "60s"})
        time.sleep(1)
        out = os.path.join(server.folder, "strace")
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-s", "80", "-e", "trace=fsync,fdatasync,write,writev,sendto,sendmsg,pwrite64,recvfrom",
                                   "-o", out, "-p", str(server.process.pid)], stderr=subprocess.PIPE)
        time.sleep(1.5)
        held, n = [], 5
        for i in range(n):
            got = client.post("/v1/plans", {"model": "small.json", "seed": i, "algorithm": "m-etf"})
            held.append((got.status, got.json()["id"]))
            time.sleep(0.3)
        tracer.terminate()
        tracer.wait(10)
        lines = open(out, errors="replace").read().splitlines()
        asks = [i for i, line in enumerate(lines) if "POST /v1/plans" in line]
        answers = [i for i, line in enumerate(lines) if "HTTP/1.1 202" in line]
        good = 0
        for ask, answer in zip(asks, answers):
            between = lines[ask:answer]
            synced_at = [i for i, line in enumerate(between) if re.search(r"f(data)?sync\(.*= 0|<\.\.\. f(data)?sync resumed.*= 0", line)]
            wrote = [i for i, line in enumerate(between) if "pwrite64" in line]
            good += bool(synced_at and wrote and wrote[0] < synced_at[-1])
        hold(len(asks) == len(answers) == n and good == n, "each acceptance is written and synced before its answer is sent",
             f"{good} of {n}; {len(asks)} asked, {len(answers)} answered")


def judge(hold, args):
    random.seed(args.seed)
    synced(hold)
    queue(hold, args.jobs)
