package tokens

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

var (
	errFinal    = errors.New("final")
	errIdentity = errors.New("the identity is refused")
	errPassing  = errors.New("passing")
	errOverdue  = errors.New("overdue")
	errCrashed  = errors.New("crashed")
)

// fake is a request whose Fetch is a function. Zero: a token of an hour.
type fake struct {
	claims string
	fetch  func(ctx context.Context, f *Flight) (Token, error)

	fetched, counted, landed atomic.Int32
	landing                  atomic.Pointer[Landing]
	crashedWith              any
}

func (r *fake) Claims() string { return r.claims }

func (r *fake) Fetch(ctx context.Context, f *Flight) (Token, error) {
	r.fetched.Add(1)
	if r.fetch != nil {
		return r.fetch(ctx, f)
	}
	return hour("fetched"), nil
}

func (*fake) Overdue(*Flight) error     { return errOverdue }
func (r *fake) Crashed(value any) error { r.crashedWith = value; return errCrashed }
func (r *fake) Count(*Flight, error)    { r.counted.Add(1) }
func (r *fake) Landed(_ *Flight, l Landing) {
	r.landing.Store(&l)
	r.landed.Add(1)
}

func (*fake) Refusal(err error) (definite, identity bool) {
	return errors.Is(err, errFinal) || errors.Is(err, errIdentity), errors.Is(err, errIdentity)
}

func hour(name string) Token { return lasting(name, time.Hour) }

func lasting(name string, life time.Duration) Token {
	return Token{AccessToken: azcore.AccessToken{Token: name, ExpiresOn: time.Now().Add(life)}}
}

func giving(t func() Token, after time.Duration, err error) func(context.Context, *Flight) (Token, error) {
	return func(ctx context.Context, _ *Flight) (Token, error) {
		select {
		case <-time.After(after):
		case <-ctx.Done():
			return Token{}, ctx.Err()
		}
		if err != nil {
			return Token{}, err
		}
		return t(), nil
	}
}

func failing(err error) *fake { return &fake{fetch: giving(nil, 0, err)} }

// bubble runs a test in fake time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t)
		time.Sleep(FlightLimit)
	})
}
