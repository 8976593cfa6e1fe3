"""What is wrong becomes an alert, and is none any more when it is right again."""

import os
import signal
import subprocess
import unittest
import uuid

from platform_fixture import PlatformTest, wait_for


class Alerts(PlatformTest):
    def alerts(self):
        status, alerts, _ = self.platform.api("GET", "/v1/admin/alerts")
        self.assertEqual(status, 200, alerts)
        return {(alert["rule"], alert["subject"]): alert for alert in alerts}

    def test_a_silent_host_is_an_alert_until_it_is_heard_again(self):
        key = ("host_silent", "host/host-c")
        wait_for(lambda: len(self.platform.api("GET", "/v1/hosts")[1]) == 3, 30, "three hosts")
        self.assertNotIn(key, self.alerts())
        pid = self.platform.pid("agent-host-c")
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_for(lambda: key in self.alerts(), 60, "the alert")
            alert = self.alerts()[key]
            self.assertEqual(alert["severity"], "critical")
            self.assertIn("no report for", alert["detail"])
            self.assertLess(alert["since"], alert["raised_at"])
            shown = subprocess.run([self.platform.run_json()["cli"], "status"],
                                   env={**os.environ, "TRUNKLINE_HOME": str(self.platform.home)},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, timeout=60).stdout
            self.assertIn("host_silent", shown)
            self.assertIn("host/host-c", shown)
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: key not in self.alerts(), 60, "the alert's end")
        log = (self.platform.home / "logs" / "lookup.log").read_text()
        self.assertIn("alert raised: host_silent of host/host-c", log)
        self.assertIn("alert cleared: host_silent of host/host-c", log)

    def test_alerts_are_for_administrators(self):
        status, token, _ = self.platform.api(
            "POST", "/v1/tokens",
            {"name": "tenant", "role": "member", "project_id": str(uuid.uuid4())})
        self.assertEqual(status, 201, token)
        self.assertEqual(self.platform.api("GET", "/v1/admin/alerts", token=token["token"])[0], 403)
        self.assertEqual(self.platform.api("GET", "/v1/admin/alerts", token="")[0], 401)


if __name__ == "__main__":
    unittest.main()
