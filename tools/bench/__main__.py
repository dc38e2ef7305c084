"""The whole comparison, or parts of it: pgark against the limit of the machine and against the field, in one run.

Each part is a module here with three things: SUMMARY (a line of help), add_options(parser) (options whose names begin with
the part's), and run(options, results), which makes what it needs in a scratch directory of its own (common.Bench), measures
in turns, and leaves nothing behind. What was measured goes into bench/results/ (results.py, report.py).
"""
import argparse
import importlib
import os
import sys

from common import INTERRUPTED, say
from memory import HELD
from report import write_report
from results import Results

PARTS = ["full", "delta", "incr", "small", "wal", "repos", "store", "load"]  # In the order they run.


def main():
    modules = {name: importlib.import_module(name) for name in PARTS}
    parser = argparse.ArgumentParser(
        prog="./dev bench", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure pgark against the limit of this machine and against pgBackRest, pg_basebackup and Barman.",
        epilog="parts, all by default:\n" + "\n".join(f"  {name:8} {module.SUMMARY}" for name, module in modules.items()))
    parser.add_argument("parts", nargs="*", metavar="PART", help="see below")
    parser.add_argument("--rounds", type=int, default=5, help="how often each work is done, in turns (5)")
    parser.add_argument("--processes", type=int, default=2, help="process-max, and threads of the limit (2)")
    parser.add_argument("--without-peers", action="store_true", help="only pgark and the limit")
    parser.add_argument("--readme", action="store_true", help="also put the tables into README.md")
    parser.add_argument("--keep", action="store_true", help="keep the scratch directories")
    for name, module in modules.items():
        module.add_options(parser.add_argument_group(f"{name}: {module.SUMMARY}"))
    options = parser.parse_intermixed_args()
    unknown = [name for name in options.parts if name not in modules]
    if unknown:
        parser.error(f"there is no part '{unknown[0]}'; parts are {', '.join(PARTS)}")
    if os.getuid() == 0:
        raise SystemExit("bench: PostgreSQL refuses to run as root; run ./dev bench")
    results = Results()
    failed = []
    try:
        for name in options.parts or PARTS:
            say(f"part {name}: {modules[name].SUMMARY}")
            try:
                modules[name].run(options, results)
            except (Exception, SystemExit) as error:  # pylint: disable=broad-except
                if str(error) == INTERRUPTED:
                    raise
                # What one part broke is no reason to lose the others.
                say(f"part {name} failed: {error!r}")
                failed.append(name)
    finally:
        HELD.end()
        if results.runs:
            write_report(results, options)
    return f"bench: failed: {', '.join(failed)}" if failed else 0


if __name__ == "__main__":
    sys.exit(main())
