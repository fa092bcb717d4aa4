package main

import (
	"fmt"
	"os"
	"sync"
)

// processFailer is what istiod's test packages ask of a testing.T, for a process: a failure ends it.
type processFailer struct {
	lock     sync.Mutex
	cleanups []func()
}

func (f *processFailer) Fail()    { os.Exit(1) }
func (f *processFailer) FailNow() { os.Exit(1) }

func (f *processFailer) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}

func (f *processFailer) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func (f *processFailer) Log(args ...any) { fmt.Fprintln(os.Stderr, args...) }
func (f *processFailer) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
func (f *processFailer) Helper()          {}
func (f *processFailer) Skip(args ...any) { f.Fatal(args...) }

func (f *processFailer) TempDir() string {
	folder, err := os.MkdirTemp("", "istiod-peer-")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = os.RemoveAll(folder) })
	return folder
}

func (f *processFailer) Cleanup(cleanup func()) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.cleanups = append(f.cleanups, cleanup)
}

// cleanUp runs the cleanups in reverse order, as testing.T does.
func (f *processFailer) cleanUp() {
	f.lock.Lock()
	cleanups := f.cleanups
	f.cleanups = nil
	f.lock.Unlock()
	for i := len(cleanups) - 1; i >= 0; i-- {
		cleanups[i]()
	}
}
