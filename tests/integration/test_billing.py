"""Usage out: invoices that can be recomputed, webhooks that lose nothing, and who may see what."""

import datetime
import json
import os
import signal
import subprocess
import unittest
import urllib.request
import uuid
from decimal import ROUND_HALF_EVEN, Decimal, getcontext

from billing_receivers import Certificates, Consumer, Refusing, Silent, consumer
from event_schemas import CLOUDEVENTS, problems
from platform_fixture import Platform, accepts_connections, alive, wait_for

getcontext().prec = 60
KILLS = int(os.environ.get("TRUNKLINE_BILLING_KILLS", "2"))
MONTH = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m")
PRICES = [
    {"meter": "instance_seconds", "state": "ACTIVE", "amount": "0.0371", "per": "1"},
    {"meter": "instance_seconds", "amount": "0.0013", "per": "1"},
    {"meter": "vcpu_seconds", "amount": "1.0495", "per": "7"},
    {"meter": "ram_gb_seconds", "amount": "0.333333333333", "per": "1.5"},
    {"meter": "storage_gb_seconds", "amount": "0.12", "per": "3600"},
]


def cents(quantity, amount, per):
    exact = quantity * Decimal(amount) / Decimal(per)
    return exact.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)


class BillingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.platform = Platform(env={
            "TRUNKLINE_USAGE_WINDOW_MS": "2000", "TRUNKLINE_USAGE_GRACE_MS": "500",
            "TRUNKLINE_WEBHOOK_FIRST_PAUSE_MS": "100", "TRUNKLINE_WEBHOOK_TIMEOUT_MS": "30000"})
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

    # --- invoices

    def test_an_invoice_is_what_its_events_add_up_to(self):
        receiver = self.consumer("oracle.sqlite")
        hook = self.webhook(receiver)
        receiver.secrets = [hook["secret"]]
        invoice = self.billed()
        position = invoice["position"]
        last = self.newest_record(position)
        self.resend_all(hook, receiver, last)
        quantities = {}
        for event in receiver.events_up_to(position):
            if event["subject"] != self.projects[0]:
                continue
            for meter, value in event["data"].items():
                if isinstance(value, (int, Decimal)) and meter != "position":
                    quantities[meter] = quantities.get(meter, Decimal(0)) + Decimal(value)
        total = Decimal(0)
        expected = {}
        for price in PRICES:
            meter, state = price["meter"], price.get("state", "")
            if meter != "instance_seconds":
                quantity = quantities.get(meter, Decimal(0))
            elif state:
                quantity = quantities[f"{meter}_{state.lower()}"]
            else:
                quantity = sum(quantities.get(f"{meter}_{name}", Decimal(0))
                               for name in ("new", "in_progress", "error"))
            if quantity:
                amount = cents(quantity, price["amount"], price["per"])
                expected[(meter, state)] = (quantity, amount)
                total += amount
        lines = {(line["meter"], line["state"]): (Decimal(line["quantity"]),
                                                  Decimal(line["amount"]))
                 for line in invoice["lines"]}
        self.assertEqual(lines, expected)
        self.assertEqual(Decimal(invoice["total"]), total)
        self.assertEqual(receiver.faults, [])

    def test_the_same_position_gives_the_same_cents(self):
        first = self.billed()
        wait_for(lambda: self.invoice()["total"] != first["total"], 60, "more usage")
        # A version for the time that was billed already: what was said stays as it was.
        dearer = [{**price, "amount": "9" + price["amount"]} for price in PRICES]
        newer = self.made("/v1/price-lists", self.list_of(PRICES))["uuid"]
        at = self.get(f"/v1/invoices/{self.projects[0]}/{MONTH}?price_list={newer}")["position"]
        path = f"/v1/invoices/{self.projects[0]}/{MONTH}?price_list={newer}&at="
        before = self.get(path + str(at))
        status, _, _ = self.platform.api("PUT", f"/v1/price-lists/{newer}", self.list_of(dearer))
        self.assertEqual(status, 200)
        self.assertEqual(self.get(path + str(at)), before)
        self.assertEqual(self.invoice(more=f"&at={first['position']}"), first)
        self.get(path + str(10**15), status=400)

        def rated_anew():
            invoice = self.get(path + "0")
            return invoice if invoice["price_list"]["versions"] == [2] else None
        wait_for(rated_anew, 30, "an invoice by the new version")
        compared = self.invoice(more=f"&compare_with={newer}")
        differences = sum(Decimal(row["difference"]) for row in compared["differences"])
        self.assertGreater(differences, 0)
        self.assertEqual(Decimal(compared["compared"]["difference"]), differences)

    def test_what_is_kept_no_more_is_folded_from_the_log(self):
        invoice = self.billed()
        at = f"&at={invoice['position']}"
        wait_for(lambda: self.newer_record(invoice["position"]), 60, "more usage")
        checkpoint = "UPDATE usage.checkpoint SET records_from_ms = {} RETURNING 0"
        before = self.platform.psql(self.metering_dsn(),
                                    "SELECT records_from_ms FROM usage.checkpoint")
        self.addCleanup(self.platform.psql, self.metering_dsn(), checkpoint.format(before))
        self.kill_metering()  # it keeps the newest invoices
        self.platform.psql(self.metering_dsn(), checkpoint.format(2**60))
        self.assertEqual(self.invoice(more=at), invoice)
        usage = "/v1/usage?window=1m&from=2020-01-01T00:00:00Z"
        self.assertEqual(self.get(usage, status=400)["type"], "bad_query")

    def test_an_invoice_does_not_wait_for_windows_that_others_wrote_into(self):
        self.billed()
        # Its rows stay as they are until standard input ends.
        holder = subprocess.Popen(["psql", "-X", "-q", self.metering_dsn()], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(holder.communicate)
        holder.stdin.write("BEGIN; LOCK TABLE usage.checkpoint IN EXCLUSIVE MODE; SELECT 1;\n")
        holder.stdin.flush()
        self.assertTrue(holder.stdout.readline())
        projected = int(self.platform.psql(self.metering_dsn(),
                                           "SELECT closed_position FROM usage.checkpoint"))
        log = ("SELECT 1 FROM log.event WHERE type = 'usage_window_closed' AND "
               f"position > {projected} LIMIT 1")
        wait_for(lambda: self.platform.psql(self.log_dsn(), log), 60, "a close")
        self.made("/v1/tokens", {"name": "other", "role": "admin"})
        status, invoice, _ = self.platform.api(
            "GET", f"/v1/invoices/{self.projects[0]}/{MONTH}?price_list={self.price_list}")
        self.assertEqual(status, 200, invoice)
        closed = int(self.platform.psql(self.metering_dsn(),
                                        "SELECT closed_position FROM usage.checkpoint"))
        self.assertEqual(closed, projected)

    def test_pages_are_of_one_invoice(self):
        invoice = self.billed()
        path = (f"/v1/invoices/{self.projects[0]}/{MONTH}?price_list={self.price_list}"
                f"&at={invoice['position']}&page_limit=2")
        lines, marker = [], ""
        while True:
            status, page, headers = self.platform.api("GET", path + marker)
            self.assertEqual(status, 200, page)
            self.assertEqual(page["total"], invoice["total"])
            lines += page["lines"]
            if not headers["X-Pagination-Marker"]:
                break
            marker = "&page_marker=" + headers["X-Pagination-Marker"]
        self.assertEqual(lines, invoice["lines"])

    # --- usage

    def test_usage_adds_up_in_every_window(self):
        self.billed()
        base = f"/v1/usage?from={MONTH}-01T00:00:00Z&project={self.projects[0]}"

        def sums(question):
            found = {}
            for row in self.get(f"{base}&{question}"):
                key = row["meter"]
                found[key] = found.get(key, Decimal(0)) + Decimal(row["quantity"])
            return found

        def once():  # windows are closed while the questions are asked
            answers = [sums(f"window={window}&group_by={group}")
                       for window in ("1m", "1h", "1d", "1mo") for group in ("instance", "node")]
            return all(answer == answers[0] for answer in answers) and answers[0]
        found = wait_for(once, 60, "the same sums in all windows")
        self.assertGreater(found["vcpu_seconds"], 0)
        rows = self.get(f"{base}&window=1mo&group_by=instance,meter,state")
        self.assertIn("ACTIVE", {row.get("state") for row in rows})
        csv = self.get(f"{base}&window=1d&format=csv")
        self.assertEqual(csv.splitlines()[0].split(",")[0], "window_start")
        self.assertIn("vcpu_seconds", csv)

    def test_a_line_leads_to_its_events(self):
        self.billed()
        rows = self.get(f"/v1/usage?from={MONTH}-01T00:00:00Z&window=1mo&group_by=node",
                        self.tokens[0])
        cpu = [row for row in rows if row["meter"] == "vcpu_seconds"][0]
        events = self.get(f"/v1/usage/{cpu['record']}/events", self.tokens[0])
        types = [event["type"] for event in events]
        self.assertEqual(types[0], "instance_created")
        self.assertIn("node_created", types)
        page = self.platform.api("GET", f"/v1/usage/{cpu['record']}/events?page_limit=1",
                                 token=self.tokens[0])
        self.assertEqual(page[1], events[:1])
        rest = self.get(f"/v1/usage/{cpu['record']}/events?page_marker="
                        + page[2]["X-Pagination-Marker"], self.tokens[0])
        self.assertEqual(rest, events[1:])
        self.get(f"/v1/usage/{cpu['record']}/events", self.tokens[1], 404)
        self.get("/v1/usage/nonsense/events", self.tokens[0], 404)

    # --- who sees what

    def test_a_project_sees_its_own_only(self):
        self.billed()
        mine, other = self.tokens
        rows = wait_for(lambda: self.get("/v1/usage?group_by=project,instance", other), 60,
                        "usage of the other project")
        self.assertEqual({row["project_id"] for row in rows}, {self.projects[1]})
        self.assertEqual({row["instance"] for row in rows}, {self.instances[1]})
        self.get(f"/v1/usage?project={self.projects[0]}", other, 404)
        self.get(f"/v1/usage?instance={self.instances[0]}", other, 404)
        nodes = self.get("/v1/usage?group_by=node", mine)
        node = [row for row in nodes if "node" in row][0]["node"]
        self.get(f"/v1/usage?node={node}", other, 404)
        self.get(f"/v1/usage?node={node}", mine)
        bill = f"/v1/invoices/{self.projects[0]}/{MONTH}?price_list={self.price_list}"
        self.get(bill, other, 404)
        self.get(bill, mine)
        self.get(f"/v1/price-lists/{self.price_list}", other)
        hook = self.made("/v1/webhooks", {"url": "http://127.0.0.1:9/x"})["uuid"]
        self.addCleanup(self.platform.api, "DELETE", f"/v1/webhooks/{hook}")
        for path in ("", f"/{hook}", f"/{hook}/deliveries"):
            self.get(f"/v1/webhooks{path}", other, 403)
        self.assertNotIn("secret", self.get(f"/v1/webhooks/{hook}"))
        schema = self.get("/v1/schemas/usage.json", "")
        self.assertIn("vcpu_seconds", schema["properties"])

    # --- webhooks

    def test_events_fit_the_schemas_that_they_name(self):
        receiver = self.consumer("schemas.sqlite")
        hook = self.webhook(receiver)
        receiver.secrets = [hook["secret"]]

        def came():
            with receiver.lock:
                events = list(receiver.events)
            kinds = {event["data"]["node"] is None for event in events}
            return events if len(events) >= 8 and len(kinds) == 2 else None
        events = wait_for(came, 60, "records of instances and of nodes")
        official = json.loads(CLOUDEVENTS.read_text())
        self.assertEqual(problems(official, events), [None] * len(events))
        self.assertIsNotNone(problems(official, [dict(events[0], id="")])[0])
        (address,) = {event["dataschema"] for event in events}
        with urllib.request.urlopen(address, timeout=10) as answer:  # without a token
            schema = json.load(answer)
        # And it names all that is sent.
        schema["additionalProperties"] = False
        data = [event["data"] for event in events]
        self.assertEqual(problems(schema, data), [None] * len(data))
        for wrong in (dict(data[0], kind="else"), dict(data[0], more=1),
                      dict(data[0], window_start="today")):
            self.assertIsNotNone(problems(schema, [wrong])[0], wrong)
        self.assertEqual(receiver.faults, [])

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

    def test_everything_arrives_in_order_and_counts_once(self):
        silent = Silent()
        silent.start()
        self.addCleanup(silent.stop)
        self.webhook(silent)  # holds up nobody
        receiver = self.consumer("order.sqlite")
        hook = self.webhook(receiver)
        receiver.secrets = [hook["secret"]]
        wait_for(lambda: receiver.order, 60, "a first record")
        self.assertTrue(silent.asked.wait(60))
        for _ in range(KILLS):
            receiver.stop()
            wait_for(lambda: not accepts_connections(receiver.port), 10, "a closed port")
            down_at = self.newest_record()
            self.kill_metering()
            missed = wait_for(lambda: self.newer_record(down_at), 60, "usage while it was away")
            # Again from now on: that leaves out nothing of what has not come yet.
            self.resend(hook, datetime.datetime.now(datetime.timezone.utc))
            receiver.start()
            wait_for(lambda: receiver.last_position() >= missed, 60, "what it missed")
        places = [event["data"]["position"] for event in receiver.order]
        self.assertEqual(places, sorted(places))
        self.assertEqual(receiver.faults, [])
        # All that there is since its first record, by the account of another one.
        witness = self.consumer("witness.sqlite")
        second = self.webhook(witness)
        witness.secrets = [second["secret"]]
        last = receiver.last_position()
        # One more, so that all of the last position have come.
        self.resend_all(second, witness, wait_for(lambda: self.newer_record(last), 60, "usage"))
        last = places[-1]
        wait_for(lambda: receiver.last_position() > last, 60, "the end of that close")
        first = places[0]
        expected = [event["id"] for event in witness.events_up_to(last)
                    if event["data"]["position"] >= first]
        got = [event["id"] for event in receiver.events_up_to(last)]
        self.assertEqual(got, expected)
        self.assertEqual(len(set(got)), len(got))

    def newest_record(self, up_to=2**62):
        return int(self.platform.psql(
            self.metering_dsn(),
            f"SELECT coalesce(max(position), 0) FROM usage.record WHERE position <= {up_to}"))

    def newer_record(self, position):
        newest = self.newest_record()
        return newest if newest > position else None

    def test_keys_are_rotated_without_a_gap(self):
        receiver = self.consumer("keys.sqlite")
        hook = self.webhook(receiver)
        receiver.secrets = [hook["secret"]]
        wait_for(lambda: receiver.order, 60, "a record")
        path = f"/v1/webhooks/{hook['uuid']}"
        status, rotated, _ = self.platform.api("PUT", path, {"rotate_key": True})
        self.assertEqual((status, rotated["key_number"]), (200, 2))
        self.assertNotEqual(rotated["secret"], hook["secret"])
        for secret in (hook["secret"], rotated["secret"]):
            with receiver.lock:
                receiver.secrets = [secret]
                count = len(receiver.order)
            wait_for(lambda: len(receiver.order) > count, 60, "a record by either key")
        self.assertEqual(receiver.faults, [])
        texts = self.platform.last_log_lines(100_000)
        for secret in (hook["secret"], rotated["secret"]):
            self.assertNotIn(secret, texts)

    def test_refusals_end(self):
        poison = Refusing([400] * 5)
        gone = Refusing([410] * 100)
        later = Refusing([503, 429], {"Retry-After": "1"})
        for receiver in (poison, gone, later):
            receiver.start()
            self.addCleanup(receiver.stop)
        hooks = [self.webhook(receiver) for receiver in (poison, gone, later)]
        wait_for(lambda: len(set(poison.ids)) > 1, 60, "the record after the poisoned one")
        self.assertEqual(len(set(poison.ids[:5])), 1)
        deliveries = self.get(f"/v1/webhooks/{hooks[0]['uuid']}/deliveries")
        self.assertEqual([(dead["record"], dead["status"]) for dead in deliveries["dead_letters"]],
                         [(poison.ids[0], 400)])
        self.assertGreaterEqual(len(deliveries["attempts"]), 5)
        self.assertGreaterEqual(self.metric("trunkline_metering_webhook_dead_letters"), 1)
        path = f"/v1/webhooks/{hooks[0]['uuid']}"
        trouble = wait_for(lambda: self.get(path).get("trouble"), 60, "trouble")
        self.assertEqual((trouble["rule"], trouble["why"]), ("dead_letters", "it answers 400"))
        alert = {"subject": f"webhook/{hooks[0]['uuid']}", "rule": "webhook_dead_letters",
                 "text": "its receiver would not take usage records: it answers 400"}
        self.assertIn(alert, self.get("/v1/admin/fleet")["alerts"])
        stuck = ("delivery_stuck", alert["subject"], "dead_letters: it answers 400")
        wait_for(lambda: stuck in self.alerts(), 60, "the alert")
        self.resend(hooks[0])
        wait_for(lambda: poison.ids.count(poison.ids[0]) > 5, 60, "the poisoned record again")
        wait_for(lambda: not self.get(f"/v1/webhooks/{hooks[0]['uuid']}/deliveries")
                 ["dead_letters"], 60, "no dead letter any more")
        wait_for(lambda: "trouble" not in self.get(path), 60, "the end of the trouble")
        self.assertNotIn(alert, self.get("/v1/admin/fleet")["alerts"])
        wait_for(lambda: stuck not in self.alerts(), 60, "the end of the alert")
        wait_for(lambda: not self.get(f"/v1/webhooks/{hooks[1]['uuid']}")["enabled"], 60, "410")
        self.assertEqual(len(gone.ids), 1)
        wait_for(lambda: len(set(later.ids)) > 1, 60, "the end of the pauses")
        self.assertEqual(len(set(later.ids[:3])), 1)

    def test_dead_letters_can_be_forgotten(self):
        poison = Refusing([404] * 5)
        poison.start()
        self.addCleanup(poison.stop)
        path = f"/v1/webhooks/{self.webhook(poison)['uuid']}"
        wait_for(lambda: self.get(path + "/deliveries")["dead_letters"], 60, "a dead letter")

        def forgotten():
            status, body, _ = self.platform.api("DELETE", path + "/dead-letters")
            self.assertIn(status, (202, 204), body)
            return not self.get(path + "/deliveries")["dead_letters"]
        wait_for(forgotten, 60, "no dead letter any more")
        wait_for(lambda: "trouble" not in self.get(path), 60, "no trouble")

    def test_records_go_to_nobody_else(self):
        authority, here = self.certificates.authority, "IP:127.0.0.1"
        good = self.consumer("tls.sqlite",
                             self.certificates.made("good", "CA:FALSE", here, authority))
        strangers = [
            Refusing([], certificate=self.certificates.made("self", "CA:FALSE", here)),
            Refusing([], certificate=self.certificates.made("other", "CA:FALSE", "IP:127.0.0.2",
                                                            authority))]
        elsewhere = Refusing([])
        for receiver in (*strangers, elsewhere):
            receiver.start()
            self.addCleanup(receiver.stop)
        sends_on = Refusing([302], {"Location": elsewhere.url})
        sends_on.start()
        self.addCleanup(sends_on.stop)
        good.secrets = [self.webhook(good)["secret"]]
        self.webhook(sends_on)
        for stranger in strangers:
            path = f"/v1/webhooks/{self.webhook(stranger)['uuid']}/deliveries"
            attempts = wait_for(lambda: self.get(path)["attempts"], 60, "an attempt")
            self.assertEqual({attempt["status"] for attempt in attempts}, {0})
            self.assertIn("certificate", attempts[0]["error"])
            self.assertEqual(stranger.ids, [])
        wait_for(lambda: good.order, 60, "a record by TLS")
        self.assertEqual(good.faults, [])
        wait_for(lambda: len(sends_on.ids) > 1, 60, "the record again")
        self.assertEqual(elsewhere.ids, [])

    def test_the_sample_consumer_adds_up(self):
        receiver = self.consumer("sample.sqlite")
        hook = self.webhook(receiver, project_id=self.projects[1])
        receiver.secrets = [hook["secret"]]

        def rated():
            with receiver.lock:
                return consumer.rate(consumer.quantities(receiver.store, MONTH),
                                     {"vcpu_seconds": {"amount": "1", "per": "1"}})
        lines, total = wait_for(lambda: rated() if rated()[0] else None, 60, "a node's record")
        self.assertEqual({line[0] for line in lines}, {self.projects[1]})
        self.assertGreater(total, 0)
        forged = dict(receiver.store.events(MONTH).__next__(), id="forged")
        self.assertNotIn("forged", {event["id"] for event in receiver.order})
        with self.assertRaises(ValueError):
            consumer.verify(receiver.secrets, {"webhook-id": "forged", "webhook-timestamp": "1",
                                               "webhook-signature": "v1,AAAA"},
                            str(forged).encode(), 1)

    def alerts(self):
        return [(alert["rule"], alert["subject"], alert["detail"])
                for alert in self.get("/v1/admin/alerts")]

    def metric(self, name):
        targets = json.loads((self.platform.home / "prometheus/targets.json").read_text())
        (target,) = [entry["targets"][0] for entry in targets
                     if entry["labels"]["service"] == "metering"]
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name + " "))

    def metering_dsn(self):
        return self.dsn("trunkline_metering")

    def log_dsn(self):
        return self.dsn("trunkline_log")

    def dsn(self, database):
        socket = os.readlink(self.platform.home / "run" / "socket_dir")
        return (f"host={socket}/log port={self.platform.port_base + 2} user=tl_metering "
                f"dbname={database}")


if __name__ == "__main__":
    unittest.main()
