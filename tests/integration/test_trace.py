"""One POST is one trace, from HTTP down to the postmaster; a switchover is one of its own; and a
collector that hangs is nobody's trouble."""

import contextlib
import http.server
import json
import os
import secrets
import signal
import socket
import threading
import unittest

from platform_fixture import Platform, alive, wait_for

PASSWORD = "canary-" + secrets.token_hex(8)


INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(1, 6)  # SpanKind of OTLP


def value_of(any_value):
    return next(iter(any_value.values()), None)


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
                    self.spans.append({
                        **span, "service": attributes["service.name"], "resource": attributes,
                        "attributes": {a["key"]: value_of(a["value"])
                                       for a in span.get("attributes", [])}})

    def of_trace(self, trace_id):
        return [span for span in list(self.spans) if span["traceId"] == trace_id]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class HangingCollector:
    """Accepts every connection and never says a word."""

    def __init__(self):
        self.taken = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                self.taken.append(self.listener.accept()[0])

    def close(self):
        self.listener.close()
        for connection in self.taken:
            connection.close()


def order(platform, name, nodes_number=1, headers=None):
    _, versions, _ = platform.api("GET", "/v1/postgres/versions")
    status, instance, _ = platform.api(
        "POST", "/v1/postgres/instances",
        {"name": name, "cpu": 1, "ram": 512, "disk_size": 8, "nodes_number": nodes_number,
         "version": "/v1/types/postgres/versions/" + versions["versions"][0]["uuid"]},
        headers=headers)
    assert status == 201, instance
    return f"/v1/postgres/instances/{instance['uuid']}"


def await_active(platform, path):
    wait_for(lambda: platform.api("GET", path)[1].get("status") == "ACTIVE", 60, "ACTIVE")


class Trace(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.collector = Collector()
        cls.addClassCleanup(cls.collector.close)
        cls.platform = Platform(env={"OTEL_EXPORTER_OTLP_ENDPOINT": cls.collector.endpoint,
                                     "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})
        cls.addClassCleanup(cls.platform.tear_down)
        cls.platform.start()

    def order(self, trace_id, caller_span, **more):
        return order(self.platform, "traced",
                     headers={"traceparent": f"00-{trace_id}-{caller_span}-01"}, **more)

    def test_a_post_is_one_trace_down_to_the_postmaster(self):
        trace_id, caller_span = secrets.token_hex(16), secrets.token_hex(8)
        path = self.order(trace_id, caller_span)
        await_active(self.platform, path)
        wait_for(lambda: any(s["name"] == "postmaster started"
                             for s in self.collector.of_trace(trace_id)), 15,
                 "a span that says that the postmaster started")
        # Spans come in batches of their process: the last one to come may be anybody's.
        wait_for(lambda: self.is_one_tree(trace_id, caller_span), 15, "a trace without a gap")
        spans = self.collector.of_trace(trace_id)
        roots = [s for s in spans if s["parentSpanId"] == caller_span]
        self.assertEqual([(s["service"], s["name"]) for s in roots],
                         [("api-gateway", "POST /v1/postgres/instances")])
        self.check_way_of_the_command(spans, roots[0])
        self.check_attributes(spans, path)

    def is_one_tree(self, trace_id, caller_span):
        spans = self.collector.of_trace(trace_id)
        known = {s["spanId"] for s in spans} | {caller_span}
        return bool(spans) and all(s.get("parentSpanId", "") in known for s in spans)

    def check_way_of_the_command(self, spans, root):
        """Gateway, bus, service, log, one below the other."""
        at = root
        for service, name, kind in [
                ("api-gateway", "publish tl.cmd.provisioner", PRODUCER),
                ("provisioner", "process tl.cmd.provisioner", CONSUMER),
                ("provisioner", "decide create_instance", INTERNAL),
                ("provisioner", "log.append", CLIENT)]:
            below = [s for s in spans if s["parentSpanId"] == at["spanId"] and s["name"] == name]
            self.assertEqual([(s["service"], s["kind"]) for s in below], [(service, kind)], name)
            at = below[0]
        found = {(s["service"], s["name"], s["kind"]) for s in spans}
        for wanted in [("lookup", "publish tl.evt.instance", PRODUCER),
                       ("lookup", "process tl.evt", CONSUMER),
                       ("replication", "process tl.evt.instance", CONSUMER),
                       ("provisioner", "process tl.evt.group", CONSUMER),
                       ("provisioner", "send ensure_node", PRODUCER),
                       ("replication", "send assign_role", PRODUCER),
                       ("agent", "copy template", INTERNAL)]:
            self.assertIn(wanted, found)

    def check_attributes(self, spans, path):
        def one(name):
            return next(s for s in spans if s["name"] == name)["attributes"]

        http_span = one("POST /v1/postgres/instances")
        self.assertEqual({k: http_span.get(k) for k in (
            "http.request.method", "http.route", "url.path", "url.scheme")}, {
                "http.request.method": "POST", "http.route": "/v1/postgres/instances",
                "url.path": "/v1/postgres/instances", "url.scheme": "http"})
        self.assertEqual(int(http_span["http.response.status_code"]), 201)
        uuid = path.rpartition("/")[2]
        publish = one("publish tl.cmd.provisioner")
        self.assertEqual(publish["messaging.system"], "nats")
        self.assertEqual(publish["messaging.destination.name"], f"tl.cmd.provisioner.{uuid}")
        self.assertEqual(publish["messaging.operation.type"], "publish")
        self.assertEqual(one("process tl.cmd.provisioner")["messaging.message.id"],
                         publish["messaging.message.id"])
        append = one("log.append")
        self.assertEqual((append["db.system"], append["db.namespace"], append["db.operation.name"]),
                         ("postgresql", "trunkline_log", "log.append"))
        for span in spans:
            for key in ("service.name", "service.version", "service.instance.id", "host.name"):
                self.assertTrue(span["resource"].get(key), f"{key} of {span['name']}")

    def test_a_failed_request_is_marked(self):
        trace_id = secrets.token_hex(16)
        status, _, _ = self.platform.api(
            "POST", "/v1/postgres/instances", {"name": ""},
            headers={"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"})
        self.assertEqual(status, 400)
        wait_for(lambda: self.collector.of_trace(trace_id), 15, "its span")
        span = self.collector.of_trace(trace_id)[0]
        self.assertEqual(int(span["attributes"]["http.response.status_code"]), 400)
        self.assertEqual(span.get("status", {}).get("code", 0), 0)  # the client's fault

    def test_a_switchover_is_a_trace_of_its_own(self):
        path = self.order(secrets.token_hex(16), secrets.token_hex(8), nodes_number=2)
        await_active(self.platform, path)
        uuid = path.rpartition("/")[2]
        asked = secrets.token_hex(16)
        status, answer, _ = self.platform.api(
            "POST", f"{path}/switchover", {},
            headers={"traceparent": f"00-{asked}-{secrets.token_hex(8)}-01"})
        self.assertIn(status, (200, 202), answer)

        def root():
            return next((s for s in list(self.collector.spans) if s["name"] == "switchover"
                         and s["attributes"].get("trunkline.instance_id") == uuid), None)

        found = wait_for(root, 60, "the switchover's root span")
        self.assertEqual(found.get("parentSpanId", ""), "")
        self.assertIn(asked, [link["traceId"] for link in found.get("links", [])])
        self.assertEqual(found["attributes"]["trunkline.term"], "2")
        trace = found["traceId"]
        wait_for(lambda: any(s["name"] == "promote" for s in self.collector.of_trace(trace)), 15,
                 "its promotion")
        wait_for(lambda: self.is_one_tree(trace, ""), 15, "a trace without a gap")
        names = {s["name"] for s in self.collector.of_trace(trace)}
        self.assertLessEqual({"decide record_primary_opened", "send assign_role"}, names)
        opened = next(s for s in self.collector.of_trace(trace)
                      if s["name"] == "decide record_primary_opened")
        self.assertLessEqual(int(found["startTimeUnixNano"]), int(opened["startTimeUnixNano"]))
        self.assertGreaterEqual(int(found["endTimeUnixNano"]), int(opened["endTimeUnixNano"]))

    def test_no_password_is_in_a_trace(self):
        path = self.order(secrets.token_hex(16), secrets.token_hex(8))
        await_active(self.platform, path)
        trace_id = secrets.token_hex(16)
        status, user, _ = self.platform.api(
            "POST", f"{path}/users", {"name": "app", "password": PASSWORD},
            headers={"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"})
        self.assertEqual(status, 201, user)
        wait_for(lambda: self.platform.api("GET", f"{path}/users/{user['uuid']}")[1].get("status")
                 == "ACTIVE", 30, "the user is ACTIVE")
        wait_for(lambda: any(s["name"] == "apply objects"
                             for s in self.collector.of_trace(trace_id)), 15,
                 "a span of the host's work on the user")
        everything = "".join(self.collector.texts)
        self.assertNotIn(PASSWORD, everything)
        self.assertNotIn("SCRAM-SHA-256$", everything)
        self.assertNotIn(self.platform.admin_token(), everything)


class Hanging(unittest.TestCase):
    def test_a_collector_that_never_answers_holds_nobody_up(self):
        collector = HangingCollector()
        self.addCleanup(collector.close)
        platform = Platform(env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
                                 "OTEL_TRACES_SAMPLER": "always_on"})
        self.addCleanup(platform.tear_down)
        platform.start()
        path = order(platform, "untroubled")
        await_active(platform, path)
        for _ in range(500):  # more spans than the queues hold, with what the services make of them
            self.assertEqual(platform.api("GET", path)[0], 200)
        wait_for(lambda: collector.taken, 15, "somebody who tried to send")
        # Nobody but the process itself ends it here: a supervisor's SIGKILL would hide a hang.
        pids = [platform.pid(name) for name in ("lookup", "provisioner", "replication",
                                                "api-gateway")]
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not any(alive(pid) for pid in pids), 30, "the services' end")


if __name__ == "__main__":
    unittest.main()
