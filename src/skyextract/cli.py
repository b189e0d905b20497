"""The command line: arguments to settings, errors to one line and an exit status."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from skyextract import __version__
from skyextract.errors import (
    ConfigError,
    ExitStatus,
    SkyextractError,
    about_descriptors,
)
from skyextract.messages import set_up_logging
from skyextract.server.client import control
from skyextract.settings.completion import (
    FILE,
    FOLDER,
    OTHER,
    SHELLS,
    Word,
    completion_script,
    keyword_words,
)
from skyextract.settings.grammar import declarations, dump, suggest
from skyextract.settings.obsolete import KEYWORDS
from skyextract.settings.resolve import Settings, command_line_settings, read_file, resolve
from skyextract.settings.steps import check_steps

VALUE_OPTIONS = (
    "-c",
    "--config",
    "--steps",
    "-j",
    "--jobs",
    "-o",
    "--output-dir",
    "--server",
    "--night",
    "--watch",
    "--completion",
    "--rerun",
    "--explain",
    "--fetch-catalog",
)
_KEYWORD = re.compile(r"-[A-Za-z][A-Za-z0-9_]+")
# What the program does instead of processing the images that are named; one in a call.
_TASKS = ("server", "warm", "night", "explain", "rerun", "catalogs", "fetch_catalog", "watch")
FLAG_OPTIONS = ("-d", "-dd", "-dp", "-h", "-q", "-v")

EPILOG = """
Every configuration keyword can be given as -KEYWORD VALUE, as in SExtractor, and wins over
the file: skyextract m31.fits -DETECT_THRESH 3 -CATALOG_NAME STDOUT. `skyextract -dd` lists the
keywords, `skyextract -dp` the catalogue columns.

Exit status: 0 done; 1 an image or extension could not be processed; 2 usage or configuration
error; 3 done, but a step that was asked for failed; 130 interrupted, 143 terminated.
"""


def lift_keywords(arguments: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Take SExtractor's `-KEYWORD VALUE` pairs out of the arguments; -KEYWORD=VALUE will do, too.

    Returns
    -------
    rest : list of str
        The arguments that are left, for click.
    pairs : list of (str, str)
        Keyword (upper case) and value.

    Raises
    ------
    ConfigError
        If a keyword is unknown or has no value.
    """
    known = declarations()
    flags = {option[1] for option in FLAG_OPTIONS if len(option) == 2}
    rest: list[str] = []
    pairs: list[tuple[str, str]] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in VALUE_OPTIONS:
            rest.append(word)
            rest += [value for value in [next(words, None)] if value is not None]
        elif _KEYWORD.fullmatch(word.partition("=")[0]) and word not in FLAG_OPTIONS:
            option, equals, given = word.partition("=")
            name = option[1:].upper()
            if name in known or name in KEYWORDS:
                value = given if equals else next(words, None)
                if value is None:
                    raise ConfigError(f"command line: {name}: value missing")
                pairs.append((name, value))
            elif len(name) >= 4 or not (word[:2] in VALUE_OPTIONS or set(word[1:]) <= flags):
                raise ConfigError(f"command line: unknown keyword {name}{suggest(name, known)}")
            else:
                rest.append(word)
        else:
            rest.append(word)
    return rest, pairs


def settings_from(
    config_file: str | None, steps: str | None, pairs: Sequence[tuple[str, str]]
) -> Settings:
    """Resolve the settings of the command line."""
    if steps is not None:
        pairs = [*pairs, ("STEPS", steps)]
    file_settings = None if config_file is None else read_file(config_file)
    settings = resolve(file_settings, command_line_settings(pairs), config_file=config_file)
    if config_file is None and Path("default.sex").is_file():
        settings.notes.append("default.sex in this directory is not read; use -c default.sex")
    check_steps(settings)
    return settings


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.argument("images", nargs=-1, metavar="IMAGE [IMAGE ...]")
@click.option("-c", "--config", "config_file", metavar="FILE", help="Configuration file.")
@click.option(
    "--steps",
    metavar="LIST",
    help="Steps to run: isr, characterize, measure, astrometry, photometry; calibrate; or auto.",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1), default=1, metavar="N", help="Images in parallel."
)
@click.option("--strict", is_flag=True, help="A default PSF or a fallback makes the status 3.")
@click.option("-o", "--output-dir", metavar="DIR", help="Write the products there.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Tell what is being done.")
@click.option("--debug", is_flag=True, help="Tell everything, with times and tracebacks.")
@click.option("-d", "dump_short", is_flag=True, help="Print the default configuration.")
@click.option("-dd", "dump_full", is_flag=True, help="Print it with all keywords.")
@click.option("-dp", "dump_columns", is_flag=True, help="Print all catalogue columns.")
@click.option("--warm", is_flag=True, help="Compile all numerical kernels ahead, in parallel.")
@click.option(
    "--server",
    type=click.Choice(["start", "stop", "status"]),
    help="A process that keeps the program loaded; later calls start at once.",
)
@click.option("--json", "json_lines", is_flag=True, help="Print the summaries, an object a line.")
@click.option("--skip-done", is_flag=True, help="Leave out images that are done, unchanged.")
@click.option("--night", metavar="DIR", help="Make night.ecsv and night.html of its summaries.")
@click.option("--watch", metavar="DIR", help="Take frames as they arrive there, until Ctrl-C.")
@click.option("--rerun", metavar="PRODUCT", help="Make it again, and tell what differs.")
@click.option("--explain", metavar="PRODUCT", help="Tell in words how it was made.")
@click.option("--catalogs", is_flag=True, help="List the store of reference catalogues.")
@click.option(
    "--fetch-catalog",
    type=(str, str, str, float),
    metavar="NAME RA DEC RADIUS",
    help="Fill the store: GAIA-DR3 351.4 -0.17 0.5 (degrees).",
)
@click.option(
    "--completion", type=click.Choice(SHELLS), help="Print what a shell sources to complete."
)
@click.version_option(__version__, prog_name="skyextract")
@click.pass_obj
def command(
    pairs: list[tuple[str, str]],
    images: tuple[str, ...],
    config_file: str | None,
    steps: str | None,
    jobs: int,
    strict: bool,
    output_dir: str | None,
    quiet: bool,
    verbose: bool,
    debug: bool,
    dump_short: bool,
    dump_full: bool,
    dump_columns: bool,
    warm: bool,
    server: str | None,
    json_lines: bool,
    skip_done: bool,
    night: str | None,
    watch: str | None,
    rerun: str | None,
    explain: str | None,
    catalogs: bool,
    fetch_catalog: tuple[str, str, str, float] | None,
    completion: str | None,
) -> int:
    """Turn FITS images into calibrated catalogues.

    IMAGE is a file, an extension of it (image.fits[2], image.fits[SCI]), or a pair
    det.fits,meas.fits: detect on the first, measure on the second; @list is a text file with
    an image in each line, relative to it.
    """
    if dump_short or dump_full:
        click.echo(dump(full=dump_full))
        return ExitStatus.OK
    if dump_columns:
        from skyextract.columns.request import dump_parameters

        click.echo(dump_parameters())
        return ExitStatus.OK
    if completion is not None:
        from skyextract.columns.table import COLUMNS

        click.echo(completion_script(completion, [*option_words(), *keyword_words(COLUMNS)]))
        return ExitStatus.OK
    settings = settings_from(config_file, steps, pairs or [])
    level = "DEBUG" if debug else "FULL" if verbose else "QUIET" if quiet else ""
    level = level or settings.config.pipeline.verbose_type
    set_up_logging(level)
    _check_task(images, json_lines)
    if server:
        return control(server)
    if warm:
        from skyextract.warm import compile_kernels

        return ExitStatus.OK if compile_kernels(quiet) else ExitStatus.IMAGE_FAILED
    if night is not None:
        from skyextract.outputs.night import make_night

        return make_night(Path(night))
    if explain is not None:
        from skyextract.outputs.explain import explanation

        click.echo(explanation(Path(explain)))
        return ExitStatus.OK
    if rerun is not None:
        from skyextract.batch import rerun as again

        status, lines = again.rerun(Path(rerun))
        for line in lines:
            click.echo(line)
        return status
    if catalogs:
        from skyextract.inputs.surveys import list_catalogs

        click.echo(list_catalogs(settings))
        return ExitStatus.OK
    if fetch_catalog is not None:
        from skyextract.inputs.surveys import fetch_catalog as fetch

        return fetch(*fetch_catalog, settings)
    settings = replace(settings, strict=strict)
    if json_lines:
        if settings.config.output.catalog_name.upper() == "STDOUT":
            raise ConfigError("--json: standard output is taken by CATALOG_NAME STDOUT")
        settings = replace(settings, json_lines=True)
    try:
        Path.cwd()  # is noted in all summaries
    except FileNotFoundError:
        raise ConfigError("the working folder was deleted: call from another one") from None
    folder = Path(output_dir or ".")
    if watch is not None:
        from skyextract.batch.watch import run_watch

        return run_watch(Path(watch), settings, jobs, folder, skip_done)
    if not images:
        raise ConfigError("no image given; see skyextract --help")
    from skyextract.batch.images import run_batch

    return run_batch(images, settings, jobs, folder, skip_done)


def _check_task(images: Sequence[str], json_lines: bool) -> None:
    """Refuse a second task, or images, beside an option that is a task of its own."""
    given = click.get_current_context().params
    tasks = [f"--{name.replace('_', '-')}" for name in _TASKS if given[name]]
    if len(tasks) > 1:
        raise ConfigError(f"{tasks[0]} and {tasks[1]}: only one at a time")
    if tasks == ["--watch"] and images:
        raise ConfigError("--watch takes the images of a folder, and no others")
    if tasks and tasks != ["--watch"] and json_lines:
        raise ConfigError(f"--json: {tasks[0]} processes no images")
    if tasks and images:
        raise ConfigError(f"{images[0]}: {tasks[0]} takes no images or further products")


def option_words() -> list[Word]:
    """Return the options as a shell sees them."""
    return [_option_word(item) for item in command.params if isinstance(item, click.Option)]


def option_metavars() -> list[str]:
    """Return what stands behind each option."""
    found = []
    for item in command.params:
        if isinstance(item, click.Option):
            choices = item.type.choices if isinstance(item.type, click.Choice) else ()
            found.append("|".join(choices) or item.metavar or "")
    return found


def _option_word(option: click.Option) -> Word:
    takes_value = not (option.is_flag or option.count)
    choices = tuple(option.type.choices) if isinstance(option.type, click.Choice) else ()
    if option.name == "steps":
        steps = next(item for name, item in declarations().items() if name == "STEPS")
        choices = tuple(word.lower() for word in steps.keyword.choices)
    kind = {"DIR": FOLDER, "FILE": FILE, "PRODUCT": FILE}.get(option.metavar or "", OTHER)
    names = tuple(option.opts)
    return Word(names, option.help or "", takes_value, choices, kind, option.name == "steps")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status; the console script exits with it."""
    arguments = sys.argv[1:] if arguments is None else arguments
    set_up_logging("NORMAL")
    log = logging.getLogger("skyextract")
    try:
        rest, pairs = lift_keywords(arguments)
        return int(command.main(rest, prog_name="skyextract", obj=pairs, standalone_mode=False))
    except (click.exceptions.Abort, KeyboardInterrupt):
        log.error("interrupted")
        return ExitStatus.INTERRUPTED
    except RuntimeError as error:
        # What is raised while a class is made, as by an import, Python 3.11 wraps in this.
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        log.error("interrupted")
        return ExitStatus.INTERRUPTED
    except click.ClickException as error:
        log.error("%s", error.format_message())
        return ExitStatus.USAGE
    except SkyextractError as error:
        log.error("%s", error)
        return error.exit_status
    except (BrokenPipeError, SystemExit):
        # The reader of our standard output has gone, as in `skyextract ... | head`; for click
        # that is a reason to exit.
        sys.stdout = None
        return ExitStatus.OK
    except MemoryError:
        log.error("not enough memory")
        return ExitStatus.IMAGE_FAILED
    except OSError as error:
        if few := about_descriptors(error):
            log.error("%s", few)
        elif error.errno is None or error.filename is not None:
            log.error("%s", error)  # a library that cannot be loaded, for one
        else:  # of what is written by name, others know better
            sys.stdout = None
            log.error("standard output: %s", error.strerror)
        return ExitStatus.IMAGE_FAILED
