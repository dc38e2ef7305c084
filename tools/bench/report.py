"""The report of what was measured: JSON with every run, Markdown tables, plots as SVG, and the table in README.md.

By itself it makes the report again from JSON files of earlier runs, of several parts of them if need be:
    ./dev bench report [--readme] FILE.json...
"""
import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import sys

from common import LOAD, say
from results import RESULTS, ROOT, Bound, Figure, Results

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
FIELDS = {"seconds": "seconds", "cpu_seconds": "processor seconds", "machine_cpu_seconds": "the machine's", "peak_kib": "peak memory",
          "p99_ms": "p99 of the latency", "mib_per_second": "MiB a second", "brought_in_kib": "brought into the page cache",
          "pushed_out_kib": "pushed out of the page cache"}
# Columns that every table has, or that say nothing beside the others.
NOT_EXTRA = {"round", "seconds", "cpu_seconds", "machine_cpu_seconds", "system_seconds", "peak_kib", "stored_bytes",
             "logical_bytes", "extents_per_gib"}


def machine():
    cpu = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.split(":")[1].strip()
            break
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "load_before": LOAD,
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "filesystem": filesystem(os.environ.get("TMPDIR", "/tmp"))}


def filesystem(path):
    """The type of the file system that a path is on."""
    best = ("", "unknown")
    for line in pathlib.Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, point, kind = line.split()[:3]
        if os.path.realpath(path).startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


# ---- from and to JSON -----------------------------------------------------------------------------------------------


def write_report(results, options):
    """Write all that was measured to bench/results/, named by the time."""
    now = datetime.datetime.now(datetime.timezone.utc)
    whole = {"at": f"{now:%Y-%m-%d %H:%M} UTC", "commands": [" ".join(["./dev bench", *sys.argv[1:]])], "machine": machine(),
             "versions": results.versions, "settings": {key: value for key, value in vars(options).items()},
             "about": results.about, "figures": [dataclasses.asdict(figure) for figure in results.figures],
             "bounds": [dataclasses.asdict(bound) for bound in results.bounds], "runs": results.runs}
    base = RESULTS / f"{now:%Y%m%d-%H%M%S}"
    base.parent.mkdir(parents=True, exist_ok=True)
    base.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    render(whole, results, base)
    if options.readme:
        put_into_readme(whole, results, base)


def load(files):
    """What several runs measured, as if it had been one: of a work that two of them have, all runs count."""
    whole, results = None, Results()
    for file in files:
        one = json.loads(pathlib.Path(file).read_text(encoding="utf-8"))
        # Rounds of different runs must not be taken for one another's.
        first = max((run["round"] for run in results.runs), default=0)
        results.runs += [{**run, "round": run["round"] + first} for run in one["runs"]]
        results.figures += [figure for figure in (Figure(**words) for words in one["figures"]) if figure not in results.figures]
        results.bounds += [bound for bound in (Bound(**words) for words in one["bounds"]) if bound not in results.bounds]
        results.versions.update(one["versions"])
        results.about.update(one["about"])
        if whole is None:
            whole = one
        else:
            whole["commands"] += [command for command in one["commands"] if command not in whole["commands"]]
            whole["at"] = one["at"]
            if {**one["machine"], "load_before": 0} != {**whole["machine"], "load_before": 0}:
                raise SystemExit(f"bench: {file} was measured on another machine")
    whole.update(versions=results.versions, about=results.about, runs=results.runs,
                 figures=[dataclasses.asdict(figure) for figure in results.figures],
                 bounds=[dataclasses.asdict(bound) for bound in results.bounds])
    return whole, results


# ---- tables ---------------------------------------------------------------------------------------------------------


def number(value):
    """Three digits that count."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.095 else f"{value:.3f}"


def ratio(value, goal=None):
    """Two decimals; more where it would seem to be the goal and is not."""
    return f"{value:.2f}" if goal is None or abs(value - goal) >= 0.005 or value == goal else f"{value:.4f}"


def spread(values):
    """The median, and least to most in brackets."""
    if not values:
        return ""
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))} to {number(max(values))})"


def goals(results, parts=None):
    """Rows of the table of goals: work, figure, ratio, spread, goal, met."""
    rows = []
    for figure in results.figures:
        ratios = results.ratios(figure)
        if not ratios or (figure.at_most is None and figure.at_least is None) or (parts and figure.part not in parts):
            continue
        middle = statistics.median(ratios)
        field = FIELDS.get(figure.field, figure.field.replace("_", " "))
        if figure.at_least is not None:
            what, goal, is_met = f"{figure.against} / {figure.tool}", f"at least {figure.at_least:g}", middle >= figure.at_least
        else:
            what, goal, is_met = f"{figure.tool} / {figure.against}", f"at most {figure.at_most:g}", middle <= figure.at_most
        rows.append([figure.work, f"{what}, {field}" + (f" ({figure.note})" if figure.note else ""), ratio(middle, figure.at_most or figure.at_least),
                     f"{ratio(min(ratios))} to {ratio(max(ratios))}", goal, "yes" if is_met else "**no**"])
    return rows + peaks(results, parts)


def peaks(results, parts=None):
    """Absolute bounds; those of one field and limit in one row."""
    rows, joined = [], {}
    for bound in results.bounds:
        values = [run[bound.field] * bound.scale for run in results.runs
                  if run["part"] == bound.part and run["work"].startswith(bound.work) and run["tool"].split(",")[0] == bound.tool
                  and run.get(bound.field) is not None]
        if values and (not parts or bound.part in parts):
            joined.setdefault((bound.field, bound.tool, bound.at_most, bound.unit), []).append((max(values), bound.part))
    for (field, tool, at_most, unit), values in joined.items():
        most, part = max(values)
        names = list(dict.fromkeys(name for _, name in values))
        rows.append([f"any of {', '.join(names)}" if len(names) > 1 else f"any of part {names[0]}",
                     f"{tool}, {FIELDS.get(field, field)}", f"{number(most)} {unit}", f"in part {part}" if len(names) > 1 else "",
                     f"at most {at_most:g} {unit}", "yes" if most <= at_most else "**no**"])
    return rows


def beside(results, part):
    """Rows of the ratios that are no goals."""
    rows = []
    for figure in results.figures:
        ratios = results.ratios(figure)
        if ratios and figure.part == part and figure.at_most is None and figure.at_least is None:
            field = FIELDS.get(figure.field, figure.field.replace("_", " "))
            rows.append([figure.work, f"{figure.tool} / {figure.against}, {field}" + (f" ({figure.note})" if figure.note else ""),
                         spread(ratios)])
    return rows


def table(head, rows, left=1):
    lines = ["| " + " | ".join(head) + " |", "|" + "".join("---|" if at < left else "---:|" for at in range(len(head)))]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def works(results, part):
    """(work, tool) of a part in order: works as they were first measured, tools by who comes first there."""
    seen = {}
    for run in results.runs:
        if run["part"] == part:
            tools = seen.setdefault(run["work"], [])
            if run["tool"] not in tools:
                tools.append(run["tool"])
    # Who went first in the first round says nothing.
    rank = {"limit": 0, "pgark": 1}
    return {work: sorted(tools, key=lambda tool: (rank.get(tool.split(",")[0], 2), tool.split(",")[0])) for work, tools in seen.items()}


def column(field):
    if field.endswith("_bytes"):
        return field[:-6].replace("_", " ") + " MiB", 2**-20
    if field.endswith("_kib"):
        return field[:-4].replace("_", " ") + " MiB", 2**-10
    if field.endswith("_ms"):
        return field[:-3].replace("_", " ") + " ms", 1
    return field.replace("_", " "), 1


def absolute(results, part):
    """Every tool at every work: medians, with least to most of the seconds."""
    runs = [run for run in results.runs if run["part"] == part]
    extra = [field for field in dict.fromkeys(key for run in runs for key, value in run.items()
                                              if isinstance(value, (int, float)) and not isinstance(value, bool))
             if field not in NOT_EXTRA]
    fixed = [field for field in ("cpu_seconds", "machine_cpu_seconds", "peak_kib", "stored_bytes") if any(field in run for run in runs)]
    names = {"cpu_seconds": ("processor s", 1), "machine_cpu_seconds": ("machine's processor s", 1), "peak_kib": ("peak MiB", 2**-10),
             "stored_bytes": ("stored MiB", 2**-20)}
    columns = [(field, *names[field]) for field in fixed] + [(field, *column(field)) for field in extra]
    rows = []
    for work, tools in works(results, part).items():
        for tool in tools:
            row = [work, tool, spread(list(results.values(part, work, tool, "seconds").values()))]
            for field, _, scale in columns:
                middle = results.median(part, work, tool, field)
                row.append("" if middle is None else number(middle * scale))
            count = sum(1 for run in runs if (run["work"], run["tool"]) == (work, tool))
            rows.append([*row, count])
    return table(["work", "tool", "seconds (least to most)", *(name for _, name, _ in columns), "rounds"], rows, left=2)


def parts_of(results):
    return list(dict.fromkeys(run["part"] for run in results.runs))


def setting(whole):
    """The sentence that says when, where and with what."""
    on = whole["machine"]
    versions = "; ".join(version if any(letter.isalpha() for letter in version) else f"{name} {version}"
                         for name, version in sorted(whole["versions"].items()))
    return (f"{whole['at']}; {on['cpu']}, {on['cores']} processors, {on['memory_gib']:.0f} GiB, {on['filesystem']}, Linux "
            f"{on['kernel']}, load before {on['load_before']:.1f}. {versions}.")


def commands(whole):
    return "```\n" + "\n".join(command.strip() for command in whole["commands"]) + "\n```"


GOALS = ["work", "figure", "median", "least to most", "goal", "met"]
HOW_TO_READ = ("Each figure is taken round by round, the tools alternating; the median of these ratios is held against the goal. "
               "What the limit is, and what each part measures: [docs/bench.md]({}).")


def render(whole, results, base):
    """The Markdown file and the plots beside a JSON file."""
    plots = draw(results, base)
    text = ["# Benchmarks of " + whole["at"], setting(whole), commands(whole), "## Goals", HOW_TO_READ.format("../../docs/bench.md"),
            table(GOALS, goals(results), left=2)]
    for part in parts_of(results):
        text.append(f"## {part}")
        if part in results.about:
            text.append(results.about[part])
        if part in plots:
            text.append(f"![{part}]({plots[part].name})")
        text.append(absolute(results, part))
        if rows := beside(results, part):
            text += ["Ratios that are no goals:", table(["work", "figure", "median (least to most)"], rows, left=2)]
    text.append(f"Every measurement: [{base.name}.json]({base.name}.json).")
    base.with_suffix(".md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print("\n\n".join([setting(whole), table(GOALS, goals(results), left=2)]))
    say(f"the report is {os.path.relpath(base.with_suffix('.md'))}")


def put_into_readme(whole, results, base):
    """The table of goals, between the markers in README.md."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    report = base.with_suffix(".md").relative_to(ROOT)
    inside = "\n\n".join([setting(whole), commands(whole), table(GOALS, goals(results), left=2),
                          f"Absolute figures, spreads and plots: [{report}]({report})."])
    found = re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{inside}\n{END}", text, flags=re.DOTALL)
    if found == text and inside not in text:
        raise SystemExit(f"bench: README.md has no {BEGIN} and {END}")
    readme.write_text(found, encoding="utf-8")
    say("put the table into README.md")


# ---- plots ----------------------------------------------------------------------------------------------------------


def draw(results, base):
    """One SVG a part: seconds of each tool at each work, from least to most, and a line where the limit is. The same numbers
    draw the same bytes."""
    try:
        import matplotlib  # pylint: disable=import-outside-toplevel
        matplotlib.use("svg")
        from matplotlib import pyplot  # pylint: disable=import-outside-toplevel
    except ImportError:
        say("there is no python3-matplotlib, and so there are no plots")
        return {}
    matplotlib.rcParams.update({"svg.hashsalt": "pgark", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9})
    plots = {}
    for part in parts_of(results):
        works_of_part = {work: [(tool, values) for tool in tools
                                if (values := list(results.values(part, work, tool, "seconds").values()))]
                         for work, tools in works(results, part).items()}
        works_of_part = {work: tools for work, tools in works_of_part.items() if tools}
        if works_of_part:
            plots[part] = base.with_name(f"{base.name}-{part}.svg")
            draw_part(pyplot, works_of_part, plots[part])
    return plots


def draw_part(pyplot, works_of_part, path):
    heights = [len(tools) + 1 for tools in works_of_part.values()]
    figure, all_axes = pyplot.subplots(len(works_of_part), 1, figsize=(8, 0.24 * sum(heights) + 0.3 * len(heights)), squeeze=False,
                                       gridspec_kw={"height_ratios": heights}, layout="constrained")
    for axes, (work, tools) in zip(all_axes[:, 0], works_of_part.items()):
        middles = [statistics.median(values) for _, values in tools]
        errors = [[middle - min(values) for middle, (_, values) in zip(middles, tools)],
                  [max(values) - middle for middle, (_, values) in zip(middles, tools)]]
        colors = ["#999999" if tool == "limit" else "#1b5e9e" if tool.split(",")[0] == "pgark" else "#c9a36a" for tool, _ in tools]
        axes.barh(range(len(tools)), middles, xerr=errors, height=0.7, color=colors, error_kw={"elinewidth": 1, "capsize": 2})
        for at, (middle, (_, values)) in enumerate(zip(middles, tools)):
            axes.annotate(number(middle), (max(values), at), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
        if "limit" in dict(tools):
            axes.axvline(middles[[tool for tool, _ in tools].index("limit")], color="#444444", linewidth=0.8, linestyle="--")
        axes.set_yticks(range(len(tools)), [tool for tool, _ in tools])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12 * max(max(values) for _, values in tools))
        axes.set_title(f"{work}, seconds", loc="left", fontsize=9)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def main():
    parser = argparse.ArgumentParser(prog="./dev bench report", description="Make the report again from what was measured.")
    parser.add_argument("files", nargs="+", metavar="FILE.json", help="of bench/results/; several are put together under the last one's name")
    parser.add_argument("--readme", action="store_true", help="also put the table into README.md")
    options = parser.parse_args()
    whole, results = load(options.files)
    base = pathlib.Path(options.files[-1]).resolve().with_suffix("")
    if len(options.files) > 1:
        base.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    render(whole, results, base)
    if options.readme:
        put_into_readme(whole, results, base)


if __name__ == "__main__":
    sys.exit(main())
