package managedid

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/require"
)

// TestFaults_ofEachSource plays every fault at every source. -update writes what came of them to testdata/faults.golden;
// with -short, few statuses are played and nothing is compared. The race detector sees a quarter of the rest.
func TestFaults_ofEachSource(t *testing.T) {
	certificates, rows := faultCertificates(t), faultRows()
	var table strings.Builder
	cells := 0
	for i := range faultSources {
		of := &faultSources[i]
		var lines []faultLine
		t.Run(of.name, func(t *testing.T) {
			for _, code := range statuses() {
				row := faultRow{fault: status(code)}
				row.fault.Body = html
				lines = addStatus(lines, code, of.play(t, &row, certificates))
				cells++
			}
			for j, row := range rows {
				if raceEnabled() && (i+j)%4 != 0 {
					continue // each is played at some sources
				}
				if row.secure && !of.secure || row.id && !of.takesID || row.fault.Count > 0 && of.answeredOnly {
					continue
				}
				t.Run(row.name, func(t *testing.T) {
					lines = append(lines, faultLine{name: row.name, cell: of.play(t, &row, certificates)})
				})
				cells++
			}
		})
		fmt.Fprintf(&table, "%s\n\n%s\n", of.name, tabulated(lines))
	}
	if testing.Short() {
		return
	}
	golden := filepath.Join("testdata", "faults.golden")
	got := fmt.Sprintf("What comes of each fault at each source: %d cells. A line of several statuses has a cell for each.\n\n%s", cells, &table)
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o666))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	lines := strings.Split(string(want), "\n")
	for i, line := range strings.Split(got, "\n") {
		require.Equal(t, append(lines, "the end")[min(i, len(lines))], line, "line %d", i+1)
	}
}

func statuses() (codes []int) {
	if testing.Short() {
		return []int{302, 400, 401, 403, 404, 408, 410, 429, 500, 501, 503}
	}
	for code := 300; code < 600; code++ {
		codes = append(codes, code)
	}
	return codes
}

// faultLine is a fault by name, or statuses from first to last that the same comes of.
type faultLine struct {
	name        string
	first, last int
	cell        faultCell
}

func addStatus(lines []faultLine, code int, c faultCell) []faultLine {
	if n := len(lines); n > 0 && lines[n-1].cell == c {
		lines[n-1].last = code
		return lines
	}
	return append(lines, faultLine{first: code, last: code, cell: c})
}

func tabulated(lines []faultLine) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, l := range lines {
		switch {
		case l.name == "" && l.first == l.last:
			l.name = strings.TrimSpace(fmt.Sprint("status ", l.first, " ", http.StatusText(l.first)))
		case l.name == "":
			l.name = fmt.Sprintf("status %d to %d", l.first, l.last)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", l.name, l.cell.outcome, l.cell.tries, l.cell.wait)
	}
	_ = w.Flush()
	return b.String()
}
