"""`python -m tests.conformance FILE…`"""

import sys

from tests.conformance.command import main

sys.exit(main())
