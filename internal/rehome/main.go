// Rehome gives the module another path, in every text file of the repository: go.mod of each module, imports, addresses
// in errors and pages, golden files.
//
//	go run ./internal/rehome example.com/new/path
//	go run ./internal/rehome -repo https://github.com/new/path example.com/new/path
//
// Run it in the root of a clone. The old path is the one in go.mod. Addresses that begin with https:// and the old path
// are pages of the repository; they begin with -repo afterwards. What follows is as on GitHub (blob/main/FILE,
// security/advisories/new); where another host has it otherwise, correct it by hand.
//
// Imports and the requirements in go.mod are sorted again. The package keeps its name. Binary files, .git and
// node_modules stay as they are. Each changed file is printed with the number of names in it. The exit code is 1 where
// an argument is wrong or a file can't be changed; those before it are changed then.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
)

const usage = "usage: go run ./internal/rehome [-repo https://HOST/PATH] NEW-MODULE-PATH, " +
	"such as example.com/new/path, whose last part has no dot and is no major version such as v2"

func main() {
	if err := run(".", os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rehome:", err)
		os.Exit(1)
	}
}

// run does what the arguments say to the repository whose root is dir.
func run(dir string, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("rehome", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	repo := flags.String("repo", "", "")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 || !valid(flags.Arg(0)) {
		return fmt.Errorf("%s", usage)
	}
	path := flags.Arg(0)
	if *repo == "" {
		*repo = "https://" + path
	}
	if !regexp.MustCompile(`^https://[^\s/]+/\S*[^\s/]$`).MatchString(*repo) {
		return fmt.Errorf("%s", usage)
	}
	old, err := modulePath(dir)
	if err != nil {
		return err
	}
	return rehome(dir, newName(old, path, *repo), out)
}

// pathForm is a host with a dot and, after it, at least one element. In the last one a dot would be %2e in the names of
// functions, by which a test finds its own goroutines.
var pathForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+` +
	`(/[A-Za-z0-9_~-]([A-Za-z0-9._~-]*[A-Za-z0-9_~-])?)*/[A-Za-z0-9_~-]+$`)

// valid reports whether the module can have this path.
func valid(path string) bool {
	return pathForm.MatchString(path) && !regexp.MustCompile(`/v[0-9]+$`).MatchString(path)
}
