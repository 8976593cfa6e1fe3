"""A Docker engine of a test's own, from Debian's docker.io: dockerd, its images, containers and
networks are in a directory and, when containers run, in a network namespace that end with it.

    engine = Engine(directory)          # raises Unavailable with the reason
    with engine.running():              # the machine's network and no bridge: images are built here
        engine.compose("build")
    engine.enter_network()              # this process and what it starts: an empty network
    with engine.running(networks=True): # containers with ports that this process reaches
        ...
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import time

from platform_fixture import REPO

CLONE_NEWNET = 0x40000000
BASE = "debian:12"
CAP_SYS_RESOURCE = 24
PATH = "/usr/bin:/usr/sbin:/bin:/sbin"  # Debian's: what is in /usr/local may lack BuildKit


class Unavailable(Exception):
    """The text begins with "no Docker here: "."""


def _unavailable(why):
    return Unavailable(f"no Docker here: {why}")


def _run(command, timeout_s=60, **options):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout_s, **options)


class Engine:
    def __init__(self, directory):
        if os.geteuid() != 0:
            raise _unavailable("only root can start dockerd")
        for program in ("dockerd", "docker", "docker-compose"):
            if shutil.which(program, path=PATH) is None:
                raise _unavailable(f"no {program}")
        self.directory = pathlib.Path(directory)
        self.socket = self.directory / "docker.sock"
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "1",
                    "PATH": PATH, "COMPOSE_INTERACTIVE_NO_CLI": "1",
                    "DOCKER_CONFIG": str(self.directory / "config")}
        bounding = int(next(line.split()[1] for line in open("/proc/self/status")
                            if line.startswith("CapBnd:")), 16)
        if not bounding >> CAP_SYS_RESOURCE & 1:
            # Docker can give no capability that it does not have.
            self.env["TRUNKLINE_CAP_RESOURCE"] = "CAP_KILL"

    @contextlib.contextmanager
    def running(self, networks=False):
        command = [shutil.which("dockerd", path=PATH), "--data-root", str(self.directory / "data"),
                   "--exec-root", str(self.directory / "exec"), "-H", f"unix://{self.socket}",
                   "--pidfile", str(self.directory / "pid")]
        if not networks:
            command += ["--iptables=false", "--bridge=none"]
        with open(self.directory / "dockerd.log", "a", encoding="utf-8") as log:
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      env=self.env, start_new_session=True)
        try:
            self._await(daemon)
            yield self
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(120)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()

    def _await(self, daemon):
        for _ in range(600):
            if daemon.poll() is not None:
                log = (self.directory / "dockerd.log").read_text(errors="replace")
                raise _unavailable(f"dockerd ended: {log.splitlines()[-1] if log else '?'}")
            if self.docker("version", check=False).returncode == 0:
                return
            time.sleep(0.1)
        raise _unavailable("dockerd does not answer")

    def docker(self, *words, check=True, timeout_s=120):
        done = _run(["/usr/bin/docker", *words], timeout_s, env=self.env)
        if check and done.returncode != 0:
            raise AssertionError(f"docker {' '.join(words)}: {done.stdout}")
        return done

    def make_base(self):
        """debian:12: pulled, or made by debootstrap where it cannot be. Says which."""
        if self.docker("pull", "-q", BASE, check=False, timeout_s=90).returncode == 0:
            return "pulled"
        if shutil.which("debootstrap", path=PATH) is None:
            raise _unavailable(f"{BASE} cannot be pulled, and there is no debootstrap")
        root = self.directory / "base"
        done = _run(["debootstrap", "--variant=minbase", "bookworm", str(root)], 600, env=self.env)
        if done.returncode != 0:
            raise _unavailable(f"{BASE} can be neither pulled nor made: {done.stdout[-500:]}")
        packed = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
        subprocess.run(["/usr/bin/docker", "import", "-", BASE], stdin=packed.stdout, check=True,
                       env=self.env, stdout=subprocess.DEVNULL)
        packed.wait()
        shutil.rmtree(root)
        return "made by debootstrap"

    @staticmethod
    def enter_network():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise _unavailable(f"unshare: {os.strerror(ctypes.get_errno())}")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Project:
    """One `docker-compose -p NAME` on the repository's files, with a local build's programs."""

    def __init__(self, engine, name, **env):
        self.engine, self.name = engine, name
        self.env = {**engine.env, "COMPOSE_PROJECT_NAME": name, **env}

    def compose(self, *words, check=True, timeout_s=300):
        done = _run(["/usr/bin/docker-compose", "--no-ansi", "-f", "docker-compose.yml",
                     "-f", "compose.dev.yml", *words], timeout_s, env=self.env, cwd=REPO)
        if check and done.returncode != 0:
            raise AssertionError(f"compose {' '.join(words)}: {done.stdout}\n{self.logs()}")
        return done.stdout

    def logs(self, *services):
        return _run(["/usr/bin/docker-compose", "--no-ansi", "-f", "docker-compose.yml", "logs",
                     "--no-color", "--tail", "40", *services], env=self.env, cwd=REPO).stdout

    def container(self, service):
        return f"{self.name}_{service}_1"

    def state(self, service):
        """running, exited …, and the exit code."""
        out = self.engine.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}",
                                 self.container(service)).stdout.split()
        return out[0], int(out[1])
