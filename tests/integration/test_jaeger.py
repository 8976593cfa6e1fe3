"""What a real Jaeger makes of a POST and of a failover: asked by its HTTP API.

Needs a Jaeger all-in-one: JAEGER_BIN, or `jaeger-all-in-one` in PATH, or where
scripts/setup_jaeger.sh puts it. Skipped where there is none.
"""

import contextlib
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

from platform_fixture import Platform, accepts_connections, free_port_base, wait_for
from test_trace import await_active, order


def find_jaeger():
    named = os.environ.get("JAEGER_BIN")
    if named:
        return named
    cache = pathlib.Path(os.environ.get("JAEGER_DIR",
                                        pathlib.Path.home() / ".cache" / "trunkline-jaeger"))
    built = sorted(cache.glob("jaeger-all-in-one-*"))
    return shutil.which("jaeger-all-in-one") or (str(built[-1]) if built else None)


class Jaeger:
    """Everything on loopback and on ports of its own; traces in memory."""

    def __init__(self, program):
        base = free_port_base()
        self.otlp, self.query, admin, grpc, otlp_grpc, model = (base + i for i in range(6))
        self.log = tempfile.TemporaryFile()
        # Not its defaults: those listen on every address.
        arguments = {
            "collector.otlp.enabled": "true",
            "collector.otlp.http.host-port": f"127.0.0.1:{self.otlp}",
            "collector.otlp.grpc.host-port": f"127.0.0.1:{otlp_grpc}",
            "collector.grpc-server.host-port": f"127.0.0.1:{model}",
            "collector.http-server.host-port": f"127.0.0.1:{base + 6}",
            "query.http-server.host-port": f"127.0.0.1:{self.query}",
            "query.grpc-server.host-port": f"127.0.0.1:{grpc}",
            "admin.http.host-port": f"127.0.0.1:{admin}",
            "processor.jaeger-binary.server-host-port": f"127.0.0.1:{base + 7}",
            "processor.jaeger-compact.server-host-port": f"127.0.0.1:{base + 8}",
            "processor.zipkin-compact.server-host-port": f"127.0.0.1:{base + 9}",
            "http-server.host-port": f"127.0.0.1:{base + 9}",
            "memory.max-traces": "10000",
        }
        self.process = subprocess.Popen(
            [program] + [f"--{name}={value}" for name, value in arguments.items()],
            env={"PATH": os.environ.get("PATH", ""), "SPAN_STORAGE_TYPE": "memory"},
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: accepts_connections(self.otlp) and accepts_connections(self.query), 60,
                     "Jaeger")
        except AssertionError:
            self.log.seek(0)
            text = self.log.read()[-3000:].decode(errors="replace")
            self.close()
            raise AssertionError(f"Jaeger does not start:\n{text}") from None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.otlp}"

    def close(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def get(self, path):
        with contextlib.suppress(urllib.error.HTTPError):  # 404: not there yet
            with urllib.request.urlopen(f"http://127.0.0.1:{self.query}{path}", timeout=10) as text:
                return json.load(text)["data"]
        return None

    def spans(self, trace_id):
        """[{name, service, parent (span id or None), kind, tags}]"""
        found = self.get(f"/api/traces/{trace_id}")
        if not found:
            return []
        processes = found[0]["processes"]
        return [{
            "id": span["spanID"],
            "name": span["operationName"],
            "service": processes[span["processID"]]["serviceName"],
            "parent": next((r["spanID"] for r in span["references"]
                            if r["refType"] == "CHILD_OF" and r["traceID"] == trace_id), None),
            "links": [r["traceID"] for r in span["references"] if r["traceID"] != trace_id],
            "tags": {tag["key"]: tag["value"] for tag in span["tags"]},
        } for span in found[0]["spans"]]


def outline(spans, parent=None, depth=0):
    """The tree as lines of text, children in the order in which Jaeger has them."""
    lines = []
    for span in spans:
        if span["parent"] == parent:
            lines.append("  " * depth + f"{span['service']}: {span['name']}")
            lines += outline(spans, span["id"], depth + 1)
    return lines


@unittest.skipUnless(find_jaeger(), "no Jaeger here: scripts/setup_jaeger.sh builds one with Go")
class InJaeger(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.jaeger = Jaeger(find_jaeger())
        cls.addClassCleanup(cls.jaeger.close)
        cls.platform = Platform(env={"OTEL_EXPORTER_OTLP_ENDPOINT": cls.jaeger.endpoint})
        cls.addClassCleanup(cls.platform.tear_down)
        cls.platform.start()

    def is_whole(self, trace_id, names):
        spans = self.jaeger.spans(trace_id)
        ids = {s["id"] for s in spans}
        orphans = [s for s in spans if s["parent"] is not None and s["parent"] not in ids]
        return spans if not orphans and names <= {s["name"] for s in spans} else None

    def test_a_post_and_a_switchover_as_jaeger_shows_them(self):
        status, _, headers = self.platform.api("GET", "/v1/postgres/versions")
        self.assertEqual(status, 200)
        trace_id = self.check_post()
        self.check_switchover(trace_id)

    def check_post(self):
        self.path = order(self.platform, "shown", nodes_number=2)
        await_active(self.platform, self.path)
        wanted = {"POST /v1/postgres/instances", "publish tl.cmd.provisioner",
                  "process tl.cmd.provisioner", "decide create_instance", "log.append",
                  "publish tl.evt.instance", "process tl.evt", "send ensure_node", "ensure node",
                  "send assign_role", "copy template", "base backup", "postmaster started"}

        def traces_of_posts():
            found = self.jaeger.get("/api/traces?service=api-gateway&limit=100&operation="
                                    "POST%20%2Fv1%2Fpostgres%2Finstances")
            return found and found[0]["traceID"]

        trace_id = wait_for(traces_of_posts, 30, "a trace of POST in Jaeger")
        spans = wait_for(lambda: self.is_whole(trace_id, wanted), 30, f"{wanted} in one tree")
        print("\n" + "\n".join(outline(spans)), flush=True)
        roots = [s for s in spans if s["parent"] is None]
        self.assertEqual([(s["service"], s["name"]) for s in roots],
                         [("api-gateway", "POST /v1/postgres/instances")])
        self.assertEqual(roots[0]["tags"]["span.kind"], "server")
        self.assertEqual(roots[0]["tags"]["http.response.status_code"], 201)
        self.assertLessEqual({"api-gateway", "provisioner", "replication", "lookup", "agent"},
                             {s["service"] for s in spans})
        # A host tries again what it cannot do yet: a base backup before its primary is open.
        self.assertFalse([s["name"] for s in spans
                          if s["tags"].get("error") and s["service"] != "agent"])
        return trace_id

    def check_switchover(self, cause):
        asked = secrets.token_hex(16)
        status, answer, _ = self.platform.api(
            "POST", f"{self.path}/switchover", {},
            headers={"traceparent": f"00-{asked}-{secrets.token_hex(8)}-01"})
        self.assertIn(status, (200, 202), answer)

        def trace_of_it():
            found = self.jaeger.get("/api/traces?service=replication&operation=switchover&limit=5")
            return found and found[0]["traceID"]

        trace_id = wait_for(trace_of_it, 60, "the switchover in Jaeger")
        self.assertNotIn(trace_id, (asked, cause))
        spans = wait_for(
            lambda: self.is_whole(trace_id, {"switchover", "promote",
                                             "decide record_primary_opened"}),
            30, "the switchover in one tree")
        print("\n" + "\n".join(outline(spans)), flush=True)
        root = next(s for s in spans if s["parent"] is None)
        self.assertEqual(root["name"], "switchover")
        self.assertIn(asked, root["links"])


if __name__ == "__main__":
    unittest.main()
