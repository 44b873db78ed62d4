package lab

import (
	"time"

	"github.com/managedid/managedid/managedidtest"
)

// Scaled is a second of a token's life in StartScaled's lab, and ScaledLife the whole life, as long as the databases take it.
const (
	Scaled     = time.Second / 20
	ScaledLife = 360 * Scaled
)

// StartScaled starts a lab where tokens are as if they lived for six minutes and time ran twenty times as fast: programs
// whose RefreshBefore is five minutes refresh them after three seconds, and the databases, whose clocks are ahead,
// take them for eighteen. The host is a pod with workload identity, since Entra makes a new token for each request; other
// hosts give the same one until half its life has passed, and time isn't scaled there.
func StartScaled() (*Lab, error) {
	const refreshBefore = 5 * time.Minute // the programs'
	l, err := Start(&managedidtest.Options{NoSystemAssigned: true, TokenLifetime: refreshBefore + 60*Scaled})
	if err != nil {
		return nil, err
	}
	l.ClockAhead = refreshBefore - 300*Scaled
	if _, err := l.Emulator.NewTokenFile(l.dir, nil); err != nil {
		l.Close()
		return nil, err
	}
	for name, value := range l.Emulator.Environ(managedidtest.Workload) {
		l.Setenv(name, value)
	}
	return l, nil
}
