"""Usage as a billing system gets it from TL_USAGE is what the log bills, to the unit: metering is
killed, PostgreSQL crashes, NATS is wiped, instances come, change and go.

TRUNKLINE_METERING_KILLS (default 10) and TRUNKLINE_METERING_TURNS (default 2) set the scale.
"""

import base64
import collections
import contextlib
import decimal
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
import unittest
import urllib.request
import uuid as uuids

from customer import INSTANCES
from platform_fixture import NatsRefused, Platform, wait_for
from test_nothing_lost import Patient
from usage_from_log import EVENT_METERS, UsageFromLog, base_units, unix_ms

KILLS = int(os.environ.get("TRUNKLINE_METERING_KILLS", "10"))
TURNS = int(os.environ.get("TRUNKLINE_METERING_TURNS", "2"))
WINDOW_MS = 2000
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

# The rules of the CloudEvents 1.0 JSON schema, as (type, least length, format) by attribute.
CLOUD_EVENT = {
    "id": (str, 1, None), "source": (str, 1, "uri-reference"), "specversion": (str, 1, None),
    "type": (str, 1, None), "datacontenttype": (str, 1, None), "dataschema": (str, 1, "uri"),
    "subject": (str, 1, None), "time": (str, 1, "date-time"), "data": (dict, 0, None)}
REQUIRED = ("id", "source", "specversion", "type")


class BillingBus:
    """What the billing system's user may: read the stream, one message after the other."""

    def __init__(self, platform):
        self.platform = platform
        self.connection = platform.nats("billing", platform.secret("nats-billing.password"))
        self.requests = 0

    def close(self):
        self.connection.close()

    def ask(self, subject, body):
        self.requests += 1
        inbox = f"tl.inbox.billing.{self.requests}"
        sid = str(self.requests)
        self.connection.subscribe(inbox, sid)
        self.connection.messages.clear()
        self.connection.publish(subject, json.dumps(body).encode() if body else b"", inbox)

        def answer():
            self.connection.flush()
            return [data for to, data in self.connection.messages if to == inbox]
        found = wait_for(answer, 10, f"an answer on {subject}")[0]
        self.connection.unsubscribe(sid)
        return json.loads(found) if found else {}

    def info(self):
        return self.ask("$JS.API.STREAM.INFO.TL_USAGE", None)

    def read(self, sequence):
        """(headers as text, event's text)."""
        message = self.ask("$JS.API.STREAM.MSG.GET.TL_USAGE", {"seq": sequence})["message"]
        return (base64.b64decode(message["hdrs"]).decode(),
                base64.b64decode(message["data"]).decode(), message["subject"])


class Consumer:
    """Of a billing system: knows where it is in the stream, and dedupes by id."""

    def __init__(self):
        self.stream, self.next, self.position, self.seen = None, 1, 0, {}


class Metering(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.platform = Platform(env={"TRUNKLINE_USAGE_WINDOW_MS": str(WINDOW_MS),
                                     "TRUNKLINE_USAGE_GRACE_MS": "500"})
        cls.addClassCleanup(cls.platform.tear_down)
        cls.platform.start()

    def log_events(self):
        done = subprocess.run(
            [self.platform.run_json()["cli"], "--output", "json", "log", "tail", "-n", "1000000"],
            env=dict(os.environ, TRUNKLINE_HOME=str(self.platform.home)), text=True, timeout=120,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]

    def kill(self, name):
        pid = self.platform.pid(name)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        wait_for(lambda: self.platform.pid(name) != pid, 60, f"a new {name}")

    def wipe_nats(self):
        pid = self.platform.pid("nats")
        os.kill(pid, signal.SIGSTOP)
        for entry in (self.platform.home.resolve() / "nats").iterdir():
            shutil.rmtree(entry, ignore_errors=True)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.platform.pid("nats") != pid, 60, "a new nats-server")

    def ask_metering(self, **request):
        with self.platform.nats("gateway", self.platform.secret("nats-gateway.password")) as bus:
            inbox = "tl.inbox.gateway.metering-test"
            bus.subscribe(inbox)
            bus.publish("tl.admin.metering", json.dumps(request).encode(), inbox)

            def answer():
                bus.flush()
                return [data for to, data in bus.messages if to == inbox]
            return json.loads(wait_for(answer, 60, "metering's answer")[0])

    def consume(self, consumer):
        """Takes what the stream holds beyond what this consumer has taken of it."""
        try:
            bus = BillingBus(self.platform)
        except (OSError, NatsRefused):  # it begins anew
            return
        try:
            info = bus.info()
            if info.get("created") != consumer.stream:
                consumer.stream, consumer.next, consumer.position = info.get("created"), 1, 0
            for sequence in range(consumer.next, info.get("state", {}).get("last_seq", 0) + 1):
                headers, text, subject = bus.read(sequence)
                event = json.loads(text, parse_float=decimal.Decimal)
                self.check_event(event, headers, subject)
                self.assertGreaterEqual(event["data"]["position"], consumer.position, "the order")
                consumer.position = event["data"]["position"]
                known = consumer.seen.setdefault(event["id"], text)
                self.assertEqual(known, text, "one id, two records")
                consumer.next = sequence + 1
        finally:
            bus.close()

    def check_event(self, event, headers, subject):
        self.assertLessEqual(set(event), set(CLOUD_EVENT), "attributes that the schema knows")
        for name in REQUIRED:
            self.assertIn(name, event)
        for name, (kind, least, form) in CLOUD_EVENT.items():
            self.assertIsInstance(event[name], kind)
            self.assertGreaterEqual(len(event[name]), least)
            if form == "date-time":
                self.assertRegex(event[name], RFC3339)
            if form == "uri":
                self.assertRegex(event[name], r"^[a-z]+://[^ ]+$")
        self.assertEqual(event["specversion"], "1.0")
        self.assertEqual(event["type"], "io.trunkline.usage.v1")
        self.assertIn("Content-Type: application/cloudevents+json", headers)
        self.assertIn(f"Nats-Msg-Id: {event['id']}", headers)
        data = event["data"]
        self.assertEqual(subject, f"tl.usage.{event['subject']}.{data['instance']}")
        self.assertEqual(str(uuids.UUID(event["id"])), event["id"])
        self.assertIn(data["kind"], ("original", "correction"))
        self.assertEqual(event["time"], data["window_end"])
        meters = set(data) - {"instance", "node", "window_start", "window_end", "kind", "position"}
        self.assertLessEqual(meters, set(EVENT_METERS))
        self.assertTrue(meters)

    def billed(self, seen, position):
        usage = collections.defaultdict(lambda: collections.defaultdict(int))
        for text in seen.values():
            data = json.loads(text, parse_float=decimal.Decimal)["data"]
            if data["position"] > position:
                continue
            start = unix_ms(data["window_start"])
            for unit, amount in base_units(data).items():
                usage[(data["instance"], data["node"], start)][unit] += amount
        usage = {key: {u: n for u, n in amounts.items() if n} for key, amounts in usage.items()}
        return {key: amounts for key, amounts in usage.items() if amounts}

    def live(self, problems):
        """Customers: two instances, one of them changed, one deleted; both are used."""
        try:
            customer = Patient(self.platform)
            keeps = customer.order(name="keeps", nodes=2)
            goes = customer.order(name="goes")
            for uuid in (keeps, goes):
                owner = customer.user(uuid)
                database = customer.database(uuid, owner)
                instance = customer.wait_active(uuid, 180)
                customer.wait_object(f"{INSTANCES}/{uuid}/databases/{database}", 180)
                dsn = customer.dsn(instance)
                customer.sql(dsn, "create table t as select generate_series(1, 20000) as i")
                for _ in range(20):
                    customer.sql(dsn, "insert into t select generate_series(1, 1000)")
            customer.change(keeps, cpu=2, ram=1024)
            customer.wait_active(keeps, 180)
            customer.delete(goes)
        except Exception as error:  # the thread's only way to say so
            problems.append(repr(error))

    def test_a_bill_is_what_the_log_says(self):
        problems = []
        life = threading.Thread(target=self.live, args=(problems,))
        life.start()
        dice = random.Random(KILLS)
        for number in range(KILLS):
            time.sleep(dice.uniform(0.2, 2.0))
            self.kill("metering")
            if number == KILLS // 4:
                self.kill("log-postgres")
            if number == KILLS // 2:
                self.wipe_nats()
        life.join(600)
        self.assertEqual(problems, [])

        # Agents and proxies tell every ten seconds; then their counts must be in a closed window.
        def has_counted():
            log = self.log_events()
            closed = max([0] + [e["position"] for e in log if e["type"] == "usage_window_closed"])
            measured = [e for e in log
                        if e["type"] == "usage_measured" and e["position"] < closed]
            nodes = any(n.get("used", {}).get("transactions") for e in measured
                        for n in e["payload"].get("nodes", []))
            endpoints = any(e["payload"].get("endpoints") for e in measured)
            return nodes and endpoints and log
        events = wait_for(has_counted, 120, "counts of agents and proxies in the log")
        expected = UsageFromLog(events)
        self.assertGreater(len(expected.usage), 10)

        first = Consumer()

        def has_all():
            self.consume(first)
            return self.billed(first.seen, expected.closed_position) == expected.usage
        try:
            wait_for(has_all, 60, "the stream holds all usage")
        except AssertionError:
            billed = self.billed(first.seen, expected.closed_position)
            for key in sorted(set(billed) | set(expected.usage), key=str):
                self.assertEqual(billed.get(key), expected.usage.get(key), key)
            raise

        self.wipe_nats()

        second = Consumer()

        def is_refilled():
            self.consume(second)
            return set(first.seen) <= set(second.seen)
        wait_for(is_refilled, 60, "a wiped stream is filled again")
        self.assertEqual({uuid: second.seen[uuid] for uuid in first.seen}, first.seen)

        before = self.ask_metering(op="checksum", up_to=expected.closed_position)
        self.assertGreater(before["records"], 0)
        report = wait_for(self.rebuild, 60, "a rebuild")
        self.assertGreaterEqual(report["records"], before["records"])
        after = self.ask_metering(op="checksum", up_to=expected.closed_position)
        self.assertEqual(after, before, "a rebuild makes the same records")

    def test_two_processes_take_turns(self):
        Patient(self.platform).order(name="runs")
        last_close = self.newest_close()
        for turn in range(TURNS):
            wait_for(lambda: self.is_active() is True, 60, "the supervisor's process is active")
            second, log = self.start_another(f"second-{turn}.log")
            wait_for(lambda: "metering is up" in log.read_text(), 60, "a second process")
            self.await_close_after(last_close)
            self.assertNotIn("metering is active", log.read_text())
            with self.nobody_restarts():
                os.kill(self.platform.pid("metering"), signal.SIGKILL)
                wait_for(lambda: "metering is active" in log.read_text(), 60, "it takes over")
            wait_for(lambda: self.is_active() is False, 60, "the first one is back and waits")
            last_close = self.await_close_after(self.newest_close())
            self.assertIs(self.is_active(), False)
            second.kill()
            second.wait()
            last_close = self.await_close_after(last_close)
        self.assertIs(self.is_active(), True)

        events = self.log_events()
        ends = [int(e["payload"]["window_end_unix_ms"]) for e in events
                if e["type"] == "usage_window_closed"]
        self.assertEqual(ends, sorted(set(ends)), "each window is closed once, in order")
        expected = UsageFromLog(events)
        consumer = Consumer()

        def has_all():
            self.consume(consumer)
            return self.billed(consumer.seen, expected.closed_position) == expected.usage
        wait_for(has_all, 60, "the stream holds all usage")

    @contextlib.contextmanager
    def nobody_restarts(self):
        """Otherwise a killed process is back before one that waits looks the next time."""
        supervisor = int((self.platform.home / "run" / "supervisor.lock").read_text())
        os.kill(supervisor, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(supervisor, signal.SIGCONT)

    def start_another(self, log_name):
        """A second metering beside the one that the supervisor keeps, and its log."""
        log = self.platform.parent / log_name
        with open(log, "wb") as output:
            process = self.platform.spawn_service("metering", output)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, log

    def is_active(self):
        """What the supervisor's process says of itself; None while it says nothing."""
        targets = json.loads((self.platform.home / "prometheus/targets.json").read_text())
        (target,) = [entry["targets"][0] for entry in targets
                     if entry["labels"]["service"] == "metering"]
        try:
            with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        shown = re.search(r"^trunkline_metering_active (.*)$", text, re.M)
        return shown and float(shown[1]) == 1

    def newest_close(self):
        return max([0] + [e["position"] for e in self.log_events()
                          if e["type"] == "usage_window_closed"])

    def await_close_after(self, position):
        def newer():
            newest = self.newest_close()
            return newest if newest > position else None
        return wait_for(newer, 60, "another window is closed")

    def rebuild(self):
        """Nothing while no process is active yet."""
        report = self.ask_metering(op="rebuild")
        return report if report["ok"] else None


if __name__ == "__main__":
    unittest.main()
