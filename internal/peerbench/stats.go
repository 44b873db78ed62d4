package main

import (
	"fmt"
	"slices"
	"time"
)

// sample is one figure of each round.
type sample []float64

func (s sample) min() float64 { return slices.Min(s) }

func (s sample) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// over returns the ratios to another sample of the same rounds: of the minima, and the median of the rounds' own
// ratios, in which the machine's drift cancels out.
func (s sample) over(floor sample) (minimum, median float64) {
	ratios := make(sample, len(s))
	for i := range s {
		ratios[i] = s[i] / floor[i]
	}
	return s.min() / floor.min(), ratios.median()
}

// times prints a ratio.
func times(ratio float64) string {
	if ratio >= 100 {
		return fmt.Sprintf("× %s", thousands(int64(ratio)))
	}
	return fmt.Sprintf("× %.3g", ratio)
}

// nanos prints a number of nanoseconds with two or three significant digits.
func nanos(ns float64) string {
	switch d := time.Duration(ns); {
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", ns/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", ns/1e6)
	default:
		return seconds(d)
	}
}

func seconds(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
}

// thousands prints a number of bytes or requests with commas.
func thousands(n int64) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
