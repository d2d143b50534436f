"""``python -m jacntk_book``: the same as the command ``jacntk``."""

import sys

from .cli.command import main

sys.exit(main())
