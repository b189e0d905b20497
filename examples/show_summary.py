"""Print the gist of a JSON summary: `python examples/show_summary.py field.json`."""

import json
import sys
from pathlib import Path

for extension in json.loads(Path(sys.argv[1]).read_text()):
    print(f"  status: {extension['status']}")
    for step, report in extension["steps"].items():
        facts = [f"{name} {value}" for name, value in report.items() if name not in ("status",)]
        print(f"  {step:<13}{report['status']:<10}{', '.join(facts)}"[:160])
