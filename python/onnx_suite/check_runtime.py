"""Holds the ONNX importer against ONNX Runtime.

Small models of the operators of `com.microsoft` are run by ONNX Runtime; type and extents of each output
are those that the importer finds without what the model says of them. Then a convolutional network, an
encoder and an LSTM are optimised, quantised dynamically and statically by ONNX Runtime's own tools: every
one has to be read with nothing guessed, and with the extents that its run shows.

    python check_runtime.py READER    # READER = target/.../examples/onnx_values
    python check_runtime.py --slice tests/data/onnx_suite    # writes the part that `make test` reads
"""

import contextlib
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy
import onnx
import onnxruntime
from check_shapes import bare, read, type_name
from onnx import helper, numpy_helper
from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

onnxruntime.set_default_logger_severity(4)
RANDOM = numpy.random.default_rng(1)


def floats(*shape):
    return RANDOM.standard_normal(shape).astype(numpy.float32)


def bytes_of(*shape):
    return RANDOM.integers(0, 255, shape).astype(numpy.uint8)


def signed(*shape):
    return RANDOM.integers(-100, 100, shape).astype(numpy.int8)


def ints(*values):
    return numpy.array(values, numpy.int32)


def longs(*values):
    return numpy.array(values, numpy.int64)


SCALE = numpy.array(0.05, numpy.float32)
ZERO = numpy.array(0, numpy.uint8)
SIGNED_ZERO = numpy.array(0, numpy.int8)
# An input that is left out is None.
CASES = [
    # op, attributes, inputs, number of outputs
    ("QLinearAdd", {}, [bytes_of(2, 3, 4), SCALE, ZERO, bytes_of(3, 1), SCALE, ZERO, SCALE, ZERO], 1),
    ("QLinearMul", {}, [bytes_of(2, 3, 4), SCALE, ZERO, bytes_of(4), SCALE, ZERO, SCALE, ZERO], 1),
    ("QLinearConcat", {"axis": 1}, [SCALE, ZERO, bytes_of(2, 3), SCALE, ZERO, bytes_of(2, 5), SCALE, ZERO], 1),
    ("QLinearSigmoid", {}, [bytes_of(2, 3), SCALE, ZERO, SCALE, ZERO], 1),
    ("QLinearLeakyRelu", {}, [bytes_of(2, 3), SCALE, ZERO, SCALE, ZERO], 1),
    ("QLinearSoftmax", {"axis": -1, "opset": 13}, [bytes_of(2, 3), SCALE, ZERO, SCALE, ZERO], 1),
    ("QLinearGlobalAveragePool", {}, [bytes_of(2, 3, 5, 7), SCALE, ZERO, SCALE, ZERO], 1),
    ("QLinearGlobalAveragePool", {"channels_last": 1}, [bytes_of(2, 5, 7, 3), SCALE, ZERO, SCALE, ZERO], 1),
    (
        "QLinearAveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        [bytes_of(2, 3, 9, 7), SCALE, ZERO, SCALE, ZERO],
        1,
    ),
    (
        "QLinearAveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "channels_last": 1},
        [bytes_of(2, 9, 7, 3), SCALE, ZERO, SCALE, ZERO],
        1,
    ),
    ("QLinearWhere", {}, [numpy.ones((3, 1), bool), bytes_of(3, 4), SCALE, ZERO, bytes_of(4), SCALE, ZERO, SCALE, ZERO], 1),
    (
        "QLinearConv",
        {"channels_last": 1, "strides": [2, 2], "pads": [1, 1, 1, 1]},
        [bytes_of(1, 9, 9, 4), SCALE, ZERO, signed(8, 4, 3, 3), SCALE, SIGNED_ZERO, SCALE, ZERO],
        1,
    ),
    ("QGemm", {"transB": 1}, [bytes_of(4, 8), SCALE, ZERO, signed(16, 8), SCALE, SIGNED_ZERO], 1),
    ("QGemm", {"transA": 1}, [bytes_of(8, 4), SCALE, ZERO, signed(8, 16), SCALE, SIGNED_ZERO, None, SCALE, ZERO], 1),
    ("DynamicQuantizeMatMul", {}, [floats(2, 5, 8), signed(8, 16), SCALE, SIGNED_ZERO, floats(16)], 1),
    ("MatMulIntegerToFloat", {}, [bytes_of(2, 5, 8), signed(8, 16), SCALE, SCALE, ZERO, SIGNED_ZERO], 1),
    (
        "DynamicQuantizeLSTM",
        {"hidden_size": 6, "direction": "bidirectional"},
        [
            floats(5, 2, 4), signed(2, 4, 24), signed(2, 6, 24), floats(2, 48), None, None, None, None,
            floats(2) + 1, signed(2), floats(2) + 1, signed(2),
        ],
        3,
    ),
    (
        "QAttention",
        {"num_heads": 4},
        [bytes_of(2, 5, 32), signed(32, 96), floats(96), SCALE, SCALE, None, ZERO, SIGNED_ZERO],
        1,
    ),
    ("GatherBlockQuantized", {"bits": 4, "block_size": 16, "quantize_axis": 1}, [bytes_of(100, 16), longs(1, 2, 3).reshape(1, 3), floats(100, 2)], 1),
    ("MatMulNBits", {"K": 32, "N": 16, "bits": 4, "block_size": 16}, [floats(2, 5, 32), bytes_of(16, 2, 8), floats(16 * 2)], 1),
    ("FusedMatMul", {"transB": 1}, [floats(2, 3, 4), floats(2, 5, 4)], 1),
    ("FusedGemm", {"activation": "Relu"}, [floats(3, 4), floats(4, 5)], 1),
    ("FusedConv", {"activation": "Relu"}, [floats(1, 3, 8, 8), floats(4, 3, 3, 3)], 1),
    ("Attention", {"num_heads": 4}, [floats(2, 5, 32), floats(32, 96), floats(96), None, floats(2, 2, 4, 3, 8)], 2),
    ("MultiHeadAttention", {"num_heads": 4}, [floats(2, 5, 32), floats(2, 7, 32), floats(2, 7, 48)], 1),
    (
        "DecoderMaskedMultiHeadAttention",
        {"num_heads": 4, "past_present_share_buffer": 1},
        [
            floats(2, 1, 32), floats(2, 1, 32), floats(2, 1, 32), None, None,
            floats(2, 4, 9, 8), floats(2, 4, 9, 8), ints(3),
        ],
        3,
    ),
    (
        "GroupQueryAttention",
        {"num_heads": 4, "kv_num_heads": 2},
        [floats(1, 5, 32), floats(1, 5, 16), floats(1, 5, 16), None, None, ints(4), ints(5)[0]],
        3,
    ),
    (
        "SparseAttention",
        {"num_heads": 4, "kv_num_heads": 2, "sparse_block_size": 16},
        [
            floats(1, 8, 32), floats(1, 8, 16), floats(1, 8, 16), floats(1, 2, 32, 8), floats(1, 2, 32, 8),
            ints(0, 1, 3).reshape(1, 3), ints(0, 0, 1).reshape(1, 3), ints(8)[0], ints(8),
        ],
        3,
    ),
    (
        "LinearAttention",
        {"q_num_heads": 2, "kv_num_heads": 4, "update_rule": "gated_delta"},
        [floats(1, 5, 16), floats(1, 5, 32), floats(1, 5, 24), None, floats(1, 5, 4), floats(1, 5, 4)],
        2,
    ),
    (
        "LinearAttention",
        {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": "linear"},
        [floats(1, 5, 32), floats(1, 5, 16), floats(1, 5, 12)],
        2,
    ),
    ("CausalConvWithState", {"ndim": 1}, [floats(2, 6, 9), floats(6, 1, 4)], 2),
    ("CausalConvWithState", {"ndim": 1, "dilation": 2}, [floats(2, 6, 9), floats(6, 1, 4)], 2),
    ("CausalConvWithState", {"ndim": 1, "channels_last": 1}, [floats(2, 9, 6), floats(6, 1, 4)], 2),
    ("VarlenCausalConvWithState", {}, [floats(9, 6), floats(6, 1, 4), ints(0, 4, 9), None, floats(2, 6, 3)], 2),
    ("LinearAttentionGate", {}, [floats(1, 5, 4), floats(4), floats(4), floats(1, 5, 4)], 2),
    ("RotaryEmbedding", {}, [floats(1, 4, 5, 8), longs(0), floats(16, 4), floats(16, 4)], 1),
    ("MRotaryEmbedding", {"mrope_section": [2, 1, 1]}, [floats(1, 4, 5, 8), numpy.zeros((3, 1, 5), numpy.int64), floats(16, 4), floats(16, 4)], 1),
    ("SkipLayerNormalization", {}, [floats(2, 5, 8), floats(2, 5, 8), floats(8), floats(8)], 1),
    ("SkipSimplifiedLayerNormalization", {}, [floats(2, 5, 8), floats(2, 5, 8), floats(8)], 1),
    (
        "EmbedLayerNormalization",
        {},
        [ints(*range(10)).reshape(2, 5), None, floats(20, 8), floats(9, 8), None, floats(8), floats(8)],
        2,
    ),
    (
        "QEmbedLayerNormalization",
        {},
        [
            ints(*range(10)).reshape(2, 5), None, bytes_of(20, 8), bytes_of(9, 8), None, bytes_of(8), bytes_of(8),
            None, SCALE, SCALE, None, SCALE, SCALE, ZERO, ZERO, None, ZERO, ZERO,
        ],
        2,
    ),
    ("BiasGelu", {}, [floats(2, 5, 8), floats(8)], 1),
    ("FastGelu", {}, [floats(2, 5, 8)], 1),
    ("QuickGelu", {}, [floats(2, 5, 8)], 1),
    ("GroupNorm", {"groups": 2, "activation": 1, "channels_last": 1}, [floats(1, 4, 4, 8), floats(8), floats(8)], 1),
    ("SkipGroupNorm", {"groups": 2, "activation": 1, "channels_last": 1}, [floats(1, 4, 4, 8), floats(8), floats(8), floats(1, 4, 4, 8)], 2),
    ("BiasAdd", {}, [floats(1, 16, 320), floats(320), floats(1, 16, 320)], 1),
    ("BiasSplitGelu", {}, [floats(1, 16, 2560), floats(2560)], 1),
    ("BiasSoftmax", {"axis": -1, "is_inner_broadcast": 0}, [floats(2, 4, 5, 5), floats(2, 1, 1, 5)], 1),
    ("RelativePositionBias", {"max_distance": 128}, [floats(32, 4), longs(6), longs(6)], 1),
    (
        "GatedRelativePositionBias",
        {"num_heads": 4},
        [floats(2, 5, 32), floats(32), floats(1, 4, 5, 5), floats(8, 8), floats(8), floats(1, 4, 1, 1)],
        1,
    ),
    ("LongformerAttention", {"num_heads": 4, "window": 4}, [floats(1, 8, 32), floats(32, 96), floats(96), floats(1, 8), floats(32, 96), floats(96), ints(*[0] * 8).reshape(1, 8)], 1),
    ("GatedRMSNorm", {}, [floats(2, 5, 8), floats(8), floats(2, 5, 8)], 1),
    ("GatedAdd", {}, [floats(2, 5, 8), floats(2, 5, 8), floats(2, 5, 1)], 1),
    ("HyperConnectionPreMix", {}, [floats(2, 5, 4, 8), floats(2, 5, 4)], 1),
    ("HyperConnectionPreMix", {"num_branches": 4}, [floats(2, 5, 32), floats(2, 5, 4)], 1),
    ("BranchwiseRMSNorm", {"num_branches": 4}, [floats(2, 5, 32)], 1),
    ("ScaledSiLU", {}, [floats(2, 5, 8)], 1),
    ("NGramHashMapping", {"max_ngram_size": 3, "n_head_per_ngram": 2, "pad_id": 0}, [longs(*range(10)).reshape(2, 5), longs(3, 5, 7), longs(11, 13, 17, 19)], 2),
    ("EngramGate", {}, [floats(1, 5, 2, 8), floats(1, 5, 2, 8), floats(1, 5, 8), floats(2, 8), floats(2, 8)], 1),
    ("CDist", {"metric": "euclidean"}, [floats(3, 8), floats(5, 8)], 1),
    ("CropAndResize", {}, [floats(1, 3, 16, 16), floats(2, 4), ints(0, 0), ints(4, 5)], 1),
    ("ExpandDims", {}, [floats(2, 3), ints(-1)[0]], 1),
    ("GatherND", {}, [floats(2, 3), longs(0, 1).reshape(2, 1)], 1),
    ("Inverse", {}, [floats(2, 4, 4)], 1),
    ("MurmurHash3", {"positive": 0}, [ints(1, 2, 3)], 1),
    ("NhwcFusedConv", {"activation": "Relu", "strides": [2, 2]}, [floats(1, 9, 9, 4), floats(8, 4, 3, 3)], 1),
    ("NhwcConv", {"strides": [2, 2]}, [floats(1, 9, 9, 4), floats(8, 4, 3, 3)], 1),
    ("NhwcMaxPool", {"kernel_shape": [3, 3], "strides": [2, 2]}, [bytes_of(1, 9, 9, 4)], 1),
    ("NGramRepeatBlock", {"ngram_size": 2}, [longs(*range(10)).reshape(2, 5), floats(2, 20)], 1),
    ("Pad", {}, [floats(2, 3), longs(0, 1, 0, 2)], 1),
    ("PackedAttention", {"num_heads": 4}, [floats(11, 32), floats(32, 96), floats(96), ints(*range(16)).reshape(2, 8), ints(0, 5, 11)], 1),
    ("PackedMultiHeadAttention", {"num_heads": 4}, [floats(11, 32), floats(11, 32), floats(11, 48), floats(112), ints(*range(16)).reshape(2, 8), ints(0, 5, 11)], 1),
    (
        "PagedAttention",
        {"num_heads": 4, "kv_num_heads": 2},
        [
            floats(11, 32), floats(11, 16), floats(11, 16), floats(9, 256, 2, 8), floats(9, 256, 2, 8),
            ints(0, 5, 11), ints(0, 0), ints(*range(6)).reshape(2, 3),
        ],
        3,
    ),
    ("RemovePadding", {}, [floats(2, 8, 32), ints(5, 6)], 4),
    ("RestorePadding", {}, [floats(11, 32), ints(*range(16)).reshape(2, 8)], 1),
    ("GemmaRotaryEmbedding", {}, [floats(1, 5, 8), floats(1, 4, 5, 8), floats(1, 4, 5, 8), floats(1, 2, 5, 8), floats(1, 2, 5, 8)], 2),
    ("Trilu", {}, [floats(2, 4, 4)], 1),
    ("UnfoldTensor", {"dim": 1, "size": 3, "step": 2}, [floats(2, 9, 4)], 1),
    ("MoE", {"k": 2}, [floats(7, 8), floats(7, 4), floats(4, 16, 8), None, floats(4, 8, 16)], 1),
    ("DynamicTimeWarping", {}, [floats(1, 5, 7)], 1),
    ("Unique", {}, [floats(9)], 3),
    ("MaxpoolWithMask", {"kernel_shape": [3, 3]}, [floats(1, 1, 9, 9), numpy.ones((1, 1, 9, 9), numpy.int32)], 1),
    ("TorchEmbedding", {}, [floats(20, 8), longs(1, 2, 3)], 1),
    ("DequantizeLinear", {}, [bytes_of(2, 3), SCALE, ZERO], 1),
    ("QuantizeLinear", {}, [floats(2, 3), SCALE, ZERO], 1),
    ("Rfft", {"signal_ndim": 1, "onesided": 1, "normalized": 0}, [floats(2, 16)], 1),
    ("Irfft", {"signal_ndim": 1, "onesided": 1, "normalized": 0}, [floats(2, 9, 2)], 1),
    ("ai.onnx.ml::Scaler", {"scale": [1.0], "offset": [0.0]}, [floats(5, 3)], 1),
    ("ai.onnx.ml::Normalizer", {"norm": "L2"}, [floats(5, 3)], 1),
    ("ai.onnx.ml::Binarizer", {"threshold": 0.5}, [floats(5, 3)], 1),
    ("ai.onnx.ml::Imputer", {"imputed_value_floats": [0.0]}, [floats(5, 3)], 1),
    ("ai.onnx.ml::LinearRegressor", {"coefficients": [1.0] * 6, "targets": 2}, [floats(5, 3)], 1),
    ("ai.onnx.ml::LinearClassifier", {"coefficients": [1.0] * 9, "intercepts": [0.0] * 3, "classlabels_ints": [0, 1, 2]}, [floats(5, 3)], 2),
    ("ai.onnx.ml::LinearClassifier", {"coefficients": [1.0] * 6, "intercepts": [0.0] * 2, "classlabels_strings": ["a", "b"]}, [floats(5, 3)], 2),
    ("ai.onnx.ml::SVMRegressor", {"coefficients": [1.0, 1.0], "support_vectors": [1.0] * 6, "n_supports": 2, "rho": [0.0], "kernel_type": "LINEAR", "kernel_params": [0.1, 0.0, 3.0]}, [floats(5, 3)], 1),
    ("ai.onnx.ml::OneHotEncoder", {"cats_int64s": [1, 2, 3]}, [longs(1, 2)], 1),
    ("ai.onnx.ml::ArrayFeatureExtractor", {}, [floats(5, 3), longs(0, 2).reshape(1, 2)], 1),
    ("ai.onnx.ml::ArrayFeatureExtractor", {}, [floats(5), longs(0, 2)], 1),
    ("ai.onnx.ml::FeatureVectorizer", {"inputdimensions": [3, 2]}, [floats(5, 3), floats(5, 2)], 1),
    ("ai.onnx.ml::LabelEncoder", {"keys_int64s": [1, 2], "values_strings": ["a", "b"]}, [longs(1, 2)], 1),
    (
        "ai.onnx.ml::TreeEnsembleRegressor",
        {
            "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0],
            "nodes_values": [0.5, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
            "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "n_targets": 1,
            "target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0],
        },
        [floats(5, 3)],
        1,
    ),
    (
        "ai.onnx.ml::TreeEnsembleClassifier",
        {
            "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0],
            "nodes_values": [0.5, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
            "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "classlabels_int64s": [0, 1, 2],
            "class_treeids": [0, 0], "class_nodeids": [1, 2], "class_ids": [0, 2], "class_weights": [1.0, 2.0],
        },
        [floats(5, 3)],
        2,
    ),
]  # fmt: skip


def model_of(op, attributes, inputs, n_outputs):
    """A model of one operator: the first input is fed, and so is what else is neither small nor a weight."""
    domain, _, name = op.rpartition("::")
    domain = domain or "com.microsoft"
    names = [f"i{index}" if value is not None else "" for index, value in enumerate(inputs)]
    fed = [index for index, value in enumerate(inputs) if value is not None and numpy.ndim(value) > 1]
    fed = fed[:1] or [next(index for index, value in enumerate(inputs) if value is not None)]
    if op.startswith("QLinearAdd"):
        fed = [0, 3]
    outputs = [f"o{index}" for index in range(n_outputs)]
    node = helper.make_node(name, names, outputs, domain=domain, **attributes)
    infos = [
        helper.make_tensor_value_info(names[i], helper.np_dtype_to_tensor_dtype(numpy.asarray(inputs[i]).dtype), numpy.shape(inputs[i]))
        for i in fed
    ]
    constants = [
        numpy_helper.from_array(numpy.asarray(value), names[index])
        for index, value in enumerate(inputs)
        if value is not None and index not in fed
    ]
    graph = helper.make_graph(
        [node], "one", infos, [onnx.ValueInfoProto(name=output) for output in outputs], constants
    )
    sets = [helper.make_opsetid("", 21), helper.make_opsetid(domain, 4 if domain == "ai.onnx.ml" else 1)]
    if domain == "ai.onnx.ml":
        sets[1].version = 3
    return helper.make_model(graph, opset_imports=sets, ir_version=10), {names[i]: inputs[i] for i in fed}


def judge(known, names, values):
    wrong = []
    for name, value in zip(names, values, strict=True):
        own = known.get(name)
        if not isinstance(value, numpy.ndarray):
            continue
        kind = type_name(helper.np_dtype_to_tensor_dtype(value.dtype))
        if own is None or own["shape"] is None:
            wrong.append(f"{name}: not known, runs as {list(value.shape)}")
            continue
        fits = len(own["shape"]) == value.ndim and all(
            a == b or (own["at_most"] and b <= a) for a, b in zip(own["shape"], value.shape, strict=True)
        )
        if not fits or own["dtype"] != kind:
            wrong.append(f"{name}: {own['dtype']} {own['shape']}, runs as {kind} {list(value.shape)}")
    return wrong


def inferred(model):
    """Stand-ins for the outputs by the runtime's symbolic inference, for operators of other devices."""
    try:
        known = SymbolicShapeInference.infer_shapes(model, auto_merge=True)
    except Exception:  # noqa: BLE001
        return None
    values = []
    for info in known.graph.output:
        tensor = info.type.tensor_type
        if not tensor.elem_type or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            return None
        shape = [dim.dim_value for dim in tensor.shape.dim]
        values.append(numpy.zeros(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
    return values


def operators(reader, folder):
    rows, not_run, n_inferred = [], [], 0
    for position, case in enumerate(CASES):
        model, feeds = model_of(*case)
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            values = session.run(None, feeds)
        except Exception as error:  # noqa: BLE001
            values = inferred(model)
            if values is None:
                not_run.append((case[0], str(error).splitlines()[0][:160]))
                continue
            n_inferred += 1
        path = folder / f"op{position}.onnx"
        path.write_bytes(bare(model).SerializeToString())
        rows.append((case[0], path, [info.name for info in model.graph.output], values))
    failures = []
    for (op, _, names, values), told in zip(rows, read(reader, [row[1] for row in rows]), strict=True):
        if "refused" in told:
            failures.append(f"{op}: {told['refused']}: {told['message']}")
            continue
        failures += [f"{op}: {what}" for what in judge(told["values"], names, values)]
        graph = told["graph"]
        if graph.get("guessed_share", 0) and op not in ("Unique", "DynamicTimeWarping", "RemovePadding"):
            failures.append(f"{op}: guessed: {graph['warnings']}")
    print(f"{len(rows)} models of operators read, {n_inferred} of them only inferred by the runtime")
    for op, why in not_run:
        print(f"not run: {op}: {why}")
    return failures


# Models of operators that are larger stay out of the slice that is kept with the tests.
LARGEST = 2500


def write_slice(folder):
    expected = {}
    for position, case in enumerate(CASES):
        model, feeds = model_of(*case)
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            values = session.run(None, feeds)
        except Exception:  # noqa: BLE001
            values = inferred(model)
        data = bare(model).SerializeToString(deterministic=True)
        found = {
            info.name: [type_name(helper.np_dtype_to_tensor_dtype(value.dtype)), list(value.shape)]
            for info, value in zip(model.graph.output, values or [], strict=False)
            if isinstance(value, numpy.ndarray)
        }
        if found and len(data) <= LARGEST:
            name = f"ort_{position:03}_{case[0].rpartition('::')[2]}.onnx"
            (folder / name).write_bytes(data)
            expected[name] = found
    lines = (f"{json.dumps(name)}: {json.dumps(found)}" for name, found in sorted(expected.items()))
    (folder / "expected_ort.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(expected)} models written")


def main():
    if sys.argv[1] == "--slice":
        return write_slice(Path(sys.argv[2]))
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="onnx_runtime_"))
    failures = operators(sys.argv[1], folder)
    if "--operators" not in sys.argv:
        import networks

        # The runtime's tools leave files in the folder that they run in.
        reader = Path(sys.argv[1]).resolve()
        with contextlib.chdir(folder):
            failures += networks.check(reader, folder)
    for line in failures:
        print("FAIL", line)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
