"""The `trunkline` command against a whole platform: what a user types, and its exit codes."""

import json
import pathlib
import secrets
import subprocess

from platform_fixture import BIN_DIR, PlatformTest, wait_for

TRUNKLINE = str(pathlib.Path(BIN_DIR) / "trunkline")
PASSWORD = "canary-" + secrets.token_hex(8)


class Cli(PlatformTest):
    def trunkline(self, *arguments, expect=0, stdin="", **env):
        done = subprocess.run([TRUNKLINE, *arguments], input=stdin, text=True, timeout=120,
                              env={"PATH": "/usr/bin:/bin",
                                   "TRUNKLINE_HOME": str(self.platform.home), **env},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, expect,
                         f"trunkline {' '.join(arguments)}\n{done.stdout}\n{done.stderr}")
        return done.stdout if expect == 0 else done.stdout + done.stderr

    def json(self, *arguments):
        return json.loads(self.trunkline("-o", "json", *arguments))

    def create(self, name, *arguments):
        return self.json("instances", "create", "--name", name, "--ram", "512", "--wait",
                         *arguments)

    def test_a_whole_life(self):
        instance = self.create("life")
        self.assertEqual(instance["status"], "ACTIVE")
        self.trunkline("users", "create", "--instance", "life", "--name", "app", "--wait",
                       stdin=PASSWORD + "\n")
        self.trunkline("databases", "create", "--instance", "life", "--name", "shop", "--owner",
                       "app", "--wait")
        self.assertRegex(self.trunkline("databases", "list", "--instance", "life"),
                         r"shop +ACTIVE +app")
        endpoint = instance["endpoints"]["read_write"]
        dsn = f"host={endpoint['host']} port={endpoint['port']} dbname=shop user=app"
        self.assertEqual(self.platform.psql(dsn, "SELECT current_user", password=PASSWORD), "app")

        new_password = PASSWORD + "-2"
        file = self.platform.parent / "password"
        file.write_text(new_password + "\n")
        before = self.json("users", "get", "app", "--instance", "life")
        self.trunkline("users", "update", "app", "--instance", "life", "--password-file",
                       str(file), "--wait")
        self.assertEqual(before["name"], "app")
        wait_for(lambda: self.can_connect(dsn, new_password), 15, "the new password")

        self.trunkline("instances", "update", "life", "--description", "changed", "--wait")
        self.assertIn("changed", self.trunkline("instances", "get", "life"))
        self.assertIn("instance_activated", self.trunkline("instances", "history", "life"))
        shown = self.trunkline("log", "show", "life")
        self.assertIn("user_created", shown)
        self.assertNotIn("SCRAM", shown)
        self.trunkline("users", "delete", "app", "--instance", "life", expect=2)  # owns shop
        self.trunkline("databases", "delete", "shop", "--instance", "life")
        self.trunkline("users", "delete", "app", "--instance", "life")
        self.trunkline("instances", "delete", "life", "--wait")
        self.trunkline("instances", "get", "life", expect=3)

    def can_connect(self, dsn, password):
        try:
            return self.platform.psql(dsn, "SELECT 1", password=password) == "1"
        except AssertionError:
            return False

    def test_the_past(self):
        instance = self.create("past")
        uuid = instance["uuid"]
        first = self.json("instances", "history", uuid)[0]
        self.assertEqual(first["type"], "instance_created")
        then = self.json("log", "at", str(first["position"]), "--instance", uuid)
        self.assertEqual(then["status"], "NEW")
        self.assertEqual(self.json("log", "at", str(first["position"]))["position"],
                         first["position"])
        self.trunkline("instances", "delete", uuid, "--wait")
        then = self.json("log", "at", str(first["position"]), "--instance", uuid)
        self.assertEqual(then["name"], "past")

    def test_refusals(self):
        self.assertIn("cpu", self.trunkline("instances", "create", "--name", "x", "--cpu", "1000",
                                            expect=2))
        self.trunkline("instances", "get", "nobody", expect=3)
        self.trunkline("instances", "frobnicate", expect=1)
        self.trunkline("instances", "list", expect=4,
                       TRUNKLINE_API=f"http://127.0.0.1:{self.platform.port_base + 9}")
        token = self.platform.parent / "bad.token"
        token.write_text("tl_wrong\n")
        self.trunkline("instances", "list", "--token-file", str(token), expect=2)

    def test_hosts_and_tokens(self):
        self.assertEqual(len(self.json("hosts", "list")), 3)
        self.assertFalse(self.json("hosts", "cordon", "host-a")["schedulable"])
        self.assertTrue(self.json("hosts", "uncordon", "host-a")["schedulable"])
        file = self.platform.parent / "new.token"
        project = "0b9f6b3e-1111-4000-8000-000000000001"
        self.trunkline("tokens", "create", "--name", "ci", "--role", "reader", "--project",
                       project, "--out", str(file))
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        as_reader = ["--token-file", str(file)]
        self.trunkline("instances", "list", *as_reader)
        self.trunkline("hosts", "list", *as_reader, expect=2)
        self.trunkline("tokens", "revoke", "ci")
        wait_for(lambda: self.is_refused(file), 10, "the revoked token is refused")

    def is_refused(self, token_file):
        return subprocess.run([TRUNKLINE, "instances", "list", "--token-file", str(token_file)],
                              env={"TRUNKLINE_HOME": str(self.platform.home)},
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=30).returncode == 2

    def test_the_log(self):
        self.create("logged")
        self.assertIn("sound", self.trunkline("log", "verify"))
        self.assertIn("instance_created", self.trunkline("log", "tail", "-n", "1000"))
        stats = self.json("log", "stats")
        self.assertGreater(stats["events"], 5)
        before = self.json("log", "checksum")
        rebuilt = self.json("log", "rebuild")
        self.assertTrue(rebuilt["ok"])
        after = self.json("log", "checksum")
        if before["position"] == after["position"]:
            self.assertEqual(before["checksum"], after["checksum"])
        self.assertIn("ACTIVE", self.trunkline("instances", "get", "logged"))

    def test_status(self):
        shown = self.trunkline("status")
        self.assertRegex(shown, r"ready: +ok")
        for name in self.platform.process_names():
            self.assertRegex(shown, rf"{name} +\d+ +running")
