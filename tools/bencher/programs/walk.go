// Walks a tree with a goroutine for each directory, and asks for the status of every file.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

var (
	group sync.WaitGroup
	files int64
	bytes int64
	slots = make(chan struct{}, 16)
)

func walk(path string) {
	defer group.Done()
	slots <- struct{}{}
	entries, err := os.ReadDir(path)
	<-slots
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, entry := range entries {
		info, err := os.Lstat(filepath.Join(path, entry.Name()))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		atomic.AddInt64(&files, 1)
		atomic.AddInt64(&bytes, info.Size())
		if entry.IsDir() {
			group.Add(1)
			go walk(filepath.Join(path, entry.Name()))
		}
	}
}

func main() {
	group.Add(1)
	walk(os.Args[1])
	group.Wait()
	fmt.Println(files, bytes)
}
