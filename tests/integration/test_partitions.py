"""An instance whose hosts, proxy and control plane are cut off from each other, while clients write
through the endpoint and a watcher tries to write to every node: nothing acknowledged is lost, and
no two nodes take writes at once. Afterwards all of it is whole again by itself.

TRUNKLINE_PARTITION_SECONDS (default 3) is how long a cut lasts that is to be borne.
TRUNKLINE_CHAOS_SEED replays the flapping.
"""

import contextlib
import os
import random
import signal
import time
import unittest

import network
from network import ALL, BUS, HOST, PROXY
from platform_fixture import Platform, wait_for
from survivor import HOSTS, Survivor, SurvivorTest

SECONDS = float(os.environ.get("TRUNKLINE_PARTITION_SECONDS", "3"))
SEED = int(os.environ.get("TRUNKLINE_CHAOS_SEED", str(random.randrange(10**6))))


class Partitions(SurvivorTest):
    @classmethod
    def setUpClass(cls):
        try:
            cls.network = network.enter()
        except network.Unavailable as why:
            print(f"skipped: {why}", flush=True)
            raise unittest.SkipTest(str(why)) from why
        cls.platform = Platform(env=cls.network.env)
        cls.addClassCleanup(cls.platform.tear_down)
        cls.platform.start()
        cls.survivor = Survivor(cls.platform)

    def setUp(self):
        self.addCleanup(self.network.heal)
        self.survivor.await_all_streaming()
        self.old = self.survivor.primary()
        self.host = HOST[self.old["host"]]
        self.standbys = {HOST[n] for n in HOSTS} - {self.host}
        self.known = len(self.survivor.failovers())
        self.started = self.survivor.postmaster_start()

    @contextlib.contextmanager
    def written_to(self, thaws=0):
        """Under load and watched; after the body the network heals, and all must be well."""
        work = self.workload()
        watch = self.watch(before=network.runs_in("watcher"))
        time.sleep(0.5)
        result = {}
        yield result
        self.network.heal()
        self.survivor.await_all_streaming()
        time.sleep(0.5)
        result.update(work.finish())
        self.assert_one_primary(watch.finish(), thaws)
        self.assert_nothing_lost(result)
        self.survivor.await_all_streaming()
        self.assert_rows_equal_everywhere()

    def assert_failed_over(self):
        new = self.survivor.await_new_primary(self.old)
        self.assertIn(HOST[new["host"]], self.standbys)
        return new

    # --- tests

    def test_primary_alone(self):
        with self.written_to():
            self.network.cut({self.host}, ALL)
            new = self.assert_failed_over()
            time.sleep(2)
        self.assertEqual(self.survivor.primary()["uuid"], new["uuid"])

    def test_primary_that_nobody_hears(self):
        with self.written_to():
            self.network.cut_one_way({self.host}, ALL)
            self.assert_failed_over()

    def test_primary_that_hears_nobody(self):
        with self.written_to():
            self.network.cut_one_way(ALL, {self.host})
            self.assert_failed_over()

    def test_cuts_of_the_control_plane_are_not_noticed(self):
        with self.written_to() as result:
            for name, cut in (
                    ("from the primary and the proxy",
                     lambda: self.network.cut({BUS}, {self.host, PROXY})),
                    ("from all", lambda: self.network.cut({BUS}, ALL)),
                    ("does not hear the primary's host",
                     lambda: self.network.cut_one_way({self.host}, {BUS})),
                    ("is not heard by the primary's host",
                     lambda: self.network.cut_one_way({BUS}, {self.host}))):
                print(f"  control plane {name}", flush=True)
                cut()
                time.sleep(SECONDS)
                self.network.heal()
                time.sleep(0.5)
        self.assertEqual(result["errors"], {})
        self.assertEqual(len(self.survivor.failovers()), self.known)
        self.assertEqual(self.survivor.postmaster_start(), self.started)

    def test_primary_without_its_standbys(self):
        """Nobody can confirm its writes."""
        with self.written_to():
            self.network.cut({self.host}, self.standbys)
            time.sleep(SECONDS)

    def test_proxy_without_the_nodes(self):
        with self.written_to():
            self.network.cut({PROXY}, set(HOST.values()))
            time.sleep(SECONDS)
        self.assertEqual(len(self.survivor.failovers()), self.known)
        self.assertEqual(self.survivor.postmaster_start(), self.started)

    def test_flapping_link_of_the_primary(self):
        print(f"TRUNKLINE_CHAOS_SEED={SEED}", flush=True)
        dice = random.Random(SEED)
        until = time.monotonic() + SECONDS
        with self.written_to():
            while time.monotonic() < until:
                self.network.cut({self.host}, ALL)
                time.sleep(dice.uniform(0.1, 1.5))
                self.network.heal()
                time.sleep(dice.uniform(0.1, 1))

    # --- a standby that is behind, and nobody else

    @contextlib.contextmanager
    def only_the_lagging_one_left(self):
        """The primary and the standby that kept up are dead; the yielded hosts are those two's
        and the lagging one's."""
        good, lagging = (n for n in self.survivor.nodes() if n["role"] == "standby")
        self.network.cut({HOST[lagging["host"]]}, {self.host})
        time.sleep(1)
        for node in (self.old, good):
            self.survivor.signal_host(node["host"], signal.SIGSTOP)
            self.addCleanup(self.survivor.signal_host, node["host"], signal.SIGCONT)
        yield good, lagging
        self.survivor.signal_host(good["host"], signal.SIGCONT)
        self.survivor.signal_host(self.old["host"], signal.SIGCONT)

    def await_reason(self, missing):
        """The API says that nobody can be promoted, and who is missing."""
        def said():
            failover = self.survivor.customer.get(self.survivor.uuid).get("failover")
            return failover if failover and missing["uuid"] in failover["why"] else None
        return wait_for(said, 20, "the reason why nobody is promoted")

    def test_a_lagging_standby_waits_for_the_one_that_has_all(self):
        with self.written_to(thaws=1):
            with self.only_the_lagging_one_left() as (good, lagging):
                print(f"  {self.await_reason(missing=good)}", flush=True)
                self.assertEqual(self.survivor.primary()["uuid"], self.old["uuid"])
                self.survivor.signal_host(good["host"], signal.SIGCONT)
                new = self.survivor.await_new_primary(self.old)
                self.assertEqual(new["uuid"], good["uuid"])


if __name__ == "__main__":
    unittest.main()
