"""Holds the ONNX importer against ONNX's own backend suite.

Every node model of the `onnx` package and every model that it ships is read twice: as it is, and with
the integer inputs of its test data as initializers, so that sizes given by data are known. Of each
value the importer's type and extents are compared with those of the reference outputs, of ONNX's
reference evaluator and of ONNX's shape inference. The floating-point operations of an operator are
compared with those of its function body (`..._expanded`).

    python check_shapes.py READER    # READER = target/.../examples/onnx_values
    python check_shapes.py --slice tests/data/onnx_suite    # writes the part that `make test` reads
"""

import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.reference import ReferenceEvaluator

NAMES = {
    "FLOAT": "fp32", "DOUBLE": "fp64", "FLOAT16": "fp16", "BFLOAT16": "bf16",
    "FLOAT8E4M3FN": "fp8", "FLOAT8E4M3FNUZ": "fp8", "FLOAT8E5M2": "fp8", "FLOAT8E5M2FNUZ": "fp8",
    "FLOAT8E8M0": "fp8", "FLOAT4E2M1": "fp4", "BOOL": "bool", "STRING": "string",
    "COMPLEX64": "complex64", "COMPLEX128": "complex128",
}  # fmt: skip
# An input that is frozen has at most this many elements: longer ones are data.
SMALL = 8


def type_name(number):
    name = onnx.TensorProto.DataType.Name(number)
    return NAMES.get(name, name.lower())


def declared(info):
    """Type and extents of a value as a model states them; None where it states none."""
    kind = info.type
    if not kind.HasField("tensor_type"):
        return None
    tensor = kind.tensor_type
    shape = None
    if tensor.HasField("shape"):
        dims = tensor.shape.dim
        shape = [d.dim_value if d.HasField("dim_value") else None for d in dims]
    return (type_name(tensor.elem_type) if tensor.elem_type else None, shape)


def arrays(data):
    """The members of a data set; a tensor that came as a message is read."""
    return [numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else x for x in data]


def freeze(model, feeds):
    """The model with its small inputs as initializers, and the other inputs at their extents."""
    frozen = onnx.ModelProto()
    frozen.CopyFrom(model)
    kept = []
    for position, info in enumerate(frozen.graph.input):
        value = feeds.get(info.name)
        tensor = info.type.HasField("tensor_type")
        if not tensor or not isinstance(value, (numpy.ndarray, numpy.generic)):
            kept.append(info)
            continue
        value = numpy.asarray(value)
        is_steering = position > 0 or value.size == 1
        if is_steering and value.dtype.kind in "iufb" and value.size <= SMALL:
            frozen.graph.initializer.append(numpy_helper.from_array(value, info.name))
            continue
        del info.type.tensor_type.shape.dim[:]
        for extent in value.shape:
            info.type.tensor_type.shape.dim.add().dim_value = extent
        kept.append(info)
    # Without any input the whole model is a constant.
    if kept or not frozen.graph.input:
        inputs = [onnx.ValueInfoProto.FromString(info.SerializeToString()) for info in kept]
        del frozen.graph.input[:]
        frozen.graph.input.extend(inputs)
    return frozen


def bare(model):
    """The model without what it says of its outputs: the rules have to find it."""
    stripped = onnx.ModelProto()
    stripped.CopyFrom(model)
    del stripped.graph.value_info[:]
    for info in stripped.graph.output:
        info.ClearField("type")
    return stripped


def reference(model, feeds, outputs):
    """Type and extents of the values of the main graph, as runs and ONNX's inference find them."""
    found = {}

    def put(name, where, kind, shape):
        if name:
            found.setdefault(name, []).append((where, kind, shape))

    for info, value in zip(model.graph.output, outputs, strict=False):
        if isinstance(value, (numpy.ndarray, numpy.generic)):
            stated = declared(info)
            put(info.name, "output", stated[0] if stated else None, list(numpy.shape(value)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        for info in [*inferred.graph.value_info, *inferred.graph.output]:
            stated = declared(info)
            if stated:
                put(info.name, "inference", *stated)
    except Exception:  # noqa: BLE001
        pass
    if len(model.graph.node) > 1 and feeds is not None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                names = {info.name for info in model.graph.input}
                run = ReferenceEvaluator(model).run(
                    None, {k: v for k, v in feeds.items() if k in names}, intermediate=True
                )
            # The evaluator makes vectors of scalars that a loop collects.
            looped = {name for node in model.graph.node if node.op_type == "Loop" for name in node.output}
            for name, value in run.items():
                if name not in looped and isinstance(value, (numpy.ndarray, numpy.generic)):
                    put(name, "evaluator", None, list(numpy.shape(value)))
        except Exception:  # noqa: BLE001
            pass
    return found


def shipped():
    """The models that the package ships with their data."""
    root = Path(onnx.__file__).parent / "backend/test/data"
    for path in sorted(root.glob("*/*/model.onnx")):
        model = onnx.load(path)
        feeds, outputs = {}, []
        folder = path.parent / "test_data_set_0"
        try:
            for position, info in enumerate(model.graph.input):
                tensor = onnx.TensorProto.FromString((folder / f"input_{position}.pb").read_bytes())
                feeds[info.name] = numpy_helper.to_array(tensor)
            for position, _ in enumerate(model.graph.output):
                tensor = onnx.TensorProto.FromString((folder / f"output_{position}.pb").read_bytes())
                outputs.append(numpy_helper.to_array(tensor))
        except Exception:  # noqa: BLE001
            feeds = None
        yield f"{path.parent.parent.name}/{path.parent.name}", model, feeds, outputs


def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = collect_testcases(None)
    for case in made:
        inputs, outputs = (arrays(x) for x in case.data_sets[0])
        names = [info.name for info in case.model.graph.input]
        yield case.name, case.model, dict(zip(names, inputs, strict=False)), outputs
    yield from shipped()


def read(reader, paths):
    text = "".join(f"{path}\n" for path in paths)
    run = subprocess.run([reader], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line)["told"] for line in run.stdout.splitlines()]


def agreed(facts):
    """Extents that the test data or ONNX's inference give: its evaluator may add axes of 1."""
    return [[shape] for where, _, shape in facts if where != "evaluator"]


def differences(known, found):
    """What contradicts the reference, and how many extents were held against it."""
    wrong, checked, unknown = [], 0, 0
    for name, facts in found.items():
        mine = known.get(name)
        if mine is None:
            continue
        for where, kind, shape in facts:
            if where == "evaluator" and [mine["shape"]] in agreed(facts):
                continue
            if kind and mine["dtype"] and kind != mine["dtype"]:
                wrong.append(f"{name}: type {mine['dtype']}, {where} says {kind}")
            if shape is None:
                continue
            if mine["shape"] is None:
                unknown += where == "output"
                continue
            checked += 1
            fits = len(shape) == len(mine["shape"]) and all(
                theirs is None or theirs == own or (mine["at_most"] and theirs <= own)
                for theirs, own in zip(shape, mine["shape"], strict=True)
            )
            # A run by the reference decides over ONNX's inference, which may know less.
            if not fits:
                wrong.append(f"{name}: extents {mine['shape']}, {where} says {shape}")
    return wrong, checked, unknown


# Of the models whose name begins so, the first few go into the slice that is kept with the tests.
SLICE = (
    "test_affine_grid", "test_bitcast", "test_blackmanwindow", "test_causal_conv", "test_center_crop_pad",
    "test_col2im", "test_deform_conv", "test_det_", "test_dft", "test_flexattention", "test_hammingwindow",
    "test_hannwindow", "test_linear_attention", "test_maxunpool", "test_melweightmatrix", "test_nonmaxsuppression",
    "test_onehot", "test_optional_has", "test_range", "test_roialign", "test_sequence_map_identity", "test_stft",
    "test_strnorm", "test_string_concat", "test_swiglu", "test_tfidf", "test_ai_onnx_ml", "test_adam", "test_momentum",
)  # fmt: skip
OF_EACH, LARGEST = 3, 4000


def write_slice(folder):
    """Models without what they say of their outputs, and what the test data says of these."""
    taken, expected = dict.fromkeys(SLICE, 0), {}
    for name, model, feeds, outputs in cases():
        own = next((prefix for prefix in SLICE if name.startswith(prefix)), None)
        if own is None or feeds is None or taken[own] == OF_EACH or "_expanded" in name or "bfloat16" in name:
            continue
        made = bare(freeze(model, feeds))
        made.ClearField("doc_string")
        made.graph.ClearField("doc_string")
        data = made.SerializeToString(deterministic=True)
        found = {}
        for info, value in zip(model.graph.output, outputs, strict=False):
            if isinstance(value, (numpy.ndarray, numpy.generic)) and declared(info):
                found[info.name] = [declared(info)[0], list(numpy.shape(value))]
        if found and len(data) <= LARGEST:
            taken[own] += 1
            (folder / f"{name}.onnx").write_bytes(data)
            expected[f"{name}.onnx"] = found
    lines = (f"{json.dumps(name)}: {json.dumps(found)}" for name, found in sorted(expected.items()))
    (folder / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(expected)} models written")


def main():
    if sys.argv[1] == "--slice":
        return write_slice(Path(sys.argv[2]))
    reader = sys.argv[1]
    folder = Path(tempfile.mkdtemp(prefix="onnx_suite_"))
    rows = []
    for name, model, feeds, outputs in cases():
        variants = {"": model}
        if feeds is not None:
            variants["frozen"] = freeze(model, feeds)
            variants["bare"] = bare(variants["frozen"])
        for variant, made in variants.items():
            path = folder / f"{name.replace('/', '-')}{'.' + variant if variant else ''}.onnx"
            path.write_bytes(made.SerializeToString())
            rows.append((name, variant, path, made, feeds, outputs))
    told = read(reader, [row[2] for row in rows])
    checked = unknown = 0
    failures, refused, ruleless, flops, shapeless = [], [], {}, {}, []
    for (name, variant, _, model, feeds, outputs), told_of in zip(rows, told, strict=True):
        if "refused" in told_of:
            if told_of["refused"] != "unbound-dimension" and told_of["refused"] != "no-ops":
                refused.append(f"{name} {variant}: {told_of['refused']}: {told_of['message']}")
            continue
        graph = told_of["graph"]
        if "refused" in graph and graph["refused"] not in ("no-ops", "nothing-to-plan"):
            refused.append(f"{name} {variant}: {graph['refused']}: {graph['message']}")
        for code, message in graph.get("warnings", []):
            if code == "unknown-op":
                ruleless.setdefault(message, []).append(name)
        codes = [code for code, _ in graph.get("warnings", [])]
        if variant == "frozen" and "flops" in graph and "unknown-shape" not in codes:
            flops[name] = graph["flops"]
        found = reference(model, feeds, outputs) if variant != "bare" else found
        wrong, n, m = differences(told_of["values"], found)
        checked += n
        unknown += m
        if m and variant == "bare":
            shapeless.append(name)
        failures += [f"{name} {variant}: {what}" for what in wrong]
    pairs = uneven = 0
    for name, own in sorted(flops.items()):
        whole, mark, _ = name.partition("_expanded")
        if mark and whole in flops:
            pairs += 1
            if flops[whole] != own:
                uneven += 1
                failures.append(f"{whole}: {flops[whole]} operations, its body {own}")
    print(f"{len(rows)} models: {checked} shapes held against the reference, {unknown} not known")
    print(f"{pairs} operators held against their bodies, {uneven} with other operations")
    for what, names in sorted(ruleless.items()):
        print(f"no rule: {what} ({len(names)} models)")
    if "--shapeless" in sys.argv:
        for name in shapeless:
            print("not known:", name)
    for line in refused + failures:
        print("FAIL", line)
    print(f"{len(refused)} refusals, {len(failures)} failures")
    sys.exit(1 if refused or failures else 0)


if __name__ == "__main__":
    main()
