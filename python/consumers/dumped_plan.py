#!/usr/bin/env python3
"""A plan made of what a consumer's parsed objects say, priced by `meshwright simulate`.

    python dumped_plan.py RUN.json PLAN.json > made.json

RUN is what a judge here dumps after its consumer's own code read a file (`runs` of its output):

    data, tensor, pipeline, context, expert, virtual_stages    degrees
    micro_batch, n_micro_batches, sequence_length              of a replica
    expert_overlap          whether exchanges of experts run beside the work of another micro-batch
    zero                    0 to 3: what replicas share out
    sequence_parallel       whether tensor ranks split sequences
    pipeline_inside         whether pipeline ranks lie inside replicas
    recompute               `none`, `selective`, `per-op`, `full`, {"block": n} or {"uniform": n}
    blocks                  layers of each stage in model order, those that predict a later token too
    order                   of each pipeline rank, its passes in order, by the consumer's own scheduler
    dtype, optimizer, offloads, stack                          what the step is priced by

None is what the file leaves to the program that reads it. Of PLAN are taken: for which model, cluster and
profile it is (name and digest), and what the file leaves open. Nothing is read through an importer of
launchers' settings.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

SHARE = 0.01


def document(run: dict, planned: dict) -> dict:
    """The plan that runs, in the form of `meshwright.plan/1`."""
    open_to = {"optimizer": planned["workload"]["optimizer"], "dtype": planned["workload"]["dtype"]}
    run = {**run, **{key: value for key, value in open_to.items() if run[key] is None}}
    # Where there is one of something, nothing is shared out, laid out or split among several.
    has_replicas = run["data"] * run["context"] > 1
    inside = run["pipeline_inside"] and run["data"] > 1 and run["pipeline"] > 1
    first = [sum(run["blocks"][:i]) for i in range(len(run["blocks"]))]
    stages = [
        {"ops": [], "blocks": {"first": at, "n": n, "recompute": run["recompute"]}}
        for at, n in zip(first, run["blocks"])
    ]
    return {
        "format": "meshwright.plan/1",
        **{name: planned[name] for name in ("model", "cluster", "profile")},
        "workload": {"mode": "training", "optimizer": run["optimizer"], "dtype": run["dtype"]},
        "objective": "step-time",
        "algorithm": "search-3d",
        "parallelism": {
            **{axis: run[axis] for axis in ("data", "tensor", "pipeline", "expert", "context")},
            "n_micro_batches": run["n_micro_batches"],
            "training": {
                "micro_batch": run["micro_batch"],
                "virtual_stages": run["virtual_stages"],
                "sequence_parallel": run["sequence_parallel"] and run["tensor"] > 1,
                "zero": run["zero"] if has_replicas else 0,
                "mesh": "pipeline-inside" if inside else "data-inside",
                **({"expert_overlap": True} if run.get("expert_overlap") else {}),
            },
        },
        "partition": {"stages": stages},
        "placement": [],
        "experts": {},
        "communication": {},
        "schedule": {"devices": [], "channels": [], "after": [], "grid": [",".join(row) for row in run["order"]]},
        "training": {
            "global_batch": run["data"] * run["n_micro_batches"] * run["micro_batch"],
            "sequence_length": run["sequence_length"],
            "stack": run["stack"],
            # The order of passes is what runs, whatever its name.
            "schedule": "custom",
            **({"offloads_optimizer": True} if run["offloads"] else {}),
        },
    }


def stated(planned: dict) -> list[int]:
    """Nanoseconds of the step, and bytes of each pipeline rank's peak, as the plan has them."""
    return [planned["cost"]["step_time_ns"], *(rank["peak_bytes"] for rank in planned["training"]["memory"])]


def priced(made: pathlib.Path, meshwright: str, on: list[str]) -> list[int]:
    """The same by `simulate`."""
    command = [meshwright, "simulate", str(made), *on, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout) if done.stdout else {}
    if done.returncode != 0 or told.get("violations"):
        raise ValueError(f"simulate: {told.get('violations') or done.stderr}")
    return [told["step_time_ns"], *(rank["peak_bytes"] for rank in told["ranks"])]


def differing(run: dict, planned: dict, plan: pathlib.Path, meshwright: str, on: list[str]) -> tuple[list[str], bool]:
    """Figures of the run that are more than 1 % off those of the plan, and whether all are the same."""
    made = plan.with_suffix(".dumped")
    made.write_text(json.dumps(document(run, planned)), encoding="utf-8")
    try:
        theirs = priced(made, meshwright, on)
        ours = stated(planned) if "cost" in planned else priced(plan, meshwright, on)
    except ValueError as error:
        return [str(error)[:600]], False
    if len(ours) != len(theirs):
        return [f"{len(theirs) - 1} pipeline ranks run, {len(ours) - 1} are planned"], False
    names = ["step", *(f"peak of rank {rank}" for rank in range(len(ours) - 1))]
    off = [
        f"{name}: {their} of what runs, {own} of the plan"
        for name, own, their in zip(names, ours, theirs)
        if abs(their - own) > SHARE * own
    ]
    return off, ours == theirs


if __name__ == "__main__":
    both = [json.loads(pathlib.Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:3]]
    print(json.dumps(document(*both)))
