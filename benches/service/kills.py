"""kill -9 of server and child at random moments: what was acknowledged is there, whole, and ends."""

import http.client
import json
import os
import random
import signal
import threading
import time

from client import Client, Server, children, planners, small_model

TORN = (OSError, http.client.HTTPException)


class Load:
    """Clients that upload and plan until told to stop; what they were told is kept."""

    def __init__(self, server, n=4):
        self.server, self.stops, self.lock = server, False, threading.Lock()
        self.models, self.plans, self.number, self.wrong = {}, {}, 0, []
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(n)]
        for thread in self.threads:
            thread.start()

    def run(self, i):
        client = None
        while not self.stops:
            try:
                if client is None or client.address != self.server.address:
                    client = Client(self.server.address, timeout=10)
                with self.lock:
                    self.number += 1
                    n = self.number
                if n % 5 == 1:
                    text = json.dumps(small_model(n)).encode() + b" " * (n % 3 << 20)
                    got = client.post(f"/v1/models?name=m{n}.json", text)
                    if got.status in (200, 201):
                        with self.lock:
                            self.models[got.json()["digest"]] = len(text)
                        last = got.json()["digest"]
                    elif got.status != 503 and got.json().get("code") != "crashed":
                        self.wrong.append(f"\n  upload: {got}")
                    else:
                        continue
                with self.lock:
                    last = random.choice(list(self.models)) if self.models else None
                if last is None:
                    continue
                request = {"model": last, "seed": n, "algorithm": "m-etf"}
                got = client.post("/v1/plans", request, {"Idempotency-Key": f"k{n}", "Cache-Control": "no-cache"})
                if got.status in (200, 202):
                    with self.lock:
                        self.plans[got.json()["id"]] = (f"k{n}", request)
                elif got.status != 503:
                    self.wrong.append(f"\n  plan: {got}")
                time.sleep(random.random() * 0.02)
            except TORN:
                client = None
                time.sleep(0.01)

    def end(self):
        self.stops = True
        for thread in self.threads:
            thread.join()


def settled(client, ids, seconds):
    """Waits until all have ended; the states."""
    until = time.monotonic() + seconds
    states = {}
    for own in ids:
        while True:
            got = client.get(f"/v1/plans/{own}?wait=5")
            states[own] = got.json() if got.status == 200 else {"state": f"status {got.status}"}
            if states[own]["state"] not in ("queued", "running") or time.monotonic() > until:
                break
    return states


def judge(hold, args):
    random.seed(args.seed)
    with Server("--workers", "2") as server:
        load, left, rounds = Load(server), 0, {"server": 0, "child": 0}
        for _ in range(args.kills):
            time.sleep(random.random() * 0.3)
            if random.random() < 0.3:
                for pid in children(server.process.pid)[:1]:
                    try:
                        os.kill(pid, signal.SIGKILL)
                        rounds["child"] += 1
                    except OSError:
                        pass
                continue
            server.kill()
            rounds["server"] += 1
            until = time.monotonic() + 2
            while (orphans := planners(server.folder)) and time.monotonic() < until:
                time.sleep(0.01)
            left += len(orphans)
            server.restart()
        load.end()
        client = server.client()
        print(f"     {rounds}, {len(load.models)} models and {len(load.plans)} plans acknowledged")
        hold(not load.wrong, "answers meanwhile are as documented", "".join(load.wrong[:5]))
        hold(left == 0, "no child outlives its server by 2 s", left)
        gone = [own for own in load.models if client.get(f"/v1/models/{own}").status != 200]
        hold(not gone, "every acknowledged model is there", gone[:3])
        states = settled(client, load.plans, 600)
        kinds = {}
        for state in states.values():
            kinds[state["state"]] = kinds.get(state["state"], 0) + 1
        hold(set(kinds) <= {"done", "failed"}, "every acknowledged plan is there and ends", kinds)
        codes = {(state["error"] or {}).get("code") for state in states.values() if state["state"] == "failed"}
        hold(codes <= {"worker-lost", "crashed"}, "those that failed say that their process was lost", codes)
        attempts = max((state.get("attempts", 0) for state in states.values()), default=0)
        hold(attempts <= 3, "none was started more than 3 times", attempts)
        torn = []
        for own, state in states.items():
            events = client.get(f"/v1/plans/{own}/events").body.decode()
            if events.count("event: end") != 1:
                torn.append(f"\n  {own}: {events.count('event: end')} ends")
            if state["state"] == "done":
                answer, plan = client.get(f"/v1/plans/{own}/answer"), client.get(f"/v1/plans/{own}/plan")
                try:
                    json.loads(answer.body)["plan"], json.loads(plan.body)
                except (ValueError, KeyError) as error:
                    torn.append(f"\n  {own}: {error} {answer} {plan}")
        hold(not torn, "no answer is torn, each ended once", "".join(torn[:5]))
        wrong = 0
        for own, (key, request) in list(load.plans.items())[:200]:
            got = client.post("/v1/plans", request, {"Idempotency-Key": key, "Cache-Control": "no-cache"})
            wrong += got.status not in (200, 202) or got.json()["id"] != own
        hold(wrong == 0, "their idempotency keys still lead to them", wrong)
        for digest in random.sample(list(load.models), min(20, len(load.models))):
            now = client.post("/v1/plans?wait=30", {"model": digest, "deterministic": True}).json()
            if now.get("state") != "done":
                hold(False, "a model is torn", now)
        once = [row["id"] for row in pages(client)]
        hold(len(once) == len(set(once)) and set(load.plans) <= set(once), "the listing has each once", len(once))
        time.sleep(0.5)
        hold(not planners(server.folder) and not children(server.process.pid), "no child is left")


def pages(client, query=""):
    cursor = ""
    while True:
        page = client.get(f"/v1/plans?limit=500{query}{cursor}").json()
        yield from page["plans"]
        if not page["next"]:
            return
        cursor = f"&cursor={page['next']}"
