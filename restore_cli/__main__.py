"""`python -m restore_cli`."""

import sys

from restore_cli.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
