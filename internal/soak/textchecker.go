package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/log"
)

const (
	// forbiddenText is a part of the values of panics and of the secrets of dropped credentials.
	forbiddenText = "unspeakable"

	opaque = "opaque-" // prefix of the tokens that are not JWTs
	jwt    = "eyJ"     // prefix of JWTs
)

// textChecker checks that no error and no log line contains a forbidden text.
type textChecker struct {
	violations *violations
	forbidden  []string
}

func (w *textChecker) check(where, text string) {
	for _, f := range w.forbidden {
		if strings.Contains(text, f) {
			w.violations.add("no secret and no panic's value in errors and logs", "%s: %s", where, text)
		}
	}
}

func (w *textChecker) checkError(where string, err error) {
	w.check(where, fmt.Sprintf("%v %+v", err, err))
}

// Write checks a line of the library's log.
func (w *textChecker) Write(line []byte) (int, error) {
	w.check("log", string(line))
	return len(line), nil
}

// logger returns a logger for the library that checks every record. It also checks azcore's log.
func (w *textChecker) logger() *slog.Logger {
	log.SetListener(func(_ log.Event, text string) { w.check("azcore's log", text) })
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
