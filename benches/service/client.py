"""A server of its own in a temporary folder, and HTTP to it. Python 3.9, standard library only."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROGRAM = os.environ.get("MESHWRIGHT", os.path.join(ROOT, "target", "release", "meshwright"))


def small_model(n=0):
    """An instance of four operators on two devices; another number, another content."""
    reads = [[], [10], [10], [11, 12]]
    ops = [
        {"id": i, "name": name, "time_ns": {"k": 1000 + (n if i == 0 else 0)}, "persistent": 100, "temp": 0,
         "inputs": reads[i], "outputs": [{"tensor": 10 + i, "bytes": 10}]}
        for i, name in enumerate("abcd")
    ]
    devices = [{"id": i, "kind": "k", "limit": 1000} for i in (0, 1)]
    link = {"latency_ns": 1, "bytes_per_s": 1e9, "duplex": "full"}
    return {"ops": ops, "devices": devices, "link": link}


def wide_model(n=60, seed=1):
    """Layers of five operators that read two of the layer before over slow links; what is best takes
    a search very long to prove."""
    state, ops = seed, []

    def draw(most):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % most

    for i in range(n):
        before = i - i % 5
        reads = sorted({before - 1 - draw(5), before - 1 - draw(5)}) if before else []
        ops.append({"id": i, "name": f"op{i}", "time_ns": {"k": 1000 + draw(9000)}, "persistent": 1, "temp": 0,
                    "inputs": [1000 + own for own in reads],
                    "outputs": [{"tensor": 1000 + i, "bytes": 500 + draw(8000)}]})
    devices = [{"id": i, "kind": "k", "limit": 10**6} for i in range(3)]
    link = {"latency_ns": 100, "bytes_per_s": 1e9, "duplex": "full"}
    return {"ops": ops, "devices": devices, "link": link}


class Answer:
    """Status, headers (lower case) and body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Client:
    """One connection that is kept alive."""

    def __init__(self, address, token=None, timeout=60):
        self.address, self.token, self.timeout = address, token, timeout
        self.connection, self.used = None, 0.0

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def ask(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        # A server closes connections that rest for long.
        if time.monotonic() > self.used + 5:
            self.close()
        self.used = time.monotonic()
        was_open = self.connection is not None
        if self.connection is None:
            host, port = self.address
            self.connection = http.client.HTTPConnection(host, port, timeout=self.timeout)
            self.connection.connect()
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.connection.request(method, path, body, headers)
            response = self.connection.getresponse()
            data = response.read()
        except (BrokenPipeError, http.client.RemoteDisconnected, ConnectionResetError):
            self.close()
            # The server may close a connection that rests; what changes nothing is asked again.
            if was_open and method == "GET":
                return self.ask(method, path, body, headers)
            raise
        except Exception:
            self.close()
            raise
        if response.will_close:
            self.close()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, data)

    def get(self, path, **headers):
        return self.ask("GET", path, None, headers)

    def post(self, path, body=None, headers=None):
        return self.ask("POST", path, body, headers)


class Server:
    """`meshwright serve` on a free port. `stop` or leaving the `with` ends it and its folder."""

    def __init__(self, *flags, folder=None, database="meshwright.db", before=()):
        self.own = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="meshwright-service-")
        self.flags, self.database, self.before = list(flags), database, list(before)
        self.process, self.address, self.log = None, None, None
        self.started_s = None
        self.start()

    def start(self):
        self.log = os.path.join(self.folder, "log-%d" % time.monotonic_ns())
        begun = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                # The limit of requests a second is judged elsewhere; judges ask faster than it allows.
                self.before + [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--database", self.database,
                               "--most-requests", "100000"] + self.flags,
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        while time.monotonic() < begun + 60:
            found = re.search(r"listening on https?://(\S+?):(\d+)", self.said())
            if found:
                self.address = (found[1], int(found[2]))
                self.started_s = time.monotonic() - begun
                return
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.said()}")
            time.sleep(0.001)
        raise RuntimeError("the server does not listen")

    def said(self):
        with open(self.log, "r", errors="replace") as log:
            return log.read()

    def client(self, token=None, timeout=60):
        return Client(self.address, token, timeout)

    def token(self, name, scope, *flags):
        out = subprocess.run(
            [PROGRAM, "token", name, "--scope", scope, "--database", self.database, *flags],
            cwd=self.folder, capture_output=True, text=True, check=True)
        return out.stdout.strip()

    def size(self):
        """Bytes of the database with its log."""
        base = os.path.join(self.folder, self.database)
        return sum(os.path.getsize(base + end) for end in ("", "-wal") if os.path.exists(base + end))

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def memory(self, field="VmRSS"):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(rf"{field}:\s+(\d+) kB", status.read())[1]) * 1024

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(60)

    def restart(self):
        self.start()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def children(pid):
    """Ids of the processes whose parent has this id."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    fields = stat.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(name))
    return found


def planners(folder):
    """Ids of the processes that work in a folder."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                place = os.readlink(f"/proc/{name}/cwd")
                with open(f"/proc/{name}/stat") as stat:
                    state = stat.read().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if place.startswith(os.path.join(folder, "meshwright.work")) and state != "Z":
                found.append(int(name))
    return found


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


class Verdicts:
    """What held and what did not; a line for each."""

    def __init__(self):
        self.failed = 0

    def hold(self, is_so, what, facts=""):
        self.failed += not is_so
        print(f"{'ok  ' if is_so else 'FAIL'} {what}" + (f": {facts}" if facts != "" else ""), flush=True)
        return is_so
