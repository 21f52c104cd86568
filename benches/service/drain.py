"""SIGTERM: readiness turns, streams end, running plans are given back and made after the restart."""

import json
import os
import signal
import socket
import threading
import time

from client import Server, children, planners, wide_model


def judge(hold, _args):
    with Server("--workers", "1", "--drain", "3s") as server:
        client = server.client()
        client.post("/v1/models?name=long.json", json.dumps(wide_model(120)).encode())
        request = {"model": "long.json", "time_limit": "60s"}
        ids = [client.post("/v1/plans", {**request, "seed": seed}).json() for seed in range(3)]
        hold(all("id" in one for one in ids), "three long plans are taken", ids if not all("id" in one for one in ids) else "")
        ids = [one["id"] for one in ids]
        time.sleep(1)
        states = [client.get(f"/v1/plans/{own}").json()["state"] for own in ids]
        hold(states == ["running", "queued", "queued"], "one runs, two wait", states)
        before = server.cpu_s()
        time.sleep(2)
        hold(server.cpu_s() - before < 0.1, "a server takes no processor from what plans", f"{server.cpu_s() - before:.2f} s of 2 s")
        stream, ended = socket.create_connection(server.address), {}
        stream.sendall(f"GET /v1/plans/{ids[0]}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

        def read():
            while not (got := stream.recv(65536)).endswith(b"0\r\n\r\n") and got:
                pass
            ended["stream"] = time.monotonic()

        reader = threading.Thread(target=read)
        reader.start()
        waiting = {}

        def wait():
            begun = time.monotonic()
            waiting["answer"] = server.client().get(f"/v1/plans/{ids[1]}?wait=60").status, time.monotonic() - begun

        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.5)
        child = children(server.process.pid)
        told = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        try:
            fresh = server.client(timeout=2)
            ready, live = fresh.get("/readyz").status, fresh.get("/livez").status
            taken = fresh.post("/v1/plans", request).status
            seen = fresh.get(f"/v1/plans/{ids[0]}").status
        except OSError as error:
            ready = live = taken = seen = str(error)
        hold(ready == 503, "readiness turns at once, for new connections too", ready)
        hold(live == 200 and seen == 200, "what is asked meanwhile is answered", (live, seen))
        hold(taken == 503, "no plan is taken", taken)
        server.process.wait(30)
        gone = time.monotonic() - told
        hold(2.5 < gone < 12, "it ends after its time to drain", f"{gone:.1f} s")
        reader.join(5)
        waiter.join(5)
        hold("stream" in ended and ended["stream"] - told < 2, "streams end at once", ended.get("stream", 0) - told)
        hold(waiting.get("answer", (0, 99))[0] == 200, "who waits is answered", waiting)
        hold(server.process.returncode == 0, "its exit code is 0", server.process.returncode)
        hold(not [pid for pid in child if os.path.exists(f"/proc/{pid}")] and not planners(server.folder), "no child is left")
        server.restart()
        client = server.client()
        time.sleep(1.5)
        now = [client.get(f"/v1/plans/{own}").json() for own in ids]
        hold([one["state"] for one in now] == ["running", "queued", "queued"] and now[0]["attempts"] == 1,
             "after the restart it runs again, which counts as no attempt", [(one["state"], one["attempts"]) for one in now])
        hold(now[0]["value_ns"] is not None, "and its best plan so far was kept", now[0]["artefacts"])
