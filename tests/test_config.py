from __future__ import annotations

import os
import pwd

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker import config
from udocker.errors import ConfigError
from udocker.model.config import Config

if os.path.exists("/etc/udocker.conf"):
    pytest.skip("host: /etc/udocker.conf is read by every test", allow_module_level=True)


@pytest.fixture
def home(tmp_path):
    (tmp_path / ".udocker").mkdir()
    return tmp_path


@pytest.fixture
def load(home):
    """Settings with ``text`` as the user's file."""

    def load(text=None, environ=(), overrides=(), **options):
        if text is not None:
            data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
            (home / ".udocker" / "udocker.conf").write_bytes(data)
        return config.load({"HOME": str(home), **dict(environ)}, dict(overrides), **options)

    return load


# Every setting with a value that is not its default: field, key, text, value.
VALUES = [
    ("topdir", "topdir", "/store", "/store"),
    ("repos", "repos", "/a:/b c/../d::", ("/a", "/d")),
    ("execution_mode", "default_execution_mode", "P1", "P1"),
    ("execution_mode", "override_default_execution_mode", "F3", "F3"),
    ("registry", "default_registry", "quay.io", "quay.io"),
    ("index", "dockerio_index_url", "https://index.x", "https://index.x"),
    ("registry", "default_registry", "https://quay.io", "quay.io"),
    ("registry", "default_registry", "https://localhost:5000/", "localhost:5000"),
    ("insecure", "http_insecure", "True", True),
    ("insecure_registries", "insecure_registries", "a:5000, b  c", ("a:5000", "b", "c")),
    ("token_services", "token_services", "a:1, b", ("a:1", "b")),
    ("proxy", "http_proxy", "socks5h://u:pw@p:1080", "socks5h://u:pw@p:1080"),
    ("jobs", "jobs", "2", 2),
    ("connect_timeout", "ctimeout", "6", 6),
    ("stall_timeout", "stall_timeout", "7", 7),
    ("verbosity", "verbose_level", "0", 0),
    ("proot", "use_proot_executable", "/opt/proot", "/opt/proot"),
    ("runc", "use_runc_executable", "/opt/crun", "/opt/crun"),
    ("fakechroot", "fakechroot_so", "/opt/libfakechroot.so", "/opt/libfakechroot.so"),
    ("singularity", "use_singularity_executable", "/opt/apptainer", "/opt/apptainer"),
    ("gpus", "gpus", "Auto", "auto"),
    ("driver_root", "driver_root", "/opt/driver", "/opt/driver"),
    ("device_root", "device_root", "/opt/dev", "/opt/dev"),
    ("driver_libraries", "driver_libraries", "/opt/a:/b", ("/opt/a", "/b")),
    ("max_unpacked_bytes", "max_unpacked_bytes", "1000", 1000),
    ("max_unpacked_entries", "max_unpacked_entries", "1000", 1000),
    ("max_unpack_ratio", "max_unpack_ratio", "1000", 1000),
    ("readable_trees", "readable_trees", "true", True),
    ("fakeroot", "fakeroot", "off", False),
    ("job", "job", "false", False),
    ("pull_wait", "pull_wait", "60", 60),
    ("max_store_bytes", "max_store_bytes", "2k", 2048),
    ("max_log_bytes", "max_log_bytes", "3k", 3072),
]
# What 1.3 ships: comments, quotes, no section header, and values that are Python.
OF_1_3 = """
# udocker configuration
verbose_level = 4
#topdir = ~/.udocker
homedir = "/home/user"
tarball = "https://a.example/x.tgz https://b.example/y.tgz"
autoinstall = False
proot_noseccomp = None
valid_host_env = ("TERM", "PATH", )
http_agent = "%(name)s/%d"
default_execution_modes = {"x86_64": "P1", "DEFAULT": "R1"}
use_proot_executable = UDOCKER
use_runc_executable = ""
timeout = 12
Override_Default_Execution_Mode : 'F3'
"""


class TestTable:
    def test_every_setting_is_a_field(self):
        assert {setting.field for setting in config.SETTINGS} == set(Config._fields)
        assert {field for field, *_ in VALUES} == set(Config._fields)

    def test_keys_and_variables_are_unique(self):
        keys = [key for setting in config.SETTINGS for key in setting.keys]
        variables = [name for setting in config.SETTINGS for name in setting.variables]
        assert len(keys) == len(set(keys))
        assert len(variables) == len(set(variables))
        assert all(setting.help for setting in config.SETTINGS)


class TestDefaults:
    def test_no_file(self, load, home):
        assert load() == Config(topdir=f"{home}/.udocker")

    def test_no_home_directory(self, tmp_path):
        found = config.load({"HOME": str(tmp_path / "no")}, {})
        assert found.topdir == f"{tmp_path}/no/.udocker"

    @pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "here"}])
    def test_no_home(self, environ):
        own = pwd.getpwuid(os.getuid()).pw_dir
        assert config.load(environ, {"verbosity": 1}).topdir == f"{own}/.udocker"


class TestFile:
    @pytest.mark.parametrize(("field", "key", "text", "value"), VALUES)
    @pytest.mark.parametrize(
        "form", ["{} = {}", "{}={}\n", '{} = "{}"', "{} = '{}'", "  {} :  {}  ", "[DEFAULT]\n{}={}"]
    )
    def test_every_key(self, load, home, form, field, key, text, value):
        found = load(form.format(key, text))
        assert getattr(found, field) == value
        expected = Config(**{"topdir": f"{home}/.udocker", field: value})
        assert found == expected

    def test_file_of_1_3(self, load, home):
        expected = Config(topdir=f"{home}/.udocker", verbosity=4, execution_mode="F3")
        assert load(OF_1_3) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\n\n",
            "# jobs = 5",
            "; jobs = 5",
            "#[DEFAULT]\n",
            "[DEFAULT]",
            "[DEFAULT]\n# nothing\n",
        ],
    )
    def test_nothing_said(self, load, home, text):
        assert load(text) == Config(topdir=f"{home}/.udocker")

    @pytest.mark.parametrize(
        "text",
        [
            "jobs = 5\n",
            "[DEFAULT]\njobs = 5",
            "[udocker]\njobs = 5",
            "#[DEFAULT]\njobs = 5",
            "# [x]\n\njobs = 5",
            "homedir = /h\n[DEFAULT]\njobs = 5",
            "jobs = 4\njobs = 5",
            "jobs = 4\n[a]\njobs = 5\n[b]\ntimeout = 1",
            "[a]\njobs = 4\n[b]\njobs = 3\n[a]\n[c]\njobs = 5",
            "jobs = 5\r\ntimeout = 1\r\n",
            "JOBS = 5",
            b"\xef\xbb\xbfjobs = 5",
            b"\xef\xbb\xbf[DEFAULT]\njobs = 5",
            b"# caf\xe9 \xff\njobs = 5",
        ],
    )
    def test_forms_of_the_file(self, load, text):
        assert load(text).jobs == 5

    @pytest.mark.parametrize("text", ["/a%b", "/a%(x)s", "/a%%", "/a b", "/\u00e9", "/a'b", "/a=b"])
    def test_values_are_taken_as_they_are(self, load, text):
        assert load(f"topdir = {text}").topdir == text
        assert load(f'topdir = "{text}"').topdir == text

    def test_bytes_that_are_not_utf_8(self, load):
        assert os.fsencode(load(b"topdir = /a\xff").topdir) == b"/a\xff"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [("'P1\"", "'P1\""), ("'\"P1\"'", '"P1"'), ('"', '"'), ("P1'", "P1'"), ("' P1'", " P1")],
    )
    def test_one_pair_of_quotes_goes(self, load, text, expected):
        assert load(f"default_execution_mode = {text}").execution_mode == expected

    @pytest.mark.parametrize(
        ("text", "value"),
        [(t, True) for t in ("true", "True", "YES", "on", "1", '"True"')]
        + [(t, False) for t in ("false", "False", "no", "Off", "0", "None", "", '"False"')],
    )
    def test_truth(self, load, text, value):
        assert load(f"http_insecure = {text}").insecure is value

    @pytest.mark.parametrize("text", ["", "UDOCKER", "udocker", "None", '""', "'UDOCKER'"])
    @pytest.mark.parametrize("key", ["use_proot_executable", "use_runc_executable"])
    def test_no_program_of_ones_own(self, load, home, key, text):
        assert load(f"{key} = {text}") == Config(topdir=f"{home}/.udocker")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("repos = site", "'site': absolute paths with : between them are expected"),
            ("repos = /site:~/x", "'/site:~/x': absolute paths with : between them are expected"),
            ("jobs = many", "'many': a whole number from 1 to 32 is expected"),
            ("jobs = 2.5", "a whole number"),
            ("jobs =", "a whole number"),
            ("jobs = 0", "from 1 to 32"),
            ("jobs = -1", "from 1 to 32"),
            ("jobs = 33", "from 1 to 32"),
            ("jobs = " + "9" * 5000, "a whole number"),
            ("ctimeout = many", "'many': a whole number is expected"),
            ("ctimeout = 0", "from 1 on"),
            ("ctimeout = -1", "from 0 on"),
            ("verbose_level = None", "a whole number"),
            ("http_insecure = maybe", "true or false"),
            ("topdir =", "a value is expected"),
            ('topdir = ""', "a value is expected"),
            ("topdir = ~/store", "the whole path"),
            ("topdir = /a\0b", "null character"),
            ("default_registry = https://", "a value is expected"),
            ("default_execution_mode = ''", "a value is expected"),
            ("use_proot_executable = proot", "an absolute path"),
            ("use_runc_executable = bin/runc", "an absolute path"),
            ("use_runc_executable = ~/runc", "an absolute path"),
        ],
    )
    def test_bad_values(self, load, home, line, message):
        with pytest.raises(ConfigError, match=message) as caught:
            load(line)
        key = line.partition(" ")[0]
        assert caught.value.message.startswith(f"{home}/.udocker/udocker.conf: {key}: ")
        assert caught.value.hint == "correct it, or take it away: then the default counts"
        assert caught.value.exit_code == 2

    def test_unknown_setting(self, load, home):
        with pytest.raises(ConfigError) as caught:
            load("[DEFAULT]\ntopdirr = /a")
        assert caught.value.message == f"{home}/.udocker/udocker.conf: unknown setting 'topdirr'"
        assert "showconf" in caught.value.hint

    @pytest.mark.parametrize(
        ("text", "line"),
        [("jobs", 1), ("# x\n\njobs 5\n", 3), ("[DEFAULT]\njobs = 5\n= 5", 3), ("[x\njobs=1", 1)],
    )
    def test_not_a_setting(self, load, home, text, line):
        with pytest.raises(ConfigError) as caught:
            load(text)
        where = f"{home}/.udocker/udocker.conf, line {line}"
        assert caught.value.message == f"{where}: not a setting"

    @settings(max_examples=300, deadline=None, database=None)
    @given(
        st.one_of(
            st.text(),
            st.text(alphabet="jobs=[]:%\n \t\"'#;5\ufeff"),
            st.lists(
                st.sampled_from(["jobs", "=", "5", "[", "]", "\n", "\n ", "topdir", "%", "\r", ":"])
            ).map("".join),
        )
    )
    def test_no_text_raises_anything_else(self, tmp_path_factory, text):
        path = tmp_path_factory.getbasetemp() / "any.conf"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        refused = None
        try:
            config.load({"HOME": "/nowhere"}, {}, str(path))
        except ConfigError as error:
            refused = error
        assert refused is None or str(path) in refused.message
        assert refused is None or "\n" not in refused.message


VARIABLES = [
    ("UDOCKER_DIR", "/store", "topdir", "/store"),
    ("UDOCKER_DIR", "/a/../store/", "topdir", "/store"),
    ("UDOCKER_REPOS", "/site:/other/", "repos", ("/site", "/other")),
    ("UDOCKER_DEFAULT_EXECUTION_MODE", "P2", "execution_mode", "P2"),
    ("UDOCKER_REGISTRY", "https://quay.io/", "registry", "quay.io"),
    ("UDOCKER_INSECURE_REGISTRIES", "a b:1", "insecure_registries", ("a", "b:1")),
    ("UDOCKER_TOKEN_SERVICES", "a b:1", "token_services", ("a", "b:1")),
    ("UDOCKER_INDEX", "https://index.x", "index", "https://index.x"),
    ("UDOCKER_JOBS", "3", "jobs", 3),
    ("UDOCKER_CONNECT_TIMEOUT", "4", "connect_timeout", 4),
    ("UDOCKER_STALL_TIMEOUT", "5", "stall_timeout", 5),
    ("UDOCKER_LOGLEVEL", "5", "verbosity", 5),
    ("UDOCKER_GPUS", "auto", "gpus", "auto"),
    ("UDOCKER_DRIVER_ROOT", "/d", "driver_root", "/d"),
    ("UDOCKER_DEVICE_ROOT", "/e", "device_root", "/e"),
    ("UDOCKER_DRIVER_LIBRARIES", "/f:/g", "driver_libraries", ("/f", "/g")),
    ("UDOCKER_USE_PROOT_EXECUTABLE", "/p", "proot", "/p"),
    ("UDOCKER_USE_RUNC_EXECUTABLE", "/r", "runc", "/r"),
    ("UDOCKER_FAKECHROOT_SO", "/f.so", "fakechroot", "/f.so"),
    ("UDOCKER_USE_SINGULARITY_EXECUTABLE", "/s", "singularity", "/s"),
    ("UDOCKER_MAX_UNPACKED_BYTES", "9", "max_unpacked_bytes", 9),
    ("UDOCKER_MAX_UNPACKED_ENTRIES", "9", "max_unpacked_entries", 9),
    ("UDOCKER_MAX_UNPACK_RATIO", "9", "max_unpack_ratio", 9),
    ("UDOCKER_READABLE_TREES", "yes", "readable_trees", True),
    ("UDOCKER_FAKEROOT", "no", "fakeroot", False),
    ("UDOCKER_JOB", "no", "job", False),
    ("UDOCKER_PULL_WAIT", "60", "pull_wait", 60),
    ("UDOCKER_MAX_STORE_BYTES", "3G", "max_store_bytes", 3 << 30),
    ("UDOCKER_MAX_LOG_BYTES", "1M", "max_log_bytes", 1 << 20),
]


class TestEnvironment:
    def test_all_are_tried(self):
        tried = {variable for variable, *_ in VARIABLES}
        assert tried == {name for setting in config.SETTINGS for name in setting.variables}

    @pytest.mark.parametrize(("variable", "text", "field", "value"), VARIABLES)
    def test_every_variable(self, load, variable, text, field, value):
        found = load("", {variable: text})
        assert found == Config(**{"topdir": load().topdir, field: value})

    @pytest.mark.parametrize("variable", sorted({variable for variable, *_ in VARIABLES}))
    def test_empty_is_not_set(self, load, variable):
        assert load(environ={variable: ""}) == load()

    @pytest.mark.parametrize(
        ("variable", "text"),
        [
            ("UDOCKER_JOBS", "x"),
            ("UDOCKER_LOGLEVEL", "-1"),
            ("UDOCKER_USE_PROOT_EXECUTABLE", "./proot"),
            ("UDOCKER_DIR", " "),
        ],
    )
    def test_bad_values(self, load, variable, text):
        with pytest.raises(ConfigError, match=f"environment variable {variable}: "):
            load(environ={variable: text})

    def test_relative_store(self, load):
        assert load(environ={"UDOCKER_DIR": "store"}).topdir == f"{os.getcwd()}/store"


class TestPrecedence:
    def test_file_environment_command_line(self, load):
        environ = {"UDOCKER_JOBS": "3", "UDOCKER_LOGLEVEL": "2"}
        found = load("jobs = 2\nverbose_level = 4\nctimeout = 9", environ, {"verbosity": 5})
        assert (found.jobs, found.connect_timeout, found.verbosity) == (3, 9, 5)

    def test_the_store_has_a_file_too(self, load, tmp_path):
        store = tmp_path / "store"
        store.mkdir()
        (store / "udocker.conf").write_text("jobs = 9")
        user = "jobs = 2\nctimeout = 3"
        for found in (
            load(f"{user}\ntopdir = {store}"),
            load(user, {"UDOCKER_DIR": str(store)}),
            load(user, overrides={"topdir": str(store)}),
        ):
            assert (found.topdir, found.jobs, found.connect_timeout) == (str(store), 9, 3)

    def test_which_store(self, load, tmp_path):
        for name in ("a", "b", "c"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "udocker.conf").write_text(f"ctimeout = {ord(name)}")
        text = f"topdir = {tmp_path}/a"
        environ = {"UDOCKER_DIR": f"{tmp_path}/b"}
        overrides = {"topdir": f"{tmp_path}/c"}
        assert load(text).connect_timeout == ord("a")
        assert load(text, environ).connect_timeout == ord("b")
        assert load(text, environ, overrides).connect_timeout == ord("c")

    def test_given_file_replaces_the_others(self, load, tmp_path):
        given = tmp_path / "given.conf"
        given.write_text("ctimeout = 3")
        found = load("jobs = 2", config_file=str(given))
        assert (found.jobs, found.connect_timeout) == (Config(topdir="/").jobs, 3)

    @pytest.mark.parametrize("name", ["missing", "."])
    def test_given_file_must_be_readable(self, load, tmp_path, name):
        with pytest.raises(ConfigError, match="cannot read"):
            load(config_file=str(tmp_path / name))

    def test_directory_in_the_place_of_the_file(self, load, home):
        (home / ".udocker" / "udocker.conf").mkdir()
        assert load().topdir == f"{home}/.udocker"

    @pytest.mark.parametrize("name", ["u.conf", "udocker.conf", ".udocker.conf"])
    def test_current_directory_is_never_read(self, load, tmp_path, monkeypatch, name):
        work = tmp_path / "work"
        work.mkdir()
        (work / name).write_text("jobs = 9\nbroken")
        monkeypatch.chdir(work)
        assert load() == load(overrides={"jobs": 6})
