"""Export a live PyTorch module to a `.pt2` archive that `meshwright` reads: shapes, operators and
module paths, no values.

    import meshwright.trace
    with meshwright.trace.without_weights():
        model = transformers.AutoModelForCausalLM.from_config(config)
    meshwright.trace.save(model, "model.pt2", input_ids=torch.zeros(1, 4096, dtype=torch.int64))

Neither a GPU nor memory for the weights is needed, at any size. Needs torch 2.6 or later.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import tempfile
import zipfile


def without_weights():
    """Modules that are built inside have parameters without values (device `meta`)."""
    import torch

    return torch.device("meta")


def save(module, path, *args, dynamic_shapes=None, train=False, force=False, **kwargs):
    """Trace `module(*args, **kwargs)` and write the archive; gives the exported program.

    `dynamic_shapes` is that of `torch.export.export`; with `train` the module is traced in training
    mode. Tied parameters are written as tied, which `torch.export.save` itself does not do for
    parameters without values. An existing file is kept unless `force` is set.
    """
    import torch

    path = pathlib.Path(path)
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists: pass force=True to replace it")
    on_meta = any(tensor.is_meta for tensor in module.parameters())
    args, kwargs = torch.utils._pytree.tree_map_only(
        torch.Tensor, lambda tensor: tensor.to("meta") if on_meta else tensor, (args, kwargs)
    )
    was_training = module.training
    module.train(train)
    try:
        grad = contextlib.nullcontext() if train else torch.no_grad()
        with grad:
            program = torch.export.export(
                module, args, kwargs, dynamic_shapes=dynamic_shapes, strict=False
            )
    finally:
        module.train(was_training)
    _write(program, module, path)
    return program


def _write(program, module, path):
    import torch

    whole = io.BytesIO()
    torch.export.save(program, whole)
    tensors = dict(module.named_parameters(remove_duplicate=False))
    tensors.update(module.named_buffers(remove_duplicate=False))
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".pt2")
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            zipfile.ZipFile(whole) as source,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for member in source.namelist():
                if member.endswith(".json"):
                    target.writestr(member, _named(member, source.read(member), tensors))
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _named(member, text, tensors):
    """The member, with one path for each tensor of the module."""
    if not member.endswith("model_weights_config.json"):
        return text
    document = json.loads(text)
    paths = {}
    for name, payload in document["config"].items():
        own = id(tensors.get(name, name))
        payload["path_name"] = paths.setdefault(own, f"weight_{len(paths)}")
    return json.dumps(document)
