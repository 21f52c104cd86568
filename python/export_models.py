#!/usr/bin/env python3
"""Export three tiny language models with random weights to ONNX.

    python export_models.py FOLDER [gpt2 bert llama]

Writes FOLDER/{gpt2,bert,llama}.onnx, from the same configurations and seed that
`check_device_map.py` builds, so that a plan made from one can be tried on the other.
Needs torch, transformers, onnx and onnxscript; downloads nothing.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import torch

from tiny_models import BATCH, MODELS, SEQUENCE, build


class Wrapped(torch.nn.Module):
    """Calls the model with a bare tensor and returns bare logits, as an exporter wants it."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.m = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.m(input_ids=input_ids).logits


def export(name: str, path: pathlib.Path) -> None:
    """Write one model."""
    model = Wrapped(build(name)).eval()
    ids = torch.zeros((BATCH, SEQUENCE), dtype=torch.int64)
    with torch.no_grad():
        program = torch.onnx.export(model, (ids,), dynamo=True, verbose=False)
    program.save(str(path))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.models) - set(MODELS))
    if unknown:
        parser.error(f"unknown model {unknown[0]!r}; choose from {', '.join(MODELS)}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.models or MODELS:
        path = arguments.folder / f"{name}.onnx"
        export(name, path)
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
