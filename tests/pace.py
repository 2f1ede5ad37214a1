"""How slow this machine is, so that a promise in seconds is held on a slow or busy one too."""

import subprocess
import sys
import time

QUICK = 0.5  # seconds in which a quick machine imports what `flask` does


def pace() -> float:
    """How many times longer than on a quick machine everything takes here, at least 1; the best of three."""

    def once() -> float:
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", "import flask_migrate, flask_sqlalchemy"], check=True)
        return time.monotonic() - start

    return max(1, min(once() for _ in range(3)) / QUICK)
