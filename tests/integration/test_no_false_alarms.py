"""Every processor is busy all the time, and healthy instances stay as they are: no failover, no
restart, no error that a client would see.

TRUNKLINE_BUSY_SECONDS (default 10) is for how long.
"""

import os
import subprocess
import sys
import time
import unittest

from survivor import Survivor, SurvivorTest

SECONDS = float(os.environ.get("TRUNKLINE_BUSY_SECONDS", "10"))


class NoFalseAlarms(SurvivorTest):
    def occupy_the_processors(self):
        for _ in range(os.cpu_count()):
            loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            self.addCleanup(loop.wait)
            self.addCleanup(loop.kill)

    def test_busy_processors_fail_nobody_over(self):
        survivor = self.survivor = Survivor(self.platform)
        self.addCleanup(survivor.remove)
        primary, started = survivor.primary(), survivor.postmaster_start()
        work = self.workload(clients=1)
        self.occupy_the_processors()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            self.assertIsNone(work.process.poll())
            time.sleep(min(5, SECONDS))
            self.assertEqual(survivor.failovers(), [])
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(result["errors"], {})
        self.assertEqual(survivor.primary()["uuid"], primary["uuid"])
        self.assertEqual(survivor.postmaster_start(), started)
        self.assertEqual(survivor.event_types().count("failover_started"), 0)


if __name__ == "__main__":
    unittest.main()
