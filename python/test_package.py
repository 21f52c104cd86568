#!/usr/bin/env python3
"""Build the wheel, install it into an empty environment, and hold it against the command line.

    python test_package.py --meshwright target/release/meshwright [--profile release]

The command line is the judge: each verb has to answer what it prints with `--json` on the same inputs.
The README's lines are run as they stand, the import is timed, a plan of 60 s is interrupted. Plans run on
two processes of torch against one (`check_torch.py`).
Prints one line per check; exits with 1 if any fails.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Callable

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


def run(*command: object, **options: object) -> subprocess.CompletedProcess:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def installed(folder: pathlib.Path, profile: str) -> pathlib.Path:
    """The interpreter of a new environment with nothing but the wheel in it."""
    run(
        sys.executable, "-m", "maturin", "build", "--profile", profile, "--locked", "--out", folder / "wheels",
        "--manifest-path", HERE / "Cargo.toml",
    )  # fmt: skip
    (wheel,) = (folder / "wheels").glob("*.whl")
    assert "-cp39-abi3-" in wheel.name, wheel.name
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    run(sys.executable, "-m", "venv", folder / "empty")
    python = folder / "empty" / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-index", "--no-deps", "--disable-pip-version-check", wheel)
    return python


def readme(python: pathlib.Path) -> str:
    """The five lines run in under 10 s."""
    (lines,) = re.findall(r"```python\n(.*?)```", (HERE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(lines.strip().splitlines()) == 5, lines
    start = time.monotonic()
    said = run(python, "-I", "-c", lines, cwd=ROOT).stdout
    took = time.monotonic() - start
    assert took < 10.0, f"{took:.1f} s"
    assert "True" in said, said
    return f"{took:.1f} s"


def imported(python: pathlib.Path) -> str:
    """`import meshwright` with its compiled part takes under 100 ms, and brings no torch."""
    code = (
        "import sys, time; start = time.perf_counter(); import meshwright; meshwright.plan; "
        "print(time.perf_counter() - start); assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    times = [float(run(python, "-I", "-c", code).stdout) for _ in range(7)]
    assert statistics.median(times) < 0.1, times
    return f"{statistics.median(times) * 1e3:.0f} ms"


def checked(python: pathlib.Path, meshwright: pathlib.Path) -> str:
    """All that runs inside the environment."""
    script = HERE / "check_package.py"
    return run(python, "-I", script, "--meshwright", meshwright, cwd=ROOT).stdout


def torch_runs(python: pathlib.Path) -> str:
    """Plans on two processes with gloo are exact; this interpreter has the torch, that one the package."""
    (site,) = (python.parent.parent / "lib").glob("python3*/site-packages")
    # Beside the scripts lies the source of the package, which is not built.
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    words = ["-m", "torch.distributed.run", "--nproc-per-node", 2, HERE / "check_torch.py"]
    return "\n" + run(sys.executable, *words, cwd=ROOT, env=env).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meshwright", type=pathlib.Path, required=True)
    parser.add_argument("--profile", default="release", help="how the wheel is compiled")
    options = parser.parse_args()
    meshwright = options.meshwright.resolve()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        python = installed(pathlib.Path(folder), options.profile)
        checks: list[tuple[str, Callable[[], str]]] = [
            ("readme", lambda: readme(python)),
            ("import", lambda: imported(python)),
            ("package", lambda: checked(python, meshwright)),
            ("torch", lambda: torch_runs(python)),
        ]
        for name, check in checks:
            try:
                print(f"PASS {name}: {check()}", flush=True)
            except (Exception, SystemExit) as error:  # noqa: BLE001  (a check fails however it fails)
                failed += 1
                print(f"FAIL {name}: {error}")
                if not isinstance(error, SystemExit):
                    traceback.print_exc()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
