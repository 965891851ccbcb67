"""What a cell shows, with a front end and without one, and what goes on after it."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import ipywidgets
import pyarrow as pa
import pytest

from seastream_nb.errors import ConfigError
from seastream_nb.notebook import running
from seastream_nb.notebook.cells import MOST, rows_html, rows_text
from seastream_nb.notebook.charts import bar_chart, image_html, line_chart
from seastream_nb.notebook.view import Cell, View, is_static

WIDGET = "application/vnd.jupyter.widget-view+json"
START = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)


class Note(View):
    """A view that counts how often its widget was made, and can be stopped."""

    def __init__(self) -> None:
        self.made = 0
        self.state = "running"
        self.title = "a note"

    def text(self) -> str:
        return "<Note>"

    def html(self) -> str:
        return "<p>a note</p>"

    def stop(self) -> None:
        self.state = "stopped"
        running.ended(self)

    def _make_widget(self) -> ipywidgets.DOMWidget:
        self.made += 1
        return ipywidgets.Label("a note")


def test_without_a_front_end_a_view_is_text_and_html_and_makes_no_widget() -> None:
    note = Note()

    assert is_static()
    assert note._repr_mimebundle_() == {"text/plain": "<Note>", "text/html": "<p>a note</p>"}
    assert note.made == 0


def test_with_one_it_shows_one_widget_and_keeps_the_static_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEASTREAM_NB_STATIC", "0")
    note = Note()

    first, second = note._repr_mimebundle_(), note._repr_mimebundle_()

    assert first == second
    assert first["text/plain"] == "<Note>"
    assert first[WIDGET]["model_id"] == note.widget.model_id
    assert note.made == 1


def test_the_environment_decides_about_static_forms_and_must_be_0_or_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEASTREAM_NB_STATIC", "1")
    assert is_static()
    monkeypatch.setenv("SEASTREAM_NB_STATIC", "yes")
    with pytest.raises(ConfigError, match="SEASTREAM_NB_STATIC"):
        is_static()


# What goes on.


def test_what_runs_has_a_number_until_it_is_stopped() -> None:
    first, second = Note(), Note()
    one, two = running.started(first), running.started(second)

    assert running.running() == {one: first, two: second}
    running.stop(one)
    assert (first.state, list(running.running())) == ("stopped", [two])
    assert running.stop_all() == 1
    assert running.running() == {}


def test_stopping_what_does_not_run_names_what_does() -> None:
    number = running.started(Note())

    with pytest.raises(ConfigError, match=f"running: {number}"):
        running.stop(number + 1)
    running.stop_all()


def test_a_cell_that_runs_again_ends_what_it_started_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = [Note() for _ in range(4)]
    runs = [Cell("a", "1"), Cell("a", "1"), Cell("b", "2"), Cell("a", "3")]
    for note, cell in zip(notes, runs, strict=True):
        monkeypatch.setattr(running, "this_cell", lambda cell=cell: cell)
        running.started(note)

    assert [note.state for note in notes] == ["stopped", "stopped", "running", "running"]
    running.stop_all()


# Rows.


def rows(payload: object) -> pa.Table:
    return pa.table({"timestamp": [START], "payload": [payload], "n": [7]})


@pytest.mark.parametrize("payload", ["<script>alert(1)</script>", b"<img src=x onerror=alert(1)>"])
def test_payloads_and_names_stay_text(payload: object) -> None:
    shown = rows_html(rows(payload).rename_columns(["<b>", "payload", "n"]), "<i>")

    assert "<script" not in shown
    assert "<img" not in shown
    assert "<b>" not in shown
    assert "<i>" not in shown


def test_a_long_payload_is_cut_opens_at_a_click_and_is_never_shown_whole() -> None:
    shown = rows_html(rows("x" * 1_000_000), "")

    assert shown.count("<details>") == 1
    assert "1,000,000" in shown
    assert len(shown) < MOST + 2_000
    assert len(rows_text(rows("x" * 1_000_000))) < 200


def test_binary_payloads_are_written_out() -> None:
    assert r"\xff\x00" in rows_html(rows(b"\xff\x00"), "")
    assert r"\xff\x00" in rows_text(rows(b"\xff\x00"))


def test_no_rows_are_a_caption_or_a_head() -> None:
    empty = rows(b"").slice(0, 0)

    assert "nothing yet" in rows_html(empty, "nothing yet")
    assert rows_text(empty) == "timestamp  payload  n"


def test_rows_show_every_kind_of_value() -> None:
    table = pa.table(
        {
            "t": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns", "UTC")),
            "list": [[1, None]],
            "null": pa.array([None], pa.int64()),
            "big": pa.array([2**64 - 1], pa.uint64()),
        }
    )

    line = rows_text(table).splitlines()[1]

    assert line == "2023-11-14 22:13:20.000  [1, null]        18446744073709551615"


# Pictures.


def test_charts_are_png_images_of_the_expected_size() -> None:
    times = [START + timedelta(minutes=n) for n in range(30)]
    numbers = [float(n) for n in range(30)]

    for image in (
        line_chart(times, numbers, "price $a$ $"),
        bar_chart(times, numbers, "messages", chosen=(times[3], times[9])),
        bar_chart([], [], "messages"),
        line_chart(times[:1], [float("nan")], ""),
    ):
        assert image.startswith(b"\x89PNG")
        assert struct.unpack(">II", image[16:24]) == (768, 153)


def test_an_image_says_what_it_shows() -> None:
    assert image_html(b"\x89PNG", 'rate of "<b>"').startswith(
        '<img alt="rate of &quot;&lt;b&gt;&quot;" src="data:image/png;base64,'
    )
