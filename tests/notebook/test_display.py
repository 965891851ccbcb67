"""What a cell shows when its last line is one of our objects."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import seastream_nb as ss
from seastream_nb.listing import Catalog
from seastream_nb.message import Origin
from seastream_nb.notebook import display
from seastream_nb.quantities import MAX_I64, parse_duration
from tests.servers import tcp_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

HOSTILE = [
    "<script>alert(1)</script>",
    "</td></tr></table><img src=x onerror=alert(1)>",
    "\" onmouseover='alert(1)' x=\"",
    "&lt;b&gt;&amp;",
    "abc\u202edcba",
    "line\nbreak\r\x00\x1b[31m\x7f",
    "\u200b\u2066\ufeff\U000e0041",
    "$\\require{unicode}$ and `x` and $y$",
    "]]><!-- <?php --> %s {0}",
    "猫の流れ",
]
HIDDEN = "\n\r\x00\x1b\x7f\u202e\u2066\u200b\ufeff\U000e0041"
TABLE_TAGS = {"div", "style", "table", "thead", "tbody", "tr", "th", "td", "p"}
SOME_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@contextmanager
def stopped(server: ss.EmbeddedServer) -> Iterator[None]:
    """The server accepts connections in this block, and answers nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


class Outline(HTMLParser):
    """The parts of an HTML text in order: elements with their attributes, and texts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[tuple[str, object]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(("/" + tag, []))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def _no_part_of_a_table(self, data: str) -> None:
        self.parts.append(("!", data))

    handle_comment = handle_decl = handle_pi = unknown_decl = _no_part_of_a_table

    def attributes(self) -> set[str]:
        return {name for tag, found in self.parts if tag != "!" for name, _ in found}


def info(key: str, **facts: object) -> ss.StreamInfo:
    nothing = dict.fromkeys(ss.StreamInfo.__dataclass_fields__)
    return ss.StreamInfo(**{**nothing, "key": key, "keys": (key,), "shards": (0,), **facts})


# One line of text.


def test_a_stream_shows_its_query_in_the_words_of_its_builders(url: str) -> None:
    with ss.connect(url, tz="Europe/Berlin") as streamer:
        stream = (
            streamer.stream("ticks", b"odd\xff")
            .since("-90m")
            .until("2026-11-23T02:10Z")
            .last("1h30m")
            .shard(2, 0)
            .contains("SEA")
            .contains(b"\xfe", field="side")
            .json(errors="keep")
            .where(pc.field("price") > 100)
            .first(5)
            .select("price", "id")
        )
    assert repr(stream) == (
        rf"<Stream 'ticks', 'odd\xff' at {streamer.url}, since -1h30m, "
        r"until 2026-11-23T02:10:00Z, last 1h30m, shards 0, 2, contains 'SEA', "
        r"contains '\xfe' in 'side', decoded as json, errors kept, where (price > 100), "
        "first 5 messages, select price, id, times in Europe/Berlin>"
    )


@pytest.mark.parametrize(
    ("build", "shown"),
    [
        (lambda s: s, ""),
        (lambda s: s["earliest":"latest"], ", since earliest, until latest"),
        (lambda s: s["1700000000000-3":"now"], ", since 1700000000000-3, until now"),
        (lambda s: s.since("02:10").until("+5m"), ", since 02:10 today, until +5m"),
        (lambda s: s.shard(0).shard(1), ", shards none"),
        (lambda s: s.last(1_000_000), ", last 1,000,000 messages"),
        (lambda s: s.first(0), ", first 0 messages"),
        (lambda s: s.text("body"), ", decoded as text of 'body'"),
        (lambda s: s.fields(), ", decoded as fields"),
        (lambda s: s.fields("a", "b"), ", decoded as fields of 'a', 'b'"),
        (lambda s: s.json(pa.schema([("a", "int64")])), ", decoded as json, with a schema"),
        (lambda s: s.snapshot(), ", snapshot of 3 entries"),
    ],
)
def test_each_builder_shows_in_the_repr(
    url: str, client: redis.Redis, build: Callable[[ss.Stream], ss.Stream], shown: str
) -> None:
    for number in range(3):
        client.xadd("ticks", {"msg": number})
    with ss.connect(url) as streamer:
        assert repr(build(streamer["ticks"])) == f"<Stream 'ticks' at {streamer.url}{shown}>"


def test_streamers_producers_and_consumers_are_one_line(streamer: ss.Streamer, url: str) -> None:
    assert repr(streamer) == f"<Streamer {url}>"
    with streamer.producer("ticks") as producer, streamer.producer() as loose:
        assert repr(producer) == "<Producer anchored to 'ticks'>"
        assert repr(loose) == "<Producer not anchored>"
        producer.send("hello").result()
        with streamer.consumer("ticks", auto_stream_reset="earliest") as consumer:
            assert repr(consumer) == "<Consumer realtime ticks:0>"
            message = consumer.next(timeout=30)
    shown = f"Message('ticks', shard=0, id={message.id!r}, payload=b'hello')"
    assert repr(message) == shown
    with ss.connect(url, read_only=True) as reader:
        assert repr(reader) == f"<Streamer {url} [read-only]>"


async def test_the_awaiting_facade_shows_the_same_under_its_own_names(url: str) -> None:
    async with ss.connect_async(url, read_only=True) as streamer:
        assert repr(streamer) == f"<AsyncStreamer {url} [read-only]>"
        stream = streamer["ticks"].last("10m")
        assert repr(stream) == f"<AsyncStream 'ticks' at {url}, last 10m>"
        assert "AsyncStream &#x27;ticks&#x27;" in stream._repr_html_()
    async with ss.connect_async(url) as streamer, await streamer.producer("ticks") as producer:
        assert repr(producer) == "<AsyncProducer anchored to 'ticks'>"
        async with await streamer.consumer("ticks") as consumer:
            assert repr(consumer) == "<AsyncConsumer realtime ticks:0>"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_repr_is_one_line_of_visible_characters(streamer: ss.Streamer, text: str) -> None:
    stream = streamer[text].contains(text).where(pc.field(text) == text).select(text)
    for shown in (repr(stream), display.stream_html("Stream", stream._core)):
        assert not set(shown) & set(HIDDEN)


def test_a_repr_stays_short_whatever_was_asked(streamer: ss.Streamer) -> None:
    keys = [f"{'long' * 1000}{number}" for number in range(20_000)]
    numbers = pc.field("n").isin(list(range(10_000)))
    stream = streamer.stream(*keys).contains("x" * 10**7).where(numbers).select(*map(str, keys))
    assert "and 19,990 more" in repr(stream)
    assert len(repr(stream)) < 5_000
    assert len(stream._repr_html_()) < 10_000


def test_a_repr_neither_waits_for_the_server_nor_changes(server: ss.EmbeddedServer) -> None:
    with ss.connect(server.url) as streamer:
        stream = streamer["ticks"].last("10m").json()
        producer, consumer = streamer.producer("ticks"), streamer.consumer("ticks")
        shown = [streamer, stream, streamer.catalog(), producer, consumer, server]
        before = [repr(each) for each in shown]
        with stopped(server):
            assert [repr(each) for each in shown] == before
            assert stream._repr_html_() == stream._repr_html_()
    assert [repr(each) for each in (streamer, stream)] == before[:2]
    assert not [text for text in before if " 0x" in text]


def test_no_repr_shows_a_password(tmp_path: Path) -> None:
    secret = "hunter2/öß@:#"
    with tcp_server(tmp_path, "--requirepass", secret) as server:
        place = server.url.removeprefix("redis://")
        for target, options in [
            (f"redis://:hunter2%2F%C3%B6%C3%9F%40%3A%23@{place}", {}),
            (server.url, {"password": secret}),
        ]:
            with ss.connect(target, **options) as streamer:
                stream = streamer["ticks"]
                with streamer.producer("ticks") as producer:
                    receipt = producer.send("x").result()
                    frame = stream.to_pandas()
                    catalog = streamer.catalog()
                    for each in (streamer, stream, producer, receipt, catalog, frame.attrs):
                        assert "hunter2" not in f"{each!r} {each} {vars(type(each))}"
                    assert "hunter2" not in stream._repr_html_() + catalog._repr_html_()


# Tables.


@given(st.lists(SOME_TEXT | st.sampled_from(HOSTILE), min_size=1, max_size=4))
def test_html_has_no_element_or_attribute_but_the_tables_own(texts: list[str]) -> None:
    catalog = Catalog(texts[0], [info(text) for text in texts])
    plain = Catalog("url", [info(f"key{number}") for number in range(len(catalog))])
    outline = Outline(catalog._repr_html_())
    assert outline.parts == Outline(plain._repr_html_()).parts
    written = "\n".join(outline.texts)
    assert all(display.visible(text) in written for text in texts)


@given(SOME_TEXT | st.sampled_from(HOSTILE))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_html_of_a_stream_escapes_all_that_it_was_given(streamer: ss.Streamer, text: str) -> None:
    def html(text: str) -> str:
        stream = streamer.stream(text, text.encode() + b"\xff").contains(text, field=text)
        return stream.fields(text).where(pc.field(text) == text).select(text)._repr_html_()

    outline = Outline(html(text))
    assert outline.parts == Outline(html("plain")).parts
    assert f"'{display.visible(text)}'" in "\n".join(outline.texts)


def test_html_has_no_colour_script_or_id_and_is_no_formula(streamer: ss.Streamer) -> None:
    html = streamer["$a$"]._repr_html_()
    assert Outline(html).attributes() == {"class", "style"}
    assert "color" not in html
    assert "background" not in html
    assert html.startswith('<div class="tex2jax_ignore mathjax_ignore" style="')


def test_numbers_stand_on_the_right_and_wide_characters_keep_columns_straight() -> None:
    catalog = Catalog("url", [info("猫猫", length=5), info("é", length=12_345), info("b")])
    assert repr(catalog).splitlines() == [
        "3 streams at url",
        "stream  shards  length  first (UTC)  last (UTC)  groups  bytes",
        "猫猫         1       5  -            -                -      -",
        "é            1  12,345  -            -                -      -",
        "b            1       -  -            -                -      -",
    ]


def test_a_long_catalog_shows_its_beginning_and_says_how_many_more() -> None:
    catalog = Catalog("url", [info(f"s{number:05}") for number in range(20_000)])
    assert repr(catalog).splitlines()[0] == "20,000 streams at url"
    assert repr(catalog).splitlines()[-1] == "and 19,940 more: to_pandas() has them all"
    assert catalog._repr_html_().count("<tr>") == 61
    assert "and 19,940 more" in catalog._repr_html_()


def test_an_empty_catalog_is_a_caption_without_a_table() -> None:
    assert repr(Catalog("url", [])) == "0 streams at url"
    assert "<table" not in Catalog("url", [])._repr_html_()


@given(st.integers(1, MAX_I64))
def test_a_duration_is_written_as_it_can_be_read_back(ns: int) -> None:
    assert parse_duration(display.duration_text(ns)) == ns


# Frames are shown by pandas.


@pytest.mark.parametrize("text", HOSTILE)
def test_pandas_escapes_payloads_field_names_and_keys(
    streamer: ss.Streamer, client: redis.Redis, text: str
) -> None:
    client.xadd(text, {"msg": text, text: text})
    for stream in (streamer[text], streamer[text].text(), streamer[text].fields()):
        html = stream.to_pandas()._repr_html_()
        outline = Outline(html)
        assert {tag.removeprefix("/") for tag, _ in outline.parts} <= TABLE_TAGS
        assert outline.attributes() <= {"scoped", "border", "class", "style"}


def test_a_message_shows_its_payload_as_bytes_and_cut() -> None:
    origin = Origin("s", 0, b"s")
    message = ss.Message(origin, b"1-0", "\u202e<b>\n".encode() + b"x" * 10**6)
    assert repr(message).startswith(r"Message('s', shard=0, id='1-0', payload=b'\xe2\x80\xae<b>\n")
    assert len(repr(message)) < 200
