#!/usr/bin/env python3
"""Fuzzes a running REST API from its own OpenAPI document, malformed HTTP included.

    fuzz_rest.py --api http://127.0.0.1:8080 --token-file F [--count 10000] [--seed N] [--pid P]

The same seed sends the same requests (but for what the platform itself chose, such as UUIDs).
Fails when: an answer is 5xx but not 503, or no HTTP; an error is not the flat JSON document; the
server stops answering; or the memory of process --pid keeps growing. Only things that it made
itself are changed or deleted, and they are deleted at the end.
"""

import argparse
import collections
import http.client
import json
import random
import socket
import struct
import sys
import time
import urllib.parse
import uuid

TIMEOUT_S = 15
RSS_GROWTH_MB = 48
MOST_ORDERS = 3         # instances that are really ordered
RAW_SHARE = 0.25        # of malformed HTTP

NASTY_TEXT = [
    "", " ", "a" * 300, "\u0000", "\u202e", "\ud83d\ude00", "' OR 1=1 --", '"; DROP TABLE x; --',
    "../../etc/passwd", "%00", "%s%n", "${jndi:x}", "<script>", "\r\nSet-Cookie: a=b", "postgres",
    "template0", "pg_catalog", "dbaas_x", "\u00e9" * 64, "0", "null", "-1", "1e9", "[]",
]
NASTY_VALUES = [
    None, True, False, 0, -1, 1, 1.0, 1.5, 2**31, 2**63, 2**64, -2**63, 1e308, "1", [], {}, [[]],
    {"a": {"b": []}}, ["x"], 10**30,
]
BAD_BODIES = [
    b"", b"{", b"}", b"null", b"[]", b"1", b'"x"', b"{}{}", b'{"a":1,"a":2}', b'{"a":NaN}',
    b'{"a":1e999}', b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":"\\u0000"}', b"\x00",
    b"\xef\xbb\xbf{}",
    b'{"a":' * 5000, b"[" * 60000, b'{"a":"' + b"x" * 60000 + b'"}', b"\x1f\x8b\x08",
]


class Failure(Exception):
    pass


class Fuzzer:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        parts = urllib.parse.urlsplit(options.api)
        self.host, self.port = parts.hostname, parts.port or 80
        with open(options.token_file, encoding="utf-8") as file:
            self.token = file.read().strip()
        self.statuses = collections.Counter()
        self.made = []       # paths to delete at the end
        self.created = collections.Counter()
        self.ids = {}        # resource → uuids of ours, free to be changed and deleted
        self.offered = []    # versions that were there before: only referred to
        self.orders = 0
        self.connection = None
        status, body, _ = self.call("GET", "/openapi.json")
        if status != 200:
            raise Failure(f"/openapi.json answers {status}")
        self.document = json.loads(body)
        self.operations = [
            (path, method.upper(), operation)
            for path, item in self.document["paths"].items()
            for method, operation in item.items()]

    # --- sending

    def call(self, method, path, body=None, headers=None):
        """One request on a kept connection; a connection that the server closed is made anew."""
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.host, self.port,
                                                             timeout=TIMEOUT_S)
            try:
                self.connection.request(method, path, body=body, headers=headers or {})
                answer = self.connection.getresponse()
                data = answer.read()
                self.statuses[answer.status] += 1
                if answer.getheader("Connection", "").lower() == "close":
                    self.connection.close()
                    self.connection = None
                return answer.status, data, answer.headers
            except (http.client.RemoteDisconnected, ConnectionError, BrokenPipeError):
                self.connection.close()
                self.connection = None
                if attempt == 2:
                    raise
            except (http.client.HTTPException, OSError) as error:
                raise Failure(f"{method} {path}: no HTTP answer: {error!r}") from error
        raise AssertionError

    def check(self, what, status, data):
        if status >= 500 and status != 503:
            raise Failure(f"{what}: {status} {data[:300]!r}")
        if status >= 400 and not what.startswith("HEAD"):
            try:
                problem = json.loads(data)
            except ValueError:
                raise Failure(f"{what}: {status} is no JSON: {data[:300]!r}") from None
            good = (isinstance(problem, dict) and problem.get("code") == status
                    and isinstance(problem.get("type"), str) and problem["type"]
                    and isinstance(problem.get("message"), str))
            if not good:
                raise Failure(f"{what}: not a flat error: {data[:300]!r}")

    # --- making requests

    def resolve(self, schema):
        while "$ref" in schema:
            node = self.document
            for key in schema["$ref"][2:].split("/"):
                node = node[key]
            schema = node
        return schema

    def good_value(self, name, schema):
        schema = self.resolve(schema)
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        kind = schema.get("type")
        if name == "version" or name == "owner" or name == "instance":
            return self.some_reference(name)
        if schema.get("format") == "uuid":
            return self.some_uuid()
        if schema.get("format") == "date-time":
            return "2031-01-15T10:30:00Z"
        if kind == "integer":
            low = schema.get("minimum", 0)
            high = min(schema.get("maximum", 1000), low + 1000)
            return self.random.choice([low, high, self.random.randint(low, high)])
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind == "string":
            low, high = schema.get("minLength", 1), min(schema.get("maxLength", 20), 63)
            length = self.random.randint(max(low, 1), max(high, 1))
            return "f" + "".join(self.random.choices("abcxyz019_", k=length - 1))
        if kind == "array":
            return []
        return {}

    def some_uuid(self):
        known = [one for ids in self.ids.values() for one in ids]
        if known and self.random.random() < 0.5:
            return self.random.choice(known)
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def some_reference(self, name):
        def own(resource):
            return self.random.choice(self.ids.get(resource) or [self.some_uuid()])
        base = self.random.choice(["/v1/types/postgres", "/v1/postgres"])
        if name == "version":
            known = self.offered + self.ids.get("versions", [])
            return f"{base}/versions/{self.random.choice(known or [self.some_uuid()])}"
        instance = f"{base}/instances/{own('instances')}"
        return instance if name == "instance" else f"{instance}/users/{own('users')}"

    def body_for(self, path, method, operation):
        schema = self.resolve(
            operation["requestBody"]["content"]["application/json"]["schema"])
        body = {}
        for name, field in schema["properties"].items():
            wanted = name in schema.get("required", [])
            if wanted or self.random.random() < 0.15:
                body[name] = self.good_value(name, field)
        keep_good = self.random.random() < 0.2
        if method == "POST" and path.endswith("/instances"):
            keep_good = keep_good and self.orders < MOST_ORDERS
            if keep_good:
                body.update(cpu=1, ram=512, disk_size=8, nodes_number=1)
                body.pop("sync_replica_number", None)
                body.pop("project_id", None)
        if not keep_good:
            for _ in range(self.random.randint(1, 3)):
                self.break_body(body, schema)
            if method == "POST" and path.endswith("/instances"):
                body["cpu"] = self.random.choice([0, -1, 129, "1", None, 1.0, True])
        raw = json.dumps(body).encode()
        if self.random.random() < 0.1:
            raw = self.random.choice(BAD_BODIES)
        elif self.random.random() < 0.1:
            at = self.random.randrange(len(raw))
            raw = raw[:at] + bytes([self.random.randrange(256)]) + raw[at + 1:]
            if method == "POST" and path.endswith("/instances"):
                raw = raw[:at]
        return raw

    def break_body(self, body, schema):
        name = self.random.choice(list(schema["properties"]) + ["unknown", "", "status", "uuid"])
        choice = self.random.random()
        if choice < 0.4:
            body[name] = self.random.choice(NASTY_VALUES)
        elif choice < 0.8:
            body[name] = self.random.choice(NASTY_TEXT)
        else:
            body.pop(name, None)

    def path_for(self, path, operation):
        for parameter in operation.get("parameters", []):
            if parameter["in"] != "path":
                continue
            name = parameter["name"]
            if name == "op":
                value = self.random.choice(["checksum", "nothing", "%00"])
            elif name in ("instance", "uuid"):
                resource = self.resource_of(path, name)
                own = self.ids.get(resource)
                value = self.random.choice(own) if own and self.random.random() < 0.7 \
                    else self.some_uuid() if self.random.random() < 0.6 \
                    else urllib.parse.quote(self.random.choice(NASTY_TEXT).encode(
                        "utf-8", "surrogatepass"), safe="")
            else:
                value = urllib.parse.quote(self.random.choice(["swagger-ui.css", "start.js", "x",
                                                               "../x", "..%2f"]), safe="")
            path = path.replace("{" + name + "}", value)
        return path

    @staticmethod
    def resource_of(path, name):
        segments = path.split("/")
        return segments[segments.index("{" + name + "}") - 1]

    def query_for(self, operation):
        pairs = []
        for parameter in operation.get("parameters", []):
            if parameter["in"] != "query" or self.random.random() > 0.2:
                continue
            schema = parameter["schema"]
            item = schema.get("items", schema)
            value = self.good_value(parameter["name"], item)
            if self.random.random() < 0.3:
                value = self.random.choice(NASTY_TEXT)
            text = json.dumps(value) if isinstance(value, bool) else str(value)
            pairs.append((parameter["name"], text.encode("utf-8", "surrogatepass")))
            if self.random.random() < 0.2:
                pairs.append(pairs[-1])
        if self.random.random() < 0.05:
            pairs.append((self.random.choice(NASTY_TEXT).encode("utf-8", "surrogatepass"), b"x"))
        query = urllib.parse.urlencode(pairs)
        if self.random.random() < 0.03:
            query += self.random.choice(["&%", "&%zz=1", "&&&", "=", "&%ff=%fe", "?" * 50])
        return "?" + query if query else ""

    def headers_for(self):
        headers = {"Authorization": f"Bearer {self.token}"}
        choice = self.random.random()
        if choice < 0.03:
            del headers["Authorization"]
        elif choice < 0.06:
            headers["Authorization"] = self.random.choice(
                ["Bearer x", "Basic eDp4", "Bearer", "", "Bearer " + "a" * 600])
        headers["Content-Type"] = "application/json" if self.random.random() < 0.95 else \
            self.random.choice(["text/plain", "", "application/json; charset=latin1", "a/b/c"])
        if self.random.random() < 0.1:
            headers["Idempotency-Key"] = self.random.choice(["k1", "k2", "", "x" * 256, "a b"])
        if self.random.random() < 0.1:
            headers["traceparent"] = self.random.choice(
                ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "junk", "00-0-0-0"])
        return headers

    def structured(self):
        path, method, operation = self.random.choice(self.operations)
        if self.random.random() < 0.02:
            method = self.random.choice(["PATCH", "OPTIONS", "HEAD", "TRACE", "FOO"])
        body = None
        if "requestBody" in operation:
            body = self.body_for(path, method, operation)
        # What takes the hosts away from all other tests is asked of hosts that are not there.
        if path.startswith("/v1/hosts/") and method in ("PUT", "POST"):
            url = path.replace("{uuid}", str(uuid.UUID(int=self.random.getrandbits(128),
                                                       version=4)))
        else:
            url = self.path_for(path, operation)
        url += self.query_for(operation)
        if self.random.random() < 0.05:
            url = url.replace("?", "/?", 1) if "?" in url else url + "/"
        status, data, headers = self.call(method, url, body, self.headers_for())
        self.check(f"{method} {url} {body!r}"[:2000], status, data)
        if method == "POST" and status in (201, 202):
            self.remember(path, status, data, headers)

    def remember(self, path, status, data, headers):
        resource = path.rstrip("/").split("/")[-1]
        if status == 201:
            self.ids.setdefault(resource, []).append(json.loads(data)["uuid"])
            self.made.append(headers["Location"])
            self.created[resource] += 1
        if resource == "instances":
            self.orders += 1

    # --- malformed HTTP

    def raw_bytes(self):
        auth = f"Authorization: Bearer {self.token}\r\n".encode()
        good = b"GET /v1/postgres/versions HTTP/1.1\r\nHost: x\r\n" + auth + b"\r\n"
        post = b"POST /v1/postgres/instances HTTP/1.1\r\nHost: x\r\n" + auth
        choices = [
            lambda: good[:self.random.randrange(len(good))],
            lambda: self.scramble(good),
            lambda: self.scramble(post + b"Content-Length: 2\r\n\r\n{}"),
            lambda: self.random.randbytes(self.random.randrange(1, 2000)),
            lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + self.random.randbytes(200),
            lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            lambda: b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * self.random.randrange(1, 400) + b"\r\n",
            lambda: b"GET /" + b"a" * self.random.randrange(1, 20000)
            + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            lambda: b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000 + b"\r\n\r\n",
            lambda: post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            lambda: post + b"Content-Length: 99999999999\r\n\r\n",
            lambda: post + b"Content-Length: 70000\r\n\r\n" + b"x" * 70000,
            lambda: post + b"Content-Length: 50\r\n\r\n{",
            lambda: post + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            lambda: post + b"Transfer-Encoding: chunked\r\n\r\n" + self.random.choice(
                [b"zz\r\n", b"-1\r\n", b"ffffffffffff\r\n", b"5\r\nhel", b"2\r\n{}\r\n0\r\n\r\n",
                 b"2;x=y\r\n{}x\r\n", b"1" * 3000, b"\r\n", b"0\r\nX: y\r\n\r\n"]),
            lambda: post + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
            lambda: post + b"Expect: nonsense\r\nContent-Length: 2\r\n\r\n{}",
            lambda: good * self.random.randrange(2, 30),
            lambda: good + self.random.randbytes(50),
            lambda: b"GET /v1/postgres/versions HTTP/1.0\r\n" + auth + b"\r\n",
            lambda: b"GET http://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
            lambda: b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
            lambda: b"GET /healthz HTTP/1.1\nHost: x\n\n",
            lambda: b"GET /healthz HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
            lambda: b"GET /health\x00z HTTP/1.1\r\nHost: x\r\n\r\n",
            lambda: b"\r\n" * self.random.randrange(1, 5000) + good,
            lambda: b"",
        ]
        return self.random.choice(choices)()

    def scramble(self, data):
        data = bytearray(data)
        for _ in range(self.random.randint(1, 6)):
            at = self.random.randrange(len(data))
            choice = self.random.random()
            if choice < 0.5:
                data[at] = self.random.randrange(256)
            elif choice < 0.75:
                del data[at]
            else:
                data.insert(at, self.random.choice(b"\x00\r\n :/%?\xff"))
        return bytes(data)

    def raw(self):
        data = self.raw_bytes()
        with socket.create_connection((self.host, self.port), timeout=TIMEOUT_S) as link:
            try:
                at = 0
                while at < len(data):
                    step = self.random.choice([1, 7, 100, len(data)])
                    link.sendall(data[at:at + step])
                    at += step
                    if step == 1 and self.random.random() < 0.9:
                        link.sendall(data[at:])
                        break
            except OSError:
                pass  # it has answered and closed
            choice = self.random.random()
            if choice < 0.2:  # leaves without reading, with a reset
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if choice < 0.3:
                return
            # What is not whole is answered when the server's patience ends: not waited for here.
            link.settimeout(0.2)
            answer = b""
            try:
                while b"\r\n\r\n" not in answer:
                    more = link.recv(65536)
                    if not more:
                        break
                    answer += more
            except OSError:
                pass
        if not answer:
            return
        if not answer.startswith(b"HTTP/1.1 "):
            raise Failure(f"{data[:300]!r}: answered {answer[:100]!r}")
        status = int(answer[9:12])
        self.statuses[status] += 1
        if status >= 500 and status != 503:
            raise Failure(f"{data[:300]!r}: answered {answer[:300]!r}")

    # --- the whole

    def rss_mb(self):
        if not self.options.pid:
            return 0
        with open(f"/proc/{self.options.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
        return 0

    def run(self):
        versions = self.call("GET", "/v1/postgres/versions", None,
                             {"Authorization": f"Bearer {self.token}"})
        if versions[0] == 200:
            self.offered = [v["uuid"] for v in json.loads(versions[1])["versions"]]
        baseline = 0
        started = time.monotonic()
        for number in range(self.options.count):
            if self.random.random() < RAW_SHARE:
                self.raw()
            else:
                self.structured()
            if number == self.options.count // 5:
                baseline = self.rss_mb()
            if number % 200 == 0:
                status, _, _ = self.call("GET", "/healthz")
                if status != 200:
                    raise Failure(f"/healthz answers {status} after {number} requests")
        seconds = time.monotonic() - started
        self.clean_up()
        end = self.rss_mb()
        print(json.dumps({
            "seed": self.options.seed, "requests": self.options.count,
            "seconds": round(seconds, 1), "statuses": dict(sorted(self.statuses.items())),
            "created": dict(self.created),
            "rss_mb_after_a_fifth": round(baseline, 1), "rss_mb_at_the_end": round(end, 1)}))
        if self.options.pid and end - baseline > RSS_GROWTH_MB:
            raise Failure(f"memory grew from {baseline:.0f} MB to {end:.0f} MB")

    def clean_up(self):
        headers = {"Authorization": f"Bearer {self.token}"}
        for path in reversed(self.made):
            status, data, _ = self.call("DELETE", path, None, headers)
            self.check(f"DELETE {path}", status, data)
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--api", required=True)
    parser.add_argument("--token-file", required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--pid", type=int, default=0)
    options = parser.parse_args()
    try:
        fuzzer = Fuzzer(options)
        fuzzer.run()
    except Failure as failure:
        print(f"FAILED with --seed {options.seed}: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
