"""Failovers of a real instance under load: its clients write through the endpoint all the time, and
what was acknowledged to them must be there, once and in order, whatever happened.

TRUNKLINE_FAILOVERS (default 5) is how many random ones there are, and where it is set the
controller is killed after each step, too; TRUNKLINE_CHAOS_SEED replays
their order.
"""

import contextlib
import os
import pathlib
import random
import signal
import subprocess
import time
import unittest

from customer import INSTANCES
from platform_fixture import BIN_DIR, wait_for
from survivor import Survivor, SurvivorTest

FAILOVERS = int(os.environ.get("TRUNKLINE_FAILOVERS", "5"))
SEED = int(os.environ.get("TRUNKLINE_CHAOS_SEED", str(random.randrange(10**6))))


class Failover(SurvivorTest):
    def setUp(self):
        self.survivor = Survivor(self.platform)
        self.addCleanup(self.survivor.remove)

    def owner_of_replication(self):
        return self.platform.psql(self.platform.run_json()["log_dsn"],
                                  "SELECT owner FROM log.ownership WHERE name = 'replication'")

    def start_another(self, service):
        """A second process of a service, beside the one that the supervisor keeps."""
        process = self.platform.spawn_service(service)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    # --- tests

    def test_a_killed_postmaster_is_back_soon(self):
        work = self.workload()
        time.sleep(1)
        self.survivor.kill_postmaster(self.survivor.primary())
        time.sleep(4)
        result = work.finish()
        self.assert_nothing_lost(result)
        self.survivor.await_all_streaming()

    def test_a_change_of_ram_is_not_seen_by_clients(self):
        work = self.workload()
        for ram in (1024, 512):
            self.survivor.customer.change(self.survivor.uuid, ram=ram)
            self.survivor.await_all_streaming()
            self.assertEqual(self.survivor.sql("show shared_buffers"), f"{ram // 4}MB")
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(result["errors"], {})
        self.assertNotIn("standby_lost", self.survivor.event_types(), "nobody was rebuilt")

    def test_a_frozen_host_is_failed_over_and_comes_back_as_a_standby(self):
        old = self.survivor.primary()
        work = self.workload()
        time.sleep(1)
        self.survivor.signal_host(old["host"], signal.SIGSTOP)
        new = self.survivor.await_new_primary(old)
        time.sleep(2)
        self.survivor.signal_host(old["host"], signal.SIGCONT)
        self.survivor.await_all_streaming()
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(self.survivor.primary()["uuid"], new["uuid"])
        self.assert_rows_equal_everywhere()
        told = self.survivor.failovers()[0]
        self.assertEqual((told["from_node"], told["to_node"]), (old["uuid"], new["uuid"]))
        self.assertTrue(told["rule"] and told["why"] and told["facts"], told)
        decisions = self.assert_decided_the_same_again(told["rule"], told["promotion"]["rule"])
        one = self.survivor.replayed(f"?position={decisions[0]['position']}")
        self.assertEqual(one, decisions[:1])
        told = subprocess.run(
            [str(pathlib.Path(BIN_DIR) / "trunkline"), "failovers", "replay", self.survivor.uuid],
            env={"PATH": "/usr/bin:/bin", "TRUNKLINE_HOME": str(self.platform.home)},
            stdout=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(told.returncode, 0, told.stdout)
        self.assertEqual(told.stdout.count("SAME"), len(decisions), told.stdout)

    def test_a_killed_host_that_restarts(self):
        old = self.survivor.primary()
        work = self.workload()
        time.sleep(1)
        self.survivor.signal_host(old["host"], signal.SIGKILL)
        time.sleep(6)
        self.survivor.await_all_streaming()
        self.assert_nothing_lost(work.finish())
        self.assert_rows_equal_everywhere()

    def test_a_switchover_is_not_seen_by_clients(self):
        old = self.survivor.primary()
        target = next(n for n in self.survivor.nodes() if n["role"] == "standby")
        work = self.workload()
        time.sleep(1)
        self.survivor.switch_over(target)
        new = self.survivor.await_new_primary(old)
        self.assertEqual(new["uuid"], target["uuid"])
        time.sleep(1)
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(result["errors"], {})
        self.assertEqual(result["in_doubt"], 0)
        self.survivor.await_all_streaming()
        self.assert_decided_the_same_again("switchover_requested", "switchover_promotes")
        self.assert_rows_equal_everywhere()

    def test_an_outage_of_the_control_plane_is_none_of_the_data_plane(self):
        old = self.survivor.primary()
        started = self.survivor.postmaster_start()
        stopped = [self.platform.pid(n) for n in
                   ("nats", "log-postgres", "lookup", "replication", "provisioner")]
        work = self.workload()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(15)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        time.sleep(5)
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(result["errors"], {})
        self.survivor.await_all_streaming()
        self.assertEqual(self.survivor.primary()["uuid"], old["uuid"])
        self.assertEqual(self.survivor.postmaster_start(), started)

    def test_a_failover_is_seen_by_clients_while_lookup_stands_still(self):
        old = self.survivor.primary()
        lookup = self.platform.pid("lookup")
        os.kill(lookup, signal.SIGSTOP)
        self.addCleanup(os.kill, lookup, signal.SIGCONT)
        self.survivor.signal_host(old["host"], signal.SIGSTOP)

        def served_by_another():
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                return self.survivor.sql("SELECT current_setting('cluster_name')") != old["uuid"]
            return False
        wait_for(served_by_another, 30, "another primary behind the endpoint")
        self.survivor.signal_host(old["host"], signal.SIGCONT)
        os.kill(lookup, signal.SIGCONT)
        self.survivor.await_all_streaming()

    def test_killed_agents_and_controllers_restart_no_database(self):
        started = self.survivor.postmaster_start()
        work = self.workload()
        names = [n for n in self.platform.process_names() if n not in ("proxy",)]
        for name in names * 2:
            with contextlib.suppress(ProcessLookupError, KeyError):
                os.kill(self.platform.pid(name), signal.SIGKILL)
            time.sleep(0.5)
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(result["errors"], {})
        self.assertEqual(self.survivor.postmaster_start(), started)

    def test_the_controller_killed_after_each_step(self):
        """Whoever follows it goes on from the log: one primary, and nothing lost."""
        work, watch = self.workload(), self.watch()
        for step in ("failover_started", "primary_assigned", "primary_opened", "sync_set_applied"):
            self.survivor.await_all_streaming()
            old = self.survivor.primary()
            known = self.survivor.event_types().count(step)
            print(f"  {step}", flush=True)
            self.survivor.signal_host(old["host"], signal.SIGSTOP)
            wait_for(lambda s=step, k=known: self.survivor.event_types().count(s) > k, 60, step)
            os.kill(self.platform.pid("replication"), signal.SIGKILL)
            self.survivor.await_new_primary(old)
            self.survivor.signal_host(old["host"], signal.SIGCONT)
        self.survivor.await_all_streaming()
        self.assert_nothing_lost(work.finish())
        self.assert_one_primary(watch.finish(), thaws=4)
        self.assert_rows_equal_everywhere()

    def test_an_operator_may_promote_what_is_left(self):
        """Two of three hosts stand still: nobody is promoted, until an operator says so."""
        self.survivor.await_all_streaming()
        old = self.survivor.primary()
        lost, left = (n for n in self.survivor.nodes() if n["role"] == "standby")
        for node in (old, lost):
            self.survivor.signal_host(node["host"], signal.SIGSTOP)
            self.addCleanup(self.survivor.signal_host, node["host"], signal.SIGCONT)
        failover = wait_for(lambda: self.survivor.customer.get(self.survivor.uuid).get("failover"),
                            30, "the reason why nobody is promoted")
        self.assertIn(lost["uuid"], failover["why"])
        path = f"{INSTANCES}/{self.survivor.uuid}/failover"
        status, answer, _ = self.platform.api("POST", path, {})
        self.assertEqual(status, 400, answer)
        self.assertIn("accept_data_loss", str(answer))
        self.assertEqual(self.survivor.primary()["uuid"], old["uuid"])
        self.survivor.customer.call("POST", path, {"accept_data_loss": True})
        new = self.survivor.await_new_primary(old)
        self.assertEqual(new["uuid"], left["uuid"])
        told = self.survivor.failovers()[0]
        self.assertEqual((told["kind"], told["to_node"]), ("override", left["uuid"]))
        self.assertIn("lost_bytes", told)
        for node in (old, lost):
            self.survivor.signal_host(node["host"], signal.SIGCONT)
        self.survivor.await_all_streaming()
        work = self.workload(clients=1)
        time.sleep(0.5)
        self.assert_nothing_lost(work.finish())
        self.assert_rows_equal_everywhere()

    def test_a_killed_owner_is_taken_over_by_another_process(self):
        owner = self.owner_of_replication()
        self.start_another("replication")
        work = self.workload()
        os.kill(self.platform.pid("replication"), signal.SIGKILL)
        killed = time.monotonic()
        wait_for(lambda: self.owner_of_replication() != owner, 30, "another owner")
        print(f"  another owner after {time.monotonic() - killed:.2f} s", flush=True)
        old = self.survivor.primary()
        self.survivor.switch_over()
        self.survivor.await_new_primary(old)
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(result["errors"], {})
        self.survivor.await_all_streaming()

    def await_another_start(self, started):
        """In place, or of another server: what was killed has been noticed."""
        def is_other():
            with contextlib.suppress(AssertionError):  # nobody serves
                return self.survivor.postmaster_start() != started
            return False
        wait_for(is_other, 60, "a server that was started later")

    def test_random_failovers_under_load(self):
        print(f"TRUNKLINE_CHAOS_SEED={SEED} failovers={FAILOVERS}", flush=True)
        dice = random.Random(SEED)
        work, watch = self.workload(), self.watch()
        thaws = 0
        for _ in range(FAILOVERS):
            self.survivor.await_all_streaming()
            time.sleep(dice.uniform(0.2, 1.5))
            old = self.survivor.primary()
            kind = dice.choice(["freeze", "kill host", "kill postmaster", "switchover",
                                "freeze and kill replication"])
            print(f"  {kind} {old['host']}", flush=True)
            if kind == "switchover":
                self.survivor.switch_over()
                self.survivor.await_new_primary(old)
            elif kind.startswith("kill"):
                started = self.survivor.postmaster_start()
                if kind == "kill postmaster":
                    self.survivor.kill_postmaster(old)
                else:
                    self.survivor.signal_host(old["host"], signal.SIGKILL)
                self.await_another_start(started)
            else:
                self.survivor.signal_host(old["host"], signal.SIGSTOP)
                if "replication" in kind:
                    time.sleep(dice.uniform(0, 3))
                    os.kill(self.platform.pid("replication"), signal.SIGKILL)
                self.survivor.await_new_primary(old)
                self.survivor.signal_host(old["host"], signal.SIGCONT)
                thaws += 1
            time.sleep(dice.uniform(0.5, 2))
        self.survivor.await_all_streaming()
        self.assert_nothing_lost(work.finish())
        self.assert_one_primary(watch.finish(), thaws)
        self.assert_rows_equal_everywhere()
        self.assert_decided_the_same_again()


if __name__ == "__main__":
    unittest.main()
