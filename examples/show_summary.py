"""Print the gist of a JSON summary: `python examples/show_summary.py field.json`."""

import json
import sys
from pathlib import Path


def short(value: object) -> str:
    """Return a value with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


for extension in json.loads(Path(sys.argv[1]).read_text()):
    for step, report in extension["steps"].items():
        facts = [
            f"{name} {short(value)}"
            for name, value in report.items()
            if name not in ("status", "seconds") and isinstance(value, int | float | str)
        ]
        print(f"  {step:<13}{report['status']:<9} {', '.join(facts[:7])}")
