#!/usr/bin/env python3
"""Counts the files that a question passes through: road.py [ROOT].

A road begins with a function and follows calls: `name(..)` and `path::name(..)` as `use` resolves them, and
`.name(..)` where one type of ours has such a method; `K::name(..)` is that of the question's kind of plan.
Where a question is of one kind, how others answer it is left out; what is borrowed of their rooms is not. What
only types resolve is not followed.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

CRATES = ["ir", "documents", "importers", "profiler", "cost_model", "planner", "exporters", "engine"]
OTHERS = {"placement", "ops", "given", "experts", "cached", "slots", "streams", "groups", "nano_batches",
          "inference", "served", "gradients", "buckets"}
QUESTIONS = [
    ("`verify` of a training plan", "verify", "Training"),
    ("`export`", "export", None),
    ("config to training plan", "plan", "Training"),
]
STRINGS = re.compile(r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|\'(?:\\.[^\']*|[^\\\'])\'', re.S)
FN = re.compile(r"\bfn\s+(\w+)")
IMPL = re.compile(r"\b(?:impl|trait)\b[^{;]*")
CALL = re.compile(r"(?<![\w.])((?:\w+::)*(?:<[^<>()]*>::)?\w+)(?:::<[^()]*?>)?\s*\(")
METHOD = re.compile(r"\.(\w+)(?:::<[^()]*?>)?\s*\(")
NAMED = re.compile(r"(?<![\w.:])((?:\w+::)+[a-z_]\w*)(?!\w|::|\s*\()")


def close(text, at):
    """Where the brace at `at` ends."""
    depth = 0
    for end in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return end
    return len(text)


def uses(tree, before=()):
    """(name, path) of a `use` tree."""
    tree, parts, depth, start = tree.strip(), [], 0, 0
    for at, letter in enumerate(tree + ","):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append(tree[start:at].strip())
            start = at + 1
    for part in filter(None, parts):
        if part.endswith("}"):
            head, inner = part.split("{", 1)
            yield from uses(inner[:-1], before + tuple(filter(None, head.strip().split("::"))))
        else:
            path, _, name = part.partition(" as ")
            path = before + tuple(path.strip().split("::"))
            path = path[:-1] if path[-1] == "self" else path
            yield (name.strip() or path[-1]), path


class House:
    def __init__(self, root):
        self.modules, self.files, self.methods = {}, {}, defaultdict(set)
        for crate in CRATES:
            for path in sorted((root / crate / "src").rglob("*.rs")):
                parts = path.relative_to(root / crate / "src").with_suffix("").parts
                if not any(re.search(r"(^|_)(tests|laws)$", part) for part in parts):
                    module = (crate,) + tuple(own for own in parts if own not in ("mod", "lib"))
                    self.modules[module] = path.relative_to(root)
                    self.read(module, path.read_text())

    def read(self, module, text):
        text = STRINGS.sub(lambda own: " " if own[0].startswith("/") else '""', text)
        text = re.sub(r"#\[cfg\(test\)\]\s*mod \w+ \{.*", "", text, flags=re.S)
        own = {"uses": dict(pair for tree in re.findall(r"\buse ([^;]+);", text) for pair in uses(tree)),
               "fns": defaultdict(str)}
        types = []
        for impl in IMPL.finditer(text):
            if text[impl.end():impl.end() + 1] == "{" and (name := self.type_of(impl[0])):
                types.append((impl.end(), close(text, impl.end()), name))
        for fn in FN.finditer(text):
            brace = re.compile(r"[{;]").search(text, fn.end())
            if not brace or brace[0] == ";":
                continue
            name = next((own for start, end, own in types if start < fn.start() < end), None)
            own["fns"][(name, fn[1])] += text[fn.end():close(text, brace.start())]
            if name:
                self.methods[fn[1]].add((module, name))
        for macro in re.finditer(r"macro_rules! (\w+) \{", text):
            own["fns"][(None, macro[1])] += text[macro.end():close(text, macro.end() - 1)]
        self.files[module] = own

    @staticmethod
    def type_of(head):
        head = re.sub(r"<[^<>]*>", "", re.sub(r"<[^<>]*>", "", head)).split(" where ")[0]
        names = re.findall(r"[A-Z]\w*", head.split(" for ")[-1])
        return names[0] if names else None

    def find(self, module, path):
        """Functions that a path names."""
        if path[0] == "K":
            return [(own, name, path[-1]) for own, name in self.methods[path[-1]]
                    if "kinds" in own and self.kind in (None, name)]
        rest, at, seen = list(path), module, 0
        while seen < 8:
            seen += 1
            first = rest[0]
            if first in ("crate", "self", "super"):
                at = {"crate": module[:1], "self": at, "super": at[:-1]}[first]
                rest = rest[1:]
            elif at == module and first in CRATES and len(rest) > 1:
                at, rest = (first,), rest[1:]
            elif at + (first,) in self.files and len(rest) > 1:
                at, rest = at + (first,), rest[1:]
            elif first in self.files.get(at, {"uses": {}})["uses"]:
                rest = list(self.files[at]["uses"][first]) + rest[1:]
                module = at
            else:
                break
            if not rest:
                return []
        if len(rest) == 1:
            return [(at, None, rest[0])] if (None, rest[0]) in self.files.get(at, {"fns": {}})["fns"] else []
        return [(own, name, rest[1]) for own, name in self.methods[rest[1]]
                if name == rest[0] and own[0] == at[0]]

    def calls(self, module, name, fn):
        body = self.files[module]["fns"][(name, fn)]
        for call in list(CALL.findall(body)) + list(NAMED.findall(body)) + re.findall(r"(?<![\w.])(\w+)!", body):
            path = [name if own == "Self" and name else own for own in call.split("::")]
            yield from self.find(module, path)
        for method in METHOD.findall(body):
            if len({own for own in self.methods[method]}) == 1:
                (own,) = self.methods[method]
                yield own + (method,)

    def road(self, verb, kind):
        self.kind = kind
        starts = [(own, None, verb) for own in (("engine", "verbs"), ("engine", "plan"))
                  if (None, verb) in self.files[own]["fns"]]
        found, open_ = set(starts), list(starts)
        while open_:
            for step in self.calls(*open_.pop()):
                folder = step[0][1:] if step[0][0] == "engine" else ()
                if step not in found and not (kind and step[2] in (verb, "run") and OTHERS & set(folder)):
                    found.add(step)
                    open_.append(step)
        return {own[0] for own in found}


def main():
    house = House(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent))
    for name, verb, kind in QUESTIONS:
        road = house.road(verb, kind)
        of_engine = sum(own[0] == "engine" for own in road)
        print(f"{name}: {len(road)} files, {of_engine} of engine")
        if "-v" in sys.argv:
            print("\n".join(sorted(str(house.modules[own]) for own in road)))


main()
