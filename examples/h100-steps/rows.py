"""Rows of a measurement, written to the file of the first argument as they come."""

import json, os, sys, time
import torch

OUT, TINY = sys.argv[1], "--tiny" in sys.argv
START = time.time()
LIMIT = float(os.environ.get("LIMIT", "400"))
DEV = "cuda" if torch.cuda.is_available() else "cpu"
RESULT = {"rows": [], "errors": []}


def write():
    open(OUT, "w").write(json.dumps(RESULT, indent=1))


def save(**row):
    RESULT["rows"].append(row)
    print(json.dumps(row), flush=True)
    write()


def sync():
    if DEV == "cuda":
        torch.cuda.synchronize()


def left():
    return LIMIT - (time.time() - START)
