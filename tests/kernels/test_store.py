"""Compiled kernels on the disk: found, made again when they must be, and never in the way.

The tests copy the package and put kernels of a few lines into it, which compile in a second.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import skyextract
from skyextract.kernels import sources, store
from tests.compare.smalldisk import small_disk

SOURCE = Path(skyextract.__file__).parent

HELPER = """
from skyextract.kernels.jit import helper

@helper
def scaled(x: float) -> float:
    return 2.0 * x
"""
KERNEL = """
from skyextract.kernels.jit import kernel
from skyextract.kernels.toy.parts import scaled

@kernel
def scale(values, out):
    for i in range(values.size):
        out[i] = scaled(values[i])
"""
OTHER = """
import numpy as np
from skyextract.kernels.jit import kernel

@kernel
def count(values):
    if values.size == 0:
        raise ValueError("nothing to count")
    numbers = np.full(values.size, 7.0)
    numbers[1:] = values[1:]
    return numbers
"""
SIGNATURES = """toy.other.count(float64[::1],)
toy.whole.scale(float64[::1], float64[::1],)
"""
PIECES = """
from skyextract.kernels.jit import kernel

@kernel
def pieces(values, n):
    total = 0.0
    kept = values
    for i in range(n):
        piece = values[i % values.size:]
        if piece[0] > 0.0:
            kept = piece
        total += kept[0]
    return total
"""
REFERENCES = """
import gc, resource, sys, weakref
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from skyextract.kernels import sources, store
from skyextract.kernels.native import unpacked
from skyextract.kernels.toy.other import count
from skyextract.kernels.toy.pieces import pieces

codes = [unpacked(e.read())[0].code for n, m in (("count", "other"), ("pieces", "pieces"))
         for e in store.stored_entries(f"toy.{m}", n)]
steps = [bytes.fromhex(code) for code in ("f048ff07", "f048ff0f")]  # lock inc, lock dec (%rdi)
print(len(codes), any(step in code for code in codes for step in steps))
values = np.arange(9.0)
before = sys.getrefcount(values)
with ThreadPoolExecutor(8) as threads:
    totals = set(threads.map(lambda _: pieces(values, 300000), range(32)))
print(len(totals), sys.getrefcount(values) - before)
gone = weakref.ref(values)
del values
gc.collect()
print(gone())
large = np.arange(1e6)
most = [count(large).size and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss for _ in range(50)]
print(most[-1] - most[1] < 20000, "numba" in sys.modules)
"""
CALL = """
import sys
sys.modules["scipy"] = None
import numpy as np
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, happened):
        compiled.append(happened.data["dispatcher"].py_func.__name__)
    def on_end(self, happened):
        pass
event.register("numba:compile", Listener())
from skyextract.kernels.toy.whole import scale
out = np.empty(3)
scale(np.arange(3.0), out)
print(*out, *sorted(name for name in compiled if name in {"scale", "scaled"}))
"""

DECLARED = {line.partition("(")[0].rpartition(".")[0] for line in SIGNATURES.splitlines()}
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
"""What takes root's right to write anywhere."""

pytestmark = pytest.mark.skipif(
    bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="nothing is compiled"
)


class Copy:
    """A copy of the package with kernels of its own, and ways to use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "lib/skyextract"
        shutil.copytree(SOURCE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        self.kernels = self.package / "kernels"
        for name, text in [
            ("__init__", ""), ("parts", HELPER), ("whole", KERNEL), ("other", OTHER)
        ]:  # fmt: skip
            self.write(name, text)
        (self.kernels / "signatures.txt").write_text(SIGNATURES)
        for name in ("home", "tmp"):
            (folder / name).mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(folder / "lib"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
        }

    def write(self, module: str, text: str) -> None:
        path = self.kernels / f"toy/{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def command(self, *arguments: str, bound: bool = False) -> list[str]:
        return [*(BOUND if bound and os.geteuid() == 0 else []), sys.executable, *arguments]

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Let nobody but an unbound root write into the package."""
        folders = [self.package, *(p for p in self.package.rglob("*") if p.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        yield
        for folder in folders:
            folder.chmod(0o755)

    def run(self, *arguments: str, bound: bool = False, **environment: str) -> tuple[str, str]:
        """Run Python and return its two outputs; `bound`: by the modes of files, even as root."""
        done = subprocess.run(
            self.command(*(arguments or ("-c", CALL)), bound=bound), cwd="/", check=False,
            env=self.environment | environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), done.stderr

    def entries(self, root: Path | None = None) -> list[Path]:
        return sorted((root or self.kernels / "__pycache__").rglob("*.nbc"))


@pytest.fixture
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    # Not below pytest's folder, which other users cannot enter.
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        found = Copy(Path(folder))
        (found.folder / "tmp").chmod(0o1777)
        yield found


def test_every_import_of_a_kernel_module_is_seen() -> None:
    for path in sources.HERE.rglob("*.py"):
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        inside = {m.removeprefix(f"{store.PACKAGE}.") for m in found if m.startswith(store.PACKAGE)}
        modules = {m for m in inside if (sources.HERE / f"{m.replace('.', '/')}.py").is_file()}
        assert sources.imported_modules(path.read_text()) == modules, path


def test_every_declared_kernel_exists() -> None:
    listed = {line.partition("(")[0] for line in sources.SIGNATURES.read_text().splitlines()}
    known = {f"{module}.{name}" for module, names in sources.declared().items() for name in names}
    assert listed - known == set(), "see e2e/kernel_signatures.py"


def test_a_list_that_names_what_is_gone_costs_nothing_else(copy: Copy) -> None:
    stale = "gone.module.scale(float64,)\ntoy.other.gone(float64,)\n"
    (copy.kernels / "signatures.txt").write_text(stale + SIGNATURES)
    out, said = copy.run("-m", "skyextract", "--warm")
    assert "compiled 2 of 2 kernels" in said
    assert "Traceback" not in out + said


def test_code_is_kept_and_an_edit_in_a_helper_makes_it_anew(copy: Copy) -> None:
    assert copy.run()[0] == "0.0 2.0 4.0 scale scaled"
    assert copy.run()[0] == "0.0 2.0 4.0"
    copy.run("-m", "skyextract", "--warm")
    before = copy.entries()
    unread = "from skyextract.kernels import sources, store; del sources._read; "
    assert set(copy.run("-c", f"{unread}print(*store.declared())")[0].split()) == DECLARED
    copy.write("parts", HELPER.replace("2.0", "3.0"))
    assert copy.run()[0] == "0.0 3.0 6.0 scale scaled"
    after = copy.entries()
    assert [p.name for p in before] == [p.name for p in after]
    kept = {p.parent.name.partition("-")[0] for p in before if p in after}
    assert kept == {"toy.other"}, "what does not use the helper stays, the old code is gone"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "garbage": lambda data: bytes(reversed(data)),
    "truncated": lambda data: data[: len(data) // 2],
    "head alone": lambda data: data[:24],
    "one bit": lambda data: data[:-10] + bytes([data[-10] ^ 1]) + data[-9:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_removed(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    entry = store.Entry.of("psf.fit", "fit", "key")
    assert entry.read() is None
    entry.write(bytes(range(256)))
    assert entry.read() == bytes(range(256))
    (file,) = tmp_path.rglob("*.nbc")
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert entry.read() is None
    assert not file.exists()


WITHOUT_NUMBA = """
import sys
import numpy as np
from skyextract.kernels.toy.other import count
from skyextract.kernels.toy.whole import scale
out = np.empty(3)
scale(np.arange(3.0), out)
print(*out, *count(out))
try:
    count(out[:0])
except ValueError as error:
    print(error, sorted(m for m in ("numba", "scipy") if m in sys.modules))
scale(np.arange(3, dtype="f4"), out)
print(*out, "numba" in sys.modules)
"""


def test_what_was_compiled_runs_without_numba(copy: Copy) -> None:
    copy.run("-m", "skyextract", "--warm")
    lines = copy.run("-c", WITHOUT_NUMBA)[0].splitlines()
    assert lines[:2] == ["0.0 2.0 4.0 7.0 2.0 4.0", "nothing to count []"]
    assert lines[2] == "0.0 2.0 4.0 True", "other arguments take other code: numba compiles it"
    assert copy.run("-c", WITHOUT_NUMBA)[0].splitlines()[2] == "0.0 2.0 4.0 False"


BINDING = """
import sys
import numpy
from skyextract.kernels import native
native._linker()
import llvmlite.binding as llvm
print("llvmlite.binding.value" in sys.modules)
from llvmlite.binding import Linkage
module = llvm.parse_assembly("define i32 @same(i32 %x) { ret i32 %x }")
print(module.get_function("same").linkage is Linkage.external, type(llvm).__name__)
"""


def test_what_is_left_out_of_llvmlite_comes_when_it_is_asked_for(copy: Copy) -> None:
    assert copy.run("-c", BINDING)[0].splitlines() == ["False", "True module"]


def test_references_are_counted_by_one_thread(copy: Copy) -> None:
    copy.write("pieces", PIECES)
    declared = copy.kernels / "signatures.txt"
    declared.write_text(SIGNATURES + "toy.pieces.pieces(float64[::1], int64,)\n")
    copy.run("-m", "skyextract", "--warm")
    steps, threads, gone, memory = copy.run("-c", REFERENCES)[0].splitlines()
    assert steps == "2 False", "no atomic steps"
    assert threads == "1 0", "threads do not disturb each other"
    assert gone == "None", "arrays are let go"
    assert memory == "True False", "so is what kernels return"


@pytest.mark.parametrize(
    "damage",
    [
        "native._EXTENSIONS = ('_nothing', '_dynfunc', 'core.runtime._nrt_python')",
        "native.MachineCode.externals = ['no_such_function']",
        "sys.modules['llvmlite.binding'] = None",
    ],
    ids=["another numba", "a symbol is missing", "no llvmlite"],
)
def test_what_cannot_run_without_numba_runs_with_it(copy: Copy, damage: str) -> None:
    copy.run()
    undo = "sys.modules.pop('llvmlite.binding', None)"
    text = f"""
import sys
import numpy as np
from skyextract.kernels import native
{damage}
native._linker()
{undo}
from skyextract.kernels.toy.whole import scale
out = np.empty(3)
scale(np.arange(3.0), out)
print(*out, "numba" in sys.modules)
"""
    assert copy.run("-c", text)[0] == "0.0 2.0 4.0 True"


def test_damaged_code_is_made_again(copy: Copy) -> None:
    copy.run()
    (file,) = [p for p in copy.entries() if p.name.startswith("scale-")]
    file.write_bytes(file.read_bytes()[:5000])
    assert copy.run() == ("0.0 2.0 4.0 scale", "")
    assert copy.run()[0] == "0.0 2.0 4.0"


def test_folders_in_their_order(copy: Copy) -> None:
    given, config = copy.folder / "given", copy.folder / "config"
    copy.run(NUMBA_CACHE_DIR=str(given))
    assert len(copy.entries(given)) == 2
    assert copy.entries() == []
    shutil.rmtree(copy.kernels / "__pycache__", ignore_errors=True)
    (copy.kernels / "__pycache__").write_text("not a folder")
    copy.run(XDG_CACHE_HOME=str(config))
    assert len(copy.entries(config)) == 2
    copy.run()
    assert len(copy.entries(copy.folder / "home/.cache/skyextract")) == 2


def test_two_processes_on_a_cold_cache(copy: Copy) -> None:
    both = [
        subprocess.Popen(
            copy.command("-c", CALL), env=copy.environment, cwd="/",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        output, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        assert output.startswith("0.0 2.0 4.0")
    files = [p for p in (copy.kernels / "__pycache__").rglob("*") if p.is_file()]
    assert {p.suffix for p in files} == {".nbc"}
    assert copy.run()[0] == "0.0 2.0 4.0"


def test_warm_compiles_everything_and_says_how_far_it_is(copy: Copy) -> None:
    assert "compiled 2 of 2 kernels" in copy.run("-m", "skyextract", "--warm")[1]
    assert {p.name.partition("-")[0] for p in copy.entries()} == {"scale", "scaled", "count"}
    assert copy.run("-m", "skyextract", "--warm")[1] == ""
    assert copy.run()[0] == "0.0 2.0 4.0"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk without room."""
    with small_disk(tmp_path / "disk", "16k") as place:
        with suppress(OSError):
            (place / "rest").write_bytes(bytes(50000))
        yield place


def test_nothing_is_compiled_ahead_that_cannot_be_kept(copy: Copy, full_disk: Path) -> None:
    """The program runs all the same: what it calls is compiled in its process."""
    code = "from skyextract.warm import compile_kernels; print(compile_kernels())"
    answer, told = copy.run("-c", code, NUMBA_CACHE_DIR=str(full_disk))
    assert answer == "False"
    assert told.splitlines() == ["compiled kernels cannot be kept: No space left on device"]
    answer, told = copy.run(NUMBA_CACHE_DIR=str(full_disk))
    assert answer.startswith("0.0 2.0 4.0")
    assert told.count("cannot be kept") == 1
    assert [path.name for path in full_disk.rglob("*") if path.is_file()] == ["rest"]


def can_be_bound() -> bool:
    """Tell whether a program can be started that is bound by the modes of files."""
    return os.geteuid() != 0 or (
        shutil.which("setpriv") is not None
        and subprocess.run([*BOUND, "true"], check=False, capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not can_be_bound(), reason="takes setpriv to be less than root")
def test_unprivileged_user_without_a_home(copy: Copy) -> None:
    home = {"HOME": str(copy.package)}  # which cannot be written, either
    with copy.read_only():
        output, errors = copy.run(bound=True, **home)
        assert output == "0.0 2.0 4.0 scale scaled"
        assert errors.count("can be written") == 1
        private = copy.folder / f"tmp/skyextract-{os.getuid()}"
        assert private.stat().st_mode & 0o777 == 0o700
        assert copy.run(bound=True, **home)[0] == "0.0 2.0 4.0"
        shutil.rmtree(private)
        # A folder of that name that others can write to, as if they had made it, is not used.
        private.mkdir()
        private.chmod(0o777)
        assert copy.run(bound=True, **home)[0] == "0.0 2.0 4.0 scale scaled"
        assert list(private.iterdir()) == []
        # All processes of a run use the same one, and one of them says so.
        errors = copy.run("-m", "skyextract", "--warm", bound=True, **home)[1]
        assert errors.count("can be written") == 1
        assert "compiled 2 of 2 kernels" in errors
    # What the administrator compiled is used.
    copy.run("-m", "skyextract", "--warm")
    with copy.read_only():
        assert copy.run(bound=True, **home) == ("0.0 2.0 4.0", "")


def test_a_kernel_that_does_not_fit_its_declaration_is_named(copy: Copy) -> None:
    declared = SIGNATURES.replace("count(float64[::1],)", "count(int64,)")
    (copy.kernels / "signatures.txt").write_text(declared)
    done = subprocess.run(
        copy.command("-m", "skyextract", "--warm"), cwd="/", check=False, env=copy.environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "warning: 1 kernels are compiled at their first call: toy.other.count" in done.stderr


def test_nothing_is_missing_in_a_process_that_has_all_kernels(monkeypatch):
    monkeypatch.setattr(store, "_all_loaded", threading.Event())
    monkeypatch.setattr(store, "_stored_names", lambda _module: [])
    assert store.missing_kernels()
    store.note_all_loaded()
    assert store.missing_kernels() == {}
