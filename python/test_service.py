#!/usr/bin/env python3
"""The client of the planning service against a service that runs, judged by the command line.

    python test_service.py --meshwright target/release/meshwright

Needs nothing but the standard library: the package is imported from its sources, without its compiled part.
Prints one line per check; exits with 1 if any fails.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any, Callable, Dict, List, Optional

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

from meshwright import service as client  # noqa: E402

MODEL = ROOT / "examples" / "models" / "gpt2_small.onnx"
CLUSTER = ROOT / "examples" / "clusters" / "two-nodes.yaml"
CARD = ROOT / "examples" / "models" / "qwen3-30b-a3b.json"
POD = ROOT / "examples" / "clusters" / "pod.yaml"


class Running:
    """A service on a free port, with its database in a folder."""

    def __init__(self, meshwright: pathlib.Path, folder: pathlib.Path) -> None:
        self.meshwright, self.folder = meshwright, folder
        words = [str(meshwright), "serve", "--listen", "127.0.0.1:0", "--database", str(folder / "plans.db")]
        self.process = subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        said = ""
        while "listening on" not in said:
            said = self.process.stderr.readline()
            assert said, "the service ended"
        (self.url,) = re.findall(r"http://[0-9.:]+", said)
        self.client = client.Service(self.url, timeout=60.0)

    def cli(self, *words: object, codes: tuple = (0,)) -> str:
        every = [str(word) for word in (self.meshwright, *words)]
        done = subprocess.run(every, capture_output=True, text=True, check=False, cwd=self.folder)
        assert done.returncode in codes, (every, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def ended(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        assert self.process.stderr is not None
        self.process.stderr.close()


def lasting(text: str) -> Dict[str, Any]:
    """An answer without what depends on the moment."""
    document = json.loads(text)
    return {name: value for name, value in document.items() if name not in ("run", "trace", "attempts", "run_s")}


def alone(_: Running) -> str:
    """Neither the compiled part nor anything of others is loaded."""
    ours = {name for name in sys.modules if name.startswith("meshwright")}
    assert ours == {"meshwright", "meshwright.service"}, ours
    import meshwright

    assert meshwright.service is client and "service" in dir(meshwright)
    return ""


def plans(running: Running) -> str:
    """A plan is the command line's; asked for again it is the same one."""
    asked: Dict[str, Any] = {"cluster": CLUSTER, "algorithm": "m-etf", "deterministic": True}
    found = running.client.plan(MODEL, wait=120, export=["trace"], **asked)
    flags = ["--cluster", CLUSTER, "--algorithm", "m-etf", "--deterministic", "--json", "--export", "trace=t.json"]
    said = running.cli("plan", MODEL, *flags, "-o", "plan.json")
    assert lasting(running.client.file(found["id"], "answer").decode()) == lasting(said)
    assert running.client.artefact(found["id"], "trace") == (running.folder / "t.json").read_text(encoding="utf-8")
    mine, theirs = running.client.file(found["id"]), (running.folder / "plan.json").read_bytes()
    assert json.loads(mine)["placement"] == json.loads(theirs)["placement"]
    again = running.client.plan(MODEL, wait=120, export=["trace"], **asked)
    assert again["id"] == found["id"]
    anew = running.client.plan(MODEL, wait=120, export=["trace"], cached=False, **asked)
    assert anew["id"] != found["id"]
    assert [own["id"] for own in running.client.plans("done")] == [anew["id"], found["id"]]
    return f"{found['value_ns'] / 1e6:.2f} ms"


def events(running: Running) -> str:
    """Events go on after the one that was heard last."""
    (latest, *_) = running.client.plans()
    heard = list(running.client.events(latest["id"]))
    kinds = [event.kind for event in heard]
    assert kinds[-1] == "end" and "incumbent" in kinds, kinds
    (third, *rest) = heard[2:]
    assert list(running.client.events(latest["id"], last=third.id)) == rest
    return f"{len(heard)} events"


def training(running: Running) -> str:
    """A training run, and all files that start it."""
    asked = {"global_batch": 512, "sequence_length": 4096, "node_budget": 20_000}
    found = running.client.plan(CARD, cluster=POD, wait=300, **asked)
    files = running.client.artefact(found["id"], "megatron", launcher="slurm")
    assert isinstance(files, dict) and "launch.sh" in files, files
    measured = running.client.measure(found["id"], step_s=found["value_ns"] / 1e9 * 1.1)
    assert abs(measured["error"] + 1 - 1 / 1.1) < 1e-6, measured
    why = running.client.explain(found["id"])
    assert why, why
    return ", ".join(sorted(files))


def refusals(running: Running) -> str:
    """What goes wrong is typed, with the code and the hints of the command line."""
    small = {"devices": [{"id": "a", "kind": "a100_sxm4_80gb", "memory_bytes": 100_000_000}]}
    error = caught(client.ServiceError, lambda: running.client.plan(MODEL, cluster=small, wait=120))
    said = json.loads(
        running.cli("plan", MODEL, "--cluster", stored(running, small), "--json", codes=(2, 3, 4, 5))
    )
    assert (error.code, error.exit_code) == (said["error"]["code"], said["exit_code"]), (error, said)
    assert error.hints == said["error"]["hints"], error
    assert isinstance(error, client.Infeasible) == (said["exit_code"] == 4)
    error = caught(client.Refused, lambda: running.client.plan(MODEL, cluster=CLUSTER, sed=3))
    assert error.code == "unknown-field" and "`seed`" in str(error.hints), error
    broken = running.folder / "broken.onnx"
    broken.write_bytes(b"nothing")
    error = caught(client.Refused, lambda: running.client.upload(broken))
    assert error.status == 422 and error.code, error
    error = caught(client.Refused, lambda: running.client.status("plan_none"))
    assert error.status == 404, error
    return ""


def stored(running: Running, document: Dict[str, Any]) -> pathlib.Path:
    path = running.folder / "small.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def cancelled(running: Running) -> str:
    """A plan that is cancelled ends, with the best so far where there is one."""
    begun = running.client.plan(CARD, cluster=POD, wait=0, global_batch=4096, deterministic=True, seed=5)
    assert begun["state"] in ("queued", "running"), begun
    running.client.cancel(begun["id"])
    start = time.monotonic()
    kinds = [event.kind for event in running.client.events(begun["id"], wait=60)]
    assert kinds[-1] == "end" and time.monotonic() - start < 30, kinds
    return str(running.client.status(begun["id"])["state"])


def large(running: Running) -> str:
    """A file of several parts arrives whole."""
    path = running.folder / "large.json"
    path.write_bytes(b'{"pad": "' + b"x" * (20 << 20) + b'"}')
    sent = running.client.upload(path, "profile")
    assert sent["bytes"] == path.stat().st_size, sent
    # The time of the name is the latest.
    again = running.client.upload(path, "profile")
    assert {**again, "created_ms": 0} == {**sent, "created_ms": 0}, again
    return f"{sent['bytes'] >> 20} MiB"


def silence(_: Running) -> str:
    """Nobody there, and somebody who never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        nobody = client.Service(f"http://127.0.0.1:{port}", timeout=0.5)
        start = time.monotonic()
        caught(client.NoAnswer, lambda: nobody.plan(MODEL))
        listener.listen()
        caught(client.NoAnswer, lambda: nobody.plan(MODEL))
        took = time.monotonic() - start
    assert took < 10, took
    return f"{took:.1f} s"


def tokens(running: Running) -> str:
    """With a token stored nobody plans without one, and it is in no error."""
    token = running.cli("token", "test", "--scope", "plan", "--database", "plans.db").strip()
    error = caught(client.Refused, lambda: list(running.client.plans()))
    assert error.status == 401, error
    allowed = client.Service(running.url, token)
    assert list(allowed.plans())
    error = caught(client.Refused, lambda: client.Service(running.url, token + "x").status("plan_none"))
    assert token not in str(error), error
    return ""


def caught(kind: type, call: Callable[[], object]) -> client.ServiceError:
    try:
        call()
    except client.ServiceError as error:
        assert isinstance(error, kind), repr(error)
        return error
    raise AssertionError("nothing was raised")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meshwright", type=pathlib.Path, required=True)
    meshwright = parser.parse_args().meshwright.resolve()
    for name in list(os.environ):
        if name.startswith("MESHWRIGHT_"):
            del os.environ[name]
    failed = 0
    checks: List[Callable[[Running], Optional[str]]] = [
        alone, plans, events, training, refusals, cancelled, large, silence, tokens,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        running = Running(meshwright, pathlib.Path(folder))
        try:
            for check in checks:
                try:
                    print(f"PASS {check.__name__}: {check(running)}", flush=True)
                except Exception as error:  # noqa: BLE001  (a check fails however it fails)
                    failed += 1
                    print(f"FAIL {check.__name__}: {error}")
                    traceback.print_exc()
        finally:
            running.ended()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
