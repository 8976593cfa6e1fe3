"""A Docker engine of a test's own, from Debian's docker.io. Its images and volumes are in a
directory; its processes, mounts and, when containers run, networks are in namespaces that end with
this process, also when that is killed.

    engine = Engine()                   # raises Unavailable with the reason
    with engine.running():              # the machine's network and no bridge: images are built here
        engine.compose("build")
    engine.enter_network()              # this process and what it starts: an empty network
    with engine.running(networks=True): # containers with ports that this process reaches
        ...
    engine.remove()
"""

import concurrent.futures
import contextlib
import ctypes
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from platform_fixture import REPO

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PLACE, PREFIX = pathlib.Path("/var/tmp"), "trunkline-docker-"  # not /tmp: it may be in memory
BASE = "debian:12"
BASE_CACHE = REPO / "build" / "docker-base.tar"
CAP_SYS_RESOURCE = 24
PATH = "/usr/bin:/usr/sbin:/bin:/sbin"  # Debian's: what is in /usr/local may lack BuildKit


class Unavailable(Exception):
    """The text begins with "no Docker here: "."""


def _unavailable(why):
    return Unavailable(f"no Docker here: {why}")


def _run(command, timeout_s=60, **options):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout_s, **options)


def _lock(directory):
    """A descriptor that says that the directory is in use; None if it is."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return held
    except OSError:
        os.close(held)
        return None


def _remove_unused(directory):
    held = _lock(directory)
    if held is None:
        return
    subprocess.run(["rm", "-rf", "--one-file-system", str(directory)], check=False)  # 10^5 files
    os.close(held)
    top = pathlib.Path("/sys/fs/cgroup")
    for group in sorted(top.glob(f"**/{directory.name}/**/"), reverse=True):
        with contextlib.suppress(OSError):
            group.rmdir()


class Engine:
    def __init__(self):
        if os.geteuid() != 0:
            raise _unavailable("only root can start dockerd")
        for program in ("dockerd", "docker", "docker-compose"):
            if shutil.which(program, path=PATH) is None:
                raise _unavailable(f"no {program}")
        for left in PLACE.glob(PREFIX + "*"):
            _remove_unused(left)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX, dir=PLACE))
        self.lock = _lock(self.directory)
        self.socket = self.directory / "docker.sock"
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "1",
                    "PATH": PATH, "COMPOSE_INTERACTIVE_NO_CLI": "1",
                    "DOCKER_CONFIG": str(self.directory / "config")}
        status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
        bounding = int(next(line.split()[1] for line in status.splitlines()
                            if line.startswith("CapBnd:")), 16)
        if not bounding >> CAP_SYS_RESOURCE & 1:
            # Docker can give no capability that it does not have.
            self.env["TRUNKLINE_CAP_RESOURCE"] = "CAP_KILL"

    def remove(self):
        os.close(self.lock)
        _remove_unused(self.directory)

    @contextlib.contextmanager
    def running(self, networks=False):
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                   shutil.which("dockerd", path=PATH), "--data-root", str(self.directory / "data"),
                   "--exec-root", str(self.directory / "exec"), "-H", f"unix://{self.socket}",
                   "--pidfile", str(self.directory / "pid"),
                   "--exec-opt", "native.cgroupdriver=cgroupfs",
                   "--cgroup-parent", "/" + self.directory.name]
        if not networks:
            command += ["--iptables=false", "--bridge=none"]
        libc = ctypes.CDLL(None)
        with open(self.directory / "dockerd.log", "a", encoding="utf-8") as log:
            daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                start_new_session=True,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        try:
            self._await(daemon)
            yield self
        finally:
            left = self.docker("ps", "-q", check=False)
            if left.returncode == 0 and left.stdout.split():
                self.docker("kill", *left.stdout.split(), check=False)  # a stop takes its time
            inner = pathlib.Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children")
            with contextlib.suppress(OSError):
                for pid in inner.read_text(encoding="utf-8").split():
                    os.kill(int(pid), signal.SIGTERM)
            try:
                daemon.wait(120)
            except subprocess.TimeoutExpired:
                daemon.kill()
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

    def pull(self, image):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.docker("pull", "-q", image, check=False, timeout_s=60).returncode == 0
        return False

    def import_program(self, program, image):
        """An image of nothing but a static program."""
        name = pathlib.Path(program).name
        packed = self.directory / "program.tar"
        subprocess.run(["tar", "-C", str(pathlib.Path(program).parent), "-cf", str(packed), name],
                       check=True)
        self.docker("import", "-c", f'ENTRYPOINT ["/{name}"]', str(packed), image)
        packed.unlink()

    def make_base(self):
        """debian:12: pulled, or made by debootstrap where it cannot be. Says which."""
        how = "pulled"
        if not self.pull(BASE):
            if not BASE_CACHE.exists():
                self._debootstrap()
            self.docker("import", str(BASE_CACHE), BASE)
            how = "made by debootstrap"
        asked = self.docker("run", "--rm", "--network", "host", BASE, "apt-get", "-q", "update",
                            "-o", "APT::Update::Error-Mode=any", check=False, timeout_s=120)
        if asked.returncode != 0:
            raise _unavailable(f"a container reaches no packages: {asked.stdout[-300:]}")
        return how

    def _debootstrap(self):
        if shutil.which("debootstrap", path=PATH) is None:
            raise _unavailable(f"{BASE} cannot be pulled, and there is no debootstrap")
        root, packed = self.directory / "base", self.directory / "base.tar"
        done = _run(["debootstrap", "--variant=minbase", "bookworm", str(root)], 600, env=self.env)
        if done.returncode != 0:
            raise _unavailable(f"{BASE} can be neither pulled nor made: {done.stdout[-500:]}")
        shutil.rmtree(root / "var/cache/apt/archives")
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        subprocess.run(["tar", "-C", str(root), "-cf", str(packed), "."], check=True)
        shutil.rmtree(root)
        BASE_CACHE.parent.mkdir(exist_ok=True)
        shutil.move(packed, BASE_CACHE.with_suffix(".new"))
        BASE_CACHE.with_suffix(".new").rename(BASE_CACHE)

    @staticmethod
    def enter_network():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise _unavailable(f"unshare: {os.strerror(ctypes.get_errno())}")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Project:
    """One `docker-compose -p NAME` on the repository's files: with a local build's programs, or
    with those that the images are built with."""

    def __init__(self, engine, name, built=False, **env):
        self.engine, self.name = engine, name
        self.files = ["-f", "docker-compose.yml"]
        if not built:
            self.files += ["-f", "compose.dev.yml"]
        self.env = {**engine.env, "COMPOSE_PROJECT_NAME": name, **env}

    def build(self, first, *services):
        """The first makes what they share; the others then build beside each other."""
        self.compose("build", first, timeout_s=7200)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda service: self.compose("build", service, timeout_s=600), services))

    def compose(self, *words, check=True, timeout_s=300):
        done = _run(["/usr/bin/docker-compose", *self.files, *words], timeout_s, env=self.env,
                    cwd=REPO)
        if check and done.returncode != 0:
            raise AssertionError(f"compose {' '.join(words)}: {done.stdout}\n{self.logs()}")
        return done.stdout

    def logs(self, *services):
        return _run(["/usr/bin/docker-compose", *self.files, "logs", "--no-color", "--tail", "40",
                     *services], env=self.env, cwd=REPO).stdout

    def container(self, service):
        return f"{self.name}_{service}_1"

    def state(self, service):
        """running, exited …, and the exit code."""
        out = self.engine.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}",
                                 self.container(service)).stdout.split()
        return out[0], int(out[1])
