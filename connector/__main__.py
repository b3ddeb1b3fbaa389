"""`python -m connector` is the command `syncline`."""

import sys

from connector.cli import main

sys.exit(main())
