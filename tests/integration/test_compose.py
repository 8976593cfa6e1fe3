"""docker-compose.yml with a real Docker engine: up, the demo, psql through a published port, the
loss of a host's container, of the bus's and of the log's, down and up again; what is said of bad
input. Images have the programs of the build that is tested, or with
TRUNKLINE_COMPOSE_BUILD=1 (`make soak`) those that are compiled in Docker.
"""

import json
import os
import re
import time
import unittest
import urllib.error
import urllib.request

from customer import INSTANCES, Customer
from docker_engine import Engine, Project, Unavailable
from platform_fixture import Platform, accepts_connections, wait_for
from survivor import Workload
from test_jaeger import find_jaeger

PORT, FIRST_ENDPOINT = 8080, 20000
IMAGES = ("nats", "log", "lookup", "provisioner", "replication", "metering", "gateway", "proxy",
          "host")
SERVICES = ("nats", "log", "lookup", "provisioner", "replication", "metering", "api-gateway",
            "proxy", "host-a", "host-b", "host-c")
MOST_MB = 120
OBSERVABILITY = {"jaeger": 16686, "prometheus": 9090, "grafana": 3000}
BUILT = os.environ.get("TRUNKLINE_COMPOSE_BUILD") == "1"


class Composed(Platform):
    """The platform of a Project as other tests know one."""

    def __init__(self, project):  # pylint: disable=super-init-not-called
        self.project, self.port_base = project, PORT

    def cli(self, *words):
        """What the service `cli` says, by one container that stays: `compose run` takes seconds,
        and now and then 1.29 loses what it printed."""
        name = f"{self.project.name}_stays"
        engine = self.project.engine
        if engine.docker("inspect", name, check=False).returncode != 0:
            self.project.compose("run", "-d", "--name", name, "--entrypoint", "sleep", "cli",
                                 "infinity")
        return engine.docker("exec", name, "/usr/share/trunkline/cli.sh", *words).stdout

    def show(self, name):
        return self.cli("show", name).strip()

    def admin_token(self):
        if not hasattr(self, "token"):
            self.token = self.show("admin.token")
        return self.token

    def is_ready(self):
        try:
            return self.api("GET", "/readyz")[0] == 200
        except (OSError, urllib.error.URLError):
            return False


class ComposeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        try:
            cls.engine = Engine()
            cls.addClassCleanup(cls.engine.remove)
            with cls.engine.running():
                print("base image:", cls.engine.make_base())
                cls.project = Project(cls.engine, "tltest", BUILT, TRUNKLINE_BUILD_NETWORK="host")
                began = time.monotonic()
                # One a line of targets: the file names images that several services share.
                cls.project.build("init", "nats", "lookup", "provisioner", "replication",
                                  "metering", "api-gateway", "proxy", "host-a")
                print(f"build of the images: {time.monotonic() - began:.1f} s")
                cls.get_observability()
            cls.engine.enter_network()
            running = cls.engine.running(networks=True)
            running.__enter__()
            cls.addClassCleanup(running.__exit__, None, None, None)
        except Unavailable as error:
            raise unittest.SkipTest(str(error)) from error
        began = time.monotonic()
        cls.project.compose("up", "-d", "--no-build", *cls.observable)
        cls.platform = Composed(cls.project)
        cls.welcome = cls.ends_well("welcome")
        print(f"start to ACTIVE demo: {time.monotonic() - began:.1f} s")
        cls.customer = Customer(cls.platform)

    @classmethod
    def get_observability(cls):
        """Which of these images there are: pulled, or made of the machine's own Jaeger."""
        config = cls.project.compose("--profile", "observability", "config")
        images = dict(re.findall(r"^  (\w+):$.*?^    image: (\S+)$", config, re.M | re.S))
        cls.observable = [name for name in OBSERVABILITY if cls.engine.pull(images[name])]
        program = find_jaeger()
        if "jaeger" not in cls.observable and program:
            cls.engine.import_program(program, "tltest/own-jaeger")
            cls.project.env["JAEGER_IMAGE"] = "tltest/own-jaeger"
            cls.observable.append("jaeger")
        if "jaeger" in cls.observable:
            cls.project.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://jaeger:4318"
        missing = [name for name in OBSERVABILITY if name not in cls.observable]
        if missing:
            print("not tested here, no image:", ", ".join(missing))
        if cls.observable:
            cls.observable += SERVICES + ("welcome",)

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
        self.assertEqual(self.platform.cli("psql", "-p", str(FIRST_ENDPOINT), "-U", "demo", "demo",
                                           "-Atc", "SELECT 2").strip(), "2")
        wait_for(lambda: "demo" in self.project.compose("run", "--rm", "-T", "cli", "instances",
                                                        "list"), 60, "the list that welcome names")
        self.assertIn("sound:", self.platform.cli("log", "verify"))
        self.assertEqual(sorted(n["host"] for n in instance["nodes"]),
                         ["host-a", "host-b", "host-c"])
        again = self.project.compose("up", "-d", "--no-build", *self.observable)
        self.assertIn("host-a_1 is up-to-date", again)
        self.assertNotIn("Recreating", again)

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
                wait_for(lambda s=service: self.engine.docker(
                    "inspect", "-f", "{{.State.Health.Status}}", self.project.container(s)
                ).stdout.strip() == "healthy", 60, f"a healthy {service}")
        # A service sees its own secrets only.
        found = self.engine.docker("exec", self.project.container("lookup"), "find",
                                   "/var/lib/trunkline/etc", "-type", "f").stdout.split()
        self.assertEqual(found, ["/var/lib/trunkline/etc/lookup/lookup.json"])
        # One host has nothing of another.
        found = self.engine.docker("exec", self.project.container("host-a"), "ls",
                                   "/var/lib/trunkline/hosts").stdout.split()
        self.assertEqual(found, ["host-a"])

    def test_a_host_reaches_the_bus_the_proxy_and_hosts_alone(self):
        def reaches(name, port):
            return self.engine.docker(
                "exec", self.project.container("host-a"), "timeout", "3", "bash", "-c",
                f"exec 3<>/dev/tcp/{name}/{port}", check=False).returncode == 0
        for name, port in (("nats", 4222), ("proxy", 5432), ("host-b", 9101)):
            self.assertTrue(reaches(name, port), name)
        inspect = json.loads(self.engine.docker(
            "inspect", *(self.project.container(s) for s in ("api-gateway", "lookup"))).stdout)
        gateway, lookup = (i["NetworkSettings"]["Networks"]["tltest_control"] for i in inspect)
        for name, port in (("api-gateway", 8080), ("lookup", 9101), (gateway["IPAddress"], 8080),
                           (lookup["IPAddress"], 9101), (gateway["Gateway"], 8080)):
            self.assertFalse(reaches(name, port), name)
        seen = self.engine.docker("exec", self.project.container("host-a"), "ls",
                                  "/run/trunkline", "/var/lib/trunkline").stdout.split()
        self.assertNotIn("log", seen)
        self.assertNotIn("admin", seen)

    def test_what_observes_has_something_to_show(self):
        for name, port in OBSERVABILITY.items():
            if name not in self.observable:
                continue
            with self.subTest(name=name):
                wait_for(lambda p=port: accepts_connections(p), 30, f"the port of {name}")

        def shown(port, path):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return json.load(answer)
        if "jaeger" in self.observable:
            seen = self.customer.order(nodes=1, name="seen")
            self.customer.wait_active(seen)
            self.customer.delete(seen)
            wait_for(lambda: {"api-gateway", "provisioner", "agent"} <=
                     set(shown(16686, "/api/services")["data"] or ()), 30, "traces of services")
        if "prometheus" in self.observable:
            wait_for(lambda: [t["health"] for t in shown(9090, "/api/v1/targets")["data"][
                "activeTargets"]] == 9 * ["up"], 60, "all targets up")
            self.assertTrue(shown(9090, "/api/v1/rules")["data"]["groups"])
        if "grafana" in self.observable:
            wait_for(lambda: shown(3000, "/api/search?query=Trunkline"), 30, "the dashboard")

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
        wait_for(lambda: int(self.customer.sql(dsn, "SELECT count(*) FROM appended")) > 20, 30,
                 "writes")
        self.engine.docker("kill", self.project.container(primary["host"]))
        wait_for(lambda: any(n.get("role") == "primary" and n["host"] != primary["host"]
                             for n in self.customer.get(uuid)["nodes"]), 30, "another primary")
        self.customer.sql(dsn, "SELECT 1")
        self.restart(primary["host"])
        self.await_streaming(uuid)
        time.sleep(2)
        result = work.finish()
        print("host's container killed:", result["acknowledged"], "writes, longest gap",
              result["longest_gap_ms"], "ms")
        self.assertGreater(result["longest_gap_ms"], 200, result)
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
        self.project.compose("up", "-d", "--no-build", *self.observable)
        self.ends_well("welcome")
        self.await_streaming(uuid)
        rows = self.customer.sql(dsn, "SELECT count(*) > 0 FROM pg_tables"
                                      " WHERE schemaname = 'public'")
        self.assertEqual(rows, "t")
        self.assertIn("sound:", self.platform.cli("log", "verify"))

    def test_bad_input_is_said_by_welcome(self):
        other = Project(self.engine, "tlother", BUILT, TRUNKLINE_SUBNET="10.78.0",
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
        other.compose("up", "-d", "--no-build", "api-gateway", "welcome", check=False)
        wait_for(lambda: other.state("welcome")[0] == "exited", 120, "the end of welcome")
        self.assertRegex(other.logs("welcome"), r"not running: .*api-gateway.*port")

        other.compose(*in_init, f"echo 99 >{state}/format")
        code, logs = said()
        self.assertEqual(code, 1)
        self.assertIn("made by a newer Trunkline", logs)
        other.compose(*in_init, f"echo 1 >{state}/format; echo 10.7.0 >{state}/subnet")
        code, logs = said()
        self.assertEqual(code, 1)
        self.assertIn("made with TRUNKLINE_SUBNET=10.7.0", logs)
        other.compose(*in_init, f"echo 10.78.0 >{state}/subnet;"
                                f" echo 99 >{state}/log/data/PG_VERSION")
        code, logs = said()
        self.assertEqual(code, 1)
        self.assertIn("PostgreSQL 99", logs)

        code, logs = said(TRUNKLINE_ENDPOINT_PORTS="20000")
        self.assertEqual(code, 1)
        self.assertIn("must be two ports", logs)
        other.env.pop("TRUNKLINE_ENDPOINT_PORTS")

        other.compose("down", "-v")
        for kind in ("volume", "network"):
            left = self.engine.docker(kind, "ls", "-q", "--filter", "name=tlother").stdout
            self.assertEqual(left, "", kind)


if __name__ == "__main__":
    unittest.main()
