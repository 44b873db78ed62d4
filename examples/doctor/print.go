package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/managedid/managedid"
)

// The colours of a terminal (ECMA-48, SGR).
const red, green, grey = 31, 32, 90

// table returns the diagnosis as text for a person.
func (d diagnosis) table(paint func(colour int, text string) string) string {
	var b strings.Builder
	if d.Credential != "" {
		b.WriteString(d.Credential)
		if d.Selected != "" {
			b.WriteString(", AZURE_TOKEN_CREDENTIALS=" + d.Selected)
		}
		b.WriteByte('\n')
	}
	colours := map[managedid.LinkState]int{managedid.LinkInUse: green, managedid.LinkIncomplete: red,
		managedid.LinkNotConfigured: grey}
	for i, l := range d.Links {
		_, rows, _ := strings.Cut(l.String(), "\n")
		fmt.Fprintf(&b, "%d. %-28s %s\n", i+1, l.Credential, paint(colours[l.State], string(l.State)))
		for row := range strings.Lines(rows) {
			if strings.HasPrefix(row, "   problem ") || l.Probe != nil && !l.Probe.Present &&
				strings.HasPrefix(row, "   probe ") {
				row = paint(red, strings.TrimSuffix(row, "\n")) + "\n"
			}
			b.WriteString(row)
		}
		if l.Token != nil {
			colour := green
			// The chain doesn't need this link.
			if l.Token.Error != "" && d.Healthy {
				colour = grey
			} else if l.Token.Error != "" {
				colour = red
			}
			b.WriteString(paint(colour, "   token     "+l.Token.String()) + "\n")
		}
	}
	colour := red
	if d.Healthy {
		colour = green
	}
	return b.String() + paint(colour, d.Verdict) + "\n"
}

func (a *attempt) String() string {
	duration := ""
	if a.Took > 0 {
		duration = fmt.Sprintf(", after %v", a.Took.Round(time.Millisecond))
	}
	if a.Error == "" {
		return fmt.Sprintf("yes%s, until %s", duration, a.Expires.Format(time.RFC3339))
	}
	text := fmt.Sprintf("none%s:\n             %s", duration, strings.ReplaceAll(a.Error, "; ", ";\n             "))
	if !a.RetryAfter.IsZero() {
		text += "\n             (RetryAfter: " + a.RetryAfter.UTC().Format(time.RFC3339) + ")"
	}
	return text
}

// painter returns a function that colours text for f. It returns the text unchanged if f is not a terminal, or if
// NO_COLOR is set (https://no-color.org).
func painter(f *os.File) func(int, string) string {
	info, err := f.Stat()
	plain := err != nil || info.Mode()&os.ModeCharDevice == 0 || os.Getenv("NO_COLOR") != "" ||
		os.Getenv("TERM") == "dumb"
	return func(colour int, text string) string {
		if plain || colour == 0 {
			return text
		}
		return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, text)
	}
}
