"""A kernel that stays open, in which tests run cells as a learner would."""

import os
import signal

import psutil
from homes import NOTEBOOKS
from jupyter_client.manager import start_new_kernel


class Kernel:
    """One kernel, started where JupyterLab starts those of the lessons; `variables` go into its environment."""

    def __init__(self, **variables: str):
        for attempt in range(3):
            try:
                self.manager, self.client = start_new_kernel(cwd=str(NOTEBOOKS), env={**os.environ, **variables})
                break
            except RuntimeError:  # Jupyter picks a kernel's ports before it starts; one may be taken meanwhile
                if attempt == 2:
                    raise

    def run(self, source: str, timeout: int = 120) -> str:
        """Run one cell; what it printed. An exception in it is an AssertionError, more seconds a TimeoutError."""
        said = []

        def listen(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                said.append(content["text"])
            elif message["msg_type"] in ("execute_result", "display_data"):
                said.append(content["data"]["text/plain"] + "\n")

        answer = self.client.execute_interactive(source, allow_stdin=False, timeout=timeout, output_hook=listen)
        text, reply = "".join(said), answer["content"]
        assert reply["status"] == "ok", f"{source}\n{text}{reply.get('ename')}: {reply.get('evalue')}"
        return text

    def interrupt(self) -> None:
        """Interrupt the cell that is running."""
        os.kill(self.manager.provisioner.pid, signal.SIGINT)

    def close(self) -> None:
        """End the kernel in an orderly way."""
        self.client.stop_channels()
        self.manager.shutdown_kernel()


def running(argument: str) -> list[psutil.Process]:
    """The processes that were started with `argument`."""
    return [process for process in psutil.process_iter(["cmdline"]) if argument in (process.info["cmdline"] or [])]
