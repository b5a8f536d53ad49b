"""`python -m intarsia` is the command `intarsia`."""

import sys

from intarsia.commands import main

if __name__ == "__main__":
    sys.exit(main())
