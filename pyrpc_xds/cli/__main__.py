"""``python -m pyrpc_xds.cli``: the ``pyrpc-xds`` command where scripts are not on the PATH."""

from . import main

main()
