"""`moln`, also `python -m moln`."""

import sys

from moln.main import main

if __name__ == "__main__":
    sys.exit(main())
