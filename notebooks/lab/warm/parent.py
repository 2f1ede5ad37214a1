"""The warm parent: it has imported what a `flask` command imports, and forks for each one.

    python parent.py LISTENER PATH

LISTENER is the number of a descriptor that listens at PATH. It ends when standard input closes, which is when the
kernel is gone. It has one thread, and never imports the application. For each command it forks a guard, and the guard
forks the process that runs the script as Python would, to the interpreter's end. The script is `flask`, or that of a
check, which runs many `flask` commands.
"""

import contextlib
import gc
import importlib
import inspect
import json
import os
import select
import shutil
import signal
import socket
import sys
import sysconfig
import threading
import types

# Read when an interpreter starts or a library is imported: where they differ, the command runs cold.
READ_EARLY = ("PYTHON", "LC_", "LANG", "LD_", "DYLD_", "SQLALCHEMY_", "TZ")
LIBRARIES = """
    alembic.autogenerate alembic.command alembic.ddl.postgresql dotenv flask.cli flask_migrate flask_sqlalchemy
    logging.config mako.template psycopg2.extras sqlalchemy.dialects.postgresql.psycopg2 sqlalchemy.orm
"""
FLASK = os.path.join(os.path.dirname(sys.executable), "flask")
CHECK = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "checks", "replay_child.py")
KERNEL = 0  # standard input, which closes with it


def surroundings(environment: dict) -> tuple:
    """What decides which libraries a command would import, and how; the files in its folder aside."""
    early = {name: value for name, value in environment.items() if name.startswith(READ_EARLY)}
    return early, os.stat(sysconfig.get_path("purelib")).st_mtime_ns


def shadowed(folder: str) -> bool:
    """Whether something in the folder would be imported in place of a library, which has been imported already."""
    libraries = {name.partition(".")[0] for name in sys.modules}
    return any((inspect.getmodulename(name) or name) in libraries for name in os.listdir(folder))


def serve(listener: socket.socket, here: tuple) -> dict:
    """Fork for each command. It returns in the process that is to run one, with the request."""
    while True:
        ready, _, _ = select.select([listener, KERNEL], [], [])
        if KERNEL in ready:
            shutil.rmtree(os.path.dirname(sys.argv[2]), ignore_errors=True)
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return guard(connection, here)
        connection.close()


def guard(connection: socket.socket, here: tuple) -> dict:
    """Fork once more for the command, and stay beside it. It returns in the process that is to run it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files, _, _ = socket.recv_fds(connection, 8, 3)
    request = json.loads(connection.recv(int(size), socket.MSG_WAITALL))
    same = request["script"] in (FLASK, CHECK) and surroundings(request["environment"]) == here
    if not same or shadowed(request["folder"]):
        os._exit(0)  # without an answer the command runs cold
    connection.sendall(b"w")  # before the fork: where whoever asked is gone, nothing is run
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        return request
    with contextlib.suppress(ProcessLookupError):
        os.setpgid(process, process)  # it does so itself, but maybe later than the first signal comes
    for file in files:
        os.close(file)  # the other end of a pipe sees when the command closes it
    threading.Thread(target=hand_on_signals, args=(connection, process), daemon=True).start()
    _, status = os.waitpid(process, 0)
    if request["script"] == CHECK:  # a `flask` may leave something running, a check may not
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)
    connection.sendall(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def hand_on_signals(connection: socket.socket, process: int) -> None:
    """Send the process and its group what the command was sent; end them when the command or the kernel is gone."""
    while True:
        ready, _, _ = select.select([connection, KERNEL], [], [])
        numbers = b"" if KERNEL in ready else connection.recv(64)
        for number in numbers or [signal.SIGKILL]:
            os.killpg(process, number)
        if not numbers:
            return


def become(request: dict) -> types.ModuleType:
    """Make this process what the cold command would be; the module `__main__` for it."""
    os.chdir(request["folder"])
    if request["umask"] is not None:
        os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    sys.argv = [request["script"], *request["arguments"]]
    sys.path[0] = os.path.dirname(request["script"])
    sys.excepthook = without_this_file
    main = types.ModuleType("__main__")
    main.__file__ = request["script"]
    sys.modules["__main__"] = main
    return main


def without_this_file(kind, error, traceback) -> None:
    while traceback and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    sys.__excepthook__(kind, error.with_traceback(traceback), traceback)


signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the guards
here = surroundings(os.environ)
for library in LIBRARIES.split():
    importlib.import_module(library)
gc.freeze()
main = become(serve(socket.socket(fileno=int(sys.argv[1])), here))
with open(main.__file__, "rb") as script:
    code = compile(script.read(), main.__file__, "exec")
exec(code, vars(main))
