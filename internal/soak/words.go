package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/log"
)

const (
	// unspeakable is in the values of panics and in the secrets of dropped credentials.
	unspeakable = "unspeakable"

	opaque = "opaque-" // begins the tokens that are no JWTs
	jwt    = "eyJ"     // begins the others
)

// words checks that no error and no line of a log has what must not be said.
type words struct {
	violations *violations
	forbidden  []string
}

func (w *words) check(where, text string) {
	for _, f := range w.forbidden {
		if strings.Contains(text, f) {
			w.violations.add("no secret and no panic's value in errors and logs", "%s: %s", where, text)
		}
	}
}

func (w *words) checkError(where string, err error) { w.check(where, fmt.Sprintf("%v %+v", err, err)) }

// Write takes the lines of the library's log.
func (w *words) Write(line []byte) (int, error) {
	w.check("log", string(line))
	return len(line), nil
}

// logger checks all records of the library; azcore's log is checked beside it.
func (w *words) logger() *slog.Logger {
	log.SetListener(func(_ log.Event, text string) { w.check("azcore's log", text) })
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
