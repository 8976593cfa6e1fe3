"""The hostile tenant: an instance of its own, and what its attacks share."""

import contextlib
import uuid as uuids

from customer import Customer, INSTANCES, Refused
from pgwire import Closed, ServerError, Session
from platform_fixture import wait_for

PASSWORD = "correct horse"


class Tenant:
    def __init__(self, platform, token, bystander, whole):
        self.platform, self.bystander, self.whole = platform, bystander, whole
        self.customer = Customer(platform, token)
        self.token = token
        self.uuid = self.customer.order(nodes=2, sync=1, name="hostile")
        self.owner = self.customer.user(self.uuid, "mallory", PASSWORD)
        self.database = self.customer.database(self.uuid, self.owner, "den")
        self.customer.wait_active(self.uuid)
        self.wait_object("databases", self.database)

    # --- REST

    def path(self, kind, uuid=""):
        return f"{INSTANCES}/{self.uuid}/{kind}" + (f"/{uuid}" if uuid else "")

    def call(self, method, path, body=None, expect=(200, 201, 204)):
        """The answer of a write that was decided: 202 and 503 are asked again with the same key."""
        key = str(uuids.uuid4())

        def decided():
            status, answer, _ = self.platform.api(method, path, body, self.token,
                                                  {"Idempotency-Key": key})
            if status in (202, 503):
                return None
            if status not in expect:
                raise Refused(status, answer)
            return status, answer
        return wait_for(decided, 60, f"{method} {path} decided")

    def user(self, name, **more):
        return self.call("POST", self.path("users"),
                         {"name": name, "password": PASSWORD, **more})[1]["uuid"]

    def new_database(self, name, owner, **more):
        return self.call("POST", self.path("databases"), {
            "name": name, "owner": f"/v1/types/postgres{self.path('users', owner)[12:]}",
            **more})[1]["uuid"]

    def wait_object(self, kind, uuid):
        self.customer.wait_object(self.path(kind, uuid))

    def gone(self, kind, uuid, timeout_s=60):
        path = self.path(kind, uuid)
        wait_for(lambda: self.platform.api("GET", path, token=self.token)[0] == 404, timeout_s,
                 f"{kind}/{uuid} is gone")

    def primary(self):
        return wait_for(lambda: next((n for n in self.customer.get(self.uuid)["nodes"]
                                      if n.get("role") == "primary"), None), 30, "a primary")

    def events(self):
        return [e["type"] for e in self.customer.call("GET", f"{INSTANCES}/{self.uuid}/events")]

    # --- SQL

    def at(self, endpoint="read_write"):
        where = self.customer.get(self.uuid)["endpoints"][endpoint]
        return where["host"], where["port"]

    def session(self, user="mallory", database="den", endpoint="read_write", **parameters):
        host, port = self.at(endpoint)
        return Session(host, port, user, database, PASSWORD, **parameters)

    def sql(self, text, **where):
        with self.session(**where) as session:
            return session.query(text)

    def can_log_in(self, **where):
        with contextlib.suppress(ServerError, Closed, OSError):
            with self.session(**where) as session:
                return session.query("select 1") == [["1"]]
        return False
