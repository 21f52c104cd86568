#!/usr/bin/env python3
"""200 random plans by Megatron-LM's own argument code, its layout class and its process groups.

    MEGATRON_LM=folder python check_megatron.py --meshwright target/release/meshwright [--plans N]

Prints what differs and a last line with counts; exits with 1 where anything does. Without MEGATRON_LM it
says that it was skipped.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from random_plans import plans

HERE = pathlib.Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meshwright", required=True)
    parser.add_argument("--plans", type=int, default=200)
    parser.add_argument("--keep", type=pathlib.Path, help="folder that keeps plans and verdicts")
    options = parser.parse_args()
    if "MEGATRON_LM" not in os.environ:
        print("Megatron-LM: skipped, MEGATRON_LM names no folder of its source")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or pathlib.Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        made = list(plans(options.meshwright, "megatron", options.plans, folder))
        pairs = [str(path) for plan, file, _ in made for path in (file, plan)]
        command = [sys.executable, str(HERE / "megatron_lm.py"), *pairs]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        verdicts = [json.loads(line) for line in done.stdout.splitlines()]
        (folder / "verdicts.json").write_bytes(done.stdout)
    wrong = [verdict for verdict in verdicts if verdict["differences"]]
    for verdict in wrong:
        print(verdict["file"], *verdict["differences"][:3], sep="\n  ")
    kinds = collections.Counter(model.stem.rsplit("-", 1)[0] for _, _, model in made)
    n = f"{len(verdicts)} of {len(made)} plans judged by Megatron-LM ({dict(kinds)})"
    print(f"{n}, {len(wrong)} run otherwise than planned")
    return int(bool(wrong) or len(verdicts) != options.plans or done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
