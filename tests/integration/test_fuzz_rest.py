"""Ten thousand requests from the API's own document, malformed HTTP included, on a platform."""

import argparse
import os
import unittest

import fuzz_rest
from platform_fixture import PlatformTest


class FuzzRest(PlatformTest):
    def test_nothing_crashes_leaks_or_is_500(self):
        pid = self.platform.pid("api-gateway")
        seed = int(os.environ.get("TRUNKLINE_FUZZ_SEED", "0"))
        seed = seed or int.from_bytes(os.urandom(3), "big")
        options = argparse.Namespace(
            api=f"http://127.0.0.1:{self.platform.port_base}", count=10_000, seed=seed, pid=pid,
            token_file=str(self.platform.home / "admin.token"))
        try:
            fuzz_rest.Fuzzer(options).run()
        except fuzz_rest.Failure as failure:
            self.fail(f"seed {seed}: {failure}")
        self.assertEqual(self.platform.pid("api-gateway"), pid, "the gateway was restarted")
        status, _, _ = self.platform.api("GET", "/readyz", token="")
        self.assertEqual(status, 200)


if __name__ == "__main__":
    unittest.main()
