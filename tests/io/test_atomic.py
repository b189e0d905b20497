"""Output files are complete or not there."""

import os

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


def kill_during(monkeypatch, n_moves):
    """Let the process 'die' after some renames: the exception is not handled by anything."""
    moved = []
    rename = os.rename

    def die(source, target):
        if len(moved) == n_moves:
            os._exit(9)
        moved.append(target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", die)


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


@pytest.mark.parametrize(("n_moves", "found"), [(0, b"old"), (1, b"new"), (2, b"new"), (3, b"new")])
def test_what_a_killed_run_left_is_finished(tmp_path, monkeypatch, n_moves, found):
    """The first rename is that of the journal: without it nothing has happened."""
    other = tmp_path / "other"
    other.mkdir()
    for path in (tmp_path / "a", other / "b", tmp_path / "c"):
        path.write_bytes(b"old")
    if os.fork() == 0:
        kill_during(monkeypatch, n_moves)
        with Outputs() as outputs:
            for path in (tmp_path / "a", other / "b", tmp_path / "c"):
                write(outputs, path, b"new")
            outputs.commit()
        os._exit(0)
    os.wait()
    recover(other)
    recover(tmp_path)
    for path in (tmp_path / "a", other / "b", tmp_path / "c"):
        assert path.read_bytes() == found
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "c", "other"]
    assert [p.name for p in other.iterdir()] == ["b"]


def test_what_died_before_the_end_is_removed_and_what_lives_is_not(tmp_path):
    if os.fork() == 0:
        outputs = Outputs()
        write(outputs, tmp_path / "a", b"half")
        os._exit(9)
    os.wait()
    with Outputs() as living:
        write(living, tmp_path / "b", b"x")
        assert len(list(tmp_path.iterdir())) == 2
        recover(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
        living.commit()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


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
