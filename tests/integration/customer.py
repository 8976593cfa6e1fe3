"""What a customer does, as calls on a Platform: order, wait, connect."""

from platform_fixture import wait_for

INSTANCES = "/v1/postgres/instances"


class Refused(AssertionError):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


class Customer:
    def __init__(self, platform, token=None):
        self.platform, self.token = platform, token

    def call(self, method, path, body=None, headers=None, expect=(200, 201, 204)):
        status, answer, _ = self.platform.api(method, path, body, self.token, headers)
        if status not in expect:
            raise Refused(status, answer)
        return answer

    def version(self):
        return "/v1/types/postgres/versions/" + self.call(
            "GET", "/v1/postgres/versions")["versions"][0]["uuid"]

    def order(self, nodes=1, sync=0, headers=None, **fields):
        body = {"name": "test", "cpu": 1, "ram": 512, "disk_size": 8, "nodes_number": nodes,
                "sync_replica_number": sync, "version": self.version(), **fields}
        return self.call("POST", INSTANCES, body, headers)["uuid"]

    def get(self, uuid):
        return self.call("GET", f"{INSTANCES}/{uuid}")

    def change(self, uuid, **fields):
        return self.call("PUT", f"{INSTANCES}/{uuid}", fields)

    def delete(self, uuid):
        self.call("DELETE", f"{INSTANCES}/{uuid}")

    def user(self, uuid, name="alice", password="correct horse"):
        return self.call("POST", f"{INSTANCES}/{uuid}/users",
                         {"name": name, "password": password})["uuid"]

    def database(self, uuid, owner, name="shop"):
        return self.call("POST", f"{INSTANCES}/{uuid}/databases", {
            "name": name, "owner": f"/v1/types/postgres/instances/{uuid}/users/{owner}"})["uuid"]

    def wait_active(self, uuid, timeout_s=90):
        def settled():
            instance = self.get(uuid)
            if instance["status"] == "ERROR":
                raise AssertionError(f"instance is in ERROR: {instance['error']}")
            return instance if instance["status"] == "ACTIVE" else None
        return wait_for(settled, timeout_s, f"instance {uuid} ACTIVE")

    def wait_object(self, path, timeout_s=60):
        def active():
            answer = self.call("GET", path)
            if answer["status"] == "ERROR":
                raise AssertionError(f"{path}: {answer}")
            return answer if answer["status"] == "ACTIVE" else None
        return wait_for(active, timeout_s, f"{path} ACTIVE")

    def dsn(self, instance, user="alice", database="shop", endpoint="read_write", **more):
        at = instance["endpoints"][endpoint]
        extra = "".join(f" {k}={v}" for k, v in more.items())
        return f"host={at['host']} port={at['port']} user={user} dbname={database}{extra}"

    def sql(self, dsn, text, password="correct horse"):
        return self.platform.psql(dsn, text, password)
