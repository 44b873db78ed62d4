package main

import (
	"fmt"
	"io"
	"strings"
)

// cell is a figure of the table, and how it is printed; a cell with a text alone says why there is no figure.
type cell struct {
	value float64
	least float64 // of the rounds whose median is value
	ratio float64 // to the floor
	text  string
}

// table keeps the rows in the order in which they were measured.
type table struct {
	sections []*section
}

type section struct {
	title, note string
	columns     []string
	rows        []*row
}

type row struct {
	what  string
	cells map[string]cell // by column
	goal  *aim            // nil: none
}

// aim is a limit of the library's own figure.
type aim struct {
	most   float64
	format string
}

func (t *table) section(title, note string, columns ...string) *section {
	s := &section{title: title, note: note, columns: columns}
	t.sections = append(t.sections, s)
	return s
}

func (s *section) row(what string) *row {
	r := &row{what: what, cells: map[string]cell{}}
	s.rows = append(s.rows, r)
	return r
}

// aim gives the row a goal.
func (r *row) aim(most float64, format string) *row {
	r.goal = &aim{most, format}
	return r
}

func (r *row) set(column string, value float64, format string, args ...any) {
	r.cells[column] = cell{value: value, text: fmt.Sprintf(format, args...)}
}

// fill says why the columns that are still empty have no figure.
func (r *row) fill(text string, columns ...string) {
	for _, column := range columns {
		if _, ok := r.cells[column]; !ok {
			r.cells[column] = cell{text: text}
		}
	}
}

// get returns a figure. It panics where nothing was measured under the names: a goal must not be met by a slip.
func (t *table) get(title, what, column string) cell {
	for _, s := range t.sections {
		for _, r := range s.rows {
			if c, ok := r.cells[column]; ok && s.title == title && r.what == what {
				return c
			}
		}
	}
	panic(fmt.Sprintf("nothing was measured as %q, %q, %q", title, what, column))
}

func (t *table) write(w io.Writer) {
	for _, s := range t.sections {
		fmt.Fprintf(w, "\n### %s\n\n%s\n\n", s.title, s.note)
		writeRow(w, append([]string{""}, s.columns...))
		writeRow(w, append([]string{"---"}, strings.Split(strings.Repeat("---:,", len(s.columns)-1)+"---:", ",")...))
		for _, r := range s.rows {
			line := []string{r.what}
			for _, column := range s.columns {
				line = append(line, r.cells[column].text)
			}
			writeRow(w, line)
		}
	}
}

func writeRow(w io.Writer, cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
