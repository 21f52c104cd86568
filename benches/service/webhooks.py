"""A receiver that fails, stalls and forgets: of each plan that ended it is told, signed, at least once."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import signal
import threading
import time

from client import Server, small_model

PLANS = 60


class Receiver(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, key):
        super().__init__(("127.0.0.1", 0), Handler)
        self.key, self.seen, self.wrong, self.is_away, self.lock = key, {}, [], False, threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        own, body = self.server, self.rfile.read(int(self.headers["Content-Length"]))
        name, sent = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        tag = hmac.new(own.key, f"{name}.{sent}.".encode() + body, hashlib.sha256).digest()
        message = json.loads(body)
        with own.lock:
            if self.headers["webhook-signature"] != "v1," + base64.b64encode(tag).decode() or abs(int(sent) - time.time()) > 60:
                own.wrong.append(dict(self.headers))
            tries = own.seen.setdefault(message["data"]["id"], [])
            tries.append((time.monotonic(), name, message["type"], message["data"]["state"]))
            n, is_away = len(tries), own.is_away
        # Every third plan is not taken at first, another one breaks the connection.
        if not is_away and n == 1 and len(own.seen) % 3 == 1:
            self.close_connection = True
            return
        status = 503 if is_away or (n == 1 and len(own.seen) % 3 == 0) else 204
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if status == 204:
            with own.lock:
                tries.append(None)


def taken(receiver):
    with receiver.lock:
        return {plan for plan, tries in receiver.seen.items() if None in tries}


def judge(hold, _args):
    key = os.urandom(32)
    receiver = Receiver(key)
    os.environ["MESHWRIGHT_WEBHOOK_SECRET"] = secret = "whsec_" + base64.b64encode(key).decode()
    try:
        with Server("--workers", "1", "--webhook", f"http://127.0.0.1:{receiver.server_port}/in?a=b") as server:
            client, ids = server.client(), []
            client.post("/v1/models?name=m.json", json.dumps(small_model()).encode())
            for seed in range(PLANS):
                ids.append(client.post("/v1/plans", {"model": "m.json", "deterministic": True, "seed": seed}).json()["id"])
                if seed == PLANS // 2:
                    time.sleep(0.5)
                    server.process.send_signal(signal.SIGKILL)
                    server.process.wait()
                    server.start()
                    client = server.client()
            until = time.monotonic() + 90
            while time.monotonic() < until and not taken(receiver) >= set(ids):
                time.sleep(0.2)
            hold(taken(receiver) == set(ids), f"{PLANS} ends are told over failures and a kill of the server", f"{len(taken(receiver))} taken")
            hold(not receiver.wrong, "all are signed, and now", receiver.wrong[:2] or "")
            told = [one for tries in receiver.seen.values() for one in tries if one]
            hold({one[2:] for one in told} == {("plan.ended", "done")}, "all say how it ended", {one[2:] for one in told})
            hold(all(len({one[1] for one in tries if one}) == 1 for tries in receiver.seen.values()), "a message has one id however often it comes")
            again = [tries[1][0] - tries[0][0] for tries in receiver.seen.values() if len(tries) > 2]
            hold(again and min(again) > 4.5, "what is not taken comes again after 5 s", f"{len(again)} again, after {min(again, default=0):.1f} s at least")
            receiver.is_away = True
            last = client.post("/v1/plans?wait=20", {"model": "m.json", "seed": 10**6}).json()
            time.sleep(2)
            hold(len(receiver.seen.get(last["id"], [])) == 1, "a receiver that is away is not flooded")
            client.ask("DELETE", f"/v1/plans/{last['id']}")
            time.sleep(5)
            hold(len(receiver.seen[last["id"]]) == 1, "of a plan that is deleted nobody is told again")
            hold(secret not in server.said() and secret[6:] not in server.said(), "the secret is in no log")
    finally:
        del os.environ["MESHWRIGHT_WEBHOOK_SECRET"]
        receiver.shutdown()
