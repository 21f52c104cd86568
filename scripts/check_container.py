#!/usr/bin/env python3
"""Checks Containerfile and compose.yaml as far as that goes without a container daemon.

    python3 scripts/check_container.py --meshwright target/release/meshwright
    python3 scripts/check_container.py --meshwright target/release/meshwright --build pages

The build context, without what .dockerignore excludes, is copied to a clean folder. Each COPY must find its
source there or in an earlier stage, each command its script, package or feature, and the program must take
the words of ENTRYPOINT, CMD, HEALTHCHECK and compose.yaml. Ports, user, volume and the major version of
PostgreSQL must agree. `--build pages` also builds the web UI in the clean folder, `--build all` the program
with it, and asks it for its pages. Standard library only; git and cargo are used where they are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import tomllib
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Programs of the base images that RUN steps start.
PROGRAMS = {"apt-get", "cargo", "npm", "rm", "strip", "useradd"}
# Where `vite build` writes.
PAGES = "web/ui/dist"

problems: list[str] = []


def hold(is_so: object, problem: str) -> None:
    if not is_so:
        problems.append(problem)


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and words of each instruction; lines that are continued are joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.strip().partition(" ") for line in joined.splitlines()) if name]


def excluded(path: str, patterns: list[str]) -> bool:
    """Whether a file, or a folder that it lies in, matches a pattern of .dockerignore."""
    def matches(own: str, pattern: str) -> bool:
        regex = re.escape(pattern.strip("/")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        return re.fullmatch(regex, own) is not None
    parts = path.split("/")
    folders = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    verdict = False
    for pattern in patterns:
        is_again = pattern.startswith("!")
        if any(matches(own, pattern.lstrip("!")) for own in folders):
            verdict = not is_again
    return verdict


def context(folder: pathlib.Path) -> None:
    """Copies what a clean clone sends to the build."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, check=True).stdout.decode().split("\0")
    name = next((own for own in (".containerignore", ".dockerignore") if (ROOT / own).exists()), None)
    patterns = (ROOT / name).read_text().splitlines() if name else []
    patterns = [own.strip() for own in patterns if own.strip() and not own.startswith("#")]
    for path in filter(None, listed):
        if (ROOT / path).is_file() and not excluded(path, patterns):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
    hold(not (folder / "target").exists(), ".dockerignore lets /target into the build")
    hold(not list(folder.glob("**/node_modules")), ".dockerignore lets node_modules into the build")


def version(text: str) -> tuple[int, ...]:
    return tuple(int(own) for own in text.split("."))


class Stage:
    """What is known of the file system of a stage."""

    def __init__(self, image: str):
        self.image, self.at, self.files, self.user, self.volumes = image, "/", set(), "root", []

    def absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(self.at, path))

    def has(self, path: str) -> bool:
        return any(own == path or own.startswith(path + "/") for own in self.files)


def copied(stage: Stage, stages: dict[str, Stage], rest: str, clean: pathlib.Path) -> None:
    words = rest.split()
    origin = next((own.removeprefix("--from=") for own in words if own.startswith("--from=")), None)
    *sources, target = [own for own in words if not own.startswith("--")]
    for source in sources:
        if origin is not None:
            hold(origin in stages, f"COPY {rest}: there is no stage `{origin}` before it")
            path = os.path.normpath(source)
            hold(origin in stages and stages[origin].has(path), f"COPY {rest}: stage `{origin}` has no `{path}`")
            found = [path]
        else:
            found = sorted(str(own.relative_to(clean / source)) for own in (clean / source).rglob("*")
                           if own.is_file()) if (clean / source).is_dir() else [pathlib.Path(source).name]
            hold((clean / source).exists() and found, f"COPY {rest}: `{source}` is not in the build context")
        into = stage.absolute(target)
        is_folder = target.endswith("/") or origin is None and (clean / source).is_dir() or len(sources) > 1
        for own in found:
            stage.files.add(into if origin is not None or not is_folder else os.path.normpath(f"{into}/{own}"))


def ran(stage: Stage, rest: str, clean: pathlib.Path) -> None:
    for command in rest.split("&&"):
        words = shlex.split(command)
        hold(words[0] in PROGRAMS, f"RUN {command.strip()}: `{words[0]}` is no program of the image")
        if words[0] == "npm":
            hold("node:" in stage.image, f"RUN {command.strip()}: {stage.image} has no npm")
            hold(stage.has(f"{stage.at}/package.json"), "npm: package.json was not copied")
            hold(stage.has(f"{stage.at}/package-lock.json"), "npm: package-lock.json was not copied")
        if words[:2] == ["npm", "run"]:
            scripts = json.loads((clean / "web/ui/package.json").read_text())["scripts"]
            hold(words[2] in scripts, f"npm run {words[2]}: package.json has no such script")
            for source in (clean / "web/ui/src").rglob("*.ts*"):
                for path in re.findall(r'from "(\.\./[^"?]*)\?', source.read_text()):
                    path = os.path.normpath(f"{stage.at}/{source.parent.relative_to(clean / 'web/ui')}/{path}")
                    hold(stage.has(path), f"{source.name} reads `{path}`, which was not copied")
            stage.files.add(os.path.normpath(f"/source/{PAGES}"))
        if words[0] == "cargo":
            hold("rust:" in stage.image, f"RUN {command.strip()}: {stage.image} has no cargo")
            manifest = tomllib.loads((clean / "Cargo.toml").read_text())
            options = dict(zip(words, words[1:]))
            hold(options.get("--package") == manifest["package"]["name"], "cargo: --package names another package")
            features = manifest.get("features", {})
            hold(options.get("--features", "postgres") in features, "cargo: there is no such feature")
            hold("--locked" in words and stage.has(f"{stage.at}/Cargo.lock"), "cargo: Cargo.lock was not copied")
            hold(stage.has(f"{stage.at}/{PAGES}"), "cargo: the pages were not copied, and the image has no web UI")
            stage.files.add(f"{stage.at}/target/release/{manifest['package']['name']}")
        if words[0] == "strip":
            hold(stage.has(stage.absolute(words[1])), f"strip: no `{words[1]}` was built")
        if words[0] == "useradd":
            stage.user = dict(zip(words, words[1:]))["--uid"]


def images(stage: Stage, clean: pathlib.Path) -> None:
    name, _, tag = stage.image.rpartition(":")
    hold(name and tag not in ("", "latest"), f"FROM {stage.image}: name a version")
    major = version(re.match(r"[\d.]+", tag)[0]) if re.match(r"\d", tag) else ()
    if name.endswith("/rust"):
        manifest = tomllib.loads((clean / "Cargo.toml").read_text())
        wanted = manifest["workspace"]["package"]["rust-version"]
        hold(major >= version(wanted), f"FROM {stage.image}: Cargo.toml wants Rust {wanted}")
    if name.endswith("/node"):
        packages = json.loads((clean / "web/ui/package-lock.json").read_text())["packages"]
        engines = packages["node_modules/vite"]["engines"]["node"]
        majors = [int(own) for own in re.findall(r"(\d+)\.\d+\.\d+", engines)]
        hold(major and major[0] in majors or major[0] > max(majors), f"FROM {stage.image}: vite wants {engines}")


def takes(program: str, words: list[str], where: str) -> None:
    """Whether the program takes words, without doing what they say."""
    done = subprocess.run([program, *words, "--help"], capture_output=True, text=True)
    hold(done.returncode == 0, f"{where}: {' '.join(words)}: {done.stderr.strip()}")


def listen_port(words: list[str]) -> str:
    return dict(zip(words, words[1:])).get("--listen", ":").rpartition(":")[2]


def compose(program: str, port: str) -> None:
    text = (ROOT / "compose.yaml").read_text()
    for flow in re.findall(r"^\s*command: \[(.*)\]$", text, re.MULTILINE):
        words = [own.strip().strip('"') for own in flow.split(",")]
        takes(program, words, "compose.yaml")
        hold(listen_port(words) in ("", port), f"compose.yaml: {flow} listens on another port")
    for ports in re.findall(r"^\s*ports: \[(.*)\]$", text, re.MULTILINE):
        hold(ports.strip('"').rpartition(":")[2] == port, f"compose.yaml: {ports} is another port")
    major = re.search(r"image: docker.io/library/postgres:(\d+)", text)
    for name in ("docs/service.md", "docs/operate.md"):
        told = set(re.findall(r"PostgreSQL (\d+)", (ROOT / name).read_text()))
        hold(major and told <= {major[1]}, f"{name}: PostgreSQL {told}, compose.yaml has another")
    script = (ROOT / "scripts/with_postgres.sh").read_text()
    hold(major and f"major={major[1]}\n" in script, "with_postgres.sh: another PostgreSQL than compose.yaml")


def built(clean: pathlib.Path, program: bool) -> None:
    """Runs the steps that need no packages of the system."""
    ui = clean / "web/ui"
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=ui, check=True)
    subprocess.run(["npm", "run", "--silent", "build"], cwd=ui, check=True)
    hold((clean / PAGES / "index.html").is_file(), f"npm run build wrote no {PAGES}/index.html")
    if not program:
        return
    cargo = shlex.split(os.environ.get("CARGO", "cargo"))
    build = ["build", "--release", "--locked", "--package", "meshwright", "--features", "postgres"]
    subprocess.run([*cargo, *build], cwd=clean, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", clean / "target"))
    serve = ["serve", "--listen", "127.0.0.1:0", "--database", str(clean / "check.db")]
    with subprocess.Popen([target / "release/meshwright", *serve], stderr=subprocess.PIPE, text=True) as server:
        try:
            said = next(line for line in server.stderr if "listening on " in line)
            address = re.search(r"http://[^/]+/", said)[0]
            page = urllib.request.urlopen(address, timeout=30).read().decode()
            hold("<script" in page, f"{address} answers without the pages: {page[:200]}")
        finally:
            server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--meshwright", required=True, help="the program, as built from this source")
    parser.add_argument("--build", choices=["pages", "all"], help="also build in the clean folder")
    given = parser.parse_args()
    program = str(pathlib.Path(given.meshwright).resolve())
    with tempfile.TemporaryDirectory() as folder:
        clean = pathlib.Path(folder)
        context(clean)
        stages: dict[str, Stage] = {}
        stage, words, exposed = Stage(""), {}, []
        for name, rest in instructions((ROOT / "Containerfile").read_text()):
            if name == "FROM":
                image, _, alias = rest.partition(" AS ")
                stage = stages[alias or "final"] = Stage(image)
                images(stage, clean)
            elif name == "COPY":
                copied(stage, stages, rest, clean)
            elif name == "RUN":
                ran(stage, rest, clean)
            elif name == "WORKDIR":
                stage.at = stage.absolute(rest)
            elif name == "USER":
                hold(rest == stage.user, f"USER {rest}: useradd made {stage.user}")
            elif name == "EXPOSE":
                exposed = rest.split()
            elif name == "VOLUME":
                stage.volumes.append(rest)
            elif name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
                words[name] = json.loads(rest[rest.index("["):])
            else:
                problems.append(f"{name}: this check does not know the instruction")
        last = list(stages.values())[-1]
        entry, command, health = words["ENTRYPOINT"], words["CMD"], words["HEALTHCHECK"]
        for own in (entry, health):
            hold(last.has(f"/usr/local/bin/{own[0]}"), f"{own[0]} is not in /usr/local/bin of the image")
        takes(program, [*entry[1:], *command], "CMD")
        takes(program, health[1:], "HEALTHCHECK")
        port = listen_port(command)
        hold(exposed == [port], f"EXPOSE {exposed}: CMD listens on {port}")
        hold(any(own.endswith(f":{port}") for own in health), f"HEALTHCHECK does not ask port {port}")
        database = dict(zip(command, command[1:]))["--database"]
        hold(any(database.startswith(f"{own}/") for own in last.volumes), f"{database} is on no VOLUME")
        compose(program, port)
        if shutil.which("cargo"):
            # Every member of the workspace and every target that is named has its file.
            done = subprocess.run(["cargo", "metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"],
                                  cwd=clean, capture_output=True, text=True)
            hold(done.returncode == 0, f"cargo metadata in the build context: {done.stderr.strip()}")
        if given.build:
            built(clean, given.build == "all")
    for problem in problems:
        print(problem)
    if problems:
        raise SystemExit(1)
    print(f"Containerfile: {len(stages)} stages, compose.yaml: as the program takes them")


if __name__ == "__main__":
    main()
