"""Kills the service at each of its writes and syncs, and looks for what it had acknowledged.

    python benches/service/kill_at_writes.py --meshwright target/release/meshwright [--every 3]

Needs strace, which injects a SIGKILL into the Nth system call of a kind. After each kill the service
is started again on the same database: every upload that was answered must be there, every plan must
end with a whole answer after at most three starts.
"""

import argparse
import http.client
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
MODEL = (EXAMPLES / "models" / "gpt2_small.onnx").read_bytes()
CLUSTER = (EXAMPLES / "clusters" / "two-rtx3090.yaml").read_bytes()
REQUEST = {"model": "m.onnx", "cluster": "c.yaml", "algorithm": "m-etf", "deterministic": True}
UNREACHED = (OSError, http.client.HTTPException, ValueError)


def call(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or b"null")


def start(binary, folder, kill_at=None):
    """The process and its port; no port where it ended before it listened."""
    words = [binary, "serve", "--listen", "127.0.0.1:0"]
    if kill_at:
        system_call, n = kill_at
        inject = f"inject={system_call}:signal=KILL:when={n}"
        words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={system_call}", "-e", inject, *words]
    process = subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("listening on "):
            return process, int(line.split("//")[1].split("/")[0].rsplit(":", 1)[1])
    return process, None


def asked(port, acknowledged):
    """Uploads and plans; whatever is answered goes into `acknowledged`."""
    for kind, name, content in (("models", "m.onnx", MODEL), ("clusters", "c.yaml", CLUSTER)):
        status, document = call(port, "POST", f"/v1/{kind}?name={name}", content)
        if status in (200, 201):
            acknowledged.append(f"/v1/{kind}/{document['digest']}")
    for seed in range(3):
        status, document = call(port, "POST", "/v1/plans", json.dumps({**REQUEST, "seed": seed}))
        if status in (200, 202):
            acknowledged.append(f"/v1/plans/{document['id']}")
    for path in acknowledged[2:]:
        call(port, "GET", f"{path}?wait=20")


def lost(port, path):
    """What is wrong with something that was acknowledged, or None."""
    if not path.startswith("/v1/plans/"):
        status, _ = call(port, "GET", path)
        return None if status == 200 else f"status {status}"
    status, document = call(port, "GET", f"{path}?wait=50")
    if status != 200 or document["state"] != "done" or document["attempts"] > 3:
        return f"status {status}: {document}"
    status, answer = call(port, "GET", f"{path}/answer")
    return None if status == 200 and answer["report"]["step_time_ns"] > 0 else "its answer is torn"


def trial(binary, system_call, n):
    """Whether the kill came, and what was lost."""
    folder, acknowledged, is_killed = tempfile.mkdtemp(), [], False
    process, port = start(binary, folder, (system_call, n))
    try:
        asked(port, acknowledged)
    except UNREACHED:
        is_killed = True
    subprocess.run(["pkill", "-9", "-P", str(process.pid)], check=False)
    process.kill()
    process.wait()
    again, port = start(binary, folder)
    faults = ["it does not start again"] if port is None else []
    for path in acknowledged if port else []:
        fault = lost(port, path)
        faults += [f"{path}: {fault}"] if fault else []
    again.terminate()
    again.wait()
    shutil.rmtree(folder, ignore_errors=True)
    return is_killed, faults


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--meshwright", default="target/release/meshwright", type=lambda own: str(pathlib.Path(own).resolve()))
    parser.add_argument("--every", default=3, type=int, help="of the writes, every Nth is a trial")
    args = parser.parse_args()
    faults = []
    for system_call, step in (("fsync", 1), ("pwrite64", args.every)):
        n_kills, n = 0, 1
        while True:
            is_killed, found = trial(args.meshwright, system_call, n)
            faults += [f"{system_call} {n}: {fault}" for fault in found]
            if not is_killed:
                break
            n_kills, n = n_kills + 1, n + step
        print(f"{system_call}: killed at {n_kills} calls, every {step}: {len(faults)} faults")
    print("\n".join(faults))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
