"""Requests to the engine and its answers, as dicts."""

from __future__ import annotations

import contextlib
import json
import operator
import os
from typing import Any, Callable, Dict, Iterator, Mapping, NamedTuple, Optional

from . import _native
from ._errors import Interrupted, MeshwrightError, error, refused

OnEvent = Optional[Callable[[Dict[str, Any]], Any]]


class Answer(NamedTuple):
    """How a request ended."""

    exit_code: int
    document: Dict[str, Any]
    files: Dict[str, str]


def ask(verb: str, fields: Mapping[str, Any], on_event: OnEvent = None) -> Answer:
    """Asks the engine; fields that are None are not asked for.

    Raises the `MeshwrightError` of a request without an answer, `Interrupted` after Ctrl-C, and
    what `on_event` raised.
    """
    if "verb" in fields:
        raise refused("unknown-field", "`verb` is the function that is called, no field of it")
    if on_event is not None and not callable(on_event):
        raise refused("bad-field", "on_event needs a function of one event")
    hear = None if on_event is None else lambda event: on_event(json.loads(event))
    with contextlib.ExitStack() as files:
        stated = {name: _on_disk(value, files) for name, value in fields.items() if value is not None}
        text, raised = _native.answer(to_json({"verb": verb, **stated}), hear)
    if raised is None:
        answer = Answer(**json.loads(text))
        if "error" in answer.document:
            raise error(answer.document)
        return answer
    if isinstance(raised, KeyboardInterrupt):
        # The best so far, where the engine still had something to say.
        answer = Answer(**json.loads(text)) if text else None
        found = answer is not None and answer.exit_code == 0 and "error" not in answer.document
        raise Interrupted(answer if found else None) from raised
    raise raised


def _on_disk(value: Any, files: contextlib.ExitStack) -> Any:
    """A plan that is at hand as a file, which is how the engine reads plans."""
    text = getattr(value, "text", None)
    return files.enter_context(_written(text())) if callable(text) else value


@contextlib.contextmanager
def _written(text: str) -> Iterator[str]:
    # Half of the import of this package, for those who need no file.
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="meshwright-", suffix=".json")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        yield path
    finally:
        os.unlink(path)


def path_of(path: Any) -> str:
    """A path as text, or a refusal of what is none."""
    try:
        return os.fsdecode(path)
    except TypeError as wrong:
        raise refused("bad-field", f"{path!r} is no path") from wrong


def to_json(value: Any, indent: Optional[int] = None) -> str:
    """JSON text, or a refusal of what has none."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False, indent=indent)
    except (TypeError, ValueError, RecursionError) as failed:
        if isinstance(failed, MeshwrightError):
            raise
        raise refused("bad-field", f"a field has no JSON form: {failed}") from failed


def _plain(value: Any) -> Any:
    """Paths, and numbers of other libraries."""
    if isinstance(value, (bytes, os.PathLike)):
        return os.fsdecode(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "__index__"):
        return operator.index(value)
    if hasattr(value, "__float__"):
        return float(value)
    raise TypeError(f"{type(value).__name__} {value!r}")
