"""Judges the planning service through HTTP: `python3 benches/service/run.py basics uploads kills ..`.

Python 3.9 or later; `generated` uses schemathesis where --schemathesis names its program. The
program is target/release/meshwright, or what MESHWRIGHT names. Everything stays on loopback and in
temporary folders.
"""

import argparse
import importlib
import sys
import time

from client import Verdicts

PARTS = ["basics", "uploads", "odd", "tokens", "races", "drain", "jobs", "kills", "full", "generated", "load", "reads", "streams", "webhooks", "pages"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all by default")
    parser.add_argument("--jobs", type=int, default=10000, help="queued jobs of `load`")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=1.0, help="of `reads`")
    parser.add_argument("--clients", type=int, default=1000, help="event streams of `streams`")
    parser.add_argument("--idle", type=int, default=2000, help="idle connections of `streams`")
    parser.add_argument("--requests", type=int, default=20000, help="of `generated`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schemathesis", help="program of schemathesis; without it only the own generator runs")
    parser.add_argument("--hostile", help="folder of hostile files with expected.json")
    args = parser.parse_args()
    verdicts = Verdicts()
    for part in args.parts or PARTS:
        begun = time.monotonic()
        print(f"== {part}", flush=True)
        importlib.import_module(part).judge(verdicts.hold, args)
        print(f"   {time.monotonic() - begun:.1f} s", flush=True)
    print(f"{verdicts.failed} failed" if verdicts.failed else "all hold")
    return verdicts.failed > 0


if __name__ == "__main__":
    sys.exit(main())
