package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/managedid/managedid"
)

func (d diagnosis) String() string {
	var b strings.Builder
	b.WriteString(d.Report.String())
	for _, a := range d.Attempts {
		fmt.Fprintf(&b, "%-38s %s\n", a.With+":", a)
	}
	return b.String()
}

func (a attempt) String() string {
	took := a.Took.Round(time.Millisecond)
	if a.Error != "" {
		return fmt.Sprintf("no token, after %v:\n   %s\n   %s", took, strings.ReplaceAll(a.Error, "; ", ";\n   "), a.Help)
	}
	return fmt.Sprintf("a token, after %v, until %s", took, a.Expires.Format(time.RFC3339))
}

var colours = map[managedid.LinkState]int{managedid.LinkInUse: 32, managedid.LinkConfigured: 36, managedid.LinkIncomplete: 31, managedid.LinkNotConfigured: 90}

// coloured paints the states where a person sees them (https://no-color.org).
func coloured(text string) string {
	info, err := os.Stdout.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	for state, code := range colours {
		text = strings.ReplaceAll(text, " "+string(state)+"\n", fmt.Sprintf(" \x1b[%dm%s\x1b[0m\n", code, state))
	}
	return text
}
