"""Asks the warm parent for a process. The standard library is enough, since bin/flask runs where nothing else is."""

import json
import os
import socket
from collections.abc import Sequence


def ask(
    script: str,
    arguments: list[str],
    folder: str,
    files: list[int],
    umask: int | None = None,
    ignored: Sequence[int] = (),
) -> socket.socket | None:
    """Let the parent run a script in `folder` with this process's environment, and with `files` as its 0, 1 and 2.

    `umask` is the parent's unless it is given; signals that are `ignored` here shall be so there. Returned is the
    connection, or None where there is no parent, LAB_WARM=0 asks for none, or the script would not be what it is in a
    Python of its own. What is sent is numbers of signals, a byte each; what comes back at the end is the exit code as
    text, with a minus that of the signal that ended it. When the connection closes before, the process is killed, with
    its group.
    """
    if os.environ.get("LAB_WARM") == "0":
        return None
    connection, accepted = socket.socket(socket.AF_UNIX), False
    try:
        request = {"script": script, "arguments": arguments, "folder": os.path.realpath(folder), "umask": umask}
        content = json.dumps({**request, "environment": dict(os.environ), "ignored": list(ignored)}).encode()
        connection.connect(os.environ["LAB_WARM_SOCKET"])
        socket.send_fds(connection, [b"%8d" % len(content)], files)
        connection.sendall(content)
        accepted = connection.recv(1) == b"w"
    except (OSError, KeyError):
        pass
    finally:
        if not accepted:
            connection.close()
    return connection if accepted else None
