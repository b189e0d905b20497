"""Write the files that are generated from the code: `python docs/generate.py`."""

from pathlib import Path

from skyextract.columns import columns_markdown
from skyextract.conffile import dump
from skyextract.config import config_markdown

ROOT = Path(__file__).resolve().parents[1]

GENERATED = {
    "default.conf": lambda: dump(full=False) + "\n",
    "docs/config.md": lambda: config_markdown() + "\n",
    "docs/columns.md": columns_markdown,
}

if __name__ == "__main__":
    for name, make in GENERATED.items():
        (ROOT / name).write_text(make())
