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
import copy
import json
import os
import pathlib
import tempfile
import zipfile


def without_weights():
    """Modules that are built inside have parameters without values (device `meta`)."""
    import torch

    return torch.device("meta")


def save(module, path, /, *args, dynamic_shapes=None, train=False, force=False, **kwargs):
    """Trace `module(*args, **kwargs)` and write the archive; gives the exported program.

    `dynamic_shapes` is that of `torch.export.export`; with `train` the module is traced in the modes
    that its parts are in, else all of it in evaluation mode. Tied parameters are written as tied, which
    `torch.export.save` itself does not do for parameters without values. The module is left as it was.
    An existing file is kept unless `force` is set.
    """
    import torch

    path = pathlib.Path(path)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"a torch.nn.Module is needed, not {type(module).__name__}: wrap a function in one")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists: pass force=True to replace it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    tensors = [*module.parameters(), *module.buffers()]
    place = contextlib.nullcontext()
    if any(tensor.is_meta for tensor in tensors):
        place = torch.device("meta")
        if not all(tensor.is_meta for tensor in tensors):
            # Tied tensors stay tied: a copy keeps what is shared.
            module = copy.deepcopy(module).to("meta")
        args, kwargs = torch.utils._pytree.tree_map_only(
            torch.Tensor, lambda tensor: tensor.to("meta"), (args, kwargs)
        )
    modes = {part: part.training for part in module.modules()}
    if not train:
        module.eval()
    try:
        with place, contextlib.nullcontext() if train else torch.no_grad():
            program = torch.export.export(
                module, args, kwargs, dynamic_shapes=dynamic_shapes, strict=False
            )
    finally:
        for part, mode in modes.items():
            part.training = mode
    _write(program, module, path)
    return program


def _write(program, module, path):
    import torch

    tensors = dict(module.named_parameters(remove_duplicate=False))
    tensors.update(module.named_buffers(remove_duplicate=False))
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".pt2")
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            tempfile.TemporaryFile(dir=path.parent) as whole,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target,
        ):
            torch.export.save(program, whole)
            source = zipfile.ZipFile(whole)
            for member in source.namelist():
                if member.endswith(".json"):
                    target.writestr(member, _named(member, source.read(member), tensors))
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _without_stack(member):
    member.pop("stack_trace", None)
    return member


def _named(member, text, tensors):
    """The member, with one path for each tensor of the module and without paths of this machine."""
    document = json.loads(text, object_hook=_without_stack)
    if not member.endswith("model_weights_config.json"):
        return json.dumps(document)
    paths = {}
    for name, payload in document["config"].items():
        own = id(tensors.get(name, name))
        payload["path_name"] = paths.setdefault(own, f"weight_{len(paths)}")
    return json.dumps(document)
