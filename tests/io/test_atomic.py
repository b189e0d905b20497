"""Output files are complete or not there."""

import itertools
import os
import shutil
import signal
import sys
import time

import pytest

from skyextract.errors import ConfigError, OutputError, SkyextractError
from skyextract.io.atomic import Outputs, atomic_output, recover


def test_success_replaces(tmp_path):
    target = tmp_path / "out.txt"
    target.write_bytes(b"old")
    with atomic_output(target) as stream:
        stream.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_new_file_has_usual_permissions(tmp_path):
    mask = os.umask(0o027)
    try:
        with atomic_output(tmp_path / "a") as stream:
            stream.write(b"x")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_the_old(tmp_path, error):
    target = tmp_path / "out.txt"
    target.write_bytes(b"old")

    def fail():
        with atomic_output(target) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_refuses_inputs(tmp_path):
    source, link = tmp_path / "in.fits", tmp_path / "link.fits"
    source.write_bytes(b"data")
    link.symlink_to(source)
    for name in (source, link, tmp_path / "sub" / ".." / "in.fits"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match="input"), atomic_output(name, [source]):
            pass
    assert source.read_bytes() == b"data"


def test_clear_errors(tmp_path):
    for target in (tmp_path / "none" / "a.fits", tmp_path):
        with pytest.raises(SkyextractError, match="cannot be written"), atomic_output(target):
            pass


def test_a_folder_that_is_removed_meanwhile(tmp_path):
    place = tmp_path / "products"
    place.mkdir()
    with Outputs() as outputs:
        outputs.check(place / "a.cat")
        shutil.rmtree(place)
        with pytest.raises(OutputError, match=r"a\.cat: cannot be written"):
            outputs.open(place / "a.cat").__enter__()


def test_disk_full(tmp_path):
    def write():
        with atomic_output(tmp_path / "a"):
            raise OSError(28, "No space left on device")

    with pytest.raises(SkyextractError, match="No space"):
        write()
    assert list(tmp_path.iterdir()) == []


def write(outputs, path, content):
    with outputs.open(path) as stream:
        stream.write(content)


def die_after(n_steps):
    """Let this process die in the place of a step of the file system."""
    count = itertools.count()

    def watch(event, arguments):
        steps = ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.chmod")
        if event in steps and next(count) == n_steps:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def settled(folders, seconds=20.0):
    """Wait until no journal is left: whoever finishes the moves has begun already."""
    limit = time.monotonic() + seconds
    while any(next(folder.glob(".skyextract-*/journal"), None) for folder in folders):
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True


def test_all_or_none(tmp_path):
    (tmp_path / "stale").write_bytes(b"old")
    with Outputs() as outputs:
        write(outputs, tmp_path / "a", b"1")
        write(outputs, tmp_path / "b", b"2")
        assert outputs.remove(tmp_path / "stale")
        assert not outputs.remove(tmp_path / "a")
        assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] != ".") == ["stale"]
        outputs.commit()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"1", "b": b"2"}


def test_a_disk_that_is_full_at_the_end_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Outputs, "_leave_journal", full)
    with Outputs() as outputs:
        write(outputs, tmp_path / "a", b"1")
        write(outputs, tmp_path / "b", b"2")
        with pytest.raises(OutputError, match=r"a: cannot be written \(No space"):
            outputs.commit()
    assert list(tmp_path.iterdir()) == []


def replace_three(folders, n_steps):
    """Replace three files and remove one, in a process that dies at some step; return its end."""
    place, other = folders
    child = os.fork()
    if child == 0:
        with Outputs() as outputs:
            for path in (place / "a", other / "b", place / "c"):
                write(outputs, path, b"new")
            outputs.remove(other / "stale")
            die_after(n_steps)
            outputs.commit()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def found_set(folders):
    """Return which files are there, hidden ones apart, and check that they are of one run."""
    names = {path.name: path for folder in folders for path in folder.glob("[!.]*")}
    contents = {path.read_bytes() for path in names.values() if path.is_file()}
    old = contents == {b"old"} and names.keys() == {"a", "b", "c", "stale", "other"}
    new = contents == {b"new"} and names.keys() == {"a", "b", "c", "other"}
    return "old" if old else "new" if new else "mixed"


@pytest.fixture
def folders(tmp_path):
    """Two folders with the files of an earlier run."""
    other = tmp_path / "other"
    other.mkdir()
    for path in (tmp_path / "a", other / "b", tmp_path / "c", other / "stale"):
        path.write_bytes(b"old")
    return tmp_path, other


@pytest.mark.parametrize("guarded", [True, False])
def test_killed_at_every_step(folders, monkeypatch, guarded):
    """The rename of the journal decides.

    Without a guard, as where the machine stops, the next run finishes.
    """
    if not guarded:
        monkeypatch.setattr("skyextract.io.guard._SHELL", "/none")
    found = []
    for n_steps in itertools.count():
        for path in (folders[0] / "a", folders[1] / "b", folders[0] / "c", folders[1] / "stale"):
            path.write_bytes(b"old")
        ended = replace_three(folders, n_steps)
        if guarded:
            assert settled(folders)
        else:
            recover(folders[1])
        found.append(found_set(folders))
        recover(folders[0])
        recover(folders[1])
        assert found_set(folders) == found[-1]
        assert [path.name for f in folders for path in f.glob(".skyextract-*")] == []
        if ended == 0:
            break
    n_old = found.index("new")
    assert n_old >= 4  # three changes of mode, and the journal
    assert found == ["old"] * n_old + ["new"] * (len(found) - n_old)
    assert len(found) - n_old > 4


@pytest.mark.parametrize("asked", [True, False])
def test_what_died_before_the_end_is_removed_and_what_lives_is_not(tmp_path, asked):
    """Also where nobody asks how the process ended, so that its number stays."""
    child = os.fork()
    if child == 0:
        outputs = Outputs()
        write(outputs, tmp_path / "a", b"half")
        os._exit(9)
    os.waitid(os.P_PID, child, os.WEXITED | (0 if asked else os.WNOWAIT))
    with Outputs() as living:
        write(living, tmp_path / "b", b"x")
        assert len(list(tmp_path.iterdir())) == 2
        recover(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
        living.commit()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    if not asked:
        os.waitpid(child, 0)


def test_target_of_a_link_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    with atomic_output(tmp_path / "link") as stream:
        stream.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file").read_bytes() == b"x"


def test_long_names(tmp_path):
    with atomic_output(tmp_path / ("x" * 255)) as stream:
        stream.write(b"x")
    with pytest.raises(OutputError), atomic_output(tmp_path / ("x" * 256)) as stream:
        stream.write(b"x")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_that_no_file_can_have_is_nothing_to_remove(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with Outputs() as outputs:
        for path in (tmp_path / ("x" * 300), tmp_path / "loop", tmp_path / "no" / "such"):
            assert not outputs.remove(path)
        outputs.commit()
