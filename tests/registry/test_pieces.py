"""Layers that come in ranges of bytes, several at once, and by several processes."""

from __future__ import annotations

import random
import threading

import pytest

from fakes.registry import FakeRegistry, Fault
from registry.clients import asked, check_failed
from udocker.errors import VerificationError
from udocker.model.oci import Descriptor
from udocker.model.reference import Reference
from udocker.registry.pieces import PIECE

SIZE = 3 * PIECE + 1_000_000
LARGE = random.Random(9).randbytes(SIZE)


@pytest.fixture(scope="module")
def large():
    with FakeRegistry() as registry:
        yield registry, registry.add_blob(LARGE)


@pytest.fixture
def place(large):
    registry, blob = large
    registry.log.clear()
    registry.clear_faults()
    registry.ranges, registry.redirect_blobs = True, ""
    return registry, blob


def spans(*places):
    return [f"bytes={start}-{end - 1}" for start, end in places]


def test_a_large_layer_comes_in_pieces(place, client):
    fake, blob = place
    made = client(jobs=3)
    made.download(f"{fake.host}/a/b", blob)
    assert made.sinks.committed() == [LARGE]
    places = [(at, min(at + PIECE, SIZE)) for at in range(0, SIZE, PIECE)]
    assert sorted(asked(fake)) == sorted(spans(*places))
    assert made.reporter.tasks[0].amount == SIZE


def test_the_first_piece_tells_whether_there_are_more(place, client):
    """All of it comes with the first reply of a server without ranges, and is asked for once."""
    fake, blob = place
    fake.ranges = False
    made = client(jobs=6)
    made.download(f"{fake.host}/a/b", blob)
    assert made.sinks.committed() == [LARGE]
    assert asked(fake) == spans((0, PIECE))


def test_pieces_come_at_the_same_time(place, client):
    fake, blob = place
    made = client(jobs=3)
    small = fake.add_blob(random.Random(10).randbytes(2 * PIECE))
    made.download(f"{fake.host}/a/b", small)  # so it is known that the server does ranges
    fake.fault(blob["digest"], Fault(times=3, together=threading.Barrier(3, timeout=10)))
    made.download(f"{fake.host}/a/b", small, blob)
    assert LARGE in made.sinks.committed()


def test_a_piece_that_is_cut_off_goes_on_where_it_was(place, client):
    fake, blob = place
    fake.fault("/blobs/", Fault(times=2, truncate=1000))
    made = client(jobs=1)
    made.download(f"{fake.host}/a/b", blob)
    assert made.sinks.committed() == [LARGE]
    again = spans((1000, PIECE), (PIECE + 1000, 2 * PIECE), (2000, PIECE))
    assert len(set(again).intersection(asked(fake))) == 2


def test_much_that_came_is_no_reason_to_give_up(place, client):
    fake, blob = place
    fake.fault("/blobs/", Fault(truncate=1_500_000))
    made = client(jobs=6, tries=2)
    made.download(f"{fake.host}/a/b", blob)
    assert made.sinks.committed() == [LARGE]


def test_a_piece_of_other_bytes_costs_one_more_fetch(place, client):
    fake, blob = place
    fake.fault("/blobs/", Fault(times=1, flip=5))
    made = client(jobs=2)
    made.download(f"{fake.host}/a/b", blob)
    assert made.sinks.committed() == [LARGE]
    assert made.sinks.states() == ["aborted", "committed"]
    assert asked(fake)[-1] is None
    assert made.reporter.tasks[0].amount == SIZE


def test_pieces_of_other_bytes_again_and_again(place, client):
    fake, blob = place
    fake.fault("/blobs/", Fault(flip=5))
    made = client(jobs=2)
    check_failed(made, fake, VerificationError, "not what it should be", blob)
    assert asked(fake).count(None) == 1


@pytest.mark.parametrize(
    "content_range",
    ["", "bytes 1-8388607/{size}", "bytes 0-{size}/{size}", "bytes 0-1", "pages 0-1/2"],
)
def test_another_range_than_asked_for(place, client, content_range):
    fake, blob = place
    given = {"Content-Range": content_range.format(size=SIZE)}
    fake.fault("/blobs/", Fault(times=1, headers=given))
    made = client(jobs=4)
    made.download(f"{fake.host}/a/b", blob)
    assert made.sinks.committed() == [LARGE]
    assert asked(fake) == [*spans((0, PIECE)), None]


def test_another_size_than_described(place, client):
    fake, blob = place
    fake.fault("/blobs/", Fault(headers={"Content-Range": f"bytes 0-{PIECE - 1}/{SIZE + 1}"}))
    words = f"has {SIZE + 1} bytes at {fake.host}, not the {SIZE} it should have"
    check_failed(client(), fake, VerificationError, words, blob)


def test_a_range_that_cannot_be_had(place, client):
    fake, blob = place
    fake.fault("/blobs/", Fault(times=1, status=416))
    made = client(jobs=4)
    made.download(f"{fake.host}/a/b", blob)
    assert made.sinks.committed() == [LARGE]
    assert asked(fake) == [*spans((0, PIECE)), None]


def test_pieces_go_where_the_first_was_sent(place, storage, client):
    fake, blob = place
    storage.blobs = fake.blobs
    fake.redirect_blobs = storage.url + "/storage/{digest}?sig=1"
    made = client(jobs=1)
    made.download(f"{fake.host}/a/b", blob)
    assert made.sinks.committed() == [LARGE]
    assert len(fake.requests("/blobs/")) == 1
    assert len(storage.log) == 4


def test_a_redirect_that_was_good_for_one_piece(place, storage, client):
    fake, blob = place
    storage.blobs = fake.blobs
    fake.redirect_blobs = storage.url + "/storage/{digest}?sig=1"
    made = client(jobs=1)
    storage.fault("/storage/", Fault(times=1, skip=1, status=403))
    made.download(f"{fake.host}/a/b", blob)
    assert made.sinks.committed() == [LARGE]
    assert len(fake.requests("/blobs/")) == 2


def test_what_another_process_has_is_not_asked_for(place, client):
    fake, blob = place
    made = client(jobs=1)

    def factory(descriptor):
        sink = made.sinks(descriptor)
        sink.write(LARGE[: PIECE // 2], 0)
        sink.write(LARGE[2 * PIECE :], 2 * PIECE)
        return sink

    made.registry.download(
        Reference.parse(f"{fake.host}/a/b"), [Descriptor.from_json(blob, "")], factory
    )
    assert made.sinks.committed() == [LARGE]
    assert asked(fake) == spans((PIECE // 2, PIECE // 2 + PIECE), (PIECE // 2 + PIECE, 2 * PIECE))


@pytest.mark.parametrize("whole", [True, False])
def test_what_another_process_has_is_wrong(place, client, whole):
    fake, blob = place
    made = client(jobs=2)

    def factory(descriptor):
        sink = made.sinks(descriptor)
        if len(made.sinks.made) == 1:
            sink.write(bytes(SIZE if whole else PIECE), 0)
        return sink

    made.registry.download(
        Reference.parse(f"{fake.host}/a/b"), [Descriptor.from_json(blob, "")], factory
    )
    assert made.sinks.committed() == [LARGE]
    assert made.sinks.states() == ["aborted", "committed"]
    assert asked(fake)[-1] is None


def test_all_is_here_already(place, client):
    fake, blob = place
    made = client()

    def factory(descriptor):
        sink = made.sinks(descriptor)
        sink.write(LARGE, 0)
        return sink

    made.registry.download(
        Reference.parse(f"{fake.host}/a/b"), [Descriptor.from_json(blob, "")], factory
    )
    assert made.sinks.committed() == [LARGE]
    assert asked(fake) == []


@pytest.mark.parametrize("fault", [None, Fault(status=503, headers={"Retry-After": "1"}, times=10)])
def test_few_layers_are_open_at_once(client, fault):
    with FakeRegistry() as fake:
        if fault is not None:
            fake.fault("/blobs/", fault)
        blobs = [fake.add_blob(b"%d" % number) for number in range(30)]
        made = client(jobs=3)
        most = 0

        def factory(descriptor):
            nonlocal most
            sink = made.sinks(descriptor)
            most = max(most, made.sinks.states().count("open"))
            return sink

        made.registry.download(
            Reference.parse(f"{fake.host}/a/b"),
            [Descriptor.from_json(blob, "") for blob in blobs],
            factory,
        )
        assert len(made.sinks.committed()) == 30
        assert most <= 6
