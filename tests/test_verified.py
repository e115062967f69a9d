from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.errors import VerificationError
from udocker.model.oci import Descriptor
from udocker.model.reference import Digest
from udocker.verified import VerifiedReader

DATA = bytes(range(256)) * 40


class Source(io.BytesIO):
    """Remembers how much was taken from it; gives at most ``most`` bytes at once."""

    def __init__(self, data, most=1 << 30):
        super().__init__(data)
        self.most = most
        self.taken = 0

    def read(self, size=-1):
        assert size >= 0
        data = super().read(min(size, self.most))
        self.taken += len(data)
        return data


def promised(data, size=None, algorithm="sha256"):
    digest = Digest(algorithm, hashlib.new(algorithm, data).hexdigest())
    return Descriptor("", digest, len(data) if size is None else size)


def reader(data, promise=None, most=1 << 30):
    return VerifiedReader(Source(data, most), promise or promised(data))


class TestWhole:
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    @pytest.mark.parametrize("data", [b"", b"x", DATA])
    def test_read_all(self, data, algorithm):
        stream = reader(data, promised(data, algorithm=algorithm))
        assert not stream.verified
        assert stream.read() == data
        assert stream.verified
        assert stream.read() == stream.read(5) == b""

    @pytest.mark.parametrize("most", [1, 7, 4096])
    def test_sources_that_give_little(self, most):
        assert reader(DATA, most=most).read() == DATA
        assert reader(DATA, most=most).readall() == DATA
        assert reader(DATA, most=most).read(None) == DATA

    def test_read_to_the_last_byte_verifies(self):
        stream = reader(DATA)
        assert stream.read(len(DATA) - 1) == DATA[:-1]
        assert not stream.verified
        assert stream.read(1) == DATA[-1:]
        assert stream.verified

    def test_read_of_nothing_reads_nothing(self):
        stream = reader(b"")
        assert stream.read(0) == b""
        assert not stream.verified
        assert stream.read(1) == b""
        assert stream.verified

    def test_readinto(self):
        stream = reader(DATA)
        buffer = bytearray(b"." * (len(DATA) + 10))
        assert stream.readinto(memoryview(buffer)[:10]) == 10
        assert stream.readinto(memoryview(buffer)[10:]) == len(DATA) - 10
        assert buffer == DATA + b"." * 10
        assert stream.readinto(buffer) == 0
        assert stream.verified

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(st.integers(0, 3000), min_size=1), st.integers(1, 5000))
    def test_any_chunks(self, sizes, most):
        stream = reader(DATA, most=most)
        found = b"".join(stream.read(size) for size in sizes)
        assert DATA.startswith(found)
        assert found + stream.read() == DATA
        assert stream.verified

    def test_in_a_buffer_and_a_decompressor(self):
        packed = gzip.compress(DATA)
        stream = reader(packed)
        with gzip.open(io.BufferedReader(stream)) as unpacked:
            assert unpacked.read() == DATA
        assert stream.verified

    def test_as_a_tar_stream(self):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w|") as archive:
            member = tarfile.TarInfo("f")
            member.size = len(DATA)
            archive.addfile(member, io.BytesIO(DATA))
        with tarfile.open(fileobj=reader(packed.getvalue()), mode="r|") as archive:
            assert archive.extractfile(archive.next()).read() == DATA


WRONG = [
    (DATA[:-1] + b"x", promised(DATA), "is damaged: its bytes are sha256:"),
    (b"x" + DATA[1:], promised(DATA), "is damaged"),
    (DATA[:-1], promised(DATA), f"ends after {len(DATA) - 1} of {len(DATA)} bytes"),
    (b"", promised(DATA), "ends after 0 of"),
    (DATA + b"x", promised(DATA), f"is longer than {len(DATA)} bytes"),
    (DATA, promised(DATA, len(DATA) - 1), "is longer than"),
    (DATA, promised(DATA, len(DATA) + 1), "ends after"),
    (b"x", promised(b""), "is longer than 0 bytes"),
    (DATA, promised(DATA, 0), "is longer than 0 bytes"),
]


class TestWrong:
    @pytest.mark.parametrize(("data", "promise", "message"), WRONG)
    @pytest.mark.parametrize("most", [1000, 1 << 20])
    def test_read_all(self, data, promise, message, most):
        stream = reader(data, promise, most)
        with pytest.raises(VerificationError, match=message) as caught:
            stream.read()
        assert str(promise.digest) in caught.value.message
        assert caught.value.hint
        assert not stream.verified

    @pytest.mark.parametrize(("data", "promise", "message"), WRONG)
    def test_the_last_byte_is_never_handed_out(self, data, promise, message):
        stream = reader(data, promise)
        found = bytearray()
        with pytest.raises(VerificationError, match=message):
            found.extend(byte for _ in range(20) for byte in stream.read(1000))
        assert len(found) < max(promise.size, 1)

    @pytest.mark.parametrize(("data", "promise", "message"), WRONG)
    def test_readinto(self, data, promise, message):
        stream = reader(data, promise)
        with pytest.raises(VerificationError, match=message):
            sum(stream.readinto(bytearray(1000)) for _ in range(20))

    def test_stays_wrong(self):
        stream = reader(DATA, promised(DATA, 5))
        messages = set()
        for read in (stream.read, lambda: stream.read(1), lambda: stream.readinto(bytearray(1))):
            with pytest.raises(VerificationError) as caught:
                read()
            messages.add(caught.value.message)
        assert len(messages) == 1

    def test_one_byte_too_many_stays_too_many(self):
        stream = reader(DATA + b"x", promised(DATA))
        for _ in range(2):
            with pytest.raises(VerificationError, match="longer"):
                stream.read()

    def test_an_endless_source_is_left_alone(self):
        source = Source(bytes(1 << 20))
        stream = VerifiedReader(source, promised(bytes(1000)))
        with pytest.raises(VerificationError, match="longer"):
            stream.read()
        assert source.taken == 1001


class TestClose:
    def test_closes_the_source(self):
        source = Source(DATA)
        with VerifiedReader(source, promised(DATA)) as stream:
            assert stream.readable()
            stream.read(5)
        assert stream.closed
        assert source.closed
        stream.close()
        for read in (stream.read, lambda: stream.read(1), lambda: stream.readinto(bytearray(1))):
            with pytest.raises(ValueError, match="closed"):
                read()

    def test_what_was_not_read_is_not_verified(self):
        with reader(DATA + b"x", promised(DATA)) as stream:
            assert stream.read(10) == DATA[:10]
        assert not stream.verified

    def test_errors_of_the_source_pass(self):
        class Broken(Source):
            def read(self, size=-1):
                raise OSError(5, "Input/output error")

        with pytest.raises(OSError, match="Input/output"):
            VerifiedReader(Broken(b""), promised(DATA)).read(1)
