"""The REST contract where gateway, services and read model meet: tables of requests and answers."""

import unittest
import uuid
from urllib.parse import quote

from customer import Customer, INSTANCES
from platform_fixture import PlatformTest, wait_for

TYPES = "/v1/types/postgres"
SHORT = "/v1/postgres"
LATER = (202, 503)  # a machine under load: the same key gets the same effect's answer


class RestContract(PlatformTest):
    def setUp(self):
        self.customer = Customer(self.platform)

    def write(self, method, path, body=None, token=None):
        """(status, body) of a write that was decided."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}

        def decided():
            status, answer, _ = self.platform.api(method, path, body, token, headers)
            return None if status in LATER else (status, answer)
        return wait_for(decided, 60, f"an answer to {method} {path}")

    def made(self, path, **body):
        status, answer = self.write("POST", path, body)
        self.assertEqual(status, 201, answer)
        return answer

    def order(self, **fields):
        return self.made(INSTANCES, **self.body(**fields))["uuid"]

    def body(self, **fields):
        return {"name": "contract", "cpu": 1, "ram": 512, "disk_size": 8, "nodes_number": 1,
                "version": self.customer.version(), **fields}

    def listed(self, path, query=""):
        status, answer, headers = self.platform.api("GET", f"{path}?{query}")
        self.assertEqual(status, 200, f"{path}?{query}: {answer}")
        return answer, headers

    def refusal(self, secret):
        """The first answer that says whether the token is good; "later" (503) does not."""
        def said():
            status, _, _ = self.platform.api("GET", INSTANCES, token=secret)
            return None if status == 503 else status
        return wait_for(said, 30, "an answer that says whether the token is good")

    def test_a_revoked_token_is_refused_at_once(self):
        for _ in range(10):
            _, token, _ = self.platform.api("POST", "/v1/tokens", {
                "name": "brief", "role": "reader", "project_id": str(uuid.uuid4())})
            secret = token["token"]
            wait_for(lambda: self.platform.api("GET", INSTANCES, token=secret)[0] == 200, 30,
                     "the new token is known")
            known, _ = self.listed("/v1/tokens", "sort_key=created_at&sort_dir=desc&page_limit=1")
            status, _ = self.write("DELETE", f"/v1/tokens/{known[0]['uuid']}")
            self.assertEqual(status, 204)
            self.assertEqual(self.refusal(secret), 401)

    def test_an_administrators_token_is_always_left(self):
        own, _ = self.listed("/v1/tokens", "name=administrator")
        status, answer = self.write("DELETE", f"/v1/tokens/{own[0]['uuid']}")
        self.assertEqual((status, answer["type"]), (409, "token_in_use"))
        self.listed(INSTANCES)

    def walked(self, path, query, after_page=lambda page: None):
        names, marker = [], ""
        for _ in range(10):
            page, headers = self.listed(path, f"{query}&page_limit=4{marker}")
            self.assertEqual(headers["X-Pagination-Limit"], "4")
            names += [row["name"] for row in page]
            if headers["X-Pagination-Marker"] is None:
                return names
            self.assertEqual(headers["X-Pagination-Marker"], page[-1]["uuid"])
            marker = "&page_marker=" + page[-1]["uuid"]
            after_page(page)
        raise AssertionError(f"no end: {names}")

    def test_pages_have_each_row_once_also_with_ties_and_without_the_marked_row(self):
        path = f"{INSTANCES}/{self.order()}/users"
        for i in range(11):
            self.made(path, name=f"u{i:02}", password="12345678", description=f"tie{i % 2}")
        for key in ("name", "description", "created_at", "uuid"):
            for direction in ("asc", "desc"):
                query = f"sort_key={key}&sort_dir={direction}"
                whole, _ = self.listed(path, query)
                values = [row[key] for row in whole]
                self.assertEqual(values, sorted(values, reverse=direction == "desc"), query)
                self.assertEqual(self.walked(path, query), [row["name"] for row in whole], query)
        gone = []

        def delete_last(page):
            gone.append(page[-1]["name"])
            self.assertEqual(self.write("DELETE", f"{path}/{page[-1]['uuid']}")[0], 204)
        self.assertEqual(self.walked(path, "sort_key=name", delete_last),
                         [f"u{i:02}" for i in range(11)])
        self.assertEqual(gone, ["u03", "u07"])

    def test_every_field_filters(self):
        c = self.customer
        instance = c.wait_active(self.order(description="a & b"))
        user = self.made(f"{INSTANCES}/{instance['uuid']}/users", name="ann", password="12345678")
        user = c.wait_object(f"{INSTANCES}/{instance['uuid']}/users/{user['uuid']}")
        places = ((INSTANCES, instance, {"endpoints", "nodes", "writes"}),
                  (f"{INSTANCES}/{instance['uuid']}/users", user, set()),
                  ("/v1/hosts", c.call("GET", "/v1/hosts")[0],
                   {"placed", "available", "disk_free", "cgroup_limits", "cgroup_note",
                    "nodes_apart", "nodes_apart_note",
                    "nodes_reported", "orphans", "reported_at"}))
        for path, document, composed_or_live in places:
            for field, value in document.items():
                if field in composed_or_live:
                    continue
                text = str(value[0] if isinstance(value, list) else value)
                text = text.lower() if isinstance(value, bool) else text
                with self.subTest(f"{path}?{field}={text}"):
                    found, _ = self.listed(path, f"{field}={quote(text)}&{field}={quote(text)}")
                    self.assertIn(document["uuid"], [row["uuid"] for row in found])
        self.assertEqual(self.listed(INSTANCES, "ipsv4=192.0.2.1")[0], [])
        short = instance["version"].replace(TYPES, SHORT)
        self.assertTrue(self.listed(INSTANCES, f"version={short}&name=contract")[0])

    def test_references_in_every_form(self):
        here, there, nothing = self.order(), self.order(), str(uuid.uuid4())
        ann = self.made(f"{INSTANCES}/{here}/users", name="ann", password="12345678")["uuid"]
        eve = self.made(f"{INSTANCES}/{there}/users", name="eve", password="12345678")["uuid"]
        own = f"/instances/{here}/users/{ann}"
        address = f"http://127.0.0.1:{self.platform.port_base}"
        for owner, wanted in ((TYPES + own, 201), (SHORT + own, 201), (TYPES + own + "/", 201),
                              (ann, 404), (address + TYPES + own, 404), ("", 404),
                              (f"{TYPES}/instances/{here}/users/{nothing}", 404),
                              (f"{TYPES}/instances/{here}/users/{eve}", 404),
                              (f"{TYPES}/instances/{nothing}/users/{ann}", 404),
                              (f"{TYPES}/instances/{here}", 404),
                              (f"{TYPES}/instances/{there}/users/{eve}", 400),
                              (None, 400), (7, 400), ({"uuid": ann}, 400)):
            with self.subTest(owner=owner):
                name = "d" + uuid.uuid4().hex
                status, answer = self.write("POST", f"{INSTANCES}/{here}/databases",
                                            {"name": name, "owner": owner})
                self.assertEqual(status, wanted, answer)
                if status == 201:
                    self.assertEqual(answer["owner"], TYPES + own)
        status, answer = self.write("POST", f"{INSTANCES}/{here}/databases", {"name": "d"})
        self.assertEqual((status, answer["type"]), (400, "owner_missing"))
        offered = self.customer.version().rpartition("/")[2]
        for version in (offered, f"{address}{TYPES}/versions/{offered}",
                        f"{TYPES}/versions/{nothing}", f"{TYPES}/instances/{offered}"):
            with self.subTest(version=version):
                status, answer = self.write("POST", INSTANCES, self.body(version=version))
                self.assertEqual((status, answer["type"]), (404, "reference_not_found"))

    def test_a_version_comes_and_goes(self):
        member = self.made("/v1/tokens", name="m", role="member",
                           project_id=str(uuid.uuid4()))["token"]
        new = {"name": "16 beta", "image": "postgresql-15"}
        self.assertEqual(self.write("POST", f"{SHORT}/versions", new, member)[0], 403)
        version = self.made(f"{SHORT}/versions", **new)["uuid"]
        path = f"{SHORT}/versions/{version}"
        self.assertEqual(self.write("POST", f"{SHORT}/versions", new)[0], 409)
        self.assertEqual(self.write("PUT", path, {"description": "soon"})[1]["description"],
                         "soon")
        self.assertEqual(self.write("DELETE", path, token=member)[0], 403)
        instance = self.order(version=f"{SHORT}/versions/{version}")
        status, answer = self.write("DELETE", path)
        self.assertEqual((status, answer["type"]), (409, "version_in_use"))
        self.customer.wait_active(instance)
        self.assertEqual(self.write("DELETE", f"{INSTANCES}/{instance}")[0], 204)
        wait_for(lambda: self.write("DELETE", path)[0] == 204, 60, "nothing runs the version")
        self.assertEqual(self.write("POST", INSTANCES, self.body(
            version=f"{TYPES}/versions/{version}"))[0], 404)


if __name__ == "__main__":
    unittest.main()
