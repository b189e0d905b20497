"""The same bytes whatever the number of processes and threads; of summaries all but times."""

from __future__ import annotations

import json
import shutil

from astropy.io import fits

from tests.faults.harness import write_frame

RUNS = ((1, 1), (2, 2), (1, 7))
"""Processes and threads."""


def without_times(item):
    """Return a summary without times and the number of threads."""
    if isinstance(item, dict):
        return {
            key: without_times(value)
            for key, value in item.items()
            if key not in ("seconds", "NTHREADS")
        }
    return [without_times(value) for value in item] if isinstance(item, list) else item


def test_same_bytes(program, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    frames = [write_frame(tmp_path / f"f{k}.fits", k, 450).name for k in range(2)]
    with fits.open(tmp_path / frames[0], mode="update") as units:
        for k in range(12):  # padding in short pieces, some across the borders of any bands
            units[0].data[34 * k + 5 : 34 * k + 40, 30 * k + 20 : 30 * k + 26] = -9.0
    found = []
    for n_jobs, n_threads in RUNS:
        outcome = program(
            *frames, "-q", "-j", n_jobs, "-NTHREADS", n_threads, "-o", "there",
            "-EXPOSURE_NAME", "{stem}.exp.fits", "-PSFMODEL_NAME", "{stem}.psf",
            "-CHECKIMAGE_TYPE", "BACKGROUND,RESIDUALS",
            "-CHECKIMAGE_NAME", "{stem}.b.fits,{stem}.r.fits", "-NIGHT_NAME", "",
        )  # fmt: skip
        assert outcome.status == 0
        found.append({})
        for path in sorted((tmp_path / "there").iterdir()):
            content = path.read_bytes()
            if path.suffix == ".json":
                content = without_times(json.loads(content))
            elif path.name.endswith(".exp.fits"):  # its provenance tells the threads
                with fits.open(path) as units:
                    content = {
                        unit.name: (
                            str(unit.header),
                            None if unit.data is None else bytes(unit.data),
                        )
                        for unit in units
                        if unit.name != "PROVENANCE"
                    }
            found[-1][path.name] = content
        shutil.rmtree(tmp_path / "there")
    assert len(found[0]) == 12
    for run, other in zip(RUNS, found, strict=True):
        differ = [name for name in found[0] if other.get(name) != found[0][name]]
        assert not differ, (run, differ)
