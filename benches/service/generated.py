"""Requests generated from the OpenAPI document: every status is documented, none is 5xx, every answer
conforms to its schema. With --schemathesis also by schemathesis, which shares no code with this."""

import json
import random
import re
import string
import subprocess

from client import Server, small_model

WORDS = ["", "a", "model.json", "sha256:" + "0" * 64, "queued", "done", "../x", "%00", "\u6a21", "\U0001f4a9", "x" * 300, "-1", "0", "1e400", "null",
         "{}", "[]", "' OR 1=1 --", "\r\nX: y", "\0", "plan_0", "dot", "megatron", "torchrun", "m-etf", "auto", "16", "10s"]


class Generator:
    """Values of a schema, mostly fitting, sometimes not."""

    def __init__(self, document, seed):
        self.document, self.random = document, random.Random(seed)

    def resolve(self, schema):
        while "$ref" in schema:
            at = self.document
            for key in schema["$ref"].lstrip("#/").split("/"):
                at = at[key]
            schema = at
        return schema

    def text(self):
        draw = self.random
        if draw.random() < 0.7:
            return draw.choice(WORDS)
        return "".join(draw.choice(string.printable) for _ in range(draw.randrange(20)))

    def value(self, schema, depth=0):
        draw = self.random
        if schema is True or schema == {} or depth > 5 or draw.random() < 0.06:
            return draw.choice([None, True, -1, 0, 1, 2.5, 10**18, 2**64, -1e300, self.text(), [], {}, [1, "a"], {"a": 1}])
        schema = self.resolve(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return draw.choice(schema["enum"])
        for key in ("oneOf", "anyOf"):
            if key in schema:
                return self.value(draw.choice(schema[key]), depth + 1)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = draw.choice(kind)
        if kind == "object":
            own, needed = schema.get("properties", {}), schema.get("required", [])
            made = {name: self.value(sub, depth + 1) for name, sub in own.items()
                    if name in needed and draw.random() > 0.03 or draw.random() < 0.12}
            if draw.random() < 0.05:
                made[self.text()] = self.value({}, 9)
            return made
        if kind == "array":
            return [self.value(schema.get("items", {}), depth + 1) for _ in range(draw.randrange(4))]
        if kind == "integer":
            low, high = schema.get("minimum", -3), schema.get("maximum", 40)
            return draw.choice([low, high, draw.randint(int(low), int(high)), low - 1, high + 1, 2**63])
        if kind == "number":
            return draw.choice([0, 0.5, 1, -1, 1e-300, 1e300, schema.get("maximum", 7)])
        if kind == "boolean":
            return draw.random() < 0.5
        if kind == "null":
            return None
        return self.text()


def conforms(generator, value, schema):
    """Why a value does not fit a schema; empty where it does. The few keywords that the document uses."""
    schema = generator.resolve(schema)
    kinds = schema.get("type")
    if kinds:
        kinds = kinds if isinstance(kinds, list) else [kinds]
        is_of = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool, "null": type(None)}
        if not any(isinstance(value, is_of[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in kinds):
            return f"{str(value)[:60]} is no {kinds}"
    if "anyOf" in schema and all(conforms(generator, value, one) for one in schema["anyOf"]):
        return f"{str(value)[:60]} fits none of anyOf"
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                return f"`{name}` is missing"
        for name, sub in schema.get("properties", {}).items():
            if name in value and isinstance(sub, dict) and (why := conforms(generator, value[name], sub)):
                return f"{name}: {why}"
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for one in value:
            if why := conforms(generator, one, schema["items"]):
                return why
    return ""


def quoted(text, safe=""):
    return "".join(c if c in string.ascii_letters + string.digits + "-_.~" + safe else "".join(f"%{b:02X}" for b in c.encode()) for c in text)


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


class Run:
    def __init__(self, server, seed):
        self.client = server.client(timeout=60)
        self.document = self.client.get("/openapi.json").json()
        self.generator = Generator(self.document, seed)
        self.random, self.wrong, self.broken, self.statuses = random.Random(seed + 1), [], [], {}
        text = json.dumps(small_model(1)).encode()
        digest = self.client.post("/v1/models?name=model.json", text).json()["digest"]
        plan = self.client.post("/v1/plans?wait=30", {"model": "model.json", "deterministic": True}).json()["id"]
        upload = self.client.post("/v1/uploads", {"name": "u.json", "bytes": 100}).json()["id"]
        self.known = {"plan": plan, "digest": digest, "upload": upload, "cursor": "1"}

    def word(self, name, schema, path):
        """A parameter: often of something that exists."""
        draw = self.random.random()
        if draw < 0.6:
            if name == "id":
                return self.known["upload" if "uploads" in path else "plan"]
            if name == "digest":
                return self.known["digest"]
            if name == "target":
                return self.random.choice(["dot", "trace", "html", "megatron", "json"])
            if name == "plan":
                return self.known["plan"]
        value = self.generator.value(schema, 1)
        return value if isinstance(value, str) else json.dumps(value)

    def one(self, method, path, operation):
        asked, query, headers = path, [], {}
        for parameter in operation.get("parameters", []):
            name, place = parameter["name"], parameter["in"]
            if place != "path" and not parameter.get("required") and self.random.random() < 0.6:
                continue
            value = self.word(name, parameter["schema"], path)
            if place == "path":
                asked = asked.replace("{%s}" % name, quoted(value) or "x")
            elif place == "query":
                if name == "wait":
                    value = self.random.choice(["0", "0.1", "0.2", value if float_or(value, 99) < 1 or float_or(value, 0) > 60 else "0"])
                query.append(f"{quoted(name)}={quoted(value)}")
            else:
                headers[name] = re.sub(r"[^\x20-\x7e]", "", value)
        if self.random.random() < 0.03:
            query.append(f"{quoted(self.generator.text())}={quoted(self.generator.text())}")
        body = None
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            made = self.generator.value(content["application/json"]["schema"])
            if isinstance(made, dict):
                if "model" in made and self.random.random() < 0.5:
                    made["model"] = "model.json"
                if "plan" in made and self.random.random() < 0.5:
                    made["plan"] = self.known["plan"]
                if "time_limit" in made:
                    made["time_limit"] = "100ms"
            body = json.dumps(made).encode()
            if self.random.random() < 0.05:
                body = body[:self.random.randrange(len(body) + 1)]
            headers["Content-Type"] = "application/json"
        elif content:
            body = self.random.choice([b"", b"{}", b"\0" * 50, json.dumps(small_model(self.random.randrange(9))).encode(),
                                       self.generator.text().encode()])
        if method == "DELETE" and self.random.random() < 0.7:
            asked = re.sub(r"plan_\w+|sha256:\w+|up_\w+", "none", asked)
        asked += "?" + "&".join(query) if query else ""
        try:
            got = self.client.ask(method, asked, body, headers)
        except ConnectionError as error:
            self.broken.append(f"\n  {error!r}: {method} {asked[:200]}")
            return
        self.look(method, path, operation, got, f"{method} {asked[:300]} {headers} {(body or b'')[:600]!r}")
        if got.status in (200, 201, 202) and method == "POST":
            found = got.json()
            if path == "/v1/models":
                self.known["digest"] = found["digest"]
            if path == "/v1/plans" and self.random.random() < 0.1:
                self.known["plan"] = found["id"]
            if path == "/v1/uploads":
                self.known["upload"] = found["id"]

    def look(self, method, path, operation, got, asked):
        key = f"{got.status}"
        self.statuses[key] = self.statuses.get(key, 0) + 1
        documented = operation["responses"].get(key)
        if got.status >= 500 and got.status != 507 or documented is None:
            self.wrong.append(f"\n  {'undocumented' if documented is None else '5xx'} {got} to {asked}")
            return
        content = self.generator.resolve(documented).get("content", {})
        kind = got.headers.get("content-type", "").split(";")[0]
        if content and kind not in content:
            self.wrong.append(f"\n  {kind}, not {list(content)}: {got} to {asked}")
        elif kind.endswith("json") and content:
            why = conforms(self.generator, got.json(), content[kind]["schema"])
            if why:
                self.wrong.append(f"\n  {why}: {got} to {asked}")
        elif not content and got.body and got.status != 304:
            self.wrong.append(f"\n  a body where none is documented: {got} to {asked}")


def float_or(text, other):
    try:
        return float(text)
    except ValueError:
        return other


def judge(hold, args):
    with Server("--workers", "1", "--job-time", "2s") as server:
        run = Run(server, args.seed)
        every = [one for one in operations(run.document) if "events" not in one[1]]
        for i in range(args.requests):
            run.one(*every[i % len(every)])
        hold(not run.wrong, f"{args.requests} generated requests are answered as documented", "".join(run.wrong[:12]) + f"\n  {run.statuses}" if run.wrong else run.statuses)
        hold(not run.broken, "no connection breaks", "".join(run.broken[:5]) or 0)
        hold("panicked" not in server.said(), "no panic", [line for line in server.said().splitlines() if "panicked" in line][:3])
        hold(server.client().get("/readyz").status == 200, "the server lives")
        if args.schemathesis:
            host, port = server.address
            each = max(1, args.requests // len(every))
            told = subprocess.run(
                [args.schemathesis, "run", f"http://{host}:{port}/openapi.json", "--max-examples", str(each), "--workers", "2",
                 "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance",
                 "--phases", "examples,coverage,fuzzing", "--seed", str(args.seed), "--exclude-path-regex", "events", "--continue-on-failure",
                 "--request-timeout", "70", "--no-color"], capture_output=True, text=True, timeout=3600, cwd=server.folder)
            hold(told.returncode == 0, "schemathesis finds nothing", told.stdout[-6000:] if told.returncode else told.stdout[-700:])
