#!/usr/bin/env python3
"""Check that includes of src/ only point down the layers of tools/layers.txt.

A folder may include itself, folders of lower lines, and what an `allow A -> B  # reason` line grants. Folders of one line
may not include each other. Tests (*_test.cc) and src/testing are exempt as includers; nothing else may include testing/.
A folder of src/ that no line names is an error. `--self-test` checks the checker.
"""
import argparse
import pathlib
import re
import sys
import tempfile

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
ALLOW = re.compile(r"^allow\s+(\w+)\s*->\s*(\w+)")
EXEMPT = "testing"


def read_layers(path):
    """Rank of each folder (0 is the top) and the set of allowed exceptions."""
    rank, allowed, line_number = {}, set(), 0
    for line in path.read_text().splitlines():
        if allow := ALLOW.match(line.strip()):
            allowed.add(allow.groups())
            continue
        line = line.split("#")[0].strip()
        if not line:
            continue
        for folder in line.split():
            if folder in rank:
                raise SystemExit(f"{path}: folder '{folder}' is named twice")
            rank[folder] = line_number
        line_number += 1
    return rank, allowed


def violations(source_dir, rank, allowed):
    for path in sorted(source_dir.rglob("*")):
        relative = path.relative_to(source_dir)
        if path.suffix not in (".cc", ".h") or len(relative.parts) < 2:
            continue
        includer = relative.parts[0]
        if includer == EXEMPT or relative.name.endswith("_test.cc"):
            continue
        if includer not in rank:
            yield f"src/{relative}: folder '{includer}' is in no layer"
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            included = match.group(1).split("/")[0]
            where = f"src/{relative}:{number}: {includer} includes {match.group(1)}"
            if included == EXEMPT:
                yield f"{where}: only tests may use testing/"
            elif not (source_dir / included).is_dir() and included not in rank:
                yield f"{where}: not a path from src/"
            elif included not in rank:
                yield f"{where}: folder '{included}' is in no layer"
            elif included != includer and rank[included] <= rank[includer] and (includer, included) not in allowed:
                side = "beside" if rank[included] == rank[includer] else "above"
                yield f"{where}: {included} is {side} {includer}"


def self_test():
    layers = "# top first\napp\ncli daemon\nstore\ncore\nallow daemon -> cli  # shares the table of options\n"
    files = {
        "app/main.cc": '#include "cli/run.h"\n#include <vector>\n',
        "cli/run.h": '#include "store/store.h"\n#include "cli/other.h"\n',
        "cli/beside.cc": '#include "daemon/http.h"\n',
        "daemon/granted.cc": '#include "cli/run.h"\n',
        "store/up.cc": '#include "core/log.h"\n  #  include "app/main.h"\n',
        "store/fake.cc": '#include "testing/fake.h"\n',
        "store/up_test.cc": '#include "cli/run.h"\n#include "testing/fake.h"\n',
        "core/bare.cc": '#include "log.h"\n',
        "testing/fake.h": '#include "app/main.h"\n',
        "lost/x.cc": "",
    }
    expected = [
        "src/cli/beside.cc:1: cli includes daemon/http.h: daemon is beside cli",
        "src/core/bare.cc:1: core includes log.h: not a path from src/",
        "src/lost/x.cc: folder 'lost' is in no layer",
        "src/store/fake.cc:1: store includes testing/fake.h: only tests may use testing/",
        "src/store/up.cc:2: store includes app/main.h: app is above store",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        (root / "layers.txt").write_text(layers)
        for name, text in files.items():
            path = root / "src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        found = list(violations(root / "src", *read_layers(root / "layers.txt")))
    if found != expected:
        print("self test failed; found:", *found, "expected:", *expected, sep="\n  ")
        return 1
    print("self test: ok")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--self-test", action="store_true")
    if parser.parse_args().self_test:
        return self_test()
    root = pathlib.Path(__file__).resolve().parent.parent
    found = list(violations(root / "src", *read_layers(root / "tools/layers.txt")))
    print(*found, sep="\n", end="\n" if found else "")
    print(f"layers: {len(found)} violations" if found else "layers: ok")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
