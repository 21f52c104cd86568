"""Programs lowered by jax, read by meshwright, judged by their jaxprs.

Every figure is counted here on the jaxpr, which knows nothing of StableHLO: shapes of results by
primitive, floating-point operations of products and convolutions, names of arguments. XLA's own
count is asked for where it counts nothing else. With --write the texts and what is expected of them
are written to a folder, which `make test` reads without jax.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import lax  # noqa: E402
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402

# Primitives that are lowered to one operation each, and the op types that they are read as.
CLASSES = {
    "dot_general": {"MatMul", "Einsum"},
    "conv_general_dilated": {"Conv", "ConvTranspose"},
    "exp": {"Exp"},
    "tanh": {"Tanh"},
    "logistic": {"Sigmoid"},
    "rsqrt": {"Reciprocal"},
    "sqrt": {"Sqrt"},
    "reduce_sum": {"ReduceSum"},
    "reduce_max": {"ReduceMax"},
    "gather": {"Gather"},
    "scatter-add": {"ScatterND"},
    "concatenate": {"Concat"},
    "cumsum": {"CumSum"},
    "argmax": {"ArgMax"},
    "sub": {"Sub"},
    "div": {"Div"},
    "max": {"Max"},
    "psum": {"AllReduce"},
    "psum_invariant": {"AllReduce"},
    "all_gather": {"AllGather"},
    "ppermute": {"CollectivePermute"},
    "all_to_all": {"AllToAll"},
    "reduce_scatter": {"ReduceScatter"},
}


def volume(extents):
    return int(np.prod(np.array(extents, dtype=object))) if len(extents) else 1


def dot_flops(equation):
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    left, right = (v.aval.shape for v in equation.invars)
    k = volume([left[axis] for axis in contracted])
    b = volume([left[axis] for axis in batch])
    return 2 * volume(left) * volume(right) // (k * b)


def conv_flops(equation):
    numbers = equation.params["dimension_numbers"]
    left, right = (v.aval.shape for v in equation.invars)
    result = equation.outvars[0].aval.shape
    out_axis, in_axis, *taps = numbers.rhs_spec
    taps = volume([right[axis] for axis in taps])
    if any(n > 1 for n in equation.params["lhs_dilation"]):
        # Zeros between inputs are not multiplied: a row per input position.
        groups = equation.params["feature_group_count"]
        return 2 * volume(left) * taps * right[out_axis] // groups
    return 2 * volume(result) * taps * right[in_axis]


def inner(equation):
    """Jaxprs within an equation, each with how often it runs."""
    name = equation.primitive.name
    params = equation.params
    if name == "scan":
        return [(params["jaxpr"].jaxpr, params["length"])]
    if name == "while":
        # jax makes a scan of a loop with a constant count but where the limit is a value: the
        # programs here run as often as `trips` says.
        return [(params["body_jaxpr"].jaxpr, "trips")]
    if name == "cond":
        return [("dearest", [branch.jaxpr for branch in params["branches"]])]
    found = []
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if key in params:
            own = params[key]
            found.append((getattr(own, "jaxpr", own), 1))
            break
    return found


def flops(jaxpr, trips):
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            total += dot_flops(equation)
        elif name == "conv_general_dilated":
            total += conv_flops(equation)
        for own, times in inner(equation):
            if own == "dearest":
                total += max(flops(branch, trips) for branch in times)
            else:
                total += flops(own, trips) * (trips if times == "trips" else times)
    return total


def results(jaxpr, counted, times=1):
    """Shapes of results by primitive, calls followed and scans unfolded; loops and choices, which are
    read as one op, left out."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in CLASSES:
            for variable in equation.outvars:
                own = variable.aval
                if own.shape and jnp.issubdtype(own.dtype, jnp.inexact):
                    counted[(name, tuple(own.shape))] += times
        if name not in ("while", "cond"):
            for own, runs in inner(equation):
                results(own, counted, times * runs)


def without_dead(closed):
    from jax.interpreters import partial_eval

    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return jaxpr


def expected(program):
    closed = jax.make_jaxpr(program["function"])(*program["arguments"])
    jaxpr = without_dead(closed)
    counted = collections.Counter()
    results(jaxpr, counted)
    found = {
        "flops": flops(jaxpr, program.get("trips")),
        "outputs": [list(v.aval.shape) for v in closed.jaxpr.outvars],
        "results": sorted([name, list(shape), n] for (name, shape), n in counted.items()),
        "pins": program.get("pins", []),
        "parameters": program.get("parameters"),
        "warnings": sorted(program.get("warnings", [])),
    }
    if program.get("is_all_product"):
        lowered = jax.jit(program["function"]).lower(*program["arguments"])
        xla = int(lowered.compile().cost_analysis()["flops"])
        if xla != found["flops"]:
            raise SystemExit(f"{program['name']}: XLA counts {xla}, the jaxpr {found['flops']}")
    return found


def shape(*extents, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(extents, dtype)


def dense(params, x):
    return x @ params["w"] + params["b"]


def layer_norm(x):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5)


def mlp(params, x):
    for index, layer in enumerate(params):
        with jax.named_scope(f"layer_{index}"):
            x = jnp.tanh(dense(layer, x))
    return x


def mlp_parameters(widths):
    return [{"w": shape(a, b), "b": shape(b)} for a, b in zip(widths, widths[1:])]


def attention(params, x):
    def heads(w):
        return (x @ w).reshape(*x.shape[:2], 4, -1).transpose(0, 2, 1, 3)

    q, k, v = (heads(params[name]) for name in "qkv")
    scores = jax.nn.softmax(jnp.einsum("bhqd,bhkd->bhqk", q, k) * 0.25)
    mixed = jnp.einsum("bhqk,bhkd->bhqd", scores, v)
    return mixed.transpose(0, 2, 1, 3).reshape(x.shape) @ params["o"]


def image(x, w, **options):
    return lax.conv_general_dilated(
        x, w, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


def scanned(params, x):
    def layer(x, own):
        return x + jnp.tanh(layer_norm(x) @ own["up"]) @ own["down"], None

    return lax.scan(layer, x, params)[0]


def embedded(params, ids):
    x = params["table"][ids]
    return jnp.einsum("bsd,vd->bsv", layer_norm(x), params["table"])


def step(params, x, y):
    def loss(params):
        return jnp.mean((mlp(params, x) - y) ** 2)

    return jax.tree.map(lambda w, g: w - 0.01 * g, params, jax.grad(loss)(params))


def mesh_of_four():
    return Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("data", "model"))


def sharded():
    mesh = mesh_of_four()
    of = lambda *axes: NamedSharding(mesh, PartitionSpec(*axes))  # noqa: E731
    return jax.jit(
        lambda params, x: jnp.tanh(x @ params["up"]) @ params["down"],
        in_shardings=({"up": of(None, "model"), "down": of("model", None)}, of("data", None)),
        out_shardings=of("data", None),
    )


def collective():
    def body(w, x):
        return lax.psum(x @ w, "model"), lax.all_gather(x, "data", tiled=True)

    spec = PartitionSpec
    return jax.shard_map(
        body,
        mesh=mesh_of_four(),
        in_specs=(spec("model", None), spec("data", "model")),
        out_specs=(spec("data", None), spec(None, "model")),
        check_vma=False,
    )


def programs():
    weight = shape(64, 64)
    return [
        {"name": "product", "function": lambda x, w: x @ w, "is_all_product": True,
         "arguments": [shape(8, 16), shape(16, 32)]},
        {"name": "mlp", "function": mlp, "parameters": 6,
         "arguments": [mlp_parameters([16, 32, 32, 8]), shape(4, 16)]},
        {"name": "attention", "function": attention, "parameters": 4,
         "arguments": [{name: weight for name in "qkvo"}, shape(2, 16, 64)]},
        {"name": "convolution", "function": lambda params, x: jax.nn.relu(
            image(x, params["w"], window_strides=(2, 2), padding="SAME")), "parameters": 1,
         "arguments": [{"w": shape(3, 3, 8, 16)}, shape(2, 16, 16, 8)]},
        {"name": "valid_convolution", "is_all_product": True, "function": lambda x, w: image(
            x, w, window_strides=(1, 1), padding="VALID"),
         "arguments": [shape(2, 9, 9, 4), shape(3, 3, 4, 8)]},
        {"name": "grouped_convolution", "parameters": 1, "function": lambda params, x: image(
            x, params["w"], window_strides=(1, 1), padding="SAME", feature_group_count=8),
         "arguments": [{"w": shape(3, 3, 1, 16)}, shape(2, 16, 16, 8)]},
        {"name": "transposed_convolution", "parameters": 1,
         "function": lambda params, x: lax.conv_transpose(x, params["w"], (2, 2), "SAME"),
         "arguments": [{"w": shape(4, 4, 8, 16)}, shape(2, 8, 8, 8)]},
        {"name": "scan", "function": scanned, "parameters": 12,
         "arguments": [{"up": shape(6, 32, 64), "down": shape(6, 64, 32)}, shape(4, 32)]},
        {"name": "loop", "trips": 10, "warnings": ["no-parameters"],
         "function": lambda x: lax.while_loop(
             lambda s: s[0] > 0, lambda s: (s[0] - 3, s[1] @ s[1]), (jnp.int32(28), x))[1],
         "arguments": [shape(16, 16)]},
        {"name": "choice", "warnings": ["no-parameters"],
         "function": lambda p, x: lax.cond(p, lambda x: x @ x, lambda x: x + 1, x),
         "arguments": [shape(dtype=jnp.bool_), shape(16, 16)]},
        {"name": "embedding", "function": embedded, "parameters": 1,
         "arguments": [{"table": shape(100, 32)}, shape(4, 5, dtype=jnp.int32)]},
        {"name": "einsum", "parameters": 1,
         "function": lambda params, x: jnp.einsum("bsd,edf->besf", x, params["w"]),
         "arguments": [{"w": shape(3, 16, 32)}, shape(2, 5, 16)]},
        {"name": "training_step", "function": step, "parameters": 4,
         "arguments": [mlp_parameters([16, 32, 8]), shape(4, 16), shape(4, 8)]},
        {"name": "sharded", "function": sharded(), "parameters": 2,
         "pins": ["data=2", "tensor=2"], "warnings": ["pinned-by-shardings"],
         "arguments": [{"up": shape(16, 32), "down": shape(32, 16)}, shape(8, 16)]},
        {"name": "collectives", "function": collective(),
         "warnings": ["collectives", "guessed-parameters", "one-device"],
         "arguments": [shape(16, 32), shape(8, 16)]},
    ]


def text(program):
    function = program["function"]
    own = function if hasattr(function, "lower") else jax.jit(function)
    lowered = own.lower(*program["arguments"]).as_text(debug_info=True)
    # Where in which file it stood changes with this one.
    return re.sub(r'"[^"]*\.py":[0-9]+:[0-9]+( to [0-9]*:[0-9]+)?', '"program.py":1:1', lowered)


def judged(found, wanted):
    """What is wrong with what was read."""
    if "code" in found:
        return [found["message"]]
    wrong = []

    def hold(what, is_, should):
        if is_ != should:
            wrong.append(f"{what}: {is_} where {should} is right")

    hold("operations", found["flops"], wanted["flops"])
    hold("outputs", [own["shape"] for own in found["outputs"]], wanted["outputs"])
    types = {name: key for key, names in CLASSES.items() for name in names}
    types["AllReduce"] = "psum"
    read = collections.Counter()
    for op in found["ops"]:
        if op["type"] not in types or op["is_view"]:
            continue
        for own in op["outputs"]:
            if own["shape"] and own["dtype"] in ("fp32", "bf16", "fp16"):
                read[(types[op["type"]], tuple(own["shape"]))] += 1
    merged = collections.Counter()
    for name, extents, n in wanted["results"]:
        merged[("psum" if name == "psum_invariant" else name, tuple(extents))] += n
    hold("results", sorted(read.items()), sorted(merged.items()))
    hold("pins", found["pins"], wanted["pins"])
    hold("warnings", sorted(own["code"] for own in found["warnings"]), wanted["warnings"])
    if wanted["parameters"] is not None:
        names = {own["name"] for op in found["ops"] for own in op["parameters"]}
        roots = {name for name in names if name.startswith("params")}
        hold("parameters", len(roots), wanted["parameters"])
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", help="the example `graph_values`")
    parser.add_argument("--write", type=pathlib.Path, help="folder for the texts")
    asked = parser.parse_args()
    failures = 0
    all_wanted = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = asked.write or pathlib.Path(folder)
        for program in programs():
            name = program["name"]
            program.setdefault("warnings", [] if program.get("parameters") else
                               ["guessed-parameters"])
            wanted = expected(program)
            all_wanted[name] = wanted
            path = folder / f"{name}.mlir"
            path.write_text(text(program))
            if asked.reader:
                run = subprocess.run([asked.reader, path], capture_output=True, check=True)
                wrong = judged(json.loads(run.stdout), wanted)
                failures += bool(wrong)
                print(f"{name}: {'; '.join(wrong) or 'as the jaxpr says'}")
        if asked.write:
            document = json.dumps(all_wanted, indent=1, sort_keys=True)
            (folder / "expected.json").write_text(document + "\n")
    return failures


if __name__ == "__main__":
    sys.exit(main())
