"""What a log bills, worked out from `trunkline log tail` alone (docs/adr/0060-metering.md).

Nothing of the services' code is in it: the finished timeline of each instance and node is laid out,
and each window takes what overlaps. Quantities are integers in base units.
"""

import collections
import datetime
import fractions

STATES = {"NEW": "new_ms", "IN_PROGRESS": "in_progress_ms", "ACTIVE": "active_ms",
          "ERROR": "error_ms"}
NODE_COUNTERS = {"transactions": "transactions", "wal_bytes": "wal_bytes",
                 "read_bytes": "read_bytes", "write_bytes": "write_bytes", "cpu_ms": "cpu_ms"}
ENDPOINT_COUNTERS = {"bytes_in": "bytes_in", "bytes_out": "bytes_out",
                     "connections": "connections", "connection_ms": "connection_ms"}

# As a CloudEvent names it: (base unit, how many of it make one of the meter's).
EVENT_METERS = {
    "instance_seconds_new": ("new_ms", 1000),
    "instance_seconds_in_progress": ("in_progress_ms", 1000),
    "instance_seconds_active": ("active_ms", 1000),
    "instance_seconds_error": ("error_ms", 1000),
    "bytes_in": ("bytes_in", 1), "bytes_out": ("bytes_out", 1),
    "connections": ("connections", 1), "connection_seconds": ("connection_ms", 1000),
    "vcpu_seconds": ("vcpu_ms", 1000), "ram_gb_seconds": ("ram_mb_ms", 1024 * 1000),
    "storage_gb_seconds": ("storage_gb_ms", 1000),
    "storage_used_gb_seconds": ("storage_used_mb_ms", 1024 * 1000),
    "transactions": ("transactions", 1), "wal_bytes": ("wal_bytes", 1),
    "read_bytes": ("read_bytes", 1), "write_bytes": ("write_bytes", 1),
    "cpu_seconds": ("cpu_ms", 1000),
}


def unix_ms(text):
    """Of RFC 3339 with six digits; cut to milliseconds."""
    at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (at - epoch) // datetime.timedelta(milliseconds=1)


def base_units(data):
    """A CloudEvent's data, read with parse_float=Decimal, as {base unit: integer}."""
    amounts = {}
    for name, (unit, per) in EVENT_METERS.items():
        if name in data:
            exact = fractions.Fraction(str(data[name])) * per
            if exact.denominator != 1:
                raise AssertionError(f"{name} {data[name]} is no whole number of {unit}")
            if exact:
                amounts[unit] = int(exact)
    return amounts


class UsageFromLog:
    """`usage`: {(instance, node or None, window's start): {base unit: amount}} of all windows up to
    the newest close; `closed_position`: of that close."""

    def __init__(self, events):
        self.usage = collections.defaultdict(lambda: collections.defaultdict(int))
        self.closed_position = 0
        self.bounds = []
        self.instances, self.nodes, self.sources = {}, {}, {}
        self._find_windows(events)
        known = [e for e in events if e["position"] < self.closed_position]
        for event in known:
            if event["stream"].startswith("instance-"):
                self._on_instance(event)
        for event in known:
            if event["type"] == "usage_measured":
                self._on_measured(event)
        for uuid, instance in self.instances.items():
            self._lay_out((uuid, None), instance["steps"])
        for uuid, node in self.nodes.items():
            self._lay_out((node["instance"], uuid), node["steps"])
        self.usage = {key: {unit: n for unit, n in amounts.items() if n}
                      for key, amounts in self.usage.items()}
        self.usage = {key: amounts for key, amounts in self.usage.items() if amounts}

    def _find_windows(self, events):
        closes = []
        for event in events:
            if event["type"] != "usage_window_closed":
                continue
            end = int(event["payload"]["window_end_unix_ms"])
            if not closes or end > closes[-1][0]:
                closes.append((end, int(event["payload"]["length_ms"])))
                self.closed_position = event["position"]
        if not closes:
            return
        first = min(unix_ms(e["time"]) for e in events)
        at = (first // closes[0][1] - 1) * closes[0][1]
        self.bounds = [at]
        for end, length in closes:
            while at < end:
                at = (at // length + 1) * length
                self.bounds.append(at)

    def _on_instance(self, event):
        uuid = event["stream"].removeprefix("instance-")
        kind, body = event["type"], event["payload"]
        one = self.instances.setdefault(uuid, {"last": 0, "word": None, "steps": [], "sizes": [],
                                               "over": False, "created": 0})
        now = one["last"] = max(one["last"], unix_ms(event["time"]))
        before = one["word"]
        if kind == "instance_created":
            one.update(word="NEW", created=now)
        if kind in ("instance_created", "instance_resized"):
            one["sizes"].append((event["version"], body["size"]))
        if kind == "node_placed":
            self.nodes.setdefault(body["node_id"], {
                "instance": uuid, "steps": [], "over": False, "created": None, "rate": {},
                "spare": body.get("is_replacement", False), "counts_from": 0})
        if kind == "node_created":
            self._node_created(one, self.nodes[body["node_id"]], body, now, event["position"])
        if kind in ("node_removal_started", "node_removed"):
            node = self.nodes[body["node_id"]]
            was_billed = not node["over"] and not node["spare"]
            self._node_over(node, now)
            if was_billed and kind == "node_removal_started":
                self._count_replacements(uuid, now, event["position"], 1)
        if kind in ("instance_scaled", "instance_activated"):
            self._count_replacements(uuid, now, event["position"], None)
        if kind in ("instance_deletion_started", "instance_deleted") and not one["over"]:
            one["steps"].append((now, {}))
            one["over"] = True
            for node in self.nodes.values():
                if node["instance"] == uuid:
                    self._node_over(node, now)
        if kind == "instance_activated":
            one["word"] = "ACTIVE"
        elif kind == "instance_failed":
            one["word"] = "ERROR"
        elif kind == "node_placed" and before != "ERROR":
            one["word"] = "IN_PROGRESS"
        elif kind == "node_removal_started" and before == "ACTIVE":
            one["word"] = "IN_PROGRESS"
        elif kind in ("instance_resized", "instance_scaled", "instance_retried") \
                and before != "NEW":
            one["word"] = "IN_PROGRESS"
        if one["word"] != before and not one["over"]:
            one["steps"].append((now, {STATES[one["word"]]: 1}))

    def _node_created(self, instance, node, body, now, position):
        if node["over"] or instance["over"]:
            return
        if node["created"] is None:
            node["created"] = (now, position)
        size = instance["sizes"][0][1]
        for version, ordered in instance["sizes"]:
            if version <= int(body["generation"]):
                size = ordered
        node["rate"] = {"vcpu_ms": size["cpu"], "ram_mb_ms": size["ram_mb"],
                        "storage_gb_ms": size["disk_gb"]}
        if not node["spare"]:
            node["steps"].append((now, node["rate"]))

    def _count_replacements(self, instance, now, position, at_most):
        """A node that was placed to replace another one is billed from when that one goes."""
        spare = sorted(uuid for uuid, node in self.nodes.items()
                       if node["instance"] == instance and node["spare"] and not node["over"])
        for uuid in spare[:at_most]:
            node = self.nodes[uuid]
            node.update(spare=False, counts_from=position)
            if node["created"] is not None:
                node["steps"].append((now, node["rate"]))

    def _node_over(self, node, now):
        if not node["over"]:
            node["steps"].append((now, {}))
        node["over"] = True

    def _lay_out(self, key, steps):
        for i, (at, rate) in enumerate(steps):
            until = steps[i + 1][0] if i + 1 < len(steps) else self.bounds[-1]
            for unit, amount in rate.items():
                self._add_rate(key, unit, amount, at, until)

    def _windows(self, begin):
        for start, end in zip(self.bounds, self.bounds[1:]):
            if end > begin:
                yield start, end

    def _add_rate(self, key, unit, amount, begin, until):
        for start, end in self._windows(begin):
            overlap = min(end, until) - max(start, begin)
            if overlap > 0:
                self.usage[(*key, start)][unit] += amount * overlap

    def _add_quantity(self, key, unit, quantity, begin, until):
        left = quantity
        for start, end in self._windows(begin):
            if quantity == 0:
                return
            is_last = end >= until
            part = left if is_last else quantity * (end - max(start, begin)) // (until - begin)
            self.usage[(*key, start)][unit] += part
            left -= part
            if is_last:
                return

    def _on_measured(self, event):
        body = event["payload"]
        source = self.sources.setdefault(event["stream"], {"last": 0, "items": {}})
        now = source["last"] = max(source["last"], unix_ms(event["time"]))
        items, named = source["items"], {}
        for counted in body.get("nodes", []):
            uuid = counted["node_id"]
            node = self.nodes[uuid]
            instance = self.instances[node["instance"]]
            is_created = node["created"] and node["created"][1] < event["position"]
            born = node["created"][0] if is_created else instance["created"]
            begin = min(items[uuid]["from"] if uuid in items else born, now)
            key = (node["instance"], uuid)
            used_mb = int(counted.get("used_mb", 0))
            if node["spare"] or event["position"] < node["counts_from"]:
                named[uuid] = {"from": now, "used_mb": used_mb, "key": key}
                continue
            if uuid not in named:
                self._add_rate(key, "storage_used_mb_ms", used_mb, begin, now)
            for field, unit in NODE_COUNTERS.items():
                self._add_quantity(key, unit, int(counted.get("used", {}).get(field, 0)),
                                   begin, now)
            named[uuid] = {"from": now, "used_mb": used_mb, "key": key}
        for counted in body.get("endpoints", []):
            uuid = counted["instance_id"]
            born = self.instances[uuid]["created"]
            begin = min(items[uuid]["from"] if uuid in items else born, now)
            for field, unit in ENDPOINT_COUNTERS.items():
                self._add_quantity((uuid, None), unit,
                                   int(counted.get("used", {}).get(field, 0)), begin, now)
            named[uuid] = {"from": now, "used_mb": 0, "key": (uuid, None)}
        for uuid in body.get("gone", []):
            items.pop(uuid, None)
        if not body.get("partial", False):
            for uuid, item in items.items():
                if uuid in named or uuid in body.get("silent", []):
                    continue
                node = self.nodes.get(uuid, {"spare": False, "counts_from": 0})
                if not node["spare"] and event["position"] >= node["counts_from"]:
                    self._add_rate(item["key"], "storage_used_mb_ms", item["used_mb"],
                                   min(item["from"], now), now)
                item["from"] = now
        items.update(named)
