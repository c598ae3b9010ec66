#!/usr/bin/python3
"""Checks that the includes of the tree point down only.

Usage: arrows.py [ROOT]. Fails on an include from a folder that may not use it, and on a system header of a
library outside the folders that wrap it. Long functions and files are reported, but are no failure.
"""
import pathlib
import re
import sys

TOPS = ("lib", "proto", "queue", "router", "relay")
# The folder of a file -> what it may include, as path prefixes. The longest matching folder decides.
ALLOWED = {
    "lib/base": ("lib/base",),
    "lib/conf": ("lib/conf", "lib/base"),
    "lib/net": ("lib/net", "lib/base"),
    "lib/smtp": ("lib/smtp", "lib/base"),
    "lib/mail": ("lib/mail", "lib/smtp", "lib/base"),
    "proto": ("proto", "lib"),
    "queue": ("queue", "proto", "lib"),
    "router": ("router", "proto", "lib"),
    "relay": TOPS,
}
# A system header -> the only files, as path prefixes, that may name it.
WRAPPED = {
    "lmdb.h": ("lib/base/kv",),
    "ares": ("lib/net/",),
    "pcre2.h": ("lib/base/pattern",),
    "openssl/": ("lib/net/", "lib/base/", "relay/signer"),
    "librdkafka/": ("queue/kafka/",),
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
MOST_FUNCTION_LINES = 80
MOST_FILE_LINES = 600


def owner(path):
    """The key of ALLOWED that path lies in."""
    inside = [folder for folder in ALLOWED if path.startswith(folder + "/")]
    return max(inside, key=len, default=None)


def is_generated(name):
    """Headers that the build makes from the .proto files."""
    return name.endswith(".pb-c.h")


def check_local(root, path, name):
    if is_generated(name):
        name = "proto/" + name.rsplit("/", 1)[-1]
    elif not (root / name).is_file():
        return f'includes "{name}", which is no path from the root'
    mine = owner(path)
    if mine is None:
        return "lies in a folder that arrows.py does not know"
    if not any(name.startswith(allowed + "/") for allowed in ALLOWED[mine]):
        return f'includes "{name}", but {mine} may only use {", ".join(ALLOWED[mine])}'
    return private_misuse(path, name)


def private_misuse(path, name):
    """A *_private.h stays inside its folder and the folders below it."""
    if name.endswith("_private.h") and pathlib.PurePath(name).parent not in pathlib.PurePath(path).parents:
        return f'includes "{name}", which is private to its folder'
    return None


def check_system(path, name):
    for header, homes in WRAPPED.items():
        if name.startswith(header) and not path.startswith(homes):
            return f"includes <{name}>, which belongs to {', '.join(homes)} only"
    return None


def long_functions(lines):
    """(line, length) of each function: the style puts its braces alone in column 0."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start + 1 > MOST_FUNCTION_LINES:
                yield start, number - start + 1
            start = None


def check_file(root, file):
    path = file.relative_to(root).as_posix()
    text = file.read_text(encoding="utf-8")
    errors, warnings = [], []
    for found in INCLUDE.finditer(text):
        kind, name = found.groups()
        trouble = check_local(root, path, name) if kind == '"' else check_system(path, name)
        if trouble:
            errors.append(f"{path}:{text.count(chr(10), 0, found.start(2)) + 1}: {trouble}")
    lines = text.splitlines()
    if len(lines) > MOST_FILE_LINES:
        warnings.append(f"{path}: {len(lines)} lines")
    for line, length in long_functions(lines):
        warnings.append(f"{path}:{line}: a function of {length} lines")
    return errors, warnings


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1]).resolve()
    files = sorted(f for top in TOPS for f in (root / top).rglob("*.[ch]"))
    if not files:
        sys.exit(f"no sources under {root}")
    errors, warnings = [], []
    for file in files:
        more_errors, more_warnings = check_file(root, file)
        errors += more_errors
        warnings += more_warnings
    for line in warnings:
        print("warning:", line)
    for line in errors:
        print("error:", line)
    print(f"{len(files)} files, {len(errors)} errors, {len(warnings)} warnings")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
