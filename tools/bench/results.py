"""What was measured, and what of it is held against what; report.py writes it down."""
import dataclasses
import statistics

from common import HERE, say

ROOT = HERE.parent.parent
RESULTS = ROOT / "bench" / "results"


@dataclasses.dataclass
class Figure:
    """A ratio between two tools that did the same work in the same rounds.

    `field` of `tool` divided by `field` of `against`, each round by itself; the median of these is the figure. With
    `at_least` it is the other way round: how many times more `against` needs. With neither, it is there to be read.
    """
    part: str
    work: str       # "full backup, zst 1"
    tool: str       # "pgark"
    against: str    # "limit", "pgBackRest tuned"
    field: str = "seconds"  # or cpu_seconds, peak_kib, ...
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""


@dataclasses.dataclass
class Bound:
    """An absolute figure that must not be passed: the largest of all rounds of `tool`, of every work of the part whose name begins with `work`."""
    part: str
    work: str
    tool: str
    field: str
    at_most: float
    unit: str = "MiB"
    scale: float = 1 / 1024  # From what is noted to the unit.


class Results:
    """All measurements of a run. Parts call note(), compare() and bound(), and describe() what they ran on."""

    def __init__(self):
        self.runs = []      # {"part", "work", "tool", "round", "seconds", "cpu_seconds", "system_seconds", "peak_kib", ...}
        self.figures = []
        self.bounds = []
        self.versions = {}  # Program: its version.
        self.about = {}     # Part: a sentence on sizes and settings, for the report.

    def describe(self, part, text):
        self.about[part] = text

    def note(self, part, work, tool, number, **figures):
        """Keep what round `number` of this work took with this tool."""
        self.runs.append({"part": part, "work": work, "tool": tool, "round": number, **figures})
        line = f"{part}: {work:34} {tool:20} round {number}"
        if "seconds" in figures:
            line += f"  {figures['seconds']:8.2f} s"
        if "cpu_seconds" in figures:
            line += f"  {figures['cpu_seconds']:8.2f} s of processor"
        if "peak_kib" in figures:
            line += f"  peak {figures['peak_kib'] // 1024:4} MiB"
        say(line)

    def compare(self, part, work, tool, against, field="seconds", at_most=None, at_least=None, note=""):
        self.figures.append(Figure(part, work, tool, against, field, at_most, at_least, note))

    def bound(self, part, work, tool, field, at_most, unit="MiB", scale=1 / 1024):
        self.bounds.append(Bound(part, work, tool, field, at_most, unit, scale))

    def values(self, part, work, tool, field):
        """Round: value."""
        return {run["round"]: run[field] for run in self.runs
                if (run["part"], run["work"], run["tool"]) == (part, work, tool) and run.get(field) is not None}

    def median(self, part, work, tool, field="seconds"):
        values = self.values(part, work, tool, field)
        return statistics.median(values.values()) if values else None

    def ratios(self, figure):
        """The figure's ratio in each round that has both."""
        ours = self.values(figure.part, figure.work, figure.tool, figure.field)
        theirs = self.values(figure.part, figure.work, figure.against, figure.field)
        pairs = [(ours[number], theirs[number]) for number in ours if number in theirs]
        return [base / value if figure.at_least is not None else value / base for value, base in pairs if value and base]
