"""Work in a directory whose path is longer than 4,096 bytes; what it says is the same anywhere."""

import os
import stat
import subprocess
import sys
from pathlib import Path

top = sys.argv[1]
os.mkdir(top)
os.chdir(top)
NAME = "d" * 200
for _ in range(30):
    os.mkdir(NAME)
    os.chdir(NAME)
print(len(os.getcwd()) - len(top))


def say(what, function, *words, **more):
    try:
        print(what, function(*words, **more))
    except OSError as error:
        print(what, error.strerror)


with open("file", "w") as stream:
    stream.write("text")
os.mkdir("sub")
Path("sub/inner").touch()
os.symlink("sub/../file", "link")
os.symlink("/etc/hostname", "absolute")
os.symlink("loop", "loop")
os.link("file", "hard")
os.rename("hard", "sub/moved")
os.rename("sub/inner", "./inner")
print(sorted(os.listdir()), sorted(os.listdir("sub")), sorted(os.listdir("sub/..")))
say("read", lambda: Path("./link").read_text())
say("stat", lambda: (os.stat("./file").st_size, os.stat("sub/moved").st_nlink))
say("lstat", lambda: stat.S_ISLNK(os.lstat("./link").st_mode))
say("readlink", os.readlink, "./absolute")
say("absolute", lambda: os.path.samefile("./absolute", "/etc/hostname"))
say("loop", os.stat, "./loop/x")
say("missing", os.stat, "sub/none/x")
say("a file", os.stat, "./file/x")
say("exists", os.mkdir, "./sub")
say("not empty", os.rmdir, "../" + NAME)
say("long", os.stat, "./" + "n" * 256)
say("chmod", lambda: (os.chmod("./file", 0o640), oct(os.stat("file").st_mode))[1])
say("utime", lambda: (os.utime("./file", (1, 2)), os.stat("./sub/../file").st_mtime)[1])
say("truncate", lambda: (os.truncate("./file", 2), os.path.getsize("sub/moved"))[1])
say("access", os.access, "./file", os.R_OK)
say("symlink over", os.symlink, "x", "./link")
say("up", lambda: sorted(os.listdir("..")))
say("up and down", lambda: os.stat("../" + NAME + "/file").st_size)
say("far up", lambda: os.path.samefile("/".join([".."] * 31), os.path.dirname(top)))
say("past the top", lambda: os.path.samefile("/".join([".."] * 60), "/"))
descriptor = os.open("sub", os.O_RDONLY)
say("by descriptor", lambda: os.stat("../file", dir_fd=descriptor).st_size)
say("fchmod", os.fchmod, descriptor, 0o700)
say("a child", lambda: subprocess.run(["cat", "./file"], stdout=-1, check=True).stdout)
os.remove("./inner")
os.chdir("sub/../sub")
os.chdir("..")
print(len(os.getcwd()) - len(top))
for _ in range(30):
    os.chdir("..")
print(os.getcwd() == top, os.listdir() == [NAME])
os.chdir("/")
subprocess.run(["rm", "-rf", top], check=True)
print(os.path.exists(top))
