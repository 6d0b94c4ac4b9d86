"""`python -m hybridlib`."""

import sys

from hybridlib.cli.main import main

sys.exit(main())
