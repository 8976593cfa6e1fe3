"""Holds the tree to the rules, and each rule to what it must find."""

import subprocess
import unittest
from pathlib import Path

import architecture_rules as rules
from architecture_rules import Tree

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = "tests/architecture/golden"


class TheTree(unittest.TestCase):
    """One test a rule, made below."""

    tree = rules.read_tree(ROOT)

    def test_something_was_read(self):
        self.assertGreater(len(self.tree.matching(r"\.cc$")), 20)



def holds(rule):
    def test(self):
        found = rule(self.tree)
        self.assertFalse(found, "\n" + "\n".join(map(str, found)))
    return test


for a_rule in rules.RULES:
    setattr(TheTree, f"test_{a_rule.__name__}", holds(a_rule))


class GoldenFiles(unittest.TestCase):
    def git(self, *arguments):
        ran = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True,
                             check=False)
        if ran.returncode != 0:
            self.skipTest("not a git checkout")
        return ran.stdout.split("\n")

    def test_no_commit_changes_one(self):
        """Bytes that a release wrote are read for ever; a new shape gets a new file."""
        changed = self.git("log", "--diff-filter=MDR", "--name-only", "--format=", "--", GOLDEN)
        self.assertEqual([name for name in changed if name.endswith(".bin")], [])

    def test_nobody_is_about_to(self):
        lines = self.git("status", "--porcelain", "--", GOLDEN)
        self.assertEqual([line for line in lines if line[:2].strip() in ("M", "D", "MM", "R") and
                          line.endswith(".bin")], [])


class RulesFind(unittest.TestCase):
    """Each rule on a sample that breaks it and on one that does not."""

    def check(self, rule, bad, good=None):
        found = rule(Tree(bad))
        self.assertTrue(found, f"{rule.__name__} finds nothing in {bad}")
        if good is not None:
            self.assertEqual(rule(Tree(good)), [])
        return found

    def test_domain_includes(self):
        path = "services/lookup/domain/a.cc"
        good = {path: '#include "lookup/domain/a.h"\n#include "base/ids.h"\n#include <map>\n'
                      '#include "trunkline/v1/group.pb.h"\n#include <nlohmann/json.hpp>\n'}
        for header in ('"lookup/io/read_model.h"', '"eventlog/log.h"', "<pqxx/pqxx>", "<thread>",
                       "<unistd.h>", '"replication/domain/a.h"', "<random>", "<nats/nats.h>"):
            found = self.check(rules.domain_is_pure, {path: f"// c\n#include {header}\n"}, good)
            self.assertEqual(found[0].line, 2)

    def test_domain_tokens(self):
        path = "services/lookup/domain/a.cc"
        for code in ("auto t = std::chrono::system_clock::now();", 'auto* h = getenv("HOME");',
                     "std::mt19937 dice;", "spdlog::info(1);", "std::thread t;",
                     "runtime::new_uuid();"):
            self.check(rules.domain_is_pure, {path: code}, {path: "// " + code})
        self.assertEqual(rules.domain_is_pure(Tree({path: 'auto s = "getenv";'})), [])
        self.assertEqual(rules.domain_is_pure(Tree({"services/lookup/io/a.cc": "std::thread t;"})),
                         [])

    def test_services_apart(self):
        other = {"services/agent/main.cc": ""}
        self.check(rules.services_are_apart,
                   {**other, "services/lookup/io/a.cc": '#include "agent/io/b.h"\n'},
                   {**other, "services/lookup/io/a.cc": '#include "lookup/io/b.h"\n'})
        self.check(rules.services_are_apart,
                   {**other, "services/common/bus/a.cc": '#include "agent/io/b.h"\n'})
        self.check(rules.services_are_apart, {**other, "cli/a.cc": '#include "agent/io/b.h"\n'})

    def test_concrete_classes(self):
        header = {"services/agent/io/process_driver.h": "class ProcessDriver : public Driver {};"}
        use = "std::make_unique<ProcessDriver>();"
        self.check(rules.concrete_classes_only_in_main, {**header, "services/agent/io/b.cc": use},
                   {**header, "services/agent/main.cc": use, "services/agent/tests/t.cc": use,
                    "services/agent/io/process_driver.cc": use})

    def test_oneof_default(self):
        path = "services/lookup/domain/a.cc"
        self.check(rules.oneof_switches_are_exhaustive,
                   {path: "switch (e.body_case()) {\n case A: break;\n default: break; }"},
                   {path: "switch (e.body_case()) { case A: { switch (n) { case 1: default: ; } "
                          "break; } }\nswitch (n) { default: ; }"})

    def test_columns(self):
        self.check(rules.lines_are_short, {"cli/a.cc": "x" * 101}, {"cli/a.cc": "x" * 100})

    def test_lines(self):
        self.check(rules.files_are_not_too_long, {"cli/a.cc": "\n" * 651}, {"cli/a.cc": "\n" * 650})

    def test_long_files(self):
        short = {f"cli/{n}.cc": "" for n in range(99)}
        self.check(rules.long_files_are_few, {**short, "a.cc": "\n" * 501, "b.cc": "\n" * 501},
                   {**short, "a.cc": "\n" * 501, "b.cc": "\n" * 500})

    def test_secrets(self):
        path = "services/agent/io/a.cc"
        self.check(rules.no_secret_is_logged,
                   {path: 'spdlog::info("user {}",\n  user.scram_verifier());'},
                   {path: 'spdlog::info("no password given to {}", name); set(password);'})

    def test_headers(self):
        self.check(rules.headers_say_what_they_promise, {"cli/a.h": "// c\nint a;"},
                   {"cli/a.h": "// c\n#pragma once\n"})
        self.check(rules.headers_say_what_they_promise, {"cli/a.h": "#pragma once\n"})

    def test_dead_files(self):
        self.check(rules.no_file_is_dead,
                   {"cli/CMakeLists.txt": "tl_library(x SOURCES b.cc)", "cli/a.cc": ""},
                   {"cli/CMakeLists.txt": "tl_library(x SOURCES io/a.cc)", "cli/io/a.cc": ""})
        self.check(rules.no_file_is_dead, {"cli/CMakeLists.txt": "", "cli/a.h": ""})

    def test_workplace(self):
        self.check(rules.nothing_names_a_workplace, {"docs/a.md": "see /root/notes"},
                   {"docs/a.md": "see https://example.org/work/x and $HOME/root/"})


if __name__ == "__main__":
    unittest.main()
