"""Hold the installed package against the command line (`test_package.py` runs it)."""

from __future__ import annotations

import argparse
import ast
import json
import math
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.dom.minidom

import meshwright as mw

MODEL = "examples/models/gpt2_small.onnx"
CLUSTER = "examples/clusters/two-nodes.yaml"
RUN = "examples/models/qwen3-30b-a3b.json"
POD = "examples/clusters/pod.yaml"
LONG = {"model": "examples/models/llama3_8b.onnx", "cluster": "examples/clusters/two-rtx3090.yaml"}

#: What depends on the moment.
MOMENT = ("run", "elapsed_s", "trace", "attempts", "run_s", "file", "files")


def lasting(answer: dict) -> dict:
    return {name: value for name, value in answer.items() if name not in MOMENT}


class Cli:
    """The judge."""

    def __init__(self, program: pathlib.Path) -> None:
        self.program = program
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("MESHWRIGHT_")}

    def __call__(self, *words: object) -> dict:
        command = [str(self.program), *map(str, words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.env)
        return json.loads(done.stdout)


def same_answers(cli: Cli, folder: pathlib.Path) -> str:
    """Each verb, on placements of ops and on training runs."""
    kinds = [
        (["--algorithm", "m-etf"], {"algorithm": "m-etf"}, MODEL, CLUSTER, "trace"),
        (["--global-batch", 64, "--pin", "tensor=2", "--deterministic"],
         {"global_batch": 64, "pin": ["tensor=2"], "deterministic": True}, RUN, POD, "megatron"),
    ]  # fmt: skip
    n = 0
    for flags, fields, model, cluster, target in kinds:
        on = ["--model", model, "--cluster", cluster]
        file = folder / f"{target}.json"
        told = cli("plan", model, "--cluster", cluster, *flags, "-o", file)
        plan = mw.plan(model, cluster=cluster, **fields)
        assert lasting(plan) == lasting(told), f"plan {model}"
        plan.save(file, force=True)
        assert json.loads(file.read_text(encoding="utf-8")) == told["plan"] == plan.document
        written = folder / f"{target}.{target}"
        pairs = [
            (mw.simulate(plan), cli("simulate", file, *on)),
            (mw.simulate(file, model, cluster=cluster), cli("simulate", file, *on)),
            (mw.verify(plan), cli("verify", file, *on)),
            (mw.explain(plan), cli("explain", file, *on)),
            (mw.compare(plan, file), cli("compare", file, file)),
            (mw.compare(plan, dict(plan), model=model, cluster=cluster), cli("compare", file, file, *on)),
            (mw.export(plan, target), cli("export", file, *on, "--target", target, "-o", written)),
        ]
        for at, (own, theirs) in enumerate(pairs):
            assert lasting(own) == lasting(theirs), f"pair {at} of {model}:\n{own}\n{theirs}"
        text = written.read_text(encoding="utf-8")
        assert mw.export(plan, target)["files"] == {target: text}
        mw.export(plan, target, output=folder / "again", force=True)
        assert (folder / "again").read_text(encoding="utf-8") == text
        n += len(pairs) + 1
    assert lasting(mw.support(MODEL)) == lasting(cli("support", MODEL))
    assert mw.algorithms() == cli("algorithms")
    return f"{n + 2} answers are those of --json"


def folders(cli: Cli, folder: pathlib.Path) -> str:
    """A folder that starts a plan is the command line's, file by file."""
    plan = mw.plan(RUN, cluster=POD, global_batch=64, pin=["tensor=2"], deterministic=True)
    file, theirs, own = folder / "starts.json", folder / "theirs", folder / "own"
    plan.save(file)
    on = ["--model", RUN, "--cluster", POD, "--target", "megatron", "--launcher", "slurm"]
    cli("export", file, *on, "--to", theirs)
    answer = mw.export(file, "megatron", RUN, cluster=POD, to=own, launcher="slurm")
    read = lambda at: {path.name: path.read_bytes() for path in at.iterdir()}  # noqa: E731
    assert read(theirs) == read(own) and set(answer["files"]) == set(read(own))
    assert os.access(own / "launch.sh", os.X_OK)
    raises(mw.UsageError, "file-exists", mw.export, plan, "megatron", to=own)
    raises(mw.UsageError, "file-exists", plan.save, file)
    return f"{len(read(own))} files"


def raises(kind: type, code: str, function: object, *words: object, **fields: object) -> mw.MeshwrightError:
    try:
        answer = function(*words, **fields)
    except mw.MeshwrightError as error:
        assert isinstance(error, kind) and code in ("", error.code), f"{error!r}, not {kind.__name__} {code}"
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.code, str(again)) == (type(error), error.code, str(error))
        return error
    raise AssertionError(f"{function.__name__}{words}{fields} is answered: {str(answer)[:200]}")


def refused_by_name(_: Cli, folder: pathlib.Path) -> str:
    """Fields that a verb does not know, and errors with code, facts and hint."""
    file = folder / "small.json"
    mw.plan(MODEL, cluster=CLUSTER, algorithm="single").save(file)
    calls = [
        (mw.plan, (MODEL,)), (mw.simulate, (file, MODEL)), (mw.verify, (file, MODEL)), (mw.explain, (file, MODEL)),
        (mw.compare, (file, file)), (mw.export, (file, "trace", MODEL)), (mw.support, (MODEL,)),
    ]  # fmt: skip
    for function, words in calls:
        error = raises(mw.InputError, "unknown-field", function, *words, colour="red")
        assert "`colour`" in error.message, error.message
    error = raises(mw.InputError, "unknown-field", mw.plan, MODEL, tim_limit="2s")
    assert "time_limit" in (error.hint or ""), error.hints
    raises(mw.UsageError, "", mw.plan, MODEL, verb="support")
    raises(mw.InputError, "missing-field", mw.simulate, file)
    full = raises(mw.InfeasibleError, "", mw.plan, RUN, cluster=CLUSTER, global_batch=8, max_memory_per_device="1GiB")
    assert full.exit_code == 4 and full.facts and full.hint, full
    raises(mw.UsageError, "unknown-target", mw.export, file, "nothing", MODEL, cluster=CLUSTER)
    raises(mw.UsageError, "", mw.export, file, "trace", MODEL, cluster=CLUSTER, output="a", to="b")
    edited = json.loads(file.read_text(encoding="utf-8"))
    edited["cost"]["step_time_ns"] += 1
    verdict = mw.verify(mw.Plan({"plan": edited}), MODEL, cluster=CLUSTER)
    assert verdict["legal"] is False, verdict
    return f"{len(calls)} verbs name the field"


def hostile(_: Cli, folder: pathlib.Path) -> str:
    """Wrong types, huge numbers, strange paths: an error with a code, never anything else."""
    values = [
        10**400, 2**63 - 1, 2**40, -1, 0, 1.5, math.nan, math.inf, True, "", "\0", "\udcff", b"\xff", [], {}, [1], {"a": {}}, {1: 2}, object(),
        lambda: 0, type, "9" * 5000, "e" * 100_000,
    ]  # fmt: skip
    fields = ["batch", "cluster", "dims", "pin", "time_limit", "seed", "threads", "global_batch", "devices", "export", "profile"]
    n = 0
    for field in fields:
        for value in values:
            try:
                # One step of search at most: what is well formed after all is planned.
                mw.plan(MODEL, **{"cluster": CLUSTER, "algorithm": "single", field: value})
            except mw.MeshwrightError as error:
                assert not isinstance(error, mw.InternalError), f"{field}={str(value)[:40]}: {error}"
                n += 1
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for model in [*values, deep, None, "missing.onnx", folder, "/dev/zero", "/dev/null", "x" * 5000]:
        error = raises(mw.MeshwrightError, "", mw.plan, model, cluster=CLUSTER)
        assert not isinstance(error, mw.InternalError), f"{str(model)[:40]}: {error}"
    for plan in [*values, None, folder, {"plan": {}}, {"format": "meshwright.plan/1"}, {"format": "meshwright.plan/99"}]:
        error = raises(mw.MeshwrightError, "", mw.verify, plan, MODEL, cluster=CLUSTER)
        assert not isinstance(error, mw.InternalError), f"{str(plan)[:40]}: {error}"
        raises(mw.MeshwrightError, "", mw.compare, plan, plan)
    plan = mw.plan(MODEL, cluster=CLUSTER, algorithm="single")
    for path in ["", ".", folder / "none" / "a", "/dev/null", "\0", "-", 3, None, object()]:
        raises(mw.MeshwrightError, "", plan.save, path, force=True)
        if path is not None:
            raises(mw.MeshwrightError, "", mw.export, plan, "trace", output=path, force=True)
    for path in ["missing.json", folder, None, MODEL, 10**30]:
        raises(mw.MeshwrightError, "", mw.load, path)
    for hear in [1, "print", []]:
        raises(mw.UsageError, "bad-field", mw.plan, MODEL, cluster=CLUSTER, on_event=hear)
    return f"{n} values refused"


def strange_names(_: Cli, folder: pathlib.Path) -> str:
    """Unicode, blanks and quotes in paths; relative paths after a change of folder; bytes."""
    home = folder / "モデル 'n\" ü\n"
    home.mkdir()
    for name, source in (("m odel.onnx", MODEL), ("klüster.yaml", CLUSTER)):
        (home / name).write_bytes(pathlib.Path(source).read_bytes())
    before = os.getcwd()
    os.chdir(home)
    try:
        plan = mw.plan(b"m odel.onnx", cluster=pathlib.Path("klüster.yaml"), algorithm="single")
        plan.save("план.json")
    finally:
        os.chdir(before)
    assert mw.verify(plan)["legal"] is True
    loaded = mw.load(home / "план.json", model=home / "m odel.onnx", cluster=home / "klüster.yaml")
    assert (loaded.step_time_s, loaded.bound) == (plan.step_time_s, plan.bound)
    assert mw.simulate(loaded) == mw.simulate(plan)
    return "paths in other scripts"


def shown(_: Cli, folder: pathlib.Path) -> str:
    """The page of a plan is well-formed, whole, and safe whatever names stand in it."""
    wicked = folder / "wicked.yaml"
    text = pathlib.Path(CLUSTER).read_text(encoding="utf-8")
    wicked.write_text(text.replace("name: two-nodes", "name: \"<script>alert('&')</script>\""), encoding="utf-8")
    plans = [
        mw.plan(MODEL, cluster=wicked, algorithm="single"),
        mw.plan(RUN, cluster=POD, global_batch=64, deterministic=True),
    ]
    for plan in plans:
        page = plan._repr_html_()
        xml.dom.minidom.parseString(page.encode())
        assert "<svg" in page and "<script" not in page and "src=" not in page and "<table" in page, page[:300]
        assert plan.peak_bytes > 0 and 0 < plan.bound <= plan.step_time_s
        assert len(plan.memory()) > 0 and repr(plan).startswith("Plan(step_time_s=")
        bare = mw.Plan({"plan": plan.document})._repr_html_()
        xml.dom.minidom.parseString(bare.encode())
    wicked.unlink()
    assert "no timeline" in plans[0]._repr_html_()
    return f"{len(plans)} pages"


def interrupted(_: Cli, folder: pathlib.Path) -> str:
    """A plan of 60 s stops within 1 s of Ctrl-C, with the best plan so far; so do others."""
    took = []
    # A search of its own with a library inside, and one over degrees.
    for fields in (LONG, {"model": RUN, "cluster": "examples/clusters/pod-2048.yaml", "global_batch": 4096, "executor": "any"}):
        sent = []

        def send() -> None:
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(1.5, send)
        timer.start()
        try:
            fields = dict(fields)
            plan = mw.plan(fields.pop("model"), time_limit="60s", **fields)
        except mw.Interrupted as stopped:
            took.append(time.monotonic() - sent[0])
            assert took[-1] < 1.0, f"{took[-1]:.2f} s"
            if stopped.plan is not None:
                # Who runs it is asked after the search.
                assert stopped.plan["stop_reason"] in ("cancelled", "finished"), stopped.plan["stop_reason"]
                assert mw.Plan(stopped.plan.answer).step_time_s > 0
        else:
            timer.cancel()
            try:
                # It may be on its way.
                timer.join()
                time.sleep(0.1)
            except KeyboardInterrupt:
                continue
            assert not sent, f"the signal is lost: {plan!r}"
    assert took, "no plan took long enough to be interrupted"
    # Still of use afterwards.
    assert mw.plan(MODEL, cluster=CLUSTER, algorithm="single").step_time_s > 0
    return ", ".join(f"{seconds:.2f} s" for seconds in took)


def heard(_: Cli, folder: pathlib.Path) -> str:
    """Events come in order; what the listener raises ends the search and arrives."""
    events: list = []
    plan = mw.plan(MODEL, cluster=CLUSTER, time_limit="2s", on_event=events.append)
    kinds = [event["event"] for event in events]
    assert kinds[0] == "accepted" and "incumbent" in kinds and kinds[-1] == "searched", kinds
    best = [event for event in events if event["event"] == "incumbent"][-1]
    # Of plans that are nearly as fast the one with fewer devices is the answer.
    assert best["value_ns"] == (plan.get("fastest_ns") or plan.document["cost"]["step_time_ns"])

    class Enough(Exception):
        pass

    def stop(event: dict) -> None:
        if event["event"] == "incumbent":
            raise Enough(event["value_ns"])

    start = time.monotonic()
    try:
        mw.plan(LONG["model"], cluster=LONG["cluster"], time_limit="60s", on_event=stop)
    except Enough:
        return f"{len(events)} events, stopped after {time.monotonic() - start:.1f} s"
    raise AssertionError("what the listener raised is lost")


def together(_: Cli, folder: pathlib.Path) -> str:
    """Other threads run while one plans, several plan at once, and so does a child after a fork."""
    ticks, going = [0], threading.Event()

    def count() -> None:
        while not going.wait(0.001):
            ticks[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    start = time.monotonic()
    alone = mw.plan(MODEL, cluster=CLUSTER, time_limit="2s", seed=1)
    seconds = time.monotonic() - start
    going.set()
    counter.join()
    assert ticks[0] > 20 * seconds, f"{ticks[0]} ticks in {seconds:.1f} s"
    found: list = []
    one = lambda: found.append(mw.plan(MODEL, cluster=CLUSTER, algorithm="m-etf"))  # noqa: E731
    threads = [threading.Thread(target=one) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len({plan.step_time_s for plan in found}) == 1 and len(found) == 8
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(30)
            status = 0 if mw.plan(MODEL, cluster=CLUSTER, time_limit="2s").step_time_s > 0 else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, "a child after a fork can't plan"
    return f"{ticks[0] / seconds:.0f} ticks/s beside a plan of {alone.step_time_s:.3g} s"


def program(cli: Cli, folder: pathlib.Path) -> str:
    """The command line that comes with the package is the binary."""
    own = Cli(pathlib.Path(sys.executable).with_name("meshwright"))
    lines = [
        ("algorithms",), ("devices",), ("plan", MODEL, "--cluster", CLUSTER, "--algorithm", "m-etf"), ("support", MODEL),
        ("plan", "missing"), ("plan", "--nothing"),
    ]  # fmt: skip
    for line in lines:
        assert lasting(own(*line)) == lasting(cli(*line)), line
    file = folder / "interrupted.json"
    words = ["plan", LONG["model"], "--cluster", LONG["cluster"], "--time-limit", "60s", "-o", file, "--progress", "none"]
    command = subprocess.Popen([str(own.program), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(3)
    command.send_signal(signal.SIGINT)
    start = time.monotonic()
    command.communicate(timeout=20)
    assert time.monotonic() - start < 1.5 and command.returncode == 0 and file.exists(), command.returncode
    module = [sys.executable, "-m", "meshwright", "--version"]
    assert mw.__version__ in subprocess.run(module, capture_output=True, text=True, check=True).stdout
    return f"{len(lines)} lines"


def typed(_: Cli, folder: pathlib.Path) -> str:
    """The stub names the fields of the schema, and no others."""
    here = pathlib.Path(mw.__file__).parent
    assert (here / "py.typed").exists()
    stub = ast.parse((here / "__init__.pyi").read_text(encoding="utf-8"))
    schema = json.loads(pathlib.Path("engine/schema/request.schema.json").read_text(encoding="utf-8"))
    own = {"plan": "Plan", "simulate": "Simulate", "verify": "PlanOnModel", "explain": "Explain", "compare": "Compare",
           "export": "Export", "support": "Import"}  # fmt: skip
    beside = {"on_event", "output", "to", "force"}
    for function in (node for node in stub.body if isinstance(node, ast.FunctionDef) and node.name in own):
        name = own.pop(function.name)
        name = name if name in schema["$defs"] else f"{name}Request"
        arguments = {argument.arg for argument in [*function.args.args, *function.args.kwonlyargs]}
        fields = set(schema["$defs"][name]["properties"])
        assert arguments - beside == fields, f"{function.name}: {(arguments - beside) ^ fields}"
    assert not own, own
    return "all verbs"


CHECKS = [same_answers, folders, refused_by_name, hostile, strange_names, shown, interrupted, heard, together, program, typed]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meshwright", type=pathlib.Path, required=True)
    parser.add_argument("--only", choices=[check.__name__ for check in CHECKS])
    options = parser.parse_args()
    print()
    failed = 0
    for check in CHECKS:
        if options.only not in (None, check.__name__):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(f"  PASS {check.__name__}: {check(Cli(options.meshwright), pathlib.Path(folder))}", flush=True)
            except Exception as error:  # noqa: BLE001  (a check fails however it fails)
                import traceback

                failed += 1
                print(f"  FAIL {check.__name__}: {error}", flush=True)
                traceback.print_exc()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
