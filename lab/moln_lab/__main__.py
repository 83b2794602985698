"""The console script `moln-lab` and `python -m moln_lab`."""

from moln_lab.cli import main

if __name__ == "__main__":
    main()
