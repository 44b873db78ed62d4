package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A server has startTime to become ready, and stopTime to end before it is killed.
const (
	startTime = 30 * time.Second
	stopTime  = 5 * time.Second
)

// Run starts a server process that Close ends, by an interrupt, and returns when ready returns nil. Where the process ends
// before that, or takes too long, the error has the last lines of its output.
func (l *Lab) Run(ready func() error, name string, args ...string) error {
	return l.run(ready, os.Environ(), name, args...)
}

func (l *Lab) run(ready func() error, environ []string, name string, args ...string) error {
	var out tail
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = l.dir, environ, &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopTime
	if err := cmd.Start(); err != nil {
		stop()
		return fmt.Errorf("lab: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	l.onClose(func() error { stop(); <-ended; return nil })
	deadline := time.Now().Add(startTime)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("lab: %s ended (%s): %s", filepath.Base(name), cmd.ProcessState, out.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("lab: %s is not ready after %s (%w): %s", filepath.Base(name), startTime, err, out.String())
		}
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-1000):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}

// Example builds an example's program, in the environment of this process, and returns a command that runs it in the
// lab's. The context's end interrupts it.
func (l *Lab) Example(ctx context.Context, name string) (*exec.Cmd, error) {
	program := filepath.Join(l.dir, "bin", name)
	build := exec.CommandContext(ctx, "go", "build", "-o", program, module+"/"+name)
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("lab: go build: %w: %s", err, bytes.TrimSpace(out))
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = l.Environ()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopTime
	return cmd, nil
}

const module = "github.com/managedid/managedid/examples/azuresdk"

// source returns the directory of this package's source, where files are that it needs.
func source() (string, error) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", module+"/internal/lab").Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("lab: go list: %w: %s", err, bytes.TrimSpace(e.Stderr))
	}
	return strings.TrimSpace(string(out)), err
}
