"""Which events do not fit a JSON schema. Reads {"schema": {}, "events": []} as JSON from standard
input and writes a list: for each event why it does not fit, or null. Run by Debian's python3, which
has python3-jsonschema, whatever python3 the tests run with.
"""

import datetime
import json
import pathlib
import re
import subprocess
import sys
import urllib.parse

PYTHON = "/usr/bin/python3"
CLOUDEVENTS = pathlib.Path(__file__).parent / "cloudevents/cloudevents.json"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def problems(schema, events):
    """For each event why it does not fit, or None."""
    asked = json.dumps({"schema": schema, "events": events})
    done = subprocess.run([PYTHON, __file__], input=asked, text=True, capture_output=True,
                          timeout=60, check=False)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


def is_time(text):
    if not isinstance(text, str):
        return True
    if not RFC3339.fullmatch(text):
        return False
    datetime.datetime.fromisoformat(text[:19])
    return True


def is_uri(text, absolute=True):
    if not isinstance(text, str):
        return True
    parts = urllib.parse.urlsplit(text)
    return bool(parts.scheme) or not absolute


def main():
    import jsonschema
    formats = jsonschema.FormatChecker(formats=("uuid",))
    formats.checks("date-time", raises=ValueError)(is_time)
    formats.checks("uri", raises=ValueError)(is_uri)
    formats.checks("uri-reference", raises=ValueError)(lambda text: is_uri(text, absolute=False))
    asked = json.load(sys.stdin)
    jsonschema.Draft7Validator.check_schema(asked["schema"])
    validator = jsonschema.Draft7Validator(asked["schema"], format_checker=formats)
    out = []
    for event in asked["events"]:
        error = jsonschema.exceptions.best_match(validator.iter_errors(event))
        out.append(None if error is None else f"{list(error.absolute_path)}: {error.message}")
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
