"""How a product was made: the summary that belongs to it, and what has become of its inputs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skyextract.errors import ConfigError, ImageError
from skyextract.io.checksums import sha256
from skyextract.io.names import parse_image_spec
from skyextract.jobs import came_since, plan_job
from skyextract.record import record
from skyextract.settings.resolve import recorded_settings

_UP = 2
"""Folders above a product in which its summary is looked for."""


@record
class Made:
    """The summary of an image.

    Attributes
    ----------
    objects : list of dict
        One per extension.
    folder : Path
        Of the products, absolute.
    """

    objects: list[dict[str, Any]]
    folder: Path

    @property
    def provenance(self) -> dict[str, Any]:
        """How all products of the image were made."""
        return dict(self.objects[0]["provenance"])

    @property
    def products(self) -> dict[str, Path]:
        """The files of the image by their keyword."""
        return {key: self.folder / name for key, name in self.objects[0]["products"].items()}

    @contextmanager
    def where_it_was_made(self) -> Iterator[None]:
        """Work in the folder from which names of inputs are seen, if it is still there."""
        before = Path.cwd()
        place = Path(self.provenance["working_directory"])
        try:
            if place.is_dir():
                os.chdir(place)
            yield
        finally:
            os.chdir(before)

    def changes(self) -> dict[str, str]:
        """Return what became of the inputs that are not as they were, by their names."""
        found = {}
        for item in self.provenance["inputs"]:
            path = parse_image_spec(item["path"]).path
            if not Path(path).is_file():
                piped = item["sha256"] is None
                found[item["path"]] = "came from a pipe, and is gone" if piped else "is gone"
            elif item["sha256"] is None:
                found[item["path"]] = "was too large to be read for a checksum"
            elif sha256(path) != item["sha256"]:
                found[item["path"]] = "has changed since"
        return found | dict.fromkeys(self._newcomers(), "came since, and would be read now")

    def _newcomers(self) -> list[str]:
        """Return the files that were not there when the products were made, but were read now."""
        made = self.provenance
        known = {item["path"] for item in made["inputs"]}
        try:
            oldest = min(path.stat().st_mtime_ns for path in self.products.values())
            settings = recorded_settings(made["config"], strict=made["strict"])
            job = plan_job(",".join(made["images"]), settings, self.folder)
        except (OSError, ConfigError, ImageError):
            return []  # what is gone, or of another version, is told elsewhere
        return came_since(settings, job, known, oldest)


def find_made(product: Path) -> Made:
    """Return the summary of a product, which may be the summary itself.

    Raises
    ------
    ImageError
        There is no such file, it is a folder, or there is no summary that names it.
    """
    if product.is_dir():
        raise ImageError(f"{product}: a folder; name one of the products in it")
    if not product.is_file():
        raise ImageError(f"{product}: no such file")
    place = Path(os.path.realpath(product))
    for folder in [place.parent, *place.parents[1 : 1 + _UP]]:
        is_summary = folder == place.parent and read_made(product) is not None
        for path in [product] if is_summary else _summaries(folder):
            made = read_made(path)
            if made and place in map(Path, map(os.path.realpath, made.products.values())):
                return made
    raise ImageError(f"{product}: no summary (SUMMARY_NAME) near it tells how it was made")


def _summaries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def read_made(path: Path) -> Made | None:
    """Return a summary; None if there is none, or the file is another one."""
    try:
        objects = json.loads(path.read_text("utf-8"))
        name = objects[0]["products"]["SUMMARY_NAME"]
        provenance = objects[0]["provenance"]
        provenance["working_directory"], provenance["images"]
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return None
    up = os.path.relpath(Path(), Path(name).parent)
    return Made(objects, Path(os.path.realpath(path)).parent / up)
