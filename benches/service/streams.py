"""Many event streams on one plan; many connections that rest or trickle beside a healthy client."""

import json
import resource
import selectors
import socket
import time

from client import Server, percentile, wide_model


def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(hard, 16384)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def events(hold, n):
    with Server("--workers", "1", "--connections", "8192") as server:
        client = server.client()
        client.post("/v1/models?name=long.json", json.dumps(wide_model(120)).encode())
        asked = client.post("/v1/plans", {"model": "long.json", "time_limit": "12s"}).json()
        place = f"/v1/plans/{asked['id']}"
        head = f"GET {place}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        ready, first, seen, text = selectors.DefaultSelector(), {}, {}, {}
        begun = time.monotonic()
        for i in range(n):
            connection = socket.create_connection(server.address, timeout=20)
            connection.sendall(head)
            connection.setblocking(False)
            ready.register(connection, selectors.EVENT_READ, i)
            text[i] = b""
        opened = time.monotonic() - begun
        open_ones, until = n, time.monotonic() + 60
        while open_ones and time.monotonic() < until:
            for key, _ in ready.select(1):
                try:
                    data = key.fileobj.recv(1 << 18)
                except BlockingIOError:
                    continue
                now = time.monotonic()
                whole = text[key.data] + data
                lines = whole.split(b"\n")
                text[key.data] = lines.pop()
                for line in lines:
                    if line.startswith(b"id:"):
                        own = int(line[3:])
                        first.setdefault(own, now)
                        seen.setdefault(own, {})[key.data] = now
                if not data or b"0\r\n\r\n" in whole[-16:]:
                    ready.unregister(key.fileobj)
                    key.fileobj.close()
                    open_ones -= 1
        last = max(seen, default=0)
        hold(open_ones == 0, f"{n} streams end with their plan", f"opened in {opened:.1f} s")
        missed = [own for own, who in seen.items() if len(who) != n]
        hold(last > 3 and not missed, "each client gets each event", f"{len(seen)} events, incomplete {missed[:5]}")
        # Of events that came when all were connected: from the first client that got it to each.
        late = [at - first[own] for own, who in seen.items() if first[own] > begun + opened + 0.5 for at in who.values()]
        hold(bool(late) and percentile(late, 0.99) < 1, "lag p99 below 1 s",
             f"p99 {percentile(late, 0.99) * 1e3:.0f} ms, worst {max(late) * 1e3:.0f} ms of {len(late)}" if late else "no event")
        hold(server.memory() < 1 << 30, "memory below 1 GiB", f"{server.memory() >> 20} MiB")
        resumed(hold, server, place)


def read_stream(server, path, headers=""):
    with socket.create_connection(server.address, timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
        text = b""
        while not text.endswith(b"0\r\n\r\n"):
            more = connection.recv(65536)
            if not more:
                break
            text += more
    return [int(line[3:]) for line in text.split(b"\n") if line.startswith(b"id:")]


def resumed(hold, server, place):
    ids = read_stream(server, place + "/events")
    hold(ids == list(range(1, ids[-1] + 1)), "a stream of a plan that ended has all events in order", len(ids))
    for last in (0, 1, ids[-2], ids[-1]):
        hold(read_stream(server, place + "/events", f"Last-Event-ID: {last}\r\n") == ids[last:], f"it goes on after {last}")
    for last in ("-1", "x", "9" * 30, str(ids[-1] + 5)):
        got = read_stream(server, place + "/events", f"Last-Event-ID: {last}\r\n")
        hold(got in ([], ids), f"after `{last[:5]}` it has all or none", len(got))


def healthy(client, seconds):
    times, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.monotonic()
        got = client.get("/v1/plans?limit=5")
        times.append(time.monotonic() - begun)
        if got.status != 200:
            times.append(99)
        time.sleep(0.01)
    return times


def idle(hold, n):
    with Server("--workers", "1", "--connections", "8192") as server:
        client = server.client()
        before = healthy(client, 3)
        held = []
        for i in range(n):
            connection = socket.create_connection(server.address, timeout=20)
            if i % 2:
                connection.sendall(b"POST /v1/models?name=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" if i % 4 == 1 else b"GET /v1")
            held.append(connection)
        times, until = [], time.monotonic() + 12
        while time.monotonic() < until:
            times += healthy(client, 0.3)
            for connection in held[1::8]:
                try:
                    connection.send(b"x")
                except OSError:
                    pass
        hold(percentile(times, 0.99) < 0.2, f"{n} idle or trickling connections leave a healthy client's p99 below 200 ms",
             f"p99 {percentile(times, 0.99) * 1e3:.1f} ms, before {percentile(before, 0.99) * 1e3:.1f} ms")
        for connection in held:
            connection.close()
    with Server("--workers", "1", "--connections", "50") as server:
        client = server.client()
        client.get("/livez")
        held = [socket.create_connection(server.address, timeout=5) for _ in range(200)]
        hold(client.get("/readyz").status == 200, "past the limit of connections those that are there are answered")
        for connection in held:
            connection.close()
        time.sleep(0.3)
        hold(server.client().get("/readyz").status == 200, "and others once there is room")


def judge(hold, args):
    many_files()
    events(hold, args.clients)
    idle(hold, args.idle)
