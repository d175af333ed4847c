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


def test_a_name_is_loaded_when_it_is_asked_for_and_all_are_there() -> None:
    code = (
        "import sys\nimport millstream as ms\n"
        "assert 'pyarrow' not in sys.modules and 'millstream.declare.stream' not in sys.modules\n"
        "assert set(ms.__all__) <= set(dir(ms)) and set(ms.__all__) == set(ms._DOORS)\n"
        "from millstream import *\n"
        "assert all(globals()[name] is getattr(ms, name) for name in ms.__all__)\n"
        "try: ms.strem\nexcept AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "ms has no 'strem'; did you mean 'stream'?", "")
