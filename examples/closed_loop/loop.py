"""Measure this machine, plan, run, compare: `python examples/closed_loop/loop.py` writes loop/."""

import pathlib
import subprocess
import sys

import meshwright as mw

folder, here = pathlib.Path("loop"), pathlib.Path(__file__).parent
folder.mkdir(exist_ok=True)
profile, cluster, plan, measured = (folder / name for name in ("profile.json", "cluster.yaml", "plan.json", "measured.json"))
mw.torch.profile("torch-cpu", processes=2, profile=profile, cluster=cluster, force=True)
run = {"global_batch": 16, "sequence_length": 64, "dtype": "fp32", "stack": "pytorch-cpu", "executor": "any", "no_offload": True}
made = mw.plan(here / "config.json", cluster=cluster, profile=profile, pin=["tensor=1", "context=1"], **run)
made.save(plan, force=True)
subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", here / "train.py", plan, measured], check=True)
files = ["--model", here / "config.json", "--cluster", cluster, "--profile", profile]
subprocess.run([sys.executable, "-m", "meshwright", "compare", plan, measured, *files], check=True)
