#!/usr/bin/env python3
"""Check an Accelerate device map against a tiny model, and run it.

    python check_device_map.py MODEL DEVICE_MAP.json [--max-memory MAX_MEMORY.yaml]

MODEL is gpt2, bert or llama (see `tiny_models.py`). Accelerate itself accepts unknown keys and
overlapping prefixes without a word, so these are checked here first. Then the model is dispatched
on this machine's processor, with every second device of the map on disk, and its logits must equal
those of the plain model bit for bit. With `--max-memory`, Accelerate reads the limits, the weights of the map lie within
them, and so does the map that Accelerate makes of them itself. Exits with 1 if any check fails.
Needs torch, transformers and accelerate; downloads nothing.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

import accelerate
import torch
import yaml
from accelerate.utils import (
    check_device_map,
    find_tied_parameters,
    get_max_memory,
    infer_auto_device_map,
)

from tiny_models import MODELS, build, sample_ids


def owner(name: str, device_map: dict) -> str | None:
    """The key that covers a parameter or module, if there is exactly one."""
    keys = [key for key in device_map if key in ("", name) or name.startswith(key + ".")]
    return keys[0] if len(keys) == 1 else None


def unknown_keys(model: torch.nn.Module, device_map: dict) -> list[str]:
    known = {name for name, _ in model.named_modules()}
    known |= set(model.state_dict())
    return [key for key in device_map if key not in known]


def overlapping_keys(device_map: dict) -> list[str]:
    return [
        f"{outer!r} covers {inner!r}"
        for outer in device_map
        for inner in device_map
        if outer != inner and (outer == "" or inner.startswith(outer + "."))
    ]


def uncovered(model: torch.nn.Module, device_map: dict) -> list[str]:
    names = dict.fromkeys(model.state_dict())
    names.update(dict.fromkeys(name for name, _ in model.named_parameters()))
    return [name for name in names if owner(name, device_map) is None]


def split_ties(model: torch.nn.Module, device_map: dict) -> list[str]:
    model.tie_weights()
    return [
        " = ".join(group)
        for group in find_tied_parameters(model)
        if len({str(device_map.get(owner(name, device_map))) for name in group}) > 1
    ]


def odd_devices(device_map: dict) -> list[str]:
    return [
        f"{key!r}: {device!r}"
        for key, device in device_map.items()
        if not (device in ("cpu", "disk") or (type(device) is int and device >= 0))
    ]


def on_this_machine(device_map: dict) -> dict:
    """The same split with its devices on the processor and on disk, in turn."""
    devices = list(dict.fromkeys(device_map.values()))
    return {
        key: "cpu" if devices.index(device) % 2 == 0 else "disk"
        for key, device in device_map.items()
    }


def accelerate_accepts(model: torch.nn.Module, device_map: dict) -> list[str]:
    try:
        check_device_map(model, device_map)
    except ValueError as error:
        return [str(error)]
    return []


def different_logits(name: str, device_map: dict) -> list[str]:
    ids = sample_ids()
    with torch.no_grad():
        expected = build(name)(input_ids=ids).logits
        with tempfile.TemporaryDirectory() as folder:
            dispatched = accelerate.dispatch_model(
                build(name),
                on_this_machine(device_map),
                main_device="cpu",
                force_hooks=True,
                offload_dir=folder,
            )
            found = dispatched(input_ids=ids).logits
    if torch.equal(expected, found):
        return []
    return [f"they differ by up to {(expected - found).abs().max().item():.3g}"]


def beyond(model: torch.nn.Module, device_map: dict, limits: dict) -> list[str]:
    """Devices with more bytes of weights than they have."""
    held = dict.fromkeys(limits, 0)
    for name, parameter in model.named_parameters():
        device = device_map[owner(name, device_map)]
        held[device] = held.get(device, 0) + parameter.numel() * parameter.element_size()
    return [f"{device}: {n} of {limits[device]} bytes" for device, n in held.items() if n > limits.get(device, n)]


def limited(model: torch.nn.Module, device_map: dict, path: pathlib.Path) -> list[str]:
    """The limits as Accelerate reads them, for the map and for one of its own."""
    stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    torch.cuda.device_count = lambda: 1 + max((own for own in stated if type(own) is int), default=-1)
    limits = get_max_memory(dict(stated))
    if list(limits) != list(stated):
        return [f"Accelerate takes {list(limits)} for {list(stated)}"]
    model.tie_weights()
    own = infer_auto_device_map(model, dict(stated), no_split_module_classes=model._no_split_modules)
    check_device_map(model, own)
    others = [f"a map of {set(own.values())}"] if not set(own.values()) <= {*limits, "disk"} else []
    return beyond(model, device_map, limits) + beyond(model, own, limits) + others


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("device_map", type=pathlib.Path)
    parser.add_argument("--max-memory", type=pathlib.Path)
    arguments = parser.parse_args()
    device_map = json.loads(arguments.device_map.read_text(encoding="utf-8"))
    if not isinstance(device_map, dict):
        parser.error(f"{arguments.device_map} holds no JSON object")
    model = build(arguments.model)

    failed = False
    checks = [
        ("devices are GPU indices, cpu or disk", lambda: odd_devices(device_map)),
        ("no unknown key", lambda: unknown_keys(model, device_map)),
        ("no key covers another", lambda: overlapping_keys(device_map)),
        ("every parameter has a key", lambda: uncovered(model, device_map)),
        ("tied parameters share a device", lambda: split_ties(model, device_map)),
        ("accelerate accepts the map", lambda: accelerate_accepts(model, device_map)),
        ("dispatched logits are bit-identical", lambda: different_logits(arguments.model, device_map)),
    ]
    if arguments.max_memory:
        checks.append(("weights lie within max_memory", lambda: limited(model, device_map, arguments.max_memory)))
    for what, check in checks:
        problems = check()
        print(f"{'FAIL' if problems else 'PASS'}  {what}")
        for problem in problems[:10]:
            print(f"      {problem}")
        if len(problems) > 10:
            print(f"      ... and {len(problems) - 10} more")
        failed = failed or bool(problems)
        if failed and what.startswith("every parameter"):
            break
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
