package conformance

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/managedidtest"
)

var faultGolden = filepath.Join("testdata", "faults.golden")

// faultsChild names the file for what came of the faults, in a process that plays those of one source.
const faultsChild = "MANAGEDID_TEST_FAULTS"

// TestFaults_ofEachSource plays faults at every source, and compares what comes of each with testdata/faults.golden. -full plays
// every status, and each source in a process of its own, since the environment is a process's; -update then writes the file.
// With -short, fewer statuses are played. The race detector sees a quarter of the other faults.
func TestFaults_ofEachSource(t *testing.T) {
	results, child := make([][]faultLine, len(faultSources)), os.Getenv(faultsChild)
	if child == "" {
		t.Cleanup(func() { compareFaults(t, results) }) // when those in parallel have ended
	}
	for i := range faultSources {
		t.Run(faultSources[i].name, func(t *testing.T) {
			if *full && child == "" {
				t.Parallel()
				results[i] = playInChild(t, faultSources[i].name)
				return
			}
			if faultSources[i].host == managedidtest.Arc {
				needArcFolder(t)
			}
			results[i] = playAll(t, i)
			if child != "" {
				b, err := json.Marshal(results[i])
				require.NoError(t, err)
				writeFile(t, child, string(b))
			}
		})
	}
}

func playInChild(t *testing.T, name string) (lines []faultLine) {
	file := filepath.Join(t.TempDir(), "lines.json")
	name = regexp.QuoteMeta(strings.ReplaceAll(name, " ", "_"))
	cmd := exec.Command(os.Args[0], "-test.run=^TestFaults_ofEachSource$/^"+name+"$", "-full")
	cmd.Env = append(os.Environ(), faultsChild+"="+file)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("%s", out)
	}
	require.NoError(t, json.Unmarshal(b, &lines))
	return lines
}

func playAll(t *testing.T, i int) (lines []faultLine) {
	of, certificates := &faultSources[i], faultCertificates(t)
	for _, code := range statuses() {
		row := faultRow{fault: status(code)}
		row.fault.Body = html
		lines = append(lines, faultLine{First: code, Last: code, Cell: of.play(t, &row, certificates)})
	}
	for j, row := range faultRows() {
		if testkit.Race && (i+j)%4 != 0 {
			continue // each is played at some sources
		}
		if row.secure && !of.secure || row.id && !of.takesID || row.fault.Count > 0 && of.answeredOnly {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			lines = append(lines, faultLine{Name: row.name, Cell: of.play(t, &row, certificates)})
		})
	}
	return lines
}

func statuses() (codes []int) {
	switch {
	case testing.Short():
		return []int{302, 400, 401, 403, 404, 408, 410, 429, 500, 501, 503}
	case !*full:
		return []int{300, 301, 307, 400, 401, 403, 404, 407, 408, 409, 410, 412, 418, 425, 429, 451, 499, 500, 501, 502, 503, 504, 511, 599}
	}
	for code := 300; code < 600; code++ {
		codes = append(codes, code)
	}
	return codes
}

// compareFaults compares the whole file where everything was played, and else the lines that were.
func compareFaults(t *testing.T, results [][]faultLine) {
	whole := *full && !testkit.Race && !slices.ContainsFunc(results, func(lines []faultLine) bool { return lines == nil })
	if whole {
		got := faultText(results)
		if *update {
			require.NoError(t, os.WriteFile(faultGolden, []byte(got), 0o666))
		}
		want, err := os.ReadFile(faultGolden)
		require.NoError(t, err)
		lines := strings.Split(string(want), "\n")
		for i, line := range strings.Split(got, "\n") {
			if want := append(lines, "the end")[min(i, len(lines))]; !nearly(want, line) {
				require.Equal(t, want, line, "line %d", i+1)
			}
		}
		return
	}
	golden := readFaultGolden(t)
	for i, lines := range results {
		for _, l := range lines {
			of := cmp.Or(l.Name, fmt.Sprint("status ", l.First))
			want := golden[faultSources[i].name][of]
			if nearly(want.Tries, l.Cell.Tries) {
				want.Tries = l.Cell.Tries
			}
			require.Equal(t, want, l.Cell, "%s: %s", faultSources[i].name, of)
		}
	}
}

var manyTries = regexp.MustCompile(`up to (\d+) tries`)

// nearly reports whether two lines differ in the number of many tries at most, by one step: pauses are random.
func nearly(a, b string) bool {
	x, y := manyTries.FindStringSubmatch(a), manyTries.FindStringSubmatch(b)
	if x == nil || y == nil {
		return a == b
	}
	n, _ := strconv.Atoi(x[1])
	m, _ := strconv.Atoi(y[1])
	rest := func(s string) []string { return strings.Fields(manyTries.ReplaceAllString(s, "")) }
	return max(n, m) < 2*min(n, m) && slices.Equal(rest(a), rest(b))
}

// readFaultGolden returns the cells by source, and by the fault's name or its status.
func readFaultGolden(t *testing.T) map[string]map[string]faultCell {
	content, err := os.ReadFile(faultGolden)
	require.NoError(t, err)
	golden, source := map[string]map[string]faultCell{}, ""
	columns, codes := regexp.MustCompile(` {2,}`), regexp.MustCompile(`^status (\d+)(?: to (\d+))?`)
	for line := range strings.Lines(string(content)) {
		cells := columns.Split(strings.TrimSpace(line), -1)
		if len(cells) != 4 {
			source = cmp.Or(strings.TrimSpace(line), source)
			continue
		}
		if golden[source] == nil {
			golden[source] = map[string]faultCell{}
		}
		cell := faultCell{cells[1], cells[2], cells[3]}
		golden[source][cells[0]] = cell
		if m := codes.FindStringSubmatch(cells[0]); m != nil {
			var first, last int
			_, _ = fmt.Sscan(m[1]+" "+cmp.Or(m[2], m[1]), &first, &last)
			for code := first; code <= last; code++ {
				golden[source][fmt.Sprint("status ", code)] = cell
			}
		}
	}
	return golden
}

// faultLine is a fault by name, or statuses from first to last that the same comes of.
type faultLine struct {
	Name        string
	First, Last int
	Cell        faultCell
}

func faultText(results [][]faultLine) string {
	var table strings.Builder
	cells := 0
	for i, lines := range results {
		fmt.Fprintf(&table, "%s\n\n%s\n", faultSources[i].name, tabulated(lines))
		cells += len(lines)
	}
	return fmt.Sprintf("What comes of each fault at each source: %d cells. A line of several statuses has a cell for each.\n\n%s", cells, &table)
}

// tabulated joins neighbouring statuses that the same comes of.
func tabulated(lines []faultLine) string {
	var joined []faultLine
	for _, l := range lines {
		if n := len(joined); n > 0 && l.Name == "" && joined[n-1].Cell == l.Cell {
			joined[n-1].Last = l.Last
			continue
		}
		joined = append(joined, l)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, l := range joined {
		switch {
		case l.Name == "" && l.First == l.Last:
			l.Name = strings.TrimSpace(fmt.Sprint("status ", l.First, " ", http.StatusText(l.First)))
		case l.Name == "":
			l.Name = fmt.Sprintf("status %d to %d", l.First, l.Last)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", l.Name, l.Cell.Outcome, l.Cell.Tries, l.Cell.Wait)
	}
	_ = w.Flush()
	return b.String()
}
