"""Receivers of usage records: the sample consumer of examples/, and ones that misbehave."""

import contextlib
import datetime
import http.server
import importlib.util
import json
import pathlib
import random
import ssl
import subprocess
import threading
import time
import urllib.parse

CONSUMER = pathlib.Path(__file__).resolve().parents[2] / "examples/billing-consumer/consumer.py"
spec = importlib.util.spec_from_file_location("billing_consumer", CONSUMER)
consumer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(consumer)


def ingest_problem(content_type, body):
    """Why an ingest like OpenMeter's refuses an event, or None: its documentation asks for
    structured CloudEvents 1.0 of this very content type with id, source, type, specversion and
    subject, a time of RFC 3339, a dataschema that is a URI if there is one, and JSON data that is
    an object, in which what is added up is a number."""
    if content_type != "application/cloudevents+json":
        return f"content type {content_type}"
    event = json.loads(body)
    for name in ("id", "source", "type", "subject", "specversion"):
        if not isinstance(event.get(name), str) or not event[name]:
            return f"{name} is missing"
    if event["specversion"] != "1.0":
        return "specversion"
    if event.get("datacontenttype", "application/json") != "application/json":
        return "datacontenttype"
    datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00"))
    if not urllib.parse.urlsplit(event.get("dataschema", "x:")).scheme:
        return "dataschema"
    data = event.get("data")
    if not isinstance(data, dict):
        return "data is no object"
    meters = set(data) - {"instance", "node", "window_start", "window_end", "kind", "position"}
    if not all(type(data[name]) in (int, float) for name in meters):
        return "a meter is no number"
    return None


class Certificates:
    """An authority of a test's own."""

    def __init__(self, directory):
        self.directory = directory
        self.authority = self.made("ca", "CA:TRUE", "DNS:authority.test")

    def made(self, name, constraint, subject, signer=None):
        """A file with key and certificate; signed by itself without a signer."""
        path = self.directory / f"{name}.pem"
        signed = ["-CA", str(signer), "-CAkey", str(signer)] if signer else []
        done = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
             "-addext", f"subjectAltName={subject}", "-addext",
             f"basicConstraints=critical,{constraint}", "-keyout", "-", *signed],
            capture_output=True, check=True)
        path.write_bytes(done.stdout)
        path.chmod(0o644)
        return path


class Receiver:
    """A server at a port of its own that can go away and come back there; with a certificate by
    TLS."""

    def __init__(self, certificate=None):
        self.certificate = certificate
        self.port = 0
        self.server = None
        self.lock = threading.Lock()

    @property
    def url(self):
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self.port}/usage"

    def start(self):
        self.server = self.make_server(self.port) if self.port else self.first_server()
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def first_server(self):
        # Not of the range that outgoing connections take theirs from: it shall be free again later.
        for _ in range(1000):
            with contextlib.suppress(OSError):
                return self.make_server(random.randrange(12000, 19000))
        raise AssertionError("no free port")

    def make_server(self, port):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = receiver.answer(self.headers, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                # Who is away takes no connection any more, also none that is open.
                self.send_header("Connection", "close")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        return server

    def answer(self, headers, body):
        raise NotImplementedError


class Consumer(Receiver):
    """The sample consumer's own checks and store, and in what order records came first."""

    def __init__(self, path, certificate=None):
        super().__init__(certificate)
        self.store = consumer.Store(str(path))
        self.secrets = []
        self.order = []
        self.events = []  # as they came, all of them
        self.latest = 0  # position of what came last, new or not
        self.faults = []

    def answer(self, headers, body):
        with self.lock:
            try:
                message_id = consumer.verify(self.secrets, headers, body, time.time())
                event = consumer.parse(body)
                if event["id"] != message_id:
                    raise ValueError("another id")
                problem = ingest_problem(headers["content-type"], body)
                if problem:
                    raise ValueError(problem)
            except (ValueError, KeyError) as error:
                self.faults.append(str(error))
                return 400, {}
            self.events.append(json.loads(body))
            self.latest = event["data"]["position"]
            if self.store.add(event):
                self.order.append(event)
            return 204, {}

    def last_position(self):
        with self.lock:
            return self.order[-1]["data"]["position"] if self.order else 0

    def has(self, record_id):
        with self.lock:
            return any(event["id"] == record_id for event in self.order)

    def events_up_to(self, position):
        with self.lock:
            return [event for event in self.order if event["data"]["position"] <= position]


class Refusing(Receiver):
    """Answers with what `statuses` says of the first deliveries, then 204."""

    def __init__(self, statuses, headers=None, certificate=None):
        super().__init__(certificate)
        self.statuses = list(statuses)
        self.headers = headers or {}
        self.ids = []

    def answer(self, headers, body):
        with self.lock:
            self.ids.append(headers["webhook-id"])
            if self.statuses:
                return self.statuses.pop(0), self.headers
            return 204, {}


class Silent(Receiver):
    """Accepts and never answers."""

    def __init__(self):
        super().__init__()
        self.asked = threading.Event()
        self.released = threading.Event()

    def answer(self, headers, body):
        self.asked.set()
        self.released.wait(120)
        return 503, {}

    def stop(self):
        self.released.set()
        super().stop()
