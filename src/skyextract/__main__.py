"""`python -m skyextract`."""

import sys

from skyextract.cli import main

sys.exit(main())
