"""Resolve the settings: built-in layer < camera preset < configuration file < command line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from skyextract import __version__
from skyextract.errors import ConfigError
from skyextract.record import record
from skyextract.settings.cameras import NO_PRESET, camera_settings, find_camera
from skyextract.settings.grammar import (
    Declaration,
    Setting,
    convert,
    declarations,
    format_value,
    parse,
    split_values,
    suggest,
)
from skyextract.settings.keywords import Config
from skyextract.settings.obsolete import KEYWORDS, as_today

_SEXTRACTOR_ORIGIN = "built-in (SExtractor)"
COMMAND_LINE = "command line"
"""Origin of what was given there."""


@record
class Settings:
    """The configuration of a run and where every value comes from.

    Attributes
    ----------
    config : Config
    origins : dict
        `built-in (skyextract)`, `camera sinistro:3`, `default.conf:12` or `command line`.
    sextractor : bool
        The built-in layer is SExtractor's.
    notes : list of str
        What the user should be told, one line each.
    files : tuple of str
        The configuration file and the camera preset that were read.
    json_lines : bool
        The summaries go to standard output, one object per line.
    copies : tuple of (str, str)
        Copies of what came from pipes, which the values name, and what the user had named.
    strict : bool
        A default PSF in use, or a fallback, counts as a step that failed.
    """

    config: Config
    origins: dict[str, str]
    sextractor: bool
    notes: list[str] = field(default_factory=list)
    files: tuple[str, ...] = ()
    json_lines: bool = False
    copies: tuple[tuple[str, str], ...] = ()
    strict: bool = False

    def value(self, name: str) -> Any:
        """Return the value of a keyword by its name."""
        declaration = declarations()[name]
        return getattr(getattr(self.config, declaration.group), name.lower())

    def is_set(self, name: str) -> bool:
        """Tell whether a keyword differs from the default of its base layer."""
        return bool(self.value(name) != declarations()[name].base(self.sextractor))

    def named_files(self) -> Iterator[tuple[str, str]]:
        """Yield the keywords that name files to read, with each name that is given."""
        for name, declaration in declarations().items():
            if declaration.keyword.opens:
                value = self.value(name)
                for item in (value,) if isinstance(value, str) else value:
                    if item:
                        yield name, item

    def with_copies(self, copies: Mapping[str, str]) -> Settings:
        """Return settings that name copies (new names by old ones) instead of some files."""
        config = self.config
        for name in {name for name, item in self.named_files() if item in copies}:
            value, group = self.value(name), declarations()[name].group
            items = [
                copies.get(item, item) for item in ([value] if isinstance(value, str) else value)
            ]
            new = items[0] if isinstance(value, str) else tuple(items)
            section = dataclasses.replace(getattr(config, group), **{name.lower(): new})
            config = dataclasses.replace(config, **{group: section})
        names = tuple((copy, name) for name, copy in copies.items())
        return dataclasses.replace(self, config=config, copies=names)

    def shown(self, text: str) -> str:
        """Return a text in which copies have the names that the user gave."""
        for copy, name in self.copies:
            text = text.replace(copy, name)
        return text

    def value_text(self, name: str) -> str:
        """Return the value of a keyword as a configuration file has it."""
        return self.shown(format_value(self.value(name)))

    def error(self, name: str, message: str) -> ConfigError:
        """Return a ConfigError that names the keyword, its value and its origin."""
        return ConfigError(
            self.shown(f"{self.origins[name]}: {name} = {self.value_text(name)}: {message}")
        )

    def provenance(self) -> dict[str, dict[str, str]]:
        """Return value and origin of every keyword, for the products."""
        return {
            name: {"value": self.value_text(name), "origin": self.origins[name]}
            for name in declarations()
        }

    def fingerprint(self) -> str:
        """Return the checksum of the version and of all values that products depend on."""
        values = {
            name: self.value_text(name)
            for name in declarations()
            if name not in ("NTHREADS", "VERBOSE_TYPE")
        }
        text = json.dumps([__version__, values], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_file(path: str | Path) -> list[Setting]:
    """Read the settings of a configuration file.

    Raises
    ------
    ConfigError
        If the file is missing, unreadable, not text, or not in the format.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = Path(path).read_text(encoding="latin-1")
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        if "\0" in text:
            raise ConfigError(f"{path}: not a text file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    if "\0" in text:
        raise ConfigError(f"{path}: not a text file")
    return parse(text, str(path))


def command_line_settings(pairs: Sequence[tuple[str, str]]) -> list[Setting]:
    """Return the settings of `-KEYWORD VALUE` pairs."""
    origin = COMMAND_LINE
    settings = []
    for name, value in pairs:
        if name in KEYWORDS:
            settings.append(Setting(name, (value,), origin))
            continue
        declaration = declarations()[name]
        free_text = declaration.takes_one and declaration.is_text and "$" not in value
        # A shell takes quotes away: what looks like a list may be the name of one file.
        whole = free_text or (declaration.type == "tuple[str, ...]" and _is_file(value))
        words = (value,) if whole else split_values(value, origin)
        settings.append(Setting(name, words if value else (), origin))
    return settings


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # too long a name
        return False


def resolve(
    file_settings: Sequence[Setting] | None,
    command_settings: Sequence[Setting] = (),
    *,
    config_file: str | None = None,
) -> Settings:
    """Merge the layers into the configuration of a run.

    Parameters
    ----------
    file_settings : sequence of Setting or None
        What the `-c` file says; None without `-c`.
    command_settings : sequence of Setting
        What the command line says; it wins.
    config_file : str, optional
        Where `file_settings` come from, for the provenance.

    Raises
    ------
    ConfigError
        If a keyword is unknown or not supported, or a value is wrong.
    """
    table = declarations()
    notes: list[str] = []
    ignored: list[str] = []
    if file_settings is not None:
        file_settings = list(as_today(file_settings, ignored, notes))
    given = [*(file_settings or ()), *as_today(command_settings, ignored, notes)]
    cameras = [setting for setting in given if setting.name == "CAMERA" and setting.values]
    preset: list[Setting] = []
    files = () if config_file is None else (config_file,)
    if cameras and cameras[-1].values[0].upper() not in NO_PRESET:
        preset = camera_settings(cameras[-1].values[0], cameras[-1].origin)
        files = (*files, str(find_camera(cameras[-1].values[0])))
        given = [*preset, *given]
    for setting in given:
        if setting.name not in table:
            raise ConfigError(
                f"{setting.origin}: unknown keyword {setting.name}{suggest(setting.name, table)}"
            )
    sextractor = _base_is_sextractor(file_settings, given, table, notes)
    base_name = _SEXTRACTOR_ORIGIN if sextractor else "built-in (skyextract)"
    values = {name: item.base(sextractor) for name, item in table.items()}
    origins = dict.fromkeys(table, base_name)
    for setting in given:
        item = table[setting.name]
        if item.keyword.support == "ignored":
            dumped = split_values(format_value(item.default), setting.origin)
            if sextractor or setting.values != dumped:
                ignored.append(setting.name)
            origins[setting.name] = setting.origin
            continue
        value = convert(_first_as_sextractor(setting, item, notes), item)
        if item.keyword.support == "later" and value not in (item.default, item.base(True)):
            raise ConfigError(f"{setting.origin}: {setting.name} is not supported")
        unchanged = value == item.base(sextractor) and setting in (file_settings or ())
        if unchanged and any(setting.name == camera.name for camera in preset):
            # A configuration file that lists all defaults does not undo the camera's.
            continue
        values[setting.name] = value
        origins[setting.name] = setting.origin
    if ignored:
        notes.append(f"no meaning here, ignored: {', '.join(dict.fromkeys(ignored))}")
    settings = Settings(_grouped(values), origins, sextractor, notes, files)
    _check_thresholds(settings)
    return settings


def _check_thresholds(settings: Settings) -> None:
    """Refuse thresholds of one value, sigma or ADU, that are not positive."""
    for name in ("DETECT_THRESH", "ANALYSIS_THRESH"):
        values = settings.value(name)
        if len(values) == 1 and not values[0] > 0.0:
            raise settings.error(name, "must be positive")


def _first_as_sextractor(setting: Setting, item: Declaration, notes: list[str]) -> Setting:
    """Leave the first of several values, which is what SExtractor takes of its own keywords."""
    if item.keyword.new or not item.takes_one or item.is_text or len(setting.values) < 2:
        return setting
    first, *others = setting.values
    message = (
        f"{setting.origin}: {setting.name} takes one value: {first} is used, "
        f"{','.join(others)} is not"
    )
    notes.append(message)
    return dataclasses.replace(setting, values=(first,))


def recorded_settings(
    config: Mapping[str, Mapping[str, str]], files: Sequence[str] = (), *, strict: bool = False
) -> Settings:
    """Return the settings that a provenance holds, with their origins.

    Parameters
    ----------
    config : mapping
        As `Settings.provenance` gives it.
    files : sequence of str
        The configuration file and the camera preset that were read; they are not read again.

    Raises
    ------
    ConfigError
        A keyword that this version does not have, or a value that it does not take.
    """
    values, origins = {}, {}
    sextractor = is_sextractor(str(item["origin"]) for item in config.values())
    for name, item in declarations().items():
        if name not in config:
            raise ConfigError(f"{name} is not in the provenance: another version wrote it")
        origin = origins[name] = str(config[name]["origin"])
        if item.keyword.support == "ignored":
            values[name] = item.base(sextractor)
            continue
        words = split_values(str(config[name]["value"]), origin)
        values[name] = convert(Setting(name, words, origin), item)
    unknown = sorted(config.keys() - values.keys())
    if unknown:
        raise ConfigError(f"unknown keyword {unknown[0]}{suggest(unknown[0], values)}")
    return Settings(_grouped(values), origins, sextractor, files=tuple(files), strict=strict)


def is_sextractor(origins: Iterable[str]) -> bool:
    """Tell from the origins of all keywords whether SExtractor's defaults are the base layer."""
    return _SEXTRACTOR_ORIGIN in origins


def _grouped(values: Mapping[str, Any]) -> Config:
    """Return the configuration of the values of all keywords."""
    members: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        members.setdefault(declarations()[name].group, {})[name.lower()] = value
    default = Config()
    return Config(**{group: type(getattr(default, group))(**m) for group, m in members.items()})


def _base_is_sextractor(
    file_settings: Sequence[Setting] | None,
    given: Sequence[Setting],
    table: dict[str, Declaration],
    notes: list[str],
) -> bool:
    """Decide the built-in layer: a file without any keyword of ours is SExtractor's."""
    chosen = "AUTO"
    for setting in given:
        if setting.name == "BASE_DEFAULTS":
            chosen = convert(setting, table["BASE_DEFAULTS"])
    if chosen != "AUTO":
        return chosen == "SEXTRACTOR"
    if file_settings is None or any(table[s.name].keyword.new for s in file_settings):
        return False
    notes.append(
        "the configuration file has none of skyextract's own keywords: "
        "using SExtractor's defaults (BASE_DEFAULTS SEXTRACTOR)"
    )
    return True
