"""An instance's PostgreSQL log, as its owner reads and follows it, and nobody else."""

import json
import os
import pathlib
import re
import secrets
import socket
import subprocess
import tempfile
import time
import unittest
import uuid

from platform_fixture import Platform, wait_for

OURS, THEIRS = str(uuid.uuid4()), str(uuid.uuid4())
PASSWORD = "canary-" + secrets.token_hex(8)


class Follower:
    """GET …/logs?follow=true by hand, to see what comes and when it ends."""

    def __init__(self, platform, path, token):
        self.socket = socket.create_connection(("127.0.0.1", platform.port_base), timeout=20)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                            "\r\n".encode())
        self.data = b""

    def read_until(self, text, timeout_s=20):
        self.socket.settimeout(timeout_s)
        while text.encode() not in self.data:
            more = self.socket.recv(65536)
            if not more:
                raise AssertionError(f"ended before {text!r}: {self.data[-300:]!r}")
            self.data += more
        return self.data.decode()

    def read_to_end(self, timeout_s=40):
        self.socket.settimeout(timeout_s)
        while more := self.socket.recv(65536):
            self.data += more
        return self.data.decode()

    def close(self):
        self.socket.close()


class LogsCase(unittest.TestCase):
    env = {}

    @classmethod
    def setUpClass(cls):
        cls.platform = Platform(env=cls.env)
        cls.addClassCleanup(cls.platform.tear_down)
        cls.platform.start()
        cls.ours = cls.token("member", OURS)
        cls.theirs = cls.token("member", THEIRS)
        cls.reader = cls.token("reader", OURS)
        _, versions, _ = cls.platform.api("GET", "/v1/postgres/versions")
        status, cls.instance, _ = cls.platform.api(
            "POST", "/v1/postgres/instances",
            {"name": "logged", "cpu": 1, "ram": 512, "disk_size": 8, "nodes_number": 2,
             "version": "/v1/types/postgres/versions/" + versions["versions"][0]["uuid"]},
            token=cls.ours)
        assert status == 201, cls.instance
        cls.path = f"/v1/postgres/instances/{cls.instance['uuid']}"
        wait_for(lambda: cls.document()["status"] == "ACTIVE", 60, "ACTIVE")
        status, user, _ = cls.platform.api("POST", f"{cls.path}/users",
                                           {"name": "app", "password": PASSWORD}, token=cls.ours)
        assert status == 201, user
        status, database, _ = cls.platform.api(
            "POST", f"{cls.path}/databases",
            {"name": "app", "owner": f"{cls.path}/users/{user['uuid']}"}, token=cls.ours)
        assert status == 201, database
        wait_for(lambda: cls.platform.api(
            "GET", f"{cls.path}/databases/{database['uuid']}")[1]["status"] == "ACTIVE", 30,
            "the database")

    @classmethod
    def token(cls, role, project):
        status, token, _ = cls.platform.api("POST", "/v1/tokens",
                                            {"name": role + project[:8], "role": role,
                                             "project_id": project})
        assert status == 201, token
        cls.token_uuids = getattr(cls, "token_uuids", {})
        cls.token_uuids[token["token"]] = token["uuid"]
        return token["token"]

    @classmethod
    def document(cls):
        return cls.platform.api("GET", cls.path)[1]

    def logs(self, query="", token=None):
        status, text, headers = self.platform.api("GET", f"{self.path}/logs{query}",
                                                  token=token or self.ours)
        self.assertEqual(status, 200, text)
        self.assertEqual(headers["Content-Type"], "text/plain; charset=utf-8")
        return text

    def complain(self, words):
        """Has the primary write a line with these words into its log."""
        endpoint = self.document()["endpoints"]["read_write"]
        done = subprocess.run(
            ["psql", "-X", "-q", f"host={endpoint['host']} port={endpoint['port']} user=app"
             " dbname=app sslmode=prefer", "-c",
             f"do $$ begin raise log '{words}'; end $$"],
            env={**os.environ, "PGPASSWORD": PASSWORD}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        self.assertEqual(done.returncode, 0, done.stdout)


class Logs(LogsCase):
    def test_the_owner_reads_the_log_of_each_node(self):
        words = "mark-" + secrets.token_hex(6)
        self.complain(words)
        wait_for(lambda: words in self.logs(), 10, "the line")
        self.assertIn(words, self.logs(token=self.reader))
        self.assertIn(words, self.logs(token=self.platform.admin_token()))
        self.assertEqual(len(self.logs("?limit=3").splitlines()), 3)
        self.assertIn(words, self.logs("?limit=40"))
        self.assertEqual(self.logs("?since=2999-01-01T00:00:00Z"), "")
        place = self.platform.api("GET", f"{self.path}/logs", token=self.ours)[2]["X-Log-Place"]
        later = "mark-" + secrets.token_hex(6)
        self.complain(later)
        wait_for(lambda: later in self.logs("?from=" + place), 10, "the line after that")
        self.assertNotIn(words, self.logs("?from=" + place))
        self.assertEqual(self.platform.api("GET", f"{self.path}/logs?from={place}",
                                           token=self.theirs)[0], 404)
        for node in self.document()["nodes"]:
            text = self.logs(f"?limit=10000&node={node['uuid']}")
            self.assertIn("database system is ready to accept", text)
            self.assertEqual(words in text, node["role"] == "primary")

    def test_what_cannot_be_read(self):
        for query, status in [("?node=" + str(uuid.uuid4()), 404), ("?node=x", 400),
                              ("?since=yesterday", 400), ("?limit=-1", 400), ("?limit=1e9", 400),
                              ("?follow=perhaps", 400), ("?nothing=1", 400)]:
            got, body, _ = self.platform.api("GET", f"{self.path}/logs{query}", token=self.ours)
            self.assertEqual(got, status, f"{query}: {body}")

    def test_another_tenant_reads_nothing(self):
        for query in ("", "?follow=true", f"?node={self.document()['nodes'][0]['uuid']}"):
            status, body, _ = self.platform.api("GET", f"{self.path}/logs{query}",
                                                token=self.theirs)
            self.assertEqual(status, 404, body)
        self.assertEqual(self.platform.api("GET", f"{self.path}/logs", token="")[0], 401)

    def test_the_owner_follows_the_log(self):
        follower = Follower(self.platform, f"{self.path}/logs?follow=true&limit=1", self.ours)
        self.addCleanup(follower.close)
        head = follower.read_until("\r\n\r\n")
        self.assertIn(" 200 ", head)
        self.assertIn("Transfer-Encoding: chunked", head)
        for _ in range(3):
            words = "mark-" + secrets.token_hex(6)
            self.complain(words)
            follower.read_until(words)

    def test_followers_are_bounded_and_end_with_their_token(self):
        token = self.token("member", OURS)
        followers = [Follower(self.platform, f"{self.path}/logs?follow=true&limit=0", token)
                     for _ in range(17)]
        for follower in followers:
            self.addCleanup(follower.close)
        heads = [follower.read_until("\r\n\r\n") for follower in followers]
        self.assertEqual(sum(" 200 " in head for head in heads), 16)
        self.assertEqual(sum(" 429 " in head for head in heads), 1)
        status, body, _ = self.platform.api("DELETE", f"/v1/tokens/{self.token_uuids[token]}")
        self.assertEqual(status, 204, body)
        for follower, head in zip(followers, heads):
            if " 200 " in head:
                rest = follower.read_to_end()
                self.assertRegex(rest, r"\r\n0\r\nX-Log-Place: [0-9a-f.-]+\r\n\r\n$")

    def test_no_password_is_in_any_log(self):
        endpoint = self.document()["endpoints"]["read_write"]
        wrong = "canary-" + secrets.token_hex(8)
        for statement in (f"alter role app password '{wrong}' nonsense",
                          f"alter role nobody password '{wrong}'",
                          f"select '{wrong}"):
            subprocess.run(
                ["psql", "-X", "-q", f"host={endpoint['host']} port={endpoint['port']} user=app"
                 " dbname=app", "-c", statement], env={**os.environ, "PGPASSWORD": PASSWORD},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=30)
        words = "mark-" + secrets.token_hex(6)
        self.complain(words)
        wait_for(lambda: words in self.logs(), 10, "the line after them")
        text = self.logs("?limit=10000")
        self.assertNotIn(PASSWORD, text)
        self.assertNotIn("SCRAM-SHA-256$", text)
        self.assertNotIn(f"password '{wrong}'", text)
        self.assertNotIn(json.dumps(self.ours), text)


class ShortAnswers(LogsCase):
    """What is followed ends soon, so that it matters how the next answer goes on."""

    env = {"TRUNKLINE_LOG_FOLLOW_MS": "1500"}

    def test_the_command_line_follows(self):
        with tempfile.TemporaryDirectory() as parent:
            out = pathlib.Path(parent) / "out"
            with open(out, "wb") as file:
                process = subprocess.Popen(
                    [self.platform.run_json()["cli"], "logs", "-f", "-n", "5", "logged"],
                    env={**os.environ, "TRUNKLINE_HOME": str(self.platform.home)},
                    stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
            try:
                wait_for(lambda: out.read_text().count("\n") >= 5, 20, "the newest lines")
                # Over some of the API's answers, at any moment of them.
                words, came, began = "mark-" + secrets.token_hex(6), [], time.monotonic()
                while time.monotonic() - began < 6 or len(came) < 20:
                    came.append(f"{words}-{len(came)}-")
                    self.complain(came[-1])
                wait_for(lambda: came[-1] in out.read_text(), 30, "the line that came last")
                self.assertEqual(re.findall(words + r"-\d+-", out.read_text()), came)
            finally:
                process.kill()
                process.wait()


if __name__ == "__main__":
    unittest.main()
