"""`python -m mmmodel`."""

import sys

from mmmodel.app.cli import main

sys.exit(main())
