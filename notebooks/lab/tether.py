"""Run a command that ends when whoever started it ends, even by kill -9, in a folder that ends with it.

    python tether.py FOLDER COMMAND ...

The starter holds the other end of this program's standard input. When it closes, on purpose or because
the starter is gone, the command and its children are ended. nbval kills its kernels, so that nothing
they planned to do at their exit is done.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time


def main(folder: str, *command: str) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_input, args=[process], daemon=True).start()
    try:
        # A command ended by a signal is told as a shell tells it.
        code = process.wait()
        return code if code >= 0 else 128 - code
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _end_with_input(process: subprocess.Popen) -> None:
    # not sys.stdin: its lock, held by this thread, would be missed when the interpreter shuts down
    while os.read(0, 4096):
        pass
    _end(process)


def _end(process: subprocess.Popen) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of a group that has ended
            return
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
