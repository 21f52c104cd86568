#!/usr/bin/env python3
"""Flag files as people write them: what our reader sees beside what Megatron-LM's own code makes of them.

    MEGATRON_LM=FOLDER python flag_files.py READER

READER is the example `launch_settings` of crate importers. The files are the `model_config.yaml` of
Megatron-LM's functional tests (flags by name, switches true). Of each, `parse_args` and `validate_args`
say the attributes; a file that they refuse is left out. Prints what differs and one line of counts; exits
with 1 where anything does.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import pathlib
import sys
import tempfile

import yaml

if "MEGATRON_LM" not in os.environ:
    print("flag files of Megatron-LM: skipped, its code is not here")
    sys.exit()
SOURCE = pathlib.Path(os.environ["MEGATRON_LM"])
READER = sys.argv[1]
sys.argv = [sys.argv[0], str(SOURCE)]
from megatron_lm import attributes, parsed  # noqa: E402
from readers import differing, read  # noqa: E402

from megatron.training import arguments  # noqa: E402

# Kinds of models that `pretrain_gpt.py` trains.
KINDS = ("gpt", "gpt-nemo", "mixtral", "moe", "nemotron")


# Data and the length of the run, which no plan decides and `megatron_lm.py` adds.
ADDED = {
    "--data-path", "--per-split-data-args-path", "--data-args-path", "--mock-data", "--train-samples",
    "--train-iters", "--lr-decay-samples", "--lr-warmup-samples", "--lr-decay-iters", "--lr", "--tokenizer-type",
    "--lr-wsd-decay-samples", "--exit-duration-in-mins",
}  # fmt: skip


def words(arguments: dict[str, object]) -> list[str]:
    """The command line that the tests' script makes of them."""
    line: list[str] = []
    for flag, value in arguments.items():
        if flag in ADDED:
            continue
        if value is True:
            line.append(flag)
        elif value is not False:
            said = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            is_list = said.startswith("[") and "*" not in said
            line += [flag, *(said.strip("[]").replace(",", " ") if is_list else said).split()]
    return line


def theirs(line: list[str], connections: str | None) -> dict | str:
    """Attributes after validation on the fewest processes that it takes."""
    why = ""
    group = 1
    for flag in ("tensor-model-parallel-size", "pipeline-model-parallel-size", "context-parallel-size"):
        at = line.index(f"--{flag}") if f"--{flag}" in line else None
        group *= int(line[at + 1]) if at is not None else 1
    for world in (group * replicas for replicas in (1, 2, 8, 64)):
        try:
            args = parsed(line, world, connections)
        except (Exception, SystemExit) as error:  # Whatever its own code stops at.
            why = why or f"{type(error).__name__}: {error}"
            continue
        return attributes(args)
    return why


def unclassed() -> list[str]:
    """Flags of its parser that the reader calls unknown."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    arguments.add_megatron_arguments(parser)
    flags = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
    with tempfile.TemporaryDirectory() as folder:
        paths = {flag: pathlib.Path(folder, flag.strip("-")) for flag in flags}
        for flag, path in paths.items():
            path.write_text(f"{flag} 1\n", encoding="utf-8")
        told = read(READER, "megatron", list(paths.values()))
    return [flag for flag, path in paths.items() if told[str(path)].get("refused") == "unknown-flag"]


def main() -> int:
    if unknown := unclassed():
        print("flags of Megatron that the reader has no class for:", *unknown)
        return 1
    files = sorted(SOURCE.glob("tests/functional_tests/test_cases/*/*/model_config.yaml"))
    counts: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        lines, paths = {}, []
        for path in files:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            if path.parts[-3] not in KINDS or not document.get("MODEL_ARGS"):
                continue
            own = pathlib.Path(folder) / f"{path.parts[-3]}-{path.parts[-2]}.args"
            line = words(document["MODEL_ARGS"])
            own.write_text(" ".join(line) + "\n", encoding="utf-8")
            connections = (document.get("ENV_VARS") or {}).get("CUDA_DEVICE_MAX_CONNECTIONS")
            lines[str(own)] = (line, None if connections is None else str(connections))
            paths.append(str(own))
        for file, ours in read(READER, "megatron", paths).items():
            name = pathlib.Path(file).name
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                said = theirs(*lines[file])
            if isinstance(said, str):
                counts["refused by Megatron"] += 1
                reasons[said[:100]] += 1
            elif "refused" in ours:
                counts[f"refused by the reader: {ours['refused']}"] += 1
                reasons[ours.get("message", "")[:100]] += 1
            elif wrong := differing(ours, said):
                counts["read otherwise"] += 1
                print(name, *wrong, sep="\n  ", flush=True)
            else:
                counts["read alike"] += 1
    for reason, n in reasons.most_common():
        print(f"{n} x {reason}", file=sys.stderr)
    print(", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    return int(counts["read otherwise"] > 0)


if __name__ == "__main__":
    sys.exit(main())
