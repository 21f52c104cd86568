"""200 mixed reads a second while two workers plan: no 5xx, p99 below 100 ms, memory flat."""

import json
import random
import threading
import time

from client import Server, percentile, small_model, wide_model


def judge(hold, args):
    rate, seconds = 200, args.minutes * 60
    with Server("--workers", "2") as server:
        client = server.client()
        client.post("/v1/models?name=small.json", json.dumps(small_model(1)).encode())
        client.post("/v1/models?name=long.json", json.dumps(wide_model(120)).encode())
        done = [client.post("/v1/plans?wait=30", {"model": "small.json", "seed": i, "algorithm": "m-etf"}).json()["id"] for i in range(100)]
        for i in range(int(seconds // 5) + 4):
            client.post("/v1/plans", {"model": "long.json", "time_limit": "10s", "seed": i})
        waiting = [row["id"] for row in client.get("/v1/plans?state=queued").json()["plans"]] or done
        digest = client.get("/v1/models/small.json").json()["digest"]
        paths = ["/v1/plans?limit=50", "/v1/plans?state=queued&limit=20", "/v1/plans/{done}", "/v1/plans/{done}/answer", "/v1/plans/{done}/plan",
                 "/v1/plans/{wait}", "/v1/models", f"/v1/models/{digest}", "/v1/algorithms", "/v1/devices", "/metrics", "/readyz",
                 "/v1/plans/{done}/events", "/v1/measurements", "/openapi.json"]
        times, statuses, lock, memory = {}, {}, threading.Lock(), []
        begun = time.monotonic()

        def go(i, n=20):
            own, turn, draw = server.client(), i, random.Random(i)
            while (due := begun + turn / rate) < begun + seconds:
                time.sleep(max(0.0, due - time.monotonic()))
                path = draw.choice(paths)
                asked = path.replace("{done}", draw.choice(done)).replace("{wait}", draw.choice(waiting))
                sent = time.monotonic()
                got = own.get(asked)
                with lock:
                    # From when it was due: a client that waits for its turn waits for the server.
                    times.setdefault(path, []).append(time.monotonic() - min(sent, due + 0.05))
                    statuses[got.status] = statuses.get(got.status, 0) + 1
                turn += n

        threads = [threading.Thread(target=go, args=(i,)) for i in range(20)]
        for thread in threads:
            thread.start()
        while time.monotonic() < begun + seconds:
            memory.append(server.memory())
            time.sleep(min(1, seconds / 20))
        for thread in threads:
            thread.join()
        every = [one for own in times.values() for one in own]
        slowest = sorted(((percentile(own, 0.99), path) for path, own in times.items()), reverse=True)[:3]
        hold(set(statuses) == {200}, f"{len(every)} reads in {seconds:.0f} s without a failure", statuses)
        hold(percentile(every, 0.99) < 0.1, "p99 below 100 ms",
             f"p50 {percentile(every, 0.5) * 1e3:.1f} ms, p99 {percentile(every, 0.99) * 1e3:.1f} ms; slowest "
             + ", ".join(f"{path} {own * 1e3:.0f} ms" for own, path in slowest))
        early, late = max(memory[len(memory) // 4:len(memory) // 2]), max(memory[-len(memory) // 4:])
        hold(late < early * 1.1 + (8 << 20), "memory flat", f"{early >> 20} MiB, then {late >> 20} MiB")
