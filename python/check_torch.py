"""Plans that run on two processes against one process (`test_package.py` starts it with torchrun).

Losses have to be equal to 1e-6 and gradients to 1e-5, two steps after the first one included.
"""

from __future__ import annotations

import argparse
import copy
import json
import pathlib
import sys
import tempfile

import torch
import torch.distributed as dist
from torch import nn

import meshwright as mw

CONFIG = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "intermediate_size": 128, "vocab_size": 96, "max_position_embeddings": 32,
    "tie_word_embeddings": False, "torch_dtype": "float32",
}  # fmt: skip
CLUSTER = """\
name: two-processes
kinds:
  - {name: cpu, memory_bytes: 8e9, memory_bytes_per_s: 2.0e10, peak_fp32_flops: 1.0e11}
link_kinds:
  - {name: gloo, bytes_per_s: 2.0e9, latency_s: 1.0e-4}
nodes:
  - {device: cpu, devices: 2, scaleup: gloo}
"""
SAMPLES, LENGTH = 8, 16

#: Pins, what torch runs them by, whether the CSV is asked for.
CASES: list[tuple[list[str], str | None, bool]] = [
    (["data=2", "zero=0", "micro-batch=2"], None, False),
    (["data=2", "zero=1", "micro-batch=2"], None, False),
    (["data=2", "zero=2", "micro-batch=2"], None, False),
    (["data=2", "zero=3", "micro-batch=2"], None, False),
    (["data=2", "zero=3", "micro-batch=4", "recompute=full"], None, False),
    (["pipeline=2", "schedule=1f1b", "micro-batch=1"], "Schedule1F1B", False),
    (["pipeline=2", "schedule=1f1b", "micro-batch=2", "recompute=full"], "Schedule1F1B", False),
    (["pipeline=2", "schedule=gpipe", "micro-batch=2"], "ScheduleGPipe", False),
    (["pipeline=2", "schedule=interleaved", "virtual-stages=2", "micro-batch=2"], "ScheduleInterleaved1F1B", False),
    (["pipeline=2", "schedule=1f1b", "micro-batch=1"], "_PipelineScheduleRuntime", True),
    (["pipeline=2", "schedule=interleaved", "virtual-stages=2", "micro-batch=1"], "_PipelineScheduleRuntime", True),
    (["pipeline=2", "schedule=zb-h1", "micro-batch=1", "recompute=none"], "_PipelineScheduleRuntime", False),
]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(self.norm(x))


def model() -> nn.Sequential:
    torch.manual_seed(3)
    width, n, vocabulary = CONFIG["hidden_size"], CONFIG["num_hidden_layers"], CONFIG["vocab_size"]
    return nn.Sequential(nn.Embedding(vocabulary, width), *(Block(width) for _ in range(n)), nn.LayerNorm(width), nn.Linear(width, vocabulary))


def loss_fn(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(output.flatten(0, 1), targets.flatten())


def planned(folder: pathlib.Path, pins: list[str]) -> mw.Plan:
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (folder / "cluster.yaml").write_text(CLUSTER, encoding="utf-8")
    return mw.plan(
        folder / "config.json", cluster=folder / "cluster.yaml", global_batch=SAMPLES, sequence_length=LENGTH, pin=pins,
        stack="pytorch-eager", executor="any", deterministic=True, no_offload=True, dtype="fp32",
    )  # fmt: skip


def alone(whole: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one process that sees all samples at once."""
    whole.zero_grad(set_to_none=True)
    loss = loss_fn(whole(x), y)
    loss.backward()
    return float(loss), {name: own.grad.clone() for name, own in whole.named_parameters()}


def case(pins: list[str], by: str | None, is_csv: bool, folder: pathlib.Path) -> str:
    plan = planned(folder, pins)
    built = model()
    whole = copy.deepcopy(built)
    run = mw.torch.Run(plan, built, loss_fn, is_csv=is_csv)
    assert run.schedule_class == by, f"{run.schedule_class}, not {by}"
    torch.manual_seed(5)
    x, y = (torch.randint(CONFIG["vocab_size"], (SAMPLES, LENGTH)) for _ in range(2))
    expected, gradients = alone(whole, x, y)
    found = run.step(x, y, update=False)
    off = abs(found - expected) / abs(expected)
    assert off < 1e-6, f"loss {found}, not {expected}"
    worst, seen = 0.0, set()
    for name, own in run.parameters.items():
        grad = own.grad.full_tensor() if hasattr(own.grad, "full_tensor") else own.grad
        seen.add(name)
        worst = max(worst, float((grad - gradients[name]).abs().max() / gradients[name].abs().max()))
    assert worst < 1e-5, f"gradients are {worst:.1e} off"
    held: list = [None] * dist.get_world_size()
    dist.all_gather_object(held, seen)
    assert set().union(*held) == set(gradients), "parameters are nowhere"
    optimizer = torch.optim.AdamW(whole.parameters())
    for _ in range(3):
        expected, _ = alone(whole, x, y)
        optimizer.step()
        found = run.step(x, y)
        assert abs(found - expected) < 1e-5 * abs(expected), f"after a step: loss {found}, not {expected}"
    measured = run.measure(2, x, y, path=folder / f"measured-{dist.get_rank()}.json")
    for row in measured["ranks"]:
        told = row["compute_s"] + row["waiting_s"] + row["transfer_s"]
        # Medians of two steps are means, which add up.
        assert abs(told - measured["step_time_s"]) < 0.02 * measured["step_time_s"] + 1e-4, (row, measured["step_time_s"])
        assert row["compute_s"] > 0 and row["waiting_s"] >= 0 and row["transfer_s"] >= 0 and row["peak_bytes"] > 1e5, row
    if dist.get_rank() == 0:
        compared(plan, measured, folder)
    local = lambda own: (own.to_local() if hasattr(own, "to_local") else own).detach().clone()  # noqa: E731
    kept = {name: local(own) for name, own in run.parameters.items()}
    try:
        run.measure(1, x, y, path=folder / "measured-0.json")
    except mw.MeshwrightError as error:
        assert error.code == "file-exists", error
    else:
        raise AssertionError("a file that is there is written")
    assert all(torch.equal(kept[name], local(own)) for name, own in run.parameters.items()), "a step ran before the refusal"
    return f"loss {off:.0e}, gradients {worst:.0e}"


def compared(plan: mw.Plan, measured: dict, folder: pathlib.Path) -> None:
    """`compare` sets what was predicted beside it, and refuses the run of another plan."""
    told = mw.compare(plan, folder / "measured-0.json")
    assert mw.compare(plan, measured) == told, "what `measure` returns is what it writes"
    ran = measured["step_time_s"]
    assert abs(told["step_time"]["error"] - (plan.step_time_s / ran - 1)) < 1e-9, told["step_time"]
    rows = [row["measured"] for row in told["ranks"]]
    assert len(rows) == 2, rows
    for own, row in zip(rows, measured["ranks"]):
        assert own.keys() == row.keys() and all(abs(own[name] - row[name]) <= 1e-9 * abs(row[name]) for name in row), own
    peaks = {own["name"]: own["peak"] for own in plan.memory()}
    assert all(row["predicted"]["peak_bytes"] == peaks[f"rank {row['measured']['pipeline_rank']}"] for row in told["ranks"])
    parts = mw.compare(plan, folder / "measured-0.json", model=folder / "config.json", cluster=folder / "cluster.yaml")
    for row in parts["ranks"]:
        own = row["predicted"]
        assert abs(own["compute_s"] + own["transfer_s"] + own["waiting_s"] - plan.step_time_s) < 1e-6, own
    other = mw.Plan({"plan": {name: own for name, own in plan.document.items() if name != "cost"}})
    try:
        mw.compare(other, folder / "measured-0.json")
    except mw.MeshwrightError as error:
        assert error.code == "other-plan", error
    else:
        raise AssertionError("the run of another plan is compared")


def refusals(folder: pathlib.Path) -> str:
    """What is not run is refused by name, on every process."""
    plan = planned(folder, ["data=2", "zero=1"])

    def changed(change) -> mw.Plan:
        document = copy.deepcopy(plan.document)
        change(document)
        return mw.Plan({"plan": document})

    def degree(name: str):
        return lambda document: document["parallelism"].update({name: 2})

    asked = [
        *((changed(degree(name)), f"the {name} degree 2") for name in ("tensor", "context", "expert")),
        (changed(lambda own: own["training"].update(offloads_optimizer=True)), "on hosts"),
        (changed(lambda own: own["workload"].update(dtype="fp8")), "fp8"),
        (changed(lambda own: own["partition"]["stages"][0]["blocks"].update(recompute="selective")), "selective"),
        (changed(lambda own: own["parallelism"].update(data=4)), "4 processes"),
        (mw.plan("examples/models/gpt2_small.onnx", cluster="examples/clusters/two-nodes.yaml", algorithm="single"), "single operators"),
    ]  # fmt: skip
    for own, what in asked:
        try:
            mw.torch.run(own, model(), loss_fn)
        except mw.UsageError as error:
            assert what in error.message, error
        else:
            raise AssertionError(f"{what} is run")
    wrong = [(nn.Linear(2, 2), "order"), (nn.Sequential(*list(model())[:3]), "4 blocks")]
    for own, what in wrong:
        try:
            mw.torch.run(plan, own, loss_fn)
        except mw.UsageError as error:
            assert what in error.message, error
        else:
            raise AssertionError(f"{what} is run")
    return f"{len(asked) + len(wrong)} by name"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int)
    only = parser.parse_args().only
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    failed = 0
    checks = [(f"{' '.join(pins)}{' by CSV' if is_csv else ''}", lambda folder, own=(pins, by, is_csv): case(*own, folder)) for pins, by, is_csv in CASES]
    checks.append(("refusals", refusals))
    for at, (name, check) in enumerate(checks):
        if only not in (None, at):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                said = f"PASS {name}: {check(pathlib.Path(folder))}"
            except AssertionError as error:
                failed += 1
                said = f"FAIL {name}: {error}"
        if dist.get_rank() == 0 or said.startswith("FAIL"):
            print(f"  {said}", flush=True)
    dist.destroy_process_group()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
