"""Writes the files of "Reading" in docs/benchmarks.md: a 70B decoder as `.pt2`, the same with 1 GiB of
weights in the archive, 126 MB of a Kineto trace, an ONNX model of 50,000 nodes.

    python reading_files.py FOLDER RUN.kineto.json

RUN.kineto.json is a trace of PyTorch's profiler that is repeated 230 times. Needs torch, transformers and
onnx; no GPU, and no memory for weights."""
import importlib.util, json, pathlib, shutil, sys, zipfile
import onnx
import torch
from onnx import TensorProto, helper
from transformers import AutoModelForCausalLM, LlamaConfig

folder, run = map(pathlib.Path, sys.argv[1:])
place = pathlib.Path(__file__).parent / "meshwright" / "trace.py"
spec = importlib.util.spec_from_file_location("trace", place)
trace = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trace)

with trace.without_weights():
    model = AutoModelForCausalLM.from_config(LlamaConfig(
        vocab_size=128256, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80,
        num_attention_heads=64, num_key_value_heads=8, use_cache=False))
trace.save(model, folder / "llama70b.pt2", input_ids=torch.zeros(1, 4096, dtype=torch.int64), force=True)

shutil.copy(folder / "llama70b.pt2", folder / "weights.pt2")
with zipfile.ZipFile(folder / "weights.pt2", "a", zipfile.ZIP_STORED) as archive:
    top = archive.namelist()[0].split("/")[0]
    with archive.open(f"{top}/data/weights/weight_0", "w", force_zip64=True) as member:
        for _ in range(1024):
            member.write(bytes(1 << 20))

document = json.loads(run.read_text())
events = document["traceEvents"]
starts = [event["ts"] for event in events if event.get("ts", 0) > 0]
span = 1.01 * (max(event.get("ts", 0) + event.get("dur", 0) for event in events) - min(starts))
IDS = ("External id", "Record function id", "Ev Idx")


def again(event, number):
    """The event in a later repetition: later, with ids of its own."""
    args = {name: value + number * 100_000 if name in IDS and isinstance(value, int) else value
            for name, value in event.get("args", {}).items()}
    own = {**event, **({"args": args} if "args" in event else {})}
    own |= {"ts": event["ts"] + number * span} if "ts" in event else {}
    return own | ({"id": event["id"] + number * 100_000} if isinstance(event.get("id"), int) else {})


document["traceEvents"] = [again(event, number) for number in range(230) for event in events]
(folder / "run.kineto.json").write_text(json.dumps(document))

names = ["x", *(f"v{at}" for at in range(50_000))]
nodes = [helper.make_node(*(("Relu", [before]) if at % 2 else ("MatMul", [before, "w"])), [after])
         for at, (before, after) in enumerate(zip(names, names[1:]))]
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 8]) for name in (names[0], names[-1])]
weight = helper.make_tensor("w", TensorProto.FLOAT, [8, 8], [0.0] * 64)
graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], [weight])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), folder / "chain.onnx")
