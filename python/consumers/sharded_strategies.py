"""Every strategy of every op of a sharding plan, as plans that `sharded_rules.py` judges op by op.

    sharded_strategies.py MESHWRIGHT MODEL.pt2 PLAN.json CLUSTER.yaml OUT

Writes OUT_0.json, OUT_1.json and so on: the n-th has the n-th strategy of each op that `explain --op` lists. Such a
plan moves tensors between any placements, so it is judged op by op and not run.
"""
import copy
import json
import re
import subprocess
import sys


def main():
    program, model, path, cluster, out = sys.argv[1:6]
    plan = json.load(open(path))
    found = {}
    for op in plan["sharding"]["ops"]:
        name = op["op"]
        if ".grad.sum" in name or name.endswith(".stored") or not op.get("inputs"):
            continue
        command = [program, "explain", path, "--op", name, "--model", model, "--cluster", cluster, "--json"]
        answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        found[name] = [[re.split(r",(?![^(]*\))", of) for of in strategy["placements"]] for strategy in answer["strategies"]]
    n = max(map(len, found.values()))
    print(f"{len(found)} ops, {sum(map(len, found.values()))} strategies, {n} plans")
    for at in range(n):
        drawn = copy.deepcopy(plan)
        for op in drawn["sharding"]["ops"]:
            strategies = found.get(op["op"])
            if strategies:
                placements = strategies[at % len(strategies)]
                n_inputs = len(op["inputs"])
                op["inputs"], op["outputs"] = placements[:n_inputs], placements[n_inputs:]
        json.dump(drawn, open(f"{out}_{at}.json", "w"))


main()
