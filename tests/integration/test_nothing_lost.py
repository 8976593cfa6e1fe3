"""Crashes of every part at random moments while customers order, change and delete; NATS wiped; the
read model dropped; a password that must be nowhere.

TRUNKLINE_CHAOS_KILLS (default 40) and TRUNKLINE_CHAOS_LIVES (default 12) set the scale, and
TRUNKLINE_CHAOS_SEED replays the order of the kills.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import threading
import time
import unittest

from customer import Customer, INSTANCES, Refused
from platform_fixture import PlatformTest, wait_for

KILLS = int(os.environ.get("TRUNKLINE_CHAOS_KILLS", "40"))
LIVES = int(os.environ.get("TRUNKLINE_CHAOS_LIVES", "12"))
SEED = int(os.environ.get("TRUNKLINE_CHAOS_SEED", str(random.randrange(10**6))))
CANARY = "cAnArY-7f3a91c2-pw"
# Every way in which the client library says that a connection ended or never came about.
PROXY_AWAY = ("Connection refused", "server closed the connection", "Connection reset by peer",
              "Broken pipe", "EOF detected", "SSL connection has been closed",
              "connection to server was lost", "SSL error: unexpected eof")


def cli(platform, *args):
    return subprocess.run([platform.run_json()["cli"], *args], text=True, timeout=120,
                          env=dict(os.environ, TRUNKLINE_HOME=str(platform.home)),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Patient(Customer):
    """Asks again, with the same Idempotency-Key, until there is an answer."""

    def call(self, method, path, body=None, headers=None, expect=(200, 201, 204)):
        headers = dict(headers or {})
        if method != "GET":
            headers.setdefault("Idempotency-Key", f"{random.getrandbits(64):x}")
        deadline = time.monotonic() + 120
        while True:
            try:
                status, answer, more = self.platform.api(method, path, body, self.token, headers)
            except OSError:
                status, answer = 0, "connection lost"
            if status in expect:
                return answer
            if status not in (0, 202, 429, 503) or time.monotonic() > deadline:
                raise Refused(status, answer)
            time.sleep(0.1)

    def sql(self, dsn, text, password="correct horse"):
        """What may be said twice; said again while the proxy is away."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return super().sql(dsn, text, password)
            except AssertionError as error:
                away = any(words in str(error) for words in PROXY_AWAY)
                if not away or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)


class NothingLost(PlatformTest):
    def standing(self, customer, nodes):
        """An instance that nobody touches from now on."""
        uuid = customer.order(nodes=nodes, sync=min(1, nodes - 1), name=f"bystander-{nodes}")
        database = customer.database(uuid, customer.user(uuid))
        customer.wait_active(uuid)
        customer.wait_object(f"{INSTANCES}/{uuid}/databases/{database}")
        return uuid

    def servers(self, customer, uuid):
        """What a restart or a failover would change: pid and start of each server, the term."""
        started = {}
        for node in customer.get(uuid)["nodes"]:
            file = next(self.platform.home.resolve().rglob(f"{node['uuid']}/**/postmaster.pid"))
            pid, _, start = file.read_text().split("\n")[:3]
            started[node["uuid"]] = (pid, start)
        return started, customer.call("GET", f"{INSTANCES}/{uuid}/failovers")

    def assert_log_is_sound(self):
        verified = cli(self.platform, "log", "verify")
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)

    def test_random_kills_while_instances_live(self):
        print(f"TRUNKLINE_CHAOS_SEED={SEED} kills={KILLS} lives={LIVES}", flush=True)
        customer = Patient(self.platform)
        bystanders = [self.standing(customer, nodes) for nodes in (1, 3)]
        before = [self.servers(customer, uuid) for uuid in bystanders]

        problems, kept = [], []
        next_life, lock = iter(range(LIVES)), threading.Lock()

        def live():
            mine = Patient(self.platform)
            while True:
                with lock:
                    number = next(next_life, None)
                if number is None:
                    return
                try:
                    uuid = mine.order(nodes=1 + number % 2, name=f"life-{number}")
                    owner = mine.user(uuid, "alice", f"password {number}")
                    database = mine.database(uuid, owner)
                    instance = mine.wait_active(uuid, 240)
                    mine.wait_object(f"{INSTANCES}/{uuid}/databases/{database}", 240)
                    mine.sql(mine.dsn(instance),
                             f"create table if not exists t as select {number} as i",
                             f"password {number}")
                    if number % 3 == 0:
                        with lock:
                            kept.append((number, uuid))
                    else:
                        mine.delete(uuid)
                except Exception as error:  # the thread's only way to say so
                    problems.append(f"life {number}: {error!r}")

        lives = [threading.Thread(target=live) for _ in range(4)]
        for thread in lives:
            thread.start()
        dice = random.Random(SEED)
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.05, 0.6))
            name = dice.choice(self.platform.process_names())
            try:
                os.kill(self.platform.pid(name), signal.SIGKILL)
            except (ProcessLookupError, KeyError, ValueError):
                pass
        for thread in lives:
            thread.join(600)
        self.assertEqual(problems, [])

        for number, uuid in kept:
            instance = customer.wait_active(uuid)
            self.assertEqual(customer.sql(customer.dsn(instance), "select i from t",
                                          f"password {number}"), str(number))
        self.assertEqual([self.servers(customer, uuid) for uuid in bystanders], before,
                         "a live instance was restarted or changed its primary")
        self.assert_log_is_sound()
        alive = {n["uuid"] for i in customer.call("GET", INSTANCES) for n in i["nodes"]}
        nodes_dir = self.platform.home.resolve() / "hosts"

        def directories():
            return {p.name for p in nodes_dir.glob("*/nodes/*-*-*-*-*") if p.is_dir()}
        wait_for(lambda: directories() == alive, 120,
                 f"no orphans: {directories() ^ alive}")

    def test_wiped_nats_and_dropped_read_model_lose_nothing(self):
        customer = Patient(self.platform)
        uuid = customer.order(name="keeps")
        customer.wait_active(uuid)

        def documents():
            return json.dumps([customer.call("GET", path) for path in (
                "/v1/postgres/versions", f"{INSTANCES}?fields=uuid,name,status,created_at")])
        before = documents()
        # A crash of the bus that takes its disk with it.
        pid = self.platform.pid("nats")
        os.kill(pid, signal.SIGSTOP)
        storage = self.platform.home.resolve() / "nats"
        for entry in storage.iterdir():
            shutil.rmtree(entry, ignore_errors=True)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.platform.pid("nats") != pid, 30, "a new nats-server")
        customer.change(uuid, description="after the wipe")
        self.assertEqual(customer.get(uuid)["description"], "after the wipe")
        self.assertEqual(documents(), before)

        superuser = self.platform.run_json()["log_dsn"].replace(
            "user=tl_reader", "user=tl_lookup").replace("trunkline_log", "trunkline_lookup")
        self.platform.psql(superuser, "drop schema read_model cascade")
        wait_for(lambda: documents() == before, 60, "the read model is made again")
        rebuilt = cli(self.platform, "log", "rebuild")
        self.assertEqual(rebuilt.returncode, 0, rebuilt.stderr)
        self.assertEqual(documents(), before)
        self.assert_log_is_sound()

    def test_a_password_is_nowhere_but_as_a_verifier(self):
        customer = Customer(self.platform)
        uuid = customer.order(name="canary")
        owner = customer.user(uuid, "alice", CANARY)
        database = customer.database(uuid, owner)
        instance = customer.wait_active(uuid)
        customer.wait_object(f"{INSTANCES}/{uuid}/databases/{database}")
        self.assertEqual(customer.sql(customer.dsn(instance), "select 1", CANARY), "1")
        customer.call("PUT", f"{INSTANCES}/{uuid}/users/{owner}", {"password": CANARY + "2"})
        home = str(self.platform.home.resolve())
        found = subprocess.run(["grep", "-rlaF", CANARY, home], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL).stdout.split()
        self.assertEqual(found, [])
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    self.assertNotIn(CANARY.encode(), (entry / "cmdline").read_bytes())
                except OSError:
                    continue


if __name__ == "__main__":
    unittest.main()
