"""A client of the planning service (`meshwright serve`), of the standard library alone.

    service = Service("http://127.0.0.1:8080", token=os.environ.get("MESHWRIGHT_TOKEN"))
    plan = service.plan("model.onnx", cluster="cluster.yaml", wait=60, time_limit="20s")
    plan["state"], plan["value_ns"], service.file(plan["id"], "plan")

Files are uploaded unless the service has them. Every request has an end: `timeout` seconds without a
byte, `wait` seconds altogether. What goes wrong is a `ServiceError`, with the code, facts and hints of
the service. The compiled part of this package is not loaded.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any, BinaryIO, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Union

__all__ = ["Event", "Infeasible", "NoAnswer", "Refused", "Service", "ServiceError"]

Path = Union[str, "os.PathLike[str]"]
#: A file, or the document itself.
Given = Union[str, "os.PathLike[str]", Mapping[str, Any]]

#: Bytes that are sent at once.
_PART = 8 << 20
#: Seconds that a service may work on a file or an export.
_WORK = 600.0
#: Seconds of `?wait=` that a service takes.
_LONGEST_WAIT = 50.0
_KINDS = {"model": "models", "cluster": "clusters"}
_ENDED = ("done", "infeasible", "cancelled", "failed")


class ServiceError(Exception):
    """No plan: a stable `code`, a sentence, named facts, ways out."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        #: What the service sent.
        self.problem: Dict[str, Any] = dict(problem)
        #: Stable and kebab-case, such as `memory-exceeded`.
        self.code: str = str(problem.get("code", "no-service"))
        self.message: str = str(problem.get("title", problem.get("message", "the service gave no answer")))
        self.hints: List[str] = [str(hint) for hint in problem.get("hints") or []]
        #: Of HTTP; None where no answer came, or the plan itself failed.
        self.status: Optional[int] = problem.get("status")
        #: That of the command line, where the planner ended.
        self.exit_code: Optional[int] = problem.get("exit_code")
        super().__init__(self.message)

    def __str__(self) -> str:
        return "\n".join([f"[{self.code}] {self.message}"] + [f"  hint: {hint}" for hint in self.hints])

    def __reduce__(self) -> Any:
        return type(self), (self.problem,)


class NoAnswer(ServiceError):
    """The service was not reached, or took too long."""


class Refused(ServiceError):
    """The service, or its planner, says no."""


class Infeasible(Refused):
    """No plan can exist, proved."""


class Event(NamedTuple):
    """What happens to a plan."""

    #: Where `events(last=...)` goes on.
    id: str
    #: `state`, `accepted`, `started`, `bound`, `incumbent`, `searched` or `end`.
    kind: str
    data: Dict[str, Any]


def _names_file(skew: Any) -> bool:
    """Whether `expert_skew` is a file, not a law."""
    return skew is not None and not (isinstance(skew, str) and (skew == "balanced" or skew.startswith("zipf:")))


class Service:
    """A service at an address. `token` is what `meshwright token` printed; `timeout` are the seconds that
    connecting and every answer may take; https trusts what the system trusts, or `context`."""

    def __init__(
        self,
        url: str,
        token: Optional[str] = None,
        timeout: float = 30.0,
        context: Optional[ssl.SSLContext] = None,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or "@" in parts.netloc:
            raise ValueError(f"{url!r} is no address of a service, such as http://127.0.0.1:8080")
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # No redirect is followed: it would take the token along.
        handlers: List[urllib.request.BaseHandler] = [_NoRedirect()]
        if parts.scheme == "https":
            handlers.append(urllib.request.HTTPSHandler(context=context or ssl.create_default_context()))
        self._opener = urllib.request.build_opener(*handlers)

    # What is uploaded.

    def upload(self, path: Path, kind: str = "model", name: Optional[str] = None) -> Dict[str, Any]:
        """Uploads a file unless the service has it: its description, with the `digest`. Kinds: `model`,
        `cluster`, and `profile` for all else."""
        with open(path, "rb") as file:
            hashed, length = hashlib.sha256(), 0
            for block in iter(lambda: file.read(1 << 20), b""):
                hashed.update(block)
                length += len(block)
            digest = f"sha256:{hashed.hexdigest()}"
            name = name or os.path.basename(os.fspath(path))
            known = self._known(digest)
            if known is not None and (known["name"] == name or length > _PART):
                return known
            sent = self._upload(file, kind, name, length)
        if sent["digest"] != digest:
            raise Refused({"code": "file-changed", "title": f"{path} changed while it was sent"})
        return sent

    def _known(self, digest: str) -> Optional[Dict[str, Any]]:
        try:
            return self._json("GET", f"/v1/models/{digest}")
        except Refused as error:
            if error.status != 404:
                raise
            return None

    def _upload(self, file: BinaryIO, kind: str, name: str, length: int) -> Dict[str, Any]:
        file.seek(0)
        if length <= _PART:
            query = urllib.parse.urlencode({"name": name})
            path = f"/v1/{_KINDS.get(kind, 'profiles')}?{query}"
            return self._json("POST", path, file.read(), timeout=_WORK)
        kind = kind if kind in _KINDS else "profile"
        begun = self._json("POST", "/v1/uploads", {"name": name, "bytes": length, "kind": kind})
        place, offset, failed = f"/v1/uploads/{begun['id']}", 0, 0
        while True:
            file.seek(offset)
            try:
                answer = self._send(
                    "PATCH", place, file.read(_PART), {"Upload-Offset": str(offset)}, timeout=_WORK
                )
            except NoAnswer:
                failed += 1
                if failed > 3:
                    raise
                offset = int(self._json("GET", place)["offset"])
                continue
            if answer.status != 204:
                return json.loads(answer.body)
            offset, failed = int(answer.headers["Upload-Offset"]), 0

    # Plans.

    def plan(
        self,
        model: Given,
        cluster: Optional[Given] = None,
        *,
        profile: Optional[Given] = None,
        constraints: Optional[Given] = None,
        costs: Optional[Given] = None,
        routing_trace: Optional[Given] = None,
        interference: Optional[Given] = None,
        traces: Sequence[Path] = (),
        wait: float = 3600.0,
        priority: int = 0,
        cached: bool = True,
        **request: Any,
    ) -> Dict[str, Any]:
        """Asks for a plan and waits up to `wait` seconds for its end: its status, with the `id`. With `wait=0`
        it comes back at once. `request` are the fields of engine/schema/request.schema.json, as flags
        with `_` for `-`; `cached=False` plans anew. Files of this machine are uploaded; so is what is not a
        path but a document.

        Raises `Infeasible`, `Refused` where planning failed, `NoAnswer` where it took too long.
        """
        until = time.monotonic() + wait
        body = {name: value for name, value in request.items() if value is not None}
        given = {"model": model, "cluster": cluster, "profile": profile, "constraints": constraints,
                 "costs": costs, "routing_trace": routing_trace, "interference": interference,
                 "replace": body.get("replace")}
        if _names_file(body.get("expert_skew")):
            given["expert_skew"] = body["expert_skew"]
        for field, value in given.items():
            if value is not None:
                body[field] = self._reference(field, value)
        if traces:
            body["traces"] = [self._reference("trace", trace) for trace in traces]
        query = urllib.parse.urlencode({"priority": priority, "wait": min(wait, 1.0)})
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        if not cached:
            headers["Cache-Control"] = "no-cache"
        status = self._json("POST", f"/v1/plans?{query}", body, headers)
        while status["state"] not in _ENDED:
            left = until - time.monotonic()
            if left <= 0:
                if wait == 0:
                    return status
                late = f"{self.url} gave no plan within {wait:g} s; it goes on as {status['id']}"
                raise NoAnswer({"code": "service-late", "title": late})
            status = self.status(status["id"], wait=min(left, _LONGEST_WAIT, self.timeout / 2))
        return _judged(status)

    def _reference(self, field: str, given: Given) -> Any:
        if isinstance(given, Mapping):
            return dict(given)
        text = os.fspath(given)
        if text.startswith("sha256:"):
            return text
        path, _, part = (text, "", "") if os.path.exists(text) else text.partition("#")
        if os.path.isdir(path):
            if field != "model":
                raise Refused({"code": "not-a-file", "title": f"{path} is a folder: a service takes single files"})
            name = os.path.basename(os.path.abspath(path)) + ".json"
            found = self.upload(os.path.join(path, "config.json"), field, name)
        else:
            found = self.upload(path, field)
        return found["digest"] + (f"#{part}" if part else "")

    def status(self, id: str, wait: float = 0.0) -> Dict[str, Any]:
        """How a plan stands; with `wait`, once it ended or the seconds (60 at most) are over."""
        path = f"/v1/plans/{_quoted(id)}?{urllib.parse.urlencode({'wait': wait})}"
        return self._json("GET", path, timeout=self.timeout + wait)

    def plans(self, state: Optional[str] = None) -> Iterator[Dict[str, Any]]:
        """All plans, the newest first."""
        query = {"state": state} if state else {}
        while True:
            page = self._json("GET", f"/v1/plans?{urllib.parse.urlencode(query)}")
            yield from page["plans"]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def events(self, id: str, last: str = "", wait: float = 3600.0) -> Iterator[Event]:
        """What happens to a plan until it ends, from after the event `last`; goes on where a connection breaks."""
        until, reached = time.monotonic() + wait, time.monotonic()
        while time.monotonic() < until:
            try:
                with self._open("GET", f"/v1/plans/{_quoted(id)}/events", None, {"Last-Event-ID": last}) as stream:
                    for event in _events(stream):
                        last, reached = event.id, time.monotonic()
                        yield event
                        if event.kind == "end":
                            return
                        if reached > until:
                            break
                if self.status(id)["state"] in _ENDED:
                    return
                reached = time.monotonic()
            except (NoAnswer, OSError, http.client.HTTPException) as error:
                if time.monotonic() - reached > 30.0:
                    raise error if isinstance(error, NoAnswer) else self._unreached(error) from error
            time.sleep(0.3)
        raise NoAnswer({"code": "service-late", "title": f"plan {id} did not end within {wait:g} s"})

    def cancel(self, id: str) -> Dict[str, Any]:
        """Ends a plan with the best so far."""
        return self._json("POST", f"/v1/plans/{_quoted(id)}/cancel", {})

    def delete(self, id: str) -> None:
        """Deletes a plan that ended."""
        self._send("DELETE", f"/v1/plans/{_quoted(id)}")

    # What a plan is.

    def file(self, id: str, name: str = "plan") -> bytes:
        """The plan's file, or its `answer`: the bytes that the command line prints with `--json`."""
        return self._send("GET", f"/v1/plans/{_quoted(id)}/{_quoted(name)}").body

    def artefact(self, id: str, target: str, launcher: Optional[str] = None) -> Union[str, Dict[str, str]]:
        """A plan as an executor reads it; with a `launcher` (torchrun, slurm, k8s) all files that start it, by
        name."""
        folder = f"/{_quoted(launcher)}" if launcher else ""
        path = f"/v1/plans/{_quoted(id)}/artefacts/{_quoted(target)}{folder}"
        text = self._send("GET", path, timeout=_WORK).body.decode("utf-8")
        return json.loads(text) if launcher else text

    def explain(self, id: str, **subject: str) -> Dict[str, Any]:
        """Where the time goes; with `op`, `transfer` or `device`, why that is as it is."""
        query = urllib.parse.urlencode(subject)
        return self._json("GET", f"/v1/plans/{_quoted(id)}/explain?{query}", timeout=_WORK)

    def measure(
        self, plan: str, step_s: float, peak_bytes: Optional[int] = None, note: Optional[str] = None
    ) -> Dict[str, Any]:
        """Tells how many seconds a step of a plan really takes: beside it, what was predicted."""
        body = {"plan": plan, "step_s": step_s, "peak_bytes": peak_bytes, "note": note}
        told = {name: value for name, value in body.items() if value is not None}
        return self._json("POST", "/v1/measurements", told)

    # HTTP.

    def _json(
        self,
        method: str,
        path: str,
        body: Union[bytes, Mapping[str, Any], None] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
    ) -> Dict[str, Any]:
        answer = self._send(method, path, body, headers, timeout)
        try:
            return json.loads(answer.body)
        except ValueError:
            raise NoAnswer({"title": f"what answers at {self.url} is no planning service"}) from None

    def _send(
        self,
        method: str,
        path: str,
        body: Union[bytes, Mapping[str, Any], None] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
    ) -> "_Answer":
        # What is sent again is the same request: uploads by their digest, plans by their key.
        tries = 1 if method == "PATCH" else 3
        for left in reversed(range(tries)):
            try:
                with self._open(method, path, body, headers, timeout) as reply:
                    return _Answer(reply.status, reply.headers, reply.read())
            except (OSError, http.client.HTTPException) as error:
                if left == 0:
                    raise self._unreached(error) from error
            except ServiceError as error:
                if left == 0 or error.status not in (None, 503):
                    raise
            time.sleep(0.3 * (tries - left))
        raise AssertionError("the last try answers or raises")

    def _open(
        self,
        method: str,
        path: str,
        body: Union[bytes, Mapping[str, Any], None] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        all_headers = {**self._headers, **(headers or {})}
        if isinstance(body, Mapping):
            body = json.dumps(body).encode("utf-8")
            all_headers["Content-Type"] = "application/json"
        elif body is not None:
            all_headers["Content-Type"] = "application/octet-stream"
        request = urllib.request.Request(self.url + path, body, all_headers, method=method)
        try:
            return self._opener.open(request, timeout=timeout or self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(self.url, error.code, error.read()) from None
        except urllib.error.URLError as error:
            raise self._unreached(error) from error

    def _unreached(self, error: Exception) -> NoAnswer:
        reason = getattr(error, "reason", error)
        hints = ["check the address, and that the service runs: meshwright serve"]
        return NoAnswer({"code": "no-service", "title": f"{self.url} does not answer: {reason}", "hints": hints})


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _quoted(word: str) -> str:
    return urllib.parse.quote(word, safe="")


def _refusal(url: str, status: int, body: bytes) -> ServiceError:
    try:
        problem = json.loads(body)
        is_ours = isinstance(problem, dict) and "code" in problem
    except ValueError:
        is_ours = False
    if not is_ours:
        return NoAnswer({"title": f"what answers at {url} is no planning service", "status": status})
    return (NoAnswer if status >= 500 else Refused)({**problem, "status": status})


def _judged(status: Dict[str, Any]) -> Dict[str, Any]:
    if status["state"] == "done" or (status["exit_code"] == 0 and "plan" in status["artefacts"]):
        return status
    error = status["error"] or {"code": "no-plan", "message": f"plan {status['id']} is {status['state']}"}
    problem = {**error, "exit_code": status["exit_code"], "plan": status["id"]}
    raise (Infeasible if status["state"] == "infeasible" else Refused)(problem)


def _events(stream: io.BufferedIOBase) -> Iterator[Event]:
    id, kind, data = "", "", ""
    for raw in stream:
        line = raw.decode("utf-8").rstrip("\r\n")
        if not line:
            if kind:
                yield Event(id, kind, json.loads(data or "{}"))
            kind, data = "", ""
            continue
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "id":
            id = value
        elif name == "event":
            kind = value
        elif name == "data":
            data = f"{data}\n{value}" if data else value
