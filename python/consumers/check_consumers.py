#!/usr/bin/env python3
"""Random plans by the consumers' own code.

    python check_consumers.py --meshwright target/release/meshwright [--plans N] [--only TARGET]
        [--reader target/release/examples/launch_settings] [--drawn N]

Megatron-LM's argument code, layout class and process groups come from the folder that MEGATRON_LM names,
Megatron-Core's config, layout class and scheduler from its package, torchtitan's main from TORCHTITAN, its release, DeepSpeed's, Accelerate's and Transformers' from the packages
(or DEEPSPEED); what is not there is told as skipped. JAX compiles for eight devices of this host. Megatron
Bridge's dataclasses come from MEGATRON_BRIDGE, on those of MEGATRON_LM. LLM_D_SCHEMA names the
`values.schema.json` of llm-d-modelservice. Single files of Galvatron, vLLM and
SGLang come from their archives, or from the folders GALVATRON, VLLM and SGLANG. Which commits were judged stands
in `../requirements.lock`.
What their parsed objects say is made into a plan again, which must have the step and the peaks of the first
one (`dumped_plan.py`), and held against what our reader sees in the file, where READER is the example of crate
importers. `--drawn N`: the same of so many plans more that no search made (`drawn_plans.py`).
Prints what runs otherwise than planned and one line of counts for each consumer; exits with 1 where
anything does.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import drawn_plans
import random_fleets
import random_placements
import random_plans
import readers
from dumped_plan import differing

HERE = pathlib.Path(__file__).resolve().parent


def released(package: str) -> str | None:
    """The folder of an installed package, without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return None
    return None if spec is None else str(pathlib.Path(spec.origin).parents[1 + package.count(".")])


def archived(package: str) -> str | None:
    """The archive of a package that was downloaded and not installed."""
    found = pathlib.Path(sys.prefix, "archives").glob(f"{package}-*")
    return next(map(str, sorted(found)), None)


# Launchers whose files are read back.
READ = {"megatron", "torchtitan", "deepspeed"}

# Target, where the consumer's code lies, and how many plans.
CONSUMERS = [
    ("megatron@0.20", "megatron_lm.py", os.environ.get("MEGATRON_LM"), 200),
    ("megatron@0.20", "megatron_core.py", released("megatron.core"), 50),
    ("torchtitan@0.3", "torchtitan_config.py", released("torchtitan"), 50),
    ("torchtitan@main", "torchtitan_config.py", os.environ.get("TORCHTITAN"), 50),
    ("megatron-bridge@0.7", "megatron_bridge.py", os.environ.get("MEGATRON_BRIDGE"), 100),
    ("deepspeed@0.19", "deepspeed_config.py", os.environ.get("DEEPSPEED") or released("deepspeed"), 50),
    ("jax@0.10", "jax_mesh.py", released("jax"), 24),
    ("huggingface@5.23", "huggingface_config.py", released("accelerate"), 100),
    ("galvatron@2.4", "galvatron_config.py", os.environ.get("GALVATRON") or archived("hetu_galvatron"), 50),
    ("vllm", "server_layers.py", os.environ.get("VLLM") or archived("vllm"), 20),
    ("sglang@0.5", "server_layers.py", os.environ.get("SGLANG") or archived("sglang"), 20),
    ("vllm@0.33", "fleet_servers.py", os.environ.get("VLLM") or archived("vllm"), 100),
    ("sglang@0.5", "fleet_servers.py", os.environ.get("SGLANG") or archived("sglang"), 100),
    ("dynamo@1.6", "fleet_manifests.py", os.environ.get("VLLM") or archived("vllm"), 50),
    ("llm-d@0.4", "fleet_manifests.py", os.environ.get("VLLM") or archived("vllm"), 50),
]


def other_commits() -> list[str]:
    """Checkouts at another commit than the lock file names."""
    told = []
    for line in (HERE.parent / "requirements.lock").read_text(encoding="utf-8").splitlines():
        words = line.removeprefix("# ").split()
        folder = os.environ.get(words[0], "") if len(words) == 3 and len(words[2]) == 40 else ""
        if pathlib.Path(folder, ".git").exists() and folder:
            command = ["git", "-C", folder, "rev-parse", "HEAD"]
            own = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
            if own != words[2]:
                told.append(f"{words[0]} is at {own[:9]}, the lock file names {words[2][:9]}")
    return told


def judged(judge: str, source: str, made: list, folder: pathlib.Path) -> tuple[list[dict], bool]:
    """What the consumer's own code says of exported plans, and whether it came to its end."""
    pairs = [str(path) for plan, file, *_ in made for path in (file, plan)]
    command = [sys.executable, str(HERE / judge), source, *pairs]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    (folder / "told.txt").write_bytes(done.stderr)
    if done.returncode != 0:
        print(done.stderr.decode(errors="replace")[-2000:])
    lines = [line for line in done.stdout.splitlines() if line.startswith(b"{")]
    return [json.loads(line) for line in lines], done.returncode == 0


def check(options, row: tuple, made: list, folder: pathlib.Path) -> bool:
    """Judges, prices and reads exported plans of one target."""
    target, judge, source, _ = row
    # The package has no parser of flags: what is judged is not the whole run.
    is_priced = judge != "megatron_core.py"
    verdicts, good = judged(judge, source, made, folder)
    counts: collections.Counter[str] = collections.Counter()
    launcher = random_plans.name_of(target)
    seen = {}
    if options.reader and launcher in READ and is_priced:
        seen = readers.read(options.reader, launcher, [str(file) for _, file, *_ in made])
    for verdict, (plan, file, model, *cluster) in zip(verdicts, made):
        counts["judged"] += 1
        counts["starts"] += verdict.get("starts", 0)
        if "runs" in verdict:
            planned = json.loads(plan.read_text(encoding="utf-8"))
            on = ["--model", str(model), "--cluster", *map(str, cluster)]
            off, same = differing(verdict["runs"], planned, plan, options.meshwright, on)
            counts["priced within 1 %"] += not off
            counts["of these alike to the digit"] += same
            verdict["differences"] += off
            rows = [",".join(row) for row in verdict["runs"].pop("order")]
            if rows != planned["schedule"]["grid"]:
                verdict["differences"].append(f"order: {rows} runs, {planned['schedule']['grid']} is planned")
            verdict["runs"]["schedule"] = planned["training"]["schedule"]
        if own := seen.get(str(file)):
            wrong = readers.differing(own, verdict.get("runs", {}))
            if "refused" in own:
                wrong = [f"refused by the reader: {own.get('message')}"]
            counts["read alike"] += not wrong
            verdict["differences"] += wrong
        if verdict["differences"]:
            counts["otherwise than planned"] += 1
            print(verdict["file"], model.stem, *verdict["differences"][:3], sep="\n  ")
    kinds = collections.Counter(model.stem.rsplit("-", 1)[0] for _, _, model, *_ in made)
    told = ", ".join(f"{n} of {name}" for name, n in sorted(kinds.items()))
    print(f"{target} ({told}):", ", ".join(f"{n} {what}" for what, n in counts.items() if n), flush=True)
    demanded = ["judged"]
    if launcher in READ and is_priced:
        demanded += ["priced within 1 %", *(["read alike"] if options.reader else [])]
    good &= all(counts[what] == len(made) for what in demanded)
    return good and not counts["otherwise than planned"]


def checks(options, row: tuple, root: pathlib.Path) -> bool:
    """Plans of a search, and drawn ones."""
    target, judge, source, usual = row
    if source is None:
        print(f"{target}: skipped, its code is not here")
        return True
    n = usual if options.plans is None else options.plans
    good = True
    makers = {"server_layers.py": random_placements, "fleet_servers.py": random_fleets, "fleet_manifests.py": random_fleets}
    found = makers.get(judge, random_plans)
    for kind, maker, n in (("found", found, n), ("drawn", drawn_plans, options.drawn)):
        if n == 0 or (maker is drawn_plans and random_plans.name_of(target) not in READ):
            continue
        folder = root / f"{target} {pathlib.Path(judge).stem}" / kind
        folder.mkdir(parents=True, exist_ok=True)
        made = list(maker.plans(options.meshwright, target, n, folder))
        good &= check(options, row, made, folder) and len(made) == n
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meshwright", required=True)
    parser.add_argument("--plans", type=int)
    parser.add_argument("--only", default="")
    parser.add_argument("--drawn", type=int, default=0, help="plans of each target that no search made")
    parser.add_argument("--reader", help="the example launch_settings of crate importers")
    parser.add_argument("--keep", type=pathlib.Path, help="folder that keeps the plans")
    options = parser.parse_args()
    print(*other_commits(), sep="\n", end="")
    rows = [row for row in CONSUMERS if row[0].startswith(options.only)]
    with tempfile.TemporaryDirectory() as name:
        root = options.keep or pathlib.Path(name)
        good = [checks(options, row, root) for row in rows]
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
