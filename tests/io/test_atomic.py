"""Output files are complete or not there."""

import os

import pytest

from skyextract.errors import ConfigError, SkyextractError
from skyextract.io.atomic import atomic_output


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
