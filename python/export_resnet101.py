#!/usr/bin/env python3
"""Export torchvision's ResNet-101 to ONNX without its weights.

    python export_resnet101.py OUT.onnx

Initializers keep name, type and shape; their data is said to be in a file that is not written.
Needs torch, torchvision, onnx and onnxscript; downloads nothing.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile

import onnx
import torch
import torchvision

# Smaller ones may be shapes, which a reader has to know.
LEAST = 32


def without_weights(model: onnx.ModelProto) -> None:
    """Drop the data of initializers."""
    for own in model.graph.initializer:
        size = 1
        for extent in own.dims:
            size *= extent
        if size < LEAST:
            continue
        for field in ("raw_data", "float_data", "int64_data", "int32_data", "double_data"):
            own.ClearField(field)
        del own.external_data[:]
        own.external_data.add(key="location", value="weights")
        own.data_location = onnx.TensorProto.EXTERNAL
    # Where an op comes from in the exporter's sources is half of the file.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    del model.graph.value_info[:]
    del model.functions[:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    model = torchvision.models.resnet101(weights=None).eval()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = pathlib.Path(folder) / "model.onnx"
        image = torch.zeros((1, 3, 224, 224))
        torch.onnx.export(model, (image,), dynamo=True, verbose=False).save(str(path))
        exported = onnx.load(str(path))
    without_weights(exported)
    onnx.save(exported, str(out))
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
