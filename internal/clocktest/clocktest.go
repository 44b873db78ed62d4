// Package clocktest gives tests the times of a machine whose wall clock is set, or that sleeps.
package clocktest

import (
	"time"
	"unsafe"
)

// Later returns what time.Now says after t, once the wall clock has gone on by wall and the monotonic one by mono. The
// two differ where the wall clock was set meanwhile (wall is less, or negative, or more) or the machine slept (mono is
// less). t must have a monotonic reading, so it can't come from a synctest bubble. Nothing but the layout of time.Time
// leads to such a time: its second word is the monotonic reading, where there is one.
func Later(t time.Time, wall, mono time.Duration) time.Time {
	type layout struct {
		wall uint64
		ext  int64
		loc  *time.Location
	}
	later, other := t.Add(wall), t.Add(mono)
	(*layout)(unsafe.Pointer(&later)).ext = (*layout)(unsafe.Pointer(&other)).ext
	if later.Sub(t) != mono || later.Round(0).Sub(t.Round(0)) != wall {
		panic("clocktest: the time has no monotonic reading, or its layout is another")
	}
	return later
}
