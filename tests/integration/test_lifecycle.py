"""Start, stop, restart, crash: what `make run` and its kin promise."""

import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import time
import unittest

from platform_fixture import REPO, Platform, PlatformTest, accepts_connections, alive, wait_for

ALL = ["nats", "log-postgres", "lookup", "provisioner", "replication", "metering", "api-gateway",
       "proxy", "agent-host-a", "agent-host-b", "agent-host-c"]


class RunFile(PlatformTest):
    def test_has_exactly_the_documented_shape(self):
        run = self.platform.run_json()
        self.assertEqual(sorted(run), ["admin_token_file", "api", "cli", "log_dsn", "nats",
                                       "processes"])
        self.assertEqual(run["api"], f"http://127.0.0.1:{self.platform.port_base}")
        self.assertEqual(run["nats"], f"nats://127.0.0.1:{self.platform.port_base + 1}")
        self.assertTrue(os.access(run["cli"], os.X_OK), run["cli"])
        self.assertRegex(pathlib.Path(run["admin_token_file"]).read_text(), r"^tl_[\w-]{342}\n$")
        self.assertEqual(sorted(p["name"] for p in run["processes"]), sorted(ALL))
        for process in run["processes"]:
            self.assertEqual(sorted(process), ["log", "name", "pid"])
            self.assertTrue(alive(process["pid"]), process)
            self.assertTrue(pathlib.Path(process["log"]).is_file(), process)

    def test_log_dsn_reads_the_log_and_cannot_change_it(self):
        dsn = self.platform.run_json()["log_dsn"]
        self.assertRegex(self.platform.psql(dsn, "SELECT count(*) FROM log.event"), r"^\d+$")
        for statement in ["DELETE FROM log.event", "UPDATE log.event SET type = 'x'",
                          "TRUNCATE log.event", "CREATE TABLE public.t ()"]:
            with self.assertRaises(AssertionError, msg=statement):
                self.platform.psql(dsn + " options='-c default_transaction_read_only=off'",
                                   statement)

    def test_the_log_has_no_port_that_others_could_fill(self):
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.platform.port_base + 2), 5).close()
        dsn = self.platform.run_json()["log_dsn"]
        self.assertEqual(self.platform.psql(dsn, "SHOW listen_addresses"), "")
        self.assertEqual(self.platform.psql(dsn, "SHOW superuser_reserved_connections"), "5")

    def test_secrets_are_private(self):
        home = self.platform.home
        files = [home / "admin.token", home / "tls" / "ca.key", *(home / "secrets").iterdir(),
                 *(home / "etc").iterdir(), *home.glob("hosts/*/tls/*.key")]
        self.assertGreater(len(files), 15)
        for file in files:
            self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600, file)

    def test_no_secret_is_in_a_command_line_or_environment(self):
        home = self.platform.home
        secrets = [f.read_text().strip() for f in (home / "secrets").iterdir()]
        secrets.append(self.platform.admin_token())
        for pid, line in self.platform.own_processes().items():
            try:
                text = line + pathlib.Path(f"/proc/{pid}/environ").read_text(errors="replace")
            except OSError:  # it has ended meanwhile
                text = line
            for secret in secrets:
                self.assertNotIn(secret, text)

    def test_status_lists_every_process(self):
        done = self.platform.script("status.sh")
        self.assertEqual(done.returncode, 0, done.stdout)
        for name in ALL:
            self.assertRegex(done.stdout, rf"(?m)^{name}\s+\d+\s+running")

    def test_a_second_start_refuses_and_names_the_url(self):
        before = self.platform.run_json()
        done = self.platform.script("run.sh")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(before["api"], done.stdout)
        self.assertEqual(self.platform.run_json(), before)

    def test_clean_state_refuses_while_it_runs(self):
        done = self.platform.script("clean_state.sh")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("make stop", done.stdout)
        self.assertTrue((self.platform.home / "run.json").exists())

    def test_a_home_with_its_ports_taken_says_so(self):
        other = Platform()
        self.addCleanup(other.tear_down)
        other.env["TRUNKLINE_PORT_BASE"] = str(self.platform.port_base)
        done = other.script("run.sh")
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stdout, rf"port {self.platform.port_base // 10}\d ")
        self.assertIn("TRUNKLINE_PORT_BASE", done.stdout)
        self.assertFalse(other.home.exists(), "a start that is refused makes nothing")

    def test_an_endpoints_port_that_is_taken_is_named(self):
        other = Platform()
        self.addCleanup(other.tear_down)
        address = f"127.{other.port_base >> 8}.{other.port_base & 255}.10"
        with socket.create_server((address, 5432)):
            done = other.script("run.sh")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"port 5432 on {address}", done.stdout)


class Supervision(PlatformTest):
    def is_up_again(self, name, before):
        """For good: a PostgreSQL that meets processes of the killed one ends, and starts again."""
        pid = self.platform.pid(name)
        return (pid != before and self.platform.script("status.sh").returncode == 0 and
                alive(pid) and self.platform.pid(name) == pid)

    def test_each_process_is_restarted_when_it_is_killed(self):
        for name in self.platform.process_names():
            with self.subTest(name):
                others = {p["name"]: p["pid"] for p in self.platform.run_json()["processes"]}
                before = others.pop(name)
                os.kill(before, signal.SIGKILL)
                wait_for(lambda: self.is_up_again(name, before), 60, f"a new {name}")
                if name in ("api-gateway", "agent-host-a"):  # nobody depends on them
                    now = {p["name"]: p["pid"] for p in self.platform.run_json()["processes"]}
                    now.pop(name)
                    self.assertEqual(now, others)


class Lifecycle(unittest.TestCase):
    def setUp(self):
        self.platform = Platform()
        self.addCleanup(self.platform.tear_down)

    def test_stop_leaves_nothing_and_a_restart_keeps_the_state(self):
        self.platform.start()
        home = self.platform.home
        token = self.platform.admin_token()
        files = {f: f.read_bytes() for f in home.glob("hosts/*/tls/*")}
        dsn = self.platform.run_json()["log_dsn"]
        count = "SELECT count(*) FROM log.event"
        events = int(self.platform.psql(dsn, count))
        self.platform.stop()
        self.assertEqual(self.platform.own_processes(), {})
        self.assertFalse((home / "run.json").exists())
        self.assertEqual(self.platform.script("status.sh").returncode, 3)
        self.assertFalse(any(accepts_connections(self.platform.port_base + i) for i in range(3)))
        self.platform.start()
        self.assertEqual(self.platform.admin_token(), token)
        self.assertEqual({f: f.read_bytes() for f in home.glob("hosts/*/tls/*")}, files)
        self.assertGreaterEqual(int(self.platform.psql(dsn, count)), events)
        self.platform.stop()
        self.platform.stop()  # stopping what is down is no error
        self.assertEqual(self.platform.script("clean_state.sh").returncode, 0)
        self.assertFalse(home.exists())

    def test_all_hosts_are_there_when_a_start_ends(self):
        for _ in range(2):
            self.platform.start()
            _, hosts, _ = self.platform.api("GET", "/v1/hosts")
            self.assertEqual([h["available"] for h in hosts], [True] * 3, hosts)
            self.platform.stop()

    def test_ctrl_c_stops_everything_cleanly(self):
        run = self.platform.start_in_foreground()
        self.addCleanup(run.stdout.close)
        lines = []
        for line in run.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        self.assertIn("Trunkline is up.\n", lines)
        wait_for(lambda: self.platform.script("status.sh").returncode == 0, what="ready")
        os.killpg(run.pid, signal.SIGINT)  # what a terminal sends
        rest = run.stdout.read()
        run.wait(timeout=120)
        self.assertEqual(self.platform.own_processes(), {}, rest)
        self.assertRegex(rest, r"(?s)news +all is down\n.*stop +done; [^\n]*\n$")
        self.assertIn("all is down", (self.platform.home / "logs" / "supervisor.log").read_text())
        self.assertNotIn("sending signal 9",
                         (self.platform.home / "logs" / "supervisor.log").read_text())

    def test_make_stop_ends_a_foreground_run(self):
        run = self.platform.start_in_foreground()
        self.addCleanup(run.stdout.close)
        for line in run.stdout:
            if line.startswith("Ctrl-C"):
                break
        self.platform.stop()
        self.assertIn("make stop", run.stdout.read())
        self.assertEqual(run.wait(timeout=30), 0)

    def test_a_killed_supervisor_takes_its_services_along_and_a_new_start_works(self):
        self.platform.start()
        processes = self.platform.run_json()["processes"]
        os.kill(int((self.platform.home / "run" / "supervisor.lock").read_text()), signal.SIGKILL)
        wait_for(lambda: not any(alive(p["pid"]) for p in processes), 60,
                 "the end of all processes")
        self.platform.start()
        self.assertEqual(self.platform.script("status.sh").returncode, 0)

    def test_a_power_cut_is_survived(self):
        self.platform.start()
        for pid in sorted(self.platform.own_processes()):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        # What a machine that went down leaves: half-made files, pid files of another boot.
        home = self.platform.home
        (home / "etc" / "lookup.json.new").write_text("{")
        for file in (home / "run").glob("*.pid"):
            file.write_text("1 1 00000000-0000-0000-0000-000000000000\n")
        wait_for(lambda: not self.platform.own_processes(), what="death of all")
        self.platform.start()
        self.assertEqual(self.platform.script("status.sh").returncode, 0)

    def test_a_failed_first_start_can_be_repeated(self):
        # Stopped in the middle of making the home, at several moments.
        for delay_s in (0.1, 0.3, 0.6, 0.9):
            run = self.platform.start_in_foreground()
            time.sleep(delay_s)
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
            self.platform.script("stop.sh")
            wait_for(lambda: not self.platform.own_processes(), 60, "the end of a start")
        self.platform.start()
        self.assertEqual(self.platform.script("status.sh").returncode, 0)

    def test_two_copies_run_side_by_side(self):
        other = Platform()
        self.addCleanup(other.tear_down)
        self.platform.start()
        other.start()
        for platform in (self.platform, other):
            self.assertEqual(platform.script("status.sh").returncode, 0)
        mine = {p["pid"] for p in self.platform.run_json()["processes"]}
        other.stop()
        self.assertEqual({p["pid"] for p in self.platform.run_json()["processes"]}, mine)
        self.assertEqual(self.platform.script("status.sh").returncode, 0)

    def test_clean_state_touches_nothing_that_is_not_a_home(self):
        self.platform.home.mkdir()
        (self.platform.home / "precious").write_text("x")
        for script in ("clean_state.sh", "run.sh", "stop.sh"):
            self.assertNotEqual(self.platform.script(script).returncode, 0, script)
        self.assertEqual([f.name for f in self.platform.home.iterdir()], ["precious"])

    def test_the_directory_around_a_home_keeps_its_mode(self):
        self.platform.parent.chmod(0o1771)
        self.platform.start()
        self.assertEqual(stat.S_IMODE(self.platform.parent.stat().st_mode), 0o1771)

    def test_a_bad_port_base_is_named(self):
        for bad in ("x", "80", "70000", "8080; true"):
            done = self.platform.script("run.sh", TRUNKLINE_PORT_BASE=bad)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("TRUNKLINE_PORT_BASE", done.stdout)

    def test_a_long_path_with_spaces_works(self):
        self.platform.home = self.platform.parent / ("a long, odd 'path' " * 4) / "home"
        self.platform.env["TRUNKLINE_HOME"] = str(self.platform.home)
        self.platform.start()
        dsn = self.platform.run_json()["log_dsn"]
        self.assertEqual(self.platform.psql(dsn, "SELECT 1"), "1")
        self.platform.stop()
        sockets = os.readlink(self.platform.home / "run" / "socket_dir")
        self.assertTrue(sockets.startswith("/tmp/tl-"), sockets)
        self.assertEqual(self.platform.script("clean_state.sh").returncode, 0)
        self.assertFalse(os.path.exists(sockets))

    def test_a_bare_environment_is_enough(self):
        # As root has it by `su`, and with a umask that keeps everything to oneself.
        for name in list(self.platform.env):
            if not name.startswith("TRUNKLINE_"):
                del self.platform.env[name]
        self.platform.env.update(PATH="/usr/bin:/bin", DETACH="1", LANG="xx_XX.UTF-8")
        self.addCleanup(os.umask, os.umask(0o077))
        self.platform.home = self.platform.parent / "new" / "home"
        self.platform.env["TRUNKLINE_HOME"] = str(self.platform.home)
        self.platform.start()
        self.assertEqual(self.platform.script("status.sh").returncode, 0)
        self.platform.stop()
        self.platform.start()

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_programs_on_a_file_system_without_execution_are_named(self):
        mount = "mount -t tmpfs -o noexec,mode=0755 tmpfs "
        done = subprocess.run(["unshare", "--mount", "bash", "-c",
                               mount + '"$1" && exec "$2"', "-", str(self.platform.parent),
                               str(REPO / "scripts" / "run.sh")], env=self.platform.env, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
        if "unshare" in done.stdout or "mount:" in done.stdout:
            self.skipTest(f"no mounts here: {done.stdout}")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("noexec", done.stdout)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_a_home_that_the_service_users_cannot_reach_is_a_link(self):
        self.platform.parent.chmod(0o700)
        self.platform.start()
        self.assertTrue(self.platform.home.is_symlink())
        real = self.platform.home.resolve()
        self.assertEqual(real.parent, pathlib.Path("/var/lib/trunkline"))
        self.platform.stop()
        self.assertEqual(self.platform.script("clean_state.sh").returncode, 0)
        self.assertFalse(real.exists())
        self.assertFalse(self.platform.home.is_symlink())


class MakeTargets(unittest.TestCase):
    def test_help_names_the_targets(self):
        text = subprocess.run(["make", "-s", "-C", str(REPO), "help"], text=True, check=True,
                              stdout=subprocess.PIPE).stdout
        for target in ("run", "stop", "status", "test", "bench", "clean-state", "build", "setup"):
            self.assertRegex(text, rf"(?m)^make {target}\s+\w")


if __name__ == "__main__":
    unittest.main()
