"""Streamer URLs: what each says, and what each mistake is called, without the password."""

from __future__ import annotations

import copy
import pickle

import pytest

from seastream_nb.errors import StreamKeyError, StreamUrlError
from seastream_nb.url import Secret, StreamerUri, StreamUrl, split_keys

CANARY = "h7nt3r-canary"


@pytest.mark.parametrize(
    ("text", "nodes", "db"),
    [
        ("redis://localhost", (("localhost", 6379),), None),
        ("redis://localhost/", (("localhost", 6379),), None),
        ("redis://db_1.example:6380/2", (("db_1.example", 6380),), 2),
        ("rediss://10.0.0.7:7000", (("10.0.0.7", 7000),), None),
        ("REDIS://localhost", (("localhost", 6379),), None),
        ("redis://[::1]", (("::1", 6379),), None),
        ("redis://[fe80::1%eth0]:7/0", (("fe80::1%eth0", 7),), 0),
        ("redis://a,b:7001,[::1]:7002/1", (("a", 6379), ("b", 7001), ("::1", 7002)), 1),
    ],
)
def test_nodes_and_database(text: str, nodes: tuple[tuple[str, int], ...], db: int | None) -> None:
    uri = StreamerUri.parse(text)

    assert (uri.nodes, uri.db, uri.username, uri.password) == (nodes, db, None, None)


@pytest.mark.parametrize(
    ("credentials", "username", "password"),
    [
        ("", None, None),
        ("ana@", "ana", None),
        ("ana:s3cret@", "ana", "s3cret"),
        (":s3cret@", None, "s3cret"),
        ("ana:@", "ana", ""),
        ("a%6Ea:%40%3A%2F%3F%25%20@", "ana", "@:/?% "),
        (":p@ss:w#rd@", None, "p@ss:w#rd"),
        (":caf%C3%A9@", None, "café"),
    ],
)
@pytest.mark.parametrize("place", ["redis://{}h:1/3", "rediss://{}h", "redis+unix://{}/s.sock"])
def test_credentials(place: str, credentials: str, username: str, password: str) -> None:
    uri = StreamerUri.parse(place.format(credentials))

    assert uri.username == username
    assert (uri.password and uri.password.reveal()) == password


def test_a_password_with_a_slash_is_read_where_no_path_can_follow() -> None:
    password = StreamerUri.parse("redis://:a/b@h/2").password

    assert password == Secret("a/b")


@pytest.mark.parametrize(
    ("text", "path", "db"),
    [
        ("redis+unix:///run/redis.sock", "/run/redis.sock", None),
        ("redis+unix:///run/redis.sock?db=3", "/run/redis.sock", 3),
        ("redis+unix:///a%20b/%3F@x.sock?db=0", "/a b/?@x.sock", 0),
        ("redis+unix://ana:s3cret@/run/redis.sock", "/run/redis.sock", None),
    ],
)
def test_a_unix_socket_and_its_database(text: str, path: str, db: int | None) -> None:
    uri = StreamerUri.parse(text)

    assert (uri.nodes, uri.path, uri.db) == ((), path, db)


@pytest.mark.parametrize(
    "text",
    [
        "redis://localhost:6379",
        "redis://ana:***@[::1]:7000/2",
        "rediss://:***@a:1,b:2",
        "redis+unix:///a%20b.sock?db=3",
        "redis+unix://an%40a:***@/run/redis.sock",
    ],
)
def test_the_text_of_a_url_is_the_url_with_a_masked_password(text: str) -> None:
    assert str(StreamerUri.parse(text.replace("***", CANARY))) == text


@pytest.mark.parametrize("text", ["stdio://", "stdio:///", "stdio://.", "STDIO://"])
def test_standard_input_and_output_have_one_url(text: str) -> None:
    assert str(StreamerUri.parse(text)) == "stdio://"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("localhost", r"no scheme: write 'redis://localhost'"),
        ("localhost:6380", r"no scheme: write 'redis://localhost:6380'"),
        ("ana:pw@localhost/2", r"no scheme: write 'redis://localhost:6379'"),
        ("redis:/localhost", r"no scheme: write 'redis://localhost:6379'"),
        ("redi://localhost", r"unknown scheme 'redi' .* did you mean 'redis'\?"),
        ("unix:///run/redis.sock", r"did you mean 'redis\+unix'\?"),
        ("https://localhost", r"unknown scheme 'https' .* known: redis, rediss, redis\+unix"),
        ("redis://", r"names no host: write 'redis://localhost'"),
        ("rediss:///2", r"names no host: write 'rediss://localhost'"),
        ("redis://a b", r"write host, host:port or \[ipv6\]:port"),
        ("redis://::1", r"write host, host:port or \[ipv6\]:port"),
        ("redis://a,", r"write host, host:port or \[ipv6\]:port"),
        ("redis://a:0", r"port .* between 1 and 65535"),
        ("redis://a:65536", r"port .* between 1 and 65535"),
        ("redis://a/ticks", r"no database number; .* streamer\['ticks'\]"),
        ("redis://a/²", r"no database number"),
        ("redis://a?db=2", r"options \(db\): .* redis://host:6379/2"),
        ("redis://a?password=x", r"options \(password\)"),
        ("rediss://a?ssl_cert_reqs=none", r"options \(ssl_cert_reqs\).* cannot be switched off"),
        ("redis+unix:///s?ssl_check_hostname=false&db=1", r"options \(ssl_check_hostname, db\)"),
        ("redis+unix:///s?db=", r"db= in the URL must be a number"),
        ("redis+unix:///s?db=-1", r"db= in the URL must be a number"),
        ("redis+unix://run/redis.sock", r"write three slashes"),
        ("redis+unix://ana:pw@host", r"write three slashes"),
        ("stdio:///ticks", r"takes nothing after it; .* streamer\['ticks'\]"),
        ("stdio://localhost", r"takes nothing after it"),
    ],
)
def test_a_wrong_url_says_how_to_write_it(text: str, said: str) -> None:
    with pytest.raises(StreamUrlError, match=said):
        StreamerUri.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "redis://ana:{}",
        "redis://:{}host:6379",
        "redis://:a?{}@host",
        "redis://:a@host?{}",
        "redis://ana:12/{}",
        "redis://host?password={}",
        "redis:/:{}@host",
        "redis//:{}@host",
        "ana:{}@host",
        "ana:{}@host://",
        "{}@host",
        "redis+unix://:a/{}@/run/redis.sock",
        "redis+unix://:{}@host/run/redis.sock",
        "redis+unix:///run/redis.sock?password={}",
        "http://:{}@host",
    ],
)
def test_no_error_repeats_what_may_be_a_password(text: str) -> None:
    with pytest.raises(StreamUrlError) as caught:
        StreamerUri.parse(text.format(CANARY))

    assert CANARY not in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_secret_shows_itself_nowhere() -> None:
    uri = StreamerUri.parse(f"redis://:{CANARY}@h")
    shown = [repr(uri), str(uri), f"{uri.password}", f"{uri.password!r}", str(vars(uri))]

    assert CANARY not in "".join(shown)
    for dump in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled"):
            dump(uri.password)


def test_secrets_compare_by_what_they_hide() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


# With stream keys.


@pytest.mark.parametrize(
    ("text", "streamer", "keys"),
    [
        # The reference's own cases.
        ("proto://sea-ql.org:1234/", "proto://sea-ql.org:1234", ()),
        ("proto://sea-ql.org:1234/stream", "proto://sea-ql.org:1234", ("stream",)),
        ("proto://sea-ql.org:1234/a,b", "proto://sea-ql.org:1234", ("a", "b")),
        ("kafka://node-a:1234,node-b:1234/a,b", "kafka://node-a:1234,node-b:1234", ("a", "b")),
        ("redis://localhost/", "redis://localhost", ()),
        ("redis://localhost/a,b", "redis://localhost", ("a", "b")),
        ("stdio:///", "stdio://", ()),
        ("stdio:///a,b", "stdio://", ("a", "b")),
        ("file://./path/to/hi", "file://./path/to", ("hi",)),
        ("file://./path/to/hi/", "file://./path/to/hi", ()),
        ("file://./path/to/hi/a,b", "file://./path/to/hi", ("a", "b")),
        ("file:///path/to/hi", "file:///path/to", ("hi",)),
        ("file:///path/to/hi.ss/hello", "file:///path/to/hi.ss", ("hello",)),
        # More of what it does.
        ("rediss://h/a", "rediss://h", ("a",)),
        ("redis://user:pa%20ss@host:6380/a", "redis://user:pa%20ss@host:6380", ("a",)),
        ("redis://localhost/0/a", "redis://localhost/0", ("a",)),
        ("redis://localhost?x=1/a", "redis://localhost?x=1", ("a",)),
        ("proto://[::1]:6379/a", "proto://[::1]:6379", ("a",)),
        ("proto://host/a,,b", "proto://host", ("a", "b")),
        ("proto://host/,", "proto://host", ()),
        ("proto://host/a/b/c", "proto://host/a/b", ("c",)),
        ("proto://host//", "proto://host/", ()),
        ("proto://host/.", "proto://host", (".",)),
        ("PROTO://Host/A", "PROTO://Host", ("A",)),
        # Of ours.
        ("redis+unix:///run/redis.sock?db=3/a", "redis+unix:///run/redis.sock?db=3", ("a",)),
        ("file:///path,with/commas.ss/a", "file:///path,with/commas.ss", ("a",)),
    ],
)
def test_keys_are_what_follows_the_last_slash(
    text: str, streamer: str, keys: tuple[str, ...]
) -> None:
    assert split_keys(text) == (streamer, keys)


@pytest.mark.parametrize(
    "text",
    [
        "sea-ql.org:1234",
        "proto://sea-ql.org:1234",
        "kafka://node-a:1234,node-b:1234",
        "kafka://localhost:9092",
        "redis://localhost",
        "stdio://",
        "localhost:9092",
        "localhost/a",
        "stdio",
        "",
        "/",
        "/a",
        ",",
    ],
)
def test_a_url_for_streams_needs_a_scheme_and_a_slash(text: str) -> None:
    with pytest.raises(StreamUrlError, match="ends in a slash and their keys"):
        StreamUrl.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "proto://sea-ql.org:1234/stream?",
        "proto://host/key with space",
        "proto://host/\u00e9",
        "proto://host/a?b=c",
        "proto://host/a#b",
        "proto://host/a ",
        f"redis://:half/{CANARY}@host",
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(StreamKeyError, match="is no stream key") as caught:
        StreamUrl.parse(text)

    assert CANARY not in str(caught.value)


def test_a_stream_url_has_a_streamer_of_one_or_several_nodes() -> None:
    url = StreamUrl.parse(f"redis://ana:{CANARY}@node-a:1234,node-b/2/a,b")

    assert url.streamer.nodes == (("node-a", 1234), ("node-b", 6379))
    assert (url.streamer.db, url.streamer.username) == (2, "ana")
    assert str(url) == "redis://ana:***@node-a:1234,node-b:6379/2/a,b"
    assert CANARY not in repr(url)
    assert str(StreamUrl.parse("stdio:///a")) == "stdio:///a"
    assert str(StreamUrl.parse("file:///x.ss/a")) == "file:///x.ss/a"


@pytest.mark.parametrize("text", ["kafka://localhost:9092/a", "://a/b", "redis:///a"])
def test_a_streamer_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(StreamUrlError):
        StreamUrl.parse(text)


def test_one_key_may_be_asked_for() -> None:
    assert StreamUrl.parse("redis://localhost/a").key == "a"
    for text, many in (("redis://localhost/", "no"), ("redis://localhost/a,b", "2")):
        with pytest.raises(StreamUrlError, match=f"names {many} streams"):
            _ = StreamUrl.parse(text).key
