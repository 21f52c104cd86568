#!/usr/bin/env python3
"""Plan three tiny models for Accelerate and run the plans there.

    python test_executors.py --meshwright target/release/meshwright

Then measures this machine (`host` and `torch`) and says how well either profile predicts what it
was not fitted to: 30 other products, and a transformer block forward and backward. Each has to be
within 20 %, on idle cores; on a busy machine the figures are printed and nothing is judged.

For each model of `tiny_models.py`: exports it to ONNX, plans it with `--for accelerate` on a host
and a disk neither of which can hold all of it, exports `device_map` and `max_memory`, and hands them to
`check_device_map.py`. Then a plan that splits a block on purpose must be refused by
name. Every schedule that PyTorch's grammar can say, planned for pipelines of 2 and 4 ranks, is run
through PyTorch's own validator and simulator (`check_schedules.py`), and each that goes to torchtitan by
one of PyTorch's names is held against that class on pipelines of several sizes
(`check_named_schedules.py`). Plans that send a part of the gradients are exported as tables, which processes
exchange gradients by (`check_gradient_exchange.py`). Traces of two ranks over gloo (`gloo_traces.py`) are joined and planned.
Prints one line per check; exits with 1 if any fails.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from export_models import export
from tiny_models import MODELS

HERE = pathlib.Path(__file__).resolve().parent

CLUSTER = """\
name: host-and-disk
context_bytes: 0
reserve_bytes: 0
kinds:
  - {{name: cpu, memory_bytes: {limit}, memory_bytes_per_s: 2.0e10, peak_fp32_flops: 1.0e11}}
  - {{name: disk, memory_bytes: {limit}, memory_bytes_per_s: 1.0e9, peak_fp32_flops: 1.0e11}}
devices:
  - {{id: host, kind: cpu}}
  - {{id: ssd, kind: disk}}
links:
  - {{between: [host, ssd], bytes_per_s: 2.0e9, latency_s: 1.0e-4}}
"""


def run(meshwright: pathlib.Path, *arguments: object) -> subprocess.CompletedProcess:
    command = [str(meshwright), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write_cluster(folder: pathlib.Path, limit: int) -> pathlib.Path:
    path = folder / "cluster.yaml"
    path.write_text(CLUSTER.format(limit=limit), encoding="utf-8")
    return path


def peak_on_one_device(meshwright: pathlib.Path, model: pathlib.Path, folder: pathlib.Path) -> int:
    cluster = write_cluster(folder, 1 << 30)
    done = run(meshwright, "plan", model, "--cluster", cluster, "--algorithm", "single", "--json")
    if done.returncode != 0:
        raise SystemExit(f"plan {model.name}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    devices = json.loads(done.stdout)["report"]["devices"]
    return max(device["peak_memory_bytes"] for device in devices)


def dispatch(meshwright: pathlib.Path, name: str, folder: pathlib.Path) -> list[str]:
    """Export, plan, dispatch; the list of what went wrong."""
    model = folder / f"{name}.onnx"
    export(name, model)
    peak = peak_on_one_device(meshwright, model, folder)
    cluster = write_cluster(folder, peak * 3 // 4)
    device_map, limits = folder / f"{name}.device_map.json", folder / f"{name}.max_memory.yaml"
    done = run(
        meshwright, "plan", model, "--cluster", cluster, "--for", "accelerate",
        "--export", f"accelerate={device_map}", "--export", f"max-memory={limits}", "--force",
    )  # fmt: skip
    if done.returncode != 0:
        return [f"plan: exit {done.returncode}\n{done.stdout}{done.stderr}"]
    targets = set(json.loads(device_map.read_text(encoding="utf-8")).values())
    if targets != {"cpu", "disk"}:
        return [f"the map uses {sorted(map(str, targets))}, not both cpu and disk"]
    check = [sys.executable, str(HERE / "check_device_map.py"), name, str(device_map)]
    check += ["--max-memory", str(limits)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    print("\n".join(f"  {line}" for line in done.stdout.splitlines()))
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


def refused(meshwright: pathlib.Path, name: str, folder: pathlib.Path) -> list[str]:
    """A plan that tears a block apart can't be exported, and the message says which."""
    model, cluster = folder / f"{name}.onnx", folder / "cluster.yaml"
    blocks = {"gpt2": "m.transformer.h.1", "bert": "m.bert.encoder.layer.1", "llama": "m.model.layers.1"}
    leaves = {"gpt2": "mlp", "bert": "attention", "llama": "mlp"}
    block = blocks[name]
    done = run(
        meshwright, "plan", model, "--cluster", cluster, "--algorithm", "m-etf",
        "--pin", f"{block}.{leaves[name]}=ssd", "--pin", f"{block.replace('.1', '.0')}=host",
        "--export", f"accelerate={folder / 'never.json'}",
    )  # fmt: skip
    if done.returncode == 0 or (folder / "never.json").exists():
        return ["a plan that splits a block was exported"]
    return [] if "cannot-express" in done.stderr else [f"refused without its name: {done.stderr}"]


LIMIT = 0.2


def patiently(meshwright: pathlib.Path, *arguments: object) -> tuple[subprocess.CompletedProcess, bool]:
    """Runs a measurement, waiting two minutes for an idle machine; and whether it was one."""
    for _ in range(12):
        done = run(meshwright, *arguments)
        if done.returncode == 0 or "machine-busy" not in done.stderr:
            break
        time.sleep(10)
    if done.returncode == 0:
        return done, True
    return run(meshwright, *arguments, "--busy"), False


def profile_host(meshwright: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """30 other products of the embedded library."""
    profile = folder / "host.json"
    done, idle = patiently(meshwright, "profile", "--backend", "host", "-o", profile, "--force")
    if done.returncode == 0:
        # The first run has raised the load itself.
        done = run(meshwright, "profile", "--backend", "host", "--check", profile, "--busy", "--json")
    if done.returncode != 0:
        return [f"profile: exit {done.returncode}\n{done.stderr}"]
    found = json.loads(done.stdout)
    print(
        f"  host: {found['products']} other products, median error {found['median_error']:.1%}, "
        f"worst {found['worst_error']:.1%}{'' if idle else ', on a busy machine: not judged'}"
    )
    return [] if not idle or found["median_error"] <= LIMIT else ["above 20 %"]


def profile_torch(meshwright: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """A 2-layer transformer block of PyTorch, forward and backward."""
    profile = folder / "torch.json"
    done, idle = patiently(
        meshwright, "profile", "--backend", "torch", "--python", sys.executable, "-o", profile, "--force"
    )  # fmt: skip
    if done.returncode != 0:
        return [f"profile: exit {done.returncode}\n{done.stderr}"]
    check = [sys.executable, str(HERE / "check_torch_profile.py"), str(profile), "--limit", str(LIMIT)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        return [done.stdout + done.stderr]
    figure = done.stdout.strip().splitlines()[-1]
    print(f"  torch: {figure}{'' if idle else ', on a busy machine: not judged'}")
    return [] if not idle or done.returncode == 0 else ["above 20 %"]


CONFIG = {
    "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 18, "num_attention_heads": 16,
    "num_key_value_heads": 8, "intermediate_size": 5632, "vocab_size": 32000,
    "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip

NODES = """\
name: two-nodes
nodes:
  - {count: 2, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, host: pcie4_x16, nics: 4}
network: {link: ib_hdr_200}
"""

SCHEDULES = ["1f1b", "gpipe", "interleaved", "breadth-first", "zb-h1", "zb-h2", "zb-v", "dualpipe-v"]


def torch_schedules(meshwright: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Plan a training run under each schedule, export it, and let PyTorch simulate it."""
    model, cluster = folder / "config.json", folder / "nodes.yaml"
    model.write_text(json.dumps(CONFIG), encoding="utf-8")
    cluster.write_text(NODES, encoding="utf-8")
    files = []
    for name in SCHEDULES:
        for ranks in (2, 4):
            plan = folder / f"{name}-{ranks}.json"
            files.append(folder / f"{name}-{ranks}.csv")
            done = run(
                meshwright, "plan", model, "--cluster", cluster, "--global-batch", 64,
                "--sequence-length", 2048, "--pin", f"pipeline={ranks}", "--pin", f"schedule={name}",
                "-o", plan, "--force",
            )  # fmt: skip
            if done.returncode == 0:
                done = run(
                    meshwright, "export", plan, "--model", model, "--cluster", cluster,
                    "--target", "torch-pipelining", "-o", files[-1], "--force",
                )  # fmt: skip
            if done.returncode != 0:
                return [f"{name} on {ranks} ranks: exit {done.returncode}\n{done.stdout}{done.stderr}"]
    check = [sys.executable, str(HERE / "check_schedules.py"), *map(str, files)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    n_ok = sum(line.startswith("ok ") for line in done.stdout.splitlines())
    print(f"  {n_ok} of {len(files)} schedules run to the end in PyTorch's simulator")
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


# Ranks and micro-batches, fewer than ranks among them.
SIZES = [(2, 4), (4, 8), (8, 24), (4, 11), (4, 3), (8, 16), (2, 1)]
#: Names of torch that plans are exported with.
NAMES = ["1F1B", "GPipe", "Interleaved1F1B", "ZBVZeroBubble", "DualPipeV"]


def named_schedules(meshwright: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Every name of PyTorch's that a plan gets is that of the same cells; the other schedules get a file."""
    model, cluster, plan = folder / "config.json", folder / "nodes.yaml", folder / "named.json"
    model.write_text(json.dumps(CONFIG), encoding="utf-8")
    cluster.write_text(NODES, encoding="utf-8")
    words, sizes = [], collections.Counter()
    for schedule in SCHEDULES:
        for ranks, n_micro_batches in SIZES:
            chunks = ["--pin", "virtual-stages=2"] if schedule in ("interleaved", "breadth-first") else []
            on = [model, "--cluster", cluster]
            done = run(
                meshwright, "plan", *on, "--global-batch", n_micro_batches, "--sequence-length", 1024,
                "--for", "torchtitan", "--pin", f"schedule={schedule}", "--pin", f"pipeline={ranks}",
                "--pin", "data=1", "--pin", "micro-batch=1", "--pin", f"tensor={8 // ranks}", *chunks,
                "--pin", "context=1", "-o", plan, "--force",
            )  # fmt: skip
            if done.returncode in (2, 4):
                continue
            files = {name: folder / f"named-{name}" for name in ("torchtitan", "torch-pipelining")}
            files["torch-pipelining"] = folder / f"{schedule}-{ranks}-{n_micro_batches}.csv"
            for target, file in files.items():
                on = ["--model", model, "--cluster", cluster, "--target", target, "-o", file, "--force"]
                done = run(meshwright, "export", plan, *on) if done.returncode == 0 else done
            if done.returncode != 0:
                return [f"{schedule} on {ranks} ranks: exit {done.returncode}\n{done.stdout}{done.stderr}"]
            text = files["torchtitan"].read_text(encoding="utf-8")
            name = text.split("--parallelism.pipeline_parallel_schedule ")[1].split()[0]
            sizes[name] += 1
            if name != "PipelineScheduleMulti":
                words.append(f"{name}={files['torch-pipelining']}")
    check = [sys.executable, str(HERE / "check_named_schedules.py"), *words]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    told = ", ".join(f"{name} in {n}" for name, n in sizes.items())
    print(f"  names of PyTorch by sizes: {told}")
    few = [name for name in NAMES if sizes[name] < 3]
    return few if done.returncode == 0 else [done.stdout + done.stderr]


N_RANDOM = 200


def random_schedules(meshwright: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Plan random training runs, and let PyTorch simulate every schedule that they are exported to."""
    chance = random.Random(1)
    model, cluster, plan = folder / "random.json", folder / "nodes.yaml", folder / "random-plan.json"
    cluster.write_text(NODES, encoding="utf-8")
    files, refused = [], collections.Counter()
    for _ in range(20 * N_RANDOM):
        if len(files) == N_RANDOM:
            break
        layers = chance.randint(4, 60)
        model.write_text(json.dumps(CONFIG | {"num_hidden_layers": layers}), encoding="utf-8")
        pins = {"pipeline": chance.choice([2, 4, 8]), "schedule": chance.choice(SCHEDULES)}
        if chance.random() < 0.5:
            pins["micro-batch"] = chance.choice([1, 2, 4])
        done = run(
            meshwright, "plan", model, "--cluster", cluster, "--sequence-length", chance.choice([1024, 2048]),
            "--global-batch", 8 * chance.randint(1, 12), "-o", plan, "--force",
            *(word for name, value in pins.items() for word in ("--pin", f"{name}={value}")),
        )  # fmt: skip
        if done.returncode in (2, 4):
            refused[done.returncode] += 1
            continue
        name = folder / f"random-{len(files)}.csv"
        if done.returncode == 0:
            done = run(
                meshwright, "export", plan, "--model", model, "--cluster", cluster,
                "--target", "torch-pipelining", "-o", name,
            )  # fmt: skip
        if done.returncode != 0:
            return [f"{pins}, {layers} layers: exit {done.returncode}\n{done.stdout}{done.stderr}"]
        files.append(name)
    check = [sys.executable, str(HERE / "check_schedules.py"), *map(str, files)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    n_ok = sum(line.startswith("ok ") for line in done.stdout.splitlines())
    none = f"{refused[4]} of other pins fit no plan"
    print(f"  {n_ok} of {len(files)} random schedules run to the end in PyTorch's simulator; {none}")
    whole = done.returncode == 0 and len(files) == N_RANDOM
    return [] if whole else [f"{len(files)} plans\n{done.stdout}{done.stderr}"]


def gradient_exchange(meshwright: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Gradients go between processes as tables say, those of exported plans among them."""
    check = [sys.executable, str(HERE / "check_gradient_exchange.py"), "--meshwright", str(meshwright)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    print("\n".join(f"  {line}" for line in done.stdout.splitlines()))
    return [] if done.returncode == 0 else [done.stderr]


def traces(meshwright: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Two ranks of a data-parallel run over gloo, recorded and joined; totals are PyTorch's own."""
    for _ in range(5):
        done = subprocess.run([sys.executable, str(HERE / "gloo_traces.py"), str(folder)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return [done.stdout + done.stderr]
        # Of some 16 recordings PyTorch's observer leaves one without the node that others hang on.
        read = [run(meshwright, "import", folder / f"rank{rank}.et.json") for rank in (0, 1)]
        if not any("missing-parent" in own.stderr for own in read):
            break
    totals = [json.loads((folder / f"totals{rank}.json").read_text()) for rank in (0, 1)]
    problems = []
    for rank, total in enumerate(totals):
        done = run(meshwright, "import", folder / f"rank{rank}.et.json", "--trace", folder / f"rank{rank}.kineto.json", "--json")
        if done.returncode != 0:
            return [f"import of rank {rank}: exit {done.returncode}\n{done.stdout}{done.stderr}"]
        summary = json.loads(done.stdout)["summary"]
        if summary["initializer_elements"] != total["parameters"]:
            problems.append(f"rank {rank}: {summary['initializer_elements']} parameters, not {total['parameters']}")
        [recorded] = summary["recorded"]
        if recorded["landed_share"] < 0.99:
            problems.append(f"rank {rank}: only {recorded['landed_share']:.1%} of the time landed")
        print(f"  rank {rank}: {recorded['op_time_ns'] / 1e3:.0f} us with gloo's, PyTorch counts {total['operators_us']:.0f} us without")
    others = [folder / name for name in ("rank0.kineto.json", "rank1.et.json", "rank1.kineto.json")]
    flags = [flag for other in others for flag in ("--trace", other)]
    plan = folder / "joined.json"
    done = run(meshwright, "plan", folder / "rank0.et.json", *flags, "--pin", "rank0/*=cpu0", "--pin", "rank1/*=cpu1", "-o", plan, "--json")
    if done.returncode != 0:
        return [*problems, f"plan of both ranks: exit {done.returncode}\n{done.stderr}"]
    if "measured" not in done.stdout:
        problems.append("the plan of both ranks is not marked measured")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meshwright", type=pathlib.Path, required=True)
    meshwright = parser.parse_args().meshwright.resolve()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        checks = [(f"{name} {check.__name__}", check, name) for name in MODELS for check in (dispatch, refused)]
        checks += [(check.__name__, check, None) for check in (torch_schedules, named_schedules, random_schedules, gradient_exchange, traces, profile_host, profile_torch)]
        for title, check, name in checks:
            names = [] if name is None else [name]
            problems = check(meshwright, *names, pathlib.Path(folder))
            print(f"{'FAIL' if problems else 'PASS'} {title}", flush=True)
            for problem in problems:
                print(problem)
            failed += bool(problems)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
