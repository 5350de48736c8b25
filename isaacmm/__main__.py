"""``python -m isaacmm`` is ``launch.py`` for installed packages."""

import sys

from isaacmm.cli.main import main

sys.exit(main())
