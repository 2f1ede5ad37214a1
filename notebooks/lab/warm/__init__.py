"""A warm `flask`: a parent process that has imported the libraries forks for each command.

A cold `flask db ...` spends nearly all of its time on imports. In an opened lesson the program bin/flask stands first
on the PATH. It hands its arguments, files, folder and environment to the parent, which has imported the libraries and
never the application, and forks; where that would not be the same as the cold command, it runs the cold one.
A check has its process forked in the same way. LAB_WARM=0 switches both off.
"""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(__file__).with_name("bin")
ON = os.environ.get("LAB_WARM") != "0" and hasattr(os, "fork") and hasattr(socket, "send_fds")

_parent: subprocess.Popen | None = None


def start() -> dict[str, str]:
    """Start this kernel's parent process, unless it runs already; what a lesson's environment holds of it.

    It ends when this process ends, however that happens.
    """
    global _parent
    if not ON:
        return {}
    if _parent is None or _parent.poll() is not None:
        # The path of a socket has to be short, and that of a learner's folder may be long.
        folder = tempfile.mkdtemp(prefix="bookshop-warm-")
        with socket.socket(socket.AF_UNIX) as listener:
            # Listening before the parent has imported anything: who comes early waits.
            listener.bind(f"{folder}/flask")
            listener.listen(64)
            _parent = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("parent.py"), str(listener.fileno()), folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # an interrupt is for the command, which hears of it from bin/flask
            )
        _parent.socket = f"{folder}/flask"
    return {"LAB_WARM_SOCKET": _parent.socket}
