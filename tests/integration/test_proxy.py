"""The proxy killed -9 while clients are there: they connect again and are led where they were."""

import contextlib
import os
import signal
import socket
import time
import unittest

from customer import Customer, INSTANCES
from platform_fixture import PlatformTest, wait_for

CONTROL_PLANE = ("nats", "log-postgres", "lookup", "provisioner", "replication", "api-gateway")
KILLS = int(os.environ.get("TRUNKLINE_PROXY_KILLS", "10"))


def refused_for_ms(host, port, give_up_s=60):
    """Knocks until a connection is accepted; how long that took from now."""
    begin = time.monotonic()
    while True:
        with contextlib.closing(socket.socket()) as knock:
            knock.settimeout(give_up_s)
            if knock.connect_ex((host, port)) == 0:
                return (time.monotonic() - begin) * 1000
        if time.monotonic() > begin + give_up_s:
            raise AssertionError(f"{host}:{port} refuses")
        time.sleep(0.001)


class KilledProxy(PlatformTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.customer = Customer(cls.platform)
        wait_for(lambda: len(cls.customer.call("GET", "/v1/hosts")) == 3, 60, "all hosts")
        cls.uuid = cls.customer.order(nodes=2)
        owner = cls.customer.user(cls.uuid)
        database = cls.customer.database(cls.uuid, owner)
        cls.instance = cls.customer.wait_active(cls.uuid)
        cls.customer.wait_object(f"{INSTANCES}/{cls.uuid}/databases/{database}")
        wait_for(lambda: cls.leads_to("read_only") == cls.node("standby"), 60,
                 "the read-only endpoint leads to the standby")

    @classmethod
    def node(cls, role):
        node = next(n for n in cls.customer.get(cls.uuid)["nodes"] if n["role"] == role)
        return f"{node['address']}:{node['port']}"

    @classmethod
    def leads_to(cls, endpoint):
        dsn = cls.customer.dsn(cls.instance, endpoint=endpoint, connect_timeout=30)
        return cls.customer.sql(
            dsn, "select host(inet_server_addr()) || ':' || inet_server_port()")

    def kill_proxy(self):
        """Its process is dead when this returns."""
        pid = self.platform.pid("proxy")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.platform.pid("proxy") != pid, 30, "another proxy")

    def await_port(self, endpoint):
        at = self.instance["endpoints"][endpoint]
        return refused_for_ms(at["host"], at["port"])

    def test_it_leads_to_the_same_nodes_after_each_of_many_kills(self):
        expected = {"read_write": self.node("primary"), "read_only": self.node("standby")}
        refused = []
        for _ in range(KILLS):
            pid = self.platform.pid("proxy")
            os.kill(pid, signal.SIGKILL)
            refused.append(self.await_port("read_write"))
            wait_for(lambda: self.platform.pid("proxy") != pid, 30, "another proxy")
            for endpoint, node in expected.items():
                self.await_port(endpoint)
                self.assertEqual(self.leads_to(endpoint), node)
            time.sleep(1)  # as long as it is up between two kills, which the supervisor looks at
        print("refused for ms:", " ".join(f"{ms:.0f}" for ms in refused), flush=True)

    def test_it_needs_nothing_of_the_control_plane(self):
        expected = self.node("primary")
        stopped = [self.platform.pid(name) for name in CONTROL_PLANE]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            self.kill_proxy()
            self.await_port("read_write")
            self.assertEqual(self.leads_to("read_write"), expected)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    unittest.main()
