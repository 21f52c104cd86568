#!/usr/bin/env python3
"""Several servers and workers of the planning service over one PostgreSQL, one worker killed.

    scripts/with_postgres.sh python3 python/test_workers.py --meshwright target/release/meshwright

Two servers that only answer, two workers. 200 plans are asked for; a worker is killed while it plans: no
plan may be lost, no end recorded twice, and the attempts have to be those that were made. Then PostgreSQL
crashes and comes back under them. One server speaks to it over TLS. `MESHWRIGHT_POSTGRES` is the URL of
an empty database; `scripts/with_postgres.sh` says what the others are. Standard library only.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

PLANS = 200
# A lost plan is found after its lease of 30 s, which is looked at every 10 s.
PATIENCE_S = 240.0


EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"
FILES = {"models": EXAMPLES / "models" / "gpt2_small.onnx", "clusters": EXAMPLES / "clusters" / "two-rtx3090.yaml"}


def request(seed: int) -> dict:
    """A plan that takes little time, and is no other's."""
    model, cluster = (path.name for path in FILES.values())
    return {"model": model, "cluster": cluster, "algorithm": "m-etf", "deterministic": True, "seed": seed}


class Process:
    """A server or a worker, with what it says on stderr in a file."""

    def __init__(self, folder: pathlib.Path, name: str, *words: str, **settings: str):
        self.name, self.log = name, folder / f"{name}.log"
        environment = {**os.environ, "MESHWRIGHT_DATABASE": os.environ["MESHWRIGHT_POSTGRES"], **settings}
        command = [*words, "--work-folder", str(folder / f"{name}.work")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log, stdin=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while "Ctrl-C ends it" not in self.said():
            assert self.process.poll() is None and time.monotonic() < until, self.said()
            time.sleep(0.02)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def address(self) -> str:
        return self.said().split("listening on http://", 1)[1].split("/", 1)[0]

    def children(self) -> list[int]:
        """Processes of plans that run."""
        found = []
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                try:
                    state = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
                except OSError:
                    continue
                if state not in "ZX":
                    found.append(int(child))
        return found

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0, (self.name, self.said())


def ask(address: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict, object]:
    connection = http.client.HTTPConnection(address, timeout=90)
    try:
        text = json.dumps(body) if isinstance(body, dict) else body
        given = {"Content-Type": "application/json"} if isinstance(body, dict) else {}
        given.update({name.replace("_", "-"): value for name, value in headers.items()})
        connection.request(method, path, body=text, headers=given)
        response = connection.getresponse()
        raw = response.read()
        is_json = "json" in (response.getheader("Content-Type") or "")
        return response.status, dict(response.getheaders()), json.loads(raw) if is_json else raw.decode()
    finally:
        connection.close()


def submit(address: str, seed: int, query: str = "") -> dict:
    status, _, plan = ask(address, "POST", f"/v1/plans{query}", request(seed), Idempotency_Key=f"key-{seed}")
    assert status in (200, 202), (status, plan)
    return plan


def plans(address: str) -> list[dict]:
    found, cursor = [], ""
    while cursor is not None:
        status, _, page = ask(address, "GET", f"/v1/plans?limit=100{cursor}")
        assert status == 200, page
        found += page["plans"]
        cursor = f"&cursor={page['next']}" if page["next"] else None
    return found


def until(what: str, is_so) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.2)


def n_ended(address: str) -> int:
    return sum(plan["state"] not in ("queued", "running") for plan in plans(address))


def kill_while_it_plans(worker: Process) -> int:
    """Kills a worker; how many plans it had begun and not ended."""
    while True:
        worker.process.send_signal(signal.SIGSTOP)
        # Those that still run have told nothing of their end.
        running = worker.children()
        if running:
            worker.process.kill()
            worker.process.wait()
            return len(running)
        worker.process.send_signal(signal.SIGCONT)
        time.sleep(0.003)


def a_worker_is_killed(first: str, second: str, workers: list[Process]) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ids = {plan["id"] for plan in pool.map(lambda i: submit((first, second)[i % 2], i), range(PLANS))}
        assert len(ids) == PLANS
        again = {plan["id"] for plan in pool.map(lambda i: submit((second, first)[i % 2], i), range(0, PLANS, 10))}
    assert again < ids, "a key has another plan at the other server"
    until("a quarter", lambda: n_ended(first) >= PLANS // 4)
    lost = kill_while_it_plans(workers[0])
    left = PLANS - n_ended(first)
    assert left > PLANS // 4, f"only {left} plans were left when the worker was killed"
    until("all plans", lambda: n_ended(second) == PLANS)
    found = plans(first)
    assert {plan["id"] for plan in found} == ids and len(found) == PLANS
    assert {plan["state"] for plan in found} == {"done"}, {plan["state"] for plan in found}
    again = sum(plan["attempts"] - 1 for plan in found)
    assert lost <= again <= 2 and max(plan["attempts"] for plan in found) == 2, (lost, again)
    n_ends = 0
    for plan in ids:
        _, _, events = ask(second, "GET", f"/v1/plans/{plan}/events")
        n_ends += events.count("event: end\n") + events.count("event:end\n")
        status, _, answer = ask(first, "GET", f"/v1/plans/{plan}/answer")
        assert status == 200 and answer["report"]["step_time_ns"] > 0, answer
    assert n_ends == PLANS, n_ends
    print(f"a worker killed with {lost} plans running: {PLANS} done, {again} begun twice, {n_ends} ends")


def the_database_crashes(first: str, second: str) -> None:
    seconds = 3
    restart = subprocess.Popen([os.environ["MESHWRIGHT_POSTGRES_RESTART"], str(seconds)])
    refused = 0
    while restart.poll() is None:
        status, headers, problem = ask(first, "POST", "/v1/plans", request(10_000 + refused))
        assert status in (200, 202, 503), (status, problem)
        if status == 503:
            assert problem["code"] == "database-failed", problem
            assert any(name.lower() == "retry-after" for name in headers), headers
            assert ask(first, "GET", "/livez")[0] == 200
            refused += 1
        time.sleep(0.05)
    assert restart.returncode == 0 and refused > 0, refused
    until("readiness", lambda: ask(first, "GET", "/readyz")[0] == 200)
    n = len(plans(first))
    for i, address in enumerate([first, second]):
        assert submit(address, 20_000 + i, "?wait=60")["state"] == "done"
    until("all plans", lambda: n_ended(second) == n + 2)
    assert {plan["state"] for plan in plans(first)} == {"done"}
    print(f"the database was away for {seconds} s: {refused} requests answered 503, then all went on")


def secure(folder: pathlib.Path, serve: list[str]) -> Process:
    """A server that speaks to the database over TLS; others find nothing to trust."""
    url, root = (os.environ[f"MESHWRIGHT_POSTGRES_{name}"] for name in ("TLS", "ROOT"))
    for wrong, trusted, why in [(url, "/etc/ssl/certs/ca-certificates.crt", "UnknownIssuer"),
                                (url.replace("localhost", "127.0.0.1"), root, "not valid for name")]:
        environment = {**os.environ, "MESHWRIGHT_DATABASE": wrong, "SSL_CERT_FILE": trusted}
        command = [*serve, "--work-folder", str(folder / "refused.work")]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 2 and why in ended.stderr, (ended.returncode, ended.stderr)
    process = Process(folder, "serve-tls", *serve, MESHWRIGHT_DATABASE=url, SSL_CERT_FILE=root)
    environment = {**os.environ, "PGSSLROOTCERT": root}
    count = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'meshwright'"
    told = subprocess.run(["psql", url, "-Atc", count], env=environment, capture_output=True, text=True, check=True)
    assert int(told.stdout) > 0, told.stdout
    print(f"a server has {told.stdout.strip()} connections over TLS; certificates of others and for others are refused")
    return process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshwright", required=True, type=pathlib.Path)
    program = str(parser.parse_args().meshwright.resolve())
    password = os.environ["MESHWRIGHT_POSTGRES"].split("@")[0].rsplit(":", 1)[1]
    serve = [program, "serve", "--workers", "0", "--listen", "127.0.0.1:0"]
    with tempfile.TemporaryDirectory() as name:
        folder, started = pathlib.Path(name), []
        try:
            begin = lambda *words: started.append(Process(folder, *words))  # noqa: E731
            # At once: all make the tables that are not there.
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                begun = [pool.submit(begin, "serve", *serve)]
                begun += [pool.submit(begin, f"worker-{i}", program, "worker", "--workers", "2") for i in range(2)]
            for one in begun:
                one.result()
            started.append(secure(folder, serve))
            servers = [process for process in started if process.name.startswith("serve")]
            workers = [process for process in started if process.name.startswith("worker")]
            first, second = (server.address() for server in servers)
            for kind, path in FILES.items():
                status, _, stored = ask(first, "POST", f"/v1/{kind}?name={path.name}", path.read_bytes())
                assert status == 201, stored
            a_worker_is_killed(first, second, workers)
            the_database_crashes(first, second)
            for process in [workers[1], *servers]:
                process.end()
            for process in started:
                assert password not in process.said(), f"{process.name} says the password"
            print("all ended when asked to, and none said the password")
        finally:
            for process in started:
                if process.process.poll() is None:
                    process.process.kill()


if __name__ == "__main__":
    main()
