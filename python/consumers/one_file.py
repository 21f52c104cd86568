"""One file of a package, from a folder or from an archive that was not installed."""

from __future__ import annotations

import ast
import pathlib
import tarfile
import zipfile


def text(source: str, path: str) -> str:
    """A file by its path in the package."""
    where = pathlib.Path(source)
    if where.is_dir():
        # Checkouts may have their packages in a folder of their own.
        found = [root / path for root in (where, where / "python") if (root / path).exists()]
        return found[0].read_text(encoding="utf-8")
    if where.suffix == ".whl":
        with zipfile.ZipFile(where) as archive:
            return archive.read(path).decode()
    with tarfile.open(where) as archive:
        found = [name for name in archive.getnames() if name.partition("/")[2] == path]
        return archive.extractfile(found[0]).read().decode()


def functions(source: str, path: str, names: list[str], known: dict) -> dict:
    """Functions of a file, run beside what they use of its other lines."""
    tree = ast.parse(text(source, path))
    body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    space = dict(known)
    exec(compile(ast.Module(body, []), path, "exec"), space)  # noqa: S102
    return {name: space[name] for name in names}
