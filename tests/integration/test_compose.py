"""docker-compose.yml with a real Docker engine: up, the demo, psql through a published port, the
loss of a host's container, of the bus's and of the log's, down and up again; what is said of bad
input. Images have the programs of the build that is tested; that they can be compiled in Docker is
of `make soak`.
"""

import json
import os
import pathlib
import shutil
import tempfile
import time
import unittest
import urllib.error

from customer import INSTANCES, Customer
from docker_engine import Engine, Project, Unavailable
from platform_fixture import REPO, Platform, accepts_connections, wait_for
from survivor import Workload

PORT, FIRST_ENDPOINT = 8080, 20000
IMAGES = ("nats", "log", "lookup", "provisioner", "replication", "metering", "gateway", "proxy",
          "host")
SERVICES = ("nats", "log", "lookup", "provisioner", "replication", "metering", "api-gateway",
            "proxy", "host-a", "host-b", "host-c")
MOST_MB = 120


class Composed(Platform):
    """The platform of a Project as other tests know one."""

    def __init__(self, project):  # pylint: disable=super-init-not-called
        self.project, self.port_base = project, PORT

    def show(self, name):
        return self.project.compose("run", "--rm", "-T", "cli", "show", name).strip() \
            .splitlines()[-1]

    def admin_token(self):
        if not hasattr(self, "token"):
            self.token = self.show("admin.token")
        return self.token

    def cli(self, *words):
        return self.project.compose("run", "--rm", "-T", "cli", *words)

    def is_ready(self):
        try:
            return self.api("GET", "/readyz")[0] == 200
        except (OSError, urllib.error.URLError):
            return False


class ComposeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Not /tmp: it may be in memory.
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="trunkline-docker-", dir="/var/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        try:
            cls.engine = Engine(cls.directory)
            with cls.engine.running():
                print("base image:", cls.engine.make_base())
                cls.project = Project(cls.engine, "tltest", TRUNKLINE_BUILD_NETWORK="host")
                # One a line of targets: the file names images that several services share.
                cls.project.compose("build", "init", "nats", "lookup", "provisioner", "replication",
                                    "metering", "api-gateway", "proxy", "host-a", timeout_s=600)
            cls.engine.enter_network()
            running = cls.engine.running(networks=True)
            running.__enter__()
            cls.addClassCleanup(running.__exit__, None, None, None)
        except Unavailable as error:
            raise unittest.SkipTest(str(error)) from error
        began = time.monotonic()
        cls.project.compose("up", "-d", "--no-build")
        cls.platform = Composed(cls.project)
        cls.welcome = cls.ends_well("welcome")
        print(f"start to ACTIVE demo: {time.monotonic() - began:.1f} s")
        cls.customer = Customer(cls.platform)

    @classmethod
    def ends_well(cls, service, project=None):
        project = project or cls.project
        wait_for(lambda: project.state(service)[0] == "exited", 180, f"the end of {service}")
        logs = project.logs(service)
        assert project.state(service)[1] == 0, project.logs()
        return logs

    def demo(self):
        return next(i for i in self.customer.call("GET", INSTANCES) if i["name"] == "demo")

    def await_streaming(self, uuid):
        def settled():
            nodes = self.customer.get(uuid)["nodes"]
            return len(nodes) == 3 and all(n["status"] == "ACTIVE" for n in nodes) and \
                [n.get("role") for n in nodes].count("primary") == 1
        wait_for(settled, 120, "all nodes ACTIVE")

    def restart(self, *services):
        for service in services:
            self.engine.docker("start", self.project.container(service))

    # --- tests

    def test_the_ways_in_are_printed_and_work(self):
        self.assertIn("Trunkline is up.", self.welcome)
        self.assertIn(f"http://127.0.0.1:{PORT}/v1/postgres/instances", self.welcome)
        instance = self.demo()
        at = instance["endpoints"]["read_write"]
        self.assertEqual((at["host"], at["port"]), ("127.0.0.1", FIRST_ENDPOINT))
        password = self.platform.show("demo.password")
        dsn = f"host=127.0.0.1 port={FIRST_ENDPOINT} user=demo dbname=demo"
        self.assertEqual(self.platform.psql(dsn, "SELECT current_user", password), "demo")
        self.assertEqual(self.platform.psql(
            f"host=127.0.0.1 port=6432 user=demo dbname=demo"
            f" options='-c trunkline.endpoint={instance['uuid']}'", "SELECT 1", password), "1")
        self.assertIn("demo", self.platform.cli("instances", "list"))
        self.assertIn("sound:", self.platform.cli("log", "verify"))
        self.assertEqual(sorted(n["host"] for n in instance["nodes"]),
                         ["host-a", "host-b", "host-c"])

    def test_each_container_has_no_more_than_it_needs(self):
        for service in SERVICES:
            info = json.loads(self.engine.docker(
                "inspect", self.project.container(service)).stdout)[0]
            with self.subTest(service=service):
                host = info["HostConfig"]
                self.assertTrue(host["ReadonlyRootfs"])
                self.assertEqual(host["CapDrop"], ["ALL"])
                self.assertGreater(host["Memory"], 0)
                self.assertGreater(host["PidsLimit"], 0)
                self.assertIn("no-new-privileges:true", host["SecurityOpt"])
                self.assertFalse(host["Privileged"])
                if service not in ("log", "host-a", "host-b", "host-c"):
                    self.assertEqual(info["Config"]["User"], "trunkline")
                    self.assertFalse(host["CapAdd"])
                shown = json.dumps(info["Config"])
                self.assertNotIn(self.platform.admin_token(), shown)
                self.assertIn("Health", info["State"])
        # A service sees its own secrets only.
        found = self.engine.docker("exec", self.project.container("lookup"), "find",
                                   "/var/lib/trunkline/etc", "-type", "f").stdout.split()
        self.assertEqual(found, ["/var/lib/trunkline/etc/lookup/lookup.json"])
        # One host has nothing of another.
        found = self.engine.docker("exec", self.project.container("host-a"), "ls",
                                   "/var/lib/trunkline/hosts").stdout.split()
        self.assertEqual(found, ["host-a"])

    def test_images_are_small(self):
        base = self.size_mb("debian:12")
        for image in IMAGES:
            size = self.size_mb(f"tltest/{image}") - base
            print(f"image {image}: {size:.0f} MB beside the base of {base:.0f} MB")
            with self.subTest(image=image):
                self.assertLess(size, MOST_MB)

    def size_mb(self, image):
        out = self.engine.docker("image", "inspect", "-f", "{{.Size}}", image).stdout
        return int(out) / 1e6

    def test_a_hosts_container_the_bus_and_the_log_are_killed(self):
        uuid = self.customer.order(nodes=3, sync=1, name="shop")
        owner = self.customer.user(uuid)
        database = self.customer.database(uuid, owner)
        self.customer.wait_active(uuid)
        self.customer.wait_object(f"{INSTANCES}/{uuid}/databases/{database}")
        self.await_streaming(uuid)
        dsn = self.customer.dsn(self.customer.get(uuid), connect_timeout=20)
        primary = next(n for n in self.customer.get(uuid)["nodes"] if n.get("role") == "primary")

        work = Workload(dsn)
        self.addCleanup(work.abandon)
        self.engine.docker("kill", self.project.container(primary["host"]))
        wait_for(lambda: any(n.get("role") == "primary" and n["host"] != primary["host"]
                             for n in self.customer.get(uuid)["nodes"]), 30, "another primary")
        self.restart(primary["host"])
        self.await_streaming(uuid)
        result = work.finish()
        print("host's container killed:", result["acknowledged"], "writes, longest gap",
              result["longest_gap_ms"], "ms")
        self.assertEqual((result["lost"], result["unexpected"], result["reordered"]), (0, 0, 0))
        self.assertLess(result["longest_gap_ms"], 5000)

        work = Workload(dsn)
        self.addCleanup(work.abandon)
        for service in ("nats", "log"):
            self.engine.docker("kill", self.project.container(service))
        wait_for(lambda: not self.platform.is_ready(), 30, "an API that says so")
        self.restart("log", "nats")
        wait_for(self.platform.is_ready, 60, "a ready API")
        self.await_streaming(uuid)
        other = self.customer.order(nodes=1, name="after")
        self.customer.wait_active(other)
        self.customer.delete(other)
        result = work.finish()
        self.assertEqual((result["lost"], result["unexpected"], result["reordered"]), (0, 0, 0))
        self.assertEqual(result["errors"], {})
        self.assertIn("sound:", self.platform.cli("log", "verify"))

        self.project.compose("down", timeout_s=200)
        self.project.compose("up", "-d", "--no-build")
        self.ends_well("welcome")
        self.await_streaming(uuid)
        rows = self.customer.sql(dsn, "SELECT count(*) > 0 FROM pg_tables"
                                      " WHERE schemaname = 'public'")
        self.assertEqual(rows, "t")
        self.assertIn("sound:", self.platform.cli("log", "verify"))

    def test_bad_input_is_said_by_welcome(self):
        other = Project(self.engine, "tlother", TRUNKLINE_SUBNET="10.78.0",
                        TRUNKLINE_WELCOME_SECONDS="5", TRUNKLINE_BUILD_NETWORK="host")
        for image in IMAGES:
            self.engine.docker("tag", f"tltest/{image}", f"tlother/{image}")
        self.addCleanup(other.compose, "down", "-v", check=False)

        def said(**env):
            other.env.update(env)
            other.compose("up", "-d", "--no-build", "init", "welcome")
            wait_for(lambda: other.state("welcome")[0] == "exited", 60, "the end of welcome")
            return other.state("welcome")[1], other.logs("welcome")

        code, logs = said(TRUNKLINE_LEAST_MB="99999999")
        self.assertEqual(code, 1)
        self.assertRegex(logs, r"this machine has \d+ MB of memory free")

        # A start that was cut off is made whole by the next one: here, half of the log's cluster.
        state = "/var/lib/trunkline"
        in_init = ("run", "--rm", "-T", "--entrypoint", "bash", "init", "-c")
        other.compose(*in_init, f"mkdir -p {state}/log/data.new {state}/secrets &&"
                                f" touch {state}/log/data.new/PG_VERSION")
        other.compose("up", "-d", "--no-build", "init", check=False)
        other.env.pop("TRUNKLINE_LEAST_MB")
        other.compose("up", "-d", "--no-build", "init")
        self.ends_well("init", other)

        # The port of another copy.
        other.compose("up", "-d", "--no-build", check=False)
        wait_for(lambda: other.state("welcome")[0] == "exited", 120, "the end of welcome")
        self.assertRegex(other.logs("welcome"), r"not running: .*api-gateway.*port")

        other.compose(*in_init, f"echo 99 >{state}/format")
        code, logs = said()
        self.assertEqual(code, 1)
        self.assertIn("made by a newer Trunkline", logs)
        other.compose(*in_init, f"echo 1 >{state}/format; echo 99 >{state}/log/data/PG_VERSION")
        code, logs = said()
        self.assertEqual(code, 1)
        self.assertIn("PostgreSQL 99", logs)


if __name__ == "__main__":
    unittest.main()
