"""The disk of a node's host is full while clients write: what was acknowledged stays, the API says
where there is no room, and all goes on when there is.

Needs root, who can mount: each host gets a small file system of its own.
"""

import ctypes
import os
import shutil
import subprocess
import time
import unittest

from customer import INSTANCES
from platform_fixture import Platform, wait_for
from survivor import HOSTS, Survivor, SurvivorTest

SIZE_MB = 2600


class DiskFull(SurvivorTest):
    @classmethod
    def setUpClass(cls):
        try:
            # Mounts go with the last process that sees them, and nobody else does.
            libc = ctypes.CDLL(None, use_errno=True)
            if os.geteuid() != 0 or libc.unshare(0x20000) != 0:
                raise unittest.SkipTest("only root can mount file systems")
            if libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) != 0:
                raise unittest.SkipTest("mounts cannot be made private here")
        except unittest.SkipTest as why:
            print(f"skipped: {why}", flush=True)
            raise
        # A GB of an order is 64 MB here: the 8 of an instance can be written.
        cls.platform = Platform(env={"TRUNKLINE_STATS_INTERVAL_MS": "1000",
                                     "TRUNKLINE_HOST_CAPACITY": '{"disk_unit_mb": 64}'})
        cls.addClassCleanup(cls.platform.tear_down)
        cls.platform.start()
        cls.platform.stop()
        for host in HOSTS:
            cls.give_disk(cls.platform.home / "hosts" / host)
        cls.platform.start()
        cls.survivor = Survivor(cls.platform)

    @classmethod
    def give_disk(cls, folder):
        copy = folder.with_name(f"{folder.name}.copy")
        folder.rename(copy)
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)],
                       check=True)
        cls.addClassCleanup(subprocess.run, ["umount", "-l", str(folder)], check=True)
        subprocess.run(["cp", "-a", f"{copy}/.", str(folder)], check=True)
        shutil.rmtree(copy)

    def fill(self, node):
        """Until there is no room; returns what makes room again."""
        filler = self.platform.home / "hosts" / node["host"] / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
            except OSError:
                pass
        self.addCleanup(filler.unlink, missing_ok=True)
        return filler.unlink

    def await_told(self, node):
        """The API says where there is no room."""
        def told():
            alerts = self.survivor.customer.call("GET", "/v1/admin/fleet")["alerts"]
            return any(a["rule"] == "host_disk_near_full" and node["host"] in a["subject"]
                       for a in alerts)
        wait_for(told, 60, f"an alert of {node['host']}")

    # --- tests

    def test_on_the_primarys_host(self):
        work, watch = self.workload(), self.watch()
        time.sleep(1)
        primary = self.survivor.primary()
        make_room = self.fill(primary)
        self.await_told(primary)
        make_room()
        self.survivor.await_all_streaming()
        time.sleep(1)
        self.assert_nothing_lost(work.finish())
        self.assert_one_primary(watch.finish())
        self.survivor.await_all_streaming()
        self.assert_rows_equal_everywhere()

    def test_on_a_standbys_host(self):
        self.survivor.await_all_streaming()
        work = self.workload()
        time.sleep(1)
        standby = next(n for n in self.survivor.nodes() if n["role"] == "standby")
        make_room = self.fill(standby)
        self.await_told(standby)
        make_room()
        self.survivor.await_all_streaming()
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(result["errors"], {})
        self.assert_rows_equal_everywhere()

    def test_a_tenant_that_writes_past_its_order(self):
        customer = self.survivor.customer
        # A tmpfs counts as the node's memory, too.
        instance = customer.order(name="hog", ram=2048)
        owner = customer.user(instance)
        database = customer.database(instance, owner)
        customer.wait_active(instance)
        customer.wait_object(f"{INSTANCES}/{instance}/databases/{database}")
        document = customer.get(instance)
        self.assertEqual(document["writes"], {"possible": True})
        dsn = customer.dsn(document)
        subject = f"instance/{instance}"

        def alerted():
            return any(a["rule"] == "writes_stopped" and a["subject"] == subject
                       for a in customer.call("GET", "/v1/admin/alerts"))
        customer.sql(dsn, "CREATE UNLOGGED TABLE heap(t text)")
        refused = []

        def fills():
            writes = customer.get(instance)["writes"]
            if not writes["possible"]:
                return writes
            try:
                customer.sql(dsn, "BEGIN READ WRITE; INSERT INTO heap SELECT repeat(md5(g::text), "
                                  "30) FROM generate_series(1, 50000) g; COMMIT")
            except AssertionError as why:
                refused.append(str(why))
            return None
        try:
            stopped = wait_for(fills, 60, "writes are said to be stopped")
        except AssertionError as why:
            self.fail(f"{why}: {refused[-3:]}")
        self.assertEqual(stopped["why"], "disk_full")
        wait_for(alerted, 20, "an alert")
        self.assertEqual(customer.get(instance)["status"], "ACTIVE")

        def makes_room():
            try:
                customer.sql(dsn, "BEGIN READ WRITE; TRUNCATE heap; COMMIT")
                return True
            except Exception:  # closed until what the sessions had is gone
                return False
        wait_for(makes_room, 30, "a session that makes room")
        wait_for(lambda: customer.get(instance)["writes"] == {"possible": True}, 30,
                 "writes are possible again")
        wait_for(lambda: not alerted(), 10, "the alert's end")
        customer.sql(dsn, "INSERT INTO heap VALUES ('x')")
        types = [e["type"] for e in customer.call("GET", f"{INSTANCES}/{instance}/events")]
        self.assertEqual([t for t in types if t.startswith("writes_")][:2],
                         ["writes_stopped", "writes_resumed"])
        customer.delete(instance)


if __name__ == "__main__":
    unittest.main()
