"""`python -m vitrail` is the command, where the script is not on the path."""

import sys

from vitrail.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
