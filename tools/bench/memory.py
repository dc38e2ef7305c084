"""Hold the free memory of the machine while programs are measured, and give it out as they take it.

A guest of a hypervisor may hand back what lies free for some seconds (free page reporting). Whoever needs it next has it
zeroed by the host first: 1.7 s of processor a GiB on the machine this was found on, which made reading a directory from
the disk take from 2 to 8 s, by nothing but what had happened before. What is held here is never handed back. It is given
out in pieces, so that `LOW` to `HIGH` are free, and taken again when files go; and before each measurement what has been
free until then changes places with what was held.
"""
import collections
import mmap
import pathlib
import select
import subprocess
import sys

LOW, HIGH = 768 << 20, 1280 << 20
LEAST = 256 << 20  # Below this the kernel would begin to throw files out of the page cache.
PIECE = 64 << 20
POPULATE_WRITE = 23  # madvise(2), from Linux 5.14 on; this Python has no name for it.


def free_bytes():
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemFree:"))


class Pieces:
    """What is held."""

    def __init__(self):
        self.held = collections.deque()

    def take_down_to(self, least):
        while free_bytes() > least + PIECE:
            piece = mmap.mmap(-1, PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            try:
                piece.madvise(mmap.MADV_HUGEPAGE)
                piece.madvise(POPULATE_WRITE)
            except OSError:
                for at in range(0, PIECE, mmap.PAGESIZE):
                    piece[at] = 1
            self.held.append(piece)

    def give_up_to(self, most):
        free = free_bytes()
        while self.held and free < most:
            # Those held longest: what was taken last was left over by others, in small pieces.
            self.held.popleft().close()
            free += PIECE


def hold():
    """Until the standard input ends. A line in it asks for fresh free memory, and is answered when there is."""
    pieces = Pieces()
    while True:
        if select.select([sys.stdin], [], [], 0.01)[0]:
            if not sys.stdin.readline():
                return
            pieces.take_down_to(LEAST)
            pieces.give_up_to(HIGH)
            print(flush=True)
        if free_bytes() < LOW:
            pieces.give_up_to((LOW + HIGH) // 2)
        else:
            pieces.take_down_to(HIGH)


class HeldMemory:
    """A process that does so, from the first refresh() on."""

    def __init__(self):
        self.process = None

    def refresh(self):
        """See that what is free is backed by memory of the host."""
        if self.process is None:
            # pylint: disable=consider-using-with
            self.process = subprocess.Popen([sys.executable, "-B", pathlib.Path(__file__).resolve()], text=True, bufsize=1,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write("refresh\n")
        self.process.stdout.readline()

    def end(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process = None


HELD = HeldMemory()

if __name__ == "__main__":
    hold()
