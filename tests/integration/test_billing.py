"""Invoices that can be recomputed, usage that adds up and leads to its events, and who may see
what."""

import subprocess
import unittest
from decimal import ROUND_HALF_EVEN, Decimal, getcontext

from billing_case import MONTH, PRICES, BillingCase
from platform_fixture import wait_for

getcontext().prec = 60


def cents(quantity, amount, per):
    exact = quantity * Decimal(amount) / Decimal(per)
    return exact.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)


class BillingTest(BillingCase):
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
        newer = self.made("/v1/price-lists", {**self.list_of(PRICES), "name": "newer"})["uuid"]
        at = self.get(f"/v1/invoices/{self.projects[0]}/{MONTH}?price_list={newer}")["position"]
        path = f"/v1/invoices/{self.projects[0]}/{MONTH}?price_list={newer}&at="
        before = self.get(path + str(at))
        status, _, _ = self.platform.api("PUT", f"/v1/price-lists/{newer}",
                                         {**self.list_of(dearer), "name": "newer"})
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


if __name__ == "__main__":
    unittest.main()
