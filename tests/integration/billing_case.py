"""A platform with two projects, an instance in each, prices and windows of two seconds."""

import datetime
import os
import signal
import unittest
import uuid

from billing_receivers import Certificates, Consumer
from platform_fixture import Platform, alive, wait_for

MONTH = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m")
PRICES = [
    {"meter": "instance_seconds", "state": "ACTIVE", "amount": "0.0371", "per": "1"},
    {"meter": "instance_seconds", "amount": "0.0013", "per": "1"},
    {"meter": "vcpu_seconds", "amount": "1.0495", "per": "7"},
    {"meter": "ram_gb_seconds", "amount": "0.333333333333", "per": "1.5"},
    {"meter": "storage_gb_seconds", "amount": "0.12", "per": "3600"},
]


class BillingCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.platform = Platform(env={
            "TRUNKLINE_USAGE_WINDOW_MS": "2000", "TRUNKLINE_USAGE_GRACE_MS": "500",
            "TRUNKLINE_WEBHOOK_FIRST_PAUSE_MS": "100", "TRUNKLINE_WEBHOOK_TIMEOUT_MS": "30000",
            "TRUNKLINE_WEBHOOK_ALLOW": "127.0.0.0/8"})
        cls.addClassCleanup(cls.platform.tear_down)
        cls.certificates = Certificates(cls.platform.parent)
        cls.platform.env["TRUNKLINE_WEBHOOK_CA_FILE"] = str(cls.certificates.authority)
        cls.platform.start()
        cls.projects = [str(uuid.uuid4()) for _ in range(2)]
        cls.tokens = [cls.made("/v1/tokens", {"name": f"p{i}", "role": "member",
                                              "project_id": project})["token"]
                      for i, project in enumerate(cls.projects)]
        versions = cls.platform.api("GET", "/v1/postgres/versions")[1]["versions"]
        order = {"name": "one", "cpu": 2, "ram": 512, "disk_size": 10, "nodes_number": 1,
                 "version": f"/v1/types/postgres/versions/{versions[0]['uuid']}"}
        cls.instances = [cls.made("/v1/postgres/instances", order, token)["uuid"]
                         for token in cls.tokens]
        cls.price_list = cls.made("/v1/price-lists", cls.list_of(PRICES))["uuid"]

    @classmethod
    def made(cls, path, body, token=None):
        status, answer, _ = cls.platform.api("POST", path, body, token)
        if status != 201:
            raise AssertionError(f"{path}: {status} {answer}\n{cls.platform.last_log_lines()}")
        return answer

    @staticmethod
    def list_of(prices):
        return {"name": "standard", "currency": "EUR", "valid_from": f"{MONTH}-01T00:00:00Z",
                "prices": prices}

    def get(self, path, token=None, status=200):
        def answered():  # 503: what was written before is not there yet, ask again
            found = self.platform.api("GET", path, token=token, timeout_s=60)
            return found if found[0] != 503 else None
        answer = wait_for(answered, 60, f"an answer to {path}")
        self.assertEqual(answer[0], status, answer[1])
        return answer[1]

    def invoice(self, project=None, more=""):
        project = project or self.projects[0]
        return self.get(f"/v1/invoices/{project}/{MONTH}?price_list={self.price_list}{more}")

    def billed(self):
        """An invoice with a line of each kind."""
        def complete():
            invoice = self.invoice()
            meters = {line["meter"] for line in invoice["lines"]}
            return invoice if len(meters) >= 4 else None
        return wait_for(complete, 60, "a bill")

    def webhook(self, receiver, **fields):
        made = self.made("/v1/webhooks", {"url": receiver.url, **fields})
        self.addCleanup(self.platform.api, "DELETE", f"/v1/webhooks/{made['uuid']}")
        return made

    def consumer(self, name, certificate=None):
        receiver = Consumer(self.platform.parent / name, certificate)
        receiver.start()
        self.addCleanup(receiver.stop)
        return receiver

    def kill_metering(self):
        pid = self.platform.pid("metering")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), 10, "the end of metering")

    def newest_record(self, up_to=2**62):
        return int(self.platform.psql(
            self.metering_dsn(),
            f"SELECT coalesce(max(position), 0) FROM usage.record WHERE position <= {up_to}"))

    def newer_record(self, position):
        newest = self.newest_record()
        return newest if newest > position else None

    def resend_all(self, hook, receiver, up_to):
        """Everything from the first record on, at least up to all records of a position."""
        first = self.platform.psql(self.metering_dsn(), "SELECT id FROM usage.record ORDER BY "
                                   "position, ordinal LIMIT 1")
        self.resend(hook)
        # What had come before the resend says nothing of how far the resend is.
        wait_for(lambda: receiver.has(first), 60, "the first record")
        wait_for(lambda: receiver.latest > up_to, 60, "all records")

    def resend(self, hook, since=None):
        text = since.strftime("%Y-%m-%dT%H:%M:%S.000Z") if since else f"{MONTH}-01T00:00:00Z"
        path = f"/v1/webhooks/{hook['uuid']}/resend"

        def taken():  # 503: metering is just coming back
            status, body, _ = self.platform.api("POST", path, {"from": text})
            return (status, body) if status not in (202, 503) else None
        status, body = wait_for(taken, 60, "an order to deliver again")
        self.assertEqual(status, 200, body)

    def metering_dsn(self):
        return self.dsn("trunkline_metering")

    def log_dsn(self):
        return self.dsn("trunkline_log")

    def dsn(self, database):
        socket = os.readlink(self.platform.home / "run" / "socket_dir")
        return (f"host={socket}/log port={self.platform.port_base + 2} user=tl_metering "
                f"dbname={database}")
