package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

// ScaledLife is how long the databases take a token in StartScaled's lab. A refresh comes earlier, after refreshAfter.
const (
	ScaledLife   = 42 * time.Second
	refreshAfter = 30 * time.Second // no token is refreshed oftener
)

// StartScaled starts a lab where tokens are refreshed and end soon. Programs whose RefreshBefore is five minutes refresh
// them after refreshAfter, and the databases, whose clocks are ahead, take them for ScaledLife. The host is a pod with workload
// identity, since Entra makes a new token for each request; other hosts give the same one until half its life has passed.
func StartScaled() (*Lab, error) {
	const refreshBefore = 5 * time.Minute // the programs'
	l, err := Start(&managedidtest.Options{NoSystemAssigned: true, TokenLifetime: refreshBefore + refreshAfter})
	if err != nil {
		return nil, err
	}
	l.ClockAhead = refreshBefore + refreshAfter - ScaledLife
	if _, err := l.Emulator.NewTokenFile(l.dir, nil); err != nil {
		l.Close()
		return nil, err
	}
	for name, value := range l.Emulator.Environ(managedidtest.Workload) {
		l.Setenv(name, value)
	}
	return l, nil
}

// Rotate starts a scaled lab with one service, runs this program again in its environment with the variable set, and returns
// how many tokens for the resource were asked for.
func Rotate(ctx context.Context, service func(*Lab) error, variable, resource string) (tokens int, err error) {
	l, err := StartScaled()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := service(l); err != nil {
		return 0, err
	}
	again := exec.CommandContext(ctx, os.Args[0])
	again.Env = append(l.Environ(), variable+"=1")
	if out, err := again.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	for _, r := range l.Emulator.Requests() {
		if r.Resource == resource {
			tokens++
		}
	}
	return tokens, nil
}
