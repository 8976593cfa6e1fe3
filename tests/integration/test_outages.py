"""Parts of the control plane are away for a while: nobody who writes to an instance notices, and
afterwards orders are taken again, by themselves.

TRUNKLINE_OUTAGE_SECONDS (default 5) is how long each one lasts.
"""

import contextlib
import os
import signal
import time
import unittest

from customer import INSTANCES
from platform_fixture import wait_for
from survivor import Survivor, SurvivorTest

SECONDS = float(os.environ.get("TRUNKLINE_OUTAGE_SECONDS", "5"))


class Outages(SurvivorTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.survivor = Survivor(cls.platform)

    def supervisor(self):
        return int((self.platform.home / "run" / "supervisor.lock").read_text())

    def await_orders_and_answers(self):
        """By itself, after an outage."""
        path = f"{INSTANCES}/{self.survivor.uuid}"

        def taken(method, path, body=None):
            with contextlib.suppress(OSError):  # no answer in time
                return self.platform.api(method, path, body)[0] == 200
            return False
        wait_for(lambda: taken("PUT", path, {"description": self.id()}), 60, "an order taken")
        wait_for(lambda: taken("GET", f"{path}/events"), 60, "an answer")

    def failovers_begun(self):
        return self.survivor.event_types().count("failover_started")

    def bear(self, begin, end):
        self.survivor.await_all_streaming()
        known = self.failovers_begun()
        started = self.survivor.postmaster_start()
        work, watch = self.workload(clients=2), self.watch()
        begin()
        try:
            time.sleep(SECONDS)
        finally:
            end()
        self.await_orders_and_answers()
        time.sleep(3)
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assert_one_primary(watch.finish())
        self.assertEqual(result["errors"], {})
        self.survivor.await_all_streaming()
        self.assertEqual(self.failovers_begun(), known)
        self.assertEqual(self.survivor.postmaster_start(), started)

    def bear_frozen(self, name):
        pid = self.platform.pid(name)
        self.bear(lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT))

    def bear_killed(self, name):
        """Nobody starts it again while its supervisor is frozen."""
        supervisor = self.supervisor()

        def kill():
            pid = self.platform.pid(name)
            os.kill(supervisor, signal.SIGSTOP)
            os.kill(pid, signal.SIGKILL)
        self.bear(kill, lambda: os.kill(supervisor, signal.SIGCONT))

    # --- tests

    def test_bus_frozen(self):
        self.bear_frozen("nats")

    def test_bus_killed(self):
        self.bear_killed("nats")

    def test_log_frozen(self):
        self.bear_frozen("log-postgres")

    def test_log_killed(self):
        self.bear_killed("log-postgres")

    def test_bus_frozen_and_standbys_for_a_while(self):
        """Nobody grants a lease, and nobody confirms: the primary ends, and is back with them."""
        self.survivor.await_all_streaming()
        known = self.failovers_begun()
        primary = self.survivor.primary()
        hosts = [n["host"] for n in self.survivor.nodes() if n["uuid"] != primary["uuid"]]
        started = self.survivor.postmaster_start()
        work, watch = self.workload(clients=2), self.watch()
        bus = self.platform.pid("nats")
        self.addCleanup(os.kill, bus, signal.SIGCONT)
        os.kill(bus, signal.SIGSTOP)
        for host in hosts:
            self.addCleanup(self.survivor.signal_host, host, signal.SIGCONT)
            self.survivor.signal_host(host, signal.SIGSTOP)
        wait_for(lambda: not self.survivor.serves(primary), 30, "a primary without a lease to end")
        for host in hosts:
            self.survivor.signal_host(host, signal.SIGCONT)
        wait_for(lambda: self.survivor.serves(primary), 60, "a primary that its voters carry")
        self.assertNotEqual(self.survivor.postmaster_start(), started)
        os.kill(bus, signal.SIGCONT)
        self.await_orders_and_answers()
        self.survivor.await_all_streaming()
        self.assert_nothing_lost(work.finish())
        self.assert_one_primary(watch.finish())
        self.assertEqual(self.failovers_begun(), known)
        self.assertEqual(self.survivor.primary()["uuid"], primary["uuid"])
        self.assert_rows_equal_everywhere()


if __name__ == "__main__":
    unittest.main()
