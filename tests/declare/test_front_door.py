"""`ms.features` and `ms.experiment` stay nouns, though rooms of the same names exist."""

from __future__ import annotations

import subprocess
import sys


def test_nouns_outlive_the_import_of_rooms() -> None:
    code = (
        "import millstream.features.define, millstream.experiment.assign\n"
        "import millstream as ms, millstream.serve.live\n"
        "from millstream.features.define import define\n"
        "assert callable(ms.features) and callable(ms.experiment) and callable(define)\n"
        "assert all(not isinstance(getattr(ms, name), type(sys)) for name in ms.__all__), ms.__all__\n"
    )
    done = subprocess.run([sys.executable, "-c", "import sys\n" + code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
