"""Writes clients for Python, TypeScript and Go from the service's OpenAPI document, compiles them and
plans with each.

    python python/service_clients/check.py --meshwright target/release/meshwright

Needs a Java runtime, Go, node with npm, and the Python package openapi-generator-cli. The Go client is
of the standard library alone.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
ARGUMENTS = [str(EXAMPLES / "models/gpt2_small.onnx"), str(EXAMPLES / "clusters/two-rtx3090.yaml")]


def run(words, folder, **environment):
    """Standard output of a program that has to succeed."""
    ended = subprocess.run(words, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{ended.stdout}\n{ended.stderr}")
    return ended.stdout.strip()


def generated(document, language, folder, *properties):
    run([*GENERATOR, "generate", "-i", document, "-g", language, "-o", folder, *properties], folder.parent)


def by_python(document, url, folder):
    generated(document, "python", folder / "client")
    run([sys.executable, "-m", "compileall", "-q", "client"], folder)
    return run([sys.executable, HERE / "ask.py", url, *ARGUMENTS], folder, PYTHONPATH=str(folder / "client"))


def by_typescript(document, url, folder):
    generated(document, "typescript-fetch", folder / "client", "--additional-properties=importFileExtension=.js")
    (folder / "ask.ts").write_text((HERE / "ask.ts").read_text())
    (folder / "package.json").write_text('{"type": "module"}')
    run(["npm", "install", "--silent", "typescript@5", "@types/node"], folder)
    run(["npx", "tsc", "--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck",
         "--outDir", "out", "ask.ts"], folder)
    (folder / "out/package.json").write_text('{"type": "module"}')
    return run(["node", "out/ask.js", url, *ARGUMENTS], folder)


def by_go(document, url, folder):
    generated(document, "go", folder / "client", "--additional-properties=packageName=client,isGoSubmodule=true")
    for name in ("go.mod", "go.sum"):
        (folder / "client" / name).unlink(missing_ok=True)
    for left in ("test",):
        subprocess.run(["rm", "-rf", folder / "client" / left], check=True)
    (folder / "go.mod").write_text("module meshwright\n\ngo 1.19\n")
    (folder / "ask.go").write_text((HERE / "ask.go").read_text())
    run(["go", "build", "-o", "ask", "."], folder, GOFLAGS="-mod=mod", GOPROXY="off")
    return run([folder / "ask", url, *ARGUMENTS], folder)


def served(binary, folder):
    """A service and its address."""
    words = [binary, "serve", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("listening on "):
            return process, line.split()[2].removesuffix("/docs,")
    sys.exit("the service does not start")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--meshwright", default="target/release/meshwright")
    binary = str(pathlib.Path(parser.parse_args().meshwright).resolve())
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        process, url = served(binary, place)
        try:
            document = place / "openapi.json"
            document.write_bytes(urllib.request.urlopen(f"{url}/openapi.json").read())
            run([*GENERATOR, "validate", "-i", document], place)
            answers = {}
            for name, judge in (("python", by_python), ("typescript", by_typescript), ("go", by_go)):
                (place / name).mkdir()
                answers[name] = judge(document, url, place / name)
                print(f"{name}: {answers[name]}", flush=True)
        finally:
            process.terminate()
            process.wait()
    if len(set(answers.values())) != 1 or not answers["go"].startswith("done "):
        sys.exit("the clients do not agree on a plan that is done")


GENERATOR = ["openapi-generator-cli"]

if __name__ == "__main__":
    main()
