#!/usr/bin/env python3
"""Flag files as people write them: what our reader sees beside what Megatron-LM's own code makes of them.

    MEGATRON_LM=FOLDER python flag_files.py READER

READER is the example `launch_settings` of crate importers. The files are the `model_config.yaml` of
Megatron-LM's functional tests (flags by name, switches true). Of each, `parse_args` and `validate_args`
say the attributes; a file that they refuse is left out. Prints what differs and one line of counts; exits
with 1 where anything does.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import yaml

if "MEGATRON_LM" not in os.environ:
    print("flag files of Megatron-LM: skipped, its code is not here")
    sys.exit()
SOURCE = pathlib.Path(os.environ["MEGATRON_LM"])
READER = sys.argv[1]
sys.argv = [sys.argv[0], str(SOURCE)]
from megatron_lm import layers_of_stages, parsed, recomputed  # noqa: E402

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
        return {
            "tensor": args.tensor_model_parallel_size,
            "pipeline": args.pipeline_model_parallel_size,
            "context": args.context_parallel_size,
            "expert": args.expert_model_parallel_size,
            "virtual_stages": args.virtual_pipeline_model_parallel_size or 1,
            "micro_batch": args.micro_batch_size,
            "global_batch": args.global_batch_size,
            "sequence_length": args.seq_length,
            "sequence_parallel": bool(args.sequence_parallel),
            "zero": sharding(args),
            "pipeline_inside": bool(args.use_tp_pp_dp_mapping),
            "recompute": recomputed(args),
            "blocks": [stage["decoder"] + stage["mtp"] for stage in stages(args)],
            "n_predicting": args.mtp_num_layers or 0,
            "dtype": "fp8" if args.fp8 else str(args.params_dtype).removeprefix("torch."),
            "optimizer": args.optimizer,
            "offloads": bool(args.optimizer_cpu_offload),
        }
    return why


def sharding(args) -> int:
    """ZeRO's stage."""
    if args.use_megatron_fsdp:
        order = ["no_shard", "optim", "optim_grads", "optim_grads_params"]
        return order.index(args.data_parallel_sharding_strategy)
    if args.use_torch_fsdp2:
        return 2 if args.torch_fsdp2_reshard_after_forward is False else 3
    return int(bool(args.use_distributed_optimizer))


def stages(args) -> list[dict[str, int]]:
    """Layers by stage, also where no layout is stated."""
    if args.pipeline_model_parallel_layout is not None:
        return layers_of_stages(args)
    chunks = args.virtual_pipeline_model_parallel_size or 1
    n = args.pipeline_model_parallel_size * chunks
    first, last = args.decoder_first_pipeline_num_layers, args.decoder_last_pipeline_num_layers
    free = args.num_layers - (first or 0) - (last or 0)
    held = [0] * n
    # Stated counts are of ranks, in equal chunks.
    ends = {0: first, args.pipeline_model_parallel_size - 1: last}
    others = args.pipeline_model_parallel_size - sum(own is not None for own in ends.values())
    for stage in range(n):
        own = ends.get(stage % args.pipeline_model_parallel_size)
        held[stage] = (own if own is not None else free // max(others, 1)) // chunks
    held[-1] += args.mtp_num_layers or 0
    return [{"decoder": layers, "mtp": 0} for layers in held]


# What a reader may leave open, and what Megatron then takes.
OPEN = {"context": 1, "expert": 1, "tensor": 1, "pipeline": 1, "n_predicting": 0, "virtual_stages": 1}
NAMES = {"adamw": "adam", "bf16": "bfloat16", "fp16": "float16", "f16": "float16", "fp32": "float32", "f32": "float32"}


def differing(ours: dict, said: dict) -> list[str]:
    wrong = []
    for key, their in said.items():
        own = ours[key] if ours[key] is not None else OPEN.get(key)
        own = NAMES.get(own, own) if isinstance(own, str) else own
        if own is None and key in ("blocks", "global_batch", "recompute"):
            continue
        if key == "sequence_parallel" and said["tensor"] == 1:
            continue
        if own != their:
            wrong.append(f"{key}: {their} runs, {own} is read")
    return wrong


def main() -> int:
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
        read = subprocess.run([READER, "megatron", *paths], capture_output=True, text=True, check=True)
        for told in map(json.loads, read.stdout.splitlines()):
            name, ours = pathlib.Path(told["file"]).name, told["settings"]
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                said = theirs(*lines[told["file"]])
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
