package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

const introduction = "Every library does the same work in one process, over the same transport without sockets, in " +
	"turns, so that the machine's drift hits all alike. Where time passes it is testing/synctest's, except where " +
	"x/oauth2 holds a mutex during a request, which stops that clock. floor is `time.Now` and one look-up of the " +
	"scope in a map. x/oauth2 is `ReuseTokenSource` over one request to the endpoint."

func (r *results) write(w io.Writer, took time.Duration) {
	command := "go -C internal/peerbench run ."
	if r.options.short {
		command += " -short"
	}
	if r.options.only != "" {
		command += " -only " + r.options.only
	}
	fmt.Fprintf(w, "# Benchmarks\n\nWritten by `%s` on %s, in %s.\n\n",
		command, time.Now().UTC().Format("2 January 2006"), took.Round(time.Second))
	fmt.Fprintf(w, "%s, %d cores, %s/%s, %s. %s.\n\n",
		processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), versions())
	fmt.Fprint(w, introduction, "\n\n## The design's figures\n\n")
	writeGoals(w, r.goals())
	if r.options.write != "" {
		for _, p := range plots {
			if r.options.has(p.part) {
				fmt.Fprintf(w, "\n![%s](%s)\n", p.what, p.file)
			}
		}
	}
	fmt.Fprintf(w, "\n## All of it\n")
	r.table.write(w)
}

func (r *results) save(page string) error {
	if err := os.MkdirAll(r.options.write, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.options.write, "benchmarks.md"), []byte(page), 0o644); err != nil {
		return err
	}
	return r.plot(r.options.write)
}

var libraryModules = []string{"/sdk/azcore", "/sdk/azidentity", "/microsoft-authentication-library-for-go", "/x/oauth2"}

// versions are the peers', as they are linked.
func versions() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "versions unknown"
	}
	var all []string
	for _, dep := range info.Deps {
		for _, name := range libraryModules {
			if strings.HasSuffix(dep.Path, name) {
				all = append(all, strings.TrimPrefix(dep.Path, "github.com/")+" "+dep.Version)
			}
		}
	}
	return strings.Join(all, ", ")
}

// processor is the processor's name where the system tells it.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
