"""The table of buckets that `exchange` runs, and whether it is one of a model."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

import torch
from torch import nn

from .._errors import MeshwrightError, refused

#: How buckets are exchanged, and what a table states of a bucket and of its tensors beside the rest.
METHODS: Mapping[str, Tuple[Tuple[str, ...], Tuple[str, ...]]] = {
    "as-is": ((), ()),
    "top-k": (("kept",), ()),
    "global-top-k": (("kept",), ()),
    "layer-wise": (("kept",), ("kept",)),
}
FORMAT, VERSION = "meshwright-gradient-exchange", 1
#: An element of fp32, and one with its index.
ELEMENT_BYTES, SENT_BYTES = 4, 8
#: Arguments of DDP that leave buckets and gradients to the hook.
ARGUMENTS = (
    "broadcast_buffers",
    "device_ids",
    "dim",
    "forward_sync_buffers",
    "gradient_as_bucket_view",
    "init_sync",
    "output_device",
    "static_graph",
)


@dataclass
class Bucket:
    """A row of the table, and where it stands in a step."""

    method: str
    kept: int
    #: By tensor its name, elements and, of `layer-wise`, how many of them are kept.
    tensors: List[Tuple[str, int, int]]
    residual: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    gradients: Dict[int, torch.Tensor] = field(default_factory=dict)
    #: None once the gradients are written, else what went wrong.
    future: Any = None

    @property
    def sizes(self) -> List[int]:
        return [elements for _, elements, _ in self.tensors]


def checked(model: nn.Module, path: Any, world: int, arguments: Mapping[str, Any]) -> Tuple[List[Bucket], str]:
    """The buckets of a table that fits, and its SHA-256."""
    for name, value in arguments.items():
        if name not in ARGUMENTS and not (name == "find_unused_parameters" and value is False):
            raise refused("cannot-run", f"the exchange does not run with {name}={value!r} of DDP", "leave it out")
    try:
        with open(os.fsdecode(path), "rb") as file:
            text = file.read()
    except (OSError, TypeError, ValueError) as wrong:
        raise refused("unreadable", f"the table can't be read: {wrong}", "export a plan with --target torch-hook") from wrong
    replicas, buckets = _read(text)
    if world != replicas:
        message = f"the table's `replicas` is {replicas}, and there are {world} processes"
        raise refused("other-world", message, f"start it with torchrun --nproc-per-node {replicas}")
    ignored = getattr(model, "_ddp_params_and_buffers_to_ignore", ())
    trained = {name: own for name, own in model.named_parameters() if own.requires_grad and name not in ignored}
    sizes = {name: elements for bucket in buckets for name, elements, _ in bucket.tensors}
    same("the table", sizes, {name: own.numel() for name, own in trained.items()})
    for name, own in trained.items():
        if own.dtype != torch.float32:
            raise refused("cannot-run", f"the exchange does not run {own.dtype} gradients, as of `{name}`", "train in fp32")
    for name, module in model.named_modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse:
            raise refused("cannot-run", f"the exchange does not run sparse gradients, as of `{name}`", "use sparse=False")
    if len({own.device for own in trained.values()}) > 1:
        raise refused("cannot-run", "the exchange does not run parameters on several devices", "use one per process")
    return buckets, hashlib.sha256(text).hexdigest()


def same(what: str, told: Mapping[str, int], trained: Mapping[str, int]) -> None:
    """Refuses tensors that are not those of the model, by name."""
    wrong = {
        "misses": [name for name in trained if name not in told],
        "has unknown": [name for name in told if name not in trained],
        "has another size of": [name for name in told if told[name] != trained.get(name, told[name])],
    }
    parts = []
    for verb, names in wrong.items():
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            parts.append(f"{verb} {', '.join(f'`{name}`' for name in names[:5])}{more}")
    if parts:
        message = f"{what} {'; '.join(parts)}"
        raise refused("other-model", message, "name gradients as named_parameters() of the model does")


def _read(text: bytes) -> Tuple[int, List[Bucket]]:
    """`replicas` and buckets of a table; refuses by name what is no member of one, or out of range."""
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as wrong:
        raise _wrong("the table", f"is no JSON: {wrong}") from wrong
    _members(document, "the table", ("format", "version", "replicas", "buckets"))
    for name, expected in (("format", FORMAT), ("version", VERSION)):
        if type(document[name]) is not type(expected) or document[name] != expected:
            raise _wrong(f"`{name}`", f"is {document[name]!r}, not {expected!r}")
    replicas = _number(document, "replicas", "the table")
    rows = _list(document, "buckets", "the table")
    buckets = [_bucket(row, f"buckets[{at}]") for at, row in enumerate(rows)]
    seen: Dict[str, int] = {}
    for at, bucket in enumerate(buckets):
        for name, _, _ in bucket.tensors:
            if name in seen:
                raise _wrong(f"buckets[{at}]", f"has the tensor `{name}`, which stands in buckets[{seen[name]}] already")
            seen[name] = at
    return replicas, buckets


def _bucket(row: Any, where: str) -> Bucket:
    if not isinstance(row, dict):
        raise _wrong(where, "is no object")
    method = row.get("method")
    if not isinstance(method, str):
        raise _wrong(f"`method` of {where}", f"is {method!r}, no text")
    if method not in METHODS:
        raise refused("cannot-run", f"the exchange does not run the method `{method}` of {where}", f"plan with {', '.join(METHODS)}")
    members, of_tensors = METHODS[method]
    _members(row, where, ("method", "bytes", "sent_bytes", "tensors", *members))
    tensors: List[Tuple[str, int, int]] = []
    for at, own in enumerate(_list(row, "tensors", where)):
        place = f"{where}.tensors[{at}]"
        _members(own, place, ("name", "elements", *of_tensors))
        if not isinstance(own["name"], str):
            raise _wrong(f"`name` of {place}", f"is {own['name']!r}, no text")
        elements = _number(own, "elements", place)
        tensors.append((own["name"], elements, _number(own, "kept", place, elements) if of_tensors else 0))
    total = sum(elements for _, elements, _ in tensors)
    if total >= 2**31:
        raise refused("cannot-run", f"the exchange does not run {where}: `elements` are {total}, 2^31 or more", "plan smaller buckets")
    kept = _number(row, "kept", where, total) if members else 0
    expected = {"kept": sum(own for _, _, own in tensors)} if of_tensors else {}
    expected["bytes"] = total * ELEMENT_BYTES
    expected["sent_bytes"] = kept * SENT_BYTES if members else expected["bytes"]
    for name, value in expected.items():
        if _number(row, name, where) != value:
            raise _wrong(f"`{name}` of {where}", f"is {row[name]}, not {value}")
    return Bucket(method, kept, tensors)


def _once(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    own = dict(pairs)
    if len(own) != len(pairs):
        raise ValueError("a member stands twice in one object")
    return own


def _members(own: Any, where: str, names: Tuple[str, ...]) -> None:
    if not isinstance(own, dict):
        raise _wrong(where, "is no object")
    for name in own:
        if name not in names:
            raise refused("unknown-field", f"`{name}` is no member of {where}", f"its members are {', '.join(names)}")
    for name in names:
        if name not in own:
            raise _wrong(where, f"has no `{name}`")


def _list(own: Mapping[str, Any], name: str, where: str) -> List[Any]:
    if not isinstance(own[name], list) or not own[name]:
        raise _wrong(f"`{name}` of {where}", "needs a list that is not empty")
    return list(own[name])


def _number(own: Mapping[str, Any], name: str, where: str, most: Optional[int] = None) -> int:
    value = own[name]
    if type(value) is not int or value < 1 or (most is not None and value > most):
        raise _wrong(f"`{name}` of {where}", f"is {value!r}, no whole number of 1 to {most or 'more'}")
    return value


def _wrong(what: str, why: str) -> MeshwrightError:
    return refused("bad-field", f"{what} {why}", "export the plan again with --target torch-hook")
