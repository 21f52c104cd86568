"""What our readers see of consumers' files, beside what the consumers' own code makes of them."""

from __future__ import annotations

import json
import subprocess

# What a reader may leave open, and what the consumer then takes.
OPEN = {"context": 1, "expert": 1, "tensor": 1, "pipeline": 1, "n_predicting": 0, "virtual_stages": 1}
# What launchers count from the processes or the batch, or a config names: readers may say nothing.
DERIVED = {
    "data", "n_micro_batches", "global_batch", "sequence_length", "blocks", "recompute", "optimizer", "dtype",
    "schedule",
}  # fmt: skip
NAMES = {"f16": "fp16", "f32": "fp32"}


def read(reader: str, launcher: str, files: list[str]) -> dict[str, dict]:
    """What it sees of each file; READER is the example `launch_settings` of crate importers."""
    done = subprocess.run([reader, launcher, *files], capture_output=True, text=True, check=True)
    return {told["file"]: told["settings"] for told in map(json.loads, done.stdout.splitlines())}


def differing(ours: dict, said: dict) -> list[str]:
    """Attributes that are read otherwise than they run."""
    wrong = []
    for key in sorted(said.keys() & ours.keys()):
        own, their = ours[key], said[key]
        if own is None and key in DERIVED:
            continue
        own = OPEN.get(key) if own is None else own
        own = NAMES.get(own, own) if isinstance(own, str) else own
        if key == "sequence_parallel" and said["tensor"] == 1:
            continue
        if own != their:
            wrong.append(f"{key}: {their} runs, {own} is read")
    return wrong
