"""Errors that a user can meet, and the exit status each one means.

Every error carries one clear line.  Anything else that escapes is a bug and may
show its traceback.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit status of the command line program."""

    OK = 0
    IMAGE_FAILED = 1
    """An image or an extension could not be processed."""
    USAGE = 2
    """Usage or configuration error; no work was started."""
    STEP_FAILED = 3
    """Done, but a step that was asked for FAILED, or --strict met a fallback."""
    INTERRUPTED = 130
    """By SIGINT; 128 + the number of the signal for others."""
    TERMINATED = 143


def about_descriptors(error: BaseException) -> str:
    """Tell that the limit of open files is at its end; empty if the error is another.

    Libraries say so in words alone.
    """
    by_number = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    by_words = isinstance(error, (ImportError, OSError))
    by_words &= os.strerror(errno.EMFILE) in str(error)
    message = "too many open files: the limit (ulimit -n) leaves the program none"
    return message if by_number or by_words else ""


class SkyextractError(Exception):
    """Base of all errors with a message for the user."""

    exit_status = ExitStatus.IMAGE_FAILED


class ConfigError(SkyextractError):
    """A keyword, a value, an option or a combination of them is wrong."""

    exit_status = ExitStatus.USAGE


class ImageError(SkyextractError):
    """An image, or one of its extensions, cannot be read or processed."""


class NoSuchImageError(ImageError):
    """There is no file, or no extension, of the name that was given."""


class NoFitsError(ImageError):
    """A file is nothing that was ever read as FITS: another format, or packed in another way."""


class MapSizeError(ImageError):
    """A map or detection image has not the size of the image, of which nothing was measured."""


class OutputError(SkyextractError):
    """A product cannot be written."""


class ReferenceCatalogError(SkyextractError):
    """A reference catalogue cannot be read or lacks what is needed."""


class StepError(SkyextractError):
    """A step is impossible or its result is not believable: the step is FAILED."""

    exit_status = ExitStatus.STEP_FAILED
