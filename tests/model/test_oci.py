from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.errors import BadReference, BadReplyError
from udocker.model.oci import (
    DOCKER_INDEX,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
)
from udocker.model.reference import Digest

A = "sha256:" + "aa" * 32
B = "sha256:" + "bb" * 32
WHERE = "quay.io/app"
DEEP = b"[" * 100_000
BLOB = {"mediaType": "x", "digest": A, "size": 3}


def encoded(data):
    return json.dumps(data).encode()


def config(**changes):
    data = {"architecture": "arm64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [A]}}
    data.update(changes)
    return ImageConfig.parse(encoded(data), WHERE)


class TestPlatform:
    @pytest.mark.parametrize(
        ("text", "printed"),
        [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/x86-64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/arm64/8", "linux/arm64/v8"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/arm/V6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/armv7l", "linux/arm/v7"),
            ("linux/i686", "linux/386"),
            ("linux/ppc64le", "linux/ppc64le"),
            ("linux/s390x", "linux/s390x"),
            ("linux/riscv64", "linux/riscv64"),
            ("windows/amd64", "windows/amd64"),
        ],
    )
    def test_parse(self, text, printed):
        assert str(Platform.parse(text)) == printed
        assert Platform.parse(printed) == Platform.parse(text)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "/",
            "linux",
            "amd64",
            "linux/",
            "/amd64",
            "linux//v8",
            "linux/arm64/",
            "linux/arm64/v8/x",
            "linux/amd 64",
            "linux/amd64\n",
            "linux/\u00e9",
            "linux/amd64,linux/arm64",
            "\udcff/a",
        ],
    )
    def test_refused(self, text):
        with pytest.raises(BadReference) as caught:
            Platform.parse(text)
        assert "linux/arm64" in caught.value.hint

    @pytest.mark.parametrize(
        ("wanted", "offered", "accepts"),
        [
            ("linux/amd64", "linux/amd64", True),
            ("linux/amd64", "linux/arm64", False),
            ("linux/amd64", "windows/amd64", False),
            ("linux/amd64", "linux/amd64/v1", True),
            ("linux/amd64", "linux/amd64/v3", False),
            ("linux/amd64/v3", "linux/amd64", False),
            ("linux/arm64", "linux/arm64/v8", True),
            ("linux/arm64/v8", "linux/arm64", True),
            ("linux/arm64", "linux/arm64/v9", False),
            ("linux/arm64", "linux/arm", False),
            ("linux/arm", "linux/arm/v7", True),
            ("linux/arm", "linux/arm/v6", False),
            ("linux/arm/v6", "linux/arm/v7", False),
            ("linux/riscv64", "linux/riscv64", True),
            ("linux/amd64", "unknown/unknown", False),
        ],
    )
    def test_accepts(self, wanted, offered, accepts):
        assert Platform.parse(wanted).accepts(Platform.parse(offered)) is accepts


class TestDescriptor:
    def test_all_fields(self):
        found = Descriptor.from_json(
            {
                "mediaType": OCI_MANIFEST,
                "digest": A,
                "size": 7,
                "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
                "urls": ["https://a.example/x"],
                "annotations": {"a": "b"},
            },
            WHERE,
        )
        assert found == Descriptor(
            OCI_MANIFEST,
            Digest.parse(A),
            7,
            Platform("linux", "arm", "v7"),
            ("https://a.example/x",),
        )

    @pytest.mark.parametrize(
        ("change", "field", "expected"),
        [
            ({"mediaType": None}, "media_type", ""),
            ({"platform": None}, "platform", None),
            ({"platform": {}}, "platform", None),
            ({"platform": []}, "platform", None),
            ({"platform": {"architecture": "amd64"}}, "platform", Platform("linux", "amd64")),
            (
                {"platform": {"architecture": "aarch64", "os": "linux", "variant": None}},
                "platform",
                Platform("linux", "arm64"),
            ),
            ({"urls": None}, "urls", ()),
            ({"urls": "https://a"}, "urls", ("https://a",)),
            ({"size": 0}, "size", 0),
            ({"size": (1 << 63) - 1}, "size", (1 << 63) - 1),
        ],
    )
    def test_tolerated(self, change, field, expected):
        assert getattr(Descriptor.from_json({**BLOB, **change}, WHERE), field) == expected

    @pytest.mark.parametrize(
        "change",
        [
            {"size": -1},
            {"size": 1 << 63},
            {"size": 10**400},
            {"size": 1.0},
            {"size": "3"},
            {"size": None},
            {"size": True},
            {"digest": None},
            {"digest": 5},
            {"digest": "sha256:../../etc/passwd"},
            {"digest": "md5:" + "a" * 32},
            {"digest": [A]},
            {"mediaType": {}},
            {"mediaType": "a\0b"},
            {"urls": 5},
            {"urls": [5]},
            {"platform": {"architecture": ["amd64"]}},
        ],
    )
    def test_refused(self, change):
        with pytest.raises(BadReplyError, match=rf"^bad descriptor in {WHERE}: ."):
            Descriptor.from_json({**BLOB, **change}, WHERE)

    @pytest.mark.parametrize("data", [None, [], "x", 5, [1], True])
    def test_not_an_object(self, data):
        with pytest.raises(BadReplyError, match="wrong type"):
            Descriptor.from_json(data, WHERE)

    @pytest.mark.parametrize("name", ["size", "digest"])
    def test_missing_fields_are_named(self, name):
        data = {key: item for key, item in BLOB.items() if key != name}
        with pytest.raises(BadReplyError, match=f"{name} is missing"):
            Descriptor.from_json(data, WHERE)


NOT_DOCUMENTS = [
    b"",
    b" ",
    b"<html>",
    b"{",
    b"[]",
    b"null",
    b"5",
    b'"x"',
    b"{}{}",
    b"\xff\xfe\xff",
    b'{"a": "\xff"}',
    b'{"layers": ' + b"9" * 5000 + b"}",
    DEEP,
    b'{"config":' + DEEP,
]


GOOD = {"schemaVersion": 2, "config": BLOB, "layers": [BLOB, {**BLOB, "digest": B}]}


class TestManifest:
    def test_keeps_the_bytes(self):
        raw = b" " + encoded(GOOD) + b"\n"
        found = Manifest.parse(raw, OCI_MANIFEST, WHERE)
        assert found.raw == raw
        assert found.digest == Digest.of(raw)
        assert [str(layer.digest) for layer in found.layers] == [A, B]
        assert found.media_type == OCI_MANIFEST

    def test_no_layers(self):
        assert Manifest.parse(encoded({**GOOD, "layers": []}), "", WHERE).layers == ()

    def test_byte_order_mark(self):
        raw = b"\xef\xbb\xbf" + encoded(GOOD)
        assert Manifest.parse(raw, OCI_MANIFEST, WHERE).digest == Digest.of(raw)

    @pytest.mark.parametrize("raw", NOT_DOCUMENTS)
    def test_not_json(self, raw):
        with pytest.raises(BadReplyError, match=WHERE):
            Manifest.parse(raw, OCI_MANIFEST, WHERE)

    @pytest.mark.parametrize(
        "change",
        [
            {"layers": None},
            {"layers": {}},
            {"layers": "x"},
            {"layers": [None]},
            {"layers": [{}]},
            {"config": None},
            {"config": []},
            {"manifests": []},
        ],
    )
    def test_not_a_manifest(self, change):
        with pytest.raises(BadReplyError, match=WHERE):
            Manifest.parse(encoded({**GOOD, **change}), OCI_MANIFEST, WHERE)

    def test_schema_1(self):
        old = {"schemaVersion": 1, "fsLayers": [{"blobSum": A}], "history": []}
        with pytest.raises(BadReplyError, match="not an image manifest"):
            Manifest.parse(encoded(old), "", WHERE)


def index(*platforms):
    entries = []
    for number, platform in enumerate(platforms):
        entry = {**BLOB, "mediaType": OCI_MANIFEST, "size": number}
        if platform:
            entry["platform"] = dict(zip(("os", "architecture", "variant"), platform.split("/")))
        entries.append(entry)
    return Index.parse(encoded({"schemaVersion": 2, "manifests": entries}), OCI_INDEX, WHERE)


class TestIndex:
    @pytest.mark.parametrize(
        ("platforms", "wanted", "chosen"),
        [
            (["linux/amd64", "linux/arm64"], "linux/arm64", 1),
            (["linux/amd64", "linux/arm64/v8"], "linux/arm64", 1),
            (["windows/amd64", "linux/amd64"], "linux/amd64", 1),
            (["linux/amd64", "linux/amd64"], "linux/amd64", 0),
            (["linux/arm/v6", "linux/arm/v7"], "linux/arm", 1),
            (["unknown/unknown", "linux/amd64"], "linux/amd64", 1),
            (["linux/aarch64"], "linux/arm64", 0),
            ([None], "linux/arm64", 0),
            ([None, "linux/arm64"], "linux/arm64", 1),
            ([None, None], "linux/arm64", None),
            (["linux/amd64"], "linux/arm64", None),
            (["linux/arm64/v9"], "linux/arm64", None),
            ([], "linux/arm64", None),
        ],
    )
    def test_select(self, platforms, wanted, chosen):
        found = index(*platforms).select(Platform.parse(wanted))
        assert (found.size if found else None) == chosen

    def test_platforms_leaves_attestations_out(self):
        found = index("linux/amd64", "unknown/unknown", None, "linux/arm/v7")
        assert found.platforms() == ("linux/amd64", "linux/arm/v7")

    @pytest.mark.parametrize("raw", NOT_DOCUMENTS)
    def test_not_json(self, raw):
        with pytest.raises(BadReplyError, match=WHERE):
            Index.parse(raw, OCI_INDEX, WHERE)

    @pytest.mark.parametrize(
        "data",
        [
            {},
            {"manifests": None},
            {"manifests": {}},
            {"manifests": [5]},
            {"manifests": [BLOB], "layers": []},
            {"manifests": [BLOB], "config": BLOB},
        ],
    )
    def test_not_an_index(self, data):
        with pytest.raises(BadReplyError, match=WHERE):
            Index.parse(encoded(data), DOCKER_INDEX, WHERE)


class TestImageConfig:
    def test_all_fields(self):
        found = config(
            created="2024-01-02T03:04:05Z",
            config={
                "Env": ["PATH=/bin", "A=b=c", "E="],
                "Entrypoint": ["/entry"],
                "Cmd": ["a", ""],
                "User": "1000:1000",
                "WorkingDir": "/w",
                "Labels": {"k": "v"},
                "Volumes": {"/data": {}, "/more": {}},
                "ExposedPorts": {"80/tcp": {}},
                "StopSignal": "SIGINT",
            },
        )
        assert found.platform == Platform("linux", "arm64")
        assert found.diff_ids == (Digest.parse(A),)
        assert found.env == ("PATH=/bin", "A=b=c", "E=")
        assert (found.entrypoint, found.cmd) == (("/entry",), ("a", ""))
        assert (found.user, found.working_dir) == ("1000:1000", "/w")
        assert found.labels == (("k", "v"),)
        assert (found.volumes, found.exposed_ports) == (("/data", "/more"), ("80/tcp",))
        assert (found.stop_signal, found.created) == ("SIGINT", "2024-01-02T03:04:05Z")

    def test_digest_is_of_the_bytes(self):
        raw = b"\n" + encoded({"rootfs": {"diff_ids": []}, "architecture": "arm64"})
        assert ImageConfig.parse(raw, WHERE).digest == Digest.of(raw)

    @pytest.mark.parametrize("run", [None, {}, [], "", {"Env": None, "Cmd": None, "User": None}])
    def test_nothing_said(self, run):
        found = config(config=run)
        assert (found.env, found.cmd, found.user, found.labels) == ((), (), "", ())

    @pytest.mark.parametrize(
        ("run", "field", "expected"),
        [
            ({"Cmd": "a b"}, "cmd", ("a b",)),
            ({"Entrypoint": ""}, "entrypoint", ()),
            ({"Entrypoint": []}, "entrypoint", ()),
            ({"Env": "A=b"}, "env", ("A=b",)),
            ({"User": 1000}, "user", "1000"),
            ({"User": 0}, "user", "0"),
            ({"Volumes": ["/data"]}, "volumes", ("/data",)),
            ({"Volumes": "/data"}, "volumes", ("/data",)),
            ({"Labels": {"k": None, "n": 5}}, "labels", (("k", ""), ("n", "5"))),
            ({"Env": ["\u00e9=\u00e9"]}, "env", ("\u00e9=\u00e9",)),
        ],
    )
    def test_tolerated(self, run, field, expected):
        assert getattr(config(config=run), field) == expected

    @pytest.mark.parametrize(
        "run",
        [
            5,
            "text",
            [1],
            {"Env": {"A": "b"}},
            {"Env": [None]},
            {"Env": [["A=b"]]},
            {"Env": 5},
            {"Cmd": [1]},
            {"Cmd": ["a\0b"]},
            {"Cmd": ["\ud800"]},
            {"Env": "a\0b"},
            {"User": ["root"]},
            {"User": True},
            {"WorkingDir": {"a": 1}},
            {"WorkingDir": "/a\0b"},
            {"Labels": ["k"]},
            {"Volumes": 5},
            {"Volumes": [5]},
        ],
    )
    def test_refused(self, run):
        with pytest.raises(BadReplyError, match=rf"bad image configuration in {WHERE}: ."):
            config(config=run)

    @pytest.mark.parametrize(
        ("rootfs", "message"),
        [
            (None, "wrong type"),
            ({}, "diff_ids is missing"),
            ([], "wrong type"),
            ({"diff_ids": {A: 1}}, "list of strings"),
            ({"diff_ids": [5]}, "list of strings"),
            ({"diff_ids": ["sha256:../../x"]}, "not a sha256 digest"),
            ({"diff_ids": 5}, "list of strings"),
        ],
    )
    def test_bad_rootfs(self, rootfs, message):
        with pytest.raises(BadReplyError, match=message):
            config(rootfs=rootfs)

    def test_missing_rootfs(self):
        with pytest.raises(BadReplyError, match="rootfs is missing"):
            ImageConfig.parse(b'{"architecture": "arm64"}', WHERE)

    @pytest.mark.parametrize("diff_ids", [[], None])
    def test_no_layers(self, diff_ids):
        assert config(rootfs={"diff_ids": diff_ids}).diff_ids == ()

    @pytest.mark.parametrize("raw", NOT_DOCUMENTS)
    def test_not_json(self, raw):
        with pytest.raises(BadReplyError, match=WHERE):
            ImageConfig.parse(raw, WHERE)

    def test_platform_left_out(self):
        assert config(architecture=None).platform == Platform("linux", "amd64")
        assert config(architecture="x86_64", os=None).platform == Platform("linux", "amd64")

    def test_chain_id(self):
        # image-spec config.md: ChainID(A|B) = Digest(ChainID(A) + " " + DiffID(B))
        assert str(config(rootfs={"diff_ids": [A]}).chain_id) == A
        both = Digest.of(f"{A} {B}".encode())
        assert config(rootfs={"diff_ids": [A, B]}).chain_id == both
        three = Digest.of(f"{both} {A}".encode())
        assert config(rootfs={"diff_ids": [A, B, A]}).chain_id == three
        assert config(rootfs={"diff_ids": [B, A]}).chain_id != both
        assert config(rootfs={"diff_ids": []}).chain_id.hex == "0" * 64


KEYS = ("config", "rootfs", "diff_ids", "layers", "manifests", "digest", "size", "mediaType")
KEYS += ("platform", "architecture", "os", "variant", "urls", "Env", "Cmd", "User", "Labels")
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just(A)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=500, deadline=None, database=None)
@given(st.one_of(JSON.map(encoded), st.binary(max_size=40)))
def test_no_document_raises_anything_else(raw):
    for read in (
        lambda: Manifest.parse(raw, OCI_MANIFEST, WHERE),
        lambda: Index.parse(raw, OCI_INDEX, WHERE),
        lambda: ImageConfig.parse(raw, WHERE),
    ):
        refused = None
        try:
            assert read().raw == raw
        except BadReplyError as error:
            refused = error
        assert refused is None or WHERE in refused.message
