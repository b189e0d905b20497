"""All kernels compiled ahead, in parallel processes.

The command line imports this module for `missing_kernels` and `compile_kernels`, which start a
process of their own; `python -m skyextract.warm` is that process.  It imports numba once and
forks workers, which take one module of kernels after another, the longest first.
"""

from __future__ import annotations

import gc
import logging
import os
import pkgutil
import subprocess
import sys
from collections.abc import Collection
from importlib import import_module
from pathlib import Path

from skyextract.kernels import sources, store
from skyextract.kernels.store import missing_kernels
from skyextract.run import end_with_parent

__all__ = ["compile_kernels", "missing_kernels", "preload"]

_LATE_IMPORTS = (
    "astropy.wcs", "astropy.table", "astropy.io.fits",
    "numpy.char", "numpy.fft", "numpy.ma", "numpy.polynomial", "numpy.random", "numpy.rec",
    "encodings.latin_1", "encodings.utf_8_sig",
)  # fmt: skip
"""Imported by the program when they are needed."""
_NOT_NEEDED = {"skyextract.__main__", "skyextract.kernels.loading", "skyextract.kernels.ahead"}
"""What runs at its import, and what imports numba, which compiled kernels do without."""

BAR_WIDTH = 40

log = logging.getLogger("skyextract")


def compile_kernels(quiet: bool = False, needed: Collection[str] = ()) -> bool:
    """Compile what is missing, with its progress on stderr; tell whether nothing is missing now.

    A process of its own does it, because this one may have threads, which a fork does not copy.
    Nothing is compiled if it cannot be kept.

    Parameters
    ----------
    quiet : bool
        Show no progress.
    needed : collection of str
        Modules of `skyextract.kernels`, as "psf.fit"; without any, all.
    """
    if not store.can_keep():  # `destination` says where they go if that is worth a warning
        return not missing_kernels(needed)
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}
    subprocess.run(
        [sys.executable, "-m", "skyextract.warm", str(os.getpid()),
         *(["-q"] if quiet else []), *needed],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment, check=False,
    )  # fmt: skip
    missing = missing_kernels(needed)
    if missing:
        names = [f"{module}.{name}" for module, functions in missing.items() for name in functions]
        some = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        log.warning("%d kernels are compiled at their first call: %s", len(names), some)
    return not missing


def preload() -> None:
    """Import the program and load its kernels; compile what is missing."""
    from skyextract.settings.grammar import declarations
    from skyextract.sky.bands import column_bands, filter_band
    from skyextract.sky.dates import parse_mjd

    for info in pkgutil.walk_packages([str(Path(__file__).parent)], "skyextract."):
        if info.name not in _NOT_NEEDED:
            import_module(info.name)
    for name in _LATE_IMPORTS:
        import_module(name)
    # Their patterns are compiled when a name is first looked at, and stay.
    column_bands(["?"])
    filter_band("?")
    parse_mjd("2000-01-01")
    declarations()
    make_cards()
    if missing_kernels():
        compile_kernels(quiet=True)
    kernels = [
        getattr(import_module(f"{store.PACKAGE}.{module}"), function)
        for module, functions in store.declared().items()
        for function in functions
    ]
    loaded = [kernel.load() for kernel in kernels]
    if all(loaded):
        store.note_all_loaded()


def make_cards() -> None:
    """Make the cards that describe the built-in columns in a catalogue; they stay."""
    import numpy as np

    from skyextract.columns.request import default_columns
    from skyextract.columns.table import COLUMNS
    from skyextract.datamodel.catalog import Catalog
    from skyextract.io.fits.table import catalog_unit

    for psf in (False, True):
        columns = {
            name: np.zeros((0, *shape), COLUMNS[name].dtype)
            for name, shape in default_columns(psf=psf, n_apertures=1)
        }
        catalog_unit(Catalog(columns), "LDAC_OBJECTS", {})


def _compile_all(parent: int, quiet: bool, needed: Collection[str]) -> None:
    """Compile the missing kernels in as many processes as there are cores."""
    end_with_parent(parent)
    own = os.getpid()
    missing = missing_kernels(needed)
    modules = sorted(missing, key=lambda module: -sources.size(module))
    from skyextract.kernels import ahead

    ahead.prepare()
    gc.freeze()
    gc.disable()  # nearly all that a compiler makes stays: to look for garbage takes a seventh
    tasks, give = os.pipe()
    # One byte is one task: a read of one byte is never shared by two workers, and the end of
    # the pipe is the end of the work, for the parent too, whatever becomes of a worker.
    os.write(give, bytes(range(len(modules))))
    os.close(give)
    results, report = os.pipe()
    n_workers = min(len(os.sched_getaffinity(0)), len(modules))
    workers = []
    for _ in range(n_workers):
        worker = os.fork()
        if worker == 0:
            os.close(results)
            end_with_parent(own)
            _work(tasks, report, modules, missing)
        workers.append(worker)
    os.close(report)
    progress = Progress(sum(map(len, missing.values())), quiet)
    with open(results, "rb", buffering=0) as file:  # noqa: PTH123
        while done := file.read(4096):
            progress.advance(len(done))
    progress.finish()
    for worker in workers:
        os.waitpid(worker, 0)


def _work(tasks: int, report: int, modules: list[str], missing: dict[str, list[str]]) -> None:
    """Compile modules until none is left, and end the process."""
    from skyextract.kernels import loading

    status = 1
    try:
        while task := os.read(tasks, 1):
            name = modules[task[0]]
            module = import_module(f"{store.PACKAGE}.{name}")
            for function in missing[name]:
                loading.compile_declared(getattr(module, function).dispatcher)
                os.write(report, b".")
                if store.is_full():
                    return
            gc.collect(0)  # what this module left
        status = 0
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    finally:
        os._exit(status)


class Progress:
    """A bar on a terminal, else a line per quarter; nothing if `quiet`."""

    def __init__(self, total: int, quiet: bool) -> None:
        self.total = total
        self.done = 0
        self.quiet = quiet
        self.bar = sys.stderr.isatty()

    def advance(self, n: int) -> None:
        """Count `n` more kernels."""
        before = 4 * self.done // self.total
        self.done += n
        if self.quiet:
            return
        if self.bar:
            full = BAR_WIDTH * self.done // self.total
            bar = "#" * full + "." * (BAR_WIDTH - full)
            sys.stderr.write(f"\rskyextract: compiling [{bar}] {self.done}/{self.total}")
        elif 4 * self.done // self.total > before:
            sys.stderr.write(f"skyextract: compiled {self.done} of {self.total} kernels\n")
        sys.stderr.flush()

    def finish(self) -> None:
        """Leave the line of the bar."""
        if self.bar and not self.quiet:
            sys.stderr.write("\n")


if __name__ == "__main__":
    sys.modules.setdefault("scipy", None)  # type: ignore[arg-type]  # see __main__
    try:
        process, *words = sys.argv[1:]
        _compile_all(int(process), "-q" in words, [word for word in words if word != "-q"])
    except KeyboardInterrupt:
        sys.exit(130)
