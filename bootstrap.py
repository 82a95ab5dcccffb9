"""Sets subclaw up on this box; `make` calls it before everything else. Standard library only; runs on any Python 3.

The work is in `src/subclaw/setup`. What stands here must be readable by an old Python, so that it can say that it is old.
"""

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an old Python must get words, not a traceback
    sys.exit("subclaw needs Python 3.11 or newer, and this is %d.%d: use Debian 12's python3." % sys.version_info[:2])

sys.dont_write_bytecode = True  # root's bytecode would litter a checkout that belongs to somebody else
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "src"))

from subclaw.setup.main import main  # noqa: E402 - the path and the version come first

sys.exit(main(os.path.dirname(os.path.abspath(__file__)), sys.argv[1:]))
