package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// sizes are the numbers of cached tokens.
var sizes = []int{1, 100, 1_000, 10_000}

const (
	hitTitle  = "Hit"
	heapTitle = "Heap"
)

const tokenSize = 1_500 // of a managed identity's token with few claims, in bytes

// ways to a cached token.
const (
	direct   = "direct"
	chained  = "default chain"
	pipeline = "BearerTokenPolicy"
)

// mode is how many goroutines call, on how many processors.
type mode struct{ procs, goroutines int }

func (m mode) String() string {
	if m.goroutines == 1 {
		return fmt.Sprintf("serial, GOMAXPROCS=%d", m.procs)
	}
	return fmt.Sprintf("parallel, GOMAXPROCS=%d", m.procs)
}

var modes = []mode{{1, 1}, {2, 1}, {2, 2}}

// subject is one library reached in one way.
type subject struct {
	library, way string
	cred         azcore.TokenCredential // nil for the pipeline
	call         func(context.Context, *key) error
	fills        bool // has a cache of its own; else it shares that of a subject before it
	batch        int
	taken        sample // ns per call, of each round
}

// floor is the least that a cache can cost: one look at the clock and one at a map.
type floor struct{ tokens map[string]azcore.AccessToken }

func (f floor) GetToken(_ context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t := f.tokens[opts.Scopes[0]]
	if !time.Now().Before(t.ExpiresOn) {
		return azcore.AccessToken{}, context.DeadlineExceeded
	}
	return t, nil
}

// hits measures libraries whose caches only grow: MSAL's is the process's, and azidentity's too. So sizes come in their
// order, and what fills the caches otherwise comes before the last.
type hits struct {
	subjects  []*subject
	endpoint  *endpoint
	floor     floor
	filled    int
	rounds    int
	out, heap *section
}

func newHits(t *testing.T, out *table, o options) *hits {
	managedidtest.New(nil).Setenv(t, managedidtest.AppService)
	h := &hits{floor: floor{map[string]azcore.AccessToken{}}, rounds: o.rounds,
		endpoint: &endpoint{token: strings.Repeat("t", tokenSize), lifetime: 24 * time.Hour}}
	h.subjects = hitSubjects(t, &http.Client{Transport: h.endpoint}, h.floor)
	h.out = out.section(hitTitle, "Median time of a call that finds its token in the cache; in brackets the ratio to "+
		"the floor of the same run, of the minima and of the medians. Parallel: two goroutines, time by the calls of "+
		"both. "+
		"MSAL Go looks through its tokens in random order, so that its minimum is luck.",
		floors, ours, theirs, msal, reuse)
	h.heap = out.section(heapTitle, "Heap per cached token of 1,500 bytes. MSAL Go's cache is azidentity's.",
		ours, theirs, reuse)
	return h
}

func (h *hits) measure(t *testing.T, sizes ...int) {
	managedidtest.New(nil).Setenv(t, managedidtest.AppService)
	for _, size := range sizes {
		for i := h.filled; i < size; i++ {
			k := newKey("hit", i)
			ends := time.Now().Add(h.endpoint.lifetime)
			h.floor.tokens[k.opts.Scopes[0]] = azcore.AccessToken{Token: h.endpoint.token, ExpiresOn: ends}
		}
		fill(t, h.heap, h.subjects, h.filled, size)
		h.filled = size
		k := newKey("hit", size-1)
		for _, m := range modes {
			rounds(h.subjects, m, &k, h.rounds)
			report(h.out, h.subjects, size, m)
		}
	}
}

func hitSubjects(t *testing.T, via *http.Client, f floor) []*subject {
	subjects := []*subject{{library: floors, way: direct, cred: f}}
	for _, l := range libraries {
		c, err := l.alone(via)
		require.NoError(t, err)
		subjects = append(subjects, &subject{library: l.name, way: direct, cred: c, fills: l.name != msal})
	}
	for _, l := range libraries {
		if l.chain != nil {
			c, err := l.chain(via)
			require.NoError(t, err)
			subjects = append(subjects, &subject{library: l.name, way: chained, cred: c, fills: l.name == ours})
		}
	}
	for _, s := range subjects {
		s.call = func(ctx context.Context, k *key) error {
			_, err := s.cred.GetToken(ctx, k.opts)
			return err
		}
	}
	for _, s := range subjects[:3] { // the policy keeps the token itself, for one scope
		require.Contains(t, []string{floors, ours, theirs}, s.library)
		call := throughPolicy(t, s.cred)
		subjects = append(subjects, &subject{library: s.library, way: pipeline, call: call})
	}
	return subjects
}

// throughPolicy calls a service that answers at once.
func throughPolicy(t *testing.T, c azcore.TokenCredential) func(context.Context, *key) error {
	k := newKey("hit", 0)
	client, err := azcore.NewClient("peerbench", "v1.0.0", azruntime.PipelineOptions{
		PerRetry: []policy.Policy{azruntime.NewBearerTokenPolicy(c, k.opts.Scopes, nil)},
	}, &azcore.ClientOptions{Transport: service{}})
	require.NoError(t, err)
	return func(ctx context.Context, _ *key) error {
		req, err := azruntime.NewRequest(ctx, http.MethodGet, "https://service.example")
		if err != nil {
			return err
		}
		_, err = client.Pipeline().Do(req)
		return err
	}
}

type service struct{}

func (service) Do(r *http.Request) (*http.Response, error) {
	return response(r, http.StatusOK, ""), nil
}

// fill gets the tokens from one size to the next, and notes the heap that each takes.
func fill(t *testing.T, heap *section, subjects []*subject, from, to int) {
	var noted *row
	if to >= 1_000 { // fewer drown in what else the heap holds
		noted = heap.row(fmt.Sprintf("the %s to the %sth", thousands(int64(from+1))+"st", thousands(int64(to))))
	}
	for _, s := range subjects {
		if s.cred == nil || s.library == floors {
			continue
		}
		first := from
		if !s.fills {
			first = to - 1
		}
		before := heapInUse()
		for i := first; i < to; i++ {
			k := newKey("hit", i)
			_, err := s.cred.GetToken(context.Background(), k.opts)
			require.NoError(t, err, s.library)
		}
		if noted != nil && s.fills && s.way == direct {
			each := float64(heapInUse()-before) / float64(to-from)
			noted.set(s.library, each, "%s B", thousands(int64(each)))
		}
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
