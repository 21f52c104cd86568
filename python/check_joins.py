#!/usr/bin/env python3
"""Hold what lands of recorded traces on graphs of the same models from other files.

    python check_joins.py --meshwright target/release/meshwright [--only NAME ...] [--keep FOLDER]

Each model is recorded by PyTorch's profiler and trace observer, in inference and in a training step,
and exported (`.pt2`, joint graph of the step, ONNX). On each file at least 99 % of the time of each
trace must land, in all 99 % to the nanosecond of what the ops then say; of a trace at another batch
and of one of another model less, with a warning. Prints a line for each pair; exits with 1 if any
fails. `--keep` leaves the files of the model `blocks`, which the tests read, in a folder.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import logging
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import torch
from torch.profiler import ExecutionTraceObserver, ProfilerActivity, profile

SPEC = importlib.util.spec_from_file_location(
    "trace", pathlib.Path(__file__).resolve().parent / "meshwright" / "trace.py"
)
TRACE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TRACE)

PRIVATE = ("host_name", "traceName", "trace_id")


class Block(torch.nn.Module):
    """A causal attention block, written out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = torch.nn.LayerNorm(width)
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.out = torch.nn.Linear(width, width)
        self.between = torch.nn.LayerNorm(width)
        self.up = torch.nn.Linear(width, 4 * width)
        self.down = torch.nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.qkv(self.before(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        mask = torch.full((length, length), float("-inf")).triu(1)
        scores = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + mask, -1)
        x = x + self.out((scores @ v).transpose(1, 2).reshape(batch, length, width))
        return x + self.down(torch.nn.functional.gelu(self.up(self.between(x)), approximate="tanh"))


def blocks(batch=2):
    layers = [torch.nn.Embedding(64, 32), Block(32, 2), Block(32, 2), torch.nn.Linear(32, 64)]
    return torch.nn.Sequential(*layers), torch.randint(0, 64, (batch, 16))


class Logits(torch.nn.Module):
    """A model of transformers as a function of its ids."""

    def __init__(self, model) -> None:
        super().__init__()
        self.m = model

    def forward(self, ids):
        return self.m(ids).logits


def of_transformers(kind, batch=2, **options):
    import transformers

    names = {"gpt2": ("GPT2Config", "GPT2LMHeadModel"), "bert": ("BertConfig", "BertForMaskedLM"),
             "llama": ("LlamaConfig", "LlamaForCausalLM")}[kind]  # fmt: skip
    config = getattr(transformers, names[0])(vocab_size=2048, tie_word_embeddings=False, **options)
    model = getattr(transformers, names[1])(config)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    return Logits(model), torch.randint(0, 2048, (batch, 64))


def gpt2(batch=2):
    return of_transformers("gpt2", batch, n_layer=2, n_embd=128, n_head=4, n_positions=64, attn_implementation="eager")


def bert(batch=2):
    return of_transformers("bert", batch, num_hidden_layers=2, hidden_size=128, num_attention_heads=4, intermediate_size=512)


def llama(batch=2):
    return of_transformers(
        "llama", batch, num_hidden_layers=2, hidden_size=128, num_attention_heads=4, num_key_value_heads=2, intermediate_size=352,
    )  # fmt: skip


def resnet18(batch=2):
    import torchvision

    return torchvision.models.resnet18(), torch.randn(batch, 3, 64, 64)


MODELS = {"blocks": blocks, "gpt2": gpt2, "bert": bert, "llama": llama, "resnet18": resnet18}


class Loss(torch.nn.Module):
    """The loss of a model whose every label is the first word."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        logits = self.model(x).flatten(0, -2)
        return torch.nn.functional.cross_entropy(logits, torch.zeros(logits.shape[0], dtype=torch.int64))


def record(model, sample, trains, stem):
    """Write `stem`'s ExecutionTrace and profile of one pass or step, after one that warms up."""
    loss = Loss(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train(trains)

    def step():
        if not trains:
            with torch.no_grad():
                model(sample)
            return
        optimizer.zero_grad()
        loss(sample).backward()
        optimizer.step()

    step()
    observer = ExecutionTraceObserver().register_callback(f"{stem}.et.json")
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, execution_trace_observer=observer) as kineto:
        step()
    kineto.export_chrome_trace(f"{stem}.kineto.json")
    model.eval()
    return [f"{stem}.et.json", f"{stem}.kineto.json"]


def export(model, sample, folder):
    """Write the files of a model that PyTorch can write; give their names."""
    TRACE.save(model, folder / "model.pt2", sample)
    yield "model.pt2"
    from torch.export.experimental import _export_forward_backward

    loss = Loss(model).train()
    try:
        program = _export_forward_backward(torch.export.export(loss, (sample,), strict=False))
    except AssertionError:
        # A parameter without a gradient, such as a pooler's.
        program = None
    if program is not None:
        TRACE._write(program, loss, folder / "joint.pt2")
        yield "joint.pt2"
    model.eval()
    torch.onnx.export(model, (sample,), str(folder / "model.onnx"), dynamo=True, verbose=False)
    yield "model.onnx"


def joined(meshwright, model, traces):
    flags = [flag for trace in traces for flag in ("--trace", trace)]
    done = subprocess.run([meshwright, "import", model, *flags, "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr or done.stdout)
    told = json.loads(done.stdout)
    [recorded] = told["summary"]["recorded"]
    return recorded, [warning["code"] for warning in told["warnings"]]


def check(meshwright, name, folder):
    """Join all traces of a model with all of its files; give the failures."""
    failures = []
    model, sample = MODELS[name]()
    traces = {kind: record(model, sample, kind == "training", folder / kind) for kind in ("inference", "training")}
    other_model, other_sample = MODELS[name](3)
    other = record(other_model, other_sample, False, folder / "other")
    foreign = record(*MODELS["resnet18" if name != "resnet18" else "blocks"](), False, folder / "foreign")
    for file in export(model, sample, folder):
        kinds = [kind for kind in traces if kind == "training" or file != "joint.pt2"]
        for kind, given in [(kind, given) for kind in kinds for given in (traces[kind], traces[kind][1:])]:
            own, codes = joined(meshwright, folder / file, given)
            share, segment = own["landed_share"], own["segment_share"]
            also = "" if len(given) > 1 else ", profile alone"
            print(f"  {name} {file}, {kind}{also}: {share:.1%} of {own['op_time_ns'] / 1e6:.1f} ms: {share - segment:.1%} op by op, {segment:.1%} by segment")
            if share < 0.99 or "unlanded-time" in codes:
                failures.append(f"{name} {file} {kind}{also}: {share:.2%} landed, {codes}")
        for what, given in (("another batch", other), ("another model", foreign)):
            own, codes = joined(meshwright, folder / file, given)
            print(f"  {name} {file}, {what}: {own['landed_share']:.1%}")
            if own["landed_share"] > 0.9 or "unlanded-time" not in codes:
                failures.append(f"{name} {file} {what}: {own['landed_share']:.2%} landed, {codes}")
    return failures


def keep(folder, target):
    """Leave what the tests read: traces packed and without the host's name, ONNX without weights."""
    import onnx

    target.mkdir(parents=True, exist_ok=True)
    for name in ("inference", "training", "other"):
        for end in ("et.json", "kineto.json"):
            document = json.loads((folder / f"{name}.{end}").read_text())
            for member in PRIVATE:
                document.pop(member, None)
            text = json.dumps(document, separators=(",", ":")).encode()
            (target / f"{name}.{end}.gz").write_bytes(gzip.compress(text, mtime=0))
    for name in ("model.pt2", "joint.pt2"):
        shutil.copy(folder / name, target / name)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.save(model, target / "model.onnx")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meshwright", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    parser.add_argument("--keep", type=pathlib.Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    failures = []
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            failures += check(options.meshwright.resolve(), name, pathlib.Path(folder))
            if name == "blocks" and options.keep:
                keep(pathlib.Path(folder), options.keep)
    print(*failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
