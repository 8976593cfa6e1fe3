"""The proxy killed -9: clients connect again and are led to the right nodes.

TRUNKLINE_PROXY_KILLS (default 5) sets how often.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
import unittest

from customer import Customer, INSTANCES
from platform_fixture import PlatformTest, alive, wait_for

CONTROL_PLANE = ("nats", "log-postgres", "lookup", "provisioner", "replication", "api-gateway")
KILLS = int(os.environ.get("TRUNKLINE_PROXY_KILLS", "5"))


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
        cls.pair = cls.order(nodes=2)
        cls.single = cls.order(nodes=1)  # of one node: no lease is needed to go on
        cls.await_right_nodes()

    @classmethod
    def order(cls, nodes):
        uuid = cls.customer.order(nodes=nodes, name=f"nodes-{nodes}")
        owner = cls.customer.user(uuid)
        database = cls.customer.database(uuid, owner)
        instance = cls.customer.wait_active(uuid)
        cls.customer.wait_object(f"{INSTANCES}/{uuid}/databases/{database}")
        return instance

    @classmethod
    def leads_to(cls, instance, endpoint):
        dsn = cls.customer.dsn(instance, endpoint=endpoint, connect_timeout=30)
        return cls.customer.sql(
            dsn, "select current_setting('cluster_name')")  # the node's id

    @classmethod
    def await_right_nodes(cls):
        """Roles are asked for anew each time: a slow machine may have failed over."""
        def right(endpoint, role):
            nodes = cls.customer.get(cls.pair["uuid"])["nodes"]
            wanted = [n["uuid"] for n in nodes if n.get("role") == role]
            return cls.leads_to(cls.pair, endpoint) in wanted
        wait_for(lambda: right("read_write", "primary"), 60, "the way to the primary")
        wait_for(lambda: right("read_only", "standby"), 60, "the way to the standby")

    def kill_proxy(self):
        """How long the endpoint refused, from its death on."""
        pid = self.platform.pid("proxy")
        os.kill(pid, signal.SIGKILL)
        while alive(pid):
            time.sleep(0.001)
        at = self.single["endpoints"]["read_write"]
        refused = refused_for_ms(at["host"], at["port"])
        wait_for(lambda: self.platform.pid("proxy") != pid, 30, "another proxy")
        return refused

    def await_ports(self):
        for instance in (self.single, self.pair):
            for at in instance["endpoints"].values():
                refused_for_ms(at["host"], at["port"])

    def test_it_leads_to_the_right_nodes_after_each_of_many_kills(self):
        refused = []
        for _ in range(KILLS):
            refused.append(self.kill_proxy())
            self.await_ports()
            self.await_right_nodes()
            time.sleep(1)  # as long as it is up between two kills, which the supervisor looks at
        print("refused for ms:", " ".join(f"{ms:.0f}" for ms in refused), flush=True)

    def test_a_session_that_no_switchover_can_carry_is_shown(self):
        dsn = self.customer.dsn(self.single)
        guarded = "select count(*) from pg_settings where name = 'trunkline.own_settings'"
        self.assertEqual(self.customer.sql(dsn, guarded), "1")
        env = dict(os.environ, PGPASSWORD="correct horse")
        with subprocess.Popen(["psql", "-X", "-q", dsn], env=env, text=True,
                              stdin=subprocess.PIPE) as client:
            client.stdin.write("listen news;\n")
            client.stdin.flush()
            shown = wait_for(lambda: self.customer.get(self.single["uuid"]).get("pinned_sessions"),
                             60, "the session in the instance's document")
            client.stdin.close()
        self.assertEqual(shown, {"sessions": 1, "why": [{"reason": "LISTEN", "sessions": 1}]})

    def test_it_needs_nothing_of_the_control_plane(self):
        expected = self.leads_to(self.single, "read_write")
        stopped = [self.platform.pid(name) for name in CONTROL_PLANE]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            self.kill_proxy()
            self.assertEqual(self.leads_to(self.single, "read_write"), expected)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    unittest.main()
