"""Messages: levels, and what libraries say."""

from __future__ import annotations

import logging
import warnings

import pytest

from skyextract.messages import quiet, set_up_logging


@pytest.fixture(autouse=True)
def levels():
    """Restore the handlers and levels that the tests change."""
    yield
    set_up_logging("NORMAL")


@pytest.mark.parametrize(
    ("level", "told"),
    [("QUIET", False), ("NORMAL", False), ("EXTRA_WARNINGS", True), ("FULL", True)],
)
def test_warnings_of_libraries_are_told_when_asked_for(level, told, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        set_up_logging(level)
        with quiet():
            warnings.warn("a card was mended", UserWarning, stacklevel=1)
    stderr = capsys.readouterr().err
    assert (stderr == "skyextract: warning: UserWarning: a card was mended\n") is told


def test_levels(capsys):
    log = logging.getLogger("skyextract")
    set_up_logging("QUIET")
    log.warning("not told")
    log.error("told")
    assert capsys.readouterr().err == "skyextract: error: told\n"
