"""How instances, hosts and the platform's own processes fare, as tenants and operators see it."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import time
import unittest
import urllib.request

from customer import Customer, INSTANCES
from platform_fixture import Platform, REPO, wait_for

RULES = REPO / "deploy/prometheus/trunkline.rules.yml"
DASHBOARD = REPO / "deploy/grafana/trunkline.json"
SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)'
                    r'(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*",?)*\})? '
                    r'(NaN|[+-]Inf|[-+0-9.e]+)$')
# Made by Prometheus itself, or while it works.
NOT_EXPORTED = {"up"}
# What a family is called in a query, for what is exported as it.
SUFFIXES = ("_bucket", "_sum", "_count")


def parsed(text):
    """{name of a metric: its samples}; fails on what Prometheus would not read."""
    samples, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"{name} has two types"
            types[name] = kind
        elif line and not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, f"not a sample: {line}"
            samples.setdefault(match[1], []).append((match[2] or "", float(match[3])))
    for name in samples:
        family = name
        for suffix in SUFFIXES:
            if name.endswith(suffix) and types.get(name[:-len(suffix)]) == "histogram":
                family = name[:-len(suffix)]
        assert family in types, f"{name} has no type"
        if types[family] == "counter":
            assert name.endswith("_total"), f"counter {name} is not called _total"
        assert not name.endswith("_total") or types[family] == "counter", name
    return samples


def names_in(query):
    """The metrics that a PromQL query reads."""
    bare = re.sub(r'"[^"]*"|\'[^\']*\'', "", query)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    words = set(re.findall(r"\b[a-z_]+\b(?!\s*\()", bare))
    return words - {"by", "on", "and", "or", "unless", "without", "group_right", "group_left", "e",
                    "sum", "max", "min"}


def rule_queries():
    """The `expr` of each rule; YAML is read only as far as the file uses it."""
    queries, lines = [], RULES.read_text().splitlines()
    for i, line in enumerate(lines):
        if not (match := re.match(r"( *)expr: (.*)", line)):
            continue
        text = match[2]
        if text == ">-":
            text = ""
            for more in lines[i + 1:]:
                if not more.startswith(match[1] + "  "):
                    break
                text += " " + more.strip()
        queries.append(text)
    return queries


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.platform = Platform(env={"TRUNKLINE_STATS_INTERVAL_MS": "500"})
        cls.addClassCleanup(cls.platform.tear_down)
        cls.platform.start()
        admin = Customer(cls.platform)
        cls.tenants = []
        for number in (1, 2):
            project = f"0000000{number}-0000-4000-8000-000000000000"
            token = admin.call("POST", "/v1/tokens", {
                "name": f"tenant {number}", "role": "member", "project_id": project})["token"]
            cls.tenants.append(Customer(cls.platform, token))
        tenant = cls.tenants[0]
        cls.instance = tenant.order(2)
        owner = tenant.user(cls.instance)
        cls.database = tenant.database(cls.instance, owner)
        tenant.wait_active(cls.instance)
        tenant.wait_object(f"{INSTANCES}/{cls.instance}/databases/{cls.database}")

    def path(self, rest):
        return f"{INSTANCES}/{self.instance}/{rest}"

    def targets(self):
        return json.loads((self.platform.home / "prometheus/targets.json").read_text())

    def scrape(self, target):
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
            self.assertIn("version=0.0.4", answer.headers["Content-Type"])
            return parsed(answer.read().decode())

    def use(self):
        """Some work on the database, as its owner."""
        tenant = self.tenants[0]
        dsn = tenant.dsn(tenant.get(self.instance))
        tenant.sql(dsn, "create table if not exists t (x int)")
        for number in range(20):
            tenant.sql(dsn, f"insert into t values ({number}); select count(*) from t where x < 7")

    def measured(self, fits):
        def ask():
            metrics = self.tenants[0].call("GET", self.path("metrics"))
            return metrics if fits(metrics) else None
        return wait_for(ask, 60, "metrics that fit")

    def test_every_process_shows_metrics_and_they_are_what_rules_and_dashboard_read(self):
        self.measured(lambda m: m["history"]["nodes"])
        services = {t["labels"]["service"] for t in self.targets()}
        self.assertLessEqual({"api-gateway", "provisioner", "replication", "lookup",
                              "metering", "proxy", "agent"}, services)
        exported, slowest = set(), 0
        for entry in self.targets():
            for target in entry["targets"]:
                with self.subTest(target=entry["labels"]):
                    began = time.monotonic()
                    samples = self.scrape(target)
                    slowest = max(slowest, time.monotonic() - began)
                    self.assertIn("process_cpu_seconds_total", samples)
                    exported.update(samples)
        print(f"slowest scrape {slowest * 1000:.0f} ms, {len(exported)} metrics")
        queries = rule_queries()
        self.assertGreater(len(queries), 20)
        dashboard = json.loads(DASHBOARD.read_text())
        for panel in dashboard["panels"]:
            queries += [t["expr"] for t in panel.get("targets", [])]
        for query in queries:
            for name in names_in(query) - NOT_EXPORTED:
                self.assertIn(name, exported, query)

    def test_the_dashboard_is_one(self):
        dashboard = json.loads(DASHBOARD.read_text())
        self.assertTrue(dashboard["uid"] and dashboard["title"] and dashboard["schemaVersion"] > 30)
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        variables = {v["name"] for v in dashboard["templating"]["list"]}
        taken = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, panel["title"])
            taken |= cells
            if panel["type"] == "row":
                continue
            self.assertTrue(panel["targets"], panel["title"])
            self.assertEqual(panel["datasource"]["uid"], "${datasource}")
            for target in panel["targets"]:
                used = set(re.findall(r"\$\{?([a-z_]+)", target["expr"]))
                self.assertLessEqual(used - {"__rate_interval", "__range"}, variables)

    @unittest.skipUnless(shutil.which("promtool") or os.environ.get("PROMTOOL"),
                         "promtool is not installed (Debian package prometheus)")
    def test_promtool_takes_the_rules_and_what_processes_show(self):
        tool = os.environ.get("PROMTOOL") or shutil.which("promtool")
        done = subprocess.run([tool, "check", "rules", str(RULES)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)
        pages = [f"http://{t['targets'][0]}/metrics" for t in self.targets()]
        texts = [urllib.request.urlopen(page, timeout=10).read() for page in pages]
        texts.append(self.tenants[0].call("GET", self.path("prometheus")).encode())
        for text in texts:
            done = subprocess.run([tool, "check", "metrics"], input=text, timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 0, done.stdout.decode())

    def test_an_instance_shows_how_it_fares_now_and_over_time(self):
        self.use()
        metrics = self.measured(lambda m: any(
            s["calls"] >= 20 and "from t where x <" in s["query"]
            for s in m["now"]["slow_statements"]) and m["history"]["nodes"] and all(
                n["answers"] and n["disk_used_bytes"] for n in m["now"]["nodes"]))
        now = metrics["now"]
        self.assertEqual({n["role"] for n in now["nodes"]}, {"primary", "standby"})
        for node in now["nodes"]:
            self.assertTrue(node["answers"])
            self.assertGreater(node["disk_used_bytes"], 0)
            self.assertGreater(node["memory_bytes"], 0)
        (database,) = now["databases"]
        self.assertEqual((database["uuid"], database["name"]), (self.database, "shop"))
        self.assertGreater(database["size_bytes"], 1_000_000)
        for statement in now["slow_statements"]:
            self.assertNotIn("correct horse", statement["query"])
            self.assertNotIn("< 7", statement["query"])
        series = next(s for s in metrics["history"]["nodes"]
                      if s["uuid"] == next(n["uuid"] for n in now["nodes"]
                                           if n["role"] == "primary"))
        for name, values in series.items():
            if name != "uuid":
                self.assertEqual(len(values), len(series["times"]), name)
        self.assertTrue(any(v is not None for v in series["connections"]))
        for query, rule in (("step=1", "bad_query"), ("from=then", "bad_from"),
                            ("from=2020-01-01T00:00:00Z", "bad_query"),
                            ("x=1", "unknown_parameter")):
            status, body, _ = self.platform.api("GET", self.path("metrics?" + query))
            self.assertEqual((status, body["type"]), (400, rule), query)

    def test_a_database_has_a_report_for_programs_and_for_people(self):
        self.use()
        path = self.path(f"databases/{self.database}/report")
        tenant = self.tenants[0]
        def with_history():
            report = tenant.call("GET", path)
            return report if report["history"]["times"] and "size_bytes" in report["now"] else None
        report = wait_for(with_history, 60, "a report with history")
        self.assertEqual(report["name"], "shop")
        self.assertIn(report["health"]["status"], ("GOOD", "FAIR", "BAD"))
        status, page, headers = self.platform.api("GET", path, token=tenant.token,
                                                  headers={"Accept": "text/html"})
        self.assertEqual(status, 200)
        self.assertTrue(headers["Content-Type"].startswith("text/html"))
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        self.assertIn("<h1>shop</h1>", page)
        self.assertIn("<figure>", page)
        self.assertNotIn("<script", page)

    def test_prometheus_reads_an_instance_with_its_tenants_token(self):
        tenant = self.tenants[0]
        def known():
            text = tenant.call("GET", self.path("prometheus"))
            return text if "trunkline_postgres_database_size_bytes{" in text else None
        text = wait_for(known, 60, "metrics of a database")
        samples = parsed(text)
        self.assertEqual(len(samples["trunkline_postgres_up"]), 2)
        self.assertTrue(all(value == 1 for _, value in samples["trunkline_postgres_up"]))
        for name in ("trunkline_postgres_transactions_total", "trunkline_postgres_wal_bytes_total",
                     "trunkline_postgres_cpu_seconds_total",
                     "trunkline_postgres_database_commits_total"):
            self.assertIn(name, samples)

    def test_an_administrator_sees_the_fleet(self):
        def complete():
            fleet = Customer(self.platform).call("GET", "/v1/admin/fleet")
            return fleet if fleet["hosts"] and all(h["measured"] for h in fleet["hosts"]) else None
        fleet = wait_for(complete, 60, "every host is measured")
        self.assertEqual(len(fleet["hosts"]), 3)
        for host in fleet["hosts"]:
            self.assertTrue(host["host"]["available"])
            self.assertGreater(host["memory_mb"], 0)
        shown = [i for i in fleet["instances"]["shown"] if i["uuid"] == self.instance]
        self.assertEqual(len(shown), 1)
        self.assertEqual(len(shown[0]["nodes"]), 2)
        self.assertGreaterEqual(fleet["instances"]["by_status"]["ACTIVE"], 1)
        # What needs somebody's eyes comes first, though it is the newest.
        tenant, admin = self.tenants[1], Customer(self.platform)
        hosts = [host["uuid"] for host in admin.call("GET", "/v1/hosts")]

        def schedulable(word):
            for host in hosts:
                admin.call("PUT", f"/v1/hosts/{host}", {"schedulable": word})
        self.addCleanup(schedulable, True)
        schedulable(False)
        failed = tenant.order()
        self.addCleanup(tenant.delete, failed)
        wait_for(lambda: tenant.get(failed)["status"] == "ERROR", 60, "ERROR")
        schedulable(True)
        instances = Customer(self.platform).call("GET", "/v1/admin/fleet")["instances"]
        self.assertEqual(instances["shown"][0]["uuid"], failed)
        self.assertEqual(instances["by_status"]["ERROR"], 1)
        self.assertEqual(instances["total"], len(instances["shown"]))
        self.assertEqual(sum(instances["by_version"].values()), instances["total"])

    def test_a_tenant_sees_nothing_of_another(self):
        other = self.tenants[1]
        for rest in ("metrics", "prometheus", f"databases/{self.database}/report"):
            for headers in ({}, {"Accept": "text/html"}):
                with self.subTest(route=rest, headers=headers):
                    status, body, _ = self.platform.api("GET", self.path(rest), token=other.token,
                                                        headers=headers)
                    self.assertEqual(status, 404)
                    self.assertNotIn("shop", json.dumps(body))
                    status, _, _ = self.platform.api("GET", self.path(rest), token="")
                    self.assertEqual(status, 401)
        for tenant in self.tenants:
            status, _, _ = self.platform.api("GET", "/v1/admin/fleet", token=tenant.token)
            self.assertEqual(status, 403)


if __name__ == "__main__":
    unittest.main()
