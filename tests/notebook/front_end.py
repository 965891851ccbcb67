"""What a front end does, without a browser: run cells, keep models, click, count views."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from queue import Empty
from typing import TYPE_CHECKING, Any

from tests.portal_kernel import QUIET_KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.portal_kernel import Kernel

WIDGET = "application/vnd.jupyter.widget-view+json"
PATIENCE = 20.0


@dataclass
class FrontEnd:
    """The client of a kernel.

    Attributes:
        models: the state of every widget, by its id, as it was sent.
        messages: everything that the kernel published.
    """

    kernel: Kernel
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    _began: dict[str, int] = field(default_factory=dict)

    def run(self, code: str, cell: str | None = None) -> list[dict[str, Any]]:
        """Run a cell, under an id as JupyterLab does; what it published until it was idle."""
        return self.finish(self.start(code, cell))

    def start(self, code: str, cell: str | None = None) -> str:
        """Have a cell run, without waiting for it; its request."""
        client = self.kernel.client
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True}
        message = client.session.msg("execute_request", content)
        message["metadata"] = {} if cell is None else {"cellId": cell}
        return self._send(message)

    def _send(self, message: dict[str, Any]) -> str:
        request: str = message["header"]["msg_id"]
        self._began[request] = len(self.messages)
        self.kernel.client.shell_channel.send(message)
        return request

    def finish(self, request: str) -> list[dict[str, Any]]:
        """Wait until a cell that was started is idle; what it published."""
        self.until(lambda: self._idle(request))
        self.kernel.take_reply(request)
        return self._of(request)

    def _idle(self, request: str) -> bool:
        return any(
            each["msg_type"] == "status" and each["content"]["execution_state"] == "idle"
            for each in self._of(request)
        )

    def _of(self, request: str) -> list[dict[str, Any]]:
        since = self.messages[self._began[request] :]
        return [each for each in since if each["parent_header"].get("msg_id") == request]

    def value(self, code: str) -> str:
        """What an expression prints."""
        published = self.run(f"print(({code}))")
        errors = [each["content"]["evalue"] for each in published if each["msg_type"] == "error"]
        assert not errors
        return "".join(
            each["content"]["text"] for each in published if each["msg_type"] == "stream"
        ).strip()

    def shown(self, code: str, cell: str | None = None) -> str:
        """Run a cell that shows a widget; the id of its model, which has one view then."""
        published = self.run(code, cell)
        (bundle,) = [
            each["content"]["data"] for each in published if each["msg_type"] == "execute_result"
        ]
        model: str = bundle[WIDGET]["model_id"]
        request = self.update(model, _view_count=1)
        self.until(lambda: self._idle(request))
        return model

    def update(self, model: str, **state: Any) -> str:
        """Set traits of a widget, as a page does; its request."""
        return self._comm(model, {"method": "update", "state": state, "buffer_paths": []})

    def click(self, button: str, subshell: str | None = None) -> None:
        """Click the button of this description, on the main shell or on another."""
        (model,) = [
            name
            for name, state in self.models.items()
            if state.get("_model_name") == "ButtonModel" and state["description"] == button
        ]
        self._comm(model, {"method": "custom", "content": {"event": "click"}}, subshell)

    def subshell(self) -> str | None:
        """A new subshell, on which JupyterLab sends what widgets do; None where there are none."""
        client = self.kernel.client
        if "kernel subshells" not in client.kernel_info(reply=True, timeout=PATIENCE)[
            "content"
        ].get("supported_features", []):
            return None
        client.control_channel.send(client.session.msg("create_subshell_request"))
        reply = client.get_control_msg(timeout=PATIENCE)
        found: str = reply["content"]["subshell_id"]
        return found

    def _comm(self, model: str, data: dict[str, Any], subshell: str | None = None) -> str:
        client = self.kernel.client
        message = client.session.msg("comm_msg", {"comm_id": model, "data": data})
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        return self._send(message)

    def receive(self, seconds: float) -> bool:
        """Take one message of the kernel, if one comes in time."""
        try:
            message = self.kernel.client.get_iopub_msg(timeout=seconds)
        except Empty:
            return False
        if message["parent_header"].get("msg_type") == "kernel_info_request":  # a nudge
            return True
        self.messages.append(message)
        content = message["content"]
        if message["msg_type"] == "comm_open":
            self.models[content["comm_id"]] = dict(content["data"]["state"])
        elif message["msg_type"] == "comm_msg" and content["data"].get("method") == "update":
            # One that is unknown belongs to a page before.
            self.models.get(content["comm_id"], {}).update(content["data"]["state"])
        return True

    def listen(self, seconds: float) -> list[dict[str, Any]]:
        """What the kernel publishes for so long."""
        start, until = len(self.messages), time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.receive(left)
        return self.messages[start:]

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Take messages until something holds."""
        nudged = time.monotonic()
        deadline = nudged + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come true"
            self.receive(0.2)
            if time.monotonic() - nudged > QUIET_KERNEL:
                self.kernel.nudge()
                nudged = time.monotonic()

    def html(self) -> str:
        """All that HTML widgets show."""
        return "".join(
            state["value"]
            for state in self.models.values()
            if state.get("_model_name") == "HTMLModel"
        )


def updates(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the messages that change a widget."""
    return [
        each
        for each in messages
        if each["msg_type"] == "comm_msg" and each["content"]["data"].get("method") == "update"
    ]
