"""Requests that no client of good will sends."""

import json
import socket
import threading
import time

from client import Server, small_model
from uploads import raw

HOST = b"Host: localhost\r\n"


def status(answer):
    """The status of the first answer of a connection; 0 where it was closed without one."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.") else 0


def lines(hold, address):
    """What stands before the body. Each may be answered or closed, never by 5xx."""
    json_body = b'{"model":"m"}'
    cases = [
        ("HTTP/1.0", b"GET /livez HTTP/1.0\r\n" + HOST + b"\r\n", {200}),
        ("HTTP/1.0 without Host", b"GET /livez HTTP/1.0\r\n\r\n", {421, 400}),
        ("HTTP/1.1 without Host", b"GET /livez HTTP/1.1\r\n\r\n", {421, 400}),
        ("another host", b"GET /v1/plans HTTP/1.1\r\nHost: evil.example\r\n\r\n", {421}),
        ("a host that begins well", b"GET /v1/plans HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", {421}),
        ("a host that begins with an address", b"GET /v1/plans HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", {421}),
        ("two hosts", b"GET /v1/plans HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", {400, 421}),
        ("two hosts, the other first", b"GET /v1/plans HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n", {400, 421}),
        ("an absolute target of another host", b"GET http://evil.example/v1/plans HTTP/1.1\r\n" + HOST + b"\r\n", {421, 400}),
        ("a user in the host", b"GET /v1/plans HTTP/1.1\r\nHost: a@localhost\r\n\r\n", {421, 400}),
        ("IPv6", b"GET /livez HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", {200}),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400, 0}),
        ("NUL in the target", b"GET /liv\0ez HTTP/1.1\r\n" + HOST + b"\r\n", {400, 0}),
        ("NUL in a header", b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", {400, 0}),
        ("a long target", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {400, 404, 414, 431, 0}),
        ("a huge header", b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 200000 + b"\r\n\r\n", {400, 431, 0}),
        ("many headers", b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 5000 + b"\r\n", {400, 431, 0}),
        ("a folded header", b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", {200, 400, 0}),
        ("a space before the colon", b"GET /livez HTTP/1.1\r\n" + HOST + b"Content-Length : 5\r\n\r\n", {400, 0}),
        ("an unknown method", b"BREW /livez HTTP/1.1\r\n" + HOST + b"\r\n", {405, 400}),
        ("CONNECT", b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", {400, 404, 405, 421, 0}),
        ("both lengths", b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Content-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400, 422, 0}),
        ("two lengths", b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Content-Length: 13\r\nContent-Length: 1\r\n\r\n" + json_body, {400, 0}),
        ("a negative length", b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", {400, 0}),
        ("a length with a sign", b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Content-Length: +13\r\n\r\n" + json_body, {400, 0}),
        ("a length above 64 bits", b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n", {400, 413, 0}),
        ("an unknown encoding", b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n" + json_body, {400, 501, 0}),
        ("chunked, not last", b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", {400, 501, 0}),
        ("a chunk of a wrong length", b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n", {400, 408, 0}),
        ("a chunk of an endless length", b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 40 + b"fffffffffffffffff\r\n", {400, 408, 413, 0}),
        ("long chunk extensions", b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 100000 + b"\r\n{\r\n0\r\n\r\n", {400, 408, 413, 422, 0}),
    ]
    wrong = []
    for what, data, wanted in cases:
        got = raw(address, data, 1.5)
        if status(got) not in wanted:
            wrong.append(f"\n  {what}: {got[:200]!r}, not {sorted(wanted)}")
    hold(not wrong, f"{len(cases)} odd heads are answered with 4xx or closed", "".join(wrong))


def pipelined(hold, address):
    one = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    got = raw(address, one * 99 + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    hold(got.count(b"HTTP/1.1 200") == 100, "100 pipelined requests have 100 answers", got.count(b"HTTP/1.1 200"))
    smuggled = b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\n{}\n" + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    got = raw(address, smuggled)
    hold(got.count(b"HTTP/1.1 4") == 1 and got.count(b"HTTP/1.1 200") == 1, "a refused request leaves the next one whole", got[:80])


def targets(hold, client):
    """Paths, names and queries."""
    wrong = []

    def expect(got, wanted, what):
        if got.status not in wanted:
            wrong.append(f"\n  {what}: {got}")
        elif got.status >= 400 and got.headers.get("content-type") != "application/problem+json":
            wrong.append(f"\n  {what}: no problem document: {got.headers.get('content-type')} {got}")

    for path in ["/v1/plans/../../etc/passwd", "/v1/plans/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/v1/plans/%00", "/v1/plans/%ff%fe",
                 "/v1/plans/%", "/v1/plans/%zz", "/v1/models/sha256:..%2f..%2fetc%2fpasswd", "/v1/plans/" + "a" * 5000, "//v1/plans",
                 "/v1/plans/x/artefacts/..%2f..%2fplan", "/v1/plans//events", "/v1/uploads/%F0%9F%92%A9", "/V1/plans", "/v1/plans/"]:
        expect(client.get(path), {400, 404, 414}, path)
    text = json.dumps(small_model(20)).encode()
    for name in ["..", ".", "../x.json", "a/b.json", "a%00b", "a%0ab.json", "-o", "a\\b", "a%23b.json", "", "x" * 300, "%ff", "%2e%2e%2fx"]:
        expect(client.post(f"/v1/models?name={name}", text), {422}, f"the name {name!r}")
    for name in ["%E6%A8%A1%E5%9E%8B.json", "a%20b.json", "caf%C3%A9.json", "a+b.json", "%F0%9F%92%A9.json", "plan.json", "'%3B--.json",
                 "%E2%80%AEtxt.json", "model.json%20", "CON.json"]:
        got = client.post(f"/v1/models?name={name}", text)
        expect(got, {200, 201}, f"the name {name!r}")
        if got.status in (200, 201):
            kept = got.json()["name"]
            got = client.post("/v1/plans?wait=30", {"model": kept, "deterministic": True})
            expect(got, {200}, f"a plan of {kept!r}")
            if got.status == 200 and got.json()["state"] != "done":
                wrong.append(f"\n  a plan of {kept!r} is {got}")
            elif got.status == 200:
                target = client.get("/v1/plans/%s/explain" % got.json()["id"])
                expect(target, {200}, f"its explanation of {kept!r}")
    for query in ["wait=-1", "wait=1e400", "wait=NaN", "wait=inf", "wait=", "wait=1&wait=2", "priority=10", "priority=-1", "priority=1.5",
                  "priority=99999999999999999999", "unknown=1", "wait=%00", "wait=61"]:
        expect(client.post(f"/v1/plans?{query}", {"model": "a"}), {422}, f"the query {query}")
    for query in ["limit=0", "limit=501", "limit=x", "cursor=x", "cursor=1e3", "cursor=9999999999999999999", "state=zz", "state=done'--"]:
        expect(client.get(f"/v1/plans?{query}"), {422}, f"the query {query}")
    hold(not wrong, "odd paths, names and queries are refused by name, odd but sound names are planned", "".join(wrong))


def bodies(hold, client):
    good = client.post("/v1/models?name=m.json", json.dumps(small_model(21)).encode()).json()["digest"]
    deep = b'{"model":"m.json","cluster":' + b'{"a":' * 5000 + b"1" + b"}" * 5001
    flat = b'{"model":' + b"[" * 100000
    cases = {
        "nothing": b"", "null": b"null", "a list": b"[]", "a string": b'"x"', "a number": b"1", "cut off": b'{"model":',
        "two documents": b'{"model":"m.json"}{"model":"m.json"}', "duplicate keys": b'{"model":"m.json","model":"other.json"}',
        "duplicate keys inside": b'{"model":"m.json","dims":{"a":1,"a":2}}',
        "deep": deep, "deep lists": flat, "no UTF-8": b'{"model":"\xff\xfe"}', "a lone surrogate": b'{"model":"\\ud800"}',
        "NUL in a name": b'{"model":"m\\u0000.json"}', "a path": b'{"model":"/etc/passwd"}', "a path up": b'{"model":"../meshwright.db"}',
        "1e400": b'{"model":"m.json","seed":1e400}', "-1": b'{"model":"m.json","seed":-1}', "1e30": b'{"model":"m.json","batch":1e30}',
        "2^64": b'{"model":"m.json","seed":18446744073709551616}', "NaN": b'{"model":"m.json","seed":NaN}', "an unknown field": b'{"model":"m.json","nope":1}',
        "a wrong type": b'{"model":"m.json","pin":"a=1"}', "no model": b'{"cluster":"c"}', "another verb": b'{"verb":"import","model":"m.json"}',
        "a model of a wrong kind": b'{"model":7}', "an output file": b'{"model":"m.json","output":"/etc/x"}', "a digest of none": b'{"model":"sha256:00"}',
        "an empty name": b'{"model":""}', "a long name": b'{"model":"' + b"x" * 100000 + b'"}',
    }
    wrong = []
    for what, body in cases.items():
        got = client.ask("POST", "/v1/plans?wait=5", body, {"Content-Type": "application/json"})
        if got.status != 422 or got.headers.get("content-type") != "application/problem+json" or not got.json().get("title"):
            wrong.append(f"\n  {what}: {got}")
    hold(not wrong, f"{len(cases)} odd bodies of plans are refused with a diagnostic", "".join(wrong))
    head = b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (9 << 20)
    told = [status(raw(client.address, head + b" " * (9 << 20))) for _ in range(20)]
    hold(told == [413] * 20, "a body above the limit is too long, and its sender gets to read that", told)
    wrong = []
    for path in ("/v1/simulate", "/v1/compare", "/v1/measurements", "/v1/uploads"):
        for what, body in cases.items():
            got = client.ask("POST", path, body, {"Content-Type": "application/json"})
            if got.status not in (404, 422):
                wrong.append(f"\n  {path} {what}: {got}")
    hold(not wrong, "so they are elsewhere", "".join(wrong))
    for kind in ("clusters", "profiles"):
        for body in (b"", b"\0" * 100, b"a: &a [*a]", b"a: " + b"[" * 10000):
            digest = client.post(f"/v1/{kind}?name=c.yaml", body).json().get("digest")
            got = client.post("/v1/plans?wait=20", {"model": good, kind[:-1]: digest or "none"})
            if got.status == 200 and got.json()["state"] not in ("failed",) or got.status >= 500:
                hold(False, f"a hostile {kind[:-1]} {body[:20]!r}", got)


def unread(server, until, requests=3000):
    """Asks for far more than fits the buffers on the way, and reads nothing."""
    with socket.create_connection(server.address, timeout=1) as connection:
        begun = time.monotonic()
        try:
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n")
            connection.settimeout(0.2)
            for _ in range(requests):
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n")
        except socket.timeout:
            pass
        connection.settimeout(1)
        gone = None
        while gone is None and time.monotonic() < begun + 90:
            time.sleep(0.5)
            try:
                connection.sendall(b"x")
            except socket.timeout:
                pass
            except OSError as error:
                gone = (time.monotonic() - begun, str(error))
        until["an answer that nobody reads"] = gone or (None, b"still open")


def lazy(server, taken, seconds=150, rate=4096):
    """Reads far more than fits the buffers on the way, a little at a time."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.connect(server.address)
        connection.settimeout(5)
        begun, taken[rate] = time.monotonic(), [0, ""]
        try:
            connection.sendall((b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n") * 100)
            while time.monotonic() < begun + seconds:
                got = connection.recv(rate)
                taken[rate][0] += len(got)
                if not got:
                    raise OSError("closed")
                time.sleep(len(got) / rate)
        except OSError as error:
            taken[rate][1] = f"{error} after {time.monotonic() - begun:.1f} s"


def slow(hold, server):
    """Heads and bodies that trickle are cut, and nobody else waits meanwhile."""
    until = {}

    def trickle(what, head, step):
        begun = time.monotonic()
        with socket.create_connection(server.address, timeout=1) as connection:
            try:
                connection.sendall(head)
                while time.monotonic() < begun + 40:
                    if step:
                        connection.sendall(step)
                    try:
                        got = connection.recv(65536)
                        until[what] = (time.monotonic() - begun, got[:40])
                        return
                    except socket.timeout:
                        pass
            except OSError as error:
                until[what] = (time.monotonic() - begun, str(error))
                return
        until[what] = (None, b"still open")

    cases = {
        "a head that trickles": (b"GET /livez HTTP/1.1\r\nX", b"x"),
        "a head that stops": (b"GET /livez HTTP/1.1\r\n", b""),
        "a connection without a word": (b"", b""),
        "a body that stops": (b"POST /v1/models?name=a HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\nabc", b""),
        "a body that trickles": (b"POST /v1/models?name=a HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\nabc", b"x"),
        "a chunked body that stops": (b"POST /v1/plans HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", b""),
    }
    threads = [threading.Thread(target=trickle, args=(what, *data)) for what, data in cases.items()]
    threads.append(threading.Thread(target=unread, args=(server, until)))
    taken = {}
    threads += [threading.Thread(target=lazy, args=(server, taken, 150, rate)) for rate in (4096, 16384)]
    for thread in threads:
        thread.start()
    client = server.client()
    worst = 0
    for _ in range(100):
        begun = time.monotonic()
        client.get("/v1/plans?limit=1")
        worst = max(worst, time.monotonic() - begun)
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    for what in until:
        seconds, got = until[what]
        hold(seconds is not None and seconds < (80 if "reads" in what else 35), f"{what} is cut", f"{seconds and round(seconds, 1)} s, {got!r}")
    hold(not any(why for _, why in taken.values()), "who reads slowly goes on reading", taken)
    hold(worst < 0.5, "others are answered meanwhile", f"worst {worst * 1e3:.0f} ms")


def judge(hold, _args):
    with Server() as server:
        lines(hold, server.address)
        pipelined(hold, server.address)
        client = server.client()
        targets(hold, client)
        bodies(hold, client)
        slow(hold, server)
        hold(client.get("/readyz").status == 200 and "panicked" not in server.said(), "the server lives, without a panic", server.said()[-300:] if "panicked" in server.said() else "")
