"""`python -m mmmodel`."""

import sys

from mmmodel.cli import main

sys.exit(main())
