"""The part of PostgreSQL's protocol (version 3.0) that an attack or a watcher needs: start, SCRAM,
simple queries. Small enough to open hundreds of sessions in one process.

Source: PostgreSQL 15, "Frontend/Backend Protocol"; RFC 5802 and RFC 7677 for SCRAM-SHA-256.
"""

import base64
import hashlib
import hmac
import os
import socket
import struct


class ServerError(Exception):
    """An ErrorResponse; `sqlstate` and `text` are its fields C and M."""

    def __init__(self, fields):
        self.sqlstate, self.text = fields.get("C", ""), fields.get("M", "")
        super().__init__(f"{self.sqlstate} {self.text}")


class Closed(Exception):
    """The server ended the connection."""


def _fields(body):
    return {part[:1].decode(): part[1:].decode(errors="replace")
            for part in body.split(b"\0") if part}


class Session:
    """One session, without TLS. For one thread."""

    def __init__(self, host, port, user, database, password, timeout_s=20, **parameters):
        self.socket = socket.create_connection((host, port), timeout=timeout_s)
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.reader = self.socket.makefile("rb")
            self.status = b"?"
            self._start({"user": user, "database": database, **parameters}, password)
        except BaseException:
            self.close()
            raise

    def close(self):
        if hasattr(self, "reader"):
            self.reader.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, kind, body):
        self.socket.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def receive(self):
        """(type, body) of the next message."""
        head = self.reader.read(5)
        if len(head) < 5:
            raise Closed
        length = struct.unpack("!I", head[1:])[0] - 4
        body = self.reader.read(length)
        if len(body) < length:
            raise Closed
        return head[:1], body

    def _start(self, parameters, password):
        words = b"".join(f"{k}\0{v}\0".encode() for k, v in parameters.items()) + b"\0"
        self.socket.sendall(struct.pack("!II", len(words) + 8, 196608) + words)
        while True:
            kind, body = self.receive()
            if kind == b"E":
                raise ServerError(_fields(body))
            if kind == b"R":
                self._authenticate(body, password)
            elif kind == b"Z":
                self.status = body
                return

    def _authenticate(self, body, password):
        code = struct.unpack("!I", body[:4])[0]
        if code == 10:
            self.nonce = base64.b64encode(os.urandom(18)).decode()
            self.first = f"n=,r={self.nonce}"
            first = f"n,,{self.first}".encode()
            self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first)
        elif code == 11:
            self.send(b"p", self._proof(body[4:].decode(), password))
        elif code not in (0, 12):
            raise AssertionError(f"authentication {code} is not what Trunkline asks for")

    def _proof(self, challenge, password):
        said = dict(part.split("=", 1) for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(said["s"]),
                                     int(said["i"]))
        client = hmac.digest(salted, b"Client Key", "sha256")
        last = f"c=biws,r={said['r']}"
        signature = hmac.digest(hashlib.sha256(client).digest(),
                                f"{self.first},{challenge},{last}".encode(), "sha256")
        proof = bytes(a ^ b for a, b in zip(client, signature))
        return f"{last},p={base64.b64encode(proof).decode()}".encode()

    def begin(self, sql):
        """Sends a simple query; end() reads its answer."""
        self.send(b"Q", sql.encode() + b"\0")

    def end(self):
        """Rows of texts (or None) of all results; the first error is raised once all is read."""
        rows, error = [], None
        while True:
            kind, body = self.receive()
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"E":
                error = error or ServerError(_fields(body))
            elif kind == b"Z":
                self.status = body
                if error:
                    raise error
                return rows

    def query(self, sql):
        self.begin(sql)
        return self.end()


def _row(body):
    count, at, out = struct.unpack("!H", body[:2])[0], 2, []
    for _ in range(count):
        length = struct.unpack("!i", body[at:at + 4])[0]
        at += 4
        out.append(None if length < 0 else body[at:at + length].decode(errors="replace"))
        at += max(length, 0)
    return out
