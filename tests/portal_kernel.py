"""A real IPython kernel for tests: runs cells, interrupts them, and is always killed."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager
from traitlets import Dict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_client.blocking.client import BlockingKernelClient

PATIENCE = 60.0
QUIET = 0.05
QUIET_KERNEL = 2.0  # after which it is nudged


class ThisPython(KernelSpecManager):
    """Every kernel is the Python that runs the tests, whichever kernels are installed."""

    environment = Dict()

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=launch, env=self.environment, language="python")


@dataclass(frozen=True)
class Cell:
    """What a finished cell left: its printed lines, its error's name, and when it ended."""

    lines: list[str]
    error: str | None
    ended: float


@dataclass(frozen=True)
class Kernel:
    manager: KernelManager
    client: BlockingKernelClient

    def run(self, code: str, *, interrupt_at: str | None = None) -> tuple[Cell, float]:
        """Run a cell; interrupt it once it prints `interrupt_at`.

        Returns the cell and the seconds from the interrupt (else the start) to its end.
        """
        since = time.monotonic()
        request = self.client.execute(code)
        text = ""  # a line may come in pieces
        error: str | None = None
        while True:
            message = self.published()
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                text += content["text"]
                if interrupt_at in text.splitlines():
                    self.wait_until_it_waits()
                    interrupt_at, since = None, time.monotonic()
                    self.manager.interrupt_kernel()
            elif kind == "error":
                error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                ended = time.monotonic()
                self.take_reply(request)
                return Cell(text.splitlines(), error, ended), ended - since

    def published(self) -> dict[str, Any]:
        """The next message that the kernel publishes."""
        for _ in range(round(PATIENCE / QUIET_KERNEL)):
            with suppress(Empty):
                found: dict[str, Any] = self.client.get_iopub_msg(timeout=QUIET_KERNEL)
                return found
            self.nudge()
        raise Empty

    def nudge(self) -> None:
        """Connect once more, and ask what any front end asks.

        ipykernel 7 may not notice a request that comes while it sends an answer, until somebody
        connects (its issue 1554). To a kernel that is well this does nothing.
        """
        with closing(self.manager.connect_shell()) as shell:
            self.client.session.send(shell, "kernel_info_request")
            shell.poll(timeout=1_000)  # not answered while a cell runs

    def take_reply(self, request: str) -> dict[str, Any]:
        """What the kernel answers to a request, which front ends await before they send another."""
        while True:
            reply: dict[str, Any] = self.client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == request:
                return reply

    def wait_until_it_waits(self) -> None:
        """Wait until the kernel's main thread waits for something, whatever it did before.

        A cell that prints is seen before `print` returns, and an interrupt inside of ipykernel's
        `print` may leave a kernel that never answers again (each version, one time in 200).
        """
        pid = self.manager.provisioner.pid
        status = Path(f"/proc/{pid}/task/{pid}/status")

        def ran() -> str:
            return status.read_text().partition("voluntary_ctxt_switches")[2]

        deadline = time.monotonic() + PATIENCE
        before = None
        while before != (before := ran()):
            assert time.monotonic() < deadline
            time.sleep(QUIET)


@contextmanager
def running_kernel(first_on_path: Path | None = None) -> Iterator[Kernel]:
    """A kernel of this Python, which may look for modules in another folder before all others."""
    paths = [str(first_on_path)] if first_on_path else []
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    specs = ThisPython(environment={"PYTHONPATH": os.pathsep.join(paths)} if paths else {})
    manager = KernelManager(kernel_name="python3", kernel_spec_manager=specs)
    manager.start_kernel()
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
