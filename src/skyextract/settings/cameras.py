"""Camera presets: configuration files that hold what is always the same for one camera.

CAMERA names a file, or a preset NAME.conf of the user's folder or of those built in.  AUTO (the
header's cards are translated if its instrument is known) and NONE are no presets.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from skyextract.errors import ConfigError
from skyextract.settings.grammar import Setting, parse

NO_PRESET = ("", "AUTO", "NONE")
BUILT_IN = Path(__file__).parent / "presets"


def user_folder() -> Path:
    """Return the folder of the user's presets: $SKYEXTRACT_CAMERAS, or below ~/.config."""
    configured = os.environ.get("SKYEXTRACT_CAMERAS")
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(configured) if configured else Path(base) / "skyextract" / "cameras"


def find_camera(name: str) -> Path | None:
    """Return the file of a preset: a path, or a name in the user's folder or built in."""
    if "/" in name or name.endswith(".conf"):
        places = [Path(name)]
    else:
        places = [folder / f"{name.lower()}.conf" for folder in (user_folder(), BUILT_IN)]
    return next((place for place in places if _can_be_read(place)), None)


def _can_be_read(path: Path) -> bool:
    """Tell whether there is a file or a pipe; a name that no file can have is none."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def camera_names() -> list[str]:
    """Return the names of all presets."""
    files = [*BUILT_IN.glob("*.conf"), *user_folder().glob("*.conf")]
    return sorted({file.stem for file in files})


def camera_settings(name: str, origin: str) -> list[Setting]:
    """Read a preset; the origin of its settings is `camera NAME:line`.

    Raises
    ------
    ConfigError
        No such preset, not readable, or one that names another camera.
    """
    file = find_camera(name)
    if file is None:
        raise ConfigError(
            f"{origin}: CAMERA = {name}: no such file or preset; presets are "
            f"{', '.join(camera_names())}"
        )
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: camera preset cannot be read ({error})") from None
    label = file.stem if file.parent in (BUILT_IN, user_folder()) else str(file)
    settings = parse(text, f"camera {label}")
    for setting in settings:
        if setting.name == "CAMERA":
            raise ConfigError(f"{setting.origin}: a preset cannot name another camera")
    return settings
