"""The rules of the house (docs/architecture.md) as functions over source files.

Each rule takes a Tree and answers Violations. They look at text, not at a syntax tree: comments
and string literals are blanked first where they would mislead.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

SOURCE_FOLDERS = ("services", "cli", "tests", "bench", "proto", "scripts", "cmake")
MAX_COLUMNS = 100
MAX_LINES = 500
MAX_LINES_HARD = 650

# What domain/ may not name, and what to do instead.
IMPURE = {
    r"\b(system|steady|high_resolution)_clock\b": "take `TimePoint now` as an argument",
    r"\b(clock_gettime|gettimeofday|localtime|gmtime)\b": "take `TimePoint now` as an argument",
    r"\bgetenv\b": "read configuration in main.cc and pass values",
    r"\b(random_device|mt19937|default_random_engine|rand|srand)\b":
        "take ids or random bytes as arguments",
    r"\b(new_uuid|random_bytes)\s*\(": "take ids or random bytes as arguments",
    r"\bstd::(thread|jthread|async|mutex|condition_variable|atomic)\b":
        "domain code runs on the caller's thread: keep threads in io/",
    r"\b(sleep_for|sleep_until|usleep)\b": "name a deadline in the state, let io/ wake up",
    r"\bstd::(cout|cerr|ofstream|ifstream|fstream)\b": "return a value, let io/ write it",
    r"\b(fopen|printf|fprintf)\b": "return a value, let io/ write it",
    r"\bspdlog\b": "put the fact into an event or the returned value; io/ logs",
    r"\bpqxx\b": "take rows as plain structs, io/ reads them",
    r"\bPistache\b": "take parsed values, io/ speaks HTTP",
    r"\bnats(Connection|Msg|Subscription|Options)\w*\b":
        "return commands and tasks, io/ sends them",
}
IMPURE_HEADERS = {
    "thread", "mutex", "shared_mutex", "condition_variable", "future", "atomic", "random",
    "iostream", "fstream", "filesystem", "ctime",
}
PURE_LIBRARY_PREFIXES = ("nlohmann/", "google/protobuf/")

LOG_CALLS = re.compile(r"\bspdlog::(?:trace|debug|info|warn|error|critical|log)\s*\(")
SECRET_WORDS = re.compile(
    r"\b\w*(?:password|passwd|verifier|secret|private_key|scram|bearer)\w*\b", re.IGNORECASE)
ONEOF_SWITCH = re.compile(r"\bswitch\s*\(")


@dataclass(frozen=True)
class Violation:
    path: str
    line: int
    what: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.what}"


@dataclass
class Tree:
    """Files by path relative to the root, with "/" between folders."""
    files: dict = field(default_factory=dict)

    def matching(self, pattern):
        regex = re.compile(pattern)
        return [(path, text) for path, text in sorted(self.files.items()) if regex.search(path)]


def read_tree(root):
    """What git knows of, or without git every source file outside build folders."""
    suffixes = {".h", ".cc", ".proto", ".sql", ".py", ".sh", ".cmake", ".txt", ".md"}
    tree = Tree()
    for folder in SOURCE_FOLDERS + ("docs",):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file() and "__pycache__" not in path.parts:
                relative = path.relative_to(root).as_posix()
                tree.files[relative] = path.read_text(encoding="utf-8", errors="replace")
    for name in ("CMakeLists.txt", "README.md", "Makefile"):
        if (root / name).is_file():
            tree.files[name] = (root / name).read_text(encoding="utf-8")
    return tree


def blanked(text, strings=True):
    """`text` with comments (and string literals) blanked, line numbers kept."""
    pattern = re.compile(
        r"""//[^\n]*|/\*.*?\*/"""
        r"""|R"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)\""""
        r"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])'""",
        re.DOTALL)

    def blank(match):
        piece = match.group(0)
        if piece[0] == "'" or (piece[0] in "\"R" and not strings):
            return piece
        return re.sub(r"[^\n]", " ", piece)
    return pattern.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def includes(text):
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', text, re.MULTILINE):
        yield match.group(1) == '"', match.group(2), line_of(text, match.start())


def service_names(tree):
    return {path.split("/")[1] for path in tree.files
            if path.startswith("services/") and path.count("/") > 1} - {"common"}


def domain_is_pure(tree):
    found = []
    for path, text in tree.matching(r"^services/[^/]+/domain/.*\.(h|cc)$"):
        own = path.split("/")[1] + "/domain/"
        for quoted, header, line in includes(text):
            if quoted:
                if not header.startswith((own, "base/", "trunkline/v1/")):
                    found.append(Violation(path, line, f'domain may not include "{header}": only '
                                           f'"{own}…", "base/…" and "trunkline/v1/…"'))
            elif header in IMPURE_HEADERS:
                found.append(Violation(path, line, f"domain may not include <{header}>"))
            elif not header.startswith(PURE_LIBRARY_PREFIXES) and re.search(r"/|\.h$", header):
                found.append(Violation(path, line, f"domain may not include <{header}>"))
        code = blanked(text)
        for token, instead in IMPURE.items():
            for match in re.finditer(token, code):
                found.append(Violation(path, line_of(code, match.start()),
                                       f"`{match.group(0)}` in domain: {instead}"))
    return found


def services_are_apart(tree):
    found = []
    services = service_names(tree)
    for path, text in tree.matching(r"^(services|cli)/.*\.(h|cc)$"):
        own = path.split("/")[1] if path.startswith("services/") else ""
        for quoted, header, line in includes(text):
            first = header.split("/")[0]
            if quoted and first in services and first != own:
                found.append(Violation(path, line, f'includes "{header}" of another service: '
                                       "speak over the bus, or move it to services/common"))
    return found


def concrete_classes_only_in_main(tree):
    """A class that implements an interface is named by its own files, main.cc and tests only."""
    found = []
    derived = re.compile(r"\bclass\s+(\w+)\s+(?:final\s+)?:\s*public\s+(?!std::)([\w:]+)")
    for path, text in tree.matching(r"^services/(?!common/)[^/]+/(io|domain)/.*\.h$"):
        service = path.split("/")[1]
        stem = path[:-2]
        for match in derived.finditer(blanked(text)):
            name, base = match.group(1), match.group(2)
            if base.split("::")[-1].endswith(("exception", "error", "Error")):
                continue
            use = re.compile(r"\b" + name + r"\b")
            for other, code in tree.matching(rf"^services/{service}/.*\.(h|cc)$"):
                if other.startswith(stem + ".") or other.endswith("/main.cc") or "/tests/" in other:
                    continue
                code = blanked(code)
                for hit in use.finditer(code):
                    found.append(Violation(other, line_of(code, hit.start()),
                                           f"names the concrete class {name}: use {base}, let "
                                           "main.cc choose"))
    return found


def braced(code, start):
    """Offsets of the block whose { is the first one at or after `start`."""
    begin = code.find("{", start)
    depth = 0
    for at in range(begin, len(code)):
        if code[at] == "{":
            depth += 1
        elif code[at] == "}":
            depth -= 1
            if depth == 0:
                return begin, at
    return begin, len(code)


def oneof_switches_are_exhaustive(tree):
    found = []
    for path, text in tree.matching(r"^(services|cli|bench)/.*\.(h|cc)$"):
        code = blanked(text)
        for match in ONEOF_SWITCH.finditer(code):
            begin, end = braced(code, match.end())
            if not re.search(r"_case\s*\(\s*\)", code[match.end():begin]):
                continue
            depth = 0
            for piece in re.finditer(r"[{}]|\bdefault\s*:", code[begin:end]):
                if piece.group(0) == "{":
                    depth += 1
                elif piece.group(0) == "}":
                    depth -= 1
                elif depth == 1:
                    found.append(Violation(
                        path, line_of(code, begin + piece.start()),
                        "`default` in a switch over a oneof: list every case and …_NOT_SET, so "
                        "that the compiler names a new one"))
    return found


def lines_are_short(tree):
    """Tables between `clang-format off` and `on` may be as wide as their rows."""
    found = []
    for path, text in tree.matching(r"\.(h|cc|proto|sql|py)$"):
        table = False
        for number, line in enumerate(text.split("\n"), 1):
            if "clang-format o" in line:
                table = "clang-format off" in line
            if len(line) > MAX_COLUMNS and not table and "http" not in line:
                found.append(Violation(path, number, f"{len(line)} columns, {MAX_COLUMNS} is the "
                                       "most"))
    return found


def long_files(tree, limit):
    return [Violation(path, text.count("\n"), f"{text.count(chr(10))} lines, {limit} is the most: "
                      "split it by what it does")
            for path, text in tree.matching(r"\.(h|cc|py)$") if text.count("\n") > limit]


def files_are_not_too_long(tree):
    return long_files(tree, MAX_LINES_HARD)


def long_files_are_few(tree):
    """One in a hundred may pass MAX_LINES; with more of them, all are named."""
    found = long_files(tree, MAX_LINES)
    allowed = len(tree.matching(r"\.(h|cc|py)$")) // 100
    return found if len(found) > allowed else []


def call_at(code, start):
    """The text of a call from its name to the closing parenthesis."""
    depth = 0
    for at in range(start, len(code)):
        if code[at] == "(":
            depth += 1
        elif code[at] == ")":
            depth -= 1
            if depth == 0:
                return code[start:at + 1]
    return code[start:]


def no_secret_is_logged(tree):
    found = []
    for path, text in tree.matching(r"^(services|cli)/.*\.(h|cc)$"):
        if "/tests/" in path:
            continue
        code = blanked(text)  # what a message says is free, what it is given is not
        for match in LOG_CALLS.finditer(code):
            for word in SECRET_WORDS.findall(call_at(code, match.start())):
                found.append(Violation(path, line_of(code, match.start()),
                                       f"a log call is given `{word}`"))
    return found


def headers_say_what_they_promise(tree):
    found = []
    for path, text in tree.matching(r"^(services|cli|tests|bench)/.*\.h$"):
        if "#pragma once" not in text:
            found.append(Violation(path, 1, "no #pragma once"))
        if not text.startswith("//"):
            found.append(Violation(path, 1, "no leading comment with the contract (owner, thread, "
                                   "errors)"))
    return found


def no_file_is_dead(tree):
    """Every .cc is named in a CMakeLists.txt of its folder or one above, every .h is included."""
    found = []
    everything = [(path, text) for path, text in tree.matching(r"\.(h|cc)$")]
    included = {header for _, text in everything for quoted, header, _ in includes(text) if quoted}
    for path, _ in everything:
        if path.endswith(".h"):
            if not any(path == header or path.endswith("/" + header) for header in included):
                found.append(Violation(path, 1, "no file includes this header"))
            continue
        folder = Path(path).parent
        for level in (folder, *folder.parents):
            cmake = tree.files.get((level / "CMakeLists.txt").as_posix())
            if cmake is None:
                continue
            relative = Path(path).relative_to(level).as_posix()
            globbed = (Path(relative).parent / "*.cc").as_posix()
            words = re.findall(r"[^\s()\"]+", cmake)
            if any(word == relative or word.endswith("/" + relative) or word == globbed or
                   word.endswith("/" + globbed) for word in words):
                break
        else:
            found.append(Violation(path, 1, "no CMakeLists.txt builds this file"))
    return found


def nothing_names_a_workplace(tree):
    found = []
    for path, text in tree.matching(r"."):
        if path.startswith("tests/architecture/"):
            continue
        for match in re.finditer(r"(?<![\w.$}])/(work|root|home/[a-z]+)/", text):
            found.append(Violation(path, line_of(text, match.start()),
                                   f"names a path of somebody's machine: {match.group(0)}"))
    return found


RULES = (
    domain_is_pure,
    services_are_apart,
    concrete_classes_only_in_main,
    oneof_switches_are_exhaustive,
    lines_are_short,
    files_are_not_too_long,
    long_files_are_few,
    no_secret_is_logged,
    headers_say_what_they_promise,
    no_file_is_dead,
    nothing_names_a_workplace,
)
