"""One POST is one trace, from HTTP down to the postmaster."""

import http.server
import json
import secrets
import threading
import unittest

from platform_fixture import Platform, wait_for

PASSWORD = "canary-" + secrets.token_hex(8)


class Collector:
    """An OTLP/HTTP collector that keeps what it gets as JSON."""

    def __init__(self):
        self.spans = []
        self.texts = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                text = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")
                collector.take(text.decode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def take(self, text):
        self.texts.append(text)
        for resource in json.loads(text)["resourceSpans"]:
            attributes = {a["key"]: a["value"].get("stringValue")
                          for a in resource["resource"]["attributes"]}
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    self.spans.append({**span, "service": attributes["service.name"]})

    def of_trace(self, trace_id):
        return [span for span in list(self.spans) if span["traceId"] == trace_id]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Trace(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.collector = Collector()
        cls.addClassCleanup(cls.collector.close)
        cls.platform = Platform(env={"OTEL_EXPORTER_OTLP_ENDPOINT": cls.collector.endpoint,
                                     "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})
        cls.addClassCleanup(cls.platform.tear_down)
        cls.platform.start()
        _, versions, _ = cls.platform.api("GET", "/v1/postgres/versions")
        cls.version = "/v1/types/postgres/versions/" + versions["versions"][0]["uuid"]

    def order(self, trace_id, caller_span):
        status, instance, _ = self.platform.api(
            "POST", "/v1/postgres/instances",
            {"name": "traced", "cpu": 1, "ram": 512, "disk_size": 8, "nodes_number": 1,
             "version": self.version},
            headers={"traceparent": f"00-{trace_id}-{caller_span}-01"})
        self.assertEqual(status, 201, instance)
        return f"/v1/postgres/instances/{instance['uuid']}"

    def active(self, path):
        return self.platform.api("GET", path)[1].get("status") == "ACTIVE"

    def test_a_post_is_one_trace_down_to_the_postmaster(self):
        trace_id, caller_span = secrets.token_hex(16), secrets.token_hex(8)
        path = self.order(trace_id, caller_span)
        wait_for(lambda: self.active(path), 60, "ACTIVE")
        wait_for(lambda: any(s["name"] == "postmaster started"
                             for s in self.collector.of_trace(trace_id)), 15,
                 "a span that says that the postmaster started")
        # Spans come in batches of their process: the last one to come may be anybody's.
        wait_for(lambda: self.is_one_tree(trace_id, caller_span), 15, "a trace without a gap")
        spans = self.collector.of_trace(trace_id)
        roots = [s for s in spans if s["parentSpanId"] == caller_span]
        self.assertEqual([(s["service"], s["name"]) for s in roots],
                         [("api-gateway", "POST /v1/postgres/instances")])
        services = {s["service"] for s in spans}
        self.assertIn("provisioner", services)
        self.assertTrue(any(s.startswith("agent") for s in services), services)

    def is_one_tree(self, trace_id, caller_span):
        spans = self.collector.of_trace(trace_id)
        known = {s["spanId"] for s in spans} | {caller_span}
        return bool(spans) and all(s.get("parentSpanId", "") in known for s in spans)

    def test_no_password_is_in_a_trace(self):
        path = self.order(secrets.token_hex(16), secrets.token_hex(8))
        wait_for(lambda: self.active(path), 60, "ACTIVE")
        trace_id = secrets.token_hex(16)
        status, user, _ = self.platform.api(
            "POST", f"{path}/users", {"name": "app", "password": PASSWORD},
            headers={"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"})
        self.assertEqual(status, 201, user)
        wait_for(lambda: self.active(f"{path}/users/{user['uuid']}"), 30, "the user is ACTIVE")
        wait_for(lambda: any(s["name"] == "apply objects"
                             for s in self.collector.of_trace(trace_id)), 15,
                 "a span of the host's work on the user")
        everything = "".join(self.collector.texts)
        self.assertNotIn(PASSWORD, everything)
        self.assertNotIn("SCRAM-SHA-256$", everything)


if __name__ == "__main__":
    unittest.main()
