"""`moln-node` on a disk whose fsyncs fail while a file of the first argument's name is there."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.node.store.faulty_disk import NAME, FaultyDisk

from moln_node.__main__ import main
from moln_node.store import database

if __name__ == "__main__":
    disk = FaultyDisk(Path(sys.argv.pop(1)).exists)
    vars(database)["_VFS"] = NAME
    sys.exit(main())
