"""Uploads: over the cap, cut off, resumed, hostile, all at once."""

import hashlib
import json
import os
import sqlite3
import socket
import subprocess
import tempfile
import threading
import time

from client import PROGRAM, Server, small_model

MIB = 1 << 20


def raw(address, data, wait=5.0):
    """Sends bytes on a connection of its own; what came back until the end or silence."""
    with socket.create_connection(address, timeout=wait) as connection:
        try:
            connection.sendall(data)
        except OSError:
            pass
        got = b""
        try:
            while True:
                more = connection.recv(65536)
                if not more:
                    break
                got += more
        except OSError:
            pass
        return got


def rows(server, statement):
    """What lies in the database, read beside the server."""
    connection = sqlite3.connect(f"file:{os.path.join(server.folder, server.database)}?mode=ro", uri=True)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def no_chunks(server, but=0, wait=10):
    """Whether the chunks that belong to no file are gone within a while."""
    statement = "SELECT COUNT(*) FROM chunks WHERE holder NOT IN (SELECT holder FROM contents)"
    until = time.monotonic() + wait
    while (n := rows(server, statement)[0][0]) != but and time.monotonic() < until:
        time.sleep(0.2)
    return n


def over_the_cap(hold):
    with Server("--most-upload", "4MiB") as server:
        before = server.size()
        head = b"POST /v1/models?name=a.onnx HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
        answer = raw(server.address, head)
        hold(b" 413 " in answer[:20], "a stated length above the cap is refused", answer[:60])
        hold(server.size() - before < MIB, "before anything is written", server.size() - before)
        chunk = b"%x\r\n" % MIB + b"\0" * MIB + b"\r\n"
        head = b"POST /v1/clusters?name=a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = raw(server.address, head + chunk * 16)
        hold(b" 413 " in answer[:20] or answer == b"", "so is an unstated one once it is above the cap", answer[:60])
        hold(server.size() - before < 14 * MIB, "with no more written than the cap and its log", server.size() - before)
        hold(no_chunks(server) == 0, "of which nothing stays")
        client = server.client()
        begun = client.post("/v1/uploads", {"name": "a", "bytes": 5 * MIB})
        hold(begun.status == 413, "an announced length above the cap is refused", begun)
        for bytes_ in (-1, 1.5, 2**63, 2**64, "1", None):
            begun = client.post("/v1/uploads", {"name": "a", "bytes": bytes_})
            hold(begun.status in (413, 422), f"a length of {bytes_!r} is refused", begun.status)


def cut_off(hold):
    with Server() as server:
        text = json.dumps(small_model(5)).encode()
        for what, n, of in (("before the first chunk", 1000, 5000), ("after two chunks", 2 * MIB + 5, 4 * MIB)):
            for _ in range(5):
                head = f"POST /v1/models?name=a.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: {of}\r\n\r\n".encode()
                with socket.create_connection(server.address) as connection:
                    connection.sendall(head + b" " * n)
                    time.sleep(0.02)
            hold(no_chunks(server) == 0, f"an upload cut off {what} leaves nothing")
        for _ in range(30):
            head = f"POST /v1/models?name=a.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n\r\n".encode()
            with socket.create_connection(server.address) as connection:
                connection.sendall(head + text)
                time.sleep(0.004)
        left = no_chunks(server)
        hold(left == 0, "so does a client that leaves while its model is looked at", f"{left} chunks")


def resumed(hold):
    with Server() as server:
        client = server.client()
        data = json.dumps(small_model(7)).encode()
        data = data[:-1] + b" " * (3 * MIB) + b"}"
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        begun = client.post("/v1/uploads", {"name": "big.json", "bytes": len(data)})
        hold(begun.status == 201 and begun.headers.get("location", "").startswith("/v1/uploads/"), "an upload is announced", begun)
        place = begun.headers["location"]
        got = client.ask("PATCH", place, data[:MIB], {"Upload-Offset": "0"})
        hold(got.status == 204 and got.headers.get("upload-offset") == str(MIB), "its first part is taken", got.headers.get("upload-offset"))
        for offset in ("0", "-1", "x", str(2**64), str(len(data))):
            got = client.ask("PATCH", place, b"zz", {"Upload-Offset": offset})
            hold(got.status == 409, f"an offset of {offset} is refused", got.status)
        got = client.ask("PATCH", place, b"zz")
        hold(got.status in (409, 422), "so is none", got.status)
        head = (f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\nUpload-Offset: {MIB}\r\n"
                f"Content-Length: {len(data) - MIB}\r\n\r\n").encode()
        with socket.create_connection(server.address) as connection:
            connection.sendall(head + data[MIB:2 * MIB + 77])
            time.sleep(0.5)
        time.sleep(0.3)
        kept = client.get(place).json()["offset"]
        hold(MIB <= kept <= 2 * MIB + 77, "a part cut off is kept as far as it came", kept)
        server.kill()
        server.restart()
        client = server.client()
        again = client.get(place)
        hold(again.status == 200 and again.json()["offset"] == kept, "kill -9 and a restart change nothing", again)
        got = client.ask("PATCH", place, data[kept:] + b"x", {"Upload-Offset": str(kept)})
        hold(got.status == 413, "more than was announced is refused", got.status)
        kept = client.get(place).json()["offset"]
        got = client.ask("PATCH", place, data[kept:], {"Upload-Offset": str(kept)})
        hold(got.status == 201 and got.json()["digest"] == digest, "the last part makes it a model", got)
        hold(client.get(place).status == 404, "the upload is over")
        plan = client.post("/v1/plans?wait=30", {"model": digest, "deterministic": True})
        hold(plan.json().get("state") == "done", "which is planned", plan)
        hold(client.ask("DELETE", place).status == 404, "and can not be given up any more")
        begun = client.post("/v1/uploads", {"name": "big.json", "bytes": 10}).json()["id"]
        client.ask("PATCH", f"/v1/uploads/{begun}", b"12345", {"Upload-Offset": "0"})
        hold(client.ask("DELETE", f"/v1/uploads/{begun}").status == 204 and no_chunks(server) == 0, "one given up leaves nothing")
        empty = client.post("/v1/uploads", {"name": "none.json", "bytes": 0})
        if empty.status == 201:
            got = client.ask("PATCH", empty.headers["location"], b"", {"Upload-Offset": "0"})
            hold(400 <= got.status < 500, "an empty file is refused as a model", got)


def race_of_parts(hold):
    """Two clients go on at the same byte: one wins, the bytes are those of one."""
    with Server() as server:
        place = server.client().post("/v1/uploads", {"name": "r", "bytes": 20, "kind": "cluster"}).headers["location"]
        statuses = []

        def go(letter):
            got = server.client().ask("PATCH", place, letter * 10, {"Upload-Offset": "0"})
            statuses.append(got.status)

        threads = [threading.Thread(target=go, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        hold(sorted(statuses) == [204, 409, 409, 409], "of parallel parts at one offset one is taken", sorted(statuses))


def hostile(hold, folder):
    if not folder or not os.path.isdir(folder):
        print("     skipped: no --hostile folder")
        return
    expected = json.load(open(os.path.join(folder, "expected.json")))
    with Server("--job-memory", "4GiB") as server:
        client = server.client()
        wrong = []
        for name in sorted(expected):
            path = os.path.join(folder, name)
            told = subprocess.run([PROGRAM, "import", name, "--json"], cwd=folder, capture_output=True)
            answer = client.post(f"/v1/models?name={name}", open(path, "rb").read())
            cli = json.loads(told.stdout or b"{}").get("error") or {}
            if told.returncode == 0:
                is_so = answer.status in (200, 201)
            else:
                body = answer.json()
                is_so = answer.status == 422 and (body.get("code"), body.get("title"), body.get("hints")) == (
                    cli.get("code"), cli.get("message"), cli.get("hints"))
            if not is_so:
                wrong.append(f"\n  {name}: CLI {told.returncode} {cli.get('code')} {cli.get('message')} {cli.get('hints')}, API {answer}")
        hold(not wrong, f"{len(expected)} hostile files are answered as by the command line", "".join(wrong))
        hold(no_chunks(server) == 0, "and leave nothing")
        hold(client.get("/readyz").status == 200, "the server lives")


def at_once(hold, n=1000):
    with Server() as server:
        text = json.dumps(small_model(9)).encode()
        statuses, lock = [], threading.Lock()

        def go():
            client = server.client(timeout=120)
            for _ in range(n // 50):
                got = client.post("/v1/models?name=same.json", text)
                with lock:
                    statuses.append((got.status, got.json().get("digest")))
            client.close()

        threads = [threading.Thread(target=go) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        n_new = sum(status == 201 for status, _ in statuses)
        hold(len(statuses) == n and n_new == 1 and {s for s, _ in statuses} <= {200, 201} and len({d for _, d in statuses}) == 1,
             f"{n} uploads of one model in parallel", {s: sum(s == t for t, _ in statuses) for s in {s for s, _ in statuses}})
        stored = rows(server, "SELECT COUNT(*) FROM contents")[0][0], rows(server, "SELECT COUNT(*) FROM chunks")[0][0]
        hold(stored == (1, 1), "store it once", stored)


def names(hold):
    """What A called its file stays its name when B stores the same bytes under another."""
    with Server() as server:
        client = server.client()
        text = json.dumps(small_model(11)).encode()
        client.post("/v1/models?name=a.json", text)
        client.post("/v1/models?name=b.json", text)
        for name in ("a.json", "b.json"):
            got = client.post("/v1/plans?wait=30", {"model": name, "deterministic": True})
            hold(got.status == 200, f"a file with two names is found as {name}", got.status)
        got = client.post("/v1/clusters?name=c.json", b"\0\1\2 no model")
        got = client.post("/v1/models?name=c.onnx", b"\0\1\2 no model")
        hold(got.status == 422, "bytes that came as a cluster are looked at when they come as a model", got)
        text = json.dumps(small_model(12)).encode()
        client.post("/v1/clusters?name=m.json", text)
        got = client.post("/v1/models?name=m.json", text)
        listed = [row["name"] for row in client.get("/v1/models").json().get("contents", [])]
        hold("m.json" in listed, "a model that came as a cluster first is listed among the models", listed)


def judge(hold, args):
    over_the_cap(hold)
    cut_off(hold)
    resumed(hold)
    race_of_parts(hold)
    hostile(hold, args.hostile)
    at_once(hold)
    names(hold)
