"""What goes wrong, by whose turn it is."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional


class MeshwrightError(Exception):
    """There is no answer: a stable `code`, a sentence, named facts, ways out."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        error = document.get("error") or {}
        #: What the command line prints with `--json`.
        self.document: Dict[str, Any] = dict(document)
        #: Stable and kebab-case, such as `memory-exceeded`.
        self.code: str = error.get("code", "illegal-plan")
        self.message: str = error.get("message", "the plan breaks a rule or contradicts itself")
        #: By name; sizes in bytes, durations in seconds.
        self.facts: Dict[str, Any] = {own["name"]: _plain(own["value"]) for own in error.get("facts", [])}
        self.hints: List[str] = list(error.get("hints", []))
        #: That of the command line.
        self.exit_code: int = document.get("exit_code", 6)
        super().__init__(self.message)

    @property
    def hint(self) -> Optional[str]:
        """The first way out."""
        return self.hints[0] if self.hints else None

    def __str__(self) -> str:
        lines = [f"[{self.code}] {self.message}"]
        if self.facts:
            lines.append("  " + "; ".join(f"{name} {value}" for name, value in self.facts.items()))
        return "\n".join(lines + [f"  hint: {hint}" for hint in self.hints])

    def __reduce__(self) -> Any:
        return type(self), (self.document,)


class InternalError(MeshwrightError):
    """Our fault."""


class UsageError(MeshwrightError, ValueError):
    """What was asked for makes no sense."""


class InputError(MeshwrightError, ValueError):
    """A file or a field can't be used."""


class InfeasibleError(MeshwrightError):
    """No plan can exist, proved."""


class NoPlanError(MeshwrightError):
    """No plan was found, which proves nothing."""


class IllegalPlanError(MeshwrightError):
    """The plan breaks a rule."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. `plan` is the best one so far, if there is one."""

    def __init__(self, plan: Any = None) -> None:
        super().__init__()
        self.plan = plan


_BY_EXIT_CODE = {
    2: UsageError,
    3: InputError,
    4: InfeasibleError,
    5: NoPlanError,
    6: IllegalPlanError,
}


def error(document: Mapping[str, Any]) -> MeshwrightError:
    """The exception of a document with the member `error`, or of an illegal plan's."""
    kind = _BY_EXIT_CODE.get(document.get("exit_code", 6), InternalError)
    return kind(document)


def refused(code: str, message: str, *hints: str) -> MeshwrightError:
    """What Python refuses before the engine is asked."""
    what = {"code": code, "severity": "error", "message": message, "hints": list(hints), "exit_code": 2}
    return error({"error": what, "exit_code": 2})


def _plain(value: Mapping[str, Any]) -> Any:
    kind, held = next(iter(value.items()))
    return held["s"] if kind == "duration" else held
