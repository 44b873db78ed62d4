package main

import (
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/peerbench/weight"
)

// chainedStay is for how long a chain is watched.
const chainedStay = 3 * time.Hour

// mixed is what callers of a chain got.
type mixed struct {
	first  time.Duration // until the first call has a token
	calls  int
	others int // calls that got the token of the other link
}

// chains has the managed identity's first answer lost, in a chain that has another identity behind it.
func chains(t *testing.T, s *section, n int) {
	all := compare(t, n, func(library string, i int) mixed { return chain(library, silences(i)) })
	title := "chain of IMDS and another identity, the first request is lost: "
	worst(s.row(title+"until a patient caller has a token").aim(6, "%.1f s"), all, "%.1f s",
		func(m mixed) float64 { return m.first.Seconds() })
	worst(s.row(title+"calls of three hours, one a minute, that get the other identity's").aim(0, number), all, number,
		func(m mixed) float64 { return float64(m.others) })
}

func chain(library string, loss mishap) (got mixed) {
	s := newSite()
	s.meets = func(_ time.Duration, n int) mishap {
		if n == 1 {
			return loss
		}
		return mishap{}
	}
	c, k := chainOf(library, party{library, imds}.credential(s), weight.Fixed{}), freshKey()
	for time.Since(s.began) < chainedStay {
		token := text(c, k)
		if got.calls++; got.calls == 1 {
			got.first = time.Since(s.began)
		}
		if token != s.text {
			got.others++
		}
		time.Sleep(time.Minute)
	}
	return got
}

func chainOf(library string, links ...azcore.TokenCredential) azcore.TokenCredential {
	if library == ours {
		c, err := managedid.NewChainedTokenCredential(links, nil)
		return must(c, err)
	}
	c, err := azidentity.NewChainedTokenCredential(links, nil)
	return must(c, err)
}
