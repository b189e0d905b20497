import pytest

from skyextract.errors import ConfigError
from skyextract.settings.cameras import camera_names, camera_settings
from skyextract.settings.grammar import parse
from skyextract.settings.resolve import command_line_settings, resolve


def test_built_in_presets_resolve():
    for name in ("generic", "sinistro"):
        assert name in camera_names()
        settings = resolve(None, command_line_settings([("CAMERA", name)]))
        assert settings.origins["ISR_TRIMSEC"].startswith(f"camera {name}:")


def test_a_preset_stands_between_the_built_in_layer_and_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SKYEXTRACT_CAMERAS", str(tmp_path))
    (tmp_path / "mine.conf").write_text(
        "# my camera\nGAIN 1.7\nSATUR_LEVEL 61000\nPIXEL_SCALE 0.4\n"
        "ISR_TRIMSEC [1:100,1:50],[101:200,1:50]\n"
    )
    file = parse("CAMERA mine\nGAIN 1.8\nSATUR_LEVEL 62000\n", "my.conf")
    settings = resolve(file, command_line_settings([("SATUR_LEVEL", "63000")]))
    detector = settings.config.detector
    assert (detector.pixel_scale, detector.gain, detector.satur_level) == (0.4, 1.8, 63000.0)
    assert settings.origins["PIXEL_SCALE"] == "camera mine:4"
    assert settings.origins["GAIN"] == "my.conf:2"
    assert settings.config.isr.isr_trimsec == ("[1:100,1:50]", "[101:200,1:50]")
    assert "mine" in camera_names()


def test_a_preset_by_its_path(tmp_path):
    path = tmp_path / "other.conf"
    path.write_text("GAIN 3\n")
    settings = resolve(None, command_line_settings([("CAMERA", str(path))]))
    assert settings.config.detector.gain == 3.0


def test_wrong_presets(tmp_path):
    with pytest.raises(ConfigError, match="CAMERA = nothing: no such file or preset"):
        camera_settings("nothing", "command line")
    path = tmp_path / "a.conf"
    path.write_text("CAMERA generic\n")
    with pytest.raises(ConfigError, match="cannot name another camera"):
        camera_settings(str(path), "command line")
    path.write_text("GIAN 2\n")
    with pytest.raises(ConfigError, match="unknown keyword GIAN: did you mean"):
        resolve(None, command_line_settings([("CAMERA", str(path))]))
