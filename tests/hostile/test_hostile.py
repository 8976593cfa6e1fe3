"""The attacks of a hostile tenant in their short form (hostile.py), with a bystander beside."""

import unittest

import hostile
from platform_fixture import PlatformTest


class Hostile(PlatformTest):
    def test_no_attack_comes_through_and_the_bystander_notices_none(self):
        self.assertEqual(hostile.run(self.platform), [])


if __name__ == "__main__":
    unittest.main()
