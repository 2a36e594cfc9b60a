"""``python -m trainingjob.runtime.base.alone MODULE``: run a module without a network.

The kernel gives a user namespace to processes of one thread alone, and numpy has threads once it is
imported: so this comes before, and becomes the module.
"""

from __future__ import annotations

import ctypes
import os
import sys

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def main() -> None:
    """Many clusters do not let a pod do so; the module then runs with the pod's network."""
    ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    os.execv(sys.executable, [sys.executable, "-P", "-m", sys.argv[1]])  # noqa: S606


if __name__ == "__main__":
    main()
