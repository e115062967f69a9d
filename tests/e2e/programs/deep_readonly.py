"""A directory with a long path on a read-only volume: what is done there, and whether it works."""

import os
import sys
from pathlib import Path

os.chdir(sys.argv[1])
for _ in range(30):
    os.chdir("d" * 200)
file = os.open("file", os.O_RDONLY)
folder = os.open(".", os.O_RDONLY)
print(os.read(file, 9), os.listdir(), os.stat("./file").st_size)
for name, change in {
    "mkdir": lambda: os.mkdir("./x"),
    "mkdir here": lambda: os.mkdir("x"),
    "chmod": lambda: os.chmod("./file", 0o777),
    "fchmod": lambda: os.fchmod(file, 0o777),
    "fchmod of the directory": lambda: os.fchmod(folder, 0o777),
    "chown": lambda: os.chown("file", 0, 0),
    "utime": lambda: os.utime(file, (1, 1)),
    "write": lambda: Path("file").write_text(""),
    "append": lambda: os.open("./file", os.O_WRONLY | os.O_APPEND),
    "make": lambda: Path("./new").write_text(""),
    "unlink": lambda: os.unlink("file"),
    "rename": lambda: os.rename("file", "./new"),
    "link": lambda: os.link("file", "./new"),
    "symlink": lambda: os.symlink("file", "new"),
    "truncate": lambda: os.truncate("./file", 0),
    "setxattr": lambda: os.setxattr("file", "user.x", b"1"),
    "fsetxattr": lambda: os.setxattr(file, "user.x", b"1"),
    "up": lambda: os.mkdir("../x"),
}.items():
    try:
        change()
        print(name, "works")
    except OSError as error:
        print(name, error.strerror)
