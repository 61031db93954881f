"""`python -m scmvp`: the command line."""

import sys

from .cli import main

sys.exit(main())
