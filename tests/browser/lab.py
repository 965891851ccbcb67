"""A private JupyterLab, and a notebook that is open in it, as a person sees it in Chromium."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers import HOST, eventually, free_port

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
PATIENCE = 60.0
STOPPED_WITHIN = 20.0
PR_SET_PDEATHSIG = 1

# Nothing that asks, and nothing from outside: no news, no look for updates, no first tour.
QUIET = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


class JupyterLab:
    """A JupyterLab that serves one folder, with settings, kernels and state of its own.

    It ends by `close`, or with this process in whatever way that ends; its kernels end with it.

    Attributes:
        folder: where notebooks are opened from.
        url: the address of the server, without its token.
        token: what opens it.
    """

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder, self.state = folder, state
        self.log = state / "lab.log"
        self.token = secrets.token_hex(16)
        port = free_port()
        self.url = f"http://{HOST}:{port}"
        options = {
            "IdentityProvider.token": self.token,
            "ServerApp.ip": HOST,
            "ServerApp.port": port,
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": folder,
            "ServerApp.allow_root": True,
            "ServerApp.open_browser": False,
            "LabApp.expose_app_in_browser": True,  # see `Notebook.run_all`
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", *(f"--{k}={v}" for k, v in options.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(state),
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        try:
            assert eventually(self._answers, within=PATIENCE), self.log.read_text()
        except BaseException:
            self.close()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/api?token={self.token}") as got:
            return bool(got.status == 200)
        return False

    def close(self) -> None:
        """Stop it as a service manager does, which ends its kernels; kill it where that fails."""
        self.process.terminate()
        try:
            self.process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _environment(state: Path) -> dict[str, str]:
    """Where Lab finds its things: in a folder of its own, with this Python as its kernel."""
    launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": launch, "display_name": "Python 3 (ipykernel)", "language": "python"}
    write(state / "kernels" / "kernels" / "python3" / "kernel.json", spec)
    for name, settings in QUIET.items():
        write(state / "settings" / f"{name}.jupyterlab-settings", settings)
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_PATH": "kernels",
        "IPYTHONDIR": "ipython",
    }
    environment = {name: str(state / place) for name, place in places.items()}
    ours = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    return {**ours, **environment, "JUPYTER_NO_CONFIG": "1", "PYTHONPATH": str(ROOT)}


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


# Every code cell has its number, and the kernel has nothing more to do; or one has failed.
DONE = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const cells = panel.content.widgets.filter(cell => cell.model.type === 'code');
    const outputs = cells.flatMap(cell => cell.model.outputs.toJSON());
    const error = outputs.find(output => output.output_type === 'error');
    if (error) return `${error.ename}: ${error.evalue}`;
    const done = cell => cell.model.executionState === 'idle'
        && (cell.model.executionCount !== null || !cell.model.sharedModel.source.trim());
    return panel.sessionContext.session?.kernel?.status === 'idle' && cells.every(done) && 'done';
}"""
READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.sessionContext?.isReady
        && panel.sessionContext.session?.kernel?.status === 'idle';
}"""

# Scrolls until a cell stays in view: Lab itself scrolls after a run, and once it knows heights.
SHOW = """async number => {
    const panel = window.jupyterapp.shell.currentWidget;
    panel.content.activeCellIndex = number;
    for (let frames = 0; frames < 10; frames += 1) {
        const cell = panel.content.widgets[number].node.getBoundingClientRect();
        const view = panel.content.outerNode.getBoundingClientRect();
        if (cell.height === 0 || cell.top < view.top - 1 || cell.top >= view.bottom) {
            frames = 0;
            await panel.content.scrollToItem(number, 'start');
        }
        await new Promise(requestAnimationFrame);
    }
}"""
ASK = """async expression => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const asked = {code: '', silent: true, user_expressions: {it: expression}};
    return (await kernel.requestExecute(asked).done).content.user_expressions.it;
}"""


@dataclass(frozen=True)
class Notebook:
    """A notebook that is open in Lab.

    Attributes:
        page: the page of Playwright that shows Lab.
        name: the name of the notebook's file.
        dialogs: what the page said in dialogs of the browser, which scripts open.
    """

    page: Page
    name: str
    dialogs: list[str]

    def command(self, name: str, **arguments: str) -> None:
        """Run a command of Lab, such as `notebook:run-all-cells`, as its menu does."""
        # Not awaited: a command that asks in a dialog would wait for an answer.
        run = "given => { window.jupyterapp.commands.execute(...given) }"
        self.page.evaluate(run, [name, arguments])

    def run_all(self) -> None:
        """Run all cells and wait until they are done."""
        self.command("notebook:run-all-cells")
        done = self.page.wait_for_function(DONE, timeout=PATIENCE * 1000)
        assert done.json_value() == "done"

    def value(self, expression: str) -> str:
        """The repr of an expression in the kernel, asked for beside the cells.

        Not while a cell runs: the kernel does one thing after the other.
        """
        found = self.page.evaluate(ASK, expression)
        assert found["status"] == "ok", found
        return str(found["data"]["text/plain"])

    def show(self, number: int) -> None:
        """Scroll to a cell, and wait until it stays in view."""
        self.page.evaluate(SHOW, number)

    def cell(self, number: int) -> Locator:
        """The cell at a place in the notebook, counted from 0, text cells included."""
        return self.page.locator(f'.jp-Cell[data-windowed-list-index="{number}"]')

    def output(self, number: int) -> Locator:
        """What a cell shows below itself."""
        return self.cell(number).locator(".jp-OutputArea")

    def sees(self, found: Locator) -> bool:
        """Whether the middle of an element is on the screen, so that nobody has to scroll."""
        box, size = found.bounding_box(), self.page.viewport_size
        assert box is not None
        assert size is not None
        return 0 <= box["y"] + box["height"] / 2 < size["height"]

    def screenshot(self, name: str) -> None:
        """Leave a picture of what is seen now, in `build/screenshots/`, to be looked at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def save(self) -> None:
        """Save the notebook."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.save()")

    def reload(self) -> None:
        """Load the page again, as after a crash of the browser; the kernel goes on."""
        self.page.reload()
        self.page.wait_for_function(READY, timeout=PATIENCE * 1000)

    def close(self) -> None:
        """End the kernel, then the page."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()


def opened(page: Page, lab: JupyterLab, name: str) -> Notebook:
    """Open a notebook of the folder that Lab serves, and wait until its kernel is there."""
    notebook = Notebook(page, name, [])

    def dismiss(dialog: Any) -> None:
        notebook.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}&reset")
    page.wait_for_function(READY, timeout=PATIENCE * 1000)
    return notebook
