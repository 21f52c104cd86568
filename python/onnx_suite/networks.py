"""Networks as ONNX Runtime's optimiser and quantiser leave them, and what the importer reads of them."""

import contextlib
import io
import warnings

import numpy
import onnx
import onnxruntime
import torch
from check_shapes import bare, read
from onnxruntime import quantization
from torch import nn


class Encoder(nn.Module):
    """Two encoder layers of BERT on a vocabulary of 100."""

    def __init__(self):
        super().__init__()
        from transformers import BertConfig, BertModel

        self.bert = BertModel(
            BertConfig(
                vocab_size=100, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
                intermediate_size=128, max_position_embeddings=64,
            )
        )  # fmt: skip

    def forward(self, ids, mask):
        return self.bert(input_ids=ids, attention_mask=mask).last_hidden_state


class Convolutions(nn.Module):
    """A residual block of two convolutions, pools, a branch that is joined, a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, 2, 3)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.first, self.second = nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.branch = nn.Conv2d(16, 8, 1)
        self.depth = nn.Conv2d(24, 24, 3, 1, 1, groups=24)
        self.mean = nn.AvgPool2d(2)
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.stem(x)))
        x = torch.relu(x + self.second(torch.relu(self.first(x))))
        x = torch.cat([x, torch.sigmoid(self.branch(x))], 1)
        x = self.mean(nn.functional.leaky_relu(self.depth(x)))
        return torch.softmax(self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1)), -1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(100, 32)
        self.lstm = nn.LSTM(32, 48, 2, bidirectional=True)
        self.head = nn.Linear(96, 100)

    def forward(self, ids):
        return self.head(self.lstm(self.table(ids))[0])


def ids(*shape):
    return torch.randint(0, 100, shape)


NETWORKS = {
    "encoder": (Encoder, lambda: (ids(2, 16), torch.ones(2, 16, dtype=torch.long)), ["ids", "mask"]),
    "convolutions": (Convolutions, lambda: (torch.randn(2, 3, 64, 64),), ["x"]),
    "recurrent": (Recurrent, lambda: (ids(5, 2),), ["ids"]),
}
LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
PROVIDERS = ["CPUExecutionProvider"]


def exported(folder, name):
    """The network by either exporter, and its feeds."""
    make, example, names = NETWORKS[name]
    model, args = make().eval(), example()
    files = {}
    for exporter, dynamo in (("dynamo", True), ("script", False)):
        path = folder / f"{name}.{exporter}.onnx"
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(model, args, path, dynamo=dynamo, opset_version=18, input_names=names)
        whole = onnx.load(path)
        # What the exporter says of weights that it has transposed since is no longer so.
        del whole.graph.value_info[:]
        onnx.save(whole, path)
        files[exporter] = path
    return files, {key: value.numpy() for key, value in zip(names, args, strict=True)}


def optimised(path, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(path.with_suffix(f".{level}.onnx"))
    options.log_severity_level = 4
    onnxruntime.InferenceSession(path, options, providers=PROVIDERS)
    return path.with_suffix(f".{level}.onnx")


class Feeds(quantization.CalibrationDataReader):
    def __init__(self, feeds):
        self.left = [feeds]

    def get_next(self):
        return self.left.pop() if self.left else None


def quantised(path, feeds):
    """The file as the quantiser leaves it: weights only, pairs around operators, integer operators."""
    files = {"dynamic": path.with_suffix(".dynamic.onnx")}
    quantization.quantize_dynamic(path, files["dynamic"])
    for form in (quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator):
        files[form.name] = path.with_suffix(f".{form.name}.onnx")
        quantization.quantize_static(path, files[form.name], Feeds(feeds), quant_format=form)
    return files


def run(path, feeds):
    """The extents of all values of a file, run as it is."""
    model = onnx.load(path)
    stated = {info.name for info in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name and name not in stated]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=PROVIDERS)
    outputs = [output.name for output in session.get_outputs()]
    return dict(zip(outputs, session.run(None, feeds), strict=True))


def judge(told, values):
    if "refused" in told:
        return [f"{told['refused']}: {told['message']}"]
    graph = told["graph"]
    if "refused" in graph:
        return [f"{graph['refused']}: {graph['message']}"]
    wrong = [] if graph["guessed_share"] == 0 else [f"guessed: {graph['warnings']}"]
    for name, value in values.items():
        own = told["values"].get(name, {}).get("shape")
        if isinstance(value, numpy.ndarray) and own != list(value.shape):
            wrong.append(f"{name}: {own}, runs as {list(value.shape)}")
    return wrong


def check(reader, folder):
    warnings.simplefilter("ignore")
    rows = []
    for name in NETWORKS:
        torch.manual_seed(0)
        files, feeds = exported(folder, name)
        made = {f"{name} {exporter}": path for exporter, path in files.items()}
        for exporter, path in files.items():
            for level in LEVELS:
                made[f"{name} {exporter} {level}"] = optimised(path, level)
            for kind, own in quantised(path, feeds).items():
                made[f"{name} {exporter} {kind}"] = own
                for level in ("extended", "all"):
                    try:
                        made[f"{name} {exporter} {kind} {level}"] = optimised(own, level)
                    except Exception as error:  # noqa: BLE001
                        print(f"not made: {name} {exporter} {kind} {level}: {str(error)[-160:]}")
        for label, path in made.items():
            stripped = path.with_suffix(".bare.onnx")
            stripped.write_bytes(bare(onnx.load(path)).SerializeToString())
            rows.append((label, path, stripped, feeds))
    failures, ops, moved = [], set(), {}
    for (label, path, _, feeds), told in zip(rows, read(reader, [row[2] for row in rows]), strict=True):
        try:
            values = run(path, feeds)
        except Exception as error:  # noqa: BLE001
            print(f"not run: {label}: {str(error).splitlines()[0][:200]}")
            values = {}
        types = told.get("graph", {}).get("op_types", {})
        moved[label] = sum(row["bytes"] for row in types.values())
        ops |= set(told.get("graph", {}).get("op_types", []))
        failures += [f"{label}: {what}" for what in judge(told, values)]
    for label, own in moved.items():
        # Pairs move the bytes of the operators on integers that stand for the same network.
        other = moved.get(label.replace("QDQ", "QOperator"))
        if label.endswith("QDQ") and other and abs(own - other) > 0.15 * other:
            failures.append(f"{label}: {own} bytes moved, {other} by operators on integers")
    print(f"{len(rows)} networks read, of {len(ops)} operators: {' '.join(sorted(op for op in ops if '::' in op))}")
    return failures
