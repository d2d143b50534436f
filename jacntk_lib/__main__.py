"""``python -m jacntk_lib``: the same as the command ``jacntk``."""

import sys

from .cli import main

sys.exit(main())
