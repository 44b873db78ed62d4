package main

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/managedid/managedid"
)

// keeping is what a long-lived process drops many of.
type keeping struct {
	title string
	drop  func(h *household, i int) // makes, uses and drops the i-th
}

// household is what lives on: a cache, and a credential that others are made beside.
type household struct {
	library string
	site    *site
	cache   *managedid.TokenCache
	lasting azcore.TokenCredential
	refuse  bool // tokens of any but the lasting one's tenant
}

var keepings = []keeping{
	{"per secret of a dropped credential that was never used (the process's cache)",
		func(h *household, i int) { h.unused(i) }},
	{"per tenant of a dropped credential whose token has expired", func(h *household, i int) { h.use(i) }},
	{"per tenant of a dropped credential that was refused", func(h *household, i int) { h.refuse = true; h.use(i) }},
	{"per refused tenant of a request", func(h *household, i int) { h.refuse = true; h.request(i) }},
}

func (h *household) unused(i int) {
	var err error
	secret := fmt.Sprintf("secret %d", i)
	if h.library == ours {
		_, err = managedid.NewClientSecretCredential(aTenant, aClient, secret, nil)
	} else {
		_, err = azidentity.NewClientSecretCredential(aTenant, aClient, secret, nil)
	}
	must(0, err)
}

func (h *household) use(i int) {
	tenant := fmt.Sprintf("tenant-%d", i)
	err := ask(application{h.library, tenant, "secret"}.credential(h.site, h.cache), newKey("kept", 0), 0)
	if h.refuse == (err == nil) {
		panic(fmt.Sprintf("%s, %s: %v", h.library, tenant, err))
	}
}

func (h *household) request(i int) {
	k := newKey("kept", 0)
	k.opts.TenantID = fmt.Sprintf("refused-%d", i)
	if ask(h.lasting, k, 0) == nil {
		panic("a token of a tenant that isn't there")
	}
}

// kept has the heap that is left of each, long after its end.
func kept(t *testing.T, s *section) {
	for _, what := range keepings {
		r := s.row("bytes kept "+what.title).aim(100, "%.0f B")
		for _, library := range rivals {
			left(t, library, what, 50) // fills what is there once
			each := max(left(t, library, what, 2_000), 0)
			r.set(library, each, "%s B", thousands(int64(each)))
		}
	}
}

// left is the heap that each of n has left behind.
func left(t *testing.T, library string, what keeping, n int) float64 {
	h := &household{library: library, cache: managedid.NewTokenCache(nil)}
	before := settledHeap()
	draws(t, 1, func(int) {
		h.site = newSite()
		h.site.text = strings.Repeat("t", tokenSize)
		h.site.life = func() time.Duration { return time.Minute }
		h.site.meets = func(time.Duration, int) mishap {
			if h.refuse {
				return mishap{name: "refused", status: http.StatusBadRequest}
			}
			return mishap{}
		}
		h.lasting = application{library, aTenant, "lasting"}.credential(h.site, h.cache)
		must(0, ask(h.lasting, newKey("kept", 0), 0))
		for i := range n {
			what.drop(h, i)
		}
		h.refuse = false
		time.Sleep(time.Hour)
		settledHeap()   // so that the library learns what has been dropped
		for range 300 { // a library may sweep as it gets tokens
			time.Sleep(2 * time.Minute)
			must(0, ask(h.lasting, newKey("kept", 0), 0))
		}
		h.site.sent = nil
	})
	after := settledHeap()
	runtime.KeepAlive(h)
	return float64(after-before) / float64(n)
}

// settledHeap collects, in real time whatever the clock: cleanups run beside it.
func settledHeap() int64 {
	for range 3 {
		heapInUse()
		syscall.Nanosleep(&syscall.Timespec{Nsec: 20e6}, nil)
	}
	return heapInUse()
}
