"""Who may do what, and what the logs hold."""

import json

from client import Server, small_model, wide_model

HEALTH = {"/livez", "/readyz"}


def routes(document):
    for path, item in document["paths"].items():
        for method in item:
            yield method.upper(), path.replace("{id}", "x").replace("{digest}", "x").replace("{target}", "dot")


def judge(hold, _args):
    with Server() as server:
        document = server.client().get("/openapi.json").json()
        read, plan, admin = (server.token(scope, scope) for scope in ("read", "plan", "admin"))
        other = server.token("other", "plan")
        anonymous = server.client()
        wrong = []
        for method, path in routes(document):
            for token in (None, "", "x", "mw_" + "0" * 64, read[:-1], read + "0", read.upper()):
                headers = {} if token is None else {"Authorization": "Bearer " + token}
                got = anonymous.ask(method, path, b"{}" if method in ("POST", "PATCH") else None, headers)
                if (got.status == 401) == (path in HEALTH):
                    wrong.append(f"\n  {method} {path} with {token!r}: {got}")
        hold(not wrong, "every route but those of health refuses who has no token", "".join(wrong[:10]))
        for form in (f"bearer {read}", f"Basic {read}", f"Bearer{read}", f"Bearer  {read}", f"Token {read}"):
            got = anonymous.get("/v1/plans", Authorization=form)
            hold(got.status in (200, 401), f"`{form[:7]}..` is read or refused", got.status)
        got = anonymous.get(f"/v1/plans?token={read}")
        hold(got.status == 401, "a token in the query is none", got.status)
        reader, planner, chief, third = (server.client(token) for token in (read, plan, admin, other))
        text = json.dumps(small_model(31)).encode()
        hold(reader.post("/v1/models?name=a.json", text).status == 403, "read uploads nothing")
        hold(reader.post("/v1/plans", {"model": "a.json"}).status == 403, "read plans nothing")
        hold(reader.get("/v1/plans").status == 200 and reader.get("/metrics").status == 200, "read reads")
        hold(planner.post("/v1/models?name=a.json", text).status == 201, "plan uploads")
        done = planner.post("/v1/plans?wait=30", {"model": "a.json", "deterministic": True}).json()
        hold(done["state"] == "done", "plan plans", done["state"])
        place = f"/v1/plans/{done['id']}"
        for client, what in ((reader, "read"), (third, "another owner")):
            for method, path in (("POST", place + "/cancel"), ("DELETE", place), ("DELETE", place + "?cancel=1")):
                got = client.ask(method, path)
                hold(got.status == 403, f"{what}: {method} {path[len(place):] or '/ID'} is refused", got.status)
        # One that waits, and is not theirs, is not cancelled either.
        digest = planner.post("/v1/models?name=long.json", json.dumps(wide_model(120)).encode()).json()["digest"]
        long = planner.post("/v1/plans", {"model": "long.json", "time_limit": "60s"})
        if long.status == 202:
            here = f"/v1/plans/{long.json()['id']}"
            third.ask("DELETE", here + "?cancel=1")
            third.ask("POST", here + "/cancel")
            hold(not planner.get(here).json()["cancel"], "others can not cancel it")
            hold(chief.ask("DELETE", f"/v1/models/{digest}").status == 409, "a model that a plan needs stays")
            planner.post(here + "/cancel")
            planner.get(here + "?wait=20")
        digest = done["files"]["a.json"]
        hold(third.ask("DELETE", f"/v1/models/{digest}").status == 403, "another owner's model stays")
        begun = planner.post("/v1/uploads", {"name": "u", "bytes": 10, "kind": "cluster"}).headers["location"]
        hold(third.get(begun).status == 404 and third.ask("DELETE", begun).status == 404, "another owner's upload is not seen")
        hold(planner.ask("DELETE", place).status == 204, "its owner deletes a plan")
        hold(chief.ask("DELETE", f"/v1/models/{digest}").status == 204, "admin deletes what others made")
        said = server.said()
        hold(not any(token in said or token[3:] in said for token in (read, plan, admin, other)), "no token is in the log")
        held = open(f"{server.folder}/{server.database}", "rb").read() + open(f"{server.folder}/{server.database}-wal", "rb").read()
        hold(not any(token.encode() in held for token in (read, plan, admin, other)), "nor in the database")
        few = server.client(server.token("few", "plan", "--most-jobs", "2", "--most-bytes", "4KiB"))
        got = few.post("/v1/clusters?name=big", b"x" * 5000)
        hold(got.status in (413, 429), "a token's bytes are limited", got)
        few.post("/v1/models?name=few.json", json.dumps(small_model(32)).encode())
        told = [few.post("/v1/plans", {"model": "few.json", "seed": i, "time_limit": "5s"}).status for i in range(20)]
        hold(429 in told and set(told) <= {202, 200, 429}, "so are its jobs at once", sorted(set(told)))
