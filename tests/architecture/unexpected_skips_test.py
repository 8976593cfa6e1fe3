"""scripts/unexpected_skips.py on logs as ctest writes them."""

import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import unexpected_skips as skips  # noqa: E402  pylint: disable=wrong-import-position

LOG = """\
1/3 Testing: Supervisor.ChangesUser
[ RUN      ] Supervisor.ChangesUser
/src/io_test.cc:136: Skipped
needs root

[  SKIPPED ] Supervisor.ChangesUser (0 ms)
2/3 Testing: integration.test_lifecycle
test_noexec (test_lifecycle.Lifecycle) ... skipped 'no mounts here: mount: denied'
test_documented (test_lifecycle.Lifecycle)
What it does. ... skipped "it's away"
setUpClass (test_jaeger.Jaeger) ... skipped 'no Jaeger here: none'
3/3 Testing: integration.test_other
test_good (test_other.Other) ... ok
""".splitlines()


class UnexpectedSkips(unittest.TestCase):
    def test_every_kind_of_skip_is_read_with_its_reason(self):
        self.assertEqual(skips.skip_reasons(LOG), [
            ("Supervisor.ChangesUser", "needs root"),
            ("integration.test_lifecycle", "no mounts here: mount: denied"),
            ("integration.test_lifecycle", "it's away"),
            ("integration.test_lifecycle", "no Jaeger here: none")])

    def test_only_what_nobody_expects_is_named(self):
        patterns = skips.expected_reasons(
            ["# words", "", "user: ^needs root$", "^no Jaeger here:", "away"], is_root=False)
        self.assertEqual([why for _, why in skips.unexpected(skips.skip_reasons(LOG), patterns)],
                         ["no mounts here: mount: denied"])

    def test_what_root_can_do_is_not_skipped_by_root(self):
        patterns = skips.expected_reasons(["user: ^needs root$"], is_root=True)
        self.assertIn(("Supervisor.ChangesUser", "needs root"),
                      skips.unexpected(skips.skip_reasons(LOG), patterns))


if __name__ == "__main__":
    unittest.main()
