"""Every command: who, what, when, from where, and what came of it; for each project its own."""

import json
import os
import secrets
import subprocess
import unittest
import urllib.request
import uuid

from platform_fixture import PlatformTest, wait_for

OURS, THEIRS = str(uuid.uuid4()), str(uuid.uuid4())
PASSWORD = "canary-" + secrets.token_hex(8)


class Audit(PlatformTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.token_ids = {}
        cls.ours, cls.theirs = cls.token("member", OURS), cls.token("member", THEIRS)
        cls.reader = cls.token("reader", OURS)
        _, versions, _ = cls.platform.api("GET", "/v1/postgres/versions")
        cls.version = "/v1/types/postgres/versions/" + versions["versions"][0]["uuid"]
        cls.instance = cls.order("audited", cls.ours)
        cls.other = cls.order("another", cls.theirs)
        cls.path = f"/v1/postgres/instances/{cls.instance['uuid']}"
        wait_for(lambda: cls.platform.api("GET", cls.path)[1]["status"] == "ACTIVE", 60, "ACTIVE")

    @classmethod
    def token(cls, role, project):
        status, token, _ = cls.platform.api(
            "POST", "/v1/tokens", {"name": role + project[:8], "role": role, "project_id": project})
        assert status == 201, token
        cls.token_ids[token["token"]] = token["uuid"]
        return token["token"]

    @classmethod
    def order(cls, name, token):
        status, instance, _ = cls.platform.api(
            "POST", "/v1/postgres/instances",
            {"name": name, "cpu": 1, "ram": 512, "disk_size": 8, "nodes_number": 1,
             "version": cls.version}, token=token)
        assert status == 201, instance
        return instance

    def audit(self, query="", token=None):
        status, entries, _ = self.platform.api("GET", "/v1/audit" + query, token=token)
        self.assertEqual(status, 200, entries)
        return entries

    def newest(self, command, token=None):
        return next(e for e in self.audit(token=token) if e["command"] == command)

    def test_an_entry_says_who_what_when_from_where_and_the_outcome(self):
        entry = next(e for e in self.audit(token=self.ours) if e["command"] == "create_instance")
        self.assertEqual(entry["actor"], "token:" + self.token_ids[self.ours])
        self.assertEqual(entry["role"], "member")
        self.assertEqual(entry["project_id"], OURS)
        self.assertEqual(entry["client_address"], "127.0.0.1")
        self.assertTrue(entry["user_agent"])
        self.assertEqual(entry["target"], "instance-" + self.instance["uuid"])
        self.assertEqual(entry["outcome"], "accepted")
        self.assertRegex(entry["trace_id"], "^[0-9a-f]{32}$")
        self.assertRegex(entry["time"], "^20[0-9-]+T[0-9:.]+Z$")

    def test_what_an_owner_refused_is_there_with_the_rule(self):
        asked = {"name": "twice", "password": PASSWORD}
        self.assertEqual(self.platform.api("POST", f"{self.path}/users", asked,
                                           token=self.ours)[0], 201)
        for path, body, command, owner in (
                (f"{self.path}/users", asked, "create_user", "instance-"),
                (f"{self.path}/switchover", None, "request_switchover", "group-")):
            status, answer, _ = self.platform.api("POST", path, body, token=self.ours)
            self.assertEqual(status, 409, answer)
            refused = [e for e in self.audit("?outcome=rejected", token=self.ours)
                       if e["command"] == command]
            self.assertEqual([e["rule"] for e in refused], [answer["type"]])
            self.assertEqual(refused[0]["message"], answer["message"])
            self.assertEqual(refused[0]["outcome"], "rejected")
            self.assertEqual(refused[0]["actor"], "token:" + self.token_ids[self.ours])
            self.assertEqual(refused[0]["target"], owner + self.instance["uuid"])

    def test_each_project_sees_its_own_and_an_administrator_all(self):
        for token, own, other in ((self.ours, OURS, THEIRS), (self.theirs, THEIRS, OURS),
                                  (self.reader, OURS, THEIRS)):
            self.assertEqual({e["project_id"] for e in self.audit(token=token)}, {own})
            self.assertEqual({e["project_id"] for e in self.audit("?project=" + own, token)}, {own})
            self.assertEqual(
                self.platform.api("GET", "/v1/audit?project=" + other, token=token)[0], 403)
        self.assertEqual(self.platform.api("GET", "/v1/audit", token="")[0], 401)
        projects = {e["project_id"] for e in self.audit()}
        self.assertLessEqual({OURS, THEIRS}, projects)
        self.assertEqual({e["project_id"] for e in self.audit("?project=" + THEIRS)}, {THEIRS})
        # Tokens are an administrator's business.
        self.assertIn("create_token", {e["command"] for e in self.audit()})
        self.assertNotIn("create_token", {e["command"] for e in self.audit(token=self.ours)})

    def test_what_an_administrator_did_is_shown_without_where_he_sits(self):
        status, body, _ = self.platform.api("PUT", self.path, {"description": "by the platform"})
        self.assertEqual(status, 200, body)
        by_admin = [e for e in self.audit(token=self.ours) if e["role"] == "admin"]
        self.assertTrue(by_admin)
        self.assertEqual({(e["client_address"], e["user_agent"]) for e in by_admin}, {("", "")})
        seen = next(e for e in self.audit("?project=" + OURS) if e["role"] == "admin")
        self.assertEqual(seen["client_address"], "127.0.0.1")

    def test_pages_hold_each_entry_once(self):
        for i in range(5):
            status, body, _ = self.platform.api("PUT", self.path, {"description": f"page {i}"},
                                                token=self.ours)
            self.assertEqual(status, 200, body)
        until = self.audit(token=self.ours)[0]["time"]
        whole = [e["command_id"] for e in self.audit("?to=" + until, token=self.ours)]
        self.assertGreaterEqual(len(whole), 4)
        paged, query = [], f"?to={until}&page_limit=2"
        marker = ""
        while True:
            status, entries, headers = self.platform.api("GET", "/v1/audit" + query + marker,
                                                         token=self.ours)
            self.assertEqual(status, 200, entries)
            self.assertLessEqual(len(entries), 2)
            paged += [e["command_id"] for e in entries]
            if "X-Pagination-Marker" not in headers:
                break
            marker = "&page_marker=" + headers["X-Pagination-Marker"]
        self.assertEqual(paged, whole)

    def test_no_secret_is_in_it(self):
        status, user, _ = self.platform.api("POST", f"{self.path}/users",
                                            {"name": "app", "password": PASSWORD}, token=self.ours)
        self.assertEqual(status, 201, user)
        self.assertEqual(self.newest("create_user", self.ours)["outcome"], "accepted")
        kept = self.platform.psql(self.platform.run_json()["log_dsn"],
                                  "SELECT audit FROM log.command_result")
        self.assertIn("create_user", kept)
        for secret in (PASSWORD, "SCRAM-SHA-256$", self.ours, self.platform.admin_token()):
            self.assertNotIn(secret, kept)

    def test_who_nobody_knows_is_counted(self):
        targets = json.loads((self.platform.home / "prometheus/targets.json").read_text())
        target = next(t["targets"][0] for t in targets if t["labels"]["service"] == "api-gateway")

        def count():
            with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
            return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                       if line.startswith("trunkline_http_authentication_failures_total{"))
        before = count()
        for token in ("", "tl_nobody", "x"):
            self.assertEqual(self.platform.api("GET", "/v1/audit", token=token)[0], 401)
        wait_for(lambda: count() >= before + 3, 20, "three failures in the metrics")

    def test_the_command_line_shows_it(self):
        shown = subprocess.run(
            [self.platform.run_json()["cli"], "audit", "--project", OURS, "--whole"],
            env={**os.environ, "TRUNKLINE_HOME": str(self.platform.home)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=60)
        self.assertEqual(shown.returncode, 0, shown.stdout)
        self.assertIn("create_instance", shown.stdout)
        self.assertIn("instance-" + self.instance["uuid"], shown.stdout)
        self.assertNotIn(self.other["uuid"], shown.stdout)


if __name__ == "__main__":
    unittest.main()
