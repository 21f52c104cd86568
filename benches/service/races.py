"""Requests that meet: each has one winner, and the state says who."""

import json
import random
import threading
import time

from client import Server, small_model, wide_model


def together(*works):
    """Runs all at once; what they returned."""
    gate, results = threading.Barrier(len(works)), [None] * len(works)

    def run(i, work):
        gate.wait()
        results[i] = work()

    threads = [threading.Thread(target=run, args=own) for own in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def upload(client, name, model):
    return client.post(f"/v1/models?name={name}", json.dumps(model).encode()).json()["digest"]


def same_content(hold, server):
    upload(server.client(), "same.json", small_model(41))
    asked = [lambda: server.client().post("/v1/plans?wait=30", {"model": "same.json", "deterministic": True})] * 24
    got = together(*asked)
    ids = {one.json()["id"] for one in got}
    hold(len(ids) == 1 and sum(one.headers["cache"] == "miss" for one in got) == 1, "the same content in parallel is one plan",
         (len(ids), sorted(one.headers["cache"] for one in got).count("hit")))
    hold({one.status for one in got} == {200} and {one.json()["state"] for one in got} == {"done"}, "that all wait for")


def same_key(hold, server):
    upload(server.client(), "key.json", small_model(42))

    def ask(i, key, seed):
        return lambda: server.client().post("/v1/plans", {"model": "key.json", "seed": seed},
                                            {"Idempotency-Key": key, "Cache-Control": "no-cache"})

    got = together(*[ask(i, "one", 1) for i in range(24)])
    ids = {one.json().get("id") for one in got}
    hold(len(ids) == 1, "the same key in parallel is one plan, though none may be old", len(ids))
    got = together(*[ask(i, "two", i) for i in range(24)])
    statuses = sorted(one.status for one in got)
    hold(statuses.count(422) == 23, "of bodies that differ under one key one is taken", statuses)


def cancel_and_end(hold, server, rounds=40):
    """Cancelled at a random moment near its end, a plan ends once and keeps what it has."""
    client = server.client()
    wrong, seen = [], {}
    for i in range(rounds):
        upload(client, "race.json", small_model(100 + i))
        asked = client.post("/v1/plans", {"model": "race.json", "deterministic": True}).json()
        place = f"/v1/plans/{asked['id']}"
        time.sleep(random.random() * 0.15)
        got = client.post(place + "/cancel")
        until = time.monotonic() + 20
        while (now := client.get(place + "?wait=5").json())["state"] in ("queued", "running") and time.monotonic() < until:
            pass
        seen[now["state"]] = seen.get(now["state"], 0) + 1
        events = client.get(place + "/events").body.decode()
        if got.status != 202 or now["state"] not in ("done", "cancelled") or events.count("event: end") != 1:
            wrong.append(f"\n  {got.status} {now['state']} {events.count('event: end')} ends")
        if now["state"] == "done" and client.get(place + "/answer").status != 200:
            wrong.append("\n  done without an answer")
    hold(not wrong, "cancelled near its end a plan ends once", "".join(wrong) or seen)
    long = upload(client, "long.json", wide_model(60))
    asked = client.post("/v1/plans", {"model": long, "time_limit": "60s"}).json()
    place = f"/v1/plans/{asked['id']}"
    until = time.monotonic() + 20
    while client.get(place).json()["value_ns"] is None and time.monotonic() < until:
        time.sleep(0.1)
    before = client.get(place).json()
    begun = time.monotonic()
    client.post(place + "/cancel")
    while (now := client.get(place + "?wait=5").json())["state"] == "running" and time.monotonic() < begun + 20:
        pass
    hold(before["state"] == "done" or now["state"] == "cancelled" and client.get(place + "/plan").status == 200,
         "a search that is cancelled keeps its best plan", (before["state"], now["state"], now["artefacts"], f"{time.monotonic() - begun:.1f} s"))


def delete_and_run(hold, server, rounds=40):
    client = server.client()
    wrong = []
    for i in range(rounds):
        upload(client, "gone.json", small_model(300 + i))
        asked = client.post("/v1/plans", {"model": "gone.json", "deterministic": True}).json()
        place = f"/v1/plans/{asked['id']}"
        time.sleep(random.random() * 0.1)
        flag = "?cancel=1" if i % 2 else ""
        got = together(*[lambda: server.client().ask("DELETE", place + flag)] * 3)
        statuses = sorted(one.status for one in got)
        # Each is told that it is gone, was gone, or runs.
        if not set(statuses) <= {204, 404, 409} or statuses.count(204) > 1 or (flag and 204 not in statuses):
            wrong.append(f"\n  {statuses} {flag}")
        now = client.get(place)
        if (204 in statuses) != (now.status == 404):
            wrong.append(f"\n  {statuses} but {now}")
    hold(not wrong, "deleted while it runs a plan is gone or refused, once", "".join(wrong[:5]))
    left = client.get("/v1/plans?state=running").json()["plans"]
    time.sleep(3)
    left = client.get("/v1/plans?state=running").json()["plans"]
    hold(not left, "and none runs on", len(left))


def model_and_plan(hold, server, rounds=20):
    """A model that is deleted while it is planned: the plan says so, or ends."""
    client = server.client()
    wrong = []
    for i in range(rounds):
        digest = upload(client, "away.json", small_model(500 + i))
        asked = client.post("/v1/plans", {"model": digest, "deterministic": True})
        client.ask("DELETE", f"/v1/models/{digest}")
        now = client.get(f"/v1/plans/{asked.json()['id']}?wait=20").json()
        if now["state"] not in ("done", "failed") or now["state"] == "failed" and not now["error"]:
            wrong.append(f"\n  {now}")
    hold(not wrong, "a plan whose model is deleted ends and says why", "".join(wrong[:3]))
    # Stored and deleted at once: what is listed can be planned.
    model = json.dumps(small_model(77)).encode()
    for _ in range(20):
        got = together(lambda: server.client().post("/v1/models?name=t.json", model), lambda: server.client().post("/v1/models?name=t.json", model),
                       lambda: server.client().ask("DELETE", "/v1/models/" + digest_of(model)))
        if any(one.status >= 500 for one in got):
            wrong.append(f"\n  {got}")
    listed = client.get("/v1/models/t.json")
    if listed.status == 200:
        now = client.post("/v1/plans?wait=20", {"model": "t.json", "deterministic": True}).json()
        wrong += [] if now.get("state") == "done" else [f"\n  {now}"]
    hold(not wrong, "a model stored and deleted at once is there as a whole or not at all", "".join(wrong[:3]))


def files_of_plans(hold, server):
    """Names of a plan's own files are no targets; what was deleted is not answered from memory."""
    client = server.client()
    upload(client, "files.json", small_model(600))
    own = client.post("/v1/plans?wait=30", {"model": "files.json", "deterministic": True}).json()["id"]
    told = {name: client.get(f"/v1/plans/{own}/artefacts/{name}").status for name in ("plan", "answer", "incumbent", "view", "dot")}
    hold(all(told[name] == 422 for name in ("plan", "answer", "incumbent")), "files of a plan are no exports", told)
    parts = ("", "/answer", "/plan", "/explain", "/timeline", "/graph", "/events", "/artefacts/dot")
    before = [client.get(f"/v1/plans/{own}{part}").status for part in parts]
    client.ask("DELETE", f"/v1/plans/{own}")
    after = [client.get(f"/v1/plans/{own}{part}").status for part in parts]
    hold(set(after) == {404}, "all of a deleted plan is gone", (before, after))


def digest_of(data):
    import hashlib
    return "sha256:" + hashlib.sha256(data).hexdigest()


def judge(hold, args):
    random.seed(args.seed)
    with Server("--workers", "2") as server:
        for part in (same_content, same_key, cancel_and_end, delete_and_run, model_and_plan, files_of_plans):
            part(hold, server)
        hold("panicked" not in server.said(), "no panic")
