"""A warm `flask`: a parent process that has imported the libraries forks for each command.

A cold `flask db ...` spends nearly all of its time on imports. In an opened lesson the program bin/flask stands first
on the PATH. It hands its arguments, files, folder and environment to the parent, which has imported the libraries and
never the application, and forks; in a terminal, and where other libraries would be imported, or in another way, it
runs the cold one. Not handed over are limits of resources, niceness, and descriptors above 2; and a folder other than
the current one, put on sys.path, is not searched for what would stand in place of a library.
A check has its process forked in the same way. LAB_WARM=0 switches both off.
"""

import os
import shutil
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

    It ends when this process and its forks have ended, however that happens.
    """
    global _parent
    if ON and (_parent is None or _parent.poll() is not None):
        if _parent:  # it was killed
            shutil.rmtree(os.path.dirname(_parent.args[-1]), ignore_errors=True)
        # The path of a socket has to be short, and that of a learner's folder may be long.
        path = os.path.join(tempfile.mkdtemp(prefix="bookshop-warm-"), "flask")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(64)  # before the parent has imported anything: who comes early waits
            _parent = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("parent.py"), str(listener.fileno()), path],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # an interrupt is for the command, which hears of it from bin/flask
            )
    return {"LAB_WARM_SOCKET": _parent.args[-1]} if ON else {}
