"""Who may say and hear what on the bus: each user its own subjects, anonymous nothing."""

import contextlib
import socket
import unittest

from platform_fixture import NatsRefused, PlatformTest

SERVICES = ["gateway", "provisioner", "replication", "metering", "billing", "lookup", "proxy"]
AGENTS = ["agent-host-a", "agent-host-b", "agent-host-c"]

# Subject → who may publish to it, who may subscribe to it. "-": nobody.
TABLE = [
    ("tl.cmd.provisioner.i1", "gateway provisioner", "-"),
    ("tl.cmd.replication.i1", "gateway replication", "-"),
    ("tl.deliver.provisioner", "-", "provisioner"),
    ("tl.deliver.replication", "-", "replication"),
    ("tl.cmd.metering.p1", "gateway", "-"),
    ("tl.deliver.metering", "-", "metering"),
    ("tl.query.metering", "gateway", "metering"),
    ("tl.query.replication", "gateway", "replication"),
    ("tl.admin.metering", "gateway", "metering"),
    ("tl.usage.p1.i1", "metering", "billing"),
    ("tl.query.lookup", "gateway proxy", "lookup"),
    ("tl.route.i1", "lookup", "proxy"),
    ("tl.primary.i1", "replication", "proxy"),
    ("tl.traffic.proxy", "proxy", "metering lookup"),
    ("tl.traffic.another", "-", "metering lookup"),
    ("tl.admin.lookup", "gateway", "lookup"),
    ("tl.log.appended", "provisioner replication metering", "lookup"),
    ("tl.evt.instance.i1", "lookup", "provisioner replication metering lookup gateway"),
    ("tl.evt.token.t1", "lookup", "provisioner replication metering lookup gateway"),
    ("tl.task.host-a", "provisioner replication", "agent-host-a"),
    ("tl.task.host-b", "provisioner replication", "agent-host-b"),
    ("tl.lease.host-a", "replication", "agent-host-a"),
    ("tl.lease.host-b", "replication", "agent-host-b"),
    ("tl.logs.host-a", "gateway", "agent-host-a"),
    ("tl.logs.host-b", "gateway", "agent-host-b"),
    ("tl.report.host-a", "agent-host-a", "provisioner replication lookup"),
    ("tl.report.host-c", "agent-host-c", "provisioner replication lookup"),
    ("tl.stats.host-a", "agent-host-a", "metering lookup"),
    ("tl.stats.host-c", "agent-host-c", "metering lookup"),
    ("tl.inbox.gateway.x", "provisioner replication metering lookup", "gateway"),
    ("tl.inbox.provisioner.x", "-", "provisioner"),
    ("tl.inbox.replication.x", "-", "replication"),
    ("tl.inbox.metering.x", "-", "metering"),
    ("tl.inbox.billing.x", "-", "billing"),
    ("tl.inbox.lookup.x", "-", "lookup"),
    ("tl.inbox.proxy.x", "lookup", "proxy"),
    ("tl.inbox.agent-host-a.x", "-", "agent-host-a"),
    ("_INBOX.x", "-", "-"),
    ("something.else", "-", "-"),
    ("$SYS.REQ.SERVER.PING", "-", "-"),
    ("$SYS.ACCOUNT.TL.CONNECT", "-", "-"),
    ("$JS.API.STREAM.CREATE.TL_CMD", "gateway provisioner replication metering", "-"),
    ("$JS.API.STREAM.CREATE.TL_EVT", "lookup", "-"),
    ("$JS.API.STREAM.CREATE.TL_USAGE", "metering", "-"),
    ("$JS.API.STREAM.MSG.GET.TL_USAGE", "metering billing", "-"),
    ("$JS.API.CONSUMER.MSG.NEXT.TL_USAGE.billing", "billing", "-"),
    ("$JS.API.CONSUMER.DURABLE.CREATE.TL_USAGE.billing", "metering", "-"),
    ("$JS.API.STREAM.CREATE.OTHER", "-", "-"),
    ("$JS.API.STREAM.DELETE.TL_CMD", "-", "-"),
    ("$JS.API.STREAM.DELETE.TL_EVT", "-", "-"),
    ("$JS.API.STREAM.DELETE.TL_USAGE", "-", "-"),
    ("$JS.API.STREAM.PURGE.TL_CMD", "-", "-"),
    ("$JS.API.STREAM.MSG.GET.TL_CMD", "-", "-"),
    ("$JS.API.CONSUMER.DURABLE.CREATE.TL_CMD.provisioner", "provisioner", "-"),
    ("$JS.API.CONSUMER.DURABLE.CREATE.TL_CMD.replication", "replication", "-"),
    ("$JS.API.CONSUMER.DURABLE.CREATE.TL_EVT.gateway", "-", "-"),
    ("$JS.ACK.TL_CMD.provisioner.1.1.1.1.0", "provisioner", "-"),
    ("$JS.ACK.TL_CMD.replication.1.1.1.1.0", "replication", "-"),
    (">", "-", "-"),
    ("tl.>", "-", "-"),
    ("tl.inbox.>", "-", "-"),
    ("tl.task.*", "-", "-"),
    ("tl.lease.*", "-", "-"),
    ("tl.logs.*", "-", "-"),
]


class BusAccounts(PlatformTest):
    def connect(self, user):
        connection = self.platform.nats(user, self.platform.secret(f"nats-{user}.password"))
        self.addCleanup(connection.close)
        return connection

    def test_each_user_may_do_what_the_table_says_and_no_more(self):
        for user in SERVICES + AGENTS:
            connection = self.connect(user)
            for subject, publishers, subscribers in TABLE:
                with self.subTest(user=user, subject=subject):
                    if not subject.endswith((">", "*")):
                        self.assertEqual(self.can_publish(connection, subject),
                                         user in publishers.split())
                    self.assertEqual(self.can_subscribe(connection, subject),
                                     user in subscribers.split())

    # The table is about permission, so what is sent must do nothing: no event, no command. A
    # message whose expected stream is not there is checked for permission, then thrown away.
    def can_publish(self, connection, subject):
        header = b"NATS/1.0\r\nNats-Expected-Stream: none\r\n\r\n"
        connection._send(f"HPUB {subject} {len(header)} {len(header)}")
        connection.socket.sendall(header + b"\r\n")
        return self.allowed(connection.flush(), "Publish", subject)

    def can_subscribe(self, connection, subject):
        errors = connection.subscribe(subject, sid="7")
        connection.unsubscribe("7")
        return self.allowed(errors, "Subscription", subject)

    def allowed(self, errors, kind, subject):
        for error in errors:
            self.assertIn(f'Permissions Violation for {kind} to "{subject}"'.lower(),
                          error.lower())
        return not errors

    def test_anonymous_and_wrong_passwords_are_refused(self):
        right = self.platform.secret("nats-gateway.password")
        for user, password in [(None, None), ("", ""), ("gateway", ""), ("gateway", right[:-1]),
                               ("gateway", right + "0"), ("lookup", right), ("nobody", right),
                               ("admin", "admin"), ("SYS", "")]:
            with self.subTest(user=user):
                with self.assertRaises(NatsRefused):
                    self.platform.nats(user, password)

    def test_silent_sockets_keep_no_service_out(self):
        with contextlib.ExitStack() as silent:
            sockets = [silent.enter_context(contextlib.closing(socket.create_connection(
                ("127.0.0.1", self.platform.port_base + 1), 10))) for _ in range(600)]
            with self.connect("lookup") as connection:
                connection.flush()
            # None stays for long.
            for each in sockets:
                each.settimeout(10)
                while each.recv(4096):
                    pass

    def test_every_user_has_its_own_password(self):
        passwords = {self.platform.secret(f"nats-{user}.password") for user in SERVICES + AGENTS}
        self.assertEqual(len(passwords), len(SERVICES + AGENTS))
        self.assertTrue(all(len(password) >= 64 for password in passwords))


if __name__ == "__main__":
    unittest.main()
