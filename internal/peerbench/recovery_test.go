package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// inTime runs f in fake time, on a host with IMDS.
func inTime(t *testing.T, f func(t *testing.T)) {
	managedidtest.New(nil).Setenv(t, managedidtest.IMDS)
	measure(t, false, f)
}

// get asks a site as a library does.
func get(s *site) (status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	const address = "http://169.254.169.254/metadata/identity/oauth2/token"
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	resp, err := s.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

func TestSite_limitsAreThoseOfTheHost(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newSite().likeIMDS()
		answers := make(chan int, 6)
		for range 6 {
			go func() { status, _ := get(s); answers <- status }()
		}
		statuses := map[int]int{}
		for range 6 {
			statuses[<-answers]++
		}
		require.Equal(t, map[int]int{200: 5, 429: 1}, statuses, "five at once")
		for range 15 {
			status, err := get(s)
			require.NoError(t, err)
			require.Equal(t, 200, status)
		}
		status, _ := get(s)
		require.Equal(t, 429, status, "20 in a second")
		time.Sleep(time.Second)
		status, _ = get(s)
		require.Equal(t, 200, status)
		require.Equal(t, 23, s.requests(0, time.Minute))
	})
}

func TestSite_silenceLastsUntilTheContextEnds(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newSite()
		s.meets = func(time.Duration, int) mishap { return silence }
		_, err := get(s)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(s.began))
	})
}

func TestParties_getTheirTokens(t *testing.T) {
	for _, library := range rivals {
		for _, host := range hosts {
			inTime(t, func(t *testing.T) {
				s := newSite()
				c, k := party{library, host}.credential(s), freshKey()
				require.NoError(t, ask(c, k, time.Second))
				require.NoError(t, ask(c, k, time.Second))
				require.Equal(t, 1, s.requests(0, time.Hour), "%s, %s", library, host)
			})
		}
	}
}

type panics struct{}

func (panics) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	panic("at the disco")
}

func TestAsk_takesAPanicForAnError(t *testing.T) {
	require.ErrorContains(t, ask(panics{}, freshKey(), 0), "at the disco")
}

// once has a token at the third call.
type once struct{ calls int }

func (o *once) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if o.calls++; o.calls < 3 {
		return azcore.AccessToken{}, errors.New("not yet")
	}
	return azcore.AccessToken{ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestPersist_countsTheErrors(t *testing.T) {
	inTime(t, func(t *testing.T) {
		began := time.Now()
		require.Equal(t, 2, persist(&once{}, freshKey()))
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}

func TestPack_keepsTheTable(t *testing.T) {
	from := &results{table: &table{}, around: map[string]sample{"x": {1, 2}}}
	from.table.section("title", "note", ours).row("what").aim(3, number).set(ours, 4, "four")
	var b bytes.Buffer
	require.NoError(t, from.pack(&b))
	to := &results{table: &table{}}
	require.NoError(t, to.unpack(&b))
	require.Equal(t, from.around, to.around)
	require.Equal(t, from.table, to.table)
	to.options.only = "recovery"
	require.Len(t, to.goals(), 1)
	require.Equal(t, "1 above", to.goals()[0].miss)
}
