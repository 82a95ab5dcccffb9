"""Sets subclaw up on this box; `make` calls it before everything else. Standard library only.

The work is in `src/subclaw/setup`. An old Python must be able to read what stands here, so that it can say it is old.
"""

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an old Python must get words, not a traceback
    sys.exit("subclaw needs Python 3.11 or newer, and this is " + sys.version.split()[0] + ": use Debian 12's python3.")

sys.dont_write_bytecode = True  # root's bytecode would litter a checkout that belongs to somebody else
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "src"))

from subclaw.setup.main import main  # noqa: E402 - the path and the version come first

sys.exit(main(os.path.dirname(os.path.abspath(__file__)), sys.argv[1:]))
