"""Optional libraries, and the extras of the distribution that bring them."""

from __future__ import annotations

from importlib.util import find_spec

from skyextract.errors import ConfigError


def is_installed(library: str) -> bool:
    """Tell whether a library can be imported, without doing so."""
    try:
        return find_spec(library) is not None
    except ValueError:  # it is switched off: None stands in sys.modules
        return False


def require(what: str, extra: str, *libraries: str) -> None:
    """Raise a ConfigError, which names the extra, if a library is not installed."""
    missing = [library for library in libraries if not is_installed(library)]
    if missing:
        names = " and ".join(missing)
        raise ConfigError(f"{what} needs {names}: pip install 'skyextract[{extra}]'")
