"""A tenant who has nothing to do with the attacks: works all the time and must not notice them."""

import threading
import time

from customer import Customer, INSTANCES
from pgwire import Session
from platform_fixture import wait_for

PASSWORD = "correct horse"
PAUSE_S = 0.03


def quantile(sorted_values, q):
    return sorted_values[min(len(sorted_values) - 1, int(q * len(sorted_values)))]


class Latencies:
    """Times of one kind of work, by the phase in which it began. Thread-safe."""

    def __init__(self):
        self.lock, self.phase, self.times_s, self.errors = threading.Lock(), "quiet", {}, []

    def add(self, phase, seconds):
        with self.lock:
            self.times_s.setdefault(phase, []).append(seconds)

    def failed(self, phase, what):
        with self.lock:
            self.errors.append(f"{phase}: {what}")

    def p99_ms(self, phase):
        with self.lock:
            times = sorted(self.times_s.get(phase, []))
        return 1000 * quantile(times, 0.99) if times else float("nan")


class Bystander:
    """An instance of a project of its own. Three loops: one session that never ends, new logins,
    REST. What they saw is asked by phase."""

    def __init__(self, platform, token, nodes=2):
        self.customer = Customer(platform, token)
        self.uuid = self.customer.order(nodes=nodes, sync=nodes - 1, name="bystander")
        owner = self.customer.user(self.uuid, "bystander", PASSWORD)
        database = self.customer.database(self.uuid, owner, "work")
        self.customer.wait_active(self.uuid)
        self.customer.wait_object(f"{INSTANCES}/{self.uuid}/databases/{database}")
        at = self.customer.get(self.uuid)["endpoints"]["read_write"]
        self.login = (at["host"], at["port"], "bystander", "work", PASSWORD)
        self.kinds = {"write": Latencies(), "login": Latencies(), "rest": Latencies()}
        self.phase = "quiet"
        self.done = threading.Event()
        self.session = Session(*self.login)
        self.session.query("create table if not exists t (n bigint)")
        self.primary = self._primary()
        self.threads = [threading.Thread(target=self._loop, args=(kind, work), daemon=True)
                        for kind, work in (("write", self._write), ("login", self._log_in),
                                           ("rest", self._rest))]
        for thread in self.threads:
            thread.start()

    def _write(self):
        self.session.query("insert into t values (1)")

    def _log_in(self):
        with Session(*self.login) as session:
            session.query("select 1")

    def _rest(self):
        self.customer.call("GET", INSTANCES)

    def _loop(self, kind, work):
        seen = self.kinds[kind]
        while not self.done.is_set():
            phase, begin = self.phase, time.monotonic()
            try:
                work()
                seen.add(phase, time.monotonic() - begin)
            except Exception as error:  # pylint: disable=broad-except
                seen.failed(phase, f"{kind}: {type(error).__name__}: {error}")
                if kind == "write":
                    return  # the session is gone, and that is what is asked
            self.done.wait(PAUSE_S)

    def _primary(self):
        return wait_for(lambda: next((n["uuid"] for n in self.customer.get(self.uuid)["nodes"]
                                      if n.get("role") == "primary"), None), 30, "a primary")

    def noticed(self):
        """What it noticed so far: errors, a session that ended, a role that moved."""
        found = [error for seen in self.kinds.values() for error in seen.errors]
        if not self.threads[0].is_alive() and not self.done.is_set():
            found.append("its session has ended")
        now = self._primary()
        if now != self.primary:
            found.append(f"its primary moved from {self.primary} to {now}")
        instance = self.customer.get(self.uuid)
        if instance["status"] != "ACTIVE":
            found.append(f"its status is {instance['status']}: {instance.get('error')}")
        return found

    def stop(self):
        self.done.set()
        for thread in self.threads:
            thread.join(30)
        self.session.close()

    def figures(self, phase):
        return {kind: seen.p99_ms(phase) for kind, seen in self.kinds.items()}
