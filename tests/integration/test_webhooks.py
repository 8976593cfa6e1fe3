"""Usage records by HTTP: none is lost, each counts once, and they go to nobody else."""

import datetime
import json
import os
import sys
import time
import unittest
import urllib.request

from billing_case import MONTH, BillingCase
from billing_receivers import Refusing, Silent, consumer
from event_schemas import CLOUDEVENTS, problems
from platform_fixture import accepts_connections, wait_for

KILLS = int(os.environ.get("TRUNKLINE_BILLING_KILLS", "2"))
OUTAGE_S = float(os.environ.get("TRUNKLINE_WEBHOOK_OUTAGE_S", "5"))


class WebhooksTest(BillingCase):
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

    def test_a_receiver_that_was_away_gets_everything(self):
        receiver = self.consumer("away.sqlite")
        hook = self.webhook(receiver)
        receiver.secrets = [hook["secret"]]
        wait_for(lambda: receiver.order, 60, "a first record")
        receiver.stop()
        wait_for(lambda: not accepts_connections(receiver.port), 10, "a closed port")
        before, began = self.newest_record(), time.monotonic()
        missed = wait_for(lambda: self.newer_record(before)
                          if time.monotonic() - began >= OUTAGE_S else None,
                          OUTAGE_S + 60, "usage of all the outage")
        failed = [attempt for attempt in
                  self.get(f"/v1/webhooks/{hook['uuid']}/deliveries")["attempts"]
                  if attempt["status"] == 0]
        self.assertTrue(failed)
        back_at = time.monotonic()
        receiver.start()
        # Nobody asks for it: the pause between two tries has grown with the outage.
        wait_for(lambda: receiver.last_position() > missed, OUTAGE_S + 60, "what it missed")
        took_s = time.monotonic() - back_at
        first = receiver.order[0]["data"]["position"]
        expected = self.platform.psql(
            self.metering_dsn(), "SELECT id FROM usage.record WHERE position BETWEEN "
            f"{first} AND {missed} ORDER BY position, ordinal").split()
        self.assertEqual([event["id"] for event in receiver.events_up_to(missed)], expected)
        self.assertEqual(receiver.faults, [])
        with receiver.lock:
            late = [event["id"] for event in receiver.events
                    if before < event["data"]["position"] <= missed]
        print(f"away {back_at - began:.0f} s: {len(late)} deliveries of {len(set(late))} records, "
              f"all there {took_s:.1f} s after its return; the newest tries failed: "
              f"{len(failed)}", file=sys.stderr)

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
        self.assertEqual(poison.statuses, [])  # no more refusals, so no more dead letters
        status, body, _ = self.platform.api("DELETE", path + "/dead-letters")
        self.assertIn(status, (202, 204), body)
        wait_for(lambda: not self.get(path + "/deliveries")["dead_letters"], 60,
                 "no dead letter any more")
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


if __name__ == "__main__":
    unittest.main()
