#!/bin/sh
# Run in a container, with this directory at /programs: makes in /bench what the workloads need.
set -e
mkdir -p /bench/make /bench/threads /bench/many /bench/source
cd /bench
gcc -O1 -pthread -o threads-io /programs/threads.c
if [ -e /programs/built/walk ]; then
    cp /programs/built/walk walk
else
    CGO_ENABLED=0 GOCACHE=/tmp/go-cache GOFLAGS=-mod=mod go build -o walk /programs/walk.go
    rm -rf /tmp/go-cache
    cp walk /programs/built/walk
fi
for number in $(seq 60); do
    cat >make/part$number.c <<END
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int part$number(const char *text) { return printf("%s %d\n", text, (int)strlen(text) + $number); }
END
done
cat >make/Makefile <<'END'
parts := $(patsubst %.c,%.o,$(wildcard *.c))
all.a: $(parts)
	ar rcs $@ $^
%.o: %.c
	gcc -O1 -c $< -o $@
END
git config --global --add safe.directory '*'
git config --global user.name bench
git config --global user.email bench@example.org
fill() { # DIRECTORY FILES: a repository of so many files, 100 in a directory
    cd "/bench/$1"
    for folder in $(seq $(($2 / 100))); do
        mkdir -p "d$folder"
        for number in $(seq 100); do
            echo "$folder $number" >"d$folder/f$number"
        done
    done
    git init -q .
    git add .
    git commit -q -m files
    git status -s
}
fill many 10000
fill source 1000
